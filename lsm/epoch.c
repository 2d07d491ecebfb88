/*
 * lsm/epoch.c -- when memory that readers reach without a lock may be given back.
 *
 * Every access below that decides something is sequentially consistent, so that "before" means one
 * total order S. With e the epoch in a reader's slot, r the epoch of an item, taken after the item
 * was made unreachable:
 *  (1) A reader holding the item wrote its slot before it loaded the pointer, and loaded it before
 *      it was replaced; so e was read before r, the epoch only grows, and e <= r.
 *  (2) A collector that finds the slot free looked before it was written; the pointer was replaced
 *      earlier still, so this reader's load comes after the replacement and misses the item.
 *  (3) Hence an item with r below every slot's epoch is held by nobody.
 *  (4) Readers that find no free slot count themselves under the parity of their epoch, and check
 *      that the epoch has not moved meanwhile. It moves from c only when nobody is counted for
 *      c - 1, whose counter c + 1 takes over: each counter stands for one epoch at a time.
 *  (5) Leaving is a release, and taking a slot continues that release: a collector that sees either
 *      has seen everything the reader before did.
 *
 * Source: Fraser, "Practical lock-freedom" (2004), section 5.2.3; the two counters as in sleepable
 * RCU (McKenney, 2006). Changed: slots are claimed per read instead of registered per thread, since
 * a library does not know when its callers' threads end.
 */
#include "lsm/epoch.h"

#include <stddef.h>

#define EPOCH_FIRST 1u
#define HASH_GOLDEN 0x9e3779b97f4a7c15ull
#define SLOT_COUNT_BITS 6u

STATIC_ASSERT(1u << SLOT_COUNT_BITS == EPOCH_SLOT_COUNT, "the hint is so many bits of a hash");
STATIC_ASSERT(sizeof(struct epoch_slot) == EPOCH_LINE_SIZE, "one word a line");

/* Where this thread last found a free slot, plus one; 0: it has not looked yet. */
static _Thread_local unsigned slot_hint;

void epoch_init(struct epoch *epoch, void (*due)(struct epoch *epoch))
{
    ASSERT(epoch != NULL);
    epoch->due = due;
    mutex_init(&epoch->collector);
    epoch->waiting = NULL;
    atomic_init(&epoch->retired, NULL);
    atomic_init(&epoch->current, EPOCH_FIRST);
    for (unsigned i = 0; i < EPOCH_SLOT_COUNT; i++) {
        atomic_init(&epoch->slots[i].entered, 0);
    }
    atomic_init(&epoch->shared[0].entered, 0);
    atomic_init(&epoch->shared[1].entered, 0);
}

/* Threads begin at different slots, so that they rarely meet; which slot one gets decides nothing.
 */
static unsigned first_hint(void)
{
    uint64_t hash = (uint64_t)(uintptr_t)&slot_hint * HASH_GOLDEN;
    return (unsigned)(hash >> (64 - SLOT_COUNT_BITS));
}

static bool slot_take(struct epoch *epoch, unsigned index)
{
    uint64_t expected = 0;
    uint64_t now = atomic_load(&epoch->current);
    return atomic_compare_exchange_strong(&epoch->slots[index].entered, &expected, now);
}

/* See (4). */
static unsigned enter_shared(struct epoch *epoch)
{
    for (;;) {
        uint64_t now = atomic_load(&epoch->current);
        unsigned parity = (unsigned)(now & 1);
        atomic_fetch_add(&epoch->shared[parity].entered, 1);
        if (atomic_load(&epoch->current) == now) {
            return EPOCH_SLOT_COUNT + parity;
        }
        atomic_fetch_sub(&epoch->shared[parity].entered, 1);
    }
}

unsigned epoch_enter(struct epoch *epoch)
{
    ASSERT(epoch != NULL);
    unsigned first = slot_hint != 0 ? slot_hint - 1 : first_hint();
    for (unsigned i = 0; i < EPOCH_SLOT_COUNT; i++) {
        unsigned index = (first + i) % EPOCH_SLOT_COUNT;
        if (slot_take(epoch, index)) {
            return index;
        }
    }
    return enter_shared(epoch);
}

void epoch_leave(struct epoch *epoch, unsigned slot)
{
    ASSERT(slot < EPOCH_ENTRY_COUNT);
    if (slot >= EPOCH_SLOT_COUNT) {
        uint64_t before = atomic_fetch_sub(&epoch->shared[slot - EPOCH_SLOT_COUNT].entered, 1);
        ASSERT(before > 0);
        return;
    }
    atomic_store_explicit(&epoch->slots[slot].entered, 0, memory_order_release);
    slot_hint = slot + 1; /* The outermost leaves last: its slot is the one to come back to. */
}

void epoch_retire(struct epoch *epoch, struct epoch_item *item)
{
    ASSERT(epoch != NULL);
    ASSERT(item != NULL && item->release != NULL);
    item->epoch = atomic_load(&epoch->current);
    struct epoch_item *head = atomic_load(&epoch->retired);
    do {
        item->next = head;
    } while (!atomic_compare_exchange_weak(&epoch->retired, &head, item));
    if (head == NULL && epoch->due != NULL) {
        epoch->due(epoch);
    }
}

/* Moves what was retired since to the waiting. */
static void retired_take(struct epoch *epoch)
{
    struct epoch_item *item = atomic_exchange(&epoch->retired, NULL);
    while (item != NULL) {
        struct epoch_item *next = item->next;
        item->next = epoch->waiting;
        epoch->waiting = item;
        item = next;
    }
}

/* Begins a new epoch if it may, and tells the oldest one a reader is in. */
static uint64_t oldest_reader(struct epoch *epoch)
{
    uint64_t now = atomic_load(&epoch->current);
    bool before_last = atomic_load(&epoch->shared[(now + 1) & 1].entered) > 0;
    uint64_t oldest = now - 1;
    if (!before_last) { /* See (4). Those of the last epoch are counted under its own parity. */
        atomic_store(&epoch->current, now + 1);
        oldest = atomic_load(&epoch->shared[now & 1].entered) > 0 ? now : now + 1;
    }
    for (unsigned i = 0; i < EPOCH_SLOT_COUNT; i++) {
        uint64_t entered = atomic_load(&epoch->slots[i].entered);
        if (entered != 0 && entered < oldest) {
            oldest = entered;
        }
    }
    return oldest;
}

bool epoch_collect(struct epoch *epoch)
{
    ASSERT(epoch != NULL);
    if (!mutex_try_lock(&epoch->collector)) {
        return true;
    }
    retired_take(epoch);
    struct epoch_item *free = NULL;
    if (epoch->waiting != NULL) {
        uint64_t oldest = oldest_reader(epoch);
        struct epoch_item **link = &epoch->waiting;
        while (*link != NULL) {
            struct epoch_item *item = *link;
            if (item->epoch >= oldest) {
                link = &item->next;
                continue;
            }
            *link = item->next;
            item->next = free;
            free = item;
        }
    }
    bool more = epoch->waiting != NULL;
    mutex_unlock(&epoch->collector);
    while (free != NULL) { /* Without the lock: a release may close files, and retire. */
        struct epoch_item *item = free;
        free = item->next;
        item->release(item);
    }
    return more || atomic_load(&epoch->retired) != NULL;
}

void epoch_deinit(struct epoch *epoch)
{
    ASSERT(epoch != NULL);
    for (unsigned i = 0; i < EPOCH_SLOT_COUNT; i++) {
        ASSERT(atomic_load(&epoch->slots[i].entered) == 0);
    }
    ASSERT(atomic_load(&epoch->shared[0].entered) == 0);
    ASSERT(atomic_load(&epoch->shared[1].entered) == 0);
    while (epoch_collect(epoch)) {
        /* What a release retired goes in the next round. */
    }
    mutex_deinit(&epoch->collector);
}
