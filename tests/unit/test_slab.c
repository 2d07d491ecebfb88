/*
 * tests/unit/test_slab.c -- lsm/slab.h: runs lie apart, chunks keep to the limit, and what is empty
 * goes back.
 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/prng.h"
#include "lsm/slab.h"

#define RUN_COUNT 3000u

struct run {
    uint8_t *memory; /* NULL: not taken. */
    uint32_t pages;
    uint16_t chunk;
    uint8_t content;
};

static bool run_take(struct slab *slab, struct run *run, uint32_t pages, uint64_t size_max)
{
    run->memory = slab_take(slab, pages, size_max, &run->chunk);
    run->pages = pages;
    if (run->memory != NULL) {
        memset(run->memory, run->content, (size_t)pages * SLAB_PAGE_SIZE);
    }
    return run->memory != NULL;
}

static void run_give(struct slab *slab, struct run *run)
{
    for (size_t i = 0; i < (size_t)run->pages * SLAB_PAGE_SIZE; i += 997) {
        cr_assert_eq(run->memory[i], run->content); /* Nobody else wrote there. */
    }
    slab_give(slab, run->memory, run->pages, run->chunk);
    run->memory = NULL;
}

Test(slab, runs_of_all_sizes_lie_apart_and_all_goes_back, .timeout = 120)
{
    static struct run runs[RUN_COUNT];
    const uint64_t size_max = 4 * MEMORY_HUGE_SIZE;
    struct prng prng;
    prng_init(&prng, 1);
    struct slab slab;
    slab_init(&slab, size_max);
    uint32_t refused = 0;
    uint64_t pages_out = 0;
    for (uint32_t i = 0; i < 60000; i++) {
        struct run *run = &runs[prng_below(&prng, RUN_COUNT)];
        if (run->memory != NULL) {
            pages_out -= run->pages;
            run_give(&slab, run);
            continue;
        }
        run->content = (uint8_t)i;
        uint32_t pages = prng_chance(&prng, 3, 4) ? 1 : 1 + (uint32_t)prng_below(&prng, 8);
        if (run_take(&slab, run, pages, size_max)) {
            cr_assert_eq((uintptr_t)run->memory % SLAB_PAGE_SIZE, 0);
            pages_out += pages;
        } else {
            refused++;
            /* Only where nearly all is out. */
            cr_assert_gt(pages_out + 8 * pages, 3 * SLAB_CHUNK_PAGES, "out %lu", pages_out);
        }
        cr_assert_leq(slab.chunk_count, 4);
        cr_assert_eq(slab_holes(&slab),
                     slab.chunk_count * MEMORY_HUGE_SIZE - pages_out * SLAB_PAGE_SIZE);
    }
    cr_assert_gt(refused, 100);
    for (uint32_t i = 0; i < RUN_COUNT; i++) {
        if (runs[i].memory != NULL) {
            run_give(&slab, &runs[i]);
        }
    }
    cr_assert_eq(slab.chunk_count, 0);
    slab_deinit(&slab);
}

Test(slab, a_chunk_is_used_up_before_another_is_made)
{
    struct slab slab;
    struct run runs[SLAB_CHUNK_PAGES + 1] = {{0}};
    slab_init(&slab, 8 * MEMORY_HUGE_SIZE);
    for (uint32_t i = 0; i < SLAB_CHUNK_PAGES; i++) {
        cr_assert(run_take(&slab, &runs[i], 1, 8 * MEMORY_HUGE_SIZE));
        cr_assert_eq(slab.chunk_count, 1);
    }
    struct run *last = &runs[SLAB_CHUNK_PAGES];
    cr_assert_not(run_take(&slab, last, 1, MEMORY_HUGE_SIZE)); /* That is all for so little. */
    cr_assert(run_take(&slab, last, 1, 2 * MEMORY_HUGE_SIZE));
    cr_assert_eq(slab.chunk_count, 2);
    run_give(&slab, last);
    cr_assert_eq(slab.chunk_count, 1); /* Empty: it goes. */
    for (uint32_t i = 0; i < SLAB_CHUNK_PAGES; i++) {
        run_give(&slab, &runs[i]);
    }
    slab_deinit(&slab);
}

Test(slab, from_a_closed_chunk_nothing_is_taken_until_it_is_open)
{
    struct slab slab;
    const uint64_t size_max = MEMORY_HUGE_SIZE;
    struct run first = {.content = 1};
    struct run second = {.content = 2};
    slab_init(&slab, size_max);
    cr_assert_eq(slab_close_one(&slab), SLAB_NONE);
    cr_assert(run_take(&slab, &first, 2, size_max));
    cr_assert_null(slab_marked(&slab, first.chunk));
    slab_mark(&slab, first.memory, first.chunk);
    cr_assert_eq(slab_close_one(&slab), first.chunk);
    cr_assert_eq(slab_close_one(&slab), SLAB_NONE); /* It is closed already. */
    cr_assert_not(run_take(&slab, &second, 1, size_max));
    cr_assert_eq(slab_marked(&slab, first.chunk), (void *)first.memory);
    cr_assert_eq(slab_holes(&slab), 0);
    slab_open(&slab, first.chunk);
    cr_assert_eq(slab_holes(&slab), MEMORY_HUGE_SIZE - 2 * SLAB_PAGE_SIZE);
    cr_assert(run_take(&slab, &second, 1, size_max));
    cr_assert_eq(slab_close_one(&slab), first.chunk);
    slab_unmark(&slab, first.memory, first.chunk);
    run_give(&slab, &first);
    cr_assert_eq(slab.chunk_count, 1);
    cr_assert_eq(slab_holes(&slab), 0);
    run_give(&slab, &second);
    cr_assert_eq(slab.chunk_count, 0);
    cr_assert_eq(slab_holes(&slab), 0);
    cr_assert_null(slab_marked(&slab, first.chunk));
    slab_deinit(&slab);
}

static int calls_left;

static void *failing_allocate(size_t size)
{
    return calls_left-- > 0 ? malloc(size) : NULL;
}

static const struct memory_hooks failing_hooks = {
    .allocate = failing_allocate, .resize = realloc, .release = free};

Test(slab, without_memory_there_are_no_runs)
{
    memory_set_hooks(&failing_hooks);
    for (int calls = 0; calls < 4; calls++) {
        struct slab slab;
        struct run run = {0};
        calls_left = calls;
        slab_init(&slab, 4 * MEMORY_HUGE_SIZE);
        bool taken = run_take(&slab, &run, 1, 4 * MEMORY_HUGE_SIZE);
        cr_assert_eq(taken, calls == 3);
        if (taken) {
            run_give(&slab, &run);
        }
        slab_deinit(&slab);
    }
    memory_set_hooks(NULL);
}
