/*
 * tools/bench/workload_read.c -- workloads that read.
 *
 *  (1) Reads are done by a thread of their own, while the one that opened the engine lets its
 *      background work go on: an engine on a loop gives memory back only while that turns.
 *  (2) Caches are warmed first: more than twice as many gets as there are blocks, so that what fits
 *      is there, and is so by the second miss of those caches that wait for one.
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
#define IDLE_NS UINT64_C(5000000)

/* Something done by a thread of its own; see (1). */
struct beside {
    void (*run)(void *context);
    void *context;
    atomic_bool over;
    pthread_t thread;
};

static void *beside_thread(void *argument)
{
    struct beside *beside = argument;
    beside->run(beside->context);
    atomic_store(&beside->over, true);
    return NULL;
}

static void beside_start(struct beside *beside, void (*run)(void *context), void *context)
{
    *beside = (struct beside){.run = run, .context = context};
    int rc = pthread_create(&beside->thread, NULL, beside_thread, beside);
    ASSERT(rc == 0);
}

static void beside_join(struct beside *beside)
{
    int rc = pthread_join(beside->thread, NULL);
    ASSERT(rc == 0);
}

void run_beside(struct trial *trial, void (*run)(void *context), void *context)
{
    struct beside beside;
    beside_start(&beside, run, context);
    while (!atomic_load(&beside.over)) {
        trial->ops->idle(trial->engine, IDLE_NS);
    }
    beside_join(&beside);
}

struct reader {
    struct trial *trial;
    struct records records;
    struct buffer value;
    uint64_t count; /* Of what is to be read. */
    uint64_t wrong;
    atomic_bool stop; /* Or sooner. */
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

static void warm(void *context)
{
    struct reader *reader = context;
    struct records records = reader->records;
    reader->records.order = RECORD_SHUFFLED;
    for (int round = 0; round < WARM_ROUNDS; round++) {
        records_begin(&reader->records, 0);
        for (uint64_t at = 0; at < records.key_count; at += KEYS_PER_BLOCK) {
            reader_get(reader);
        }
    }
    reader->records = records;
}

static void reader_warm(struct reader *reader)
{
    run_beside(reader->trial, warm, reader);
    trial_settle(reader->trial); /* Some engines merge what is often read. */
}

static void gets(void *context)
{
    struct reader *reader = context;
    struct trial *trial = reader->trial;
    trial_begin(trial);
    uint64_t before_ns = trial->begun_ns;
    uint64_t done = 0;
    while (done < reader->count && !atomic_load_explicit(&reader->stop, memory_order_relaxed)) {
        reader_get(reader);
        uint64_t now_ns = bench_now_ns();
        histogram_add(&trial->latency_ns, now_ns - before_ns);
        before_ns = now_ns;
        done++;
    }
    trial_end(trial, done);
}

void run_get(struct trial *trial)
{
    struct reader reader;
    reader_begin(&reader, trial);
    reader_warm(&reader);
    reader.count = trial->plan->reads;
    run_beside(trial, gets, &reader);
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
    reader.count = trial->plan->reads / SEEK_SHARE + 1;
    run_beside(trial, gets, &reader);
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

static void seeks(void *context)
{
    struct reader *reader = context;
    struct trial *trial = reader->trial;
    trial_begin(trial);
    uint64_t before_ns = trial->begun_ns;
    for (uint64_t at = 0; at < reader->count; at++) {
        uint8_t key[RECORD_KEY_SIZE];
        struct engine_record record = records_next(&reader->records, key);
        uint64_t seen = seek(trial, record.key, SEEK_KEYS);
        trial->outcome.failed += trial->plan->keys > SEEK_KEYS && seen != SEEK_KEYS;
        uint64_t now_ns = bench_now_ns();
        histogram_add(&trial->latency_ns, now_ns - before_ns);
        before_ns = now_ns;
    }
    trial_end(trial, reader->count);
}

void run_seek(struct trial *trial)
{
    struct reader reader;
    reader_begin(&reader, trial);
    reader_warm(&reader);
    /* So that every seek finds its keys. */
    uint64_t room = reader.records.key_count;
    reader.records.key_count = room > SEEK_KEYS ? room - SEEK_KEYS : 1;
    reader.count = trial->plan->reads / SEEK_SHARE + 1;
    run_beside(trial, seeks, &reader);
    reader_end(&reader);
}

static void scan(void *context)
{
    struct trial *trial = context;
    trial_begin(trial);
    uint64_t seen = seek(trial, slice_make(NULL, 0), UINT64_MAX);
    trial_end(trial, seen);
}

void run_scan(struct trial *trial)
{
    run_beside(trial, scan, trial);
    trial->outcome.failed += trial->outcome.operations != trial->plan->keys;
}

void run_get_while_writing(struct trial *trial)
{
    struct reader reader;
    reader_begin(&reader, trial);
    reader_warm(&reader);
    reader.count = UINT64_MAX;
    struct load load;
    load_prepare(trial, &load);
    load.count = UINT64_MAX / 2;
    load.rate = trial->plan->rate;
    load.time_limit_ns = trial->plan->seconds * NS_PER_S;
    struct beside beside;
    beside_start(&beside, gets, &reader);
    trial->ops->load(trial->engine, &load);
    atomic_store(&reader.stop, true);
    beside_join(&beside);
    trial->outcome.failed += load.failed;
    trial->user_written = load.done * (RECORD_KEY_SIZE + load.records.value_size);
    reader_end(&reader);
}

static void memory_reads(void *context)
{
    struct reader *reader = context;
    for (uint64_t at = 0; at < reader->count; at++) {
        uint8_t key[RECORD_KEY_SIZE];
        struct engine_record record = records_next(&reader->records, key);
        struct trial *trial = reader->trial;
        enum status status = trial->ops->get(trial->engine, record.key, &reader->value);
        reader->wrong += status != STATUS_OK && status != STATUS_NOT_FOUND;
    }
    (void)seek(reader->trial, slice_make(NULL, 0), UINT64_MAX);
}

void run_memory(struct trial *trial)
{
    run_load(trial);
    struct reader reader;
    reader_begin(&reader, trial);
    reader.count = trial->plan->reads;
    run_beside(trial, memory_reads, &reader);
    uint64_t written = trial->user_written;
    run_load(trial);
    trial->user_written += written;
    reader_end(&reader);
}
