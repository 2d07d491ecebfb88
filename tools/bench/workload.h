/*
 * tools/bench/workload.h -- what is done to an engine, and which of its figures matter.
 */
#ifndef TOOLS_BENCH_WORKLOAD_H
#define TOOLS_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/bench/trial.h"

/* The folder a workload starts from. Of the last two each trial gets a copy. */
enum start {
    START_EMPTY,
    START_FILLED,    /* Every key once, in random order; then rest. Many runs to look in. */
    START_COMPACTED, /* The same, merged as far as it goes. */
};

enum measure {
    MEASURE_RATE, /* Operations a second; the only one of which more is better. */
    MEASURE_CPU,  /* Microseconds an operation, all threads. */
    MEASURE_P50,  /* Microseconds, as the next three. */
    MEASURE_P99,
    MEASURE_P999,
    MEASURE_MAX,
    MEASURE_ONCE, /* Milliseconds. */
    MEASURE_WRITE_AMPLIFICATION,
    MEASURE_FOLDER, /* MiB, as the next. */
    MEASURE_MEMORY,
    MEASURE_COUNT,
};

/* How records are written. */
struct shape {
    enum record_order order;
    uint32_t batch;   /* 0: 1 */
    uint32_t writers; /* 0: 1 */
    bool sync;
    bool remove;
    bool absent; /* Reads only. */
};

struct workload {
    const char *name;
    const char *text;
    enum start start;
    enum measure primary; /* By which "slower than" is judged. */
    uint64_t cache_size;
    uint64_t memtable_size;
    bool reads_only;
    bool unopened; /* It opens the engine itself. */
    struct shape shape;
    void (*run)(struct trial *trial);
};

/* In the order they are run; ended by one without a name. */
extern const struct workload workloads[];
/* Makes the folder of START_FILLED, and of START_COMPACTED out of a copy of that. */
extern const struct workload workload_prepare_filled;
extern const struct workload workload_prepare_compacted;
/* Of --paced and --memory. */
extern const struct workload workload_paced;
extern const struct workload workload_memory;

/* workload_write.c */
void load_prepare(const struct trial *trial, struct load *load);
void load_run(struct trial *trial, struct load *load); /* Measured, and added to the outcome. */
void run_load(struct trial *trial);
void run_load_large(struct trial *trial);
void run_load_timed(struct trial *trial);
void run_paced(struct trial *trial);
void run_prepare_filled(struct trial *trial);
void run_prepare_compacted(struct trial *trial);
/* Writes all keys of `records`, unmeasured, then rests. */
void fill_and_settle(struct trial *trial, const struct records *records, uint64_t count);

/* workload_read.c */
/* `run` on a thread of its own, while the engine's background work goes on. */
void run_beside(struct trial *trial, void (*run)(void *context), void *context);
void run_get(struct trial *trial);
void run_get_large(struct trial *trial);
void run_seek(struct trial *trial);
void run_scan(struct trial *trial);
void run_get_while_writing(struct trial *trial);
/* Every phase with the process as the one before left it: memory that is not given back shows. */
void run_memory(struct trial *trial);

/* workload_once.c */
void run_seek_over_deleted(struct trial *trial);
void run_crash_open(struct trial *trial);

/* Large values. */
#define LARGE_VALUE_SIZE (64u << 10)
uint64_t large_count(const struct plan *plan);

#endif
