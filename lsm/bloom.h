/*
 * lsm/bloom.h -- a set of key hashes that answers "surely not" or "maybe".
 *
 * Why blocked: all probes of one key lie in one cache line, so a look-up costs one miss.
 * Bits are addressed by byte, so a filter reads the same on every machine.
 *
 * Source: Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (2007).
 * Changed: probe positions come from one 32-bit half of the hash by repeated multiplication.
 */
#ifndef LSM_BLOOM_H
#define LSM_BLOOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"

#define BLOOM_LINE_SIZE 64
#define BLOOM_PROBE_COUNT_MAX 16
#define BLOOM_BITS_PER_KEY_MAX 32

struct bloom {
    const uint8_t *lines; /* Borrowed; fastest when aligned to BLOOM_LINE_SIZE. */
    uint32_t line_count;
    uint32_t probe_count;
};

/* Bytes of a filter; a multiple of BLOOM_LINE_SIZE, at least one line. bits_per_key from 1. */
size_t bloom_size(size_t key_count, uint32_t bits_per_key);
uint32_t bloom_probe_count(uint32_t bits_per_key); /* The best for so many bits. */
/* Fills bloom_size(hash_count, bits_per_key) bytes. Hashes are checksum64(key, 0). */
void bloom_build(const uint64_t *hashes, size_t hash_count, uint32_t bits_per_key, uint8_t *to);
/* STATUS_CORRUPT if no filter has that shape. Borrows `bytes`. */
MUST_USE enum status bloom_open(struct slice bytes, uint32_t probe_count, struct bloom *bloom);
bool bloom_may_hold(const struct bloom *bloom, uint64_t hash);

/* Where the line lies that alone says something of this hash: bytes from `lines` on. */
static inline size_t bloom_line_offset(const struct bloom *bloom, uint64_t hash)
{
    return (size_t)(((hash >> 32) * bloom->line_count) >> 32) * BLOOM_LINE_SIZE;
}

#endif
