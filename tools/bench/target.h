/*
 * tools/bench/target.h -- what Ringkv is meant to reach, workload by workload.
 *
 * A gain is how many times better than an opponent: of rates ours by theirs, of everything else
 * theirs by ours. A limit is a figure of ours alone, in the unit of its measure.
 */
#ifndef TOOLS_BENCH_TARGET_H
#define TOOLS_BENCH_TARGET_H

#include "tools/bench/workload.h"

struct target {
    const char *workload;
    enum measure measure;
    double rocksdb_gain; /* 0: none, as the next two. */
    double leveldb_gain;
    double limit;
};

/* Ended by one without a workload. */
extern const struct target targets[];

#endif
