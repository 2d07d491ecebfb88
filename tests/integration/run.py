#!/usr/bin/python3
"""tests/integration/run.py -- every test against real processes, or those that are named.

usage: run.py [--quick | --soak] [--jobs N] [--programs DIR] [--scratch DIR] [--list]
              [PART_OF_A_NAME...]

Runs N tests at a time (1). Prints a line of TAP for each, and last `N passed, N failed`. It exits
with 0 if at least one test passed and none failed. DIR holds kvnode and kvctl; the default is build/release/bin.
The interpreter is Debian's own, which sees the package python3-redis.
"""
import argparse
import importlib
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402
import schedule  # noqa: E402


def modules():
    """Every test_*.py beside this file: one that is added cannot be forgotten."""
    here = os.path.dirname(os.path.abspath(__file__))
    names = sorted(name[:-3] for name in os.listdir(here)
                   if name.startswith("test_") and name.endswith(".py"))
    return [importlib.import_module(name) for name in names]


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--soak", action="store_true", help="some tests go on for many rounds")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--programs", default=os.path.join(root, "build/release/bin"))
    parser.add_argument("--scratch")
    parser.add_argument("only", nargs="*")
    options = parser.parse_args()
    if options.list:
        for name, _ in schedule.chosen(modules(), options.only, options.quick):
            print(name)
        return 0
    with tempfile.TemporaryDirectory(prefix="ringkv-integration-", dir=options.scratch) as scratch:
        programs = os.path.abspath(options.programs)

        def stage(share):
            return harness.Stage(programs, os.path.join(scratch, str(share)), options.quick,
                                 options.soak)

        return schedule.run_all(modules(), stage, options.only, options.quick, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
