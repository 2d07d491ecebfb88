/*
 * tests/sim/lsmsim_mutant.c -- see lsmsim_mutant.h.
 *
 * Which mutant is on is the one static of lsmsim: the hooks in lsm/ have no context. It is set
 * before the first seed, and never again.
 */
#include "tests/sim/lsmsim_mutant.h"

#include "lsm/mutant.h"
#include "tests/sim/sim_program.h"

static const struct sim_mutant mutants[] = {
    {"skip-wal-sync", LSM_MUTANT_NONE, ".wal,.spare"},
    {"skip-manifest-sync", LSM_MUTANT_NONE, "MANIFEST.new"},
    {"skip-table-sync", LSM_MUTANT_NONE, ".sst"},
    {"purge-by-floor-alone", LSM_MUTANT_PURGE_BY_FLOOR_ALONE, NULL},
    {"purge-older-runs-only", LSM_MUTANT_PURGE_OLDER_RUNS_ONLY, NULL},
    {"purge-ignores-queue", LSM_MUTANT_PURGE_IGNORES_QUEUE, NULL},
    {"replay-tail-ignored", LSM_MUTANT_REPLAY_TAIL_IGNORED, NULL},
    {"replay-ignores-excise", LSM_MUTANT_REPLAY_IGNORES_EXCISE, NULL},
    {"queue-ignores-excise", LSM_MUTANT_QUEUE_IGNORES_EXCISE, NULL},
    {"flush-ignores-excise", LSM_MUTANT_FLUSH_IGNORES_EXCISE, NULL},
    {"excise-reaches-on", LSM_MUTANT_EXCISE_REACHES_ON, NULL},
    {"get-stops-at-equal", LSM_MUTANT_GET_STOPS_AT_EQUAL, NULL},
    {"remove-before-commit", LSM_MUTANT_REMOVE_BEFORE_COMMIT, NULL},
    {"flush-moves-replay-early", LSM_MUTANT_FLUSH_MOVES_REPLAY_EARLY, NULL},
    {"watermark-ahead", LSM_MUTANT_WATERMARK_AHEAD, NULL},
    {"queued-not-seen", LSM_MUTANT_QUEUED_NOT_SEEN, NULL},
    {"torn-tail-not-voided", LSM_MUTANT_TORN_TAIL_NOT_VOIDED, NULL},
    {"group-visible-early", LSM_MUTANT_GROUP_VISIBLE_EARLY, NULL},
    {"segment-not-settled", LSM_MUTANT_SEGMENT_NOT_SETTLED, NULL},
    {"folder-not-synced", LSM_MUTANT_FOLDER_NOT_SYNCED, NULL},
    {"purge-ignores-ingest", LSM_MUTANT_PURGE_IGNORES_INGEST, NULL},
    {"ingest-not-synced", LSM_MUTANT_INGEST_NOT_SYNCED, NULL},
    {"gap-ignores-writes", LSM_MUTANT_GAP_IGNORES_WRITES, NULL},
    {"export-loses-edge", LSM_MUTANT_EXPORT_LOSES_EDGE, NULL},
    {"checkpoint-unflushed", LSM_MUTANT_CHECKPOINT_UNFLUSHED, NULL},
    {"checkpoint-not-synced", LSM_MUTANT_CHECKPOINT_NOT_SYNCED, NULL},
    {"keep-by-key-alone", LSM_MUTANT_KEEP_BY_KEY_ALONE, NULL},
    {"pace-forgets", LSM_MUTANT_PACE_FORGETS, NULL},
    {"resume-keeps-log", LSM_MUTANT_RESUME_KEEPS_LOG, NULL},
};

static const struct sim_mutant *chosen;

bool lsm_mutant_is_on(enum lsm_mutant mutant)
{
    return chosen != NULL && chosen->number == (int)mutant;
}

bool mutant_choose(const char *name)
{
    chosen = sim_mutant_find(mutants, ARRAY_COUNT(mutants), name);
    return chosen != NULL;
}

void mutant_options(struct world_options *options)
{
    if (chosen != NULL) {
        options->disk.sync_skipped = chosen->sync_skipped;
    }
}

const char *mutant_name(uint32_t index)
{
    return index < ARRAY_COUNT(mutants) ? mutants[index].name : NULL;
}
