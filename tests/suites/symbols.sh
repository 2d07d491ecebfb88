#!/usr/bin/env bash
# symbols: base, lsm, ring, raft and node reach time, chance, disk, network, threads and the heap
# only through base: whatever their object files leave undefined is either another's of them or in
# symbols.allow. One test a library, and two that show the check refusing what it should.
source tests/suites/common.bash
folders=(base lsm ring raft node)
build=build/release
suite_build release "${folders[@]/#/ringkv_}"

mapfile -t rules < <(grep -vE '^(#|[[:space:]]*$)' tests/suites/symbols.allow)
for folder in "${folders[@]}"; do
    nm --defined-only "$build/libringkv_$folder.a"
done | awk 'NF == 3 && $2 ~ /^[A-Z]$/ {print $3}' | sort -u >"$RUN_SCRATCH/ours"

# Prints folder/stem and symbol for each thing the library takes that it may not.
refused() {
    local folder=$1 library=$2 file symbol rule allowed
    nm -A --undefined-only "$library" | awk '{split($1, part, ":"); print part[2], $NF}' |
        sed -E 's/\.c\.o / /; s/\.o / /' | sort -u | while read -r file symbol; do
        if grep -qxF -- "$symbol" "$RUN_SCRATCH/ours"; then
            continue
        fi
        allowed=0
        for rule in "${rules[@]}"; do
            # shellcheck disable=SC2053 # Both sides of a rule are patterns.
            if [[ $folder/$file == ${rule%% *} && $symbol == ${rule##* } ]]; then
                allowed=1
                break
            fi
        done
        [[ $allowed -eq 1 ]] || printf '%s %s\n' "$folder/$file" "$symbol"
    done
}

for folder in "${folders[@]}"; do
    found=$(refused "$folder" "$build/libringkv_$folder.a")
    if [[ -z $found ]]; then
        suite_pass
    else
        printf '%s\n' "$found"
        suite_fail "ringkv_$folder takes what is not in tests/suites/symbols.allow"
    fi
done

# planted NAME FOLDER STEM CODE -- a file that a library must not hold.
planted() {
    local library=$RUN_SCRATCH/$1.a
    printf '%s\n' "$4" >"$RUN_SCRATCH/$3.c"
    cc -c -o "$RUN_SCRATCH/$3.c.o" "$RUN_SCRATCH/$3.c"
    rm -f "$library"
    ar rc "$library" "$RUN_SCRATCH/$3.c.o"
    if [[ -n $(refused "$2" "$library") ]]; then
        suite_pass
    else
        suite_fail "the check lets $2/$3 have: $4"
    fi
}
planted clock node planted '#include <time.h>
long long now(void) { return (long long)time(0); }'
planted heap lsm planted '#include <stdlib.h>
void *take(void) { return malloc(1); }'
suite_end
