/*
 * lsm/engine.c -- starts the work that is due, and tells callers what came of theirs.
 *
 *   OPEN --> STOPPING --> STOPPED        (lsm_stop; what runs ends, nothing new starts)
 *     |         |
 *     +---------+--> FAILED              (first disk error; reads still served)
 *
 * Invariants:
 *  (1) After a failure or a stop no flush or merge is started; the log goes on only to answer.
 *  (2) Each accepted write and each request is told exactly once.
 */
#include "lsm/engine.h"

#include "base/contract.h"
#include "base/log.h"

uint64_t engine_file_id(struct lsm *lsm)
{
    mutex_lock(&lsm->mutex);
    uint64_t id = lsm->next_file_id++;
    mutex_unlock(&lsm->mutex);
    return id;
}

void engine_fail_locked(struct lsm *lsm, enum status status, const char *what)
{
    ASSERT(status != STATUS_OK);
    if (lsm->failed || status == STATUS_CANCELLED) {
        return;
    }
    lsm->failed = true;
    lsm->failure = status;
    log_error(lsm->env, "lsm.read_only", "path=%s what=%s status=%s", lsm->path, what,
              status_name(status));
    engine_notify_locked(lsm);
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
    mutex_lock(&lsm->pin_mutex);
    bool quiet = !lsm->cleanup_running;
    mutex_unlock(&lsm->pin_mutex);
    return quiet && lsm->wal.in_flight == NULL && list_empty(&lsm->wal.filling) &&
           list_empty(&lsm->lost_writes) && !lsm->prepare.running && !lsm->flush.running &&
           !lsm->compaction.running;
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

static bool notice_due_locked(struct lsm *lsm)
{
    return (lsm->failed && !lsm->failure_told) || !list_empty(&lsm->lost_writes) ||
           requests_due_locked(lsm, &lsm->flush_requests, lsm->flushed_total) ||
           requests_due_locked(lsm, &lsm->compact_requests, lsm->compacted_total) ||
           (lsm->stop != NULL && is_quiet_locked(lsm));
}

void engine_pump_locked(struct lsm *lsm)
{
    if (lsm->cancelled) {
        return;
    }
    commit_pump_locked(lsm);
    if (!lsm->failed && !lsm->stopping) {
        flush_pump_locked(lsm);
        compaction_pump_locked(lsm);
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
    lost_writes_tell_locked(lsm);
    requests_tell_locked(lsm, &lsm->flush_requests, &lsm->flushed_total);
    requests_tell_locked(lsm, &lsm->compact_requests, &lsm->compacted_total);
    struct lsm_stop *stop = NULL;
    if (lsm->stop != NULL && is_quiet_locked(lsm)) {
        stop = lsm->stop;
        lsm->stop = NULL;
        lsm->cancelled = true;
        mutex_lock(&lsm->pin_mutex);
        lsm->cleanup_closed = true;
        mutex_unlock(&lsm->pin_mutex);
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
    list_init(&lsm->lost_writes);
    list_init(&lsm->flush_requests);
    list_init(&lsm->compact_requests);
    commit_init(lsm);
    flush_init(lsm);
    compaction_init(lsm);
    sources_cleanup_init(lsm);
}
