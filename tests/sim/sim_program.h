/*
 * tests/sim/sim_program.h -- what the programs that run seeds have in common: options, mutants, and
 * how they tell what came of them.
 */
#ifndef TESTS_SIM_SIM_PROGRAM_H
#define TESTS_SIM_SIM_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/env_sim.h"

/* Exit codes beside 0. */
enum { EXIT_BROKEN = 1, EXIT_USAGE = 2, EXIT_OTHER_WAY = 4 };

/* A decimal number within both bounds, and nothing else. */
bool number_parse(const char *text, uint64_t least, uint64_t greatest, uint64_t *number);
bool plant_parse(const char *text, enum world_plant *plant);

/* Whether a seed took the same way twice; says so if not. */
bool traces_alike(uint64_t seed, uint64_t trace, uint64_t again);

/* A planted fault. */
struct sim_mutant {
    const char *name;
    int number;               /* Of the enum whose hooks are in the code; 0: none of those. */
    const char *sync_skipped; /* Files whose syncs do nothing and say OK. */
};
/* NULL: no mutant of that name. */
const struct sim_mutant *sim_mutant_find(const struct sim_mutant *mutants, size_t count,
                                         const char *name);

/* What --caught says of `tried` seeds at most, the `after`-th of which failed; 0: none did. Returns
 * the exit code. */
int caught_print(const char *mutant, uint64_t after, uint64_t tried);

#endif
