/*
 * tests/unit/test_bloom.c -- lsm/bloom.h: no false "no", and as few false "maybe" as theory allows.
 */
#include <math.h>
#include <stdio.h>

#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/memory.h"
#include "lsm/bloom.h"

#define KEY_COUNT 100000u
#define ABSENT_COUNT 400000u

static uint64_t hash_of(uint64_t number)
{
    return checksum64(slice_make(&number, sizeof(number)), 0);
}

/* Fills a filter with the numbers below KEY_COUNT. */
static uint8_t *build(uint32_t bits_per_key, struct bloom *bloom)
{
    uint64_t *hashes = memory_allocate_zeroed(KEY_COUNT, sizeof(uint64_t));
    for (uint64_t i = 0; i < KEY_COUNT; i++) {
        hashes[i] = hash_of(i);
    }
    size_t size = bloom_size(KEY_COUNT, bits_per_key);
    uint8_t *bytes = memory_allocate(size);
    bloom_build(hashes, KEY_COUNT, bits_per_key, bytes);
    memory_free(hashes);
    enum status status =
        bloom_open(slice_make(bytes, size), bloom_probe_count(bits_per_key), bloom);
    cr_assert_eq(status, STATUS_OK);
    return bytes;
}

/* Of a filter of 512-bit lines with Poisson many keys in each (Putze et al., section 3). */
static double theory(double bits_per_key, double probes)
{
    double mean = 512.0 / bits_per_key;
    double rate = 0;
    for (int keys = 0; keys < 2000; keys++) {
        double share = exp(keys * log(mean) - mean - lgamma(keys + 1.0));
        double bit_set = 1.0 - pow(1.0 - 1.0 / 512.0, probes * keys);
        rate += share * pow(bit_set, probes);
    }
    return rate;
}

Test(bloom, every_key_added_may_be_held)
{
    for (uint32_t bits = 1; bits <= BLOOM_BITS_PER_KEY_MAX; bits += 3) {
        struct bloom bloom;
        uint8_t *bytes = build(bits, &bloom);
        for (uint64_t i = 0; i < KEY_COUNT; i++) {
            cr_assert(bloom_may_hold(&bloom, hash_of(i)), "bits=%u key=%lu", bits, i);
        }
        memory_free(bytes);
    }
}

Test(bloom, false_positives_stay_within_1_3_of_theory)
{
    static const uint32_t cases[] = {4, 6, 8, 10, 12, 14};
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct bloom bloom;
        uint8_t *bytes = build(cases[c], &bloom);
        uint32_t wrong = 0;
        for (uint64_t i = 0; i < ABSENT_COUNT; i++) {
            wrong += bloom_may_hold(&bloom, hash_of(KEY_COUNT + i));
        }
        double measured = (double)wrong / ABSENT_COUNT;
        double expected = theory(cases[c], bloom_probe_count(cases[c]));
        fprintf(stderr, "# bits_per_key=%u measured=%.5f theory=%.5f\n", cases[c], measured,
                expected);
        cr_assert(measured < 1.3 * expected, "bits=%u measured %f, theory %f", cases[c], measured,
                  expected);
        memory_free(bytes);
    }
}

Test(bloom, no_keys_still_make_a_filter_that_holds_nothing)
{
    uint8_t bytes[BLOOM_LINE_SIZE];
    cr_assert_eq(bloom_size(0, 10), sizeof(bytes));
    bloom_build(NULL, 0, 10, bytes);
    struct bloom bloom;
    cr_assert_eq(bloom_open(slice_make(bytes, sizeof(bytes)), 6, &bloom), STATUS_OK);
    for (uint64_t i = 0; i < 100; i++) {
        cr_assert_not(bloom_may_hold(&bloom, hash_of(i)));
    }
}

Test(bloom, impossible_shapes_are_corrupt)
{
    uint8_t bytes[2 * BLOOM_LINE_SIZE] = {0};
    struct bloom bloom;
    cr_assert_eq(bloom_open(slice_make(bytes, 0), 6, &bloom), STATUS_CORRUPT);
    cr_assert_eq(bloom_open(slice_make(bytes, 65), 6, &bloom), STATUS_CORRUPT);
    cr_assert_eq(bloom_open(slice_make(bytes, 128), 0, &bloom), STATUS_CORRUPT);
    cr_assert_eq(bloom_open(slice_make(bytes, 128), BLOOM_PROBE_COUNT_MAX + 1, &bloom),
                 STATUS_CORRUPT);
    cr_assert_eq(bloom_open(slice_make(bytes, 128), BLOOM_PROBE_COUNT_MAX, &bloom), STATUS_OK);
}
