/*
 * tools/whatif/scheme.h -- three rules that say which nodes hold a token: ours and two to compare.
 *
 * SCHEME_RING     ring_place(): equal ranges, bounded loads, zones, as few copies as possible.
 * SCHEME_MODULO   token % nodes, a node of weight w standing w times; the replicas after the first
 *                 are the next nodes in order of id. Knows no zones.
 * SCHEME_VIRTUAL  plain consistent hashing: the virtual nodes of ring/circle.h, the replicas being
 *                 the next distinct nodes clockwise. No bounds on loads, no zones, no ranges.
 * Each is a list of cells that together take every token; all tokens of a cell have the same
 * replicas. So loads and moves are sums over cells, exact but for the rounding of doubles, and no
 * sampling stands between a rule and its figures.
 * Contract: the same input gives the same cells.
 * Source: Karger et al., "Consistent Hashing and Random Trees" (STOC 1997).
 */
#ifndef TOOLS_WHATIF_SCHEME_H
#define TOOLS_WHATIF_SCHEME_H

#include <stdint.h>

#include "base/status.h"
#include "ring/ring.h"

enum scheme { SCHEME_RING, SCHEME_MODULO, SCHEME_VIRTUAL };
#define SCHEME_COUNT 3

struct scheme_placement {
    enum scheme scheme;
    uint32_t replica_count; /* Of every cell. */
    uint32_t member_count;
    uint32_t members[RING_MEMBER_COUNT_MAX]; /* Ids of eligible nodes, ascending. */
    uint32_t cell_count;
    struct ring_replicas *cells; /* Owned. */
    uint64_t *lasts;             /* SCHEME_VIRTUAL: the greatest token of each, ascending. Owned. */
};

const char *scheme_name(enum scheme scheme); /* "ring", "modulo", "virtual". */

/* SCHEME_RING alone heeds input->current. A zeroed placement may be given to scheme_deinit().
 * STATUS_INVALID, STATUS_NO_MEMORY  as ring_place(). */
MUST_USE enum status scheme_place(struct scheme_placement *placement, enum scheme scheme,
                                  const struct ring_input *input);
void scheme_deinit(struct scheme_placement *placement);

uint32_t scheme_cell_of(const struct scheme_placement *placement, uint64_t token);
/* The part of all tokens that lie in a cell; over all cells 1. */
double scheme_cell_part(const struct scheme_placement *placement, uint32_t cell);
/* Replicas to copy from one placement of a scheme to another, in copies of the whole ring. */
double scheme_moved(const struct scheme_placement *before, const struct scheme_placement *after);

#endif
