/*
 * lsm/compaction.h -- keeps the number of places a read must look in small.
 */
#ifndef LSM_COMPACTION_H
#define LSM_COMPACTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/env.h"
#include "lsm/compaction_pick.h"
#include "lsm/merge.h"
#include "lsm/table_output.h"
#include "lsm/table_set.h"

struct lsm;

/*
 * One step, a tier merge or a part of a merge into the bottom:
 *
 *   IDLE --> WRITING --> COMMITTING --> INSTALLING --> IDLE     (what fails is tried again there)
 *               |
 *               +--> GIVING_UP --> IDLE            (the tables written so far go; it begins anew)
 *
 * A move has nothing to write and begins with COMMITTING.
 */
enum compaction_phase {
    COMPACTION_IDLE,
    COMPACTION_WRITING,
    COMPACTION_COMMITTING,
    COMPACTION_INSTALLING,
    COMPACTION_GIVING_UP,
};

struct compaction {
    struct env_job job;
    bool running; /* The job is submitted. */
    enum compaction_phase phase;
    bool bottom;         /* Into the bottom, by key slices; otherwise one tier into the next. */
    bool moves;          /* The step takes a run to the bottom as it is. */
    bool quiet;          /* The log fell silent */
    uint64_t idle_count; /* after the write of this number, */
    bool idle;           /* and has been for a while. */
    struct env_timer idle_timer;
    uint64_t sweep_next;   /* Tables with ids from here */
    uint64_t sweep_end;    /* to here, exclusive, are still to be looked at. */
    uint64_t sweep_total;  /* flushed_total when this range was set. */
    uint64_t quiet_number; /* Of the set for which nothing was due. */

    /* The merge into the bottom under way, over several steps. */
    uint64_t merging[TABLE_SET_RUN_COUNT_MAX]; /* Ids of the runs that go down. */
    uint32_t merging_count;                    /* 0: none is under way. */
    uint64_t merging_goal;                     /* compacted_total, once it is done. */

    /* One step. */
    struct table_set *set; /* Pinned: the inputs' owner. Not the memtables, which may go. */
    struct run bottom_run; /* The bottom tables that take part, as a run. */
    const struct run *inputs[TABLE_SET_RUN_COUNT_MAX + 1];
    struct run_cursor cursors[TABLE_SET_RUN_COUNT_MAX + 1];
    struct cursor *cursor_pointers[TABLE_SET_RUN_COUNT_MAX + 1];
    uint32_t input_count;
    struct merge merge;
    bool merge_open;
    struct buffer upper; /* Keys below it take part; empty: all. */
    bool started;        /* The merge stands on the last cell taken. */
    bool sweeps;         /* Of one table: only if there is something to forget. */
    struct table_output output;
    struct table_cut *cuts; /* What it took of its inputs. */
    uint32_t cut_count;
    uint64_t read_size;
    struct clip *taken; /* Stretches that went since it began; bounds owned. */
    uint32_t taken_count;
    struct quarantine_sink lost; /* What it could not read. */
    bool unkept;                 /* The owner wants some cells forgotten; */
    struct buffer unkept_first;  /* the first key of these, */
    struct buffer unkept_last;   /* and the last. */
    bool exclusive;              /* See changes_begin_locked(). */
    uint64_t purged_count;
    enum status status;
};

void compaction_init(struct lsm *lsm);
void compaction_pump_locked(struct lsm *lsm);
/* On the loop: the log is idle. If it stays so, there is time for merges that are not urgent. */
void compaction_note_quiet_locked(struct lsm *lsm);
/* On the loop, when a flush or a step has ended: what was still to be done when the log fell silent
 * may have been the last that rest had to wait for. */
void compaction_rest_locked(struct lsm *lsm);
void compaction_stop_locked(struct lsm *lsm); /* On the loop: no timer fires any more. */
/* Gives up the step under way; its files are orphans that the next open removes. Blocks. */
void compaction_abandon(struct lsm *lsm);
/* A stretch goes from all tables: what the step under way writes of it does not count. Asks for the
 * write lock. STATUS_NO_MEMORY */
MUST_USE enum status compaction_note_taken_locked(struct lsm *lsm, const struct clip *stretch);
/* Whether this run is one of those on their way into the bottom. */
bool compaction_takes_down(const struct compaction *compaction, uint64_t run_id);

#endif
