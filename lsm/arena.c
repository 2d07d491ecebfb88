/*
 * lsm/arena.c -- memory that is taken in small pieces and given back all at once.
 *
 * Invariants:
 *  (1) A piece lies wholly in one chunk, so a record can be read as one stretch of bytes.
 *  (2) An oversized piece does not end the current chunk: what is left of it stays in use.
 *  (3) While pieces of a reservation are taken, those still to come fit into what is left of one
 *      chunk: the newest until the first that it has no room for, the spare one from then on.
 */
#include "lsm/arena.h"

#include "base/memory.h"

#define ARENA_ALIGNMENT 8u

struct arena_chunk {
    struct arena_chunk *next;
    uint64_t reserved; /* Keeps the bytes after the header aligned on every platform. */
};

void arena_init(struct arena *arena, size_t chunk_size)
{
    ASSERT(arena != NULL);
    ASSERT(chunk_size >= 1024);
    *arena = (struct arena){.chunk_size = chunk_size};
}

void arena_reset(struct arena *arena)
{
    ASSERT(arena != NULL);
    while (arena->chunks != NULL) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        memory_free(chunk);
    }
    *arena = (struct arena){.chunk_size = arena->chunk_size};
}

void arena_deinit(struct arena *arena)
{
    arena_reset(arena);
}

static uint8_t *chunk_add(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk = memory_allocate(sizeof(*chunk) + size);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->reserved = 0;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->size += sizeof(*chunk) + size;
    return (uint8_t *)(chunk + 1);
}

void *arena_allocate_aligned(struct arena *arena, size_t size, size_t alignment)
{
    ASSERT(size + alignment <= arena->chunk_size / 4);
    size_t before = (size_t)(-(uintptr_t)arena->at & (alignment - 1));
    if (before + size <= arena->left) {
        arena->at += before;
        arena->left -= before;
        return arena_allocate(arena, size);
    }
    uint8_t *piece = arena_allocate(arena, size + alignment); /* In a new chunk. */
    return piece == NULL ? NULL : piece + (-(uintptr_t)piece & (alignment - 1));
}

bool arena_reserve_more(struct arena *arena, size_t size)
{
    ASSERT(arena != NULL);
    size_t chunk_size = size > arena->chunk_size / 4 ? size : arena->chunk_size; /* See (2). */
    uint8_t *bytes = chunk_add(arena, chunk_size);
    if (bytes == NULL) {
        return false;
    }
    if (arena->spare_left > arena->left) { /* The end of one is given up: the shorter. */
        arena->at = arena->spare_at;
        arena->left = arena->spare_left;
    }
    arena->spare_at = bytes;
    arena->spare_left = chunk_size;
    return true;
}

/* Of a piece that the newest chunk has no room for; NULL: the spare one has none either. */
static uint8_t *spare_take(struct arena *arena, size_t size)
{
    if (size > arena->spare_left) {
        return NULL;
    }
    uint8_t *piece = arena->spare_at;
    arena->spare_at += size;
    arena->spare_left -= size;
    if (size <= arena->chunk_size / 4 || arena->left < arena->spare_left) {
        arena->at = arena->spare_at;
        arena->left = arena->spare_left;
        arena->spare_at = NULL;
        arena->spare_left = 0;
    }
    return piece;
}

void *arena_allocate(struct arena *arena, size_t size)
{
    ASSERT(arena != NULL);
    ASSERT(size > 0);
    size = (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    if (size > arena->left) {
        uint8_t *spare = spare_take(arena, size);
        if (spare != NULL) {
            return spare;
        }
        if (size > arena->chunk_size / 4) {
            return chunk_add(arena, size); /* See (2). */
        }
        uint8_t *bytes = chunk_add(arena, arena->chunk_size);
        if (bytes == NULL) {
            return NULL;
        }
        arena->at = bytes;
        arena->left = arena->chunk_size;
    }
    uint8_t *piece = arena->at;
    arena->at += size;
    arena->left -= size;
    return piece;
}
