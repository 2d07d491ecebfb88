/*
 * lsm/arena.c -- memory that is taken in small pieces and given back all at once.
 *
 * Invariants:
 *  (1) A piece lies wholly in one chunk, so a record can be read as one stretch of bytes.
 *  (2) An oversized piece does not end the current chunk: what is left of it stays in use.
 *  (3) While pieces of a reservation are taken, those still to come fit into what is left of one
 *      chunk: the newest until the first that it has no room for, the spare one from then on.
 *  (4) Chunks that wait in a pool are poisoned for the address sanitizer, as freed memory is.
 *  (5) Chunks of a pool are huge pages if with their headers they are as large as one. So an arena
 *      with a pool takes and gives chunks of that size as the pool does.
 */
#include "lsm/arena.h"

#include "base/memory.h"
#include "base/poison.h"

#define ARENA_ALIGNMENT 8u

STATIC_ASSERT(sizeof(struct arena_chunk) == ARENA_CHUNK_HEADER_SIZE, "pieces stay aligned");

void arena_pool_init(struct arena_pool *pool, size_t chunk_size, uint32_t count_max)
{
    ASSERT(pool != NULL);
    *pool = (struct arena_pool){.chunk_size = chunk_size, .count_max = count_max};
    mutex_init(&pool->mutex);
    atomic_init(&pool->count, 0);
    atomic_init(&pool->used_size, 0);
}

static struct arena_chunk *pool_take(struct arena_pool *pool)
{
    mutex_lock(&pool->mutex);
    struct arena_chunk *chunk = pool->chunks;
    if (chunk != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(chunk + 1, pool->chunk_size);
        pool->chunks = chunk->next;
        atomic_fetch_sub_explicit(&pool->count, 1, memory_order_relaxed);
    }
    mutex_unlock(&pool->mutex);
    return chunk;
}

/* False if it holds enough. */
static bool pool_give(struct arena_pool *pool, struct arena_chunk *chunk)
{
    mutex_lock(&pool->mutex);
    bool taken = atomic_load_explicit(&pool->count, memory_order_relaxed) < pool->count_max;
    if (taken) {
        chunk->next = pool->chunks;
        pool->chunks = chunk;
        atomic_fetch_add_explicit(&pool->count, 1, memory_order_relaxed);
        ASAN_POISON_MEMORY_REGION(chunk + 1, pool->chunk_size);
    }
    mutex_unlock(&pool->mutex);
    return taken;
}

/* See (5). */
static bool is_huge(const struct arena_pool *pool)
{
    return pool->chunk_size == ARENA_CHUNK_SIZE_HUGE;
}

static struct arena_chunk *pool_allocate(const struct arena_pool *pool)
{
    return is_huge(pool) ? memory_allocate_huge(MEMORY_HUGE_SIZE)
                         : memory_allocate(sizeof(struct arena_chunk) + pool->chunk_size);
}

static void pool_free(const struct arena_pool *pool, struct arena_chunk *chunk)
{
    if (is_huge(pool)) {
        memory_free_huge(chunk, MEMORY_HUGE_SIZE);
    } else {
        memory_free(chunk);
    }
}

void arena_pool_deinit(struct arena_pool *pool)
{
    struct arena_chunk *chunk = NULL;
    while ((chunk = pool_take(pool)) != NULL) {
        pool_free(pool, chunk);
    }
    mutex_deinit(&pool->mutex);
}

uint64_t arena_pool_size(const struct arena_pool *pool)
{
    uint64_t waiting = atomic_load_explicit(&pool->count, memory_order_relaxed);
    return waiting * (sizeof(struct arena_chunk) + pool->chunk_size) +
           atomic_load_explicit(&pool->used_size, memory_order_relaxed);
}

void arena_init(struct arena *arena, size_t chunk_size, struct arena_pool *pool)
{
    ASSERT(arena != NULL);
    ASSERT(chunk_size >= 1024);
    ASSERT(pool == NULL || pool->chunk_size == chunk_size);
    *arena = (struct arena){.chunk_size = chunk_size, .pool = pool};
}

void arena_reset(struct arena *arena)
{
    ASSERT(arena != NULL);
    while (arena->chunks != NULL) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        bool pooled = arena->pool != NULL && chunk->size == arena->chunk_size;
        if (!pooled) {
            memory_free(chunk);
        } else if (!pool_give(arena->pool, chunk)) {
            pool_free(arena->pool, chunk);
        }
    }
    if (arena->pool != NULL) {
        atomic_fetch_sub_explicit(&arena->pool->used_size, arena->size, memory_order_relaxed);
    }
    *arena = (struct arena){.chunk_size = arena->chunk_size, .pool = arena->pool};
}

void arena_deinit(struct arena *arena)
{
    arena_reset(arena);
}

static uint8_t *chunk_add(struct arena *arena, size_t size)
{
    bool pooled = arena->pool != NULL && size == arena->chunk_size;
    struct arena_chunk *chunk = pooled ? pool_take(arena->pool) : NULL;
    if (chunk == NULL) {
        chunk = pooled ? pool_allocate(arena->pool) : memory_allocate(sizeof(*chunk) + size);
    }
    if (chunk == NULL) {
        return NULL;
    }
    chunk->size = size;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->size += sizeof(*chunk) + size;
    if (arena->pool != NULL) {
        atomic_fetch_add_explicit(&arena->pool->used_size, sizeof(*chunk) + size,
                                  memory_order_relaxed);
    }
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
