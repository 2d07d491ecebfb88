/* client/kvctl_output.c -- rows as a table, JSON or tab-separated; numbers for people. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "client/kvctl.h"

#define CELL_SIZE_MAX 1024
#define COLUMN_COUNT_MAX 16

void output_cell(struct output_rows *rows, const char *format, ...)
{
    char text[CELL_SIZE_MAX];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    buffer_append(&rows->cells, text, strlen(text) + 1);
    rows->cell_count++;
}

static const char *cell_after(const char *cell)
{
    return cell + strlen(cell) + 1;
}

static void table_print(const struct output_rows *rows, struct buffer *to)
{
    size_t widths[COLUMN_COUNT_MAX];
    for (size_t column = 0; column < rows->column_count; column++) {
        widths[column] = strlen(rows->columns[column].name);
    }
    const char *cell = (const char *)rows->cells.data;
    for (size_t index = 0; index < rows->cell_count; index++, cell = cell_after(cell)) {
        size_t *width = &widths[index % rows->column_count];
        *width = strlen(cell) > *width ? strlen(cell) : *width;
    }
    cell = (const char *)rows->cells.data;
    for (size_t index = 0; index < rows->column_count + rows->cell_count; index++) {
        size_t at = index % rows->column_count;
        const struct output_column *column = &rows->columns[at];
        const char *text = index < rows->column_count ? column->name : cell;
        bool last = at + 1 == rows->column_count;
        int width = column->number ? (int)widths[at] : last ? 0 : -(int)widths[at];
        buffer_append_format(to, "%*s%s", width, text, last ? "\n" : "  ");
        cell = index < rows->column_count ? cell : cell_after(cell);
    }
}

static void tsv_print(const struct output_rows *rows, struct buffer *to)
{
    const char *cell = (const char *)rows->cells.data;
    for (size_t index = 0; index < rows->cell_count; index++, cell = cell_after(cell)) {
        bool last = (index + 1) % rows->column_count == 0;
        buffer_append_format(to, "%s%s", cell, last ? "\n" : "\t");
    }
}

static void json_print(const struct output_rows *rows, struct buffer *to)
{
    struct json_writer json;
    json_init(&json, to);
    json_array_begin(&json);
    const char *cell = (const char *)rows->cells.data;
    for (size_t index = 0; index < rows->cell_count; index++, cell = cell_after(cell)) {
        const struct output_column *column = &rows->columns[index % rows->column_count];
        char *end;
        double number = strtod(cell, &end);
        if (index % rows->column_count == 0) {
            json_object_begin(&json);
        }
        json_key(&json, column->name);
        if (!column->number) {
            json_text(&json, cell);
        } else if (end != cell && *end == '\0') {
            json_double(&json, number);
        } else {
            json_null(&json);
        }
        if ((index + 1) % rows->column_count == 0) {
            json_object_end(&json);
        }
    }
    json_array_end(&json);
    buffer_append_text(to, "\n");
}

enum kvctl_exit output_bytes(struct slice bytes)
{
    if (bytes.size == 0 || fwrite(bytes.data, 1, bytes.size, stdout) == bytes.size) {
        return KVCTL_OK;
    }
    kvctl_complain("standard output: %s", strerror(errno));
    return KVCTL_FAILURE;
}

enum kvctl_exit output_print(struct kvctl *kvctl, struct output_rows *rows)
{
    ASSERT(rows->column_count <= COLUMN_COUNT_MAX);
    ASSERT(rows->cell_count % rows->column_count == 0);
    struct buffer text = {0};
    enum kvctl_exit code = KVCTL_FAILURE;
    if (buffer_status(&rows->cells) == STATUS_OK) {
        switch (kvctl->output) {
        case KVCTL_TABLE:
            table_print(rows, &text);
            break;
        case KVCTL_JSON:
            json_print(rows, &text);
            break;
        case KVCTL_TSV:
        case KVCTL_RAW:
            tsv_print(rows, &text);
            break;
        }
    }
    if (buffer_status(&rows->cells) == STATUS_OK && buffer_status(&text) == STATUS_OK) {
        code = output_bytes(buffer_slice(&text));
    } else {
        kvctl_complain("out of memory");
    }
    buffer_deinit(&text);
    buffer_deinit(&rows->cells);
    return code;
}

const char *output_count(uint64_t value, char text[OUTPUT_NUMBER_SIZE_MAX])
{
    char digits[OUTPUT_NUMBER_SIZE_MAX];
    int count = snprintf(digits, sizeof(digits), "%" PRIu64, value);
    char *to = text;
    for (int index = 0; index < count; index++) {
        if (index > 0 && (count - index) % 3 == 0) {
            *to++ = ',';
        }
        *to++ = digits[index];
    }
    *to = '\0';
    return text;
}

const char *output_size(uint64_t value, char text[OUTPUT_NUMBER_SIZE_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double amount = (double)value;
    size_t unit = 0;
    while (amount >= 1024 && unit + 1 < ARRAY_COUNT(units)) {
        amount /= 1024;
        unit++;
    }
    (void)snprintf(text, OUTPUT_NUMBER_SIZE_MAX, unit == 0 ? "%.0f %s" : "%.1f %s", amount,
                   units[unit]);
    return text;
}

void output_size_cell(const struct kvctl *kvctl, struct output_rows *rows, uint64_t size)
{
    char text[OUTPUT_NUMBER_SIZE_MAX];
    if (kvctl->output == KVCTL_TABLE) {
        output_cell(rows, "%s", output_size(size, text));
    } else {
        output_cell(rows, "%" PRIu64, size);
    }
}
