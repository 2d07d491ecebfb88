/*
 * lsm/lsm.c -- opening, stopping and closing an engine, requests, and what it tells of itself.
 */
#include "lsm/lsm.h"

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/table_writer.h"

#define DEFAULT_MEMORY_SIZE (512ull << 20)
#define DEFAULT_WAL_SEGMENT_SIZE (16ull << 20)
#define DEFAULT_WAL_BUFFER_SIZE (32ull << 20)
#define DEFAULT_SLICE_SIZE (8ull << 20)
#define DEFAULT_TABLE_SIZE_MAX (64ull << 20)
#define DEFAULT_BLOOM_BITS_PER_KEY 10u
#define DEFAULT_OPEN_FILES_MAX 512u /* Half of what a process may have by default. */
#define MEMTABLE_SHARE 8u
#define MEMTABLE_SIZE_MIN (16u << 10)

static uint64_t or_default(uint64_t value, uint64_t standard)
{
    return value == 0 ? standard : value;
}

static void options_complete(struct lsm_options *options)
{
    options->memory_size = or_default(options->memory_size, DEFAULT_MEMORY_SIZE);
    options->memtable_size =
        or_default(options->memtable_size, options->memory_size / MEMTABLE_SHARE);
    if (options->memtable_size < MEMTABLE_SIZE_MIN) {
        options->memtable_size = MEMTABLE_SIZE_MIN;
    }
    options->wal_segment_size = or_default(options->wal_segment_size, DEFAULT_WAL_SEGMENT_SIZE);
    if (options->wal_segment_size < WAL_SEGMENT_SIZE_MIN) {
        options->wal_segment_size = WAL_SEGMENT_SIZE_MIN;
    }
    options->wal_buffer_size = or_default(options->wal_buffer_size, DEFAULT_WAL_BUFFER_SIZE);
    options->slice_size = or_default(options->slice_size, DEFAULT_SLICE_SIZE);
    options->table_size_max = or_default(options->table_size_max, DEFAULT_TABLE_SIZE_MAX);
    options->manifest_size = or_default(options->manifest_size, MANIFEST_REWRITE_SIZE);
    if (options->block_size == 0) {
        options->block_size = TABLE_BLOCK_SIZE_DEFAULT;
    }
    if (options->bloom_bits_per_key == 0) {
        options->bloom_bits_per_key = DEFAULT_BLOOM_BITS_PER_KEY;
    }
    if (options->open_files_max == 0) {
        options->open_files_max = DEFAULT_OPEN_FILES_MAX;
    }
}

/* How many may wait beside the active one. */
static uint32_t frozen_count_max(const struct lsm_options *options)
{
    uint64_t count = options->memory_size / LSM_MEMTABLE_SHARE / options->memtable_size;
    if (count <= 2) {
        return 1;
    }
    return count - 1 < LSM_FROZEN_COUNT_MAX ? (uint32_t)(count - 1) : LSM_FROZEN_COUNT_MAX;
}

enum status lsm_open(struct env *env, const struct lsm_options *options, struct lsm **lsm)
{
    ASSERT(env != NULL);
    ASSERT(options != NULL);
    ASSERT(options->path != NULL);
    struct lsm *made = memory_allocate_zeroed(1, sizeof(*made));
    if (made == NULL) {
        return STATUS_NO_MEMORY;
    }
    made->env = env;
    made->options = *options;
    options_complete(&made->options);
    sources_chunks_init(made);
    made->frozen_count_max = frozen_count_max(&made->options);
    made->frozen_total = 1;
    made->flushed_total = 1;
    made->retry_told = true;
    mutex_init(&made->mutex);
    list_init(&made->scrubs);
    budget_init(&made->budget, made->options.memory_size);
    cache_init(&made->cache, &made->budget);
    table_files_init(&made->files, env, made->options.open_files_max);
    gaps_init(&made->gaps);
    engine_init_jobs(made);
    made->path = memory_copy_string(options->path);
    made->options.path = made->path;
    enum status status = made->path == NULL ? STATUS_NO_MEMORY : recovery_run(made);
    if (status != STATUS_OK) {
        lsm_close(made);
        return status;
    }
    sources_cleanup_begin(made);
    mutex_lock(&made->mutex);
    segment_begin_locked(made);
    engine_pump_locked(made);
    engine_notify_locked(made); /* There may be merges to do at rest, if nobody writes. */
    mutex_unlock(&made->mutex);
    *lsm = made;
    return STATUS_OK;
}

void lsm_stop(struct lsm *lsm, struct lsm_stop *stop)
{
    ASSERT(lsm != NULL);
    ASSERT(stop != NULL && stop->stopped != NULL);
    mutex_lock(&lsm->mutex);
    ASSERT(!lsm->stopping);
    lsm->stopping = true;
    lsm->stop = stop;
    commit_stop_locked(lsm);
    segment_stop_locked(lsm);
    space_stop_locked(lsm);
    lsm->env->ops->timer_stop(lsm->env, &lsm->retry_timer);
    compaction_stop_locked(lsm);
    scrubs_stop_locked(lsm);
    sources_cleanup_stop_locked(lsm);
    if (!lsm->failed && !lsm->cancelled) {
        enum status status = wal_append_idle(&lsm->wal); /* Syncs what was only buffered. */
        if (status != STATUS_OK) {
            engine_fail_locked(lsm, status, "stop");
        }
    }
    engine_pump_locked(lsm);
    engine_notify_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

/* What the env's end left unanswered. */
static void leftovers_tell(struct lsm *lsm)
{
    struct list_node *node = NULL;
    struct list_node held;
    list_init(&held);
    pace_end_locked(lsm, &held); /* Nobody else is left to take the lock. */
    commit_tell(&held, STATUS_OK);
    if (lsm->wal.env != NULL) {
        wal_take_writes(&lsm->wal, &lsm->lost_writes);
    }
    while ((node = list_take_first(&lsm->lost_writes)) != NULL) {
        struct lsm_write *write = container_of(node, struct lsm_write, node);
        write->done(write, lsm->failed ? STATUS_INDETERMINATE : STATUS_CANCELLED);
    }
    changes_cancel(lsm);
    if (lsm->resume.request != NULL) {
        lsm->resume.request->done(lsm->resume.request, STATUS_CANCELLED);
        lsm->resume.request = NULL;
    }
    ingests_abandon(lsm);
    scrubs_abandon(lsm);
    quarantines_deinit(lsm);
    quarantine_list_deinit(&lsm->damaged);
    memory_free(lsm->damaged_ids);
    while ((node = list_take_first(&lsm->flush_requests)) != NULL ||
           (node = list_take_first(&lsm->compact_requests)) != NULL) {
        struct lsm_request *request = container_of(node, struct lsm_request, node);
        request->done(request, STATUS_CANCELLED);
    }
}

void lsm_close(struct lsm *lsm)
{
    if (lsm == NULL) {
        return;
    }
    lsm->cancelled = true;
    leftovers_tell(lsm);
    flush_abandon(lsm);
    compaction_abandon(lsm);
    sources_close(lsm);
    cache_deinit(&lsm->cache);
    table_files_deinit(&lsm->files);
    segment_deinit(lsm);
    wal_deinit(&lsm->wal);
    manifest_close(&lsm->manifest);
    buffer_deinit(&lsm->encode);
    if (lsm->dir_lock != NULL) {
        lsm->env->ops->dir_unlock(lsm->dir_lock);
    }
    mutex_deinit(&lsm->mutex);
    mutex_deinit(&lsm->cleanup_mutex);
    gaps_deinit(&lsm->gaps);
    scout_deinit(lsm);
    memory_free(lsm->path);
    memory_free(lsm);
}

static enum status request_accept(struct lsm *lsm, struct list_node *requests,
                                  struct lsm_request *request)
{
    ASSERT(lsm != NULL);
    ASSERT(request != NULL && request->done != NULL);
    mutex_lock(&lsm->mutex);
    enum status status = engine_admit_locked(lsm);
    if (status == STATUS_OK) {
        status = sources_freeze_locked(lsm);
    }
    if (status == STATUS_OK) {
        request->goal = lsm->frozen_total;
        list_append(requests, &request->node);
        engine_pump_locked(lsm);
    }
    mutex_unlock(&lsm->mutex);
    return status;
}

enum status lsm_flush(struct lsm *lsm, struct lsm_request *request)
{
    return request_accept(lsm, &lsm->flush_requests, request);
}

enum status lsm_compact(struct lsm *lsm, struct lsm_request *request)
{
    return request_accept(lsm, &lsm->compact_requests, request);
}

static void memtable_count(const struct memtable *memtable, struct lsm_stats *stats)
{
    stats->key_estimate += atomic_load_explicit(&memtable->key_count, memory_order_relaxed);
    stats->tombstone_estimate +=
        atomic_load_explicit(&memtable->tombstone_count, memory_order_relaxed);
    stats->memtable_size += atomic_load_explicit(&memtable->size, memory_order_relaxed);
    stats->run_count++;
}

static void sources_count(const struct sources *sources, struct lsm_stats *stats)
{
    memtable_count(sources->active, stats);
    for (uint32_t i = 0; i < sources->frozen_count; i++) {
        memtable_count(sources->frozen[i], stats);
    }
    for (uint32_t i = 0; i < sources->tables->run_count; i++) {
        const struct run *run = &sources->tables->runs[i];
        stats->run_count++;
        stats->table_size += run->size;
        for (uint32_t j = 0; j < run->table_count; j++) {
            if (run_place_is_further(run, j)) {
                continue;
            }
            stats->table_count++;
            stats->key_estimate += run->tables[j]->properties.entry_count;
            stats->tombstone_estimate += run->tables[j]->properties.tombstone_count;
        }
    }
}

static uint64_t counter_value(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void lsm_stats(struct lsm *lsm, struct lsm_stats *stats)
{
    ASSERT(lsm != NULL);
    ASSERT(stats != NULL);
    mutex_lock(&lsm->mutex);
    *stats = lsm->stats;
    pace_stats_locked(lsm, stats);
    stats->read_only = lsm->failed;
    stats->full = lsm->space.full;
    stats->wal_queue_size = lsm->wal.queue_size;
    list_for_each (node, following, &lsm->wal.segments) {
        stats->wal_size += container_of(node, struct wal_segment, node)->capacity;
    }
    stats->wal_size += lsm->segments.kept_count * lsm->options.wal_segment_size;
    struct sources *sources = sources_pin(lsm);
    stats->compaction_debt = compaction_debt_locked(lsm, sources->tables);
    mutex_unlock(&lsm->mutex);
    sources_count(sources, stats);
    stats->quarantine_count = sources->tables->lost.count;
    for (uint32_t i = 0; i < sources->frozen_count; i++) {
        stats->compaction_debt +=
            atomic_load_explicit(&sources->frozen[i]->size, memory_order_relaxed);
    }
    sources_unpin(lsm, sources);
    for (uint32_t i = 0; i < EPOCH_ENTRY_COUNT; i++) {
        const struct read_counters *reads = &lsm->reads[i];
        stats->get_count += counter_value(&reads->get_count);
        stats->get_table_count += counter_value(&reads->table_count);
        stats->filter_skip_count += counter_value(&reads->filter_skip_count);
        stats->filter_false_count += counter_value(&reads->filter_false_count);
        stats->would_block_count += counter_value(&reads->would_block_count);
        stats->cache_hit_count += counter_value(&reads->cache_hit_count);
    }
    stats->cache_miss_count = counter_value(&lsm->cache.time);
    stats->cache_insert_count = counter_value(&lsm->cache.insert_count);
    stats->cache_evict_count = counter_value(&lsm->cache.evict_count);
    stats->cache_size = budget_used(&lsm->budget, BUDGET_CACHE);
    stats->table_memory_size = budget_used(&lsm->budget, BUDGET_TABLES);
    stats->index_read_count = counter_value(&lsm->cache.leaf_read_count);
    stats->table_open_count = counter_value(&lsm->files.open_count);
    stats->table_reopen_count = counter_value(&lsm->files.reopened_count);
    stats->gap_count = atomic_load_explicit(&lsm->gaps.gap_count, memory_order_relaxed);
    stats->gap_learnt_count = atomic_load_explicit(&lsm->gaps.learnt_count, memory_order_relaxed);
    stats->gap_jump_count = atomic_load_explicit(&lsm->gaps.jump_count, memory_order_relaxed);
}
