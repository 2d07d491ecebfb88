#!/usr/bin/env bash
# stress: what several threads share, hammered under the thread sanitizer.
source tests/suites/common.bash
suite_ctest tsan stress
suite_end
