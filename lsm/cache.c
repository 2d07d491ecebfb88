/*
 * lsm/cache.c -- a ring of entries, a hand that goes round it, and slots that point into it.
 *
 * Invariants:
 *  (1) A slot holds an address if and only if that entry is in the ring; both change under the
 *      mutex. Marks of misses are made without it, and never replace an address.
 *  (2) An evicted entry is freed through the epoch, so a reader that found it may go on. Who
 *      retires a batch collects as well, after letting go of the mutex: no job has to come.
 *  (3) An insert takes at most SWEEP_STEPS steps of the hand. If all entries it passes were used
 *      since, the next one goes nevertheless: a bounded wait is worth more than the best choice.
 *  (4) What the hand frees in a chunk is of use to runs alone. So an insert into the heap goes on
 *      emptying one chunk, `mended`, while such holes take more than SLAB_HOLES_SHARE of the room:
 *      chunks and heap together keep to it but for that. What is forgotten leaves holes as well:
 *      with them the cache may be over its room, and is trimmed.
 */
#include "lsm/cache.h"

#include <stddef.h>
#include <string.h>

#include "base/memory.h"

#define SWEEP_STEPS 32u
#define EVICTED_BATCH 64u /* So many are retired at once, and those before them freed. */
#define LOCKED_BATCH 64u  /* Entries evicted or forgotten before the mutex is let go. */
#define ENTRY_SHARE_MIN \
    8u /* What takes more than such a part would cost many others their place. */
/* A full cache lets in what was missed twice within one part in so many of as many misses as it has
 * entries. With all of them, blocks of one use in two go in and out that are no better than those
 * they drive out, and each costs as much as the read that it may spare. */
#define ADMISSION_SHARE 4u
#define CLASSES_PER_DOUBLING_LOG2 2u
#define SLAB_ROOM_MIN (UINT64_C(16) * MEMORY_HUGE_SIZE) /* Below, a huge page is a large part. */
#define SLAB_WASTE_SHARE 8u  /* A run may be larger than its entry by one part in so many. */
#define SLAB_HOLES_SHARE 16u /* Chunks may be unused by one part of the room in so many. */

STATIC_ASSERT(offsetof(struct cache_entry, data) == CACHE_ENTRY_HEADER_SIZE, "a header's size");

/* What the heap really takes for `size` bytes: allocators keep four sizes for each power of two. */
static uint64_t heap_size(uint64_t size)
{
    unsigned log2 = 63u - (unsigned)__builtin_clzll((size - 1) | 64u);
    uint64_t step = UINT64_C(1) << (log2 - CLASSES_PER_DOUBLING_LOG2);
    return (size + step - 1) & ~(step - 1);
}

/* Where it will lie is not known yet; the two differ little. */
static uint64_t expected_cost(size_t data_size)
{
    return heap_size(CACHE_ENTRY_HEADER_SIZE + data_size);
}

static uint64_t entry_cost(const struct cache_entry *entry)
{
    size_t size = CACHE_ENTRY_HEADER_SIZE + (size_t)entry->size;
    return entry->chunk == SLAB_NONE ? heap_size(size)
                                     : (uint64_t)slab_pages(size) * SLAB_PAGE_SIZE;
}

static uint64_t cache_size(const struct cache *cache)
{
    return budget_used(cache->budget, BUDGET_CACHE);
}

/* From the slab, if the entry fills its pages well and the cache holds, and may hold, enough to
 * fill huge ones. */
static struct cache_entry *entry_allocate(struct cache *cache, size_t data_size)
{
    size_t size = CACHE_ENTRY_HEADER_SIZE + data_size;
    uint32_t pages = slab_pages(size);
    struct cache_entry *entry = NULL;
    uint16_t chunk = SLAB_NONE;
    if (pages <= SLAB_RUN_PAGES_MAX &&
        (size_t)pages * SLAB_PAGE_SIZE - size <= size / SLAB_WASTE_SHARE) {
        uint64_t room = budget_cache_room(cache->budget);
        bool large = room >= SLAB_ROOM_MIN && cache_size(cache) >= MEMORY_HUGE_SIZE;
        entry = slab_take(&cache->slab, pages, large ? room : 0, &chunk);
    }
    if (entry == NULL) {
        chunk = SLAB_NONE;
        entry = memory_allocate(size);
    }
    if (entry != NULL) {
        entry->chunk = chunk;
        entry->size = (uint32_t)data_size;
    }
    return entry;
}

static void entry_free(struct cache *cache, struct cache_entry *entry)
{
    if (entry->chunk == SLAB_NONE) {
        memory_free(entry);
        return;
    }
    uint32_t pages = slab_pages(CACHE_ENTRY_HEADER_SIZE + (size_t)entry->size);
    slab_give(&cache->slab, entry, pages, entry->chunk);
}

static struct cache_entry *slot_entry(uint64_t word)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): what the slot holds unless it is odd. */
    return (word & 1) != 0 ? NULL : (struct cache_entry *)(uintptr_t)word;
}

void cache_init(struct cache *cache, struct budget *budget)
{
    ASSERT(cache != NULL);
    memset(cache, 0, sizeof(*cache));
    cache->budget = budget;
    slab_init(&cache->slab, budget->size);
    epoch_init(&cache->epoch, NULL);
    mutex_init(&cache->mutex);
    list_init(&cache->ring);
    list_init(&cache->evicted);
    cache->mended = SLAB_NONE;
}

void cache_unpin(struct cache *cache, struct cache_entry *entry)
{
    /* Release: our reads come before the free; acquire: who frees sees them done. */
    uint32_t before = atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1) {
        entry_free(cache, entry);
    }
}

struct cache_entry *cache_pin(struct cache *cache, struct cache_slot *slot)
{
    unsigned inside = cache_enter(cache);
    struct cache_entry *entry = cache_find(slot);
    if (entry != NULL) {
        /* The cache's own reference goes only after we have left: there is one to add to. */
        uint32_t before = atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
        ASSERT(before > 0);
    }
    cache_leave(cache, inside);
    return entry;
}

static void batch_free(struct cache *cache, struct list_node *batch)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(batch)) != NULL) {
        cache_unpin(cache, container_of(node, struct cache_entry, node));
    }
}

void cache_deinit(struct cache *cache)
{
    ASSERT(list_empty(&cache->ring));
    batch_free(cache, &cache->evicted);
    epoch_deinit(&cache->epoch);
    slab_deinit(&cache->slab);
    mutex_deinit(&cache->mutex);
}

/* The item is that of one entry; the others of its batch hang on its node as a ring of their own.
 */
static void batch_release(struct epoch_item *item)
{
    struct cache_entry *first = container_of(item, struct cache_entry, item);
    struct cache *cache = first->cache;
    batch_free(cache, &first->node);
    cache_unpin(cache, first);
}

static void evicted_retire_locked(struct cache *cache)
{
    struct list_node *node = list_take_first(&cache->evicted);
    ASSERT(node != NULL);
    struct cache_entry *first = container_of(node, struct cache_entry, node);
    list_init(&first->node);
    while ((node = list_take_first(&cache->evicted)) != NULL) {
        list_append(&first->node, node);
    }
    cache->evicted_count = 0;
    first->item.release = batch_release;
    epoch_retire(&cache->epoch, &first->item);
}

static void entry_link_locked(struct cache *cache, struct cache_entry *entry)
{
    list_append(&cache->ring, &entry->node);
    if (entry->chunk != SLAB_NONE) {
        slab_mark(&cache->slab, entry, entry->chunk);
    }
    budget_take(cache->budget, BUDGET_CACHE, entry_cost(entry));
    atomic_fetch_add_explicit(&cache->entry_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&cache->insert_count, 1, memory_order_relaxed);
    atomic_store(&entry->slot->word, (uint64_t)(uintptr_t)entry);
}

static void entry_unlink_locked(struct cache *cache, struct cache_entry *entry)
{
    list_remove(&entry->node);
    if (entry->chunk != SLAB_NONE) {
        slab_unmark(&cache->slab, entry, entry->chunk);
    }
    atomic_store(&entry->slot->word, 0);
    budget_give(cache->budget, BUDGET_CACHE, entry_cost(entry));
    atomic_fetch_sub_explicit(&cache->entry_count, 1, memory_order_relaxed);
}

static void entry_evict_locked(struct cache *cache, struct cache_entry *entry)
{
    entry_unlink_locked(cache, entry);
    entry->cache = cache;
    list_append(&cache->evicted, &entry->node);
    cache->evicted_count++;
    atomic_fetch_add_explicit(&cache->evict_count, 1, memory_order_relaxed);
}

/* One entry, chosen by the hand; the ring is not empty. Returns the steps it took. */
static uint32_t evict_one_locked(struct cache *cache, uint32_t steps_max)
{
    ASSERT(!list_empty(&cache->ring));
    uint32_t steps = 1;
    struct cache_entry *entry = container_of(cache->ring.next, struct cache_entry, node);
    uint8_t lives;
    while (steps < steps_max &&
           (lives = atomic_load_explicit(&entry->lives, memory_order_relaxed)) > 0) {
        atomic_store_explicit(&entry->lives, (uint8_t)(lives - 1), memory_order_relaxed);
        list_remove(&entry->node);
        list_append(&cache->ring, &entry->node);
        entry = container_of(cache->ring.next, struct cache_entry, node);
        steps++;
    }
    entry_evict_locked(cache, entry);
    return steps;
}

/* Whether the block was missed lately (ADMISSION_SHARE); if not, it is now. */
static bool missed_lately(struct cache *cache, struct cache_slot *slot, uint64_t now)
{
    uint64_t word = atomic_load(&slot->word);
    if (word != 0 && (word & 1) == 0) {
        return false; /* Another thread was first. */
    }
    uint64_t kept = atomic_load_explicit(&cache->entry_count, memory_order_relaxed);
    if (word != 0 && now - (word >> 1) <= kept / ADMISSION_SHARE) {
        return true;
    }
    /* If it fails, another thread has made a mark, or an entry. */
    (void)atomic_compare_exchange_strong(&slot->word, &word, now << 1 | 1);
    return false;
}

/* Retires the evicted if they are so many, at least one; then the caller collects. */
static bool evicted_due_locked(struct cache *cache, uint32_t count_min)
{
    bool due = cache->evicted_count >= count_min;
    if (due) {
        evicted_retire_locked(cache);
    }
    return due;
}

void cache_demand_add(struct cache *cache, uint64_t size)
{
    atomic_fetch_add_explicit(&cache->demand, size, memory_order_relaxed);
}

void cache_demand_remove(struct cache *cache, uint64_t size)
{
    uint64_t before = atomic_fetch_sub_explicit(&cache->demand, size, memory_order_relaxed);
    ASSERT(before >= size);
}

bool cache_has_room_for_all(const struct cache *cache)
{
    return atomic_load_explicit(&cache->demand, memory_order_relaxed) <=
           budget_cache_room(cache->budget);
}

void cache_miss(struct cache *cache)
{
    atomic_fetch_add_explicit(&cache->time, 1, memory_order_relaxed);
}

bool cache_has_room(const struct cache *cache, size_t size)
{
    return cache_size(cache) + expected_cost(size) <= budget_cache_room(cache->budget);
}

/* Whether holes in chunks that are not being emptied make it larger than it may be. */
static bool holes_are_many(struct cache *cache)
{
    uint64_t room = budget_cache_room(cache->budget);
    uint64_t share = room / SLAB_HOLES_SHARE;
    uint64_t most = share > MEMORY_HUGE_SIZE ? share : MEMORY_HUGE_SIZE;
    return cache_size(cache) + slab_holes(&cache->slab) > room + most;
}

bool cache_is_over(struct cache *cache)
{
    return cache_size(cache) > budget_cache_room(cache->budget) || holes_are_many(cache);
}

bool cache_wants(struct cache *cache, struct cache_slot *slot, size_t size)
{
    uint64_t now = 1 + atomic_fetch_add_explicit(&cache->time, 1, memory_order_relaxed);
    if (expected_cost(size) > budget_cache_room(cache->budget) / ENTRY_SHARE_MIN) {
        return false;
    }
    return cache_has_room(cache, size) || missed_lately(cache, slot, now);
}

bool cache_missed_lately(struct cache *cache, struct cache_slot *slot)
{
    return missed_lately(cache, slot, atomic_load_explicit(&cache->time, memory_order_relaxed));
}

/* Makes room for `cost` bytes; false if that takes too long. */
static bool room_make_locked(struct cache *cache, uint64_t cost)
{
    uint64_t room = budget_cache_room(cache->budget);
    uint32_t steps = 0;
    while (cache_size(cache) + cost > room) {
        if (steps >= SWEEP_STEPS || list_empty(&cache->ring)) {
            return false;
        }
        steps += evict_one_locked(cache, SWEEP_STEPS - steps);
    }
    return true;
}

/* See (4). A few entries at a time, if there is a chunk to be emptied; true if any went. */
static bool holes_mend_locked(struct cache *cache)
{
    uint64_t holes_max = budget_cache_room(cache->budget) / SLAB_HOLES_SHARE;
    if (cache->mended == SLAB_NONE && slab_holes(&cache->slab) > holes_max) {
        cache->mended = slab_close_one(&cache->slab);
    }
    bool any = false;
    for (uint32_t i = 0; i < LOCKED_BATCH && cache->mended != SLAB_NONE; i++) {
        struct cache_entry *entry = slab_marked(&cache->slab, cache->mended);
        if (entry != NULL) {
            entry_evict_locked(cache, entry);
            any = true;
        } else {
            cache->mended = SLAB_NONE; /* It goes when its readers have left. */
        }
    }
    return any;
}

void cache_insert(struct cache *cache, struct cache_slot *slot, struct slice data,
                  enum cache_weight weight)
{
    ASSERT(data.size > 0);
    ASSERT(data.size <= UINT32_MAX);
    struct cache_entry *entry = entry_allocate(cache, data.size);
    if (entry == NULL) {
        return;
    }
    entry->slot = slot;
    entry->weight = (uint8_t)weight;
    atomic_init(&entry->references, 1);
    atomic_init(&entry->lives, (uint8_t)(weight - 1));
    memcpy(entry->data, data.data, data.size);
    mutex_lock(&cache->mutex);
    uint64_t word = atomic_load(&slot->word);
    bool first = (word == 0 || (word & 1) != 0) && room_make_locked(cache, entry_cost(entry));
    if (first) {
        entry_link_locked(cache, entry);
    }
    bool mended = first && entry->chunk == SLAB_NONE && holes_mend_locked(cache);
    bool collect = evicted_due_locked(cache, mended ? 1 : EVICTED_BATCH);
    mutex_unlock(&cache->mutex);
    if (!first) {
        entry_free(cache, entry);
    }
    if (collect) {
        (void)epoch_collect(&cache->epoch); /* What readers still hold goes with a later one. */
    }
}

void cache_forget(struct cache *cache, struct cache_slot *slots, uint32_t count)
{
    for (uint32_t done = 0; done < count;) {
        uint32_t end = count - done < LOCKED_BATCH ? count : done + LOCKED_BATCH;
        mutex_lock(&cache->mutex);
        for (; done < end; done++) {
            struct cache_entry *entry = slot_entry(atomic_load(&slots[done].word));
            if (entry != NULL) {
                entry_unlink_locked(cache, entry);
                cache_unpin(cache, entry);
            }
        }
        mutex_unlock(&cache->mutex);
    }
}

/* Which chunk is being emptied: one at a time. */
static uint16_t trim_evict_locked(struct cache *cache, uint16_t victim)
{
    struct cache_entry *entry = NULL;
    while (victim != SLAB_NONE && (entry = slab_marked(&cache->slab, victim)) == NULL) {
        victim = slab_close_one(&cache->slab); /* The one before goes when its readers have left. */
    }
    if (entry != NULL) {
        entry_evict_locked(cache, entry);
    } else {
        (void)evict_one_locked(cache, SWEEP_STEPS);
    }
    return victim;
}

void cache_trim(struct cache *cache)
{
    bool more = true;
    bool holes = holes_are_many(cache);
    /* Whole chunks, so that memory goes back to the system: the hand would leave each with holes.
     */
    uint16_t victim = cache_is_over(cache) ? slab_close_one(&cache->slab) : SLAB_NONE;
    while (more) {
        mutex_lock(&cache->mutex);
        for (uint32_t i = 0; more && i < LOCKED_BATCH; i++) {
            holes = holes || holes_are_many(cache);
            /* A chunk that is emptied for its holes' sake is emptied wholly, or nothing is won. */
            bool begun = holes && victim != SLAB_NONE && slab_marked(&cache->slab, victim) != NULL;
            more = (begun || cache_is_over(cache)) && !list_empty(&cache->ring);
            if (more) {
                victim = trim_evict_locked(cache, victim);
            }
        }
        bool collect = evicted_due_locked(cache, more ? EVICTED_BATCH : 1);
        mutex_unlock(&cache->mutex);
        if (collect) {
            (void)epoch_collect(&cache->epoch);
        }
    }
    mutex_lock(&cache->mutex);
    if (victim != SLAB_NONE && slab_marked(&cache->slab, victim) != NULL) {
        slab_open(&cache->slab, victim);
    }
    mutex_unlock(&cache->mutex);
}
