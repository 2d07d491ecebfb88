#!/usr/bin/env bash
# partition: real nodes on machines of their own (network namespaces), whose network is cut one way
# and both ways, and healed; a check of every history. Without root it fails: it never skips itself.
source tests/suites/common.bash
suite_build release kvnode range_digest
options=()
[[ $RUN_MODE != quick ]] || options+=(--quick)
runs=1
[[ $RUN_MODE != soak ]] || runs=100
for ((run = 1; run <= runs; run++)); do
    log=$RUN_SCRATCH/run-$run.log
    rc=0
    tests/partition/run.py "${options[@]}" --jobs 2 --programs build/release/bin >"$log" 2>&1 || rc=$?
    cat "$log"
    passed=$((passed + $(grep -c '^ok - ' "$log" || true)))
    while read -r line; do
        suite_fail "$line"
    done < <(sed -nE 's/^not ok - //p' "$log")
    said=$(tail -n 1 "$log")
    if ! [[ $said =~ ^[0-9]+\ passed,\ [0-9]+\ failed$ ]] || [[ $rc -ne 0 && $failed -eq 0 ]]; then
        suite_fail "tests/partition/run.py ended with $rc, saying: $said"
    fi
    [[ $failed -eq 0 ]] || break
done
suite_end
