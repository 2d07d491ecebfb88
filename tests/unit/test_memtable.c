/* tests/unit/test_memtable.c -- the ordered memtable against a sorted model, and under readers. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "base/prng.h"
#include "lsm/memtable.h"

#define MODEL_COUNT_MAX 4096

struct model_entry {
    char key[40];
    size_t key_size;
    uint64_t time;
    bool deleted;
};

static struct model_entry model[MODEL_COUNT_MAX];
static uint32_t model_count;

static enum status merge(struct memtable *memtable, struct slice key, uint64_t time, bool deleted)
{
    uint8_t bytes[128];
    struct cell cell = {
        .version = {.time = time, .node = 1},
        .kind = deleted ? CELL_DELETE : CELL_VALUE,
        .value = deleted ? slice_make(NULL, 0) : slice_make(&time, sizeof(time)),
    };
    cell_encode(&cell, bytes);
    return memtable_merge(memtable, key, slice_make(bytes, cell_encoded_size(&cell)));
}

static void let_go(struct memtable *memtable)
{
    cr_assert(memtable_release(memtable));
    memtable_destroy(memtable);
}

static struct slice entry_key(const struct model_entry *entry)
{
    return slice_make(entry->key, entry->key_size);
}

static void model_merge(struct slice key, uint64_t time, bool deleted)
{
    uint32_t at = 0;
    while (at < model_count && slice_compare(entry_key(&model[at]), key) < 0) {
        at++;
    }
    if (at == model_count || !slice_equal(entry_key(&model[at]), key)) {
        cr_assert_lt(model_count, MODEL_COUNT_MAX);
        memmove(&model[at + 1], &model[at], (model_count - at) * sizeof(model[0]));
        model_count++;
        memset(&model[at], 0, sizeof(model[at]));
        memcpy(model[at].key, key.data, key.size);
        model[at].key_size = key.size;
    }
    if (time > model[at].time) {
        model[at].time = time;
        model[at].deleted = deleted;
    }
}

/* Keys that share prefixes, hold zero bytes, and differ only behind the inlined 16 bytes. */
static size_t key_draw(struct prng *prng, char key[40])
{
    size_t size = 1 + prng_below(prng, 3);
    if (prng_chance(prng, 1, 2)) {
        memset(key, 'p', 17);
        size += 17;
        for (size_t i = 17; i < size; i++) {
            key[i] = (char)prng_below(prng, 8);
        }
        return size;
    }
    for (size_t i = 0; i < size; i++) {
        key[i] = (char)(prng_chance(prng, 1, 3) ? 0 : prng_below(prng, 256));
    }
    return size;
}

static void check_entry(const struct cursor *cursor, const struct model_entry *entry)
{
    struct cell cell;
    cr_assert(slice_equal(cursor->key, entry_key(entry)));
    cr_assert_eq(cell_decode(cursor->cell, &cell), STATUS_OK);
    cr_assert_eq(cell.version.time, entry->time);
    cr_assert_eq(cell.kind == CELL_DELETE, entry->deleted);
}

static void check_walks(struct memtable *memtable, struct slice bound)
{
    struct memtable_cursor cursor;
    memtable_cursor_open(&cursor, memtable);
    uint32_t at = 0;
    while (at < model_count && slice_compare(entry_key(&model[at]), bound) < 0) {
        at++;
    }
    uint32_t below = bound.size == 0 ? model_count : at;
    enum status status = cursor_seek(&cursor.base, bound, LSM_NOWAIT);
    for (; at < model_count; at++) {
        cr_assert_eq(status, STATUS_OK);
        check_entry(&cursor.base, &model[at]);
        status = cursor_next(&cursor.base, LSM_NOWAIT);
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
    status = cursor_seek_before(&cursor.base, bound, LSM_NOWAIT);
    for (; below > 0; below--) {
        cr_assert_eq(status, STATUS_OK);
        check_entry(&cursor.base, &model[below - 1]);
        status = cursor_previous(&cursor.base, LSM_NOWAIT);
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
}

Test(memtable, agrees_with_a_sorted_model, .timeout = 60)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        model_count = 0;
        struct memtable *memtable = memtable_create(4096);
        cr_assert(memtable != NULL);
        uint32_t count = 1u << (2 * (seed % 7));
        for (uint32_t i = 0; i < count; i++) {
            char key[40];
            struct slice slice = slice_make(key, key_draw(&prng, key));
            uint64_t time = 1 + prng_below(&prng, 1000);
            bool deleted = time % 3 == 0; /* One version, one value. */
            cr_assert_eq(merge(memtable, slice, time, deleted), STATUS_OK);
            model_merge(slice, time, deleted);
        }
        uint64_t tombstones = 0;
        for (uint32_t i = 0; i < model_count; i++) {
            const struct memtable_record *record = NULL;
            cr_assert_eq(memtable_get(memtable, entry_key(&model[i]), &record), STATUS_OK,
                         "seed %d", (int)seed);
            tombstones += model[i].deleted ? 1 : 0;
        }
        cr_assert_eq(atomic_load(&memtable->key_count), model_count);
        cr_assert_eq(atomic_load(&memtable->tombstone_count), tombstones);
        check_walks(memtable, slice_make(NULL, 0));
        for (uint32_t i = 0; i < 50; i++) {
            char key[40];
            check_walks(memtable, slice_make(key, key_draw(&prng, key)));
        }
        let_go(memtable);
    }
}

Test(memtable, ascending_and_descending_loads_keep_order)
{
    for (int descending = 0; descending < 2; descending++) {
        struct memtable *memtable = memtable_create(4096);
        for (uint32_t i = 0; i < 20000; i++) {
            char key[16];
            snprintf(key, sizeof(key), "%08u", descending ? 19999 - i : i);
            cr_assert_eq(merge(memtable, slice_text(key), 1, false), STATUS_OK);
        }
        struct memtable_cursor cursor;
        memtable_cursor_open(&cursor, memtable);
        enum status status = cursor_seek(&cursor.base, slice_make(NULL, 0), LSM_NOWAIT);
        for (uint32_t i = 0; i < 20000; i++) {
            char key[16];
            snprintf(key, sizeof(key), "%08u", i);
            cr_assert_eq(status, STATUS_OK);
            cr_assert(slice_equal(cursor.base.key, slice_text(key)));
            status = cursor_next(&cursor.base, LSM_NOWAIT);
        }
        cr_assert_eq(status, STATUS_NOT_FOUND);
        let_go(memtable);
    }
}

struct race {
    struct memtable *memtable;
    atomic_bool stop;
};

#define RACE_KEY_COUNT 3000u

static struct slice race_key(char key[16], uint32_t number)
{
    snprintf(key, 16, "%05u", number);
    return slice_text(key);
}

/* Versions of a key only grow under a reader; walks are in order and never repeat a key. */
static void *race_read(void *context)
{
    struct race *race = context;
    static _Thread_local uint64_t seen[RACE_KEY_COUNT];
    struct prng prng;
    prng_init(&prng, 5);
    while (!atomic_load(&race->stop)) {
        char key[16];
        uint32_t number = (uint32_t)prng_below(&prng, RACE_KEY_COUNT);
        const struct memtable_record *record = NULL;
        if (memtable_get(race->memtable, race_key(key, number), &record) == STATUS_OK) {
            struct cell cell;
            cr_assert_eq(cell_decode(memtable_record_cell(record), &cell), STATUS_OK);
            cr_assert_geq(cell.version.time, seen[number]);
            seen[number] = cell.version.time;
        } else {
            cr_assert_eq(seen[number], 0);
        }
        struct memtable_cursor cursor;
        memtable_cursor_open(&cursor, race->memtable);
        bool reverse = prng_chance(&prng, 1, 2);
        enum status status =
            reverse ? cursor_seek_before(&cursor.base, race_key(key, number), LSM_NOWAIT)
                    : cursor_seek(&cursor.base, race_key(key, number), LSM_NOWAIT);
        struct slice last = {0};
        for (uint32_t i = 0; i < 200 && status == STATUS_OK; i++) {
            int order = last.size == 0 ? 0 : slice_compare(cursor.base.key, last);
            cr_assert(last.size == 0 || (reverse ? order < 0 : order > 0));
            last = cursor.base.key;
            status = reverse ? cursor_previous(&cursor.base, LSM_NOWAIT)
                             : cursor_next(&cursor.base, LSM_NOWAIT);
        }
    }
    return NULL;
}

Test(memtable, readers_run_beside_the_writer, .timeout = 60)
{
    struct race race = {.memtable = memtable_create(4096)};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, race_read, &race), 0);
    }
    struct prng prng;
    prng_init(&prng, 1);
    for (uint64_t i = 1; i <= 60000; i++) {
        char key[16];
        uint32_t number = (uint32_t)prng_below(&prng, RACE_KEY_COUNT);
        cr_assert_eq(merge(race.memtable, race_key(key, number), i, false), STATUS_OK);
    }
    atomic_store(&race.stop, true);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    let_go(race.memtable);
}
