/*
 * tests/fuzz/fuzz_merge.c -- any sources and any walk over their merge, against a sorted array.
 *
 * The bytes say which source holds which cells (three bytes each, a zero byte ends them), then how
 * the merge is walked: seeks to bounds in both directions, with some steps after each. Sources
 * block now and then, and announce where their next key cannot be before; both as the bytes say.
 * Property: the walk shows what a walk over the array of greatest cells shows.
 */
#include <stdbool.h>
#include <string.h>

#include "base/cell.h"
#include "base/contract.h"
#include "base/list.h"
#include "lsm/merge.h"
#include "tests/fuzz/fuzz.h"

#define SOURCE_COUNT 6u
#define KEY_COUNT 256
#define KEY_SIZE_MAX 32u
#define CELL_SIZE 17u
#define STEP_COUNT_MAX 24u

struct script {
    const uint8_t *at;
    size_t left;
};

struct source {
    struct cursor base;
    struct script *script;
    bool present[KEY_COUNT];
    uint8_t cells[KEY_COUNT][CELL_SIZE];
    int stands;  /* Key index; out of range: nowhere. */
    int distant; /* Where it is on its way to; -1: it is not. */
};

struct model {
    uint8_t keys[KEY_COUNT][KEY_SIZE_MAX];
    uint8_t sizes[KEY_COUNT];
    bool present[KEY_COUNT];
    struct cell best[KEY_COUNT];
    struct source sources[SOURCE_COUNT];
};

static struct model model; /* Made anew by each call. */

static uint8_t script_take(struct script *script)
{
    if (script->left == 0) {
        return 0;
    }
    script->left--;
    return *script->at++;
}

/* Ascending in `index`; some as long as the numbers a merge compares, some shorter and longer, and
 * some that differ in a zero byte at the end alone. */
static void key_make(int index)
{
    static const uint8_t fillers[] = {0, 13, 14, 24};
    unsigned group = (unsigned)index >> 6;
    uint8_t *key = model.keys[index];
    key[0] = (uint8_t)('a' + group);
    memset(key + 1, 'x', fillers[group]);
    unsigned size = 1u + fillers[group];
    key[size++] = (uint8_t)(((unsigned)index >> 1) & 31);
    if ((index & 1) != 0) {
        key[size++] = 0;
    }
    model.sizes[index] = (uint8_t)size;
}

static struct slice key_at(int index)
{
    return slice_make(model.keys[index], model.sizes[index]);
}

static int key_lower_bound(struct slice bound)
{
    int index = 0;
    while (index < KEY_COUNT && slice_compare(key_at(index), bound) < 0) {
        index++;
    }
    return index;
}

static int present_from(const bool *present, int index, int step)
{
    while (index >= 0 && index < KEY_COUNT && !present[index]) {
        index += step;
    }
    return index;
}

/* Where a walk begins that is told to seek. */
static int start_of(struct slice bound, bool reverse)
{
    if (!reverse) {
        return key_lower_bound(bound);
    }
    return bound.size == 0 ? KEY_COUNT - 1 : key_lower_bound(bound) - 1;
}

static enum status source_go(struct cursor *cursor, int index, int step, enum lsm_wait wait)
{
    struct source *source = container_of(cursor, struct source, base);
    if (wait == LSM_NOWAIT && script_take(source->script) % 8 == 7) {
        source->base.key = slice_make(NULL, 0);
        source->base.cell = slice_make(NULL, 0);
        return STATUS_WOULD_BLOCK;
    }
    source->distant = -1;
    source->stands = present_from(source->present, index, step);
    if (source->stands < 0 || source->stands >= KEY_COUNT) {
        return STATUS_NOT_FOUND;
    }
    source->base.key = key_at(source->stands);
    source->base.cell = slice_make(source->cells[source->stands], CELL_SIZE);
    return STATUS_OK;
}

static enum status source_seek(struct cursor *cursor, struct slice bound, enum lsm_wait wait)
{
    return source_go(cursor, start_of(bound, false), 1, wait);
}

static enum status source_seek_before(struct cursor *cursor, struct slice bound, enum lsm_wait wait)
{
    return source_go(cursor, start_of(bound, true), -1, wait);
}

static enum status source_next(struct cursor *cursor, enum lsm_wait wait)
{
    const struct source *source = container_of(cursor, struct source, base);
    return source_go(cursor, source->distant >= 0 ? source->distant : source->stands + 1, 1, wait);
}

static enum status source_previous(struct cursor *cursor, enum lsm_wait wait)
{
    const struct source *source = container_of(cursor, struct source, base);
    return source_go(cursor, source->distant >= 0 ? source->distant : source->stands - 1, -1, wait);
}

static bool source_approach(struct cursor *cursor, struct slice bound, bool reverse)
{
    struct source *source = container_of(cursor, struct source, base);
    int start = start_of(bound, reverse);
    int found = present_from(source->present, start, reverse ? -1 : 1);
    uint8_t drawn = script_take(source->script);
    if (found < 0 || found >= KEY_COUNT || drawn % 2 == 0) {
        return false;
    }
    int distance = reverse ? start - found : found - start;
    int announced = distance * (drawn % 5) / 4;
    source->distant = found;
    source->base.key = key_at(reverse ? start - announced : start + announced);
    source->base.cell = slice_make(NULL, 0);
    return true;
}

static const struct cursor_ops source_ops = {
    .seek = source_seek,
    .seek_before = source_seek_before,
    .next = source_next,
    .previous = source_previous,
    .approach = source_approach,
};

static void cells_make(struct script *script)
{
    uint32_t sequence = 0;
    for (uint8_t first = script_take(script); first != 0; first = script_take(script)) {
        int index = script_take(script);
        uint8_t drawn = script_take(script);
        struct source *source = &model.sources[first % SOURCE_COUNT];
        struct cell cell = {
            .version = {.time = drawn % 16, .node = drawn / 16 % 2, .sequence = ++sequence},
            .kind = drawn >= 128 ? CELL_DELETE : CELL_VALUE,
        };
        ASSERT(cell_encoded_size(&cell) == CELL_SIZE);
        struct cell old;
        if (source->present[index] &&
            cell_decode(slice_make(source->cells[index], CELL_SIZE), &old) == STATUS_OK &&
            cell_compare(&old, &cell) >= 0) {
            continue; /* A source has one cell of a key: its greatest. */
        }
        source->present[index] = true;
        cell_encode(&cell, source->cells[index]);
        if (!model.present[index] || cell_compare(&cell, &model.best[index]) > 0) {
            model.best[index] = cell;
        }
        model.present[index] = true;
    }
}

static void walk(struct merge *merge, struct script *script)
{
    uint8_t drawn = script_take(script);
    bool reverse = drawn % 2 == 1;
    struct slice bound = drawn / 2 % 8 == 0 ? slice_make(NULL, 0) : key_at(script_take(script));
    struct cursor *cursor = &merge->base;
    enum status status = STATUS_WOULD_BLOCK;
    while (status == STATUS_WOULD_BLOCK) {
        status = reverse ? cursor_seek_before(cursor, bound, LSM_NOWAIT)
                         : cursor_seek(cursor, bound, LSM_NOWAIT);
    }
    int step = reverse ? -1 : 1;
    int expected = start_of(bound, reverse);
    for (unsigned count = script_take(script) % STEP_COUNT_MAX;; count--) {
        expected = present_from(model.present, expected, step);
        if (expected < 0 || expected >= KEY_COUNT) {
            ASSERT(status == STATUS_NOT_FOUND);
            return;
        }
        ASSERT(status == STATUS_OK);
        ASSERT(slice_equal(cursor->key, key_at(expected)));
        struct cell cell;
        status = cell_decode(cursor->cell, &cell);
        ASSERT(status == STATUS_OK);
        ASSERT(cell_compare(&cell, &model.best[expected]) == 0);
        if (count == 0) {
            return;
        }
        expected += step;
        do {
            status =
                reverse ? cursor_previous(cursor, LSM_NOWAIT) : cursor_next(cursor, LSM_NOWAIT);
        } while (status == STATUS_WOULD_BLOCK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script = {.at = data, .left = size};
    struct cursor *cursors[SOURCE_COUNT];
    memset(&model, 0, sizeof(model));
    for (int index = 0; index < KEY_COUNT; index++) {
        key_make(index);
        ASSERT(index == 0 || slice_compare(key_at(index - 1), key_at(index)) < 0);
    }
    for (unsigned i = 0; i < SOURCE_COUNT; i++) {
        model.sources[i].base.ops = &source_ops;
        model.sources[i].script = &script;
        model.sources[i].distant = -1;
        cursors[i] = &model.sources[i].base;
    }
    cells_make(&script);
    struct merge merge;
    if (merge_open(&merge, cursors, SOURCE_COUNT) != STATUS_OK) {
        return 0;
    }
    while (script.left > 0) {
        walk(&merge, &script);
    }
    merge_close(&merge);
    return 0;
}
