#!/usr/bin/env bash
# format: every tracked C file is as clang-format would write it, and shellcheck has no warning for
# any of our scripts.
source tests/suites/common.bash
while read -r file; do
    if clang-format --dry-run -Werror "$file"; then
        suite_pass
    else
        suite_fail "$file: run clang-format -i on it"
    fi
done < <(suite_files '*.c' '*.h')
while read -r file; do
    if shellcheck -x -S warning "$file"; then
        suite_pass
    else
        suite_fail "$file: shellcheck -x -S warning"
    fi
done < <(suite_files '*.sh' '*.bash' run .ci/run)
suite_end
