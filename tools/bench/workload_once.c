/* tools/bench/workload_once.c -- workloads about one single thing that takes its time. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/contract.h"
#include "tools/bench/workload.h"

#define DELETED_MAX UINT64_C(1000000)
#define LIVE_BEYOND 1000
#define AGAIN_COUNT 100
#define CRASH_LOG_SIZE UINT64_C(55000000)
#define CRASH_SAMPLES 1000

static uint64_t deleted_count(const struct plan *plan)
{
    return plan->keys < DELETED_MAX ? plan->keys : DELETED_MAX;
}

/* The first key is the one after those that were deleted. */
static void first_key(struct trial *trial)
{
    uint8_t wanted[RECORD_KEY_SIZE];
    record_key_make(deleted_count(trial->plan), wanted);
    struct engine_iterator *iterator = NULL;
    struct slice key = {0};
    struct slice value = {0};
    enum status status = STATUS_IO;
    if (trial->ops->iterator_open(trial->engine, slice_make(NULL, 0), &iterator)) {
        status = trial->ops->iterator_next(iterator, &key, &value);
        trial->outcome.failed +=
            status != STATUS_OK || !slice_equal(key, slice_make(wanted, RECORD_KEY_SIZE));
        trial->ops->iterator_close(iterator);
    } else {
        trial->outcome.failed++;
    }
}

static void seek_first_and_again(void *context)
{
    struct trial *trial = context;
    trial_begin(trial);
    first_key(trial);
    trial->outcome.once_ns = bench_now_ns() - trial->begun_ns;
    trial_end(trial, 1);
    for (int again = 0; again < AGAIN_COUNT; again++) {
        uint64_t before_ns = bench_now_ns();
        first_key(trial);
        histogram_add(&trial->latency_ns, bench_now_ns() - before_ns);
    }
}

void run_seek_over_deleted(struct trial *trial)
{
    uint64_t deleted = deleted_count(trial->plan);
    struct load load;
    load_prepare(trial, &load);
    load.records.key_count = deleted + LIVE_BEYOND;
    fill_and_settle(trial, &load.records, deleted + LIVE_BEYOND);
    load.records.remove = true;
    load.count = deleted;
    trial->ops->load(trial->engine, &load);
    trial->outcome.failed += load.failed;

    run_beside(trial, seek_first_and_again, trial);
}

static uint64_t crash_count(const struct plan *plan)
{
    return CRASH_LOG_SIZE / (RECORD_KEY_SIZE + plan->value_size);
}

/* Writes, and is gone without a word to the engine. */
static _Noreturn void crash(struct trial *trial, struct load *load)
{
    trial_open(trial);
    trial->ops->load(trial->engine, load);
    _exit(load->failed == 0 && load->done >= load->count ? EXIT_SUCCESS : EXIT_FAILURE);
}

void run_crash_open(struct trial *trial)
{
    struct load load;
    load_prepare(trial, &load);
    load.count = crash_count(trial->plan);
    load.records.key_count = load.count;
    load.records.order = RECORD_SHUFFLED;
    /* Nothing has been opened here: a process in which an engine has threads must not be forked. */
    ASSERT(trial->engine == NULL);
    pid_t child = fork();
    ASSERT(child >= 0);
    if (child == 0) {
        crash(trial, &load);
    }
    int how = 0;
    pid_t ended = waitpid(child, &how, 0);
    ASSERT(ended == child);
    trial->outcome.failed += !WIFEXITED(how) || WEXITSTATUS(how) != 0;

    trial_begin(trial);
    trial_open(trial);
    trial->outcome.once_ns = bench_now_ns() - trial->begun_ns;
    trial_end(trial, 1);
    records_begin(&load.records, load.seed);
    struct buffer value = {0};
    for (uint64_t at = 0; at < CRASH_SAMPLES && at < load.count; at++) {
        uint8_t key[RECORD_KEY_SIZE];
        struct engine_record record = records_next(&load.records, key);
        trial->outcome.failed += trial->ops->get(trial->engine, record.key, &value) != STATUS_OK;
    }
    buffer_deinit(&value);
}
