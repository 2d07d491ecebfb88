/*
 * base/hlc.h -- hybrid logical clock: time that respects what was heard.
 *
 * 48 bits of Unix milliseconds, 16 of counter. Every message advances it. A high-water mark that
 * the owner persists before any greater time is issued keeps it from going back over a restart.
 * Source: Kulkarni et al., "Logical Physical Clocks", OPODIS 2014. Changed: one 64-bit word.
 */
#ifndef BASE_HLC_H
#define BASE_HLC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"

#define HLC_COUNTER_BITS 16

struct hlc {
    struct env *env;
    uint64_t last;  /* Greatest time issued or heard. */
    uint64_t limit; /* Durable high-water mark: nothing above it is issued. */
};

static inline uint64_t hlc_make(uint64_t unix_ms)
{
    return unix_ms << HLC_COUNTER_BITS;
}

static inline uint64_t hlc_unix_ms(uint64_t time)
{
    return time >> HLC_COUNTER_BITS;
}

void hlc_init(struct hlc *hlc, struct env *env, uint64_t limit); /* Starts above `limit`. */
/* A new time, greater than all issued and heard. STATUS_WOULD_BLOCK: at the limit, raise it first;
 * this is also what a clock that ran far ahead meets. */
MUST_USE enum status hlc_issue(struct hlc *hlc, uint64_t *time);
/* Heard from a peer. Ignored, with false, if it leads our clock by more than `lead_ms_max`. */
bool hlc_hear(struct hlc *hlc, uint64_t time, uint64_t lead_ms_max);
/* Now, not issued: at least all heard, at least the wall clock. For judging expiry. */
uint64_t hlc_now(const struct hlc *hlc);
void hlc_raise_limit(struct hlc *hlc, uint64_t limit); /* After `limit` became durable. */

#endif
