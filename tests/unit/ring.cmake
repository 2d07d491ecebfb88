# Ranges, quotas, placement and the topology.
ringkv_unit_tests(STEMS range quota transfer placement topology LIBRARIES ringkv_ring)
