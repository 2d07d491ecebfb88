/*
 * tools/bench/solo.c -- the engine alone: fill, synced fill, get, miss, scan.
 *
 * One thread drives the engine through its public header and turns the event loop in between, as a
 * node does. Prints workload, seed and machine, then per workload the rate, the CPU time of the
 * whole process per operation, and latency percentiles.
 */
#include "tools/bench/solo.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/env_uv.h"
#include "base/histogram.h"
#include "base/memory.h"
#include "base/prng.h"
#include "lsm/lsm.h"
#include "tools/bench/records.h"

struct bench {
    struct env *env;
    struct lsm *lsm;
    struct prng prng;
    const struct solo_options *options;
    uint8_t *values; /* As records_pool_make() made them. */
    struct histogram latency_ns;
    uint64_t version_time; /* Only grows: every write is the newest of its key. */
    uint64_t done;
    uint64_t failed;
    struct list_node idle; /* Slots without a write under way. */
};

struct slot {
    struct lsm_write write;
    struct list_node node; /* In `idle`. */
    struct bench *bench;
    uint64_t begun_ns;
};

static double cpu_seconds(void)
{
    struct rusage usage;
    int rc = getrusage(RUSAGE_SELF, &usage);
    ASSERT(rc == 0);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static struct slice value_of(struct bench *bench)
{
    uint64_t offset = prng_below(&bench->prng, RECORD_VALUE_SIZE_MAX - bench->options->value_size);
    return slice_make(bench->values + offset, bench->options->value_size);
}

static void write_finished(struct lsm_write *write, enum status status)
{
    struct slot *slot = container_of(write, struct slot, write);
    struct bench *bench = slot->bench;
    histogram_add(&bench->latency_ns, env_monotonic_ns(bench->env) - slot->begun_ns);
    bench->done++;
    bench->failed += status != STATUS_OK;
    list_append(&bench->idle, &slot->node);
}

static enum status slot_write(struct slot *slot, uint64_t number, enum lsm_durability durability)
{
    struct bench *bench = slot->bench;
    uint8_t key[RECORD_KEY_SIZE];
    record_key_make(number, key);
    struct lsm_record record = {
        .key = slice_make(key, RECORD_KEY_SIZE),
        .cell = {.version = {.time = ++bench->version_time, .node = 1},
                 .kind = CELL_VALUE,
                 .value = value_of(bench)},
    };
    slot->write = (struct lsm_write){
        .records = &record, .record_count = 1, .durability = durability, .done = write_finished};
    slot->begun_ns = env_monotonic_ns(bench->env);
    return lsm_write(bench->lsm, &slot->write);
}

/* Keeps `depth` writes under way until `count` are done. */
static void fill(struct bench *bench, uint64_t count, bool random, enum lsm_durability durability)
{
    struct slot *slots = memory_allocate_zeroed(bench->options->depth, sizeof(*slots));
    ASSERT(slots != NULL);
    list_init(&bench->idle);
    for (uint32_t index = 0; index < bench->options->depth; index++) {
        slots[index].bench = bench;
        list_append(&bench->idle, &slots[index].node);
    }
    uint64_t begun = 0;
    bench->done = 0;
    while (bench->done < count) {
        while (begun < count && !list_empty(&bench->idle)) {
            struct slot *slot = container_of(bench->idle.next, struct slot, node);
            uint64_t number = random ? prng_below(&bench->prng, bench->options->keys) : begun;
            if (slot_write(slot, number, durability) != STATUS_OK) {
                break; /* Refused for now: until something is done in the background. */
            }
            list_remove(&slot->node);
            begun++;
        }
        env_uv_run_once(bench->env);
    }
    memory_free(slots);
}

static void get(struct bench *bench, uint64_t count, bool present)
{
    struct buffer scratch = {0};
    struct cell cell;
    uint64_t wrong = 0;
    for (uint64_t index = 0; index < count; index++) {
        uint8_t key[RECORD_KEY_SIZE];
        record_key_make(prng_below(&bench->prng, bench->options->keys) +
                            (present ? 0 : bench->options->keys),
                        key);
        uint64_t begun_ns = env_monotonic_ns(bench->env);
        enum status status =
            lsm_get(bench->lsm, slice_make(key, RECORD_KEY_SIZE), LSM_MAY_BLOCK, &scratch, &cell);
        histogram_add(&bench->latency_ns, env_monotonic_ns(bench->env) - begun_ns);
        wrong += status != (present ? STATUS_OK : STATUS_NOT_FOUND);
    }
    bench->failed += wrong;
    bench->done = count;
    buffer_deinit(&scratch);
}

static void scan(struct bench *bench)
{
    struct lsm_iterator *iterator = NULL;
    struct lsm_iterator_options options = {.wait = LSM_MAY_BLOCK};
    enum status status = lsm_iterator_open(bench->lsm, &options, &iterator);
    bench->done = 0;
    while (status == STATUS_OK || status == STATUS_BUDGET) {
        struct slice key;
        struct cell cell;
        status = lsm_iterator_next(iterator, &key, &cell);
        bench->done += status == STATUS_OK;
    }
    bench->failed += status != STATUS_NOT_FOUND;
    lsm_iterator_close(iterator);
}

enum workload { FILL_SEQUENCE, FILL_RANDOM, FILL_SYNC, GET, GET_MISSING, SCAN, WORKLOAD_COUNT };

static const char *const workload_names[] = {
    [FILL_SEQUENCE] = "fillseq", [FILL_RANDOM] = "fillrandom",  [FILL_SYNC] = "fillsync",
    [GET] = "readrandom",        [GET_MISSING] = "readmissing", [SCAN] = "readseq"};

static void workload_run(struct bench *bench, enum workload workload)
{
    histogram_clear(&bench->latency_ns);
    bench->failed = 0;
    double cpu = cpu_seconds();
    uint64_t begun_ns = env_monotonic_ns(bench->env);
    switch (workload) {
    case FILL_SEQUENCE:
        fill(bench, bench->options->keys, false, LSM_BUFFERED);
        break;
    case FILL_RANDOM:
        fill(bench, bench->options->keys, true, LSM_BUFFERED);
        break;
    case FILL_SYNC:
        fill(bench, bench->options->operations, true, LSM_SYNCED);
        break;
    case GET:
        get(bench, bench->options->operations, true);
        break;
    case GET_MISSING:
        get(bench, bench->options->operations, false);
        break;
    case SCAN:
        scan(bench);
        break;
    case WORKLOAD_COUNT:
        UNREACHABLE("workload");
    }
    double took = (double)(env_monotonic_ns(bench->env) - begun_ns) / 1e9;
    cpu = cpu_seconds() - cpu;
    double count = bench->done == 0 ? 1 : (double)bench->done;
    (void)printf("%-12s %10.0f /s  %6.2f CPU us/op  p50 %8.1f  p99 %8.1f  p99.9 %8.1f us%s\n",
                 workload_names[workload], count / took, cpu / count * 1e6,
                 (double)histogram_quantile(&bench->latency_ns, 0.5) / 1e3,
                 (double)histogram_quantile(&bench->latency_ns, 0.99) / 1e3,
                 (double)histogram_quantile(&bench->latency_ns, 0.999) / 1e3,
                 bench->failed == 0 ? "" : "  FAILED");
    (void)fflush(stdout);
}

static void header_print(const struct bench *bench)
{
    struct utsname machine;
    int rc = uname(&machine);
    ASSERT(rc == 0);
    (void)printf("bench_lsm: %" PRIu64 " keys of %d B, values of %" PRIu32 " B, %" PRIu64
                 " operations, depth %" PRIu32 ", memory %" PRIu64 " MiB, seed %" PRIu64 "\n"
                 "machine: %s %s, %ld processors\n",
                 bench->options->keys, RECORD_KEY_SIZE, bench->options->value_size,
                 bench->options->operations, bench->options->depth,
                 bench->options->memory_size >> 20, bench->options->seed, machine.sysname,
                 machine.release, sysconf(_SC_NPROCESSORS_ONLN));
}

static void stats_print(const struct bench *bench)
{
    struct lsm_stats stats;
    lsm_stats(bench->lsm, &stats);
    double user = stats.user_written == 0 ? 1 : (double)stats.user_written;
    struct rusage usage;
    int rc = getrusage(RUSAGE_SELF, &usage);
    ASSERT(rc == 0);
    (void)printf(
        "tables %" PRIu64 " of %" PRIu64 " MiB in %" PRIu64
        " runs, write amplification %.2f (with log %.2f), syncs %" PRIu64 ", peak memory %ld MiB\n",
        stats.table_count, stats.table_size >> 20, stats.run_count,
        (double)(stats.flush_written + stats.compaction_written) / user,
        (double)(stats.flush_written + stats.compaction_written + stats.wal_written) / user,
        stats.sync_count, usage.ru_maxrss >> 10);
}

struct stopping {
    struct lsm_stop stop;
    bool stopped;
};

static void bench_stopped(struct lsm_stop *stop)
{
    container_of(stop, struct stopping, stop)->stopped = true;
}

static int bench_run(struct bench *bench)
{
    struct env_uv_options env_options = {.pool_threads = 2, .log_level = LOG_WARN};
    enum status status = env_uv_open(&env_options, &bench->env);
    struct lsm_options options = {.path = bench->options->dir,
                                  .memory_size = bench->options->memory_size};
    if (status == STATUS_OK) {
        status = lsm_open(bench->env, &options, &bench->lsm);
    }
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "bench_lsm: %s: %s\n", bench->options->dir, status_name(status));
        return EXIT_FAILURE;
    }
    header_print(bench);
    uint64_t failed = 0;
    for (int workload = 0; workload < WORKLOAD_COUNT; workload++) {
        if (bench->options->only == NULL ||
            strcmp(bench->options->only, workload_names[workload]) == 0) {
            workload_run(bench, (enum workload)workload);
            failed += bench->failed;
        }
    }
    stats_print(bench);
    struct stopping stopping = {.stop = {.stopped = bench_stopped}};
    lsm_stop(bench->lsm, &stopping.stop);
    while (!stopping.stopped) {
        env_uv_run_once(bench->env);
    }
    lsm_close(bench->lsm);
    env_uv_close(bench->env);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int solo_run(const struct solo_options *options)
{
    struct bench bench = {.options = options, .values = records_pool_make(options->seed)};
    ASSERT(bench.values != NULL);
    prng_init(&bench.prng, options->seed);
    int code = bench_run(&bench);
    memory_free(bench.values);
    return code;
}
