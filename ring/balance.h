/*
 * ring/balance.h -- which ranges to move so that load lies as even as shares allow.
 *
 * Why: placement makes the number of ranges even, and ranges are not alike: one that holds large
 * values, or a key that everybody asks for, weighs more than ten others. This proposes moves of
 * single ranges from what was measured; an operator stages and commits them as any other plan.
 * Load is one figure: parts of all bytes, reads and writes there are, weighed against each other.
 * What a member is due is its share by weight and zone (ring_feasible_shares). Greedy: while some
 * member has more than it is due, the move that takes most off the sum of load^2 / due.
 * Contract:
 *  (1) Pure, and without floats: the same input, the same moves.
 *  (2) Each move is one that a plan may make: the zones of a range stay as even as they are, and
 *      only ACTIVE members that were measured give or take. A range moves at most once.
 *  (3) Nothing is moved for less than the gain asked for, nor while a plan is staged or runs.
 */
#ifndef RING_BALANCE_H
#define RING_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "ring/topology.h"

#define BALANCE_WEIGHT_MAX 100u
#define BALANCE_PPM UINT64_C(1000000)

/* What one range costs one of its replicas. Rates in any unit. */
struct balance_cost {
    uint32_t range;
    uint32_t node;
    uint64_t bytes;
    uint64_t reads;
    uint64_t writes;
};

struct balance_input {
    const struct topology *topology;
    /* At most one for each replica of each range; others are left aside. */
    const struct balance_cost *costs;
    uint32_t cost_count;
    const uint32_t *known; /* Members that were measured, in any order. */
    uint32_t known_count;
    uint32_t bytes_weight; /* 0 to BALANCE_WEIGHT_MAX each; not all 0. */
    uint32_t reads_weight;
    uint32_t writes_weight;
    uint32_t gain_ppm;   /* Least that the imbalance must fall by, of a million. */
    uint32_t move_count; /* At most so many; up to TOPOLOGY_CHANGE_COUNT_MAX. */
};

struct balance_member {
    uint32_t id;
    bool counted;      /* It gives and takes. */
    uint32_t load_ppm; /* Of all load of those counted. */
    uint32_t load_ppm_after;
    uint32_t due_ppm;
    uint32_t in_count;
    uint32_t out_count;
    uint64_t in_bytes;
    uint64_t out_bytes;
};

struct balance_move {
    uint32_t range;
    uint32_t from;
    uint32_t to;
    uint32_t load_ppm; /* That goes with it. */
    uint64_t bytes;
};

struct balance {
    struct balance_member *members; /* All of the topology, by rising id. Owned. */
    uint32_t member_count;
    struct balance_move moves[TOPOLOGY_CHANGE_COUNT_MAX];
    uint32_t move_count;
    /* Of the member with most: its load over what it is due, of a million; at least that. 0: there
     * is no load. */
    uint64_t imbalance_ppm;
    uint64_t imbalance_ppm_after;
    uint64_t bytes;     /* To move. */
    const char *reason; /* Why there are no moves; NULL if there are. */
};

/* STATUS_NO_MEMORY. */
MUST_USE enum status balance_init(struct balance *balance, const struct balance_input *input);
void balance_deinit(struct balance *balance);

#endif
