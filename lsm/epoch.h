/*
 * lsm/epoch.h -- when memory that readers reach without a lock may be given back.
 *
 * Why: a reference count on what every read touches is a cache line all cores fight for, and a
 * last reference dropped by a read would free 64 MiB on an event loop. Here a reader marks its
 * coming and going in a line of its own, and what was retired is released later, in a pool job.
 * Contract:
 *  (1) A pointer to something that may be retired is an atomic, loaded between enter and leave and
 *      replaced before the retirement, both with memory_order_seq_cst. What was loaded so may be
 *      used until leave.
 *  (2) An item is released exactly once, after every reader that entered before its retirement has
 *      left; never inside epoch_enter, epoch_leave or epoch_retire.
 *  (3) enter, leave and retire are safe from any thread, never wait and allocate nothing. A thread
 *      may enter again before it leaves; it leaves each time with the slot it was given.
 *  (4) A reader that stays delays releases and nothing else.
 */
#ifndef LSM_EPOCH_H
#define LSM_EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/contract.h"
#include "base/mutex.h"

#define EPOCH_SLOT_COUNT 64u /* Readers inside at one time before they share two counters. */
#define EPOCH_ENTRY_COUNT (EPOCH_SLOT_COUNT + 2u) /* Results of epoch_enter are below it. */
#define EPOCH_LINE_SIZE 64u

/* Embedded in what is retired. It may be retired again once it was released. */
struct epoch_item {
    struct epoch_item *next; /* The epoch's, as is the number. */
    uint64_t epoch;
    void (*release)(struct epoch_item *item);
};

/* One reader's line: no two words lie in one cache line, wherever the array begins. */
struct epoch_slot {
    _Atomic uint64_t entered; /* The epoch its reader entered in; 0: free. */
    uint8_t padding[EPOCH_LINE_SIZE - sizeof(uint64_t)];
};

struct epoch {
    void (*due)(struct epoch *epoch);
    struct mutex collector; /* Held by the one thread that collects; guards `waiting`. */
    struct epoch_item *waiting;
    _Atomic(struct epoch_item *) retired; /* Newest first; not yet looked at. */
    uint8_t padding[EPOCH_LINE_SIZE];
    _Atomic uint64_t current; /* From 1. */
    struct epoch_slot slots[EPOCH_SLOT_COUNT];
    struct epoch_slot shared[2]; /* Counts of readers without a slot, by parity of their epoch. */
};

/*
 * `due` is called by epoch_retire, in the retiring thread, when an item joins an empty list:
 * the owner then lets a pool job call epoch_collect. May be NULL.
 */
void epoch_init(struct epoch *epoch, void (*due)(struct epoch *epoch));
/* Releases all that waits. Nobody may be inside. */
void epoch_deinit(struct epoch *epoch);

/* A few nanoseconds. The result goes to epoch_leave; below EPOCH_SLOT_COUNT it is this reader's
 * alone until then. */
MUST_USE unsigned epoch_enter(struct epoch *epoch);
void epoch_leave(struct epoch *epoch, unsigned slot);

/* `item` can no longer be reached by those who enter from here on; item->release is set. */
void epoch_retire(struct epoch *epoch, struct epoch_item *item);

/*
 * Releases what no reader can hold; in pool jobs only, since a release may unmap memory and close
 * files. True if something still waits (for a reader, or for another thread that is collecting):
 * call again later. A release may itself retire.
 */
bool epoch_collect(struct epoch *epoch);

#endif
