/* tests/unit/test_range.c -- ranges tile the circle of tokens. */
#include <signal.h>

#include <criterion/criterion.h>

#include "ring/ring.h"

Test(range, ranges_tile_the_circle_without_gap_or_overlap)
{
    for (uint32_t count = 1; count <= RING_RANGE_COUNT_MAX; count *= 2) {
        cr_assert_eq(ring_range_first(0, count), 0);
        cr_assert_eq(ring_range_last(count - 1, count), UINT64_MAX);
        for (uint32_t range = 0; range < count; range++) {
            uint64_t first = ring_range_first(range, count);
            uint64_t last = ring_range_last(range, count);
            cr_assert_eq(ring_range_of(first, count), range, "%u of %u", range, count);
            cr_assert_eq(ring_range_of(last, count), range, "%u of %u", range, count);
            cr_assert(range + 1 == count || ring_range_first(range + 1, count) == last + 1);
        }
    }
}

Test(range, moves_count_what_is_new)
{
    struct ring_replicas from[2] = {{3, {1, 2, 3}}, {2, {4, 5}}};
    struct ring_replicas to[2] = {{3, {3, 1, 7}}, {3, {8, 5, 9}}};
    cr_assert_eq(ring_moves(from, to, 2), 3);
    cr_assert_eq(ring_moves(from, from, 2), 0);
    cr_assert(ring_replicas_contain(&from[0], 3));
    cr_assert_not(ring_replicas_contain(&from[1], 3));
}

Test(range, a_range_outside_is_a_bug, .signal = SIGABRT)
{
    (void)ring_range_first(4, 4);
}
