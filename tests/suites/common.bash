# tests/suites/common.bash -- what suites share. Sourced by each tests/suites/<name>.sh.
#
# A suite counts single tests with suite_pass, suite_fail and suite_skip, and ends with suite_end,
# which prints the line that tests/suites/drive.bash reads:
#     <name>: N passed, N failed, N skipped
# A suite that stops before that line has failed. Set by the driver: RUN_MODE (quick, full, soak),
# RUN_SCRATCH (a folder of the suite's own, emptied before it starts).
set -euo pipefail

suite=$(basename "$0" .sh)
passed=0
failed=0
skipped=0
RUN_MODE=${RUN_MODE:-full}
RUN_SCRATCH=${RUN_SCRATCH:-build/test-scratch/$suite}
RUN_JOBS=${RUN_JOBS:-$(nproc)}
mkdir -p "$RUN_SCRATCH"

suite_note() { printf -- '-- %s\n' "$*"; }
suite_pass() { passed=$((passed + 1)); }
suite_skip() { skipped=$((skipped + 1)) && printf 'SKIP %s\n' "$*"; }
suite_fail() { failed=$((failed + 1)) && printf 'FAIL %s\n' "$*"; }

suite_end() {
    printf '%s: %d passed, %d failed, %d skipped\n' "$suite" "$passed" "$failed" "$skipped"
    [[ $failed -eq 0 ]]
    exit
}

# Our tracked files that match, as git sees them, also in a clone that belongs to someone else.
suite_files() { git -c safe.directory="$PWD" ls-files -- "$@"; }

# suite_build PRESET TARGET... -- a build that fails ends the suite.
suite_build() {
    local preset=$1
    shift
    suite_note "building $* in the $preset preset"
    cmake --preset "$preset" >"$RUN_SCRATCH/cmake.log" 2>&1 || {
        cat "$RUN_SCRATCH/cmake.log"
        return 1
    }
    cmake --build --preset "$preset" --target "$@" >"$RUN_SCRATCH/build.log" 2>&1 || {
        grep -E -A 12 'FAILED|error:' "$RUN_SCRATCH/build.log" | head -n 80
        return 1
    }
}

# suite_ctest PRESET LABEL -- builds and runs the plain programs that ctest knows under that label,
# one after another (they time things, or use all cores); one test each. Each test is named as the
# target that makes it.
suite_ctest() {
    local preset=$1 label=$2 name rc
    local -a names
    cmake --preset "$preset" >"$RUN_SCRATCH/cmake.log" 2>&1 || {
        cat "$RUN_SCRATCH/cmake.log"
        return 1
    }
    mapfile -t names < <(ctest --test-dir "build/$preset" -N -L "^$label\$" |
        sed -nE 's/^ *Test +#[0-9]+: ([^ ]+).*/\1/p')
    [[ ${#names[@]} -gt 0 ]] || return 0
    suite_build "$preset" "${names[@]}"
    for name in "${names[@]}"; do
        rc=0
        ctest --test-dir "build/$preset" -R "^$name\$" --output-on-failure --no-tests=error \
            >"$RUN_SCRATCH/$name.log" 2>&1 || rc=$?
        if [[ $rc -eq 0 ]]; then
            suite_note "$name passed"
            suite_pass
        else
            tail -n 60 "$RUN_SCRATCH/$name.log"
            suite_fail "$name: ctest --test-dir build/$preset -R '^$name\$' -V"
        fi
    done
}

# suite_programs FILE... -- runs each as one test, passed if it exits 0 (77: skipped).
suite_programs() {
    local program rc
    for program in "$@"; do
        suite_note "$program"
        rc=0
        timeout 600 "$program" </dev/null || rc=$?
        case $rc in
        0) suite_pass ;;
        77) suite_skip "$program" ;;
        124) suite_fail "$program ran longer than 600 seconds" ;;
        *) suite_fail "$program (exit $rc)" ;;
        esac
    done
}
