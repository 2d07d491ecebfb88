"""tests/integration/test_commands.py -- every command of the table, with good and bad arguments.

The last test asks the node for its table: a command that no case here names fails it.
"""
import json
import time

from resp import Failure, fields


class Starts(str):
    """Stands for an error that begins with these words."""


class Kind:
    """Stands for any reply of a type."""

    def __init__(self, *types):
        self.types = types


class Between:
    def __init__(self, low, high):
        self.low, self.high = low, high


ERR = Starts("ERR ")
ARITY = Starts("ERR wrong number of arguments for ")
SYNTAX = Starts("ERR syntax error")
NOT_INTEGER = Starts("ERR value is not an integer or out of range")
ANY_BULK = Kind(bytes)
FAR_S = 4102444800  # The year 2100.

# In order, on one connection: (request, expected reply).
CASES = [
    # connection
    (("PING",), "PONG"),
    (("PING", "hello"), b"hello"),
    (("PING", "a", "b"), ARITY),
    (("ECHO", "x"), b"x"),
    (("ECHO",), ARITY),
    (("AUTH", "secret"), ERR),
    (("AUTH", "user", "secret"), ERR),
    (("AUTH", "a", "b", "c"), SYNTAX),
    (("SELECT", "0"), "OK"),
    (("SELECT", "1"), "OK"),
    (("SELECT", "2"), Starts("ERR DB index is out of range")),
    (("SELECT", "one"), Starts("ERR invalid DB index")),
    (("SELECT", "-1"), Starts("ERR DB index is out of range")),
    (("SELECT", "64"), Starts("ERR DB index is out of range")),
    (("KV.KEYSPACE",), ARITY),
    (("KV.KEYSPACE", "LIST"), ANY_BULK),
    (("KV.KEYSPACE", "LIST", "more"), Starts("ERR KV.KEYSPACE ")),
    (("KV.KEYSPACE", "DROP", "fast"), Starts("ERR KV.KEYSPACE ")),
    (("KV.KEYSPACE", "CREATE"), Starts("ERR KV.KEYSPACE ")),
    (("KV.KEYSPACE", "CREATE", "orders"), Starts("ERR KV.KEYSPACE ")),
    (("KV.KEYSPACE", "CREATE", "orders", "CLASS", "other"), Starts("ERR KV.KEYSPACE ")),
    (("KV.KEYSPACE", "CREATE", "orders", "CLASS", "eventual", "TTL", "0"), Starts("ERR KV.KEYSPACE ")),
    (("KV.KEYSPACE", "CREATE", "orders", "CLASS", "strong"), Starts("ERR refused: ")),
    (("KV.KEYSPACE", "CREATE", "fast", "CLASS", "eventual"), Starts("ERR refused: ")),
    (("HELLO",), Kind(list)),
    (("HELLO", "2"), Kind(list)),
    (("HELLO", "9"), Starts("NOPROTO ")),
    (("HELLO", "2", "AUTH", "u", "p"), ERR),
    (("HELLO", "2", "WHAT"), ERR),
    (("CLIENT", "ID"), Kind(int)),
    (("CLIENT", "SETNAME", "me"), "OK"),
    (("CLIENT", "GETNAME"), b"me"),
    (("CLIENT", "SETNAME", "not me"), ERR),
    (("CLIENT", "SETINFO", "LIB-NAME", "redis-py"), "OK"),
    (("CLIENT", "SETINFO", "LIB-VER", "1.0"), "OK"),
    (("CLIENT", "SETINFO", "LIB-AGE", "1.0"), ERR),
    (("CLIENT", "LIST"), ANY_BULK),
    (("CLIENT", "INFO"), ANY_BULK),
    (("CLIENT", "NO-EVICT", "on"), "OK"),
    (("CLIENT", "DANCE"), ERR),
    (("CLIENT",), ARITY),
    (("RESET",), "RESET"),
    (("CLIENT", "GETNAME"), b""),
    (("RESET", "now"), ARITY),
    # server
    (("COMMAND",), Kind(list)),
    (("COMMAND", "COUNT"), Kind(int)),
    (("COMMAND", "LIST"), Kind(list)),
    (("COMMAND", "INFO", "get", "nothing"), Kind(list)),
    (("COMMAND", "DOCS", "get"), Kind(list)),
    (("COMMAND", "DANCE"), ERR),
    (("INFO",), ANY_BULK),
    (("INFO", "server", "clients"), ANY_BULK),
    (("INFO", "no-such-section"), b""),
    (("CONFIG", "GET", "save"), [b"save", b""]),
    (("CONFIG", "GET", "no-such"), []),
    (("CONFIG", "SET", "save", "60"), ERR),
    (("CONFIG",), ARITY),
    (("TIME",), Kind(list)),
    (("TIME", "x"), ARITY),
    (("DBSIZE",), Kind(int)),
    (("DBSIZE", "x"), ARITY),
    # strings
    (("SET", "c:a", "1"), "OK"),
    (("GET", "c:a"), b"1"),
    (("get", "c:a"), b"1"),
    (("GET",), ARITY),
    (("GET", "c:a", "c:b"), ARITY),
    (("GET", "c:none"), None),
    (("SET", "c:a"), ARITY),
    (("SET", "c:a", "1", "WHAT"), SYNTAX),
    (("SET", "c:a", "1", "EX"), SYNTAX),
    (("SET", "c:a", "1", "EX", "0"), ERR),
    (("SET", "c:a", "1", "EX", "-1"), ERR),
    (("SET", "c:a", "1", "EX", "ten"), NOT_INTEGER),
    (("SET", "c:a", "1", "EX", "10", "PX", "10"), SYNTAX),
    (("SET", "c:a", "1", "EX", "10", "KEEPTTL"), SYNTAX),
    (("SET", "c:a", "1", "EX", "9223372036854775807"), ERR),
    (("SET", "c:a", "1", "NX"), ERR),
    (("SET", "c:a", "1", "XX"), ERR),
    (("SET", "c:a", "1", "GET"), ERR),
    (("STRLEN", "c:a"), 1),
    (("STRLEN", "c:none"), 0),
    (("STRLEN",), ARITY),
    (("TYPE", "c:a"), "string"),
    (("TYPE", "c:none"), "none"),
    (("TYPE",), ARITY),
    (("MSET", "c:a", "2", "c:b", "3"), "OK"),
    (("MSET", "c:a", "2", "c:b"), ARITY),
    (("MSET",), ARITY),
    (("MGET", "c:a", "c:none", "c:b", "c:a"), [b"2", None, b"3", b"2"]),
    (("MGET",), ARITY),
    (("EXISTS", "c:a", "c:none", "c:a"), 2),
    (("EXISTS",), ARITY),
    (("TOUCH", "c:a", "c:none"), 1),
    (("TOUCH",), ARITY),
    (("DEL", "c:a", "c:none", "c:a"), 1),
    (("DEL",), ARITY),
    (("GET", "c:a"), None),
    (("UNLINK", "c:b"), 1),
    (("UNLINK", "c:b"), 0),
    (("UNLINK",), ARITY),
    # expiry
    (("SET", "c:t", "v"), "OK"),
    (("TTL", "c:t"), -1),
    (("PTTL", "c:t"), -1),
    (("EXPIRETIME", "c:t"), -1),
    (("PEXPIRETIME", "c:t"), -1),
    (("TTL", "c:none"), -2),
    (("PTTL", "c:none"), -2),
    (("EXPIRETIME", "c:none"), -2),
    (("PEXPIRETIME", "c:none"), -2),
    (("TTL",), ARITY), (("PTTL",), ARITY), (("EXPIRETIME",), ARITY), (("PEXPIRETIME",), ARITY),
    (("EXPIRE", "c:t", "100"), 1),
    (("TTL", "c:t"), Between(98, 100)),
    (("EXPIRE", "c:t", "200", "NX"), 0),
    (("EXPIRE", "c:t", "50", "GT"), 0),
    (("EXPIRE", "c:t", "200", "LT"), 0),
    (("EXPIRE", "c:t", "200", "GT"), 1),
    (("EXPIRE", "c:t", "150", "LT"), 1),
    (("EXPIRE", "c:t", "140", "XX"), 1),
    (("TTL", "c:t"), Between(138, 140)),
    (("EXPIRE", "c:t", "soon"), NOT_INTEGER),
    (("EXPIRE", "c:t", "10", "WHEN"), Starts("ERR Unsupported option")),
    (("EXPIRE", "c:t"), ARITY),
    (("EXPIRE", "c:none", "10"), 0),
    (("PEXPIRE", "c:t", "100000"), 1),
    (("PTTL", "c:t"), Between(95000, 100000)),
    (("PEXPIRE", "c:t", "x"), NOT_INTEGER),
    (("PEXPIRE", "c:t"), ARITY),
    (("EXPIREAT", "c:t", FAR_S), 1),
    (("EXPIRETIME", "c:t"), FAR_S),
    (("PEXPIRETIME", "c:t"), FAR_S * 1000),
    (("EXPIREAT", "c:t", "x"), NOT_INTEGER),
    (("EXPIREAT", "c:t"), ARITY),
    (("PEXPIREAT", "c:t", FAR_S * 1000 + 5), 1),
    (("PEXPIRETIME", "c:t"), FAR_S * 1000 + 5),
    (("PEXPIREAT", "c:t", "x"), NOT_INTEGER),
    (("PEXPIREAT", "c:t"), ARITY),
    (("SET", "c:t", "w", "KEEPTTL"), "OK"),
    (("PEXPIRETIME", "c:t"), FAR_S * 1000 + 5),
    (("GET", "c:t"), b"w"),
    (("PERSIST", "c:t"), 1),
    (("PERSIST", "c:t"), 0),
    (("PERSIST", "c:none"), 0),
    (("PERSIST",), ARITY),
    (("TTL", "c:t"), -1),
    (("SET", "c:t", "v", "EX", "100"), "OK"),
    (("TTL", "c:t"), Between(98, 100)),
    (("SET", "c:t", "v", "PX", "100000"), "OK"),
    (("PTTL", "c:t"), Between(95000, 100000)),
    (("SET", "c:t", "v", "EXAT", FAR_S), "OK"),
    (("EXPIRETIME", "c:t"), FAR_S),
    (("SET", "c:t", "v", "PXAT", FAR_S * 1000), "OK"),
    (("PEXPIRETIME", "c:t"), FAR_S * 1000),
    (("SET", "c:t", "v"), "OK"),
    (("TTL", "c:t"), -1),
    (("SETEX", "c:t", "100", "v"), "OK"),
    (("TTL", "c:t"), Between(98, 100)),
    (("SETEX", "c:t", "0", "v"), ERR),
    (("SETEX", "c:t", "v"), ARITY),
    (("PSETEX", "c:t", "100000", "v"), "OK"),
    (("PTTL", "c:t"), Between(95000, 100000)),
    (("PSETEX", "c:t", "x", "v"), NOT_INTEGER),
    (("PSETEX", "c:t", "v"), ARITY),
    (("EXPIRE", "c:t", "-1"), 1),
    (("GET", "c:t"), None),
    (("EXISTS", "c:t"), 0),
    # scan
    (("SCAN", "x"), Starts("ERR invalid cursor")),
    (("SCAN", "-1"), Starts("ERR invalid cursor")),
    (("SCAN", "18446744073709551616"), Starts("ERR invalid cursor")),
    (("SCAN", "0", "COUNT"), SYNTAX),
    (("SCAN", "0", "COUNT", "0"), SYNTAX),
    (("SCAN", "0", "WHAT", "1"), SYNTAX),
    (("SCAN",), ARITY),
    (("SCAN", "18446744073709551615", "COUNT", "10"), [b"0", []]),
    (("SCAN", "0", "COUNT", "1000", "TYPE", "hash"), Kind(list)),
    # ringkv's own
    (("KV.SET", "c:k", "v"), "OK"),
    (("KV.SET", "c:k", "v", "LEVEL", "all", "DEADLINE", "5000"), "OK"),
    (("KV.SET", "c:k", "v", "LEVEL", "most"), Starts("ERR LEVEL is one, quorum or all")),
    (("KV.SET", "c:k", "v", "DEADLINE", "0"), ERR),
    (("KV.SET", "c:k", "v", "LEVEL"), ERR),
    (("KV.SET", "c:k", "v", "META"), Kind(list)),
    (("KV.SET", "c:k", "v", "EX", "100"), "OK"),
    (("KV.SET", "c:k", "v", "KEEPTTL"), SYNTAX),
    (("KV.SET", "c:k"), ARITY),
    (("KV.GET", "c:k"), b"v"),
    (("KV.GET", "c:k", "LEVEL", "one"), b"v"),
    (("KV.GET", "c:k", "LEVEL", "quorum"), b"v"),
    (("KV.GET", "c:k", "LEVEL", "all"), b"v"),
    (("KV.GET", "c:k", "META"), Kind(list)),
    (("KV.GET", "c:k", "EX", "1"), SYNTAX),
    (("KV.GET", "c:none"), None),
    (("KV.GET",), ARITY),
    (("KV.DEL", "c:k", "LEVEL", "quorum"), "OK"),
    (("KV.DEL", "c:k", "META"), Kind(list)),
    (("KV.DEL", "c:k", "WHAT"), SYNTAX),
    (("KV.DEL",), ARITY),
    (("KV.GET", "c:k"), None),
    (("KV.CONSISTENCY",), [b"read", b"quorum", b"write", b"quorum"]),
    (("KV.CONSISTENCY", "READ", "one", "WRITE", "all"), "OK"),
    (("KV.CONSISTENCY",), [b"read", b"one", b"write", b"all"]),
    (("KV.CONSISTENCY", "READ"), ERR),
    (("KV.CONSISTENCY", "READ", "most"), ERR),
    (("RESET",), "RESET"),
    (("KV.CONSISTENCY",), [b"read", b"quorum", b"write", b"quorum"]),
    (("KV.RING",), ANY_BULK),
    (("KV.RING", "x"), ARITY),
    (("KV.STATUS",), ANY_BULK),
    (("KV.STATUS", "x"), ARITY),
    (("KV.PLAN", "SHOW"), ANY_BULK),
    (("KV.PLAN", "history"), ANY_BULK),
    (("KV.PLAN", "EXPLAIN"), ANY_BULK),
    (("KV.PLAN", "COMMIT"), Starts("ERR no plan is staged")),
    (("KV.PLAN", "COMMIT", "x"), Starts("ERR the id of the plan is one number")),
    (("KV.PLAN", "ABORT"), Starts("ERR no plan runs")),
    (("KV.PLAN", "ACCEPT-DATA-LOSS"), Starts("ERR no plan runs")),
    (("KV.PLAN", "WEIGHT", "1", "0"), Starts("ERR KV.PLAN WEIGHT ")),
    (("KV.PLAN", "LEAVE", "9"), Starts("ERR node 9 is no member; ")),
    (("KV.PLAN", "WEIGHT", "1", "2"), ANY_BULK),
    (("KV.PLAN", "CLEAR"), ANY_BULK),
    (("KV.PLAN", "CLEAR", "x"), ERR),
    (("KV.PLAN", "GROW"), Starts("ERR KV.PLAN: JOIN, ")),
    (("KV.PLAN",), ARITY),
    (("KV.RESUME",), "OK"),
    (("KV.RESUME", "x"), ARITY),
    (("KV.LOCATE", "c:k"), ANY_BULK),
    (("KV.LOCATE",), ARITY),
    (("KV.LOAD",), ANY_BULK),
    (("KV.LOAD", "RANGES"), ANY_BULK),
    (("KV.LOAD", "x"), ERR),
    (("KV.LOAD", "RANGES", "x"), ERR),
    (("KV.HOTKEYS",), ANY_BULK),
    (("KV.HOTKEYS", "x"), ARITY),
    (("KV.AUTOSCALE",), ANY_BULK),
    (("KV.AUTOSCALE", "x"), ARITY),
    (("KV.BALANCE",), ANY_BULK),
    (("KV.BALANCE", "BYTES", "2", "READS", "0", "WRITES", "1", "GAIN", "0", "MOVES", "64"), ANY_BULK),
    (("KV.BALANCE", "BYTES"), ERR),
    (("KV.BALANCE", "BYTES", "101"), ERR),
    (("KV.BALANCE", "BYTES", "0", "READS", "0", "WRITES", "0"), ERR),
    (("KV.BALANCE", "MOVES", "0"), ERR),
    (("KV.BALANCE", "MOVES", "65"), ERR),
    (("KV.BALANCE", "WHAT", "1"), ERR),
    # refused, with a reason
    (("INCR", "c:n"), Starts("ERR command 'INCR' is not offered: ")),
    (("setnx", "c:n", "1"), Starts("ERR command 'setnx' is not offered: ")),
    (("MULTI",), Starts("ERR command 'MULTI' is not offered: ")),
    (("HSET", "h", "f", "v"), Starts("ERR command 'HSET' is not offered: ")),
    (("EVAL", "return 1", "0"), Starts("ERR command 'EVAL' is not offered: ")),
    (("NOSUCH", "a", "b"), Starts("ERR unknown command 'NOSUCH', with args beginning with: 'a' ")),
    (("",), Starts("ERR unknown command ''")),
    (("QUIT",), "OK"),
]


def as_wanted(reply, wanted):
    if isinstance(wanted, Starts):
        return isinstance(reply, Failure) and reply.startswith(wanted)
    if isinstance(reply, Failure):
        return False
    if isinstance(wanted, Kind):
        return isinstance(reply, wanted.types)
    if isinstance(wanted, Between):
        return isinstance(reply, int) and wanted.low <= reply <= wanted.high
    return type(reply) is type(wanted) and reply == wanted


def test_good_and_bad_arguments(stage):
    wrong = []
    with stage.shared()[2].connect() as client:
        for request, wanted in CASES:
            reply = client.call(*request)
            if not as_wanted(reply, wanted):
                wrong.append(f"{request} -> {reply!r:.200}, wanted {getattr(wanted, '__dict__', 0) or wanted!r}")
        assert client.ended()
    assert not wrong, "\n".join(wrong)


def test_every_command_of_the_table_has_cases(stage):
    names = {name.decode() for name in stage.shared()[1].call("COMMAND", "LIST")}
    assert len(names) > 40
    used = {request[0].lower() for request, _ in CASES}
    assert names <= used, f"no case for {sorted(names - used)}"


def test_shapes_of_reports(stage):
    node = stage.shared()[1]
    with node.connect() as client:
        ring = json.loads(client.call("KV.RING"))
        assert ring["range_count"] == len(ring["ranges"])
        assert [member["id"] for member in ring["members"]] == [1, 2, 3]
        assert all(len(set(ids)) == 3 for ids in ring["ranges"])
        place = json.loads(client.call("KV.LOCATE", "{tag}key"))
        assert place["slot"] == json.loads(client.call("KV.LOCATE", "tag"))["slot"]
        assert place["replicas"] == ring["ranges"][place["range"]]
        assert json.loads(client.call("KV.LOCATE", "123456789"))["slot"] == 0x31C3  # CRC16's own.
        info = client.call("INFO").decode()
        for line in ("redis_version:7.0", "redis_mode:", "role:master", "loading:0"):
            assert line in info, line
        meta = fields(client.call("KV.SET", "shape", "v", "META"))
        read = fields(client.call("KV.GET", "shape", "META"))
        assert read["value"] == b"v" and read["version"] == meta["version"]
        assert read["expiry_ms"] == 0


def test_scan_returns_every_key(stage):
    cluster = stage.cluster()
    cluster.start()
    count = 3000 if stage.quick else 20000
    keys = {f"scan:{index}".encode() for index in range(count)}
    gone = {f"gone:{index}".encode() for index in range(500)}
    with cluster[1].connect(60) as client:
        assert set(client.pipeline([("SET", key, "v") for key in keys | gone])) == {"OK"}
        assert set(client.pipeline([("DEL", key) for key in gone])) == {1}
    for node, size in ((cluster[2], 10), (cluster[3], 1000), (cluster[1], 100000)):
        found, cursor, pages = [], "0", 0
        with node.connect(60) as client:
            while True:
                cursor, page = client.call("SCAN", cursor, "COUNT", size)
                found += page
                pages += 1
                assert pages <= count + 2000, "SCAN does not come to an end"
                if cursor == b"0":
                    break
        missing = keys - set(found)
        assert not missing, f"COUNT {size}: {len(missing)} keys missing, as {sorted(missing)[:3]}"
        assert set(found) == keys, f"COUNT {size}: deleted keys were returned"
        assert len(found) == len(keys), "a quiet key was returned twice"
    with cluster[1].connect(60) as client:
        # A cursor is a place on the ring: another node goes on from it.
        cursor, first = client.call("SCAN", "0", "COUNT", "500")
    rest = []
    with cluster[3].connect(60) as client:
        while cursor != b"0":
            cursor, page = client.call("SCAN", cursor, "COUNT", "5000")
            rest += page
        assert set(first + rest) == keys
        matched, cursor = [], "0"
        while cursor != b"0":
            cursor, page = client.call("SCAN", cursor, "MATCH", "scan:1?3", "COUNT", "5000")
            matched += page
        assert set(matched) == {f"scan:1{digit}3".encode() for digit in range(10)}
        size = client.call("DBSIZE")
        assert count * 0.5 <= size <= (count + 1000) * 2, size


def test_expiry_is_the_same_on_every_node(stage):
    cluster = stage.shared()
    life_ms = 1500
    with cluster[1].connect() as client:
        set_at = time.monotonic()
        assert client.call("SET", "life", "v", "PX", life_ms) == "OK"
        assert client.call("MSET", "life:b", "v") == "OK"
        assert client.call("PEXPIRE", "life:b", life_ms) == 1
    for node in cluster.nodes:
        value = node.call("GET", "life")
        if time.monotonic() < set_at + life_ms / 1000 - 0.3:
            assert value == b"v", f"node {node.number}: expired early"
    time.sleep(max(0, set_at + life_ms / 1000 + 0.3 - time.monotonic()))
    for node in cluster.nodes:
        with node.connect() as client:
            assert client.call("GET", "life") is None, f"node {node.number}"
            assert client.call("MGET", "life", "life:b") == [None, None]
            assert client.call("EXISTS", "life", "life:b") == 0
            assert client.call("TTL", "life") == -2
            assert client.call("TYPE", "life") == "none"
            assert client.call("PERSIST", "life") == 0
            found = client.call("SCAN", "0", "MATCH", "life*", "COUNT", "100000")[1]
            assert found == [], found


def test_set_on_one_node_get_on_another(stage):
    cluster = stage.shared()
    with cluster[1].connect() as first, cluster[3].connect() as third:
        for index in range(200 if stage.quick else 2000):
            assert first.call("SET", f"agree:{index % 50}", str(index)) == "OK"
            reply = third.call("GET", f"agree:{index % 50}")
            assert reply == str(index).encode(), (index, reply)
            assert third.call("SET", f"agree:{index % 50}", f"back {index}") == "OK"
            assert first.call("GET", f"agree:{index % 50}") == f"back {index}".encode()


def test_writers_on_all_nodes_settle_on_one_value(stage):
    cluster = stage.shared()
    connections = [node.connect() for node in cluster.nodes]
    for index in range(100):
        for at, client in enumerate(connections):
            client.send(b"SET settle %d-%d\r\n" % (index, at))
        assert [client.reply() for client in connections] == ["OK"] * 3
        seen = {client.call("GET", "settle") for client in connections}
        assert len(seen) == 1 and seen.pop().startswith(b"%d-" % index)
    for client in connections:
        client.close()
