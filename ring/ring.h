/*
 * ring/ring.h -- which nodes should hold which range: placement as a pure function.
 *
 * The token circle is cut into 2^k equal ranges. Each member stands on it as weight * 64 virtual
 * nodes, at points hashed from its id. The replicas of a range are found by walking clockwise from
 * its start: distinct members, in distinct zones while there are enough zones, skipping members
 * that already hold their weighted share; what that leaves uneven is repaired along cheapest paths.
 * So shares are exact to one range and a change of members moves little more than it must.
 * Contract: the same input gives the same output on every machine and build; integers only.
 * Sources: Karger et al., "Consistent Hashing and Random Trees" (STOC 1997); Mirrokni, Thorup,
 * Zadimoghaddam, "Consistent Hashing with Bounded Loads" (SODA 2018). Changed: weights, zones and
 * several replicas per range.
 */
#ifndef RING_RING_H
#define RING_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define RING_RANGE_COUNT_MAX 16384
#define RING_RANGE_COUNT_DEFAULT 1024
#define RING_REPLICA_COUNT_MAX 7
#define RING_MEMBER_COUNT_MAX 256
#define RING_WEIGHT_MAX 64
#define RING_VIRTUAL_NODES_PER_WEIGHT 64
#define RING_ZONE_SIZE_MAX 32 /* Bytes, with the terminator. */

/* A member as placement sees it. */
struct ring_node {
    uint32_t id;     /* 1 and above; distinct. */
    uint32_t weight; /* 1 to RING_WEIGHT_MAX; 0 takes no ranges. */
    char zone[RING_ZONE_SIZE_MAX];
};

/* The replicas of one range; the first is preferred for reads of no other preference. */
struct ring_replicas {
    uint8_t count;
    uint32_t ids[RING_REPLICA_COUNT_MAX];
};

struct ring_input {
    const struct ring_node *nodes; /* In any order: placement sorts by id. */
    uint32_t node_count;
    uint32_t range_count; /* A power of two, 1 to RING_RANGE_COUNT_MAX. */
    uint32_t replica_count;
    /* Where the ranges are now, range_count of them; NULL at bootstrap. Placement then moves as
     * little as shares and zones allow. */
    const struct ring_replicas *current;
};

/*
 * Fills range_count entries of `placement`. With fewer eligible members than replica_count every
 * one of them holds every range.
 * STATUS_INVALID  counts out of bounds, duplicate ids, no eligible member. STATUS_NO_MEMORY.
 */
MUST_USE enum status ring_place(const struct ring_input *input, struct ring_replicas *placement);

/* The share a member can have at best, in parts per million of all replicas: its weight's part,
 * capped where the replica count or its zone forbids more, the rest given to the others. Writes
 * node_count entries in the order of input->nodes. */
MUST_USE enum status ring_feasible_shares(const struct ring_input *input, uint32_t *share_ppm);

/* Replicas that must be copied to turn one placement into the other. */
uint64_t ring_moves(const struct ring_replicas *from, const struct ring_replicas *to,
                    uint32_t range_count);

uint32_t ring_range_of(uint64_t token, uint32_t range_count);
uint64_t ring_range_first(uint32_t range, uint32_t range_count); /* Its least token. */
uint64_t ring_range_last(uint32_t range, uint32_t range_count);  /* Its greatest token. */
bool ring_replicas_contain(const struct ring_replicas *replicas, uint32_t id);
/* The same members, in whatever order. */
bool ring_replicas_same(const struct ring_replicas *a, const struct ring_replicas *b);

#endif
