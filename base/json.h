/*
 * base/json.h -- a streaming JSON writer.
 *
 * Why our own: 64-bit tokens must come out as strings of 16 hex digits, and pages of ten thousand
 * ranges should not be built as a tree first. Commas and escapes are its business; nesting up to
 * JSON_DEPTH_MAX is asserted. Bytes that are no UTF-8 come out as U+FFFD. Parsing is jansson's.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"

#define JSON_DEPTH_MAX 16

struct json_writer {
    struct buffer *to; /* Borrowed; sticky failure is checked by its owner. */
    uint32_t depth;
    bool comma[JSON_DEPTH_MAX]; /* A value was written at this depth. */
    bool after_key;
};

void json_init(struct json_writer *json, struct buffer *to);
void json_object_begin(struct json_writer *json);
void json_object_end(struct json_writer *json);
void json_array_begin(struct json_writer *json);
void json_array_end(struct json_writer *json);
void json_key(struct json_writer *json, const char *key);
void json_text(struct json_writer *json, const char *text);
void json_slice(struct json_writer *json, struct slice text);
void json_u64(struct json_writer *json, uint64_t value);
void json_i64(struct json_writer *json, int64_t value);
void json_double(struct json_writer *json, double value);  /* Not finite: null. */
void json_hex64(struct json_writer *json, uint64_t value); /* "0123456789abcdef" */
void json_bool(struct json_writer *json, bool value);
void json_null(struct json_writer *json);

#endif
