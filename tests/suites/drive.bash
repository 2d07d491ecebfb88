#!/usr/bin/env bash
#
# tests/suites/drive.bash -- runs the suites of tests/suites/manifest and adds up what they say.
#
# usage: drive.bash ROOT [--quick | --soak] [--only SUITE]
#
# Why a driver of its own: a check that is silently not run is worse than none. So a run fails
#  (1) if a suite of the manifest has no script, or a script is not in the manifest;
#  (2) if a tool that a suite names is not installed;
#  (3) if a suite fails a test, stops early, prints no result, or passes no test at all;
#  (4) if a suite takes longer than its limit, or leaves a process behind (which is then ended).
# The last line is `N passed, N failed, N skipped`, over every single test of every suite.
set -euo pipefail

root=$1
shift
cd "$root"
mode=full
only=
while [[ $# -gt 0 ]]; do
    case $1 in
    --quick) mode=quick ;;
    --soak) mode=soak ;;
    --only)
        only=${2:?--only needs the name of a suite}
        shift
        ;;
    *)
        printf 'usage: ./run test [--quick | --soak] [--only SUITE]\n' >&2
        exit 2
        ;;
    esac
    shift
done

suites=tests/suites
logs=build/test-logs
scratch=build/test-scratch
mkdir -p "$logs" "$scratch"
RUN_JOBS=${RUN_JOBS:-$(nproc)}
export RUN_MODE=$mode RUN_JOBS

total_passed=0
total_failed=0
total_skipped=0
rows=()
# Of suites under way: one in front, and any beside it.
declare -A marks=() pids=() starts=() limits=()

# Processes that carry the mark of one suite in their environment, however far they detached.
marked_processes() {
    local mark=$1 file pid
    for file in /proc/[0-9]*/environ; do
        pid=${file#/proc/}
        pid=${pid%/environ}
        [[ $pid != "$$" && $pid != "$BASHPID" ]] || continue
        # Unreadable or gone: not ours, or not there any more.
        if grep -qz "^RUN_MARK=$mark\$" "$file" 2>/dev/null; then
            # A zombie has ended; its parent has yet to notice.
            grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null || printf '%s\n' "$pid"
        fi
    done
}

# Prints what was left of a suite, and ends it.
end_leftovers() {
    local mark=$1 pid round
    local -a left
    for round in TERM KILL; do
        mapfile -t left < <(marked_processes "$mark")
        [[ ${#left[@]} -gt 0 ]] || return 0
        for pid in "${left[@]}"; do
            [[ $round != TERM ]] || printf 'left behind: %s %s\n' "$pid" \
                "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c 1-120)"
            kill -s "$round" "$pid" 2>/dev/null || true
        done
        sleep 1 # For what was told to end to do so, before it is made to.
    done
}

interrupted() {
    trap - INT TERM HUP
    local mark
    for mark in "${marks[@]}"; do
        end_leftovers "$mark" >&2
    done
    printf '\ninterrupted\n' >&2
    exit 130
}
trap interrupted INT TERM HUP

# Adds one row to the table: suite, verdict, counts, seconds.
record() {
    local name=$1 passed=$2 failed=$3 skipped=$4 seconds=$5 why=$6
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    total_skipped=$((total_skipped + skipped))
    local verdict=ok
    [[ $failed -eq 0 ]] || verdict=FAILED
    rows+=("$(printf '%-12s %-7s %7d %7d %7d %6ds  %s' \
        "$name" "$verdict" "$passed" "$failed" "$skipped" "$seconds" "$why")")
    printf '    %-12s %s, %d passed, %d failed, %d skipped, %d s%s\n' "$name" "$verdict" \
        "$passed" "$failed" "$skipped" "$seconds" "${why:+: $why}"
}

# Starts one suite; nothing it does ends the driver. Fails, with a row, if it cannot run.
start_suite() {
    local name=$1 limit=$2 tools=$3 niceness=$4
    # A soak repeats what a run does once.
    [[ $mode != soak ]] || limit=$((limit * 20))
    local log=$logs/$name.log script=$suites/$name.sh tool
    if [[ ! -x $script ]]; then
        record "$name" 0 1 0 0 "$script is missing or not executable"
        return 1
    fi
    for tool in ${tools//,/ }; do
        if ! command -v "$tool" >/dev/null; then
            record "$name" 0 1 0 0 "its tool $tool is missing"
            return 1
        fi
    done

    rm -rf "${scratch:?}/$name"
    mkdir -p "$scratch/$name"
    marks[$name]="$$-$name-$RANDOM"
    limits[$name]=$limit
    starts[$name]=$SECONDS
    # In the background and waited for, so that a signal to the driver is heard at once.
    RUN_MARK=${marks[$name]} RUN_SCRATCH=$scratch/$name setsid --wait nice -n "$niceness" \
        timeout --kill-after=20 "$limit" "$script" </dev/null >"$log" 2>&1 &
    pids[$name]=$!
}

# Waits for its end, and judges it.
finish_suite() {
    local name=$1 log=$logs/$1.log rc=0
    local limit=${limits[$name]} start=${starts[$name]}
    wait "${pids[$name]}" || rc=$?
    local left
    left=$(end_leftovers "${marks[$name]}")
    unset "marks[$name]"

    local passed=0 failed=0 skipped=0 why=''
    local line
    line=$(grep -E "^$name: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped\$" "$log" | tail -n 1 ||
        true)
    if [[ -n $line ]]; then
        read -r _ passed _ failed _ skipped _ <<<"$line"
    fi
    if [[ $rc -eq 124 || $rc -eq 137 ]]; then
        why="ran longer than $limit s"
    elif [[ -z $line ]]; then
        why="stopped without a result (exit $rc)"
    elif [[ $rc -ne 0 && $failed -eq 0 ]]; then
        why="exit $rc"
    elif [[ $passed -eq 0 && $failed -eq 0 ]]; then
        why="ran no test"
    elif [[ -n $left ]]; then
        why="left processes behind"
        printf '%s\n' "$left" >>"$log"
    fi
    [[ -z $why ]] || failed=$((failed + 1))
    record "$name" "$passed" "$failed" "$skipped" $((SECONDS - start)) "$why"
    if [[ $failed -gt 0 ]]; then
        printf '    --- failures and the end of %s\n' "$log"
        { grep -aE '^(FAIL|SKIP) ' "$log" | head -n 20 || true; } | sed 's/^/    | /'
        tail -n 25 "$log" | sed 's/^/    | /'
    fi
}

# Whether a suite of this kind belongs to this run: full holds quick, soak holds both.
wanted() {
    case $mode in
    quick) [[ $1 == quick ]] ;;
    full) [[ $1 == quick || $1 == full ]] ;;
    soak) [[ $1 == quick || $1 == full || $1 == soak ]] ;;
    esac
}

declare -A named=()
started=$SECONDS
beside=()
while read -r name kind limit tools; do
    if [[ ! $name =~ ^[a-z_]+$ || ! $kind =~ ^(quick|full|soak)(,beside)?$ || ! $limit =~ ^[0-9]+$ ]]; then
        record "${name:-?}" 0 1 0 0 "not a line of a manifest: $name $kind $limit $tools"
        continue
    fi
    named[$name]=1
    wanted "${kind%,beside}" || continue
    [[ -z $only || $only == "$name" ]] || continue
    if [[ $kind == *,beside ]]; then
        printf '==> %s, beside those that follow\n' "$name"
        ! start_suite "$name" "$limit" "$tools" 19 || beside+=("$name")
        continue
    fi
    printf '==> %s\n' "$name"
    ! start_suite "$name" "$limit" "$tools" 0 || finish_suite "$name"
done < <(grep -vE '^(#|[[:space:]]*$)' "$suites/manifest" 2>/dev/null)

for name in "${beside[@]}"; do
    printf '==> %s, to its end\n' "$name"
    finish_suite "$name"
done

for script in "$suites"/*.sh; do
    name=$(basename "$script" .sh)
    [[ -n ${named[$name]:-} ]] || record "$name" 0 1 0 0 "$script is not in the manifest"
done
[[ ${#named[@]} -gt 0 ]] || record manifest 0 1 0 0 "$suites/manifest is missing or empty"
[[ -z $only || -n ${named[$only]:-} ]] || record "$only" 0 1 0 0 "no such suite in the manifest"
[[ ${#rows[@]} -gt 0 ]] || record "${only:-manifest}" 0 1 0 0 "no suite of the $mode run was run"

printf '\n%-12s %-7s %7s %7s %7s %7s\n' suite result passed failed skipped time
printf '%s\n' "${rows[@]}"
printf '\n%s run in %d s; logs are in %s\n' "$mode" $((SECONDS - started)) "$logs"
printf '%d passed, %d failed, %d skipped\n' "$total_passed" "$total_failed" "$total_skipped"
[[ $total_failed -eq 0 && $total_passed -gt 0 ]]
