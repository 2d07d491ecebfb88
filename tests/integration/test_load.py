"""tests/integration/test_load.py -- what nodes and ranges hold and serve, hot keys, and moves that
make load more even."""
import json
import os
import threading
import time

from harness import wait_until
from resp import Broken
from test_kvctl import OK, USAGE
from test_topology import commit, kvctl_of

FAST = ("--load-half-life-s", "5", "--load-survey-s", "1", "--load-hot-key-stride", "4")


def asked(kvctl, *words):
    return json.loads(kvctl(*words, "-o", "json"))


class Asker(threading.Thread):
    """Reads one key through all nodes in turn, and knows how often a second."""

    def __init__(self, nodes, key):
        super().__init__(daemon=True)
        self.nodes = nodes
        self.key = key
        self.times = []
        self.ending = threading.Event()

    def run(self):
        clients = [node.connect() for node in self.nodes]
        while not self.ending.is_set():
            try:
                clients[len(self.times) % len(clients)].call("GET", self.key)
                self.times.append(time.monotonic())
            except Broken:
                return
        for client in clients:
            client.close()

    def rate(self, seconds):
        now = time.monotonic()
        return sum(1 for at in self.times[-100000:] if at > now - seconds) / seconds

    def finish(self):
        self.ending.set()
        self.join(30)
        assert not self.is_alive(), "an asker hangs"


def test_load_and_hot_keys_are_those_that_were_asked_for(stage):
    cluster = stage.cluster(flags=FAST).start()
    kvctl = kvctl_of(stage, *cluster.nodes)
    with cluster[1].connect() as client:
        for number in range(1000):
            assert client.call("KV.SET", f"load:{number}", "v" * 100, "LEVEL", "ALL") == "OK"
    hot = b"load:\x00\\hot"
    place = json.loads(cluster[1].call("KV.LOCATE", hot))
    asker = Asker(cluster.nodes, hot)
    asker.start()

    def hottest():
        keys = asked(kvctl, "hot-keys")["keys"]
        return keys and keys[0]["key"] == "load:\\x00\\\\hot" and keys[0]["nodes"] == 3

    wait_until(lambda: len(asker.times) > 0 and asker.times[-1] - asker.times[0] > 6, 60, "reads")
    wait_until(hottest, 20, "the hot key is known to all")
    told = asked(kvctl, "hot-keys")["keys"][0]
    true_rate = asker.rate(5)
    load = asked(kvctl, "ring", "load", "--ranges")
    assert (told["size"], told["shown"], told["writes_per_s"]) == (len(hot), len(hot), 0), told
    assert told["range"] == place["range"] and told["replicas"] == place["replicas"], told
    assert true_rate / 2 < told["per_s"] < true_rate * 2, (true_rate, told)
    assert told["error_per_s"] < told["per_s"], told
    for node in load["nodes"]:
        assert node["known"] and node["ranges"] == 1024 and node["space_free"] > 0, node
        assert 1000 <= node["keys"] <= 1100 and node["bytes"] > 100 * 1000, node
    # Two of three replicas are asked for each read.
    reads = sum(node["reads_per_s"] for node in load["nodes"])
    assert true_rate < reads < true_rate * 4, (true_rate, load["nodes"])
    busiest = max(load["ranges"], key=lambda entry: entry["reads_per_s"])
    assert busiest["range"] == place["range"], busiest
    assert sum(entry["keys"] for entry in load["ranges"]) >= 3000
    rows = kvctl("ring", "load", "--ranges", "--limit", "2", "-o", "tsv").splitlines()
    assert [int(row.split("\t")[0]) for row in rows] == [place["range"]] * 2, rows
    assert len(kvctl("ring", "load").splitlines()) == 4
    assert "load:\\x00\\\\hot" in kvctl("hot-keys")
    metrics = cluster[1].http("/metrics")[2].decode()
    assert "\nringkv_load_read_rate " in metrics and "hot" not in metrics
    asker.finish()
    cluster[3].pause()
    load = asked(kvctl, "ring", "load")
    assert [node["known"] for node in load["nodes"]] == [True, True, False], load
    assert "node 3 did not answer" in kvctl.said, kvctl.said
    cluster[3].resume()


def test_of_hot_keys_no_more_is_shown_than_may_be(stage):
    for size, shown in (("4", "hot:"), ("0", "")):
        cluster = stage.cluster(1, 1, flags=(*FAST, "--load-hot-key-bytes", size)).start()
        kvctl = kvctl_of(stage, cluster[1])
        asker = Asker(cluster.nodes, "hot:secret")
        asker.start()
        wait_until(lambda kvctl=kvctl: asked(kvctl, "hot-keys")["keys"], 20, "a hot key")
        told = asked(kvctl, "hot-keys")["keys"][0]
        assert (told["key"], told["size"], told["shown"]) == (shown, 10, len(shown)), told
        assert "secret" not in kvctl("hot-keys")
        asker.finish()
        assert "secret" not in cluster[1].log()
        cluster.destroy()


def crowd(cluster, size, count):
    """Large values, all in ranges that nodes 1 and 2 hold. Nothing that packs: streams bring ranges
    as tables, while what was written may still lie in memory."""
    with cluster[1].connect() as client:
        number = written = 0
        while written < count:
            key = f"crowd:{number}"
            number += 1
            if sorted(json.loads(client.call("KV.LOCATE", key))["replicas"]) == [1, 2]:
                assert client.call("KV.SET", key, os.urandom(size), "LEVEL", "ALL") == "OK"
                written += 1


def test_balance_is_proposed_staged_and_comes_about(stage):
    cluster = stage.cluster(4, 2, flags=(*FAST, "--ranges", "64")).start()
    kvctl = kvctl_of(stage, *cluster.nodes)
    by_bytes = ("ring", "balance", "--reads", "0", "--writes", "0")
    empty = asked(kvctl, *by_bytes)
    assert empty["moves"] == [] and empty["reason"] == "there is no load to speak of", empty
    crowd(cluster, 20000, 200)
    wait_until(lambda: asked(kvctl, *by_bytes)["imbalance"] > 1.8, 10, "a look at the ranges")
    before = asked(kvctl, *by_bytes)
    assert before["imbalance_after"] < 1.5, before
    assert before["moves"] and all(move["from"] in (1, 2) and move["to"] in (3, 4)
                                   for move in before["moves"]), before["moves"]
    assert before["bytes"] == sum(move["bytes"] for move in before["moves"])
    said = kvctl(*by_bytes)
    assert "the busiest node carries" in said and "to copy: about" in said, said
    few = asked(kvctl, *by_bytes, "--moves", "2")
    assert {move["from"] for move in few["moves"]} == {1, 2}, few["moves"]
    assert asked(kvctl, *by_bytes, "--gain", "10000")["moves"] == []
    kvctl(*by_bytes, "--gain", "many", code=USAGE)
    assert "not a number" in kvctl.said
    kvctl(*by_bytes, "--stage", code=OK)
    assert "kvctl cluster commit" in kvctl.said, kvctl.said
    staged = asked(kvctl, *by_bytes)
    assert staged["moves"] == [] and "a plan is staged" in staged["reason"], staged
    commit(kvctl)

    def even():
        after = asked(kvctl, *by_bytes)
        return after["imbalance"] < before["imbalance_after"] + 0.15

    wait_until(even, 30, "bytes lie where they were to go")
    held = {node["id"]: node["bytes"] for node in asked(kvctl, "ring", "load")["nodes"]}
    assert max(held.values()) < 1.6 * sum(held.values()) / len(held), held


def autoscale(node):
    status, kind, body = node.http("/autoscale")
    assert status == 200 and kind.startswith("application/json"), (status, kind)
    return json.loads(body)


def test_more_nodes_are_wanted_while_there_are_more_requests_than_they_are_good_for(stage):
    limits = ("--autoscale-node-requests", "100", "--autoscale-grow-s", "3")
    cluster = stage.cluster(flags=("--load-half-life-s", "1", "--load-survey-s", "1", *limits)).start()
    kvctl = kvctl_of(stage, *cluster.nodes)
    wait_until(lambda: all(autoscale(node)["steady"] for node in cluster.nodes), 20, "figures")
    idle = autoscale(cluster[1])
    assert (idle["nodes"], idle["wanted"], idle["direction"]) == (3, 3, "hold"), idle
    assert idle["disk"]["size"] > 0 and idle["requests"]["node_requests"] == 100, idle
    askers = [Asker(cluster.nodes, f"scale:{number}") for number in range(2)]
    for asker in askers:
        asker.start()
    wait_until(lambda: all(autoscale(node)["wanted"] > 3 for node in cluster.nodes), 30, "growth")
    busy = autoscale(cluster[2])
    assert busy["direction"] == "grow" and busy["requests"]["used_pct"] > 75, busy
    said = kvctl("cluster", "autoscale")
    assert "3 nodes, " in said and "grow for" in said and "requests" in said, said
    assert json.loads(cluster[3].call("KV.AUTOSCALE"))["wanted"] > 3
    metrics = cluster[1].http("/metrics")[2].decode()
    assert "\nringkv_autoscale_nodes_wanted " in metrics
    for asker in askers:
        asker.finish()
    wait_until(lambda: autoscale(cluster[1])["direction"] == "hold", 30, "the load has gone")
    assert autoscale(cluster[1])["wanted"] == 3
    cluster[3].kill()
    wait_until(lambda: not autoscale(cluster[1])["steady"], 30, "a silent node is noticed")
    assert autoscale(cluster[1])["reason"] == "a node is silent"
