/*
 * tests/sim/lsmsim_mutant.h -- the planted faults of an engine, by name.
 */
#ifndef TESTS_SIM_LSMSIM_MUTANT_H
#define TESTS_SIM_LSMSIM_MUTANT_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/env_sim.h"

bool mutant_choose(const char *name); /* False: no such one. */
void mutant_options(struct world_options *options);
const char *mutant_name(uint32_t index); /* NULL behind the last. */

#endif
