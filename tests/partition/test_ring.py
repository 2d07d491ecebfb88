"""tests/partition/test_ring.py -- the ring changes while its network is cut, or a node stands still.

Clients on every node read and write the same keys all the while, and every node is asked all the
time who owns what: see changing.py for what is held.
"""
import json
import time

import history
from changing import Cold, Onlookers, Operator, assert_replicas_equal, gauge
from harness import wait_until
from resp import Failure
from test_changes import streaming
from test_cuts import HEALED_S, KEYS, NOTICED_S, others, settle

PIECE_SIZE = 8000
ELECTED_S = 15      # Until the greater side has a leader that decides.
REFUSED_S = 6.0     # PROPOSALS_TIMEOUT_MS and a second.
CUT_S = 6.0
MOVE_COUNT = 40     # Ranges of a plan; 64 changes are the most.
WEDGED_TIMES = 3    # A change beside a node that stands still may take so much longer,
WEDGED_S = 2.0      # and this.


def refused(node, *words):
    """A change asked of that node is not made; the word of the answer and the time it took."""
    since = time.monotonic()
    reply = node.call("KV.PLAN", *words, timeout=REFUSED_S + 5)
    took = time.monotonic() - since
    assert isinstance(reply, Failure), reply
    assert took < REFUSED_S, (took, reply)
    return reply.word, took


def ring(node):
    return json.loads(node.call("KV.RING"))


def test_a_cut_amid_a_ring_change(stage):
    """The leader and one more on one side, three of five on the other: those go on and decide, these
    refuse; all is finished once it is healed."""
    cluster, network = stage.machines(5, flags=("--limits-stream-rate", "1m"))
    operator = Operator(cluster)
    cold = Cold(cluster[1], 1500, PIECE_SIZE)
    workers = history.start(cluster.nodes, KEYS, 11, each=1)
    onlookers = Onlookers(cluster)
    onlookers.start()
    leader = cluster[1].status()["raft"]["leader"]
    rest = others(cluster, leader)
    few, many = [leader, rest[0]], rest[1:]
    first = operator.begin(("WEIGHT", many[0], 3))
    wait_until(lambda: streaming(operator), 20, "a stream is under way")
    network.cut(few, many)
    at_once = refused(cluster[leader], "WEIGHT", many[1], 2)
    assert at_once[0] in ("TIMEOUT", "UNAVAILABLE"), at_once

    greater = Operator(cluster, many)
    decided = wait_until(lambda: staged(greater, ("WEIGHT", many[1], 2)), ELECTED_S, "a leader")
    greater.ask("COMMIT", decided)
    epoch = ring(cluster[many[0]])["epoch"]
    before = {number: ring(cluster[number])["epoch"] for number in few}
    time.sleep(CUT_S)
    said = [refused(cluster[number], "WEIGHT", many[1], 3) for number in few]
    assert all(word == "UNAVAILABLE" for word, _ in said), said
    # Ranges moved meanwhile on the one side, none on the other.
    assert ring(cluster[many[0]])["epoch"] > epoch
    assert {number: ring(cluster[number])["epoch"] for number in few} == before
    assert all(before[number] < epoch for number in few), (before, epoch)

    stale = sum(gauge(node, "stale_refused_total") for node in cluster.nodes)
    network.heal()
    operator.wait(decided)
    assert operator.outcome(first) == "superseded"
    settle(stage, cluster, network, workers)
    stale = sum(gauge(node, "stale_refused_total") for node in cluster.nodes) - stale
    print(f"# refused: at once {at_once}, later {said}; {onlookers.finish()} epochs seen, "
          f"{stale:.0f} requests refused as stale after it was healed")
    finish(stage, cluster, cold)


def staged(operator, change):
    """The plan that the change was staged in; None while nobody decides."""
    try:
        return operator.ask(*change)["epoch"]
    except Exception as error:
        assert "UNAVAILABLE" in str(error), error
        return None


def finish(stage, cluster, cold):
    history.read_everywhere(cluster.nodes[:1], cold.keys(), "LEVEL", "all")
    cold.check(cluster.nodes)
    assert_replicas_equal(stage, cluster.nodes)


def moves_beside(cluster, wedged):
    """Ranges that `wedged` is a replica of, each moved between two others."""
    numbers = [node.number for node in cluster.nodes]
    moves = []
    for number, replicas in enumerate(ring(cluster[1])["ranges"]):
        if wedged in replicas and len(moves) < MOVE_COUNT:
            source = next(node for node in replicas if node != wedged)
            target = next(node for node in numbers if node not in replicas)
            moves.append(("MOVE", number, source, target))
    assert len(moves) == MOVE_COUNT
    return moves


def test_a_node_that_stands_still_delays_nothing(stage):
    """Of ranges that it is a replica of: its fence is missing, and a majority of the others is enough.
    Clients that speak to it go on when it does, and see nothing that is over."""
    cluster, network = stage.machines(5)
    operator = Operator(cluster)
    cold = Cold(cluster[1])
    workers = history.start(cluster.nodes, KEYS, 12, each=1)
    onlookers = Onlookers(cluster)
    onlookers.start()
    leader = cluster[1].status()["raft"]["leader"]
    wedged = others(cluster, leader)[0]
    moves = moves_beside(cluster, wedged)
    without = operator.commit(*moves)
    back = [("MOVE", number, target, source) for _, number, source, target in moves]
    cluster[wedged].pause()
    beside = operator.commit(*back)
    assert wedged in ring(cluster[leader])["ranges"][moves[0][1]]
    cluster[wedged].resume()
    print(f"# {MOVE_COUNT} ranges moved in {without:.2f} s, beside node {wedged}, which stood still, "
          f"in {beside:.2f} s")
    assert beside <= WEDGED_TIMES * without + WEDGED_S
    cluster.wait_up(seconds=HEALED_S)
    settle(stage, cluster, network, workers)
    onlookers.finish()
    finish(stage, cluster, cold)


def test_a_join_that_is_cut_off(stage):
    """The new node is alone behind a cut: clients of the others notice nothing, and it ends after."""
    cluster, network = stage.machines(3, spare=1, flags=("--limits-stream-rate", "1m"))
    operator = Operator(cluster)
    cold = Cold(cluster[1], 1500, PIECE_SIZE)
    four = operator.joiner()
    workers = history.start(cluster.nodes[:3], KEYS, 13, each=1)
    onlookers = Onlookers(cluster)
    onlookers.start()
    plan = operator.begin(("JOIN", 4))
    wait_until(lambda: streaming(operator), 20, "a stream is under way")
    network.cut([4], [1, 2, 3])
    cut = time.monotonic()
    time.sleep(NOTICED_S + 3)
    end = time.monotonic()
    assert refused(four, "WEIGHT", 4, 2)[0] == "UNAVAILABLE"
    epoch = ring(cluster[1])["epoch"]
    assert operator.outcome(plan) is None
    network.heal()
    operator.wait(plan)
    events = settle(stage, cluster, network, workers)
    done = history.tally(events, cut, end)
    print(f"# while it was cut off: {done}; epoch {epoch} then, {ring(cluster[1])['epoch']} after")
    bad = sum(count for what, count in done.items() if not what.endswith(" ok"))
    assert bad == 0, done
    onlookers.finish()
    finish(stage, cluster, cold)
