# coordinator, catchup: what they speak to (peers, replica, timekeeper) is scripted in the test.
ringkv_unit_tests(STEMS config frame message command identity coordinator chronicle catchup detector
  message_stream holding_record stream_record stream_pace roles decay hot_keys message_load autoscale
  register_change register_window
  LIBRARIES ringkv_node ringkv_base_uv ringkv_base m)
# The driver, over a topology and nodes that say what a test wants.
ringkv_unit_tests(STEMS driver driver_move LIBRARIES ringkv_node ringkv_ring ringkv_base)
# Whole nodes in a simulated world.
ringkv_unit_tests(STEMS session peers healer joiner proposals holding stream replica acceptor service service_register command_plan
  replacer load command_keyspace
  LIBRARIES ringkv_sim ringkv_node ringkv_lsm ringkv_ring ringkv_raft ringkv_base)
