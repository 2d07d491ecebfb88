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

struct flush {
    struct env_job job;
    bool running;              /* From the first slice to the last. */
    struct memtable *memtable; /* Referenced. */
    struct memtable_cursor cursor;
    bool started; /* The cursor stands on what comes next. */
    bool ended;   /* All is written and committed. */
    struct table_output output;
    enum status status;
};

struct lsm;
void flush_init(struct lsm *lsm);
void flush_pump_locked(struct lsm *lsm);
/* Gives up what is under way; its files are orphans that the next open removes. Blocks. */
void flush_abandon(struct lsm *lsm);

#endif
