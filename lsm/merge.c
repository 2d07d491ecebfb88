/*
 * lsm/merge.c -- a heap of sources by key; those that share the next key stand aside together.
 *
 * Why the set aside (`current`): the sources on the key shown leave it only when the next step is
 * asked, so key and cell can borrow from them; and a step that would block half-way goes on with
 * those that have not moved yet.
 * Invariants:
 *  (1) Every source is in the heap, in `current`, or at its end.
 *  (2) While an entry is shown, all of `current` stand on its key and none in the heap does; the
 *      first of `current` has the cell that is shown.
 *  (3) A failure of one source is the merge's: it never shows a key without having asked all.
 *  (4) A distant source is never in `current`: it arrives once it is the first of the heap.
 */
#include "lsm/merge.h"

#include "base/cell.h"
#include "base/list.h"
#include "base/memory.h"

static struct merge *merge_of(struct cursor *cursor)
{
    return container_of(cursor, struct merge, base);
}

/* The first 16 bytes of a shorter key, filled with zeros. */
static void entry_fill_short(struct merge_entry *entry, struct slice key)
{
    uint8_t bytes[16] = {0};
    if (key.size > 0) {
        memcpy(bytes, key.data, key.size);
    }
    entry->high = codec_load_be64(bytes);
    entry->low = codec_load_be64(bytes + 8);
}

/* Where the entry's source stands now. */
static inline void entry_fill(const struct merge *merge, struct merge_entry *entry)
{
    struct slice key = merge->sources[entry->source]->key;
    if (key.size >= 16) {
        entry->high = codec_load_be64(key.data);
        entry->low = codec_load_be64(key.data + 8);
    } else {
        entry_fill_short(entry, key);
    }
    entry->high ^= merge->flip;
    entry->low ^= merge->flip;
    entry->key = key;
    entry->distant = false;
}

static int entry_order_by_key(const struct merge *merge, const struct merge_entry *a,
                              const struct merge_entry *b)
{
    if (a->key.size == 16 && b->key.size == 16) {
        return 0;
    }
    int order = slice_compare(a->key, b->key);
    return merge->reverse ? -order : order;
}

/* Negative if source `a` is to be shown before source `b`. */
static inline int entry_order(const struct merge *merge, const struct merge_entry *a,
                              const struct merge_entry *b)
{
    if (a->high != b->high) {
        return a->high < b->high ? -1 : 1;
    }
    if (a->low != b->low) {
        return a->low < b->low ? -1 : 1;
    }
    return entry_order_by_key(merge, a, b);
}

static void heap_push(struct merge *merge, const struct merge_entry *entry)
{
    ASSERT(merge->heap_count < merge->source_count);
    struct merge_entry *heap = merge->heap;
    uint32_t at = merge->heap_count++;
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (entry_order(merge, &heap[parent], entry) <= 0) {
            break;
        }
        heap[at] = heap[parent];
        at = parent;
    }
    heap[at] = *entry;
}

/* Puts `entry` in the place of the first, and where it belongs from there. */
static void heap_sink(struct merge *merge, const struct merge_entry *entry)
{
    struct merge_entry *heap = merge->heap;
    uint32_t count = merge->heap_count;
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count) {
            break;
        }
        if (child + 1 < count && entry_order(merge, &heap[child + 1], &heap[child]) < 0) {
            child++;
        }
        if (entry_order(merge, entry, &heap[child]) <= 0) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = *entry;
}

static void heap_pop(struct merge *merge, struct merge_entry *first)
{
    ASSERT(merge->heap_count > 0);
    *first = merge->heap[0];
    merge->heap_count--;
    if (merge->heap_count > 0) {
        struct merge_entry last = merge->heap[merge->heap_count];
        heap_sink(merge, &last);
    }
}

/* Whether cell `a` wins over `b`; by their encoded versions if those differ. */
static enum status cell_wins(struct slice a, struct slice b, bool *wins)
{
    struct version of_a;
    struct version of_b;
    if (!cell_version_peek(a, &of_a) || !cell_version_peek(b, &of_b)) {
        return STATUS_CORRUPT;
    }
    int order = version_compare(of_a, of_b);
    if (order == 0) {
        struct cell whole_a;
        struct cell whole_b;
        enum status status = cell_decode(a, &whole_a);
        if (status == STATUS_OK) {
            status = cell_decode(b, &whole_b);
        }
        if (status != STATUS_OK) {
            return status;
        }
        order = cell_compare(&whole_a, &whole_b);
    }
    *wins = order > 0;
    return STATUS_OK;
}

/* Takes the source next in order from the heap to those of the key shown. */
static enum status current_add(struct merge *merge)
{
    struct merge_entry *added = &merge->current[merge->current_count];
    heap_pop(merge, added);
    merge->current_count++;
    if (merge->current_count == 1) {
        return STATUS_OK;
    }
    struct merge_entry *first = &merge->current[0];
    bool wins = false;
    enum status status =
        cell_wins(merge->sources[added->source]->cell, merge->sources[first->source]->cell, &wins);
    if (status == STATUS_OK && wins) {
        struct merge_entry loser = *first;
        *first = *added;
        *added = loser;
    }
    return status;
}

static inline enum status source_step(struct merge *merge, uint32_t source, enum lsm_wait wait)
{
    struct cursor *cursor = merge->sources[source];
    return merge->reverse ? cursor_previous(cursor, wait) : cursor_next(cursor, wait);
}

/* The first of the heap is distant, and the merge has come to it. */
static enum status first_arrive(struct merge *merge, enum lsm_wait wait)
{
    uint32_t source = merge->heap[0].source;
    enum status status = source_step(merge, source, wait);
    if (status == STATUS_OK) {
        struct merge_entry entry = {.source = source};
        entry_fill(merge, &entry);
        heap_sink(merge, &entry);
        return STATUS_OK;
    }
    if (status == STATUS_NOT_FOUND) {
        struct merge_entry gone;
        heap_pop(merge, &gone);
        return STATUS_OK;
    }
    return status;
}

static inline void current_show(struct merge *merge)
{
    const struct cursor *cursor = merge->sources[merge->current[0].source];
    merge->base.key = cursor->key;
    merge->base.cell = cursor->cell;
}

/* All sources have moved: gathers those on the next key and shows it. */
static enum status current_gather(struct merge *merge, enum lsm_wait wait)
{
    for (;;) {
        enum status status = STATUS_OK;
        if (merge->heap_count == 0) {
            break;
        }
        const struct merge_entry *first = &merge->heap[0];
        if (merge->current_count > 0 && entry_order(merge, &merge->current[0], first) != 0) {
            break;
        }
        status = first->distant ? first_arrive(merge, wait) : current_add(merge);
        if (status != STATUS_OK) {
            /* What stands aside has not been shown: it is gathered again, if there is an again. */
            while (merge->current_count > 0) {
                merge->current_count--;
                heap_push(merge, &merge->current[merge->current_count]);
            }
            return status;
        }
    }
    if (merge->current_count == 0) {
        return STATUS_NOT_FOUND;
    }
    current_show(merge);
    return STATUS_OK;
}

/*
 * All sources have moved; the last that did, alone in `current`, belongs behind the first of the
 * heap. The two change places at the cost of one move in the heap.
 */
static void current_exchange(struct merge *merge)
{
    struct merge_entry entry = merge->current[0];
    if (merge->heap[0].distant) {
        merge->current_count = 0;
        heap_push(merge, &entry);
    } else {
        merge->current[0] = merge->heap[0];
        heap_sink(merge, &entry);
    }
}

static enum status merge_step(struct merge *merge, enum lsm_wait wait)
{
    /* After the end or a failure only a seek helps; say so again instead of moving on. */
    if (merge->state != STATUS_OK && merge->state != STATUS_WOULD_BLOCK) {
        return merge->state;
    }
    bool exchanged = false;
    while (merge->current_count > 0 && !exchanged) {
        struct merge_entry *entry = &merge->current[merge->current_count - 1];
        enum status status = source_step(merge, entry->source, wait);
        if (status == STATUS_NOT_FOUND) {
            merge->current_count--;
            continue;
        }
        if (status != STATUS_OK) {
            merge->state = status;
            return status;
        }
        entry_fill(merge, entry);
        if (merge->current_count > 1) {
            merge->current_count--;
            heap_push(merge, entry);
            continue;
        }
        int order = merge->heap_count == 0 ? -1 : entry_order(merge, entry, &merge->heap[0]);
        if (order < 0) { /* The common case: it runs ahead of the others. */
            current_show(merge);
            merge->state = STATUS_OK;
            return STATUS_OK;
        }
        if (order > 0) {
            current_exchange(merge);
        }
        exchanged = true;
    }
    merge->state = current_gather(merge, wait);
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

static void source_push(struct merge *merge, uint32_t source, bool distant)
{
    struct merge_entry entry = {.source = source};
    entry_fill(merge, &entry);
    entry.distant = distant;
    heap_push(merge, &entry);
}

/* Puts the distant sources into the heap; the others, which have to be asked, into current[], where
 * nothing else is yet. Returns how many these are. */
static uint32_t sources_approach(struct merge *merge, struct slice bound)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < merge->source_count; i++) {
        if (cursor_approach(merge->sources[i], bound, merge->reverse)) {
            source_push(merge, i, true);
        } else {
            merge->current[count++].source = i;
        }
    }
    return count;
}

/* Stage by stage for all of them, so that each waits for its memory while the others do. */
static void sources_prepare(struct merge *merge, uint32_t count, struct slice bound)
{
    bool more = count > 0 && !merge->reverse;
    for (uint32_t stage = 0; more; stage++) {
        more = false;
        for (uint32_t i = 0; i < count; i++) {
            struct cursor *source = merge->sources[merge->current[i].source];
            more = cursor_prepare(source, bound, stage) || more;
        }
    }
}

static enum status merge_seek_all(struct merge *merge, struct slice bound, bool reverse,
                                  enum lsm_wait wait)
{
    merge->reverse = reverse;
    merge->flip = reverse ? UINT64_MAX : 0;
    merge->heap_count = 0;
    merge->current_count = 0;
    merge->state = STATUS_NOT_FOUND; /* A seek that fails is asked again as a whole. */
    uint32_t count = sources_approach(merge, bound);
    sources_prepare(merge, count, bound);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = merge->current[i].source;
        struct cursor *source = merge->sources[index];
        enum status status =
            reverse ? cursor_seek_before(source, bound, wait) : cursor_seek(source, bound, wait);
        if (status == STATUS_OK) {
            source_push(merge, index, false);
        } else if (status != STATUS_NOT_FOUND) {
            merge->state = status == STATUS_WOULD_BLOCK ? STATUS_NOT_FOUND : status;
            return status;
        }
    }
    enum status status = current_gather(merge, wait);
    merge->state = status == STATUS_WOULD_BLOCK ? STATUS_NOT_FOUND : status;
    return status;
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

void merge_open_in(struct merge *merge, struct cursor **sources, uint32_t source_count,
                   struct merge_entry *memory)
{
    ASSERT(merge != NULL);
    ASSERT(source_count <= MERGE_SOURCE_COUNT_MAX);
    *merge = (struct merge){
        .base.ops = &merge_ops,
        .sources = sources,
        .source_count = source_count,
        .heap = memory,
        .current = memory + source_count,
        .state = STATUS_NOT_FOUND,
    };
}

enum status merge_open(struct merge *merge, struct cursor **sources, uint32_t source_count)
{
    *merge = (struct merge){0};
    /* One allocation for both; never of size 0. */
    struct merge_entry *memory =
        memory_allocate_zeroed((size_t)source_count * 2 + 1, sizeof(struct merge_entry));
    if (memory == NULL) {
        return STATUS_NO_MEMORY;
    }
    merge_open_in(merge, sources, source_count, memory);
    merge->owned = memory;
    return STATUS_OK;
}

void merge_close(struct merge *merge)
{
    memory_free(merge->owned);
    *merge = (struct merge){0};
}
