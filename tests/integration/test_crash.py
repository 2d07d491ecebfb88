"""tests/integration/test_crash.py -- SIGKILL of nodes in the middle of their work, and restarts."""
import random
import re
import subprocess
import threading
import time

import journal
from harness import die_with_parent, slow


def kill_all(cluster):
    """All at about the same moment, none given time to notice the others."""
    for node in cluster.nodes:
        node.signal(9)
    for node in cluster.nodes:
        node.kill()


def test_all_nodes_are_killed_under_load(stage):
    cluster = stage.cluster(flags=["--storage-memtable", "1m", "--storage-wal-segment", "1m"])
    cluster.start()
    writers = []
    for round_number in range(2 if stage.quick else 5):
        batch = journal.start(cluster.nodes, f"crash-{round_number}", 4, timeout=8)
        time.sleep(random.uniform(0.5, 2.0))
        kill_all(cluster)
        journal.finish(batch)
        writers += batch
        assert journal.total(batch)["acked"] > 100, journal.total(batch)
        cluster.start()
        journal.check(writers, cluster.nodes)
    print(f"# {journal.total(writers)}")


def test_sampled_keys_after_a_benchmark_and_a_crash(stage):
    """redis-benchmark runs while all nodes are killed; 1000 sampled keys are right everywhere."""
    cluster = stage.cluster().start()
    keys = 20000
    with cluster[1].connect(60) as client:
        for first in range(0, keys, 1000):
            requests = [("SET", f"sample:{index}", f"value {index}" * (1 + index % 20))
                        for index in range(first, first + 1000)]
            assert set(client.pipeline(requests)) == {"OK"}
    load = subprocess.Popen(
        ["redis-benchmark", "-p", str(cluster[2].client_port), "-t", "set", "-n", "100000000",
         "-r", "100000", "-P", "16", "-q"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent)
    try:
        time.sleep(2.0)
        assert load.poll() is None
        kill_all(cluster)
    finally:
        load.kill()
        load.wait()
    cluster.start()
    sample = random.sample(range(keys), 1000)
    for node in cluster.nodes:
        with node.connect(60) as client:
            values = client.pipeline([("GET", f"sample:{index}") for index in sample])
        for index, value in zip(sample, values):
            assert value == (f"value {index}" * (1 + index % 20)).encode(), (node.number, index)


def test_one_node_after_another_is_killed_and_comes_back(stage):
    """A rolling restart by SIGKILL: nothing is lost, and there is always a quorum."""
    cluster = stage.cluster(flags=["--storage-memtable", "1m", "--storage-wal-segment", "1m"])
    cluster.start()
    writers = journal.start(cluster.nodes, "rolling", 4)
    for node in (cluster.nodes if stage.quick else cluster.nodes * 3):
        time.sleep(1.0)
        node.kill()
        time.sleep(1.0)
        node.start()
        cluster.wait_up()
    journal.finish(writers)
    counts = journal.total(writers)
    print(f"# {counts}")
    for writer in writers:
        for entry in writer.log:
            # A node that starts answers LOADING; the writer went on with another write.
            assert entry.outcome != "definite" or entry.reply.word == "LOADING", entry.reply
    assert counts["indeterminate"] < counts["acked"] / 50
    journal.check(writers, cluster.nodes)


@slow
def test_a_node_is_killed_while_it_starts(stage):
    """Recovery itself is interrupted, again and again, at random moments."""
    cluster = stage.cluster(1, replicas=1,
                            flags=["--storage-memtable", "1m", "--storage-wal-segment", "1m"])
    cluster.start()
    writers = []
    for round_number in range(5 if stage.quick else 25):
        batch = journal.start(cluster.nodes, f"start-{round_number}", 2, timeout=5)
        time.sleep(0.2)
        cluster[1].kill()
        journal.finish(batch)
        writers += batch
        for _ in range(3):
            cluster[1].start()
            time.sleep(random.uniform(0.0, 0.03))
            cluster[1].kill()
        cluster.start()
        journal.check(writers, cluster.nodes)


def test_deleted_keys_stay_deleted(stage):
    cluster = stage.cluster(flags=["--storage-memtable", "1m", "--storage-wal-segment", "1m"])
    cluster.start()
    count = 2000
    keys = [f"dead:{index}" for index in range(count)]
    with cluster[1].connect(60) as client:
        assert set(client.pipeline([("SET", key, "x" * 500) for key in keys])) == {"OK"}
        cluster[2].kill()
        assert set(client.pipeline([("DEL", key) for key in keys[::2]])) == {1}
        # Enough to flush and merge what the deletes lie in.
        assert set(client.pipeline([("SET", f"fill:{index}", "y" * 1000)
                                    for index in range(5000)])) == {"OK"}
    cluster[2].start()
    cluster.wait_up()
    kill_all(cluster)
    cluster.start()
    for node in cluster.nodes:
        with node.connect(60) as client:
            values = client.pipeline([("GET", key) for key in keys])
        assert values == [None, b"x" * 500] * (count // 2), f"node {node.number}"


def test_a_clean_stop_needs_no_replay_and_loses_nothing(stage):
    cluster = stage.cluster().start()
    writers = journal.start(cluster.nodes, "clean", 3)
    time.sleep(1.0)
    stopped = [threading.Thread(target=node.stop) for node in cluster.nodes]
    for thread in stopped:
        thread.start()
    for thread in stopped:
        thread.join(30)
    assert all(node.process is None for node in cluster.nodes)
    journal.finish(writers)
    cluster.start()
    journal.check(writers, cluster.nodes)
    for node in cluster.nodes:
        assert not re.search(r" error ", node.log()), node.log()
