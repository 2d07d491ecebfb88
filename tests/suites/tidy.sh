#!/usr/bin/env bash
# tidy: clang-tidy over every C file of ours. A file that was clean is not looked at again until it,
# a header of ours that it includes, its compile command, or the rules change (build/tidy-clean).
# A quick run looks at files known to be clean (which costs nothing), at those that the last commit or
# the work since changed, and at one in sixteen of the others, in a rota that moves with each commit.
source tests/suites/common.bash
suite_note "configuring the debug preset for its compile commands"
cmake --preset debug >"$RUN_SCRATCH/cmake.log"
clean=build/tidy-clean
mkdir -p "$clean"
# The first command of each file alone: from the second on, clang-tidy 14 takes every va_list for
# uninitialized.
commands=$RUN_SCRATCH/commands
mkdir -p "$commands"
awk '
    /^\{/ { block = ""; file = "" }
    { block = block $0 "\n" }
    /^  "file":/ { file = $0 }
    /^\},?$/ && !(file in seen) { seen[file] = 1; kept[++count] = block }
    END {
        sub(/\},?\n$/, "}\n", kept[count])
        print "["
        for (at = 1; at <= count; at++) printf "%s", kept[at]
        print "]"
    }' build/debug/compile_commands.json >"$commands/compile_commands.json"
rules=$({ clang-tidy --version && cat .clang-tidy; } | sha256sum | cut -c 1-64)
head=$(git -c safe.directory="$PWD" rev-parse HEAD)
# A clone of one commit has no parent to compare with; then only work since counts as changed.
changed=$(git -c safe.directory="$PWD" diff --name-only HEAD~1 -- '*.c' 2>/dev/null ||
    git -c safe.directory="$PWD" diff --name-only HEAD -- '*.c')
export clean commands rules head changed RUN_SCRATCH RUN_MODE

# due FILE -- whether a quick run looks at a file not known to be clean.
due() {
    local turn
    turn=$(printf '%s %s\n' "$head" "$1" | sha256sum | cut -c 1)
    [[ $turn == 0 || $'\n'$changed$'\n' == *$'\n'$1$'\n'* ]]
}

# Prints `ok FILE`, `later FILE`, or what clang-tidy found and `bad FILE`.
tidy_one() {
    local file=$1 key headers
    headers=$(cc -MM -iquote . -D_GNU_SOURCE "$file" | tr -d '\\' | tr -s ' \n' '\n\n' |
        grep -E '\.[ch]$' | sort)
    key=$({ printf '%s\n' "$rules" && grep -F -- "/$file\"" "$commands/compile_commands.json"
        cat $headers; } | sha256sum | cut -c 1-64)
    if [[ -e $clean/$key ]]; then
        printf 'ok %s\n' "$file"
        return
    fi
    if [[ $RUN_MODE == quick ]] && ! due "$file"; then
        printf 'later %s\n' "$file"
        return
    fi
    local out=$RUN_SCRATCH/${file//\//_}.txt
    if clang-tidy --quiet -p "$commands" "$file" >"$out" 2>/dev/null; then
        : >"$clean/$key"
        printf 'ok %s\n' "$file"
    else
        # One line a finding; a whole file of them is written at once.
        printf '%s\nbad %s\n' "$(grep -E '(error|warning):' "$out" || cat "$out")" "$file"
    fi
}
export -f tidy_one due

suite_files '*.c' | while read -r file; do
    # Criterion's macros do not pass, and they are most of a unit test.
    if [[ $file != tests/unit/* ]]; then printf '%s\n' "$file"; fi
done >"$RUN_SCRATCH/files"
xargs -r -n 1 -P "$RUN_JOBS" bash -c 'tidy_one "$1"' tidy <"$RUN_SCRATCH/files" \
    >"$RUN_SCRATCH/findings"
grep -vE '^(ok|bad|later) ' "$RUN_SCRATCH/findings" | sort -u || true
later=0
while read -r file; do
    if grep -qxF "ok $file" "$RUN_SCRATCH/findings"; then
        suite_pass
    elif grep -qxF "later $file" "$RUN_SCRATCH/findings"; then
        later=$((later + 1))
    else
        suite_fail "$file"
    fi
done <"$RUN_SCRATCH/files"
[[ $later -eq 0 ]] || suite_note "$later files left for a full run"
suite_end
