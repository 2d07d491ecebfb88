/*
 * lsm/table_cursor.c -- a walk over one table, block by block.
 *
 * A cursor stands in a cached block, which it pins, or in one it read into a buffer of its own.
 */
#include "lsm/table_parts.h"

/* A cursor that goes through more blocks than this from one seek on is a scan, which must not push
 * what is read again and again out of the cache. */
#define CURSOR_STREAK_CACHED 4u
/* And it reads so much at once, where blocks lie behind one another. */
#define CURSOR_AHEAD_SIZE (32u << 10)
#define PREPARE_LINES \
    4u /* Of a block's head, which tells where the keys are that a seek compares. */

static struct table_cursor *cursor_of(struct cursor *cursor)
{
    return container_of(cursor, struct table_cursor, base);
}

static void cursor_unpin(struct table_cursor *cursor)
{
    if (cursor->pinned != NULL) {
        cache_unpin(cursor->table->cache, cursor->pinned);
        cursor->pinned = NULL;
    }
}

/* Pins the block the cursor wants in the cache; false if it is not there. */
static bool cursor_load_cached(struct table_cursor *cursor, struct slice *raw)
{
    const struct table *table = cursor->table;
    cursor_unpin(cursor);
    if (table->cache == NULL) {
        return false;
    }
    cursor->pinned = cache_pin(table->cache, &table->slots[cursor->block_index]);
    if (cursor->pinned != NULL) {
        *raw = cache_entry_data(cursor->pinned);
    }
    return cursor->pinned != NULL;
}

/* Makes the view that of the leaf. A damaged one is met at its first block, wherever one came
 * from: all that it names is lost at once. */
static enum status cursor_look(struct table_cursor *cursor, uint32_t leaf_index, enum lsm_wait wait)
{
    const struct table *table = cursor->table;
    uint32_t block_first = table->leaves[leaf_index].block_first;
    if (table_view_holds(&cursor->view, block_first)) {
        return STATUS_OK;
    }
    cursor->view.passing = cursor->streak >= CURSOR_STREAK_CACHED;
    enum status status = table_view_open(table, leaf_index, wait, &cursor->view);
    if (status == STATUS_CORRUPT) {
        cursor->block_index = block_first;
        cursor->loaded = false;
    }
    return status;
}

/* Where the block lies that the cursor wants. */
static enum status cursor_handle(struct table_cursor *cursor, enum lsm_wait wait,
                                 struct table_handle *handle)
{
    const struct table *table = cursor->table;
    if (table->fences != NULL) {
        *handle = table_fence_handle(table, cursor->block_index);
        return STATUS_OK;
    }
    enum status status = cursor_look(cursor, table_leaf_of_block(table, cursor->block_index), wait);
    if (status == STATUS_OK) {
        *handle = table_view_handle(&cursor->view, cursor->block_index);
    }
    return status;
}

/* The block was found damaged, and that was logged: its bounds may be asked for from here on. */
static enum status cursor_lost(struct table_cursor *cursor, enum lsm_wait wait)
{
    uint64_t offset;
    enum status status = STATUS_OK;
    if (cursor->table->fences == NULL) {
        status = table_leaf_keep(cursor->table, cursor->block_index, wait, &offset);
    }
    return status == STATUS_OK ? STATUS_CORRUPT : status;
}

/* The content of the block is damaged. */
static enum status cursor_damaged(struct table_cursor *cursor, enum lsm_wait wait)
{
    cursor->loaded = false;
    return table_block_damaged(cursor->table, cursor->block_index, wait, "block content");
}

/* Where a block lies, if that is known without reading. */
static bool handle_peek(const struct table_cursor *cursor, uint32_t block_index,
                        struct table_handle *handle)
{
    const struct table *table = cursor->table;
    if (table->fences != NULL && block_index < table->block_count) {
        *handle = table_fence_handle(table, block_index);
        return true;
    }
    if (table->fences == NULL && table_view_holds(&cursor->view, block_index)) {
        *handle = table_view_handle(&cursor->view, block_index);
        return true;
    }
    return false;
}

/* So many blocks from the one wanted on lie behind one another in the file and are worth one read:
 * their bytes. 0: the one alone is. */
static uint32_t ahead_size(const struct table_cursor *cursor, struct table_handle first)
{
    uint32_t size = first.size;
    struct table_handle next;
    for (uint32_t i = cursor->block_index + 1; handle_peek(cursor, i, &next); i++) {
        if (next.offset != first.offset + size || next.size > CURSOR_AHEAD_SIZE - size) {
            break;
        }
        size += next.size;
    }
    return size == first.size ? 0 : size;
}

/* Puts the sealed block into scratch from what was read ahead, or reads ahead for it. False: it
 * must be read alone. */
static bool ahead_take(struct table_cursor *cursor, struct table_handle handle)
{
    struct buffer *ahead = &cursor->ahead;
    bool inside = handle.offset >= cursor->ahead_offset &&
                  handle.offset + handle.size <= cursor->ahead_offset + ahead->size;
    if (!inside) {
        if (handle.size == 0 || handle.size > CURSOR_AHEAD_SIZE / 2) {
            return false;
        }
        uint32_t size = ahead_size(cursor, handle);
        buffer_clear(ahead);
        uint8_t *to = size == 0 ? NULL : buffer_reserve(ahead, CURSOR_AHEAD_SIZE);
        if (to == NULL ||
            table_read(cursor->table, handle.offset, size, LSM_MAY_BLOCK, to) != STATUS_OK) {
            return false; /* What is wrong shows when the block is read. */
        }
        buffer_commit(ahead, size);
        cursor->ahead_offset = handle.offset;
    }
    buffer_clear(&cursor->scratch);
    buffer_append(&cursor->scratch, ahead->data + (handle.offset - cursor->ahead_offset),
                  handle.size);
    return buffer_status(&cursor->scratch) == STATUS_OK;
}

/* Reads and opens the block the cursor wants; a scan reads several at once. */
static enum status cursor_read(struct table_cursor *cursor, enum lsm_wait wait, struct slice *raw)
{
    const struct table *table = cursor->table;
    struct table_handle handle;
    enum status status = cursor_handle(cursor, wait, &handle);
    if (status != STATUS_OK) {
        return status;
    }
    if (cursor->streak >= CURSOR_STREAK_CACHED && wait == LSM_MAY_BLOCK &&
        ahead_take(cursor, handle)) {
        status = table_open_block(table, handle, &cursor->scratch, raw);
    } else {
        status = table_read_block(table, handle, wait, &cursor->scratch, raw);
    }
    return status == STATUS_CORRUPT ? cursor_lost(cursor, wait) : status;
}

/* The first lines of a cached block, header of its entry included. */
static bool block_prefetch(struct cache_slot *slot)
{
    const uint8_t *data = cache_peek(slot);
    if (data == NULL) {
        return false;
    }
    data -= CACHE_ENTRY_HEADER_SIZE;
    for (uint32_t i = 0; i <= PREPARE_LINES; i++) {
        __builtin_prefetch(data + (size_t)i * BLOCK_PREFETCH_LINE_SIZE);
    }
    return true;
}

/* A walk that has come to a cached block will read it from the start, and then the next one. */
static void walk_prefetch(const struct table_cursor *cursor)
{
    const struct table *table = cursor->table;
    if (cursor->streak > 1) {
        struct slice entries = cursor->block.entries;
        block_lines_prefetch(entries.data, entries.data + entries.size);
    }
    if (cursor->block_index + 1 < table->block_count) {
        (void)block_prefetch(&table->slots[cursor->block_index + 1]);
    }
}

/* Makes the block the cursor wants the one in its scratch. */
static enum status cursor_load(struct table_cursor *cursor, enum lsm_wait wait)
{
    if (cursor->loaded) {
        return STATUS_OK;
    }
    const struct table *table = cursor->table;
    struct slice raw;
    enum status status = STATUS_OK;
    bool scan = cursor->streak >= CURSOR_STREAK_CACHED;
    if (!cursor_load_cached(cursor, &raw) &&
        (scan || !table_fill(table, cursor->block_index, wait) ||
         !cursor_load_cached(cursor, &raw))) {
        status = cursor_read(cursor, wait, &raw);
        if (status != STATUS_OK) {
            return status;
        }
        struct cache_slot *slot = table->cache != NULL ? &table->slots[cursor->block_index] : NULL;
        if (slot != NULL && !scan && cache_wants(table->cache, slot, raw.size)) {
            cache_insert(table->cache, slot, raw, CACHE_BLOCK);
        }
    }
    cursor->streak++;
    status = block_cursor_reset(&cursor->block, raw);
    if (status != STATUS_OK) {
        return cursor_damaged(cursor, wait);
    }
    cursor->loaded = true;
    if (cursor->pinned != NULL) {
        walk_prefetch(cursor);
    }
    return STATUS_OK;
}

static void cursor_aim(struct table_cursor *cursor, uint32_t block_index)
{
    if (cursor->block_index != block_index) {
        cursor->block_index = block_index;
        cursor->loaded = false;
    }
}

/* Hands out what the block cursor said. */
static enum status cursor_show(struct table_cursor *cursor, enum status status, enum lsm_wait wait)
{
    if (status == STATUS_OK) {
        cursor->base.key = cursor->block.key;
        cursor->base.cell = cursor->block.cell;
        return STATUS_OK;
    }
    if (status == STATUS_CORRUPT) {
        status = cursor_damaged(cursor, wait);
        /* What was shown of it must not be shown again: rather are all blocks of its leaf lost. */
        return status == STATUS_WOULD_BLOCK ? STATUS_CORRUPT : status;
    }
    return status;
}

static enum status table_cursor_next(struct cursor *base, enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    if (cursor->loaded) {
        enum status status = block_cursor_next(&cursor->block);
        if (status != STATUS_NOT_FOUND) {
            return cursor_show(cursor, status, wait);
        }
        if (cursor->block_index + 1 == cursor->table->block_count) {
            return STATUS_NOT_FOUND;
        }
        cursor_aim(cursor, cursor->block_index + 1);
    }
    enum status status = cursor_load(cursor, wait);
    return status == STATUS_OK ? cursor_show(cursor, block_cursor_first(&cursor->block), wait)
                               : status;
}

static enum status table_cursor_previous(struct cursor *base, enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    if (cursor->loaded) {
        enum status status = block_cursor_previous(&cursor->block);
        if (status != STATUS_NOT_FOUND) {
            return cursor_show(cursor, status, wait);
        }
        if (cursor->block_index == 0) {
            return STATUS_NOT_FOUND;
        }
        cursor_aim(cursor, cursor->block_index - 1);
    }
    enum status status = cursor_load(cursor, wait);
    return status == STATUS_OK ? cursor_show(cursor, block_cursor_last(&cursor->block), wait)
                               : status;
}

/* The block that alone may hold `bound`; false if it is below all blocks. */
static enum status cursor_search(struct table_cursor *cursor, struct slice bound,
                                 enum lsm_wait wait, uint32_t *block_index, bool *inside)
{
    const struct table *table = cursor->table;
    if (table->fences != NULL || bound.size == 0) {
        *inside = bound.size > 0 && table_fence_search(table, bound, block_index);
        return STATUS_OK;
    }
    int side = table_key_side(table, bound);
    *inside = side > 0 || (side == 0 && slice_compare(table->leaves[0].key, bound) <= 0);
    if (!*inside || side > 0) {
        *block_index = *inside ? table->block_count - 1 : 0;
        return STATUS_OK;
    }
    enum status status = cursor_look(cursor, table_leaf_of_key(table, bound), wait);
    if (status == STATUS_OK) {
        *block_index = table_view_search(&cursor->view, bound, table_key_prefix(table, bound));
    }
    return status;
}

/* Whether the bound, for which the block was found, is its separator. */
static bool cursor_begins_at(const struct table_cursor *cursor, uint32_t block_index,
                             struct slice bound)
{
    const struct table *table = cursor->table;
    if (table->fences != NULL) {
        return slice_equal(table_fence_key(table, block_index), bound);
    }
    return table_view_holds(&cursor->view, block_index) &&
           slice_equal(table_view_key(&cursor->view, block_index), bound);
}

/* Where a seek begins. */
static enum status cursor_aim_at(struct table_cursor *cursor, struct slice bound,
                                 enum lsm_wait wait)
{
    uint32_t block_index = 0;
    cursor->prepared_inside = false;
    cursor->streak = 0;
    enum status status = cursor_search(cursor, bound, wait, &block_index, &cursor->prepared_inside);
    if (status == STATUS_OK) {
        cursor_aim(cursor, block_index);
    }
    return status;
}

bool table_cursor_prepare(struct table_cursor *cursor, struct slice bound, uint32_t stage)
{
    const struct table *table = cursor->table;
    if (stage == 0) {
        cursor->prepared =
            table->fences != NULL && cursor_aim_at(cursor, bound, LSM_NOWAIT) == STATUS_OK;
        if (!cursor->prepared) {
            return false; /* To find the block may take a read. */
        }
        if (table->cache != NULL && !cursor->loaded) {
            __builtin_prefetch(&table->slots[cursor->block_index]);
        }
        return table->cache != NULL && !cursor->loaded;
    }
    if (!cursor->prepared || table->cache == NULL || cursor->loaded) {
        return false;
    }
    if (stage == 1) {
        return block_prefetch(&table->slots[cursor->block_index]);
    }
    struct slice raw;
    if (cursor_load_cached(cursor, &raw) && block_cursor_reset(&cursor->block, raw) == STATUS_OK) {
        cursor->streak++;
        cursor->loaded = true;
        block_cursor_prefetch(&cursor->block);
        walk_prefetch(cursor);
    } /* Else the seek does it, and says what is wrong. */
    return false;
}

static enum status table_cursor_seek(struct cursor *base, struct slice bound, enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    enum status status = STATUS_OK;
    if (!cursor->prepared) {
        status = cursor_aim_at(cursor, bound, wait);
    }
    cursor->prepared = false;
    if (status == STATUS_OK) {
        status = cursor_load(cursor, wait);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (!cursor->prepared_inside) {
        return cursor_show(cursor, block_cursor_first(&cursor->block), wait);
    }
    status = block_cursor_seek(&cursor->block, bound);
    if (status == STATUS_NOT_FOUND) {
        /* All of the block is below the bound: it stands at its end, and steps on. */
        return table_cursor_next(base, wait);
    }
    return cursor_show(cursor, status, wait);
}

static enum status table_cursor_seek_before(struct cursor *base, struct slice bound,
                                            enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    uint32_t block_index = cursor->table->block_count - 1;
    bool inside = true;
    cursor->streak = 0;
    enum status status = STATUS_OK;
    if (bound.size > 0) {
        status = cursor_search(cursor, bound, wait, &block_index, &inside);
    }
    if (status != STATUS_OK || !inside) {
        return status != STATUS_OK ? status : STATUS_NOT_FOUND;
    }
    if (bound.size > 0 && cursor_begins_at(cursor, block_index, bound)) {
        if (block_index == 0) {
            return STATUS_NOT_FOUND;
        }
        block_index--; /* No key of a block is below its separator. */
    }
    cursor_aim(cursor, block_index);
    status = cursor_load(cursor, wait);
    if (status != STATUS_OK) {
        return status;
    }
    status = block_cursor_seek_before(&cursor->block, bound);
    if (status == STATUS_NOT_FOUND) {
        /* The separator is at or below the bound, but no key of the block is below it: the cursor
         * stands on its first entry, and steps back. */
        return table_cursor_previous(base, wait);
    }
    return cursor_show(cursor, status, wait);
}

static const struct cursor_ops table_cursor_ops = {
    .seek = table_cursor_seek,
    .seek_before = table_cursor_seek_before,
    .next = table_cursor_next,
    .previous = table_cursor_previous,
};

void table_cursor_open(struct table_cursor *cursor, const struct table *table)
{
    ASSERT(cursor != NULL);
    ASSERT(table != NULL);
    *cursor = (struct table_cursor){
        .base.ops = &table_cursor_ops, .table = table, .block_index = table->block_count};
}

void table_cursor_close(struct table_cursor *cursor)
{
    cursor_unpin(cursor);
    table_view_close(cursor->table, &cursor->view);
    buffer_deinit(&cursor->scratch);
    buffer_deinit(&cursor->ahead);
    block_cursor_deinit(&cursor->block);
    *cursor = (struct table_cursor){0};
}
