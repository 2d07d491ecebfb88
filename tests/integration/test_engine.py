"""tests/integration/test_engine.py -- the engine without a node: embedded in a program, and looked at
from outside."""
import json
import os
import shutil
import subprocess

OK, FAILED, USAGE, NOT_FOUND, DAMAGED = 0, 1, 2, 4, 9
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")


class Program:
    def __init__(self, stage, name):
        self.path = stage.program(name)

    def __call__(self, *arguments, code=OK):
        result = subprocess.run([self.path, *arguments], capture_output=True, text=True,
                                timeout=120, check=False)
        assert result.returncode == code, (arguments, result.returncode, result.stderr)
        self.said = result.stderr
        return result.stdout


def new_folder(stage, name):
    folder = stage.directory(name)
    os.makedirs(folder)
    return folder


def made(stage, name):
    """An engine's folder with three keys, one of them deleted."""
    folder = new_folder(stage, name)
    path = os.path.join(folder, "engine")
    embedded = Program(stage, "embedded")
    embedded(path, "put", "apple", "red", "pear", "green", "plum", "blue")
    embedded(path, "delete", "pear")
    return embedded, path


def test_embedded(stage):
    embedded, path = made(stage, "embedded")
    assert embedded(path, "get", "apple") == "red\n"
    assert embedded(path, "list") == "apple\tred\nplum\tblue\n"
    assert embedded(path, "list", "pl") == "plum\tblue\n"
    embedded(path, "get", "pear", code=NOT_FOUND)
    embedded(path, "put", "pear", "yellow")
    assert embedded(path, "get", "pear") == "yellow\n"
    for bad in ((), (path,), (path, "put", "key"), (path, "sing")):
        embedded(*bad, code=USAGE)
        assert "usage: embedded" in embedded.said
    embedded("/proc/no/such/place", "list", code=FAILED)


def test_inspect(stage):
    _, path = made(stage, "inspect")
    inspect = Program(stage, "lsm_inspect")
    rows = [json.loads(line) for line in inspect("--verify", "--dump", "--values", "--json",
                                                 path).splitlines()]
    names = {row["row"] for row in rows}
    assert {"manifest", "log", "segment", "listed_segment"} <= names, names
    cells = [row for row in rows if row["row"] in ("record", "cell")]
    assert {row["key"] for row in cells} == {"apple", "pear", "plum"}, cells
    assert any(row["kind"] == "delete" and row["key"] == "pear" for row in cells)
    assert any(row.get("value") == "red" for row in cells)
    assert not any(row["row"] in ("damage", "unnamed_file") for row in rows), rows
    before = sorted(os.listdir(path))
    inspect("--verify", path)
    assert sorted(os.listdir(path)) == before


def test_inspect_golden(stage):
    inspect = Program(stage, "lsm_inspect")
    dumped = inspect("--verify", "--dump", os.path.join(GOLDEN, "table_v1.sst"))
    assert dumped.count("\ncell ") == 300, dumped.count("\ncell ")


def test_inspect_damage(stage):
    inspect = Program(stage, "lsm_inspect")
    folder = new_folder(stage, "inspect-damage")
    table = os.path.join(folder, "1.sst")
    shutil.copy(os.path.join(GOLDEN, "table_v1.sst"), table)
    with open(table, "r+b") as file:
        file.seek(100)
        file.write(b"\x00\xff\x00\xff")
    said = inspect("--verify", "--dump", table, code=DAMAGED)
    assert "damage path=" in said and 0 < said.count("\ncell ") < 300, said[-300:]
    with open(table, "r+b") as file:
        file.truncate(5000)
    assert "damage path=" in inspect(table, code=DAMAGED)
    inspect(os.path.join(folder, "none"), code=FAILED)
    inspect("--values", table, code=USAGE)
    inspect(code=USAGE)
    assert "Exit: 0 all is well" in inspect("--help")
