/*
 * tools/inspect/inspect_table.c -- one table: its properties, its checksums, its cells.
 */
#include "base/contract.h"
#include "lsm/table.h"
#include "tools/inspect/inspect.h"

static void properties_show(struct inspect *inspect, const char *path, const struct table *table)
{
    const struct table_properties *properties = &table->properties;
    struct inspect_row *row = &inspect->row;
    row_begin(row, "table");
    row_text(row, "path", path);
    row_number(row, "size", properties->file_size);
    row_number(row, "blocks", table->block_count);
    row_number(row, "entries", properties->entry_count);
    row_number(row, "tombstones", properties->tombstone_count);
    row_number(row, "expiring", properties->expiring_count);
    row_number(row, "raw_size", properties->raw_size);
    row_version(row, "version_min", properties->version_min);
    row_version(row, "version_max", properties->version_max);
    if (properties->expiring_count > 0) {
        row_number(row, "expiry_min_ms", properties->expiry_min_ms);
        row_number(row, "expiry_max_ms", properties->expiry_max_ms);
    }
    row_bytes(row, "key_min", properties->key_min);
    row_bytes(row, "key_max", properties->key_max);
    row_hex(row, "nonce", properties->nonce);
    row_end(row);
}

static void cell_show(struct inspect *inspect, struct slice key, const struct cell *cell)
{
    if (inspect->dump) {
        row_begin(&inspect->row, "cell");
        row_bytes(&inspect->row, "key", key);
        row_cell(&inspect->row, cell, inspect->values);
        row_end(&inspect->row);
    }
}

/* Stands before the block after the one that is damaged; false behind the last. */
static bool cursor_pass_damage(struct table_cursor *cursor)
{
    cursor->loaded = false;
    cursor->block_index++;
    return cursor->block_index < cursor->table->block_count;
}

/* All cells, in order; what a damaged block held is left out. */
static void cells_walk(struct inspect *inspect, const char *path, const struct table *table)
{
    struct table_cursor cursor;
    table_cursor_open(&cursor, table);
    uint64_t entry_count = 0;
    bool damaged = false;
    enum status status = cursor_seek(&cursor.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
    while (status == STATUS_OK || status == STATUS_CORRUPT) {
        struct cell cell;
        bool whole = status == STATUS_OK && cell_decode(cursor.base.cell, &cell) == STATUS_OK;
        if (whole) {
            entry_count++;
            cell_show(inspect, cursor.base.key, &cell);
        } else {
            damaged = true;
            inspect_damage(inspect, path, cursor.block_index, "data block number");
            if (!cursor_pass_damage(&cursor)) {
                break;
            }
        }
        status = cursor_next(&cursor.base, LSM_MAY_BLOCK);
    }
    if (status == STATUS_IO || status == STATUS_NO_MEMORY) {
        inspect_failure(inspect, path, status);
    } else if (!damaged && entry_count != table->properties.entry_count) {
        inspect_damage(inspect, path, entry_count, "other number of entries than promised");
    }
    table_cursor_close(&cursor);
}

void inspect_table(struct inspect *inspect, const char *path, uint64_t file_id,
                   const struct table_properties *listed)
{
    struct table *table = NULL;
    enum status status = table_open(inspect->env, path, file_id, listed, &table);
    if (status == STATUS_CORRUPT) {
        inspect_damage(inspect, path, 0, "table cannot be opened");
        return;
    }
    if (status != STATUS_OK) {
        inspect_failure(inspect, path, status);
        return;
    }
    properties_show(inspect, path, table);
    if (inspect->verify || inspect->dump) {
        cells_walk(inspect, path, table);
    }
    if (inspect->verify && table->properties.file_checksum != 0) {
        status = table_verify(table);
        if (status == STATUS_CORRUPT) {
            inspect_damage(inspect, path, 0, "checksum of the whole file");
        } else if (status != STATUS_OK) {
            inspect_failure(inspect, path, status);
        }
    }
    bool last = table_release(table);
    ASSERT(last);
    table_close(table);
}
