/*
 * ring/transfer.h -- the cheapest way to pass a surplus from member to member.
 *
 * Why: a member with too many ranges and one with too few may have no range in which the one can
 * stand in for the other; then ranges pass through others. Members are the nodes of a graph; edge
 * from -> to stands for the ranges in which `to` may take the place of `from`, by cost. Its owner
 * counts them in and out; found paths are shortest by cost, then by steps.
 * Contract:
 *  (1) If the assignment behind the counts is cheapest among all with its loads, it is so after a
 *      found path was applied (successive shortest paths).
 *  (2) The steps of a found path do not get into each other's way: a step that used twice the same
 *      slot would have a short cut, and the path would not be shortest. So they may be applied one
 *      after the other, each to any range that has the step at its cost.
 *
 * Source: Ahuja, Magnanti, Orlin, "Network Flows" (1993), section 9.7. Changed: ranges and slots
 * are folded into the edges between members, which keeps the graph at 256 nodes.
 */
#ifndef RING_TRANSFER_H
#define RING_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "ring/ring.h"

/* Costs of a step: -1 undoes a copy, 0, 1 makes one. */
#define TRANSFER_COST_MIN (-1)
#define TRANSFER_COST_MAX 1
#define TRANSFER_COST_COUNT 3

struct transfer {
    uint32_t member_count;
    uint16_t *counts; /* [from][to][cost - TRANSFER_COST_MIN]. Owned. */
    int32_t *lengths; /* [from][to] of the cheapest. Owned. */
};

struct transfer_path {
    uint32_t member_count; /* Steps and one. */
    uint32_t members[RING_MEMBER_COUNT_MAX];
    int costs[RING_MEMBER_COUNT_MAX]; /* costs[i]: of the step from members[i]. */
};

MUST_USE enum status transfer_init(struct transfer *transfer, uint32_t member_count);
void transfer_deinit(struct transfer *transfer);
void transfer_add(struct transfer *transfer, uint32_t from, uint32_t to, int cost);
void transfer_remove(struct transfer *transfer, uint32_t from, uint32_t to, int cost);
/* From any member with load above its quota to any with load below; false if there is no way. */
bool transfer_find(const struct transfer *transfer, const uint32_t *loads, const uint32_t *quotas,
                   struct transfer_path *path);

#endif
