/*
 * node/register_window.h -- what a cell of a strong key remembers of the operations that made it.
 *
 * Why: a mutation whose answer was lost is asked again, by its client or by another coordinator.
 * Its id in the window of the cell says that it has happened, and with what result, so that it
 * happens once. The window goes where the cell goes, and is replaced with it as one. Invariants:
 *  (1) An id is in the window of every cell that follows the one it made, or at or below
 *      `forgotten`; which only grows.
 *  (2) At most COUNT_MAX entries and SIZE_MAX encoded bytes; the oldest entries make room.
 * The encoding is docs/formats/window.md.
 */
#ifndef NODE_REGISTER_WINDOW_H
#define NODE_REGISTER_WINDOW_H

#include "base/cell.h"

#define REGISTER_WINDOW_COUNT_MAX 8u
#define REGISTER_WINDOW_SIZE_MAX 512u
#define REGISTER_RESULT_SIZE_MAX 64u

struct register_entry {
    struct version id;
    struct slice result; /* Up to REGISTER_RESULT_SIZE_MAX; borrows. */
};

struct register_window {
    struct version forgotten; /* The greatest id that made room. */
    /* Ballot of the last change of value or expiry: the version that clients are told. The cell's
     * own grows with every ballot that merely confirms it. */
    struct version changed;
    uint32_t count;
    struct register_entry entries[REGISTER_WINDOW_COUNT_MAX]; /* Oldest first. */
};

/* Of a cell: of one without a window nothing is remembered, and it changed at its version. Results
 * borrow from the cell. STATUS_CORRUPT. */
MUST_USE enum status register_window_decode(const struct cell *cell,
                                            struct register_window *window);
void register_window_encode(struct buffer *to, const struct register_window *window);
/* NULL: the id is not in it. */
const struct register_entry *register_window_find(const struct register_window *window,
                                                  struct version id);
/* The id is not in it; the result is not copied. */
void register_window_add(struct register_window *window, struct version id, struct slice result);

#endif
