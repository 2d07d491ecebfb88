#!/usr/bin/env bash
# layers: each folder includes only what its layer may; shown to fail on a file that does not.
source tests/suites/common.bash
if cmake -P cmake/CheckLayers.cmake; then
    suite_pass
else
    suite_fail "cmake -P cmake/CheckLayers.cmake"
fi

# refused NAME FILE LINE -- a tree whose FILE holds LINE must not pass.
refused() {
    local tree=$RUN_SCRATCH/$1
    mkdir -p "$tree/cmake" "$tree/$(dirname "$2")"
    cp cmake/CheckLayers.cmake "$tree/cmake/"
    printf '%s\n' "$3" >"$tree/$2"
    if cmake -P "$tree/cmake/CheckLayers.cmake" >"$tree/log" 2>&1; then
        suite_fail "the check lets $2 have $3"
    else
        suite_pass
    fi
}
refused upward base/a.c '#include "lsm/lsm.h"'
refused sideways lsm/a.c '#include "ring/ring.h"'
refused private node/a.c '#include "lsm/wal.h"'
refused library node/a.c '#include <uv.h>'
suite_end
