/*
 * tests/sim/kvsim_mutant.h -- the planted faults by name, those of node/mutant.h and of the disk.
 */
#ifndef TESTS_SIM_KVSIM_MUTANT_H
#define TESTS_SIM_KVSIM_MUTANT_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/env_sim.h"

/* From here on, for the whole process. False: there is none of that name. */
bool mutant_choose(const char *name);
/* What a mutant changes in the world itself. */
void mutant_options(struct world_options *options);
const char *mutant_name(uint32_t index); /* NULL behind the last. */

#endif
