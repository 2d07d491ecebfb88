# kvnode, kvctl, the simulator and the benches. A program is named here with what it links.
if(RINGKV_JEMALLOC AND NOT RINGKV_SANITIZE)
  pkg_check_modules(JEMALLOC IMPORTED_TARGET jemalloc)
endif()

function(ringkv_program name)
  cmake_parse_arguments(program "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${program_SOURCES})
  ringkv_warnings(${name})
  target_link_libraries(${name} PRIVATE ${program_LIBRARIES})
  if(TARGET PkgConfig::JEMALLOC)
    target_link_libraries(${name} PRIVATE PkgConfig::JEMALLOC)
  endif()
endfunction()
