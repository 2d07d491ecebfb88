/* tests/unit/test_prng.c -- the seeded generator: seeds in failure reports must stay valid. */
#include <criterion/criterion.h>

#include "base/prng.h"

/* splitmix64's published first output for seed 0. */
Test(prng, mix_is_splitmix64)
{
    cr_assert_eq(prng_mix(UINT64_C(0x9e3779b97f4a7c15)), UINT64_C(0xe220a8397b1dcdaf));
}

/* Published with the reference xoshiro256**: state 1, 2, 3, 4. */
Test(prng, next_is_xoshiro256_starstar)
{
    static const uint64_t expected[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
    struct prng prng = {.state = {1, 2, 3, 4}};
    for (int index = 0; index < 4; index++) {
        cr_assert_eq(prng_next(&prng), expected[index], "index %d", index);
    }
}

Test(prng, below_is_even_and_below)
{
    struct prng prng;
    prng_init(&prng, 1);
    int counts[6] = {0};
    for (int index = 0; index < 60000; index++) {
        counts[prng_below(&prng, 6)]++;
    }
    for (int index = 0; index < 6; index++) {
        cr_assert(counts[index] > 9500 && counts[index] < 10500, "%d: %d", index, counts[index]);
    }
    for (int index = 0; index < 100; index++) {
        cr_assert_eq(prng_below(&prng, 1), 0);
        cr_assert_lt(prng_below(&prng, UINT64_MAX), UINT64_MAX);
    }
}

Test(prng, chance_of_none_and_all)
{
    struct prng prng;
    prng_init(&prng, 2);
    for (int index = 0; index < 100; index++) {
        cr_assert_not(prng_chance(&prng, 0, 3));
        cr_assert(prng_chance(&prng, 3, 3));
    }
}
