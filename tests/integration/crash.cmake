# An engine in a process that is killed: run by tests/suites/engine.sh, with its number of rounds.
add_executable(crash_lsm ${CMAKE_SOURCE_DIR}/tests/integration/crash_lsm.c)
ringkv_warnings(crash_lsm)
target_link_libraries(crash_lsm PRIVATE ringkv_lsm ringkv_base_uv)
