/*
 * lsm/sources.c -- memtables and tables as readers see them, and what happens to those they leave.
 *
 * Invariants:
 *  (1) A published sources struct never changes; every cell visible when it was pinned is in it.
 *  (2) A table's file is removed only when its last reference goes while the engine is open: by
 *      then a committed edit has dropped it, since the current set references every live one.
 *  (3) The reference of being current is dropped by the epoch, once no reader can have loaded the
 *      pointer without having pinned what it leads to. So a count that reached zero stays there.
 *  (4) Memory and files go in the cleanup job, never on the loop, whoever lets go last.
 */
#include <stdio.h>

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"

/* A memtable of so many huge pages lies in them: a search touches some place in each of many, and
 * values are cut from them unless they are very large. */
#define MEMTABLE_CHUNK_SHARE 16u
#define MEMTABLE_CHUNK_SIZE_MAX ((256u << 10) - 64u) /* Else. With its header a size class. */
#define MEMTABLE_CHUNK_SIZE_MIN (4u << 10)
#define ACCOUNT_STEPS 8u
#define TABLE_NAME_SIZE 24u
#define CLEANUP_DELAY_MS 20u /* Before what a reader still held is looked at again. */

void sources_chunks_init(struct lsm *lsm)
{
    uint64_t size = lsm->options.memtable_size / MEMTABLE_CHUNK_SHARE;
    if (size > MEMTABLE_CHUNK_SIZE_MAX) {
        size = size >= MEMORY_HUGE_SIZE ? ARENA_CHUNK_SIZE_HUGE : MEMTABLE_CHUNK_SIZE_MAX;
    }
    if (size < MEMTABLE_CHUNK_SIZE_MIN) {
        size = MEMTABLE_CHUNK_SIZE_MIN;
    }
    arena_pool_init(&lsm->chunks, (size_t)size, (uint32_t)(lsm->options.memtable_size / size));
}

struct memtable *sources_memtable_create(struct lsm *lsm)
{
    return memtable_create(lsm->chunks.chunk_size, &lsm->chunks, &lsm->mutex);
}

struct sources *sources_create(struct lsm *lsm, struct memtable *active,
                               struct memtable *const *frozen, uint32_t frozen_count,
                               struct table_set *tables)
{
    struct sources *sources =
        memory_allocate(sizeof(*sources) + frozen_count * sizeof(struct memtable *));
    if (sources == NULL) {
        return NULL;
    }
    sources->lsm = lsm;
    atomic_init(&sources->references, 1);
    sources->tables = tables;
    sources->active = active;
    sources->frozen_count = frozen_count;
    for (uint32_t i = 0; i < frozen_count; i++) {
        sources->frozen[i] = frozen[i];
        memtable_reference(frozen[i]);
    }
    memtable_reference(active);
    table_set_acquire(tables);
    return sources;
}

static void memtable_item_release(struct epoch_item *item)
{
    memtable_destroy(container_of(item, struct memtable, item));
}

void sources_memtable_release(struct lsm *lsm, struct memtable *memtable)
{
    if (memtable_release(memtable)) {
        memtable->item.release = memtable_item_release;
        epoch_retire(&lsm->epoch, &memtable->item);
    }
}

static void memtable_let_go(struct memtable *memtable)
{
    if (memtable_release(memtable)) {
        memtable_destroy(
            memtable); /* Readers reach it through sources alone, and these are gone. */
    }
}

/* Its tables that nobody has any more wait for the cleanup. */
static bool set_release(struct lsm *lsm, struct table_set *set)
{
    struct list_node garbage;
    list_init(&garbage);
    table_set_release(set, &garbage);
    bool any = !list_empty(&garbage);
    mutex_lock(&lsm->cleanup_mutex);
    struct list_node *node = NULL;
    while ((node = list_take_first(&garbage)) != NULL) {
        list_append(&lsm->garbage, node);
    }
    mutex_unlock(&lsm->cleanup_mutex);
    return any;
}

/* Nobody has it any more. In the pool. */
static void sources_destroy(struct sources *sources)
{
    struct lsm *lsm = sources->lsm;
    for (uint32_t i = 0; i < sources->frozen_count; i++) {
        memtable_let_go(sources->frozen[i]);
    }
    memtable_let_go(sources->active);
    (void)set_release(lsm, sources->tables);
    memory_free(sources);
}

static bool sources_release(struct sources *sources)
{
    unsigned before = atomic_fetch_sub_explicit(&sources->references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    return before == 1;
}

struct sources *sources_pin(struct lsm *lsm)
{
    unsigned slot = epoch_enter(&lsm->epoch);
    struct sources *sources = atomic_load(&lsm->sources);
    unsigned before = atomic_fetch_add_explicit(&sources->references, 1, memory_order_relaxed);
    ASSERT(before > 0); /* See (3). */
    epoch_leave(&lsm->epoch, slot);
    return sources;
}

static void unpinned_release(struct epoch_item *item)
{
    sources_destroy(container_of(item, struct sources, item));
}

void sources_unpin(struct lsm *lsm, struct sources *sources)
{
    if (sources_release(sources)) {
        sources->item.release = unpinned_release;
        epoch_retire(&lsm->epoch, &sources->item);
    }
}

static void replaced_release(struct epoch_item *item)
{
    struct sources *sources = container_of(item, struct sources, item);
    if (sources_release(sources)) {
        sources_destroy(sources);
    }
}

static void cleanup_start(struct lsm *lsm);

/* The active memtable counts in steps, always one ahead, so that the cache gives way before it has
 * grown, and a pool job is asked to see to that a few times in its life. */
void sources_account_locked(struct lsm *lsm)
{
    const struct memtable *active = lsm->sources->active;
    uint64_t step = lsm->options.memtable_size / ACCOUNT_STEPS + 1;
    uint64_t size = arena_pool_size(&lsm->chunks);
    if (atomic_load_explicit(&active->key_count, memory_order_relaxed) > 0) {
        size = (size / step + 1) * step;
    }
    if (size != budget_used(&lsm->budget, BUDGET_MEMTABLES)) {
        budget_set(&lsm->budget, BUDGET_MEMTABLES, size);
        if (cache_is_over(&lsm->cache)) {
            cleanup_start(lsm);
        }
    }
}

struct table_set *sources_set_pin_locked(struct lsm *lsm)
{
    struct sources *sources = lsm->sources;
    table_set_acquire(sources->tables);
    return sources->tables;
}

void sources_set_unpin(struct lsm *lsm, struct table_set *set)
{
    if (set_release(lsm, set)) {
        cleanup_start(lsm);
    }
}

void sources_publish_locked(struct lsm *lsm, struct sources *sources)
{
    struct sources *old = atomic_exchange(&lsm->sources, sources);
    sources_account_locked(lsm);
    if (old != NULL) {
        old->item.release = replaced_release;
        epoch_retire(&lsm->epoch, &old->item);
    }
}

enum status sources_freeze_locked(struct lsm *lsm)
{
    struct sources *old = lsm->sources;
    if (atomic_load_explicit(&old->active->key_count, memory_order_relaxed) == 0) {
        return STATUS_OK;
    }
    uint32_t frozen_count = old->frozen_count + 1;
    struct memtable **frozen = memory_allocate(frozen_count * sizeof(struct memtable *));
    struct memtable *active = sources_memtable_create(lsm);
    struct sources *sources = NULL;
    if (frozen != NULL && active != NULL) {
        for (uint32_t i = 0; i < old->frozen_count; i++) {
            frozen[i] = old->frozen[i];
        }
        frozen[frozen_count - 1] = old->active;
        sources = sources_create(lsm, active, frozen, frozen_count, old->tables);
    }
    memory_free(frozen);
    if (active != NULL) {
        sources_memtable_release(lsm, active); /* The sources hold it now. */
    }
    if (sources == NULL) {
        return STATUS_NO_MEMORY;
    }
    old->active->replay_position = lsm->applied_position;
    active->log_start = lsm->applied_position;
    lsm->frozen_total++;
    purge_note_freeze_locked(lsm);
    sources_publish_locked(lsm, sources);
    return STATUS_OK;
}

enum status sources_change_locked(struct lsm *lsm, const struct table_change *change, bool flushed)
{
    struct sources *old = lsm->sources;
    uint32_t skipped = flushed ? 1 : 0;
    ASSERT(old->frozen_count >= skipped);
    struct table_set *set = table_set_create(old->tables, change);
    if (set == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct sources *sources =
        sources_create(lsm, old->active, old->frozen + skipped, old->frozen_count - skipped, set);
    struct list_node garbage;
    list_init(&garbage);
    table_set_release(set, &garbage); /* Last only if there was no memory for the sources. */
    if (sources == NULL) {
        ASSERT(list_empty(&garbage));
        return STATUS_NO_MEMORY;
    }
    sources_publish_locked(lsm, sources);
    return STATUS_OK;
}

void engine_table_adopt(struct lsm *lsm, struct table *table)
{
    table_use_cache(table, &lsm->cache);
    table_use_files(table, &lsm->files);
}

char *engine_table_path(const struct lsm *lsm, uint64_t file_id)
{
    size_t size = strlen(lsm->path) + TABLE_NAME_SIZE;
    char *path = memory_allocate(size);
    if (path != NULL) {
        int length = snprintf(path, size, "%s/%016llx.sst", lsm->path, (unsigned long long)file_id);
        ASSERT(length > 0 && (size_t)length < size);
    }
    return path;
}

static void garbage_remove(struct lsm *lsm)
{
    for (;;) {
        mutex_lock(&lsm->cleanup_mutex);
        struct list_node *node = list_take_first(&lsm->garbage);
        mutex_unlock(&lsm->cleanup_mutex);
        if (node == NULL) {
            return;
        }
        struct table *table = container_of(node, struct table, node);
        char *path = engine_table_path(lsm, table->file_id);
        table_close(table);
        if (path != NULL) {
            enum status status = lsm->env->ops->name_remove(lsm->env, path);
            if (status != STATUS_OK) { /* The next open removes it. */
                log_warn(lsm->env, "lsm.remove_failed", "path=%s status=%s", path,
                         status_name(status));
            }
        }
        memory_free(path);
    }
}

bool sources_cleanup(struct lsm *lsm)
{
    cache_trim(&lsm->cache);
    bool more = epoch_collect(&lsm->epoch);
    garbage_remove(lsm);
    return more;
}

void sources_close(struct lsm *lsm)
{
    mutex_lock(&lsm->cleanup_mutex);
    lsm->cleanup_closed = true;
    mutex_unlock(&lsm->cleanup_mutex);
    while (sources_cleanup(lsm)) {
        /* Nobody reads: each round gets further. */
    }
    struct sources *current = atomic_exchange(&lsm->sources, NULL);
    if (current != NULL) {
        sources_unpin(lsm, current);
    }
    epoch_deinit(&lsm->epoch);
    arena_pool_deinit(&lsm->chunks);
    struct list_node *node = NULL;
    while ((node = list_take_first(&lsm->garbage)) != NULL) { /* Live files: they stay. */
        table_close(container_of(node, struct table, node));
    }
}

/* Starts the job, unless it runs or has ended for good. */
static void cleanup_start(struct lsm *lsm)
{
    mutex_lock(&lsm->cleanup_mutex);
    bool submit = !lsm->cleanup_running && !lsm->cleanup_closed;
    lsm->cleanup_again = lsm->cleanup_running;
    lsm->cleanup_running = lsm->cleanup_running || submit;
    mutex_unlock(&lsm->cleanup_mutex);
    if (submit) {
        env_submit(lsm->env, ENV_LANE_POOL, &lsm->cleanup_job);
    }
}

static void cleanup_due(struct epoch *epoch)
{
    cleanup_start(container_of(epoch, struct lsm, epoch));
}

static void cleanup_run(struct env_job *job)
{
    struct lsm *lsm = container_of(job, struct lsm, cleanup_job);
    lsm->cleanup_more = sources_cleanup(lsm);
}

static void cleanup_done(struct env_job *job, enum status status)
{
    struct lsm *lsm = container_of(job, struct lsm, cleanup_job);
    mutex_lock(&lsm->mutex);
    mutex_lock(&lsm->cleanup_mutex);
    lsm->cleanup_running = false;
    lsm->cleanup_closed = lsm->cleanup_closed || status == STATUS_CANCELLED;
    bool again = lsm->cleanup_again;
    bool wait = lsm->cleanup_more && !again && !lsm->cleanup_closed && !lsm->stopping;
    mutex_unlock(&lsm->cleanup_mutex);
    if (wait && !lsm->cleanup_waiting) {
        lsm->cleanup_waiting = true;
        env_timer_start_ms(lsm->env, &lsm->cleanup_timer, CLEANUP_DELAY_MS);
    }
    if (again) {
        cleanup_start(lsm);
    }
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

static void cleanup_timer_fired(struct env_timer *timer)
{
    struct lsm *lsm = container_of(timer, struct lsm, cleanup_timer);
    mutex_lock(&lsm->mutex);
    lsm->cleanup_waiting = false;
    if (!lsm->stopping && !lsm->cancelled) {
        cleanup_start(lsm);
    }
    mutex_unlock(&lsm->mutex);
}

void sources_cleanup_stop_locked(struct lsm *lsm)
{
    if (lsm->cleanup_waiting) {
        lsm->env->ops->timer_stop(lsm->env, &lsm->cleanup_timer);
        lsm->cleanup_waiting = false;
    }
}

void sources_cleanup_begin(struct lsm *lsm)
{
    mutex_lock(&lsm->cleanup_mutex);
    lsm->cleanup_closed = false;
    mutex_unlock(&lsm->cleanup_mutex);
    cleanup_start(lsm); /* Replay may have retired something. */
}

void sources_cleanup_init(struct lsm *lsm)
{
    mutex_init(&lsm->cleanup_mutex);
    list_init(&lsm->garbage);
    lsm->cleanup_closed = true; /* Until the engine is open: a failed open leaves no job behind. */
    lsm->cleanup_job.run = cleanup_run;
    lsm->cleanup_job.done = cleanup_done;
    lsm->cleanup_timer.fired = cleanup_timer_fired;
    epoch_init(&lsm->epoch, cleanup_due);
}
