/*
 * tests/fuzz/fuzz_table.c -- whatever bytes come as a table file: refused, or read within bounds.
 *
 * The file lies in memory, behind an env that has nothing but reads. Each input is read as it is,
 * and again with every checksum that can be found in it made right: checksums are no defence
 * against a writer with a bug, and no mutation would get past them.
 * Properties: only the statuses of the contract; an untouched file that opens answers every get
 * for a key its cursor shows; walks end.
 */
#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "base/memory.h"
#include "lsm/block_cursor.h"
#include "lsm/table.h"
#include "lsm/table_format.h"
#include "tests/fuzz/fuzz.h"

struct env_file {
    struct slice bytes;
};

struct fuzz_env {
    struct env base; /* First, as env.h asks. */
    struct env_file file;
};

static enum status fuzz_open(struct env *env, const char *path, enum env_open mode,
                             struct env_file **file)
{
    (void)path;
    ASSERT(mode == ENV_OPEN_READ);
    *file = &((struct fuzz_env *)env)->file;
    return STATUS_OK;
}

static void fuzz_close(struct env_file *file)
{
    (void)file;
}

static enum status fuzz_size(struct env_file *file, uint64_t *size)
{
    *size = file->bytes.size;
    return STATUS_OK;
}

static enum status fuzz_read(struct env_file *file, uint64_t offset, void *to, size_t size,
                             size_t *got)
{
    ASSERT(offset <= file->bytes.size);
    size_t rest = file->bytes.size - offset;
    *got = size < rest ? size : rest;
    if (*got > 0) {
        memcpy(to, file->bytes.data + offset, *got);
    }
    return STATUS_OK;
}

static void fuzz_log(struct env *env, enum log_level level, struct slice line)
{
    (void)env;
    (void)level;
    (void)line;
}

static const struct env_ops fuzz_ops = {
    .log_write = fuzz_log,
    .file_open = fuzz_open,
    .file_close = fuzz_close,
    .file_size = fuzz_size,
    .file_read = fuzz_read,
    .file_read_nowait = fuzz_read,
};

static void block_make_right(uint8_t *data, uint64_t nonce, uint64_t offset, uint64_t size)
{
    if (size >= BLOCK_TRAILER_SIZE) {
        uint64_t checksum = checksum64(slice_make(data + offset, size - 8), nonce + offset);
        codec_store_u64(data + offset + size - 8, checksum);
    }
}

/* Every block that the entries of an index block name, and what those name, `depth` levels down. */
/* NOLINTNEXTLINE(misc-no-recursion): ends at `depth`, which is 2 at most. */
static void index_make_right(uint8_t *data, uint64_t end, uint64_t nonce, struct table_handle index,
                             int depth)
{
    block_make_right(data, nonce, index.offset, index.size);
    if (depth == 0) {
        return;
    }
    struct buffer sealed = {0};
    struct block_cursor cursor = {0};
    struct slice raw;
    buffer_append(&sealed, data + index.offset, index.size);
    struct block_place place = {.nonce = nonce, .offset = index.offset};
    if (block_unseal(&sealed, place, &raw) == STATUS_OK &&
        block_cursor_reset(&cursor, raw) == STATUS_OK) {
        enum status status = block_cursor_first(&cursor);
        /* Bounded by bytes: handles may all name the same block. */
        for (uint64_t work = 0; status == STATUS_OK && work < end;) {
            struct table_handle handle;
            if (table_handle_get(cursor.cell, 0, end, &handle) == STATUS_OK) {
                index_make_right(data, end, nonce, handle, depth - 1);
                work += handle.size;
            }
            status = block_cursor_next(&cursor);
        }
    }
    block_cursor_deinit(&cursor);
    buffer_deinit(&sealed);
}

static void filters_make_right(uint8_t *data, const struct table_footer *footer)
{
    uint64_t size = footer->properties_offset - footer->directory_offset;
    block_make_right(data, footer->nonce, footer->directory_offset, size);
    if (size < BLOCK_TRAILER_SIZE) {
        return;
    }
    struct slice raw = slice_make(data + footer->directory_offset, size - BLOCK_TRAILER_SIZE);
    uint32_t filter_count;
    uint32_t probe_count;
    if (table_directory_get(raw, &filter_count, &probe_count) != STATUS_OK) {
        return;
    }
    for (uint32_t i = 0; i < filter_count; i++) {
        struct table_filter_entry entry;
        table_filter_entry_get(raw, i, &entry);
        if (entry.handle.offset <= footer->index_offset &&
            entry.handle.size <= footer->index_offset - entry.handle.offset) {
            block_make_right(data, footer->nonce, entry.handle.offset, entry.handle.size);
        }
    }
}

static void file_make_right(uint8_t *data, size_t size)
{
    if (size <= TABLE_FOOTER_SIZE) {
        return;
    }
    uint64_t footer_offset = size - TABLE_FOOTER_SIZE;
    uint8_t *bytes = data + footer_offset;
    codec_store_u64(bytes + TABLE_FOOTER_SIZE - 8,
                    checksum64(slice_make(bytes, TABLE_FOOTER_SIZE - 8), footer_offset));
    struct table_footer footer;
    if (table_footer_decode(bytes, footer_offset, &footer) != STATUS_OK) {
        return;
    }
    block_make_right(data, footer.nonce, footer.properties_offset,
                     footer_offset - footer.properties_offset);
    struct table_handle root = {.offset = footer.root_offset,
                                .size = (uint32_t)(footer.directory_offset - footer.root_offset)};
    index_make_right(data, footer_offset, footer.nonce, root, 2);
    filters_make_right(data, &footer);
}

static bool status_is_fair(enum status status)
{
    return status == STATUS_OK || status == STATUS_NOT_FOUND || status == STATUS_CORRUPT;
}

static void table_check(const struct table *table, size_t size, bool untouched)
{
    struct table_cursor cursor;
    struct buffer scratch = {0};
    struct cell cell;
    table_cursor_open(&cursor, table);
    /* Each entry takes at least 3 bytes, which lz4 makes of no less than a 255th. */
    size_t left = size * 85 + 1;
    size_t gets_left = 200;
    enum status status = cursor_seek(&cursor.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
    while (status == STATUS_OK) {
        ASSERT(left > 0);
        left--;
        if (gets_left > 0) {
            gets_left--;
            struct slice key = cursor.base.key;
            struct table_probe probe = {.key = key, .hash = checksum64(key, 0)};
            bool inside = table_locate(table, &probe);
            bool maybe = inside && table_filter_passes(table, &probe, LSM_MAY_BLOCK);
            enum status got =
                inside ? table_get(table, &probe, LSM_NOWAIT, &scratch, &cell) : STATUS_NOT_FOUND;
            ASSERT(status_is_fair(got));
            ASSERT(!untouched || (maybe && got == STATUS_OK));
        }
        status = cursor_next(&cursor.base, LSM_NOWAIT);
    }
    ASSERT(status_is_fair(status));
    status = cursor_seek_before(&cursor.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
    for (uint32_t i = 0; i < 200 && status == STATUS_OK; i++) {
        status = cursor_previous(&cursor.base, LSM_MAY_BLOCK);
    }
    ASSERT(status_is_fair(status));
    status = cursor_seek(&cursor.base, slice_text("users/"), LSM_MAY_BLOCK);
    ASSERT(status_is_fair(status));
    status = cursor_seek_before(&cursor.base, slice_text("users/"), LSM_MAY_BLOCK);
    ASSERT(status_is_fair(status));
    table_cursor_close(&cursor);
    buffer_deinit(&scratch);
}

static void file_check(struct slice bytes, bool untouched)
{
    struct fuzz_env env = {.base.ops = &fuzz_ops, .file.bytes = bytes};
    struct table *table;
    enum status status = table_open(&env.base, "table", 1, NULL, &table);
    if (status == STATUS_OK) {
        table_check(table, bytes.size, untouched);
        table_close(table);
    } else {
        ASSERT(status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    file_check(slice_make(data, size), true);
    if (size == 0) {
        return 0;
    }
    uint8_t *copy = memory_allocate(size);
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    file_make_right(copy, size);
    file_check(slice_make(copy, size), false);
    memory_free(copy);
    return 0;
}
