/*
 * lsm/table_cursor.c -- a walk over one table, block by block.
 *
 * A cursor stands in a cached block, which it pins, or in one it read into a buffer of its own.
 */
#include "lsm/table_parts.h"

/* A cursor that goes through more blocks than this from one seek on is a scan, which must not push
 * what is read again and again out of the cache. */
#define CURSOR_STREAK_CACHED 4u

static struct table_cursor *cursor_of(struct cursor *cursor)
{
    return container_of(cursor, struct table_cursor, base);
}

static void cursor_unpin(struct table_cursor *cursor)
{
    if (cursor->pinned != NULL) {
        cache_unpin(cursor->pinned);
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

/* Makes the block the cursor wants the one in its scratch. */
static enum status cursor_load(struct table_cursor *cursor, enum lsm_wait wait)
{
    if (cursor->loaded) {
        return STATUS_OK;
    }
    const struct table *table = cursor->table;
    struct slice raw;
    enum status status = STATUS_OK;
    if (!cursor_load_cached(cursor, &raw)) {
        struct table_handle handle = table_fence_handle(table, cursor->block_index);
        status = table_read_block(table, handle, wait, &cursor->scratch, &raw);
        if (status != STATUS_OK) {
            return status;
        }
        struct cache_slot *slot = table->cache != NULL ? &table->slots[cursor->block_index] : NULL;
        if (slot != NULL && cursor->streak < CURSOR_STREAK_CACHED &&
            cache_wants(table->cache, slot, raw.size)) {
            cache_insert(table->cache, slot, raw, CACHE_BLOCK);
        }
    }
    cursor->streak++;
    status = block_cursor_reset(&cursor->block, raw);
    if (status != STATUS_OK) {
        return table_damaged(table, table_fence_handle(table, cursor->block_index).offset,
                             "block content");
    }
    cursor->loaded = true;
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
static enum status cursor_show(struct table_cursor *cursor, enum status status)
{
    if (status == STATUS_OK) {
        cursor->base.key = cursor->block.key;
        cursor->base.cell = cursor->block.cell;
        return STATUS_OK;
    }
    if (status == STATUS_CORRUPT) {
        cursor->loaded = false;
        return table_damaged(cursor->table,
                             table_fence_handle(cursor->table, cursor->block_index).offset,
                             "block content");
    }
    return status;
}

static enum status table_cursor_next(struct cursor *base, enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    if (cursor->loaded) {
        enum status status = block_cursor_next(&cursor->block);
        if (status != STATUS_NOT_FOUND) {
            return cursor_show(cursor, status);
        }
        if (cursor->block_index + 1 == cursor->table->block_count) {
            return STATUS_NOT_FOUND;
        }
        cursor_aim(cursor, cursor->block_index + 1);
    }
    enum status status = cursor_load(cursor, wait);
    return status == STATUS_OK ? cursor_show(cursor, block_cursor_first(&cursor->block)) : status;
}

static enum status table_cursor_previous(struct cursor *base, enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    if (cursor->loaded) {
        enum status status = block_cursor_previous(&cursor->block);
        if (status != STATUS_NOT_FOUND) {
            return cursor_show(cursor, status);
        }
        if (cursor->block_index == 0) {
            return STATUS_NOT_FOUND;
        }
        cursor_aim(cursor, cursor->block_index - 1);
    }
    enum status status = cursor_load(cursor, wait);
    return status == STATUS_OK ? cursor_show(cursor, block_cursor_last(&cursor->block)) : status;
}

static enum status table_cursor_seek(struct cursor *base, struct slice bound, enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    uint32_t block_index = 0;
    bool inside = bound.size > 0 && table_fence_search(cursor->table, bound, &block_index);
    cursor_aim(cursor, block_index);
    cursor->streak = 0;
    enum status status = cursor_load(cursor, wait);
    if (status != STATUS_OK) {
        return status;
    }
    if (!inside) {
        return cursor_show(cursor, block_cursor_first(&cursor->block));
    }
    status = block_cursor_seek(&cursor->block, bound);
    if (status == STATUS_NOT_FOUND) {
        /* All of the block is below the bound: it stands at its end, and steps on. */
        return table_cursor_next(base, wait);
    }
    return cursor_show(cursor, status);
}

static enum status table_cursor_seek_before(struct cursor *base, struct slice bound,
                                            enum lsm_wait wait)
{
    struct table_cursor *cursor = cursor_of(base);
    uint32_t block_index = cursor->table->block_count - 1;
    if (bound.size > 0 && !table_fence_search(cursor->table, bound, &block_index)) {
        return STATUS_NOT_FOUND;
    }
    if (bound.size > 0 && slice_equal(table_fence_key(cursor->table, block_index), bound)) {
        if (block_index == 0) {
            return STATUS_NOT_FOUND;
        }
        block_index--; /* No key of a block is below its separator. */
    }
    cursor_aim(cursor, block_index);
    cursor->streak = 0;
    enum status status = cursor_load(cursor, wait);
    if (status != STATUS_OK) {
        return status;
    }
    status = block_cursor_seek_before(&cursor->block, bound);
    if (status == STATUS_NOT_FOUND) {
        /* The separator is at or below the bound, but no key of the block is below it: the cursor
         * stands on its first entry, and steps back. */
        return table_cursor_previous(base, wait);
    }
    return cursor_show(cursor, status);
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
    buffer_deinit(&cursor->scratch);
    block_cursor_deinit(&cursor->block);
    *cursor = (struct table_cursor){0};
}
