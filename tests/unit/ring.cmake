# Ranges, quotas, placement and the topology.
ringkv_unit_tests(STEMS range quota transfer placement topology topology_codec topology_snapshot
    topology_sources topology_steps topology_plan topology_preview topology_walk balance
    topology_keyspaces
  LIBRARIES ringkv_ring)
