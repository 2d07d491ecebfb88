/*
 * tests/unit/test_what_if.c -- figures of small clusters that can be worked out by hand, and what
 * must hold of any.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/prng.h"
#include "tools/whatif/what_if.h"
#include "tools/whatif/what_if_chart.h"

#define CLOSE 1e-9

static struct what_if_nodes nodes;
static struct key_load keys;
static struct what_if_change changes[WHAT_IF_CHANGE_COUNT_MAX];
static struct what_if_input input;
static struct what_if_step *steps;

static struct what_if_change added(uint32_t id, uint32_t weight, const char *zone)
{
    struct what_if_change change = {.type = WHAT_IF_ADD, .node = {.id = id, .weight = weight}};
    snprintf(change.node.zone, sizeof(change.node.zone), "%s", zone);
    return change;
}

static void node_add(uint32_t id, uint32_t weight, const char *zone)
{
    const struct what_if_change change = added(id, weight, zone);
    cr_assert_null(what_if_change_make(&nodes, &change));
}

static void begin(uint32_t node_count, uint32_t replica_count)
{
    nodes.count = 0;
    for (uint32_t id = 1; id <= node_count; id++) {
        node_add(id, 1, "z");
    }
    input = (struct what_if_input){.nodes = &nodes,
                                   .replica_count = replica_count,
                                   .range_count = 64,
                                   .changes = changes,
                                   .keys = &keys};
}

static void change(struct what_if_change next)
{
    changes[input.change_count++] = next;
}

static void run(void)
{
    memory_free(steps);
    steps = memory_allocate_zeroed(input.change_count + 1, sizeof(steps[0]));
    cr_assert_not_null(steps);
    cr_assert_eq(what_if_run(&input, steps), STATUS_OK);
}

static void end(void)
{
    memory_free(steps);
    key_load_deinit(&keys);
}

TestSuite(what_if, .fini = end);

Test(what_if, nodes_stay_in_order_and_changes_that_cannot_be_are_refused)
{
    begin(0, 1);
    node_add(7, 1, "z");
    node_add(3, 1, "z");
    node_add(5, 1, "z");
    cr_assert(nodes.nodes[0].id == 3 && nodes.nodes[1].id == 5 && nodes.nodes[2].id == 7);
    const struct what_if_change again = added(5, 1, "z");
    const struct what_if_change gone = {.type = WHAT_IF_REMOVE, .node.id = 4};
    const struct what_if_change heavier = {.type = WHAT_IF_WEIGHT, .node = {.id = 8, .weight = 1}};
    cr_assert_not_null(what_if_change_make(&nodes, &again));
    cr_assert_not_null(what_if_change_make(&nodes, &gone));
    cr_assert_not_null(what_if_change_make(&nodes, &heavier));
    cr_assert_eq(nodes.count, 3);
    const struct what_if_change middle = {.type = WHAT_IF_REMOVE, .node.id = 5};
    cr_assert_null(what_if_change_make(&nodes, &middle));
    cr_assert(nodes.count == 2 && nodes.nodes[1].id == 7);
    for (uint32_t id = 100; nodes.count < RING_MEMBER_COUNT_MAX; id++) {
        node_add(id, 0, "z");
    }
    const struct what_if_change one_more = added(99, 1, "z");
    cr_assert_not_null(what_if_change_make(&nodes, &one_more));
}

/* Four nodes hold a quarter of 64 ranges each; a fifth takes a fifth of them, 12 or 13. */
Test(what_if, a_node_that_joins_an_even_ring_moves_its_share_and_no_more)
{
    begin(4, 1);
    change(added(5, 1, "z"));
    run();
    const struct what_if_result *start = &steps[0].results[SCHEME_RING];
    cr_assert_float_eq(start->ranges.max_over_mean, 1, CLOSE);
    cr_assert_float_eq(start->ranges.variation, 0, CLOSE);
    cr_assert_float_eq(start->ranges.moved, 0, CLOSE);
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(start->loads[i].ranges, 16);
        cr_assert_float_eq(start->loads[i].share, 0.25, CLOSE);
        cr_assert_float_eq(start->loads[i].due, 0.25, CLOSE);
    }
    const struct what_if_result *joined = &steps[1].results[SCHEME_RING];
    uint32_t taken = joined->loads[4].ranges;
    cr_assert(taken == 12 || taken == 13);
    cr_assert_float_eq(joined->ranges.moved, taken / 64.0, CLOSE);
    cr_assert_float_eq(joined->ranges.moved_least, taken / 64.0, CLOSE);
    /* Loads are 13, 13, 13, 13 and 12 in some order, due 12.8 each. */
    cr_assert_float_eq(joined->ranges.max_over_mean, 13 / 12.8, CLOSE);
    cr_assert_float_eq(joined->ranges.variation, sqrt((4 * 0.2 * 0.2 + 0.8 * 0.8) / 5) / 12.8,
                       CLOSE);
}

/* hash % 4 and hash % 5 agree for 4 of 20 remainders; each of five ends with a fifth. */
Test(what_if, modulo_moves_four_fifths_where_a_fifth_would_do)
{
    begin(4, 1);
    change(added(5, 1, "z"));
    run();
    const struct what_if_result *joined = &steps[1].results[SCHEME_MODULO];
    cr_assert_float_eq(joined->ranges.moved, 0.8, CLOSE);
    cr_assert_float_eq(joined->ranges.moved_least, 0.2, CLOSE);
    cr_assert_float_eq(joined->ranges.max_over_mean, 1, CLOSE);
}

/* What plain virtual nodes give the newcomer comes from others, who get nothing. */
Test(what_if, virtual_nodes_move_what_the_newcomer_gets_but_unevenly)
{
    begin(4, 1);
    change(added(5, 1, "z"));
    run();
    const struct what_if_result *joined = &steps[1].results[SCHEME_VIRTUAL];
    cr_assert_float_eq(joined->ranges.moved, joined->loads[4].share, CLOSE);
    cr_assert_float_eq(joined->ranges.moved_least, joined->loads[4].share, CLOSE);
    cr_assert_gt(joined->ranges.variation, 0.02);
}

Test(what_if, what_a_leaving_node_held_is_the_least_that_moves)
{
    begin(4, 1);
    change((struct what_if_change){.type = WHAT_IF_REMOVE, .node.id = 2});
    run();
    const struct what_if_figures *ranges = &steps[1].results[SCHEME_RING].ranges;
    cr_assert_float_eq(ranges->moved_least, 16 / 64.0, CLOSE);
    cr_assert_float_eq(ranges->moved, 16 / 64.0, CLOSE);
    cr_assert_eq(steps[1].nodes.count, 3);
}

/* Weights 1, 1 and then 3: its part of 64 ranges goes from 32 to 48. */
Test(what_if, a_weight_moves_the_difference_of_shares)
{
    begin(2, 1);
    change((struct what_if_change){.type = WHAT_IF_WEIGHT, .node = {.id = 2, .weight = 3}});
    run();
    const struct what_if_result *result = &steps[1].results[SCHEME_RING];
    cr_assert_eq(result->loads[1].ranges, 48);
    cr_assert_float_eq(result->loads[1].due, 0.75, CLOSE);
    cr_assert_float_eq(result->ranges.moved, 16 / 64.0, CLOSE);
    cr_assert_float_eq(result->ranges.moved_least, 16 / 64.0, CLOSE);
}

/* Two nodes hold everything; a third, once there, a third of all replicas. When one leaves again
 * the others have everything already. */
Test(what_if, fewer_nodes_than_replicas_hold_everything)
{
    begin(2, 3);
    change(added(3, 1, "z"));
    change((struct what_if_change){.type = WHAT_IF_REMOVE, .node.id = 1});
    run();
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        cr_assert_float_eq(steps[0].results[scheme].loads[0].share, 0.5, CLOSE);
        cr_assert_float_eq(steps[1].results[scheme].ranges.moved, 1.0 / 3, CLOSE);
        cr_assert_float_eq(steps[1].results[scheme].ranges.moved_least, 1.0 / 3, CLOSE);
        cr_assert_float_eq(steps[2].results[scheme].ranges.moved, 0, CLOSE);
        cr_assert_float_eq(steps[2].results[scheme].ranges.moved_least, 0, CLOSE);
    }
}

/* One node in zone a and two in b, two replicas: the one in a must hold all. */
Test(what_if, zones_decide_what_is_due_and_only_the_ring_keeps_to_them)
{
    begin(0, 2);
    node_add(1, 1, "a");
    node_add(2, 1, "b");
    node_add(3, 1, "b");
    run();
    const struct what_if_result *ring = &steps[0].results[SCHEME_RING];
    const struct what_if_result *modulo = &steps[0].results[SCHEME_MODULO];
    cr_assert_eq(ring->loads[0].ranges, 64);
    cr_assert_float_eq(ring->loads[0].due, 0.5, 1e-5);
    cr_assert_float_eq(ring->zones_short, 0, CLOSE);
    cr_assert_float_eq(modulo->loads[0].due, 1.0 / 3, 1e-5);
    cr_assert_float_eq(modulo->zones_short, 1.0 / 3, CLOSE); /* Nodes 2 and 3 of 1 2, 2 3, 3 1. */
}

static void keys_take(const char *text)
{
    uint64_t line;
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    cr_assert_not_null(file);
    cr_assert_eq(key_load_read(&keys, file, &line), STATUS_OK);
    fclose(file);
    key_load_seal(&keys);
}

/* One hot key: its node has all of the load, 2 times the mean of two nodes. */
Test(what_if, keys_weigh_by_what_was_measured)
{
    begin(2, 1);
    keys_take("hot\nhot\nhot\nhot\n");
    change((struct what_if_change){.type = WHAT_IF_REMOVE, .node.id = 1});
    change(added(1, 1, "z"));
    run();
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        const struct what_if_result *start = &steps[0].results[scheme];
        const struct what_if_result *alone = &steps[1].results[scheme];
        cr_assert_eq(start->loads[0].key_count + start->loads[1].key_count, 4);
        cr_assert_float_eq(start->keys.max_over_mean, 2, CLOSE);
        cr_assert_float_eq(start->keys.variation, 1, CLOSE);
        bool moved = start->loads[0].key_count == 4;
        cr_assert_float_eq(alone->keys.moved, moved ? 1 : 0, CLOSE);
        cr_assert_float_eq(alone->keys.moved_least, moved ? 1 : 0, CLOSE);
        cr_assert_float_eq(alone->keys.max_over_mean, 1, CLOSE);
    }
}

static void change_random(struct prng *prng, uint32_t next_id)
{
    uint32_t some = 1 + (uint32_t)prng_below(prng, 6);
    if (prng_chance(prng, 1, 2)) {
        change(added(next_id, 1 + (uint32_t)prng_below(prng, 3), some % 2 == 0 ? "a" : "b"));
    } else {
        change((struct what_if_change){
            .type = WHAT_IF_WEIGHT,
            .node = {.id = some, .weight = 1 + (uint32_t)prng_below(prng, 3)}});
    }
}

static void cluster_random(uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    begin(6, 1 + (uint32_t)prng_below(&prng, 3));
    for (uint32_t i = 0; i < 5; i++) {
        change_random(&prng, 10 + i);
    }
    change((struct what_if_change){.type = WHAT_IF_REMOVE, .node.id = 4});
}

static void result_check(const struct what_if_step *step, uint32_t scheme, uint64_t seed)
{
    const struct what_if_result *result = &step->results[scheme];
    double shares = 0;
    double dues = 0;
    uint64_t key_count = 0;
    for (uint32_t i = 0; i < step->nodes.count; i++) {
        shares += result->loads[i].share;
        dues += result->loads[i].due;
        key_count += result->loads[i].key_count;
    }
    cr_assert_float_eq(shares, 1, CLOSE, "seed %lu", seed);
    cr_assert_float_eq(dues, 1, CLOSE, "seed %lu", seed);
    cr_assert_eq(key_count, keys.total * input.replica_count, "seed %lu", seed);
    cr_assert_geq(result->ranges.moved, result->ranges.moved_least - CLOSE, "seed %lu", seed);
    cr_assert_geq(result->keys.moved, result->keys.moved_least - CLOSE, "seed %lu", seed);
}

Test(what_if, loads_add_up_and_nothing_moves_less_than_the_least)
{
    const struct key_load_synthesis synthesis = {.count = 2000, .zipf = 0.9, .seed = 1};
    cr_assert_eq(key_load_synthesize(&keys, &synthesis), STATUS_OK);
    key_load_seal(&keys);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        cluster_random(seed);
        run();
        for (uint32_t index = 0; index <= input.change_count; index++) {
            for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
                result_check(&steps[index], scheme, seed);
            }
        }
    }
}

Test(what_if, the_same_input_gives_the_same_figures_and_the_same_picture)
{
    struct buffer first = {0};
    struct buffer second = {0};
    const struct key_load_synthesis synthesis = {.count = 500, .seed = 1};
    cr_assert_eq(key_load_synthesize(&keys, &synthesis), STATUS_OK);
    key_load_seal(&keys);
    cluster_random(9);
    run();
    what_if_chart(&first, &input, steps);
    struct what_if_step *kept = steps;
    steps = NULL;
    run();
    what_if_chart(&second, &input, steps);
    cr_assert_eq(memcmp(kept, steps, (input.change_count + 1) * sizeof(steps[0])), 0);
    cr_assert(slice_equal(buffer_slice(&first), buffer_slice(&second)));
    cr_assert_gt(first.size, 1000);
    memory_free(kept);
    buffer_deinit(&first);
    buffer_deinit(&second);
}
