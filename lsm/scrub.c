/*
 * lsm/scrub.c -- lsm_scrub: every block of every table is read from the disk, a slice a job.
 *
 * Why: damage that no read meets is met when it is too late, when another copy is gone as well.
 * Invariants:
 *  (1) Tables are read through handles of the scrub's own, without the cache: what is checked is
 *      the disk. They are read one after another by file id, and nothing else is held meanwhile:
 *      a scrub that takes days keeps one dropped table from being given back, not all of them.
 *  (2) One slice is under way at a time, and between two of them other jobs have their turn. With
 *      a rate, each is followed by a rest as long as what it read takes at that rate.
 *  (3) A scrub that rests counts as a job, so that a stop waits until it has ended; it is in
 *      `scrubs`, where a close finds it if the env has ended and its timer will not fire. So is
 *      one whose job the env's end cancelled, with the table it has open.
 */
#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"

#define SCRUB_SLICES_PER_SECOND 16u      /* With a rate: short ones, */
#define SCRUB_SLICE_SIZE_MIN (64u << 10) /* but no shorter than this. */
#define NS_PER_S UINT64_C(1000000000)

struct scrub {
    struct lsm *lsm;
    struct lsm_request *request;
    struct env_job job;
    struct list_node node; /* In scrubs, see (3). */
    struct env_timer timer;
    uint64_t slice_size;
    uint64_t began_ns;    /* The last slice was submitted. */
    uint64_t slice_read;  /* Bytes of the file that the last one went over, about. */
    uint64_t file_id;     /* Those below are read, */
    uint64_t file_id_end; /* and those from here on are younger than the scrub. */
    struct table *table;  /* The one being read; NULL: none. */
    struct table_cursor cursor;
    bool walking;
    bool damaged;   /* Something was. */
    bool giving_up; /* The engine stops: what is open is closed, in a job as all files are. */
    bool ended;
    uint64_t size; /* Bytes of tables read. */
    enum status status;
};

/* The one with the least id of those not read yet; NULL: there is none. */
static const struct table *table_next(const struct scrub *scrub, const struct table_set *set)
{
    const struct table *next = NULL;
    for (uint32_t i = 0; i < set->run_count; i++) {
        const struct run *run = &set->runs[i];
        for (uint32_t j = 0; j < run->table_count; j++) {
            const struct table *table = run->tables[j];
            if (table->file_id >= scrub->file_id && table->file_id < scrub->file_id_end &&
                (next == NULL || table->file_id < next->file_id)) {
                next = table;
            }
        }
    }
    return next;
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

/* A handle of its own; the pin keeps the name there while it is opened. */
static enum status table_open_own(struct scrub *scrub, const struct table *next)
{
    struct lsm *lsm = scrub->lsm;
    char *path = engine_table_path(lsm, next->file_id);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status =
        table_open(lsm->env, path, next->file_id, &next->properties, &scrub->table);
    memory_free(path);
    return status;
}

/* STATUS_NOT_FOUND: all were read. */
static enum status table_enter(struct scrub *scrub)
{
    struct lsm *lsm = scrub->lsm;
    struct sources *sources = sources_pin(lsm);
    const struct table *next = table_next(scrub, sources->tables);
    enum status status = STATUS_NOT_FOUND;
    if (next != NULL) {
        scrub->file_id = next->file_id + 1;
        status = table_open_own(scrub, next);
    }
    sources_unpin(lsm, sources);
    if (next != NULL && status == STATUS_CORRUPT) {
        /* What is open still reads it; a merge may yet save its cells. */
        log_error(lsm->env, "lsm.table_damaged", "path=%s file=%016llx", lsm->path,
                  (unsigned long long)scrub->file_id - 1);
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
    enum status status = STATUS_OK;
    while (status == STATUS_OK && taken < scrub->slice_size) {
        status = scrub->walking ? cursor_next(cursor, LSM_MAY_BLOCK)
                                : cursor_seek(cursor, slice_make(NULL, 0), LSM_MAY_BLOCK);
        scrub->walking = true;
        while (status == STATUS_CORRUPT) {
            status = block_pass(scrub);
        }
        if (status == STATUS_OK) {
            taken += cursor->key.size + cursor->cell.size;
        }
    }
    const struct table_properties *properties = &scrub->table->properties;
    double part = (double)taken / (double)(properties->raw_size > 0 ? properties->raw_size : 1);
    scrub->slice_read = (uint64_t)((double)properties->file_size * part);
    return status;
}

/* On, about a slice. STATUS_NOT_FOUND: all were read. */
static enum status slice_read(struct scrub *scrub)
{
    scrub->slice_read = 0;
    enum status status = scrub->table == NULL ? table_enter(scrub) : STATUS_OK;
    if (status != STATUS_OK || scrub->table == NULL) {
        return status;
    }
    status = table_walk(scrub);
    if (status == STATUS_NOT_FOUND) {
        table_leave(scrub);
        status = STATUS_OK;
    }
    return status;
}

static void scrub_run(struct env_job *job)
{
    struct scrub *scrub = container_of(job, struct scrub, job);
    enum status status = scrub->giving_up ? STATUS_CANCELLED : slice_read(scrub);
    if (status == STATUS_NOT_FOUND) {
        scrub->ended = true;
        status = scrub->damaged ? STATUS_CORRUPT : STATUS_OK;
    }
    scrub->ended = scrub->ended || status != STATUS_OK;
    if (scrub->ended) {
        table_leave(scrub);
    }
    scrub->status = status;
}

static void scrub_submit_locked(struct scrub *scrub)
{
    scrub->giving_up = scrub->lsm->stopping;
    scrub->began_ns = env_monotonic_ns(scrub->lsm->env);
    env_submit(scrub->lsm->env, ENV_LANE_POOL, &scrub->job);
}

/* The slice after the one that began at began_ns: at once, or after a rest. */
static void scrub_go_on_locked(struct scrub *scrub)
{
    struct lsm *lsm = scrub->lsm;
    uint64_t rate = lsm->options.scrub_rate;
    uint64_t now_ns = env_monotonic_ns(lsm->env);
    uint64_t due_ns = now_ns;
    if (rate > 0) {
        double rest = (double)scrub->slice_read * (double)NS_PER_S / (double)rate;
        due_ns = scrub->began_ns + (uint64_t)rest;
    }
    if (due_ns <= now_ns || lsm->stopping) {
        scrub_submit_locked(scrub);
        return;
    }
    list_append(&lsm->scrubs, &scrub->node);
    lsm->env->ops->timer_start(lsm->env, &scrub->timer, due_ns - now_ns);
}

static void scrub_end(struct scrub *scrub, enum status status)
{
    struct lsm *lsm = scrub->lsm;
    struct lsm_request *request = scrub->request;
    table_leave(scrub);
    mutex_lock(&lsm->mutex);
    lsm->guest_job_count--;
    lsm->stats.scrub_size += scrub->size;
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
    memory_free(scrub);
    request->done(request, status);
}

static void scrub_job_done(struct env_job *job, enum status status)
{
    struct scrub *scrub = container_of(job, struct scrub, job);
    struct lsm *lsm = scrub->lsm;
    mutex_lock(&lsm->mutex);
    if (status == STATUS_CANCELLED) { /* Files are not closed here, on the loop. */
        lsm->cancelled = true;
        list_append(&lsm->scrubs, &scrub->node);
        mutex_unlock(&lsm->mutex);
        return;
    }
    bool ended = scrub->ended;
    if (!ended) {
        scrub_go_on_locked(scrub);
    }
    mutex_unlock(&lsm->mutex);
    if (ended) {
        scrub_end(scrub, scrub->status);
    }
}

static void scrub_fired(struct env_timer *timer)
{
    struct scrub *scrub = container_of(timer, struct scrub, timer);
    mutex_lock(&scrub->lsm->mutex);
    list_remove(&scrub->node);
    scrub_submit_locked(scrub);
    mutex_unlock(&scrub->lsm->mutex);
}

void scrubs_stop_locked(struct lsm *lsm)
{
    list_for_each (node, following, &lsm->scrubs) {
        struct scrub *scrub = container_of(node, struct scrub, node);
        lsm->env->ops->timer_start(lsm->env, &scrub->timer, 0);
    }
}

void scrubs_abandon(struct lsm *lsm)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(&lsm->scrubs)) != NULL) {
        scrub_end(container_of(node, struct scrub, node), STATUS_CANCELLED);
    }
}

static uint64_t slice_size(const struct lsm_options *options)
{
    if (options->scrub_rate == 0) {
        return options->slice_size;
    }
    uint64_t size = options->scrub_rate / SCRUB_SLICES_PER_SECOND;
    size = size > SCRUB_SLICE_SIZE_MIN ? size : SCRUB_SLICE_SIZE_MIN;
    return size < options->slice_size ? size : options->slice_size;
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
    scrub->timer.fired = scrub_fired;
    scrub->slice_size = slice_size(&lsm->options);
    mutex_lock(&lsm->mutex);
    enum status status = lsm->stopping || lsm->cancelled ? STATUS_CLOSED : STATUS_OK;
    if (status == STATUS_OK) {
        scrub->file_id_end = lsm->next_file_id;
        lsm->guest_job_count++;
        scrub_submit_locked(scrub);
    }
    mutex_unlock(&lsm->mutex);
    if (status != STATUS_OK) {
        memory_free(scrub);
    }
    return status;
}
