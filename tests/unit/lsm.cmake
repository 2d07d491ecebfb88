include(${CMAKE_CURRENT_LIST_DIR}/lsm_table.cmake)
# The engine half.
ringkv_unit_tests(STEMS epoch arena wal memtable manifest clip compaction estimate lsm iterator LIBRARIES ringkv_lsm ringkv_base_uv)
ringkv_unit_tests(STEMS checkpoint commit excise ingest quarantine pace purge recovery scrub fault wal_spare LIBRARIES ringkv_sim ringkv_lsm)
