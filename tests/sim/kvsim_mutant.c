/*
 * tests/sim/kvsim_mutant.c -- see kvsim_mutant.h.
 *
 * Which mutant is on is the one static of kvsim: the hooks in node/ have no context. It is set
 * before the first seed, and never again.
 */
#include "tests/sim/kvsim_mutant.h"

#include <string.h>

#include "node/mutant.h"

#define WAL_NAME_END ".wal,.spare" /* Segments are made as spare files, and renamed. */

static const struct {
    const char *name;
    enum mutant mutant;
    const char *sync_skipped; /* Files whose syncs do nothing and say OK. */
} mutants[] = {
    {"ack-early", MUTANT_ACK_EARLY, NULL},
    {"skip-read-repair", MUTANT_SKIP_READ_REPAIR, NULL},
    {"skip-wal-sync", MUTANT_NONE, WAL_NAME_END},
};

static size_t chosen = ARRAY_COUNT(mutants);

bool mutant_is_on(enum mutant mutant)
{
    return chosen < ARRAY_COUNT(mutants) && mutants[chosen].mutant == mutant;
}

bool mutant_choose(const char *name)
{
    for (size_t index = 0; index < ARRAY_COUNT(mutants); index++) {
        if (strcmp(name, mutants[index].name) == 0) {
            chosen = index;
            return true;
        }
    }
    return false;
}

void mutant_options(struct world_options *options)
{
    if (chosen < ARRAY_COUNT(mutants)) {
        options->disk.sync_skipped = mutants[chosen].sync_skipped;
    }
}

const char *mutant_names(void)
{
    return "ack-early, skip-read-repair, skip-wal-sync";
}
