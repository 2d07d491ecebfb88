/*
 * tools/whatif/what_if.h -- what a ring would look like after changes, and what they would move.
 *
 * From some nodes a placement is made by each scheme; then the changes are made one by one, and
 * after each the figures are taken: how even the load is, and how much had to move against the
 * least that could have.
 * Terms:
 *  due    the part of all replicas a node should hold by its weight. Of SCHEME_RING by what zones
 *         allow too (ring_feasible_shares); the two others know no zones and are held to weights.
 *  least  what the nodes gained, summed: nothing that ends with these loads moves less. So `moved`
 *         is never below it, and a scheme cannot look frugal by staying uneven.
 * Contract: the same input gives the same figures. No I/O, no chance.
 */
#ifndef TOOLS_WHATIF_WHAT_IF_H
#define TOOLS_WHATIF_WHAT_IF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "ring/ring.h"
#include "tools/whatif/key_load.h"
#include "tools/whatif/scheme.h"

#define WHAT_IF_CHANGE_COUNT_MAX 64

struct what_if_nodes {
    uint32_t count;
    struct ring_node nodes[RING_MEMBER_COUNT_MAX]; /* By id, ascending. */
};

enum what_if_change_type { WHAT_IF_ADD, WHAT_IF_REMOVE, WHAT_IF_WEIGHT };

struct what_if_change {
    enum what_if_change_type type;
    struct ring_node node; /* WHAT_IF_REMOVE: its id; WHAT_IF_WEIGHT: id and weight. */
};

/* NULL if it was made, else why not (then nothing was); static storage. */
MUST_USE const char *what_if_change_make(struct what_if_nodes *nodes,
                                         const struct what_if_change *change);
bool what_if_any_eligible(const struct what_if_nodes *nodes); /* Weight above 0. */

struct what_if_input {
    const struct what_if_nodes *nodes; /* To begin with. */
    uint32_t replica_count;
    uint32_t range_count;
    const struct what_if_change *changes; /* Each can be made, and leaves an eligible node. */
    uint32_t change_count;                /* At most WHAT_IF_CHANGE_COUNT_MAX. */
    const struct key_load *keys;          /* Sealed; without keys their figures are 0. */
};

/* A node under a scheme. */
struct what_if_load {
    double due;         /* Of all replicas. */
    double share;       /* Of all replicas, by the part of the tokens it holds. */
    uint32_t ranges;    /* SCHEME_RING: as a count; else 0. */
    uint64_t key_count; /* Load of the keys it holds. */
};

struct what_if_figures {
    double max_over_mean; /* The greatest load over what is due: with equal weights, the mean. */
    double variation;     /* Root mean square of load over due less 1: with equal weights, the
                             coefficient of variation. */
    double moved;         /* Replicas copied in this step, as a part of all. */
    double moved_least;
};

/* A scheme after a step. */
struct what_if_result {
    struct what_if_figures ranges; /* By part of the tokens. */
    struct what_if_figures keys;   /* By load of the keys. */
    double zones_short; /* Part of the tokens whose replicas are in fewer zones than could be. */
    struct what_if_load loads[RING_MEMBER_COUNT_MAX]; /* In order of the step's nodes. */
};

struct what_if_step {
    const struct what_if_change *change; /* NULL: the start. Borrows from the input. */
    struct what_if_nodes nodes;          /* After it. */
    struct what_if_result results[SCHEME_COUNT];
};

/* Fills change_count + 1 steps, the start first. STATUS_INVALID  counts out of the bounds of
 * ring/ring.h. STATUS_NO_MEMORY. */
MUST_USE enum status what_if_run(const struct what_if_input *input, struct what_if_step *steps);

#endif
