/*
 * node/decay.h -- averages that forget: what lies a half-life back counts half.
 *
 * Time goes in whole seconds, and all averages of one owner share one `struct decay`: it knows how
 * much of the past a second leaves, and how much of an average is measured yet. An average begins
 * at 0 and is read divided by that part, so it is right from its first second on, if less steady.
 */
#ifndef NODE_DECAY_H
#define NODE_DECAY_H

#include <stdint.h>

#define DECAY_HALF_LIFE_S_MAX 86400u

struct decay {
    double keep;     /* Part of an average that a second leaves. */
    double measured; /* Part of an average that seconds so far make up; 0 to 1. */
    double left;     /* Of the last step: keep, once for each of its seconds. */
};

/* half_life_s: 1 to DECAY_HALF_LIFE_S_MAX. */
void decay_init(struct decay *decay, uint32_t half_life_s);
/* So many seconds passed, at least one: for the averages that are stepped next. */
void decay_step(struct decay *decay, uint64_t seconds);

/* The average after the step, in each second of which there were `rate` of them. */
static inline double decay_average(const struct decay *decay, double average, double rate)
{
    return average * decay->left + rate * (1.0 - decay->left);
}

/* What the average says, of what was measured. 0 before the first step. */
static inline double decay_read(const struct decay *decay, double average)
{
    return decay->measured > 0.0 ? average / decay->measured : 0.0;
}

#endif
