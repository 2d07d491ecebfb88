# Plain programs that hammer what several threads share; worth most under the thread sanitizer.
# ringkv_stress(NAME LIBRARIES...)
function(ringkv_stress name)
  add_executable(${name} ${CMAKE_SOURCE_DIR}/tests/integration/${name}.c)
  ringkv_warnings(${name})
  target_link_libraries(${name} PRIVATE ${ARGN})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS stress TIMEOUT 120)
endfunction()

ringkv_stress(stress_env_uv ringkv_base_uv)
ringkv_stress(stress_epoch ringkv_lsm)
ringkv_stress(stress_lsm ringkv_lsm ringkv_base_uv)
# The suite builds the target that a test is named after.
add_custom_target(stress_lsm_purge DEPENDS stress_lsm)
add_test(NAME stress_lsm_purge COMMAND stress_lsm purge)
set_tests_properties(stress_lsm_purge PROPERTIES LABELS stress TIMEOUT 120)
ringkv_stress(stress_scan ringkv_lsm ringkv_base_uv)

# Whole nodes, where their kvnode has the sanitizer in it.
if(RINGKV_SANITIZE STREQUAL "thread")
  add_custom_target(stress_kvnode DEPENDS kvnode)
  add_test(NAME stress_kvnode COMMAND
    ${CMAKE_SOURCE_DIR}/tests/integration/stress_kvnode.py $<TARGET_FILE_DIR:kvnode>)
  set_tests_properties(stress_kvnode PROPERTIES LABELS stress TIMEOUT 240)
endif()
