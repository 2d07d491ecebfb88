/*
 * lsm/resume.c -- a new log after the old one failed.
 *
 * Invariants:
 *  (1) No new write is taken before one edit has both moved the replay position to the end of the
 *      old log and named the new segment, which starts there: whatever the old segments hold is
 *      void from then on, and what was told INDETERMINATE and is not visible never comes back.
 *  (2) Until that edit, a crash finds the old log as it is, and recovers from it.
 *  (3) Files of the old log are removed, never used again: what their syncs did is unknown.
 */
#include "lsm/resume.h"

#include "base/contract.h"
#include "base/log.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"

bool resume_flushes_locked(const struct lsm *lsm)
{
    return lsm->resume.request != NULL && !lsm->resume.ended &&
           lsm->resume.phase == RESUME_FLUSHING;
}

static void resume_end_locked(struct lsm *lsm, enum status status)
{
    lsm->resume.status = status;
    lsm->resume.ended = true;
    engine_notify_locked(lsm);
}

/* Every record before the end of the log is in a source now, or void. */
static enum status resume_begin_locked(struct lsm *lsm)
{
    lsm->applied_position = lsm->wal.position;
    enum status status = sources_freeze_locked(lsm);
    lsm->resume.goal = lsm->frozen_total;
    lsm->retries[ENGINE_FLUSH] = (struct engine_retry){0};
    lsm->resume.phase = RESUME_FLUSHING;
    return status;
}

/* Writes are taken again. */
static void resume_look_locked(struct lsm *lsm)
{
    const struct space *space = &lsm->space;
    if (!lsm->stopping && (space->running || space->release_due)) {
        return;
    }
    if (!lsm->stopping && space->full && !lsm->resume.looked) {
        lsm->resume.looked = true;
        space_look_locked(lsm);
        return;
    }
    resume_end_locked(lsm, STATUS_OK);
}

void resume_pump_locked(struct lsm *lsm)
{
    struct resume *resume = &lsm->resume;
    if (resume->request == NULL || resume->running || resume->ended) {
        return;
    }
    if (resume->phase == RESUME_LOOKING) {
        resume_look_locked(lsm);
        return;
    }
    if (!lsm->failed || lsm->stopping) {
        resume_end_locked(lsm, lsm->failed ? STATUS_CANCELLED : STATUS_OK);
        return;
    }
    if (resume->phase == RESUME_WAITING) {
        if (!commit_is_quiet_locked(lsm) || !list_empty(&lsm->lost_writes)) {
            return;
        }
        enum status status = resume_begin_locked(lsm);
        if (status != STATUS_OK) {
            resume_end_locked(lsm, status);
            return;
        }
    }
    if (lsm->retries[ENGINE_FLUSH].status != STATUS_OK) {
        resume_end_locked(lsm, lsm->retries[ENGINE_FLUSH].status);
    } else if (lsm->flushed_total >= resume->goal && !lsm->flush.running) {
        resume->phase = RESUME_RESTARTING;
        resume->running = true;
        env_submit(lsm->env, ENV_LANE_POOL, &resume->job);
    }
}

static enum status restart_commit(struct lsm *lsm, const struct wal_segment *segment)
{
    struct manifest_segment named = {
        .id = segment->id, .nonce = segment->nonce, .start_position = segment->last_position};
    struct buffer edit = {0};
    manifest_put_segment(&edit, &named);
    if (!LSM_MUTANT(RESUME_KEEPS_LOG)) {
        manifest_put_replay(&edit, segment->last_position, segment->id);
    }
    manifest_put_next_file(&edit, segment->id + 1);
    enum status status = buffer_status(&edit);
    if (status == STATUS_OK) {
        status = manifest_rewrite(&lsm->manifest, buffer_slice(&edit));
    }
    buffer_deinit(&edit);
    return status;
}

/* The committed edit becomes the state in memory, and the old segments go. */
static void restart_install(struct lsm *lsm, struct wal_segment *segment)
{
    struct list_node dead;
    list_init(&dead);
    mutex_lock(&lsm->mutex);
    wal_restart(&lsm->wal, segment, &dead);
    if (lsm->segments.segment != NULL) { /* Its id is behind the new one's. */
        list_append(&dead, &lsm->segments.segment->node);
        lsm->segments.segment = NULL;
        lsm->segments.named = false;
    }
    lsm->replay_position = lsm->wal.position;
    purge_note_replay_position_locked(lsm, lsm->wal.position);
    mutex_unlock(&lsm->mutex);
    struct list_node *node = NULL;
    while ((node = list_take_first(&dead)) != NULL) {
        segment_remove(lsm, container_of(node, struct wal_segment, node));
    }
}

static void resume_run(struct env_job *job)
{
    struct resume *resume = container_of(job, struct resume, job);
    struct lsm *lsm = container_of(resume, struct lsm, resume);
    struct wal_segment_header header = {
        .id = engine_file_id(lsm),
        .nonce = env_random(lsm->env),
    };
    struct wal_segment *segment = NULL;
    enum status status =
        wal_segment_create(lsm->env, lsm->path, &header, lsm->options.wal_segment_size, &segment);
    if (status == STATUS_OK) {
        segment->last_position = lsm->wal.position; /* It stands while nothing is taken. */
        status = restart_commit(lsm, segment);
        if (status == STATUS_OK) {
            restart_install(lsm, segment);
        } else {
            wal_segment_destroy(segment); /* The edit may be on disk: the file stays. */
        }
    }
    resume->status = status;
}

static void resume_done(struct env_job *job, enum status status)
{
    struct resume *resume = container_of(job, struct resume, job);
    struct lsm *lsm = container_of(resume, struct lsm, resume);
    mutex_lock(&lsm->mutex);
    resume->running = false;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        status = resume->status;
    }
    if (status == STATUS_OK) {
        lsm->failed = false;
        lsm->failure = STATUS_OK;
        lsm->failure_told = false;
        log_info(lsm->env, "lsm.resumed", "path=%s position=%llu", lsm->path,
                 (unsigned long long)lsm->wal.position);
        resume->phase = RESUME_LOOKING;
        resume->looked = false;
    } else {
        resume_end_locked(lsm, status);
    }
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

enum status resume_ask_locked(struct lsm *lsm, struct lsm_request *request)
{
    if (lsm->stopping || lsm->cancelled) {
        return STATUS_CLOSED;
    }
    if (lsm->resume.request != NULL) {
        return STATUS_OVERLOADED;
    }
    lsm->resume.request = request;
    lsm->resume.phase = RESUME_WAITING;
    lsm->resume.ended = false;
    engine_pump_locked(lsm);
    return STATUS_OK;
}

enum status lsm_resume(struct lsm *lsm, struct lsm_request *request)
{
    ASSERT(lsm != NULL);
    ASSERT(request != NULL && request->done != NULL);
    mutex_lock(&lsm->mutex);
    enum status status = resume_ask_locked(lsm, request);
    mutex_unlock(&lsm->mutex);
    return status;
}

void resume_tell_locked(struct lsm *lsm)
{
    struct resume *resume = &lsm->resume;
    if (!resume->ended) {
        return;
    }
    struct lsm_request *request = resume->request;
    enum status status = resume->status;
    resume->request = NULL;
    resume->ended = false;
    mutex_unlock(&lsm->mutex);
    request->done(request, status);
    mutex_lock(&lsm->mutex);
}

void resume_init(struct lsm *lsm)
{
    lsm->resume.job.run = resume_run;
    lsm->resume.job.done = resume_done;
}
