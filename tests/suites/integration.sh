#!/usr/bin/env bash
# integration: real kvnode processes on loopback: clients, crashes, restarts, settings, kvctl.
# A full run also takes the client port through the build with sanitizers.
source tests/suites/common.bash

# part PRESET NAME... -- the tests with those names (none: all), counted one by one.
part() {
    local preset=$1 log=$RUN_SCRATCH/$1.log rc=0 said
    local -a options=()
    [[ $RUN_MODE != quick ]] || options+=(--quick)
    [[ $RUN_MODE != soak ]] || options+=(--soak)
    suite_build "$preset" kvnode kvctl bench_lsm lsm_inspect embedded range_digest
    tests/integration/run.py "${options[@]}" --jobs 3 --programs "build/$preset/bin" "${@:2}" \
        >"$log" 2>&1 || rc=$?
    cat "$log"
    said=$(tail -n 1 "$log")
    passed=$((passed + $(grep -c '^ok - ' "$log" || true)))
    while read -r line; do
        suite_fail "$preset: $line"
    done < <(sed -nE 's/^not ok - //p' "$log")
    if ! [[ $said =~ ^[0-9]+\ passed,\ [0-9]+\ failed$ ]] || [[ $rc -ne 0 && $failed -eq 0 ]]; then
        suite_fail "$preset: tests/integration/run.py ended with $rc, saying: $said"
    fi
}

part release
if [[ $RUN_MODE != quick ]]; then
    part debug bench. engine. protocol. commands. admin. process. failover.one_of crash.all_nodes
fi
suite_end
