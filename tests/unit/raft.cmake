# raft: the replicated log over libraft.
ringkv_unit_tests(STEMS group group_message LIBRARIES ringkv_raft ringkv_base_uv)
# On the disk of the group's simulator, which crashes and fails on demand.
ringkv_unit_tests(STEMS group_guard group_log group_recovery LIBRARIES ringkv_raft)
foreach(stem group_guard group_log group_recovery)
  target_sources(test_${stem} PRIVATE ${CMAKE_SOURCE_DIR}/tests/sim/group_lab.c)
endforeach()
