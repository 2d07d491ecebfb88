/*
 * tools/bench/trial.h -- one workload on one engine, in a process of its own.
 *
 * Why: memory, CPU time of all threads and bytes written are counted by the kernel for a process;
 * forked anew for each trial, it counts that trial alone, and an engine that dies takes nothing
 * with it. The outcome comes back over a pipe.
 */
#ifndef TOOLS_BENCH_TRIAL_H
#define TOOLS_BENCH_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "tools/bench/engines.h"

/* What a run of the bench was asked for. */
struct plan {
    uint64_t keys;
    uint64_t reads;
    uint32_t value_size;
    uint32_t rounds;
    uint32_t depth;   /* Outstanding unsynced writes, where they are. */
    uint32_t seconds; /* Of workloads that run for a time. */
    uint32_t minutes; /* Of the paced one. */
    uint32_t rate;    /* Paced writes a second. */
    uint64_t seed;
    bool explain;        /* Engines tell their own counters. */
    const char *only;    /* Names or beginnings of workloads, with commas; NULL: all. */
    const char *engines; /* Likewise of engines beside Ringkv. */
    const char *folder;
    const uint8_t *pool;
};

/* Plain data: it goes through a pipe. Zero where a workload has no such figure. */
struct outcome {
    bool complete; /* The process lived to tell. */
    uint64_t failed;
    uint64_t operations;
    double seconds;             /* Of the operations. */
    double cpu_seconds;         /* All threads, until the operations were done... */
    double cpu_settled;         /* ...and until what they left to the background was. */
    double write_amplification; /* Bytes given to the kernel for each of the user's, settled. */
    uint64_t folder_size;       /* Settled; bytes. */
    uint64_t memory_begun;      /* Resident bytes before the engine was opened... */
    uint64_t memory_peak;       /* ...at most... */
    uint64_t memory_final;      /* ...and at the end. */
    uint64_t p50_ns;
    uint64_t p99_ns;
    uint64_t p999_ns;
    uint64_t max_ns;
    uint64_t once_ns; /* The single thing a workload is about. */
};

struct workload;

struct trial {
    const struct plan *plan;
    const struct workload *workload;
    const struct engine_ops *ops;
    const char *path;
    struct engine *engine; /* NULL before and after it is open. */
    struct histogram latency_ns;
    struct outcome outcome;

    uint64_t begun_ns;
    double begun_cpu;
    uint64_t begun_written;
    uint64_t user_written;
};

/* What is measured lies between these two; trial_begin() starts all counts anew. */
void trial_begin(struct trial *trial);
void trial_end(struct trial *trial, uint64_t operations);
/* Waits until the process rests, or a minute or two. */
void trial_settle(struct trial *trial);
/* Opens with the options of the workload; ends the process if that fails. */
void trial_open(struct trial *trial);
void trial_close(struct trial *trial);

/* Forks; false if the process ended without an outcome. */
bool trial_run(const struct plan *plan, const struct workload *workload,
               const struct engine_ops *ops, const char *path, struct outcome *outcome);

#endif
