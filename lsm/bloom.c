/*
 * lsm/bloom.c -- a blocked bloom filter: one cache line per key.
 *
 * The upper half of a hash chooses the line, the lower half the bits in it, so that the choice of
 * one says nothing about the other.
 */
#include "lsm/bloom.h"

#include "base/contract.h"

#define LINE_BIT_COUNT_LOG2 9
STATIC_ASSERT((1u << LINE_BIT_COUNT_LOG2) == BLOOM_LINE_SIZE * 8, "a line has 512 bits");

/* 2^32 divided by the golden ratio: each multiplication brings fresh bits to the top. */
#define PROBE_MULTIPLIER UINT32_C(0x9e3779b9)

static uint32_t probe_bit(uint32_t probe)
{
    return probe >> (32 - LINE_BIT_COUNT_LOG2);
}

size_t bloom_size(size_t key_count, uint32_t bits_per_key)
{
    ASSERT(bits_per_key >= 1);
    ASSERT(bits_per_key <= BLOOM_BITS_PER_KEY_MAX);
    ASSERT(key_count <= SIZE_MAX / BLOOM_BITS_PER_KEY_MAX / 2);
    size_t bytes = (key_count * bits_per_key + 7) / 8;
    size_t lines = (bytes + BLOOM_LINE_SIZE - 1) / BLOOM_LINE_SIZE;
    return (lines == 0 ? 1 : lines) * BLOOM_LINE_SIZE;
}

uint32_t bloom_probe_count(uint32_t bits_per_key)
{
    /* ln 2 bits per key, rounded down: lines are filled unevenly, and the fuller ones want less. */
    uint32_t count = bits_per_key * 69 / 100;
    if (count < 1) {
        return 1;
    }
    return count < BLOOM_PROBE_COUNT_MAX ? count : BLOOM_PROBE_COUNT_MAX;
}

void bloom_build(const uint64_t *hashes, size_t hash_count, uint32_t bits_per_key, uint8_t *to)
{
    ASSERT(to != NULL);
    size_t size = bloom_size(hash_count, bits_per_key);
    ASSERT(size / BLOOM_LINE_SIZE <= UINT32_MAX);
    struct bloom bloom = {.line_count = (uint32_t)(size / BLOOM_LINE_SIZE)};
    uint32_t probe_count = bloom_probe_count(bits_per_key);
    memset(to, 0, size);
    for (size_t i = 0; i < hash_count; i++) {
        uint8_t *line = to + bloom_line_offset(&bloom, hashes[i]);
        uint32_t probe = (uint32_t)hashes[i];
        for (uint32_t j = 0; j < probe_count; j++) {
            probe *= PROBE_MULTIPLIER;
            uint32_t bit = probe_bit(probe);
            line[bit >> 3] |= (uint8_t)(1u << (bit & 7));
        }
    }
}

enum status bloom_open(struct slice bytes, uint32_t probe_count, struct bloom *bloom)
{
    ASSERT(bloom != NULL);
    size_t line_count = bytes.size / BLOOM_LINE_SIZE;
    if (line_count == 0 || line_count > UINT32_MAX || bytes.size % BLOOM_LINE_SIZE != 0) {
        return STATUS_CORRUPT;
    }
    if (probe_count < 1 || probe_count > BLOOM_PROBE_COUNT_MAX) {
        return STATUS_CORRUPT;
    }
    *bloom = (struct bloom){
        .lines = bytes.data, .line_count = (uint32_t)line_count, .probe_count = probe_count};
    return STATUS_OK;
}

bool bloom_may_hold(const struct bloom *bloom, uint64_t hash)
{
    const uint8_t *line = bloom->lines + bloom_line_offset(bloom, hash);
    uint32_t probe = (uint32_t)hash;
    /* All probes, without a branch: they lie in one line, and where a search would end early is
     * what a processor cannot guess. */
    unsigned all = 1;
    for (uint32_t i = 0; i < bloom->probe_count; i++) {
        probe *= PROBE_MULTIPLIER;
        uint32_t bit = probe_bit(probe);
        all &= (unsigned)line[bit >> 3] >> (bit & 7);
    }
    return (all & 1) != 0;
}
