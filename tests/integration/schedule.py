"""tests/integration/schedule.py -- which test runs when: by name, several at a time.

Most of a test is waiting, so a few run side by side, each worker a process of its own with its own
stage, its own share of the ports and its own shared cluster. A worker takes the next test when it is
done with one; what a test prints comes out in one piece.
"""
import contextlib
import io
import multiprocessing
import random
import signal
import sys
import time
import traceback

import harness


def tests_of(module):
    """The test_ functions of a module, in the order they are written."""
    found = [getattr(module, name) for name in dir(module) if name.startswith("test_")]
    return sorted(found, key=lambda function: function.__code__.co_firstlineno)


def name_of(module, function):
    return f"{module.__name__[5:]}.{function.__name__[5:]}"


def chosen(modules, only, quick):
    """The tests whose name holds one of `only` (all, if it is empty), with their names."""
    return [(name_of(module, function), function)
            for module in modules for function in tests_of(module)
            if (not only or any(part in name_of(module, function) for part in only))
            and not (quick and getattr(function, "slow", False))]


def run_one(stage, name, function):
    """True if it passed. Prints one line of TAP, and what went wrong before it."""
    started = time.monotonic()
    failed = False
    try:
        function(stage)
    except Exception:
        failed = True
        for line in traceback.format_exc().splitlines():
            print(f"# {line}")
    for line in stage.close_test(failed):
        failed = True
        print(f"# {line}")
    took = time.monotonic() - started
    print(f"{'not ok' if failed else 'ok'} - {name} ({took:.1f} s)")
    return not failed


def interrupted(number, _frame):
    raise SystemExit(128 + number)


class Tally:
    """What the workers share: which test is next, and how they went."""

    def __init__(self, context):
        self.lock = context.Lock()
        self.taken = context.Value("i", 0, lock=False)
        self.passed = context.Value("i", 0, lock=False)
        self.failed = context.Value("i", 0, lock=False)

    def take(self):
        with self.lock:
            self.taken.value += 1
            return self.taken.value - 1

    def told(self, good, text):
        with self.lock:
            (self.passed if good else self.failed).value += 1
            sys.stdout.write(text)
            sys.stdout.flush()


def captured(call):
    """Whether `call` said that all is well, and what it printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        good = call()
    return good, said.getvalue()


def end_well(stage):
    wrong = stage.close()
    for line in wrong:
        print(f"# {line}")
    if wrong:
        print("not ok - shared cluster")
    return not wrong


def work(tests, make_stage, tally, share, shares):
    harness.die_with_parent()
    signal.signal(signal.SIGTERM, interrupted)
    random.seed()
    harness.use_ports(share, shares)
    stage = make_stage(share)
    try:
        while (index := tally.take()) < len(tests):
            tally.told(*captured(lambda test=tests[index]: run_one(stage, *test)))
        good, said = captured(lambda: end_well(stage))
        if not good:  # It is no test of its own, but must not pass unseen.
            tally.told(False, said)
    finally:
        stage.destroy()


def run_all(modules, make_stage, only=(), quick=False, jobs=1):
    """Runs every test, or those whose name holds one of `only`. Returns the exit code.
    `make_stage(share)` is called in each worker, whose number is `share`."""
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    tests = chosen(modules, only, quick)
    context = multiprocessing.get_context("fork")
    tally = Tally(context)
    count = max(1, min(jobs, len(tests)))
    workers = [context.Process(target=work, args=(tests, make_stage, tally, share, count))
               for share in range(count)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
                worker.join()
    passed, failed = tally.passed.value, tally.failed.value
    if passed + failed < len(tests) or (any(worker.exitcode for worker in workers) and not failed):
        print("not ok - a worker ended before its tests")
        failed += 1
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 and passed > 0 else 1
