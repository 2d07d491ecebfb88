/*
 * lsm/cache.h -- decoded blocks in memory, found through a word that lies beside their index entry.
 *
 * Why no hash table: a get has found the block's index entry anyway, so a slot there costs one load
 * where a table of locks and chains costs several misses and a lock. Hits write nothing but, now
 * and then, one byte of the entry.
 * Contract:
 *  (1) Whoever uses an entry is between cache_enter() and cache_leave() from cache_find() on;
 *      inserting and forgetting are safe from any thread, inside or not.
 *      A cursor, which stays longer, pins its entry instead.
 *  (2) A slot's memory may go after cache_forget() on it, when no other thread uses it any more.
 *  (3) The cache keeps to budget_cache_room(), give or take one entry and a few dozen evicted that
 *      readers may still look at. When it is full, only a block that was missed before, a good deal
 *      less long ago than the cache keeps one, is let in: so a scan, or reads spread over more than
 *      fits, cost neither memory nor evictions.
 *  (4) Nothing here blocks longer than a few dozen steps under a lock, but for cache_trim().
 *
 * Source: CLOCK (Corbato, 1968) for eviction. Changed: admission by reuse distance, kept in the
 * slot itself while it is empty.
 */
#ifndef LSM_CACHE_H
#define LSM_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/contract.h"
#include "base/list.h"
#include "base/mutex.h"
#include "base/slice.h"
#include "lsm/budget.h"
#include "lsm/epoch.h"
#include "lsm/slab.h"

#define CACHE_ENTRY_HEADER_SIZE 64u /* A block so much below 4 KiB fills one page with it. */

/* How many rounds of the hand an entry stays after its last use. */
enum cache_weight {
    CACHE_BLOCK = 1,
    CACHE_FILTER = 4, /* Spares the reads of hundreds of blocks. */
    CACHE_LEAF = 6,   /* No block of hundreds is found without it. */
};

/* 0: empty; odd: empty, and twice the time of the last miss; else: the address of the entry. */
struct cache_slot {
    _Atomic uint64_t word;
};

struct cache_entry {
    struct epoch_item item;
    struct list_node node; /* In the ring, or among those evicted. */
    union {
        struct cache_slot *slot; /* While it is in the ring; */
        struct cache *cache;     /* among those evicted. */
    };
    uint32_t size;         /* Bytes of data. */
    _Atomic uint8_t lives; /* Rounds of the hand it stays; set anew each time it is found. */
    uint8_t weight;        /* What `lives` is set to. */
    uint16_t chunk;        /* Of the slab; SLAB_NONE: the entry lies in the heap. */
    uint8_t reserved[4];
    _Atomic uint32_t references; /* One is the cache's, which it keeps past the epoch. */
    uint8_t data[];
};

struct cache {
    struct budget *budget;
    struct slab slab;        /* Most entries lie in it, where there is room for huge pages. */
    struct epoch epoch;      /* Its own: collecting is so cheap here that an insert can do it. */
    _Atomic uint64_t time;   /* Misses so far. */
    _Atomic uint64_t demand; /* Bytes of all that users may ever put in. */
    _Atomic uint64_t entry_count; /* Changed under the mutex. */
    struct mutex mutex;           /* Guards the rest. */
    struct list_node ring;        /* The hand points at its first. */
    struct list_node evicted;     /* Unreachable, not yet handed to the epoch. */
    uint32_t evicted_count;
    uint16_t mended;                  /* The chunk that is being emptied; or SLAB_NONE. */
    _Atomic uint64_t leaf_read_count; /* Parts of indexes that were read again. */
    _Atomic uint64_t insert_count;
    _Atomic uint64_t evict_count;
};

/* The budget must outlive the cache. */
void cache_init(struct cache *cache, struct budget *budget);
/* Every slot was forgotten, nobody is inside, and no entry is pinned. */
void cache_deinit(struct cache *cache);

/* A few nanoseconds each; from any thread, nested or not. Not to be held over a read. */
MUST_USE static inline unsigned cache_enter(struct cache *cache)
{
    return epoch_enter(&cache->epoch);
}
static inline void cache_leave(struct cache *cache, unsigned inside)
{
    epoch_leave(&cache->epoch, inside);
}

static inline struct slice cache_entry_data(const struct cache_entry *entry)
{
    return slice_make(entry->data, entry->size);
}

/* The entry in this slot, or NULL. */
static inline struct cache_entry *cache_find(struct cache_slot *slot)
{
    uint64_t word = atomic_load(&slot->word);
    if (word == 0 || (word & 1) != 0) {
        return NULL;
    }
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): what the slot holds unless it is odd. */
    struct cache_entry *entry = (struct cache_entry *)(uintptr_t)word;
    __builtin_prefetch(entry->data); /* The first line and the second come together. */
    __builtin_prefetch(entry->data + CACHE_ENTRY_HEADER_SIZE);
    if (atomic_load_explicit(&entry->lives, memory_order_relaxed) != entry->weight) {
        atomic_store_explicit(&entry->lives, entry->weight, memory_order_relaxed);
    }
    return entry;
}

/* Where the data of an entry in this slot would lie, to be asked for ahead of its use and never
 * looked at: nobody enters, so it may be gone by then. NULL: there is no entry. */
static inline const uint8_t *cache_peek(struct cache_slot *slot)
{
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    if (word == 0 || (word & 1) != 0) {
        return NULL;
    }
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): as in cache_find(). */
    return (const uint8_t *)(uintptr_t)(word + CACHE_ENTRY_HEADER_SIZE);
}

/* The entry in this slot, found and pinned, or NULL. It stays where it is until cache_unpin(), even
 * if the cache itself has let go of it. Enters by itself. */
struct cache_entry *cache_pin(struct cache *cache, struct cache_slot *slot);
void cache_unpin(struct cache *cache, struct cache_entry *entry);

/* What a user may put in comes to so many bytes more, or less: of whole entries. */
void cache_demand_add(struct cache *cache, uint64_t size);
void cache_demand_remove(struct cache *cache, uint64_t size);
/* Whether all of it has room together: then nothing that is put in drives anything out. */
bool cache_has_room_for_all(const struct cache *cache);
/* Whether that many bytes fit without any eviction. */
bool cache_has_room(const struct cache *cache, size_t size);
/* A miss of which cache_wants() is not asked. */
void cache_miss(struct cache *cache);
/* To be asked after a miss, once: whether a block of so many bytes is worth inserting. */
MUST_USE bool cache_wants(struct cache *cache, struct cache_slot *slot, size_t size);
/* Whether the block was missed before, lately; if not, it is now. For a miss after which there may
 * be room, but which says little of the next. */
MUST_USE bool cache_missed_lately(struct cache *cache, struct cache_slot *slot);
/* Copies `data` into a new entry in the slot. Best effort: nothing happens without memory, or if
 * another thread was first. */
void cache_insert(struct cache *cache, struct cache_slot *slot, struct slice data,
                  enum cache_weight weight);
/* Empties slots whose owner ends. Nobody may be looking at them. */
void cache_forget(struct cache *cache, struct cache_slot *slots, uint32_t count);
/* Whether others have grown since, so that it holds more than its room. */
bool cache_is_over(struct cache *cache);
/* Evicts until the cache keeps to its room. Long: in pool jobs. */
void cache_trim(struct cache *cache);

#endif
