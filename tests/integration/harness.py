"""tests/integration/harness.py -- real kvnode processes on loopback, and a runner of tests.

What always holds
 1. No process outlives the harness: a node gets SIGKILL from the kernel when its parent dies
    (PR_SET_PDEATHSIG), and every way out of a test, SIGTERM included, closes its clusters.
 2. Nodes are ended by process id, never by name.
 3. A node that ends without having been told to fails the test that used it; so does one that,
    told with SIGTERM at the end, does not end with exit code 0.
 4. Nothing waits without a bound.
"""
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from resp import Broken, Client

PORT_FIRST = 10000  # Below the ports that the kernel gives to outgoing connections.
PORT_LAST = 32000
port_bounds = [PORT_FIRST, PORT_LAST]  # Of this process; use_ports() narrows them.
START_SECONDS = 20
STOP_SECONDS = 20
LOG_TAIL_LINES = 25
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def use_ports(share, shares):
    """Of all ports, this process takes its share: those that run beside it never meet it."""
    size = (PORT_LAST - PORT_FIRST) // shares
    port_bounds[:] = [PORT_FIRST + share * size, PORT_FIRST + (share + 1) * size]


def free_ports(count, step=1):
    """The first of `count` ports, `step` apart, each with the two above it free too."""
    for _ in range(1000):
        base = random.randrange(port_bounds[0], port_bounds[1] - count * step - 3)
        ports = [base + index * step + more for index in range(count) for more in range(3)]
        if all(port_is_free(port) for port in ports):
            return base
    raise RuntimeError("no free ports")


class TooLate(AssertionError):
    """What was waited for did not come about."""


def wait_until(condition, seconds, what):
    """Calls `condition` until it is true; Broken counts as not yet."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = None
        except Broken as error:
            last = error
        if time.monotonic() > deadline:
            raise TooLate(f"{what}: not within {seconds} s" + (f" ({last})" if last else ""))
        time.sleep(0.02)


class Node:
    """One kvnode process; it may be started and ended any number of times."""

    def __init__(self, cluster, number, base_port):
        self.cluster = cluster
        self.number = number
        self.host = "127.0.0.1"
        self.client_port = base_port
        self.peer_port = base_port + 1
        self.admin_port = base_port + 2
        self.data_dir = os.path.join(cluster.directory, f"node-{number}")
        self.log_path = os.path.join(cluster.directory, f"node-{number}.log")
        self.contact = None  # A node that this one joins; else it is of the bootstrap.
        self.process = None
        self.paused = False
        self.prefix = []  # Put before the command line: a network namespace, a tracer.

    def command(self, *more):
        cluster = ["--bootstrap", self.cluster.bootstrap, "--replicas", str(self.cluster.replicas)]
        if self.contact is not None:
            cluster = ["--join", f"{self.contact.host}:{self.contact.peer_port}"]
        return [
            *self.prefix,
            os.path.join(self.cluster.programs, "kvnode"),
            "--id", str(self.number),
            "--data-dir", self.data_dir,
            "--client", f"{self.host}:{self.client_port}",
            "--peer", f"{self.host}:{self.peer_port}",
            "--admin", f"{self.host}:{self.admin_port}",
            *cluster, *self.cluster.flags, *more,
        ]

    def start(self, *more):
        assert self.process is None
        log = open(self.log_path, "ab")
        try:
            self.process = subprocess.Popen(
                self.command(*more), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent)
        finally:
            log.close()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        """SIGKILL; waits until the kernel has taken the process away."""
        self.signal(signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        self.process = None
        self.paused = False

    def pause(self):
        self.signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self.signal(signal.SIGCONT)
        self.paused = False

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        code = self.process.wait(STOP_SECONDS)
        self.process = None
        return code

    def running(self):
        return self.process is not None and self.process.poll() is None

    def connect(self, timeout=10.0):
        return Client(self.client_port, self.host, timeout)

    def call(self, *arguments, timeout=10.0):
        """One request on a connection of its own."""
        with self.connect(timeout) as client:
            return client.call(*arguments)

    def status(self):
        with self.connect(2.0) as client:
            return json.loads(client.call("KV.STATUS"))

    def http(self, path):
        """(status, content type, body) of a page of the admin port."""
        url = f"http://{self.host}:{self.admin_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read()

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""


class Cluster:
    """Nodes 1 to `count`, which know each other; not started yet."""

    def __init__(self, programs, directory, count, replicas=3, flags=()):
        self.programs = programs
        self.directory = directory
        self.replicas = replicas
        self.flags = list(flags)
        self.place = lambda node: None  # Where a node that is made later is to run.
        os.makedirs(directory)
        base = free_ports(count, step=10)
        self.nodes = [Node(self, index + 1, base + index * 10) for index in range(count)]

    @property
    def bootstrap(self):
        return ",".join(f"{node.number}={node.host}:{node.peer_port}" for node in self.nodes
                        if node.contact is None)

    def joiner(self, contact=None):
        """Another node, which joins through `contact`, the first one if not given; not started."""
        node = Node(self, len(self.nodes) + 1, free_ports(1))
        node.contact = contact if contact is not None else self.nodes[0]
        self.place(node)
        self.nodes.append(node)
        return node

    def __getitem__(self, number):
        return self.nodes[number - 1]

    def start(self):
        for node in self.nodes:
            if node.process is None:
                node.start()
        self.wait_up()
        return self

    def wait_up(self, nodes=None, seconds=START_SECONDS):
        """Until each of `nodes` serves and sees all of them up."""
        nodes = self.nodes if nodes is None else nodes
        wanted = {node.number for node in nodes}

        def up(node):
            if not node.running():
                raise AssertionError(f"node {node.number} ended while it was waited for")
            status = node.status()
            seen = {member["id"] for member in status["members"] if member["state"] == "up"}
            return status["state"] == "serving" and wanted <= seen

        for node in nodes:
            wait_until(lambda node=node: up(node), seconds, f"node {node.number} up")

    def running(self):
        return [node for node in self.nodes if node.running()]

    def close(self):
        """Ends all nodes; returns what was not as it should be."""
        wrong = []
        for node in self.nodes:
            if node.process is None:
                continue
            if node.process.poll() is not None:
                wrong.append(f"node {node.number} ended by itself, code {node.process.returncode}")
                node.process = None
            elif node.paused:
                node.kill()
            else:
                node.signal(signal.SIGTERM)
        for node in self.nodes:
            if node.process is None:
                continue
            try:
                code = node.process.wait(STOP_SECONDS)
                if code != 0:
                    wrong.append(f"node {node.number} ended with code {code} after SIGTERM")
                node.process = None
            except subprocess.TimeoutExpired:
                wrong.append(f"node {node.number} does not end after SIGTERM")
                node.kill()
        return wrong

    def destroy(self):
        for node in self.nodes:
            if node.process is not None:
                if node.process.poll() is None:
                    node.kill()
                node.process = None

    def print_logs(self):
        for node in self.nodes:
            lines = node.log().splitlines()[-LOG_TAIL_LINES:]
            print(f"# --- log of node {node.number}")
            for line in lines:
                print(f"#  {line}")


class Stage:
    """What a test is given: the programs, a place for files, clusters that end with the test."""

    def __init__(self, programs, scratch, quick, soak=False):
        self.programs = programs
        self.scratch = scratch
        self.quick = quick
        self.soak = soak
        self.clusters = []
        self.shared_cluster = None
        self.cleanups = []
        self.count = 0

    def program(self, name):
        return os.path.join(self.programs, name)

    def directory(self, name):
        self.count += 1
        path = os.path.join(self.scratch, f"{self.count}-{name}")
        shutil.rmtree(path, ignore_errors=True)
        return path

    def cluster(self, count=3, replicas=3, flags=()):
        """A cluster that belongs to the test, started by it."""
        directory = self.directory("cluster")
        cluster = Cluster(self.programs, directory, count, replicas, flags)
        self.clusters.append(cluster)
        return cluster

    def shared(self):
        """Three healthy nodes that tests share which do no harm to them."""
        if self.shared_cluster is None:
            cluster = Cluster(self.programs, self.directory("shared"), 3)
            self.shared_cluster = cluster
            cluster.start()
        return self.shared_cluster

    def defer(self, action):
        """`action` is called when the test is over, the last one first."""
        self.cleanups.append(action)

    def run(self, command, timeout=120, **options):
        """A program to its end; its output as text."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=timeout, preexec_fn=die_with_parent, check=False, **options)

    def close_test(self, failed):
        """After each test; returns what was wrong at its end."""
        wrong = []
        for action in reversed(self.cleanups):
            try:
                action()
            except Exception as error:  # The next one must still run.
                wrong.append(f"at the end: {error}")
        self.cleanups = []
        for cluster in self.clusters:
            wrong += cluster.close()
        if self.shared_cluster is not None:
            for node in self.shared_cluster.nodes:
                if not node.running():
                    wrong.append(f"node {node.number} of the shared cluster ended")
        if failed or wrong:
            for cluster in self.clusters + ([self.shared_cluster] if self.shared_cluster else []):
                cluster.print_logs()
        if wrong and self.shared_cluster is not None and any("shared" in line for line in wrong):
            self.shared_cluster.destroy()
            self.shared_cluster = None
        if not failed and not wrong:
            for cluster in self.clusters:
                shutil.rmtree(cluster.directory, ignore_errors=True)
        self.clusters = []
        return wrong

    def close(self):
        wrong = self.shared_cluster.close() if self.shared_cluster is not None else []
        self.shared_cluster = None
        return wrong

    def destroy(self):
        """On the way out after a signal: everything, without asking."""
        for cluster in self.clusters + ([self.shared_cluster] if self.shared_cluster else []):
            cluster.destroy()
        for action in reversed(self.cleanups):
            try:
                action()
            except Exception as error:
                print(f"# at the end: {error}")



def slow(function):
    """Marks a test that a quick run leaves out."""
    function.slow = True
    return function
