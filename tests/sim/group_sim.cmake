# The raft group alone, in virtual time. One child per seed; see tests/sim/group_sim.c.
add_test(NAME sim_group COMMAND group_sim --seeds 300)
set_tests_properties(sim_group PROPERTIES LABELS sim TIMEOUT 300)
# A rule of the guard left out is noticed, or the simulator sees nothing.
foreach(rule rollback own-term any-vote)
  add_test(NAME sim_group_without_${rule}
    COMMAND group_sim --roles --without ${rule} --seeds 300)
  set_tests_properties(sim_group_without_${rule} PROPERTIES LABELS sim TIMEOUT 300)
endforeach()
# The same seed twice gives the same trace over every event, byte and draw.
add_test(NAME sim_group_reproducible COMMAND group_sim --first 1001 --seeds 20 --twice)
set_tests_properties(sim_group_reproducible PROPERTIES LABELS sim TIMEOUT 300)
