"""tests/integration/history.py -- workers on shared keys, what each saw, and the check of it.

Every write has a value of its own and is answered with its version; every read at QUORUM is
answered with the version it found. In real time, for each key:
 1. A read sees no version below one that a read or an acknowledged write ended with before it began.
 2. An acknowledged write has a version above everything that had ended so before it began.
 3. One version has one value, and every value read was written, by a write that was not refused
    definitely.
Writes whose outcome is unknown may be seen or not; but once seen, (1) holds for them too.
"""
import random
import threading
import time

from resp import Broken, Client, Failure, fields

DEFINITE = {"UNAVAILABLE", "OVERLOADED", "READONLY", "LOADING", "ERR"}
NEVER = (0, 0)


def version_of(text):
    clock, node = text.decode().split("-")
    return int(clock, 16), int(node)


class Event:
    __slots__ = ("kind", "key", "node", "start", "end", "outcome", "version", "value", "reply")

    def __init__(self, kind, key, node, value=None):
        self.kind, self.key, self.node, self.value = kind, key, node, value
        self.start = time.monotonic()
        self.end = None
        self.outcome = None  # ok, definite, unknown
        self.version = None
        self.reply = None

    def __str__(self):
        version = f"{self.version[0]:016x}-{self.version[1]}" if self.version else "-"
        return (f"{self.kind} {self.key} by node {self.node} {self.start:.4f}..{self.end:.4f} "
                f"{self.outcome} {version} {self.value} {self.reply or ''}")


class Worker(threading.Thread):
    """Reads and writes random keys through one node; when a connection breaks, through the next of
    `others`, if there are any."""

    def __init__(self, node, label, keys, seed, pause=0.002, others=()):
        super().__init__(daemon=True)
        self.node, self.label, self.keys, self.pause = node, label, keys, pause
        self.others = list(others)
        self.random = random.Random(seed)
        self.events = []
        self.ending = threading.Event()
        self.client = None
        self.error = None

    def run(self):
        number = 0
        try:
            while not self.ending.is_set():
                key = self.random.choice(self.keys)
                if self.random.random() < 0.5:
                    self.one(Event("read", key, self.node.number), "KV.GET", key, "META")
                else:
                    number += 1
                    value = f"{self.label}-{number}"
                    event = Event("write", key, self.node.number, value)
                    self.one(event, "KV.SET", key, value, "META")
                time.sleep(self.pause)
        except Exception as error:  # Told by finish().
            self.error = error
        finally:
            if self.client is not None:
                self.client.close()

    def one(self, event, *request):
        try:
            if self.client is None:
                self.client = Client(self.node.client_port, self.node.host, 15)
        except Broken:
            self.turn()
            time.sleep(0.05)
            return
        event.node, event.start = self.node.number, time.monotonic()
        self.events.append(event)
        try:
            reply = self.client.call(*request)
        except Broken as error:
            reply = Failure(f"BROKEN {error}")
            self.client.close()
            self.client = None
            self.turn()
        event.end = time.monotonic()
        if isinstance(reply, Failure):
            event.reply = reply
            event.outcome = "definite" if reply.word in DEFINITE else "unknown"
            return
        answer = fields(reply)
        event.outcome = "ok"
        event.version = version_of(answer["version"])
        if event.kind == "read":
            event.value = answer["value"].decode() if answer["value"] is not None else None

    def turn(self):
        if self.others:
            self.others.append(self.node)
            self.node = self.others.pop(0)

    def finish(self):
        self.ending.set()
        self.join(60)
        assert not self.is_alive(), "a worker hangs"
        if self.error is not None:
            raise self.error


def start(nodes, keys, seed, each=2):
    """The seed is part of every value: workers of another seed never write the same."""
    workers = [Worker(node, f"{seed}.{node.number}.{index}", keys,
                      seed * 1000 + node.number * 10 + index)
               for node in nodes for index in range(each)]
    for worker in workers:
        worker.start()
    return workers


def finish(workers):
    for worker in workers:
        worker.ending.set()
    for worker in workers:
        worker.finish()
    return [event for worker in workers for event in worker.events]


def read_everywhere(nodes, keys, *level):
    """One read of each key through each node, as events."""
    events = []
    for node in nodes:
        reader = Worker(node, "last", keys, 0)
        for key in keys:
            reader.one(Event("read", key, node.number), "KV.GET", key, "META", *level)
        reader.client.close()
        for event in reader.events:
            assert event.outcome == "ok", str(event)
        events += reader.events
    return events


def check(events):
    """Returns what is wrong, as lines."""
    wrong = []
    of_key = {}
    for event in events:
        of_key.setdefault(event.key, []).append(event)
    for each in of_key.values():
        wrong += check_key(each)
    return wrong


def check_key(events):
    wrong = []
    writes = {event.value: event for event in events if event.kind == "write"}
    values = {}
    known = sorted((event for event in events if event.outcome == "ok"),
                   key=lambda event: event.end)
    for event in known:
        if event.version != NEVER and event.value is not None:
            if values.setdefault(event.version, event.value) != event.value:
                wrong.append(f"one version, two values: {event} and {values[event.version]}")
        if event.kind == "read" and event.value is not None:
            writer = writes.get(event.value)
            if writer is None:
                wrong.append(f"nobody wrote that: {event}")
            elif writer.outcome == "definite":
                wrong.append(f"refused, and yet there: {event}; {writer}")
    # Walk through in order of start, with the greatest version that ended before.
    ended, at = NEVER, 0
    holder = None
    for event in sorted(known, key=lambda event: event.start):
        while at < len(known) and known[at].end < event.start:
            if known[at].version > ended:
                ended, holder = known[at].version, known[at]
            at += 1
        if event.kind == "read" and event.version < ended:
            wrong.append(f"went back: {event}\n      after {holder}")
        if event.kind == "write" and event.version <= ended:
            wrong.append(f"acknowledged below what stood: {event}\n      after {holder}")
    return wrong


def tally(events, since=0.0, until=float("inf"), nodes=None):
    """How many of what outcome began in that time, by kind."""
    counts = {}
    for event in events:
        if since <= event.start < until and (nodes is None or event.node in nodes):
            name = f"{event.kind} {event.outcome}"
            counts[name] = counts.get(name, 0) + 1
    return counts
