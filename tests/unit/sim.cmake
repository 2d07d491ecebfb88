# The simulated world itself.
ringkv_unit_tests(STEMS heap_sim disk_sim net_sim net_end_sim env_sim LIBRARIES ringkv_sim)
