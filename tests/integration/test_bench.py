"""tests/integration/test_bench.py -- bench_lsm: every workload runs, with opponents or without."""
import os
import re


def bench(stage, *arguments):
    directory = stage.directory("bench")
    os.makedirs(directory)
    result = stage.run([stage.program("bench_lsm"), *arguments, "--dir", directory], timeout=600)
    assert os.listdir(directory) == [], os.listdir(directory)
    return result


def opponents(said):
    """The engines named in the header, as built; each must be told of, there or not."""
    found = []
    for name, title in (("rocksdb", "RocksDB"), ("leveldb", "LevelDB")):
        there = f"{title} " in said and f"without {title}" not in said
        assert there or f"This program was built without {title}." in said, said
        found += [name] if there else []
    return found


def workloads(stage):
    listed = stage.run([stage.program("bench_lsm"), "--list"])
    assert listed.returncode == 0
    return [line.split()[0] for line in listed.stdout.splitlines()]


def test_every_workload_runs_on_every_engine(stage):
    names = workloads(stage)
    assert "fillrandom" in names and "crashopen" in names, names
    result = bench(stage, "--compare", "--keys", "20000", "--reads", "2000", "--seconds", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "FAILED" not in result.stdout and result.stderr == "", result.stdout + result.stderr
    engines = ["ringkv", *opponents(result.stdout)]
    parts = re.split(r"^([a-z0-9]+): ", result.stdout, flags=re.MULTILINE)
    seen = dict(zip(parts[1::2], parts[2::2]))
    assert list(seen) == names, list(seen)
    for name, text in seen.items():
        rows = re.findall(r"^  (\w+) +(?:once +([0-9.]+) ms|([0-9.]+) k/s)", text, re.MULTILINE)
        assert [row[0] for row in rows] == engines, (name, text)
        assert all(float(row[1] or row[2]) > 0 for row in rows), (name, text)
    # Targets are judged, met or not; gains only where there is someone to be better than.
    assert re.search(r"^[0-9]+ of [1-9][0-9]* targets met", result.stdout, re.MULTILINE)
    assert ("no row slower" in result.stdout) == (len(engines) > 1)


def test_a_page(stage):
    result = bench(stage, "--compare", "--markdown", "--rounds", "2", "--keys", "2000", "--reads",
                   "200", "--only", "fillseq,readmissingone")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.strip("|").split("|") for line in result.stdout.splitlines()
            if line.startswith("|")]
    columns = 4 + 2 * len(opponents(result.stdout))
    assert all(len(row) == columns for row in rows), rows
    measured = [(row[0].strip(), row[1].strip()) for row in rows[2:]]
    assert measured == [("fillseq", "rate, k/s"), ("fillseq", "CPU, us/op"),
                        ("readmissingone", "rate, k/s"), ("readmissingone", "CPU, us/op")]
    assert "2 rounds" in result.stdout and "--markdown" in result.stdout.splitlines()[0]


def test_memory_stays_in_its_budget(stage):
    result = bench(stage, "--memory", "--keys", "200000")
    assert result.returncode == 0, result.stdout + result.stderr
    found = re.search(r"budget (\d+) MiB, resident at most (\d+) MiB", result.stdout)
    assert found and 0 < int(found[2]) <= int(found[1]) * 1.1 + 1, result.stdout


def test_a_bench_that_cannot_run_says_so(stage):
    for arguments in (["--no-such"], ["--compare", "--keys", "many"], ["--compare", "--keys", "0"],
                      ["--compare", "stray"], ["--paced", "0"], []):
        result = stage.run([stage.program("bench_lsm"), *arguments])
        assert result.returncode == 2 and result.stderr, arguments
    # A folder that cannot be had, and no workload of that name.
    path = stage.directory("file")
    with open(path, "w", encoding="utf-8"):
        pass
    result = stage.run([stage.program("bench_lsm"), "--compare", "--keys", "10", "--dir", path])
    assert result.returncode == 1 and path in result.stderr
    assert bench(stage, "--compare", "--keys", "10", "--only", "nothing").returncode == 1
