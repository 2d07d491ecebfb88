# The warnings every file of ours compiles under; errors unless RINGKV_WERROR is off.
function(ringkv_warnings target)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes
    -Wmissing-prototypes -Wold-style-definition -Wcast-qual -Wcast-align -Wwrite-strings -Wundef
    -Wformat=2 -Wvla -Wswitch-enum -Wimplicit-fallthrough -Wdouble-promotion -Wnull-dereference
    -Wpointer-arith)
  if(RINGKV_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
