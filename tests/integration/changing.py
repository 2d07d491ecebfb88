"""tests/integration/changing.py -- an operator who changes the ring, and those who look on.

What holds of every change, however it ends and whoever dies meanwhile:
 1. The histories of clients on both sides of it are sound (history.py).
 2. Of what was asked outside the first second after a kill, less than ERROR_SHARE failed.
 3. Nodes at one epoch never differ in who owns what (Onlookers).
 4. Once all keys were read at ALL, every replica of a range holds the same bytes, and a node that is
    no replica of it holds none (assert_replicas_equal).
"""
import json
import random
import re
import threading
import time

import history
from harness import TooLate, wait_until
from resp import Broken, Failure

ERROR_SHARE = 0.001
KILL_S = 1.0        # After a kill what fails is not counted.
PLAN_SECONDS = 60   # Without a step, and
PLAN_WAITS = 10     # so many times as long in all.
HOT_KEYS = [f"hot:{index}" for index in range(48)]


class Refused(Exception):
    """KV.PLAN answered an error."""


class Operator:
    """Speaks KV.PLAN to whichever node answers, of those with the `numbers` if they are given."""

    def __init__(self, cluster, numbers=None):
        self.cluster, self.numbers = cluster, numbers

    def awake(self):
        return [node for node in self.cluster.running()
                if not node.paused and (self.numbers is None or node.number in self.numbers)]

    def ask(self, *words):
        """Of any node; those that do not answer are passed over."""
        last = None
        for node in self.awake():
            try:
                reply = node.call("KV.PLAN", *words, timeout=15)
            except Broken as error:
                last = error
                continue
            if isinstance(reply, Failure):
                last = Refused(f"{' '.join(map(str, words))}: {reply}")
                if reply.word == "ERR":
                    raise last
                continue
            return json.loads(reply)
        raise last if isinstance(last, Refused) else Refused(f"nobody answers: {last}")

    def show(self):
        return self.ask("SHOW")

    def explain(self):
        """As the node that leads has it; None if none does now."""
        for node in self.awake():
            try:
                said = json.loads(node.call("KV.PLAN", "EXPLAIN"))
            except Broken:
                continue
            if said.get("drives"):
                return said
        return None

    def begin(self, *changes):
        """Stages and commits; returns the plan's id, which is the epoch of its first change."""
        plan = [self.ask(*change)["epoch"] for change in changes][0]
        self.ask("COMMIT", plan)
        return plan

    def outcome(self, plan):
        """None while it runs, or nobody answers who knows better."""
        try:
            plans = self.ask("HISTORY")["plans"]
        except Refused:
            return None
        return next((each["outcome"] for each in plans if each["id"] == plan), None)

    def epoch(self):
        """The greatest that any node has which answers."""
        found = 0
        for node in self.awake():
            try:
                found = max(found, node.status()["epoch"])
            except Broken:
                continue
        return found

    def wait(self, plan, outcomes=("done",), seconds=PLAN_SECONDS):
        """As long as it takes steps, since a machine may be slow; none for `seconds` is a failure."""
        for _ in range(PLAN_WAITS):
            before = self.epoch()
            try:
                said = wait_until(lambda: self.outcome(plan), seconds, f"plan {plan} ends")
                assert said in outcomes, (plan, said)
                return said
            except TooLate:
                if self.epoch() == before:
                    raise
        raise AssertionError(f"plan {plan} takes steps without end")

    def commit(self, *changes, seconds=PLAN_SECONDS):
        """Until it is done; the seconds it took."""
        since = time.monotonic()
        self.wait(self.begin(*changes), seconds=seconds)
        return time.monotonic() - since

    def knows(self, number, state="joining"):
        ring = json.loads(self.awake()[0].call("KV.RING"))
        return any(member["id"] == number and member["state"] == state
                   for member in ring["members"])

    def joiner(self, *flags):
        """A new node that the cluster knows, and which sees all others: clients may go there."""
        awake = self.awake()
        node = self.cluster.joiner(awake[0])
        node.start(*flags)
        wait_until(lambda: self.knows(node.number), 20, f"node {node.number} is known")
        self.cluster.wait_up([*awake, node])
        return node


class Onlookers(threading.Thread):
    """Asks every node that runs, all the time, who owns what at its epoch. Two answers at one epoch
    are two owners."""

    def __init__(self, cluster, pause=0.1):
        super().__init__(daemon=True)
        self.cluster, self.pause = cluster, pause
        self.known = {}  # Generation and epoch: hash, owners, who said so.
        self.wrong = []
        self.latest = {}  # Of each node, its epochs must not fall while it runs.
        self.count = 0
        self.ending = threading.Event()

    def run(self):
        clients = {}
        while not self.ending.is_set():
            for node in self.cluster.running():
                if not node.paused:
                    self.look(clients, node)
            time.sleep(self.pause)
        for client in clients.values():
            client.close()

    def look(self, clients, node):
        key = (node.number, node.process.pid if node.process else 0)
        try:
            if key not in clients:
                clients[key] = node.connect(5.0)
            ring = json.loads(clients[key].call("KV.RING"))
        except (Broken, ValueError):
            if key in clients:
                clients.pop(key).close()
            return
        self.note(key, ring)

    def note(self, key, ring):
        """What the process `key`, a node's number and a process id, said."""
        epoch = (ring["generation"], ring["epoch"])
        owners = hash((json.dumps(ring["ranges"]), json.dumps(ring["members"], sort_keys=True)))
        said = self.known.setdefault(epoch, (ring["epoch_hash"], owners, key[0]))
        if said[:2] != (ring["epoch_hash"], owners):
            self.wrong.append(f"epoch {epoch}: node {key[0]} and node {said[2]} differ")
        if epoch < self.latest.get(key, epoch):
            self.wrong.append(f"node {key[0]} went back from {self.latest[key]} to {epoch}")
        self.latest[key] = epoch
        self.count += 1

    def finish(self):
        self.ending.set()
        self.join(30)
        assert not self.is_alive(), "an onlooker hangs"
        assert not self.wrong, "\n".join(self.wrong[:5])
        assert self.count > 20 and len(self.known) > 1, (self.count, len(self.known))
        return len(self.known)


class Load:
    """Clients on shared keys, one for each of `nodes`, each going on through the next when its own
    is gone; and what may not fail, and when."""

    def __init__(self, cluster, nodes, seed, pause=0.004):
        self.cluster = cluster
        self.kills = []
        self.began = time.monotonic()
        self.workers = [history.Worker(node, f"{seed}.{index}", HOT_KEYS, seed * 1000 + index,
                                       pause, nodes[index + 1:] + nodes[:index])
                        for index, node in enumerate(nodes)]
        self.onlookers = Onlookers(cluster)
        for each in [*self.workers, self.onlookers]:
            each.start()

    def kill(self, node):
        self.kills.append(time.monotonic())
        node.kill()

    def counts(self, event):
        """Whether its failure would be one: it was not under way in the second after a kill."""
        return not any(event.start <= kill + KILL_S and event.end >= kill for kill in self.kills)

    def finish(self, nodes, more_keys=()):
        """Ends it, reads all keys at ALL through one of `nodes`, and holds (1) to (3)."""
        events = history.finish(self.workers)
        took = time.monotonic() - self.began
        epochs = self.onlookers.finish()
        counted = [event for event in events if self.counts(event)]
        bad = [event for event in counted if event.outcome != "ok"]
        print(f"# {len(events)} operations in {took:.1f} s, {epochs} epochs seen; "
              f"{len(bad)} of {len(counted)} failed ({len(bad) / len(counted):.4%})")
        last = history.read_everywhere(nodes, HOT_KEYS)
        last += history.read_everywhere(nodes[:1], [*HOT_KEYS, *more_keys], "LEVEL", "all")
        wrong = history.check(events + [event for event in last if event.key in set(HOT_KEYS)])
        assert not wrong, "\n".join(wrong[:5])
        assert len(counted) > 20 * took, f"only {len(counted)} operations in {took:.0f} s"
        assert len(bad) < ERROR_SHARE * len(counted), "\n".join(map(str, bad[:10]))


class Cold:
    """Keys that are left alone while the ring changes, some of them deleted: nothing but streams
    brings them along."""

    def __init__(self, node, count=1000, size=10, seed=1):
        chance = random.Random(seed)
        self.values = {f"cold:{number}": f"{number}-{chance.randbytes(size // 2).hex()}"
                       for number in range(count)}
        self.deleted = [f"gone:{number}" for number in range(count // 10)]
        with node.connect(30) as client:
            writes = [("KV.SET", key, value, "LEVEL", "ALL") for key, value in self.values.items()]
            writes += [("KV.SET", key, "x", "LEVEL", "ALL") for key in self.deleted]
            writes += [("KV.DEL", key, "LEVEL", "ALL") for key in self.deleted]
            for first in range(0, len(writes), 500):
                replies = client.pipeline(writes[first:first + 500])
                assert not [each for each in replies if isinstance(each, Failure)], replies[:3]

    def keys(self):
        return [*self.values, *self.deleted]

    def check(self, nodes):
        """Every replica had them, so every one that took its place has them: one is enough."""
        keys = self.keys()
        for node in nodes:
            with node.connect(30) as client:
                for first in range(0, len(keys), 500):
                    part = keys[first:first + 500]
                    found = client.pipeline([("KV.GET", key, "LEVEL", "ONE") for key in part])
                    for key, value in zip(part, found):
                        wanted = self.values.get(key)
                        wanted = wanted.encode() if wanted is not None else None
                        assert value == wanted, (node.number, key, value)


def gauge(node, name):
    _, _, page = node.http("/metrics")
    found = re.search(rf"^ringkv_{name} ([0-9.]+)$", page.decode(), re.MULTILINE)
    assert found, name
    return float(found.group(1))


def digest(stage, node, range_count):
    """{range: what the stopped node holds of it}"""
    said = stage.run([stage.program("range_digest"), f"{node.data_dir}/lsm", str(range_count)])
    assert said.returncode == 0, said.stderr
    lines = (line.split(" ", 1) for line in said.stdout.splitlines())
    return {int(number): what for number, what in lines}


def assert_replicas_equal(stage, nodes):
    """`nodes` are the members. They are stopped for it."""
    ring = json.loads(nodes[0].call("KV.RING"))
    assert {member["id"] for member in ring["members"]} == {node.number for node in nodes}
    wait_until(lambda: all(gauge(node, "ranges_leaving") == 0 for node in nodes), 30,
               "what was left is off the disks")
    for node in nodes:
        assert node.stop() == 0
    held = {node.number: digest(stage, node, ring["range_count"]) for node in nodes}
    for number, replicas in enumerate(ring["ranges"]):
        wanted = held[replicas[0]].get(number)
        for node, ranges in held.items():
            found = ranges.get(number)
            assert found == (wanted if node in replicas else None), \
                (f"range {number} of nodes {replicas}: node {node} holds {found}, "
                 f"node {replicas[0]} {wanted}")
    cells = sum(int(what.split()[0]) for ranges in held.values() for what in ranges.values())
    print(f"# {cells} cells of {ring['range_count']} ranges compared on nodes {sorted(held)}")
    assert cells > 0
