/*
 * tools/bench/report.h -- outcomes told: as lines for people, as a table for a page.
 */
#ifndef TOOLS_BENCH_REPORT_H
#define TOOLS_BENCH_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/bench/trial.h"
#include "tools/bench/workload.h"

#define ROUNDS_MAX 99

/* The outcomes of one workload, of all engines in all rounds. */
struct results {
    const struct workload *workload;
    uint32_t engine_count;
    const struct engine_ops *engines[ENGINE_COUNT_MAX];
    uint32_t rounds;
    struct outcome outcomes[ENGINE_COUNT_MAX][ROUNDS_MAX];
};

/* What the whole run came to. */
struct tally {
    bool markdown;
    bool by_cpu; /* Rates and single things are judged by the CPU time they took. */
    uint32_t target_count;
    uint32_t target_met;
    uint32_t row_count;
    uint32_t opponent_count;
    uint32_t row_slower; /* Rows in which an opponent was better by the measure of the workload. */
    uint32_t incomplete; /* Trials that ended without an outcome, or with failed operations. */
};

void report_header(const struct plan *plan, const struct tally *tally, int argc, char **argv);
void report_results(const struct results *results, struct tally *tally);
void report_summary(const struct tally *tally);

#endif
