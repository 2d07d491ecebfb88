/*
 * tools/bench/contest.h -- the workloads that were asked for, on all engines, in turns.
 */
#ifndef TOOLS_BENCH_CONTEST_H
#define TOOLS_BENCH_CONTEST_H

#include <stdbool.h>

#include "tools/bench/report.h"
#include "tools/bench/trial.h"

/* Whether `only`, names or beginnings of names with commas between, takes this one in. */
bool contest_takes(const char *only, const char *name);
/* False if a trial failed. `one`: that workload alone; NULL: those of the plan. */
bool contest_run(const struct plan *plan, const struct workload *one, struct tally *tally);

#endif
