/*
 * lsm/pace.h -- writers are slowed down before they have to be stopped.
 *
 * Why: a writer that waits for its answers goes as fast as it gets them. While flushes and merges
 * keep up, answers go out at once. When they fall behind, answers of writes that are done are held
 * back, so that they leave at a rate (bytes a second) that halves with each step of debt: writers
 * come to the speed of the disk without a jump, long before STATUS_OVERLOADED. The rate never
 * is zero. Nothing that is held is undone: it is durable as asked, and visible.
 */
#ifndef LSM_PACE_H
#define LSM_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/list.h"
#include "lsm/table_set.h"

#define PACE_ONE (UINT64_C(1) << 16) /* Fractions count in this. */
#define PACE_TICK_MS 1u
/* Debt is the greatest of four shares, each from nothing at its first number to PACE_ONE at its
 * second. Memtables: those that wait for their flush, with the part of the active one that is full,
 * without the part of the first that is flushed, and without one, for one is filled while one is
 * flushed; as a part of how many may wait before writes are OVERLOADED. */
#define PACE_WAITING_FIRST (PACE_ONE / 4)
#define PACE_WAITING_LAST (3 * PACE_ONE / 4)
/* What is left of the last memtable that may be filled: one that is flushed, but not yet named in
 * the manifest, waits no longer and still takes its place. */
#define PACE_ROOM_FIRST (PACE_ONE / 2)
#define PACE_ROOM_LAST (PACE_ONE / 8)
/* Runs: twice as many as a small store lets come before it merges them. */
#define PACE_RUNS_FIRST 32u
#define PACE_RUNS_LAST (TABLE_SET_RUN_COUNT_MAX - 12u) /* 4 before flushes wait. */
/* Bytes above the shape aimed at: in units of what the tiers may hold, or of a small store. */
#define PACE_UNITS_FIRST 1u
#define PACE_UNITS_LAST 5u
#define PACE_RATE_MAX (UINT64_C(1) << 30) /* At the first debt; */
#define PACE_HALVING_COUNT 14u            /* halved so often over all of it. */
#define PACE_RATE_MIN (PACE_RATE_MAX >> PACE_HALVING_COUNT)
#define PACE_RECORD_SIZE 64u /* What a record costs beside its bytes. */

/* What the rate depends on. */
struct pace_load {
    uint64_t waiting; /* Memtables; in PACE_ONE of how many may. */
    uint64_t room;    /* That may be filled before OVERLOADED; PACE_ONE for one memtable. */
    uint32_t run_count;
    uint64_t debt; /* Bytes, */
    uint64_t unit; /* and what they are measured by; not 0. */
};

struct lsm;
struct lsm_stats;

struct pace {
    struct env_timer timer; /* Looks again; runs while anything is held. */
    bool timer_running;
    struct list_node held; /* lsm_write.node: to be told STATUS_OK, oldest first. */
    uint64_t held_count;
    uint64_t next_ns;        /* The next one may leave then. */
    uint64_t stall_ns;       /* Held time is counted up to here. */
    struct pace_load tables; /* Of the set of this number. */
    uint64_t set_number;
    bool tables_in_debt;
};

/* Bytes a second at which answers leave; 0: there is no debt, and no bound. Never less for less
 * load. */
uint64_t pace_rate(const struct pace_load *load);

void pace_init(struct lsm *lsm);
/* On the loop. Those in `answered` have STATUS_OK to be told; after the call it holds those who
 * are told now, perhaps others that were held. Vital writes are never held; of the others none
 * overtakes another. */
void pace_pass_locked(struct lsm *lsm, struct list_node *answered);
/* Nothing stays held: for an end, or a failure, which later writes may be told of. */
void pace_end_locked(struct lsm *lsm, struct list_node *answered);
void pace_stop_locked(struct lsm *lsm); /* Its timer. On the loop. */
void pace_stats_locked(struct lsm *lsm, struct lsm_stats *stats);

#endif
