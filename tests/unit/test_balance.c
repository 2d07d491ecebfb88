/*
 * tests/unit/test_balance.c -- proposed moves make load more even, are such as
 * a plan may make, and are none where they would gain little.
 */
#include "base/prng.h"
#include "ring/balance.h"
#include "tests/unit/topology_fixture.h"

#define RANGE_COUNT 64u
#define REPLICA_COUNT 3u
#define COST_COUNT (RANGE_COUNT * REPLICA_COUNT)

static const uint32_t all_ids[] = {1, 2, 3, 4, 5};

static struct fixture fixture;
static struct balance_cost costs[COST_COUNT];
static struct balance_input input;
static struct balance balance;

/* Each replica of each range costs the same. */
static void lab_even(void)
{
    for (uint32_t range = 0; range < RANGE_COUNT; range++) {
        for (uint32_t i = 0; i < REPLICA_COUNT; i++) {
            costs[range * REPLICA_COUNT + i] =
                (struct balance_cost){.range = range,
                                      .node = fixture.topology.ranges[range].replicas.ids[i],
                                      .bytes = 1000,
                                      .reads = 100,
                                      .writes = 10};
        }
    }
    input = (struct balance_input){.topology = &fixture.topology,
                                   .costs = costs,
                                   .cost_count = COST_COUNT,
                                   .known = all_ids,
                                   .known_count = FIXTURE_MEMBER_COUNT,
                                   .bytes_weight = 1,
                                   .reads_weight = 1,
                                   .writes_weight = 1,
                                   .gain_ppm = 50000,
                                   .move_count = TOPOLOGY_CHANGE_COUNT_MAX};
}

static void lab_init(void)
{
    bootstrap(&fixture);
    lab_even();
}

static void lab_deinit(void)
{
    topology_deinit(&fixture.topology);
}

TestSuite(balance, .init = lab_init, .fini = lab_deinit);

static void run(void)
{
    cr_assert_eq(balance_init(&balance, &input), STATUS_OK);
}

static struct topology_command staged(const struct balance_move *move)
{
    return (struct topology_command){
        .type = TOPOLOGY_PLAN_STAGE,
        .request_id = 1,
        .change = {
            .type = TOPOLOGY_MOVE, .range = move->range, .id = move->from, .to_id = move->to}};
}

/* What holds of every answer. That the zones allow each move, a topology says
 * that takes them. */
static void expect_sound(const char *what)
{
    bool seen[RANGE_COUNT] = {false};
    uint64_t bytes = 0;
    cr_expect_leq(balance.imbalance_ppm_after, balance.imbalance_ppm, "%s", what);
    cr_expect_eq(balance.move_count == 0, balance.reason != NULL, "%s", what);
    cr_expect_leq(balance.move_count, input.move_count, "%s", what);
    for (uint32_t i = 0; i < balance.move_count; i++) {
        const struct balance_move *move = &balance.moves[i];
        cr_expect_not(seen[move->range], "%s: range %u moves twice", what, move->range);
        seen[move->range] = true;
        bytes += move->bytes;
        const struct topology_command command = staged(move);
        cr_expect_eq(apply(&fixture, &command), STATUS_OK, "%s: range %u: %s", what, move->range,
                     fixture.reason);
    }
    cr_expect_eq(balance.bytes, bytes, "%s", what);
}

/* The imbalance of the costs as given, with the moves made: in our own
 * arithmetic. */
static double imbalance_with_moves(uint32_t move_count)
{
    double kinds[3] = {0};
    double loads[FIXTURE_MEMBER_COUNT + 1] = {0};
    for (uint32_t i = 0; i < COST_COUNT; i++) {
        kinds[0] += (double)costs[i].bytes;
        kinds[1] += (double)costs[i].reads;
        kinds[2] += (double)costs[i].writes;
    }
    for (uint32_t i = 0; i < COST_COUNT; i++) {
        uint32_t node = costs[i].node;
        for (uint32_t move = 0; move < move_count; move++) {
            bool moved =
                balance.moves[move].range == costs[i].range && balance.moves[move].from == node;
            node = moved ? balance.moves[move].to : node;
        }
        loads[node] += ((double)costs[i].bytes / kinds[0] + (double)costs[i].reads / kinds[1] +
                        (double)costs[i].writes / kinds[2]) /
                       3;
    }
    double most = 0;
    for (uint32_t i = 0; i < balance.member_count; i++) {
        double ratio =
            loads[balance.members[i].id] / ((double)balance.members[i].due_ppm / BALANCE_PPM);
        most = ratio > most ? ratio : most;
    }
    return most;
}

Test(balance, what_is_even_stays)
{
    run();
    expect_sound("even");
    cr_expect_eq(balance.move_count, 0);
    cr_expect_lt(balance.imbalance_ppm, BALANCE_PPM + BALANCE_PPM / 20);
    balance_deinit(&balance);
}

Test(balance, without_load_nothing_moves)
{
    for (uint32_t i = 0; i < COST_COUNT; i++) {
        costs[i].bytes = costs[i].reads = costs[i].writes = 0;
    }
    run();
    expect_sound("zero");
    cr_expect_str_eq(balance.reason, "there is no load to speak of");
    cr_expect_eq(balance.imbalance_ppm, 0);
    balance_deinit(&balance);
    input.cost_count = 0;
    run();
    cr_expect_eq(balance.move_count, 0);
    balance_deinit(&balance);
}

/* Member 4's ranges serve ten times the reads of others on it. */
static void heat_member_4(void)
{
    for (uint32_t i = 0; i < COST_COUNT; i++) {
        costs[i].reads *= costs[i].node == 4 ? 10 : 1;
    }
}

Test(balance, a_busy_member_gives_ranges_away)
{
    heat_member_4();
    run();
    cr_expect_gt(balance.imbalance_ppm, 19 * BALANCE_PPM / 10);
    /* Only member 1 stands in the same zone: more than half cannot go. */
    cr_expect_lt(balance.imbalance_ppm_after, 15 * BALANCE_PPM / 10);
    cr_assert_gt(balance.move_count, 0);
    cr_expect_eq(balance.moves[0].from, 4);
    cr_expect_eq(balance.moves[0].to, 1);
    cr_expect_gt(balance.members[3].out_count, 0);
    cr_expect_eq(balance.members[3].out_bytes, 1000 * balance.members[3].out_count);
    cr_expect_lt(balance.members[3].load_ppm_after, balance.members[3].load_ppm);
    expect_sound("busy member");
    balance_deinit(&balance);
}

Test(balance, kinds_of_load_count_by_their_weights)
{
    heat_member_4();
    input.reads_weight = 0;
    run();
    cr_expect_eq(balance.move_count, 0, "bytes and writes are even");
    balance_deinit(&balance);
    input.bytes_weight = 0;
    input.writes_weight = 0;
    run();
    cr_expect_eq(balance.imbalance_ppm, 0, "nothing counts");
    balance_deinit(&balance);
    input.reads_weight = 1;
    run();
    cr_expect_gt(balance.imbalance_ppm, 2 * BALANCE_PPM, "reads alone");
    cr_expect_gt(balance.move_count, 0);
    balance_deinit(&balance);
}

/* One range that is all the load there is cannot be cut: it stays, or whoever
 * gets it is as busy.
 */
Test(balance, one_hot_range_is_not_passed_around)
{
    uint32_t hot = 17;
    for (uint32_t i = 0; i < REPLICA_COUNT; i++) {
        struct balance_cost *cost = &costs[hot * REPLICA_COUNT + i];
        cost->reads = i == 0 ? 1000000 : 0; /* Its first replica serves them. */
    }
    run();
    expect_sound("hot range");
    for (uint32_t i = 0; i < balance.move_count; i++) {
        cr_expect_neq(balance.moves[i].range, hot);
    }
    cr_expect_gt(balance.imbalance_ppm, 2 * BALANCE_PPM);
    balance_deinit(&balance);
}

Test(balance, what_gains_less_than_asked_for_is_left)
{
    heat_member_4();
    input.gain_ppm = 2 * BALANCE_PPM;
    run();
    cr_expect_eq(balance.move_count, 0);
    cr_expect_str_eq(balance.reason, "it would gain less than is asked for");
    cr_expect_eq(balance.imbalance_ppm_after, balance.imbalance_ppm);
    balance_deinit(&balance);
}

Test(balance, no_more_moves_than_may_be)
{
    heat_member_4();
    run();
    uint32_t free_count = balance.move_count;
    balance_deinit(&balance);
    cr_assert_gt(free_count, 3);
    input.move_count = 3;
    run();
    cr_expect_eq(balance.move_count, 3);
    expect_sound("three moves");
    balance_deinit(&balance);
}

/* Who was not measured is no target: what it carries is not known. */
Test(balance, who_was_not_measured_neither_gives_nor_takes)
{
    static const uint32_t known[] = {5, 4, 2};
    heat_member_4();
    input.known = known;
    input.known_count = 3;
    run();
    for (uint32_t i = 0; i < balance.move_count; i++) {
        cr_expect_neq(balance.moves[i].to, 1);
        cr_expect_neq(balance.moves[i].to, 3);
    }
    cr_expect_not(balance.members[0].counted);
    cr_expect_eq(balance.members[0].load_ppm, 0);
    expect_sound("not measured");
    balance_deinit(&balance);
}

/* A member of three times the weight is due more, and less than that is little.
 */
Test(balance, a_heavy_member_is_due_more)
{
    run();
    uint32_t due = balance.members[0].due_ppm;
    balance_deinit(&balance);
    fixture.topology.members[0].weight = 3;
    run();
    cr_expect_gt(balance.members[0].due_ppm, due);
    cr_expect_gt(balance.move_count, 0);
    for (uint32_t i = 0; i < balance.move_count; i++) {
        cr_expect_neq(balance.moves[i].from, 1);
    }
    expect_sound("weights");
    balance_deinit(&balance);
}

Test(balance, while_a_plan_is_staged_nothing_is_proposed)
{
    heat_member_4();
    const struct topology_command command = {
        .type = TOPOLOGY_PLAN_STAGE, .request_id = 1, .change = {.type = TOPOLOGY_LEAVE, .id = 5}};
    cr_assert_eq(apply(&fixture, &command), STATUS_OK);
    run();
    cr_expect_eq(balance.move_count, 0);
    cr_expect_str_eq(balance.reason, "a plan is staged: commit or clear it first");
    balance_deinit(&balance);
    const struct topology_command commit = {
        .type = TOPOLOGY_PLAN_COMMIT, .request_id = 1, .plan_id = fixture.topology.staged.id};
    cr_assert_eq(apply(&fixture, &commit), STATUS_OK);
    run();
    cr_expect_eq(balance.move_count, 0);
    cr_expect_not_null(strstr(balance.reason, "a plan runs"));
    balance_deinit(&balance);
}

Test(balance, drawn_loads_get_more_even_and_the_figures_are_true)
{
    uint32_t moved = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct prng prng;
        char what[32];
        (void)snprintf(what, sizeof(what), "seed %u", (unsigned)seed);
        prng_init(&prng, seed);
        lab_deinit();
        lab_init();
        for (uint32_t i = 0; i < COST_COUNT; i++) {
            costs[i].bytes = prng_next(&prng) >> (24 + prng_below(&prng, 20));
            costs[i].reads = prng_next(&prng) >> (30 + prng_below(&prng, 30));
            costs[i].writes = prng_below(&prng, 1000);
        }
        input.gain_ppm = 0;
        run();
        double before = imbalance_with_moves(0);
        double after = imbalance_with_moves(balance.move_count);
        cr_expect_float_eq(before, (double)balance.imbalance_ppm / BALANCE_PPM, 0.001, "%s", what);
        cr_expect_float_eq(after, (double)balance.imbalance_ppm_after / BALANCE_PPM, 0.001, "%s",
                           what);
        moved += balance.move_count;
        if (balance.move_count > 0) {
            double without_last = imbalance_with_moves(balance.move_count - 1);
            cr_expect_gt(without_last, after, "%s: the last move is for nothing", what);
        }
        expect_sound(what);
        balance_deinit(&balance);
    }
    cr_expect_gt(moved, 60);
}
