/*
 * lsm/space.c -- the ballast, and the way into FULL and out of it.
 *
 * Invariants:
 *  (1) One action at a time; each is a job in the pool.
 *  (2) The ballast is removed only while FULL, or by an open.
 */
#include "lsm/space.h"

#include <stdio.h>
#include <string.h>

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"

#define SPACE_LOOK_MS 1000u
#define SPACE_MANIFEST_SIZE (1u << 20) /* Room for one rewritten manifest. */
#define BALLAST_STEP_COUNT 4u
#define LOG_ROOM_FACTOR 8u /* Of small groups, headers and padding take more than records. */

/* One manifest, one slice of a merge, a segment if one is to come, and a flush that takes
 * `flush_size`. */
static uint64_t ballast_size(const struct lsm *lsm, uint64_t flush_size, uint64_t segment_size)
{
    return flush_size + lsm->options.slice_size + segment_size + SPACE_MANIFEST_SIZE;
}

static uint64_t ballast_size_max(const struct lsm *lsm)
{
    return ballast_size(lsm, lsm->options.memtable_size, segment_size_when_full(lsm));
}

/* What a flush of all that memtables hold may take. Rounded up, so that it does not follow each
 * write; nothing, where nothing is held. */
static uint64_t flush_size_wanted_locked(const struct lsm *lsm)
{
    const struct memtable *active = lsm->sources->active;
    uint64_t full = lsm->options.memtable_size;
    uint64_t held = atomic_load_explicit(&active->size, memory_order_relaxed);
    uint64_t step = full / BALLAST_STEP_COUNT;
    if (lsm->sources->frozen_count > 0 || held >= full - step) {
        return full;
    }
    if (atomic_load_explicit(&active->key_count, memory_order_relaxed) == 0) {
        return 0;
    }
    return (held / step + 1) * step;
}

static uint64_t ballast_wanted_locked(const struct lsm *lsm)
{
    uint64_t segment_size = segment_is_due_locked(lsm) ? segment_size_when_full(lsm) : 0;
    return ballast_size(lsm, flush_size_wanted_locked(lsm), segment_size);
}

static char *ballast_path(const struct lsm *lsm)
{
    size_t size = strlen(lsm->path) + sizeof("/" SPACE_BALLAST_NAME);
    char *path = memory_allocate(size);
    if (path != NULL) {
        int length = snprintf(path, size, "%s/%s", lsm->path, SPACE_BALLAST_NAME);
        ASSERT(length > 0 && (size_t)length < size);
    }
    return path;
}

enum status space_release(struct lsm *lsm)
{
    char *path = ballast_path(lsm);
    enum status status =
        path == NULL ? STATUS_NO_MEMORY : lsm->env->ops->name_remove(lsm->env, path);
    memory_free(path);
    return status;
}

/* Durably as large as that: an open after a loss of power may need it. */
static enum status ballast_size_set(struct lsm *lsm, struct env_file *file, uint64_t size)
{
    const struct env_ops *ops = lsm->env->ops;
    uint64_t present = 0;
    enum status status = ops->file_size(file, &present);
    if (status == STATUS_OK) {
        status = present > size ? ops->file_truncate(file, size) : ops->file_reserve(file, 0, size);
    }
    if (status == STATUS_OK) {
        status = ops->file_sync(file);
    }
    return status == STATUS_OK ? ops->dir_sync(lsm->env, lsm->path) : status;
}

static enum status ballast_make(struct lsm *lsm, uint64_t size)
{
    const struct env_ops *ops = lsm->env->ops;
    struct env_file *file = NULL;
    char *path = ballast_path(lsm);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = ops->file_open(lsm->env, path, ENV_OPEN_CREATE, &file);
    bool made = status == STATUS_OK;
    if (status == STATUS_EXISTS) {
        status = ops->file_open(lsm->env, path, ENV_OPEN_WRITE, &file);
    }
    if (status == STATUS_OK) {
        status = ballast_size_set(lsm, file, size);
        ops->file_close(file);
        if (status != STATUS_OK && made) { /* A part of it is of no use. */
            enum status removed = ops->name_remove(lsm->env, path);
            if (removed != STATUS_OK) {
                log_warn(lsm->env, "lsm.remove_failed", "path=%s status=%s", path,
                         status_name(removed));
            }
        }
    }
    memory_free(path);
    return status;
}

enum status space_reserve(struct lsm *lsm, uint64_t size)
{
    uint64_t free_size = 0;
    enum status status = lsm->env->ops->space_free(lsm->env, lsm->path, &free_size);
    if (status != STATUS_OK) {
        return status;
    }
    return free_size < size ? STATUS_NO_SPACE : STATUS_OK;
}

static void space_run(struct env_job *job)
{
    struct space *space = container_of(job, struct space, job);
    struct lsm *lsm = container_of(space, struct lsm, space);
    enum status status = STATUS_OK;
    switch (space->action) {
    case SPACE_RELEASE:
        status = space_release(lsm);
        status = status == STATUS_NOT_FOUND ? STATUS_OK : status;
        break;
    case SPACE_LOOK:
        status = space_reserve(lsm, space->wanted + lsm->options.memtable_size +
                                        lsm->options.wal_segment_size);
        status = status == STATUS_OK ? ballast_make(lsm, space->wanted) : status;
        break;
    case SPACE_MAKE:
        status = ballast_make(lsm, space->wanted);
        break;
    }
    space->status = status;
}

/* What rested for want of space is tried again at once. */
static void retries_wake_locked(struct lsm *lsm)
{
    for (uint32_t i = 0; i < ENGINE_WORK_COUNT; i++) {
        if (lsm->retries[i].status == STATUS_NO_SPACE) {
            lsm->retries[i] = (struct engine_retry){0};
        }
    }
}

static void space_done(struct env_job *job, enum status status)
{
    struct space *space = container_of(job, struct space, job);
    struct lsm *lsm = container_of(space, struct lsm, space);
    mutex_lock(&lsm->mutex);
    space->running = false;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        status = space->status;
    }
    bool made = space->action != SPACE_RELEASE;
    if (status == STATUS_OK) {
        space->size = made ? space->wanted : 0;
        engine_job_worked_locked(lsm, ENGINE_SPACE);
        if (made && space->full) {
            space->full = false;
            log_info(lsm->env, "lsm.space_again", "path=%s", lsm->path);
        }
        retries_wake_locked(lsm);
    } else if (made && !space->full) {
        engine_job_failed_locked(lsm, ENGINE_SPACE, status); /* NO_SPACE: it is full now. */
    }
    space_tell_locked(lsm);
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

static void space_submit_locked(struct lsm *lsm, enum space_action action, uint64_t wanted)
{
    lsm->space.action = action;
    lsm->space.wanted = wanted;
    lsm->space.running = true;
    env_submit(lsm->env, ENV_LANE_POOL, &lsm->space.job);
}

void space_full_locked(struct lsm *lsm)
{
    struct space *space = &lsm->space;
    if (space->full) {
        return;
    }
    space->full = true;
    space->release_due = true;
    log_error(lsm->env, "lsm.space_none", "path=%s", lsm->path);
}

void space_pump_locked(struct lsm *lsm)
{
    struct space *space = &lsm->space;
    if (space->running) {
        return;
    }
    if (space->release_due) {
        space->release_due = false;
        space_submit_locked(lsm, SPACE_RELEASE, 0);
        return;
    }
    uint64_t wanted = ballast_wanted_locked(lsm);
    bool due = wanted > space->size || (wanted < space->size && segment_is_rested_locked(lsm));
    if (due && !space->full && engine_may_start_locked(lsm, ENGINE_SPACE)) {
        space_submit_locked(lsm, SPACE_MAKE, wanted);
    }
}

static bool is_welcome(const struct lsm_write *write)
{
    for (uint32_t i = 0; i < write->record_count; i++) {
        if (write->records[i].cell.kind != CELL_DELETE) {
            return write->vital;
        }
    }
    return true;
}

/* Whether the log can take it without a new file. */
static bool log_has_room_locked(const struct lsm *lsm, uint64_t size)
{
    const struct wal *wal = &lsm->wal;
    uint64_t room = wal->current->capacity - wal->used_offset;
    if (wal->ready != NULL) {
        room += wal->ready->capacity;
    }
    uint64_t wanted = LOG_ROOM_FACTOR * (wal->queue_size + size);
    return room > wanted + ENV_SECTOR_SIZE;
}

enum status space_admit_locked(struct lsm *lsm, const struct lsm_write *write, uint64_t size)
{
    if (!lsm->space.full) {
        return STATUS_OK;
    }
    if (!is_welcome(write) || !log_has_room_locked(lsm, size)) {
        return STATUS_NO_SPACE;
    }
    lsm->space.deletes_taken = true;
    return STATUS_OK;
}

bool space_ends_failure_locked(const struct lsm *lsm)
{
    return lsm->failed && lsm->failure == STATUS_NO_SPACE;
}

void space_look_locked(struct lsm *lsm)
{
    space_submit_locked(lsm, SPACE_LOOK, ballast_size_max(lsm));
}

static void resume_answered(struct lsm_request *request, enum status status)
{
    struct space *space = container_of(request, struct space, resume);
    struct lsm *lsm = container_of(space, struct lsm, space);
    (void)status; /* What failed still is tried again by the timer. */
    mutex_lock(&lsm->mutex);
    space->resuming = false;
    space_tell_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

static void resume_by_itself_locked(struct lsm *lsm)
{
    struct space *space = &lsm->space;
    space->resume.done = resume_answered;
    space->resuming = resume_ask_locked(lsm, &space->resume) == STATUS_OK;
}

static void reclaim_done(struct lsm_request *request, enum status status)
{
    struct space *space = container_of(request, struct space, reclaim);
    struct lsm *lsm = container_of(space, struct lsm, space);
    (void)status; /* The next look tells what came of it. */
    mutex_lock(&lsm->mutex);
    space->reclaiming = false;
    mutex_unlock(&lsm->mutex);
}

static void reclaim_start_locked(struct lsm *lsm)
{
    struct space *space = &lsm->space;
    if (lsm->failed || !space->deletes_taken || space->reclaiming ||
        sources_freeze_locked(lsm) != STATUS_OK) {
        return;
    }
    space->deletes_taken = false;
    space->reclaiming = true;
    space->reclaim.done = reclaim_done;
    space->reclaim.goal = lsm->frozen_total;
    list_append(&lsm->compact_requests, &space->reclaim.node);
}

static void space_timer_fired(struct env_timer *timer)
{
    struct space *space = container_of(timer, struct space, timer);
    struct lsm *lsm = container_of(space, struct lsm, space);
    mutex_lock(&lsm->mutex);
    space->timer_running = false;
    if (space->full && !space->running && !space->release_due) {
        reclaim_start_locked(lsm);
        space_look_locked(lsm);
    } else if (!space->full && !space->resuming && space_ends_failure_locked(lsm)) {
        resume_by_itself_locked(lsm);
    }
    space_tell_locked(lsm);
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

void space_tell_locked(struct lsm *lsm)
{
    struct space *space = &lsm->space;
    bool due = space->full || (space_ends_failure_locked(lsm) && !space->resuming);
    if (due && !space->timer_running && !lsm->stopping && !lsm->cancelled) {
        space->timer_running = true;
        env_timer_start_ms(lsm->env, &space->timer, SPACE_LOOK_MS);
    }
}

void space_stop_locked(struct lsm *lsm)
{
    lsm->env->ops->timer_stop(lsm->env, &lsm->space.timer);
    lsm->space.timer_running = false;
}

void space_init(struct lsm *lsm)
{
    lsm->space.job.run = space_run;
    lsm->space.job.done = space_done;
    lsm->space.timer.fired = space_timer_fired;
}
