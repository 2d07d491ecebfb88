/*
 * tests/sim/trace.h -- the running hash of everything a simulated world did.
 *
 * Order matters to it, so two runs agree only if they did the same things in the same order.
 */
#ifndef TESTS_SIM_TRACE_H
#define TESTS_SIM_TRACE_H

#include <stdint.h>

#include "base/checksum.h"
#include "base/slice.h"

static inline void trace_number(uint64_t *hash, uint64_t number)
{
    uint64_t mixed = (*hash ^ number) * UINT64_C(0x9e3779b97f4a7c15);
    *hash = mixed ^ (mixed >> 29);
}

static inline void trace_bytes(uint64_t *hash, struct slice bytes)
{
    trace_number(hash, bytes.size);
    *hash = checksum64(bytes, *hash);
}

#endif
