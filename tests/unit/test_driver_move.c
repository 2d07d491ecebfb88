/* tests/unit/test_driver_move.c -- which step is due, by what was heard and nothing else. */
#include "node/driver_move.h"
#include "tests/unit/driver_fixture.h"

static bool nobody_is_gone(const void *context, uint32_t node)
{
    (void)context;
    (void)node;
    return false;
}

static const struct driver_health well = {.gone = nobody_is_gone};

/* Range `range` as its step leaves it. */
static void step(enum topology_step_type type, uint32_t range, bool merge_all)
{
    const struct topology_range *at = &lab.topology.ranges[range];
    struct topology_step one = {.type = type,
                                .range = range,
                                .merge_all = merge_all,
                                .session = type == TOPOLOGY_BEGIN ? at->epoch : at->session};
    lab_apply((struct topology_command){.type = TOPOLOGY_STEPS, .steps = &one, .step_count = 1});
}

struct bench {
    uint32_t range;
    const struct topology_range *at;
    struct driver_move move;
};

/* A range of four members, in the operation that takes it to three others of them. */
static struct bench bench_open(uint32_t factor_after)
{
    struct bench bench = {0};
    lab_topology(factor_after == 3 ? 3 : 5, 3);
    if (factor_after == 3) {
        lab_join(4);
    } else {
        lab_stage((struct topology_change){.type = TOPOLOGY_FACTOR, .replica_count = factor_after});
        lab_commit_plan();
    }
    bench.range = lab_range();
    bench.at = &lab.topology.ranges[bench.range];
    step(TOPOLOGY_BEGIN, bench.range, factor_after != 3);
    driver_move_follow(&bench.move, &lab.topology, bench.range, 0);
    return bench;
}

static void bench_close(void)
{
    topology_deinit(&lab.topology);
}

static void hear(struct bench *bench, uint32_t node, uint64_t fence, uint64_t streamed)
{
    struct message_range_state state = {
        .range = bench->range, .fence = fence, .entered = streamed, .streamed = streamed};
    driver_move_hear(&bench->move, &lab.topology, node, lab.topology.stamp.epoch, &state);
}

static struct driver_wait next(const struct bench *bench)
{
    return driver_move_next(&bench->move, &lab.topology, &well);
}

static uint32_t entering(const struct bench *bench)
{
    for (uint32_t index = 0; index < bench->at->next.count; index++) {
        if (!ring_replicas_contain(&bench->at->replicas, bench->at->next.ids[index])) {
            return bench->at->next.ids[index];
        }
    }
    cr_assert_fail("nobody enters");
    return 0;
}

static uint32_t fenced_of(const struct ring_replicas *set, uint32_t subset)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < set->count; index++) {
        count += (subset & BIT(set->ids[index])) != 0 ? 1 : 0;
    }
    return count;
}

/* Every set of members that have the fence; all that must be streamed is. */
static void sweep_fences(enum topology_step_type due, bool streamed)
{
    for (uint32_t subset = 0; subset < BIT(6); subset += 2) {
        struct bench bench = bench_open(3);
        if (due == TOPOLOGY_FINISH) {
            step(TOPOLOGY_READ_NEW, bench.range, false);
            driver_move_follow(&bench.move, &lab.topology, bench.range, 0);
        }
        for (uint32_t node = 1; node <= 4; node++) {
            bool fenced = (subset & BIT(node)) != 0;
            hear(&bench, node, fenced ? bench.at->epoch : bench.at->epoch - 1,
                 streamed ? bench.at->session : 0);
        }
        bool counts =
            fenced_of(&bench.at->replicas, subset) >= 2 && fenced_of(&bench.at->next, subset) >= 2;
        struct driver_wait wait = next(&bench);
        cr_assert_eq(wait.step, due);
        cr_assert_eq(wait.type == DRIVER_WAIT_FENCE, !counts, "subset %x: waits for %d", subset,
                     wait.type);
        cr_assert_eq(wait.type == DRIVER_WAIT_NONE, counts && (due == TOPOLOGY_FINISH || streamed),
                     "subset %x", subset);
        bench_close();
    }
}

Test(driver_move, a_fence_counts_with_a_majority_of_the_old_and_of_the_new_and_no_less)
{
    sweep_fences(TOPOLOGY_READ_NEW, true);
    sweep_fences(TOPOLOGY_FINISH, true);
}

Test(driver_move, no_fence_stands_for_a_stream)
{
    sweep_fences(TOPOLOGY_READ_NEW, false);
}

Test(driver_move, a_wait_for_a_fence_names_who_lacks_it)
{
    struct bench bench = bench_open(3);
    uint32_t enters = entering(&bench);
    for (uint32_t node = 1; node <= 2; node++) {
        hear(&bench, node, 0, 0);
    }
    hear(&bench, enters, bench.at->epoch, bench.at->session);
    struct driver_wait wait = next(&bench);
    cr_assert_eq(wait.type, DRIVER_WAIT_FENCE);
    cr_assert_eq(wait.node_count, 3u);
    cr_assert(wait.missing_majority);
    for (uint32_t index = 0; index < wait.node_count; index++) {
        cr_assert_neq(wait.nodes[index], enters);
    }
    bench_close();
}

Test(driver_move, only_a_stream_of_this_session_counts)
{
    struct bench bench = bench_open(3);
    uint32_t enters = entering(&bench);
    for (uint32_t node = 1; node <= 4; node++) {
        hear(&bench, node, bench.at->epoch, node == enters ? bench.at->session - 1 : 0);
    }
    struct driver_wait wait = next(&bench);
    cr_assert_eq(wait.type, DRIVER_WAIT_ENTER);
    cr_assert_eq(wait.node_count, 1u);
    cr_assert_eq(wait.nodes[0], enters);
    cr_assert(driver_move_asks(&bench.move, &lab.topology, enters));
    struct message_range_state state = {.fence = bench.at->epoch, .entered = bench.at->session};
    cr_assert_not(
        driver_move_hear(&bench.move, &lab.topology, enters, lab.topology.stamp.epoch, &state));
    cr_assert_eq(next(&bench).type, DRIVER_WAIT_STREAM);
    state.streamed = bench.at->session;
    cr_assert(
        driver_move_hear(&bench.move, &lab.topology, enters, lab.topology.stamp.epoch, &state));
    cr_assert_eq(next(&bench).type, DRIVER_WAIT_NONE);
    cr_assert_not(driver_move_asks(&bench.move, &lab.topology, enters));
    bench_close();
}

Test(driver_move, an_answer_that_was_overtaken_takes_nothing_back)
{
    struct bench bench = bench_open(3);
    for (uint32_t node = 1; node <= 4; node++) {
        hear(&bench, node, bench.at->epoch, bench.at->session);
        hear(&bench, node, bench.at->epoch - 1, 0);
    }
    cr_assert_eq(next(&bench).type, DRIVER_WAIT_NONE);
    bench_close();
}

Test(driver_move, what_was_heard_before_a_step_does_not_count_for_its_fence)
{
    struct bench bench = bench_open(3);
    for (uint32_t node = 1; node <= 4; node++) {
        hear(&bench, node, bench.at->epoch, bench.at->session);
    }
    step(TOPOLOGY_READ_NEW, bench.range, false);
    driver_move_follow(&bench.move, &lab.topology, bench.range, 7);
    cr_assert_eq(bench.move.stage_ms, 7u);
    cr_assert_eq(bench.move.began_ms, 0u);
    cr_assert_eq(next(&bench).type, DRIVER_WAIT_FENCE);
    bench_close();
}

Test(driver_move, nothing_is_left_of_an_operation_before)
{
    struct bench bench = bench_open(3);
    for (uint32_t node = 1; node <= 4; node++) {
        hear(&bench, node, bench.at->epoch, bench.at->session);
    }
    step(TOPOLOGY_BACK, bench.range, false);
    step(TOPOLOGY_BEGIN, bench.range, false);
    driver_move_follow(&bench.move, &lab.topology, bench.range, 0);
    cr_assert_eq(next(&bench).type, DRIVER_WAIT_FENCE);
    for (uint32_t node = 1; node <= 4; node++) {
        hear(&bench, node, bench.at->epoch, 0);
    }
    cr_assert_eq(next(&bench).type, DRIVER_WAIT_ENTER);
    bench_close();
}

Test(driver_move, old_trouble_is_no_trouble)
{
    struct bench bench = bench_open(3);
    struct message_range_state state = {.problem = STATUS_CORRUPT};
    uint32_t enters = entering(&bench);
    driver_move_hear(&bench.move, &lab.topology, enters, bench.at->epoch - 1, &state);
    cr_assert_eq(next(&bench).step, TOPOLOGY_READ_NEW);
    driver_move_hear(&bench.move, &lab.topology, enters, bench.at->epoch, &state);
    cr_assert_eq(next(&bench).step, TOPOLOGY_BACK);
    cr_assert_eq(next(&bench).type, DRIVER_WAIT_NONE);
    bench_close();
}

static uint32_t gone_node;

static bool one_is_gone(const void *context, uint32_t node)
{
    (void)context;
    return node == gone_node;
}

Test(driver_move, goes_back_for_the_one_source_that_is_gone_and_for_no_other)
{
    const struct driver_health health = {.gone = one_is_gone};
    struct bench bench = bench_open(3);
    struct topology_sources sources;
    topology_sources(&lab.topology, bench.at, entering(&bench), &sources);
    cr_assert_eq(sources.count, 1u);
    for (gone_node = 1; gone_node <= 4; gone_node++) {
        struct driver_wait wait = driver_move_next(&bench.move, &lab.topology, &health);
        cr_assert_eq(wait.step == TOPOLOGY_BACK, gone_node == sources.ids[0], "node %u", gone_node);
    }
    gone_node = sources.ids[0];
    hear(&bench, entering(&bench), bench.at->epoch, bench.at->session);
    cr_assert_eq(driver_move_next(&bench.move, &lab.topology, &health).step, TOPOLOGY_READ_NEW,
                 "it has what it needs of it");
    bench_close();
}

Test(driver_move, a_factor_change_waits_for_every_member_of_the_new_set)
{
    struct bench bench = bench_open(5);
    cr_assert_eq(bench.at->next.count, 5u);
    for (uint32_t node = 1; node <= 5; node++) {
        hear(&bench, node, bench.at->epoch, 0);
    }
    for (uint32_t node = 1; node <= 5; node++) {
        struct driver_wait wait = next(&bench);
        cr_assert_neq(wait.type, DRIVER_WAIT_NONE);
        cr_assert_eq(wait.node_count, 6 - node);
        hear(&bench, node, bench.at->epoch, bench.at->session);
    }
    cr_assert_eq(next(&bench).type, DRIVER_WAIT_NONE);
    bench_close();
}

Test(driver_move, is_taken_back_when_its_plan_was_aborted_but_not_after_read_new)
{
    for (int after = 0; after < 2; after++) {
        struct bench bench = bench_open(3);
        if (after == 1) {
            step(TOPOLOGY_READ_NEW, bench.range, false);
        }
        lab_apply((struct topology_command){.type = TOPOLOGY_PLAN_ABORT,
                                            .plan_id = lab.topology.running.id});
        driver_move_follow(&bench.move, &lab.topology, bench.range, 0);
        cr_assert_eq(next(&bench).step, after == 1 ? TOPOLOGY_FINISH : TOPOLOGY_BACK);
        bench_close();
    }
}
