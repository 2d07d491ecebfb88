"""tests/integration/journal.py -- writers that keep account of what they were told, and its check.

Each writer has keys of its own and counts up on them, so every value is unique and later ones are
greater. What was acknowledged must be there, or something later that may have been applied; what
was refused definitely must never be seen. Each outcome of a write is one of:
    acked           +OK
    definite        an error that promises that nothing was done
    indeterminate   TIMEOUT, NOQUORUM, or a connection that broke after the request left
"""
import threading
import time

from resp import Broken, Client, Failure

INDETERMINATE = {"TIMEOUT", "NOQUORUM", "SUPERSEDED"}
PAUSE_AFTER_DOUBT_S = 0.01


class Entry:
    """One write."""

    def __init__(self, number, started):
        self.number = number
        self.started = started
        self.ended = None
        self.outcome = None
        self.reply = None

    @property
    def took(self):
        return self.ended - self.started


class Writer(threading.Thread):
    """Writes through one node after another: the next one when a connection breaks."""

    def __init__(self, nodes, name, key_count=50, timeout=15.0, pause=0.0):
        super().__init__(daemon=True)
        self.nodes = nodes
        self.label = name
        self.keys = [f"{name}:{index}" for index in range(key_count)]
        self.entries = {key: [] for key in self.keys}
        self.log = []
        self.timeout = timeout
        self.pause = pause
        self.ending = threading.Event()
        self.error = None
        self.at = hash(name) % len(nodes)
        self.client = None

    def run(self):
        try:
            number = 0
            while not self.ending.is_set():
                self.write_one(self.keys[number % len(self.keys)], number)
                number += 1
                if self.pause:
                    time.sleep(self.pause)
        except Exception as error:  # Told by finish(), on the thread of the test.
            self.error = error
        finally:
            if self.client is not None:
                self.client.close()

    def connected(self):
        if self.client is None:
            self.at = (self.at + 1) % len(self.nodes)
            node = self.nodes[self.at]
            try:
                self.client = Client(node.client_port, node.host, self.timeout)
            except Broken:
                time.sleep(0.02)
        return self.client is not None

    def write_one(self, key, number):
        while not self.connected():
            if self.ending.is_set():
                return
        entry = Entry(number, time.monotonic())
        self.entries[key].append(entry)
        try:
            entry.reply = self.client.call("SET", key, str(number))
        except Broken as error:
            entry.reply = str(error)
            entry.outcome = "indeterminate"
            self.client.close()
            self.client = None
        entry.ended = time.monotonic()
        if entry.outcome is None:
            entry.outcome = outcome_of(entry.reply)
        self.log.append(entry)
        if entry.outcome == "indeterminate":
            # Another node's clock may stand a little behind that of the one that failed.
            time.sleep(PAUSE_AFTER_DOUBT_S)

    def finish(self):
        self.ending.set()
        self.join(self.timeout + 30)
        assert not self.is_alive(), "a writer hangs"
        if self.error is not None:
            raise self.error

    def counts(self):
        counts = {"acked": 0, "definite": 0, "indeterminate": 0}
        for entry in self.log:
            counts[entry.outcome] += 1
        return counts


def outcome_of(reply):
    if reply == "OK":
        return "acked"
    assert isinstance(reply, Failure), reply
    return "indeterminate" if reply.word in INDETERMINATE else "definite"


def allowed(entries):
    """The values a key may have now; None for no value."""
    values = {None}
    for entry in entries:
        if entry.outcome == "acked":
            values = {str(entry.number)}
        elif entry.outcome == "indeterminate":
            values.add(str(entry.number))
    return values


def check(writers, nodes, read=("GET",)):
    """Reads every key through every node; returns how many were read."""
    wrong, count = [], 0
    for node in nodes:
        with Client(node.client_port, node.host, 30.0) as client:
            for writer in writers:
                for key in writer.keys:
                    value = client.call(read[0], key, *read[1:])
                    assert not isinstance(value, Failure), (node.number, key, value)
                    value = value.decode() if value is not None else None
                    count += 1
                    may = allowed(writer.entries[key])
                    if value not in may:
                        wrong.append(describe(node, writer, key, value, may))
    assert not wrong, "\n".join(wrong[:10])
    return count


def describe(node, writer, key, value, may):
    last = [f"{entry.number}:{entry.outcome}" for entry in writer.entries[key][-5:]]
    known = [entry for entry in writer.entries[key] if str(entry.number) == value]
    return (f"node {node.number}: {key} is {value} ({known[0].outcome if known else 'never written'})"
            f", may be {sorted(map(str, may))}; last writes {last}")


def start(nodes, name, count, **options):
    writers = [Writer(nodes, f"{name}-{index}", **options) for index in range(count)]
    for writer in writers:
        writer.start()
    return writers


def finish(writers):
    for writer in writers:
        writer.ending.set()
    for writer in writers:
        writer.finish()


def total(writers):
    sums = {"acked": 0, "definite": 0, "indeterminate": 0}
    for writer in writers:
        for outcome, count in writer.counts().items():
            sums[outcome] += count
    return sums
