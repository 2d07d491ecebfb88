"""tests/integration/test_topology.py -- the ring changes under load: nothing acknowledged is lost.

A dead node that is replaced, a plan that is aborted: each as an operator does it, with writers and
readers at quorum all the while. The readers hold that what a key is read to be never goes back; keys
that nobody touches meanwhile show that ranges are streamed. test_changes.py has the other changes.
"""
import json
import threading
import time

import journal
from harness import wait_until
from resp import Broken, Client, Failure
from test_kvctl import Kvctl

PLAN_SECONDS = 40


class Reader(threading.Thread):
    """Reads the writers' keys in turn, through nodes in turn; values of a key must not fall."""

    def __init__(self, nodes, keys):
        super().__init__(daemon=True)
        self.nodes = nodes
        self.keys = keys
        self.latest = {}
        self.count = 0
        self.wrong = []
        self.ending = threading.Event()

    def run(self):
        at = 0
        while not self.ending.is_set():
            node = self.nodes[at % len(self.nodes)]
            at += 1
            try:
                with Client(node.client_port, node.host, 10.0) as client:
                    for _ in range(100):
                        self.read_one(client, self.keys[self.count % len(self.keys)], node)
            except Broken:
                time.sleep(0.02)

    def read_one(self, client, key, node):
        value = client.call("GET", key)
        self.count += 1
        if isinstance(value, Failure):
            return
        number = int(value) if value is not None else -1
        if number < self.latest.get(key, -1):
            self.wrong.append(f"{key}: {number} after {self.latest[key]} through {node.number}")
        self.latest[key] = max(number, self.latest.get(key, -1))

    def finish(self):
        self.ending.set()
        self.join(60)
        assert not self.is_alive(), "a reader hangs"
        assert not self.wrong, "\n".join(self.wrong[:10])
        assert self.count > 0


class Load:
    """Writers and readers on `nodes`."""

    def __init__(self, nodes, name):
        self.writers = journal.start(nodes, name, 3, pause=0.001)
        keys = [key for writer in self.writers for key in writer.keys]
        self.readers = [Reader(nodes, keys), Reader(nodes, keys)]
        for reader in self.readers:
            reader.start()

    def finish(self, nodes):
        journal.finish(self.writers)
        for reader in self.readers:
            reader.finish()
        assert journal.total(self.writers)["acked"] > 100, journal.total(self.writers)
        journal.check(self.writers, nodes)


COLD_COUNT = 2000


def cold_write(node):
    """Keys that are left alone while the ring changes: nothing but streams brings them along."""
    with node.connect() as client:
        for number in range(COLD_COUNT):
            reply = client.call("KV.SET", f"cold:{number}", str(number), "LEVEL", "ALL")
            assert reply == "OK", reply


def cold_check(nodes):
    """Every replica had them, so every one that took its place has them: one is enough to ask."""
    for node in nodes:
        with node.connect() as client:
            for number in range(COLD_COUNT):
                value = client.call("KV.GET", f"cold:{number}", "LEVEL", "ONE")
                assert value == str(number).encode(), (node.number, number, value)


def kvctl_of(stage, *nodes):
    return Kvctl(stage, ",".join(f"127.0.0.1:{node.client_port}" for node in nodes))


def ring_of(kvctl):
    return json.loads(kvctl("ring", "show", "-o", "json"))


def joined(kvctl, number):
    return any(member["id"] == number and member["state"] == "joining"
               for member in ring_of(kvctl)["members"])


def held_by(kvctl, number):
    return sum(number in replicas for replicas in ring_of(kvctl)["ranges"])


def start_joining(cluster, kvctl, number):
    """A new node, known to the cluster."""
    node = cluster.joiner(cluster.running()[-1])
    assert node.number == number
    node.start()
    wait_until(lambda: joined(kvctl, number), 20, f"node {number} is known")
    return node


def commit(kvctl, *plans):
    for plan in plans:
        kvctl("cluster", "plan", *plan)
    said = kvctl("cluster", "commit", timeout=PLAN_SECONDS)
    assert ": done" in said, said
    return said


def test_a_killed_node_is_replaced_under_load(stage):
    cluster = stage.cluster().start()
    dead = cluster[cluster[1].status()["raft"]["leader"]]  # The hardest to do without.
    left = [node for node in cluster.nodes if node is not dead]
    kvctl = kvctl_of(stage, *left)
    cold_write(left[0])
    load = Load(left, "replace")
    wait_until(lambda: all(len(writer.log) > 50 for writer in load.writers), 20, "writes")
    dead.kill()
    new = start_joining(cluster, kvctl, 4)
    commit(kvctl, ("replace", str(dead.number), "4"))
    ring = ring_of(kvctl)
    now = sorted(node.number for node in [*left, new])
    assert [member["id"] for member in ring["members"]] == now
    assert all(sorted(replicas) == now for replicas in ring["ranges"])
    load.finish([*left, new])
    cold_check([*left, new])
    # Each of the others may fail now: the new one has what it stands in for.
    left[1].kill()
    wait_until(lambda: new.call("GET", "replace-0:0") is not None, 10, "a quorum with the new node")
    journal.check(load.writers, [left[0], new])


def test_an_abort_leaves_a_cluster_that_serves(stage):
    cluster = stage.cluster(flags=("--limits-stream-rate", "1m")).start()
    kvctl = kvctl_of(stage, *cluster.nodes)
    new = start_joining(cluster, kvctl, 4)
    load = Load([*cluster.nodes, new], "abort")
    kvctl("cluster", "plan", "join", "4")
    kvctl("cluster", "commit", "--no-wait")
    wait_until(lambda: held_by(kvctl, 4) > 0, 20, "some ranges have moved")
    said = kvctl("topo", "explain")
    assert "runs (join 4)" in said or "no plan runs" in said, said
    wait_until(lambda: ended(kvctl, "join", 4), 20, "the plan is ended or aborted")
    load.finish([*cluster.nodes, new])


def ended(kvctl, change, number):
    """Aborts the plan if it still runs."""
    plans = json.loads(kvctl("cluster", "history", "-o", "json"))["plans"]
    if any({"change": change, "node": number}.items() <= entry.items()
           for plan in plans for entry in plan["changes"]):
        return True
    stage_run = kvctl.stage.run([kvctl.stage.program("kvctl"), "cluster", "abort"], env=kvctl.env)
    assert stage_run.returncode in (0, 1), stage_run.stderr
    return False


def test_what_cannot_be_is_refused_with_the_reason(stage):
    kvctl = kvctl_of(stage, *stage.shared().nodes)
    kvctl("cluster", "plan", "leave", "7", code=1)
    assert "node 7 is no member; members are 1, 2, 3" in kvctl.said, kvctl.said
    kvctl("cluster", "plan", "weight", "1", "0", code=1)
    kvctl("cluster", "plan", "move", "5000", "1", "2", code=1)
    kvctl("cluster", "commit", code=1)
    assert "no plan is staged" in kvctl.said, kvctl.said
    kvctl("cluster", "abort", code=1)
    assert "no plan is running" in kvctl.said, kvctl.said
    kvctl("cluster", "clear", code=1)
    assert kvctl("cluster", "history", "-o", "json")
    assert "no plan runs" in kvctl("cluster", "show")
