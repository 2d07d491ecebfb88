/*
 * ring/range.c -- equal ranges of the token circle, and what two placements differ in.
 */
#include "base/contract.h"
#include "ring/ring.h"

#define TOKEN_BITS 64

/* Tokens are cut after this many high bits. */
static uint32_t range_bits(uint32_t range_count)
{
    ASSERT(range_count > 0);
    ASSERT(range_count <= RING_RANGE_COUNT_MAX);
    ASSERT((range_count & (range_count - 1)) == 0);
    return (uint32_t)__builtin_ctz(range_count);
}

uint32_t ring_range_of(uint64_t token, uint32_t range_count)
{
    uint32_t bits = range_bits(range_count);
    return bits == 0 ? 0 : (uint32_t)(token >> (TOKEN_BITS - bits));
}

uint64_t ring_range_first(uint32_t range, uint32_t range_count)
{
    uint32_t bits = range_bits(range_count);
    ASSERT(range < range_count);
    return bits == 0 ? 0 : (uint64_t)range << (TOKEN_BITS - bits);
}

uint64_t ring_range_last(uint32_t range, uint32_t range_count)
{
    uint32_t bits = range_bits(range_count);
    uint64_t size_less_one = UINT64_MAX >> bits;
    return ring_range_first(range, range_count) + size_less_one;
}

bool ring_replicas_contain(const struct ring_replicas *replicas, uint32_t id)
{
    ASSERT(replicas->count <= RING_REPLICA_COUNT_MAX);
    for (uint32_t i = 0; i < replicas->count; i++) {
        if (replicas->ids[i] == id) {
            return true;
        }
    }
    return false;
}

bool ring_replicas_same(const struct ring_replicas *a, const struct ring_replicas *b)
{
    bool same = a->count == b->count;
    for (uint32_t i = 0; i < a->count && same; i++) {
        same = ring_replicas_contain(b, a->ids[i]);
    }
    return same;
}

uint64_t ring_moves(const struct ring_replicas *from, const struct ring_replicas *to,
                    uint32_t range_count)
{
    uint64_t moves = 0;
    for (uint32_t range = 0; range < range_count; range++) {
        for (uint32_t i = 0; i < to[range].count; i++) {
            moves += ring_replicas_contain(&from[range], to[range].ids[i]) ? 0 : 1;
        }
    }
    return moves;
}
