"""tests/integration/test_protocol.py -- the bytes of the client port: order, limits, errors."""
import time

from harness import wait_until
from resp import Broken, Client, Failure, encode, fields

KEY_SIZE_MAX = 64 << 10
VALUE_SIZE_MAX = 8 << 20


def info(node, section):
    """A section of INFO as a dict."""
    lines = node.call("INFO", section).decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def test_inline_commands(stage):
    node = stage.shared()[1]
    with node.connect() as client:
        client.send(b"PING\r\n")
        assert client.reply() == "PONG"
        client.send(b"set inline:a \"two words\\n\\x41\"\r\nGET inline:a\nget 'inline:a'\r\n")
        assert client.reply() == "OK"
        assert client.reply() == b"two words\nA"
        assert client.reply() == b"two words\nA"
        # One that has to wait for another must mean the same when its turn comes.
        client.send(b"set inline:a '\"x\" y'\r\nget \"inline:\\x61\"\r\nget 'inline:a'\r\n")
        assert [client.reply() for _ in range(3)] == ["OK", b'"x" y', b'"x" y']
        client.send(b"\r\n\r\n  \r\nPING\r\n")  # Empty lines have no answer.
        assert client.reply() == "PONG"
        client.send(b'get "open\r\n')
        assert client.reply().startswith("ERR Protocol error")
        assert client.ended()


def test_half_requests(stage):
    node = stage.shared()[1]
    request = encode("SET", "half", "value \r\n $5 *1") + encode("GET", "half")
    with node.connect() as client:
        for at in range(len(request)):
            client.send(request[at:at + 1])
            time.sleep(0.0005)
        assert client.reply() == "OK"
        assert client.reply() == b"value \r\n $5 *1"
    # A connection that ends in the middle of a request changes nothing.
    for cut in range(1, len(encode("SET", "half", "other")), 3):
        with node.connect() as client:
            client.send(encode("SET", "half", "other")[:cut])
    assert node.call("GET", "half") == b"value \r\n $5 *1"


def test_pipelined_answers_come_in_order(stage):
    node = stage.shared()[2]
    count = 20000 if not stage.quick else 5000
    with node.connect(60) as client:
        requests = []
        for index in range(count):
            requests.append(("SET", f"order:{index % 700}", str(index)))
            requests.append(("GET", f"order:{index % 700}"))
            requests.append(("ECHO", str(index)))
        replies = client.pipeline(requests)
    for index in range(count):
        assert replies[3 * index] == "OK", replies[3 * index]
        assert replies[3 * index + 1] == str(index).encode(), (index, replies[3 * index + 1])
        assert replies[3 * index + 2] == str(index).encode()


def test_pipelined_client_sees_its_own_writes_of_several_keys(stage):
    node = stage.shared()[3]
    with node.connect() as client:
        replies = client.pipeline([
            ("MSET", "own:a", "1", "own:b", "2"),
            ("MGET", "own:a", "own:b", "own:none"),
            ("DEL", "own:a", "own:b", "own:a"),
            ("EXISTS", "own:a", "own:b"),
            ("SET", "own:a", "3"),
            ("MGET", "own:a", "own:b"),
            ("EXISTS", "own:a", "own:a"),
        ])
    assert replies == ["OK", [b"1", b"2", None], 2, 0, "OK", [b"3", None], 2], replies


def test_resp3(stage):
    node = stage.shared()[1]
    with node.connect() as client:
        assert client.call("GET", "resp3:none") is None
        hello = client.call("HELLO", "3", "SETNAME", "tester")
        assert isinstance(hello, dict)
        assert set(fields(hello)) == {"server", "version", "proto", "id", "mode", "role", "modules"}
        assert fields(hello)["proto"] == 3
        assert client.call("CLIENT", "GETNAME") == b"tester"
        client.send(encode("GET", "resp3:none"))
        assert client._line() == b"_"
        assert isinstance(client.call("CONFIG", "GET", "*"), dict)
        assert isinstance(client.call("COMMAND", "DOCS", "get"), dict)
        assert client.call("HELLO", "4").word == "NOPROTO"
        assert client.call("HELLO", "three").word == "NOPROTO"
        assert client.call("RESET") == "RESET"
        client.send(encode("GET", "resp3:none"))
        assert client._line() == b"$-1"
        assert isinstance(client.call("HELLO"), list)
        assert client.call("HELLO", "3", "AUTH", "user", "secret").word == "ERR"


def test_values_of_the_greatest_size(stage):
    cluster = stage.shared()
    value = bytes(range(256)) * (VALUE_SIZE_MAX // 256)
    with cluster[1].connect(60) as client:
        assert client.call("SET", "big", value) == "OK"
        assert client.call("STRLEN", "big") == VALUE_SIZE_MAX
    for node in cluster.nodes:
        with node.connect(60) as client:
            assert client.call("GET", "big") == value, f"node {node.number}"
    with cluster[2].connect(60) as client:
        replies = client.pipeline([("GET", "big")] * 5)
        assert all(reply == value for reply in replies)
    assert cluster[3].call("DEL", "big") == 1


def test_values_over_the_limit(stage):
    node = stage.shared()[1]
    node.call("SET", "over", "before")
    with node.connect(60) as client:
        try:
            client.send(encode("SET", "over", b"x" * (VALUE_SIZE_MAX + 1)))
        except Broken:
            pass  # The node may close before it has read what it refused.
        else:
            reply = client.reply()
            assert isinstance(reply, Failure) and reply.word == "ERR", reply
    assert node.call("GET", "over") == b"before"


def test_key_limits(stage):
    node = stage.shared()[1]
    longest = b"k" * KEY_SIZE_MAX
    with node.connect() as client:
        assert client.call("SET", longest, "v") == "OK"
        assert client.call("GET", longest) == b"v"
        assert client.call("DEL", longest) == 1
        for bad in (b"", longest + b"k"):
            for request in (("SET", bad, "v"), ("GET", bad), ("DEL", bad), ("MGET", "a", bad),
                            ("MSET", bad, "v"), ("EXISTS", bad), ("TTL", bad), ("EXPIRE", bad, 1),
                            ("KV.GET", bad), ("KV.SET", bad, "v"), ("KV.DEL", bad)):
                reply = client.call(*request)
                assert isinstance(reply, Failure) and reply.word == "ERR", (request[0], reply)
        odd = bytes(range(256))
        assert client.call("SET", odd, odd) == "OK"
        assert client.call("GET", odd) == odd
        assert client.call("SET", "empty", b"") == "OK"
        assert client.call("GET", "empty") == b""
        assert client.call("STRLEN", "empty") == 0


def test_protocol_errors_are_told_and_end_the_connection(stage):
    node = stage.shared()[1]
    bad = [
        b"*1\r\n+PING\r\n",
        b"*x\r\n",
        b"*99999999\r\n",
        b"*1\r\n$-5\r\n",
        b"*1\r\n$x\r\n",
        b"*2\r\n$3\r\nGET\r\n$99999999999999\r\n",
        b"x" * (70 << 10),
    ]
    for data in bad:
        with node.connect() as client:
            client.send(encode("PING") + data)
            assert client.reply() == "PONG", data[:30]
            reply = client.reply()
            assert isinstance(reply, Failure), (data[:30], reply)
            assert reply.startswith("ERR Protocol error"), (data[:30], reply)
            assert client.ended()
    assert node.call("PING") == "PONG"


def test_every_request_before_a_protocol_error_is_answered(stage):
    node = stage.shared()[1]
    with node.connect() as client:
        requests = [("SET", f"owed:{index}", "v") for index in range(100)]
        client.send(b"".join(encode(*request) for request in requests) + b"*z\r\n")
        assert [client.reply() for _ in requests] == ["OK"] * 100
        assert client.reply().word == "ERR"
        assert client.ended()


def test_quit_answers_first(stage):
    node = stage.shared()[1]
    with node.connect() as client:
        client.send(encode("SET", "quit", "v") + encode("QUIT") + encode("GET", "quit"))
        assert client.reply() == "OK"
        assert client.reply() == "OK"
        assert client.ended()


def test_a_reader_that_does_not_read(stage):
    """Answers that nobody takes must hold up their own connection only."""
    node = stage.shared()[1]
    value = b"v" * (1 << 20)
    with node.connect(60) as setter:
        assert setter.call("SET", "lazy", value) == "OK"
    with node.connect(60) as lazy:
        lazy.send(encode("GET", "lazy") * 200)  # 200 MiB of answers.
        for _ in range(50):
            assert node.call("PING") == "PONG"
            assert node.call("SET", "lazy:other", "v") == "OK"
        for _ in range(200):
            assert lazy.reply() == value


def test_many_connections(stage):
    node = stage.shared()[2]
    count = 500
    clients = [Client(node.client_port) for _ in range(count)]
    try:
        for index, client in enumerate(clients):
            client.send(encode("SET", f"many:{index}", str(index)))
        assert [client.reply() for client in clients] == ["OK"] * count
        lines = clients[0].call("CLIENT", "LIST").decode().splitlines()
        assert len(lines) >= count
    finally:
        for client in clients:
            client.close()


def test_connections_over_the_limit_are_refused(stage):
    cluster = stage.cluster(1, replicas=1, flags=["--client-connections-max", "4",
                                                  "--admin", "off"])
    cluster.start()
    # The connection that asked whether it is up may not be gone yet; the one that asks now stays.
    first = cluster[1].connect()
    wait_until(lambda: b"connected_clients:1\r" in first.call("INFO", "clients"), 5, "one client")
    clients = [first] + [cluster[1].connect() for _ in range(3)]
    assert [client.call("PING") for client in clients] == ["PONG"] * 4
    with cluster[1].connect() as fifth:
        assert fifth.reply() == "ERR max number of clients reached"
        assert fifth.ended()
    for client in clients:
        assert client.call("PING") == "PONG"
        client.close()
