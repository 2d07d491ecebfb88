# raft: the replicated log over libraft.
ringkv_unit_tests(STEMS group_log group_message LIBRARIES ringkv_raft ringkv_base_uv)
ringkv_unit_tests(STEMS group LIBRARIES ringkv_raft ringkv_base_uv)
