/*
 * lsm/scrub.c -- lsm_scrub: every block of every table is read from the disk, a slice a job.
 *
 * Why: damage that no read meets is met when it is too late, when another copy is gone as well.
 * Invariants:
 *  (1) Tables are read through handles of the scrub's own, without the cache: what is checked is
 *      the disk.
 *  (2) One slice is under way at a time, and between two of them other jobs have their turn.
 */
#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"

struct scrub {
    struct lsm *lsm;
    struct lsm_request *request;
    struct env_job job;
    struct sources *sources; /* Pinned. */
    uint32_t run_index;      /* Of the place to read next. */
    uint32_t place_index;
    struct table *table; /* The one being read; NULL: none. */
    struct table_cursor cursor;
    bool walking;
    bool damaged; /* Something was. */
    bool ended;
    uint64_t size; /* Bytes of tables read. */
    enum status status;
};

/* The next place that is the first of its file; NULL: there is none left. */
static const struct table *table_next(struct scrub *scrub)
{
    const struct table_set *set = scrub->sources->tables;
    while (scrub->run_index < set->run_count) {
        const struct run *run = &set->runs[scrub->run_index];
        while (scrub->place_index < run->table_count) {
            uint32_t index = scrub->place_index++;
            if (!run_place_is_further(run, index)) {
                return run->tables[index];
            }
        }
        scrub->run_index++;
        scrub->place_index = 0;
    }
    return NULL;
}

static void table_leave(struct scrub *scrub)
{
    if (scrub->table != NULL) {
        scrub->size += scrub->table->properties.file_size;
        table_cursor_close(&scrub->cursor);
        table_close(scrub->table);
        scrub->table = NULL;
    }
}

/* STATUS_NOT_FOUND: all were read. */
static enum status table_enter(struct scrub *scrub)
{
    struct lsm *lsm = scrub->lsm;
    const struct table *next = table_next(scrub);
    if (next == NULL) {
        return STATUS_NOT_FOUND;
    }
    char *path = engine_table_path(lsm, next->file_id);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status =
        table_open(lsm->env, path, next->file_id, &next->properties, &scrub->table);
    memory_free(path);
    if (status == STATUS_CORRUPT) {
        /* What is open still reads it; a merge may yet save its cells. */
        log_error(lsm->env, "lsm.table_damaged", "path=%s file=%016llx", lsm->path,
                  (unsigned long long)next->file_id);
        scrub->damaged = true;
        return STATUS_OK;
    }
    if (status == STATUS_OK) {
        scrub->damaged = scrub->damaged || scrub->table->damage_count > 0;
        scrub->walking = false;
        table_cursor_open(&scrub->cursor, scrub->table);
    }
    return status;
}

/* A damaged block is noted, and passed over. */
static enum status block_pass(struct scrub *scrub)
{
    struct slice lower;
    struct slice upper;
    uint32_t block_index = scrub->cursor.block_index;
    scrub->damaged = true;
    quarantine_note(scrub->lsm, scrub->table->file_id, block_index);
    table_block_bounds(scrub->table, block_index, &lower, &upper);
    return upper.size == 0 ? STATUS_NOT_FOUND
                           : cursor_seek(&scrub->cursor.base, upper, LSM_MAY_BLOCK);
}

/* On in the table, about a slice. STATUS_NOT_FOUND: it is at its end. */
static enum status table_walk(struct scrub *scrub)
{
    struct cursor *cursor = &scrub->cursor.base;
    uint64_t taken = 0;
    while (taken < scrub->lsm->options.slice_size) {
        enum status status = scrub->walking
                                 ? cursor_next(cursor, LSM_MAY_BLOCK)
                                 : cursor_seek(cursor, slice_make(NULL, 0), LSM_MAY_BLOCK);
        scrub->walking = true;
        while (status == STATUS_CORRUPT) {
            status = block_pass(scrub);
        }
        if (status != STATUS_OK) {
            return status;
        }
        taken += cursor->key.size + cursor->cell.size;
    }
    return STATUS_OK;
}

static void scrub_run(struct env_job *job)
{
    struct scrub *scrub = container_of(job, struct scrub, job);
    enum status status = scrub->table == NULL ? table_enter(scrub) : STATUS_OK;
    if (status == STATUS_NOT_FOUND) {
        scrub->ended = true;
        status = scrub->damaged ? STATUS_CORRUPT : STATUS_OK;
    } else if (status == STATUS_OK && scrub->table != NULL) {
        status = table_walk(scrub);
        if (status == STATUS_NOT_FOUND) {
            table_leave(scrub);
            status = STATUS_OK;
        }
    }
    scrub->ended = scrub->ended || status != STATUS_OK;
    if (scrub->ended) {
        table_leave(scrub);
    }
    scrub->status = status;
}

static void scrub_submit_locked(struct scrub *scrub)
{
    scrub->lsm->guest_job_count++;
    env_submit(scrub->lsm->env, ENV_LANE_POOL, &scrub->job);
}

static void scrub_end(struct scrub *scrub, enum status status)
{
    struct lsm_request *request = scrub->request;
    table_leave(scrub);
    sources_unpin(scrub->lsm, scrub->sources);
    memory_free(scrub);
    request->done(request, status);
}

static void scrub_job_done(struct env_job *job, enum status status)
{
    struct scrub *scrub = container_of(job, struct scrub, job);
    struct lsm *lsm = scrub->lsm;
    mutex_lock(&lsm->mutex);
    lsm->guest_job_count--;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        status = scrub->status;
    }
    if (!scrub->ended && status == STATUS_OK && (lsm->stopping || lsm->cancelled)) {
        status = STATUS_CANCELLED;
    }
    bool ended = scrub->ended || status != STATUS_OK;
    if (ended) {
        lsm->stats.scrub_size += scrub->size;
    } else {
        scrub_submit_locked(scrub);
    }
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
    if (ended) {
        scrub_end(scrub, status);
    }
}

enum status lsm_scrub(struct lsm *lsm, struct lsm_request *request)
{
    ASSERT(lsm != NULL);
    ASSERT(request != NULL && request->done != NULL);
    struct scrub *scrub = memory_allocate_zeroed(1, sizeof(*scrub));
    if (scrub == NULL) {
        return STATUS_NO_MEMORY;
    }
    scrub->lsm = lsm;
    scrub->request = request;
    scrub->job.run = scrub_run;
    scrub->job.done = scrub_job_done;
    mutex_lock(&lsm->mutex);
    enum status status = lsm->stopping || lsm->cancelled ? STATUS_CLOSED : STATUS_OK;
    if (status == STATUS_OK) {
        scrub->sources = sources_pin(lsm);
        scrub_submit_locked(scrub);
    }
    mutex_unlock(&lsm->mutex);
    if (status != STATUS_OK) {
        memory_free(scrub);
    }
    return status;
}
