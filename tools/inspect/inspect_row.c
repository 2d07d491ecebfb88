/*
 * tools/inspect/inspect_row.c -- rows of fields, written to stdout.
 */
#include "tools/inspect/inspect_row.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define VERSION_TEXT_SIZE_MAX 64

/* The bytes as printable ASCII. */
static void line_escape(struct buffer *line, struct slice bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = bytes.data[i];
        if (byte == '\\' || byte == '"') {
            buffer_append_format(line, "\\%c", byte);
        } else if (byte >= ' ' && byte <= '~') {
            buffer_append(line, &byte, 1);
        } else {
            buffer_append_format(line, "\\x%02x", byte);
        }
    }
}

void row_begin(struct inspect_row *row, const char *noun)
{
    buffer_clear(&row->line);
    if (row->as_json) {
        json_init(&row->json, &row->line);
        json_object_begin(&row->json);
        json_key(&row->json, "row");
        json_text(&row->json, noun);
    } else {
        buffer_append_text(&row->line, noun);
    }
}

static void name_put(struct inspect_row *row, const char *name)
{
    if (row->as_json) {
        json_key(&row->json, name);
    } else {
        buffer_append_format(&row->line, " %s=", name);
    }
}

void row_number(struct inspect_row *row, const char *name, uint64_t value)
{
    name_put(row, name);
    if (row->as_json) {
        json_u64(&row->json, value);
    } else {
        buffer_append_format(&row->line, "%" PRIu64, value);
    }
}

void row_hex(struct inspect_row *row, const char *name, uint64_t value)
{
    name_put(row, name);
    if (row->as_json) {
        json_hex64(&row->json, value);
    } else {
        buffer_append_format(&row->line, "%016" PRIx64, value);
    }
}

void row_text(struct inspect_row *row, const char *name, const char *text)
{
    name_put(row, name);
    if (row->as_json) {
        json_text(&row->json, text);
    } else {
        buffer_append_text(&row->line, text);
    }
}

void row_bytes(struct inspect_row *row, const char *name, struct slice bytes)
{
    name_put(row, name);
    if (row->as_json) {
        struct buffer text = {0};
        line_escape(&text, bytes);
        json_slice(&row->json, buffer_slice(&text));
        buffer_deinit(&text);
        return;
    }
    buffer_append_text(&row->line, "\"");
    line_escape(&row->line, bytes);
    buffer_append_text(&row->line, "\"");
}

void row_version(struct inspect_row *row, const char *name, struct version version)
{
    char text[VERSION_TEXT_SIZE_MAX];
    int length = snprintf(text, sizeof(text), "%" PRIu64 ".%" PRIu32 ".%" PRIu32, version.time,
                          version.node, version.sequence);
    ASSERT(length > 0 && length < VERSION_TEXT_SIZE_MAX);
    row_text(row, name, text);
}

void row_cell(struct inspect_row *row, const struct cell *cell, bool values)
{
    static const char *const kinds[] = {
        [CELL_VALUE] = "value", [CELL_DELETE] = "delete", [CELL_PROMISE] = "promise"};
    ASSERT((size_t)cell->kind < ARRAY_COUNT(kinds));
    row_version(row, "version", cell->version);
    row_text(row, "kind", kinds[cell->kind]);
    if (cell->stamp != 0) {
        row_number(row, "stamp", cell->stamp);
    }
    if (cell->expiry_ms != 0) {
        row_number(row, "expiry_ms", cell->expiry_ms);
    }
    if (cell->window.size > 0) {
        row_number(row, "window_size", cell->window.size);
    }
    row_number(row, "value_size", cell->value.size);
    if (values) {
        row_bytes(row, "value", cell->value);
    }
}

void row_end(struct inspect_row *row)
{
    if (row->as_json) {
        json_object_end(&row->json);
    }
    buffer_append_text(&row->line, "\n");
    if (buffer_status(&row->line) != STATUS_OK) {
        (void)fputs("lsm_inspect: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    if (fwrite(row->line.data, 1, row->line.size, stdout) != row->line.size) {
        (void)fputs("lsm_inspect: cannot write to stdout\n", stderr);
        exit(EXIT_FAILURE);
    }
}

void row_deinit(struct inspect_row *row)
{
    buffer_deinit(&row->line);
}
