# Plain programs that hammer what several threads share; worth most under the thread sanitizer.
add_executable(stress_env_uv ${CMAKE_SOURCE_DIR}/tests/integration/stress_env_uv.c)
ringkv_warnings(stress_env_uv)
target_link_libraries(stress_env_uv PRIVATE ringkv_base_uv)
add_test(NAME stress_env_uv COMMAND stress_env_uv)
set_tests_properties(stress_env_uv PROPERTIES LABELS stress TIMEOUT 120)
