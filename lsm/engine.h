/*
 * lsm/engine.h -- what the files behind lsm/lsm.h share: the engine's state and who may touch it.
 *
 * Locks, in the order they may be taken:
 *  (1) `mutex`, the write lock: the log, the writer's side of the active memtable, and which jobs
 *      run. Held for copying and inserting, never over I/O.
 *  (2) `cleanup_mutex`: what waits to be given back. Held for a few instructions.
 *  A read takes neither: it enters `epoch` and loads the current sources.
 *  The manifest's own lock is held over I/O, taken only in jobs and with neither of the others.
 * Jobs: one of each kind at a time. `engine_pump` looks at the state and starts what is due; every
 * completion ends in it. Callers are called back only from `done` functions, on the loop, with no
 * lock held.
 */
#ifndef LSM_ENGINE_H
#define LSM_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/mutex.h"
#include "lsm/budget.h"
#include "lsm/cache.h"
#include "lsm/change.h"
#include "lsm/compaction.h"
#include "lsm/epoch.h"
#include "lsm/flush.h"
#include "lsm/gap.h"
#include "lsm/ingest.h"
#include "lsm/lsm.h"
#include "lsm/manifest.h"
#include "lsm/memtable.h"
#include "lsm/pace.h"
#include "lsm/purge.h"
#include "lsm/quarantine.h"
#include "lsm/resume.h"
#include "lsm/scout.h"
#include "lsm/segment.h"
#include "lsm/space.h"
#include "lsm/table_file.h"
#include "lsm/table_set.h"
#include "lsm/wal.h"

#define LSM_FROZEN_COUNT_MAX 4u       /* Memtables waiting for their flush before OVERLOADED... */
#define LSM_MEMTABLE_SHARE 2u         /* ...unless memtables would take more than this part. */
#define LSM_IDLE_DELAY_MS 50u         /* A log idle for so long writes its watermark. */
#define LSM_MEMTABLE_SEGMENT_COUNT 4u /* A memtable freezes when its log is so long. */
#define LSM_RUN_COUNT_BEFORE_STALL (TABLE_SET_RUN_COUNT_MAX - 8u)

/* Where a read looks; immutable. A get reaches it inside the epoch; who stays longer pins it. */
struct sources {
    struct epoch_item item;
    struct lsm *lsm;
    atomic_uint references; /* One of them is that of being the current one. */
    struct table_set *tables;
    struct memtable *active;
    uint32_t frozen_count;
    struct memtable *frozen[]; /* Oldest first. */
};

/* One group's way over the WAL lane. */
struct commit {
    struct env_job job;
    struct lsm *lsm;
    bool submitted;
    struct wal_group *group; /* That it wrote; NULL if there was none to write. */
    enum status status;      /* What came of it. */
};

/* Background work that can fail and is tried again. */
enum engine_work {
    ENGINE_FLUSH,
    ENGINE_MERGE,
    ENGINE_SEGMENT,
    ENGINE_CHANGE,
    ENGINE_SPACE,
    ENGINE_WORK_COUNT
};

/* How one kind of work rests after a failure. */
struct engine_retry {
    uint32_t failure_count; /* In a row. */
    uint64_t due_ns;        /* Not before this. */
    enum status status;     /* Of the last one; STATUS_OK: it works. */
};

/* One for each way into the epoch, so that readers do not meet in them. Those beyond the slots are
 * shared. */
struct read_counters {
    _Atomic uint64_t get_count;
    _Atomic uint64_t table_count;
    _Atomic uint64_t filter_skip_count;
    _Atomic uint64_t filter_false_count;
    _Atomic uint64_t would_block_count;
    _Atomic uint64_t cache_hit_count;
    uint64_t reserved[2]; /* A cache line each. */
};
STATIC_ASSERT(sizeof(struct read_counters) == EPOCH_LINE_SIZE, "counters lie in lines");

struct lsm {
    struct env *env;
    struct lsm_options options; /* Completed with the defaults. */
    uint32_t frozen_count_max;  /* As the budget allows; 1 to LSM_FROZEN_COUNT_MAX. */
    char *path;                 /* Owned; options.path points here. */
    struct env_dir_lock *dir_lock;
    struct manifest manifest;
    struct arena_pool chunks; /* Of memtables that went, for those to come: at most one full. */
    struct read_counters reads[EPOCH_ENTRY_COUNT];
    struct gaps gaps; /* Its own lock comes after `mutex`. */

    struct epoch epoch;
    struct budget budget;
    struct cache cache;                /* Of the blocks of all tables. */
    struct table_files files;          /* Those of them that are open. */
    _Atomic(struct sources *) sources; /* Changed under the write lock alone. */

    struct mutex mutex; /* Guards all down to cleanup_mutex. */
    struct wal wal;
    struct commit commits[2]; /* One that runs, one queued behind it. */
    struct segments segments;
    struct env_timer idle_timer;
    bool idle_timer_running;
    struct pace pace;
    struct env_timer gather_timer; /* Ends it, in the next turn of the loop. */
    bool gathering;                /* The next group waits for what the callers just told write. */
    uint64_t applied_position;     /* Every logged batch up to here is in a source. */
    uint64_t replay_position;      /* And up to here in tables: the manifest says so. */
    uint64_t next_file_id;
    struct buffer encode; /* One cell, while it is put into the memtable. */

    struct flush flush;
    struct compaction compaction;
    struct purge purge;
    struct changes changes;
    struct ingests ingests;
    uint32_t guest_job_count; /* Jobs of ingests, checkpoints and second looks; scrubs; scouts. */
    struct list_node scrubs;  /* Those that rest. */
    struct scout scout;
    struct quarantines quarantines;
    struct change quarantine_change; /* Of the second look. */
    struct quarantine_list damaged;  /* What recovery could not open, until it is written down; */
    uint64_t *damaged_ids;           /* and these files. */
    uint32_t damaged_count;
    uint64_t frozen_total;    /* Memtables ever frozen, plus one. */
    uint64_t flushed_total;   /* Of those, how many are in tables. */
    uint64_t compacted_total; /* Of those, how many are in the bottom. */

    struct space space;
    struct resume resume;
    struct engine_retry retries[ENGINE_WORK_COUNT];
    struct env_timer retry_timer; /* Pumps when the first rest is over. */
    bool retry_told;              /* The loop knows of the latest failure. */
    bool failed;                  /* Read-only. */
    enum status failure;
    bool failure_told;
    bool stopping;
    struct lsm_stop *stop;           /* NULL before lsm_stop, and once told. */
    struct list_node lost_writes;    /* Not yet told INDETERMINATE (or CANCELLED). */
    struct list_node flush_requests; /* lsm_request.node */
    struct list_node compact_requests;
    struct env_job notify_job; /* Brings what must be told onto the loop. */
    bool notify_running;
    bool cancelled; /* The env ends: submit nothing more. */
    struct lsm_stats stats;

    struct mutex cleanup_mutex; /* Guards the rest. */
    struct list_node garbage;   /* table.node: files nobody needs. */
    struct env_job cleanup_job; /* Collects the epoch, then closes and removes garbage. */
    struct env_timer cleanup_timer;
    bool cleanup_running;
    bool cleanup_again;   /* Something was retired while it ran. */
    bool cleanup_more;    /* What the run said: a reader keeps something. */
    bool cleanup_waiting; /* The timer runs. Under the write lock. */
    bool cleanup_closed;  /* Not open yet, or stopped: lsm_close does what is left. */
};

/* engine.c. "Locked" functions ask for the write lock. */
void engine_pump_locked(struct lsm *lsm);
/* Whether new work is taken: STATUS_CLOSED, STATUS_READ_ONLY. */
MUST_USE enum status engine_admit_locked(const struct lsm *lsm);
/* The engine takes no more writes. The first reason counts. */
void engine_fail_locked(struct lsm *lsm, enum status status, const char *what);
/*
 * A job gave up with `status` (CANCELLED: nothing comes of it).
 * What may pass (IO, NO_SPACE, NO_MEMORY, CORRUPT: a damaged input, which others care for) makes
 * this work rest, longer each time, and be tried again; NO_SPACE also makes the engine FULL.
 * Anything else is a bug in what we meant to write, and ends writing. The job keeps what a failed
 * manifest commit may have made durable (see manifest.h) and gives up the rest.
 */
void engine_job_failed_locked(struct lsm *lsm, enum engine_work work, enum status status);
void engine_job_worked_locked(struct lsm *lsm, enum engine_work work); /* Failures are over. */
/* False while this work rests after a failure. */
bool engine_may_start_locked(const struct lsm *lsm, enum engine_work work);
void engine_notify_locked(struct lsm *lsm);
uint64_t engine_file_id(struct lsm *lsm);
/* Removes a file of the engine's that nobody needs; one that stays is the next open's. Blocks.
 * `path` is freed; NULL: there was no memory for it. */
void engine_path_remove(struct lsm *lsm, char *path);
void engine_init_jobs(struct lsm *lsm);

/* sources.c */
void sources_chunks_init(struct lsm *lsm);
MUST_USE struct memtable *sources_memtable_create(struct lsm *lsm);
/* Lets go of one reference; what the last one frees is freed in the pool. */
void sources_memtable_release(struct lsm *lsm, struct memtable *memtable);
/* Takes references of its own on all of it. NULL if there is no memory. */
MUST_USE struct sources *sources_create(struct lsm *lsm, struct memtable *active,
                                        struct memtable *const *frozen, uint32_t frozen_count,
                                        struct table_set *tables);
/* For those who stay longer than a get, or come back. No lock. */
struct sources *sources_pin(struct lsm *lsm);
void sources_unpin(struct lsm *lsm, struct sources *sources);
/* The tables alone, for those who stay long: memtables come and go meanwhile. */
struct table_set *sources_set_pin_locked(struct lsm *lsm);
void sources_set_unpin(struct lsm *lsm, struct table_set *set);
/* Takes over the caller's reference. */
void sources_publish_locked(struct lsm *lsm, struct sources *sources);
/* Ends the active memtable, if it holds anything, and begins a new one. */
MUST_USE enum status sources_freeze_locked(struct lsm *lsm);
/* A changed table set, and optionally without the oldest frozen memtable. */
MUST_USE enum status sources_change_locked(struct lsm *lsm, const struct table_change *change,
                                           bool flushed);
/* What memtables take now, for the budget. */
void sources_account_locked(struct lsm *lsm);
void sources_cleanup_init(struct lsm *lsm);
void sources_cleanup_begin(struct lsm *lsm); /* The engine is open: jobs may run from here on. */
/* The timer goes; what runs ends by itself. */
void sources_cleanup_stop_locked(struct lsm *lsm);
/* Frees what no reader holds, closes and removes every table that nobody uses. Blocks. True if
 * something is held still. */
bool sources_cleanup(struct lsm *lsm);
/* At close: lets go of the current sources, and frees all. Blocks. */
void sources_close(struct lsm *lsm);
/* An open table becomes one of this engine's: it may use the cache, and its file may be closed
 * while nobody reads it. Before it is shared. Blocks. */
void engine_table_adopt(struct lsm *lsm, struct table *table);
/* "<folder>/<16 hex digits>.sst"; the caller frees. */
MUST_USE char *engine_table_path(const struct lsm *lsm, uint64_t file_id);

/* commit.c */
void commit_init(struct lsm *lsm);
void commit_pump_locked(struct lsm *lsm);
bool commit_is_quiet_locked(const struct lsm *lsm);
void commit_tell(struct list_node *writes, enum status status); /* No lock is held. */
void commit_stop_locked(struct lsm *lsm);                       /* Its timers. On the loop. */
MUST_USE enum status commit_merge_locked(struct lsm *lsm, struct slice key,
                                         struct slice encoded_cell);
/* For a key whose place in the active memtable was located. */
MUST_USE enum status commit_merge_at_locked(struct lsm *lsm, const struct memtable_place *place,
                                            struct slice key, struct slice encoded_cell);

/* scrub.c: the end of those that rest. */
void scrubs_stop_locked(struct lsm *lsm); /* In the next turn of the loop. */
void scrubs_abandon(struct lsm *lsm);     /* Now: the env has ended, or stopping is over. */

/* recovery.c: everything of lsm_open that reads the folder. */
MUST_USE enum status recovery_run(struct lsm *lsm);

#endif
