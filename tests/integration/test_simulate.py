"""tests/integration/test_simulate.py -- kvctl ring simulate: forms, errors, and options agreed on."""
import json
import re
import xml.etree.ElementTree

from test_kvctl import FAILED, USAGE, Kvctl

STEPS = ("--nodes", "4", "--zones", "a,b", "--ranges", "256", "--add", "5:2:a", "--weight", "1:2",
         "--remove", "2")
SCHEMES = ("ring", "modulo", "virtual")


def test_simulate_tells_the_same_in_every_form(stage):
    kvctl = Kvctl(stage)
    keys = "".join(f"user:{number}\n" for number in range(3000))
    told = json.loads(kvctl("ring", "simulate", *STEPS, "--keys", "-", "-o", "json",
                            stdin=None, input=keys))
    assert told["ranges"] == 256 and told["keys"] == told["distinct_keys"] == 3000
    changes = [step["change"] for step in told["steps"]]
    assert changes == ["start", "add 5", "weight 1 to 2", "remove 2"], changes
    for step in told["steps"]:
        assert sorted(step["schemes"]) == sorted(SCHEMES)
        ring = step["schemes"]["ring"]
        assert sum(node["ranges"] for node in ring["nodes"]) == 256 * 3
        assert ring["zones_short"] == 0 and ring["ranges"]["max_over_mean"] < 1.05
        for scheme in step["schemes"].values():
            assert sum(node["keys"] for node in scheme["nodes"]) == 3000 * 3
            assert ("moved" in scheme["keys"]) == (step["change"] != "start")
    joined = told["steps"][1]["schemes"]
    assert joined["ring"]["ranges"]["moved"] < joined["modulo"]["ranges"]["moved"]

    path = stage.directory("keys")
    with open(path, "w", encoding="utf-8") as file:
        file.write(keys)
    rows = [line.split("\t") for line in
            kvctl("-o", "tsv", "ring", "simulate", *STEPS, "--keys", path).splitlines()]
    assert {len(row) for row in rows if row[0] == "scheme"} == {14}
    assert {len(row) for row in rows if row[0] == "node"} == {11}
    for row in rows:
        scheme = told["steps"][int(row[1])]["schemes"][row[3]]
        if row[0] == "scheme":
            assert float(row[5]) == round(scheme["ranges"]["max_over_mean"], 3), row
        else:
            node = [node for node in scheme["nodes"] if node["node"] == int(row[4])][0]
            assert int(row[10]) == node["keys"] and node["zone"] == row[5], row
    table = kvctl("ring", "simulate", *STEPS, "--keys", path)
    assert table.startswith("start: 4 nodes, 3 replicas of 256 ranges, 3,000 keys\n")
    assert len(re.findall("^(?:ring|modulo|virtual) ", table, re.MULTILINE)) == 4 * 3


def test_simulate_draws(stage):
    kvctl = Kvctl(stage)
    path = stage.directory("picture.svg")
    for nodes, load in (("4", ()), ("255", ("--synthetic", "1000", "--zipf", "0.9"))):
        kvctl("ring", "simulate", "--nodes", nodes, *load, "--add", "300", "--svg", path)
        root = xml.etree.ElementTree.parse(path).getroot()
        rects = root.findall("{http://www.w3.org/2000/svg}rect")
        bars = 3 * (int(nodes) + 1) * (2 if load else 1) + 3
        assert len(rects) == bars + 1, (nodes, len(rects))
        for rect in rects:
            assert 0 <= float(rect.get("x")) and float(rect.get("height")) >= 0, rect.attrib
            assert float(rect.get("y")) + float(rect.get("height")) <= float(root.get("height"))
    kvctl("ring", "simulate", "--svg", "/no/such/folder/x", code=FAILED)
    assert "kvctl: --svg: /no/such" in kvctl.said


def test_simulate_refuses(stage):
    kvctl = Kvctl(stage)
    for said, *bad in (
            ("from 1 to 256", "--nodes", "257"), ("power of two", "--ranges", "1000"),
            ("from 1 to 7", "--replicas", "8"), ("of that id", "--add", "3"),
            ("no node of that id", "--remove", "4"), ("no node of that id", "--weight", "4:1"),
            ("would be left", "--nodes", "1", "--remove", "1"), ("0 to 64", "--add", "4:65"),
            ("ID:WEIGHT", "--weight", "1"), ("go without it", "--nodes", "3", "--node", "1"),
            ("there already", "--node", "1", "--node", "1:2:a"), ("above 0", "--node", "1:0"),
            ("one of them", "--keys", "k", "--synthetic", "1"), ("goes with", "--zipf", "1"),
            ("above 0, up to 10", "--synthetic", "1", "--zipf", "nan"),
            ("table, json", "-o", "xml"), ("unrecognized", "--no-such"), ("usage", "operand"),
            ("more than 64 steps", *["--weight", "1:1"] * 65)):
        assert kvctl("ring", "simulate", *bad, code=USAGE) == ""
        assert said in kvctl.said and "kvctl" in kvctl.said, (bad, kvctl.said)
    kvctl("ring", "simulate", "--keys", "/no/such/file", code=FAILED)
    kvctl("ring", "simulate", "--keys", "-", code=FAILED, stdin=None, input="k" * 65537)
    assert "line 1 is longer" in kvctl.said, kvctl.said


def test_simulate_knows_every_option_that_kvctl_shows(stage):
    """kvctl's table and the program each have a list; an unknown option would end with usage."""
    kvctl = Kvctl(stage)
    values = {"--nodes": "5", "--node": "1:2:a", "--zones": "a,b", "--replicas": "2",
              "--ranges": "64", "--keys": "/dev/null", "--synthetic": "10", "--zipf": "1",
              "--seed": "2", "--add": "9", "--remove": "1", "--weight": "1:2",
              "--svg": stage.directory("o.svg"), "--output": "tsv", "-n": "5", "-o": "tsv"}
    shown = re.findall(r"^ +(?:(-\w), )?(--[a-z-]+)", kvctl("help", "ring", "simulate"),
                       re.MULTILINE)
    shown = {name for names in shown for name in names if name} - {"-h", "--help"}
    assert shown == set(values), shown ^ set(values)
    needs = {"--zipf": ("--synthetic", "5"), "--seed": ("--synthetic", "5"),
             "--node": ("--node", "7"), "--remove": ("--node", "1", "--node", "2")}
    for name in shown:
        kvctl("ring", "simulate", name, values[name], *needs.get(name, ()))
