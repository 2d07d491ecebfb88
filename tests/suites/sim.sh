#!/usr/bin/env bash
# sim: the simulators over fixed seeds, over those of tests/sim/seeds that once found a fault, over
# fresh ones, and over a few seeds twice, which must give the same trace; and scripted changes of the
# ring, struck at points of their own. One test a seed or point. A simulator takes --first SEED,
# --seeds N and --twice, prints for a seed that failed the command that shows it again, and last
# `N passed, N failed`.
source tests/suites/common.bash
case $RUN_MODE in
quick) seeds=100 fresh=0 scripts=5 every=60 ;;
full) seeds=500 fresh=100 scripts=5 every=20 ;;
soak) seeds=50000 fresh=10000 scripts=20 every=1 ;;
esac
twice=20
# Fresh seeds lie above all fixed ones; a failure prints the command that replays it.
fresh_first=$((1000000 + $(date +%s) % 1000000000))

# part NAME FIRST SEEDS [--twice] -- one process over a stretch of seeds.
part() {
    local name=$1 first=$2 count=$3
    local log=$RUN_SCRATCH/$name.$first.log rc=0
    "build/release/bin/$name" --first "$first" --seeds "$count" "${@:4}" >"$log" 2>&1 || rc=$?
    printf 'exit %d\n' "$rc" >>"$log"
}

# result NAME FIRST SEEDS -- counts what that part printed; every seed must be accounted for.
result() {
    local log=$RUN_SCRATCH/$1.$2.log rc good bad
    rc=$(sed -nE 's/^exit ([0-9]+)$/\1/p' "$log" | tail -n 1)
    good=$(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1/p' "$log" | tail -n 1)
    bad=$(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\2/p' "$log" | tail -n 1)
    passed=$((passed + ${good:-0}))
    failed=$((failed + ${bad:-0}))
    if [[ $((${good:-0} + ${bad:-0})) -ne $3 ]] ||
        [[ $rc -ne 0 && ${bad:-0} -eq 0 ]]; then
        suite_fail "$1 from seed $2: exit $rc, ${good:-0} passed and ${bad:-0} failed of $3"
    fi
    [[ $rc -eq 0 ]] || tail -n 30 "$log"
}

programs=()
for source in tests/sim/group_sim.c tests/sim/lsmsim.c tests/sim/kvsim.c; do
    [[ ! -e $source ]] || programs+=("$(basename "$source" .c)")
done
suite_build release "${programs[@]}"
for name in "${programs[@]}"; do
    start=$SECONDS
    stretch=$(((seeds + RUN_JOBS - 1) / RUN_JOBS))
    for ((first = 1; first <= seeds; first += stretch)); do
        count=$((first + stretch > seeds + 1 ? seeds + 1 - first : stretch))
        part "$name" "$first" "$count" &
    done
    wait
    for ((first = 1; first <= seeds; first += stretch)); do
        count=$((first + stretch > seeds + 1 ? seeds + 1 - first : stretch))
        result "$name" "$first" "$count"
    done
    part "$name" 1001 "$twice" --twice
    result "$name" 1001 "$twice"
    kept=0
    while read -r simulator seed _; do
        [[ $simulator == "$name" ]] || continue
        part "$name" "$seed" 1
        result "$name" "$seed" 1
        kept=$((kept + 1))
    done < <(grep -v '^#' tests/sim/seeds)
    if [[ $fresh -gt 0 ]]; then
        part "$name" "$fresh_first" "$fresh"
        result "$name" "$fresh_first" "$fresh"
    fi
    suite_note "$name: $seeds seeds, $twice twice, $kept kept, $fresh fresh from $fresh_first," \
        "in $((SECONDS - start)) s"
done

# A change of the ring, struck at every point it has. How many runs that is the simulator tells.
start=$SECONDS
rc=0
build/release/bin/kvsim --sweep all --first 0 --seeds "$scripts" --every "$every" --operations 300 \
    --jobs "$RUN_JOBS" >"$RUN_SCRATCH/sweep.log" 2>&1 || rc=$?
good=$(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1/p' "$RUN_SCRATCH/sweep.log" | tail -n 1)
bad=$(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\2/p' "$RUN_SCRATCH/sweep.log" | tail -n 1)
passed=$((passed + ${good:-0}))
failed=$((failed + ${bad:-0}))
[[ $rc -eq 0 ]] || tail -n 30 "$RUN_SCRATCH/sweep.log"
sweeps=$(grep -cE ' at each of [1-9][0-9]* points' "$RUN_SCRATCH/sweep.log" || true)
if [[ $sweeps -ne $((scripts * 4)) ]] || [[ $rc -ne 0 && ${bad:-0} -eq 0 ]]; then
    suite_fail "sweeps of ring changes: exit $rc, $sweeps of $((scripts * 4)) sweeps"
fi
suite_note "ring changes: every $every of $(sed -nE 's/.* at each of ([0-9]+) points.*/\1/p' \
    "$RUN_SCRATCH/sweep.log" | paste -sd+) points, in $((SECONDS - start)) s"
suite_end
