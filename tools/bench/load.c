/*
 * tools/bench/load.c -- writing by threads that wait; what every way of pacing shares.
 *
 * One writer runs on the calling thread. Several share the count: each takes the next write under
 * an atomic counter, so none is left with more than its part.
 */
#include "tools/bench/load.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/contract.h"
#include "base/memory.h"

#define NS_PER_S UINT64_C(1000000000)
#define TICK_NS UINT64_C(1000000)

uint64_t bench_now_ns(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_MONOTONIC, &now);
    ASSERT(rc == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t load_due_ns(const struct load *load, uint64_t start_ns, uint64_t index)
{
    if (load->rate == 0) {
        return start_ns;
    }
    uint64_t after_ns = index / load->rate * NS_PER_S + index % load->rate * NS_PER_S / load->rate;
    return start_ns + after_ns / TICK_NS * TICK_NS;
}

uint64_t load_begun_ns(uint64_t due_ns, uint64_t now_ns)
{
    return now_ns > due_ns && now_ns - due_ns > TICK_NS ? due_ns : now_ns;
}

struct writer {
    struct load *load;
    struct engine *engine;
    load_write write;
    struct records records;
    struct histogram *latency_ns;
    uint64_t done;
    uint64_t failed;
    uint64_t start_ns;
    atomic_uint_fast64_t *taken; /* Records that some writer took. */
    pthread_t thread;
};

static void sleep_until(uint64_t when_ns)
{
    struct timespec when = {.tv_sec = (time_t)(when_ns / NS_PER_S),
                            .tv_nsec = (long)(when_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) != 0) {
    }
}

static void *writer_run(void *argument)
{
    struct writer *writer = argument;
    struct load *load = writer->load;
    uint8_t keys[LOAD_BATCH_MAX][RECORD_KEY_SIZE];
    struct engine_record batch[LOAD_BATCH_MAX];
    uint64_t now_ns = bench_now_ns();
    for (;;) {
        uint64_t index = atomic_fetch_add(writer->taken, load->batch);
        bool over = load->time_limit_ns > 0 && now_ns - writer->start_ns >= load->time_limit_ns;
        if (index >= load->count || over) {
            return NULL;
        }
        for (uint32_t at = 0; at < load->batch; at++) {
            batch[at] = records_next(&writer->records, keys[at]);
        }
        uint64_t begun_ns = now_ns; /* The end of the write before: one clock call for each. */
        if (load->rate > 0) {
            uint64_t due_ns = load_due_ns(load, writer->start_ns, index);
            if (now_ns < due_ns) {
                sleep_until(due_ns);
            }
            begun_ns = load_begun_ns(due_ns, bench_now_ns());
        }
        bool written = writer->write(writer->engine, batch, load->batch, load->sync);
        now_ns = bench_now_ns();
        histogram_add(writer->latency_ns, now_ns - begun_ns);
        writer->done += load->batch;
        writer->failed += !written;
    }
}

static void writer_begin(struct writer *writer, uint32_t index)
{
    struct load *load = writer->load;
    writer->records = load->records;
    records_begin(&writer->records, load->seed + index);
    writer->latency_ns = &load->latency_ns;
    if (load->writers == 1) {
        (void)writer_run(writer);
        return;
    }
    writer->latency_ns = memory_allocate_zeroed(1, sizeof(*writer->latency_ns));
    ASSERT(writer->latency_ns != NULL);
    int rc = pthread_create(&writer->thread, NULL, writer_run, writer);
    ASSERT(rc == 0);
}

static void writer_end(struct writer *writer)
{
    struct load *load = writer->load;
    if (load->writers > 1) {
        int rc = pthread_join(writer->thread, NULL);
        ASSERT(rc == 0);
        histogram_merge(&load->latency_ns, writer->latency_ns);
        memory_free(writer->latency_ns);
    }
    load->done += writer->done;
    load->failed += writer->failed;
}

void load_by_threads(struct load *load, struct engine *engine, load_write write)
{
    ASSERT(load->writers > 0 && load->writers <= LOAD_WRITERS_MAX);
    ASSERT(load->batch > 0 && load->batch <= LOAD_BATCH_MAX);
    ASSERT(load->rate == 0 || load->writers == 1);
    struct writer *writers = memory_allocate_zeroed(load->writers, sizeof(*writers));
    ASSERT(writers != NULL);
    atomic_uint_fast64_t taken = 0;
    uint64_t start_ns = bench_now_ns();
    for (uint32_t index = 0; index < load->writers; index++) {
        writers[index] = (struct writer){
            .load = load, .engine = engine, .write = write, .start_ns = start_ns, .taken = &taken};
        writer_begin(&writers[index], index);
    }
    for (uint32_t index = 0; index < load->writers; index++) {
        writer_end(&writers[index]);
    }
    memory_free(writers);
}
