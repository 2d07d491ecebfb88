/* ring/circle.c -- virtual nodes, sorted. */
#include "ring/circle.h"

#include <stdlib.h>

#include "base/contract.h"
#include "base/memory.h"
#include "base/prng.h"

static int compare_points(const void *a, const void *b)
{
    const struct circle_point *left = a;
    const struct circle_point *right = b;
    if (left->token != right->token) {
        return left->token < right->token ? -1 : 1;
    }
    return (left->member > right->member) - (left->member < right->member);
}

enum status circle_init(struct circle *circle, const struct quota *quota)
{
    *circle = (struct circle){0};
    uint32_t point_count = 0;
    for (uint32_t i = 0; i < quota->member_count; i++) {
        point_count += quota->members[i].weight * RING_VIRTUAL_NODES_PER_WEIGHT;
    }
    ASSERT(point_count > 0);
    circle->points = memory_allocate_zeroed(point_count, sizeof(circle->points[0]));
    if (circle->points == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < quota->member_count; i++) {
        uint64_t seed = prng_mix(quota->members[i].id);
        uint32_t count = quota->members[i].weight * RING_VIRTUAL_NODES_PER_WEIGHT;
        for (uint32_t v = 0; v < count; v++) {
            circle->points[circle->point_count++] =
                (struct circle_point){.token = prng_mix(seed + v), .member = i};
        }
    }
    qsort(circle->points, point_count, sizeof(circle->points[0]), compare_points);
    return STATUS_OK;
}

void circle_deinit(struct circle *circle)
{
    memory_free(circle->points);
    *circle = (struct circle){0};
}

uint32_t circle_find(const struct circle *circle, uint64_t token)
{
    uint32_t low = 0;
    uint32_t high = circle->point_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (circle->points[middle].token < token) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == circle->point_count ? 0 : low;
}
