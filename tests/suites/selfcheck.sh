#!/usr/bin/env bash
# selfcheck: the driver fails whenever a check could have gone unseen. Each case runs drive.bash in
# a small tree of its own, over suites that are a few lines long.
source tests/suites/common.bash
here=$PWD
scratch=$PWD/$RUN_SCRATCH

# suite_of NAME BODY -- a script of the tree at $tree.
suite_of() {
    printf '#!/usr/bin/env bash\n%s\n' "$2" >"$tree/tests/suites/$1.sh"
    chmod +x "$tree/tests/suites/$1.sh"
}

# A tree whose suite `one` passes two tests.
fresh() {
    tree=$scratch/$1
    rm -rf "$tree"
    mkdir -p "$tree/tests/suites"
    cp "$here/tests/suites/drive.bash" "$tree/tests/suites/"
    printf 'one quick 20 bash\n' >"$tree/tests/suites/manifest"
    suite_of one 'echo "one: 2 passed, 0 failed, 0 skipped"'
}

# expect CASE fails|passes TEXT -- runs the tree at $tree; TEXT must be in what the driver says.
expect() {
    local rc=0 verdict=passes
    "$tree/tests/suites/drive.bash" "$tree" "${@:4}" >"$tree/out" 2>&1 </dev/null || rc=$?
    [[ $rc -eq 0 ]] || verdict=fails
    if [[ $verdict == "$2" ]] && grep -qF -- "$3" "$tree/out" &&
        tail -n 1 "$tree/out" | grep -qE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$'; then
        suite_pass
    else
        cat "$tree/out"
        suite_fail "$1: the driver should have been one that $2, saying: $3"
    fi
}

fresh good
expect "a suite that passes" passes '2 passed, 0 failed, 0 skipped'
fresh failing
suite_of one 'echo "one: 2 passed, 1 failed, 0 skipped"; exit 1'
expect "a failed test" fails '2 passed, 1 failed, 0 skipped'
fresh quiet
suite_of one 'exit 0'
expect "no result line" fails 'stopped without a result'
fresh dead
suite_of one 'echo "one: 2 passed, 0 failed, 0 skipped"; exit 3'
expect "a result, then a failure" fails 'exit 3'
fresh empty
suite_of one 'echo "one: 0 passed, 0 failed, 0 skipped"'
expect "no test" fails 'ran no test'
fresh skipping
suite_of one 'echo "one: 0 passed, 0 failed, 5 skipped"'
expect "every test skipped" fails 'ran no test'
fresh toolless
printf 'one quick 20 no-such-tool\n' >"$tree/tests/suites/manifest"
expect "a tool that is missing" fails 'its tool no-such-tool is missing'
fresh endless
printf 'one quick 1 bash\n' >"$tree/tests/suites/manifest"
suite_of one 'exec sleep 30'
expect "longer than its limit" fails 'ran longer than 1 s'
fresh littering
suite_of one 'setsid sleep 30 & echo "one: 2 passed, 0 failed, 0 skipped"'
expect "a process left behind" fails 'left processes behind'
fresh beside
printf 'two quick,beside 20 bash\none quick 20 bash\n' >"$tree/tests/suites/manifest"
suite_of one 'touch one.ran; echo "one: 2 passed, 0 failed, 0 skipped"'
suite_of two 'until [[ -e one.ran ]]; do sleep 0.1; done; echo "two: 1 passed, 0 failed, 0 skipped"'
expect "one beside another" passes '3 passed, 0 failed, 0 skipped'
suite_of two 'echo "two: 1 passed, 1 failed, 0 skipped"; exit 1'
expect "one that fails beside another" fails '3 passed, 1 failed, 0 skipped'
suite_of two 'setsid sleep 30 & echo "two: 1 passed, 0 failed, 0 skipped"'
expect "one beside another that leaves a process" fails 'left processes behind'
fresh unlisted
suite_of two 'echo "two: 1 passed, 0 failed, 0 skipped"'
expect "a script not in the manifest" fails 'two.sh is not in the manifest'
fresh nomanifest
rm "$tree/tests/suites/manifest"
expect "no manifest" fails 'manifest is missing or empty'
fresh garbled
printf 'two quick\n' >>"$tree/tests/suites/manifest"
expect "a garbled line" fails 'not a line of a manifest'
fresh unknown
expect "--only with no such suite" fails 'no such suite' --only two

# The real manifest, each of its suites taken away in turn, then each of its tools. The scripts are
# replaced by ones that pass at once, and /usr/bin by links to it, so that only the driver is tried.
while read -r name _ _ tools; do
    fresh "without_$name"
    rm "$tree/tests/suites/one.sh"
    cp "$here/tests/suites/manifest" "$tree/tests/suites/"
    while read -r other _; do
        suite_of "$other" "echo '$other: 1 passed, 0 failed, 0 skipped'"
    done < <(grep -vE '^(#|[[:space:]]*$)' "$here/tests/suites/manifest")
    rm "$tree/tests/suites/$name.sh"
    expect "$name without its script" fails "$name.sh is missing" --only "$name"
    suite_of "$name" "echo '$name: 1 passed, 0 failed, 0 skipped'"
    for tool in ${tools//,/ }; do
        # The driver itself could not run without these.
        [[ $tool != setsid && $tool != timeout && $tool != bash ]] || continue
        mkdir "$tree/bin"
        ln -s /usr/bin/* /bin/* /usr/sbin/* "$tree/bin/" 2>/dev/null || true
        rm -f "$tree/bin/$tool"
        PATH=$tree/bin expect "$name without $tool" fails "its tool $tool is missing" \
            --only "$name"
        rm -r "${tree:?}/bin"
    done
done < <(grep -vE '^(#|[[:space:]]*$)' tests/suites/manifest)
suite_end
