/*
 * lsm/mutant.h -- planted faults of the engine, which show that the simulator's checks can fail.
 *
 * Each is a rule of the engine left out. LSM_MUTANT(NAME) is false in every build but one: the
 * library that lsmsim links is compiled with RINGKV_LSM_MUTANTS, and asks the simulator, which says
 * yes only when it was told `--mutant name`.
 */
#ifndef LSM_MUTANT_H
#define LSM_MUTANT_H

#include <stdbool.h>

#ifdef RINGKV_LSM_MUTANTS
enum lsm_mutant {
    LSM_MUTANT_NONE,
    LSM_MUTANT_PURGE_BY_FLOOR_ALONE,     /* Nobody asks what may hold an older cell. */
    LSM_MUTANT_PURGE_OLDER_RUNS_ONLY,    /* Only runs that came before the merge are asked. */
    LSM_MUTANT_PURGE_IGNORES_QUEUE,      /* What is on its way through the log is not asked. */
    LSM_MUTANT_REPLAY_TAIL_IGNORED,      /* Nor what the next open would replay. */
    LSM_MUTANT_REPLAY_IGNORES_EXCISE,    /* A replay brings back a stretch that went. */
    LSM_MUTANT_QUEUE_IGNORES_EXCISE,     /* So does a group that is synced meanwhile. */
    LSM_MUTANT_FLUSH_IGNORES_EXCISE,     /* What comes after it is flushed before it is done. */
    LSM_MUTANT_EXCISE_REACHES_ON,        /* It takes what is written where the log was cut. */
    LSM_MUTANT_GET_STOPS_AT_EQUAL,       /* A get does not look for greater stamps. */
    LSM_MUTANT_REMOVE_BEFORE_COMMIT,     /* A flush's log goes before the edit that drops it. */
    LSM_MUTANT_FLUSH_MOVES_REPLAY_EARLY, /* Past what is still in the active memtable. */
    LSM_MUTANT_WATERMARK_AHEAD,          /* Says that what is written now was synced before. */
    LSM_MUTANT_QUEUED_NOT_SEEN,          /* Nobody knows of what is under way. */
    LSM_MUTANT_TORN_TAIL_NOT_VOIDED,     /* A new segment does not say where it begins. */
    LSM_MUTANT_GROUP_VISIBLE_EARLY,      /* A synced write is visible at once. */
    LSM_MUTANT_SEGMENT_NOT_SETTLED,      /* What recovery read is not made durable. */
    LSM_MUTANT_FOLDER_NOT_SYNCED,        /* The name of a table is not made durable. */
    LSM_MUTANT_PURGE_IGNORES_INGEST,     /* Nor files that are on their way in. */
    LSM_MUTANT_INGEST_NOT_SYNCED,        /* The names of files that came in are not made durable. */
    LSM_MUTANT_GAP_IGNORES_WRITES,       /* A write leaves the remembered gaps as they are. */
    LSM_MUTANT_EXPORT_LOSES_EDGE,        /* The cell behind a full chunk is in none. */
    LSM_MUTANT_CHECKPOINT_UNFLUSHED,     /* What is in memory is in no checkpoint. */
    LSM_MUTANT_CHECKPOINT_NOT_SYNCED,    /* The name of a checkpoint is not made durable. */
    LSM_MUTANT_KEEP_BY_KEY_ALONE,        /* What the owner lets go of a key takes all of it. */
    LSM_MUTANT_PACE_FORGETS,             /* Nobody looks again for answers that are held. */
    LSM_MUTANT_RESUME_KEEPS_LOG,         /* What the old log holds is replayed after a resume. */
};
/* Implemented by tests/sim/lsmsim_mutant.c. */
bool lsm_mutant_is_on(enum lsm_mutant mutant);
#define LSM_MUTANT(name) lsm_mutant_is_on(LSM_MUTANT_##name)
#else
#define LSM_MUTANT(name) false
#endif

#endif
