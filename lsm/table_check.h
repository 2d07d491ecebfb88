/*
 * lsm/table_check.h -- reads all of a table, a slice at a time, and believes nothing of it.
 *
 * Why: a table that comes from outside was made by another program, on another machine, maybe of
 * another version. Checksums say that it is what somebody wrote, not that it keeps the promises
 * reads rely on: keys in order, each where the index says and in its filter, properties that are
 * true.
 */
#ifndef LSM_TABLE_CHECK_H
#define LSM_TABLE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/table.h"

struct table_check {
    const struct table *table;
    uint64_t offset;   /* Bytes under `checksum` so far. */
    uint64_t checksum; /* Of the file, once it was read. */
    struct table_cursor cursor;
    bool walking; /* The cursor stands on the last cell that was looked at. */
    struct buffer key_last;
    struct table_properties found;
    const char *problem; /* What is wrong; for STATUS_CORRUPT. */
};

/* The table must not use a cache: what is checked is the disk. Cannot fail. */
void table_check_open(struct table_check *check, const struct table *table);
/*
 * Reads about `size` more bytes.
 * STATUS_OK         so far; call again.
 * STATUS_NOT_FOUND  all of it is sound.
 * STATUS_CORRUPT    check->problem says why.
 * STATUS_IO, STATUS_NO_MEMORY
 */
MUST_USE enum status table_check_next(struct table_check *check, uint64_t size);
void table_check_close(struct table_check *check);

#endif
