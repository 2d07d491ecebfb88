/*
 * lsm/merge.c -- a heap of sources by key; those that share the next key stand aside together.
 *
 * Why the set aside (`current`): the sources on the key shown leave it only when the next step is
 * asked, so key and cell can borrow from them; and a step that would block half-way goes on with
 * those that have not moved yet.
 * Invariants:
 *  (1) Every source is in the heap, in `current`, or at its end.
 *  (2) While an entry is shown, all of `current` stand on its key and none in the heap does.
 *  (3) A failure of one source is the merge's: it never shows a key without having asked all.
 */
#include "lsm/merge.h"

#include "base/cell.h"
#include "base/list.h"
#include "base/memory.h"

static struct merge *merge_of(struct cursor *cursor)
{
    return container_of(cursor, struct merge, base);
}

/* Negative if source `a` is to be shown before source `b`. */
static int source_order(const struct merge *merge, uint32_t a, uint32_t b)
{
    int order = slice_compare(merge->sources[a]->key, merge->sources[b]->key);
    return merge->reverse ? -order : order;
}

static void heap_push(struct merge *merge, uint32_t source)
{
    ASSERT(merge->heap_count < merge->source_count);
    uint32_t at = merge->heap_count++;
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (source_order(merge, merge->heap[parent], source) <= 0) {
            break;
        }
        merge->heap[at] = merge->heap[parent];
        at = parent;
    }
    merge->heap[at] = source;
}

static uint32_t heap_pop(struct merge *merge)
{
    ASSERT(merge->heap_count > 0);
    uint32_t top = merge->heap[0];
    uint32_t last = merge->heap[--merge->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= merge->heap_count) {
            break;
        }
        if (child + 1 < merge->heap_count &&
            source_order(merge, merge->heap[child + 1], merge->heap[child]) < 0) {
            child++;
        }
        if (source_order(merge, last, merge->heap[child]) <= 0) {
            break;
        }
        merge->heap[at] = merge->heap[child];
        at = child;
    }
    if (merge->heap_count > 0) {
        merge->heap[at] = last;
    }
    return top;
}

/* The greatest of several cells for one key, by decoding them. */
static enum status winner_choose(struct merge *merge)
{
    struct cell best = {0};
    for (uint32_t i = 0; i < merge->current_count; i++) {
        struct cell cell;
        enum status status = cell_decode(merge->sources[merge->current[i]]->cell, &cell);
        if (status != STATUS_OK) {
            return status;
        }
        if (i == 0 || cell_compare(&cell, &best) > 0) {
            best = cell;
            merge->winner = merge->current[i];
        }
    }
    return STATUS_OK;
}

/* All sources have moved: gathers those on the next key and shows it. */
static enum status entry_show(struct merge *merge)
{
    ASSERT(merge->current_count == 0);
    if (merge->heap_count == 0) {
        return STATUS_NOT_FOUND;
    }
    uint32_t first = heap_pop(merge);
    merge->current[merge->current_count++] = first;
    merge->winner = first;
    while (merge->heap_count > 0 && source_order(merge, first, merge->heap[0]) == 0) {
        merge->current[merge->current_count++] = heap_pop(merge);
    }
    if (merge->current_count > 1) {
        enum status status = winner_choose(merge);
        if (status != STATUS_OK) {
            return status;
        }
    }
    merge->base.key = merge->sources[merge->winner]->key;
    merge->base.cell = merge->sources[merge->winner]->cell;
    return STATUS_OK;
}

static enum status source_step(struct merge *merge, uint32_t source, enum lsm_wait wait)
{
    struct cursor *cursor = merge->sources[source];
    return merge->reverse ? cursor_previous(cursor, wait) : cursor_next(cursor, wait);
}

static enum status merge_step(struct merge *merge, enum lsm_wait wait)
{
    /* After the end or a failure only a seek helps; say so again instead of moving on. */
    if (merge->state != STATUS_OK && merge->state != STATUS_WOULD_BLOCK) {
        return merge->state;
    }
    while (merge->current_count > 0) {
        uint32_t source = merge->current[merge->current_count - 1];
        enum status status = source_step(merge, source, wait);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            merge->state = status;
            return status;
        }
        merge->current_count--;
        if (status == STATUS_NOT_FOUND) {
            continue;
        }
        /* The common case of one source running ahead of the others leaves the heap alone. */
        if (merge->current_count == 0 &&
            (merge->heap_count == 0 || source_order(merge, source, merge->heap[0]) < 0)) {
            merge->current[merge->current_count++] = source;
            merge->winner = source;
            merge->base.key = merge->sources[source]->key;
            merge->base.cell = merge->sources[source]->cell;
            merge->state = STATUS_OK;
            return STATUS_OK;
        }
        heap_push(merge, source);
    }
    merge->state = entry_show(merge);
    return merge->state;
}

static enum status merge_next(struct cursor *cursor, enum lsm_wait wait)
{
    struct merge *merge = merge_of(cursor);
    ASSERT(!merge->reverse);
    return merge_step(merge, wait);
}

static enum status merge_previous(struct cursor *cursor, enum lsm_wait wait)
{
    struct merge *merge = merge_of(cursor);
    ASSERT(merge->reverse);
    return merge_step(merge, wait);
}

static enum status merge_seek_all(struct merge *merge, struct slice bound, bool reverse,
                                  enum lsm_wait wait)
{
    merge->reverse = reverse;
    merge->heap_count = 0;
    merge->current_count = 0;
    for (uint32_t i = 0; i < merge->source_count; i++) {
        struct cursor *source = merge->sources[i];
        enum status status =
            reverse ? cursor_seek_before(source, bound, wait) : cursor_seek(source, bound, wait);
        if (status == STATUS_OK) {
            heap_push(merge, i);
        } else if (status != STATUS_NOT_FOUND) {
            /* A seek that would block is asked again as a whole: no step may follow. */
            merge->state = status == STATUS_WOULD_BLOCK ? STATUS_NOT_FOUND : status;
            return status;
        }
    }
    merge->state = entry_show(merge);
    return merge->state;
}

static enum status merge_seek(struct cursor *cursor, struct slice bound, enum lsm_wait wait)
{
    return merge_seek_all(merge_of(cursor), bound, false, wait);
}

static enum status merge_seek_before(struct cursor *cursor, struct slice bound, enum lsm_wait wait)
{
    return merge_seek_all(merge_of(cursor), bound, true, wait);
}

static const struct cursor_ops merge_ops = {
    .seek = merge_seek,
    .seek_before = merge_seek_before,
    .next = merge_next,
    .previous = merge_previous,
};

enum status merge_open(struct merge *merge, struct cursor **sources, uint32_t source_count)
{
    ASSERT(merge != NULL);
    ASSERT(source_count <= MERGE_SOURCE_COUNT_MAX);
    *merge = (struct merge){
        .base.ops = &merge_ops,
        .sources = sources,
        .source_count = source_count,
        .state = STATUS_NOT_FOUND,
    };
    /* One allocation for both; never of size 0. */
    merge->heap = memory_allocate_zeroed((size_t)source_count * 2 + 1, sizeof(uint32_t));
    if (merge->heap == NULL) {
        return STATUS_NO_MEMORY;
    }
    merge->current = merge->heap + source_count;
    return STATUS_OK;
}

void merge_close(struct merge *merge)
{
    memory_free(merge->heap);
    *merge = (struct merge){0};
}
