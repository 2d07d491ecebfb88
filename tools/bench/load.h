/*
 * tools/bench/load.h -- a stretch of writing: what, by how many writers, how fast, for how long.
 *
 * Why: RocksDB and LevelDB are written to by threads that wait, Ringkv by a loop that keeps writes
 * outstanding; a workload says only what it wants, and each engine does it its own way.
 *  (1) An unsynced write counts once its bytes have reached the operating system; a synced one once
 *      they are on the disk.
 *  (2) With a rate, latency counts from the moment a write was due: a stall is charged to every
 *      write that it held up. Lateness under a millisecond is the pacing's own and not counted.
 */
#ifndef TOOLS_BENCH_LOAD_H
#define TOOLS_BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "tools/bench/records.h"

#define LOAD_BATCH_MAX 1000
#define LOAD_WRITERS_MAX 4096

struct engine;

struct load {
    struct records records;
    uint64_t seed;
    uint32_t writers; /* Threads, or writes outstanding. */
    uint32_t depth;   /* Writes outstanding for each writer where that is possible. */
    uint32_t batch;   /* Records in one write. */
    bool sync;
    uint64_t count;         /* Records in all; with a time limit, at most so many. */
    uint64_t time_limit_ns; /* 0: none. */
    uint64_t rate;          /* Records a second; 0: as fast as it goes. One writer only. */

    uint64_t done; /* Records written. */
    uint64_t failed;
    struct histogram latency_ns; /* Of writes. */
};

uint64_t bench_now_ns(void);

/* When the write of record number `index` is due; whole milliseconds after `start_ns`. */
uint64_t load_due_ns(const struct load *load, uint64_t start_ns, uint64_t index);
/* From when the latency of a write counts that was due then and begins now; see (2). */
uint64_t load_begun_ns(uint64_t due_ns, uint64_t now_ns);

/* By threads, each of which waits for its write. `write` returns false if it failed. */
typedef bool (*load_write)(struct engine *engine, const struct engine_record *records,
                           uint32_t count, bool sync);
void load_by_threads(struct load *load, struct engine *engine, load_write write);

#endif
