/* tests/unit/test_memtable.c -- the ordered memtable against a sorted model, and under readers. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "base/buffer.h"
#include "base/codec.h"
#include "base/prng.h"
#include "lsm/memtable.h"

#define MODEL_COUNT_MAX 4096

struct model_entry {
    char key[40];
    size_t key_size;
    uint64_t time;
    bool deleted;
};

static struct mutex writer;
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
    mutex_lock(&writer);
    enum status status = memtable_merge(memtable, key, slice_make(bytes, cell_encoded_size(&cell)));
    mutex_unlock(&writer);
    return status;
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
    enum status status = cursor_seek(&cursor.base, bound, LSM_MAY_BLOCK);
    for (; at < model_count; at++) {
        cr_assert_eq(status, STATUS_OK);
        check_entry(&cursor.base, &model[at]);
        status = cursor_next(&cursor.base, LSM_MAY_BLOCK);
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
    status = cursor_seek_before(&cursor.base, bound, LSM_MAY_BLOCK);
    for (; below > 0; below--) {
        cr_assert_eq(status, STATUS_OK);
        check_entry(&cursor.base, &model[below - 1]);
        status = cursor_previous(&cursor.base, LSM_MAY_BLOCK);
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
}

static void set_up(void)
{
    mutex_init(&writer);
}

TestSuite(memtable, .init = set_up);

Test(memtable, agrees_with_a_sorted_model, .timeout = 60)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        model_count = 0;
        struct memtable *memtable = memtable_create(4096, NULL, &writer);
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
            cr_assert_eq(memtable_get(memtable, entry_key(&model[i]), LSM_NOWAIT, &record),
                         STATUS_OK, "seed %d", (int)seed);
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
        struct memtable *memtable = memtable_create(4096, NULL, &writer);
        for (uint32_t i = 0; i < 20000; i++) {
            char key[16];
            snprintf(key, sizeof(key), "%08u", descending ? 19999 - i : i);
            cr_assert_eq(merge(memtable, slice_text(key), 1, false), STATUS_OK);
        }
        struct memtable_cursor cursor;
        memtable_cursor_open(&cursor, memtable);
        enum status status = cursor_seek(&cursor.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
        for (uint32_t i = 0; i < 20000; i++) {
            char key[16];
            snprintf(key, sizeof(key), "%08u", i);
            cr_assert_eq(status, STATUS_OK);
            cr_assert(slice_equal(cursor.base.key, slice_text(key)));
            status = cursor_next(&cursor.base, LSM_MAY_BLOCK);
        }
        cr_assert_eq(status, STATUS_NOT_FOUND);
        let_go(memtable);
    }
}

/* Batches of all sizes, cells of all sizes, over trees that grow in all ways. */
Test(memtable, what_was_reserved_is_enough, .timeout = 60)
{
    static uint8_t value[6000];
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct memtable *memtable = memtable_create(4096 << (seed % 3), NULL, &writer);
        uint64_t number = UINT64_C(1) << 40;
        for (uint32_t batch = 0; batch < 60; batch++) {
            uint32_t count = 1 + (uint32_t)prng_below(&prng, batch % 8 == 0 ? 300 : 4);
            size_t value_size = (size_t)prng_below(&prng, batch % 5 == 0 ? sizeof(value) : 40);
            struct cell cell = {.version = {.time = 1 + batch, .node = 1},
                                .kind = CELL_VALUE,
                                .value = slice_make(value, value_size)};
            struct buffer encoded = {0};
            cell_put(&encoded, &cell);
            uint8_t key[8];
            cr_assert(memtable_reserve(memtable, count, count * (sizeof(key) + encoded.size)));
            size_t taken = memtable->arena.size;
            for (uint32_t i = 0; i < count; i++) {
                number += seed % 4 == 0 ? 1 : seed % 4 == 1 ? UINT64_MAX : prng_next(&prng);
                codec_store_be(key, seed % 4 == 2 ? number & 511 : number, sizeof(key));
                enum status status =
                    memtable_merge(memtable, slice_make(key, sizeof(key)), buffer_slice(&encoded));
                cr_assert_eq(status, STATUS_OK);
            }
            cr_assert_eq(memtable->arena.size, taken, "seed %u, batch %u", (unsigned)seed, batch);
            buffer_deinit(&encoded);
        }
        let_go(memtable);
    }
}

/* Leaves a leaf of 24 keys with room for 8, then fills it from behind, and one more, which splits
 * those 8 off: again and again. */
static uint64_t hard_number(uint32_t batch, uint32_t i)
{
    static const uint64_t first[] = {UINT64_C(1) << 50, (UINT64_C(1) << 50) + 1,
                                     (UINT64_C(30) << 30) + 1, (UINT64_C(30) << 30) + 2};
    uint32_t begun = 31 + ARRAY_COUNT(first);
    if (batch == 0 && i < begun) {
        return i < 31 ? (uint64_t)i << 30 : first[i - 31];
    }
    uint32_t at = batch == 0 ? i - begun : i;
    uint64_t round = (uint64_t)batch << 20 | at / 9;
    return (UINT64_C(24) << 30) - (round + 1) * 16 + at % 9;
}

/* Stretches that are written in order, all at once; what is hard; all behind all others; no order.
 */
static uint64_t reserved_number(struct prng *prng, uint64_t seed, uint32_t batch, uint32_t i)
{
    switch (seed % 4) {
    case 0:
        return (uint64_t)(i % 97) << 40 | (uint64_t)batch << 24 | i;
    case 1:
        return hard_number(batch, i);
    case 2:
        return (uint64_t)batch << 32 | i;
    default:
        return prng_next(prng);
    }
}

static void reserved_batch(struct memtable *memtable, struct prng *prng, uint64_t seed,
                           uint32_t batch, uint32_t count)
{
    uint8_t bytes[128];
    uint8_t key[8];
    struct cell cell = {.version = {.time = 1 + batch, .node = 1}, .kind = CELL_DELETE};
    cell_encode(&cell, bytes);
    struct slice encoded = slice_make(bytes, cell_encoded_size(&cell));
    cr_assert(memtable_reserve(memtable, count, count * (sizeof(key) + encoded.size)));
    size_t taken = memtable->arena.size;
    for (uint32_t i = 0; i < count; i++) {
        codec_store_be(key, reserved_number(prng, seed, batch, i), sizeof(key));
        enum status status = memtable_merge(memtable, slice_make(key, sizeof(key)), encoded);
        cr_assert_eq(status, STATUS_OK);
    }
    cr_assert_eq(memtable->arena.size, taken, "seed %u, batch %u of %u", (unsigned)seed, batch,
                 count);
}

Test(memtable, what_large_batches_reserve_is_enough_and_not_much, .timeout = 60)
{
    static const uint32_t counts[] = {2, 20000, 5, 700, 100, 3000, 2, 9000};
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct memtable *memtable = memtable_create(65536, NULL, &writer);
        for (uint32_t batch = 0; batch < 24; batch++) {
            reserved_batch(memtable, &prng, seed, batch, counts[(batch + seed) % 8]);
        }
        let_go(memtable);
    }
    struct memtable *memtable = memtable_create(65536, NULL, &writer);
    cr_assert(memtable_reserve(memtable, 300000, 300000 * 40));
    cr_assert_lt(memtable->arena.size, 300000 * 240, "that is what was asked for, six times");
    let_go(memtable);
}

/* Keys are located eight at a time; the merges of the first ones split leaves of the later ones. */
Test(memtable, keys_located_ahead_go_where_they_belong, .timeout = 60)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        model_count = 0;
        struct memtable *memtable = memtable_create(4096, NULL, &writer);
        for (uint64_t time = 1; time < 2000;) {
            char keys[8][40];
            size_t sizes[8];
            struct memtable_place places[8];
            for (uint32_t i = 0; i < 8; i++) {
                sizes[i] = key_draw(&prng, keys[i]);
                memtable_locate(memtable, slice_make(keys[i], sizes[i]), &places[i]);
            }
            for (uint32_t i = 0; i < 8; i++, time++) {
                uint8_t bytes[128];
                struct cell cell = {.version = {.time = time, .node = 1}, .kind = CELL_DELETE};
                struct slice key = slice_make(keys[i], sizes[i]);
                cell_encode(&cell, bytes);
                struct slice encoded = slice_make(bytes, cell_encoded_size(&cell));
                cr_assert_eq(memtable_merge_at(memtable, &places[i], key, encoded), STATUS_OK);
                model_merge(key, time, true);
            }
        }
        cr_assert_eq(atomic_load(&memtable->key_count), model_count);
        check_walks(memtable, slice_make(NULL, 0));
        for (uint32_t i = 0; i < model_count; i++) {
            const struct memtable_record *record = NULL;
            cr_assert_eq(memtable_get(memtable, entry_key(&model[i]), LSM_NOWAIT, &record),
                         STATUS_OK);
        }
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
        if (memtable_get(race->memtable, race_key(key, number), LSM_MAY_BLOCK, &record) ==
            STATUS_OK) {
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
            reverse ? cursor_seek_before(&cursor.base, race_key(key, number), LSM_MAY_BLOCK)
                    : cursor_seek(&cursor.base, race_key(key, number), LSM_MAY_BLOCK);
        struct slice last = {0};
        for (uint32_t i = 0; i < 200 && status == STATUS_OK; i++) {
            int order = last.size == 0 ? 0 : slice_compare(cursor.base.key, last);
            cr_assert(last.size == 0 || (reverse ? order < 0 : order > 0));
            last = cursor.base.key;
            status = reverse ? cursor_previous(&cursor.base, LSM_MAY_BLOCK)
                             : cursor_next(&cursor.base, LSM_MAY_BLOCK);
        }
    }
    return NULL;
}

Test(memtable, readers_run_beside_the_writer, .timeout = 60)
{
    struct race race = {.memtable = memtable_create(4096, NULL, &writer)};
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

#define STABLE_COUNT 500u
#define STABLE_ROUND_COUNT 40u

/* Keys that are there before the readers begin; others come between them. */
static struct slice stable_key(char key[24], uint32_t number)
{
    snprintf(key, 24, "shared-prefix-%09u", number * 1000);
    return slice_text(key);
}

static void *stable_read(void *context)
{
    struct race *race = context;
    struct prng prng;
    prng_init(&prng, (uint64_t)(uintptr_t)&prng);
    while (!atomic_load(&race->stop)) {
        char key[24];
        uint32_t number = (uint32_t)prng_below(&prng, STABLE_COUNT);
        struct slice wanted = stable_key(key, number);
        const struct memtable_record *record = NULL;
        enum status status = memtable_get(race->memtable, wanted, LSM_MAY_BLOCK, &record);
        cr_assert_eq(status, STATUS_OK, "%s", key);
        cr_assert(slice_equal(memtable_record_key(record), wanted));
        struct memtable_cursor cursor;
        memtable_cursor_open(&cursor, race->memtable);
        status = cursor_seek(&cursor.base, wanted, LSM_MAY_BLOCK);
        cr_assert_eq(status, STATUS_OK);
        cr_assert(slice_equal(cursor.base.key, wanted), "a walk begins at a key that is there");
        status = cursor_seek_before(&cursor.base, wanted, LSM_MAY_BLOCK);
        cr_assert(status == STATUS_NOT_FOUND || slice_compare(cursor.base.key, wanted) < 0);
        cr_assert(number == 0 || status == STATUS_OK);
    }
    return NULL;
}

/* Leaves fill and split, the tree grows, and what all keys begin with shortens, under readers who
 * look for keys that have been there all along. */
Test(memtable, what_is_there_is_found_while_nodes_change, .timeout = 60)
{
    for (uint32_t round = 0; round < STABLE_ROUND_COUNT; round++) {
        struct race race = {.memtable = memtable_create(4096, NULL, &writer)};
        char key[24];
        for (uint32_t i = 0; i < STABLE_COUNT; i++) {
            cr_assert_eq(merge(race.memtable, stable_key(key, i), 1, false), STATUS_OK);
        }
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) {
            cr_assert_eq(pthread_create(&threads[i], NULL, stable_read, &race), 0);
        }
        struct prng prng;
        prng_init(&prng, round + 1);
        for (uint32_t i = 0; i < 4000; i++) {
            uint64_t number = prng_below(&prng, STABLE_COUNT * 1000);
            /* "shared-prefix-", then "shared-", then "s" is all that keys have in common. */
            snprintf(key, sizeof(key),
                     i == 1000   ? "shared-%u"
                     : i == 2000 ? "s%u"
                                 : "shared-prefix-%09u",
                     (unsigned)number);
            cr_assert_eq(merge(race.memtable, slice_text(key), 2, false), STATUS_OK);
        }
        atomic_store(&race.stop, true);
        for (int i = 0; i < 2; i++) {
            cr_assert_eq(pthread_join(threads[i], NULL), 0);
        }
        let_go(race.memtable);
    }
}

/* As if the writer stood still in the middle of a change: the root's first word is its sequence. */
static void leaf_hold(struct memtable *memtable)
{
    _Atomic uint64_t *sequence = (_Atomic uint64_t *)(void *)atomic_load(&memtable->root);
    atomic_fetch_xor(sequence, 1);
}

Test(memtable, a_reader_that_may_not_wait_is_told)
{
    struct memtable *memtable = memtable_create(4096, NULL, &writer);
    cr_assert_eq(merge(memtable, slice_text("key"), 1, false), STATUS_OK);
    const struct memtable_record *record = NULL;
    struct memtable_cursor cursor;
    memtable_cursor_open(&cursor, memtable);
    leaf_hold(memtable);
    cr_assert_eq(memtable_get(memtable, slice_text("key"), LSM_NOWAIT, &record),
                 STATUS_WOULD_BLOCK);
    cr_assert_eq(cursor_seek(&cursor.base, slice_make(NULL, 0), LSM_NOWAIT), STATUS_WOULD_BLOCK);
    leaf_hold(memtable);
    cr_assert_eq(memtable_get(memtable, slice_text("key"), LSM_NOWAIT, &record), STATUS_OK);
    cr_assert_eq(cursor_seek(&cursor.base, slice_make(NULL, 0), LSM_NOWAIT), STATUS_OK);
    let_go(memtable);
}
