/*
 * lsm/table_set.c -- immutable sets of runs.
 *
 * Invariants:
 *  (1) A set is one allocation of runs and places, and one for copied bounds: built whole, then
 *      published.
 *  (2) Nothing in it depends on addresses: runs are ordered by version, then by id.
 */
#include "lsm/table_set.h"

#include "base/contract.h"
#include "base/memory.h"

/* Places under construction. */
struct place_list {
    struct table_place *places;
    uint32_t count;
    uint32_t capacity;
};

static void place_add(struct place_list *list, const struct table_place *place)
{
    ASSERT(list->count < list->capacity);
    list->places[list->count++] = *place;
}

static bool place_meets(const struct table_place *place, const struct table_cut *cut)
{
    const struct table_properties *properties = &place->table->properties;
    return (cut->file_id == TABLE_CUT_ALL || cut->file_id == place->table->file_id) &&
           clip_meets(&place->clip, properties->key_min, properties->key_max, &cut->stretch);
}

/* Places keep no order here; they are sorted later. */
static void places_cut(struct place_list *list, const struct table_cut *cut)
{
    for (uint32_t i = list->count; i > 0; i--) {
        struct table_place place = list->places[i - 1];
        if (!place_meets(&place, cut)) {
            continue;
        }
        const struct table_properties *properties = &place.table->properties;
        struct clip left[2];
        uint32_t count =
            clip_cut(&place.clip, properties->key_min, properties->key_max, &cut->stretch, left);
        list->places[i - 1] = list->places[--list->count];
        for (uint32_t j = 0; j < count; j++) {
            place.clip = left[j];
            place_add(list, &place);
        }
    }
}

/* The places that will be in the set. */
static void places_collect(const struct table_set *old, const struct table_change *change,
                           struct place_list *list)
{
    for (uint32_t i = 0; old != NULL && i < old->run_count; i++) {
        const struct run *run = &old->runs[i];
        for (uint32_t j = 0; j < run->table_count; j++) {
            struct table_place place = {.table = run->tables[j],
                                        .run_id = run->id,
                                        .tier = run->tier,
                                        .clip = run->clips[j]};
            place_add(list, &place);
        }
    }
    for (uint32_t i = 0; i < change->cut_count; i++) {
        places_cut(list, &change->cuts[i]);
    }
    for (uint32_t i = 0; i < change->added_count; i++) {
        place_add(list, &change->added[i]);
    }
}

static struct slice place_first(const struct table_place *place)
{
    return clip_first(&place->clip, place->table->properties.key_min);
}

static bool place_before(const struct table_place *a, const struct table_place *b)
{
    if (a->run_id != b->run_id) {
        return a->run_id < b->run_id;
    }
    return slice_compare(place_first(a), place_first(b)) < 0;
}

/* By run, then by key. Mostly sorted already: old runs come in order of their places. */
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

static bool place_ends_before(const struct table_place *a, const struct table_place *b)
{
    return clip_ends_before(&a->clip, a->table->properties.key_max, place_first(b));
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
        } else if (a->tier != b->tier || !place_ends_before(a, b)) {
            return false;
        }
    }
    return bottom_count <= 1 && run_count <= TABLE_SET_RUN_COUNT_MAX;
}

bool run_place_is_further(const struct run *run, uint32_t index)
{
    if (run->clips[index].lower.size == 0) {
        return false; /* It begins with its file. */
    }
    for (uint32_t i = index; i > 0; i--) {
        if (run->tables[i - 1] == run->tables[index]) {
            return true;
        }
    }
    return false;
}

static struct slice bound_copy(uint8_t **to, struct slice bound)
{
    struct slice copy = slice_make(*to, bound.size);
    if (bound.size > 0) {
        memcpy(*to, bound.data, bound.size);
    }
    *to += bound.size;
    return copy;
}

/* `run` has its arrays; `bounds` is where the next copied bound goes. */
static void run_fill(struct run *run, const struct table_place *places, uint32_t count,
                     uint8_t **bounds)
{
    run->id = places[0].run_id;
    run->tier = places[0].tier;
    for (uint32_t i = 0; i < count; i++) {
        struct table *table = places[i].table;
        ASSERT(places[i].tier == run->tier);
        ASSERT(i == 0 || place_ends_before(&places[i - 1], &places[i]));
        run->tables[i] = table;
        run->clips[i].lower = bound_copy(bounds, places[i].clip.lower);
        run->clips[i].upper = bound_copy(bounds, places[i].clip.upper);
        if (!run_place_is_further(run, i)) {
            run->size += table->properties.file_size;
            run->entry_count += table->properties.entry_count;
            run->tombstone_count += table->properties.tombstone_count;
            run->expiring_count += table->properties.expiring_count;
        }
        if (version_compare(table->properties.version_max, run->version_max) > 0) {
            run->version_max = table->properties.version_max;
        }
    }
    run->table_count = count;
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

/* More than the change can bring about: a stretch divides one place of a file, and one of a run. */
static uint32_t places_capacity(const struct table_set *old, const struct table_change *change)
{
    uint32_t run_count = old == NULL ? 0 : old->run_count;
    uint32_t count = change->added_count + 1;
    for (uint32_t i = 0; i < run_count; i++) {
        count += old->runs[i].table_count;
    }
    for (uint32_t i = 0; i < change->cut_count; i++) {
        count += change->cuts[i].file_id == TABLE_CUT_ALL ? run_count : 1;
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

static struct table_set *set_allocate(const struct table_place *places, uint32_t count)
{
    size_t bounds_size = 1; /* Never of size 0. */
    for (uint32_t i = 0; i < count; i++) {
        bounds_size += places[i].clip.lower.size + places[i].clip.upper.size;
    }
    size_t one = sizeof(struct run) + sizeof(struct clip) + sizeof(struct table *);
    struct table_set *set = memory_allocate_zeroed(1, sizeof(*set) + count * one);
    uint8_t *bounds = memory_allocate(bounds_size);
    if (set == NULL || bounds == NULL) {
        memory_free(set);
        memory_free(bounds);
        return NULL;
    }
    atomic_init(&set->references, 1);
    set->runs = (struct run *)(void *)(set + 1);
    set->bounds = bounds;
    return set;
}

static bool lost_fill(struct table_set *set, const struct table_set *old,
                      const struct table_change *change)
{
    if (old != NULL) {
        quarantine_list_add_all(&set->lost, &old->lost);
    }
    for (uint32_t i = 0; i < change->cut_count; i++) {
        if (change->cuts[i].file_id == TABLE_CUT_ALL) {
            quarantine_list_cut(&set->lost, &change->cuts[i].stretch);
        }
    }
    if (change->lost != NULL) {
        quarantine_list_add_all(&set->lost, change->lost);
    }
    return !set->lost.failed;
}

static void set_fill(struct table_set *set, const struct table_place *places, uint32_t count)
{
    struct clip *clips = (struct clip *)(void *)(set->runs + count);
    struct table **tables = (struct table **)(void *)(clips + count);
    uint8_t *bounds = set->bounds;
    for (uint32_t at = 0; at < count;) {
        uint32_t length = run_length(&places[at], count - at);
        struct run *run = &set->runs[set->run_count++];
        run->tables = &tables[at];
        run->clips = &clips[at];
        run_fill(run, &places[at], length, &bounds);
        at += length;
    }
    runs_sort(set->runs, set->run_count);
    for (uint32_t i = 0; i < count; i++) {
        table_acquire(tables[i]);
    }
}

struct table_set *table_set_create(const struct table_set *old, const struct table_change *change)
{
    ASSERT(change != NULL);
    struct place_list list = {.capacity = places_capacity(old, change)};
    list.places = memory_allocate_zeroed(list.capacity, sizeof(*list.places));
    if (list.places == NULL) {
        return NULL;
    }
    places_collect(old, change, &list);
    places_sort(list.places, list.count);
    struct table_set *set = set_allocate(list.places, list.count);
    if (set != NULL && !lost_fill(set, old, change)) {
        quarantine_list_deinit(&set->lost);
        memory_free(set->bounds);
        memory_free(set);
        set = NULL;
    }
    if (set != NULL) {
        set_fill(set, list.places, list.count);
        set->number = old == NULL ? 1 : old->number + 1;
    }
    memory_free(list.places);
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
    quarantine_list_deinit(&set->lost);
    memory_free(set->bounds);
    memory_free(set);
}

/* Whether what is cut is still there: an excise may have taken it while a merge was under way. */
static bool set_has_part(const struct table_set *set, const struct table_cut *cut)
{
    for (uint32_t i = 0; i < set->run_count; i++) {
        const struct run *run = &set->runs[i];
        for (uint32_t j = 0; j < run->table_count; j++) {
            const struct table_properties *properties = &run->tables[j]->properties;
            if (run->tables[j]->file_id == cut->file_id &&
                clip_meets(&run->clips[j], properties->key_min, properties->key_max,
                           &cut->stretch)) {
                return true;
            }
        }
    }
    return false;
}

static void place_put(struct buffer *edit, const struct table_place *place)
{
    struct manifest_table listed = {
        .file_id = place->table->file_id,
        .run_id = place->run_id,
        .tier = place->tier,
        .properties = place->table->properties,
    };
    manifest_put_table(edit, &listed);
}

/* The first of `count` places, and those behind it of the same file, which follow in key order.
 * Returns how many these are. */
static uint32_t places_put(struct buffer *edit, const struct table_place *places, uint32_t count)
{
    const struct table *table = places[0].table;
    place_put(edit, &places[0]);
    struct slice from = {0};
    uint32_t length = 0;
    for (; length < count && places[length].table == table; length++) {
        manifest_put_gap(edit, table->file_id, from, places[length].clip.lower);
        from = places[length].clip.upper;
    }
    if (from.size > 0) {
        manifest_put_cut(edit, table->file_id, &(struct clip){.lower = from});
    }
    return length;
}

/* From the first place of a file to its last: others may lie between them. */
void table_run_put(struct buffer *edit, const struct run *run)
{
    for (uint32_t i = 0; i < run->table_count; i++) {
        if (run_place_is_further(run, i)) {
            continue;
        }
        const struct table *table = run->tables[i];
        place_put(edit, &(struct table_place){
                            .table = run->tables[i], .run_id = run->id, .tier = run->tier});
        struct slice from = {0};
        for (uint32_t j = i; j < run->table_count; j++) {
            if (run->tables[j] == table) {
                manifest_put_gap(edit, table->file_id, from, run->clips[j].lower);
                from = run->clips[j].upper;
            }
        }
        if (from.size > 0) {
            manifest_put_cut(edit, table->file_id, &(struct clip){.lower = from});
        }
    }
}

void table_change_put(struct buffer *edit, const struct table_change *change,
                      const struct table_set *current)
{
    for (uint32_t i = 0; i < change->cut_count; i++) {
        const struct table_cut *cut = &change->cuts[i];
        ASSERT(cut->file_id != TABLE_CUT_ALL); /* Whoever cuts all says why: manifest_put_excise. */
        if (set_has_part(current, cut)) {
            manifest_put_cut(edit, cut->file_id, &cut->stretch);
        }
    }
    for (uint32_t i = 0; i < change->added_count;) {
        i += places_put(edit, &change->added[i], change->added_count - i);
    }
    for (uint32_t i = 0; change->lost != NULL && i < change->lost->count; i++) {
        manifest_put_quarantine(edit, &change->lost->items[i]);
    }
}

uint32_t run_lower_bound(const struct run *run, struct slice bound)
{
    uint32_t low = 0;
    uint32_t high = run->table_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (clip_ends_before(&run->clips[middle], run->tables[middle]->properties.key_max, bound)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct table *run_find(const struct run *run, struct slice key)
{
    uint32_t index = run->table_count == 1 ? 0 : run_lower_bound(run, key);
    return index < run->table_count && clip_holds(&run->clips[index], key) ? run->tables[index]
                                                                           : NULL;
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
    cursor->clipped = cursor->run->clips[index].upper.size > 0;
}

static enum status cursor_show(struct run_cursor *cursor)
{
    cursor->base.key = cursor->table.base.key;
    cursor->base.cell = cursor->table.base.cell;
    return STATUS_OK;
}

/* The table's cursor stands before a damaged block: says so, and sets *behind to where it goes on.
 * STATUS_NOT_FOUND: behind it there is nothing of the place. */
static enum status damage_pass(struct run_cursor *cursor, bool reverse, struct slice *behind)
{
    const struct clip *clip = &cursor->run->clips[cursor->table_index];
    const struct table *table = cursor->run->tables[cursor->table_index];
    uint32_t block_index = cursor->table.block_index;
    struct slice lower;
    struct slice upper;
    quarantine_list_add_block(&cursor->sink->list, table, clip, block_index);
    if (cursor->sink->lsm != NULL) {
        quarantine_note(cursor->sink->lsm, table->file_id, block_index);
    }
    if (cursor->sink->list.failed) {
        return STATUS_NO_MEMORY;
    }
    table_block_bounds(table, block_index, &lower, &upper);
    *behind = reverse ? lower : upper;
    if (block_index == 0 && reverse) {
        return STATUS_NOT_FOUND;
    }
    return behind->size == 0 ? STATUS_NOT_FOUND : STATUS_OK;
}

static enum status cursor_enter(struct run_cursor *cursor, struct slice entry, bool reverse,
                                enum lsm_wait wait)
{
    struct cursor *table = &cursor->table.base;
    enum status status =
        reverse ? cursor_seek_before(table, entry, wait) : cursor_seek(table, entry, wait);
    cursor->entering = status == STATUS_WOULD_BLOCK;
    cursor->entry = entry;
    return status;
}

/* What the table's cursor said on its way up: behind the end of a place the next one begins. */
static enum status cursor_ascend(struct run_cursor *cursor, enum status status, enum lsm_wait wait)
{
    const struct run *run = cursor->run;
    for (;;) {
        struct slice upper = run->clips[cursor->table_index].upper;
        if (status == STATUS_OK &&
            (upper.size == 0 || slice_compare(cursor->table.base.key, upper) < 0)) {
            return cursor_show(cursor);
        }
        if (status == STATUS_CORRUPT) {
            struct slice behind;
            status = damage_pass(cursor, false, &behind);
            if (status == STATUS_OK) {
                status = cursor_enter(cursor, behind, false, wait);
                continue;
            }
        }
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            return status;
        }
        if (cursor->table_index + 1 == run->table_count) {
            return STATUS_NOT_FOUND;
        }
        table_enter(cursor, cursor->table_index + 1);
        status = cursor_enter(cursor, run->clips[cursor->table_index].lower, false, wait);
    }
}

/* The same on its way down. */
static enum status cursor_descend(struct run_cursor *cursor, enum status status, enum lsm_wait wait)
{
    const struct run *run = cursor->run;
    for (;;) {
        struct slice lower = run->clips[cursor->table_index].lower;
        if (status == STATUS_OK && slice_compare(cursor->table.base.key, lower) >= 0) {
            return cursor_show(cursor);
        }
        if (status == STATUS_CORRUPT) {
            struct slice behind;
            status = damage_pass(cursor, true, &behind);
            if (status == STATUS_OK) {
                status = cursor_enter(cursor, behind, true, wait);
                continue;
            }
        }
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            return status;
        }
        if (cursor->table_index == 0) {
            return STATUS_NOT_FOUND;
        }
        table_enter(cursor, cursor->table_index - 1);
        status = cursor_enter(cursor, run->clips[cursor->table_index].upper, true, wait);
    }
}

static enum status run_cursor_seek(struct cursor *base, struct slice bound, enum lsm_wait wait)
{
    struct run_cursor *cursor = cursor_of(base);
    const struct run *run = cursor->run;
    cursor->entering = false;
    uint32_t index = cursor->table_index;
    if (!cursor->prepared) {
        index = bound.size == 0 ? 0 : run_lower_bound(run, bound);
        if (index == run->table_count) {
            return STATUS_NOT_FOUND;
        }
        table_enter(cursor, index);
    }
    cursor->prepared = false;
    struct slice lower = run->clips[index].lower;
    struct slice from = slice_compare(lower, bound) > 0 ? lower : bound;
    return cursor_ascend(cursor, cursor_seek(&cursor->table.base, from, wait), wait);
}

static enum status run_cursor_seek_before(struct cursor *base, struct slice bound,
                                          enum lsm_wait wait)
{
    struct run_cursor *cursor = cursor_of(base);
    const struct run *run = cursor->run;
    cursor->entering = false;
    uint32_t index = run->table_count - 1;
    if (bound.size > 0) {
        /* The last place that begins below the bound. */
        index = run_lower_bound(run, bound);
        if (index == run->table_count || slice_compare(run_place_first(run, index), bound) >= 0) {
            if (index == 0) {
                return STATUS_NOT_FOUND;
            }
            index--;
        }
    }
    table_enter(cursor, index);
    struct slice upper = run->clips[index].upper;
    bool clipped = upper.size > 0 && (bound.size == 0 || slice_compare(upper, bound) < 0);
    struct slice from = clipped ? upper : bound;
    return cursor_descend(cursor, cursor_seek_before(&cursor->table.base, from, wait), wait);
}

static enum status run_cursor_next(struct cursor *base, enum lsm_wait wait)
{
    struct run_cursor *cursor = cursor_of(base);
    if (cursor->entering) {
        return cursor_ascend(cursor, cursor_enter(cursor, cursor->entry, false, wait), wait);
    }
    if (!cursor->clipped && table_cursor_step(&cursor->table)) { /* The common case. */
        base->key = cursor->table.block.key;
        base->cell = cursor->table.block.cell;
        return STATUS_OK;
    }
    return cursor_ascend(cursor, cursor_next(&cursor->table.base, wait), wait);
}

static enum status run_cursor_previous(struct cursor *base, enum lsm_wait wait)
{
    struct run_cursor *cursor = cursor_of(base);
    enum status status = cursor->entering ? cursor_enter(cursor, cursor->entry, true, wait)
                                          : cursor_previous(&cursor->table.base, wait);
    return cursor_descend(cursor, status, wait);
}

/* Where the first place is that reaches beyond the bound, if no place holds the bound itself. */
static bool run_cursor_approach(struct cursor *base, struct slice bound, bool reverse)
{
    struct run_cursor *cursor = cursor_of(base);
    const struct run *run = cursor->run;
    bool open = reverse && bound.size == 0;
    cursor->prepared = false;
    if (cursor->table_open) {
        table_cursor_unprepare(&cursor->table);
    }
    uint32_t index = open ? run->table_count : run_lower_bound(run, bound);
    cursor->approached = index;
    bool inside = index < run->table_count && slice_compare(run_place_first(run, index), bound) < 0;
    if (inside || index == (reverse ? 0 : run->table_count)) {
        return false;
    }
    index -= reverse ? 1 : 0;
    table_enter(cursor, index);
    cursor->entering = true;
    cursor->entry = reverse ? run->clips[index].upper : run->clips[index].lower;
    if (reverse) {
        struct slice key_max = run->tables[index]->properties.key_max;
        struct slice upper = run->clips[index].upper;
        base->key = upper.size > 0 && slice_compare(upper, key_max) < 0 ? upper : key_max;
    } else {
        base->key = run_place_first(run, index);
    }
    base->cell = slice_make(NULL, 0);
    return true;
}

/* The bound was approached, and found to lie inside a place or behind all. */
static bool run_cursor_prepare(struct cursor *base, struct slice bound, uint32_t stage)
{
    struct run_cursor *cursor = cursor_of(base);
    if (cursor->approached == cursor->run->table_count) {
        return false;
    }
    if (stage == 0) {
        table_enter(cursor, cursor->approached);
        cursor->prepared = true;
    }
    ASSERT(cursor->prepared);
    return table_cursor_prepare(&cursor->table, bound, stage);
}

static const struct cursor_ops run_cursor_ops = {
    .seek = run_cursor_seek,
    .seek_before = run_cursor_seek_before,
    .next = run_cursor_next,
    .previous = run_cursor_previous,
    .approach = run_cursor_approach,
    .prepare = run_cursor_prepare,
};

void run_cursor_open(struct run_cursor *cursor, const struct run *run, struct quarantine_sink *sink)
{
    ASSERT(run->table_count > 0);
    ASSERT(sink != NULL);
    *cursor = (struct run_cursor){.base.ops = &run_cursor_ops, .run = run, .sink = sink};
}

void run_cursor_close(struct run_cursor *cursor)
{
    table_leave(cursor);
}
