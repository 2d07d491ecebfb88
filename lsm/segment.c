/*
 * lsm/segment.c -- makes the next log segment in the pool, and keeps or removes the dead ones.
 *
 * Invariants:
 *  (1) A segment is durable, with its name and its header, before the manifest names it, and is
 *      named before the log writes to it.
 *  (2) Only a file of the usual size is kept, whose last sync worked.
 *  (3) kept_count never exceeds what segment.h (1) allows for longer than one job takes.
 *  (4) What is trimmed no group is written to any more: its capacity is cut first, under the lock,
 *      and a file without its whole capacity is never kept to be used again.
 */
#include "lsm/segment.h"

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/wal_recovery.h"

#define SEGMENT_AHEAD_SHARE 8u /* The next one is made once such a part of this one is used. */
#define SEGMENT_FULL_SHARE 2u  /* While the disk is full a segment has this part of its size. */

static uint32_t kept_count_max_locked(const struct lsm *lsm)
{
    if (!segment_is_rested_locked(lsm)) {
        return WAL_SPARE_COUNT_MAX;
    }
    return wal_is_synced_often(&lsm->wal) ? 1 : 0;
}

/* --- what is left of dead segments ------------------------------------------------------------ */

/* A file to use again, if there is one of this size; 0: none. */
static uint64_t kept_take(struct lsm *lsm, uint64_t capacity)
{
    struct segments *segments = &lsm->segments;
    uint64_t id = 0;
    mutex_lock(&lsm->mutex);
    if (segments->kept_count > 0 && capacity == lsm->options.wal_segment_size) {
        id = segments->kept[--segments->kept_count];
    }
    mutex_unlock(&lsm->mutex);
    return id;
}

void segment_remove(struct lsm *lsm, struct wal_segment *segment)
{
    char *path = wal_segment_path(lsm->path, segment->id);
    wal_segment_destroy(segment);
    engine_path_remove(lsm, path);
}

void segment_dead(struct lsm *lsm, struct wal_segment *segment)
{
    struct segments *segments = &lsm->segments;
    uint64_t id = segment->id;
    /* One with an open file was not closed by a sync that worked. */
    bool fits = segment->file == NULL && segment->capacity == lsm->options.wal_segment_size;
    mutex_lock(&lsm->mutex);
    fits = fits && segments->kept_count < kept_count_max_locked(lsm);
    mutex_unlock(&lsm->mutex);
    /* Only flushes add files, one at a time. */
    if (!fits || wal_spare_keep(lsm->env, lsm->path, id) != STATUS_OK) {
        segment_remove(lsm, segment);
        return;
    }
    wal_segment_destroy(segment);
    mutex_lock(&lsm->mutex);
    ASSERT(segments->kept_count < WAL_SPARE_COUNT_MAX);
    segments->kept[segments->kept_count++] = id;
    mutex_unlock(&lsm->mutex);
}

/* Removes one that is too many. False: there is none. */
static bool kept_trim(struct lsm *lsm)
{
    struct segments *segments = &lsm->segments;
    struct wal_spare surplus = {0};
    mutex_lock(&lsm->mutex);
    if (segments->kept_count > kept_count_max_locked(lsm)) {
        surplus.id = segments->kept[--segments->kept_count];
    }
    mutex_unlock(&lsm->mutex);
    if (surplus.id != 0) {
        wal_spare_remove(lsm->env, lsm->path, &surplus);
        return true;
    }
    return false;
}

/* Gives back all from trim_size on. The file may be gone by now. */
static enum status segment_trim(struct lsm *lsm)
{
    const struct env_ops *ops = lsm->env->ops;
    struct env_file *file = NULL;
    char *path = wal_segment_path(lsm->path, lsm->segments.trim_id);
    enum status status =
        path == NULL ? STATUS_NO_MEMORY : ops->file_open(lsm->env, path, ENV_OPEN_WRITE, &file);
    memory_free(path);
    if (status == STATUS_OK) {
        status = ops->file_truncate(file, lsm->segments.trim_size);
        ops->file_close(file);
    }
    return status;
}

/* --- the next one ----------------------------------------------------------------------------- */

/* Names it in the manifest: records may go into it from then on. */
static enum status segment_name(struct lsm *lsm, const struct wal_segment *segment)
{
    struct manifest_segment named = {
        .id = segment->id, .nonce = segment->nonce, .start_position = WAL_START_UNKNOWN};
    struct buffer edit = {0};
    manifest_put_segment(&edit, &named);
    manifest_put_next_file(&edit, segment->id + 1);
    enum status status = manifest_commit(&lsm->manifest, &edit);
    buffer_deinit(&edit);
    return status;
}

/* One bounded step towards a file that can be a segment, then the segment. */
static enum status spare_step(struct lsm *lsm)
{
    struct segments *segments = &lsm->segments;
    struct env *env = lsm->env;
    struct wal_spare *spare = &segments->spare;
    enum status status = STATUS_OK;
    if (spare->id == 0) {
        uint64_t id = kept_take(lsm, segments->capacity);
        status = id != 0 ? wal_spare_open(env, lsm->path, id, segments->capacity, spare)
                         : wal_spare_create(env, lsm->path, engine_file_id(lsm), segments->capacity,
                                            spare);
    } else if (spare->written < spare->capacity && segments->fills) {
        status = wal_spare_fill(env, spare);
    }
    if (status == STATUS_OK && (spare->written == spare->capacity || !segments->fills)) {
        struct wal_segment_header header = {.id = engine_file_id(lsm), .nonce = env_random(env)};
        status = wal_spare_use(env, lsm->path, &header, spare, &segments->segment);
    }
    if (status != STATUS_OK && spare->id != 0) {
        wal_spare_remove(env, lsm->path, spare);
    }
    return status;
}

static enum status segment_step(struct lsm *lsm)
{
    struct segments *segments = &lsm->segments;
    enum status status = STATUS_OK;
    if (segments->segment == NULL) {
        status = spare_step(lsm);
    }
    if (status != STATUS_OK || segments->segment == NULL) {
        return status;
    }
    if (segments->segment->capacity < segments->capacity) {
        status = wal_segment_grow(segments->segment, segments->capacity);
    }
    if (status == STATUS_OK && !segments->named) {
        status = segment_name(lsm, segments->segment);
        segments->named = status == STATUS_OK;
    }
    return status;
}

static void segment_run(struct env_job *job)
{
    struct segments *segments = container_of(job, struct segments, job);
    struct lsm *lsm = container_of(segments, struct lsm, segments);
    if (segments->trims) {
        while (kept_trim(lsm)) {
        }
        enum status status = segments->trim_id != 0 ? segment_trim(lsm) : STATUS_OK;
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) { /* It stays as large as it is. */
            log_warn(lsm->env, "lsm.trim_failed", "path=%s segment=%016llx status=%s", lsm->path,
                     (unsigned long long)segments->trim_id, status_name(status));
        }
        segments->status = STATUS_OK;
    } else {
        segments->status = segment_step(lsm);
    }
}

static void segment_submit_locked(struct lsm *lsm)
{
    lsm->segments.running = true;
    env_submit(lsm->env, ENV_LANE_POOL, &lsm->segments.job);
}

static void step_done_locked(struct lsm *lsm, enum status status)
{
    struct segments *segments = &lsm->segments;
    if (status == STATUS_OK && !segments->named) {
        if (!lsm->stopping) { /* The next slice; else lsm_close() closes what there is. */
            segments->fills = segments->fills && !segments->waited_for;
            segment_submit_locked(lsm);
        }
    } else if (status == STATUS_OK) {
        ASSERT(lsm->wal.ready == NULL);
        lsm->wal.ready = segments->segment;
        segments->segment = NULL;
        segments->named = false;
        segments->waited_for = false;
        engine_job_worked_locked(lsm, ENGINE_SEGMENT);
    } else {
        engine_job_failed_locked(lsm, ENGINE_SEGMENT, status); /* Goes on where it failed. */
    }
}

static void segment_done(struct env_job *job, enum status status)
{
    struct segments *segments = container_of(job, struct segments, job);
    struct lsm *lsm = container_of(segments, struct lsm, segments);
    mutex_lock(&lsm->mutex);
    segments->running = false;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        status = segments->status;
    }
    if (!segments->trims) {
        step_done_locked(lsm, status);
    }
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

void segment_prepare_locked(struct lsm *lsm, uint64_t capacity, bool waits)
{
    struct segments *segments = &lsm->segments;
    segments->waited_for = segments->waited_for || waits;
    if (segments->running || !engine_may_start_locked(lsm, ENGINE_SEGMENT)) {
        return; /* If the result is too small, it is grown next. */
    }
    if (segments->segment == NULL && lsm->wal.ready != NULL) {
        segments->segment = lsm->wal.ready;
        segments->named = true;
        lsm->wal.ready = NULL;
    }
    segments->trims = false;
    if (lsm->space.full && segments->kept_count == 0 && capacity == lsm->options.wal_segment_size) {
        capacity = segment_size_when_full(lsm); /* Has room for any group of several batches. */
    }
    segments->fills = !segments->waited_for && wal_is_synced_often(&lsm->wal);
    segments->capacity = capacity;
    segment_submit_locked(lsm);
}

uint64_t segment_size_when_full(const struct lsm *lsm)
{
    return lsm->options.wal_segment_size / SEGMENT_FULL_SHARE;
}

bool segment_is_due_locked(const struct lsm *lsm)
{
    const struct wal *wal = &lsm->wal;
    return wal->ready == NULL && wal->used_offset > wal->current->capacity / SEGMENT_AHEAD_SHARE;
}

/* See segment.h (3). False: there is nothing to give back. */
static bool trim_begin_locked(struct lsm *lsm)
{
    struct wal_segment *current = lsm->wal.current;
    if (!segment_is_rested_locked(lsm) || lsm->wal.ready == NULL || !commit_is_quiet_locked(lsm)) {
        return false;
    }
    bool dead = current->last_position <= lsm->replay_position;
    uint64_t end = dead ? WAL_SEGMENT_HEADER_SIZE : current->end_offset;
    if (current->capacity <= end) {
        return false;
    }
    current->capacity = end;
    current->end_offset = end;
    lsm->wal.used_offset = end;
    lsm->segments.trim_id = current->id;
    lsm->segments.trim_size = end;
    return true;
}

void segment_pump_locked(struct lsm *lsm)
{
    struct segments *segments = &lsm->segments;
    if (segments->running) {
        return;
    }
    segments->trim_id = 0;
    if (trim_begin_locked(lsm) || segments->kept_count > kept_count_max_locked(lsm)) {
        segments->trims = true;
        segment_submit_locked(lsm);
    }
}

/* --- rest ------------------------------------------------------------------------------------- */

bool segment_is_rested_locked(const struct lsm *lsm)
{
    return lsm->segments.rested_position == lsm->wal.position;
}

void segment_begin_locked(struct lsm *lsm)
{
    lsm->segments.rested_position = lsm->wal.position;
}

void segment_note_quiet_locked(struct lsm *lsm)
{
    if (!lsm->stopping && !lsm->cancelled) {
        lsm->segments.noted_position = lsm->wal.position;
        env_timer_start_ms(lsm->env, &lsm->segments.rest_timer, SEGMENT_REST_MS);
    }
}

static void rest_timer_fired(struct env_timer *timer)
{
    struct segments *segments = container_of(timer, struct segments, rest_timer);
    struct lsm *lsm = container_of(segments, struct lsm, segments);
    mutex_lock(&lsm->mutex);
    if (segments->noted_position == lsm->wal.position && !lsm->stopping) {
        segments->rested_position = segments->noted_position;
        engine_pump_locked(lsm);
    }
    mutex_unlock(&lsm->mutex);
}

void segment_stop_locked(struct lsm *lsm)
{
    lsm->env->ops->timer_stop(lsm->env, &lsm->segments.rest_timer);
}

void segment_init(struct lsm *lsm)
{
    lsm->segments.job.run = segment_run;
    lsm->segments.job.done = segment_done;
    lsm->segments.rest_timer.fired = rest_timer_fired;
}

void segment_deinit(struct lsm *lsm)
{
    struct segments *segments = &lsm->segments;
    if (segments->spare.file != NULL) {
        lsm->env->ops->file_close(segments->spare.file);
    }
    wal_segment_destroy(segments->segment);
}
