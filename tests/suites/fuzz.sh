#!/usr/bin/env bash
# fuzz: every decoder under libFuzzer, from its corpus on; a minute spread over all of them (soak:
# an hour), from a seed that is printed. What is found stays in build/fuzz-found/<stem>/.
source tests/suites/common.bash
suite_build fuzz fuzzers
targets=(tests/fuzz/fuzz_*.c)
seconds=60
[[ $RUN_MODE != soak ]] || seconds=3600
each=$((seconds / ${#targets[@]}))
[[ $each -ge 2 ]] || each=2
seed=${FUZZ_SEED:-1}

for source in "${targets[@]}"; do
    stem=$(basename "$source" .c)
    stem=${stem#fuzz_}
    found=build/fuzz-found/$stem
    grown=build/fuzz-corpus/$stem
    mkdir -p "$found" "$grown"
    command=("build/fuzz/bin/fuzz_$stem" -seed="$seed" -max_total_time="$each" -timeout=10
        -rss_limit_mb=2048 -artifact_prefix="$found/" "$grown" "tests/fuzz/corpus/$stem")
    if timeout $((each + 60)) "${command[@]}" >"$RUN_SCRATCH/$stem.log" 2>&1; then
        runs=$(sed -nE 's/^Done ([0-9]+) runs.*/\1/p' "$RUN_SCRATCH/$stem.log")
        suite_note "$stem: seed $seed, $each s, ${runs:-no} runs"
        if [[ ${runs:-0} -gt 0 ]]; then
            suite_pass
        else
            suite_fail "$stem: libFuzzer ran nothing"
        fi
    else
        tail -n 40 "$RUN_SCRATCH/$stem.log"
        suite_fail "$stem: ${command[*]}"
    fi
done
suite_end
