# One program for each tests/fuzz/fuzz_<stem>.c, made in one of two ways from the same source:
# under the fuzz preset (clang) it is a libFuzzer target; elsewhere it replays the checked-in corpus
# once, as a test. Either way it links all our libraries, since a decoder may live in any.
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
ringkv_libraries(fuzz_libraries ringkv_client ringkv_node ringkv_lsm ringkv_ring ringkv_raft
  ringkv_base)
add_custom_target(fuzzers)
foreach(source ${fuzz_sources})
  get_filename_component(name ${source} NAME_WE)
  string(REGEX REPLACE "^fuzz_" "" stem ${name})
  add_executable(${name} ${source})
  add_dependencies(fuzzers ${name})
  ringkv_warnings(${name})
  target_link_libraries(${name} PRIVATE ${fuzz_libraries})
  if(RINGKV_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
    add_test(NAME ${name} COMMAND ${name} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${stem})
    set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 120)
  endif()
endforeach()
