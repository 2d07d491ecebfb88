/*
 * lsm/compaction_pick.h -- which merge is due.
 *
 * The shape aimed at: tiers of few runs over one bottom of disjoint tables, the tiers together a
 * quarter of the bottom at most. A tier that is full becomes one run of the next; when the tiers
 * weigh too much, all of them go down. While there is little data a tier has more runs and they go
 * down at once, for a merge between would cost as much as that one. At rest, while nobody writes,
 * the tiers may weigh a tenth, a tier never has more than few runs, and what was only filled gets a
 * bottom: docs/decisions/0010.
 */
#ifndef LSM_COMPACTION_PICK_H
#define LSM_COMPACTION_PICK_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/table_set.h"

#define COMPACTION_TIER_RUN_COUNT 4u
#define COMPACTION_SMALL_TIER_RUN_COUNT 16u /* Of the first tier, while there is little data: */
#define COMPACTION_SMALL_SIZE (1ull << 30)  /* less than this, or than 32 memtables. */
#define COMPACTION_BOTTOM_SHARE 4u /* The tiers go down when they exceed 1/4 of the bottom, */
#define COMPACTION_IDLE_SHARE 10u  /* or 1/10 while nobody writes, */
#define COMPACTION_TIERS_MEMTABLE_COUNT 8u /* but not for less than so many memtables; */
#define COMPACTION_DEAD_SHARE 4u           /* or when they hold tombstones for 1/4 of all cells. */
#define COMPACTION_SLIGHT_SHARE 64u        /* Tiers below such a part of the bottom are slight. */
#define COMPACTION_MUCH_SHARE 4u           /* A bottom that is such a part of all. */
#define COMPACTION_SWEEP_SHARE                                        \
    4u /* A table with so many tombstones or expiring cells is swept. \
        */
/* A bottom has about so many tables, once it is large enough for tables as large as options say,
 * and while that makes them no larger than this. */
#define COMPACTION_BOTTOM_TABLE_COUNT 64u
#define COMPACTION_TABLE_SIZE_MAX (1ull << 30)

struct lsm;

enum compaction_kind {
    COMPACTION_NOTHING,
    COMPACTION_TIER,  /* All runs of a tier become one of the next. */
    COMPACTION_DOWN,  /* All tiers go into the bottom. */
    COMPACTION_MOVE,  /* A run has no key between those of the bottom: its tables are taken over. */
    COMPACTION_SWEEP, /* One table is written again, without what may be forgotten. */
};

struct compaction_pick {
    enum compaction_kind kind;
    uint32_t tier;   /* TIER */
    uint64_t run_id; /* MOVE, SWEEP */
    uint32_t place;  /* SWEEP */
};

/* The bottom of a set; NULL if there is none. */
const struct run *compaction_bottom(const struct table_set *set);
/* Whether the bottom is so large a part of all that a merge into it gives much back. */
bool compaction_is_over_much(const struct table_set *set);
/* Whether the tombstones of the active memtable, with those of the tiers, would take away so much
 * that at rest it is worth a flush and a merge. */
bool compaction_memory_takes_much_locked(const struct lsm *lsm, const struct table_set *set);
/* Looks at every run and at the bounds of every table: once for a set that changed, not for each
 * write. Runs that go down already do not count for their tier. */
struct compaction_pick compaction_pick_locked(const struct lsm *lsm, const struct table_set *set);
/* Bytes above the shape that is aimed at. */
uint64_t compaction_debt_locked(const struct lsm *lsm, const struct table_set *set);
/* The same as if somebody wrote, and what it is measured by when writers are slowed down: what the
 * tiers may hold, or a small store's size. */
uint64_t compaction_burden_locked(const struct lsm *lsm, const struct table_set *set,
                                  uint64_t *unit);

#endif
