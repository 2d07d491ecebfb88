/*
 * lsm/ingest.h -- tables from outside on their way in.
 *
 *   LINKING --> CHECKING --> (the next file) ... --> SETTLING --> a change (lsm/change.h) --> told
 *      |            |                                   |
 *      +------------+-----------------------------------+--> GIVING_UP --> told
 *
 * Invariants:
 *  (1) Until the change is committed nothing is different but files that no manifest names.
 *  (2) From the call on no merge forgets a tombstone that may cover a cell on its way in:
 *      ingests_may_hold.
 */
#ifndef LSM_INGEST_H
#define LSM_INGEST_H

#include <stdbool.h>

#include "base/list.h"
#include "base/slice.h"

struct lsm;

/* The one that engine.h embeds. */
struct ingests {
    struct list_node running; /* ingest.node */
};

void ingests_init(struct lsm *lsm);
/* Whether a table on its way in may hold the key. Asks for the write lock. */
bool ingests_may_hold_locked(const struct lsm *lsm, struct slice key);
/* Frees those that were neither refused nor came in. Nothing runs any more; their `done` says
 * CANCELLED. */
void ingests_abandon(struct lsm *lsm);

#endif
