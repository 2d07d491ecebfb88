"""tests/integration/test_process.py -- the program: settings, exit codes, start and clean end."""
import os
import shutil
import signal
import socket
import time

from harness import STOP_SECONDS, wait_until
from resp import Broken, Failure, encode


def kvnode(stage, *arguments, **options):
    return stage.run([stage.program("kvnode"), *arguments], timeout=30, **options)


def refused(result, code, *words):
    said = result.stdout + result.stderr
    assert result.returncode == code, (result.returncode, said)
    for word in words:
        assert word in said, (word, said)


def test_help_version_and_print(stage):
    result = kvnode(stage, "--help")
    assert result.returncode == 0 and "--data-dir DIR" in result.stdout and not result.stderr
    result = kvnode(stage, "--version")
    assert result.returncode == 0 and result.stdout.startswith("kvnode 0.")
    printed = kvnode(stage, "--print-config", "--id", "7", "--zone", "cellar")
    assert printed.returncode == 0 and "zone = cellar" in printed.stdout
    # What it prints, it reads; a file, a variable and a flag win in that order.
    path = stage.directory("printed.ini")
    with open(path, "w", encoding="utf-8") as file:
        file.write(printed.stdout)
    again = kvnode(stage, "--config", path, "--print-config")
    assert again.stdout == printed.stdout
    env = dict(os.environ, KV_NODE_ZONE="loft")
    assert "zone = loft" in kvnode(stage, "--config", path, "--print-config", env=env).stdout
    both = kvnode(stage, "--config", path, "--print-config", "--zone", "roof", env=env)
    assert "zone = roof" in both.stdout


def test_bad_settings(stage):
    good = ["--id", "1", "--data-dir", "/tmp/never-made", "--bootstrap", "1=127.0.0.1:7401"]
    assert kvnode(stage, "--check-config", *good).returncode == 0
    refused(kvnode(stage, "--no-such-flag"), 2, "no-such-flag")
    refused(kvnode(stage, "stray"), 2, "stray")
    refused(kvnode(stage), 2, "--id is missing")
    refused(kvnode(stage, "--id", "1"), 2, "--data-dir is missing")
    refused(kvnode(stage, *good, "--check-config", "--id", "0"), 2, "--id")
    refused(kvnode(stage, *good, "--check-config", "--id", "2"), 2, "own id")
    refused(kvnode(stage, *good, "--check-config", "--join", "127.0.0.1:7401"), 2, "exclude")
    refused(kvnode(stage, *good[:4], "--check-config", "--join", "nowhere"), 2, "HOST:PEERPORT")
    refused(kvnode(stage, *good[:4], "--check-config"), 2, "--bootstrap is missing")
    refused(kvnode(stage, *good, "--check-config", "--ranges", "1000"), 2, "power of two")
    refused(kvnode(stage, *good, "--check-config", "--client", "0.0.0.0:7400"), 2, "--insecure")
    refused(kvnode(stage, *good, "--check-config", "--client", "nowhere"), 2, "HOST:PORT")
    refused(kvnode(stage, *good, "--check-config", "--bootstrap", "1=a:1,1=b:1"), 2, "distinct")
    refused(kvnode(stage, *good, "--check-config", "--config", "/no/such/file"), 2, "/no/such/file")
    env = dict(os.environ, KV_NODE_ZONES="x")
    refused(kvnode(stage, *good, "--check-config", env=env), 2, "KV_NODE_ZONES")
    path = stage.directory("bad.ini")
    for text, word in (("[node]\nid = 1\nzoen = a\n", "zoen"), ("[node]\nid 1\n", "line 2"),
                       ("[node]\nid = one\n", "a number"), ("[nod]\nid = 1\n", "[nod]")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        refused(kvnode(stage, *good, "--check-config", "--config", path), 2, path, word)
    assert not os.path.exists("/tmp/never-made")


def test_ports_that_are_used(stage):
    cluster = stage.cluster(1, replicas=1)
    node = cluster[1]
    for port, word in ((node.client_port, "client="), (node.peer_port, "peer="),
                       (node.admin_port, "admin=")):
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", port))
            holder.listen()
            result = stage.run(node.command(), timeout=30)
            refused(result, 1, "node.listen_failed", word)
    cluster.start()
    assert node.call("SET", "a", "b") == "OK"


def test_a_second_process_on_the_same_data_is_refused(stage):
    cluster = stage.cluster(1, replicas=1).start()
    node = cluster[1]
    assert node.call("SET", "a", "b") == "OK"
    command = node.command()
    for flag in ("--client", "--peer", "--admin"):
        command[command.index(flag) + 1] = f"127.0.0.1:{int(command[command.index(flag) + 1].split(':')[1]) + 3}"
    result = stage.run(command, timeout=30)
    refused(result, 1, "error")
    assert node.call("GET", "a") == b"b"
    node.kill()
    cluster.start()
    assert node.call("GET", "a") == b"b"


def test_data_of_another_node_is_refused(stage):
    cluster = stage.cluster().start()
    assert cluster[1].call("SET", "a", "b") == "OK"
    assert cluster[2].stop() == 0
    cluster[2].data_dir, own = cluster[1].data_dir, cluster[2].data_dir
    assert cluster[1].stop() == 0
    refused(stage.run(cluster[2].command(), timeout=30), 1, "identity.other_node",
            "belongs_to=1 asked=2")
    cluster[2].data_dir = own
    cluster.start()
    assert cluster[2].call("GET", "a") == b"b"


def test_a_folder_with_other_files_is_refused(stage):
    cluster = stage.cluster(1, replicas=1)
    os.makedirs(cluster[1].data_dir)
    stray = os.path.join(cluster[1].data_dir, "letters.txt")
    with open(stray, "w", encoding="utf-8") as file:
        file.write("mine\n")
    refused(stage.run(cluster[1].command(), timeout=30), 1, "identity.missing")
    with open(stray, encoding="utf-8") as file:
        assert file.read() == "mine\n"


def test_damaged_identity_is_refused(stage):
    cluster = stage.cluster(1, replicas=1).start()
    assert cluster[1].stop() == 0
    path = os.path.join(cluster[1].data_dir, "NODE")
    with open(path, "rb") as file:
        good = file.read()
    for at in range(0, len(good), 7):
        with open(path, "wb") as file:
            file.write(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1:])
        result = stage.run(cluster[1].command(), timeout=30)
        assert result.returncode != 0, f"byte {at}"
    with open(path, "wb") as file:
        file.write(good)
    cluster.start()


def test_a_wiped_node_is_refused_by_the_others(stage):
    cluster = stage.cluster().start()
    assert cluster[1].call("SET", "a", "b") == "OK"
    cluster[2].kill()
    shutil.rmtree(cluster[2].data_dir)
    cluster[2].start()
    assert cluster[2].process.wait(20) == 1
    cluster[2].process = None
    assert "a member has this node id, with another data folder" in cluster[2].log()
    assert cluster[1].status()["members"][1]["state"] != "up"
    assert "peer.refused" in cluster[1].log() or "disk" in cluster[1].log(), cluster[1].log()
    assert cluster[3].call("GET", "a") == b"b"


def test_nodes_of_different_bootstraps_do_not_mix(stage):
    one, other = stage.cluster(1, replicas=1), stage.cluster(1, replicas=1)
    one.start()
    other.start()
    assert one[1].call("SET", "a", "one") == "OK"
    # `other` is told that node 2 of its cluster is where the first cluster's node 1 listens.
    assert other[1].stop() == 0
    command = other[1].command()
    command[command.index("--bootstrap") + 1] += f",2=127.0.0.1:{one[1].peer_port}"
    other[1].command = lambda *_: command
    other[1].start()
    wait_until(lambda: other[1].call("PING") == "PONG", 10, "the other node answers")
    time.sleep(1)
    assert one[1].call("GET", "a") == b"one"
    assert [member["id"] for member in one[1].status()["members"]] == [1]


def test_sigterm_answers_what_is_owed(stage):
    cluster = stage.cluster().start()
    node = cluster[1]
    clients = [node.connect(STOP_SECONDS) for _ in range(20)]
    count = 200
    for index, client in enumerate(clients):
        client.send(b"".join(encode("SET", f"owed:{index}:{key}", "v") for key in range(count)))
    time.sleep(0.01)
    node.signal(signal.SIGTERM)
    written = []
    for index, client in enumerate(clients):
        for key in range(count):
            try:
                reply = client.reply()
            except Broken as error:
                # Requests it had not read when it closed were not begun.
                assert "closed by the node" in str(error) or "reset" in str(error), error
                break
            if reply == "OK":
                written.append(f"owed:{index}:{key}")
            else:
                assert isinstance(reply, Failure), reply
                assert reply.word in ("UNAVAILABLE", "TIMEOUT", "NOQUORUM"), reply
        client.close()
    assert node.process.wait(STOP_SECONDS) == 0
    node.process = None
    assert written, "nothing was answered at all"
    with cluster[2].connect(60) as client:
        assert client.call("EXISTS", *written) == len(written)


def test_sigterm_while_idle_clients_are_connected(stage):
    cluster = stage.cluster(1, replicas=1).start()
    idle = [cluster[1].connect() for _ in range(50)]
    idle[0].send(b"*2\r\n$3\r\nGET\r\n$5\r\nha")  # Half a request is owed nothing.
    started = time.monotonic()
    assert cluster[1].stop() == 0
    assert time.monotonic() - started < 5
    for client in idle:
        assert client.ended()
        client.close()


def test_sigterm_in_every_state(stage):
    """Before the cluster exists, without a quorum, and twice."""
    cluster = stage.cluster()
    cluster[1].start()
    wait_until(lambda: cluster[1].call("PING") == "PONG", 10, "node 1 answers")
    assert cluster[1].stop() == 0
    cluster.start()
    cluster[2].kill()
    cluster[3].kill()
    time.sleep(1)
    cluster[1].signal(signal.SIGTERM)
    try:
        cluster[1].signal(signal.SIGTERM)
    except ProcessLookupError:
        pass
    assert cluster[1].process.wait(STOP_SECONDS) == 0
    cluster[1].process = None
    for moment in range(0, 30, 3):
        cluster[1].start()
        time.sleep(moment / 1000)
        assert cluster[1].stop() in (0, -signal.SIGTERM), "before the handler is there, it just ends"


def test_sigint_is_a_clean_end_too(stage):
    cluster = stage.cluster(1, replicas=1).start()
    cluster[1].signal(signal.SIGINT)
    assert cluster[1].process.wait(STOP_SECONDS) == 0
    cluster[1].process = None


def test_a_full_disk_or_missing_folder_is_told(stage):
    cluster = stage.cluster(1, replicas=1)
    cluster[1].data_dir = "/proc/no/such/folder"
    result = stage.run(cluster[1].command(), timeout=30)
    assert result.returncode in (1, 3), result.returncode
    assert "error" in result.stderr + result.stdout
