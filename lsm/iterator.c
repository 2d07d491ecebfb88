/*
 * lsm/iterator.c -- keys in order, each with its one merged cell.
 *
 * Invariants:
 *  (1) The sources pinned at open stay until close: tables are not removed under it, and memtable
 *      records it shows stay where they are.
 *  (2) Tombstones and expired cells are shown like any other, so a call looks at the cells of one
 *      key and the work budget is never spent; what skips dead cells counts them against it.
 */
#include "base/contract.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/merge.h"

struct lsm_iterator {
    struct lsm *lsm;
    struct sources *sources;
    enum lsm_wait wait;
    bool reverse;
    bool started; /* The first seek succeeded. */
    bool ended;
    struct buffer lower;
    struct buffer upper;
    struct merge merge;
    uint32_t memtable_count;
    uint32_t run_count;
    struct memtable_cursor *memtables;
    struct run_cursor *runs;
    struct cursor **cursors;
};

static enum status cursors_open(struct lsm_iterator *iterator)
{
    const struct sources *sources = iterator->sources;
    const struct table_set *set = sources->tables;
    uint32_t memtable_count = sources->frozen_count + 1;
    uint32_t count = memtable_count + set->run_count;
    iterator->memtables = memory_allocate_zeroed(memtable_count, sizeof(*iterator->memtables));
    iterator->cursors = memory_allocate_zeroed(count, sizeof(*iterator->cursors));
    if (set->run_count > 0) {
        iterator->runs = memory_allocate_zeroed(set->run_count, sizeof(*iterator->runs));
    }
    if (iterator->memtables == NULL || iterator->cursors == NULL ||
        (set->run_count > 0 && iterator->runs == NULL)) {
        return STATUS_NO_MEMORY;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < memtable_count; i++) {
        memtable_cursor_open(&iterator->memtables[i],
                             i == 0 ? sources->active : sources->frozen[i - 1]);
        iterator->cursors[at++] = &iterator->memtables[i].base;
    }
    iterator->memtable_count = memtable_count;
    for (uint32_t i = 0; i < set->run_count; i++) {
        run_cursor_open(&iterator->runs[i], &set->runs[i]);
        iterator->run_count++;
        iterator->cursors[at++] = &iterator->runs[i].base;
    }
    return merge_open(&iterator->merge, iterator->cursors, count);
}

enum status lsm_iterator_open(struct lsm *lsm, const struct lsm_iterator_options *options,
                              struct lsm_iterator **iterator)
{
    ASSERT(lsm != NULL);
    ASSERT(options != NULL);
    struct lsm_iterator *made = memory_allocate_zeroed(1, sizeof(*made));
    if (made == NULL) {
        return STATUS_NO_MEMORY;
    }
    made->lsm = lsm;
    made->wait = options->wait;
    made->reverse = options->reverse;
    made->sources = sources_pin(lsm);
    buffer_append_slice(&made->lower, options->lower);
    buffer_append_slice(&made->upper, options->upper);
    enum status status = buffer_status(&made->lower);
    if (status == STATUS_OK) {
        status = buffer_status(&made->upper);
    }
    if (status == STATUS_OK) {
        status = cursors_open(made);
    }
    if (status != STATUS_OK) {
        lsm_iterator_close(made);
        return status;
    }
    *iterator = made;
    return STATUS_OK;
}

static enum status iterator_move(struct lsm_iterator *iterator)
{
    struct cursor *cursor = &iterator->merge.base;
    if (iterator->started) {
        return iterator->reverse ? cursor_previous(cursor, iterator->wait)
                                 : cursor_next(cursor, iterator->wait);
    }
    return iterator->reverse
               ? cursor_seek_before(cursor, buffer_slice(&iterator->upper), iterator->wait)
               : cursor_seek(cursor, buffer_slice(&iterator->lower), iterator->wait);
}

static bool is_outside(const struct lsm_iterator *iterator, struct slice key)
{
    if (iterator->reverse) {
        return slice_compare(key, buffer_slice(&iterator->lower)) < 0;
    }
    return iterator->upper.size > 0 && slice_compare(key, buffer_slice(&iterator->upper)) >= 0;
}

enum status lsm_iterator_next(struct lsm_iterator *iterator, struct slice *key, struct cell *cell)
{
    ASSERT(iterator != NULL);
    if (iterator->ended) {
        return STATUS_NOT_FOUND;
    }
    enum status status = iterator_move(iterator);
    if (status == STATUS_WOULD_BLOCK) {
        struct read_counters *shared = &iterator->lsm->reads[EPOCH_SLOT_COUNT];
        atomic_fetch_add_explicit(&shared->would_block_count, 1, memory_order_relaxed);
        return status;
    }
    if (status == STATUS_OK && is_outside(iterator, iterator->merge.base.key)) {
        status = STATUS_NOT_FOUND;
    }
    if (status == STATUS_OK) {
        status = cell_decode(iterator->merge.base.cell, cell);
    }
    if (status != STATUS_OK) {
        iterator->ended = true; /* After a failure there is nothing to go on from. */
        return status;
    }
    iterator->started = true;
    *key = iterator->merge.base.key;
    return STATUS_OK;
}

void lsm_iterator_close(struct lsm_iterator *iterator)
{
    if (iterator == NULL) {
        return;
    }
    merge_close(&iterator->merge);
    for (uint32_t i = 0; i < iterator->run_count; i++) {
        run_cursor_close(&iterator->runs[i]);
    }
    memory_free(iterator->memtables);
    memory_free(iterator->runs);
    memory_free(iterator->cursors);
    buffer_deinit(&iterator->lower);
    buffer_deinit(&iterator->upper);
    sources_unpin(iterator->lsm, iterator->sources);
    memory_free(iterator);
}
