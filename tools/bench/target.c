/*
 * tools/bench/target.c -- the targets; docs/performance.md gives them in words.
 *
 * The gate is the better of the two opponents: LevelDB is the harder one on processor time, RocksDB
 * on synced writes of many writers.
 */
#include "tools/bench/target.h"

#include <stddef.h>

/* "At most this part of theirs", as a gain. */
#define AT_MOST(part) (1.0 / (part))

const struct target targets[] = {
    {"fillseq", MEASURE_RATE, 2.5, 1.5, 0},
    {"fillseq", MEASURE_CPU, 0, 0, 1.2},
    {"fillrandom", MEASURE_RATE, 3, 1.6, 0},
    {"fillrandom", MEASURE_CPU, 0, 0, 2.2},
    {"fillrandom", MEASURE_WRITE_AMPLIFICATION, AT_MOST(0.8), AT_MOST(0.6), 0},
    {"fillbatch", MEASURE_RATE, 2.5, 1.5, 0},
    {"fillbatch", MEASURE_CPU, 0, 0, 1.6},
    {"overwrite", MEASURE_RATE, 3, 1.6, 0},
    {"overwrite", MEASURE_CPU, 0, 0, 2.2},
    {"overwrite", MEASURE_WRITE_AMPLIFICATION, AT_MOST(0.7), AT_MOST(0.55), 0},
    {"overwrite", MEASURE_FOLDER, AT_MOST(0.75), AT_MOST(0.75), 0},
    {"fillsync1", MEASURE_RATE, 1.4, 1.4, 0},
    {"fillsync8", MEASURE_RATE, 2, 2, 0},
    {"fillsync64", MEASURE_RATE, 2.5, 1.8, 0},
    {"fillsync64", MEASURE_CPU, 0, 0, 8},
    {"readrandom1g", MEASURE_RATE, 2.5, 1.8, 0},
    {"readrandom1g", MEASURE_CPU, 0, 0, 1.3},
    {"readrandom256m", MEASURE_RATE, 2.5, 1.5, 0},
    {"readrandom256m", MEASURE_CPU, 0, 0, 1.9},
    {"readrandom8m", MEASURE_RATE, 2.5, 1.5, 0},
    {"readrandom8m", MEASURE_CPU, 0, 0, 1.9},
    {"readmissing", MEASURE_RATE, 4, 3, 0},
    {"readmissing", MEASURE_CPU, 0, 0, 1.0},
    {"readmissingone", MEASURE_RATE, 1.4, 1.8, 0},
    {"readmissingone", MEASURE_CPU, 0, 0, 0.35},
    {"seekrandom", MEASURE_RATE, 3.5, 1.7, 0},
    {"seekrandom", MEASURE_CPU, 0, 0, 4},
    {"readseq", MEASURE_RATE, 1.5, 1.1, 0},
    {"readseq", MEASURE_CPU, 0, 0, 0.15},
    {"readwhilewriting", MEASURE_P99, AT_MOST(0.5), AT_MOST(0.6), 0},
    {"readwhilewriting", MEASURE_P999, AT_MOST(0.25), AT_MOST(0.5), 0},
    {"deleterandom", MEASURE_FOLDER, AT_MOST(0.35), AT_MOST(0.35), 0},
    {"seekdeleted", MEASURE_ONCE, 20, 2, 10},
    {"seekdeleted", MEASURE_P50, 2000, 200, 100},
    {"crashopen", MEASURE_ONCE, AT_MOST(0.2), AT_MOST(0.35), 300},
    {0},
};
