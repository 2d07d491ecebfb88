/*
 * tools/bench/records.h -- the keys and values of a workload, drawn from a seed.
 *
 * Why: every engine must be given the same records in the same order, and making one must cost next
 * to nothing beside an operation of a tenth of a microsecond.
 *  (1) A key is 16 decimal digits, so keys share most of their first bytes, as those of users do.
 *  (2) A key of `absent` lies between two keys of the space: no engine can tell by its bounds.
 *  (3) Values are cut at random offsets from a pool of which half compresses away: each 100 bytes
 *      are 50 random ones, twice.
 */
#ifndef TOOLS_BENCH_RECORDS_H
#define TOOLS_BENCH_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "base/slice.h"

#define RECORD_KEY_SIZE 16
#define RECORD_VALUE_SIZE_MAX (1u << 20)

enum record_order {
    RECORD_ASCENDING, /* 0, 1, 2, ... */
    RECORD_RANDOM,    /* Drawn, with repetition: of n draws from n keys, 63 % differ. */
    RECORD_SHUFFLED,  /* Each key once, in an order that looks drawn. */
};

struct engine_record {
    struct slice key;
    struct slice value;
    bool remove; /* Delete the key; the value is empty. */
};

/* Zero but for the first part; then records_begin(). Copied freely while nothing borrows. */
struct records {
    enum record_order order;
    uint64_t key_count; /* Keys are first_key .. first_key + key_count - 1. */
    uint64_t first_key;
    uint32_t value_size;
    bool remove;
    bool absent;
    const uint8_t *pool; /* As records_pool_make() made it; outlives this. */

    struct prng prng;
    uint64_t drawn;
    uint64_t shuffle_mask;
};

/* RECORD_VALUE_SIZE_MAX bytes on the heap; NULL if there is no memory. */
uint8_t *records_pool_make(uint64_t seed);
void records_begin(struct records *records, uint64_t seed);
/* The next record; its key is written to `key`, its value borrows from the pool. */
struct engine_record records_next(struct records *records, uint8_t key[RECORD_KEY_SIZE]);
void record_key_make(uint64_t number, uint8_t key[RECORD_KEY_SIZE]);

#endif
