/*
 * lsm/arena.h -- memory that is taken in small pieces and given back all at once.
 *
 * Pieces are 8-byte aligned, never move, and live until arena_deinit() or arena_reset(). Larger
 * pieces than a chunk get a chunk of their own. Not thread-safe: one owner at a time.
 */
#ifndef LSM_ARENA_H
#define LSM_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/contract.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* Newest first. */
    uint8_t *at;                /* Free bytes of the newest chunk. */
    size_t left;
    size_t chunk_size;
    size_t size; /* Bytes taken from the heap, chunk headers included. */
};

void arena_init(struct arena *arena, size_t chunk_size);
void arena_deinit(struct arena *arena);
void arena_reset(struct arena *arena); /* Gives everything back; usable again. */
/* NULL if there is no memory; then the arena is as before. */
MUST_USE void *arena_allocate(struct arena *arena, size_t size);
/* At an address that `alignment` divides, a power of two up to 64. Small pieces only: with the
 * alignment at most a quarter of a chunk. */
MUST_USE void *arena_allocate_aligned(struct arena *arena, size_t size, size_t alignment);

#endif
