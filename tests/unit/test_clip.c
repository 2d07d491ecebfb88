/*
 * tests/unit/test_clip.c -- stretches cut off tables: what is left is read, in both directions, and
 * the manifest says the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/env_uv.h"
#include "base/prng.h"
#include "lsm/table_set.h"
#include "lsm/table_writer.h"

#define LETTER_COUNT 7u /* "", then "b" to "g" as bounds; keys are "a" to "h" and between. */
#define KEY_COUNT 60u
#define TABLE_COUNT 3u

static struct slice bound_of(uint32_t index)
{
    static const char letters[] = "\0bcdefg";
    return index == 0 ? slice_make(NULL, 0) : slice_make((const uint8_t *)letters + index, 1);
}

/* Every clip, every stretch and every pair of key bounds over a few letters. */
Test(clip, a_cut_leaves_what_it_should)
{
    static const char keys[] = "abcdefgh";
    for (uint32_t n = 0; n < LETTER_COUNT * LETTER_COUNT * LETTER_COUNT * LETTER_COUNT; n++) {
        uint32_t digits[4] = {n % LETTER_COUNT, n / LETTER_COUNT % LETTER_COUNT,
                              n / LETTER_COUNT / LETTER_COUNT % LETTER_COUNT,
                              n / LETTER_COUNT / LETTER_COUNT / LETTER_COUNT};
        struct clip clip = {bound_of(digits[0]), bound_of(digits[1])};
        struct clip stretch = {bound_of(digits[2]), bound_of(digits[3])};
        for (uint32_t low = 0; low < 8; low++) {
            for (uint32_t high = low; high < 8; high++) {
                struct slice key_min = slice_make((const uint8_t *)keys + low, 1);
                struct slice key_max = slice_make((const uint8_t *)keys + high, 1);
                struct clip left[2];
                uint32_t count = clip_cut(&clip, key_min, key_max, &stretch, left);
                cr_assert_leq(count, 2);
                bool any = false;
                for (uint32_t i = low; i <= high; i++) {
                    struct slice key = slice_make((const uint8_t *)keys + i, 1);
                    bool wanted = clip_holds(&clip, key) && !clip_holds(&stretch, key);
                    bool found = false;
                    for (uint32_t j = 0; j < count; j++) {
                        found = found || clip_holds(&left[j], key);
                    }
                    cr_assert_eq(found, wanted, "case %u key %c", n, keys[i]);
                    any = any || wanted;
                    if (clip_holds(&clip, key)) {
                        cr_assert(slice_compare(clip_first(&clip, key_min), key) <= 0);
                        cr_assert(!clip_ends_before(&clip, key_max, key));
                    }
                }
                if (!clip_is_void(&clip, key_min, key_max)) {
                    for (uint32_t j = 0; j < count; j++) {
                        cr_assert(!clip_is_void(&left[j], key_min, key_max));
                    }
                }
                cr_assert(!any || count > 0);
            }
        }
    }
}

/* Tables over the even numbers below KEY_COUNT, one behind the other in one run. */
struct shelf {
    struct env *env;
    char folder[64];
    struct table *tables[TABLE_COUNT];
    bool there[KEY_COUNT];
    struct table_set *set;
    struct manifest_state state;
};

static struct slice key_at(uint32_t number, char to[8])
{
    snprintf(to, 8, "k%02u", number);
    return slice_text(to);
}

static void shelf_table(struct shelf *shelf, uint32_t index)
{
    char path[96];
    char name[8];
    struct table_writer_options options = {.block_size = TABLE_BLOCK_SIZE_MIN,
                                           .bloom_bits_per_key = 10};
    struct table_writer *writer = NULL;
    struct table_properties properties;
    static uint8_t value[200];
    snprintf(path, sizeof(path), "%s/%u.sst", shelf->folder, index);
    cr_assert_eq(table_writer_open(shelf->env, path, &options, &writer), STATUS_OK);
    for (uint32_t i = index * 20; i < index * 20 + 20; i += 2) {
        struct cell cell = {.version = {.time = i + 1},
                            .kind = CELL_VALUE,
                            .value = slice_make(value, sizeof(value))};
        struct buffer bytes = {0};
        cell_put(&bytes, &cell);
        cr_assert_eq(table_writer_add(writer, key_at(i, name), buffer_slice(&bytes)), STATUS_OK);
        buffer_deinit(&bytes);
        shelf->there[i] = true;
    }
    cr_assert_eq(table_writer_finish(writer, &properties), STATUS_OK);
    cr_assert_eq(table_open(shelf->env, path, index + 1, &properties, &shelf->tables[index]),
                 STATUS_OK);
    table_writer_close(writer);
}

/* Makes the change in the set and, through its steps, in the manifest's state. */
static void shelf_change(struct shelf *shelf, const struct table_change *change)
{
    struct list_node garbage;
    list_init(&garbage);
    struct buffer edit = {0};
    struct table_change none = {0};
    struct table_set *old = shelf->set != NULL ? shelf->set : table_set_create(NULL, &none);
    table_change_put(&edit, change, old);
    shelf->set = table_set_create(old, change);
    cr_assert_not_null(shelf->set);
    table_set_release(old, &garbage);
    cr_assert(list_empty(&garbage), "the shelf holds the tables");
    cr_assert_eq(manifest_state_apply(&shelf->state, buffer_slice(&edit)), STATUS_OK);
    buffer_deinit(&edit);
}

static void shelf_open(struct shelf *shelf)
{
    *shelf = (struct shelf){0};
    struct env_uv_options options = {.log_level = LOG_ERROR};
    cr_assert_eq(env_uv_open(&options, &shelf->env), STATUS_OK);
    strcpy(shelf->folder, "/tmp/ringkv-clip-XXXXXX");
    cr_assert_not_null(mkdtemp(shelf->folder));
    struct table_place places[TABLE_COUNT];
    for (uint32_t i = 0; i < TABLE_COUNT; i++) {
        shelf_table(shelf, i);
        places[i] = (struct table_place){.table = shelf->tables[i], .run_id = 9, .tier = 2};
    }
    shelf_change(shelf, &(struct table_change){.added = places, .added_count = TABLE_COUNT});
}

static void shelf_close(struct shelf *shelf)
{
    struct list_node garbage;
    list_init(&garbage);
    table_set_release(shelf->set, &garbage);
    manifest_state_deinit(&shelf->state);
    for (uint32_t i = 0; i < TABLE_COUNT; i++) {
        cr_assert(table_release(shelf->tables[i]));
        table_close(shelf->tables[i]);
    }
    env_uv_close(shelf->env);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", shelf->folder);
    cr_assert_eq(system(command), 0);
}

static void check_find(const struct shelf *shelf)
{
    char name[8];
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        struct slice key = key_at(i, name);
        struct table *table =
            shelf->set->run_count == 0 ? NULL : run_find(&shelf->set->runs[0], key);
        struct table_probe probe = {.key = key, .hash = checksum64(key, 0)};
        bool found = false;
        if (table != NULL && table_locate(table, &probe)) {
            struct buffer scratch = {0};
            struct cell cell;
            found = table_get(table, &probe, LSM_MAY_BLOCK, &scratch, &cell) == STATUS_OK;
            buffer_deinit(&scratch);
        }
        cr_assert_eq(found, shelf->there[i], "key %u", i);
    }
}

/* From every bound, up and down, also after an approach. */
static void check_cursor(const struct shelf *shelf, uint32_t from, bool reverse)
{
    struct run_cursor cursor;
    struct quarantine_sink sink = {0};
    char name[8];
    run_cursor_open(&cursor, &shelf->set->runs[0], &sink);
    struct slice bound = from == KEY_COUNT ? slice_make(NULL, 0) : key_at(from, name);
    enum status status = STATUS_OK;
    if (cursor_approach(&cursor.base, bound, reverse)) {
        struct slice near = cursor.base.key;
        bool outside = reverse ? bound.size == 0 || slice_compare(near, bound) <= 0
                               : slice_compare(near, bound) >= 0;
        cr_assert(outside);
        status = reverse ? cursor_previous(&cursor.base, LSM_MAY_BLOCK)
                         : cursor_next(&cursor.base, LSM_MAY_BLOCK);
    } else {
        status = reverse ? cursor_seek_before(&cursor.base, bound, LSM_MAY_BLOCK)
                         : cursor_seek(&cursor.base, bound, LSM_MAY_BLOCK);
    }
    int32_t at = reverse ? (int32_t)from - 1 : from == KEY_COUNT ? 0 : (int32_t)from;
    while (at >= 0 && at < (int32_t)KEY_COUNT) {
        if (shelf->there[at]) {
            char wanted[8];
            cr_assert_eq(status, STATUS_OK, "from %u at %d: %s", from, at, status_name(status));
            cr_assert(slice_equal(cursor.base.key, key_at((uint32_t)at, wanted)));
            status = reverse ? cursor_previous(&cursor.base, LSM_MAY_BLOCK)
                             : cursor_next(&cursor.base, LSM_MAY_BLOCK);
        }
        at += reverse ? -1 : 1;
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
    cr_assert_eq(sink.list.count, 0);
    run_cursor_close(&cursor);
}

static void check_state(const struct shelf *shelf)
{
    char name[8];
    struct manifest_state again = {0};
    struct buffer edit = {0};
    manifest_state_put(&edit, &shelf->state);
    cr_assert_eq(manifest_state_apply(&again, buffer_slice(&edit)), STATUS_OK);
    for (uint32_t i = 0; i < KEY_COUNT; i += 2) {
        const struct manifest_state *states[] = {&shelf->state, &again};
        for (uint32_t j = 0; j < 2; j++) {
            bool found = false;
            for (uint32_t k = 0; k < states[j]->table_count; k++) {
                const struct manifest_table *table = &states[j]->tables[k];
                bool holds = table->file_id == i / 20 + 1;
                for (uint32_t n = 0; holds && n < table->clip_count; n++) {
                    found = found || clip_holds(&table->clips[n], key_at(i, name));
                }
                cr_assert_gt(table->clip_count, 0);
            }
            cr_assert_eq(found, shelf->there[i], "key %u state %u", i, j);
        }
    }
    manifest_state_deinit(&again);
    buffer_deinit(&edit);
}

static void shelf_check(const struct shelf *shelf)
{
    check_find(shelf);
    check_state(shelf);
    for (uint32_t from = 0; shelf->set->run_count > 0 && from <= KEY_COUNT; from++) {
        check_cursor(shelf, from, false);
        check_cursor(shelf, from, true);
    }
}

static void shelf_cut(struct shelf *shelf, struct prng *prng)
{
    char low[8];
    char high[8];
    uint32_t lower = (uint32_t)prng_below(prng, KEY_COUNT);
    uint32_t upper = lower + 1 + (uint32_t)prng_below(prng, 10);
    struct table_cut cut = {.file_id = 1 + prng_below(prng, TABLE_COUNT),
                            .stretch = {key_at(lower, low), key_at(upper, high)}};
    if (prng_chance(prng, 1, 12)) {
        cut.stretch.lower = slice_make(NULL, 0);
        lower = 0;
    }
    if (prng_chance(prng, 1, 12)) {
        cut.stretch.upper = slice_make(NULL, 0);
        upper = KEY_COUNT;
    }
    for (uint32_t i = lower; i < upper && i < KEY_COUNT; i++) {
        shelf->there[i] = shelf->there[i] && i / 20 + 1 != cut.file_id;
    }
    shelf_change(shelf, &(struct table_change){.cuts = &cut, .cut_count = 1});
}

Test(clip, what_is_left_is_read_in_both_directions, .timeout = 120)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct shelf shelf;
        struct prng prng;
        prng_init(&prng, seed);
        shelf_open(&shelf);
        shelf_check(&shelf);
        for (uint32_t i = 0; i < 12; i++) {
            shelf_cut(&shelf, &prng);
            shelf_check(&shelf);
        }
        shelf_close(&shelf);
    }
}

Test(clip, a_cut_of_all_tables_empties_the_set)
{
    struct shelf shelf;
    shelf_open(&shelf);
    struct table_cut all = {.file_id = TABLE_CUT_ALL};
    struct table_change change = {.cuts = &all, .cut_count = 1};
    struct table_set *empty = table_set_create(shelf.set, &change);
    cr_assert_eq(empty->run_count, 0);
    struct list_node garbage;
    list_init(&garbage);
    table_set_release(empty, &garbage);
    shelf_close(&shelf);
}

/* One file in two places is counted once; the second place says so. */
Test(clip, a_file_in_two_places_is_counted_once)
{
    struct shelf shelf;
    shelf_open(&shelf);
    uint64_t size = shelf.set->runs[0].size;
    struct table_cut cut = {.file_id = 2, .stretch = {slice_text("k26"), slice_text("k30")}};
    shelf_change(&shelf, &(struct table_change){.cuts = &cut, .cut_count = 1});
    const struct run *run = &shelf.set->runs[0];
    cr_assert_eq(run->table_count, TABLE_COUNT + 1);
    cr_assert_eq(run->size, size);
    for (uint32_t i = 0; i < run->table_count; i++) {
        cr_assert_eq(run_place_is_further(run, i), i == 2, "place %u", i);
    }
    struct table_place places[] = {
        {.table = shelf.tables[0], .run_id = 1, .clip = {.upper = slice_text("k08")}},
        {.table = shelf.tables[0], .run_id = 1, .clip = {.lower = slice_text("k08")}},
    };
    cr_assert(table_places_sound(places, 2));
    places[0].clip.upper = slice_text("k09");
    cr_assert(!table_places_sound(places, 2));
    shelf_close(&shelf);
}
