#!/usr/bin/python3
"""tools/bench/bench_moves.py -- what a ring change costs clients, the network and the processors.

usage: bench_moves.py [--rounds N] [--keys N] [--value-size N] [--rate N] [--programs DIR]
                      [--directory DIR] [--only latency,stream,replace]

Three nodes on this machine, three copies of every key, values of random bytes (nothing compresses).
Rounds are interleaved, and medians over them are compared, so what else the machine does hits all
alike; the load average is taken before each.
    latency   With the default settings, and four clients, one process each, which ask in turns for
              a read and a write at QUORUM of random keys, one at a time and --rate times a second in
              all, or as often as they are answered. A window of rest; node 4 joins (3 -> 4); a
              window of rest; node 4 leaves. p99 of the joins against that of the rest.
    stream    No clients, no bound on the rate of streams. Node 4 joins, from COMMIT to the end of
              the plan; then as many bytes are copied plainly: one process sends a file of that size
              with sendfile(2) over a TCP connection of loopback, another writes what comes to a file
              and syncs it once at the end. Bytes streamed are those of the chunks that node 4 took;
              the least are keys and values of the ranges it holds then. CPU is user and system time
              of all nodes, or of the two processes.
    replace   Default settings, no clients: node 3 is killed, and an empty node takes its place; from
              COMMIT to the end of the plan.
Prints the machine, the command and tables in Markdown.
"""
import argparse
import json
import multiprocessing
import os
import random
import socket
import statistics
import struct
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.join(ROOT, "tests/integration")]

from bench_server import machine, version  # noqa: E402
from changing import Operator, gauge  # noqa: E402
from harness import Stage, die_with_parent  # noqa: E402
from resp import Client, Failure  # noqa: E402

CLIENTS = 4
REST_S = 8.0
SETTLED_LOOKS = 5     # A second apart, without a byte written.
RATE_UNBOUND = "4g"
PIECE = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


def key_of(number):
    return f"key:{number:010d}"


# ---------------------------------------------------------------------------- clients


def client_run(port, seed, keys, value_size, rate, pipe):
    """Asks on schedule until told to end; answers what it measured: when, which kind, seconds."""
    die_with_parent()
    chance = random.Random(seed)
    measured, failed = [], 0
    due = time.monotonic() + chance.random() / rate
    with Client(port, timeout=30) as client:
        while not pipe.poll():
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            key = key_of(chance.randrange(keys))
            write = len(measured) % 2 == 1
            since = time.monotonic()
            reply = (client.call("SET", key, chance.randbytes(value_size)) if write
                     else client.call("GET", key))
            failed += isinstance(reply, Failure)
            now = time.monotonic()
            measured.append((since, write, now - since))
            due = max(due + 1 / rate, now)
    pipe.send((measured, failed))


class Clients:
    def __init__(self, nodes, keys, value_size, rate):
        self.pipes, self.processes = [], []
        for index in range(CLIENTS):
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.Process(
                target=client_run, args=(nodes[index % len(nodes)].client_port, index, keys,
                                         value_size, rate / CLIENTS, theirs))
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def finish(self):
        for pipe in self.pipes:
            pipe.send("end")
        measured, failed = [], 0
        for pipe, process in zip(self.pipes, self.processes):
            found, bad = pipe.recv()
            measured += found
            failed += bad
            process.join()
        return measured, failed


def quantile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def latencies(measured, window, write):
    since, until = window
    return [took for at, kind, took in measured if since <= at < until and kind == write]


# ---------------------------------------------------------------------------- the cluster


class Bed:
    """Three nodes that hold all keys, and whoever changes the ring."""

    def __init__(self, stage, options, flags=()):
        self.options = options
        self.cluster = stage.cluster(flags=flags).start()
        self.operator = Operator(self.cluster)
        path = os.path.join(stage.scratch, "records")
        if not os.path.exists(path):
            with open(path, "wb") as file:
                for number in range(options.keys):
                    key = key_of(number).encode()
                    file.write(struct.pack("<II", len(key), options.value_size) + key)
                    file.write(random.randbytes(options.value_size))
        done = stage.run([stage.program("kvctl"), "import", "--format", "len", path, "-e",
                          f"127.0.0.1:{self.cluster[1].client_port}"], timeout=3600)
        assert done.returncode == 0, done.stderr
        self.settle()

    def settle(self):
        """Until nobody merges: what was written before is no part of what is measured."""
        last, looks = None, 0
        while looks < SETTLED_LOOKS:
            now = self.written()
            looks = looks + 1 if now == last else 0
            last = now
            time.sleep(1.0)

    def written(self):
        return sum(gauge(node, name) for node in self.cluster.running()
                   for name in ("engine_compaction_written_bytes_total",
                                "engine_flush_written_bytes_total"))

    def join(self):
        """(node, seconds, bytes streamed, the least, CPU seconds)"""
        node = self.operator.joiner()
        cpu = self.cpu()
        took = self.operator.commit(("JOIN", node.number), seconds=1800)
        cpu = self.cpu() - cpu
        return node, took, gauge(node, "stream_in_bytes_total"), self.least(node.number), cpu

    def least(self, number):
        """Keys and values of the ranges that the node holds, as many as hash there by chance."""
        ring = json.loads(self.cluster[1].call("KV.RING"))
        held = sum(number in replicas for replicas in ring["ranges"])
        return (held / ring["range_count"] * self.options.keys
                * (len(key_of(0)) + self.options.value_size))

    def leave(self, node):
        self.operator.commit(("LEAVE", node.number), seconds=1800)
        assert node.stop() == 0
        node.process = None

    def cpu(self):
        total = 0
        for node in self.cluster.running():
            with open(f"/proc/{node.process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS


# ---------------------------------------------------------------------------- what is measured


def loads():
    return os.getloadavg()[0]


def measure_latency(stage, options):
    bed = Bed(stage, options)
    rows, before = [], []
    for number in range(options.rounds):
        before.append(loads())
        clients = Clients(bed.cluster.nodes[:3], options.keys, options.value_size, options.rate)
        windows = {}
        for name in ("rest before", "join", "rest after"):
            since = time.monotonic()
            if name == "join":
                node, took, _, _, _ = bed.join()
            else:
                time.sleep(REST_S)
            windows[name] = (since, time.monotonic())
        windows["join"] = (windows["join"][1] - took, windows["join"][1])
        measured, failed = clients.finish()
        row = {"seconds": took, "failed": failed, "count": len(measured)}
        row["rates"] = [sum(since <= at < until for at, _, _ in measured) / (until - since)
                        for since, until in (windows["rest before"], windows["join"])]
        for write in (False, True):
            rest = (latencies(measured, windows["rest before"], write)
                    + latencies(measured, windows["rest after"], write))
            move = latencies(measured, windows["join"], write)
            for share in (0.5, 0.99, 0.999):
                row[write, share] = (quantile(rest, share), quantile(move, share))
        rows.append(row)
        print(f"# latency round {number + 1}: joined in {took:.1f} s, p99 of reads "
              f"{row[False, 0.99][0] * 1e3:.2f} -> {row[False, 0.99][1] * 1e3:.2f} ms, of writes "
              f"{row[True, 0.99][0] * 1e3:.2f} -> {row[True, 0.99][1] * 1e3:.2f} ms, "
              f"{failed} failed", file=sys.stderr, flush=True)
        bed.leave(node)
        bed.settle()
    print(f"load average before the rounds: {' '.join(f'{each:.1f}' for each in before)}; "
          f"{sum(row['failed'] for row in rows)} of {sum(row['count'] for row in rows)} requests "
          f"failed; a join took {statistics.median(row['seconds'] for row in rows):.1f} s; requests "
          f"a second at rest {statistics.median(row['rates'][0] for row in rows):.0f}, then "
          f"{statistics.median(row['rates'][1] for row in rows):.0f}\n")
    print("| | at rest, ms | while node 4 joins, ms | ratio of medians | median of ratios |\n"
          "| --- | ---: | ---: | ---: | ---: |")
    for write in (False, True):
        for share in (0.5, 0.99, 0.999):
            rest = statistics.median(row[write, share][0] for row in rows)
            move = statistics.median(row[write, share][1] for row in rows)
            ratio = statistics.median(row[write, share][1] / row[write, share][0] for row in rows)
            print(f"| {'writes' if write else 'reads'} p{share * 100:g} | {rest * 1e3:.2f} | "
                  f"{move * 1e3:.2f} | {move / rest:.2f} | {ratio:.2f} |")


def copy_receive(listener, path, pipe):
    die_with_parent()
    connection, _ = listener.accept()
    buffer = bytearray(PIECE)
    with connection, open(path, "wb", buffering=0) as file:
        while (size := connection.recv_into(buffer)) > 0:
            file.write(memoryview(buffer)[:size])
        os.fsync(file.fileno())
    os.unlink(path)
    pipe.send(time.process_time())


def copy_send(port, path, pipe):
    die_with_parent()
    with socket.create_connection(("127.0.0.1", port)) as connection, open(path, "rb") as file:
        connection.sendfile(file)
    pipe.send(time.process_time())


def copy_plain(scratch, size):
    """(seconds, CPU seconds) of a plain copy of so many bytes over loopback."""
    path = os.path.join(scratch, "plain")
    with open(path, "wb") as file:
        for _ in range(0, size, PIECE):
            file.write(random.randbytes(min(PIECE, size)))
        os.fsync(file.fileno())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipes = [multiprocessing.Pipe() for _ in range(2)]
        since = time.monotonic()
        jobs = [multiprocessing.Process(target=copy_receive,
                                        args=(listener, path + ".copy", pipes[0][1])),
                multiprocessing.Process(target=copy_send, args=(listener.getsockname()[1], path,
                                                                pipes[1][1]))]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        took = time.monotonic() - since
    os.unlink(path)
    return took, sum(ours.recv() for ours, _ in pipes)


def measure_stream(stage, options):
    bed = Bed(stage, options, ("--limits-stream-rate", RATE_UNBOUND))
    rows, before = [], []
    for number in range(options.rounds):
        before.append(loads())
        node, took, size, least, cpu = bed.join()
        copy_took, copy_cpu = copy_plain(stage.scratch, int(size))
        rows.append((size / took / MIB, size / copy_took / MIB, cpu / size * 1e9,
                     copy_cpu / size * 1e9, size / least, took))
        print(f"# stream round {number + 1}: {size / MIB:.0f} MiB in {took:.2f} s, copied in "
              f"{copy_took:.2f} s", file=sys.stderr, flush=True)
        bed.leave(node)
        bed.settle()
    rate, copy_rate, cpu, copy_cpu, share, took = (statistics.median(column)
                                                   for column in zip(*rows))
    print(f"\nload average before the rounds: {' '.join(f'{each:.1f}' for each in before)}\n")
    print("| | 3 -> 4 nodes | plain copy | ratio |\n| --- | ---: | ---: | ---: |")
    print(f"| MiB/s | {rate:.1f} | {copy_rate:.1f} | {rate / copy_rate:.2f} |")
    print(f"| CPU, ns a byte | {cpu:.2f} | {copy_cpu:.2f} | {cpu / copy_cpu:.1f} |")
    print(f"| bytes, of the least | {share:.3f} | | |")
    print(f"| seconds | {took:.2f} | | |")


def measure_replace(stage, options):
    bed = Bed(stage, options)
    rows, before = [], []
    for number in range(options.rounds):
        before.append(loads())
        dead = next(node for node in bed.cluster.running() if node.number != 1)
        dead.kill()
        killed = time.monotonic()
        node = bed.operator.joiner()
        took = bed.operator.commit(("REPLACE", dead.number, node.number), seconds=1800)
        size = gauge(node, "stream_in_bytes_total")
        rows.append((took, size, size / bed.least(node.number), time.monotonic() - killed))
        print(f"# replace round {number + 1}: {took:.2f} s, {size / MIB:.0f} MiB",
              file=sys.stderr, flush=True)
        bed.settle()
    took, size, share, whole = (statistics.median(column) for column in zip(*rows))
    print(f"\nload average before the rounds: {' '.join(f'{each:.1f}' for each in before)}\n")
    print(f"A dead node of three is replaced in {took:.1f} s from COMMIT, {whole:.1f} s from its "
          f"death; {size / MIB:.0f} MiB streamed, {share:.2f} of the least "
          f"({1024 / took:.0f} ranges a second).")


MEASURES = {"latency": measure_latency, "stream": measure_stream, "replace": measure_replace}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=250000)
    parser.add_argument("--value-size", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=1000, help="requests a second of all clients")
    parser.add_argument("--programs", default=os.path.join(ROOT, "build/release/bin"))
    parser.add_argument("--directory", help="on the disk to measure [the system's temporary folder]")
    parser.add_argument("--only", default=",".join(MEASURES))
    options = parser.parse_args()
    programs = os.path.abspath(options.programs)
    with tempfile.TemporaryDirectory(prefix="ringkv-moves-", dir=options.directory) as scratch:
        print(f"machine: {machine(scratch)}")
        print(f"programs: {version(os.path.join(programs, 'kvnode'), '--version')}")
        print(f"command: tools/bench/bench_moves.py {' '.join(sys.argv[1:])}", flush=True)
        for name in options.only.split(","):
            print(f"\n### {name}\n", flush=True)
            stage = Stage(programs, scratch, False)
            try:
                MEASURES[name](stage, options)
            finally:
                for line in stage.close_test(False):
                    print(f"# {line}", file=sys.stderr)
                stage.destroy()


if __name__ == "__main__":
    main()
