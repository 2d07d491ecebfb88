/*
 * lsm/budget.c -- counters of bytes, and what they leave to the cache.
 *
 * Relaxed throughout: each counter is right by itself, and a sum that is a moment old does no harm.
 */
#include "lsm/budget.h"

#include <stddef.h>

#include "base/contract.h"

void budget_init(struct budget *budget, uint64_t size)
{
    ASSERT(budget != NULL);
    budget->size = size;
    for (int kind = 0; kind < BUDGET_KIND_COUNT; kind++) {
        atomic_init(&budget->used[kind], 0);
    }
}

void budget_take(struct budget *budget, enum budget_kind kind, uint64_t size)
{
    atomic_fetch_add_explicit(&budget->used[kind], size, memory_order_relaxed);
}

void budget_give(struct budget *budget, enum budget_kind kind, uint64_t size)
{
    uint64_t before = atomic_fetch_sub_explicit(&budget->used[kind], size, memory_order_relaxed);
    ASSERT(before >= size);
}

void budget_set(struct budget *budget, enum budget_kind kind, uint64_t size)
{
    atomic_store_explicit(&budget->used[kind], size, memory_order_relaxed);
}

uint64_t budget_used(const struct budget *budget, enum budget_kind kind)
{
    return atomic_load_explicit(&budget->used[kind], memory_order_relaxed);
}

bool budget_index_fits(const struct budget *budget, uint64_t size)
{
    uint64_t others = budget_used(budget, BUDGET_MEMTABLES) + budget_used(budget, BUDGET_LOG);
    uint64_t left = others < budget->size ? budget->size - others : 0;
    return budget_used(budget, BUDGET_TABLES) + size <= left / BUDGET_INDEX_SHARE;
}

uint64_t budget_cache_room(const struct budget *budget)
{
    uint64_t others = budget_used(budget, BUDGET_MEMTABLES) + budget_used(budget, BUDGET_LOG) +
                      budget_used(budget, BUDGET_TABLES);
    uint64_t least = budget->size / BUDGET_CACHE_SHARE_MIN;
    uint64_t left = others < budget->size ? budget->size - others : 0;
    return left > least ? left : least;
}
