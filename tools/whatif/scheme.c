/* tools/whatif/scheme.c -- cells of the three rules, and what two placements differ in. */
#include "tools/whatif/scheme.h"

#include "base/contract.h"
#include "base/memory.h"
#include "ring/circle.h"
#include "ring/quota.h"

#define TOKEN_COUNT 18446744073709551616.0 /* 2^64 */
#define MEMBER_NONE UINT32_MAX

const char *scheme_name(enum scheme scheme)
{
    static const char *const names[] = {
        [SCHEME_RING] = "ring", [SCHEME_MODULO] = "modulo", [SCHEME_VIRTUAL] = "virtual"};
    STATIC_ASSERT(ARRAY_COUNT(names) == SCHEME_COUNT, "every scheme has a name");
    ASSERT((size_t)scheme < ARRAY_COUNT(names));
    return names[scheme];
}

/* ------------------------------------------------------------------ placing */

static enum status ring_cells(struct scheme_placement *placement, const struct ring_input *input)
{
    placement->cell_count = input->range_count;
    placement->cells = memory_allocate_zeroed(input->range_count, sizeof(placement->cells[0]));
    return placement->cells == NULL ? STATUS_NO_MEMORY : ring_place(input, placement->cells);
}

/* A member and those after it, in order of id and round the end. */
static struct ring_replicas members_from(const struct quota *quota, uint32_t member)
{
    struct ring_replicas replicas = {0};
    while (replicas.count < quota->replica_count) {
        replicas.ids[replicas.count++] = quota->members[member].id;
        member = member + 1 == quota->member_count ? 0 : member + 1;
    }
    return replicas;
}

/* In rounds: each node of weight 1 and above, then each of 2 and above, ... Where all weights are
 * equal, cell % nodes is thus the first replica. */
static enum status modulo_cells(struct scheme_placement *placement, const struct quota *quota)
{
    uint32_t weight_sum = 0;
    for (uint32_t i = 0; i < quota->member_count; i++) {
        weight_sum += quota->members[i].weight;
    }
    placement->cells = memory_allocate_zeroed(weight_sum, sizeof(placement->cells[0]));
    if (placement->cells == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t round = 1; placement->cell_count < weight_sum; round++) {
        for (uint32_t i = 0; i < quota->member_count; i++) {
            if (quota->members[i].weight >= round) {
                placement->cells[placement->cell_count++] = members_from(quota, i);
            }
        }
    }
    return STATUS_OK;
}

/* The first replica_count distinct members from a point on, clockwise. */
static struct ring_replicas walk(const struct circle *circle, const struct quota *quota,
                                 uint32_t point)
{
    struct ring_replicas replicas = {0};
    while (replicas.count < quota->replica_count) {
        uint32_t id = quota->members[circle->points[point].member].id;
        if (!ring_replicas_contain(&replicas, id)) {
            replicas.ids[replicas.count++] = id;
        }
        point = point + 1 == circle->point_count ? 0 : point + 1;
    }
    return replicas;
}

/* A cell up to each point, and one from the last point round to the first. */
static enum status virtual_cells(struct scheme_placement *placement, const struct quota *quota)
{
    struct circle circle;
    enum status status = circle_init(&circle, quota);
    if (status != STATUS_OK) {
        return status;
    }
    placement->cell_count = circle.point_count + 1;
    placement->cells = memory_allocate_zeroed(placement->cell_count, sizeof(placement->cells[0]));
    placement->lasts = memory_allocate_zeroed(placement->cell_count, sizeof(placement->lasts[0]));
    if (placement->cells == NULL || placement->lasts == NULL) {
        status = STATUS_NO_MEMORY;
    } else {
        for (uint32_t point = 0; point < circle.point_count; point++) {
            placement->cells[point] = walk(&circle, quota, point);
            placement->lasts[point] = circle.points[point].token;
        }
        placement->cells[circle.point_count] = placement->cells[0];
        placement->lasts[circle.point_count] = UINT64_MAX;
    }
    circle_deinit(&circle);
    return status;
}

enum status scheme_place(struct scheme_placement *placement, enum scheme scheme,
                         const struct ring_input *input)
{
    *placement = (struct scheme_placement){.scheme = scheme};
    struct quota *quota = memory_allocate_zeroed(1, sizeof(*quota));
    enum status status = quota == NULL ? STATUS_NO_MEMORY : quota_init(quota, input);
    if (status == STATUS_OK) {
        placement->replica_count = quota->replica_count;
        placement->member_count = quota->member_count;
        for (uint32_t i = 0; i < quota->member_count; i++) {
            placement->members[i] = quota->members[i].id;
        }
        switch (scheme) {
        case SCHEME_RING:
            status = ring_cells(placement, input);
            break;
        case SCHEME_MODULO:
            status = modulo_cells(placement, quota);
            break;
        case SCHEME_VIRTUAL:
            status = virtual_cells(placement, quota);
            break;
        }
    }
    memory_free(quota);
    if (status != STATUS_OK) {
        scheme_deinit(placement);
    }
    return status;
}

void scheme_deinit(struct scheme_placement *placement)
{
    memory_free(placement->cells);
    memory_free(placement->lasts);
    *placement = (struct scheme_placement){0};
}

/* ------------------------------------------------------------------ cells */

uint32_t scheme_cell_of(const struct scheme_placement *placement, uint64_t token)
{
    if (placement->scheme == SCHEME_RING) {
        return ring_range_of(token, placement->cell_count);
    }
    if (placement->scheme == SCHEME_MODULO) {
        return (uint32_t)(token % placement->cell_count);
    }
    uint32_t low = 0;
    uint32_t high = placement->cell_count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (placement->lasts[middle] < token) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

double scheme_cell_part(const struct scheme_placement *placement, uint32_t cell)
{
    ASSERT(cell < placement->cell_count);
    if (placement->scheme != SCHEME_VIRTUAL) {
        return 1.0 / placement->cell_count;
    }
    uint64_t first = cell == 0 ? 0 : placement->lasts[cell - 1] + 1;
    return (double)(placement->lasts[cell] - first + 1) / TOKEN_COUNT;
}

/* ------------------------------------------------------------------ moves */

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint32_t member_index(const struct scheme_placement *placement, uint32_t id)
{
    uint32_t low = 0;
    uint32_t high = placement->member_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (placement->members[middle] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < placement->member_count && placement->members[low] == id ? low : MEMBER_NONE;
}

/* A token lies in cells a and b together only if they agree modulo the common divisor, and then
 * in each such pair as often as in any other. So pairs are counted, a remainder at a time: of how
 * many of the cells before a member is a replica, all others are moves to it. */
static double modulo_moved(const struct scheme_placement *before,
                           const struct scheme_placement *after)
{
    uint32_t divisor = common_divisor(before->cell_count, after->cell_count);
    uint64_t moves = 0;
    for (uint32_t rest = 0; rest < divisor; rest++) {
        uint32_t held[RING_MEMBER_COUNT_MAX] = {0};
        for (uint32_t a = rest; a < before->cell_count; a += divisor) {
            for (uint32_t i = 0; i < before->cells[a].count; i++) {
                held[member_index(before, before->cells[a].ids[i])]++;
            }
        }
        for (uint32_t b = rest; b < after->cell_count; b += divisor) {
            for (uint32_t i = 0; i < after->cells[b].count; i++) {
                uint32_t member = member_index(before, after->cells[b].ids[i]);
                moves += before->cell_count / divisor - (member == MEMBER_NONE ? 0 : held[member]);
            }
        }
    }
    return (double)moves * divisor / ((double)before->cell_count * after->cell_count);
}

/* Along the circle, from one end of a cell of either to the next. */
static double virtual_moved(const struct scheme_placement *before,
                            const struct scheme_placement *after)
{
    double moved = 0;
    uint64_t first = 0;
    uint32_t a = 0;
    uint32_t b = 0;
    while (a < before->cell_count && b < after->cell_count) {
        uint64_t last = before->lasts[a] < after->lasts[b] ? before->lasts[a] : after->lasts[b];
        moved += (double)(last - first + 1) / TOKEN_COUNT *
                 (double)ring_moves(&before->cells[a], &after->cells[b], 1);
        first = last + 1;
        a += before->lasts[a] == last ? 1 : 0;
        b += after->lasts[b] == last ? 1 : 0;
    }
    return moved;
}

double scheme_moved(const struct scheme_placement *before, const struct scheme_placement *after)
{
    ASSERT(before->scheme == after->scheme);
    if (before->scheme == SCHEME_MODULO) {
        return modulo_moved(before, after);
    }
    if (before->scheme == SCHEME_VIRTUAL) {
        return virtual_moved(before, after);
    }
    ASSERT(before->cell_count == after->cell_count);
    return (double)ring_moves(before->cells, after->cells, after->cell_count) / after->cell_count;
}
