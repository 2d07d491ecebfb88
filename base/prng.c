/* base/prng.c -- xoshiro256**, seeded through splitmix64. */
#include "base/prng.h"

#include <stddef.h>

#include "base/contract.h"

#define SPLITMIX_STEP UINT64_C(0x9e3779b97f4a7c15)

uint64_t prng_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

void prng_init(struct prng *prng, uint64_t seed)
{
    ASSERT(prng != NULL);
    for (int index = 0; index < 4; index++) {
        seed += SPLITMIX_STEP;
        prng->state[index] = prng_mix(seed);
    }
}

static uint64_t rotate_left(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

uint64_t prng_next(struct prng *prng)
{
    uint64_t *state = prng->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}

uint64_t prng_below(struct prng *prng, uint64_t bound)
{
    ASSERT(bound > 0);
    /* 2^64 mod bound: draws below it would make the small remainders likelier, so draw again. */
    uint64_t threshold = (0 - bound) % bound;
    uint64_t drawn = prng_next(prng);
    while (drawn < threshold) {
        drawn = prng_next(prng);
    }
    return drawn % bound;
}

bool prng_chance(struct prng *prng, uint32_t numerator, uint32_t denominator)
{
    return prng_below(prng, denominator) < numerator;
}
