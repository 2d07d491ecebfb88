/*
 * tests/unit/test_scheme.c -- cells of the three rules against what their definitions say, and
 * moves against sampled tokens.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/prng.h"
#include "tools/whatif/scheme.h"

#define SAMPLE_COUNT 20000
#define SEED 7

static struct ring_node nodes[RING_MEMBER_COUNT_MAX];
static struct ring_input input;

static void input_init(uint32_t node_count, uint32_t replica_count)
{
    for (uint32_t i = 0; i < node_count; i++) {
        nodes[i] = (struct ring_node){.id = i + 1, .weight = 1, .zone = "z"};
    }
    input = (struct ring_input){.nodes = nodes,
                                .node_count = node_count,
                                .range_count = 64,
                                .replica_count = replica_count};
}

static struct scheme_placement placed(enum scheme scheme)
{
    struct scheme_placement placement;
    cr_assert_eq(scheme_place(&placement, scheme, &input), STATUS_OK);
    return placement;
}

Test(scheme, modulo_takes_the_node_of_the_remainder_and_the_next_ones)
{
    input_init(3, 2);
    struct scheme_placement placement = placed(SCHEME_MODULO);
    cr_assert_eq(placement.cell_count, 3);
    for (uint64_t token = 0; token < 9; token++) {
        const struct ring_replicas *cell = &placement.cells[scheme_cell_of(&placement, token)];
        cr_assert_eq(cell->count, 2);
        cr_assert_eq(cell->ids[0], token % 3 + 1);
        cr_assert_eq(cell->ids[1], (token + 1) % 3 + 1);
    }
    scheme_deinit(&placement);
}

Test(scheme, modulo_gives_cells_by_weight)
{
    input_init(3, 1);
    nodes[1].weight = 3;
    nodes[2].weight = 0;
    struct scheme_placement placement = placed(SCHEME_MODULO);
    uint32_t second = 0;
    for (uint32_t i = 0; i < placement.cell_count; i++) {
        cr_assert_neq(placement.cells[i].ids[0], 3);
        second += placement.cells[i].ids[0] == 2 ? 1 : 0;
    }
    cr_assert_eq(placement.cell_count, 4);
    cr_assert_eq(second, 3);
    scheme_deinit(&placement);
}

Test(scheme, of_equal_weights_modulo_is_hash_modulo_nodes_whatever_the_weight)
{
    input_init(5, 2);
    for (uint32_t i = 0; i < 5; i++) {
        nodes[i].weight = 4;
    }
    struct scheme_placement placement = placed(SCHEME_MODULO);
    for (uint64_t token = 0; token < 40; token++) {
        cr_assert_eq(placement.cells[scheme_cell_of(&placement, token)].ids[0], token % 5 + 1);
    }
    scheme_deinit(&placement);
}

/* The points anew, by their definition in ring/circle.h. */
static uint32_t first_clockwise(uint64_t token)
{
    uint64_t least = UINT64_MAX;
    uint32_t found = 0;
    for (uint32_t i = 0; i < input.node_count; i++) {
        for (uint32_t v = 0; v < nodes[i].weight * RING_VIRTUAL_NODES_PER_WEIGHT; v++) {
            uint64_t distance = prng_mix(prng_mix(nodes[i].id) + v) - token; /* Round the end. */
            if (distance < least) {
                least = distance;
                found = nodes[i].id;
            }
        }
    }
    return found;
}

Test(scheme, virtual_takes_the_next_points_clockwise)
{
    struct prng prng;
    input_init(4, 3);
    nodes[2].weight = 2;
    struct scheme_placement placement = placed(SCHEME_VIRTUAL);
    cr_assert_eq(placement.cell_count, 5 * RING_VIRTUAL_NODES_PER_WEIGHT + 1);
    prng_init(&prng, SEED);
    for (uint32_t sample = 0; sample < 1000; sample++) {
        /* The points themselves too, of which the last is the end of the circle. */
        uint64_t token = sample < placement.cell_count ? placement.lasts[sample] : prng_next(&prng);
        const struct ring_replicas *cell = &placement.cells[scheme_cell_of(&placement, token)];
        cr_assert_eq(cell->ids[0], first_clockwise(token), "token %lx", token);
        cr_assert_eq(cell->count, 3);
        cr_assert(cell->ids[0] != cell->ids[1] && cell->ids[1] != cell->ids[2] &&
                  cell->ids[0] != cell->ids[2]);
    }
    scheme_deinit(&placement);
}

Test(scheme, cells_take_every_token_once)
{
    input_init(7, 3);
    nodes[3].weight = 5;
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        struct scheme_placement placement = placed((enum scheme)scheme);
        double sum = 0;
        for (uint32_t i = 0; i < placement.cell_count; i++) {
            sum += scheme_cell_part(&placement, i);
        }
        cr_assert_float_eq(sum, 1, 1e-12, "%s", scheme_name((enum scheme)scheme));
        scheme_deinit(&placement);
    }
}

/* Three nodes become four, one replica: tokens modulo 12 stay where the remainders agree, which
 * they do for 0, 1 and 2 of twelve. */
Test(scheme, modulo_moves_what_changes_its_remainder)
{
    input_init(3, 1);
    struct scheme_placement before = placed(SCHEME_MODULO);
    input_init(4, 1);
    struct scheme_placement after = placed(SCHEME_MODULO);
    cr_assert_float_eq(scheme_moved(&before, &after), 9.0 / 12, 1e-12);
    cr_assert_float_eq(scheme_moved(&after, &after), 0, 1e-12);
    scheme_deinit(&before);
    scheme_deinit(&after);
}

/* From 4 to 6 the remainders are tied by the divisor 2: of twelve 0 to 3 stay. */
Test(scheme, modulo_moves_heed_a_common_divisor)
{
    input_init(4, 1);
    struct scheme_placement before = placed(SCHEME_MODULO);
    input_init(6, 1);
    struct scheme_placement after = placed(SCHEME_MODULO);
    cr_assert_float_eq(scheme_moved(&before, &after), 8.0 / 12, 1e-12);
    scheme_deinit(&before);
    scheme_deinit(&after);
}

/* Exact moves against moves of random tokens: within 5 standard deviations of the sample. */
static void check_against_sample(enum scheme scheme, const struct scheme_placement *before,
                                 const struct scheme_placement *after)
{
    struct prng prng;
    prng_init(&prng, SEED);
    uint64_t moves = 0;
    for (uint32_t sample = 0; sample < SAMPLE_COUNT; sample++) {
        uint64_t token = prng_next(&prng);
        moves += ring_moves(&before->cells[scheme_cell_of(before, token)],
                            &after->cells[scheme_cell_of(after, token)], 1);
    }
    double bound = 5 * after->replica_count / sqrt(SAMPLE_COUNT);
    cr_assert_float_eq(scheme_moved(before, after), (double)moves / SAMPLE_COUNT, bound,
                       "%s: %f, sampled %f", scheme_name(scheme), scheme_moved(before, after),
                       (double)moves / SAMPLE_COUNT);
}

Test(scheme, moves_are_those_of_tokens)
{
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        input_init(6, 3);
        nodes[1].weight = 3;
        struct scheme_placement before = placed((enum scheme)scheme);
        input_init(8, 3);
        nodes[1].weight = 2;
        nodes[4].weight = 0;
        input.current = scheme == SCHEME_RING ? before.cells : NULL;
        struct scheme_placement after = placed((enum scheme)scheme);
        check_against_sample((enum scheme)scheme, &before, &after);
        scheme_deinit(&before);
        scheme_deinit(&after);
    }
}

Test(scheme, what_the_ring_refuses_every_scheme_refuses)
{
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        struct scheme_placement placement;
        input_init(2, 1);
        nodes[0].weight = 0;
        nodes[1].weight = 0;
        cr_assert_eq(scheme_place(&placement, (enum scheme)scheme, &input), STATUS_INVALID);
        scheme_deinit(&placement);
    }
}

static int allocations_left;

static void *allocate_some(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

static void *resize_some(void *memory, size_t size)
{
    return allocations_left-- > 0 ? realloc(memory, size) : NULL;
}

/* Whichever allocation fails, it is told and nothing leaks, which the sanitizer sees. */
Test(scheme, no_memory_is_told)
{
    static const struct memory_hooks hooks = {
        .allocate = allocate_some, .resize = resize_some, .release = free};
    input_init(3, 2);
    memory_set_hooks(&hooks);
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        enum status status = STATUS_NO_MEMORY;
        int granted = 0;
        for (; status != STATUS_OK; granted++) {
            struct scheme_placement placement;
            allocations_left = granted;
            status = scheme_place(&placement, (enum scheme)scheme, &input);
            cr_assert(status == STATUS_OK || status == STATUS_NO_MEMORY, "%d granted", granted);
            scheme_deinit(&placement);
        }
        cr_assert_gt(granted, 2);
    }
    memory_set_hooks(NULL);
}
