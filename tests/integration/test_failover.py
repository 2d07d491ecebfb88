"""tests/integration/test_failover.py -- nodes that are killed or stand still while others serve.

No test asserts how fast the machine is: bounds on time are those the configuration promises, with
room for a busy machine.
"""
import threading
import time

import journal
from harness import slow
from resp import Broken, Client, Failure

DOWN_S = 3.0        # From a kill until new writes are refused at once.
REFUSED_S = 0.2     # "At once".
REQUEST_S = 5.0     # timeouts.request_ms


class Reader(threading.Thread):
    """Reads one key over and over through one node; keeps failures and times."""

    def __init__(self, node, key):
        super().__init__(daemon=True)
        self.node, self.key = node, key
        self.ending = threading.Event()
        self.reads = []

    def run(self):
        with Client(self.node.client_port, timeout=15) as client:
            while not self.ending.is_set():
                started = time.monotonic()
                try:
                    reply = client.call("GET", self.key)
                except Broken as error:
                    reply = Failure(f"BROKEN {error}")
                self.reads.append((started, time.monotonic(), reply))

    def finish(self):
        self.ending.set()
        self.join(30)


def test_one_of_three_is_killed_under_load(stage):
    cluster = stage.cluster().start()
    left = [cluster[1], cluster[3]]
    assert cluster[1].call("SET", "stays", "here") == "OK"
    writers = journal.start(left, "one-killed", 4)
    readers = [Reader(node, "stays") for node in left]
    for reader in readers:
        reader.start()
    time.sleep(1.0 if stage.quick else 3.0)
    cluster[2].kill()
    killed = time.monotonic()
    time.sleep(4.0 if stage.quick else 10.0)
    journal.finish(writers)
    for reader in readers:
        reader.finish()

    for writer in writers:
        failures = [entry for entry in writer.log if entry.outcome != "acked"]
        for entry in failures:
            # Only what was under way when the node died, and no later than its time-out.
            assert entry.started <= killed + 0.5, (entry.reply, entry.started - killed)
            assert entry.took <= REQUEST_S + 1, (entry.reply, entry.took)
        late = [entry for entry in writer.log if entry.started > killed + 1]
        assert len(late) > 100, f"only {len(late)} writes in the time after the kill"
    failed_reads = [(start - killed, reply) for reader in readers
                    for start, _, reply in reader.reads if reply != b"here"]
    assert not [start for start, _ in failed_reads if start > 0.5], failed_reads[:5]
    longest = max(entry.took for writer in writers for entry in writer.log)
    print(f"# {journal.total(writers)}, longest write {longest * 1000:.0f} ms, "
          f"{len(failed_reads)} failed reads")
    journal.check(writers, left)

    cluster[2].start()
    cluster.wait_up()
    journal.check(writers, cluster.nodes)
    # What it missed reaches the node that was away: a read at ALL repairs, then it alone knows.
    journal.check(writers, cluster.nodes, ("KV.GET", "LEVEL", "all"))
    journal.check(writers, [cluster[2]], ("KV.GET", "LEVEL", "one"))


def test_two_of_three_are_killed(stage):
    cluster = stage.cluster().start()
    writers = journal.start([cluster[1]], "two-killed", 3)
    time.sleep(1.0)
    cluster[2].kill()
    cluster[3].kill()
    killed = time.monotonic()
    time.sleep(DOWN_S)
    journal.finish(writers)

    refused, took = [], []
    with cluster[1].connect(15) as client:
        while time.monotonic() < killed + DOWN_S + (2 if stage.quick else 5):
            number = len(refused)
            started = time.monotonic()
            reply = client.call("SET", f"refused:{number}", "never")
            took.append(time.monotonic() - started)
            assert isinstance(reply, Failure) and reply.word == "UNAVAILABLE", reply
            refused.append(f"refused:{number}")
            time.sleep(0.005)
        assert client.call("GET", "refused:0").word == "UNAVAILABLE"
        assert client.call("MSET", "refused:m", "never", "refused:n", "never").word == "UNAVAILABLE"
        assert client.call("KV.SET", "one:a", "v", "LEVEL", "one") == "OK"
        assert client.call("KV.GET", "one:a", "LEVEL", "one") == b"v"
        assert client.call("PING") == "PONG"
    took.sort()
    print(f"# {len(refused)} writes refused, median {took[len(took) // 2] * 1000:.2f} ms, longest "
          f"{took[-1] * 1000:.1f} ms; before: {journal.total(writers)}")
    assert took[len(took) * 99 // 100] < REFUSED_S, took[-5:]

    cluster[2].start()
    cluster[3].start()
    cluster.wait_up()
    journal.check(writers, cluster.nodes)
    for node in cluster.nodes:
        with node.connect(30) as client:
            assert client.call("EXISTS", *refused, "refused:m", "refused:n") == 0, node.number
            assert client.call("GET", "one:a") == b"v"
            assert client.call("SET", "again", "v") == "OK"
    # The only replica that may hold them has none of them either.
    with cluster[1].connect() as client:
        for key in refused:
            assert client.call("KV.GET", key, "LEVEL", "one") is None, key


def test_a_node_stands_still(stage):
    """SIGSTOP: connections stay open and nothing answers. Then it goes on as if nothing was."""
    cluster = stage.cluster().start()
    rounds = 1 if stage.quick else 3
    writers = journal.start([cluster[1], cluster[2]], "paused", 4)
    time.sleep(0.5)
    for _ in range(rounds):
        cluster[3].pause()
        paused = time.monotonic()
        time.sleep(4.0)
        cluster[3].resume()
        time.sleep(1.5)
    journal.finish(writers)
    counts = journal.total(writers)
    print(f"# {counts}")
    assert counts["definite"] == counts["indeterminate"] == 0, [
        (entry.reply, entry.started - paused) for writer in writers for entry in writer.log
        if entry.outcome != "acked"][:5]
    cluster.wait_up()
    journal.check(writers, cluster.nodes)


@slow
def test_a_write_that_was_under_way_when_the_node_stood_still(stage):
    """A coordinator pauses in the middle of its writes; others go on meanwhile."""
    cluster = stage.cluster().start()
    through_three = journal.start([cluster[3]], "in-pause", 2, timeout=30)
    others = journal.start([cluster[1], cluster[2]], "others", 2)
    for _ in range(1 if stage.quick else 3):
        time.sleep(0.7)
        cluster[3].pause()
        time.sleep(3.5)
        journal_before = journal.total(through_three)
        time.sleep(0.2)
        assert journal.total(through_three) == journal_before, "the node does not stand still"
        cluster[3].resume()
    time.sleep(1)
    journal.finish(through_three + others)
    print(f"# through the paused node {journal.total(through_three)}, others "
          f"{journal.total(others)}")
    cluster.wait_up()
    journal.check(through_three + others, cluster.nodes)


@slow
def test_five_nodes_of_which_two_die(stage):
    cluster = stage.cluster(5, replicas=5).start()
    left = [cluster[1], cluster[2], cluster[3]]
    writers = journal.start(left, "five", 3)
    time.sleep(1)
    cluster[4].kill()
    time.sleep(1)
    cluster[5].kill()
    killed = time.monotonic()
    time.sleep(4)
    journal.finish(writers)
    print(f"# {journal.total(writers)}")
    for writer in writers:
        for entry in writer.log:
            assert entry.outcome == "acked" or entry.started <= killed + 0.5, entry.reply
        assert [entry for entry in writer.log if entry.started > killed + 1]
    cluster[4].start()
    cluster[5].start()
    cluster.wait_up()
    journal.check(writers, cluster.nodes)
