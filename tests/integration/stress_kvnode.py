#!/usr/bin/python3
"""tests/integration/stress_kvnode.py -- three real nodes of the thread sanitizer under load.

usage: stress_kvnode.py DIR

redis-benchmark loads each of the nodes for LOAD_SECONDS. Every page of their admin ports is asked
for again and again, from the start on: a node answers while a lane still opens its files. Then
SIGTERM comes in the middle of the load. It fails if a node ends by itself or with another code than 0, if a page or a
request fails before that, or if a log holds a report of the sanitizer.
DIR holds kvnode, built by the preset tsan. Exit 0 if all is well, 1 if not.
"""
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402

LOAD_SECONDS = 10
PAGES = ("/metrics", "/ring.json", "/status.json", "/livez", "/readyz")
SUPPRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stress_kvnode.supp")
MARK = "ThreadSanitizer"  # Begins each of its reports.


class Poller(threading.Thread):
    """Asks one node for its pages, from before it listens until told to stop."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.over = threading.Event()
        self.page_count = 0
        self.wrong = []

    def run(self):
        try:
            while not self.over.wait(0.01):
                for page in PAGES:
                    self.ask(page)
        except Exception:  # Told to the main thread.
            self.wrong.append(traceback.format_exc())

    def ask(self, page):
        try:
            status, _, body = self.node.http(page)
        except urllib.error.URLError:
            if self.page_count > 0:
                raise
            return  # It does not listen yet.
        # A node that opens, or that missed heartbeats under the sanitizer, is not ready.
        assert status == 200 or (page == "/readyz" and status == 503), (page, status)
        if page.endswith(".json"):
            assert json.loads(body)
        self.page_count += 1


def load(node):
    """Mixed requests without end; the caller stops it."""
    return subprocess.Popen(
        ["redis-benchmark", "-p", str(node.client_port), "-q", "-l", "-c", "8", "-P", "8",
         "-r", "2000", "-d", "200", "-n", "4000", "-t", "set,get,mset"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=harness.die_with_parent)


def stress(cluster):
    """Returns what was wrong."""
    pollers = [Poller(node) for node in cluster.nodes]
    for poller in pollers:
        poller.start()
    cluster.start()
    loads = [load(node) for node in cluster.nodes]
    time.sleep(LOAD_SECONDS)  # How long the load lasts, and nothing that is waited for.
    wrong = [f"redis-benchmark ended with {one.returncode}: {one.stdout.read()[-300:]}"
             for one in loads if one.poll() is not None]
    for poller in pollers:
        poller.over.set()
    for poller in pollers:
        poller.join(60)
        wrong += poller.wrong
        if poller.page_count == 0:
            wrong.append(f"node {poller.node.number} gave no page")
    for node in cluster.nodes:
        commands = int(node.call("INFO", "stats").decode()
                       .split("total_commands_processed:")[1].split()[0])
        print(f"node {node.number}: {commands} commands")
        if commands == 0:
            wrong.append(f"node {node.number} had no command")
    print(f"{sum(poller.page_count for poller in pollers)} pages")
    wrong += cluster.close()
    for one in loads:
        one.kill()
        one.communicate()
    return wrong


def main():
    programs = os.path.abspath(sys.argv[1])
    with open(os.path.join(programs, "kvnode"), "rb") as file:
        if b"__tsan_init" not in file.read():
            print("FAIL kvnode was built without the thread sanitizer")
            return 1
    os.environ["TSAN_OPTIONS"] = f"suppressions={SUPPRESSIONS} print_suppressions=0"
    with tempfile.TemporaryDirectory(prefix="ringkv-stress-") as scratch:
        cluster = harness.Cluster(programs, os.path.join(scratch, "cluster"), 3)
        try:
            wrong = stress(cluster)
        finally:
            cluster.destroy()
        for node in cluster.nodes:
            if MARK in node.log():
                wrong.append(f"node {node.number}: the thread sanitizer found something")
                print(node.log())
        for line in wrong:
            print(f"FAIL {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
