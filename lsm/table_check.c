/*
 * lsm/table_check.c -- first the bytes, for their checksum; then the cells, one by one.
 */
#include "lsm/table_check.h"

#include "base/checksum.h"
#include "base/contract.h"
#include "lsm/clip.h"

void table_check_open(struct table_check *check, const struct table *table)
{
    ASSERT(table->cache == NULL);
    *check = (struct table_check){.table = table};
    table_cursor_open(&check->cursor, table);
}

void table_check_close(struct table_check *check)
{
    if (check->table != NULL) {
        table_cursor_close(&check->cursor);
        buffer_deinit(&check->key_last);
    }
    *check = (struct table_check){0};
}

static enum status check_fail(struct table_check *check, const char *problem)
{
    check->problem = problem;
    return STATUS_CORRUPT;
}

static void found_note(struct table_properties *found, struct slice key, struct slice bytes,
                       const struct cell *cell)
{
    if (found->entry_count == 0) {
        found->version_min = cell->version;
        found->version_max = cell->version;
    }
    if (version_compare(cell->version, found->version_min) < 0) {
        found->version_min = cell->version;
    }
    if (version_compare(cell->version, found->version_max) > 0) {
        found->version_max = cell->version;
    }
    found->entry_count++;
    found->tombstone_count += cell->kind == CELL_DELETE ? 1 : 0;
    found->raw_size += key.size + bytes.size;
    found->stamp_max = cell->stamp > found->stamp_max ? cell->stamp : found->stamp_max;
    if (cell->expiry_ms != 0) {
        if (found->expiring_count == 0 || cell->expiry_ms < found->expiry_min_ms) {
            found->expiry_min_ms = cell->expiry_ms;
        }
        found->expiry_max_ms =
            cell->expiry_ms > found->expiry_max_ms ? cell->expiry_ms : found->expiry_max_ms;
        found->expiring_count++;
    }
}

static enum status cell_check(struct table_check *check)
{
    struct slice key = check->cursor.base.key;
    struct slice bytes = check->cursor.base.cell;
    struct table_probe probe = {.key = key, .hash = checksum64(key, 0)};
    struct cell cell;
    if (key.size == 0 || key.size > LSM_KEY_SIZE_MAX) {
        return check_fail(check, "a key that nobody can write");
    }
    if (check->found.entry_count > 0 && slice_compare(buffer_slice(&check->key_last), key) >= 0) {
        return check_fail(check, "keys out of order");
    }
    struct clip block = {0};
    table_block_bounds(check->table, check->cursor.block_index, &block.lower, &block.upper);
    if (!table_locate(check->table, &probe) || !clip_holds(&block, key)) {
        return check_fail(check, "a key that the index does not lead to");
    }
    if (!table_filter_passes(check->table, &probe, LSM_MAY_BLOCK)) {
        return check_fail(check, "a key that its filter does not know");
    }
    if (cell_decode(bytes, &cell) != STATUS_OK) {
        return check_fail(check, "a malformed cell");
    }
    found_note(&check->found, key, bytes, &cell);
    buffer_clear(&check->key_last);
    buffer_append_slice(&check->key_last, key);
    return buffer_status(&check->key_last);
}

static enum status properties_check(struct table_check *check)
{
    const struct table_properties *told = &check->table->properties;
    const struct table_properties *found = &check->found;
    bool same = told->entry_count == found->entry_count &&
                told->tombstone_count == found->tombstone_count &&
                told->expiring_count == found->expiring_count &&
                told->raw_size == found->raw_size && told->stamp_max == found->stamp_max &&
                told->expiry_min_ms == found->expiry_min_ms &&
                told->expiry_max_ms == found->expiry_max_ms &&
                version_compare(told->version_min, found->version_min) == 0 &&
                version_compare(told->version_max, found->version_max) == 0 &&
                slice_equal(told->key_max, buffer_slice(&check->key_last));
    return same ? STATUS_NOT_FOUND : check_fail(check, "properties that are not true");
}

static enum status cells_check(struct table_check *check, uint64_t size)
{
    struct cursor *cursor = &check->cursor.base;
    uint64_t taken = 0;
    while (taken < size) {
        enum status status = check->walking
                                 ? cursor_next(cursor, LSM_MAY_BLOCK)
                                 : cursor_seek(cursor, slice_make(NULL, 0), LSM_MAY_BLOCK);
        check->walking = true;
        if (status == STATUS_NOT_FOUND) {
            return properties_check(check);
        }
        if (status == STATUS_CORRUPT) {
            return check_fail(check, "a damaged block");
        }
        if (status == STATUS_OK) {
            status = cell_check(check);
        }
        if (status != STATUS_OK) {
            return status;
        }
        if (check->found.entry_count == 1 &&
            !slice_equal(cursor->key, check->table->properties.key_min)) {
            return check_fail(check, "properties that are not true");
        }
        taken += cursor->key.size + cursor->cell.size;
    }
    return STATUS_OK;
}

enum status table_check_next(struct table_check *check, uint64_t size)
{
    uint64_t file_size = check->table->properties.file_size;
    if (check->table->damage_count > 0) {
        return check_fail(check, "a damaged index or filter");
    }
    if (check->offset == file_size) {
        return cells_check(check, size);
    }
    uint64_t before = check->offset;
    while (check->offset < file_size && check->offset - before < size) {
        enum status status = table_checksum_next(check->table, &check->offset, &check->checksum);
        if (status != STATUS_OK) {
            return status == STATUS_CORRUPT ? check_fail(check, "shorter than it was") : status;
        }
    }
    uint64_t expected = check->table->properties.file_checksum;
    bool differs = check->offset == file_size && expected != 0 && expected != check->checksum;
    return differs ? check_fail(check, "another checksum than was told") : STATUS_OK;
}
