"""tests/integration/test_recover.py -- most voters lost for good: kvctl raft status and recover.

The old voters come back in the worst way: two of them first, alone, so that they agree among
themselves that nothing happened. Then the recovered node must win, and they must end as its
followers, with their Raft logs emptied.
"""
import json
import os
import shutil

from harness import wait_until
from test_kvctl import FAILED, USAGE, Kvctl

VOTE_SECONDS = 40  # Looked at every half second; each step is a round trip and a sync.


def raft(node):
    return node.status()["raft"]


def leads(node):
    return raft(node)["role"] == "leader"


def duties(node):
    return {server["id"]: server["duty"] for server in raft(node)["servers"]}


def members(node):
    return {member["id"] for member in json.loads(node.call("KV.RING"))["members"]}


def wait_for_three_voters(leader):
    wait_until(lambda: leads(leader) and duties(leader) ==
               {1: "voter", 2: "voter", 3: "voter"}, VOTE_SECONDS, "three voters")


def test_status_shows_who_votes_and_what_they_lack(stage):
    cluster = stage.cluster().start()
    kvctl = Kvctl(stage, f"127.0.0.1:{cluster[1].client_port}")
    wait_until(lambda: all(raft(node)["leader"] != 0 for node in cluster.nodes), 20, "a leader")
    shown = json.loads(kvctl("raft", "status", "-o", "json"))
    assert sorted(row["server"] for row in shown) == [1, 2, 3], shown
    assert {row["duty"] for row in shown} == {"voter"}, shown
    assert sum(row["raft"] == "leader" for row in shown) == 1, shown
    wait_until(lambda: all(row["behind"] == 0 for row in
                           json.loads(kvctl("raft", "status", "-o", "json"))), 20, "none behind")


def test_recover_refuses_what_it_must(stage):
    cluster = stage.cluster().start()
    kvctl = Kvctl(stage)
    kvctl("raft", "recover", code=USAGE)
    kvctl("raft", "recover", "--data", cluster[1].data_dir, "--yes", code=FAILED)
    assert "in use" in kvctl.said, kvctl.said
    kvctl("raft", "recover", "--data", stage.directory("nothing"), "--yes", code=FAILED)
    assert "no node's folder" in kvctl.said, kvctl.said
    for node in cluster.nodes:
        node.kill()
    shown = kvctl("raft", "recover", "--data", cluster[1].data_dir, code=FAILED, input="2\n",
                  stdin=None)
    assert "generation 1" in shown and "recovered" not in shown, shown
    assert "nothing was done" in kvctl.said, kvctl.said
    cluster.start()


def test_the_last_of_three_goes_on_and_old_voters_follow(stage):
    cluster = stage.cluster().start()
    last, old = cluster[3], [cluster[1], cluster[2]]
    for number in range(50):
        assert last.call("SET", f"key-{number}", str(number)) == "OK"
    for node in cluster.nodes:
        node.kill()
    kvctl = Kvctl(stage)
    said = kvctl("raft", "recover", "--data", last.data_dir, input="3\n", stdin=None)
    assert "recovered: generation 2" in said, said
    assert "3 (votes)" in said and "1 (votes)" not in said.splitlines()[-1], said

    # The old ones are a majority of what they were: one of them leads again.
    for node in old:
        node.start()
    wait_until(lambda: any(leads(node) for node in old), 30, "the old voters agree")

    last.start()
    cluster.wait_up()
    wait_for_three_voters(last)
    wait_until(lambda: all(raft(node)["leader"] == 3 for node in old), 20, "all follow")
    for node in old:
        assert "raft.generation_over ours=1 now=2" in node.log(), node.number
        assert 'raft.emptied generation=1 status="ok"' in node.log(), node.number
    assert "raft.generation_over" not in last.log()
    for number in range(50):
        for node in cluster.nodes:
            assert node.call("GET", f"key-{number}") == str(number).encode(), (node.number, number)

    # Who leads in the new generation can change, and all know the generation after a restart.
    for node in cluster.nodes:
        node.stop()
    cluster.start()
    wait_until(lambda: any(leads(node) for node in cluster.nodes), 30, "a leader")
    assert duties(next(node for node in cluster.nodes if leads(node))) == {
        1: "voter", 2: "voter", 3: "voter"}


def test_an_old_folder_that_comes_back_later_is_shut_out(stage):
    cluster = stage.cluster().start()
    last, away, copied = cluster[3], cluster[1], cluster[2]
    for node in cluster.nodes:
        node.kill()
    aside = copied.data_dir + ".aside"
    shutil.copytree(copied.data_dir, aside)
    Kvctl(stage)("raft", "recover", "--data", last.data_dir, "--yes")
    last.start()
    away.start()
    wait_until(lambda: leads(last) and duties(last).get(1) in ("voter", "standby"), VOTE_SECONDS,
               "the second one follows")
    shutil.rmtree(copied.data_dir)
    os.rename(aside, copied.data_dir)
    copied.start()
    cluster.wait_up()
    wait_for_three_voters(last)
    assert 'raft.emptied generation=1 status="ok"' in copied.log()


def test_two_of_three_lost_for_good_are_replaced(stage):
    cluster = stage.cluster(flags=["--ranges", "64"]).start()
    last = cluster[3]
    for number in range(50):
        assert last.call("SET", f"key-{number}", str(number)) == "OK"
    for node in cluster.nodes:
        node.kill()
    aside = cluster[1].data_dir + ".aside"
    os.rename(cluster[1].data_dir, aside)
    shutil.rmtree(cluster[2].data_dir)
    kvctl = Kvctl(stage, f"127.0.0.1:{last.client_port}")
    kvctl("raft", "recover", "--data", last.data_dir, "--yes")
    last.start()
    wait_until(lambda: leads(last), 20, "the last one leads")
    fresh = [cluster.joiner(contact=last), cluster.joiner(contact=last)]
    for node in fresh:
        node.start()
    cluster.wait_up([last, *fresh])
    kvctl("cluster", "plan", "replace", "1", "4")
    kvctl("cluster", "plan", "replace", "2", "5")
    kvctl("cluster", "commit", "--no-wait")
    kvctl("cluster", "accept-data-loss")
    wait_until(lambda: members(last) == {3, 4, 5}, 120, "the dead ones are members no more")
    wait_until(lambda: leads(last) and duties(last) ==
               {3: "voter", 4: "voter", 5: "voter"}, VOTE_SECONDS, "three voters")
    for number in range(50):
        for node in (last, *fresh):
            assert node.call("GET", f"key-{number}") == str(number).encode(), (node.number, number)

    # One that was given up comes back after all: it follows, and is nobody.
    os.rename(aside, cluster[1].data_dir)
    cluster[1].start()
    wait_until(lambda: 'raft.emptied generation=1 status="ok"' in cluster[1].log(), 30, "shut out")
    assert members(last) == {3, 4, 5} and set(duties(last)) == {3, 4, 5}
