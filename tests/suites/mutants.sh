#!/usr/bin/env bash
# mutants: the simulator's checks can fail. Each planted fault must be caught within so many seeds,
# and a run that looks at the real clock or at an address must differ from its repetition.
source tests/suites/common.bash
kvsim=build/release/bin/kvsim
lsmsim=build/release/bin/lsmsim
group_sim=build/release/bin/group_sim
suite_build release kvsim lsmsim group_sim

# caught SIMULATOR NAME SEEDS
caught() {
    local log=$RUN_SCRATCH/$2.log rc=0
    "$1" --mutant "$2" --caught "$3" --jobs "$RUN_JOBS" >"$log" 2>&1 || rc=$?
    if [[ $rc -eq 0 ]] && grep -qE "^$2 caught by the [0-9]+\. seed of at most $3\$" "$log"; then
        suite_note "$(basename "$1"): $(grep -E "^$2 caught" "$log")"
        suite_pass
    else
        tail -n 5 "$log"
        suite_fail "$2 is not caught by $(basename "$1") within $3 seeds"
    fi
}

# swept NAME -- where a Raft group is lost, which seeds do not do: script 4 of the sweeps.
swept() {
    local log=$RUN_SCRATCH/$1.log rc=0
    "$kvsim" --sweep synced --seed 4 --point 1 --operations 300 --mutant "$1" >"$log" 2>&1 || rc=$?
    if [[ $rc -eq 1 ]] && grep -q '^synced at point 1 of seed 4: ' "$log"; then
        suite_note "kvsim: $1: $(grep '^synced at point' "$log")"
        suite_pass
    else
        tail -n 5 "$log"
        suite_fail "$1 is not caught by kvsim where a Raft group is recovered"
    fi
}

# left_out RULE SEEDS -- of the guard around the raft library; raft/group_mutant.h names them.
left_out() {
    local log=$RUN_SCRATCH/without-$1.log rc=0
    "$group_sim" --roles --without "$1" --seeds "$2" >"$log" 2>&1 || rc=$?
    if [[ $rc -eq 0 ]] && grep -qE "^without $1: caught by the [0-9]+\. seed of at most $2:" "$log"; then
        suite_note "group_sim: $(grep -E "^without $1" "$log")"
        suite_pass
    else
        tail -n 5 "$log"
        suite_fail "group_sim does not notice within $2 seeds that the rule $1 is left out"
    fi
}

# planted NAME -- every seed must be reported as one that went another way.
planted() {
    local log=$RUN_SCRATCH/plant-$1.log rc=0
    "$kvsim" --first 1001 --seeds 3 --twice --plant "$1" >"$log" 2>&1 || rc=$?
    if [[ $rc -eq 1 ]] && [[ $(grep -c 'went another way the second time' "$log") -eq 3 ]]; then
        suite_pass
    else
        tail -n 5 "$log"
        suite_fail "--plant $1 is not noticed"
    fi
}

# Each of the node and the ring with the seeds it is allowed, or that a sweep shows it; docs/simulator.md says how many it takes.
declare -A node_mutants=(
    [ack-early]=20
    [skip-read-repair]=40
    [skip-wal-sync]=40
    [fence-not-durable]=200
    [stale-epoch-applied]=20
    [enter-without-excise]=200
    [stream-without-fence]=20
    [session-ignored]=20
    [stream-one-survivor]=20
    [barrier-relaxes]=20
    [factor-without-merge]=20
    [read-new-before-stream]=20
    [finish-without-barrier]=20
    [old-set-only-reads]=20
    [old-set-only-writes]=20
    [no-write-back]=20
    [abort-after-read-new]=20
    [demote-first]=200
    [voter-stays]=20
    [old-generation-lives]=swept
    [generation-stays]=swept
)
all_mutants=$("$kvsim" --mutants)
for mutant in $all_mutants; do
    if [[ ${node_mutants[$mutant]:-} == swept ]]; then
        swept "$mutant"
    elif [[ -n ${node_mutants[$mutant]:-} ]]; then
        caught "$kvsim" "$mutant" "${node_mutants[$mutant]}"
    else
        suite_fail "no one demands that $mutant is caught"
    fi
done
# Each of the engine is a rule of it left out; lsm/mutant.h says which. Far more seeds are allowed
# than it takes, for each change of the code shuffles which seed it is.
engine_mutants=$("$lsmsim" --mutants)
for mutant in $engine_mutants; do
    caught "$lsmsim" "$mutant" 3000
done
for rule in own-term rollback any-vote hold-back cut; do
    left_out "$rule" 3000
done
planted clock
planted address

# Seeds differ from one another.
count=20
"$kvsim" --seeds $count --traces >"$RUN_SCRATCH/traces.log" 2>&1 || true
different=$(sed -nE 's/^seed [0-9]+: trace ([0-9a-f]{16}),.*/\1/p' "$RUN_SCRATCH/traces.log" | sort -u | wc -l)
if [[ $different -eq $count ]]; then
    suite_pass
else
    suite_fail "$count seeds have $different traces"
fi
suite_end
