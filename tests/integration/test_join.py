"""tests/integration/test_join.py -- a node that joins a cluster while it serves."""
import shutil

from harness import wait_until

SERVING_S = 20


def serving(node):
    return node.status()["state"] == "serving"


def test_a_fourth_node_serves_what_three_hold(stage):
    cluster = stage.cluster().start()
    for number in range(50):
        assert cluster[1].call("SET", f"before-{number}", str(number)) == "OK"
    joiner = cluster.joiner(contact=cluster[2])
    joiner.start()
    cluster.wait_up()
    for number in range(50):
        assert joiner.call("GET", f"before-{number}") == str(number).encode()
        assert joiner.call("SET", f"after-{number}", str(number)) == "OK"
    for number in range(50):
        assert cluster[3].call("GET", f"after-{number}") == str(number).encode()
    members = {member["id"]: member for member in cluster[1].status()["members"]}
    assert sorted(members) == [1, 2, 3, 4]

    # Restarts with the same settings, by its end and by SIGKILL, change nothing.
    epoch = cluster[1].status()["epoch"]
    assert joiner.stop() == 0
    joiner.start()
    cluster.wait_up()
    joiner.kill()
    joiner.start()
    cluster.wait_up()
    assert joiner.call("GET", "after-7") == b"7"
    assert cluster[1].status()["epoch"] == epoch


def test_a_contact_that_is_down_is_waited_for(stage):
    cluster = stage.cluster(1, replicas=1).start()
    assert cluster[1].call("SET", "a", "b") == "OK"
    assert cluster[1].stop() == 0
    joiner = cluster.joiner()
    joiner.start()
    wait_until(lambda: joiner.status()["state"] == "joining", SERVING_S, "the joiner waits")
    cluster[1].start()
    cluster.wait_up()
    assert joiner.call("GET", "a") == b"b"


def test_a_member_s_number_is_not_given_twice(stage):
    cluster = stage.cluster().start()
    assert cluster[1].call("SET", "a", "b") == "OK"
    joiner = cluster.joiner()
    joiner.number = 3
    joiner.start()
    assert joiner.process.wait(SERVING_S) == 1
    joiner.process = None
    assert "a member has this node id, with another data folder" in joiner.log()
    assert serving(cluster[3]) and cluster[3].call("GET", "a") == b"b"


def test_a_wiped_joiner_is_refused_under_its_old_number(stage):
    cluster = stage.cluster().start()
    joiner = cluster.joiner()
    joiner.start()
    cluster.wait_up()
    joiner.kill()
    shutil.rmtree(joiner.data_dir)
    joiner.start()
    assert joiner.process.wait(SERVING_S) == 1
    joiner.process = None
    assert "a member has this node id, with another data folder" in joiner.log()
