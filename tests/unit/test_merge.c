/*
 * tests/unit/test_merge.c -- lsm/merge.h against a model: sorted arrays, some of which would block.
 */
#include <signal.h>
#include <stdio.h>

#include <criterion/criterion.h>

#include "base/list.h"
#include "base/prng.h"
#include "lsm/merge.h"

#define SOURCE_COUNT_MAX 12u
#define KEY_COUNT 60u /* Key i is a two-letter text; all sources draw from them. */
#define CELL_SIZE_MAX 64u

/* A cursor over an array by key index; blocks on a move now and then if asked not to wait. */
struct array_cursor {
    struct cursor base;
    bool present[KEY_COUNT];
    uint8_t cells[KEY_COUNT][CELL_SIZE_MAX];
    uint8_t cell_sizes[KEY_COUNT];
    int at;
    struct prng *prng;
    uint32_t blocks_percent;
    int fails_at; /* A move to this key says STATUS_IO; -1: never. */
    uint32_t move_count;
    int approaching; /* The present key on its way to which it is; -1: none. */
    int prepared;    /* Index of the bound of the seek that must follow; -1: none. */
    uint32_t stage;  /* What it was prepared for last. */
    uint32_t prepare_count;
};

static void key_text(int i, char text[3])
{
    text[0] = (char)('a' + i / 8);
    text[1] = (char)('a' + i % 8);
    text[2] = '\0';
}

static char key_texts[KEY_COUNT][3];

static int key_index(struct slice bound)
{
    int i = 0;
    while (i < (int)KEY_COUNT && slice_compare(slice_text(key_texts[i]), bound) < 0) {
        i++;
    }
    return i;
}

/* From `at` on in steps of `step` to a present key. */
static enum status array_go(struct array_cursor *array, int at, int step, enum lsm_wait wait)
{
    array->move_count++;
    if (wait == LSM_NOWAIT && prng_chance(array->prng, array->blocks_percent, 100)) {
        array->base.key = slice_make(NULL, 0);
        array->base.cell = slice_make(NULL, 0);
        return STATUS_WOULD_BLOCK;
    }
    while (at >= 0 && at < (int)KEY_COUNT && !array->present[at]) {
        at += step;
    }
    array->at = at;
    if (at < 0 || at >= (int)KEY_COUNT) {
        return STATUS_NOT_FOUND;
    }
    if (at == array->fails_at) {
        return STATUS_IO;
    }
    array->approaching = -1;
    array->base.key = slice_text(key_texts[at]);
    array->base.cell = slice_make(array->cells[at], array->cell_sizes[at]);
    return STATUS_OK;
}

static struct array_cursor *array_of(struct cursor *cursor)
{
    return container_of(cursor, struct array_cursor, base);
}

static enum status array_seek(struct cursor *cursor, struct slice bound, enum lsm_wait wait)
{
    struct array_cursor *array = array_of(cursor);
    array->approaching = -1;
    cr_assert(array->prepared < 0 || array->prepared == key_index(bound));
    array->prepared = -1;
    return array_go(array, key_index(bound), 1, wait);
}

static enum status array_seek_before(struct cursor *cursor, struct slice bound, enum lsm_wait wait)
{
    int at = bound.size == 0 ? (int)KEY_COUNT - 1 : key_index(bound) - 1;
    array_of(cursor)->approaching = -1;
    return array_go(array_of(cursor), at, -1, wait);
}

static enum status array_next(struct cursor *cursor, enum lsm_wait wait)
{
    struct array_cursor *array = array_of(cursor);
    return array_go(array, array->approaching >= 0 ? array->approaching : array->at + 1, 1, wait);
}

static enum status array_previous(struct cursor *cursor, enum lsm_wait wait)
{
    struct array_cursor *array = array_of(cursor);
    return array_go(array, array->approaching >= 0 ? array->approaching : array->at - 1, -1, wait);
}

/* Now and then says how far it can be at least: some key between the bound and the next one. */
static bool array_approach(struct cursor *cursor, struct slice bound, bool reverse)
{
    struct array_cursor *array = array_of(cursor);
    array->prepared = -1;
    array->approaching = -1;
    int step = reverse ? -1 : 1;
    int first = key_index(bound) - (reverse ? 1 : 0);
    if (reverse && bound.size == 0) {
        first = (int)KEY_COUNT - 1;
    }
    int at = first;
    while (at >= 0 && at < (int)KEY_COUNT && !array->present[at]) {
        at += step;
    }
    if (at < 0 || at >= (int)KEY_COUNT || prng_chance(array->prng, 1, 2)) {
        return false;
    }
    array->approaching = at;
    int before = (int)prng_below(array->prng, (uint64_t)((at - first) * step) + 1);
    array->base.key = slice_text(key_texts[at - before * step]);
    array->base.cell = slice_make(NULL, 0);
    return true;
}

/* Asks for up to three stages, in their order. */
static bool array_prepare(struct cursor *cursor, struct slice bound, uint32_t stage)
{
    struct array_cursor *array = array_of(cursor);
    cr_assert_lt(array->approaching, 0, "who approaches is not asked to prepare");
    cr_assert(stage == 0 || (array->prepared == key_index(bound) && stage == array->stage + 1));
    array->prepared = key_index(bound);
    array->stage = stage;
    array->prepare_count++;
    return stage < 2 && prng_chance(array->prng, 1, 2);
}

static const struct cursor_ops array_ops = {.seek = array_seek,
                                            .seek_before = array_seek_before,
                                            .next = array_next,
                                            .previous = array_previous,
                                            .approach = array_approach,
                                            .prepare = array_prepare};

/* Random sources, and per key the greatest cell of all of them. */
struct fixture {
    struct prng prng;
    struct array_cursor arrays[SOURCE_COUNT_MAX];
    struct cursor *sources[SOURCE_COUNT_MAX];
    uint32_t source_count;
    bool present[KEY_COUNT];
    struct cell best[KEY_COUNT];
};

static void fixture_make(struct fixture *fixture, uint64_t seed)
{
    memset(fixture, 0, sizeof(*fixture));
    prng_init(&fixture->prng, seed);
    fixture->source_count = (uint32_t)prng_below(&fixture->prng, SOURCE_COUNT_MAX + 1);
    for (int i = 0; i < (int)KEY_COUNT; i++) {
        key_text(i, key_texts[i]);
    }
    uint32_t density = 5 + (uint32_t)prng_below(&fixture->prng, 95);
    uint32_t sequence = 0;
    for (uint32_t s = 0; s < fixture->source_count; s++) {
        struct array_cursor *array = &fixture->arrays[s];
        array->base.ops = &array_ops;
        array->prng = &fixture->prng;
        array->blocks_percent = 20;
        array->fails_at = -1;
        array->approaching = -1;
        array->prepared = -1;
        fixture->sources[s] = &array->base;
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            if (!prng_chance(&fixture->prng, density, 100)) {
                continue;
            }
            /* Few times, so that equal versions differ in stamp alone; stamps never repeat. */
            struct cell cell = {
                .version = {.time = 1 + prng_below(&fixture->prng, 3), .node = 1},
                .stamp = 1 + (uint64_t)(prng_below(&fixture->prng, 1000) << 10 | sequence++),
                .kind = prng_chance(&fixture->prng, 1, 4) ? CELL_DELETE : CELL_VALUE,
            };
            array->present[i] = true;
            array->cell_sizes[i] = (uint8_t)cell_encoded_size(&cell);
            cr_assert(array->cell_sizes[i] <= CELL_SIZE_MAX);
            cell_encode(&cell, array->cells[i]);
            if (!fixture->present[i] || cell_compare(&cell, &fixture->best[i]) > 0) {
                fixture->best[i] = cell;
            }
            fixture->present[i] = true;
        }
    }
}

/* The next key of the model from `at` in steps of `step`; out of range if there is none. */
static int model_go(const struct fixture *fixture, int at, int step)
{
    while (at >= 0 && at < (int)KEY_COUNT && !fixture->present[at]) {
        at += step;
    }
    return at;
}

/* Seeks, then walks `step_count` steps; wherever a move would block it asks again. */
static void walk_and_compare(struct fixture *fixture, struct cursor *cursor, bool reverse,
                             struct slice bound, uint64_t seed)
{
    enum status status;
    do {
        status = reverse ? cursor_seek_before(cursor, bound, LSM_NOWAIT)
                         : cursor_seek(cursor, bound, LSM_NOWAIT);
    } while (status == STATUS_WOULD_BLOCK);
    int step = reverse ? -1 : 1;
    int start = key_index(bound) - (reverse ? 1 : 0);
    if (reverse && bound.size == 0) {
        start = (int)KEY_COUNT - 1;
    }
    int at = model_go(fixture, start, step);
    while (at >= 0 && at < (int)KEY_COUNT) {
        cr_assert_eq(status, STATUS_OK, "seed=%lu", seed);
        cr_assert(slice_equal(cursor->key, slice_text(key_texts[at])), "seed=%lu", seed);
        struct cell cell;
        cr_assert_eq(cell_decode(cursor->cell, &cell), STATUS_OK);
        cr_assert_eq(cell_compare(&cell, &fixture->best[at]), 0, "seed=%lu", seed);
        at = model_go(fixture, at + step, step);
        do {
            status =
                reverse ? cursor_previous(cursor, LSM_NOWAIT) : cursor_next(cursor, LSM_NOWAIT);
        } while (status == STATUS_WOULD_BLOCK);
    }
    cr_assert_eq(status, STATUS_NOT_FOUND, "seed=%lu", seed);
}

Test(merge, shows_every_key_once_with_its_greatest_cell_both_ways)
{
    uint64_t prepare_count = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        static struct fixture fixture;
        fixture_make(&fixture, seed);
        struct merge merge;
        cr_assert_eq(merge_open(&merge, fixture.sources, fixture.source_count), STATUS_OK);
        walk_and_compare(&fixture, &merge.base, false, slice_make(NULL, 0), seed);
        walk_and_compare(&fixture, &merge.base, true, slice_make(NULL, 0), seed);
        for (int i = 0; i < 20; i++) {
            char bound[3];
            key_text((int)prng_below(&fixture.prng, KEY_COUNT), bound);
            bound[1] = prng_chance(&fixture.prng, 1, 3) ? '\0' : bound[1];
            bool reverse = prng_chance(&fixture.prng, 1, 2);
            walk_and_compare(&fixture, &merge.base, reverse, slice_text(bound), seed);
        }
        for (uint32_t s = 0; s < fixture.source_count; s++) {
            prepare_count += fixture.arrays[s].prepare_count;
        }
        merge_close(&merge);
    }
    cr_assert_gt(prepare_count, 10000, "%lu", prepare_count);
}

/* Three sources one behind the other, which all say where they begin. */
Test(merge, a_source_is_not_read_before_the_merge_comes_to_it)
{
    static struct fixture fixture;
    uint32_t announced_count = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        fixture_make(&fixture, seed);
        fixture.source_count = 3;
        struct array_cursor *arrays = fixture.arrays;
        static const int firsts[] = {5, 20, 40};
        for (int s = 0; s < 3; s++) {
            arrays[s] = (struct array_cursor){.base.ops = &array_ops,
                                              .prng = &fixture.prng,
                                              .fails_at = -1,
                                              .approaching = -1,
                                              .prepared = -1};
            fixture.sources[s] = &arrays[s].base;
            for (int i = firsts[s]; i < firsts[s] + 10; i++) {
                struct cell cell = {.version = {.time = 1, .node = 1}};
                arrays[s].present[i] = true;
                arrays[s].cell_sizes[i] = (uint8_t)cell_encoded_size(&cell);
                cell_encode(&cell, arrays[s].cells[i]);
            }
        }
        struct merge merge;
        cr_assert_eq(merge_open(&merge, fixture.sources, 3), STATUS_OK);
        enum status status = cursor_seek(&merge.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
        int announced = arrays[1].approaching >= 0 ? key_index(arrays[1].base.key) : 0;
        for (int i = 0; i < 10; i++) {
            cr_assert_eq(status, STATUS_OK);
            uint32_t expected = announced <= firsts[0] + i ? 1 : 0;
            cr_assert_eq(arrays[1].move_count, expected, "seed=%lu step %d", seed, i);
            announced_count += expected == 0 ? 1 : 0;
            status = cursor_next(&merge.base, LSM_MAY_BLOCK);
        }
        cr_assert_eq(status, STATUS_OK);
        cr_assert_eq(arrays[1].move_count, 1, "seed=%lu", seed);
        merge_close(&merge);
    }
    cr_assert(announced_count > 50, "%u", announced_count);
}

Test(merge, failure_of_one_source_ends_the_walk_until_a_seek)
{
    uint32_t failed_count = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        static struct fixture fixture;
        fixture_make(&fixture, seed);
        if (fixture.source_count == 0) {
            continue;
        }
        int fails_at = (int)prng_below(&fixture.prng, KEY_COUNT);
        fixture.arrays[0].fails_at = fails_at;
        struct merge merge;
        cr_assert_eq(merge_open(&merge, fixture.sources, fixture.source_count), STATUS_OK);
        enum status status = cursor_seek(&merge.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
        while (status == STATUS_OK) {
            cr_assert(slice_compare(merge.base.key, slice_text(key_texts[fails_at])) < 0 ||
                          !fixture.arrays[0].present[fails_at],
                      "seed=%lu: went past a failed source", seed);
            status = cursor_next(&merge.base, LSM_MAY_BLOCK);
        }
        bool fails = fixture.arrays[0].present[fails_at];
        cr_assert_eq(status, fails ? STATUS_IO : STATUS_NOT_FOUND, "seed=%lu", seed);
        cr_assert_eq(cursor_next(&merge.base, LSM_MAY_BLOCK), status);
        fixture.arrays[0].fails_at = -1;
        walk_and_compare(&fixture, &merge.base, false, slice_make(NULL, 0), seed);
        failed_count += fails;
        merge_close(&merge);
    }
    cr_assert(failed_count > 10, "%u", failed_count);
}

Test(merge, a_cell_that_does_not_decode_is_corrupt)
{
    static struct fixture fixture;
    fixture_make(&fixture, 1);
    static struct array_cursor bad;
    bad = (struct array_cursor){.base.ops = &array_ops,
                                .prng = &fixture.prng,
                                .fails_at = -1,
                                .approaching = -1,
                                .prepared = -1};
    bad.present[3] = true;
    bad.cell_sizes[3] = 1;
    bad.cells[3][0] = 0xff;
    static struct array_cursor good;
    good = bad;
    struct cursor *sources[] = {&bad.base, &good.base};
    struct merge merge;
    cr_assert_eq(merge_open(&merge, sources, 2), STATUS_OK);
    cr_assert_eq(cursor_seek(&merge.base, slice_make(NULL, 0), LSM_MAY_BLOCK), STATUS_CORRUPT);
    merge_close(&merge);
}

Test(merge, stepping_against_the_direction_of_the_seek_is_a_bug, .signal = SIGABRT)
{
    struct merge merge;
    cr_assert_eq(merge_open(&merge, NULL, 0), STATUS_OK);
    enum status status = cursor_seek(&merge.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
    cr_assert_eq(status, STATUS_NOT_FOUND);
    status = cursor_previous(&merge.base, LSM_MAY_BLOCK);
    (void)status;
}
