/*
 * lsm/flush.h -- writes the oldest frozen memtable into a run of the first tier.
 */
#ifndef LSM_FLUSH_H
#define LSM_FLUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "lsm/memtable.h"
#include "lsm/table_output.h"

/*
 *   WRITING --> COMMITTING --> INSTALLING       (a step that fails is tried again where it failed)
 *      |
 *      +--> GIVING_UP                           (the tables written so far go; a new flush follows)
 */
enum flush_phase { FLUSH_WRITING, FLUSH_COMMITTING, FLUSH_INSTALLING, FLUSH_GIVING_UP };

struct flush {
    struct env_job job;
    bool running;              /* The job is submitted. */
    struct memtable *memtable; /* Referenced; NULL while no flush is under way. */
    enum flush_phase phase;
    struct memtable_cursor cursor;
    bool started; /* The cursor stands on what comes next. */
    struct table_output output;
    uint64_t taken_count;   /* Keys; the job's. */
    uint64_t flushed_count; /* Of them, at the end of the last slice. */
    enum status status;
};

struct lsm;
void flush_init(struct lsm *lsm);
void flush_pump_locked(struct lsm *lsm);
/* Gives up what is under way; its files are orphans that the next open removes. Blocks. */
void flush_abandon(struct lsm *lsm);

#endif
