/*
 * lsm/table_output.h -- the run of tables that one flush or merge writes.
 *
 * Cells go in in key order; a table ends when it is long enough. Nothing of it counts until the
 * owner commits the change; until then its files are orphans.
 */
#ifndef LSM_TABLE_OUTPUT_H
#define LSM_TABLE_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"
#include "lsm/table_set.h"
#include "lsm/table_writer.h"

struct lsm;

struct table_output {
    uint64_t run_id;
    uint32_t tier;
    uint64_t table_size_max;     /* A table that is so long ends. */
    struct table_writer *writer; /* NULL between tables. */
    uint64_t file_id;            /* Of the table being written. */
    struct table_place *places;  /* Finished tables, one reference each. */
    uint32_t place_count;
    uint32_t place_capacity;
    uint64_t size; /* Of the finished files. */
};

/* In jobs only: all of them block. *cut: a table ended with this cell. */
MUST_USE enum status table_output_add(struct lsm *lsm, struct table_output *output,
                                      struct slice key, struct slice cell, bool *cut);
/* Takes in a table that is there already, by a reference of its own. STATUS_NO_MEMORY */
MUST_USE enum status table_output_adopt(struct table_output *output,
                                        const struct table_place *place);
/* Ends the last table and makes the names durable. */
MUST_USE enum status table_output_finish(struct lsm *lsm, struct table_output *output);
/* Keys of the stretch do not count in what was written; a table of which nothing is left is
 * removed. STATUS_NO_MEMORY */
MUST_USE enum status table_output_cut(struct lsm *lsm, struct table_output *output,
                                      const struct clip *stretch);
/* Drops the references and what was not finished; the files stay. Ready for use again. */
void table_output_reset(struct table_output *output);
/* The same, and removes the files: no edit names them. In jobs only. */
void table_output_discard(struct lsm *lsm, struct table_output *output);

#endif
