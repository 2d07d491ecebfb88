/*
 * lsm/block_cursor.h -- a walk over the entries of one raw block.
 *
 * A key is put together only where it must be: the first of each run of entries is shown where it
 * lies in the block, and a seek passes over what lies before its bound without putting any
 * together. Invariants: (1) `key` is empty before the first entry and behind a jump; else it is the
 * whole key of the entry at `offset`, in the block, in `room` or in `key_buffer`. (2) A cursor that
 * stands nowhere for want of memory, or at the end, may be asked the same again. (3) It is not
 * moved in memory: `key` may point into it.
 */
#ifndef LSM_BLOCK_CURSOR_H
#define LSM_BLOCK_CURSOR_H

#include "base/buffer.h"
#include "lsm/block_parts.h"

#define BLOCK_CURSOR_ROOM 96u   /* Keys up to this much need no memory but the cursor's own. */
#define BLOCK_CURSOR_STRIDE 16u /* Bytes copied at once where so many may be read and written. */

/* Zero it before first use. Statuses as in lsm/cursor.h. */
struct block_cursor {
    struct slice key;  /* Borrows until the next move. */
    struct slice cell; /* Borrows from the raw block. */
    struct slice entries;
    const uint8_t *restarts;
    uint32_t restart_count;
    uint32_t offset;      /* Of the entry it stands on. */
    uint32_t next_offset; /* Of the one after. */
    struct buffer key_buffer;
    uint8_t room[BLOCK_CURSOR_ROOM];
};

/* Stands nowhere after. `raw` must outlive its use. */
MUST_USE enum status block_cursor_reset(struct block_cursor *cursor, struct slice raw);
void block_cursor_deinit(struct block_cursor *cursor);
MUST_USE enum status block_cursor_first(struct block_cursor *cursor);
MUST_USE enum status block_cursor_last(struct block_cursor *cursor);
/* Asks for the memory that a seek will touch. */
void block_cursor_prefetch(const struct block_cursor *cursor);
/* To the least key at or above `bound`. */
MUST_USE enum status block_cursor_seek(struct block_cursor *cursor, struct slice bound);
/* To the greatest key below `bound`. */
MUST_USE enum status block_cursor_seek_before(struct block_cursor *cursor, struct slice bound);
MUST_USE enum status block_cursor_previous(struct block_cursor *cursor);

/* Private: `key` becomes the first `shared` bytes of `before` and then `suffix`. */
MUST_USE enum status block_cursor_key_join(struct block_cursor *cursor, struct slice before,
                                           uint32_t shared, struct slice suffix);

MUST_USE static inline enum status block_cursor_next(struct block_cursor *cursor)
{
    if (cursor->next_offset == cursor->entries.size) {
        return STATUS_NOT_FOUND;
    }
    struct block_entry entry;
    if (!block_entry_parse(cursor->entries, cursor->next_offset, &entry) ||
        entry.shared > cursor->key.size) {
        return STATUS_CORRUPT;
    }
    if (entry.shared == 0) {
        cursor->key = entry.suffix;
    } else if (cursor->key.data == cursor->room && entry.suffix.size <= BLOCK_CURSOR_STRIDE &&
               entry.shared <= BLOCK_CURSOR_ROOM - BLOCK_CURSOR_STRIDE &&
               (size_t)(cursor->entries.data + cursor->entries.size - entry.suffix.data) >=
                   BLOCK_CURSOR_STRIDE) {
        /* Nearly always: what is copied too much is behind the key. */
        memcpy(cursor->room + entry.shared, entry.suffix.data, BLOCK_CURSOR_STRIDE);
        cursor->key.size = entry.shared + entry.suffix.size;
    } else {
        enum status status = block_cursor_key_join(cursor, cursor->key, entry.shared, entry.suffix);
        if (status != STATUS_OK) {
            return status;
        }
    }
    cursor->cell = entry.cell;
    cursor->offset = cursor->next_offset;
    cursor->next_offset = entry.end;
    return STATUS_OK;
}

#endif
