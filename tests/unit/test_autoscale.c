/* tests/unit/test_autoscale.c -- more nodes when a limit was passed for long enough, fewer when
 * they would do for longer, and neither for a burst or at the edge. */
#include <criterion/criterion.h>

#include "node/autoscale.h"

#define GIB (UINT64_C(1) << 30)
#define SECOND_MS UINT64_C(1000)

static struct autoscale autoscale;
static struct autoscale_usage usage;
static struct autoscale_limits limits;
static uint64_t now_ms;

static void lab_init(void)
{
    autoscale = (struct autoscale){0};
    limits = (struct autoscale_limits){.disk_high_pct = 80,
                                       .request_high_pct = 75,
                                       .target_pct = 60,
                                       .node_requests = 1000,
                                       .grow_s = 60,
                                       .shrink_s = 600};
    usage = (struct autoscale_usage){.node_count = 4, .replica_count = 3};
    now_ms = 5000;
}

TestSuite(autoscale, .init = lab_init);

/* So much of the disks, evenly, and of the requests that the nodes are good for. */
static void use(uint32_t disk_pct, uint32_t request_pct)
{
    usage.disk_size = usage.node_count * 100 * GIB;
    usage.disk_used = usage.disk_size / 100 * disk_pct;
    usage.disk_fullest_pct = disk_pct;
    usage.requests = (uint64_t)usage.node_count * limits.node_requests * request_pct / 100;
}

static void pass(uint32_t seconds)
{
    for (uint32_t second = 0; second < seconds; second++) {
        now_ms += SECOND_MS;
        autoscale_judge(&autoscale, &limits, &usage, now_ms);
    }
}

Test(autoscale, between_the_bands_nothing_changes)
{
    use(65, 65);
    pass(2000);
    cr_expect_eq(autoscale.wanted, 4);
    cr_expect_eq(autoscale.direction, AUTOSCALE_HOLD);
    cr_expect_str_eq(autoscale.reason, "within the limits");
}

Test(autoscale, above_a_limit_for_long_enough_it_grows_to_the_target)
{
    use(85, 10);
    pass(60);
    cr_expect_eq(autoscale.wanted, 4, "not yet");
    cr_expect_eq(autoscale.pending, AUTOSCALE_GROW);
    pass(1);
    cr_expect_eq(autoscale.wanted, 6, "4 * 85 / 60");
    cr_expect_eq(autoscale.direction, AUTOSCALE_GROW);
    cr_expect_str_eq(autoscale.reason, "disks are fuller than they should be");
    lab_init();
    use(10, 90);
    pass(61);
    cr_expect_eq(autoscale.wanted, 6);
    cr_expect_str_eq(autoscale.reason, "there are more requests than nodes should serve");
}

Test(autoscale, one_full_disk_is_enough)
{
    use(50, 10);
    usage.disk_fullest_pct = 81;
    pass(61);
    cr_expect_eq(autoscale.wanted, 5);
    cr_expect_str_eq(autoscale.reason, "a disk is fuller than it should be");
}

Test(autoscale, a_burst_is_ridden_out)
{
    for (uint32_t burst = 0; burst < 20; burst++) {
        use(62, 95);
        pass(59);
        use(62, 70);
        pass(1);
        cr_assert_eq(autoscale.wanted, 4, "burst %u", burst);
    }
}

/* Around the limit, and around what one node fewer would be: one change at most. */
Test(autoscale, at_an_edge_it_does_not_flutter)
{
    static const uint32_t edges[] = {75, 60, 45};
    for (uint32_t edge = 0; edge < 3; edge++) {
        lab_init();
        uint32_t changes = 0;
        uint32_t last = 4;
        for (uint32_t period = 0; period < 200; period++) {
            use(30, period % 2 == 0 ? edges[edge] - 1 : edges[edge] + 1);
            for (uint32_t step = 0; step < 70; step++) {
                pass(1);
                changes += autoscale.wanted != last ? 1 : 0;
                last = autoscale.wanted;
            }
        }
        cr_expect_leq(changes, 1, "at %u %%: %u changes", edges[edge], changes);
    }
}

Test(autoscale, what_made_it_grow_must_fall_to_the_target)
{
    use(10, 90);
    pass(61);
    cr_assert_eq(autoscale.wanted, 6);
    use(10, 65);
    pass(500);
    cr_expect_eq(autoscale.wanted, 6, "below the limit is not enough");
    use(10, 60);
    pass(1);
    cr_expect_eq(autoscale.wanted, 4);
    cr_expect_eq(autoscale.direction, AUTOSCALE_HOLD);
}

Test(autoscale, one_fewer_at_a_time_once_it_would_do_for_long)
{
    use(20, 20);
    pass(600);
    cr_expect_eq(autoscale.wanted, 4);
    pass(1);
    cr_expect_eq(autoscale.wanted, 3);
    cr_expect_str_eq(autoscale.reason, "one node fewer would do");
    usage.node_count = 3; /* It was taken away. */
    use(20, 20);
    pass(2000);
    cr_expect_eq(autoscale.wanted, 3, "as many as replicas");
}

Test(autoscale, a_target_is_met_by_those_that_are_left)
{
    use(46, 10); /* On three it would be 61. */
    pass(2000);
    cr_expect_eq(autoscale.wanted, 4);
    use(44, 10);
    pass(601);
    cr_expect_eq(autoscale.wanted, 3);
}

Test(autoscale, bounds_hold)
{
    limits.nodes_min = 6;
    use(10, 10);
    pass(61);
    cr_expect_eq(autoscale.wanted, 6);
    cr_expect_str_eq(autoscale.reason, "fewer nodes than there should be at least");
    lab_init();
    limits.nodes_max = 5;
    use(99, 99);
    pass(61);
    cr_expect_eq(autoscale.wanted, 5);
    usage.node_count = 5;
    use(99, 99);
    pass(61);
    cr_expect_eq(autoscale.wanted, 5);
    cr_expect_eq(autoscale.direction, AUTOSCALE_HOLD);
    cr_expect_str_eq(autoscale.reason,
                     "above the limits, but there are as many nodes as there may be");
}

Test(autoscale, while_the_cluster_is_not_steady_the_last_answer_stands)
{
    use(85, 10);
    pass(40);
    usage.unsteady = "a plan runs";
    pass(1000);
    cr_expect_eq(autoscale.wanted, 4);
    cr_expect_str_eq(autoscale.reason, "a plan runs");
    usage.unsteady = NULL;
    pass(60);
    cr_expect_eq(autoscale.wanted, 4, "it counts anew");
    pass(1);
    cr_expect_eq(autoscale.wanted, 6);
    usage.unsteady = "a node is silent";
    use(10, 10);
    pass(1000);
    cr_expect_eq(autoscale.wanted, 6);
}

Test(autoscale, requests_are_not_judged_without_a_figure)
{
    limits.node_requests = 0;
    use(65, 0);
    usage.requests = 1000000;
    pass(2000);
    cr_expect_eq(autoscale.wanted, 4);
    cr_expect_eq(autoscale_request_pct(&limits, &usage, 4), 0);
}

Test(autoscale, more_load_wants_more_nodes_while_it_grows)
{
    use(85, 10);
    pass(61);
    cr_assert_eq(autoscale.wanted, 6);
    use(96, 10);
    pass(1);
    cr_expect_eq(autoscale.wanted, 7);
    use(85, 10);
    pass(100);
    cr_expect_eq(autoscale.wanted, 7, "it does not go down and up");
}
