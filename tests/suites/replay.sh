#!/usr/bin/env bash
# replay: every decoder over its checked-in corpus, under the address and undefined-behaviour
# sanitizers; one test a target.
source tests/suites/common.bash
suite_build debug fuzzers
for source in tests/fuzz/fuzz_*.c; do
    stem=$(basename "$source" .c)
    stem=${stem#fuzz_}
    if timeout 120 "build/debug/bin/fuzz_$stem" "tests/fuzz/corpus/$stem" \
        >"$RUN_SCRATCH/$stem.log" 2>&1; then
        suite_note "$stem: $(tail -n 1 "$RUN_SCRATCH/$stem.log")"
        suite_pass
    else
        tail -n 40 "$RUN_SCRATCH/$stem.log"
        suite_fail "build/debug/bin/fuzz_$stem tests/fuzz/corpus/$stem"
    fi
done
suite_end
