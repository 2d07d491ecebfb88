/*
 * tests/unit/test_arena.c -- lsm/arena.h: pieces lie apart, and chunks of a pool are used again.
 */
#include <string.h>

#include <criterion/criterion.h>

#include "base/prng.h"
#include "lsm/arena.h"

#define PIECE_COUNT 400u
#define POOL_COUNT_MAX 3u

struct piece {
    uint8_t *memory;
    size_t size;
};

static const size_t chunk_sizes[] = {4096, (256 << 10) - 64, ARENA_CHUNK_SIZE_HUGE};

static void pieces_check(const struct piece *pieces)
{
    for (uint32_t i = 0; i < PIECE_COUNT; i++) {
        cr_assert_eq((uintptr_t)pieces[i].memory % 8, 0);
        cr_assert_eq(pieces[i].memory[0], (uint8_t)i, "piece %u", i);
        cr_assert_eq(pieces[i].memory[pieces[i].size - 1], (uint8_t)i, "piece %u", i);
    }
}

/* Some reserved, some aligned, some larger than a chunk. */
static void pieces_take(struct arena *arena, struct prng *prng, struct piece *pieces)
{
    size_t chunk_size = arena->chunk_size;
    for (uint32_t i = 0; i < PIECE_COUNT; i++) {
        struct piece *piece = &pieces[i];
        piece->size = 1 + prng_below(prng, i % 50 == 0 ? 2 * chunk_size : chunk_size / 16);
        if (i % 7 == 0) {
            cr_assert(arena_reserve(arena, ARENA_PIECE_SIZE(piece->size, 8)));
        }
        if (i % 5 == 1 && piece->size + 64 <= chunk_size / 4) {
            piece->memory = arena_allocate_aligned(arena, piece->size, 64);
            cr_assert_eq((uintptr_t)piece->memory % 64, 0);
        } else {
            piece->memory = arena_allocate(arena, piece->size);
        }
        cr_assert_not_null(piece->memory);
        memset(piece->memory, (int)i, piece->size);
    }
}

Test(arena, pieces_lie_apart_whatever_the_chunks)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (uint32_t i = 0; i < ARRAY_COUNT(chunk_sizes); i++) {
        struct arena_pool pool;
        arena_pool_init(&pool, chunk_sizes[i], POOL_COUNT_MAX);
        struct arena arenas[2];
        static struct piece pieces[2][PIECE_COUNT];
        for (uint32_t round = 0; round < 3; round++) {
            for (uint32_t j = 0; j < 2; j++) {
                arena_init(&arenas[j], chunk_sizes[i], &pool);
                pieces_take(&arenas[j], &prng, pieces[j]);
                cr_assert_leq(arena_used_size(&arenas[j]), arenas[j].size);
                cr_assert_geq(arena_pool_size(&pool), arenas[j].size);
            }
            pieces_check(pieces[0]);
            pieces_check(pieces[1]);
            arena_deinit(&arenas[0]);
            pieces_check(pieces[1]);
            arena_deinit(&arenas[1]);
            cr_assert_eq(arena_pool_size(&pool),
                         POOL_COUNT_MAX * (chunk_sizes[i] + ARENA_CHUNK_HEADER_SIZE));
        }
        arena_pool_deinit(&pool);
    }
}

Test(arena, what_one_gave_back_the_next_one_takes)
{
    for (uint32_t i = 0; i < ARRAY_COUNT(chunk_sizes); i++) {
        size_t piece_size = chunk_sizes[i] / 8;
        struct arena_pool pool;
        arena_pool_init(&pool, chunk_sizes[i], POOL_COUNT_MAX);
        struct arena arena;
        arena_init(&arena, chunk_sizes[i], &pool);
        uint8_t *first = arena_allocate(&arena, piece_size);
        arena_reset(&arena);
        uint64_t size = arena_pool_size(&pool);
        cr_assert_eq(size, chunk_sizes[i] + ARENA_CHUNK_HEADER_SIZE);
        cr_assert_eq(arena_allocate(&arena, piece_size), first);
        cr_assert_eq(arena_pool_size(&pool), size, "in use now, and counted still");
        arena_deinit(&arena);
        arena_pool_deinit(&pool);
    }
}
