/*
 * lsm/engine.c -- starts the work that is due, and tells callers what came of theirs.
 *
 *   OPEN --> STOPPING --> STOPPED        (lsm_stop; what runs ends, nothing new starts)
 *     |         |
 *     +---------+--> FAILED --> OPEN     (the log failed; reads still served; lsm_resume)
 *
 * Invariants:
 *  (1) After a failure or a stop no flush or merge is started; the log goes on only to answer.
 *      What fails beside the log only rests for a while, and is tried again.
 *  (2) Each accepted write and each request is told exactly once.
 */
#include "lsm/engine.h"

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"

#define ENGINE_RETRY_MS_MIN UINT64_C(100) /* Doubles with each failure in a row. */
#define ENGINE_RETRY_MS_MAX UINT64_C(10000)
#define NS_PER_MS UINT64_C(1000000)

uint64_t engine_file_id(struct lsm *lsm)
{
    mutex_lock(&lsm->mutex);
    uint64_t id = lsm->next_file_id++;
    mutex_unlock(&lsm->mutex);
    return id;
}

void engine_path_remove(struct lsm *lsm, char *path)
{
    enum status status =
        path == NULL ? STATUS_NO_MEMORY : lsm->env->ops->name_remove(lsm->env, path);
    if (status != STATUS_OK) {
        log_warn(lsm->env, "lsm.remove_failed", "path=%s status=%s", path == NULL ? "" : path,
                 status_name(status));
    }
    memory_free(path);
}

enum status engine_admit_locked(const struct lsm *lsm)
{
    if (lsm->stopping || lsm->cancelled) {
        return STATUS_CLOSED;
    }
    return lsm->failed ? STATUS_READ_ONLY : STATUS_OK;
}

void engine_fail_locked(struct lsm *lsm, enum status status, const char *what)
{
    ASSERT(status != STATUS_OK);
    if (lsm->failed || status == STATUS_CANCELLED) {
        return;
    }
    lsm->failed = true;
    lsm->failure = status;
    /* What is under way may be on disk and in no memtable. */
    purge_tail_add_locked(lsm, (struct version){0}, lsm->wal.position);
    log_error(lsm->env, "lsm.read_only", "path=%s what=%s status=%s", lsm->path, what,
              status_name(status));
    if (status == STATUS_NO_SPACE) { /* Which passes; then the log is resumed (space.h). */
        space_full_locked(lsm);
        lsm->retry_told = false;
    }
    engine_notify_locked(lsm);
}

/* What of these passes by itself, or by somebody's help, while the engine goes on. */
static bool may_pass(enum status status)
{
    return status == STATUS_IO || status == STATUS_NO_SPACE || status == STATUS_NO_MEMORY ||
           status == STATUS_CORRUPT;
}

static void retry_timer_start_locked(struct lsm *lsm)
{
    uint64_t now_ns = env_monotonic_ns(lsm->env);
    uint64_t first_ns = UINT64_MAX;
    for (uint32_t i = 0; i < ENGINE_WORK_COUNT; i++) {
        const struct engine_retry *retry = &lsm->retries[i];
        if (retry->due_ns > now_ns && retry->due_ns < first_ns) {
            first_ns = retry->due_ns;
        }
    }
    if (first_ns != UINT64_MAX && !lsm->stopping && !lsm->cancelled) {
        lsm->env->ops->timer_start(lsm->env, &lsm->retry_timer, first_ns - now_ns);
    }
}

void engine_job_failed_locked(struct lsm *lsm, enum engine_work work, enum status status)
{
    static const char *const names[] = {[ENGINE_FLUSH] = "flush",
                                        [ENGINE_MERGE] = "merge",
                                        [ENGINE_SEGMENT] = "segment",
                                        [ENGINE_CHANGE] = "change",
                                        [ENGINE_SPACE] = "ballast"};
    ASSERT(status != STATUS_OK);
    if (status == STATUS_CANCELLED) {
        return;
    }
    /* Whoever stops waits for the writes in the queue: a segment they need is not waited for. */
    bool is_last = lsm->stopping && work == ENGINE_SEGMENT;
    if (!may_pass(status) || is_last) {
        engine_fail_locked(lsm, status, names[work]);
        return;
    }
    struct engine_retry *retry = &lsm->retries[work];
    uint64_t rest_ms = ENGINE_RETRY_MS_MIN << retry->failure_count;
    if (rest_ms >= ENGINE_RETRY_MS_MAX) {
        rest_ms = ENGINE_RETRY_MS_MAX;
    } else {
        retry->failure_count++;
    }
    retry->status = status;
    if (status == STATUS_NO_SPACE) {
        space_full_locked(lsm);
    }
    retry->due_ns = env_monotonic_ns(lsm->env) + rest_ms * NS_PER_MS;
    lsm->stats.job_failure_count++;
    log_warn(lsm->env, "lsm.job_failed", "path=%s job=%s status=%s again_ms=%llu", lsm->path,
             names[work], status_name(status), (unsigned long long)rest_ms);
    lsm->retry_told = false;
    engine_notify_locked(lsm); /* Timers are started on the loop only. */
}

void engine_job_worked_locked(struct lsm *lsm, enum engine_work work)
{
    lsm->retries[work] = (struct engine_retry){0};
}

bool engine_may_start_locked(const struct lsm *lsm, enum engine_work work)
{
    const struct engine_retry *retry = &lsm->retries[work];
    return retry->due_ns == 0 || lsm->stopping || env_monotonic_ns(lsm->env) >= retry->due_ns;
}

static void retry_timer_fired(struct env_timer *timer)
{
    struct lsm *lsm = container_of(timer, struct lsm, retry_timer);
    mutex_lock(&lsm->mutex);
    retry_timer_start_locked(lsm); /* For those that rest longer. */
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

void engine_notify_locked(struct lsm *lsm)
{
    if (lsm->notify_running || lsm->cancelled) {
        return;
    }
    lsm->notify_running = true;
    env_submit(lsm->env, ENV_LANE_POOL, &lsm->notify_job);
}

static bool is_quiet_locked(struct lsm *lsm)
{
    mutex_lock(&lsm->cleanup_mutex);
    bool quiet = !lsm->cleanup_running;
    mutex_unlock(&lsm->cleanup_mutex);
    return quiet && commit_is_quiet_locked(lsm) && list_empty(&lsm->lost_writes) &&
           list_empty(&lsm->pace.held) && lsm->resume.request == NULL && !lsm->space.running &&
           !lsm->flush.running && !lsm->compaction.running && !lsm->changes.running &&
           list_empty(&lsm->changes.queue) && lsm->guest_job_count == 0;
}

/* Whether a request can be answered, and with what. */
static bool request_ready_locked(const struct lsm *lsm, uint64_t goal, uint64_t reached,
                                 enum status *status)
{
    if (reached >= goal) {
        *status = STATUS_OK;
        return true;
    }
    *status = lsm->failed ? STATUS_READ_ONLY : STATUS_CANCELLED;
    return lsm->failed || lsm->stopping || lsm->cancelled;
}

static bool requests_due_locked(const struct lsm *lsm, const struct list_node *requests,
                                uint64_t reached)
{
    enum status status = STATUS_OK;
    list_for_each (node, following, requests) {
        const struct lsm_request *request = container_of(node, struct lsm_request, node);
        if (request_ready_locked(lsm, request->goal, reached, &status)) {
            return true;
        }
    }
    return false;
}

/* Whether changes wait in vain. */
static bool changes_end_is_near_locked(const struct lsm *lsm)
{
    return (lsm->stopping || lsm->cancelled) && !lsm->changes.running &&
           !list_empty(&lsm->changes.queue);
}

static bool notice_due_locked(struct lsm *lsm)
{
    return (lsm->failed && !lsm->failure_told) || !lsm->retry_told || lsm->resume.ended ||
           !list_empty(&lsm->lost_writes) ||
           requests_due_locked(lsm, &lsm->flush_requests, lsm->flushed_total) ||
           requests_due_locked(lsm, &lsm->compact_requests, lsm->compacted_total) ||
           changes_end_is_near_locked(lsm) || (lsm->stop != NULL && is_quiet_locked(lsm));
}

void engine_pump_locked(struct lsm *lsm)
{
    if (lsm->cancelled) {
        return;
    }
    commit_pump_locked(lsm);
    budget_set(&lsm->budget, BUDGET_LOG, lsm->wal.queue_size);
    sources_account_locked(lsm);
    resume_pump_locked(lsm);
    if (!lsm->stopping && (!lsm->failed || resume_flushes_locked(lsm))) {
        flush_pump_locked(lsm);
        compaction_pump_locked(lsm);
        changes_pump_locked(lsm);
    }
    if (!lsm->failed && !lsm->stopping) {
        quarantines_pump_locked(lsm);
        segment_pump_locked(lsm);
    }
    if ((!lsm->failed || space_ends_failure_locked(lsm)) && !lsm->stopping) {
        space_pump_locked(lsm);
        scout_pump_locked(lsm);
    }
    if (notice_due_locked(lsm)) {
        engine_notify_locked(lsm);
    }
}

/* Tells those requests that are due. The lock is held on entry and exit. */
static void requests_tell_locked(struct lsm *lsm, struct list_node *requests,
                                 const uint64_t *reached)
{
    for (;;) {
        struct lsm_request *due = NULL;
        enum status status = STATUS_OK;
        list_for_each (node, following, requests) {
            struct lsm_request *request = container_of(node, struct lsm_request, node);
            if (due == NULL && request_ready_locked(lsm, request->goal, *reached, &status)) {
                due = request;
                break;
            }
        }
        if (due == NULL) {
            return;
        }
        list_remove(&due->node);
        mutex_unlock(&lsm->mutex);
        due->done(due, status);
        mutex_lock(&lsm->mutex);
    }
}

/* What was held when the engine failed or stopped came before what was lost. */
static void held_writes_tell_locked(struct lsm *lsm)
{
    if (lsm->failed || lsm->stopping || lsm->cancelled) {
        struct list_node held;
        list_init(&held);
        pace_end_locked(lsm, &held);
        mutex_unlock(&lsm->mutex);
        commit_tell(&held, STATUS_OK);
        mutex_lock(&lsm->mutex);
    }
}

static void lost_writes_tell_locked(struct lsm *lsm)
{
    enum status status = lsm->failed ? STATUS_INDETERMINATE : STATUS_CANCELLED;
    struct list_node *node = NULL;
    while ((node = list_take_first(&lsm->lost_writes)) != NULL) {
        struct lsm_write *write = container_of(node, struct lsm_write, node);
        mutex_unlock(&lsm->mutex);
        write->done(write, status);
        mutex_lock(&lsm->mutex);
    }
}

static void notify_run(struct env_job *job)
{
    (void)job; /* Only its completion matters. */
}

static void notify_done(struct env_job *job, enum status status)
{
    struct lsm *lsm = container_of(job, struct lsm, notify_job);
    mutex_lock(&lsm->mutex);
    lsm->notify_running = false;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (lsm->failed && !lsm->failure_told) {
        lsm->failure_told = true;
        if (lsm->options.failed != NULL) {
            mutex_unlock(&lsm->mutex);
            lsm->options.failed(lsm->options.context, lsm->failure);
            mutex_lock(&lsm->mutex);
        }
    }
    if (!lsm->retry_told) {
        lsm->retry_told = true;
        retry_timer_start_locked(lsm);
        space_tell_locked(lsm);
    }
    if (lsm->stats.write_count == 0 && !lsm->failed) {
        compaction_note_quiet_locked(lsm); /* Just opened. */
    }
    held_writes_tell_locked(lsm);
    lost_writes_tell_locked(lsm);
    resume_tell_locked(lsm);
    requests_tell_locked(lsm, &lsm->flush_requests, &lsm->flushed_total);
    requests_tell_locked(lsm, &lsm->compact_requests, &lsm->compacted_total);
    if (lsm->quarantines.untold.count > 0) {
        quarantines_tell_locked(lsm);
    }
    if (changes_end_is_near_locked(lsm)) {
        mutex_unlock(&lsm->mutex);
        changes_cancel(lsm);
        mutex_lock(&lsm->mutex);
    }
    struct lsm_stop *stop = NULL;
    if (lsm->stop != NULL && is_quiet_locked(lsm)) {
        stop = lsm->stop;
        lsm->stop = NULL;
        lsm->cancelled = true;
        mutex_lock(&lsm->cleanup_mutex);
        lsm->cleanup_closed = true;
        mutex_unlock(&lsm->cleanup_mutex);
    } else {
        engine_pump_locked(lsm);
    }
    mutex_unlock(&lsm->mutex);
    if (stop != NULL) {
        stop->stopped(stop); /* May call lsm_close: nothing of `lsm` is touched after. */
    }
}

void engine_init_jobs(struct lsm *lsm)
{
    lsm->notify_job.run = notify_run;
    lsm->notify_job.done = notify_done;
    lsm->retry_timer.fired = retry_timer_fired;
    list_init(&lsm->lost_writes);
    list_init(&lsm->flush_requests);
    list_init(&lsm->compact_requests);
    commit_init(lsm);
    segment_init(lsm);
    space_init(lsm);
    resume_init(lsm);
    flush_init(lsm);
    compaction_init(lsm);
    changes_init(lsm);
    ingests_init(lsm);
    quarantines_init(lsm);
    scout_init(lsm);
    sources_cleanup_init(lsm);
}
