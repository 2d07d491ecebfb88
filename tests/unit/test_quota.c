/*
 * tests/unit/test_quota.c -- feasible shares: worked examples, and the conditions that make a
 * max-min fair share, checked on random clusters.
 */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/prng.h"
#include "ring/quota.h"

static struct ring_node nodes[RING_MEMBER_COUNT_MAX];
static struct quota quota;

static void check_shares(uint32_t node_count, uint32_t replica_count, const uint32_t *expected)
{
    uint32_t shares[8];
    struct ring_input input = {.nodes = nodes,
                               .node_count = node_count,
                               .range_count = 64,
                               .replica_count = replica_count};
    cr_assert_eq(ring_feasible_shares(&input, shares), STATUS_OK);
    for (uint32_t i = 0; i < node_count; i++) {
        cr_assert_eq(shares[i], expected[i], "node %u: %u, expected %u", i, shares[i], expected[i]);
    }
}

static void node_set(uint32_t index, uint32_t weight, const char *zone)
{
    nodes[index] = (struct ring_node){.id = 10 - index, .weight = weight};
    snprintf(nodes[index].zone, sizeof(nodes[index].zone), "%s", zone);
}

Test(quota, shares_follow_weights)
{
    node_set(0, 1, "z");
    node_set(1, 2, "z");
    node_set(2, 5, "z");
    check_shares(3, 1, (uint32_t[]){125000, 250000, 625000});
}

Test(quota, no_member_holds_a_range_twice)
{
    node_set(0, 1, "z");
    node_set(1, 1, "z");
    node_set(2, 8, "z");
    check_shares(3, 2, (uint32_t[]){250000, 250000, 500000});
    check_shares(3, 5, (uint32_t[]){333333, 333333, 333333});
}

Test(quota, a_zone_holds_a_range_once_while_there_are_enough)
{
    node_set(0, 1, "a");
    node_set(1, 1, "b");
    node_set(2, 1, "b");
    node_set(3, 1, "b");
    check_shares(4, 2, (uint32_t[]){500000, 166667, 166667, 166667});
    check_shares(4, 3, (uint32_t[]){333333, 222222, 222222, 222222});
}

Test(quota, a_zone_is_never_left_out_when_there_are_too_few)
{
    node_set(0, 1, "a");
    node_set(1, 1, "a");
    node_set(2, 8, "b");
    node_set(3, 8, "b");
    check_shares(4, 3, (uint32_t[]){166667, 166667, 333333, 333333});
}

Test(quota, weight_zero_takes_nothing)
{
    node_set(0, 1, "a");
    node_set(1, 0, "b");
    node_set(2, 1, "c");
    check_shares(3, 3, (uint32_t[]){500000, 0, 500000});
}

static uint64_t zone_share(uint32_t zone)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < quota.member_count; i++) {
        sum += quota.members[i].zone == zone ? quota.members[i].share : 0;
    }
    return sum;
}

/* What rounding down in fixed point may lose. */
#define LOSS (UINT64_C(1) << 15)

/* No share could grow without taking from one that is not greater for its weight: `other` has more
 * for its weight than `member`, so something must keep it from giving. */
static void check_pair(const struct quota_member *member, const struct quota_member *other,
                       uint64_t seed)
{
    const struct quota_zone *to = &quota.zones[member->zone];
    const struct quota_zone *from = &quota.zones[other->zone];
    if (other->share * member->weight <=
            member->share * other->weight + LOSS * RING_WEIGHT_MAX * RING_WEIGHT_MAX ||
        member->share + LOSS * RING_WEIGHT_MAX >= QUOTA_SHARE_ONE) {
        return;
    }
    bool full = zone_share(member->zone) + LOSS >= to->most * QUOTA_SHARE_ONE;
    bool bare = zone_share(other->zone) <= from->least * QUOTA_SHARE_ONE + LOSS;
    cr_assert(member->zone != other->zone && (full || bare), "seed %lu: members %u and %u", seed,
              member->id, other->id);
}

static void check_sums(const struct ring_input *input, uint64_t seed)
{
    uint32_t held[RING_MEMBER_COUNT_MAX] = {0};
    uint32_t quotas[RING_MEMBER_COUNT_MAX];
    uint32_t in_zone[RING_MEMBER_COUNT_MAX] = {0};
    uint32_t sum = 0;
    quota_round(&quota, input->range_count, held, quotas);
    for (uint32_t i = 0; i < quota.member_count; i++) {
        uint64_t exact = quota.members[i].share * input->range_count;
        uint64_t given = quotas[i] * QUOTA_SHARE_ONE;
        cr_assert(given < exact + QUOTA_SHARE_ONE && exact < given + QUOTA_SHARE_ONE, "seed %lu",
                  seed);
        in_zone[quota.members[i].zone] += quotas[i];
        sum += quotas[i];
    }
    cr_assert_eq(sum, input->range_count * quota.replica_count, "seed %lu", seed);
    for (uint32_t z = 0; z < quota.zone_count; z++) {
        cr_assert_leq(in_zone[z], input->range_count * quota.zones[z].most, "seed %lu", seed);
        cr_assert_geq(in_zone[z], input->range_count * quota.zones[z].least, "seed %lu", seed);
    }
}

Test(quota, random_shares_are_max_min_fair_and_round_to_sums)
{
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        uint32_t zone_count = 1 + (uint32_t)prng_below(&prng, 8);
        struct ring_input input = {.nodes = nodes,
                                   .node_count = 1 + (uint32_t)prng_below(&prng, 60),
                                   .range_count = 1u << prng_below(&prng, 15),
                                   .replica_count = 1 + (uint32_t)prng_below(&prng, 7)};
        for (uint32_t i = 0; i < input.node_count; i++) {
            nodes[i] =
                (struct ring_node){.id = i + 1, .weight = 1 + (uint32_t)prng_below(&prng, 8)};
            snprintf(nodes[i].zone, sizeof(nodes[i].zone), "zone-%u",
                     (uint32_t)prng_below(&prng, zone_count));
        }
        cr_assert_eq(quota_init(&quota, &input), STATUS_OK);
        uint64_t total = 0;
        for (uint32_t i = 0; i < quota.member_count; i++) {
            cr_assert_leq(quota.members[i].share, QUOTA_SHARE_ONE);
            total += quota.members[i].share;
            for (uint32_t j = 0; j < quota.member_count; j++) {
                check_pair(&quota.members[i], &quota.members[j], seed);
            }
        }
        uint64_t whole = quota.replica_count * QUOTA_SHARE_ONE;
        cr_assert(total <= whole && total + LOSS >= whole, "seed %lu", seed);
        check_sums(&input, seed);
    }
}

Test(quota, rounding_leaves_an_extra_range_where_it_is)
{
    for (uint32_t i = 0; i < 3; i++) {
        node_set(i, 1, "z");
    }
    struct ring_input input = {
        .nodes = nodes, .node_count = 3, .range_count = 4, .replica_count = 1};
    uint32_t quotas[3];
    cr_assert_eq(quota_init(&quota, &input), STATUS_OK);
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t held[3] = {1, 1, 1};
        held[i] = 2;
        quota_round(&quota, 4, held, quotas);
        cr_assert_eq(quotas[i], 2);
    }
}
