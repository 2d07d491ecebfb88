# Ranges, quotas, placement and the topology.
ringkv_unit_tests(STEMS range quota transfer placement topology topology_codec topology_snapshot topology_sources
  LIBRARIES ringkv_ring)
