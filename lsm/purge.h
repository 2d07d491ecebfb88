/*
 * lsm/purge.h -- what a merge may forget.
 *
 * Why a rule of its own: a tombstone may only go once nothing that it covers can come back, and
 * what is covered may be in more places than the merge sees. (Arrival order is not version order:
 * "no older run has it" is not enough.)
 * Contract:
 *  (1) A tombstone or expired cell goes only at or below the floor of its key, and only if nothing
 *      outside the merge that may hold its key has a version at or below it: no memtable, no
 *      record on its way through the log, no other table, no file that is being ingested, and no
 *      tail (2).
 *  (2) A tail is a part of the log at or above the committed replay position -- so the next open
 *      replays it -- with records that are in no memtable any more. There are three kinds:
 *      buffered records still in the queue when their memtable froze, whose group ends above the
 *      replay position of that memtable; what a recovery replayed, until all of it is in tables;
 *      and what was under way when the log or a memtable failed.
 *  (3) A tail is forgotten once the committed replay position has reached its end.
 */
#ifndef LSM_PURGE_H
#define LSM_PURGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cell.h"
#include "base/slice.h"

#define PURGE_TAIL_COUNT_MAX 8u /* With more, the two oldest become one. */

struct purge_tail {
    struct version version_min; /* At or below every version in it. */
    uint64_t end_position;
};

struct purge {
    struct purge_tail tails[PURGE_TAIL_COUNT_MAX]; /* Oldest first. */
    uint32_t tail_count;
};

struct lsm;
struct table_properties;
/* See (2). "Locked" functions ask for the write lock. */
void purge_tail_add_locked(struct lsm *lsm, struct version version_min, uint64_t end_position);
/* The active memtable freezes now. */
void purge_note_freeze_locked(struct lsm *lsm);
/* An edit with this replay position was committed, and is sure to be durable. */
void purge_note_replay_position_locked(struct lsm *lsm, uint64_t replay_position);
/* Whether the floor lies so high that some cell of this table might go. In jobs. */
bool purge_may_help(const struct lsm *lsm, const struct table_properties *properties);
/* Whether the merge under way may leave this cell, the greatest of its inputs for `key`, out of
 * its output. In its job: may block on filters. */
bool purge_allows(struct lsm *lsm, struct slice key, struct slice encoded_cell);

#endif
