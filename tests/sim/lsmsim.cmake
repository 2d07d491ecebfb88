# The engine alone in virtual time. One child per seed; see docs/simulator.md.
include_guard(GLOBAL)
add_test(NAME sim_lsmsim COMMAND lsmsim --seeds 500)
set_tests_properties(sim_lsmsim PROPERTIES LABELS sim TIMEOUT 600)
# The same seed twice gives the same trace over every event, byte and draw.
add_test(NAME sim_lsmsim_reproducible COMMAND lsmsim --first 1001 --seeds 20 --twice)
set_tests_properties(sim_lsmsim_reproducible PROPERTIES LABELS sim TIMEOUT 300)
