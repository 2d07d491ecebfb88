/*
 * lsm/slab.c -- memory for what the cache holds: runs of small pages cut from huge ones.
 *
 * Invariants:
 *  (1) free_count is the number of clear bits in `taken`; no chunk has all of them clear but one
 *      that is being made.
 *      The slab's free_count is the sum of those of chunks that are not closed.
 *  (2) chunks[n] changes under the mutex, and not while a run of chunk n is out: who holds one may
 *      look at it without.
 */
#include "lsm/slab.h"

#include <string.h>

#include "base/poison.h"

#define WORD_BITS 64u

STATIC_ASSERT(SLAB_RUN_PAGES_MAX < WORD_BITS, "a run lies in one word of bits");

void slab_init(struct slab *slab, uint64_t size_max)
{
    ASSERT(slab != NULL);
    *slab = (struct slab){0};
    mutex_init(&slab->mutex);
    uint64_t limit = size_max / MEMORY_HUGE_SIZE;
    slab->limit = limit < SLAB_CHUNK_COUNT_MAX ? (uint32_t)limit : SLAB_CHUNK_COUNT_MAX;
    if (slab->limit > 0) {
        slab->chunks = memory_allocate_zeroed(slab->limit, sizeof(struct slab_chunk *));
    }
    if (slab->chunks == NULL) {
        slab->limit = 0;
    }
}

void slab_deinit(struct slab *slab)
{
    ASSERT(slab->chunk_count == 0);
    memory_free(slab->chunks);
    mutex_deinit(&slab->mutex);
}

/* The first page of so many free ones within one word of bits; SLAB_CHUNK_PAGES if there are none.
 */
static uint32_t run_find_free(const struct slab_chunk *chunk, uint32_t pages)
{
    for (uint32_t word = 0; word < SLAB_CHUNK_WORDS; word++) {
        uint64_t starts = ~chunk->taken[word];
        for (uint32_t more = 1; more < pages && starts != 0; more++) {
            starts &=
                ~chunk->taken[word] >> more; /* Zeros come in at the top: no run ends there. */
        }
        if (starts != 0) {
            return word * WORD_BITS + (uint32_t)__builtin_ctzll(starts);
        }
    }
    return SLAB_CHUNK_PAGES;
}

static uint64_t run_bits(uint32_t page, uint32_t pages)
{
    return ((UINT64_C(1) << pages) - 1) << page % WORD_BITS;
}

static void *chunk_take(struct slab_chunk *chunk, uint32_t pages)
{
    if (chunk->closed || chunk->free_count < pages) {
        return NULL;
    }
    uint32_t page = run_find_free(chunk, pages);
    if (page == SLAB_CHUNK_PAGES) {
        return NULL;
    }
    chunk->taken[page / WORD_BITS] |= run_bits(page, pages);
    chunk->free_count -= pages;
    uint8_t *run = chunk->memory + (size_t)page * SLAB_PAGE_SIZE;
    ASAN_UNPOISON_MEMORY_REGION(run, (size_t)pages * SLAB_PAGE_SIZE);
    return run;
}

/* A chunk with nothing taken, at the first free number; NULL if there is no memory or number. */
static struct slab_chunk *chunk_make_locked(struct slab *slab, uint32_t *number)
{
    uint32_t free = 0;
    while (free < slab->limit && slab->chunks[free] != NULL) {
        free++;
    }
    if (free == slab->limit) {
        return NULL;
    }
    struct slab_chunk *chunk = memory_allocate_zeroed(1, sizeof(*chunk));
    if (chunk == NULL) {
        return NULL;
    }
    chunk->memory = memory_allocate_huge(MEMORY_HUGE_SIZE);
    if (chunk->memory == NULL) {
        memory_free(chunk);
        return NULL;
    }
    ASAN_POISON_MEMORY_REGION(chunk->memory, MEMORY_HUGE_SIZE);
    chunk->free_count = SLAB_CHUNK_PAGES;
    slab->chunks[free] = chunk;
    slab->chunk_count++;
    slab->end = free < slab->end ? slab->end : free + 1;
    *number = free;
    return chunk;
}

static void *take_locked(struct slab *slab, uint32_t pages, uint64_t size_max, uint16_t *number)
{
    for (uint32_t i = 0; i < slab->end; i++) {
        uint32_t at = (slab->hint + i) % slab->end;
        void *run = slab->chunks[at] != NULL ? chunk_take(slab->chunks[at], pages) : NULL;
        if (run != NULL) {
            slab->free_count -= pages;
            slab->hint = at;
            *number = (uint16_t)at;
            return run;
        }
    }
    struct slab_chunk *chunk = NULL;
    uint32_t made = 0;
    if ((slab->chunk_count + UINT64_C(1)) * MEMORY_HUGE_SIZE <= size_max) {
        chunk = chunk_make_locked(slab, &made);
    }
    if (chunk == NULL) {
        return NULL;
    }
    slab->free_count += SLAB_CHUNK_PAGES - pages;
    slab->hint = made;
    *number = (uint16_t)made;
    return chunk_take(chunk, pages);
}

void *slab_take(struct slab *slab, uint32_t pages, uint64_t size_max, uint16_t *chunk)
{
    ASSERT(pages > 0);
    ASSERT(pages <= SLAB_RUN_PAGES_MAX);
    mutex_lock(&slab->mutex);
    void *run = take_locked(slab, pages, size_max, chunk);
    mutex_unlock(&slab->mutex);
    return run;
}

static uint32_t page_of(const struct slab_chunk *chunk, const void *run)
{
    size_t offset = (size_t)((const uint8_t *)run - chunk->memory);
    ASSERT(offset < MEMORY_HUGE_SIZE);
    ASSERT(offset % SLAB_PAGE_SIZE == 0);
    return (uint32_t)(offset / SLAB_PAGE_SIZE);
}

void slab_give(struct slab *slab, void *run, uint32_t pages, uint16_t number)
{
    mutex_lock(&slab->mutex);
    struct slab_chunk *chunk = slab->chunks[number];
    uint32_t page = page_of(chunk, run);
    uint64_t bits = run_bits(page, pages);
    ASSERT((chunk->taken[page / WORD_BITS] & bits) == bits);
    chunk->taken[page / WORD_BITS] &= ~bits;
    chunk->free_count += pages;
    slab->free_count += chunk->closed ? 0 : pages;
    ASAN_POISON_MEMORY_REGION(run, (size_t)pages * SLAB_PAGE_SIZE);
    bool empty = chunk->free_count == SLAB_CHUNK_PAGES;
    if (empty) {
        slab->free_count -= chunk->closed ? 0 : SLAB_CHUNK_PAGES;
        slab->chunks[number] = NULL;
        slab->chunk_count--;
    }
    mutex_unlock(&slab->mutex);
    if (empty) {
        ASAN_UNPOISON_MEMORY_REGION(chunk->memory, MEMORY_HUGE_SIZE);
        memory_free_huge(chunk->memory, MEMORY_HUGE_SIZE);
        memory_free(chunk);
    }
}

uint16_t slab_close_one(struct slab *slab)
{
    uint16_t emptiest = SLAB_NONE;
    mutex_lock(&slab->mutex);
    for (uint32_t i = 0; i < slab->end; i++) {
        const struct slab_chunk *chunk = slab->chunks[i];
        if (chunk != NULL && !chunk->closed &&
            (emptiest == SLAB_NONE || chunk->free_count > slab->chunks[emptiest]->free_count)) {
            emptiest = (uint16_t)i;
        }
    }
    if (emptiest != SLAB_NONE) {
        slab->chunks[emptiest]->closed = true;
        slab->free_count -= slab->chunks[emptiest]->free_count;
    }
    mutex_unlock(&slab->mutex);
    return emptiest;
}

void slab_open(struct slab *slab, uint16_t number)
{
    mutex_lock(&slab->mutex);
    struct slab_chunk *chunk = slab->chunks[number];
    if (chunk != NULL && chunk->closed) {
        chunk->closed = false;
        slab->free_count += chunk->free_count;
    }
    mutex_unlock(&slab->mutex);
}

uint64_t slab_holes(struct slab *slab)
{
    mutex_lock(&slab->mutex);
    uint64_t size = (uint64_t)slab->free_count * SLAB_PAGE_SIZE;
    mutex_unlock(&slab->mutex);
    return size;
}

void slab_mark(struct slab *slab, const void *run, uint16_t number)
{
    struct slab_chunk *chunk = slab->chunks[number];
    uint32_t page = page_of(chunk, run);
    chunk->marks[page / WORD_BITS] |= run_bits(page, 1);
}

void slab_unmark(struct slab *slab, const void *run, uint16_t number)
{
    struct slab_chunk *chunk = slab->chunks[number];
    uint32_t page = page_of(chunk, run);
    ASSERT((chunk->marks[page / WORD_BITS] & run_bits(page, 1)) != 0);
    chunk->marks[page / WORD_BITS] &= ~run_bits(page, 1);
}

void *slab_marked(struct slab *slab, uint16_t number)
{
    mutex_lock(&slab->mutex);
    const struct slab_chunk *chunk = slab->chunks[number];
    void *run = NULL;
    for (uint32_t word = 0; chunk != NULL && run == NULL && word < SLAB_CHUNK_WORDS; word++) {
        if (chunk->marks[word] != 0) {
            uint32_t page = word * WORD_BITS + (uint32_t)__builtin_ctzll(chunk->marks[word]);
            run = chunk->memory + (size_t)page * SLAB_PAGE_SIZE;
        }
    }
    mutex_unlock(&slab->mutex);
    return run;
}
