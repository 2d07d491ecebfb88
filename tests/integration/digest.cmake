# What replicas hold, to be compared: run by test_changes.py on the folders of stopped nodes.
add_executable(range_digest ${CMAKE_SOURCE_DIR}/tests/integration/range_digest.c)
ringkv_warnings(range_digest)
target_link_libraries(range_digest PRIVATE ringkv_lsm ringkv_base_uv)
