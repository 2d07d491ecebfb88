/*
 * lsm/sources.c -- memtables and tables as readers see them, and what happens to those they leave.
 *
 * Invariants:
 *  (1) A published sources struct never changes; every cell visible when it was pinned is in it.
 *  (2) A table's file is removed only when its last reference goes while the engine is open: by
 *      then a committed edit has dropped it, since the current set references every live one.
 */
#include <stdio.h>

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"

#define MEMTABLE_CHUNK_SIZE_MAX (256u << 10)
#define MEMTABLE_CHUNK_SIZE_MIN (4u << 10)
#define TABLE_NAME_SIZE 24u

struct memtable *sources_memtable_create(const struct lsm *lsm)
{
    uint64_t chunk_size = lsm->options.memtable_size / 16;
    if (chunk_size > MEMTABLE_CHUNK_SIZE_MAX) {
        chunk_size = MEMTABLE_CHUNK_SIZE_MAX;
    }
    if (chunk_size < MEMTABLE_CHUNK_SIZE_MIN) {
        chunk_size = MEMTABLE_CHUNK_SIZE_MIN;
    }
    return memtable_create((size_t)chunk_size);
}

struct sources *sources_create(struct memtable *active, struct memtable *const *frozen,
                               uint32_t frozen_count, struct table_set *tables)
{
    struct sources *sources =
        memory_allocate(sizeof(*sources) + frozen_count * sizeof(struct memtable *));
    if (sources == NULL) {
        return NULL;
    }
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

struct sources *sources_pin(struct lsm *lsm)
{
    mutex_lock(&lsm->pin_mutex);
    struct sources *sources = lsm->sources;
    atomic_fetch_add_explicit(&sources->references, 1, memory_order_relaxed);
    mutex_unlock(&lsm->pin_mutex);
    return sources;
}

static void garbage_take(struct lsm *lsm, struct list_node *garbage)
{
    if (list_empty(garbage)) {
        return;
    }
    mutex_lock(&lsm->pin_mutex);
    struct list_node *node = NULL;
    while ((node = list_take_first(garbage)) != NULL) {
        list_append(&lsm->garbage, node);
    }
    bool submit = !lsm->cleanup_running && !lsm->cleanup_closed;
    if (submit) {
        lsm->cleanup_running = true;
    }
    mutex_unlock(&lsm->pin_mutex);
    if (submit) {
        env_submit(lsm->env, ENV_LANE_POOL, &lsm->cleanup_job);
    }
}

void sources_unpin(struct lsm *lsm, struct sources *sources)
{
    unsigned before = atomic_fetch_sub_explicit(&sources->references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1) {
        return;
    }
    struct list_node garbage;
    list_init(&garbage);
    for (uint32_t i = 0; i < sources->frozen_count; i++) {
        memtable_release(sources->frozen[i]);
    }
    memtable_release(sources->active);
    table_set_release(sources->tables, &garbage);
    memory_free(sources);
    garbage_take(lsm, &garbage);
}

void sources_publish_locked(struct lsm *lsm, struct sources *sources)
{
    mutex_lock(&lsm->pin_mutex);
    struct sources *old = lsm->sources;
    lsm->sources = sources;
    mutex_unlock(&lsm->pin_mutex);
    if (old != NULL) {
        sources_unpin(lsm, old);
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
        sources = sources_create(active, frozen, frozen_count, old->tables);
    }
    memory_free(frozen);
    if (active != NULL) {
        memtable_release(active); /* The sources hold it now. */
    }
    if (sources == NULL) {
        return STATUS_NO_MEMORY;
    }
    old->active->replay_position = lsm->applied_position;
    active->log_start = lsm->applied_position;
    lsm->frozen_total++;
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
        sources_create(old->active, old->frozen + skipped, old->frozen_count - skipped, set);
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

void sources_cleanup(struct lsm *lsm)
{
    for (;;) {
        mutex_lock(&lsm->pin_mutex);
        struct list_node *node = list_take_first(&lsm->garbage);
        mutex_unlock(&lsm->pin_mutex);
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

static void cleanup_run(struct env_job *job)
{
    sources_cleanup(container_of(job, struct lsm, cleanup_job));
}

static void cleanup_done(struct env_job *job, enum status status)
{
    struct lsm *lsm = container_of(job, struct lsm, cleanup_job);
    mutex_lock(&lsm->pin_mutex);
    lsm->cleanup_running = false;
    lsm->cleanup_closed = lsm->cleanup_closed || status == STATUS_CANCELLED;
    bool submit = !list_empty(&lsm->garbage) && !lsm->cleanup_closed;
    if (submit) {
        lsm->cleanup_running = true;
    }
    mutex_unlock(&lsm->pin_mutex);
    if (submit) {
        env_submit(lsm->env, ENV_LANE_POOL, &lsm->cleanup_job);
        return;
    }
    mutex_lock(&lsm->mutex);
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

void sources_cleanup_init(struct lsm *lsm)
{
    list_init(&lsm->garbage);
    lsm->cleanup_job.run = cleanup_run;
    lsm->cleanup_job.done = cleanup_done;
}
