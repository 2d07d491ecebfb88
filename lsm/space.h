/*
 * lsm/space.h -- what becomes of the engine when the disk is full.
 *
 *   OPEN --> FULL --> OPEN      (some work met NO_SPACE; the ballast could be made whole again)
 *
 * Why ballast: what makes room, flushing deletes and merging them down, needs room first. So a file
 * that holds nothing keeps it, and is removed when the disk is full. It is as large as what is in
 * memory asks for: it grows with the memtable, by quarters, and shrinks once the log is at rest. It
 * keeps room for a segment only while the log has to have one made: else the log has its room.
 * Contract:
 *  (1) While FULL, writes are refused with NO_SPACE, but for batches of deletes only and those the
 *      caller calls vital, as long as the log has room for them without a new file.
 *  (2) While FULL, flushes and merges go on, and deletes are merged down to give back what they
 *      delete. Each second it is looked whether there is space again.
 *  (3) OPEN again only when the ballast is there, as large as it may have to be, and there is room
 * for a memtable and a segment beside it, so that the state does not flutter. (4) A log that failed
 * for want of space is resumed as soon as there is space again, unasked.
 */
#ifndef LSM_SPACE_H
#define LSM_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "lsm/lsm.h"

#define SPACE_BALLAST_NAME "BALLAST"

enum space_action { SPACE_MAKE, SPACE_RELEASE, SPACE_LOOK };

struct space {
    bool full;
    uint64_t size;   /* Of the ballast; 0: there is none, as far as we know. */
    uint64_t wanted; /* What the action under way makes of it. */
    bool release_due;
    struct env_job job;
    bool running;
    enum space_action action;
    enum status status;
    struct env_timer timer; /* Runs while full. */
    bool timer_running;
    struct lsm_request reclaim; /* Merges deletes down. */
    bool reclaiming;
    bool deletes_taken;        /* Since the last one began. */
    struct lsm_request resume; /* See (4). */
    bool resuming;
};

struct lsm;
void space_init(struct lsm *lsm);
/* Some work met NO_SPACE. */
void space_full_locked(struct lsm *lsm);
/* NO_SPACE, if (1) says so. */
MUST_USE enum status space_admit_locked(struct lsm *lsm, const struct lsm_write *write,
                                        uint64_t size);
/* Read-only, but only until there is space. */
bool space_ends_failure_locked(const struct lsm *lsm);
/* Looks whether there is space again, without waiting for the timer. */
void space_look_locked(struct lsm *lsm);
void space_pump_locked(struct lsm *lsm);
void space_tell_locked(struct lsm *lsm); /* On the loop: starts the timer, if it is due. */
void space_stop_locked(struct lsm *lsm); /* On the loop. */
/* Before a job that writes about `size` bytes: STATUS_NO_SPACE if there is not so much, beside the
 * ballast. In jobs only. */
MUST_USE enum status space_reserve(struct lsm *lsm, uint64_t size);
/* Removes the ballast. In jobs only; also for an open that finds the disk full. STATUS_NOT_FOUND:
 * there is none. */
MUST_USE enum status space_release(struct lsm *lsm);

#endif
