/*
 * base/prng.h -- a seeded generator for tests, the simulator and benches; never for secrets.
 *
 * Source: Blackman, Vigna, "Scrambled linear pseudorandom number generators" (2018): xoshiro256**,
 * seeded through splitmix64.
 */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t state[4];
};

void prng_init(struct prng *prng, uint64_t seed);
uint64_t prng_next(struct prng *prng);
uint64_t prng_below(struct prng *prng, uint64_t bound); /* Unbiased; bound > 0. */
bool prng_chance(struct prng *prng, uint32_t numerator, uint32_t denominator);
uint64_t prng_mix(uint64_t value); /* splitmix64's finalizer: a stateless scramble. */

#endif
