"""tests/integration/test_changes.py -- every change of the ring under load, and kills amid streams.

What is held of each is in changing.py. A soak does the same many times, in orders drawn from a seed.
"""
import json
import os
import random
import time
import types

from changing import Cold, Load, Onlookers, Operator, assert_replicas_equal, digest
from harness import wait_until
from test_topology import commit, held_by, kvctl_of

SOAK_ROUNDS = 20
KILL_ROUNDS = 4     # One for each who is killed.
PIECE_SIZE = 8000   # Of a value that a slow stream takes its time for.
REPLACE_AFTER_S = 3


def told(took):
    print("# " + ", ".join(f"{what} {seconds:.1f} s" for what, seconds in took.items()))


def test_the_digest_shows_every_difference(stage):
    """A key as the engine has it: slot, keyspace, hash, the user's key (base/token.h)."""
    def engine(name, *commands):
        node = types.SimpleNamespace(data_dir=stage.directory(name))
        os.makedirs(node.data_dir)
        for command in commands:
            said = stage.run([stage.program("embedded"), f"{node.data_dir}/lsm", *command])
            assert said.returncode == 0, said.stderr
        return digest(stage, node, 1024)

    def key(slot):
        return bytes([slot, slot, 1, 1, *[1] * 7]).decode() + "user"

    one, two = key(0x11), key(0x22)
    whole = engine("a", ("put", one, "red", two, "blue"))
    assert whole == engine("b", ("put", one, "red", two, "blue"))
    first, second = 0x1111 // 16, 0x2222 // 16
    assert set(whole) == {first, second} and whole[first] != whole[second], whole
    for other in (("put", one, "reb", two, "blue"), ("put", one, "red", key(0x23), "blue"),
                  ("put", one + "s", "red", two, "blue"), ("put", one, "red")):
        assert engine("c", other) != whole, other
    # A later version of the same value, and a tombstone, are differences too.
    again = engine("d", ("put", one, "red", two, "blue"), ("put", one, "red"))
    gone = engine("e", ("put", one, "red", two, "blue"), ("delete", one))
    assert again[second] == gone[second] == whole[second]
    assert len({whole[first], again[first], gone[first]}) == 3, (whole, again, gone)


def test_onlookers_see_two_owners(_stage):
    def ring(epoch, ranges, epoch_hash="a"):
        return {"generation": 1, "epoch": epoch, "epoch_hash": epoch_hash, "ranges": ranges,
                "members": []}

    def wrong(*said):
        onlookers = Onlookers(None)
        for node, what in said:
            onlookers.note((node, 100), what)
        return onlookers.wrong

    assert not wrong((1, ring(5, [[1, 2]])), (2, ring(5, [[1, 2]])), (1, ring(6, [[1, 3]])))
    assert wrong((1, ring(5, [[1, 2]])), (2, ring(5, [[1, 3]])))
    assert wrong((1, ring(5, [[1, 2]])), (2, ring(5, [[1, 2]], "b")))
    assert wrong((1, ring(6, [[1, 2]])), (1, ring(5, [[1, 3]])))


def test_every_change_under_load(stage):
    """Three grow to five in one plan, one leaves, one is killed and replaced, weights and zones
    change, and at last the number of replicas."""
    cluster = stage.cluster().start()
    operator = Operator(cluster)
    cold = Cold(cluster[1])
    four, five = operator.joiner(), operator.joiner()
    load = Load(cluster, [cluster[2], cluster[3], four, five], 1)
    took = {"join both": operator.commit(("JOIN", 4), ("JOIN", 5)),
            "leave": operator.commit(("LEAVE", 1))}
    wait_until(lambda: cluster[1].status()["state"] == "removed", 10, "node 1 knows that it left")
    assert cluster[1].call("SET", "late", "v").startswith("UNAVAILABLE this node was removed")
    assert cluster[1].stop() == 0
    load.kill(cluster[3])
    six = operator.joiner()
    took["replace"] = operator.commit(("REPLACE", 3, 6))
    took["weight, zones"] = operator.commit(("WEIGHT", 2, 2), ("ZONE", 4, "b"), ("ZONE", 5, "c"))
    took["factor"] = operator.commit(("FACTOR", 4))
    told(took)
    nodes = [cluster[2], four, five, six]
    load.finish(nodes, cold.keys())
    cold.check(nodes)
    assert_replicas_equal(stage, nodes)


def test_growing_one_by_one_under_load(stage):
    """As above in steps of one node, over and over in a soak, in any order that leaves three."""
    for number in range(SOAK_ROUNDS if stage.soak else 1):
        seed = random.randrange(1 << 30) if stage.soak else 2
        print(f"# round {number}, seed {seed}")
        grow_one_by_one(stage, seed, 12 if stage.soak else 1)


def grow_by_kvctl(kvctl, operator):
    """Nodes 4 and 5, each by a plan of its own, and what kvctl says of that."""
    said = kvctl("cluster", "plan", "join", "4")
    assert "is staged (join 4)" in said and "768 copies" in said, said
    assert held_by(kvctl, 4) == 0, "nothing moves before it is committed"
    commit(kvctl)
    assert held_by(kvctl, 4) == 768
    operator.joiner()
    commit(kvctl, ("join", "5"), ("weight", "2", "2"))
    assert held_by(kvctl, 2) > held_by(kvctl, 3)
    plans = json.loads(kvctl("cluster", "history", "-o", "json"))["plans"]
    assert [plan["outcome"] for plan in plans] == ["done"] * 2, plans
    assert plans[0]["copied"] == plans[0]["copies"] == 768, plans
    assert "no plan runs" in kvctl("topo", "explain")


def grow_one_by_one(stage, seed, more):
    chance = random.Random(seed)
    cluster = stage.cluster().start()
    operator = Operator(cluster)
    cold = Cold(cluster[2], 20000 if stage.soak else 1000, 100, seed)
    four = operator.joiner()
    load = Load(cluster, [cluster[1], cluster[3], four, four], seed)
    grow_by_kvctl(kvctl_of(stage, cluster[2], cluster[3]), operator)
    took = {}
    members = {node.number for node in cluster.nodes}
    for turn in range(more):
        what = chance.choice(["join", "leave", "replace", "weight", "zone", "factor"])
        change = one_change(operator, load, chance, what, members)
        took[f"{turn} {' '.join(map(str, change))}".lower()] = operator.commit(change)
        if what == "leave":
            assert cluster[change[1]].stop() == 0
    told(took)
    nodes = [cluster[number] for number in sorted(members)]
    load.finish(nodes, cold.keys())
    cold.check(nodes)
    assert_replicas_equal(stage, nodes)


def one_change(operator, load, chance, what, members):
    """A change that `members` allow, with what an operator does before it; they follow it."""
    cluster = operator.cluster
    some = chance.choice(sorted(members))
    if what == "leave" and len(members) > 3:
        members.remove(some)
        return ("LEAVE", some)
    if what == "replace" and len(members) > 3:
        load.kill(cluster[some])
        new = operator.joiner().number
        members.remove(some)
        members.add(new)
        return ("REPLACE", some, new)
    if what == "join" and len(members) < 6:
        new = operator.joiner().number
        members.add(new)
        return ("JOIN", new)
    if what == "zone":
        return ("ZONE", some, chance.choice(["a", "b", "c"]))
    if what == "factor":
        return ("FACTOR", chance.choice([3, 4] if len(members) > 3 else [3]))
    return ("WEIGHT", some, chance.randrange(1, 4))


def streaming(operator):
    """(range, source, target) of a stream that is under way, as the leader knows; or None."""
    said = operator.explain()
    for each in said["under_way"] if said else []:
        for waited in each["nodes"]:
            if each["waits_for"] == "stream" and waited.get("sources"):
                return each["range"], waited["sources"][0], waited["id"]
    return None


def victim(operator, role):
    """Waits for a stream; returns who is to be killed, the one in that role."""
    _, source, target = wait_until(lambda: streaming(operator), 20, "a stream is under way")
    leader = operator.explain()
    if role == "leader" and leader is not None:
        return leader["node"]
    return {"source": source, "target": target}.get(role, operator.cluster.running()[0].number)


def test_kills_amid_streams(stage):
    """Source, target, leader of the Raft group and a coordinator, each killed while ranges stream
    and started again; every plan ends."""
    cluster = stage.cluster(flags=("--limits-stream-rate", "2m")).start()
    operator = Operator(cluster)
    cold = Cold(cluster[1], 1500, PIECE_SIZE)
    operator.joiner()
    load = Load(cluster, cluster.nodes, 3)
    roles = ["source", "target", "leader", "coordinator"]
    chance = random.Random(3)
    for turn in range(SOAK_ROUNDS * KILL_ROUNDS if stage.soak else KILL_ROUNDS):
        weight = 3 if turn % 2 == 1 else 1
        plan = operator.begin(("JOIN", 4) if turn == 0 else ("WEIGHT", 4, weight))
        role = roles[turn % len(roles)]
        killed = cluster[victim(operator, role)]
        load.kill(killed)
        since = time.monotonic()
        time.sleep(chance.uniform(0.2, 2.0))
        killed.start()
        said = operator.wait(plan, ("done", "aborted"))
        print(f"# {role} {killed.number} killed: {said} after {time.monotonic() - since:.1f} s")
    cluster.wait_up()
    load.finish(cluster.nodes, cold.keys())
    cold.check(cluster.nodes)
    assert_replicas_equal(stage, cluster.nodes)


def test_a_dead_node_is_replaced_unasked(stage):
    flags = ("--cluster-auto-replace-after-s", str(REPLACE_AFTER_S))
    cluster = stage.cluster(flags=flags).start()
    operator = Operator(cluster)
    cold = Cold(cluster[1])
    four = operator.joiner()
    left = [cluster[1], cluster[2], four]
    load = Load(cluster, [cluster[3], cluster[1], cluster[2], four], 4)
    time.sleep(REPLACE_AFTER_S + 1.0)  # All are up for longer than that, and nothing happens.
    assert operator.show()["running"] is None
    load.kill(cluster[3])
    since = time.monotonic()
    plan = wait_until(lambda: operator.ask("HISTORY")["plans"], 90, "a node is replaced")[0]
    took = time.monotonic() - since
    assert plan["outcome"] == "done", plan
    assert plan["changes"] == [{"change": "replace", "node": 3, "to": 4}], plan
    assert took > REPLACE_AFTER_S, took
    assert any("replace.due" in node.log() for node in left)
    print(f"# replaced {took:.1f} s after its death")
    load.finish(left, cold.keys())
    cold.check(left)
    assert_replicas_equal(stage, left)
