/*
 * lsm/table_fill.c -- while a cache has room for all, a read brings a few blocks instead of one.
 *
 * Why: a store that fits into its cache comes to lie there as a whole, and until it does each block
 * costs a read of its own, which takes longer than to open what was read. Read with those beside
 * it, the store is warm after a fourth of the misses, and each block costs less.
 * Invariants:
 *  (1) It is done only while the cache has room for every block of every table that uses it: so
 *      nothing is evicted for what nobody asked for.
 *  (2) Best effort: whatever is wrong with a block is found, and told, by whoever reads it alone.
 */
#include "lsm/table_parts.h"

#define FILL_BLOCK_COUNT 4u       /* More would make the one get that reads them wait. */
#define FILL_SIZE_MAX (32u << 10) /* Bytes of the file; what is longer is worth its own read. */

/* Whether block `index` lies right behind the one before it in the file. */
static bool is_joined(const struct table *table, uint32_t index)
{
    struct table_handle before = table_fence_handle(table, index - 1);
    return before.size > 0 &&
           before.offset + before.size == table_fence_handle(table, index).offset;
}

static bool is_wanted(const struct table *table, uint32_t index, uint64_t size)
{
    uint32_t more = table_fence_handle(table, index).size;
    return more > 0 && size + more <= FILL_SIZE_MAX && cache_peek(&table->slots[index]) == NULL;
}

/* The blocks [*first, *end) around this one, which is among them, that are read together; their
 * bytes in the file. */
static uint32_t fill_choose(const struct table *table, uint32_t block_index, uint32_t *first,
                            uint32_t *end)
{
    uint32_t start = block_index - block_index % FILL_BLOCK_COUNT;
    uint32_t stop = table->block_count - start < FILL_BLOCK_COUNT ? table->block_count
                                                                  : start + FILL_BLOCK_COUNT;
    uint32_t size = table_fence_handle(table, block_index).size;
    *first = block_index;
    *end = block_index + 1;
    while (*first > start && is_joined(table, *first) && is_wanted(table, *first - 1, size)) {
        *first -= 1;
        size += table_fence_handle(table, *first).size;
    }
    while (*end < stop && is_joined(table, *end) && is_wanted(table, *end, size)) {
        size += table_fence_handle(table, *end).size;
        *end += 1;
    }
    return size;
}

/* Opens what was read of these blocks, and puts it into the cache. */
static void fill_insert(const struct table *table, struct slice bytes, uint32_t first, uint32_t end)
{
    struct buffer scratch = {0};
    for (uint32_t i = first; i < end && !scratch.failed; i++) {
        struct table_handle handle = table_fence_handle(table, i);
        struct slice raw;
        buffer_clear(&scratch);
        buffer_append(&scratch, bytes.data, handle.size);
        bytes = slice_make(bytes.data + handle.size, bytes.size - handle.size);
        struct block_place place = {.nonce = table->properties.nonce, .offset = handle.offset};
        if (!scratch.failed && block_unseal(&scratch, place, &raw) == STATUS_OK &&
            cache_has_room(table->cache, raw.size)) {
            cache_insert(table->cache, &table->slots[i], raw, CACHE_BLOCK);
        }
    }
    buffer_deinit(&scratch);
}

bool table_fill(const struct table *table, uint32_t block_index, enum lsm_wait wait)
{
    if (table->cache == NULL || table->fences == NULL || !cache_has_room_for_all(table->cache)) {
        return false;
    }
    uint32_t first;
    uint32_t end;
    uint32_t size = fill_choose(table, block_index, &first, &end);
    if (end - first < 2) {
        return false;
    }
    struct buffer bytes = {0};
    uint8_t *to = buffer_reserve(&bytes, size);
    bool read = to != NULL && table_read(table, table_fence_handle(table, first).offset, size, wait,
                                         to) == STATUS_OK;
    if (read) {
        cache_miss(table->cache);
        fill_insert(table, slice_make(to, size), first, end);
    }
    buffer_deinit(&bytes);
    return read;
}
