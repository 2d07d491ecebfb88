# kvnode, kvctl, the simulators and the benches: what each is made of and what it links.
#
# A program of RINGKV_PROGRAMS must have its sources: a file that was moved or lost then stops the
# configuration, instead of leaving one program less to be tested.
set(RINGKV_PROGRAMS kvnode kvctl group_sim kvsim lsmsim bench_lsm lsm_inspect ring_simulate)

if(RINGKV_JEMALLOC AND NOT RINGKV_SANITIZE)
  pkg_check_modules(JEMALLOC REQUIRED IMPORTED_TARGET jemalloc)
endif()

# What a program links of ours, from the top down; a folder without sources has no library.
function(ringkv_libraries out)
  set(found)
  foreach(library ${ARGN})
    if(TARGET ${library})
      list(APPEND found ${library})
    endif()
  endforeach()
  set(${out} ${found} PARENT_SCOPE)
endfunction()

# ringkv_program(NAME MAIN file SOURCES files... LIBRARIES ours... PACKAGES pkg-config names...)
function(ringkv_program name)
  cmake_parse_arguments(program "" "MAIN" "SOURCES;LIBRARIES;PACKAGES" ${ARGN})
  if(NOT EXISTS ${CMAKE_SOURCE_DIR}/${program_MAIN})
    if(name IN_LIST RINGKV_PROGRAMS)
      message(FATAL_ERROR "${name}: ${program_MAIN} is missing")
    endif()
    return()
  endif()
  add_executable(${name} ${program_SOURCES})
  ringkv_warnings(${name})
  target_compile_definitions(${name} PRIVATE RINGKV_VERSION="${PROJECT_VERSION}")
  ringkv_libraries(libraries ${program_LIBRARIES})
  target_link_libraries(${name} PRIVATE ${libraries})
  foreach(package ${program_PACKAGES})
    string(MAKE_C_IDENTIFIER "PACKAGE_${package}" variable)
    pkg_check_modules(${variable} REQUIRED IMPORTED_TARGET ${package})
    target_link_libraries(${name} PRIVATE PkgConfig::${variable})
  endforeach()
  if(TARGET PkgConfig::JEMALLOC)
    target_link_libraries(${name} PRIVATE PkgConfig::JEMALLOC)
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/jemalloc.c)
  endif()
endfunction()

# The node: its main and the files that speak to libuv and libwebsockets, over the pure libraries.
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/node/main.c ${CMAKE_SOURCE_DIR}/node/*_uv.c)
ringkv_program(kvnode MAIN node/main.c SOURCES ${sources}
  LIBRARIES ringkv_node ringkv_lsm ringkv_ring ringkv_raft ringkv_base_uv ringkv_base
  PACKAGES inih libwebsockets)

file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/client/kvctl*.c
  ${CMAKE_SOURCE_DIR}/client/*_uv.c)
ringkv_program(kvctl MAIN client/kvctl.c SOURCES ${sources}
  LIBRARIES ringkv_client ringkv_base_uv ringkv_base PACKAGES jansson)

# The simulated world knows base alone, and the heap of libraft; kvsim brings the whole node into
# it, lsmsim the engine.
# group_sim has a small world of its own: group_*.c.
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/sim/*.c)
list(FILTER sources EXCLUDE REGEX "/(kvsim|lsmsim|group_)[a-z_]*\\.c$")
if(sources)
  add_library(ringkv_sim STATIC ${sources})
  ringkv_warnings(ringkv_sim)
  target_link_libraries(ringkv_sim PUBLIC ringkv_base)
endif()

# It alone links a build of raft/ that can leave out rules of the guard (raft/group_mutant.h).
ringkv_library(ringkv_raft_mutants raft ringkv_base PkgConfig::RAFT)
target_compile_definitions(ringkv_raft_mutants PUBLIC RINGKV_GROUP_MUTANTS)
set_target_properties(ringkv_raft_mutants PROPERTIES EXCLUDE_FROM_ALL ON)

file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/sim/group_*.c)
ringkv_program(group_sim MAIN tests/sim/group_sim.c SOURCES ${sources}
  LIBRARIES ringkv_raft_mutants ringkv_base)

# kvsim alone links a build of node/ and one of ring/ that have the planted faults of their mutant.h
# in them.
ringkv_library(ringkv_ring_mutants ring ringkv_base)
target_compile_definitions(ringkv_ring_mutants PUBLIC RINGKV_RING_MUTANTS)
set_target_properties(ringkv_ring_mutants PROPERTIES EXCLUDE_FROM_ALL ON)
ringkv_library(ringkv_node_mutants node ringkv_lsm ringkv_ring_mutants ringkv_raft ringkv_base
  PkgConfig::INIH)
target_compile_definitions(ringkv_node_mutants
  PUBLIC RINGKV_VERSION="${PROJECT_VERSION}" RINGKV_MUTANTS)
set_target_properties(ringkv_node_mutants PROPERTIES EXCLUDE_FROM_ALL ON)

file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/sim/kvsim*.c)
ringkv_program(kvsim MAIN tests/sim/kvsim.c SOURCES ${sources}
  LIBRARIES ringkv_sim ringkv_node_mutants ringkv_lsm ringkv_ring_mutants ringkv_raft ringkv_base)

# lsmsim alone links a build of lsm/ that has the planted faults of lsm/mutant.h in it.
ringkv_library(ringkv_lsm_mutants lsm ringkv_base PkgConfig::LZ4)
target_compile_definitions(ringkv_lsm_mutants
  PUBLIC RINGKV_LSM_MUTANTS GAP_DEAD_COUNT_MIN=4u ITERATOR_GAP_INTERVAL=2u)
set_target_properties(ringkv_lsm_mutants PROPERTIES EXCLUDE_FROM_ALL ON)

file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/sim/lsmsim*.c)
ringkv_program(lsmsim MAIN tests/sim/lsmsim.c SOURCES ${sources}
  LIBRARIES ringkv_sim ringkv_lsm_mutants ringkv_base)

# Each tools/bench/bench_<noun>.c is a program; what they share is the other files there.
file(GLOB benches CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/bench/bench_*.c)
file(GLOB shared CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/bench/*.c)
if(benches)
  list(REMOVE_ITEM shared ${benches})
endif()
foreach(bench ${benches})
  get_filename_component(name ${bench} NAME_WE)
  ringkv_program(${name} MAIN tools/bench/${name}.c SOURCES ${bench} ${shared}
    LIBRARIES ringkv_client ringkv_node ringkv_lsm ringkv_ring ringkv_raft ringkv_base_uv
      ringkv_base)
endforeach()
include(cmake/Opponents.cmake)

file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/inspect/*.c)
ringkv_program(lsm_inspect MAIN tools/inspect/lsm_inspect.c SOURCES ${sources}
  LIBRARIES ringkv_lsm ringkv_base_uv ringkv_base)

# Each tools/examples/<name>.c is a program, over the client library or over the engine.
file(GLOB examples CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/examples/*.c)
foreach(example ${examples})
  get_filename_component(name ${example} NAME_WE)
  ringkv_program(${name} MAIN tools/examples/${name}.c SOURCES ${example}
    LIBRARIES ringkv_client ringkv_lsm ringkv_base_uv ringkv_base)
endforeach()

# What-ifs of placement: a library for its tests, and the program that kvctl runs.
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/whatif/*.c)
set(programs ${sources})
list(FILTER sources EXCLUDE REGEX "/ring_simulate[a-z_]*\\.c$")
list(FILTER programs INCLUDE REGEX "/ring_simulate[a-z_]*\\.c$")
add_library(ringkv_whatif STATIC ${sources})
ringkv_warnings(ringkv_whatif)
target_link_libraries(ringkv_whatif PUBLIC ringkv_ring ringkv_base m)
ringkv_program(ring_simulate MAIN tools/whatif/ring_simulate.c
  SOURCES ${programs} ${CMAKE_SOURCE_DIR}/client/kvctl_output.c
  LIBRARIES ringkv_whatif ringkv_ring ringkv_base)
add_dependencies(kvctl ring_simulate)
