/*
 * lsm/memtable.h -- the cells not yet in tables, in key order, in memory.
 *
 * Why a B+tree with 8 bytes of each key in its nodes, those behind what the keys of a node have in
 * common: measured many times cheaper than a skiplist, since a descent touches few cache lines, all
 * of which it can ask for at once, and compares integers.
 * Contract:
 *  (1) One writer at a time, under the lock it was created with (the engine's write lock); readers
 *      at any time, from any thread, without a lock.
 *  (2) Per key it holds the greatest cell merged into it, by cell_compare().
 *  (3) Records are immutable and live as long as the memtable: what a reader was handed stays
 *      valid while it holds a reference, or is inside the epoch.
 *  (4) Readers allocate nothing. One whose nodes the writer keeps changing under it tries several
 *      times; then LSM_NOWAIT is told STATUS_WOULD_BLOCK, and LSM_MAY_BLOCK takes the writer's lock
 *      (so the caller must not hold it). A memtable without a writer never comes to that.
 */
#ifndef LSM_MEMTABLE_H
#define LSM_MEMTABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cell.h"
#include "base/mutex.h"
#include "base/slice.h"
#include "base/status.h"
#include "lsm/arena.h"
#include "lsm/cursor.h"
#include "lsm/epoch.h"

#define MEMTABLE_FANOUT 32u
#define MEMTABLE_HEIGHT_MAX 16u

struct memtable_node;

/* One cell of one key, immutable: the key's bytes, then the encoded cell's. */
struct memtable_record {
    uint32_t key_size;
    uint32_t cell_size;
    uint8_t bytes[];
};

static inline struct slice memtable_record_key(const struct memtable_record *record)
{
    return slice_make(record->bytes, record->key_size);
}

static inline struct slice memtable_record_cell(const struct memtable_record *record)
{
    return slice_make(record->bytes + record->key_size, record->cell_size);
}

struct memtable {
    struct epoch_item item; /* The engine's, for when the last reference is gone. */
    struct mutex *writer;
    _Atomic(struct memtable_node *) root;
    _Atomic(const struct memtable_record *) first; /* The first that came. */
    _Atomic uint32_t prefix_size; /* So many bytes of its key all keys begin with. */
    uint32_t height;              /* 1: the root is a leaf. The writer's, as are the next. */
    uint32_t node_counts[MEMTABLE_HEIGHT_MAX]; /* By level; leaves are level 0. */
    struct memtable_node *last_leaf;           /* With the greatest key. */
    bool appending;                            /* The last new key went behind all others. */
    struct arena arena;
    atomic_uint references;
    _Atomic uint64_t size; /* Bytes taken, dead records included. */
    _Atomic uint64_t key_count;
    _Atomic uint64_t tombstone_count; /* Of the cells held now. */
    struct version version_max;       /* Of all cells merged; the writer's until it is frozen. */
    uint64_t log_start;               /* Log position when it became active. */
    /* Set when frozen: every logged batch up to here is in this memtable or an older source. */
    uint64_t replay_position;
};

/* One reference, the caller's. NULL if there is no memory. `writer` is the lock its writer holds.
 */
MUST_USE struct memtable *memtable_create(size_t chunk_size, struct arena_pool *pool,
                                          struct mutex *writer);
void memtable_reference(struct memtable *memtable);
/* True if that was the last reference: the caller sees to memtable_destroy(), in the pool, since
 * giving back so much memory takes milliseconds. */
MUST_USE bool memtable_release(struct memtable *memtable);
void memtable_destroy(struct memtable *memtable);

/*
 * Merges one encoded cell, which must decode. A smaller or equal one changes nothing.
 * STATUS_OK, STATUS_NO_MEMORY (nothing changed).
 */
MUST_USE enum status memtable_merge(struct memtable *memtable, struct slice key,
                                    struct slice encoded_cell);
/*
 * Takes the memory ahead that merges of `record_count` cells may need, which have together `size`
 * bytes of keys and encoded cells: these merges do not fail. False: there is none, and nothing
 * changed.
 */
MUST_USE bool memtable_reserve(struct memtable *memtable, uint32_t record_count, uint64_t size);
/*
 * Where a key will go, learned ahead of its merge so that the memory it touches arrives meanwhile.
 * The writer's; good for one hold of its lock. A place that no longer fits is noticed.
 */
struct memtable_place {
    struct memtable_node *leaf;         /* NULL: nothing was learned. */
    const struct memtable_node *parent; /* NULL: the leaf was the root. */
    uint64_t sequence;                  /* Of the parent: a split of the leaf changes it. */
};
void memtable_locate(const struct memtable *memtable, struct slice key,
                     struct memtable_place *place);
/* As memtable_merge(), for the key that was located. */
MUST_USE enum status memtable_merge_at(struct memtable *memtable,
                                       const struct memtable_place *place, struct slice key,
                                       struct slice encoded_cell);
/* STATUS_OK: *record borrows, see (3). STATUS_NOT_FOUND; STATUS_WOULD_BLOCK, see (4). */
MUST_USE enum status memtable_get(const struct memtable *memtable, struct slice key,
                                  enum lsm_wait wait, const struct memtable_record **record);

/*
 * A get in three steps, for those who have several: each step but the last asks for the memory that
 * the next one touches, so the waits of several gets lie side by side. `key` must stay.
 */
struct memtable_lookup {
    const struct memtable *memtable;
    struct slice key;
    const struct memtable_node *leaf; /* NULL: nothing was learned. */
    uint64_t sequence;                /* Of the leaf, as it was met. */
    uint32_t prefix_size;
};
void memtable_lookup_begin(struct memtable_lookup *lookup, const struct memtable *memtable,
                           struct slice key);
void memtable_lookup_touch(const struct memtable_lookup *lookup);
/* As memtable_get(). */
MUST_USE enum status memtable_lookup_end(const struct memtable_lookup *lookup, enum lsm_wait wait,
                                         const struct memtable_record **record);

/*
 * A cursor copies the record pointers of one leaf at a time, so that a writer may go on. Key and
 * cell borrow while the memtable is referenced. What is written behind the cursor is not seen;
 * what is written beyond the copied leaf is.
 */
struct memtable_cursor {
    struct cursor base;
    const struct memtable *memtable;
    const struct memtable_record *records[MEMTABLE_FANOUT]; /* In the direction of the last seek. */
    uint32_t record_count;
    uint32_t record_index;
    bool reverse;
};
/* Cannot fail and needs no close; the owner of the cursor holds the reference. */
void memtable_cursor_open(struct memtable_cursor *cursor, const struct memtable *memtable);

#endif
