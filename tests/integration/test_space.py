"""tests/integration/test_space.py -- a node on a small file system that runs full, really.

Needs root, to mount a tmpfs; without it the tests say so and pass.
"""
import os
import subprocess

from harness import wait_until
from resp import Failure

VALUE = 100_000
FLAGS = ("--storage-memtable", "2m", "--storage-wal-segment", "1m")


def small_node(stage, size):
    """A node of its own whose data lies on a tmpfs of `size`; None where there can be none."""
    cluster = stage.cluster(1, replicas=1, flags=FLAGS)
    folder = os.path.join(cluster.directory, "small")
    os.makedirs(folder)
    made = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
        stderr=subprocess.DEVNULL, check=False).returncode == 0
    if not made:
        print("# skipped: a tmpfs can only be mounted by root")
        return None

    def unmount():
        cluster.destroy()
        subprocess.run(["umount", folder], check=True)

    stage.defer(unmount)
    cluster[1].data_dir = os.path.join(folder, "node")
    cluster.start()
    return cluster[1]


def refused(node, key):
    """The words of the refusal; None if the value was taken."""
    said = node.call("SET", key, os.urandom(VALUE))
    if isinstance(said, Failure):
        return str(said)
    assert said == "OK", said
    return None


def write_until_refused(node, prefix):
    for number in range(2000):
        words = refused(node, f"{prefix}{number}")
        if words is not None:
            assert words.startswith("READONLY") and "no space" in words, words
            return number
    raise AssertionError("the file system never ran full")


def taken(node):
    return refused(node, "again") is None


def test_full_disk_and_space_again(stage):
    node = small_node(stage, "96m")
    if node is None:
        return
    filler = os.path.join(os.path.dirname(node.data_dir), "filler")
    with open(filler, "wb") as file:
        file.write(bytes(32 << 20))
    count = write_until_refused(node, "value")
    assert count > 50, count
    # Reads go on, deletes are taken, and what was refused was not done.
    assert len(node.call("GET", "value0")) == VALUE
    assert node.call("GET", f"value{count}") is None
    assert node.call("DEL", "value0") == 1
    assert node.call("GET", "value0") is None
    assert refused(node, "small") is not None
    os.remove(filler)
    wait_until(lambda: taken(node), 20, "writes resume once there is space")
    assert len(node.call("GET", "value1")) == VALUE
    node.kill()
    node.cluster.start()
    assert node.call("GET", "value0") is None
    assert len(node.call("GET", f"value{count - 1}")) == VALUE


def test_full_disk_and_deletes_alone(stage):
    node = small_node(stage, "64m")
    if node is None:
        return
    count = write_until_refused(node, "value")
    for number in range(count):
        assert node.call("DEL", f"value{number}") == 1, number
    wait_until(lambda: taken(node), 30, "writes resume once deletes made space")
    assert node.call("GET", "value1") is None
    assert len(node.call("GET", "again")) == VALUE
