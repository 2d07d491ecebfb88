# The raft group alone, in virtual time. One child per seed; see tests/sim/group_sim.c.
add_test(NAME sim_group COMMAND group_sim --seeds 300)
set_tests_properties(sim_group PROPERTIES LABELS sim TIMEOUT 300)
# The same seed twice gives the same trace over every event, byte and draw.
add_test(NAME sim_group_reproducible COMMAND group_sim --first 1001 --seeds 20 --twice)
set_tests_properties(sim_group_reproducible PROPERTIES LABELS sim TIMEOUT 300)
