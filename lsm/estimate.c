/*
 * lsm/estimate.c -- how much lies in stretches of keys, told from what is in memory.
 *
 * Why: a ring has a thousand ranges, and who balances it wants to know every minute what each of
 * them weighs. So no block is read: a table says by its index what part of it lies below a bound,
 * and a memtable is asked leaf by leaf.
 * Invariants:
 *  (1) Bounds rise, so memtables and runs are passed through once, whatever the number of
 * stretches. (2) In one table the parts of all stretches add up to the part between the first bound
 * and the last: what is too much in one is too little in its neighbour.
 */
#include "base/contract.h"
#include "lsm/engine.h"

struct tally {
    const struct slice *bounds; /* count + 1; the last may be empty: no bound. */
    uint32_t count;
    struct lsm_estimate *estimates;
};

static bool bound_is_above(struct slice bound, struct slice key)
{
    return bound.size == 0 || slice_compare(bound, key) > 0;
}

/* The first stretch whose end lies above `key`; count if none. */
static uint32_t stretch_find(const struct tally *tally, struct slice key)
{
    uint32_t low = 0;
    uint32_t high = tally->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bound_is_above(tally->bounds[middle + 1], key)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* ------------------------------------------------------------------ memtables */

static uint64_t record_size(const struct memtable_record *record)
{
    return (uint64_t)record->key_size + record->cell_size;
}

/* How many of the records from `from` on that the cursor copied lie below `bound`. */
static uint32_t records_below(const struct memtable_cursor *cursor, uint32_t from,
                              struct slice bound)
{
    uint32_t low = from;
    uint32_t high = cursor->record_count;
    if (high > low &&
        bound_is_above(bound, memtable_record_key(cursor->records[cursor->record_count - 1]))) {
        return high - low;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bound_is_above(bound, memtable_record_key(cursor->records[middle]))) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - from;
}

/* Cells are counted; as large as they are is taken to be the last of each leaf. */
static void memtable_tally(const struct memtable *memtable, const struct tally *tally)
{
    struct memtable_cursor cursor;
    memtable_cursor_open(&cursor, memtable);
    enum status status = cursor.base.ops->seek(&cursor.base, tally->bounds[0], LSM_MAY_BLOCK);
    uint32_t stretch = 0;
    uint32_t at = 0;
    while (status == STATUS_OK && stretch < tally->count) {
        uint32_t count = records_below(&cursor, at, tally->bounds[stretch + 1]);
        if (count > 0) {
            at += count;
            tally->estimates[stretch].cell_count += count;
            tally->estimates[stretch].size += count * record_size(cursor.records[at - 1]);
        }
        if (at < cursor.record_count) {
            struct slice key = memtable_record_key(cursor.records[at]);
            stretch = stretch_find(tally, key);
        } else {
            cursor.record_index = cursor.record_count - 1;
            status = cursor.base.ops->next(&cursor.base, LSM_MAY_BLOCK);
            at = 0;
            if (status == STATUS_OK) {
                stretch = stretch_find(tally, cursor.base.key);
            }
        }
    }
}

/* ------------------------------------------------------------------ tables */

static struct slice greater_of(struct slice a, struct slice b)
{
    return slice_compare(a, b) > 0 ? a : b;
}

/* The part of the table below an upper bound, which is none if empty. */
static double share_below(const struct table *table, struct slice upper)
{
    return upper.size == 0 ? 1.0 : table_share_below(table, upper);
}

static void place_tally(const struct table *table, const struct clip *clip,
                        const struct tally *tally)
{
    const struct table_properties *properties = &table->properties;
    struct slice first = greater_of(clip_first(clip, properties->key_min), tally->bounds[0]);
    double end = share_below(table, clip->upper);
    double below = table_share_below(table, first);
    for (uint32_t stretch = stretch_find(tally, first); stretch < tally->count; stretch++) {
        struct slice upper = tally->bounds[stretch + 1];
        double above = share_below(table, upper);
        above = above < end ? above : end;
        if (above > below) {
            double share = above - below;
            tally->estimates[stretch].cell_count +=
                (uint64_t)(share * (double)properties->entry_count + 0.5);
            tally->estimates[stretch].size += (uint64_t)(share * (double)properties->file_size);
            below = above;
        }
        if (upper.size == 0 || clip_ends_before(clip, properties->key_max, upper)) {
            return;
        }
    }
}

static void run_tally(const struct run *run, const struct tally *tally)
{
    for (uint32_t i = run_lower_bound(run, tally->bounds[0]); i < run->table_count; i++) {
        struct slice last = tally->bounds[tally->count];
        if (!bound_is_above(last, run_place_first(run, i))) {
            return;
        }
        place_tally(run->tables[i], &run->clips[i], tally);
    }
}

void lsm_estimate(struct lsm *lsm, const struct slice *bounds, uint32_t count,
                  struct lsm_estimate *estimates)
{
    ASSERT(lsm != NULL);
    ASSERT(bounds != NULL);
    ASSERT(count > 0);
    const struct tally tally = {.bounds = bounds, .count = count, .estimates = estimates};
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(bound_is_above(bounds[i + 1], bounds[i]));
        estimates[i] = (struct lsm_estimate){0};
    }
    struct sources *sources = sources_pin(lsm);
    memtable_tally(sources->active, &tally);
    for (uint32_t i = 0; i < sources->frozen_count; i++) {
        memtable_tally(sources->frozen[i], &tally);
    }
    for (uint32_t i = 0; i < sources->tables->run_count; i++) {
        run_tally(&sources->tables->runs[i], &tally);
    }
    sources_unpin(lsm, sources);
}
