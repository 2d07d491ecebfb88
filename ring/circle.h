/*
 * ring/circle.h -- the circle of tokens and the virtual nodes that stand on it.
 *
 * Each member stands at weight * RING_VIRTUAL_NODES_PER_WEIGHT points, hashed from its id alone: a
 * member's points never depend on who else is there.
 * Source: Karger et al., "Consistent Hashing and Random Trees" (STOC 1997).
 */
#ifndef RING_CIRCLE_H
#define RING_CIRCLE_H

#include <stdint.h>

#include "base/status.h"
#include "ring/quota.h"

struct circle_point {
    uint64_t token;
    uint32_t member; /* Index into quota->members. */
};

struct circle {
    struct circle_point *points; /* Sorted by token, then member. Owned. */
    uint32_t point_count;
};

MUST_USE enum status circle_init(struct circle *circle, const struct quota *quota);
void circle_deinit(struct circle *circle);
/* The first point at or after `token`, going round the end. */
uint32_t circle_find(const struct circle *circle, uint64_t token);

#endif
