/*
 * lsm/block_cursor.c -- a walk over the entries of one raw block.
 *
 * Invariants as in the header, and (1) and (3) of block.c.
 */
#include "lsm/block_cursor.h"

#include "base/contract.h"

static struct block_view cursor_view(const struct block_cursor *cursor)
{
    return (struct block_view){.entries = cursor->entries,
                               .restarts = cursor->restarts,
                               .restart_count = cursor->restart_count};
}

enum status block_cursor_reset(struct block_cursor *cursor, struct slice raw)
{
    struct block_view view;
    if (!block_view_open(raw, &view)) {
        return STATUS_CORRUPT;
    }
    cursor->entries = view.entries;
    cursor->restarts = view.restarts;
    cursor->restart_count = view.restart_count;
    cursor->offset = 0;
    cursor->next_offset = 0;
    cursor->key = slice_make(NULL, 0);
    return STATUS_OK;
}

void block_cursor_deinit(struct block_cursor *cursor)
{
    buffer_deinit(&cursor->key_buffer);
    *cursor = (struct block_cursor){0};
}

/* Makes the entry at `offset`, a restart, the next one. */
static void cursor_jump(struct block_cursor *cursor, uint32_t offset)
{
    cursor->next_offset = offset;
    cursor->key = slice_make(NULL, 0);
}

enum status block_cursor_key_join(struct block_cursor *cursor, struct slice before, uint32_t shared,
                                  struct slice suffix)
{
    ASSERT(shared <= before.size);
    size_t size = shared + suffix.size;
    uint8_t *to = cursor->room;
    if (size > BLOCK_CURSOR_ROOM) {
        struct buffer *buffer = &cursor->key_buffer;
        buffer->size = before.data == buffer->data ? shared : 0; /* What growing must keep. */
        to = buffer_reserve(buffer, size - buffer->size);
        if (to == NULL) {
            buffer->failed = false;
            return STATUS_NO_MEMORY;
        }
        before.data = buffer->size > 0 ? buffer->data : before.data;
        to = buffer->data;
    }
    if (shared > 0 && before.data != to) {
        memcpy(to, before.data, shared);
    }
    if (suffix.size > 0) {
        memcpy(to + shared, suffix.data, suffix.size);
    }
    cursor->key = slice_make(to, size);
    return STATUS_OK;
}

enum status block_cursor_first(struct block_cursor *cursor)
{
    cursor_jump(cursor, 0);
    return block_cursor_next(cursor);
}

/* From a restart below `end` to the entry that ends there. */
static enum status cursor_walk_to(struct block_cursor *cursor, uint32_t restart, uint32_t end)
{
    cursor_jump(cursor, restart);
    while (cursor->next_offset < end) {
        enum status status = block_cursor_next(cursor);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return cursor->next_offset == end ? STATUS_OK : STATUS_CORRUPT;
}

enum status block_cursor_last(struct block_cursor *cursor)
{
    struct block_view view = cursor_view(cursor);
    uint32_t restart = block_restart_offset(&view, view.restart_count - 1);
    if (restart >= cursor->entries.size) {
        return STATUS_CORRUPT;
    }
    return cursor_walk_to(cursor, restart, (uint32_t)cursor->entries.size);
}

/* The keys a search will compare, in a block small enough that it compares a good part of them. */
static void restarts_prefetch(const struct block_view *view)
{
    for (uint32_t i = 0; i < view->restart_count && i < BLOCK_PREFETCH_LINES; i++) {
        uint32_t offset = block_restart_offset(view, i);
        if (offset < view->entries.size) {
            __builtin_prefetch(view->entries.data + offset);
        }
    }
}

void block_cursor_prefetch(const struct block_cursor *cursor)
{
    struct block_view view = cursor_view(cursor);
    restarts_prefetch(&view);
}

/* The first of `entries` from `from` on, a restart, that is at or above `bound`; `cursor` stands
 * there, with its key put together from the bound. */
static enum status entries_seek(struct block_cursor *cursor, uint32_t from, struct slice bound)
{
    /* Of the entry before, which is below `bound`: how many bytes agree with it, and its key size.
     */
    size_t matched = 0;
    size_t previous_size = 0;
    cursor->next_offset = from;
    while (cursor->next_offset < cursor->entries.size) {
        struct block_entry entry;
        if (!block_entry_parse(cursor->entries, cursor->next_offset, &entry) ||
            entry.shared > previous_size) {
            return STATUS_CORRUPT;
        }
        bool below = entry.shared > matched; /* As the one before, by the same byte. */
        if (entry.shared == matched) {
            struct slice rest = slice_make(bound.data + matched, bound.size - matched);
            size_t common = block_common_prefix(entry.suffix, rest);
            below = common < rest.size &&
                    (common == entry.suffix.size || entry.suffix.data[common] < rest.data[common]);
            matched += below ? common : 0;
        }
        if (!below) {
            /* Shares less than the one before, or is a restart: above, if they are in order. */
            struct slice rest = slice_make(bound.data + entry.shared, bound.size - entry.shared);
            if (entry.shared < matched && slice_compare(entry.suffix, rest) < 0) {
                return STATUS_CORRUPT;
            }
            enum status status = block_cursor_key_join(cursor, bound, entry.shared, entry.suffix);
            if (status != STATUS_OK) {
                return status;
            }
            cursor->cell = entry.cell;
            cursor->offset = cursor->next_offset;
            cursor->next_offset = entry.end;
            return STATUS_OK;
        }
        previous_size = entry.shared + entry.suffix.size;
        cursor->offset = cursor->next_offset;
        cursor->next_offset = entry.end;
    }
    return STATUS_NOT_FOUND;
}

enum status block_cursor_seek(struct block_cursor *cursor, struct slice bound)
{
    struct block_view view = cursor_view(cursor);
    uint32_t offset;
    restarts_prefetch(&view);
    if (!block_restart_search(&view, bound, &offset)) {
        return STATUS_CORRUPT;
    }
    if (offset < view.entries.size) {
        block_lines_prefetch(view.entries.data + offset, view.entries.data + view.entries.size);
    }
    cursor->key = slice_make(NULL, 0);
    return entries_seek(cursor, offset, bound);
}

enum status block_cursor_seek_before(struct block_cursor *cursor, struct slice bound)
{
    if (bound.size == 0) {
        return block_cursor_last(cursor);
    }
    enum status status = block_cursor_seek(cursor, bound);
    if (status == STATUS_NOT_FOUND) {
        return block_cursor_last(cursor);
    }
    return status == STATUS_OK ? block_cursor_previous(cursor) : status;
}

enum status block_cursor_previous(struct block_cursor *cursor)
{
    uint32_t end = cursor->offset;
    if (end == 0) {
        return STATUS_NOT_FOUND;
    }
    /* The last restart below the entry; the first one, at 0, is. */
    struct block_view view = cursor_view(cursor);
    uint32_t lower = 0;
    uint32_t upper = view.restart_count;
    while (upper - lower > 1) {
        uint32_t middle = lower + (upper - lower) / 2;
        if (block_restart_offset(&view, middle) < end) {
            lower = middle;
        } else {
            upper = middle;
        }
    }
    return cursor_walk_to(cursor, block_restart_offset(&view, lower), end);
}
