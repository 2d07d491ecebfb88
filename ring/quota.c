/*
 * ring/quota.c -- shares by water-filling, quotas by largest remainder.
 *
 * The level is searched in fixed point. All functions of it here are monotone, so a binary search
 * finds the greatest level that does not give out too much; what is lost to it is below
 * sum(weights) / QUOTA_SHARE_ONE of a range per range, which rounding absorbs: a figure that close
 * to a whole number counts as that number.
 *
 * Source: max-min fairness, e.g. Radunovic, Le Boudec, "A Unified Framework for Max-Min and Min-Max
 * Fairness", IEEE/ACM ToN 15 (2007). Changed: lower caps too, two levels of nesting.
 */
#include "ring/quota.h"

#include <stdlib.h>
#include <string.h>

#include "base/contract.h"

/* Ranges per member are rounded in 1/2^32; this close to a whole number is that number. */
#define ROUND_BITS 32
#define ROUND_ONE (UINT64_C(1) << ROUND_BITS)
#define ROUND_SNAP (UINT64_C(1) << 16)
#define SHARE_BITS 46
#define PPM_SHIFT 16 /* Keeps share * 1000000 within 64 bits. */

STATIC_ASSERT(QUOTA_SHARE_ONE == UINT64_C(1) << SHARE_BITS, "fixed point");
/* Of all members together the search loses less than the snap... */
STATIC_ASSERT((uint64_t)RING_MEMBER_COUNT_MAX *RING_WEIGHT_MAX *RING_RANGE_COUNT_MAX <
                  ROUND_SNAP << (SHARE_BITS - ROUND_BITS),
              "fixed point");
/* ... and what a zone holds of all ranges fits. */
STATIC_ASSERT((uint64_t)RING_REPLICA_COUNT_MAX *RING_RANGE_COUNT_MAX <= UINT64_MAX >> SHARE_BITS,
              "fixed point");

static int compare_ids(const void *a, const void *b)
{
    uint32_t left = ((const struct quota_member *)a)->id;
    uint32_t right = ((const struct quota_member *)b)->id;
    return (left > right) - (left < right);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct quota_zone *)a)->name, ((const struct quota_zone *)b)->name);
}

static bool input_is_valid(const struct ring_input *input)
{
    if (input->nodes == NULL || input->node_count < 1 ||
        input->node_count > RING_MEMBER_COUNT_MAX) {
        return false;
    }
    if (input->range_count < 1 || input->range_count > RING_RANGE_COUNT_MAX ||
        (input->range_count & (input->range_count - 1)) != 0) {
        return false;
    }
    if (input->replica_count < 1 || input->replica_count > RING_REPLICA_COUNT_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < input->node_count; i++) {
        const struct ring_node *node = &input->nodes[i];
        if (node->id == 0 || node->weight > RING_WEIGHT_MAX ||
            memchr(node->zone, 0, sizeof(node->zone)) == NULL) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (input->nodes[j].id == node->id) {
                return false;
            }
        }
    }
    for (uint32_t range = 0; input->current != NULL && range < input->range_count; range++) {
        if (input->current[range].count > RING_REPLICA_COUNT_MAX) {
            return false;
        }
    }
    return true;
}

static void collect_members(struct quota *quota, const struct ring_input *input)
{
    for (uint32_t i = 0; i < input->node_count; i++) {
        if (input->nodes[i].weight > 0) {
            quota->members[quota->member_count++] = (struct quota_member){
                .id = input->nodes[i].id, .weight = input->nodes[i].weight, .input = i};
        }
    }
    qsort(quota->members, quota->member_count, sizeof(quota->members[0]), compare_ids);
}

static void collect_zones(struct quota *quota, const struct ring_input *input)
{
    for (uint32_t i = 0; i < quota->member_count; i++) {
        quota->zones[i].name = input->nodes[quota->members[i].input].zone;
    }
    qsort(quota->zones, quota->member_count, sizeof(quota->zones[0]), compare_names);
    for (uint32_t i = 0; i < quota->member_count; i++) {
        const char *name = quota->zones[i].name;
        if (quota->zone_count == 0 || strcmp(quota->zones[quota->zone_count - 1].name, name) != 0) {
            quota->zones[quota->zone_count++] = (struct quota_zone){.name = name};
        }
    }
    for (uint32_t i = 0; i < quota->member_count; i++) {
        struct quota_member *member = &quota->members[i];
        while (strcmp(quota->zones[member->zone].name, input->nodes[member->input].zone) != 0) {
            member->zone++;
            ASSERT(member->zone < quota->zone_count);
        }
        quota->zones[member->zone].member_count++;
    }
}

static uint32_t least_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The lowest number of layers, each at most one replica per zone, that holds all replicas. */
static void cap_zones(struct quota *quota)
{
    uint32_t held = 0;
    uint32_t below = 0;
    for (uint32_t layers = 0; held < quota->replica_count; layers++) {
        ASSERT(layers < RING_REPLICA_COUNT_MAX);
        below = held;
        held = 0;
        for (uint32_t z = 0; z < quota->zone_count; z++) {
            struct quota_zone *zone = &quota->zones[z];
            zone->least = least_of(zone->member_count, layers);
            zone->most = least_of(zone->member_count, layers + 1);
            held += zone->most;
        }
    }
    quota->extra_count = quota->replica_count - below;
}

static uint64_t member_share(const struct quota_member *member, uint64_t level)
{
    uint64_t share = member->weight * level;
    return share < QUOTA_SHARE_ONE ? share : QUOTA_SHARE_ONE;
}

/* What each zone would hold at this level, its caps apart. */
static void zone_shares(const struct quota *quota, uint64_t level, uint64_t *shares)
{
    memset(shares, 0, quota->zone_count * sizeof(shares[0]));
    for (uint32_t i = 0; i < quota->member_count; i++) {
        shares[quota->members[i].zone] += member_share(&quota->members[i], level);
    }
}

static uint64_t zone_capped(const struct quota_zone *zone, uint64_t share)
{
    uint64_t least = zone->least * QUOTA_SHARE_ONE;
    uint64_t most = zone->most * QUOTA_SHARE_ONE;
    if (share < least) {
        return least;
    }
    return share < most ? share : most;
}

/* The greatest level at which all zones, capped, hold at most replica_count. */
static uint64_t find_level(const struct quota *quota)
{
    uint64_t shares[RING_MEMBER_COUNT_MAX];
    uint64_t level = 0;
    for (uint64_t step = QUOTA_SHARE_ONE; step > 0; step /= 2) {
        if (level + step > QUOTA_SHARE_ONE) {
            continue;
        }
        zone_shares(quota, level + step, shares);
        uint64_t total = 0;
        for (uint32_t z = 0; z < quota->zone_count; z++) {
            total += zone_capped(&quota->zones[z], shares[z]);
        }
        if (total <= quota->replica_count * QUOTA_SHARE_ONE) {
            level += step;
        }
    }
    return level;
}

/* The greatest level of one zone at which it holds at most `target`. */
static uint64_t find_zone_level(const struct quota *quota, uint32_t zone, uint64_t target)
{
    uint64_t level = 0;
    for (uint64_t step = QUOTA_SHARE_ONE; step > 0; step /= 2) {
        uint64_t total = 0;
        for (uint32_t i = 0; i < quota->member_count; i++) {
            if (quota->members[i].zone == zone) {
                total += member_share(&quota->members[i], level + step);
            }
        }
        if (level + step <= QUOTA_SHARE_ONE && total <= target) {
            level += step;
        }
    }
    return level;
}

static void fill_shares(struct quota *quota)
{
    uint64_t shares[RING_MEMBER_COUNT_MAX];
    uint64_t level = find_level(quota);
    zone_shares(quota, level, shares);
    for (uint32_t z = 0; z < quota->zone_count; z++) {
        uint64_t target = zone_capped(&quota->zones[z], shares[z]);
        uint64_t own = target == shares[z] ? level : find_zone_level(quota, z, target);
        for (uint32_t i = 0; i < quota->member_count; i++) {
            if (quota->members[i].zone == z) {
                quota->members[i].share = member_share(&quota->members[i], own);
            }
        }
    }
}

enum status quota_init(struct quota *quota, const struct ring_input *input)
{
    ASSERT(quota != NULL);
    ASSERT(input != NULL);
    memset(quota, 0, sizeof(*quota));
    if (!input_is_valid(input)) {
        return STATUS_INVALID;
    }
    collect_members(quota, input);
    if (quota->member_count == 0) {
        return STATUS_INVALID;
    }
    collect_zones(quota, input);
    quota->replica_count = least_of(input->replica_count, quota->member_count);
    cap_zones(quota);
    fill_shares(quota);
    return STATUS_OK;
}

/* A figure to be rounded down or up. */
struct figure {
    uint32_t whole;
    uint64_t rest;   /* Of ROUND_ONE; 0: nothing to round. */
    uint32_t claims; /* How much holding already argues for rounding up. */
    bool up;         /* Rounded up. */
};

static struct figure figure_make(uint64_t value)
{
    struct figure figure = {.whole = (uint32_t)(value >> ROUND_BITS),
                            .rest = value & (ROUND_ONE - 1)};
    if (figure.rest >= ROUND_ONE - ROUND_SNAP) {
        figure.whole++;
        figure.rest = 0;
    } else if (figure.rest <= ROUND_SNAP) {
        figure.rest = 0;
    }
    return figure;
}

/* Rounds up `count` of the figures; those with `group[i] != wanted` are left alone. */
static void figures_round_up(struct figure *figures, uint32_t figure_count, const uint32_t *group,
                             uint32_t wanted, uint32_t count)
{
    for (; count > 0; count--) {
        struct figure *best = NULL;
        for (uint32_t i = 0; i < figure_count; i++) {
            struct figure *figure = &figures[i];
            if (figure->up || figure->rest == 0 || (group != NULL && group[i] != wanted)) {
                continue;
            }
            if (best == NULL || figure->claims > best->claims ||
                (figure->claims == best->claims && figure->rest > best->rest)) {
                best = figure;
            }
        }
        ASSERT(best != NULL);
        best->up = true;
        best->whole++;
    }
}

void quota_round(const struct quota *quota, uint32_t range_count, const uint32_t *held,
                 uint32_t *quotas)
{
    struct figure members[RING_MEMBER_COUNT_MAX];
    struct figure zones[RING_MEMBER_COUNT_MAX];
    uint32_t zone_of[RING_MEMBER_COUNT_MAX];
    uint32_t zone_wholes[RING_MEMBER_COUNT_MAX] = {0};
    uint64_t zone_shares_sum[RING_MEMBER_COUNT_MAX] = {0};
    uint32_t zone_claims[RING_MEMBER_COUNT_MAX] = {0};
    for (uint32_t i = 0; i < quota->member_count; i++) {
        const struct quota_member *member = &quota->members[i];
        zone_of[i] = member->zone;
        members[i] = figure_make((member->share * range_count) >> (SHARE_BITS - ROUND_BITS));
        members[i].claims = held[i] > members[i].whole ? 1 : 0;
        zone_shares_sum[member->zone] += member->share;
        zone_wholes[member->zone] += members[i].whole;
        zone_claims[member->zone] += members[i].rest > 0 ? members[i].claims : 0;
    }
    uint32_t left = range_count * quota->replica_count;
    for (uint32_t z = 0; z < quota->zone_count; z++) {
        zones[z] = figure_make((zone_shares_sum[z] * range_count) >> (SHARE_BITS - ROUND_BITS));
        ASSERT(zones[z].whole >= zone_wholes[z]);
        uint32_t given = zones[z].whole - zone_wholes[z];
        zones[z].claims = zone_claims[z] > given ? 1 : 0;
        ASSERT(left >= zones[z].whole);
        left -= zones[z].whole;
    }
    figures_round_up(zones, quota->zone_count, NULL, 0, left);
    for (uint32_t z = 0; z < quota->zone_count; z++) {
        figures_round_up(members, quota->member_count, zone_of, z, zones[z].whole - zone_wholes[z]);
    }
    for (uint32_t i = 0; i < quota->member_count; i++) {
        ASSERT(members[i].whole <= range_count);
        quotas[i] = members[i].whole;
    }
}

enum status ring_feasible_shares(const struct ring_input *input, uint32_t *share_ppm)
{
    struct quota quota;
    enum status status = quota_init(&quota, input);
    if (status != STATUS_OK) {
        return status;
    }
    memset(share_ppm, 0, input->node_count * sizeof(share_ppm[0]));
    uint64_t whole = (quota.replica_count * QUOTA_SHARE_ONE) >> PPM_SHIFT;
    ASSERT(whole > 0);
    for (uint32_t i = 0; i < quota.member_count; i++) {
        const struct quota_member *member = &quota.members[i];
        uint64_t scaled = (member->share >> PPM_SHIFT) * 1000000;
        share_ppm[member->input] = (uint32_t)((scaled + whole / 2) / whole);
    }
    return STATUS_OK;
}
