"""tests/integration/test_clients.py -- the programs and libraries that Redis users have."""
import re

import redis


def cli(stage, port, *arguments, **options):
    result = stage.run(["redis-cli", "-p", str(port), *arguments], **options)
    return result.stdout.rstrip("\n")


def test_redis_cli(stage):
    cluster = stage.shared()
    one, three = cluster[1].client_port, cluster[3].client_port
    assert cli(stage, one, "set", "a", "b") == "OK"
    assert cli(stage, three, "get", "a") == "b"
    assert cli(stage, three, "-3", "get", "a") == "b"
    assert cli(stage, three, "-n", "1", "get", "a") == "b"
    assert cli(stage, one, "incr", "a").startswith("ERR command 'incr' is not offered")
    found = cli(stage, one, "--scan", "--pattern", "a").split("\n")
    assert found == ["a"], found
    assert "biggest string" in cli(stage, one, "--bigkeys").lower()


def test_redis_cli_pipe(stage):
    cluster = stage.shared()
    path = stage.directory("pipe.txt")
    with open(path, "wb") as file:
        for index in range(5000):
            key, value = b"pipe:%d" % index, b"value %d" % index
            file.write(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"
                       % (len(key), key, len(value), value))
    with open(path, "rb") as file:
        said = cli(stage, cluster[2].client_port, "--pipe", stdin=file)
    assert "errors: 0, replies: 5000" in said, said
    assert cluster[1].call("GET", "pipe:4999") == b"value 4999"


def benchmark(stage, port, *arguments):
    """Runs redis-benchmark; returns its lines `TEST: N requests per second`."""
    result = stage.run(["redis-benchmark", "-p", str(port), "-q", *arguments], timeout=300)
    said = (result.stdout + result.stderr).replace("\r", "\n")
    assert result.returncode == 0, said
    assert "rror" not in said, said
    rates = dict(re.findall(r"^\s*([A-Z]+): ([0-9.]+) requests per second", said, re.MULTILINE))
    return {name: float(rate) for name, rate in rates.items()}


def test_redis_benchmark(stage):
    cluster = stage.shared()
    count = "20000" if stage.quick else "100000"
    before = cluster[1].call("INFO", "stats").decode()
    rates = benchmark(stage, cluster[1].client_port, "-t", "set,get", "-n", count, "-r", count,
                      "-P", "16")
    assert set(rates) == {"SET", "GET"}, rates
    after = cluster[1].call("INFO", "stats").decode()
    errors = [re.search(r"total_error_replies:(\d+)", text).group(1) for text in (before, after)]
    assert errors[0] == errors[1], errors
    print(f"# {rates['SET']:.0f} SET/s and {rates['GET']:.0f} GET/s through one of three nodes")
    assert set(benchmark(stage, cluster[2].client_port, "-t", "set,get,mset", "-n", "2000", "-3",
                         "-r", "1000")) >= {"SET", "GET"}


def test_python_redis(stage):
    cluster = stage.shared()
    one = redis.Redis(port=cluster[1].client_port, client_name="integration", socket_timeout=10)
    three = redis.Redis(port=cluster[3].client_port, decode_responses=True, socket_timeout=10)
    assert one.ping() and three.ping()
    assert one.client_getname() == "integration"
    assert one.set("py:a", "1", ex=100)
    assert three.get("py:a") == "1"
    assert 90 <= three.ttl("py:a") <= 100
    assert three.persist("py:a") and three.ttl("py:a") == -1
    assert one.mset({"py:b": "2", "py:c": "3"})
    assert three.mget("py:a", "py:b", "py:none") == ["1", "2", None]
    assert one.expire("py:b", 50) and one.pttl("py:b") <= 50000
    assert sorted(three.scan_iter("py:*")) == ["py:a", "py:b", "py:c"]
    assert one.delete("py:a", "py:b", "py:none") == 2
    assert not one.exists("py:a") and one.exists("py:c") == 1
    assert one.info()["redis_version"].startswith("7.0")
    assert one.config_get("appendonly") == {"appendonly": "yes"}
    assert isinstance(one.command(), dict) and "get" in one.command()
    with one.pipeline(transaction=False) as pipe:
        for index in range(1000):
            pipe.set(f"py:pipe:{index}", index)
        pipe.get("py:pipe:999")
        assert pipe.execute()[-1] == b"999"
    for refused in (lambda: one.incr("py:c"), lambda: one.set("py:c", "1", nx=True),
                    lambda: one.setnx("py:c", "1"), lambda: one.hset("h", "f", "v"),
                    lambda: one.pipeline().set("py:d", "x").execute()):
        try:
            refused()
        except redis.ResponseError:
            continue
        raise AssertionError("what the keyspace cannot do was accepted")
    assert three.get("py:c") == "3"
