"""tests/partition/test_cuts.py -- clusters whose network is cut, one way, both ways, and healed."""
import json
import random
import time

import history
from harness import slow, wait_until
from resp import Failure

KEYS = [f"shared:{index}" for index in range(6)]
NOTICED_S = 3.0     # Until the silence of a peer is taken for its absence.
REFUSED_S = 0.2     # "At once".
HEALED_S = 30
RATE_MIN = 20       # Operations a second that must have succeeded where they could.


def others(cluster, *numbers):
    return [node.number for node in cluster.nodes if node.number not in numbers]


def nodes_of(cluster, numbers):
    return [cluster[number] for number in numbers]


def settle(stage, cluster, network, workers, earlier=()):
    """Heals, waits for all, reads every key everywhere, and checks the whole history, with the
    events of earlier workers on the same cluster."""
    network.heal()
    cluster.wait_up(seconds=HEALED_S)
    time.sleep(0.5)
    events = history.finish(workers)
    events += history.read_everywhere(cluster.nodes, KEYS)
    events += history.read_everywhere(cluster.nodes, KEYS, "LEVEL", "all")
    wrong = history.check([*earlier, *events])
    assert not wrong, "\n".join(wrong[:5])
    return events


def assert_went_on(events, numbers, since, until):
    done = history.tally(events, since, until, numbers)
    good = done.get("read ok", 0) + done.get("write ok", 0)
    # An idle cluster passes every check: so much must have been done.
    assert good >= RATE_MIN * (until - since), done
    bad = [event for event in events if event.node in numbers and since <= event.start < until
           and event.outcome != "ok"]
    assert not bad, "\n".join(map(str, bad[:5]))


def assert_refused(events, numbers, since, until):
    """From then on every write there was refused at once, and none had any effect."""
    writes = [event for event in events if event.kind == "write" and event.node in numbers
              and since <= event.start < until]
    assert len(writes) > 20, f"only {len(writes)} writes were tried"
    for event in writes:
        assert event.outcome == "definite" and event.reply.word == "UNAVAILABLE", str(event)
    took = sorted(event.end - event.start for event in writes)
    assert took[len(took) * 95 // 100] < REFUSED_S, took[-5:]


def test_cuts_work_as_they_say(stage):
    """Without this the other tests could pass on a network that is never cut."""
    network = stage.network(2)
    assert stage.datagrams(1, 2) == stage.datagrams(2, 1) == 10
    network.cut_one_way([1], [2])
    assert network.cuts() == 1
    assert stage.datagrams(1, 2) == 0
    assert stage.datagrams(2, 1) == 10
    network.cut_one_way([2], [1])
    assert stage.datagrams(2, 1) == 0
    network.heal()
    assert network.cuts() == 0
    assert stage.datagrams(1, 2) == stage.datagrams(2, 1) == 10


def test_the_check_of_histories_finds_what_it_should(_stage):
    def event(kind, start, end, version, value, outcome="ok"):
        made = history.Event(kind, "k", 1, value)
        made.start, made.end, made.outcome = start, end, outcome
        made.version = (version, 1) if outcome == "ok" else None
        return made

    first, second = event("write", 0, 1, 5, "a"), event("write", 2, 3, 7, "b")
    assert not history.check([first, second, event("read", 4, 5, 7, "b")])
    assert not history.check([first, second, event("read", 2.5, 5, 5, "a")])
    lost = event("write", 2, 3, 0, "c", "unknown")
    assert not history.check([first, lost, event("read", 4, 5, 5, "a")])
    assert not history.check([first, lost, event("read", 4, 5, 6, "c")])
    refused = event("write", 2, 3, 0, "d", "definite")
    for bad in ([first, second, event("read", 4, 5, 5, "a")],
                [first, event("read", 4, 5, 0, None)],
                [first, lost, event("read", 4, 5, 6, "c"), event("read", 6, 7, 5, "a")],
                [first, refused, event("read", 4, 5, 6, "d")],
                [first, event("write", 2, 3, 4, "e")],
                [first, event("read", 4, 5, 6, "z")],
                [first, event("read", 4, 5, 5, "b"), second]):
        assert history.check(bad), [str(each) for each in bad]


def test_one_of_three_is_cut_off(stage):
    cluster, network = stage.machines(3)
    leader = cluster[1].status()["raft"]["leader"]  # The hardest one to lose.
    side, lone = others(cluster, leader), [leader]
    workers = history.start(cluster.nodes, KEYS, 1)
    time.sleep(1)
    network.cut(side, lone)
    cut = time.monotonic()
    time.sleep(NOTICED_S + 4)
    end = time.monotonic()
    # What the refused node says about itself is not that all is well.
    states = {member["id"]: member["state"] for member in cluster[leader].status()["members"]}
    assert all(states[number] != "up" for number in side), states
    events = settle(stage, cluster, network, workers)
    assert_went_on(events, side, cut + 0.5, end - 0.5)
    assert_refused(events, lone, cut + NOTICED_S, end - 0.5)
    print(f"# {history.tally(events)}")


def test_one_way_cuts(stage):
    """What one node sends is lost while it still hears the others; then the other way round."""
    cluster, network = stage.machines(3)
    earlier = []
    phases = (("deaf", [1, 2], [3]), ("dumb", [3], [1, 2]))
    for phase, (name, sources, targets) in enumerate(phases):
        workers = history.start(cluster.nodes, KEYS, phase)
        time.sleep(0.5)
        network.cut_one_way(sources, targets)
        cut = time.monotonic()
        time.sleep(NOTICED_S + 3)
        end = time.monotonic()
        events = settle(stage, cluster, network, workers, earlier)
        earlier += events
        assert_went_on(events, [1, 2], cut + 1.5, end - 0.5)
        assert_refused(events, [3], cut + NOTICED_S + 1, end - 0.5)
        print(f"# {name}: {history.tally(events)}")


@slow
def test_a_cut_between_two_that_both_see_the_third(stage):
    cluster, network = stage.machines(3)
    workers = history.start(cluster.nodes, KEYS, 3)
    time.sleep(0.5)
    network.cut([1], [2])
    cut = time.monotonic()
    time.sleep(NOTICED_S + 3)
    end = time.monotonic()
    events = settle(stage, cluster, network, workers)
    # Each has itself and node 3, which is a quorum.
    assert_went_on(events, [1, 2, 3], cut + 1.5, end - 0.5)
    print(f"# {history.tally(events)}")


def test_a_write_that_one_replica_alone_has(stage):
    """Once a read has shown it, every later read must: read repair comes before the answer."""
    cluster, network = stage.machines(3)
    keys = [f"alone:{index}" for index in range(100)]
    with cluster[3].connect(20) as client:
        network.cut([1, 2], [3])
        replies = client.pipeline([("KV.SET", key, "v", "DEADLINE", "800") for key in keys])
    assert all(isinstance(reply, Failure) and reply.word == "TIMEOUT" for reply in replies), \
        set(replies)
    cluster[3].kill()  # What its connections still held for the others goes with it.
    network.heal()
    cluster[3].start()
    cluster.wait_up(seconds=HEALED_S)
    assert cluster[3].call("KV.GET", keys[0], "LEVEL", "one") == b"v", "node 3 lost its own log"
    assert cluster[1].call("KV.GET", keys[-1], "LEVEL", "one") is None, "it was not alone"
    for key in keys[:-1]:
        for number in (3, 1, 2, 1):
            value = cluster[number].call("GET", key)
            assert value == b"v", f"{key} went back: node {number} says {value}"
    # One that no read has shown may be there or not, until it is shown.
    assert cluster[1].call("GET", keys[-1]) in (None, b"v")
    assert cluster[3].call("GET", keys[-1]) == b"v"
    assert cluster[1].call("GET", keys[-1]) == b"v"


@slow
def test_everyone_alone(stage):
    cluster, network = stage.machines(3)
    workers = history.start(cluster.nodes, KEYS, 4)
    time.sleep(0.5)
    for number in (1, 2, 3):
        network.cut_one_way([number], others(cluster, number))
    cut = time.monotonic()
    time.sleep(NOTICED_S + 5)  # What was under way waits for its time-out.
    end = time.monotonic()
    for node in cluster.nodes:
        reply = node.call("GET", KEYS[0])
        assert isinstance(reply, Failure) and reply.word == "UNAVAILABLE", reply
    events = settle(stage, cluster, network, workers)
    assert_refused(events, [1, 2, 3], cut + NOTICED_S, end - 0.5)


def test_a_bootstrap_that_is_cut(stage):
    """Nodes that cannot meet make no cluster; two clusters never come of one bootstrap."""
    cluster, network = stage.machines(3, start=False)
    network.cut([1, 2], [3])
    for node in cluster.nodes:
        node.start()
    time.sleep(4)
    ids = {node.status()["cluster_id"] for node in cluster.nodes}
    assert ids == {"0" * 16}, ids
    assert cluster[1].call("SET", "a", "b").word == "LOADING"
    network.heal()
    cluster.wait_up(seconds=HEALED_S)
    assert len({node.status()["cluster_id"] for node in cluster.nodes}) == 1
    assert cluster[1].call("SET", "a", "b") == "OK"
    assert cluster[3].call("GET", "a") == b"b"


def test_restarts_on_both_sides_of_a_cut(stage):
    cluster, network = stage.machines(3)
    workers = history.start(cluster.nodes, KEYS, 5)
    time.sleep(0.5)
    network.cut([1, 2], [3])
    time.sleep(1)
    cluster[3].kill()
    cluster[3].start()
    cluster[2].kill()
    cluster[2].start()
    cluster.wait_up(nodes_of(cluster, [1, 2]), seconds=HEALED_S)
    since = time.monotonic()
    time.sleep(2)
    end = time.monotonic()
    assert cluster[3].call("SET", "lone", "v").word in ("UNAVAILABLE", "LOADING")
    events = settle(stage, cluster, network, workers)
    assert_went_on(events, [1, 2], since + 0.2, end - 0.2)
    assert cluster[1].call("GET", "lone") is None


def test_five_nodes_under_a_changing_network(stage):
    """Random cuts, one after another, over five nodes; the seed is printed."""
    seed = int(stage.seed)
    chance = random.Random(seed)
    print(f"# seed {seed}")
    cluster, network = stage.machines(5, replicas=3)
    workers = history.start(cluster.nodes, KEYS, seed)
    began = time.monotonic()
    for _ in range(3 if stage.quick else 15):
        numbers = [1, 2, 3, 4, 5]
        chance.shuffle(numbers)
        side = numbers[:chance.randrange(1, 4)]
        rest = [number for number in numbers if number not in side]
        kind = chance.choice(["cut", "in", "out", "kill"])
        if kind == "cut":
            network.cut(side, rest)
        elif kind == "in":
            network.cut_one_way(rest, side)
        elif kind == "out":
            network.cut_one_way(side, rest)
        else:
            network.cut(side[:1], rest)
            cluster[side[0]].kill()
        time.sleep(chance.uniform(0.3, 4.0))
        if kind == "kill":
            cluster[side[0]].start()
            time.sleep(chance.uniform(0.0, 1.0))
        if chance.random() < 0.7:
            network.heal()
            time.sleep(chance.uniform(0.0, 2.0))
    ended = time.monotonic()
    events = settle(stage, cluster, network, workers)
    done = history.tally(events, began, ended)
    print(f"# {done}")
    assert done.get("write ok", 0) + done.get("read ok", 0) >= RATE_MIN * (ended - began), done


@slow
def test_topology_is_the_same_after_all(stage):
    cluster, network = stage.machines(3)
    for number in (1, 2, 3):
        network.cut([number], others(cluster, number))
        time.sleep(2.5)
        network.heal()
        cluster.wait_up(seconds=HEALED_S)
    rings = {json.dumps(json.loads(node.call("KV.RING")), sort_keys=True) for node in cluster.nodes}
    assert len(rings) == 1
    wait_until(lambda: len({node.status()["raft"]["leader"] for node in cluster.nodes}) == 1
               and cluster[1].status()["raft"]["leader"] in (1, 2, 3), 10, "one leader")
