/*
 * tests/unit/test_cache.c -- lsm/cache.h: what is let in, what goes, and that a reader may go on
 * with what it found.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/prng.h"
#include "lsm/cache.h"

#define BLOCK_SIZE (4096u - CACHE_ENTRY_HEADER_SIZE) /* One page with its header. */
#define SLOT_COUNT 400u
#define ROOM_BLOCKS 100u

struct fixture {
    struct budget budget;
    struct cache cache;
    struct cache_slot slots[SLOT_COUNT];
    uint8_t block[BLOCK_SIZE];
};

static void fixture_open(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    budget_init(&fixture->budget, ROOM_BLOCKS * 4096u);
    cache_init(&fixture->cache, &fixture->budget);
}

static void fixture_close(struct fixture *fixture)
{
    cache_forget(&fixture->cache, fixture->slots, SLOT_COUNT);
    cr_assert_eq(budget_used(&fixture->budget, BUDGET_CACHE), 0);
    cache_deinit(&fixture->cache);
}

/* A block that tells which slot it belongs to. */
static struct slice block_of(struct fixture *fixture, uint32_t index)
{
    memset(fixture->block, (int)(index % 251), BLOCK_SIZE);
    return slice_make(fixture->block, BLOCK_SIZE);
}

static bool holds(struct fixture *fixture, uint32_t index)
{
    unsigned inside = cache_enter(&fixture->cache);
    const struct cache_entry *entry = cache_find(&fixture->slots[index]);
    if (entry != NULL) {
        struct slice data = cache_entry_data(entry);
        cr_assert_eq(data.size, BLOCK_SIZE);
        cr_assert_eq(data.data[0], index % 251);
        cr_assert_eq(data.data[BLOCK_SIZE - 1], index % 251);
    }
    cache_leave(&fixture->cache, inside);
    return entry != NULL;
}

/* What a get does. True if it was a hit. */
static bool use(struct fixture *fixture, uint32_t index)
{
    if (holds(fixture, index)) {
        return true;
    }
    if (cache_wants(&fixture->cache, &fixture->slots[index], BLOCK_SIZE)) {
        cache_insert(&fixture->cache, &fixture->slots[index], block_of(fixture, index),
                     CACHE_BLOCK);
    }
    return false;
}

Test(cache, while_there_is_room_every_block_is_let_in)
{
    struct fixture fixture;
    fixture_open(&fixture);
    for (uint32_t i = 0; i < ROOM_BLOCKS; i++) {
        cr_assert_not(use(&fixture, i));
    }
    for (uint32_t i = 0; i < ROOM_BLOCKS; i++) {
        cr_assert(use(&fixture, i), "i=%u", i);
    }
    cr_assert_eq(budget_used(&fixture.budget, BUDGET_CACHE), ROOM_BLOCKS * 4096u);
    fixture_close(&fixture);
}

Test(cache, a_scan_through_a_full_cache_changes_nothing)
{
    struct fixture fixture;
    fixture_open(&fixture);
    for (uint32_t i = 0; i < ROOM_BLOCKS; i++) {
        (void)use(&fixture, i);
    }
    uint64_t inserts = fixture.cache.insert_count;
    for (uint32_t i = ROOM_BLOCKS; i < SLOT_COUNT; i++) {
        cr_assert_not(use(&fixture, i));
    }
    cr_assert_eq(fixture.cache.insert_count, inserts);
    for (uint32_t i = 0; i < ROOM_BLOCKS; i++) {
        cr_assert(holds(&fixture, i), "i=%u", i);
    }
    fixture_close(&fixture);
}

Test(cache, a_block_missed_twice_shortly_takes_the_place_of_an_unused_one)
{
    struct fixture fixture;
    fixture_open(&fixture);
    for (uint32_t i = 0; i < ROOM_BLOCKS; i++) {
        (void)use(&fixture, i);
    }
    for (uint32_t i = 0; i < ROOM_BLOCKS; i++) {
        cr_assert(i == 7 || use(&fixture, i)); /* All but one are used again. */
    }
    cr_assert_not(use(&fixture, 200));
    cr_assert_not(use(&fixture, 200));
    cr_assert(use(&fixture, 200));
    cr_assert_not(holds(&fixture, 7));
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ROOM_BLOCKS; i++) {
        kept += holds(&fixture, i);
    }
    cr_assert_eq(kept, ROOM_BLOCKS - 1);
    fixture_close(&fixture);
}

Test(cache, a_block_missed_twice_long_apart_stays_out)
{
    struct fixture fixture;
    fixture_open(&fixture);
    for (uint32_t i = 0; i < ROOM_BLOCKS; i++) {
        (void)use(&fixture, i);
    }
    for (int round = 0; round < 3; round++) { /* Each is missed again after 300 others. */
        for (uint32_t i = ROOM_BLOCKS; i < SLOT_COUNT; i++) {
            cr_assert_not(use(&fixture, i), "round=%d i=%u", round, i);
        }
    }
    cr_assert_eq(fixture.cache.evict_count, 0);
    fixture_close(&fixture);
}

Test(cache, it_gives_way_as_others_grow)
{
    struct fixture fixture;
    fixture_open(&fixture);
    for (uint32_t i = 0; i < ROOM_BLOCKS; i++) {
        (void)use(&fixture, i);
    }
    budget_set(&fixture.budget, BUDGET_MEMTABLES, 60 * 4096u);
    cache_trim(&fixture.cache);
    cr_assert_eq(budget_used(&fixture.budget, BUDGET_CACHE), 40 * 4096u);
    budget_set(&fixture.budget, BUDGET_MEMTABLES, 60 * 4096u * 1000);
    cache_trim(&fixture.cache);
    cr_assert_leq(budget_used(&fixture.budget, BUDGET_CACHE), ROOM_BLOCKS * 4096u / 16);
    fixture_close(&fixture);
}

Test(cache, what_would_fill_too_much_of_it_stays_out)
{
    struct fixture fixture;
    fixture_open(&fixture);
    cr_assert_not(cache_wants(&fixture.cache, &fixture.slots[0], ROOM_BLOCKS * 4096u / 4));
    fixture_close(&fixture);
}

/* The sanitizer would stop a read of memory that is gone. */
Test(cache, a_reader_inside_keeps_what_it_found)
{
    struct fixture fixture;
    fixture_open(&fixture);
    (void)use(&fixture, 3);
    unsigned inside = cache_enter(&fixture.cache);
    const struct cache_entry *entry = cache_find(&fixture.slots[3]);
    cr_assert_not_null(entry);
    for (uint32_t i = 10; i < SLOT_COUNT; i++) { /* Hundreds of evictions, in several batches. */
        (void)use(&fixture, i);
        (void)use(&fixture, i);
    }
    cr_assert_not(holds(&fixture, 3));
    cr_assert_gt(fixture.cache.evict_count, 200);
    cr_assert_eq(cache_entry_data(entry).data[BLOCK_SIZE - 1], 3);
    cache_leave(&fixture.cache, inside);
    fixture_close(&fixture);
}

static bool memory_ends;
static int64_t pieces; /* Of the heap, taken and not given back. */

static void *counted_allocate(size_t size)
{
    void *memory = memory_ends ? NULL : malloc(size);
    pieces += memory != NULL;
    return memory;
}

static void counted_release(void *memory)
{
    pieces -= memory != NULL;
    free(memory);
}

static const struct memory_hooks counting_hooks = {
    .allocate = counted_allocate, .resize = realloc, .release = counted_release};

Test(cache, a_pinned_entry_outlives_the_cache_s_interest_in_it)
{
    memory_set_hooks(&counting_hooks);
    struct fixture fixture;
    fixture_open(&fixture);
    pieces = 0;
    (void)use(&fixture, 3);
    cr_assert_null(cache_pin(&fixture.cache, &fixture.slots[4]));
    struct cache_entry *entry = cache_pin(&fixture.cache, &fixture.slots[3]);
    struct cache_entry *again = cache_pin(&fixture.cache, &fixture.slots[3]);
    cr_assert_not_null(entry);
    cr_assert_eq(entry, again);
    cache_unpin(&fixture.cache, again);
    for (uint32_t i = 10; i < SLOT_COUNT; i++) {
        (void)use(&fixture, i);
        (void)use(&fixture, i);
    }
    cr_assert_not(holds(&fixture, 3));
    cache_forget(&fixture.cache, fixture.slots, SLOT_COUNT);
    cr_assert_eq(cache_entry_data(entry).data[BLOCK_SIZE - 1], 3);
    cache_unpin(&fixture.cache, entry);
    fixture_close(&fixture);
    cr_assert_eq(pieces, 0);
    memory_set_hooks(NULL);
}

/* With nobody but the cache itself to see to it. */
Test(cache, what_was_evicted_is_soon_freed)
{
    memory_set_hooks(&counting_hooks);
    struct fixture fixture;
    fixture_open(&fixture);
    pieces = 0;
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < SLOT_COUNT; i++) {
            (void)use(&fixture, i);
            (void)use(&fixture, i);
            cr_assert_leq(pieces, ROOM_BLOCKS + 200);
        }
    }
    cr_assert_gt(fixture.cache.evict_count, 1000);
    fixture_close(&fixture);
    cr_assert_eq(pieces, 0);
    memory_set_hooks(NULL);
}

Test(cache, without_memory_nothing_is_let_in)
{
    memory_set_hooks(&counting_hooks);
    struct fixture fixture;
    fixture_open(&fixture);
    memory_ends = true;
    (void)use(&fixture, 3);
    cr_assert_not(holds(&fixture, 3));
    memory_ends = false;
    (void)use(&fixture, 3);
    cr_assert(holds(&fixture, 3));
    fixture_close(&fixture);
    memory_set_hooks(NULL);
}

struct race {
    struct fixture *fixture;
    uint64_t seed;
    uint64_t hit_count;
};

static void *race_run(void *argument)
{
    struct race *race = argument;
    struct fixture *fixture = race->fixture;
    struct prng prng;
    prng_init(&prng, race->seed);
    uint8_t block[BLOCK_SIZE];
    for (uint32_t i = 0; i < 40000; i++) {
        uint32_t index = (uint32_t)(prng_below(&prng, SLOT_COUNT) * prng_below(&prng, SLOT_COUNT) /
                                    SLOT_COUNT); /* Low ones more often. */
        unsigned inside = cache_enter(&fixture->cache);
        const struct cache_entry *entry = cache_find(&fixture->slots[index]);
        if (entry != NULL) {
            struct slice data = cache_entry_data(entry);
            cr_assert(data.data[0] == index % 251 && data.data[BLOCK_SIZE - 1] == index % 251);
            race->hit_count++;
        }
        cache_leave(&fixture->cache, inside);
        if (entry == NULL && cache_wants(&fixture->cache, &fixture->slots[index], BLOCK_SIZE)) {
            memset(block, (int)(index % 251), BLOCK_SIZE);
            cache_insert(&fixture->cache, &fixture->slots[index], slice_make(block, BLOCK_SIZE),
                         CACHE_BLOCK);
        }
        struct cache_entry *pinned = cache_pin(&fixture->cache, &fixture->slots[index]);
        if (i % 100 == 0) {
            budget_set(&fixture->budget, BUDGET_MEMTABLES, prng_below(&prng, 50) * 4096);
            cache_trim(&fixture->cache);
        }
        if (pinned != NULL) {
            cr_assert_eq(cache_entry_data(pinned).data[BLOCK_SIZE / 2], index % 251);
            cache_unpin(&fixture->cache, pinned);
        }
    }
    return NULL;
}

Test(cache, threads_find_their_blocks_or_none, .timeout = 120)
{
    struct fixture fixture;
    fixture_open(&fixture);
    pthread_t threads[4];
    struct race races[4];
    uint64_t hits = 0;
    for (uint32_t i = 0; i < 4; i++) {
        races[i] = (struct race){.fixture = &fixture, .seed = i + 1};
        cr_assert_eq(pthread_create(&threads[i], NULL, race_run, &races[i]), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
        hits += races[i].hit_count;
    }
    cr_assert_gt(hits, 10000);
    cr_assert_gt(fixture.cache.evict_count, 100);
    cr_assert_leq(budget_used(&fixture.budget, BUDGET_CACHE), ROOM_BLOCKS * 4096u);
    fixture_close(&fixture);
}

/* Room for huge pages. */
#define LARGE_ROOM (UINT64_C(64) << 20)
#define LARGE_SLOT_COUNT 20000u

static bool large_use(struct cache *cache, struct cache_slot *slot, uint32_t index)
{
    uint8_t block[BLOCK_SIZE];
    unsigned inside = cache_enter(cache);
    const struct cache_entry *entry = cache_find(slot);
    if (entry != NULL) {
        struct slice data = cache_entry_data(entry);
        cr_assert(data.data[0] == index % 251 && data.data[BLOCK_SIZE - 1] == index % 251);
    }
    cache_leave(cache, inside);
    if (entry == NULL && cache_wants(cache, slot, BLOCK_SIZE)) {
        memset(block, (int)(index % 251), BLOCK_SIZE);
        cache_insert(cache, slot, slice_make(block, BLOCK_SIZE), CACHE_BLOCK);
    }
    return entry != NULL;
}

/* A cache that was offered a block in each slot, in turn. */
static void large_fill(struct budget *budget, struct cache *cache, struct cache_slot *slots)
{
    budget_init(budget, LARGE_ROOM);
    cache_init(cache, budget);
    for (uint32_t i = 0; i < LARGE_SLOT_COUNT; i++) {
        (void)large_use(cache, &slots[i], i);
    }
}

/* Chunks go back as others grow, though evicted blocks lie in all of them; what stays is found. */
Test(cache, a_large_one_gives_whole_chunks_back, .timeout = 120)
{
    static struct cache_slot slots[LARGE_SLOT_COUNT];
    struct budget budget;
    struct cache cache;
    large_fill(&budget, &cache, slots);
    cr_assert_eq(budget_used(&budget, BUDGET_CACHE), LARGE_ROOM);
    /* The first blocks went to the heap: they might have been all. */
    cr_assert_eq(cache.slab.chunk_count, LARGE_ROOM / MEMORY_HUGE_SIZE - 1);
    for (uint64_t taken = 1u << 20; taken <= 48u << 20; taken += 1u << 20) {
        budget_set(&budget, BUDGET_MEMTABLES, taken);
        cache_trim(&cache);
        uint64_t room = budget_cache_room(&budget);
        cr_assert_leq(budget_used(&budget, BUDGET_CACHE), room);
        cr_assert_geq(budget_used(&budget, BUDGET_CACHE) + 4096, room);
        cr_assert_leq(cache.slab.chunk_count * MEMORY_HUGE_SIZE, room + MEMORY_HUGE_SIZE);
    }
    uint32_t found = 0;
    for (uint32_t i = 0; i < LARGE_SLOT_COUNT; i++) {
        found += cache_find(&slots[i]) != NULL && large_use(&cache, &slots[i], i);
    }
    cr_assert_eq(found, budget_used(&budget, BUDGET_CACHE) / 4096);
    cache_forget(&cache, slots, LARGE_SLOT_COUNT);
    cr_assert_eq(budget_used(&budget, BUDGET_CACHE), 0);
    cache_deinit(&cache);
}

/* Entries that need the heap, while a third of those in chunks is used all the time: what the hand
 * takes between them is of no use to the heap. */
Test(cache, holes_in_chunks_do_not_add_up, .timeout = 120)
{
    static struct cache_slot slots[LARGE_SLOT_COUNT];
    static struct cache_slot wide_slots[LARGE_SLOT_COUNT];
    static uint8_t wide[5 * 1024 - CACHE_ENTRY_HEADER_SIZE];
    struct budget budget;
    struct cache cache;
    uint64_t taken_max = 0;
    uint64_t heap = 0;
    large_fill(&budget, &cache, slots);
    for (uint32_t i = 0; i < LARGE_SLOT_COUNT; i++) {
        for (uint32_t used = 0; i % 1000 == 0 && used < LARGE_SLOT_COUNT; used += 3) {
            unsigned inside = cache_enter(&cache);
            (void)cache_find(&slots[used]);
            cache_leave(&cache, inside);
        }
        cache_insert(&cache, &wide_slots[i], slice_make(wide, sizeof(wide)), CACHE_BLOCK);
        if (i % 100 == 0) {
            heap = 0;
            for (uint32_t other = 0; other <= i; other++) {
                heap += cache_find(&wide_slots[other]) != NULL ? 5 * 1024 : 0;
            }
            uint64_t taken = cache.slab.chunk_count * MEMORY_HUGE_SIZE + heap;
            taken_max = taken > taken_max ? taken : taken_max;
        }
    }
    cr_assert_gt(heap, LARGE_ROOM / 8);
    cr_assert_leq(taken_max, LARGE_ROOM + LARGE_ROOM / 10, "of %lu: %lu", (unsigned long)LARGE_ROOM,
                  (unsigned long)taken_max);
    cache_forget(&cache, slots, LARGE_SLOT_COUNT);
    cache_forget(&cache, wide_slots, LARGE_SLOT_COUNT);
    cr_assert_eq(cache.slab.chunk_count, 0);
    cache_deinit(&cache);
}

/* Tables that a merge took away, whose blocks lay among those of others. */
Test(cache, what_is_forgotten_leaves_no_holes_for_long, .timeout = 120)
{
    static struct cache_slot slots[LARGE_SLOT_COUNT];
    struct budget budget;
    struct cache cache;
    large_fill(&budget, &cache, slots);
    for (uint64_t taken = 8u << 20; taken <= 32u << 20; taken += 8u << 20) {
        uint64_t room = LARGE_ROOM - taken;
        for (uint32_t i = 0; i < LARGE_SLOT_COUNT && budget_used(&budget, BUDGET_CACHE) > room;
             i++) {
            cache_forget(&cache, &slots[(i * 7919) % LARGE_SLOT_COUNT], 1);
        }
        uint64_t kept = budget_used(&budget, BUDGET_CACHE);
        cr_assert_gt(cache.slab.chunk_count * MEMORY_HUGE_SIZE, room + room / 16);
        budget_set(&budget, BUDGET_MEMTABLES, taken);
        cr_assert(cache_is_over(&cache));
        cache_trim(&cache);
        cr_assert(!cache_is_over(&cache));
        cr_assert_leq(cache.slab.chunk_count * MEMORY_HUGE_SIZE, room + room / 16);
        cr_assert_geq(budget_used(&budget, BUDGET_CACHE), kept / 4 * 3);
        for (uint32_t i = 0; i < LARGE_SLOT_COUNT; i++) { /* Full again. */
            (void)large_use(&cache, &slots[i], i);
        }
    }
    cache_forget(&cache, slots, LARGE_SLOT_COUNT);
    cr_assert_eq(cache.slab.chunk_count, 0);
    cache_deinit(&cache);
}

struct large_race {
    struct cache *cache;
    struct cache_slot *slots;
    uint64_t seed;
    uint64_t hit_count;
};

static void *large_race_run(void *argument)
{
    struct large_race *race = argument;
    struct prng prng;
    prng_init(&prng, race->seed);
    for (uint32_t i = 0; i < 60000; i++) {
        uint32_t index = (uint32_t)prng_below(&prng, LARGE_SLOT_COUNT);
        race->hit_count += large_use(race->cache, &race->slots[index], index);
        struct cache_entry *pinned = cache_pin(race->cache, &race->slots[index]);
        if (i % 1000 == 0) {
            budget_set(race->cache->budget, BUDGET_MEMTABLES,
                       prng_below(&prng, 60) * (UINT64_C(1) << 20));
            cache_trim(race->cache);
        }
        if (pinned != NULL) {
            cr_assert_eq(cache_entry_data(pinned).data[BLOCK_SIZE / 2], index % 251);
            cache_unpin(race->cache, pinned);
        }
    }
    return NULL;
}

Test(cache, threads_find_their_blocks_while_chunks_come_and_go, .timeout = 120)
{
    static struct cache_slot slots[LARGE_SLOT_COUNT];
    struct budget budget;
    struct cache cache;
    budget_init(&budget, LARGE_ROOM);
    cache_init(&cache, &budget);
    pthread_t threads[4];
    struct large_race races[4];
    uint64_t hits = 0;
    for (uint32_t i = 0; i < 4; i++) {
        races[i] = (struct large_race){.cache = &cache, .slots = slots, .seed = i + 1};
        cr_assert_eq(pthread_create(&threads[i], NULL, large_race_run, &races[i]), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
        hits += races[i].hit_count;
    }
    cr_assert_gt(hits, 10000);
    cr_assert_gt(cache.evict_count, 10000);
    cache_forget(&cache, slots, LARGE_SLOT_COUNT);
    cache_deinit(&cache);
}
