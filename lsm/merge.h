/*
 * lsm/merge.h -- one cursor over several: every key once, with its greatest cell.
 *
 * Why: iterators and compaction see memtables and tables as one sorted source.
 * Invariants:
 *  (1) Of the cells of one key among the sources, the greatest by cell_compare() is shown; what
 *      order the sources are given in never matters.
 *  (2) A merge goes in the direction of its last seek: next after seek, previous after seek_before.
 *      The other step is a bug.
 *  (3) A source that can say without reading where its next key cannot be before (cursor_approach)
 *      is not read until the merge has come so far.
 */
#ifndef LSM_MERGE_H
#define LSM_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/cursor.h"

#define MERGE_SOURCE_COUNT_MAX 65536

/* A source and the key it stands on: its first 16 bytes as two numbers that sort in the merge's
 * direction, so that most comparisons touch no key. */
struct merge_entry {
    uint64_t high;
    uint64_t low;
    struct slice key;
    uint32_t source;
    bool distant; /* Stands nowhere yet: `key` is only where it cannot be before. */
};

/* Private, but embedded by callers. `base` is the cursor to walk. */
struct merge {
    struct cursor base;
    struct cursor **sources; /* The caller's array; it and the cursors outlive the merge. */
    uint32_t source_count;
    struct merge_entry *heap; /* Sources that stand on an entry, by key, the next one first. */
    uint32_t heap_count;
    struct merge_entry *current; /* Those on the key shown, or that have yet to leave it. */
    uint32_t current_count;
    enum status state; /* What the last move said. */
    bool reverse;
    uint64_t flip;             /* All ones in reverse: turns the order of numbers round. */
    struct merge_entry *owned; /* To free: NULL if the memory is the caller's. */
};

/* Stands nowhere at first. No source is fine. STATUS_NO_MEMORY. */
MUST_USE enum status merge_open(struct merge *merge, struct cursor **sources,
                                uint32_t source_count);
/* The same in memory of the caller, two entries per source, and cannot fail. */
void merge_open_in(struct merge *merge, struct cursor **sources, uint32_t source_count,
                   struct merge_entry *memory);
void merge_close(struct merge *merge); /* Harmless on a zeroed or failed one; sources live on. */

#endif
