/* tools/bench/records.c -- keys and values from a seed. */
#include "tools/bench/records.h"

#include <string.h>

#include "base/contract.h"
#include "base/memory.h"

#define PIECE_SIZE 100 /* Half of it random, then the same again. */

uint8_t *records_pool_make(uint64_t seed)
{
    uint8_t *pool = memory_allocate(RECORD_VALUE_SIZE_MAX + PIECE_SIZE);
    if (pool == NULL) {
        return NULL;
    }
    struct prng prng;
    prng_init(&prng, seed);
    for (uint32_t at = 0; at < RECORD_VALUE_SIZE_MAX; at += PIECE_SIZE) {
        for (uint32_t index = 0; index < PIECE_SIZE / 2; index++) {
            pool[at + index] = (uint8_t)(prng_next(&prng) >> 32);
        }
        memcpy(pool + at + PIECE_SIZE / 2, pool + at, PIECE_SIZE / 2);
    }
    return pool;
}

void records_begin(struct records *records, uint64_t seed)
{
    ASSERT(records->key_count > 0);
    ASSERT(records->value_size < RECORD_VALUE_SIZE_MAX);
    prng_init(&records->prng, seed);
    records->drawn = 0;
    records->shuffle_mask = 1;
    while (records->shuffle_mask < records->key_count - 1) {
        records->shuffle_mask = records->shuffle_mask * 2 + 1;
    }
}

/* Each step is a bijection on the numbers up to the mask, so what stays in the space is too. */
static uint64_t shuffled(const struct records *records, uint64_t number)
{
    uint64_t mask = records->shuffle_mask;
    int half = (65 - __builtin_clzll(mask)) / 2;
    do {
        for (int round = 0; round < 3; round++) {
            number = (number * UINT64_C(0x9e3779b97f4a7c15) + UINT64_C(0x632be59bd9b4e019)) & mask;
            number ^= number >> half;
        }
    } while (number >= records->key_count);
    return number;
}

static uint64_t number_next(struct records *records)
{
    uint64_t drawn = records->drawn++;
    switch (records->order) {
    case RECORD_ASCENDING:
        return drawn % records->key_count;
    case RECORD_RANDOM:
        return prng_below(&records->prng, records->key_count);
    case RECORD_SHUFFLED:
        return shuffled(records, drawn % records->key_count);
    }
    UNREACHABLE("order");
}

void record_key_make(uint64_t number, uint8_t key[RECORD_KEY_SIZE])
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    for (int at = RECORD_KEY_SIZE - 2; at >= 0; at -= 2) {
        memcpy(key + at, pairs + 2 * (number % 100), 2);
        number /= 100;
    }
}

struct engine_record records_next(struct records *records, uint8_t key[RECORD_KEY_SIZE])
{
    record_key_make(records->first_key + number_next(records), key);
    if (records->absent) {
        key[RECORD_KEY_SIZE - 1] = '.'; /* Below every digit: just before a key that is there. */
    }
    struct engine_record record = {.key = slice_make(key, RECORD_KEY_SIZE),
                                   .remove = records->remove};
    if (!records->remove) {
        uint64_t offset = prng_next(&records->prng) % (RECORD_VALUE_SIZE_MAX - records->value_size);
        record.value = slice_make(records->pool + offset, records->value_size);
    }
    return record;
}
