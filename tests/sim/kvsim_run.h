/*
 * tests/sim/kvsim_run.h -- one seed from its plan to its verdict.
 *
 * Phases: the nodes start and bootstrap a cluster while clients ask and the nemesis makes trouble;
 * then all trouble ends and the cluster must converge; then every kind of operation must succeed on
 * every member, every key is read at QUORUM and at ALL, the replicas are compared cell by cell;
 * then every node is stopped cleanly. In half of the seeds an operator changes the ring all the
 * while, and in the quiet each change must come to its end first. A run of a script has that, and
 * one blow, in place of the trouble.
 */
#ifndef TESTS_SIM_KVSIM_RUN_H
#define TESTS_SIM_KVSIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/kvsim_plan.h"
#include "tests/sim/kvsim_script.h"

struct run_options {
    struct plan_options plan;
    const struct script_options *script; /* NULL: the seed draws what happens. */
    enum world_plant plant;
    bool verbose; /* The plan, every line that nodes log, and what happened, to stderr. */
};

struct run_result {
    bool passed;
    char violation[512];
    uint64_t trace; /* Hash of every event and byte. */
    uint64_t steps;
    uint64_t time_ns; /* Virtual. */
    uint64_t points;  /* Of the script. */
    uint32_t crashes, failures, stops, acknowledged, refused, indeterminate;
};

/* `result` is a few hundred bytes; the run itself takes tens of megabytes, and frees them. */
void run_seed(uint64_t seed, const struct run_options *options, struct run_result *result);

#endif
