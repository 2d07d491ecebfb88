/*
 * lsm/cursor.h -- walking a sorted source of keys and encoded cells, whatever it is.
 *
 * Why: memtables, tables and merges of them are walked alike by iterators and compaction. What a
 * caller looks at on every step, key and cell, are plain fields; only moves go through the table of
 * functions.
 * Contract:
 *  (1) After STATUS_OK the cursor stands on an entry: `key` and `cell` borrow until the next move,
 *      until the cursor ends, or as long as the source promises, whichever comes first.
 *  (2) STATUS_NOT_FOUND: there is no such entry; only a seek may follow.
 *  (3) STATUS_WOULD_BLOCK (only with LSM_NOWAIT): `key` and `cell` no longer hold; after a step the
 *      same step may be asked again and goes on where it was, after a seek the seek.
 *  (4) Any other status: only a seek may follow.
 *  (5) One thread at a time.
 *  (6) cursor_approach() answers true: the cursor is on its way to what a seek would find, `key`
 *      is a key that it cannot be before, and there is no cell; the first step arrives there.
 *  (7) cursor_prepare() changes nothing that a caller sees; a seek to another bound than the one
 *      prepared for is preceded by cursor_approach().
 */
#ifndef LSM_CURSOR_H
#define LSM_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"
#include "lsm/lsm.h"

struct cursor;

struct cursor_ops {
    /* To the least key at or above `bound`; an empty bound: to the least key. */
    enum status (*seek)(struct cursor *cursor, struct slice bound, enum lsm_wait wait);
    /* To the greatest key below `bound`; an empty bound: to the greatest key. */
    enum status (*seek_before)(struct cursor *cursor, struct slice bound, enum lsm_wait wait);
    enum status (*next)(struct cursor *cursor, enum lsm_wait wait);
    enum status (*previous)(struct cursor *cursor, enum lsm_wait wait);
    /* Sets out for where seek (reverse: seek_before) would go, if that is known to lie beyond the
     * bound; reads nothing. False: nothing is known, seek. May be NULL. */
    bool (*approach)(struct cursor *cursor, struct slice bound, bool reverse);
    /* Asks for the memory that a seek to `bound`, the next thing to come, will touch: one step for
     * each stage from 0 on, so that the waits of several cursors lie side by side. False: there is
     * nothing more to ask for. May be NULL. */
    bool (*prepare)(struct cursor *cursor, struct slice bound, uint32_t stage);
};

/* Implementations place this first in their own struct. */
struct cursor {
    const struct cursor_ops *ops;
    struct slice key;
    struct slice cell; /* As cell_encode() writes it. */
};

MUST_USE static inline enum status cursor_seek(struct cursor *cursor, struct slice bound,
                                               enum lsm_wait wait)
{
    return cursor->ops->seek(cursor, bound, wait);
}

MUST_USE static inline enum status cursor_seek_before(struct cursor *cursor, struct slice bound,
                                                      enum lsm_wait wait)
{
    return cursor->ops->seek_before(cursor, bound, wait);
}

MUST_USE static inline enum status cursor_next(struct cursor *cursor, enum lsm_wait wait)
{
    return cursor->ops->next(cursor, wait);
}

MUST_USE static inline enum status cursor_previous(struct cursor *cursor, enum lsm_wait wait)
{
    return cursor->ops->previous(cursor, wait);
}

static inline bool cursor_approach(struct cursor *cursor, struct slice bound, bool reverse)
{
    return cursor->ops->approach != NULL && cursor->ops->approach(cursor, bound, reverse);
}

static inline bool cursor_prepare(struct cursor *cursor, struct slice bound, uint32_t stage)
{
    return cursor->ops->prepare != NULL && cursor->ops->prepare(cursor, bound, stage);
}

#endif
