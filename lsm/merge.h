/*
 * lsm/merge.h -- one cursor over several: every key once, with its greatest cell.
 *
 * Why: iterators and compaction see memtables and tables as one sorted source.
 * Invariants:
 *  (1) Of the cells of one key among the sources, the greatest by cell_compare() is shown; what
 *      order the sources are given in never matters.
 *  (2) A merge goes in the direction of its last seek: next after seek, previous after seek_before.
 *      The other step is a bug.
 */
#ifndef LSM_MERGE_H
#define LSM_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/cursor.h"

#define MERGE_SOURCE_COUNT_MAX 65536

/* Private, but embedded by callers. `base` is the cursor to walk. */
struct merge {
    struct cursor base;
    struct cursor **sources; /* The caller's array; it and the cursors outlive the merge. */
    uint32_t source_count;
    uint32_t *heap; /* Sources that stand on an entry, by key, the next one first. */
    uint32_t heap_count;
    uint32_t *current; /* Sources that stand on the key shown, or have yet to leave it. */
    uint32_t current_count;
    uint32_t winner;   /* The source whose cell is shown. */
    enum status state; /* What the last move said. */
    bool reverse;
};

/* Stands nowhere at first. No source is fine. STATUS_NO_MEMORY. */
MUST_USE enum status merge_open(struct merge *merge, struct cursor **sources,
                                uint32_t source_count);
void merge_close(struct merge *merge); /* Harmless on a zeroed or failed one; sources live on. */

#endif
