/*
 * ring/mutant.h -- planted faults, which show that the simulator's checks can fail.
 *
 * RING_MUTANT(NAME) is false in every build but one: the library that kvsim links is compiled with
 * RINGKV_RING_MUTANTS, and asks the simulator, which says yes only when it was told `--mutant
 * name`.
 */
#ifndef RING_MUTANT_H
#define RING_MUTANT_H

#include <stdbool.h>

#ifdef RINGKV_RING_MUTANTS
enum ring_mutant {
    RING_MUTANT_NONE,
    RING_MUTANT_ABORT_AFTER_READ_NEW, /* An abort takes back what reads have gone by. */
    RING_MUTANT_GENERATION_STAYS,     /* A recovered group is of the generation it was of. */
};
/* Implemented by tests/sim/kvsim_mutant.c. */
bool ring_mutant_is_on(enum ring_mutant mutant);
#define RING_MUTANT(name) ring_mutant_is_on(RING_MUTANT_##name)
#else
#define RING_MUTANT(name) false
#endif

#endif
