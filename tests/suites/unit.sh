#!/usr/bin/env bash
# unit: every tests/unit/test_<stem>.c under the address and undefined-behaviour sanitizers.
source tests/suites/common.bash
suite_build debug unit_tests

# A test no list names, or a name without its test, would be a test that never runs.
while read -r line; do
    suite_fail "$line"
done <build/debug/unit-unmatched.txt

log=$RUN_SCRATCH/ctest.log
rc=0
# More than there are cores: many of them wait for a disk.
ctest --test-dir build/debug -L '^unit$' -V -j "$((RUN_JOBS * 2))" --no-tests=error >"$log" 2>&1 || rc=$?
# Criterion prints TAP: one line a test, which ctest puts behind the number of the program.
single_passed=$(grep -cE '^[0-9]+: ok - ' "$log" || true)
single_skipped=$(grep -cE '^[0-9]+: ok - .*# SKIP' "$log" || true)
passed=$((single_passed - single_skipped))
skipped=$single_skipped
while read -r line; do
    suite_fail "$line"
done < <(sed -nE 's/^[0-9]+: not ok - //p' "$log")
# A program that died outside a test says nothing in TAP; a sanitizer may also speak at its end.
if [[ $rc -ne 0 && $failed -eq 0 ]]; then
    suite_fail "ctest: $(grep -E '\*\*\*|No tests' "$log" | tr '\n' ';')"
fi
if [[ $failed -gt 0 ]]; then
    grep -E '^[0-9]+: ' "$log" | grep -vE '^[0-9]+: (ok -|#)' | tail -n 120 || true
fi
suite_end
