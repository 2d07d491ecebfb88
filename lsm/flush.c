/*
 * lsm/flush.c -- memtable to tables, in slices, then the log it came from goes.
 *
 * Invariants:
 *  (1) Tables are synced, then their names, then the edit that names them and moves the replay
 *      position; only then do log segments go, and last the memtable.
 *  (2) A frozen memtable has no writer, so the cursor may pause between slices for as long as it
 *      likes.
 *  (3) After a failed commit the disk may have the edit: tables and segments stay, and the same
 *      edit is committed again.
 *  (4) Memtables are flushed oldest first: the replay position never passes over one that is still
 *      in memory only.
 */
#include "lsm/flush.h"

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"

/* Segments that hold nothing from `position` on leave the log; the rest keep their order. */
static uint64_t segments_take_dead_locked(struct wal *wal, uint64_t position,
                                          struct list_node *dead)
{
    list_for_each (node, following, &wal->segments) {
        struct wal_segment *segment = container_of(node, struct wal_segment, node);
        bool written_to = following == &wal->segments || segment == wal->retiring;
        if (written_to || segment->last_position > position) {
            return segment->id;
        }
        list_remove(node);
        list_append(dead, node);
    }
    UNREACHABLE("the last segment is never dead");
}

static void segments_put_back_locked(struct wal *wal, struct list_node *dead)
{
    struct list_node *first = wal->segments.next;
    struct list_node *node = NULL;
    while ((node = list_take_first(dead)) != NULL) {
        list_insert_before(first, node);
    }
}

static void segments_remove(struct lsm *lsm, struct list_node *dead)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(dead)) != NULL) {
        segment_dead(lsm, container_of(node, struct wal_segment, node));
    }
}

static struct table_change flush_change(const struct flush *flush)
{
    return (struct table_change){
        .added = flush->output.places,
        .added_count = flush->output.place_count,
    };
}

static enum status flush_commit(struct lsm *lsm)
{
    struct flush *flush = &lsm->flush;
    struct table_change change = flush_change(flush);
    struct buffer edit = {0};
    struct list_node dead;
    list_init(&dead);
    mutex_lock(&lsm->mutex);
    table_change_put(&edit, &change, lsm->sources->tables);
    uint64_t position = LSM_MUTANT(FLUSH_MOVES_REPLAY_EARLY) ? lsm->applied_position
                                                             : flush->memtable->replay_position;
    uint64_t first = segments_take_dead_locked(&lsm->wal, position, &dead);
    manifest_put_next_file(&edit, lsm->next_file_id);
    mutex_unlock(&lsm->mutex);
    manifest_put_replay(&edit, position, first);
    if (LSM_MUTANT(REMOVE_BEFORE_COMMIT)) {
        segments_remove(lsm, &dead);
    }
    enum status status = manifest_commit(&lsm->manifest, &edit);
    buffer_deinit(&edit);
    if (status == STATUS_OK) {
        segments_remove(lsm, &dead);
        return STATUS_OK;
    }
    mutex_lock(&lsm->mutex);
    segments_put_back_locked(&lsm->wal, &dead);
    mutex_unlock(&lsm->mutex);
    return status;
}

/* Takes about one slice; STATUS_NOT_FOUND: the memtable is at its end. */
static enum status flush_slice(struct lsm *lsm)
{
    struct flush *flush = &lsm->flush;
    struct cursor *cursor = &flush->cursor.base;
    enum status status = STATUS_OK;
    if (!flush->started) {
        memtable_cursor_open(&flush->cursor, flush->memtable);
        status = cursor_seek(cursor, slice_make(NULL, 0), LSM_MAY_BLOCK);
        flush->started = true;
    } else {
        status = cursor_next(cursor, LSM_MAY_BLOCK);
    }
    uint64_t taken = 0;
    while (status == STATUS_OK) {
        bool cut = false;
        status = table_output_add(lsm, &flush->output, cursor->key, cursor->cell, &cut);
        if (status != STATUS_OK) {
            return status;
        }
        taken += cursor->key.size + cursor->cell.size;
        flush->taken_count++;
        if (taken >= lsm->options.slice_size) {
            return STATUS_OK;
        }
        status = cursor_next(cursor, LSM_MAY_BLOCK);
    }
    return status;
}

static void flush_run(struct env_job *job)
{
    struct flush *flush = container_of(job, struct flush, job);
    struct lsm *lsm = container_of(flush, struct lsm, flush);
    enum status status = STATUS_OK;
    if (flush->phase == FLUSH_GIVING_UP) {
        table_output_discard(lsm, &flush->output);
    }
    if (flush->phase == FLUSH_WRITING && !flush->started) {
        /* Compression only makes it less; nothing is begun that cannot be ended. */
        status = space_reserve(
            lsm, atomic_load_explicit(&flush->memtable->size, memory_order_relaxed) / 2);
    }
    if (flush->phase == FLUSH_WRITING && status == STATUS_OK) {
        status = flush_slice(lsm);
        if (status == STATUS_NOT_FOUND) {
            status = table_output_finish(lsm, &flush->output);
            flush->phase = status == STATUS_OK ? FLUSH_COMMITTING : FLUSH_WRITING;
        }
    }
    if (flush->phase == FLUSH_COMMITTING) {
        status = flush_commit(lsm);
        flush->phase = status == STATUS_OK ? FLUSH_INSTALLING : FLUSH_COMMITTING;
    }
    flush->status = status;
}

static void flush_submit_locked(struct lsm *lsm)
{
    lsm->flush.running = true;
    env_submit(lsm->env, ENV_LANE_POOL, &lsm->flush.job);
}

/* Frees what the flush holds, without touching files on the loop. */
static void flush_end_locked(struct lsm *lsm)
{
    struct flush *flush = &lsm->flush;
    sources_memtable_release(lsm, flush->memtable);
    flush->memtable = NULL;
    flush->flushed_count = 0;
}

static enum status flush_install_locked(struct lsm *lsm)
{
    struct flush *flush = &lsm->flush;
    struct table_change change = flush_change(flush);
    enum status status = sources_change_locked(lsm, &change, true);
    if (status == STATUS_OK) {
        lsm->flushed_total++;
        lsm->replay_position = flush->memtable->replay_position;
        purge_note_replay_position_locked(lsm, lsm->replay_position);
        lsm->stats.flush_written += flush->output.size;
        engine_job_worked_locked(lsm, ENGINE_FLUSH);
        table_output_reset(&flush->output); /* The sources hold the tables: closes no file. */
        flush_end_locked(lsm);
    }
    return status;
}

static void flush_done(struct env_job *job, enum status status)
{
    struct flush *flush = container_of(job, struct flush, job);
    struct lsm *lsm = container_of(flush, struct lsm, flush);
    mutex_lock(&lsm->mutex);
    flush->running = false;
    flush->flushed_count = flush->taken_count;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        status = flush->status;
    }
    if (status == STATUS_OK && flush->phase == FLUSH_INSTALLING) {
        status = flush_install_locked(lsm);
    } else if (status == STATUS_OK && flush->phase == FLUSH_GIVING_UP) {
        flush_end_locked(lsm);
    }
    if (status != STATUS_OK) {
        engine_job_failed_locked(lsm, ENGINE_FLUSH, status);
        if (flush->phase == FLUSH_WRITING && status != STATUS_CANCELLED) {
            flush->phase = FLUSH_GIVING_UP;
            flush_submit_locked(lsm); /* At once: somebody may need the space. */
        }
    }
    compaction_rest_locked(lsm);
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

void flush_pump_locked(struct lsm *lsm)
{
    struct flush *flush = &lsm->flush;
    struct sources *sources = lsm->sources;
    if (flush->running || !engine_may_start_locked(lsm, ENGINE_FLUSH)) {
        return;
    }
    if (flush->memtable != NULL) {
        flush_submit_locked(lsm); /* The next slice, or what failed once more. */
        return;
    }
    if (sources->frozen_count == 0 || changes_hold_flush_locked(lsm) ||
        sources->tables->run_count >= LSM_RUN_COUNT_BEFORE_STALL) {
        return;
    }
    flush->started = false;
    flush->taken_count = 0;
    flush->phase = FLUSH_WRITING;
    flush->memtable = sources->frozen[0];
    memtable_reference(flush->memtable);
    flush->output = (struct table_output){
        .run_id = lsm->next_file_id++,
        .tier = 0,
        .table_size_max = lsm->options.table_size_max,
    };
    flush_submit_locked(lsm);
}

void flush_abandon(struct lsm *lsm)
{
    table_output_reset(&lsm->flush.output);
    if (lsm->flush.memtable != NULL) {
        flush_end_locked(lsm);
    }
}

void flush_init(struct lsm *lsm)
{
    lsm->flush.job.run = flush_run;
    lsm->flush.job.done = flush_done;
}
