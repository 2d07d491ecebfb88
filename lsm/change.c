/*
 * lsm/change.c -- one edit over the whole set.
 *
 * Invariants:
 *  (1) Between the making of an edit and its place in the set, no other edit is made of that set.
 *      (A flush only adds, and adds what no change waits for: it may go on.)
 *  (2) After a failed commit the disk may have the edit: the same change is committed again.
 */
#include "lsm/change.h"

#include "base/contract.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"

static struct change *change_first(const struct lsm *lsm)
{
    const struct changes *changes = &lsm->changes;
    return list_empty(&changes->queue) ? NULL
                                       : container_of(changes->queue.next, struct change, node);
}

enum status change_add_locked(struct lsm *lsm, struct change *change)
{
    ASSERT(change->done != NULL);
    if (change->takes) {
        enum status status = sources_freeze_locked(lsm);
        if (status != STATUS_OK) {
            return status;
        }
    }
    change->position = lsm->wal.position;
    change->goal = lsm->frozen_total;
    list_append(&lsm->changes.queue, &change->node);
    return STATUS_OK;
}

bool changes_begin_locked(struct lsm *lsm)
{
    bool free = !lsm->changes.exclusive;
    lsm->changes.exclusive = true;
    return free;
}

void changes_end_locked(struct lsm *lsm)
{
    ASSERT(lsm->changes.exclusive);
    lsm->changes.exclusive = false;
}

bool changes_hold_flush_locked(const struct lsm *lsm)
{
    list_for_each (node, following, &lsm->changes.queue) {
        const struct change *change = container_of(node, struct change, node);
        if (change->takes && change->goal <= lsm->flushed_total) {
            return !LSM_MUTANT(FLUSH_IGNORES_EXCISE);
        }
    }
    return false;
}

bool change_takes_locked(const struct lsm *lsm, struct slice key, uint64_t position)
{
    list_for_each (node, following, &lsm->changes.queue) {
        const struct change *change = container_of(node, struct change, node);
        if (change->takes && position <= change->position && clip_holds(&change->stretch, key)) {
            return !LSM_MUTANT(QUEUE_IGNORES_EXCISE);
        }
    }
    return false;
}

static bool is_due_locked(const struct lsm *lsm, const struct change *change)
{
    if (change->added_count > 0 && lsm->sources->tables->run_count >= LSM_RUN_COUNT_BEFORE_STALL) {
        return false; /* As a flush, it waits for merges. */
    }
    return !change->takes ||
           (lsm->flushed_total >= change->goal && lsm->applied_position >= change->position);
}

void changes_pump_locked(struct lsm *lsm)
{
    struct changes *changes = &lsm->changes;
    struct change *change = change_first(lsm);
    if (changes->running || change == NULL || !engine_may_start_locked(lsm, ENGINE_CHANGE)) {
        return;
    }
    if (changes->phase == CHANGE_WAITING) {
        if (!is_due_locked(lsm, change)) {
            return;
        }
        changes->phase = CHANGE_COMMITTING;
    }
    if (changes->phase == CHANGE_COMMITTING && !changes_begin_locked(lsm)) {
        return;
    }
    changes->running = true;
    env_submit(lsm->env, ENV_LANE_POOL, &changes->job);
}

static struct table_change change_in_set(const struct change *change, const struct table_cut *cut)
{
    return (struct table_change){
        .cuts = cut,
        .cut_count = change->takes ? 1 : 0,
        .added = change->added,
        .added_count = change->added_count,
        .lost = change->lost,
    };
}

/* Whether all that is before applied_position is in tables. */
static bool memtables_are_empty(const struct lsm *lsm)
{
    const struct sources *sources = lsm->sources;
    return sources->frozen_count == 0 &&
           atomic_load_explicit(&sources->active->key_count, memory_order_relaxed) == 0;
}

static void edit_make_locked(struct lsm *lsm, struct change *change, struct buffer *edit)
{
    ASSERT(change != NULL); /* It stays first until it is installed. */
    if (change->settle_locked != NULL) {
        change->settle_locked(lsm, change);
    }
    if (change->takes) {
        manifest_put_excise(edit, &change->stretch, change->position);
        if (memtables_are_empty(lsm)) {
            manifest_put_replay(edit, lsm->applied_position, 0); /* Nothing is left to skip. */
        }
    }
    struct table_change added = {
        .added = change->added, .added_count = change->added_count, .lost = change->lost};
    table_change_put(edit, &added, lsm->sources->tables);
    manifest_put_next_file(edit, lsm->next_file_id);
}

static void changes_run(struct env_job *job)
{
    struct changes *changes = container_of(job, struct changes, job);
    struct lsm *lsm = container_of(changes, struct lsm, changes);
    changes->status = STATUS_OK;
    if (changes->phase != CHANGE_COMMITTING) {
        return;
    }
    struct buffer edit = {0};
    mutex_lock(&lsm->mutex);
    struct change *change = change_first(lsm);
    ASSERT(change != NULL);
    edit_make_locked(lsm, change, &edit);
    mutex_unlock(&lsm->mutex);
    changes->status = manifest_commit(&lsm->manifest, &edit);
    buffer_deinit(&edit);
}

/* What is added may live; what is taken away may have hidden what was written since; and where
 * something is lost, a walk has to say so. */
static void gaps_cut_for_change_locked(struct lsm *lsm, const struct change *change)
{
    if (change->takes) {
        gaps_cut_range(&lsm->gaps, change->stretch.lower, change->stretch.upper);
    }
    for (uint32_t i = 0; i < change->added_count; i++) {
        const struct table_properties *properties = &change->added[i].table->properties;
        gaps_cut_span(&lsm->gaps, properties->key_min, properties->key_max);
    }
    if (change->lost != NULL) {
        quarantine_cut_gaps_locked(lsm, change->lost);
    }
}

static enum status change_install_locked(struct lsm *lsm, const struct change *change)
{
    ASSERT(change != NULL);
    struct table_cut cut = {.file_id = TABLE_CUT_ALL, .stretch = change->stretch};
    struct table_change in_set = change_in_set(change, &cut);
    enum status status = STATUS_OK;
    if (change->takes) {
        status = compaction_note_taken_locked(lsm, &change->stretch);
    }
    gaps_cut_for_change_locked(lsm, change);
    return status == STATUS_OK ? sources_change_locked(lsm, &in_set, false) : status;
}

static void changes_done(struct env_job *job, enum status status)
{
    struct changes *changes = container_of(job, struct changes, job);
    struct lsm *lsm = container_of(changes, struct lsm, changes);
    struct change *change = NULL;
    mutex_lock(&lsm->mutex);
    changes->running = false;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        status = changes->status;
    }
    if (status != STATUS_OK && changes->phase == CHANGE_COMMITTING) {
        changes_end_locked(lsm);
    }
    if (status == STATUS_OK) {
        changes->phase = CHANGE_INSTALLING;
        const struct change *first = change_first(lsm);
        ASSERT(first != NULL);
        status = change_install_locked(lsm, first);
    }
    if (status == STATUS_OK) {
        change = change_first(lsm);
        ASSERT(change != NULL);
        list_remove(&change->node);
        lsm->stats.excise_count += change->takes ? 1 : 0;
        changes->phase = CHANGE_WAITING;
        changes_end_locked(lsm);
        engine_job_worked_locked(lsm, ENGINE_CHANGE);
    } else {
        engine_job_failed_locked(lsm, ENGINE_CHANGE, status);
    }
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
    if (change != NULL) {
        change->done(change, STATUS_OK);
    }
}

void changes_cancel(struct lsm *lsm)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(&lsm->changes.queue)) != NULL) {
        struct change *change = container_of(node, struct change, node);
        change->done(change, STATUS_CANCELLED);
    }
}

void changes_init(struct lsm *lsm)
{
    lsm->changes.job.run = changes_run;
    lsm->changes.job.done = changes_done;
    list_init(&lsm->changes.queue);
}
