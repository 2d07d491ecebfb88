/*
 * lsm/table_leaf.c -- indexes too large to be kept whole: their parts, the leaves, come and go.
 *
 * Why: fences take about fifty bytes for each block of 4 KiB. A store that is a hundred times as
 * large as its budget would need all of it for them. Where indexes outgrow their share
 * (budget_index_fits) the next tables keep the top of theirs alone; a leaf is one entry of the
 * cache, and costs a read of 4 KiB when it is not there.
 * Invariants:
 *  (1) An index is split before its table is shared, or never; a damaged one never. So whoever
 *      finds `fences` to be NULL finds it so for good.
 *  (2) What stays is, for each leaf, where it lies, its first separator and the number of its first
 *      block: enough to number blocks, and to say what is lost with a leaf. A leaf that is read
 *      again and does not agree with that is damaged.
 *  (3) A leaf's fences are kept before damage of one of its blocks is told: who asks for the bounds
 *      then must not wait. If the leaf is damaged itself, all that it names is lost.
 */
#include "base/memory.h"
#include "lsm/block_cursor.h"
#include "lsm/table_parts.h"

/* A leaf in memory: prefixes, then fences, then the keys these point to. */
#define LEAF_ENTRY_SIZE (sizeof(uint64_t) + sizeof(struct table_fence))

STATIC_ASSERT(CACHE_ENTRY_HEADER_SIZE % _Alignof(struct table_fence) == 0, "leaves are aligned");

static uint32_t leaf_block_count(const struct table *table, uint32_t leaf_index)
{
    uint32_t end = leaf_index + 1 < table->leaf_count ? table->leaves[leaf_index + 1].block_first
                                                      : table->block_count;
    return end - table->leaves[leaf_index].block_first;
}

static void view_set(const struct table *table, uint32_t leaf_index, const uint8_t *leaf,
                     struct table_view *view)
{
    uint32_t count = leaf_block_count(table, leaf_index);
    view->prefixes = (const void *)leaf;
    view->fences = (const void *)(leaf + count * sizeof(uint64_t));
    view->keys = leaf + count * LEAF_ENTRY_SIZE;
    view->block_first = table->leaves[leaf_index].block_first;
    view->block_count = count;
}

static enum status leaf_begin(struct buffer *leaf, uint32_t count)
{
    buffer_clear(leaf);
    leaf->failed = false;
    uint8_t *entries = buffer_reserve(leaf, count * LEAF_ENTRY_SIZE);
    if (entries == NULL) {
        return STATUS_NO_MEMORY;
    }
    buffer_commit(leaf, count * LEAF_ENTRY_SIZE);
    return STATUS_OK;
}

/* Entry `index` of `count`; in order. */
static enum status leaf_put(const struct table *table, struct buffer *leaf, uint32_t count,
                            uint32_t index, struct slice key, struct table_handle handle)
{
    ASSERT(index < count);
    struct table_fence fence = {
        .offset = handle.offset,
        .key_offset = leaf->size - count * LEAF_ENTRY_SIZE,
        .size = handle.size,
        .key_size = (uint32_t)key.size,
    };
    uint64_t prefix = table_key_prefix(table, key);
    uint8_t *fences = leaf->data + count * sizeof(prefix);
    memcpy(leaf->data + index * sizeof(prefix), &prefix, sizeof(prefix));
    memcpy(fences + index * sizeof(fence), &fence, sizeof(fence));
    buffer_append_slice(leaf, key);
    return buffer_status(leaf);
}

/* From the block in the file; see (2). Keys are in order: table_open() saw to that, and it is what
 * was there then, by its checksum. */
static enum status leaf_decode(const struct table *table, uint32_t leaf_index, struct slice raw,
                               struct buffer *leaf)
{
    uint32_t count = leaf_block_count(table, leaf_index);
    uint32_t index = 0;
    uint64_t end = 0;
    struct block_cursor cursor = {0};
    enum status status = leaf_begin(leaf, count);
    if (status == STATUS_OK) {
        status = block_cursor_reset(&cursor, raw);
    }
    if (status == STATUS_OK) {
        status = block_cursor_first(&cursor);
    }
    while (status == STATUS_OK) {
        struct table_handle handle;
        status = table_handle_get(cursor.cell, end, table->leaves[0].handle.offset, &handle);
        if (status != STATUS_OK || index == count ||
            (index == 0 && !slice_equal(cursor.key, table->leaves[leaf_index].key))) {
            status = STATUS_CORRUPT;
            break;
        }
        end = handle.offset + handle.size;
        status = leaf_put(table, leaf, count, index++, cursor.key, handle);
        if (status == STATUS_OK) {
            status = block_cursor_next(&cursor);
        }
    }
    block_cursor_deinit(&cursor);
    if (status == STATUS_NOT_FOUND) {
        return index == count ? STATUS_OK : STATUS_CORRUPT;
    }
    return status;
}

static enum status leaf_read(const struct table *table, uint32_t leaf_index, enum lsm_wait wait,
                             struct buffer *leaf)
{
    struct table_leaf *place = &table->leaves[leaf_index];
    struct buffer scratch = {0};
    struct slice raw;
    enum status status = table_read_block(table, place->handle, wait, &scratch, &raw);
    if (status == STATUS_OK) {
        status = leaf_decode(table, leaf_index, raw, leaf);
        if (status == STATUS_CORRUPT) {
            status = table_damaged(table, place->handle.offset, "index part");
        }
    }
    buffer_deinit(&scratch);
    if (status == STATUS_OK || status == STATUS_CORRUPT) {
        atomic_store_explicit(&place->damaged, status == STATUS_CORRUPT, memory_order_relaxed);
        atomic_fetch_add_explicit(&table->cache->leaf_read_count, 1, memory_order_relaxed);
    }
    return status;
}

static void view_leave(const struct table *table, struct table_view *view)
{
    if (view->pinned != NULL) {
        cache_unpin(table->cache, view->pinned);
        view->pinned = NULL;
    }
    view->block_count = 0;
}

enum status table_view_open(const struct table *table, uint32_t leaf_index, enum lsm_wait wait,
                            struct table_view *view)
{
    ASSERT(leaf_index < table->leaf_count);
    struct cache_slot *slot = &table->leaves[leaf_index].slot;
    view_leave(table, view);
    view->pinned = cache_pin(table->cache, slot);
    if (view->pinned != NULL) {
        view_set(table, leaf_index, cache_entry_data(view->pinned).data, view);
        return STATUS_OK;
    }
    enum status status = leaf_read(table, leaf_index, wait, &view->own);
    if (status != STATUS_OK) {
        return status;
    }
    if (!view->passing && cache_wants(table->cache, slot, view->own.size)) {
        cache_insert(table->cache, slot, buffer_slice(&view->own), CACHE_LEAF);
    }
    view_set(table, leaf_index, view->own.data, view);
    return STATUS_OK;
}

void table_view_close(const struct table *table, struct table_view *view)
{
    view_leave(table, view);
    buffer_deinit(&view->own);
}

uint32_t table_leaf_of_block(const struct table *table, uint32_t block_index)
{
    ASSERT(block_index < table->block_count);
    uint32_t low = 0;
    uint32_t high = table->leaf_count - 1;
    while (low < high) {
        uint32_t middle = high - (high - low) / 2;
        if (table->leaves[middle].block_first <= block_index) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

uint32_t table_leaf_of_key(const struct table *table, struct slice key)
{
    uint32_t low = 0;
    uint32_t high = table->leaf_count - 1;
    while (low < high) {
        uint32_t middle = high - (high - low) / 2;
        if (slice_compare(table->leaves[middle].key, key) <= 0) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

enum status table_leaf_find(const struct table *table, struct slice key, uint64_t prefix,
                            enum lsm_wait wait, uint32_t *block_index, struct table_handle *handle)
{
    struct table_view view = {0};
    uint32_t leaf_index = table_leaf_of_key(table, key);
    enum status status = table_view_open(table, leaf_index, wait, &view);
    *block_index = table->leaves[leaf_index].block_first;
    if (status == STATUS_OK) {
        *block_index = table_view_search(&view, key, prefix);
        *handle = table_view_handle(&view, *block_index);
    }
    table_view_close(table, &view);
    return status;
}

/* Sets leaf->kept, unless another thread was first. */
static enum status leaf_keep(struct table_leaf *leaf, struct slice bytes)
{
    uint8_t *none = NULL;
    uint8_t *copy = memory_allocate(bytes.size);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(copy, bytes.data, bytes.size);
    if (!atomic_compare_exchange_strong(&leaf->kept, &none, copy)) {
        memory_free(copy);
    }
    return STATUS_OK;
}

enum status table_leaf_keep(const struct table *table, uint32_t block_index, enum lsm_wait wait,
                            uint64_t *offset)
{
    uint32_t leaf_index = table_leaf_of_block(table, block_index);
    struct table_leaf *leaf = &table->leaves[leaf_index];
    struct table_view view = {0};
    enum status status = STATUS_OK;
    const uint8_t *kept = atomic_load(&leaf->kept);
    if (kept != NULL) {
        view_set(table, leaf_index, kept, &view);
    } else {
        status = table_view_open(table, leaf_index, wait, &view);
        if (status == STATUS_OK) {
            bool cached = view.pinned != NULL;
            status =
                leaf_keep(leaf, cached ? cache_entry_data(view.pinned) : buffer_slice(&view.own));
        }
    }
    if (status == STATUS_OK) {
        *offset = table_view_handle(&view, block_index).offset;
    }
    table_view_close(table, &view);
    return status;
}

void table_leaf_bounds(const struct table *table, uint32_t block_index, struct slice *lower,
                       struct slice *upper)
{
    uint32_t leaf_index = table_leaf_of_block(table, block_index);
    const struct table_leaf *leaf = &table->leaves[leaf_index];
    const uint8_t *kept = atomic_load(&leaf->kept);
    *lower = leaf_index == 0 ? table->properties.key_min : leaf->key;
    *upper = leaf_index + 1 < table->leaf_count ? table->leaves[leaf_index + 1].key
                                                : slice_make(NULL, 0);
    if (kept == NULL || atomic_load_explicit(&leaf->damaged, memory_order_relaxed)) {
        return; /* See (3). */
    }
    struct table_view view = {0};
    view_set(table, leaf_index, kept, &view);
    if (block_index > view.block_first) {
        *lower = table_view_key(&view, block_index);
    }
    if (table_view_holds(&view, block_index + 1)) {
        *upper = table_view_key(&view, block_index + 1);
    }
}

/* The keys that stay, in memory of their own. False if there is none. */
static bool top_keys_copy(struct table *table)
{
    size_t size = 0;
    for (uint32_t i = 0; i < table->leaf_count; i++) {
        size += table_fence_key(table, table->leaves[i].block_first).size;
    }
    for (uint32_t i = 0; i < table->filter_count; i++) {
        size += table->filters[i].key.size;
    }
    struct buffer *keys = &table->leaf_keys;
    if (buffer_reserve(keys, size) == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < table->leaf_count; i++) {
        struct slice key = table_fence_key(table, table->leaves[i].block_first);
        table->leaves[i].key = slice_make(keys->data + keys->size, key.size);
        buffer_append_slice(keys, key);
    }
    for (uint32_t i = 0; i < table->filter_count; i++) {
        struct slice key = table->filters[i].key;
        table->filters[i].key = slice_make(keys->data + keys->size, key.size);
        buffer_append_slice(keys, key);
    }
    return true;
}

/* What the cache has room for need not be read again. */
static void leaves_hand_over(struct table *table)
{
    struct buffer leaf = {0};
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < table->leaf_count && status == STATUS_OK; i++) {
        uint32_t count = leaf_block_count(table, i);
        uint32_t first = table->leaves[i].block_first;
        status = leaf_begin(&leaf, count);
        for (uint32_t j = 0; j < count && status == STATUS_OK; j++) {
            status = leaf_put(table, &leaf, count, j, table_fence_key(table, first + j),
                              table_fence_handle(table, first + j));
        }
        if (status == STATUS_OK && cache_has_room(table->cache, leaf.size)) {
            cache_insert(table->cache, &table->leaves[i].slot, buffer_slice(&leaf), CACHE_LEAF);
        }
    }
    buffer_deinit(&leaf);
}

void table_leaves_split(struct table *table)
{
    ASSERT(table->fences != NULL);
    ASSERT(table->damage_count == 0);
    if (table->leaf_count < 2 || !top_keys_copy(table)) {
        return;
    }
    leaves_hand_over(table);
    table->memory_size -= table->fence_keys.capacity;
    table->memory_size -= (uint64_t)table->fence_capacity * LEAF_ENTRY_SIZE;
    table->memory_size += table->leaf_keys.capacity;
    memory_free(table->fences);
    memory_free(table->fence_prefixes);
    buffer_deinit(&table->fence_keys);
    table->fences = NULL;
    table->fence_prefixes = NULL;
    table->fence_capacity = 0;
}

void table_leaves_free(struct table *table)
{
    for (uint32_t i = 0; i < table->leaf_count; i++) {
        if (table->cache != NULL) {
            cache_forget(table->cache, &table->leaves[i].slot, 1);
        }
        memory_free(atomic_load(&table->leaves[i].kept));
    }
    memory_free(table->leaves);
    buffer_deinit(&table->leaf_keys);
}
