/*
 * lsm/arena.h -- memory that is taken in small pieces and given back all at once.
 *
 * Pieces are 8-byte aligned, never move, and live until arena_deinit() or arena_reset(). Larger
 * pieces than a chunk get a chunk of their own. Memory can be taken ahead, for what must not fail
 * once it has begun. Not thread-safe: one owner at a time.
 */
#ifndef LSM_ARENA_H
#define LSM_ARENA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/contract.h"
#include "base/memory.h"
#include "base/mutex.h"

/* Of each chunk, before its pieces. */
struct arena_chunk {
    struct arena_chunk *next;
    uint64_t size; /* Of the bytes after it, which stay aligned on every platform. */
};
#define ARENA_CHUNK_HEADER_SIZE 16u
/* Chunks of a pool that are a huge page each. */
#define ARENA_CHUNK_SIZE_HUGE (MEMORY_HUGE_SIZE - ARENA_CHUNK_HEADER_SIZE)

/*
 * Chunks of one size that wait for their next use. Why: memtables come and go all the time; through
 * the allocator their memory would be touched anew each time, and stay behind in its caches when
 * the budget has long given it to others. Thread-safe.
 */
struct arena_pool {
    struct mutex mutex;
    struct arena_chunk *chunks;
    size_t chunk_size;
    uint32_t count_max;
    _Atomic uint32_t count;
    _Atomic uint64_t used_size; /* Bytes of all chunks that arenas have now, of any size. */
};

void arena_pool_init(struct arena_pool *pool, size_t chunk_size, uint32_t count_max);
void arena_pool_deinit(struct arena_pool *pool); /* After the last arena that uses it. */
/* Bytes that wait in it, or are in arenas that use it: also those whose owner is soon to go. */
uint64_t arena_pool_size(const struct arena_pool *pool);

struct arena {
    struct arena_chunk *chunks; /* Newest first. */
    uint8_t *at;                /* Free bytes of the newest chunk. */
    size_t left;
    uint8_t *spare_at; /* Free bytes of a chunk taken ahead; used when the newest has too few. */
    size_t spare_left;
    size_t chunk_size;
    struct arena_pool *pool; /* Where whole chunks come from and go to; NULL: the heap. */
    size_t size;             /* Bytes taken, chunk headers included. */
};

/* `pool` may be NULL; else its chunks have the same size, and it outlives the arena. */
void arena_init(struct arena *arena, size_t chunk_size, struct arena_pool *pool);
void arena_deinit(struct arena *arena);
void arena_reset(struct arena *arena); /* Gives everything back; usable again. */
/* Bytes out of reach of further pieces: those in use, headers, and ends of chunks. */
static inline size_t arena_used_size(const struct arena *arena)
{
    return arena->size - arena->left - arena->spare_left;
}

/* What a piece takes at most. */
#define ARENA_PIECE_SIZE(size, alignment) ((size) + (alignment) + 7u)

/*
 * Sees to it that the next pieces, of so much together, find memory: count each as
 * ARENA_PIECE_SIZE. False: there is none, and the arena is as before.
 */
MUST_USE bool arena_reserve_more(struct arena *arena, size_t size);
MUST_USE static inline bool arena_reserve(struct arena *arena, size_t size)
{
    return size <= arena->left || size <= arena->spare_left || arena_reserve_more(arena, size);
}

/* NULL if there is no memory; then the arena is as before. */
MUST_USE void *arena_allocate(struct arena *arena, size_t size);
/* At an address that `alignment` divides, a power of two up to 64. Small pieces only: with the
 * alignment at most a quarter of a chunk. */
MUST_USE void *arena_allocate_aligned(struct arena *arena, size_t size, size_t alignment);

#endif
