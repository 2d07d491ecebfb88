#!/usr/bin/python3
"""tools/bench/bench_server.py -- one kvnode beside redis, both durable before they answer.

usage: bench_server.py [--rounds N] [--requests N] [--programs DIR] [--directory DIR] [--three]

Rounds are interleaved (kvnode, redis, kvnode, redis, ...), so that what else the machine does hits
both alike; medians over the rounds are compared. Each round starts a fresh server on an empty folder
of the same disk and sends it, with redis-benchmark and 50 connections, SET and GET of 100-byte
values over random keys, one request at a time (-P 1) and in pipelines of 16 (-P 16).
    kvnode        one node, one replica: a SET is answered once its log is synced
    redis-server  --appendonly yes --appendfsync always: likewise
CPU is what the server's process used, in user and system mode, by /proc/PID/stat. With --three there
is also a cluster of three nodes at QUORUM, for information: redis has no counterpart.
Prints the machine, the commands and a table in Markdown.
"""
import argparse
import ctypes
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG = 1
TICKS = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 50
VALUE_SIZE = 100
KEYS = 100000
WAIT_S = 20
libc = ctypes.CDLL(None)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def answers(port, line):
    """The first line of the answer to an inline command, or nothing."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.sendall(line + b"\r\n")
            return connection.recv(4096).split(b"\r\n")[0]
    except OSError:
        return b""


class Server:
    """The processes of one side; the first port is the one that is measured."""

    def __init__(self, commands, port, directory):
        self.port, self.directory = port, directory
        log = open(os.path.join(directory, "log"), "wb")
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                             cwd=directory, preexec_fn=die_with_parent) for command in commands]
        log.close()
        try:
            self.wait()
        except BaseException:
            self.close()
            raise

    def wait(self):
        deadline = time.monotonic() + WAIT_S
        while answers(self.port, b"SET ready yes") != b"+OK":
            if time.monotonic() > deadline or any(p.poll() is not None for p in self.processes):
                with open(os.path.join(self.directory, "log"), errors="replace") as log:
                    raise SystemExit(f"a server did not come up:\n{log.read()[-2000:]}")
            time.sleep(0.05)

    def cpu(self):
        """Seconds of CPU its processes have used."""
        total = 0
        for process in self.processes:
            with open(f"/proc/{process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def close(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes:
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def kvnode(programs, directory, count=1):
    ports = free_ports(3 * count)
    peers = ",".join(f"{node + 1}=127.0.0.1:{ports[3 * node + 1]}" for node in range(count))
    commands = [[
        os.path.join(programs, "kvnode"), "--id", str(node + 1), "--data-dir", f"data-{node + 1}",
        "--client", f"127.0.0.1:{ports[3 * node]}", "--peer", f"127.0.0.1:{ports[3 * node + 1]}",
        "--admin", "off", "--bootstrap", peers, "--replicas", str(count)] for node in range(count)]
    return Server(commands, ports[0], directory)


def redis_server(directory):
    port = free_ports(1)[0]
    return Server([["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                    "--appendonly", "yes", "--appendfsync", "always"]], port, directory)


def load(server, test, pipeline, requests):
    """One redis-benchmark; (requests a second, microseconds of server CPU a request)."""
    before = server.cpu()
    result = subprocess.run(
        ["redis-benchmark", "-p", str(server.port), "-t", test.lower(), "-n", str(requests), "-r",
         str(KEYS), "-d", str(VALUE_SIZE), "-c", str(CONNECTIONS), "-P", str(pipeline), "-q"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=600, preexec_fn=die_with_parent, check=True)
    found = re.search(rf"{test}: ([0-9.]+) requests per second", result.stdout)
    if not found or "rror" in result.stdout:
        raise SystemExit(f"redis-benchmark said: {result.stdout}")
    return float(found.group(1)), (server.cpu() - before) / requests * 1e6


CASES = [("SET", 1), ("GET", 1), ("SET", 16), ("GET", 16)]


def one_round(server, requests, results):
    try:
        for test, pipeline in CASES:
            count = requests if pipeline == 1 else requests * 5
            results.setdefault((test, pipeline), []).append(load(server, test, pipeline, count))
    finally:
        server.close()


def medians(results):
    return {case: tuple(statistics.median(each[at] for each in rounds) for at in (0, 1))
            for case, rounds in results.items()}


def first_line(path, pattern):
    with open(path) as file:
        found = re.search(pattern, file.read(), re.MULTILINE)
    return found.group(1).strip() if found else "unknown"


def version(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def machine(directory):
    memory = int(first_line("/proc/meminfo", r"^MemTotal: +(\d+)")) / (1 << 20)
    disk = subprocess.run(["df", "--output=source,fstype", directory], stdout=subprocess.PIPE,
                          text=True, check=True).stdout.split("\n")[1].split()
    return (f"{os.cpu_count()} x {first_line('/proc/cpuinfo', r'^model name.*: (.*)')}, "
            f"{memory:.1f} GiB, Linux {os.uname().release}, {disk[0]} {disk[1]}")


def thousands(rate):
    return f"{rate / 1000:.1f} k"


def table(ours, theirs):
    lines = ["| test | kvnode req/s | redis req/s | ratio | kvnode CPU us/req | redis CPU us/req "
             "| ratio |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for case in CASES:
        (rate, cpu), (their_rate, their_cpu) = ours[case], theirs[case]
        lines.append(f"| {case[0]} -P {case[1]} | {thousands(rate)} | {thousands(their_rate)} | "
                     f"{rate / their_rate:.2f} | {cpu:.1f} | {their_cpu:.1f} | "
                     f"{cpu / max(their_cpu, 0.001):.2f} |")
    return "\n".join(lines)


def table_three(three):
    lines = ["| test | three nodes, QUORUM, req/s | CPU of all three, us/req |",
             "| --- | ---: | ---: |"]
    for case in CASES:
        rate, cpu = three[case]
        lines.append(f"| {case[0]} -P {case[1]} | {thousands(rate)} | {cpu:.1f} |")
    return "\n".join(lines)


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=100000, help="at -P 1; -P 16 gets 5 times")
    parser.add_argument("--programs", default=os.path.join(root, "build/release/bin"))
    parser.add_argument("--directory", help="on the disk to measure [the system's temporary folder]")
    parser.add_argument("--three", action="store_true")
    options = parser.parse_args()
    programs = os.path.abspath(options.programs)
    ours, theirs, three = {}, {}, {}
    loads = []
    with tempfile.TemporaryDirectory(prefix="ringkv-bench-", dir=options.directory) as scratch:
        print(f"machine: {machine(scratch)}")
        print(f"programs: {version(os.path.join(programs, 'kvnode'), '--version')}; "
              f"{version('redis-server', '--version')}")
        print(f"command: tools/bench/bench_server.py {' '.join(sys.argv[1:])}", flush=True)

        def place():
            return tempfile.mkdtemp(dir=scratch)

        for number in range(options.rounds):
            loads.append(os.getloadavg()[0])
            one_round(kvnode(programs, place()), options.requests, ours)
            one_round(redis_server(place()), options.requests, theirs)
            if options.three:
                one_round(kvnode(programs, place(), 3), options.requests, three)
            print(f"round {number + 1} of {options.rounds} is over", file=sys.stderr, flush=True)
    print(f"load average before the rounds: {' '.join(f'{each:.1f}' for each in loads)}\n")
    print(table(medians(ours), medians(theirs)))
    if three:
        print("\n" + table_three(medians(three)))


if __name__ == "__main__":
    main()
