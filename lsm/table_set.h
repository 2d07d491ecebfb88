/*
 * lsm/table_set.h -- which tables are live: an immutable list that readers pin.
 *
 * Why immutable: a get takes one reference and needs no lock while it reads; a change makes a new
 * set and old readers keep the old one.
 * Contract:
 *  (1) A set never changes. Its runs are ordered by greatest version, descending, so that a get
 *      may stop at the first run that cannot hold anything newer than what it found.
 *  (2) A run is made of places, each the part of a table that its clip holds. Places of one run are
 *      disjoint in keys and in key order. A file may have several places, all in one run.
 *  (3) A set holds a reference on each of its tables. Releasing the last reference of a set may
 *      hand out tables that nobody uses any more; closing them may block, so that is left to the
 *      caller.
 */
#ifndef LSM_TABLE_SET_H
#define LSM_TABLE_SET_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/list.h"
#include "lsm/clip.h"
#include "lsm/manifest.h"
#include "lsm/table.h"

#define TABLE_SET_RUN_COUNT_MAX 64u /* Flushes wait for compaction before this is reached. */
#define TABLE_SET_BOTTOM MANIFEST_TIER_MAX

struct run {
    uint64_t id;
    uint32_t tier;
    uint32_t table_count;  /* Places. */
    struct table **tables; /* The table of each place, */
    struct clip *clips;    /* and what of it counts. Bounds are owned by the set. */
    struct version version_max;
    uint64_t size; /* Of its files, each counted once; so the next three. */
    uint64_t entry_count;
    uint64_t tombstone_count;
    uint64_t expiring_count;
};

struct table_set {
    atomic_uint references;
    uint32_t run_count;
    uint64_t number; /* One more than that of the set it was made of. */
    struct run *runs;
    uint8_t *bounds; /* Of its clips. */
    struct quarantine_list lost;
};

/* Where a table stands; the whole table if the clip has no bounds. */
struct table_place {
    struct table *table;
    uint64_t run_id;
    uint32_t tier;
    struct clip clip;
};

#define TABLE_CUT_ALL UINT64_C(0) /* No file has this id. */

/* Keys of a stretch stop counting: of one file, or of all. */
struct table_cut {
    uint64_t file_id;
    struct clip stretch;
};

/* One change of the set, and one edit of the manifest: first what is cut, then what is added.
 * Arrays are the caller's. A table of which nothing is left leaves the set. */
struct table_change {
    const struct table_cut *cuts;
    uint32_t cut_count;
    const struct table_place *added;
    uint32_t added_count;
    const struct quarantine_list *lost; /* Stretches more; NULL: none. */
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
/* As steps of an edit. Cuts of files that are not in `current`, which must be what the manifest
 * has, are left out: somebody else has dropped them. */
void table_change_put(struct buffer *edit, const struct table_change *change,
                      const struct table_set *current);

/* All tables of a run, as steps of an edit. */
void table_run_put(struct buffer *edit, const struct run *run);

/* The table of the run that may hold `key`, by bounds; NULL if none. */
struct table *run_find(const struct run *run, struct slice key);
/* Index of the first place that does not lie below `bound` as a whole; table_count if none. */
uint32_t run_lower_bound(const struct run *run, struct slice bound);
/* No key of the place is before it. */
static inline struct slice run_place_first(const struct run *run, uint32_t index)
{
    return clip_first(&run->clips[index], run->tables[index]->properties.key_min);
}
/* Whether an earlier place of the run is of the same file. */
bool run_place_is_further(const struct run *run, uint32_t index);

/* A cursor over a run, one place after another. Private, but embedded by callers. */
struct run_cursor {
    struct cursor base;
    const struct run *run; /* The owner of the cursor holds the set. */
    struct table_cursor table;
    bool table_open;
    bool entering;        /* A step reached table_index, or a place behind damage in it, ... */
    struct slice entry;   /* ... and stands before it: where it seeks to (or before). */
    bool clipped;         /* The place ends before its table. */
    bool prepared;        /* table_index is that of the seek to come. */
    uint32_t table_index; /* Of the place. */
    uint32_t approached;  /* The first place that reaches beyond what was approached. */
    struct quarantine_sink *sink;
};
/* The cursor passes over damaged blocks, and says in the sink what was in them before it shows a
 * key behind it. It ends with STATUS_NO_MEMORY if that cannot be said. */
void run_cursor_open(struct run_cursor *cursor, const struct run *run,
                     struct quarantine_sink *sink);
void run_cursor_close(struct run_cursor *cursor);

#endif
