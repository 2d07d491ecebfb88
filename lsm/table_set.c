/*
 * lsm/table_set.c -- immutable sets of runs.
 *
 * Invariants:
 *  (1) A set is one allocation of runs and table pointers, and one for copied bounds: built whole,
 *      then published.
 *  (2) Nothing in it depends on addresses: runs are ordered by version, then by id.
 */
#include "lsm/table_set.h"

#include "base/contract.h"
#include "base/memory.h"

static bool is_dropped(const struct table_change *change, const struct table *table)
{
    for (uint32_t i = 0; i < change->dropped_count; i++) {
        if (change->dropped[i] == table) {
            return true;
        }
    }
    return false;
}

/* The tables that will be in the set, with their places. */
static uint32_t places_collect(const struct table_set *old, const struct table_change *change,
                               struct table_place *places)
{
    uint32_t count = 0;
    for (uint32_t i = 0; old != NULL && i < old->run_count; i++) {
        const struct run *run = &old->runs[i];
        for (uint32_t j = 0; j < run->table_count; j++) {
            if (!is_dropped(change, run->tables[j])) {
                places[count++] = (struct table_place){
                    .table = run->tables[j], .run_id = run->id, .tier = run->tier};
            }
        }
    }
    for (uint32_t i = 0; i < change->added_count; i++) {
        places[count++] = change->added[i];
    }
    return count;
}

static bool place_before(const struct table_place *a, const struct table_place *b)
{
    if (a->run_id != b->run_id) {
        return a->run_id < b->run_id;
    }
    return slice_compare(a->table->properties.key_min, b->table->properties.key_min) < 0;
}

/* By run, then by key. Mostly sorted already: old runs come in order of their tables. */
static void places_sort(struct table_place *places, uint32_t count)
{
    for (uint32_t gap = count / 2; gap > 0; gap /= 2) {
        for (uint32_t i = gap; i < count; i++) {
            struct table_place place = places[i];
            uint32_t j = i;
            while (j >= gap && place_before(&place, &places[j - gap])) {
                places[j] = places[j - gap];
                j -= gap;
            }
            places[j] = place;
        }
    }
}

bool table_places_sound(struct table_place *places, uint32_t count)
{
    places_sort(places, count);
    uint32_t run_count = count > 0 ? 1 : 0;
    uint32_t bottom_count = count > 0 && places[0].tier == TABLE_SET_BOTTOM ? 1 : 0;
    for (uint32_t i = 1; i < count; i++) {
        const struct table_place *a = &places[i - 1];
        const struct table_place *b = &places[i];
        if (a->run_id != b->run_id) {
            run_count++;
            bottom_count += b->tier == TABLE_SET_BOTTOM ? 1 : 0;
        } else if (a->tier != b->tier ||
                   slice_compare(a->table->properties.key_max, b->table->properties.key_min) >= 0) {
            return false;
        }
    }
    return bottom_count <= 1 && run_count <= TABLE_SET_RUN_COUNT_MAX;
}

static struct slice lower_of(const struct table_set *old, const struct table_change *change,
                             uint64_t run_id)
{
    for (uint32_t i = 0; i < change->lowered_count; i++) {
        if (change->lowered[i] == run_id) {
            return change->lower;
        }
    }
    for (uint32_t i = 0; old != NULL && i < old->run_count; i++) {
        if (old->runs[i].id == run_id) {
            return old->runs[i].lower;
        }
    }
    return slice_make(NULL, 0);
}

static enum status run_fill(struct run *run, const struct table_place *places, uint32_t count,
                            struct table **tables, struct slice lower)
{
    *run = (struct run){.id = places[0].run_id, .tier = places[0].tier, .tables = tables};
    if (lower.size > 0) {
        uint8_t *copy = memory_allocate(lower.size);
        if (copy == NULL) {
            return STATUS_NO_MEMORY;
        }
        memcpy(copy, lower.data, lower.size);
        run->lower = slice_make(copy, lower.size);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct table *table = places[i].table;
        ASSERT(places[i].tier == run->tier);
        ASSERT(i == 0 ||
               slice_compare(tables[i - 1]->properties.key_max, table->properties.key_min) < 0);
        tables[i] = table;
        run->size += table->properties.file_size;
        if (version_compare(table->properties.version_max, run->version_max) > 0) {
            run->version_max = table->properties.version_max;
        }
    }
    run->table_count = count;
    return STATUS_OK;
}

static void runs_sort(struct run *runs, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct run run = runs[i];
        uint32_t j = i;
        while (j > 0) {
            int order = version_compare(runs[j - 1].version_max, run.version_max);
            if (order > 0 || (order == 0 && runs[j - 1].id > run.id)) {
                break;
            }
            runs[j] = runs[j - 1];
            j--;
        }
        runs[j] = run;
    }
}

static uint32_t set_table_count(const struct table_set *set)
{
    uint32_t count = 0;
    for (uint32_t i = 0; set != NULL && i < set->run_count; i++) {
        count += set->runs[i].table_count;
    }
    return count;
}

static uint32_t run_length(const struct table_place *places, uint32_t count)
{
    uint32_t length = 1;
    while (length < count && places[length].run_id == places[0].run_id) {
        length++;
    }
    return length;
}

static void set_free(struct table_set *set)
{
    for (uint32_t i = 0; i < set->run_count; i++) {
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): the way past const, which a slice has. */
        memory_free((void *)(uintptr_t)set->runs[i].lower.data);
    }
    memory_free(set);
}

struct table_set *table_set_create(const struct table_set *old, const struct table_change *change)
{
    ASSERT(change != NULL);
    uint32_t capacity = set_table_count(old) + change->added_count;
    struct table_place *places = memory_allocate_zeroed(capacity + 1, sizeof(*places));
    size_t size = sizeof(struct table_set) + capacity * (sizeof(struct run) + sizeof(void *));
    struct table_set *set = memory_allocate_zeroed(1, size);
    if (places == NULL || set == NULL) {
        memory_free(places);
        memory_free(set);
        return NULL;
    }
    atomic_init(&set->references, 1);
    set->runs = (struct run *)(void *)(set + 1);
    struct table **tables = (struct table **)(void *)(set->runs + capacity);
    uint32_t count = places_collect(old, change, places);
    places_sort(places, count);
    enum status status = STATUS_OK;
    for (uint32_t at = 0; status == STATUS_OK && at < count;) {
        uint32_t length = run_length(&places[at], count - at);
        status = run_fill(&set->runs[set->run_count], &places[at], length, &tables[at],
                          lower_of(old, change, places[at].run_id));
        if (status == STATUS_OK) {
            set->run_count++;
        }
        at += length;
    }
    memory_free(places);
    if (status != STATUS_OK) {
        set_free(set);
        return NULL;
    }
    runs_sort(set->runs, set->run_count);
    for (uint32_t i = 0; i < count; i++) {
        table_acquire(tables[i]);
    }
    return set;
}

void table_set_acquire(struct table_set *set)
{
    unsigned before = atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
    ASSERT(before > 0);
}

void table_set_release(struct table_set *set, struct list_node *garbage)
{
    unsigned before = atomic_fetch_sub_explicit(&set->references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1) {
        return;
    }
    for (uint32_t i = 0; i < set->run_count; i++) {
        for (uint32_t j = 0; j < set->runs[i].table_count; j++) {
            struct table *table = set->runs[i].tables[j];
            if (table_release(table)) {
                list_append(garbage, &table->node);
            }
        }
    }
    set_free(set);
}

void table_change_put(struct buffer *edit, const struct table_change *change)
{
    for (uint32_t i = 0; i < change->dropped_count; i++) {
        manifest_put_drop(edit, change->dropped[i]->file_id);
    }
    for (uint32_t i = 0; i < change->added_count; i++) {
        const struct table_place *place = &change->added[i];
        struct manifest_table table = {
            .file_id = place->table->file_id,
            .run_id = place->run_id,
            .tier = place->tier,
            .properties = place->table->properties,
        };
        manifest_put_table(edit, &table);
    }
    for (uint32_t i = 0; i < change->lowered_count; i++) {
        manifest_put_lower(edit, change->lowered[i], change->lower);
    }
}

uint32_t run_lower_bound(const struct run *run, struct slice bound)
{
    uint32_t low = 0;
    uint32_t high = run->table_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (slice_compare(run->tables[middle]->properties.key_max, bound) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct table *run_find(const struct run *run, struct slice key)
{
    if (run->lower.size > 0 && slice_compare(key, run->lower) < 0) {
        return NULL;
    }
    uint32_t index = run->table_count == 1 ? 0 : run_lower_bound(run, key);
    return index < run->table_count ? run->tables[index] : NULL;
}

static struct run_cursor *cursor_of(struct cursor *base)
{
    return container_of(base, struct run_cursor, base);
}

static void table_leave(struct run_cursor *cursor)
{
    if (cursor->table_open) {
        table_cursor_close(&cursor->table);
        cursor->table_open = false;
    }
}

static void table_enter(struct run_cursor *cursor, uint32_t index)
{
    ASSERT(index < cursor->run->table_count);
    if (cursor->table_open && cursor->table_index == index) {
        return;
    }
    table_leave(cursor);
    table_cursor_open(&cursor->table, cursor->run->tables[index]);
    cursor->table_open = true;
    cursor->table_index = index;
}

static enum status cursor_show(struct run_cursor *cursor, enum status status)
{
    if (status == STATUS_OK) {
        cursor->base.key = cursor->table.base.key;
        cursor->base.cell = cursor->table.base.cell;
    }
    return status;
}

static enum status run_cursor_seek(struct cursor *base, struct slice bound, enum lsm_wait wait)
{
    struct run_cursor *cursor = cursor_of(base);
    const struct run *run = cursor->run;
    cursor->entering = false;
    if (run->lower.size > 0 && slice_compare(bound, run->lower) < 0) {
        bound = run->lower;
    }
    uint32_t index = bound.size == 0 ? 0 : run_lower_bound(run, bound);
    if (index == run->table_count) {
        return STATUS_NOT_FOUND;
    }
    table_enter(cursor, index); /* Its greatest key is at or above the bound. */
    return cursor_show(cursor, cursor_seek(&cursor->table.base, bound, wait));
}

/* What lies below the run's lower bound is not there. */
static enum status cursor_show_above_lower(struct run_cursor *cursor, enum status status)
{
    if (status == STATUS_OK && cursor->run->lower.size > 0 &&
        slice_compare(cursor->table.base.key, cursor->run->lower) < 0) {
        return STATUS_NOT_FOUND;
    }
    return cursor_show(cursor, status);
}

static enum status run_cursor_seek_before(struct cursor *base, struct slice bound,
                                          enum lsm_wait wait)
{
    struct run_cursor *cursor = cursor_of(base);
    const struct run *run = cursor->run;
    cursor->entering = false;
    uint32_t index = run->table_count - 1;
    if (bound.size > 0) {
        /* The last table whose least key is below the bound. */
        index = run_lower_bound(run, bound);
        if (index == run->table_count ||
            slice_compare(run->tables[index]->properties.key_min, bound) >= 0) {
            if (index == 0) {
                return STATUS_NOT_FOUND;
            }
            index--;
        }
    }
    table_enter(cursor, index);
    return cursor_show_above_lower(cursor, cursor_seek_before(&cursor->table.base, bound, wait));
}

static enum status run_cursor_next(struct cursor *base, enum lsm_wait wait)
{
    struct run_cursor *cursor = cursor_of(base);
    enum status status = STATUS_NOT_FOUND;
    if (!cursor->entering) {
        status = cursor_next(&cursor->table.base, wait);
        if (status != STATUS_NOT_FOUND) {
            return cursor_show(cursor, status);
        }
        if (cursor->table_index + 1 == cursor->run->table_count) {
            return STATUS_NOT_FOUND;
        }
        table_enter(cursor, cursor->table_index + 1);
    }
    status = cursor_seek(&cursor->table.base, cursor->run->lower, wait);
    cursor->entering = status == STATUS_WOULD_BLOCK;
    return cursor_show(cursor, status);
}

static enum status run_cursor_previous(struct cursor *base, enum lsm_wait wait)
{
    struct run_cursor *cursor = cursor_of(base);
    enum status status = STATUS_NOT_FOUND;
    if (!cursor->entering) {
        status = cursor_previous(&cursor->table.base, wait);
        if (status != STATUS_NOT_FOUND) {
            return cursor_show_above_lower(cursor, status);
        }
        if (cursor->table_index == 0) {
            return STATUS_NOT_FOUND;
        }
        table_enter(cursor, cursor->table_index - 1);
    }
    status = cursor_seek_before(&cursor->table.base, slice_make(NULL, 0), wait);
    cursor->entering = status == STATUS_WOULD_BLOCK;
    return cursor_show_above_lower(cursor, status);
}

/* Where the first table is that reaches beyond the bound, if no table holds the bound itself. */
static bool run_cursor_approach(struct cursor *base, struct slice bound, bool reverse)
{
    struct run_cursor *cursor = cursor_of(base);
    const struct run *run = cursor->run;
    if (!reverse && slice_compare(bound, run->lower) < 0) {
        bound = run->lower;
    }
    bool open = reverse && bound.size == 0;
    uint32_t index = open ? run->table_count : run_lower_bound(run, bound);
    bool inside = index < run->table_count &&
                  slice_compare(run->tables[index]->properties.key_min, bound) < 0;
    if (inside || index == (reverse ? 0 : run->table_count)) {
        return false;
    }
    index -= reverse ? 1 : 0;
    const struct table_properties *properties = &run->tables[index]->properties;
    table_enter(cursor, index);
    cursor->entering = true;
    base->key = reverse ? properties->key_max : properties->key_min;
    base->cell = slice_make(NULL, 0);
    return true;
}

static const struct cursor_ops run_cursor_ops = {
    .seek = run_cursor_seek,
    .seek_before = run_cursor_seek_before,
    .next = run_cursor_next,
    .previous = run_cursor_previous,
    .approach = run_cursor_approach,
};

void run_cursor_open(struct run_cursor *cursor, const struct run *run)
{
    ASSERT(run->table_count > 0);
    *cursor = (struct run_cursor){.base.ops = &run_cursor_ops, .run = run};
}

void run_cursor_close(struct run_cursor *cursor)
{
    table_leave(cursor);
}
