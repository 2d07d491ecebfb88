/*
 * tests/sim/kvsim_mutant.c -- see kvsim_mutant.h.
 *
 * Which mutant is on is the one static of kvsim: the hooks in node/ and ring/ have no context. It
 * is set before the first seed, and never again.
 */
#include "tests/sim/kvsim_mutant.h"

#include "node/mutant.h"
#include "ring/mutant.h"
#include "tests/sim/sim_program.h"

#define WAL_NAME_END ".wal,.spare" /* Segments are made as spare files, and renamed. */

static const struct sim_mutant mutants[] = {
    {"ack-early", MUTANT_ACK_EARLY, NULL},
    {"skip-read-repair", MUTANT_SKIP_READ_REPAIR, NULL},
    {"fence-not-durable", MUTANT_FENCE_NOT_DURABLE, NULL},
    {"stale-epoch-applied", MUTANT_STALE_EPOCH_APPLIED, NULL},
    {"enter-without-excise", MUTANT_ENTER_WITHOUT_EXCISE, NULL},
    {"stream-without-fence", MUTANT_STREAM_WITHOUT_FENCE, NULL},
    {"session-ignored", MUTANT_SESSION_IGNORED, NULL},
    {"stream-one-survivor", MUTANT_STREAM_ONE_SURVIVOR, NULL},
    {"barrier-relaxes", MUTANT_BARRIER_RELAXES, NULL},
    {"factor-without-merge", MUTANT_FACTOR_WITHOUT_MERGE, NULL},
    {"read-new-before-stream", MUTANT_READ_NEW_BEFORE_STREAM, NULL},
    {"finish-without-barrier", MUTANT_FINISH_WITHOUT_BARRIER, NULL},
    {"skip-wal-sync", MUTANT_NONE, WAL_NAME_END},
    {"old-set-only-reads", MUTANT_OLD_SET_ONLY_READS, NULL},
    {"old-set-only-writes", MUTANT_OLD_SET_ONLY_WRITES, NULL},
    {"no-write-back", MUTANT_NO_WRITE_BACK, NULL},
    {"demote-first", MUTANT_DEMOTE_FIRST, NULL},
    {"voter-stays", MUTANT_VOTER_STAYS, NULL},
    {"old-generation-lives", MUTANT_OLD_GENERATION_LIVES, NULL},
};

static const struct sim_mutant ring_mutants[] = {
    {"abort-after-read-new", RING_MUTANT_ABORT_AFTER_READ_NEW, NULL},
    {"generation-stays", RING_MUTANT_GENERATION_STAYS, NULL},
};

static const struct sim_mutant *chosen;      /* Of the node or the disk. */
static const struct sim_mutant *ring_chosen; /* Of the ring. */

bool mutant_is_on(enum mutant mutant)
{
    return chosen != NULL && chosen->number == (int)mutant;
}

bool ring_mutant_is_on(enum ring_mutant mutant)
{
    return ring_chosen != NULL && ring_chosen->number == (int)mutant;
}

bool mutant_choose(const char *name)
{
    chosen = sim_mutant_find(mutants, ARRAY_COUNT(mutants), name);
    ring_chosen = sim_mutant_find(ring_mutants, ARRAY_COUNT(ring_mutants), name);
    return chosen != NULL || ring_chosen != NULL;
}

void mutant_options(struct world_options *options)
{
    if (chosen != NULL) {
        options->disk.sync_skipped = chosen->sync_skipped;
    }
}

const char *mutant_name(uint32_t index)
{
    if (index < ARRAY_COUNT(mutants)) {
        return mutants[index].name;
    }
    index -= (uint32_t)ARRAY_COUNT(mutants);
    return index < ARRAY_COUNT(ring_mutants) ? ring_mutants[index].name : NULL;
}
