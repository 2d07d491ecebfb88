/*
 * tools/bench/solo.h -- Ringkv's engine alone, in one process: what a profiler is pointed at.
 */
#ifndef TOOLS_BENCH_SOLO_H
#define TOOLS_BENCH_SOLO_H

#include <stdint.h>

struct solo_options {
    uint64_t keys;
    uint64_t operations; /* Of workloads that do not touch every key. */
    uint32_t value_size;
    uint32_t depth; /* Writes outstanding. */
    uint64_t seed;
    uint64_t memory_size; /* The engine's budget, bytes. */
    const char *dir;      /* Must not exist yet; it is left for inspection. */
    const char *only;     /* One workload; NULL: all. */
};

/* The exit code. */
int solo_run(const struct solo_options *options);

#endif
