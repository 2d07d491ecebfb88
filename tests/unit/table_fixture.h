/*
 * tests/unit/table_fixture.h -- a table file and the list of entries it was written from.
 */
#ifndef TESTS_UNIT_TABLE_FIXTURE_H
#define TESTS_UNIT_TABLE_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/env_uv.h"
#include "base/memory.h"
#include "base/prng.h"
#include "lsm/table.h"
#include "lsm/table_format.h"
#include "lsm/table_writer.h"

#define KEY_SIZE_MAX 40u

struct entry {
    char key[KEY_SIZE_MAX];
    struct buffer cell;
};

/* A folder with one table in it, and the list of entries it was written from. */
struct fixture {
    struct env *env;
    char folder[64];
    char path[96];
    struct prng prng;
    struct entry *entries;
    uint32_t entry_count;
    uint32_t tombstone_count;
    uint32_t expiring_count;
    struct table_properties properties; /* Without key bounds. */
};

static inline int entry_order(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static inline void fixture_open(struct fixture *fixture, uint64_t seed)
{
    *fixture = (struct fixture){0};
    prng_init(&fixture->prng, seed);
    strcpy(fixture->folder, "/tmp/ringkv-table-XXXXXX");
    cr_assert_not_null(mkdtemp(fixture->folder));
    snprintf(fixture->path, sizeof(fixture->path), "%s/1.sst", fixture->folder);
    struct env_uv_options options = {.log_level = LOG_ERROR};
    cr_assert_eq(env_uv_open(&options, &fixture->env), STATUS_OK);
}

static inline void entries_free(struct fixture *fixture)
{
    for (uint32_t i = 0; i < fixture->entry_count; i++) {
        buffer_deinit(&fixture->entries[i].cell);
    }
    memory_free(fixture->entries);
}

static inline void fixture_close(struct fixture *fixture)
{
    entries_free(fixture);
    env_uv_close(fixture->env);
    unlink(fixture->path);
    rmdir(fixture->folder);
}

/* Value i: noise or a repeated byte, so that some blocks compress and some do not. */
static inline void cell_draw(struct fixture *fixture, uint32_t i, size_t value_size_max,
                             struct buffer *bytes)
{
    struct prng *prng = &fixture->prng;
    struct buffer value = {0};
    size_t size = prng_below(prng, value_size_max + 1);
    bool noise = prng_chance(prng, 1, 3);
    for (size_t at = 0; at < size; at++) {
        uint8_t byte = noise ? (uint8_t)prng_next(prng) : (uint8_t)(i + at / 50);
        buffer_append(&value, &byte, 1);
    }
    struct cell cell = {.version = {.time = 1000 + prng_below(prng, 1000000), .node = 3}};
    if (prng_chance(prng, 1, 10)) {
        cell.kind = CELL_DELETE;
        fixture->tombstone_count++;
    } else {
        cell.value = buffer_slice(&value);
        if (prng_chance(prng, 1, 8)) {
            cell.expiry_ms = 5000 + prng_below(prng, 5000);
            cell.stamp = 1 + prng_below(prng, 77777);
            fixture->expiring_count++;
        }
    }
    cell_put(bytes, &cell);
    cr_assert_eq(buffer_status(bytes), STATUS_OK);
    buffer_deinit(&value);
}

/* Even numbers in six digits under five prefixes; "...1" keys lie between. */
static inline void entries_draw_under(struct fixture *fixture, const char *const prefixes[5],
                                      uint32_t wanted, size_t value_size_max)
{
    struct entry *entries = memory_allocate_zeroed(wanted, sizeof(*entries));
    for (uint32_t i = 0; i < wanted; i++) {
        snprintf(entries[i].key, KEY_SIZE_MAX, "%s%06u", prefixes[prng_below(&fixture->prng, 5)],
                 (unsigned)(2 * prng_below(&fixture->prng, 400000)));
    }
    qsort(entries, wanted, sizeof(*entries), entry_order);
    uint32_t count = 0;
    for (uint32_t i = 0; i < wanted; i++) {
        if (count == 0 || strcmp(entries[i].key, entries[count - 1].key) != 0) {
            memmove(entries[count++].key, entries[i].key, KEY_SIZE_MAX);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        cell_draw(fixture, i, value_size_max, &entries[i].cell);
    }
    fixture->entries = entries;
    fixture->entry_count = count;
}

/* Under prefixes of unlike lengths. */
static inline void entries_draw(struct fixture *fixture, uint32_t wanted, size_t value_size_max)
{
    static const char *const prefixes[] = {"", "key", "users/profile/", "users/session/2026/", "z"};
    entries_draw_under(fixture, prefixes, wanted, value_size_max);
}

static inline void table_write(struct fixture *fixture, const struct table_writer_options *options)
{
    struct table_writer *writer;
    cr_assert_eq(table_writer_open(fixture->env, fixture->path, options, &writer), STATUS_OK);
    for (uint32_t i = 0; i < fixture->entry_count; i++) {
        const struct entry *entry = &fixture->entries[i];
        enum status status =
            table_writer_add(writer, slice_text(entry->key), buffer_slice(&entry->cell));
        cr_assert_eq(status, STATUS_OK);
    }
    uint64_t estimate = table_writer_size(writer);
    cr_assert_eq(table_writer_finish(writer, &fixture->properties), STATUS_OK);
    uint64_t size = fixture->properties.file_size;
    cr_assert(estimate <= size + 4096 + size / 10 && size <= estimate + 4096 + size / 10,
              "estimate %lu, size %lu", estimate, size);
    cr_assert(slice_equal(fixture->properties.key_min, slice_text(fixture->entries[0].key)));
    table_writer_close(writer);
}

static inline enum status table_reopen(struct fixture *fixture, struct table **table)
{
    return table_open(fixture->env, fixture->path, 7, &fixture->properties, table);
}

/* A get that does not ask the filter. */
static inline enum status get_unfiltered(const struct table *table, struct slice key,
                                         enum lsm_wait wait, struct buffer *scratch,
                                         struct cell *cell)
{
    struct table_probe probe = {.key = key, .hash = checksum64(key, 0)};
    return table_locate(table, &probe) ? table_get(table, &probe, wait, scratch, cell)
                                       : STATUS_NOT_FOUND;
}

static inline uint64_t hash_of(const char *key)
{
    return checksum64(slice_text(key), 0);
}

/* Index of the least entry at or above. */
static inline uint32_t model_seek(const struct fixture *fixture, const char *bound)
{
    uint32_t lower = 0;
    uint32_t upper = fixture->entry_count;
    while (lower < upper) {
        uint32_t middle = (lower + upper) / 2;
        if (strcmp(fixture->entries[middle].key, bound) < 0) {
            lower = middle + 1;
        } else {
            upper = middle;
        }
    }
    return lower;
}

static inline void assert_cell(const struct entry *entry, const struct cell *cell)
{
    struct buffer bytes = {0};
    cell_put(&bytes, cell);
    cr_assert(slice_equal(buffer_slice(&bytes), buffer_slice(&entry->cell)), "key=%s", entry->key);
    buffer_deinit(&bytes);
}

static inline void assert_gets(struct fixture *fixture, const struct table *table)
{
    struct buffer scratch = {0};
    uint32_t maybe_count = 0;
    for (uint32_t i = 0; i < fixture->entry_count; i++) {
        const char *key = fixture->entries[i].key;
        struct cell cell;
        cr_assert(table_may_hold(table, slice_text(key), hash_of(key)), "key=%s", key);
        enum status status = get_unfiltered(table, slice_text(key), LSM_MAY_BLOCK, &scratch, &cell);
        cr_assert_eq(status, STATUS_OK, "key=%s", key);
        assert_cell(&fixture->entries[i], &cell);
        char absent[KEY_SIZE_MAX];
        strcpy(absent, key);
        absent[strlen(absent) - 1]++; /* Odd: never written. */
        maybe_count += table_may_hold(table, slice_text(absent), hash_of(absent));
        status = get_unfiltered(table, slice_text(absent), LSM_MAY_BLOCK, &scratch, &cell);
        cr_assert_eq(status, STATUS_NOT_FOUND, "key=%s", absent);
    }
    bool filters_fit = table->cache == NULL || budget_cache_room(table->cache->budget) > (1u << 20);
    if (table->filter_count > 0 && filters_fit && fixture->entry_count > 500) {
        cr_assert(maybe_count < fixture->entry_count / 20, "%u of %u", maybe_count,
                  fixture->entry_count);
    }
    buffer_deinit(&scratch);
}

static inline void assert_stands(const struct fixture *fixture, const struct cursor *cursor,
                                 uint32_t i)
{
    cr_assert(slice_equal(cursor->key, slice_text(fixture->entries[i].key)), "i=%u", i);
    cr_assert(slice_equal(cursor->cell, buffer_slice(&fixture->entries[i].cell)), "i=%u", i);
}

/* Seeks with one bound, both ways, and takes a few steps from there. */
static inline void assert_seek(struct fixture *fixture, struct cursor *cursor, const char *bound)
{
    uint32_t at = model_seek(fixture, bound);
    enum status status = cursor_seek(cursor, slice_text(bound), LSM_MAY_BLOCK);
    for (uint32_t i = at; i < fixture->entry_count && i < at + 3; i++) {
        cr_assert_eq(status, STATUS_OK, "bound=%s", bound);
        assert_stands(fixture, cursor, i);
        status = cursor_next(cursor, LSM_MAY_BLOCK);
    }
    cr_assert_eq(status, at + 3 > fixture->entry_count || at + 3 == fixture->entry_count
                             ? STATUS_NOT_FOUND
                             : STATUS_OK);
    status = cursor_seek_before(cursor, slice_text(bound), LSM_MAY_BLOCK);
    uint32_t left = at;
    for (uint32_t steps = 0; left > 0 && steps < 3; steps++) {
        cr_assert_eq(status, STATUS_OK, "bound=%s", bound);
        assert_stands(fixture, cursor, --left);
        status = cursor_previous(cursor, LSM_MAY_BLOCK);
    }
    cr_assert_eq(status, left == 0 ? STATUS_NOT_FOUND : STATUS_OK);
}

static inline void assert_walks(struct fixture *fixture, const struct table *table)
{
    struct table_cursor cursor;
    table_cursor_open(&cursor, table);
    enum status status = cursor_seek(&cursor.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
    for (uint32_t i = 0; i < fixture->entry_count; i++) {
        cr_assert_eq(status, STATUS_OK);
        assert_stands(fixture, &cursor.base, i);
        status = cursor_next(&cursor.base, LSM_MAY_BLOCK);
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
    status = cursor_seek_before(&cursor.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
    for (uint32_t i = fixture->entry_count; i-- > 0;) {
        cr_assert_eq(status, STATUS_OK);
        assert_stands(fixture, &cursor.base, i);
        status = cursor_previous(&cursor.base, LSM_MAY_BLOCK);
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
    for (uint32_t i = 0; i < fixture->entry_count; i++) {
        char bound[KEY_SIZE_MAX];
        strcpy(bound, fixture->entries[i].key);
        assert_seek(fixture, &cursor.base, bound);
        bound[strlen(bound) - 1]++;
        assert_seek(fixture, &cursor.base, bound);
    }
    assert_seek(fixture, &cursor.base, "!");
    assert_seek(fixture, &cursor.base, "~");
    table_cursor_close(&cursor);
}

static inline struct buffer file_load(const char *path)
{
    struct buffer bytes = {0};
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    uint8_t piece[4096];
    size_t got;
    while ((got = fread(piece, 1, sizeof(piece), file)) > 0) {
        buffer_append(&bytes, piece, got);
    }
    fclose(file);
    return bytes;
}

static inline void file_store(const char *path, struct slice bytes)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
    cr_assert_eq(fclose(file), 0);
}

static inline void small_table(struct fixture *fixture)
{
    fixture_open(fixture, 12);
    entries_draw(fixture, 40, 60);
    table_write(fixture, &(struct table_writer_options){
                             .block_size = 512, .bloom_bits_per_key = 10, .compress = true});
}

/* The log of each damage is not wanted a thousand times. */
static inline void log_drop(struct env *env, enum log_level level, struct slice line)
{
    (void)env;
    (void)level;
    (void)line;
}

static struct env_ops quiet_ops;

static inline void fixture_quiet(struct fixture *fixture)
{
    quiet_ops = *fixture->env->ops;
    quiet_ops.log_write = log_drop;
    fixture->env->ops = &quiet_ops;
}

#endif
