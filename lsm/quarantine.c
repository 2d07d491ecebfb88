/*
 * lsm/quarantine.c -- lists of lost stretches, and the second look at a block that seemed damaged.
 */
#include "lsm/quarantine.h"

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/change.h"
#include "lsm/engine.h"

static void item_free(struct quarantine *item)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): the way past const; both bounds are in one. */
    memory_free((void *)(uintptr_t)item->stretch.lower.data);
}

/* Both bounds in one piece of memory, which the lower one begins. */
static bool item_make(struct quarantine *item, const struct clip *stretch,
                      struct version version_max)
{
    size_t lower_size = stretch->lower.size;
    size_t upper_size = stretch->upper.size;
    uint8_t *bounds = memory_allocate(lower_size + upper_size + 1);
    if (bounds == NULL) {
        return false;
    }
    if (lower_size > 0) {
        memcpy(bounds, stretch->lower.data, lower_size);
    }
    if (upper_size > 0) {
        memcpy(bounds + lower_size, stretch->upper.data, upper_size);
    }
    *item = (struct quarantine){
        .stretch = {.lower = slice_make(bounds, lower_size),
                    .upper = slice_make(bounds + lower_size, upper_size)},
        .version_max = version_max,
    };
    return true;
}

void quarantine_list_deinit(struct quarantine_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        item_free(&list->items[i]);
    }
    memory_free(list->items);
    *list = (struct quarantine_list){0};
}

static bool item_covers(const struct quarantine *item, const struct clip *stretch,
                        struct version version_max)
{
    const struct clip *own = &item->stretch;
    bool upper = own->upper.size == 0 ||
                 (stretch->upper.size > 0 && slice_compare(stretch->upper, own->upper) <= 0);
    return upper && slice_compare(own->lower, stretch->lower) <= 0 &&
           version_compare(version_max, item->version_max) <= 0;
}

static struct clip clip_hull(const struct clip *a, const struct clip *b)
{
    bool open = a->upper.size == 0 || b->upper.size == 0;
    struct clip hull = {
        .lower = slice_compare(a->lower, b->lower) < 0 ? a->lower : b->lower,
        .upper = slice_compare(a->upper, b->upper) > 0 ? a->upper : b->upper,
    };
    hull.upper = open ? slice_make(NULL, 0) : hull.upper;
    return hull;
}

/* See (3): the last one grows. */
static void last_widen(struct quarantine_list *list, const struct clip *stretch,
                       struct version version_max)
{
    struct quarantine *last = &list->items[list->count - 1];
    struct clip hull = clip_hull(&last->stretch, stretch);
    bool greater = version_compare(version_max, last->version_max) > 0;
    struct quarantine wide;
    if (!item_make(&wide, &hull, greater ? version_max : last->version_max)) {
        list->failed = true;
        return;
    }
    item_free(last);
    *last = wide;
}

void quarantine_list_add(struct quarantine_list *list, const struct clip *stretch,
                         struct version version_max)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (item_covers(&list->items[i], stretch, version_max)) {
            return;
        }
    }
    if (list->count == QUARANTINE_COUNT_MAX) {
        last_widen(list, stretch, version_max);
        return;
    }
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity == 0 ? 4 : list->capacity * 2;
        void *items = memory_resize(list->items, capacity * sizeof(struct quarantine));
        if (items == NULL) {
            list->failed = true;
            return;
        }
        list->items = items;
        list->capacity = capacity;
    }
    if (item_make(&list->items[list->count], stretch, version_max)) {
        list->count++;
    } else {
        list->failed = true;
    }
}

void quarantine_list_add_all(struct quarantine_list *list, const struct quarantine_list *from)
{
    for (uint32_t i = 0; i < from->count; i++) {
        quarantine_list_add(list, &from->items[i].stretch, from->items[i].version_max);
    }
}

void quarantine_list_cut(struct quarantine_list *list, const struct clip *stretch)
{
    struct quarantine_list cut = {.failed = list->failed};
    for (uint32_t i = 0; i < list->count; i++) {
        struct clip left[2];
        uint32_t count = clip_subtract(&list->items[i].stretch, stretch, left);
        for (uint32_t j = 0; j < count; j++) {
            quarantine_list_add(&cut, &left[j], list->items[i].version_max);
        }
    }
    quarantine_list_deinit(list);
    *list = cut;
}

static void list_add_between(struct quarantine_list *list, struct slice lower, struct slice upper,
                             const struct clip *clip, struct version version_max)
{
    struct clip stretch = {
        .lower = slice_compare(clip->lower, lower) > 0 ? clip->lower : lower,
        .upper = upper,
    };
    if (clip->upper.size > 0 && slice_compare(clip->upper, upper) < 0) {
        stretch.upper = clip->upper;
    }
    if (slice_compare(stretch.lower, stretch.upper) < 0) {
        quarantine_list_add(list, &stretch, version_max);
    }
}

void quarantine_list_add_range(struct quarantine_list *list, struct slice key_min,
                               struct slice key_max, const struct clip *clip,
                               struct version version_max)
{
    static const uint8_t zero = 0; /* The least key above the greatest. */
    struct buffer upper = {0};
    buffer_append_slice(&upper, key_max);
    buffer_append(&upper, &zero, 1);
    if (buffer_status(&upper) == STATUS_OK) {
        list_add_between(list, key_min, buffer_slice(&upper), clip, version_max);
    } else {
        list->failed = true;
    }
    buffer_deinit(&upper);
}

void quarantine_list_add_block(struct quarantine_list *list, const struct table *table,
                               const struct clip *clip, uint32_t block_index)
{
    const struct table_properties *properties = &table->properties;
    struct slice lower;
    struct slice upper;
    table_block_bounds(table, block_index, &lower, &upper);
    if (slice_compare(lower, properties->key_min) < 0) {
        lower = properties->key_min;
    }
    if (upper.size == 0) {
        quarantine_list_add_range(list, lower, properties->key_max, clip, properties->version_max);
    } else {
        list_add_between(list, lower, upper, clip, properties->version_max);
    }
}

bool quarantine_list_find(const struct quarantine_list *list, struct slice key,
                          struct version *version)
{
    bool any = false;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct quarantine *item = &list->items[i];
        if (clip_holds(&item->stretch, key)) {
            any = true;
            if (version_compare(item->version_max, *version) > 0) {
                *version = item->version_max;
            }
        }
    }
    return any;
}

/* The second look. */

void quarantine_note(struct lsm *lsm, uint64_t file_id, uint32_t block_index)
{
    struct quarantines *quarantines = &lsm->quarantines;
    struct quarantine_note *room = NULL;
    mutex_lock(&lsm->mutex);
    for (uint32_t i = 0; i < QUARANTINE_NOTE_COUNT_MAX; i++) {
        struct quarantine_note *note = &quarantines->notes[i];
        if (note->file_id == file_id && note->block_index == block_index) {
            mutex_unlock(&lsm->mutex);
            return; /* Known. */
        }
        if (note->file_id == 0 || (note->settled && (room == NULL || room->file_id != 0))) {
            room = note;
        }
    }
    if (room != NULL) { /* Else somebody will meet it again. */
        *room = (struct quarantine_note){.file_id = file_id, .block_index = block_index};
        engine_notify_locked(lsm); /* Its completion pumps. */
    }
    mutex_unlock(&lsm->mutex);
}

/* Whether a handle of its own, without a cache, finds the block damaged too. */
static enum status block_look(struct lsm *lsm, const struct table *table, uint32_t block_index)
{
    struct table *fresh = NULL;
    struct slice lower;
    struct slice upper;
    char *path = engine_table_path(lsm, table->file_id);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = table_open(lsm->env, path, table->file_id, &table->properties, &fresh);
    memory_free(path);
    if (status != STATUS_OK) {
        return status;
    }
    struct table_cursor cursor;
    table_block_bounds(table, block_index, &lower, &upper);
    table_cursor_open(&cursor, fresh);
    status = cursor_seek(&cursor.base, lower, LSM_MAY_BLOCK);
    uint32_t number =
        cursor.block_index; /* Another one than ours if parts of the index are lost. */
    while (status == STATUS_OK && cursor.block_index == number) {
        status = cursor_next(&cursor.base, LSM_MAY_BLOCK);
    }
    bool here = cursor.block_index == number;
    table_cursor_close(&cursor);
    table_close(fresh);
    return status == STATUS_CORRUPT && !here ? STATUS_OK : status;
}

/* Every place of the file that is in the set. */
static void look_run(struct env_job *job)
{
    struct quarantines *quarantines = container_of(job, struct quarantines, job);
    struct lsm *lsm = container_of(quarantines, struct lsm, quarantines);
    const struct quarantine_note *note = &quarantines->notes[quarantines->looking];
    struct sources *sources = sources_pin(lsm);
    const struct table_set *set = sources->tables;
    bool looked = false;
    quarantines->status = STATUS_OK;
    for (uint32_t i = 0; i < set->run_count; i++) {
        const struct run *run = &set->runs[i];
        for (uint32_t j = 0; j < run->table_count; j++) {
            const struct table *table = run->tables[j];
            if (table->file_id != note->file_id) {
                continue;
            }
            if (!looked) {
                quarantines->status = block_look(lsm, table, note->block_index);
                looked = true;
            }
            if (quarantines->status == STATUS_CORRUPT) {
                quarantine_list_add_block(&quarantines->found, table, &run->clips[j],
                                          note->block_index);
            }
        }
    }
    sources_unpin(lsm, sources);
}

/* It is written down. */
static void look_change_done(struct change *change, enum status status)
{
    struct lsm *lsm = container_of(change, struct lsm, quarantine_change);
    mutex_lock(&lsm->mutex);
    if (status == STATUS_OK) {
        quarantine_told_locked(lsm, &lsm->quarantines.found);
    }
    quarantine_list_deinit(&lsm->quarantines.found);
    lsm->quarantines.running = false;
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

static void look_done(struct env_job *job, enum status status)
{
    struct quarantines *quarantines = container_of(job, struct quarantines, job);
    struct lsm *lsm = container_of(quarantines, struct lsm, quarantines);
    mutex_lock(&lsm->mutex);
    lsm->guest_job_count--;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    struct quarantine_list *found = &quarantines->found;
    bool change = status == STATUS_OK && found->count > 0 && !lsm->stopping && !lsm->cancelled;
    struct quarantine_note *note = &quarantines->notes[quarantines->looking];
    note->settled = true;
    if (change) {
        lsm->quarantine_change = (struct change){.lost = found, .done = look_change_done};
        change = change_add_locked(lsm, &lsm->quarantine_change) == STATUS_OK;
    }
    if (!change) {
        *note = (struct quarantine_note){0}; /* Whoever meets it again asks again. */
        quarantine_list_deinit(found);
        quarantines->running = false;
    }
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

void quarantines_pump_locked(struct lsm *lsm)
{
    struct quarantines *quarantines = &lsm->quarantines;
    for (uint32_t i = 0; !quarantines->running && i < QUARANTINE_NOTE_COUNT_MAX; i++) {
        const struct quarantine_note *note = &quarantines->notes[i];
        if (note->file_id != 0 && !note->settled) {
            quarantines->looking = i;
            quarantines->running = true;
            lsm->guest_job_count++;
            env_submit(lsm->env, ENV_LANE_POOL, &quarantines->job);
        }
    }
}

void quarantine_cut_gaps_locked(struct lsm *lsm, const struct quarantine_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        gaps_cut_range(&lsm->gaps, list->items[i].stretch.lower, list->items[i].stretch.upper);
    }
}

void quarantine_told_locked(struct lsm *lsm, const struct quarantine_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        log_error(lsm->env, "lsm.quarantined", "path=%s lower_size=%zu upper_size=%zu", lsm->path,
                  list->items[i].stretch.lower.size, list->items[i].stretch.upper.size);
    }
    quarantine_list_add_all(&lsm->quarantines.untold, list);
    if (list->count > 0) {
        engine_notify_locked(lsm);
    }
}

void quarantines_tell_locked(struct lsm *lsm)
{
    struct quarantine_list told = lsm->quarantines.untold;
    lsm->quarantines.untold = (struct quarantine_list){0};
    mutex_unlock(&lsm->mutex);
    for (uint32_t i = 0; lsm->options.corrupted != NULL && i < told.count; i++) {
        lsm->options.corrupted(lsm->options.context, told.items[i].stretch.lower,
                               told.items[i].stretch.upper);
    }
    quarantine_list_deinit(&told);
    mutex_lock(&lsm->mutex);
}

void quarantines_init(struct lsm *lsm)
{
    lsm->quarantines.job.run = look_run;
    lsm->quarantines.job.done = look_done;
}

void quarantines_deinit(struct lsm *lsm)
{
    quarantine_list_deinit(&lsm->quarantines.found);
    quarantine_list_deinit(&lsm->quarantines.untold);
}
