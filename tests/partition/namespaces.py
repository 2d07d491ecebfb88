"""tests/partition/namespaces.py -- machines of our own: network namespaces on a bridge.

Each node gets a namespace with the address 10.77.0.N on eth0; their other ends are ports vN of a
bridge in a namespace of its own, so the host's network is untouched. Cuts are pairs of ports in a
set of nftables at the bridge: dropped silently, one way or both, as a broken link does it.
Names carry the process id and a random word, so that runs side by side do not meet; close() takes
everything away, and deleting a namespace takes its links with it.
"""
import os
import random
import subprocess

RULES = """table bridge faults {
  set cut { type ifname . ifname; }
  chain link {
    type filter hook forward priority 0;
    iifname . oifname @cut drop;
  }
}
"""


class Unavailable(Exception):
    """Namespaces cannot be made here. A reason to fail, never to skip."""


def run(*command, text=None):
    result = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, check=False, timeout=30)
    if result.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


class Network:
    def __init__(self, count):
        self.count = count
        # A link's name has at most 15 bytes, a namespace's more; both are ours alone.
        self.prefix = f"rkv{os.getpid()}{random.randrange(36 ** 3):x}"
        self.switch = f"{self.prefix}sw"
        self.made = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def namespace(self, number):
        return f"{self.prefix}n{number}"

    @staticmethod
    def address(number):
        return f"10.77.0.{number}"

    def _add(self, name):
        run("ip", "netns", "add", name)
        self.made.append(name)

    def _build(self):
        if os.geteuid() != 0:
            raise Unavailable("network namespaces need root")
        self._add(self.switch)
        run("ip", "-n", self.switch, "link", "set", "lo", "up")
        run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.switch, "link", "set", "br0", "up")
        # Who tests is a machine of its own too, number 254, which no cut touches.
        for number in [*range(1, self.count + 1), 254]:
            name = self.namespace(number)
            self._add(name)
            run("ip", "-n", self.switch, "link", "add", f"v{number}", "type", "veth",
                "peer", "name", "eth0", "netns", name)
            run("ip", "-n", self.switch, "link", "set", f"v{number}", "master", "br0", "up")
            run("ip", "-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "netns", "exec", self.switch, "nft", "-f", "-", text=RULES)

    def _change(self, verb, pairs):
        elements = ", ".join(f'"v{source}" . "v{target}"' for source, target in pairs)
        if pairs:
            run("ip", "netns", "exec", self.switch, "nft", verb, "element", "bridge", "faults",
                "cut", "{ " + elements + " }")

    def cut_one_way(self, sources, targets):
        """What `sources` send to `targets` is lost from now on."""
        self._change("add", [(source, target) for source in sources for target in targets])

    def cut(self, one_side, other_side):
        self.cut_one_way(one_side, other_side)
        self.cut_one_way(other_side, one_side)

    def heal(self):
        run("ip", "netns", "exec", self.switch, "nft", "flush", "set", "bridge", "faults", "cut")

    def cuts(self):
        """What is cut, as the kernel says it."""
        text = run("ip", "netns", "exec", self.switch, "nft", "list", "set", "bridge", "faults",
                   "cut")
        return text.count(" . ") - 1  # The type of the set has one too.

    def inside(self, number):
        """What to put before a command so that it runs on machine `number`."""
        return ["ip", "netns", "exec", self.namespace(number)]

    def close(self):
        wrong = []
        for name in reversed(self.made):
            try:
                run("ip", "netns", "del", name)
            except (Unavailable, subprocess.TimeoutExpired) as error:
                wrong.append(str(error))
        self.made = []
        return wrong
