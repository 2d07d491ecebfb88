#!/usr/bin/python3
"""tests/partition/run.py -- real nodes on machines of their own, whose network is cut.

usage: run.py [--quick] [--jobs N] [--programs DIR] [--seed N] [PART_OF_A_NAME...]

Needs root, iproute2 and nftables. Where namespaces cannot be made it fails, and says why: a check
that skips itself would be none. The last line is `N passed, N failed`.
"""
import argparse
import ctypes
import os
import random
import socket
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]

import harness  # noqa: E402
import namespaces  # noqa: E402
import schedule  # noqa: E402
import test_cuts  # noqa: E402
import test_ring  # noqa: E402

CLONE_NEWNET = 0x40000000
TESTER = 254
libc = ctypes.CDLL(None, use_errno=True)


class Machines(harness.Stage):
    """A stage whose nodes live in namespaces, and which itself stands in one beside them."""

    def __init__(self, programs, scratch, quick, seed):
        super().__init__(programs, scratch, quick)
        self.seed = seed
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.networks = []

    def enter(self, descriptor):
        """This thread, and what it starts, use that network from now on."""
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise namespaces.Unavailable(f"setns: {os.strerror(ctypes.get_errno())}")

    def enter_machine(self, network, number):
        descriptor = os.open(f"/run/netns/{network.namespace(number)}", os.O_RDONLY)
        try:
            self.enter(descriptor)
        finally:
            os.close(descriptor)

    def network(self, count):
        network = namespaces.Network(count)
        self.networks.append(network)
        self.enter_machine(network, TESTER)
        return network

    def machines(self, count, replicas=3, start=True, flags=(), spare=0):
        """Nodes on a machine each, and `spare` machines for nodes that join."""
        network = self.network(count + spare)
        cluster = self.cluster(count, replicas, ["--insecure", *flags])

        def place(node):
            node.host = network.address(node.number)
            node.prefix = network.inside(node.number)

        cluster.place = place
        for node in cluster.nodes:
            place(node)
        if start:
            cluster.start()
        return cluster, network

    def datagrams(self, source, target, count=10):
        """How many of so many datagrams from one machine to the other arrive."""
        network = self.networks[-1]
        try:
            self.enter_machine(network, target)
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.enter_machine(network, source)
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        finally:
            self.enter_machine(network, TESTER)
        with receiver, sender:
            receiver.bind((network.address(target), 9000))
            receiver.settimeout(0.3)
            arrived = 0
            for _ in range(count):
                sender.sendto(b"x", (network.address(target), 9000))
            try:
                while arrived < count:
                    receiver.recv(10)
                    arrived += 1
            except TimeoutError:
                pass
        return arrived

    def leave(self):
        if self.networks:
            self.enter(self.home)
        wrong = []
        for network in self.networks:
            wrong += network.close()
        self.networks = []
        return wrong

    def close_test(self, failed):
        for network in self.networks:
            if network.made:
                network.heal()  # So that a clean end is one that can be.
        return super().close_test(failed) + self.leave()

    def destroy(self):
        super().destroy()
        for line in self.leave():
            print(f"# {line}")


def main():
    root = os.path.dirname(os.path.dirname(HERE))
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--programs", default=os.path.join(root, "build/release/bin"))
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("only", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringkv-partition-") as scratch:
        programs = os.path.abspath(options.programs)

        def stage(share):
            return Machines(programs, os.path.join(scratch, str(share)), options.quick, options.seed)

        return schedule.run_all([test_cuts, test_ring], stage, options.only, options.quick, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
