/*
 * tools/bench/workload_read.c -- workloads that read.
 *
 * Caches are warmed first: twice as many gets as there are blocks, so that what fits is there, and
 * is so by the second miss of those caches that wait for one.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/contract.h"
#include "tools/bench/workload.h"

#define NS_PER_S UINT64_C(1000000000)
#define KEYS_PER_BLOCK 16 /* At most: half of what a block of 4 KiB holds at 100 bytes a value. */
#define WARM_ROUNDS 2
#define SEEK_KEYS 50
#define SEEK_SHARE 10 /* A seek counts as so many gets. */

struct reader {
    struct trial *trial;
    struct records records;
    struct buffer value;
    uint64_t wrong;
};

static void reader_begin(struct reader *reader, struct trial *trial)
{
    struct load load;
    load_prepare(trial, &load);
    *reader = (struct reader){.trial = trial, .records = load.records};
    reader->records.absent = trial->workload->shape.absent;
    records_begin(&reader->records, trial->plan->seed + 1);
}

static void reader_end(struct reader *reader)
{
    reader->trial->outcome.failed += reader->wrong;
    buffer_deinit(&reader->value);
}

static void reader_get(struct reader *reader)
{
    struct trial *trial = reader->trial;
    uint8_t key[RECORD_KEY_SIZE];
    struct engine_record record = records_next(&reader->records, key);
    enum status status = trial->ops->get(trial->engine, record.key, &reader->value);
    reader->wrong += status != (reader->records.absent ? STATUS_NOT_FOUND : STATUS_OK);
}

static void reader_warm(struct reader *reader)
{
    struct records records = reader->records;
    reader->records.order = RECORD_SHUFFLED;
    for (int round = 0; round < WARM_ROUNDS; round++) {
        records_begin(&reader->records, 0);
        for (uint64_t at = 0; at < records.key_count; at += KEYS_PER_BLOCK) {
            reader_get(reader);
        }
    }
    reader->records = records;
    trial_settle(reader->trial); /* Some engines merge what is often read. */
}

static void gets(struct trial *trial, struct reader *reader, uint64_t count)
{
    trial_begin(trial);
    uint64_t before_ns = trial->begun_ns;
    for (uint64_t at = 0; at < count; at++) {
        reader_get(reader);
        uint64_t now_ns = bench_now_ns();
        histogram_add(&trial->latency_ns, now_ns - before_ns);
        before_ns = now_ns;
    }
    trial_end(trial, count);
}

void run_get(struct trial *trial)
{
    struct reader reader;
    reader_begin(&reader, trial);
    reader_warm(&reader);
    gets(trial, &reader, trial->plan->reads);
    reader_end(&reader);
}

void run_get_large(struct trial *trial)
{
    struct reader reader;
    reader_begin(&reader, trial);
    reader.records.key_count = large_count(trial->plan);
    reader.records.value_size = LARGE_VALUE_SIZE;
    fill_and_settle(trial, &reader.records, reader.records.key_count);
    reader.records.order = RECORD_RANDOM;
    records_begin(&reader.records, trial->plan->seed + 1);
    uint64_t count = trial->plan->reads / SEEK_SHARE;
    gets(trial, &reader, count == 0 ? 1 : count);
    reader_end(&reader);
}

/* One seek and the keys after it; how many there were. */
static uint64_t seek(struct trial *trial, struct slice lower, uint64_t count)
{
    struct engine_iterator *iterator = NULL;
    if (!trial->ops->iterator_open(trial->engine, lower, &iterator)) {
        trial->outcome.failed++;
        return 0;
    }
    uint64_t seen = 0;
    uint64_t bytes = 0;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && seen < count) {
        struct slice key;
        struct slice value;
        status = trial->ops->iterator_next(iterator, &key, &value);
        if (status == STATUS_OK) {
            seen++;
            bytes += key.size + value.size;
        }
    }
    trial->outcome.failed += status != STATUS_OK && status != STATUS_NOT_FOUND;
    trial->outcome.failed += bytes != seen * (RECORD_KEY_SIZE + trial->plan->value_size);
    trial->ops->iterator_close(iterator);
    return seen;
}

void run_seek(struct trial *trial)
{
    struct reader reader;
    reader_begin(&reader, trial);
    reader_warm(&reader);
    /* So that every seek finds its keys. */
    uint64_t room = reader.records.key_count;
    reader.records.key_count = room > SEEK_KEYS ? room - SEEK_KEYS : 1;
    uint64_t count = trial->plan->reads / SEEK_SHARE + 1;
    trial_begin(trial);
    uint64_t before_ns = trial->begun_ns;
    for (uint64_t at = 0; at < count; at++) {
        uint8_t key[RECORD_KEY_SIZE];
        struct engine_record record = records_next(&reader.records, key);
        uint64_t seen = seek(trial, record.key, SEEK_KEYS);
        trial->outcome.failed += room > SEEK_KEYS && seen != SEEK_KEYS;
        uint64_t now_ns = bench_now_ns();
        histogram_add(&trial->latency_ns, now_ns - before_ns);
        before_ns = now_ns;
    }
    trial_end(trial, count);
    reader_end(&reader);
}

void run_scan(struct trial *trial)
{
    trial_begin(trial);
    uint64_t seen = seek(trial, slice_make(NULL, 0), UINT64_MAX);
    trial_end(trial, seen);
    trial->outcome.failed += seen != trial->plan->keys;
}

struct beside {
    struct reader reader;
    atomic_bool stop;
    uint64_t count;
    pthread_t thread;
};

static void *read_beside(void *argument)
{
    struct beside *beside = argument;
    uint64_t before_ns = bench_now_ns();
    while (!atomic_load_explicit(&beside->stop, memory_order_relaxed)) {
        reader_get(&beside->reader);
        uint64_t now_ns = bench_now_ns();
        histogram_add(&beside->reader.trial->latency_ns, now_ns - before_ns);
        before_ns = now_ns;
        beside->count++;
    }
    return NULL;
}

void run_get_while_writing(struct trial *trial)
{
    struct beside beside = {.count = 0};
    reader_begin(&beside.reader, trial);
    reader_warm(&beside.reader);
    struct load load;
    load_prepare(trial, &load);
    load.count = UINT64_MAX / 2;
    load.rate = trial->plan->rate;
    load.time_limit_ns = trial->plan->seconds * NS_PER_S;
    trial_begin(trial);
    int rc = pthread_create(&beside.thread, NULL, read_beside, &beside);
    ASSERT(rc == 0);
    trial->ops->load(trial->engine, &load);
    atomic_store_explicit(&beside.stop, true, memory_order_relaxed);
    rc = pthread_join(beside.thread, NULL);
    ASSERT(rc == 0);
    trial_end(trial, beside.count);
    trial->outcome.failed += load.failed;
    trial->user_written = load.done * (RECORD_KEY_SIZE + load.records.value_size);
    reader_end(&beside.reader);
}

void run_memory(struct trial *trial)
{
    run_load(trial);
    struct reader reader;
    reader_begin(&reader, trial);
    uint64_t written = trial->user_written;
    for (uint64_t at = 0; at < trial->plan->reads; at++) {
        uint8_t key[RECORD_KEY_SIZE];
        struct engine_record record = records_next(&reader.records, key);
        enum status status = trial->ops->get(trial->engine, record.key, &reader.value);
        reader.wrong += status != STATUS_OK && status != STATUS_NOT_FOUND;
    }
    (void)seek(trial, slice_make(NULL, 0), UINT64_MAX);
    run_load(trial);
    trial->user_written += written;
    reader_end(&reader);
}
