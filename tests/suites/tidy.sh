#!/usr/bin/env bash
# tidy: clang-tidy over every C file of ours. A file that was clean is not looked at again until it,
# a header of ours that it includes, its compile command, or the rules change (build/tidy-clean).
source tests/suites/common.bash
suite_note "configuring the debug preset for its compile commands"
cmake --preset debug >"$RUN_SCRATCH/cmake.log"
clean=build/tidy-clean
mkdir -p "$clean"
rules=$({ clang-tidy --version && cat .clang-tidy; } | sha256sum | cut -c 1-64)
export clean rules RUN_SCRATCH

# Prints `ok FILE` or what clang-tidy found and `bad FILE`.
tidy_one() {
    local file=$1 key headers
    headers=$(cc -MM -iquote . -D_GNU_SOURCE "$file" | tr -d '\\' | tr -s ' \n' '\n\n' |
        grep -E '\.[ch]$' | sort)
    key=$({ printf '%s\n' "$rules" && grep -F -- "/$file\"" build/debug/compile_commands.json
        cat $headers; } | sha256sum | cut -c 1-64)
    if [[ -e $clean/$key ]]; then
        printf 'ok %s\n' "$file"
        return
    fi
    local out=$RUN_SCRATCH/${file//\//_}.txt
    if clang-tidy --quiet -p build/debug "$file" >"$out" 2>/dev/null; then
        : >"$clean/$key"
        printf 'ok %s\n' "$file"
    else
        # One line a finding; a whole file of them is written at once.
        printf '%s\nbad %s\n' "$(grep -E '(error|warning):' "$out" || cat "$out")" "$file"
    fi
}
export -f tidy_one

suite_files '*.c' | while read -r file; do
    # Criterion's macros do not pass, and they are most of a unit test.
    if [[ $file != tests/unit/* ]]; then printf '%s\n' "$file"; fi
done >"$RUN_SCRATCH/files"
xargs -r -n 1 -P "$RUN_JOBS" bash -c 'tidy_one "$1"' tidy <"$RUN_SCRATCH/files" \
    >"$RUN_SCRATCH/findings"
grep -vE '^ok ' "$RUN_SCRATCH/findings" | grep -vE '^bad ' | sort -u || true
while read -r file; do
    if grep -qxF "ok $file" "$RUN_SCRATCH/findings"; then
        suite_pass
    else
        suite_fail "$file"
    fi
done <"$RUN_SCRATCH/files"
suite_end
