/*
 * tools/bench/engine_ringkv.c -- our engine, driven as a node drives it: by a loop that submits
 * writes and turns until they are answered.
 *
 * A paced load is ticked by a thread of its own, which stands for the clients: so a loop that is
 * held up does not hold back what is due.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/env_uv.h"
#include "base/list.h"
#include "base/memory.h"
#include "lsm/lsm.h"
#include "tools/bench/engines.h"

#define POOL_THREADS 2
/* What indexes and filters take for each key; the opponents hold theirs outside their cache. */
#define ASIDE_BYTES_PER_KEY 2.5
#define TICK_NS 1000000
#define WRITES_OUTSTANDING_MIN 4
#define BYTES_OUTSTANDING_MAX (UINT64_C(1) << 20)
/* As RocksDB by its default and LevelDB: one is filled while another is flushed. */
#define MEMTABLES_IN_BUDGET 2

struct ringkv {
    struct engine base;
    struct env *env;
    struct lsm *lsm;
    uint64_t version_time; /* Only grows: every write is the newest of its key. */
    struct load *load;
    uint64_t start_ns;
    uint64_t begun;        /* Records submitted. */
    struct list_node idle; /* Slots without a write under way. */
    uint32_t busy_count;
    /* A write that was refused for now, and goes first. */
    struct engine_record refused[LOAD_BATCH_MAX];
    uint8_t keys[LOAD_BATCH_MAX][RECORD_KEY_SIZE];
    bool has_refused;
};

struct slot {
    struct lsm_write write;
    struct list_node node; /* In `idle`. */
    struct ringkv *ringkv;
    uint64_t begun_ns;
};

struct ringkv_iterator {
    struct engine_iterator base;
    struct lsm_iterator *iterator;
};

static struct ringkv *ringkv_of(struct engine *engine)
{
    return container_of(engine, struct ringkv, base);
}

/* A node that is alone may forget every tombstone. */
static struct version forget_all(void *context, struct slice key)
{
    (void)context;
    (void)key;
    return (struct version){.time = UINT64_MAX, .node = UINT32_MAX, .sequence = UINT32_MAX};
}

static bool ringkv_open(const struct engine_options *options, struct engine **engine)
{
    struct ringkv *ringkv = memory_allocate_zeroed(1, sizeof(*ringkv));
    ASSERT(ringkv != NULL);
    ringkv->base.ops = &engine_ringkv;
    list_init(&ringkv->idle);
    uint64_t aside = options->reads_only
                         ? (uint64_t)((double)options->key_count * ASIDE_BYTES_PER_KEY)
                         : MEMTABLES_IN_BUDGET * options->memtable_size;
    struct lsm_options lsm_options = {
        .path = options->path,
        .memtable_size = options->memtable_size,
        .memory_size = options->cache_size + aside,
        .floor = forget_all,
    };
    struct env_uv_options env_options = {.pool_threads = POOL_THREADS, .log_level = LOG_WARN};
    enum status status = env_uv_open(&env_options, &ringkv->env);
    if (status == STATUS_OK) {
        status = lsm_open(ringkv->env, &lsm_options, &ringkv->lsm);
        if (status != STATUS_OK) {
            env_uv_close(ringkv->env);
        }
    }
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "bench_lsm: ringkv: %s: %s\n", options->path, status_name(status));
        memory_free(ringkv);
        return false;
    }
    struct lsm_stats stats;
    lsm_stats(ringkv->lsm, &stats);
    ringkv->version_time = stats.version_max.time;
    *engine = &ringkv->base;
    return true;
}

struct stopping {
    struct lsm_stop stop;
    bool stopped;
};

static void ringkv_stopped(struct lsm_stop *stop)
{
    container_of(stop, struct stopping, stop)->stopped = true;
}

static void ringkv_close(struct engine *engine)
{
    struct ringkv *ringkv = ringkv_of(engine);
    struct stopping stopping = {.stop = {.stopped = ringkv_stopped}};
    lsm_stop(ringkv->lsm, &stopping.stop);
    while (!stopping.stopped) {
        env_uv_run_once(ringkv->env);
    }
    lsm_close(ringkv->lsm);
    env_uv_close(ringkv->env);
    memory_free(ringkv);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void write_finished(struct lsm_write *write, enum status status)
{
    struct slot *slot = container_of(write, struct slot, write);
    struct ringkv *ringkv = slot->ringkv;
    histogram_add(&ringkv->load->latency_ns, bench_now_ns() - slot->begun_ns);
    ringkv->load->done += ringkv->load->batch;
    ringkv->load->failed += status != STATUS_OK;
    ringkv->busy_count--;
    list_append(&ringkv->idle, &slot->node);
}

/* False if it is refused for now. */
static bool slot_write(struct ringkv *ringkv, struct slot *slot, uint64_t begun_ns)
{
    struct load *load = ringkv->load;
    if (!ringkv->has_refused) {
        for (uint32_t at = 0; at < load->batch; at++) {
            ringkv->refused[at] = records_next(&load->records, ringkv->keys[at]);
        }
    }
    struct lsm_record records[LOAD_BATCH_MAX];
    for (uint32_t at = 0; at < load->batch; at++) {
        const struct engine_record *record = &ringkv->refused[at];
        records[at] = (struct lsm_record){
            .key = record->key,
            .cell = {.version = {.time = ++ringkv->version_time, .node = 1},
                     .kind = record->remove ? CELL_DELETE : CELL_VALUE,
                     .value = record->value},
        };
    }
    slot->write = (struct lsm_write){.records = records,
                                     .record_count = load->batch,
                                     .durability = load->sync ? LSM_SYNCED : LSM_BUFFERED,
                                     .done = write_finished};
    slot->begun_ns = begun_ns;
    enum status status = lsm_write(ringkv->lsm, &slot->write);
    ringkv->has_refused = status == STATUS_OVERLOADED || status == STATUS_NO_SPACE;
    if (status != STATUS_OK && !ringkv->has_refused) {
        (void)fprintf(stderr, "bench_lsm: ringkv: write: %s\n", status_name(status));
        load->failed++;
        load->count = 0; /* It ends here. */
    }
    return status == STATUS_OK;
}

static bool load_over(const struct ringkv *ringkv, uint64_t now_ns)
{
    const struct load *load = ringkv->load;
    return ringkv->begun >= load->count ||
           (load->time_limit_ns > 0 && now_ns - ringkv->start_ns >= load->time_limit_ns);
}

/* Submits what is due while there are slots. */
static void load_submit(struct ringkv *ringkv)
{
    struct load *load = ringkv->load;
    uint64_t now_ns = bench_now_ns();
    while (!list_empty(&ringkv->idle) && !load_over(ringkv, now_ns)) {
        uint64_t due_ns = load_due_ns(load, ringkv->start_ns, ringkv->begun);
        if (load->rate > 0 && now_ns < due_ns) {
            return;
        }
        struct slot *slot = container_of(ringkv->idle.next, struct slot, node);
        if (!slot_write(ringkv, slot, load->rate > 0 ? load_begun_ns(due_ns, now_ns) : now_ns)) {
            return;
        }
        list_remove(&slot->node);
        ringkv->busy_count++;
        ringkv->begun += load->batch;
        now_ns = bench_now_ns();
    }
}

/* Turns the loop once a millisecond. */
struct ticker {
    struct env_uv_post post;
    struct env *env;
    atomic_bool posted;
    atomic_bool stop;
    pthread_t thread;
};

static void ticked(struct env_uv_post *post)
{
    atomic_store(&container_of(post, struct ticker, post)->posted, false);
}

static void *ticker_run(void *argument)
{
    struct ticker *ticker = argument;
    while (!atomic_load(&ticker->stop)) {
        if (!atomic_exchange(&ticker->posted, true)) {
            env_uv_post(ticker->env, &ticker->post);
        }
        struct timespec rest = {.tv_nsec = (long)(TICK_NS - bench_now_ns() % TICK_NS)};
        (void)nanosleep(&rest, NULL);
    }
    return NULL;
}

static void ticker_start(struct ticker *ticker, struct env *env)
{
    *ticker = (struct ticker){.post = {.run = ticked}, .env = env};
    int rc = pthread_create(&ticker->thread, NULL, ticker_run, ticker);
    ASSERT(rc == 0);
}

static void ticker_stop(struct ticker *ticker)
{
    atomic_store(&ticker->stop, true);
    int rc = pthread_join(ticker->thread, NULL);
    ASSERT(rc == 0);
    while (atomic_load(&ticker->posted)) {
        env_uv_run_once(ticker->env);
    }
}

/* Writes outstanding for each writer: of large ones, a few are as good as many. */
static uint32_t load_depth(const struct load *load)
{
    uint32_t depth = load->depth / load->batch;
    uint64_t size = (uint64_t)load->batch * (RECORD_KEY_SIZE + load->records.value_size);
    if (depth > BYTES_OUTSTANDING_MAX / size) {
        depth = (uint32_t)(BYTES_OUTSTANDING_MAX / size);
    }
    uint32_t least = load->depth < WRITES_OUTSTANDING_MIN ? load->depth : WRITES_OUTSTANDING_MIN;
    return depth < least ? least : depth;
}

static void ringkv_load(struct engine *engine, struct load *load)
{
    struct ringkv *ringkv = ringkv_of(engine);
    ASSERT(load->batch > 0 && load->batch <= LOAD_BATCH_MAX);
    uint32_t count = load->sync ? load->writers : load->writers * load_depth(load);
    ASSERT(count > 0 && count <= LOAD_WRITERS_MAX);
    struct slot *slots = memory_allocate_zeroed(count, sizeof(*slots));
    ASSERT(slots != NULL);
    for (uint32_t index = 0; index < count; index++) {
        slots[index].ringkv = ringkv;
        list_append(&ringkv->idle, &slots[index].node);
    }
    records_begin(&load->records, load->seed);
    ringkv->load = load;
    ringkv->begun = 0;
    ringkv->has_refused = false;
    ringkv->start_ns = bench_now_ns();
    struct ticker ticker;
    if (load->rate > 0) {
        ticker_start(&ticker, ringkv->env);
    }
    while (!load_over(ringkv, bench_now_ns()) || ringkv->busy_count > 0) {
        load_submit(ringkv);
        if (ringkv->busy_count > 0 || !load_over(ringkv, bench_now_ns())) {
            env_uv_run_once(ringkv->env);
        }
    }
    if (load->rate > 0) {
        ticker_stop(&ticker);
    }
    list_init(&ringkv->idle);
    memory_free(slots);
}

/* --- reading ---------------------------------------------------------------------------------- */

static enum status ringkv_get(struct engine *engine, struct slice key, struct buffer *value)
{
    struct cell cell;
    enum status status = lsm_get(ringkv_of(engine)->lsm, key, LSM_MAY_BLOCK, value, &cell);
    return status == STATUS_OK && cell.kind == CELL_DELETE ? STATUS_NOT_FOUND : status;
}

static bool ringkv_iterator_open(struct engine *engine, struct slice lower,
                                 struct engine_iterator **iterator)
{
    struct ringkv_iterator *made = memory_allocate_zeroed(1, sizeof(*made));
    ASSERT(made != NULL);
    made->base.engine = engine;
    struct lsm_iterator_options options = {
        .lower = lower, .wait = LSM_MAY_BLOCK, .skip_dead = true};
    enum status status = lsm_iterator_open(ringkv_of(engine)->lsm, &options, &made->iterator);
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "bench_lsm: ringkv: iterator: %s\n", status_name(status));
        memory_free(made);
        return false;
    }
    *iterator = &made->base;
    return true;
}

static enum status ringkv_iterator_next(struct engine_iterator *iterator, struct slice *key,
                                        struct slice *value)
{
    struct ringkv_iterator *ringkv = container_of(iterator, struct ringkv_iterator, base);
    struct cell cell;
    enum status status;
    do {
        status = lsm_iterator_next(ringkv->iterator, key, &cell);
    } while (status == STATUS_BUDGET);
    if (status == STATUS_OK) {
        *value = cell.value;
    }
    return status;
}

static void ringkv_iterator_close(struct engine_iterator *iterator)
{
    struct ringkv_iterator *ringkv = container_of(iterator, struct ringkv_iterator, base);
    lsm_iterator_close(ringkv->iterator);
    memory_free(ringkv);
}

/* --- background work -------------------------------------------------------------------------- */

struct waiting {
    struct lsm_request request;
    struct env_timer timer;
    enum status status;
    bool over;
};

static void request_done(struct lsm_request *request, enum status status)
{
    struct waiting *waiting = container_of(request, struct waiting, request);
    waiting->status = status;
    waiting->over = true;
}

static void ask(struct engine *engine, const char *what,
                enum status (*request)(struct lsm *lsm, struct lsm_request *request))
{
    struct ringkv *ringkv = ringkv_of(engine);
    struct waiting waiting = {.request = {.done = request_done}};
    enum status status = request(ringkv->lsm, &waiting.request);
    while (status == STATUS_OK && !waiting.over) {
        env_uv_run_once(ringkv->env);
    }
    status = status == STATUS_OK ? waiting.status : status;
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "bench_lsm: ringkv: %s: %s\n", what, status_name(status));
    }
}

static void ringkv_flush(struct engine *engine)
{
    ask(engine, "flush", lsm_flush);
}

static void ringkv_compact(struct engine *engine)
{
    ask(engine, "compact", lsm_compact);
}

static void waited(struct env_timer *timer)
{
    container_of(timer, struct waiting, timer)->over = true;
}

static void ringkv_idle(struct engine *engine, uint64_t nanoseconds)
{
    struct ringkv *ringkv = ringkv_of(engine);
    struct waiting waiting = {.timer = {.fired = waited}};
    ringkv->env->ops->timer_start(ringkv->env, &waiting.timer, nanoseconds);
    while (!waiting.over) {
        env_uv_run_once(ringkv->env);
    }
}

#define COUNTER(name)                                \
    {                                                \
#name, offsetof(struct lsm_stats, name), 1.0 \
    }
#define BYTES(name)                                  \
    {                                                \
#name, offsetof(struct lsm_stats, name), 1e6 \
    }

/* Bytes are told in megabytes. */
static const struct {
    const char *name;
    size_t offset;
    double unit;
} counters[] = {
    BYTES(table_size),           BYTES(memtable_size),       BYTES(wal_size),
    BYTES(compaction_debt),      BYTES(cache_size),          BYTES(table_memory_size),
    COUNTER(table_count),        COUNTER(run_count),         BYTES(user_written),
    BYTES(wal_written),          BYTES(flush_written),       BYTES(compaction_read),
    BYTES(compaction_written),   COUNTER(write_count),       COUNTER(group_count),
    COUNTER(sync_count),         COUNTER(overloaded_count),  COUNTER(stall_count),
    COUNTER(stall_ns),           COUNTER(purged_count),      COUNTER(get_count),
    COUNTER(get_table_count),    COUNTER(filter_skip_count), COUNTER(filter_false_count),
    COUNTER(cache_hit_count),    COUNTER(cache_miss_count),  COUNTER(cache_insert_count),
    COUNTER(cache_evict_count),  COUNTER(gap_count),         COUNTER(gap_jump_count),
    COUNTER(would_block_count),  COUNTER(job_failure_count), COUNTER(table_open_count),
    COUNTER(table_reopen_count),
};

static void ringkv_explain(struct engine *engine)
{
    struct lsm_stats stats;
    lsm_stats(ringkv_of(engine)->lsm, &stats);
    for (size_t index = 0; index < ARRAY_COUNT(counters); index++) {
        uint64_t value;
        memcpy(&value, (const char *)&stats + counters[index].offset, sizeof(value));
        bool bytes = counters[index].unit > 1;
        (void)fprintf(stderr, "%s%s=%.*f%s", index == 0 ? "ringkv: " : " ", counters[index].name,
                      bytes ? 1 : 0, (double)value / counters[index].unit, bytes ? "MB" : "");
    }
    (void)fprintf(stderr, "\n");
}

const struct engine_ops engine_ringkv = {
    .name = "ringkv",
    .options_text = "Ringkv: lz4; one budget for blocks, memtables, indexes and filters, which is "
                    "the cache and, "
                    "for writes, two memtables, for reads, what indexes and filters take; writes "
                    "outstanding on "
                    "one loop; tombstones may be forgotten",
    .open = ringkv_open,
    .close = ringkv_close,
    .load = ringkv_load,
    .get = ringkv_get,
    .iterator_open = ringkv_iterator_open,
    .iterator_next = ringkv_iterator_next,
    .iterator_close = ringkv_iterator_close,
    .flush = ringkv_flush,
    .compact = ringkv_compact,
    .idle = ringkv_idle,
    .explain = ringkv_explain,
};
