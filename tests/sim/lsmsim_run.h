/*
 * tests/sim/lsmsim_run.h -- one engine in one simulated world: its lives, and what is asked of it.
 *
 * Every call of the engine that may touch files runs in a job of the simulated pool, the rest on
 * the loop; between two of them drawn numbers of events pass. What is answered goes to the model.
 */
#ifndef TESTS_SIM_LSMSIM_RUN_H
#define TESTS_SIM_LSMSIM_RUN_H

#include "tests/sim/lsmsim_plan.h"

struct run_result {
    uint64_t trace;
    uint64_t steps;
    uint64_t time_ns;
    uint64_t operation_count; /* Reads and writes. */
    uint64_t purged_count;
    uint64_t merged_size;
    uint64_t rewrite_count;
    uint32_t crash_count;
    char violation[MODEL_VIOLATION_SIZE + 64]; /* "" if none. */
};

struct run_options {
    struct plan_options plan;
    enum world_plant plant;
    bool verbose;
};

/* Everything drawn from the seed. */
void run_seed(uint64_t seed, const struct run_options *options, struct run_result *result);

/* What happens to the scripted workload. */
enum run_trouble {
    TROUBLE_NONE,
    TROUBLE_CRASH,    /* Power is lost after the n-th changing call of the disk. */
    TROUBLE_RECOVERY, /* It is lost somewhere, then once more as what is left is opened. */
    TROUBLE_ERROR,    /* The n-th call of the disk fails with STATUS_IO. */
    TROUBLE_ERRORS,   /* So do all that follow. */
    TROUBLE_NO_SPACE, /* Nothing more fits from the n-th call on. */
    TROUBLE_SHORT,    /* The n-th read gives less than is there. */
    TROUBLE_MEMORY,   /* The n-th allocation fails. */
    TROUBLE_COUNT,
};

/* The script of `seed`; a second life finds what is left. *points: how many n there are. */
void run_script(uint64_t seed, enum run_trouble trouble, uint64_t n, bool verbose, uint64_t *points,
                struct run_result *result);
const char *run_trouble_name(enum run_trouble trouble);

#endif
