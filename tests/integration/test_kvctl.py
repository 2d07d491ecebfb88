"""tests/integration/test_kvctl.py -- kvctl: commands, exit codes, records, a cluster for trying."""
import json
import os
import re
import shutil
import subprocess

from harness import free_ports, wait_until
from resp import Broken, Client

OK, FAILED, USAGE, UNREACHABLE, NOT_FOUND, NO_QUORUM, CHECK_FAILED = 0, 1, 2, 3, 4, 5, 9


class Kvctl:
    def __init__(self, stage, endpoints=None):
        self.stage = stage
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("KV_", "KVCTL_"))}
        if endpoints:
            self.env["KV_ENDPOINTS"] = endpoints

    def __call__(self, *arguments, code=OK, **options):
        options.setdefault("env", self.env)
        result = self.stage.run([self.stage.program("kvctl"), *arguments], **options)
        assert result.returncode == code, (arguments, result.returncode, result.stderr)
        self.said = result.stderr
        return result.stdout


def shared(stage, number=1):
    return Kvctl(stage, f"127.0.0.1:{stage.shared()[number].client_port}")


def test_data(stage):
    kvctl = shared(stage)
    assert kvctl("put", "kc:a", "one") == "" and kvctl.said == ""
    assert kvctl("get", "kc:a") == "one"
    assert kvctl("get", "kc:a", "-o", "raw") == "one"
    assert kvctl("get", "kc:none", code=NOT_FOUND) == "" and "not found" in kvctl.said
    assert shared(stage, 3)("get", "kc:a", "--no-routing") == "one"
    assert kvctl("put", "kc:pipe", "-", stdin=None, input="from a pipe\n") == ""
    assert kvctl("get", "kc:pipe", "-o", "raw") == "from a pipe\n"
    assert sorted(kvctl("scan", "--match", "kc:*").split()) == ["kc:a", "kc:pipe"]
    kvctl("del", "kc:a", "kc:pipe")
    kvctl("get", "kc:a", code=NOT_FOUND)
    for level in ("one", "quorum", "all"):
        kvctl("put", "kc:level", level, "--level", level)
        assert kvctl("get", "kc:level", "--level", level) == level


def test_usage(stage):
    kvctl = shared(stage)
    for bad in (("get",), ("nothing",), ("put",), ("get", "a", "--no-such"), ("ring",),
                ("get", "a", "--level", "most"), ("import", "f", "--format", "csv"),
                ("get", "a", "-e", "no port"), ("get", "a", "-o", "xml")):
        kvctl(*bad, code=USAGE)
        assert "kvctl: " in kvctl.said, (bad, kvctl.said)
    for part in (("dev",), ("dev", "cluster"), ("dev", "cluster", "start"), ("help", "dev")):
        kvctl(*part, code=USAGE)
        assert "kvctl dev cluster up" in kvctl.said and "ring" not in kvctl.said, kvctl.said
    assert "usage: kvctl" in kvctl("--help")
    assert "usage: kvctl import" in kvctl("help", "import")
    assert re.match(r"kvctl \d+\.\d+", kvctl("version"))
    assert kvctl("--version") == kvctl("version")
    assert "complete" in kvctl("completion", "bash")


def test_reports(stage):
    kvctl = shared(stage)
    ring = json.loads(kvctl("ring", "show", "-o", "json"))
    assert ring["range_count"] == 1024 and len(ring["members"]) == 3
    assert re.search(r"^ +3 +default +1 +1024", kvctl("ring", "show"), re.MULTILINE)
    assert json.loads(kvctl("status", "-o", "json"))["state"] == "serving"
    assert "3 of 3 nodes up" in kvctl("status")
    assert len(re.findall(r"^UN +[123] ", kvctl("status"), re.MULTILINE)) == 3
    assert re.search(r"^UN\t2\t", kvctl("status", "-o", "tsv"), re.MULTILINE)
    assert len(kvctl("node", "list").splitlines()) == 4
    place = json.loads(kvctl("ring", "locate", "{x}a", "-o", "json"))
    assert place["slot"] == json.loads(kvctl("ring", "locate", "x", "-o", "json"))["slot"]


def test_exit_codes_without_nodes_and_without_quorum(stage):
    cluster = stage.cluster().start()
    port = cluster[1].client_port
    kvctl = Kvctl(stage, f"127.0.0.1:{port}")
    kvctl("put", "a", "b")
    cluster[2].kill()
    kvctl("put", "a", "c")
    assert kvctl("get", "a") == "c"
    assert "if one more node fails" in kvctl("status")
    wait_until(lambda: re.search(r"^DN +2 ", kvctl("status"), re.MULTILINE), 15, "node 2 is down")
    assert re.search(r"^UN +3 ", kvctl("status"), re.MULTILINE)
    cluster[3].kill()

    def refused():
        return stage.run([stage.program("kvctl"), "put", "a", "d"],
                         env=kvctl.env).returncode == NO_QUORUM

    wait_until(refused, 15, "writes are refused")
    kvctl("get", "a", code=NO_QUORUM)
    assert kvctl("get", "a", "--level", "one") == "c"
    cluster[1].kill()
    kvctl("get", "a", code=UNREACHABLE)
    kvctl("put", "a", "e", code=UNREACHABLE)
    kvctl("status", code=UNREACHABLE)
    cluster.start()
    assert kvctl("get", "a") == "c"


def index_part(stage, count):
    """The first stanzas of this machine's package index, or as many of our own making."""
    path = stage.directory("index")
    whole = stage.run(["apt-cache", "dumpavail"]).stdout
    stanzas = whole.rstrip("\n").split("\n\n")[:count]
    if len(stanzas) < count:
        stanzas = [f"Package: made-{number % (count - 5)}\nVersion: {number}\nDescription: "
                   + "lorem ipsum " * (number % 50) for number in range(count)]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n\n".join(stanzas) + "\n\n")
    return path


def same(path, text):
    with open(path, encoding="utf-8") as file:
        return file.read() == text


def test_import_verify_export(stage):
    cluster = stage.cluster().start()
    kvctl = Kvctl(stage, f"127.0.0.1:{cluster[1].client_port}")
    count = 2000 if stage.quick else 20000
    path = index_part(stage, count)
    report = stage.directory("report")
    assert "records written" in kvctl("import", "--format", "debian", "--report", report, path)
    with open(report, encoding="utf-8") as file:
        figures = json.load(file)
    assert figures["records"] == count and figures["errors"] == 0, figures
    for node in cluster.nodes:
        one = Kvctl(stage, f"127.0.0.1:{node.client_port}")
        said = one("verify", "--no-routing", "--level", "quorum", "--format", "debian", path)
        assert said.splitlines()[-1] == f"{count:,} of {count:,} records verified", said
        assert same(path, one("export", "--format", "debian", "--order", path))

    name = re.findall("^Package: (.*)", open(path, encoding="utf-8").read(), re.MULTILINE)[7]
    stanza = kvctl("get", "-o", "raw", name)
    kvctl("put", name, stanza[:-1] + "~")
    said = kvctl("verify", "--format", "debian", path, code=CHECK_FAILED)
    assert said.splitlines()[-1] == f"{count - 1:,} of {count:,} records verified", said
    assert f"{name}: differs" in kvctl.said
    assert not same(path, kvctl("export", "--format", "debian", "--order", path))
    kvctl("del", name)
    kvctl("verify", "--format", "debian", path, code=CHECK_FAILED)
    kvctl("export", "--format", "debian", "--order", path, code=CHECK_FAILED)
    kvctl("put", name, stanza)
    kvctl("verify", "--format", "debian", path)


def test_other_formats(stage):
    kvctl = shared(stage)
    tsv = stage.directory("records.tsv")
    lines = sorted(f"tsv:{number}\tvalue\\t{number}\\n\\\\" for number in range(500))
    with open(tsv, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    kvctl("import", tsv)
    assert kvctl("get", "tsv:7", "-o", "raw") == "value\t7\n\\"
    assert sorted(kvctl("export", "--match", "tsv:*").splitlines()) == lines
    packed = stage.run([stage.program("kvctl"), "export", "--match", "tsv:*", "--format", "len"],
                       env=kvctl.env)
    path = stage.directory("records.len")
    with open(path, "w", encoding="utf-8") as file:
        file.write(packed.stdout)
    kvctl("verify", "--format", "len", path)
    with open(path, "a", encoding="utf-8") as file:
        file.write("\x05\x00")  # Cut short.
    kvctl("import", "--format", "len", path, code=FAILED)
    kvctl("import", "/no/such/file", code=FAILED)


def test_import_while_a_node_dies_and_comes_back(stage):
    cluster = stage.cluster().start()
    endpoints = f"127.0.0.1:{cluster[1].client_port},127.0.0.1:{cluster[3].client_port}"
    kvctl = Kvctl(stage, endpoints)
    path = stage.directory("records.tsv")
    count = 20000 if stage.quick else 100000
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            file.write(f"load:{number}\t{'v' * 400}{number}\n")
    load = subprocess.Popen([stage.program("kvctl"), "import", "--depth", "32", path],
                            env=kvctl.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)
    stage.defer(lambda: load.poll() is None and load.kill())
    wait_until(lambda: cluster[1].status()["keys"] > count / 10, 60, "a tenth is there")
    cluster[2].kill()
    wait_until(lambda: cluster[1].status()["keys"] > count / 4, 60, "a quarter is there")
    cluster[2].start()
    said = load.communicate(timeout=120)[1]
    assert load.returncode == OK, said
    cluster.wait_up()
    for node in cluster.nodes:
        Kvctl(stage, f"127.0.0.1:{node.client_port}")("verify", "--no-routing", path)


def runs(pid):
    """Whether there is a kvnode of that id; one that ended and nobody waited for does not run."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            status = file.read()
    except FileNotFoundError:
        return False
    return "kvnode" in status and "State:\tZ" not in status


def test_dev_cluster(stage):
    kvctl = Kvctl(stage)
    directory = stage.directory("dev")
    port = free_ports(3, step=10)
    where = ("--dir", directory)
    stage.defer(lambda: kvctl("dev", "cluster", "down", *where))
    kvctl("dev", "cluster", "ps", *where, code=FAILED)
    said = kvctl("dev", "cluster", "up", "--nodes", "3", "--port", str(port), *where)
    assert f"127.0.0.1:{port + 20}" in said, said
    kvctl.env["KV_ENDPOINTS"] = f"127.0.0.1:{port}"

    def states():
        nodes = json.loads(kvctl("dev", "cluster", "ps", "-o", "json", *where))
        return [node["state"] for node in nodes]

    def pids():
        return [node["pid"] for node in
                json.loads(kvctl("dev", "cluster", "ps", "-o", "json", *where))]

    assert states() == ["running"] * 3
    kvctl("put", "dev", "1")
    kvctl("dev", "cluster", "kill", "2", *where)
    assert states() == ["running", "stopped", "running"]
    kvctl("put", "dev", "2")
    kvctl("dev", "cluster", "restart", "2", *where)
    kvctl("dev", "cluster", "up", *where)  # Comes back when all are up again.
    assert states() == ["running"] * 3
    kvctl("dev", "cluster", "pause", "3", *where)
    assert states() == ["running", "running", "paused"]
    kvctl("put", "dev", "3")
    kvctl("dev", "cluster", "resume", "3", *where)
    assert states() == ["running"] * 3
    before = pids()
    kvctl("dev", "cluster", "restart", "1", *where)
    after = pids()
    assert before[0] != after[0] and before[1:] == after[1:]
    assert "program.started" in kvctl("dev", "cluster", "logs", "1", *where)
    kvctl("dev", "cluster", "kill", "4", *where, code=USAGE)
    assert kvctl("get", "dev", "-e", f"127.0.0.1:{port + 20}") == "3"
    kvctl("dev", "cluster", "down", *where)
    assert states() == ["stopped"] * 3
    for pid in after:
        assert not runs(pid), pid
    kvctl("dev", "cluster", "up", *where)
    assert kvctl("get", "dev") == "3"
    kvctl("dev", "cluster", "pause", "1", *where)
    kvctl("dev", "cluster", "down", *where)
    kvctl("dev", "cluster", "down", *where)  # Nothing left to do is no failure.


def test_dev_cluster_that_cannot_start(stage):
    kvctl = Kvctl(stage)
    directory = stage.directory("dev-bad")
    cluster = stage.cluster(1, replicas=1).start()
    kvctl("dev", "cluster", "up", "--port", str(cluster[1].client_port), "--dir", directory,
          code=FAILED)
    assert "in use" in kvctl.said, kvctl.said
    shutil.rmtree(directory, ignore_errors=True)
    kvctl("dev", "cluster", "up", "--kvnode", "/bin/false", "--port", str(free_ports(3, step=10)),
          "--dir", directory, "--timeout", "5000", code=FAILED)
    assert kvctl.said
    try:
        Client(cluster[1].client_port).close()
    except Broken as error:
        raise AssertionError("the other cluster was harmed") from error
