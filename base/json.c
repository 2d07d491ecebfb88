/*
 * base/json.c -- writes JSON as it is asked for, with the commas between.
 *
 * Invariants:
 *  (1) What comes out is UTF-8: every byte that does not belong to a well-formed sequence (RFC
 *      3629: shortest form, no surrogates, up to U+10FFFF) becomes U+FFFD.
 *  (2) A key is followed by exactly one value; each end meets its begin (asserted by depth).
 */
#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/contract.h"

#define JSON_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

void json_init(struct json_writer *json, struct buffer *to)
{
    ASSERT(json != NULL);
    ASSERT(to != NULL);
    *json = (struct json_writer){.to = to};
}

/* What stands before a value or key: a comma if another came before it at this depth. */
static void separate(struct json_writer *json)
{
    if (json->after_key) {
        json->after_key = false;
        return;
    }
    if (json->depth == 0) {
        return;
    }
    bool *comma = &json->comma[json->depth - 1];
    if (*comma) {
        buffer_append(json->to, ",", 1);
    }
    *comma = true;
}

static void begin(struct json_writer *json, const char *bracket)
{
    ASSERT(json->depth < JSON_DEPTH_MAX);
    separate(json);
    json->comma[json->depth++] = false;
    buffer_append(json->to, bracket, 1);
}

static void end(struct json_writer *json, const char *bracket)
{
    ASSERT(json->depth > 0);
    ASSERT(!json->after_key);
    json->depth--;
    buffer_append(json->to, bracket, 1);
}

void json_object_begin(struct json_writer *json)
{
    begin(json, "{");
}

void json_object_end(struct json_writer *json)
{
    end(json, "}");
}

void json_array_begin(struct json_writer *json)
{
    begin(json, "[");
}

void json_array_end(struct json_writer *json)
{
    end(json, "]");
}

/* Size of the well-formed sequence that `text` begins with; 0 if there is none. */
static size_t sequence_size(const uint8_t *text, size_t size)
{
    uint8_t first = text[0];
    if (first < 0x80) {
        return 1;
    }
    size_t wanted = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || wanted > size) {
        return 0;
    }
    /* The second byte is where over-long forms, surrogates and too great numbers show. */
    uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t greatest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < least || text[1] > greatest) {
        return 0;
    }
    for (size_t index = 2; index < wanted; index++) {
        if ((text[index] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return wanted;
}

static void escape_put(struct buffer *to, uint8_t byte)
{
    switch (byte) {
    case '"':
        buffer_append_text(to, "\\\"");
        break;
    case '\\':
        buffer_append_text(to, "\\\\");
        break;
    case '\n':
        buffer_append_text(to, "\\n");
        break;
    case '\r':
        buffer_append_text(to, "\\r");
        break;
    case '\t':
        buffer_append_text(to, "\\t");
        break;
    default:
        buffer_append_format(to, "\\u%04x", (unsigned)byte);
        break;
    }
}

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte != '"' && byte != '\\';
}

/* Copies runs of bytes that need nothing at once. */
static void string_put(struct buffer *to, struct slice text)
{
    buffer_append(to, "\"", 1);
    size_t at = 0;
    size_t run = 0; /* Where the bytes not yet copied begin. */
    while (at < text.size) {
        size_t size = sequence_size(text.data + at, text.size - at);
        if (size > 1 || (size == 1 && is_plain(text.data[at]))) {
            at += size;
            continue;
        }
        buffer_append(to, text.data + run, at - run);
        if (size == 0) {
            buffer_append_text(to, JSON_REPLACEMENT);
        } else {
            escape_put(to, text.data[at]);
        }
        at++;
        run = at;
    }
    if (at > run) {
        buffer_append(to, text.data + run, at - run);
    }
    buffer_append(to, "\"", 1);
}

void json_key(struct json_writer *json, const char *key)
{
    ASSERT(json->depth > 0);
    ASSERT(!json->after_key);
    separate(json);
    string_put(json->to, slice_text(key));
    buffer_append(json->to, ":", 1);
    json->after_key = true;
}

void json_text(struct json_writer *json, const char *text)
{
    json_slice(json, slice_text(text));
}

void json_slice(struct json_writer *json, struct slice text)
{
    separate(json);
    string_put(json->to, text);
}

void json_u64(struct json_writer *json, uint64_t value)
{
    separate(json);
    buffer_append_format(json->to, "%" PRIu64, value);
}

void json_i64(struct json_writer *json, int64_t value)
{
    separate(json);
    buffer_append_format(json->to, "%" PRId64, value);
}

/* As few digits as read back to the same number. */
void json_double(struct json_writer *json, double value)
{
    if (!isfinite(value)) {
        json_null(json);
        return;
    }
    separate(json);
    char digits[32];
    for (int precision = 15; precision <= 17; precision++) {
        int length = snprintf(digits, sizeof(digits), "%.*g", precision, value);
        ASSERT(length > 0 && (size_t)length < sizeof(digits));
        double back = strtod(digits, NULL);
        if (!(back < value) && !(back > value)) {
            break;
        }
    }
    buffer_append_text(json->to, digits);
}

void json_hex64(struct json_writer *json, uint64_t value)
{
    separate(json);
    buffer_append_format(json->to, "\"%016" PRIx64 "\"", value);
}

void json_bool(struct json_writer *json, bool value)
{
    separate(json);
    buffer_append_text(json->to, value ? "true" : "false");
}

void json_null(struct json_writer *json)
{
    separate(json);
    buffer_append_text(json->to, "null");
}
