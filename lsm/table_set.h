/*
 * lsm/table_set.h -- which tables are live: an immutable list that readers pin.
 *
 * Why immutable: a get takes one reference and needs no lock while it reads; a change makes a new
 * set and old readers keep the old one.
 * Contract:
 *  (1) A set never changes. Its runs are ordered by greatest version, descending, so that a get
 *      may stop at the first run that cannot hold anything newer than what it found.
 *  (2) Tables of one run are disjoint in keys and in key order.
 *  (3) A set holds a reference on each of its tables. Releasing the last reference of a set may
 *      hand out tables that nobody uses any more; closing them may block, so that is left to the
 *      caller.
 */
#ifndef LSM_TABLE_SET_H
#define LSM_TABLE_SET_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/list.h"
#include "lsm/manifest.h"
#include "lsm/table.h"

#define TABLE_SET_RUN_COUNT_MAX 64u /* Flushes wait for compaction before this is reached. */
#define TABLE_SET_BOTTOM MANIFEST_TIER_MAX

struct run {
    uint64_t id;
    uint32_t tier;
    uint32_t table_count;
    struct table **tables;
    struct slice lower; /* Keys below it are not this run's any more. Owned by the set. */
    struct version version_max;
    uint64_t size; /* Of its files. */
};

struct table_set {
    atomic_uint references;
    uint32_t run_count;
    struct run *runs;
};

/* A table's place. */
struct table_place {
    struct table *table;
    uint64_t run_id;
    uint32_t tier;
};

/* One change of the set, and one edit of the manifest. Arrays are the caller's. */
struct table_change {
    const struct table_place *added;
    uint32_t added_count;
    struct table *const *dropped;
    uint32_t dropped_count;
    const uint64_t *lowered; /* Runs that get `lower`. */
    uint32_t lowered_count;
    struct slice lower;
};

/* Whether tables of one run lie in one tier and are disjoint, and there is one bottom at most: what
 * table_set_create() takes for granted. Sorts `places`. */
bool table_places_sound(struct table_place *places, uint32_t count);
/* The set with the change made; `old` may be NULL for the empty set. One reference, the caller's.
 * NULL if there is no memory. */
MUST_USE struct table_set *table_set_create(const struct table_set *old,
                                            const struct table_change *change);
void table_set_acquire(struct table_set *set);
/* Tables that nobody references any more go to `garbage`, by table.node. */
void table_set_release(struct table_set *set, struct list_node *garbage);
void table_change_put(struct buffer *edit, const struct table_change *change);

/* The table of the run that may hold `key`, by key bounds; NULL if none. */
struct table *run_find(const struct run *run, struct slice key);
/* Index of the first table whose greatest key is at or above `bound`; table_count if none. */
uint32_t run_lower_bound(const struct run *run, struct slice bound);

/* A cursor over a run, one table after another. Private, but embedded by callers. */
struct run_cursor {
    struct cursor base;
    const struct run *run; /* The owner of the cursor holds the set. */
    struct table_cursor table;
    bool table_open;
    bool entering; /* A step reached table_index, which was not entered yet. */
    uint32_t table_index;
};
void run_cursor_open(struct run_cursor *cursor, const struct run *run);
void run_cursor_close(struct run_cursor *cursor);

#endif
