/*
 * lsm/scout.h -- what was deleted in key order is walked over before anybody asks.
 *
 * Why: a queue, or a cleaner that goes through old keys, deletes them in their order. The first
 * walk from there on would pass over all of it, a million cells while somebody waits. So once a row
 * of deletes is long enough a pool job walks it, and what it finds dead is a gap (lsm/gap.h).
 * Invariants:
 *  (1) It only looks. What it learns it learns as any walk does, under a watch.
 *  (2) A job is bounded: in the dead cells it passes over and, in case much lives between them, in
 *      the live ones it meets. What is left of the row then is left to those who walk it.
 *  (3) What finds no memory is not scouted.
 */
#ifndef LSM_SCOUT_H
#define LSM_SCOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/env.h"
#include "base/slice.h"

/* Deletes so near to each other in time that each has a greater key than the one before. */
struct scout {
    bool row;            /* There is one: */
    struct buffer lower; /* from here on it is not scouted; */
    struct buffer last;  /* up to here, the greatest key, inclusive. */
    uint64_t count;      /* Deletes in it since it was scouted. */
    struct env_job job;
    bool running;
    struct buffer job_lower; /* The stretch it walks. */
    struct buffer job_upper;
};

struct lsm;
void scout_init(struct lsm *lsm);
void scout_deinit(struct lsm *lsm);
/* Under the write lock: a delete of this key becomes visible. */
void scout_note_locked(struct lsm *lsm, struct slice key);
void scout_pump_locked(struct lsm *lsm);

#endif
