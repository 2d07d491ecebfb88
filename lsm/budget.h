/*
 * lsm/budget.h -- one number of bytes for all that an engine keeps in memory, and who uses it.
 *
 * Why one: memtables, log buffers, indexes and filters are what the engine cannot do without; the
 * cache of blocks is what it can. So the cache takes whatever the others leave, and gives it back
 * as they grow, instead of each having a limit that one load never reaches and another lacks.
 * Contract:
 *  (1) Users of a kind say what they take and give back; nothing is refused here.
 *  (2) The cache keeps to budget_cache_room(), which never falls below a small share: an engine
 *      whose needs outgrow its budget still reads hot blocks from memory.
 *  (3) Safe from any thread; no locks.
 */
#ifndef LSM_BUDGET_H
#define LSM_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BUDGET_CACHE_SHARE_MIN 16u /* The cache may always have one part in so many. */
#define BUDGET_INDEX_SHARE 2u      /* Indexes kept whole take one part in so many, at most. */

enum budget_kind {
    BUDGET_MEMTABLES, /* The active one a step ahead of what it takes. */
    BUDGET_LOG,       /* Buffers of groups not yet synced. */
    BUDGET_TABLES,    /* Indexes, as far as they are no cached parts. */
    BUDGET_CACHE,     /* Decoded blocks, filters, parts of indexes. */
    BUDGET_KIND_COUNT,
};

struct budget {
    uint64_t size; /* Bytes. */
    _Atomic uint64_t used[BUDGET_KIND_COUNT];
};

void budget_init(struct budget *budget, uint64_t size);
void budget_take(struct budget *budget, enum budget_kind kind, uint64_t size);
void budget_give(struct budget *budget, enum budget_kind kind, uint64_t size);
/* For users who know a sum and not its changes. */
void budget_set(struct budget *budget, enum budget_kind kind, uint64_t size);
uint64_t budget_used(const struct budget *budget, enum budget_kind kind);
/* Whether a table whose index takes `size` bytes may keep it whole: indexes leave the cache its
 * part of what memtables and the log leave to both. */
bool budget_index_fits(const struct budget *budget, uint64_t size);
/* Bytes the cache may hold now. */
uint64_t budget_cache_room(const struct budget *budget);

#endif
