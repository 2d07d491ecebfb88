/*
 * lsm/segment.h -- the files of the log: the next segment before it is needed, dead ones after.
 *
 * Why spares: a sync is cheaper if every byte of its file was written before, and a dead segment
 * has that behind it, so its file is used again. And its pages are in memory: to write over them
 * costs a fraction of what new ones cost. While only buffered writes come, segments are made
 * without being written, and none is kept beyond their time.
 * Contract:
 *  (1) While writes come, as many spare files are kept as a memtable's log needs; when the log has
 *      rested for SEGMENT_REST_MS, one; without syncs, none.
 *  (2) One job at a time makes a segment, removes spare files, or trims.
 *  (3) When the log rests and its next segment is there, the one it is in ends where its last group
 *      ends, or with its header if tables have all of it: what lies behind is given back. The next
 *      group goes to the next segment.
 *  (4) While the disk is full, segments are made half as large.
 */
#ifndef LSM_SEGMENT_H
#define LSM_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "lsm/wal.h"
#include "lsm/wal_spare.h"

#define SEGMENT_REST_MS 1000u /* Without a write: the log is at rest. */

struct segments {
    struct env_job job;
    bool running;
    bool trims;         /* The job gives back what is too much: spare files, or */
    uint64_t trim_id;   /* if not 0, of this segment */
    uint64_t trim_size; /* all from here on. Else it makes a segment, step by step: */
    bool fills;         /* its bytes are written first, */
    bool waited_for;    /* unless the log stands still until it is there; */
    uint64_t capacity;
    struct wal_spare spare;      /* the file, until it is a segment, */
    struct wal_segment *segment; /* what there is of it; NULL while nothing is, */
    bool named;                  /* and the manifest has it. */
    enum status status;
    uint64_t kept[WAL_SPARE_COUNT_MAX]; /* Ids of spare files. */
    uint32_t kept_count;
    struct env_timer rest_timer;
    uint64_t noted_position;  /* Of the log when the timer began. */
    uint64_t rested_position; /* At rest if the log is here still. */
};

struct lsm;
void segment_init(struct lsm *lsm);
/* The log is open, and rests: nothing was written yet. */
void segment_begin_locked(struct lsm *lsm);
/* On the loop: no group is under way, nor was for a while. */
void segment_note_quiet_locked(struct lsm *lsm);
bool segment_is_rested_locked(const struct lsm *lsm);
/* Whether the log has come so far that a next segment is made, and it is not there yet. */
bool segment_is_due_locked(const struct lsm *lsm);
uint64_t segment_size_when_full(const struct lsm *lsm);
/* Sees to it that wal.ready becomes a segment of at least `capacity`. `waits`: the log cannot go on
 * without it, so it is made by the shortest way. */
void segment_prepare_locked(struct lsm *lsm, uint64_t capacity, bool waits);
void segment_pump_locked(struct lsm *lsm); /* Removes spare files that are too many, and trims. */
/* A segment that the manifest has dropped: its file waits to be used again, or goes. Blocks. */
void segment_dead(struct lsm *lsm, struct wal_segment *segment);
/* Removes the segment's file, that nothing names any more, and closes it. Blocks. */
void segment_remove(struct lsm *lsm, struct wal_segment *segment);
void segment_stop_locked(struct lsm *lsm); /* Its timer. On the loop. */
void segment_deinit(struct lsm *lsm);      /* Blocks to close files. */

#endif
