/*
 * lsm/slab.h -- memory for what the cache holds: runs of small pages cut from huge ones.
 *
 * Why: a cache is read here and there, so with small pages of the system's nearly every hit waits
 * for a page table as well as for the bytes. Heaps of the system also keep what was freed between
 * two pieces still in use; here a chunk can be emptied on purpose, and goes back at once.
 * Contract:
 *  (1) A run is up to SLAB_RUN_PAGES_MAX pages of SLAB_PAGE_SIZE, all in one chunk.
 *  (2) A chunk whose last run is given back goes back to the system.
 *  (3) From a closed chunk nothing is taken: it empties as its runs are given back.
 *  (4) Safe from any thread. A lock is held for a few dozen instructions, and while the system maps
 *      or unmaps a chunk.
 */
#ifndef LSM_SLAB_H
#define LSM_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/contract.h"
#include "base/memory.h"
#include "base/mutex.h"

#define SLAB_PAGE_SIZE 4096u
#define SLAB_CHUNK_PAGES ((uint32_t)(MEMORY_HUGE_SIZE / SLAB_PAGE_SIZE))
#define SLAB_CHUNK_WORDS (SLAB_CHUNK_PAGES / 64u)
#define SLAB_RUN_PAGES_MAX 8u
#define SLAB_CHUNK_COUNT_MAX UINT16_MAX /* 128 GiB. */
#define SLAB_NONE UINT16_MAX            /* No chunk has this number. */

struct slab_chunk {
    uint8_t *memory;
    uint32_t free_count; /* Pages. */
    bool closed;
    uint64_t taken[SLAB_CHUNK_WORDS]; /* A bit for each page. */
    uint64_t marks[SLAB_CHUNK_WORDS]; /* The owner's, under its lock. */
};

/* Its fields are its own. */
struct slab {
    struct mutex mutex;
    struct slab_chunk **chunks; /* By number; NULL: none. */
    uint32_t limit;             /* Numbers are below it. */
    uint32_t chunk_count;
    uint32_t end;        /* All numbers in use are below it. */
    uint32_t hint;       /* Where a run was found last. */
    uint32_t free_count; /* Pages of chunks that are not closed. */
};

/* For chunks of `size_max` bytes together. Without memory for their list it will never give any. */
void slab_init(struct slab *slab, uint64_t size_max);
/* All was given back. */
void slab_deinit(struct slab *slab);

static inline uint32_t slab_pages(size_t size)
{
    return (uint32_t)((size + SLAB_PAGE_SIZE - 1) / SLAB_PAGE_SIZE);
}

/*
 * A run of so many pages, from the chunk with number *chunk; NULL if there is none. A new chunk is
 * made only if all of them together then take no more than `size_max`.
 */
MUST_USE void *slab_take(struct slab *slab, uint32_t pages, uint64_t size_max, uint16_t *chunk);
void slab_give(struct slab *slab, void *run, uint32_t pages, uint16_t number);

/* The emptiest chunk that is not closed, now closed; SLAB_NONE if there is none. */
MUST_USE uint16_t slab_close_one(struct slab *slab);
/* Ends that. */
void slab_open(struct slab *slab, uint16_t number);

/* Bytes of chunks that are not closed and of no run: memory that only runs can use. */
uint64_t slab_holes(struct slab *slab);

/* Marks are the owner's, to find its runs in a chunk again: all three under one lock of its own,
 * and a run has none when it is given back. */
void slab_mark(struct slab *slab, const void *run, uint16_t number);
void slab_unmark(struct slab *slab, const void *run, uint16_t number);
/* Some marked run of the chunk; NULL if there is none, or no chunk. */
void *slab_marked(struct slab *slab, uint16_t number);

#endif
