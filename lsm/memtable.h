/*
 * lsm/memtable.h -- the cells not yet in tables, in key order, in memory.
 *
 * Why a B+tree with the first 16 key bytes in its nodes: measured four to five times cheaper than
 * a skiplist, since a descent touches few cache lines and compares integers.
 * Contract:
 *  (1) One writer at a time (the engine's write lock); readers at any time, from any thread.
 *  (2) Per key it holds the greatest cell merged into it, by cell_compare().
 *  (3) Records are immutable and live as long as the memtable: what a reader was handed stays
 *      valid while it holds a reference.
 *  (4) Readers hold the lock for one descent or the copy of one leaf, and allocate nothing.
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
    struct mutex mutex;     /* Guards root, height and the nodes against readers. */
    struct memtable_node *root;
    uint32_t height; /* 1: the root is a leaf. */
    struct arena arena;
    atomic_uint references;
    _Atomic uint64_t size; /* Bytes taken, dead records included. */
    _Atomic uint64_t key_count;
    _Atomic uint64_t tombstone_count; /* Of the cells held now. */
    struct version version_max;       /* The writer's: of all cells merged. */
    uint64_t log_start;               /* Log position when it became active. */
    /* Set when frozen: every logged batch up to here is in this memtable or an older source. */
    uint64_t replay_position;
};

/* One reference, the caller's. NULL if there is no memory. */
MUST_USE struct memtable *memtable_create(size_t chunk_size);
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
/* STATUS_OK: *record borrows while the memtable is referenced. STATUS_NOT_FOUND. */
MUST_USE enum status memtable_get(struct memtable *memtable, struct slice key,
                                  const struct memtable_record **record);

/*
 * A cursor copies the record pointers of one leaf at a time, so that a writer may go on. Key and
 * cell borrow while the memtable is referenced. What is written behind the cursor is not seen;
 * what is written beyond the copied leaf is.
 */
struct memtable_cursor {
    struct cursor base;
    struct memtable *memtable;
    const struct memtable_record *records[MEMTABLE_FANOUT]; /* In the direction of the last seek. */
    uint32_t record_count;
    uint32_t record_index;
    bool reverse;
};
/* Cannot fail and needs no close; the owner of the cursor holds the reference. */
void memtable_cursor_open(struct memtable_cursor *cursor, struct memtable *memtable);

#endif
