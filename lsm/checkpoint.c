/*
 * lsm/checkpoint.c -- lsm_checkpoint: another engine that holds what this one holds now, at the
 * cost of names.
 *
 *   (flush) --> LINKING (a few names a job) --> WRITING (its manifest) --> told
 *                  |                               |
 *                  +-------------------------------+--> GIVING_UP --> told
 *
 * Tables never change, so a second name for each is a copy. The log is not linked: its segments are
 * written to again. What is in memory goes to tables first.
 * Invariants:
 *  (1) The manifest is written last, after the names of all its tables are durable.
 *  (2) The tables that are linked are pinned until it is over.
 */
#include <stdio.h>

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"

#define CHECKPOINT_LINKS_PER_JOB 64u
#define CHECKPOINT_NAME_SIZE 24u

enum checkpoint_phase { CHECKPOINT_LINKING, CHECKPOINT_WRITING, CHECKPOINT_GIVING_UP };

struct checkpoint {
    struct lsm *lsm;
    struct lsm_checkpoint *request;
    struct lsm_request flush;
    struct env_job job;
    enum checkpoint_phase phase;
    enum status status;
    struct sources *sources; /* Pinned. */
    uint64_t next_file_id;
    bool folder_made;
    bool ended;
    uint32_t run_index; /* Of the place to link next. */
    uint32_t place_index;
    char path[]; /* The folder. */
};

static char *name_in(const struct checkpoint *checkpoint, uint64_t file_id)
{
    size_t size = strlen(checkpoint->path) + CHECKPOINT_NAME_SIZE;
    char *path = memory_allocate(size);
    if (path != NULL) {
        int length =
            snprintf(path, size, "%s/%016llx.sst", checkpoint->path, (unsigned long long)file_id);
        ASSERT(length > 0 && (size_t)length < size);
    }
    return path;
}

/* The next place that is the first of its file; NULL: there is none left. */
static const struct table *table_next(struct checkpoint *checkpoint)
{
    const struct table_set *set = checkpoint->sources->tables;
    while (checkpoint->run_index < set->run_count) {
        const struct run *run = &set->runs[checkpoint->run_index];
        while (checkpoint->place_index < run->table_count) {
            uint32_t index = checkpoint->place_index++;
            if (!run_place_is_further(run, index)) {
                return run->tables[index];
            }
        }
        checkpoint->run_index++;
        checkpoint->place_index = 0;
    }
    return NULL;
}

static enum status table_link(struct checkpoint *checkpoint, const struct table *table)
{
    struct lsm *lsm = checkpoint->lsm;
    char *from = engine_table_path(lsm, table->file_id);
    char *to = name_in(checkpoint, table->file_id);
    enum status status = STATUS_NO_MEMORY;
    if (from != NULL && to != NULL) {
        status = lsm->env->ops->name_link(lsm->env, from, to);
    }
    memory_free(from);
    memory_free(to);
    return status;
}

/* STATUS_NOT_FOUND: all are linked. */
static enum status tables_link(struct checkpoint *checkpoint)
{
    for (uint32_t i = 0; i < CHECKPOINT_LINKS_PER_JOB; i++) {
        const struct table *table = table_next(checkpoint);
        enum status status = table == NULL ? STATUS_NOT_FOUND : table_link(checkpoint, table);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status parent_sync(const struct checkpoint *checkpoint)
{
    struct env *env = checkpoint->lsm->env;
    char *parent = memory_copy_string(checkpoint->path);
    if (parent == NULL) {
        return STATUS_NO_MEMORY;
    }
    char *slash = strrchr(parent, '/');
    enum status status = STATUS_OK;
    if (slash == NULL) {
        status = env->ops->dir_sync(env, ".");
    } else {
        slash[slash == parent ? 1 : 0] = '\0';
        status = env->ops->dir_sync(env, parent);
    }
    memory_free(parent);
    return status;
}

/* The set as an engine that never had a log. */
static void edit_make(const struct checkpoint *checkpoint, struct buffer *edit)
{
    const struct table_set *set = checkpoint->sources->tables;
    for (uint32_t i = 0; i < set->run_count; i++) {
        table_run_put(edit, &set->runs[i]);
    }
    for (uint32_t i = 0; i < set->lost.count; i++) {
        manifest_put_quarantine(edit, &set->lost.items[i]);
    }
    manifest_put_next_file(edit, checkpoint->next_file_id);
}

static enum status manifest_write(struct checkpoint *checkpoint)
{
    struct env *env = checkpoint->lsm->env;
    enum status status = env->ops->dir_sync(env, checkpoint->path);
    if (status != STATUS_OK) {
        return status;
    }
    struct manifest manifest;
    struct buffer edit = {0};
    edit_make(checkpoint, &edit);
    status = manifest_open(&manifest, env, checkpoint->path);
    ASSERT(status != STATUS_OK);
    if (status == STATUS_NOT_FOUND) {
        status = buffer_status(&edit);
    }
    if (status == STATUS_OK) {
        status = manifest_rewrite(&manifest, buffer_slice(&edit));
    }
    manifest_close(&manifest);
    buffer_deinit(&edit);
    if (LSM_MUTANT(CHECKPOINT_NOT_SYNCED)) {
        return status;
    }
    return status == STATUS_OK ? parent_sync(checkpoint) : status;
}

static void name_drop(const struct checkpoint *checkpoint, const char *path)
{
    struct env *env = checkpoint->lsm->env;
    enum status status = path == NULL ? STATUS_NO_MEMORY : env->ops->name_remove(env, path);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        log_warn(env, "lsm.remove_failed", "path=%s status=%s", path == NULL ? "" : path,
                 status_name(status));
    }
}

/* What was made of it goes again, the manifest first. */
static void checkpoint_drop(struct checkpoint *checkpoint)
{
    static const char *const names[] = {MANIFEST_NAME, MANIFEST_TEMPORARY_NAME};
    if (!checkpoint->folder_made) {
        return;
    }
    size_t size = strlen(checkpoint->path) + CHECKPOINT_NAME_SIZE;
    char *path = memory_allocate(size);
    for (uint32_t i = 0; path != NULL && i < ARRAY_COUNT(names); i++) {
        int length = snprintf(path, size, "%s/%s", checkpoint->path, names[i]);
        ASSERT(length > 0 && (size_t)length < size);
        name_drop(checkpoint, path);
    }
    memory_free(path);
    checkpoint->run_index = 0;
    checkpoint->place_index = 0;
    const struct table *table = NULL;
    while ((table = table_next(checkpoint)) != NULL) {
        path = name_in(checkpoint, table->file_id);
        name_drop(checkpoint, path);
        memory_free(path);
    }
    name_drop(checkpoint, checkpoint->path);
}

static enum status checkpoint_link(struct checkpoint *checkpoint)
{
    struct env *env = checkpoint->lsm->env;
    enum status status = STATUS_OK;
    if (!checkpoint->folder_made) {
        status = env->ops->dir_create(env, checkpoint->path);
        checkpoint->folder_made = status == STATUS_OK;
    }
    if (status == STATUS_OK) {
        status = tables_link(checkpoint);
    }
    if (status == STATUS_NOT_FOUND) {
        checkpoint->phase = CHECKPOINT_WRITING;
        status = STATUS_OK;
    }
    return status;
}

static void checkpoint_run(struct env_job *job)
{
    struct checkpoint *checkpoint = container_of(job, struct checkpoint, job);
    switch (checkpoint->phase) {
    case CHECKPOINT_LINKING:
        checkpoint->status = checkpoint_link(checkpoint);
        break;
    case CHECKPOINT_WRITING:
        checkpoint->status = manifest_write(checkpoint);
        checkpoint->ended = checkpoint->status == STATUS_OK;
        break;
    case CHECKPOINT_GIVING_UP:
        checkpoint_drop(checkpoint); /* The status stays that of what failed. */
        checkpoint->ended = true;
        break;
    }
}

static void checkpoint_end(struct checkpoint *checkpoint, enum status status)
{
    struct lsm_checkpoint *request = checkpoint->request;
    if (checkpoint->sources != NULL) {
        sources_unpin(checkpoint->lsm, checkpoint->sources);
    }
    memory_free(checkpoint);
    request->done(request, status);
}

static void checkpoint_submit_locked(struct checkpoint *checkpoint)
{
    struct lsm *lsm = checkpoint->lsm;
    lsm->guest_job_count++;
    env_submit(lsm->env, ENV_LANE_POOL, &checkpoint->job);
}

static void checkpoint_job_done(struct env_job *job, enum status status)
{
    struct checkpoint *checkpoint = container_of(job, struct checkpoint, job);
    struct lsm *lsm = checkpoint->lsm;
    mutex_lock(&lsm->mutex);
    lsm->guest_job_count--;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    bool ended = checkpoint->ended || status == STATUS_CANCELLED;
    if (!ended && checkpoint->status == STATUS_OK && lsm->stopping) {
        checkpoint->status = STATUS_CANCELLED;
    }
    if (!ended) {
        checkpoint->phase =
            checkpoint->status == STATUS_OK ? checkpoint->phase : CHECKPOINT_GIVING_UP;
        checkpoint_submit_locked(checkpoint);
    }
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
    if (ended) {
        checkpoint_end(checkpoint,
                       status == STATUS_CANCELLED ? STATUS_CANCELLED : checkpoint->status);
    }
}

/* All that was visible at the call is in tables. */
static void checkpoint_flushed(struct lsm_request *flush, enum status status)
{
    struct checkpoint *checkpoint = container_of(flush, struct checkpoint, flush);
    struct lsm *lsm = checkpoint->lsm;
    if (status == STATUS_OK) {
        mutex_lock(&lsm->mutex);
        status = lsm->stopping || lsm->cancelled ? STATUS_CANCELLED : STATUS_OK;
        if (status == STATUS_OK) {
            checkpoint->sources = sources_pin(lsm);
            checkpoint->next_file_id = lsm->next_file_id;
            checkpoint_submit_locked(checkpoint);
        }
        mutex_unlock(&lsm->mutex);
    }
    if (status != STATUS_OK) {
        checkpoint_end(checkpoint, status);
    }
}

enum status lsm_checkpoint(struct lsm *lsm, struct lsm_checkpoint *request)
{
    ASSERT(lsm != NULL);
    ASSERT(request != NULL && request->done != NULL && request->path != NULL);
    size_t size = strlen(request->path) + 1;
    struct checkpoint *checkpoint = memory_allocate_zeroed(1, sizeof(*checkpoint) + size);
    if (checkpoint == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(checkpoint->path, request->path, size);
    checkpoint->lsm = lsm;
    checkpoint->request = request;
    checkpoint->flush.done = checkpoint_flushed;
    checkpoint->job.run = checkpoint_run;
    checkpoint->job.done = checkpoint_job_done;
    enum status status = lsm_flush(lsm, &checkpoint->flush);
    if (status == STATUS_OK && LSM_MUTANT(CHECKPOINT_UNFLUSHED)) {
        checkpoint->flush.goal = 0;
    }
    if (status != STATUS_OK) {
        memory_free(checkpoint);
    }
    return status;
}
