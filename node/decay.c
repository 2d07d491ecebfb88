/* node/decay.c -- averages that forget. */
#include "node/decay.h"

#include "base/contract.h"

static double power(double base, uint64_t exponent)
{
    double result = 1.0;
    for (; exponent > 0; exponent /= 2) {
        result = exponent % 2 == 1 ? result * base : result;
        base *= base;
    }
    return result;
}

/* What is left of 1 after a second, if half is left after `half_life_s`. By halving the interval:
 * pure libraries have no exp2(). */
static double keep_of(uint32_t half_life_s)
{
    enum { BIT_COUNT = 60 };
    double low = 0.0;
    double high = 1.0;
    for (int bit = 0; bit < BIT_COUNT; bit++) {
        double middle = (low + high) / 2;
        if (power(middle, half_life_s) < 0.5) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

void decay_init(struct decay *decay, uint32_t half_life_s)
{
    ASSERT(half_life_s >= 1);
    ASSERT(half_life_s <= DECAY_HALF_LIFE_S_MAX);
    *decay = (struct decay){.keep = keep_of(half_life_s)};
}

void decay_step(struct decay *decay, uint64_t seconds)
{
    ASSERT(seconds > 0);
    decay->left = power(decay->keep, seconds);
    decay->measured = decay_average(decay, decay->measured, 1.0);
}
