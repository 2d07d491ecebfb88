/*
 * lsm/ingest.c -- lsm_ingest: files are linked, checked whole, and come in by one edit.
 *
 * Links and not copies: the engine reads the very bytes that were checked, and the caller's names
 * may go at any time.
 */
#include "lsm/ingest.h"

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"
#include "lsm/table_check.h"

#define INGEST_TIER_FACTOR 4u /* A tier holds runs so many times as large as the one above. */

enum ingest_phase {
    INGEST_LINKING,
    INGEST_CHECKING,
    INGEST_SETTLING,
    INGEST_SETTLED,
    INGEST_GIVING_UP
};

struct ingest {
    struct lsm *lsm;
    struct lsm_ingest *request;
    struct env_job job;
    struct change change;
    enum ingest_phase phase;
    enum status status;
    bool queued; /* Its change is. */
    struct clip stretch;
    uint32_t opened_count; /* Tables in `places`. */
    uint64_t linked_id;    /* Of the file being looked at; 0: not linked. */
    struct table_check check;
    uint64_t size;
    struct list_node node;
    struct table_place places[]; /* One per file. */
};

/* What a refused file is told by. */
static enum status refuse(struct ingest *ingest, uint32_t index, const char *problem)
{
    ingest->request->problem = problem;
    ingest->request->problem_index = index;
    log_error(ingest->lsm->env, "lsm.ingest_refused", "path=%s problem=\"%s\"",
              ingest->request->paths[index], problem);
    return STATUS_CORRUPT;
}

static enum status file_link(struct ingest *ingest)
{
    struct lsm *lsm = ingest->lsm;
    uint32_t index = ingest->opened_count;
    uint64_t id = engine_file_id(lsm);
    char *path = engine_table_path(lsm, id);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = lsm->env->ops->name_link(lsm->env, ingest->request->paths[index], path);
    if (status == STATUS_OK) {
        ingest->linked_id = id;
        struct table *table = NULL;
        status = table_open(lsm->env, path, id, NULL, &table);
        if (status == STATUS_OK) {
            ingest->places[ingest->opened_count++] = (struct table_place){.table = table};
            ingest->linked_id = 0;
        }
    }
    memory_free(path);
    if (ingest->linked_id == 0 && status != STATUS_OK) {
        (void)refuse(ingest, index, "no such file, or on another disk");
    }
    if (status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED) {
        (void)refuse(ingest, index,
                     status == STATUS_CORRUPT ? "no table, or damaged in its index"
                                              : "of a newer format version");
    }
    return status;
}

/* Before its cells are read. */
static enum status file_begin(struct ingest *ingest)
{
    enum status status = file_link(ingest);
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t index = ingest->opened_count - 1;
    struct table *table = ingest->places[index].table;
    const struct table_properties *properties = &table->properties;
    if (ingest->request->checksums != NULL) {
        table->properties.file_checksum = ingest->request->checksums[index];
    }
    struct slice lower = ingest->stretch.lower;
    struct slice upper = ingest->stretch.upper;
    if (slice_compare(properties->key_min, lower) < 0 ||
        (upper.size > 0 && slice_compare(properties->key_max, upper) >= 0)) {
        return refuse(ingest, index, "keys outside of the stretch");
    }
    table_check_open(&ingest->check, table);
    return STATUS_OK;
}

/* A slice. STATUS_NOT_FOUND: the file is sound. */
static enum status file_check(struct ingest *ingest)
{
    enum status status = table_check_next(&ingest->check, ingest->lsm->options.slice_size);
    if (status == STATUS_OK) {
        return status;
    }
    struct table *table = ingest->places[ingest->opened_count - 1].table;
    if (status == STATUS_NOT_FOUND) {
        table->properties.file_checksum = ingest->check.checksum;
        ingest->size += table->properties.file_size;
    } else if (status == STATUS_CORRUPT) {
        (void)refuse(ingest, ingest->opened_count - 1, ingest->check.problem);
    }
    table_check_close(&ingest->check);
    return status;
}

/* All are open and sound: they are one run if they are disjoint. */
static enum status files_settle(struct ingest *ingest)
{
    struct lsm *lsm = ingest->lsm;
    uint32_t count = ingest->opened_count;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            const struct table_properties *a = &ingest->places[i].table->properties;
            const struct table_properties *b = &ingest->places[j].table->properties;
            if (slice_compare(a->key_min, b->key_max) <= 0 &&
                slice_compare(b->key_min, a->key_max) <= 0) {
                return refuse(ingest, i, "keys that overlap those of another file");
            }
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        engine_table_adopt(lsm, ingest->places[i].table);
    }
    return LSM_MUTANT(INGEST_NOT_SYNCED) ? STATUS_OK : lsm->env->ops->dir_sync(lsm->env, lsm->path);
}

static void file_drop(struct lsm *lsm, uint64_t id)
{
    engine_path_remove(lsm, engine_table_path(lsm, id));
}

/* Closes and removes what was linked. */
static void files_drop(struct ingest *ingest)
{
    struct lsm *lsm = ingest->lsm;
    table_check_close(&ingest->check);
    if (ingest->linked_id != 0) {
        file_drop(lsm, ingest->linked_id);
        ingest->linked_id = 0;
    }
    while (ingest->opened_count > 0) {
        struct table *table = ingest->places[--ingest->opened_count].table;
        file_drop(lsm, table->file_id);
        bool last = table_release(table);
        ASSERT(last);
        table_close(table);
    }
}

static void ingest_run(struct env_job *job)
{
    struct ingest *ingest = container_of(job, struct ingest, job);
    enum status status = STATUS_OK;
    switch (ingest->phase) {
    case INGEST_LINKING:
        status = file_begin(ingest);
        ingest->phase = INGEST_CHECKING;
        break;
    case INGEST_CHECKING:
        status = file_check(ingest);
        if (status == STATUS_NOT_FOUND) {
            bool all = ingest->opened_count == ingest->request->count;
            ingest->phase = all ? INGEST_SETTLING : INGEST_LINKING;
            status = STATUS_OK;
        }
        break;
    case INGEST_SETTLING:
        status = files_settle(ingest);
        ingest->phase = status == STATUS_OK ? INGEST_SETTLED : INGEST_SETTLING;
        break;
    case INGEST_SETTLED:
        UNREACHABLE("the change was queued");
    case INGEST_GIVING_UP:
        files_drop(ingest);
        return; /* The status stays that of what failed. */
    }
    ingest->status = status;
}

static void ingest_free(struct ingest *ingest)
{
    list_remove(&ingest->node);
    memory_free(ingest);
}

static void ingest_submit_locked(struct ingest *ingest)
{
    ingest->lsm->guest_job_count++;
    env_submit(ingest->lsm->env, ENV_LANE_POOL, &ingest->job);
}

/* It is in, or the engine closed first. The set has references of its own by now. */
static void ingest_change_done(struct change *change, enum status status)
{
    struct ingest *ingest = container_of(change, struct ingest, change);
    struct lsm *lsm = ingest->lsm;
    struct lsm_ingest *request = ingest->request;
    if (status != STATUS_OK) {
        ingest->request = NULL; /* This is the loop: ingests_abandon() closes the files. */
        request->done(request, status);
        return;
    }
    while (ingest->opened_count > 0) {
        bool last = table_release(ingest->places[--ingest->opened_count].table);
        ASSERT(!last);
    }
    mutex_lock(&lsm->mutex);
    lsm->stats.ingest_count++;
    ingest_free(ingest);
    mutex_unlock(&lsm->mutex);
    request->done(request, status);
}

static bool overlaps(const struct run *run, const struct table_properties *properties)
{
    uint32_t index = run_lower_bound(run, properties->key_min);
    return index < run->table_count &&
           slice_compare(run_place_first(run, index), properties->key_max) <= 0;
}

/* The bottom, if nothing there is in the way and no merge is on its way there: it would have to
 * take the new tables in. So would a sweep: of the sides of a gap in a table it makes one. (What an
 * excise takes first is in nobody's way.) */
static bool fits_bottom_locked(const struct lsm *lsm, const struct ingest *ingest,
                               const struct run **bottom)
{
    const struct compaction *compaction = &lsm->compaction;
    const struct table_set *set = lsm->sources->tables;
    *bottom = NULL;
    if (compaction->merging_count > 0 ||
        (compaction->phase != COMPACTION_IDLE &&
         (compaction->bottom || compaction->moves || compaction->sweeps))) {
        return false;
    }
    for (uint32_t i = 0; i < set->run_count; i++) {
        if (set->runs[i].tier == TABLE_SET_BOTTOM) {
            *bottom = &set->runs[i];
        }
    }
    for (uint32_t i = 0; *bottom != NULL && !ingest->change.takes && i < ingest->opened_count;
         i++) {
        if (overlaps(*bottom, &ingest->places[i].table->properties)) {
            return false;
        }
    }
    return true;
}

static uint32_t tier_for(const struct lsm *lsm, uint64_t size)
{
    uint32_t tier = 0;
    for (uint64_t room = lsm->options.memtable_size;
         room < size && tier + 2 < TABLE_SET_BOTTOM && room < UINT64_MAX / INGEST_TIER_FACTOR;
         room *= INGEST_TIER_FACTOR) {
        tier++;
    }
    return tier;
}

static void ingest_settle_locked(struct lsm *lsm, struct change *change)
{
    struct ingest *ingest = container_of(change, struct ingest, change);
    const struct run *bottom = NULL;
    bool fits = fits_bottom_locked(lsm, ingest, &bottom);
    uint64_t run_id = fits && bottom != NULL ? bottom->id : lsm->next_file_id++;
    for (uint32_t i = 0; i < ingest->opened_count; i++) {
        struct table_place *place = &ingest->places[i];
        const struct table_properties *properties = &place->table->properties;
        place->run_id = run_id;
        place->tier = fits ? TABLE_SET_BOTTOM : tier_for(lsm, ingest->size);
        if (version_compare(properties->version_max, lsm->stats.version_max) > 0) {
            lsm->stats.version_max = properties->version_max;
        }
    }
}

static enum status ingest_queue_locked(struct ingest *ingest)
{
    enum status status = STATUS_CANCELLED;
    struct lsm *lsm = ingest->lsm;
    if (!lsm->stopping && !lsm->cancelled) {
        ingest->change.added = ingest->places;
        ingest->change.added_count = ingest->opened_count;
        status = lsm->failed ? STATUS_READ_ONLY : change_add_locked(lsm, &ingest->change);
    }
    ingest->queued = status == STATUS_OK;
    return status;
}

static void ingest_done(struct env_job *job, enum status status)
{
    struct ingest *ingest = container_of(job, struct ingest, job);
    struct lsm *lsm = ingest->lsm;
    struct lsm_ingest *refused = NULL;
    mutex_lock(&lsm->mutex);
    lsm->guest_job_count--;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_CANCELLED) {
        /* ingests_abandon() ends it. */
    } else if (ingest->phase == INGEST_GIVING_UP) {
        refused = ingest->request;
        status = ingest->status;
        ingest_free(ingest);
    } else {
        if (ingest->status == STATUS_OK && (lsm->stopping || lsm->cancelled)) {
            ingest->status = STATUS_CANCELLED;
        } else if (ingest->status == STATUS_OK && ingest->phase == INGEST_SETTLED) {
            ingest->status = ingest_queue_locked(ingest);
        }
        if (ingest->status != STATUS_OK) {
            ingest->phase = INGEST_GIVING_UP;
        }
        if (!ingest->queued) {
            ingest_submit_locked(ingest);
        }
    }
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
    if (refused != NULL) {
        refused->done(refused, status);
    }
}

static struct ingest *ingest_create(struct lsm *lsm, struct lsm_ingest *request)
{
    size_t places_size = request->count * sizeof(struct table_place);
    size_t bounds_size = request->lower.size + request->upper.size;
    struct ingest *ingest = memory_allocate_zeroed(1, sizeof(*ingest) + places_size + bounds_size);
    if (ingest == NULL) {
        return NULL;
    }
    uint8_t *bounds = (uint8_t *)&ingest->places[request->count];
    if (request->lower.size > 0) {
        memcpy(bounds, request->lower.data, request->lower.size);
    }
    if (request->upper.size > 0) {
        memcpy(bounds + request->lower.size, request->upper.data, request->upper.size);
    }
    ingest->lsm = lsm;
    ingest->request = request;
    ingest->stretch.lower = slice_make(bounds, request->lower.size);
    ingest->stretch.upper = slice_make(bounds + request->lower.size, request->upper.size);
    ingest->job.run = ingest_run;
    ingest->job.done = ingest_done;
    ingest->change = (struct change){
        .takes = request->excise,
        .stretch = ingest->stretch,
        .settle_locked = ingest_settle_locked,
        .done = ingest_change_done,
    };
    return ingest;
}

enum status lsm_ingest(struct lsm *lsm, struct lsm_ingest *request)
{
    ASSERT(lsm != NULL);
    ASSERT(request != NULL && request->done != NULL);
    request->problem = NULL;
    if (request->count == 0 || request->count > LSM_INGEST_COUNT_MAX ||
        !clip_is_stretch(&(struct clip){request->lower, request->upper})) {
        return STATUS_INVALID;
    }
    struct ingest *ingest = ingest_create(lsm, request);
    if (ingest == NULL) {
        return STATUS_NO_MEMORY;
    }
    mutex_lock(&lsm->mutex);
    enum status status = engine_admit_locked(lsm);
    if (status == STATUS_OK) {
        list_append(&lsm->ingests.running, &ingest->node);
        ingest_submit_locked(ingest);
    }
    mutex_unlock(&lsm->mutex);
    if (status != STATUS_OK) {
        memory_free(ingest);
    }
    return status;
}

bool ingests_may_hold_locked(const struct lsm *lsm, struct slice key)
{
    list_for_each (node, following, &lsm->ingests.running) {
        if (clip_holds(&container_of(node, struct ingest, node)->stretch, key)) {
            return true;
        }
    }
    return false;
}

void ingests_abandon(struct lsm *lsm)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(&lsm->ingests.running)) != NULL) {
        struct ingest *ingest = container_of(node, struct ingest, node);
        struct lsm_ingest *request = ingest->request;
        table_check_close(&ingest->check);
        while (ingest->opened_count > 0) { /* The next open removes the files. */
            struct table *table = ingest->places[--ingest->opened_count].table;
            if (table_release(table)) {
                table_close(table);
            }
        }
        memory_free(ingest);
        if (request != NULL) { /* Else it was told, when its change was cancelled. */
            request->done(request, STATUS_CANCELLED);
        }
    }
}

void ingests_init(struct lsm *lsm)
{
    list_init(&lsm->ingests.running);
}
