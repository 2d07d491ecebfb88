/*
 * tools/inspect/inspect_row.h -- what is found, one row a line: for eyes, or as JSON.
 *
 * A row is a noun and fields: `table id=12 entries=3 key_min="a"`, or with --json
 * {"row":"table","id":12,"entries":3,"key_min":"a"}. Keys and values are printed as text, bytes
 * that are not printable ASCII as \xNN.
 */
#ifndef TOOLS_INSPECT_INSPECT_ROW_H
#define TOOLS_INSPECT_INSPECT_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/cell.h"
#include "base/json.h"
#include "base/slice.h"

struct inspect_row {
    bool as_json;
    struct buffer line;
    struct json_writer json;
};

void row_begin(struct inspect_row *row, const char *noun);
void row_number(struct inspect_row *row, const char *name, uint64_t value);
void row_hex(struct inspect_row *row, const char *name, uint64_t value); /* 16 digits. */
void row_text(struct inspect_row *row, const char *name, const char *text);
void row_bytes(struct inspect_row *row, const char *name, struct slice bytes);
/* time.node.sequence */
void row_version(struct inspect_row *row, const char *name, struct version version);
/* All of a cell; its value only as a size unless `values`. */
void row_cell(struct inspect_row *row, const struct cell *cell, bool values);
void row_end(struct inspect_row *row); /* Prints the line. */
void row_deinit(struct inspect_row *row);

#endif
