/*
 * node/register_change.h -- what a mutation makes of the cell of a strong key: pure functions.
 *
 * Why: the coordinator of a strong operation reads the accepted cell, computes the next one and has
 * it accepted under its ballot. What is computed depends on nothing but the change, the cell and
 * the ballot, so it can be tested, and computed again under a later ballot, without the rest.
 * Contract:
 *  (1) Whatever comes of it is a cell of the ballot to be accepted: of a condition that does not
 *      hold the cell that stands, under the new ballot. (Answering without it would let an older
 *      ACCEPT that is still under way follow the answer.)
 *  (2) Expiry is judged by the ballot's time. A cell that is expired then counts as none, and what
 *      follows it is written accordingly: a tombstone, if nothing else.
 *  (3) An operation whose id is in the window is not done again, its result is given again; one at
 *      or below `forgotten` is never done.
 */
#ifndef NODE_REGISTER_CHANGE_H
#define NODE_REGISTER_CHANGE_H

#include "base/cell.h"
#include "node/register_window.h"

enum register_action {
    REGISTER_CONFIRM = 1, /* Nothing changes: what a read settles. */
    REGISTER_PUT = 2,     /* value; its expiry as `expiry` says. */
    REGISTER_DELETE = 3,
    REGISTER_ADD = 4,    /* delta, to the integer that stands, or to 0. Keeps the expiry. */
    REGISTER_APPEND = 5, /* value, behind the one that stands. Keeps the expiry. */
    REGISTER_EXPIRE = 6, /* expiry_ms alone, of a key that is there. */
    REGISTER_CANCEL = 7, /* The operation of this id, if it has not been done, never is. */
};

enum register_condition {
    REGISTER_ALWAYS = 0,
    REGISTER_IF_ABSENT = 1,
    REGISTER_IF_PRESENT = 2,
    REGISTER_IF_EQUAL = 3,     /* Present, with `compare` for a value. */
    REGISTER_IF_DIFFERENT = 4, /* Absent, or with another value than `compare`. */
    REGISTER_IF_VERSION = 5,   /* Last changed at `version`; none: absent. */
    REGISTER_IF_LASTING = 6,   /* Present, without an expiry. */
    REGISTER_IF_EXPIRING = 7,  /* Present, with one. */
    REGISTER_IF_LATER = 8,     /* Present, and expiry_ms is after its expiry. */
    REGISTER_IF_EARLIER = 9,   /* Present, and expiry_ms is before it; no expiry is after all. */
};

struct register_change {
    enum register_action action;
    enum register_condition condition;
    bool keep_expiry; /* PUT: of the value that stands, if there is one. */
    bool wants_old;   /* The result is the value that stood. */
    struct slice value;
    struct slice compare;
    struct version version;
    int64_t delta;
    uint64_t expiry_ms; /* PUT, EXPIRE; 0: never. */
};

enum register_verdict {
    REGISTER_DONE = 1,
    REGISTER_NOT_DONE = 2,    /* The condition did not hold, or there was nothing to do it to. */
    REGISTER_NOT_INTEGER = 3, /* ADD: of a value that is none. */
    REGISTER_OVERFLOW = 4,
    REGISTER_TOO_LARGE = 5, /* APPEND: over value_size_max. */
    REGISTER_CANCELLED = 6,
};

enum register_payload {
    REGISTER_NOTHING = 0,
    REGISTER_INTEGER = 1, /* ADD: the sum. APPEND: the size. */
    REGISTER_VALUE = 2,   /* wants_old. */
    REGISTER_OMITTED = 3, /* It was a value, too large for the window that the answer came from. */
};

struct register_result {
    enum register_verdict verdict;
    enum register_payload payload;
    struct version version; /* When what stands after it last changed; none: nothing stands. */
    int64_t integer;
    struct slice value; /* Borrows the cell that stood. */
};

struct register_terms {
    struct version ballot; /* Above the version of the cell that stands. */
    struct version id;     /* Of the operation; none: it leaves no trace in the window. */
    size_t value_size_max;
};

struct register_outcome {
    struct cell cell; /* To be accepted. Borrows the cell that stood, the change and this. */
    struct register_result result;
    bool again; /* It had been done before: the result is that of then. */
    struct buffer window;
    struct buffer value;
    struct buffer encoded; /* The result as the window keeps it. */
};

/*
 * `base` is the accepted cell, NULL: there is none. `outcome` is zeroed, and the caller's to deinit
 * whatever happens.
 * STATUS_OK         outcome->cell and outcome->result.
 * STATUS_FORGOTTEN  whether the operation was done cannot be told any more: nothing may be done.
 * STATUS_CORRUPT    the cell that stands has no window that can be read. STATUS_NO_MEMORY.
 */
MUST_USE enum status register_change_apply(const struct register_change *change,
                                           const struct register_terms *terms,
                                           const struct cell *base,
                                           struct register_outcome *outcome);
void register_outcome_deinit(struct register_outcome *outcome);

#endif
