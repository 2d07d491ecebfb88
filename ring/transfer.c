/*
 * ring/transfer.c -- edges by count and cost, and Bellman-Ford over them.
 *
 * A length is cost * LENGTH_PER_COST + 1 for each step, so shorter means cheaper, then fewer steps.
 * Ties fall to the member with the lesser index: the same on every machine.
 */
#include "ring/transfer.h"

#include <string.h>

#include "base/contract.h"
#include "base/memory.h"

#define LENGTH_NONE INT32_MAX
#define LENGTH_PER_COST 1024
#define MEMBER_NONE UINT32_MAX

STATIC_ASSERT(LENGTH_PER_COST > RING_MEMBER_COUNT_MAX, "steps never outweigh a cost");
STATIC_ASSERT(RING_RANGE_COUNT_MAX <= UINT16_MAX, "counts fit");

enum status transfer_init(struct transfer *transfer, uint32_t member_count)
{
    ASSERT(member_count > 0);
    ASSERT(member_count <= RING_MEMBER_COUNT_MAX);
    size_t edge_count = (size_t)member_count * member_count;
    *transfer = (struct transfer){.member_count = member_count};
    transfer->counts =
        memory_allocate_zeroed(edge_count * TRANSFER_COST_COUNT, sizeof(transfer->counts[0]));
    transfer->lengths = memory_allocate_zeroed(edge_count, sizeof(transfer->lengths[0]));
    if (transfer->counts == NULL || transfer->lengths == NULL) {
        transfer_deinit(transfer);
        return STATUS_NO_MEMORY;
    }
    for (size_t edge = 0; edge < edge_count; edge++) {
        transfer->lengths[edge] = LENGTH_NONE;
    }
    return STATUS_OK;
}

void transfer_deinit(struct transfer *transfer)
{
    memory_free(transfer->counts);
    memory_free(transfer->lengths);
    transfer->counts = NULL;
    transfer->lengths = NULL;
}

static int32_t step_length(int cost)
{
    return cost * LENGTH_PER_COST + 1;
}

void transfer_add(struct transfer *transfer, uint32_t from, uint32_t to, int cost)
{
    ASSERT(cost >= TRANSFER_COST_MIN);
    ASSERT(cost <= TRANSFER_COST_MAX);
    size_t edge = (size_t)from * transfer->member_count + to;
    transfer->counts[edge * TRANSFER_COST_COUNT + (size_t)(cost - TRANSFER_COST_MIN)]++;
    if (step_length(cost) < transfer->lengths[edge]) {
        transfer->lengths[edge] = step_length(cost);
    }
}

void transfer_remove(struct transfer *transfer, uint32_t from, uint32_t to, int cost)
{
    size_t edge = (size_t)from * transfer->member_count + to;
    uint16_t *counts = &transfer->counts[edge * TRANSFER_COST_COUNT];
    ASSERT(counts[cost - TRANSFER_COST_MIN] > 0);
    counts[cost - TRANSFER_COST_MIN]--;
    if (counts[cost - TRANSFER_COST_MIN] > 0) {
        return;
    }
    transfer->lengths[edge] = LENGTH_NONE;
    for (int left = TRANSFER_COST_MAX; left >= TRANSFER_COST_MIN; left--) {
        if (counts[left - TRANSFER_COST_MIN] > 0) {
            transfer->lengths[edge] = step_length(left);
        }
    }
}

/* Distances from the members with a surplus, and by which member each was reached. */
struct search {
    int32_t distances[RING_MEMBER_COUNT_MAX];
    uint32_t previous[RING_MEMBER_COUNT_MAX];
    bool changed[RING_MEMBER_COUNT_MAX];
};

static bool search_round(const struct transfer *transfer, struct search *search)
{
    bool any = false;
    for (uint32_t from = 0; from < transfer->member_count; from++) {
        if (!search->changed[from]) {
            continue;
        }
        search->changed[from] = false;
        const int32_t *lengths = &transfer->lengths[(size_t)from * transfer->member_count];
        int32_t base = search->distances[from];
        for (uint32_t to = 0; to < transfer->member_count; to++) {
            if (lengths[to] != LENGTH_NONE && base + lengths[to] < search->distances[to]) {
                search->distances[to] = base + lengths[to];
                search->previous[to] = from;
                search->changed[to] = true;
                any = true;
            }
        }
    }
    return any;
}

bool transfer_find(const struct transfer *transfer, const uint32_t *loads, const uint32_t *quotas,
                   struct transfer_path *path)
{
    struct search search;
    for (uint32_t i = 0; i < transfer->member_count; i++) {
        search.changed[i] = loads[i] > quotas[i];
        search.distances[i] = search.changed[i] ? 0 : LENGTH_NONE;
        search.previous[i] = MEMBER_NONE;
    }
    uint32_t round_count = 0;
    while (search_round(transfer, &search)) {
        round_count++;
        ASSERT(round_count <= transfer->member_count); /* No cycle makes anything cheaper. */
    }
    uint32_t end = MEMBER_NONE;
    for (uint32_t i = 0; i < transfer->member_count; i++) {
        if (loads[i] < quotas[i] && search.distances[i] != LENGTH_NONE &&
            (end == MEMBER_NONE || search.distances[i] < search.distances[end])) {
            end = i;
        }
    }
    if (end == MEMBER_NONE) {
        return false;
    }
    path->member_count = 0;
    for (uint32_t at = end; at != MEMBER_NONE; at = search.previous[at]) {
        path->members[path->member_count++] = at;
    }
    for (uint32_t i = 0; i < path->member_count / 2; i++) {
        uint32_t other = path->member_count - 1 - i;
        uint32_t swapped = path->members[i];
        path->members[i] = path->members[other];
        path->members[other] = swapped;
    }
    for (uint32_t i = 0; i + 1 < path->member_count; i++) {
        size_t edge = (size_t)path->members[i] * transfer->member_count + path->members[i + 1];
        path->costs[i] = (transfer->lengths[edge] - 1) / LENGTH_PER_COST;
    }
    return true;
}
