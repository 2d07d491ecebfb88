"""tests/integration/test_admin.py -- the admin port: health, metrics, the ring."""
import json
import re
import signal
import socket

from harness import wait_until

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"^({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)$")
NUMBER = re.compile(r"^(?:[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?Inf|NaN)$")
SUFFIXES = {"summary": ("", "_sum", "_count"), "histogram": ("_bucket", "_sum", "_count"),
            "counter": ("",), "gauge": ("",)}


def exposition(text):
    """Reads the Prometheus text format, version 0.0.4, strictly. Returns {(name, labels): value}."""
    assert text.endswith("\n"), "the last line has no end"
    helps, types, samples, order = {}, {}, {}, []
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, words = line[7:].split(" ", 1)
            assert re.fullmatch(NAME, name), line
            assert name not in helps, f"second HELP of {name}"
            assert words.strip(), f"{name} has no words"
            helps[name] = words
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert kind in SUFFIXES, line
            assert name in helps and name not in types, f"TYPE of {name} out of place"
            types[name] = kind
            order.append(name)
        else:
            found = SAMPLE.match(line)
            assert found, f"not a sample: {line!r}"
            name, labels, number = found.groups()
            assert NUMBER.match(number), f"not a number: {line!r}"
            # A sample belongs to the family whose TYPE came last: families are not mixed.
            assert order, f"{name} before any TYPE"
            family = order[-1]
            assert name in [family + suffix for suffix in SUFFIXES[types[family]]], \
                f"{name} stands under {family}"
            assert (name, labels) not in samples, f"{line!r} for the second time"
            value = float(number)
            if types[family] == "counter":
                assert value >= 0 and name.endswith("_total"), line
            else:
                assert not name.endswith("_total"), line
            samples[name, labels] = value
    assert set(types) == set(helps)
    for name in types:
        assert any(sample[0].startswith(name) for sample in samples), f"{name} has no sample"
    return samples


def test_health(stage):
    node = stage.shared()[1]
    status, kind, body = node.http("/livez")
    assert (status, body) == (200, b"ok\n") and kind.startswith("text/plain"), (status, body)
    status, _, body = node.http("/readyz")
    assert (status, body) == (200, b"serving\n"), (status, body)
    assert node.http("/nothing")[0] == 404


def test_metrics(stage):
    cluster = stage.shared()
    before = exposition(cluster[1].http("/metrics")[2].decode())
    with cluster[1].connect() as client:
        assert set(client.pipeline([("SET", f"metric:{i}", "v") for i in range(100)])) == {"OK"}
        assert client.call("INCR", "metric:0").word == "ERR"
    status, kind, body = cluster[1].http("/metrics")
    assert status == 200 and kind.startswith("text/plain; version=0.0.4"), kind
    after = exposition(body.decode())
    assert all(name.startswith("ringkv_") for name, _ in after)
    assert set(before) <= set(after)
    assert after["ringkv_serving", None] == 1
    assert after["ringkv_members", None] == 3
    assert [after["ringkv_peer_up", f'peer="{number}"'] for number in (1, 2, 3)] == [1, 1, 1]
    leaders = [exposition(node.http("/metrics")[2].decode())["ringkv_raft_leader", None]
               for node in cluster.nodes]
    assert sum(leaders) == 1, leaders
    grown = {name for name, value in after.items() if value >= before.get(name, 0) + 100}
    assert any("write" in name[0] for name in grown), sorted(grown)
    for key, value in before.items():
        if key[0].endswith("_total"):
            assert after[key] >= value, f"{key} went back"


def test_the_reader_of_metrics_is_strict(_stage):
    good = "# HELP a_total Words.\n# TYPE a_total counter\na_total 1\n"
    exposition(good)
    bad = [good[:-1], "a_total 1\n", good + "a_total 1\n", good.replace(" 1", " one"),
           good.replace("counter", "count"), good.replace("a_total 1", "a_total{x=1} 1"),
           good + "b 1\n", good.replace("a_total", "a"), good.replace("# HELP a_total Words.\n", ""),
           good + "\n", good.replace("a_total 1\n", "")]
    for text in bad:
        try:
            exposition(text)
        except AssertionError:
            continue
        raise AssertionError(f"accepted: {text!r}")


def test_ring_and_status(stage):
    cluster = stage.shared()
    pages = [json.loads(node.http("/ring.json")[2]) for node in cluster.nodes]
    assert pages[0] == pages[1] == pages[2]
    ring = pages[0]
    assert re.fullmatch("[0-9a-f]{16}", ring["cluster_id"])
    assert len(ring["ranges"]) == ring["range_count"] == 1024
    assert {member["state"] for member in ring["members"]} == {"active"}
    for node, member in zip(cluster.nodes, ring["members"]):
        assert member["client"] == f"127.0.0.1:{node.client_port}"
        assert member["admin"] == f"127.0.0.1:{node.admin_port}"
    status, kind, body = cluster[2].http("/status.json")
    assert status == 200 and kind.startswith("application/json")
    assert json.loads(body)["id"] == 2


def test_readyz_before_the_cluster_exists(stage):
    cluster = stage.cluster()
    cluster[1].start()
    wait_until(lambda: cluster[1].status()["state"] == "joining", 10, "node 1 waits for others")
    assert cluster[1].http("/livez")[0] == 200
    status, _, body = cluster[1].http("/readyz")
    assert (status, body) == (503, b"joining\n"), (status, body)
    assert cluster[1].call("SET", "a", "b").word == "LOADING"
    assert cluster[1].call("GET", "a").word == "LOADING"
    exposition(cluster[1].http("/metrics")[2].decode())
    assert json.loads(cluster[1].http("/ring.json")[2])["ranges"] == []
    cluster.start()
    assert cluster[1].http("/readyz")[0] == 200
    assert cluster[1].call("SET", "a", "b") == "OK"


def test_ports_listen_at_their_address_alone(stage):
    """127.0.0.2 is this machine too: who listens at every address answers there."""
    node = stage.shared()[1]
    for port in (node.client_port, node.peer_port, node.admin_port):
        socket.create_connection(("127.0.0.1", port), 5).close()
        try:
            socket.create_connection(("127.0.0.2", port), 5).close()
        except ConnectionRefusedError:
            continue
        raise AssertionError(f"port {port} answers at 127.0.0.2")


def test_odd_requests(stage):
    node = stage.shared()[3]
    for data in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x00\xff" * 500, b"GET " + b"/x" * 9000 + b" HTTP/1.1\r\n\r\n",
                 b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
                 b"GET /metrics HTTP/1.1\r\nHost: x\r\n"):
        with socket.create_connection(("127.0.0.1", node.admin_port), 5) as connection:
            connection.sendall(data)
            connection.settimeout(0.2)
            try:
                connection.recv(1 << 16)
            except OSError:
                pass
    assert node.http("/livez")[0] == 200
    for _ in range(200):
        assert node.http("/metrics")[0] == 200


def test_pages_while_the_node_is_paused_and_ended(stage):
    """Readers that go away before their page comes must do no harm."""
    cluster = stage.cluster(1, replicas=1)
    cluster.start()
    node = cluster[1]
    for _ in range(20):
        node.signal(signal.SIGSTOP)
        connection = socket.create_connection(("127.0.0.1", node.admin_port), 5)
        connection.sendall(b"GET /ring.json HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.close()
        node.signal(signal.SIGCONT)
    held = socket.create_connection(("127.0.0.1", node.admin_port), 5)
    held.sendall(b"GET /metrics HTTP/1.1\r\n")
    assert node.http("/readyz")[0] == 200
    assert node.stop() == 0
    held.close()
