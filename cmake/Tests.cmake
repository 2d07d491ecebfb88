# Unit tests: tests/unit/test_<stem>.c, each a program of its own with Criterion. A folder's tests
# are named in tests/unit/<folder>.cmake with the libraries they link.
#
# Neither a test that no line names nor a line whose test is gone may pass unseen: both are written
# to unit-unmatched.txt in the build folder, which the unit suite reads and fails on.
# The release build, which an operator makes, does without Criterion: there the tests are built only
# when asked for by name.
if(RINGKV_SANITIZE)
  pkg_check_modules(CRITERION REQUIRED IMPORTED_TARGET criterion)
else()
  pkg_check_modules(CRITERION IMPORTED_TARGET criterion)
  if(NOT CRITERION_FOUND)
    return()
  endif()
endif()
set(RINGKV_UNIT_UNMATCHED ${CMAKE_BINARY_DIR}/unit-unmatched.txt)
file(WRITE ${RINGKV_UNIT_UNMATCHED} "")
set_property(GLOBAL PROPERTY ringkv_unit_stems "")

# A stem named twice, because one list includes another, counts once.
function(ringkv_unit_test stem)
  get_property(stems GLOBAL PROPERTY ringkv_unit_stems)
  if(stem IN_LIST stems)
    return()
  endif()
  if(NOT EXISTS ${CMAKE_SOURCE_DIR}/tests/unit/test_${stem}.c)
    file(APPEND ${RINGKV_UNIT_UNMATCHED} "registered, but there is no tests/unit/test_${stem}.c\n")
    return()
  endif()
  set_property(GLOBAL APPEND PROPERTY ringkv_unit_stems ${stem})
  add_executable(test_${stem} ${CMAKE_SOURCE_DIR}/tests/unit/test_${stem}.c)
  if(NOT RINGKV_SANITIZE)
    set_target_properties(test_${stem} PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()
  target_link_libraries(test_${stem} PRIVATE ${ARGN} PkgConfig::CRITERION)
  target_compile_options(test_${stem} PRIVATE -Wall -Wextra -Werror)
  target_compile_definitions(test_${stem} PRIVATE GOLDEN_DIR="${CMAKE_SOURCE_DIR}/tests/golden")
  # One at a time: programs run side by side, and with several jobs the runner of Criterion 2.4.1
  # itself leaks 48 bytes now and then, which the leak sanitizer then blames on the program.
  add_test(NAME unit_${stem} COMMAND test_${stem} --tap --jobs 1)
  set_tests_properties(unit_${stem} PROPERTIES LABELS unit TIMEOUT 300)
endfunction()

# ringkv_unit_tests(STEMS a b c LIBRARIES ringkv_base ...)
function(ringkv_unit_tests)
  cmake_parse_arguments(group "" "" "STEMS;LIBRARIES" ${ARGN})
  foreach(stem ${group_STEMS})
    ringkv_unit_test(${stem} ${group_LIBRARIES})
  endforeach()
endfunction()

file(GLOB lists CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/*.cmake)
foreach(list ${lists})
  include(${list})
endforeach()

get_property(stems GLOBAL PROPERTY ringkv_unit_stems)
file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/test_*.c)
foreach(test ${tests})
  string(REGEX REPLACE "^.*/test_(.*)\\.c$" "\\1" stem ${test})
  if(NOT stem IN_LIST stems)
    file(APPEND ${RINGKV_UNIT_UNMATCHED} "tests/unit/test_${stem}.c is in no tests/unit/*.cmake\n")
  endif()
endforeach()
add_custom_target(unit_tests)
foreach(stem ${stems})
  add_dependencies(unit_tests test_${stem})
endforeach()

# Plain programs with labels of their own: stress, sim, integration, partition.
file(GLOB lists CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/integration/*.cmake
  ${CMAKE_SOURCE_DIR}/tests/partition/*.cmake ${CMAKE_SOURCE_DIR}/tests/sim/*.cmake)
foreach(list ${lists})
  include(${list})
endforeach()
