# Unit tests: tests/unit/test_<stem>.c, each a program of its own with Criterion, linked with the
# libraries of the line that names it below.
pkg_check_modules(CRITERION REQUIRED IMPORTED_TARGET criterion)

function(ringkv_unit_test stem)
  if(NOT EXISTS ${CMAKE_SOURCE_DIR}/tests/unit/test_${stem}.c)
    return()
  endif()
  add_executable(test_${stem} ${CMAKE_SOURCE_DIR}/tests/unit/test_${stem}.c)
  target_link_libraries(test_${stem} PRIVATE ${ARGN} PkgConfig::CRITERION)
  target_compile_options(test_${stem} PRIVATE -Wall -Wextra -Werror)
  target_compile_definitions(test_${stem} PRIVATE GOLDEN_DIR="${CMAKE_SOURCE_DIR}/tests/golden")
  add_test(NAME unit_${stem} COMMAND test_${stem} --tap)
  set_tests_properties(unit_${stem} PROPERTIES LABELS unit TIMEOUT 300)
endfunction()

# Stems by the folder they test: file(GLOB) finds them, the folder's library is linked.
function(ringkv_unit_tests)
  cmake_parse_arguments(group "" "" "STEMS;LIBRARIES" ${ARGN})
  foreach(stem ${group_STEMS})
    ringkv_unit_test(${stem} ${group_LIBRARIES})
  endforeach()
endfunction()

foreach(list base env_uv lsm ring raft node client sim)
  if(EXISTS ${CMAKE_SOURCE_DIR}/tests/unit/${list}.cmake)
    include(${CMAKE_SOURCE_DIR}/tests/unit/${list}.cmake)
  endif()
endforeach()
