#!/usr/bin/env bash
# engine: the engine alone on a simulated disk, under the address and undefined-behaviour sanitizers:
# seeds against a model, and a scripted load broken at every point it has -- power lost after each
# disk operation, each call and each allocation failing. One test a run; `lsmsim --help` has the rest.
source tests/suites/common.bash
case $RUN_MODE in
quick) seeds=60 scripts=1 every=48 kills=0 ;;
full) seeds=500 scripts=2 every=4 kills=20 ;;
soak) seeds=30000 scripts=8 every=1 kills=200 ;;
esac
lsmsim=build/debug/bin/lsmsim
suite_build debug lsmsim crash_lsm

# part NAME COUNT ARGUMENT... -- counts what it printed; COUNT 0: as many as it says.
part() {
    local name=$1 count=$2 log=$RUN_SCRATCH/$1.log rc=0 good bad
    "$lsmsim" --jobs "$RUN_JOBS" "${@:3}" >"$log" 2>&1 || rc=$?
    good=$(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1/p' "$log" | tail -n 1)
    bad=$(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\2/p' "$log" | tail -n 1)
    passed=$((passed + ${good:-0}))
    failed=$((failed + ${bad:-0}))
    [[ $rc -eq 0 ]] || tail -n 30 "$log"
    if [[ ${good:-0} -eq 0 && ${bad:-0} -eq 0 ]] || [[ $rc -ne 0 && ${bad:-0} -eq 0 ]] ||
        [[ $count -gt 0 && $((${good:-0} + ${bad:-0})) -ne $count ]]; then
        suite_fail "$name: exit $rc, ${good:-0} passed and ${bad:-0} failed"
    fi
}

start=$SECONDS
# Other seeds than those of the sim suite.
part seeds "$seeds" --first 100001 --seeds "$seeds"
suite_note "$seeds seeds: $(grep -E '^[0-9]+ operations' "$RUN_SCRATCH/seeds.log"), in $((SECONDS - start)) s"
for kind in crash recovery error errors no-space short memory; do
    start=$SECONDS
    # Crashes are the dearest to miss.
    step=$every
    [[ $kind != crash || $every -lt 4 ]] || step=$((every / 4))
    # Allocations are the most by far.
    [[ $kind != memory || $every -eq 1 ]] || step=$((every * 2))
    part "$kind" 0 --sweep "$kind" --first 1 --seeds "$scripts" --every "$step"
    suite_note "$kind: every $step of $(sed -nE 's/.* at each of ([0-9]+) points.*/\1/p' \
        "$RUN_SCRATCH/$kind.log" | paste -sd+) points, in $((SECONDS - start)) s"
done

# A real process, killed while it writes.
if [[ $kills -gt 0 ]]; then
    start=$SECONDS
    rc=0
    build/debug/bin/crash_lsm "$kills" "$((1 + $(date +%s) % 1000000))" >"$RUN_SCRATCH/kills.log" 2>&1 || rc=$?
    if [[ $rc -eq 0 ]]; then
        suite_note "$(cat "$RUN_SCRATCH/kills.log"), in $((SECONDS - start)) s"
        suite_pass
    else
        cat "$RUN_SCRATCH/kills.log"
        suite_fail "crash_lsm $kills"
    fi
fi
suite_end
