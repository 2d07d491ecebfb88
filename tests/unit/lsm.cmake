include(${CMAKE_CURRENT_LIST_DIR}/lsm_table.cmake)
