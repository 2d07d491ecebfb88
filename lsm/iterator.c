/*
 * lsm/iterator.c -- keys in order, each with its one merged cell.
 *
 * Invariants:
 *  (1) The sources pinned stay until the iterator is reopened, closed, or moves on to newer ones
 *      inside a call of next: tables are not removed under it, and memtable records it shows stay
 *      where they are until the next call.
 *  (2) `from` is where the next seek goes: the least key that may follow, or in reverse the least
 *      that may not (empty: no bound).
 *  (3) Dead cells that are passed over are counted, those of one call against its work budget, and
 *      those in a row for the memory of gaps (lsm/gap.h): where many follow one another, a watch is
 *      begun, everything from there on is read anew from the current sources, and what was found
 *      dead behind it is remembered when a live cell, the end or the close comes.
 */
#include "lsm/iterator.h"

#include "base/contract.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/merge.h"

#define ITERATOR_WORK_BUDGET 4096u
#ifndef ITERATOR_GAP_INTERVAL /* As GAP_DEAD_COUNT_MIN. */
/* Dead cells in a row between two looks at the gaps: few beside what a seek costs. */
#define ITERATOR_GAP_INTERVAL 128u
#endif

struct lsm_iterator {
    struct lsm *lsm;
    struct sources *sources;
    enum lsm_wait wait;
    uint32_t work_budget;
    uint64_t now_ms;
    bool reverse;
    bool skip_dead;
    bool seeking; /* The next move is a seek to `from`. */
    bool stale;   /* A step would have blocked: `from` says what cannot be asked of the merge. */
    bool ended;
    bool lost; /* By a failure: there is nothing to go on from. */
    struct buffer lower;
    struct buffer upper;
    struct buffer from;
    uint32_t watch;              /* GAP_WATCH_NONE: none. */
    uint64_t dead_row;           /* Dead cells since the last live one. */
    uint64_t dead_count;         /* Of those, under the watch. */
    uint64_t dead_ms;            /* From when on these are dead. */
    struct quarantine_sink sink; /* Damage its cursors passed over. */
    struct buffer told;          /* Damage on this side of it was told, as `from` would be set. */
    struct merge merge;
    /* Cursors over `sources`, in memory behind this struct while there is enough of it. */
    uint32_t memtable_count;
    uint32_t run_count;
    uint32_t memtable_capacity;
    uint32_t run_capacity;
    struct memtable_cursor *memtables;
    struct run_cursor *runs;
    struct cursor **cursors;
    struct merge_entry *entries;
    void *owned; /* The memory once it is not behind this struct; else NULL. */
};

static size_t cursors_size(uint32_t memtable_count, uint32_t run_count)
{
    size_t count = (size_t)memtable_count + run_count;
    return memtable_count * sizeof(struct memtable_cursor) + run_count * sizeof(struct run_cursor) +
           count * (sizeof(struct cursor *) + 2 * sizeof(struct merge_entry));
}

/* Every part of it is as aligned as a pointer. */
static void cursors_place(struct lsm_iterator *iterator, void *memory, uint32_t memtable_count,
                          uint32_t run_count)
{
    size_t count = (size_t)memtable_count + run_count;
    iterator->memtable_capacity = memtable_count;
    iterator->run_capacity = run_count;
    iterator->entries = memory;
    iterator->memtables = (struct memtable_cursor *)(void *)(iterator->entries + 2 * count);
    iterator->runs = (struct run_cursor *)(void *)(iterator->memtables + memtable_count);
    iterator->cursors = (struct cursor **)(void *)(iterator->runs + run_count);
}

static void cursors_close(struct lsm_iterator *iterator)
{
    merge_close(&iterator->merge);
    for (uint32_t i = 0; i < iterator->run_count; i++) {
        run_cursor_close(&iterator->runs[i]);
    }
    iterator->run_count = 0;
    iterator->memtable_count = 0;
}

/* Cursors over the iterator's sources, in memory that suffices. Reads nothing. */
static void cursors_open(struct lsm_iterator *iterator)
{
    const struct sources *sources = iterator->sources;
    const struct table_set *set = sources->tables;
    uint32_t count = 0;
    iterator->memtable_count = sources->frozen_count + 1;
    iterator->run_count = set->run_count;
    ASSERT(iterator->memtable_count <= iterator->memtable_capacity);
    ASSERT(iterator->run_count <= iterator->run_capacity);
    for (uint32_t i = 0; i < iterator->memtable_count; i++) {
        memtable_cursor_open(&iterator->memtables[i],
                             i == 0 ? sources->active : sources->frozen[i - 1]);
        iterator->cursors[count++] = &iterator->memtables[i].base;
    }
    for (uint32_t i = 0; i < iterator->run_count; i++) {
        run_cursor_open(&iterator->runs[i], &set->runs[i], &iterator->sink);
        iterator->cursors[count++] = &iterator->runs[i].base;
    }
    merge_open_in(&iterator->merge, iterator->cursors, count, iterator->entries);
}

/* Takes over the pin on `sources`, which may be the iterator's own ones pinned again. */
static enum status sources_change(struct lsm_iterator *iterator, struct sources *sources)
{
    if (sources == iterator->sources) {
        sources_unpin(iterator->lsm, sources);
        return STATUS_OK;
    }
    uint32_t memtable_count = sources->frozen_count + 1;
    uint32_t run_count = sources->tables->run_count;
    void *memory = NULL;
    bool fits =
        memtable_count <= iterator->memtable_capacity && run_count <= iterator->run_capacity;
    if (!fits) {
        memory = memory_allocate(cursors_size(memtable_count, run_count));
        if (memory == NULL) {
            sources_unpin(iterator->lsm, sources);
            return STATUS_NO_MEMORY;
        }
    }
    cursors_close(iterator);
    sources_unpin(iterator->lsm, iterator->sources);
    iterator->sources = sources;
    if (!fits) {
        memory_free(iterator->owned);
        iterator->owned = memory;
        cursors_place(iterator, memory, memtable_count, run_count);
    }
    cursors_open(iterator);
    return STATUS_OK;
}

static enum status bound_set(struct buffer *bound, struct slice key)
{
    buffer_clear(bound);
    buffer_append_slice(bound, key);
    enum status status = buffer_status(bound);
    bound->failed = false;
    return status;
}

static enum status options_take(struct lsm_iterator *iterator,
                                const struct lsm_iterator_options *options)
{
    enum status status = bound_set(&iterator->lower, options->lower);
    if (status == STATUS_OK) {
        status = bound_set(&iterator->upper, options->upper);
    }
    if (status == STATUS_OK) {
        status = bound_set(&iterator->from, options->reverse ? options->upper : options->lower);
    }
    if (status == STATUS_OK) {
        status = bound_set(&iterator->told, buffer_slice(&iterator->from));
    }
    quarantine_list_deinit(&iterator->sink.list);
    iterator->wait = options->wait;
    iterator->work_budget = options->work_budget == 0 ? ITERATOR_WORK_BUDGET : options->work_budget;
    iterator->now_ms = options->now_ms;
    iterator->reverse = options->reverse;
    iterator->skip_dead = options->skip_dead;
    iterator->seeking = true;
    iterator->stale = false;
    iterator->ended = status != STATUS_OK;
    iterator->lost = status != STATUS_OK;
    iterator->dead_row = 0;
    return status;
}

enum status lsm_iterator_open(struct lsm *lsm, const struct lsm_iterator_options *options,
                              struct lsm_iterator **iterator)
{
    ASSERT(lsm != NULL);
    ASSERT(options != NULL);
    struct sources *sources = sources_pin(lsm);
    uint32_t memtable_count = sources->frozen_count + 1;
    uint32_t run_count = sources->tables->run_count;
    struct lsm_iterator *made =
        memory_allocate(sizeof(*made) + cursors_size(memtable_count, run_count));
    if (made == NULL) {
        sources_unpin(lsm, sources);
        return STATUS_NO_MEMORY;
    }
    *made = (struct lsm_iterator){
        .lsm = lsm, .sources = sources, .sink.lsm = lsm, .watch = GAP_WATCH_NONE};
    cursors_place(made, made + 1, memtable_count, run_count);
    cursors_open(made);
    enum status status = options_take(made, options);
    if (status != STATUS_OK) {
        lsm_iterator_close(made);
        return status;
    }
    *iterator = made;
    return STATUS_OK;
}

/* Into `from`: where to go on behind the key shown, or passed over, last. */
static enum status from_set_behind(struct lsm_iterator *iterator)
{
    static const uint8_t zero = 0; /* The least key above `key` is `key` and a zero byte. */
    buffer_clear(&iterator->from);
    buffer_append_slice(&iterator->from, iterator->merge.base.key);
    if (!iterator->reverse) {
        buffer_append(&iterator->from, &zero, 1);
    }
    enum status status = buffer_status(&iterator->from);
    iterator->from.failed = false;
    return status;
}

/* What was walked over under the watch is worth remembering, up to `to`. */
static void watch_end(struct lsm_iterator *iterator, struct slice to, bool ended)
{
    if (iterator->watch == GAP_WATCH_NONE) {
        return;
    }
    gaps_learn(&iterator->lsm->gaps, iterator->watch, to, ended, iterator->dead_count,
               iterator->dead_ms);
    iterator->watch = GAP_WATCH_NONE;
}

/* The iterator will not go on from where it stands. */
static void watch_end_here(struct lsm_iterator *iterator)
{
    if (iterator->watch == GAP_WATCH_NONE) {
        return;
    }
    struct slice to = {0};
    bool known = !iterator->lost && lsm_iterator_resume_key(iterator, &to) == STATUS_OK;
    if (!known) {
        iterator->dead_count = 0;
    }
    watch_end(iterator, to, false);
}

enum status lsm_iterator_reopen(struct lsm_iterator *iterator,
                                const struct lsm_iterator_options *options)
{
    ASSERT(iterator != NULL);
    ASSERT(options != NULL);
    watch_end_here(iterator);
    enum status status = sources_change(iterator, sources_pin(iterator->lsm));
    if (status == STATUS_OK) {
        return options_take(iterator, options);
    }
    iterator->ended = true;
    iterator->lost = true;
    return status;
}

/* Begins a watch at `from`, whence the walk then goes on in the current sources. Lets go of the
 * write lock. */
static void watch_begin_locked(struct lsm_iterator *iterator)
{
    struct lsm *lsm = iterator->lsm;
    ASSERT(iterator->watch == GAP_WATCH_NONE);
    ASSERT(iterator->seeking);
    iterator->watch = gaps_watch(&lsm->gaps, buffer_slice(&iterator->from), iterator->reverse);
    struct sources *sources = sources_pin(lsm);
    mutex_unlock(&lsm->mutex);
    iterator->dead_count = 0;
    iterator->dead_ms = 0;
    if (sources_change(iterator, sources) != STATUS_OK) {
        watch_end(iterator, slice_make(NULL, 0), false); /* Of no cell: nothing is learnt. */
    }
}

static void watch_begin(struct lsm_iterator *iterator)
{
    if (mutex_try_lock(&iterator->lsm->mutex)) {
        watch_begin_locked(iterator);
    } /* Else a writer is at it: there is another time. */
}

void iterator_watch(struct lsm_iterator *iterator)
{
    mutex_lock(&iterator->lsm->mutex);
    watch_begin_locked(iterator);
}

/* Nothing is left between the bounds. */
static enum status iterator_end(struct lsm_iterator *iterator)
{
    struct slice bound = buffer_slice(iterator->reverse ? &iterator->lower : &iterator->upper);
    watch_end(iterator, bound, bound.size == 0);
    iterator->ended = true;
    return STATUS_NOT_FOUND;
}

/* Where `from` lies in gaps: goes behind them. */
static enum status gaps_jump(struct lsm_iterator *iterator)
{
    struct gaps *gaps = &iterator->lsm->gaps;
    bool jumped = false;
    bool ended = false;
    while (!ended && gaps_find(gaps, buffer_slice(&iterator->from), iterator->reverse,
                               iterator->now_ms, &iterator->from, &ended)) {
        jumped = true;
    }
    if (!jumped) {
        return STATUS_OK;
    }
    struct slice from = buffer_slice(&iterator->from);
    struct slice bound = buffer_slice(iterator->reverse ? &iterator->lower : &iterator->upper);
    bool outside = iterator->reverse ? slice_compare(from, bound) <= 0
                                     : bound.size > 0 && slice_compare(from, bound) >= 0;
    if (ended || outside) {
        return iterator_end(iterator);
    }
    watch_end(iterator, from, false); /* All up to there is dead. */
    iterator->seeking = true;
    watch_begin(iterator); /* What follows will make the gap larger. */
    return STATUS_OK;
}

/* One dead cell more in a row, the one the merge stands on. */
static enum status dead_pass(struct lsm_iterator *iterator, uint64_t dead_ms)
{
    iterator->dead_ms = dead_ms > iterator->dead_ms ? dead_ms : iterator->dead_ms;
    iterator->dead_count++;
    if (iterator->dead_row++ % ITERATOR_GAP_INTERVAL != 0) {
        return STATUS_OK;
    }
    bool first = iterator->dead_row == 1;
    if (first && atomic_load_explicit(&iterator->lsm->gaps.gap_count, memory_order_relaxed) == 0) {
        return STATUS_OK;
    }
    enum status status = from_set_behind(iterator);
    if (status != STATUS_OK) {
        return status;
    }
    status = gaps_jump(iterator);
    if (status == STATUS_OK && !first && !iterator->seeking && iterator->watch == GAP_WATCH_NONE) {
        iterator->seeking = true;
        watch_begin(iterator);
    }
    return status;
}

static enum status iterator_move(struct lsm_iterator *iterator)
{
    struct cursor *cursor = &iterator->merge.base;
    if (!iterator->seeking) {
        if (iterator->wait == LSM_NOWAIT && !iterator->stale) {
            enum status status = from_set_behind(iterator);
            if (status != STATUS_OK) {
                return status;
            }
        }
        enum status status = iterator->reverse ? cursor_previous(cursor, iterator->wait)
                                               : cursor_next(cursor, iterator->wait);
        iterator->stale = status == STATUS_WOULD_BLOCK;
        return status;
    }
    struct slice from = buffer_slice(&iterator->from);
    enum status status = iterator->reverse ? cursor_seek_before(cursor, from, iterator->wait)
                                           : cursor_seek(cursor, from, iterator->wait);
    iterator->seeking = status != STATUS_OK;
    return status;
}

static bool is_outside(const struct lsm_iterator *iterator, struct slice key)
{
    if (iterator->reverse) {
        return slice_compare(key, buffer_slice(&iterator->lower)) < 0;
    }
    return iterator->upper.size > 0 && slice_compare(key, buffer_slice(&iterator->upper)) >= 0;
}

static enum status iterator_fail(struct lsm_iterator *iterator, enum status status)
{
    if (status == STATUS_WOULD_BLOCK) {
        struct read_counters *shared = &iterator->lsm->reads[EPOCH_SLOT_COUNT];
        atomic_fetch_add_explicit(&shared->would_block_count, 1, memory_order_relaxed);
        return status;
    }
    iterator->ended = true;
    iterator->lost = true; /* After a failure there is nothing to go on from. */
    watch_end_here(iterator);
    return status;
}

/* A live cell ends a row of dead ones. */
static void dead_end(struct lsm_iterator *iterator)
{
    iterator->dead_row = 0;
    if (iterator->watch == GAP_WATCH_NONE) {
        return;
    }
    struct slice key = iterator->merge.base.key;
    if (!iterator->reverse) {
        watch_end(iterator, key, false);
        return;
    }
    static const uint8_t zero = 0; /* The live key itself does not belong to it. */
    buffer_clear(&iterator->from);
    buffer_append_slice(&iterator->from, key);
    buffer_append(&iterator->from, &zero, 1);
    if (buffer_status(&iterator->from) != STATUS_OK) {
        iterator->dead_count = 0; /* Then nothing is learnt. */
        iterator->from.failed = false;
    }
    watch_end(iterator, buffer_slice(&iterator->from), false);
}

static enum status iterator_show(struct lsm_iterator *iterator, struct slice *key,
                                 struct cell *cell)
{
    enum status status = cell_decode(iterator->merge.base.cell, cell);
    if (status != STATUS_OK) {
        return iterator_fail(iterator, status);
    }
    if (iterator->dead_row > 0 || iterator->watch != GAP_WATCH_NONE) {
        dead_end(iterator); /* A watch may also have begun behind a gap, with no dead cell yet. */
    }
    *key = iterator->merge.base.key;
    return STATUS_OK;
}

/* Of the lost stretches between what was told and the key that comes next (`end`: the bound), the
 * first in the direction of the walk; NULL: none. */
static const struct quarantine *lost_next(const struct lsm_iterator *iterator,
                                          const struct quarantine_list *list, bool end,
                                          const struct quarantine *first)
{
    struct slice told = buffer_slice(&iterator->told);
    struct slice key = iterator->merge.base.key;
    struct slice lower = buffer_slice(&iterator->lower);
    struct slice upper = buffer_slice(&iterator->upper);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct clip *lost = &list->items[i].stretch;
        bool inside = (upper.size == 0 || slice_compare(lost->lower, upper) < 0) &&
                      (lost->upper.size == 0 || slice_compare(lost->upper, lower) > 0);
        if (!iterator->reverse) {
            bool ahead = lost->upper.size == 0 || slice_compare(lost->upper, told) > 0;
            bool met = end || slice_compare(lost->lower, key) <= 0;
            if (inside && ahead && met &&
                (first == NULL || slice_compare(lost->lower, first->stretch.lower) < 0)) {
                first = &list->items[i];
            }
        } else {
            bool ahead = told.size == 0 || slice_compare(lost->lower, told) < 0;
            bool met = end || lost->upper.size == 0 || slice_compare(lost->upper, key) > 0;
            bool greater =
                first != NULL && first->stretch.upper.size > 0 &&
                (lost->upper.size == 0 || slice_compare(lost->upper, first->stretch.upper) > 0);
            if (inside && ahead && met && (first == NULL || greater)) {
                first = &list->items[i];
            }
        }
    }
    return first;
}

/* STATUS_CORRUPT: a lost stretch lies before what comes next; the next call goes on behind it. */
static enum status lost_meet(struct lsm_iterator *iterator, bool end)
{
    const struct quarantine *first =
        lost_next(iterator, &iterator->sources->tables->lost, end, NULL);
    first = lost_next(iterator, &iterator->sink.list, end, first);
    if (iterator->sink.list.failed) {
        return STATUS_NO_MEMORY;
    }
    if (first == NULL) {
        return STATUS_OK;
    }
    iterator->dead_row = 0;
    iterator->dead_count = 0; /* Nothing is learnt of what cannot be read. */
    watch_end(iterator, slice_make(NULL, 0), false);
    struct slice to = iterator->reverse ? first->stretch.lower : first->stretch.upper;
    iterator->ended = to.size == 0;
    iterator->seeking = true;
    iterator->stale = false;
    buffer_clear(&iterator->told);
    buffer_clear(&iterator->from);
    buffer_append_slice(&iterator->told, to);
    buffer_append_slice(&iterator->from, to);
    bool fits =
        buffer_status(&iterator->told) == STATUS_OK && buffer_status(&iterator->from) == STATUS_OK;
    return fits ? STATUS_CORRUPT : STATUS_NO_MEMORY;
}

static bool lost_any(const struct lsm_iterator *iterator)
{
    return iterator->sink.list.count > 0 || iterator->sources->tables->lost.count > 0;
}

enum status lsm_iterator_next(struct lsm_iterator *iterator, struct slice *key, struct cell *cell)
{
    ASSERT(iterator != NULL);
    if (iterator->ended) {
        return STATUS_NOT_FOUND;
    }
    enum status status = STATUS_OK;
    if (iterator->seeking && iterator->skip_dead) {
        status = gaps_jump(iterator);
    }
    for (uint32_t work = 0; status == STATUS_OK && work < iterator->work_budget; work++) {
        status = iterator_move(iterator);
        bool end = status == STATUS_NOT_FOUND ||
                   (status == STATUS_OK && is_outside(iterator, iterator->merge.base.key));
        if ((end || status == STATUS_OK) && lost_any(iterator)) {
            enum status lost = lost_meet(iterator, end);
            if (lost != STATUS_OK) {
                return lost == STATUS_CORRUPT ? lost : iterator_fail(iterator, lost);
            }
        }
        if (end) {
            return iterator_end(iterator);
        }
        uint64_t dead_ms = 0;
        if (status == STATUS_OK) {
            if (!iterator->skip_dead || cell_peek_plain(iterator->merge.base.cell) ||
                !cell_peek_dead(iterator->merge.base.cell, iterator->now_ms, &dead_ms)) {
                return iterator_show(iterator, key, cell);
            }
            status = dead_pass(iterator, dead_ms);
        }
    }
    if (status == STATUS_OK) {
        return STATUS_BUDGET;
    }
    return iterator->ended ? status : iterator_fail(iterator, status);
}

enum status lsm_iterator_resume_key(struct lsm_iterator *iterator, struct slice *key)
{
    ASSERT(iterator != NULL);
    if (iterator->ended) {
        return STATUS_NOT_FOUND;
    }
    if (!iterator->seeking && !iterator->stale) {
        enum status status = from_set_behind(iterator);
        if (status != STATUS_OK) {
            return status;
        }
    }
    *key = buffer_slice(&iterator->from);
    return STATUS_OK;
}

void lsm_iterator_close(struct lsm_iterator *iterator)
{
    if (iterator == NULL) {
        return;
    }
    watch_end_here(iterator);
    cursors_close(iterator);
    buffer_deinit(&iterator->lower);
    buffer_deinit(&iterator->upper);
    buffer_deinit(&iterator->from);
    buffer_deinit(&iterator->told);
    quarantine_list_deinit(&iterator->sink.list);
    sources_unpin(iterator->lsm, iterator->sources);
    memory_free(iterator->owned);
    memory_free(iterator);
}
