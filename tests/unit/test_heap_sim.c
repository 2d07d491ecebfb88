/* tests/unit/test_heap_sim.c -- whose memory it is, and what a drop takes. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "tests/sim/heap_sim.h"

static void setup(void)
{
    heap_sim_install();
}

static void teardown(void)
{
    heap_sim_uninstall();
}

TestSuite(heap_sim, .init = setup, .fini = teardown);

Test(heap_sim, a_block_stays_with_the_heap_it_was_taken_from)
{
    struct heap_sim a;
    struct heap_sim b;
    heap_sim_init(&a, 0);
    heap_sim_init(&b, 0);
    heap_sim_enter(&a);
    char *memory = memory_allocate(100);
    cr_assert_eq(heap_sim_enter(&b), &a);
    memory = memory_resize(memory, 5000);
    memset(memory, 7, 5000);
    cr_expect_eq(a.size, 5000);
    cr_expect_eq(b.size, 0);
    memory_free(memory);
    heap_sim_enter(NULL);
    cr_expect_eq(a.size, 0);
    cr_expect_eq(a.block_count, 0);
}

Test(heap_sim, drop_frees_everything_and_nothing_of_others)
{
    struct heap_sim a;
    heap_sim_init(&a, 0);
    char *outside = memory_copy_string("outside");
    heap_sim_enter(&a);
    for (int index = 0; index < 100; index++) {
        char *inside = memory_allocate(64);
        cr_assert_not_null(inside);
    }
    heap_sim_enter(NULL);
    cr_expect_eq(a.block_count, 100);
    heap_sim_drop(&a); /* The leak check of the sanitizer is the other half of this test. */
    cr_expect_eq(a.size, 0);
    cr_expect_str_eq(outside, "outside");
    memory_free(outside);
}

Test(heap_sim, the_bound_and_the_countdown_fail_allocations)
{
    struct heap_sim heap;
    heap_sim_init(&heap, 1000);
    heap_sim_enter(&heap);
    void *first = memory_allocate(900);
    cr_expect_not_null(first);
    cr_expect_null(memory_allocate(101));
    heap.fail_countdown = 2;
    void *second = memory_allocate(10);
    cr_expect_not_null(second);
    cr_expect_null(memory_allocate(10));
    void *third = memory_allocate(10);
    cr_expect_not_null(third);
    heap_sim_enter(NULL);
    heap_sim_drop(&heap);
}
