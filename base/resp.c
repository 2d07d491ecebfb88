/*
 * base/resp.c -- reads replies, and writes replies and requests.
 *
 * Replies come from a node, so they are read strictly: line breaks are compared, every type's text
 * is checked. Requests are read in base/resp_request.c.
 *
 * Source: the protocol's published specification (redis.io, RESP2 and RESP3).
 */
#include "base/resp.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/contract.h"
#include "base/resp_internal.h"

#define RESP_BULK_SIZE_MAX (512 << 20)        /* Of one reply; Redis's own proto-max-bulk-len. */
#define RESP_COUNT_MAX 0x7fffffff             /* Items of one container. */
#define RESP_DEPTH_MAX 32                     /* Containers in one another. */
#define RESP_HEADER_SIZE_MAX (1 + 1 + 19 + 2) /* Type, sign, digits, line break. */
#define RESP_ERROR_SIZE_MAX 1024              /* Longer messages are cut. */
#define RESP_VERBATIM_PREFIX_SIZE 4           /* "txt:" */

bool resp_integer_parse(const uint8_t *text, size_t size, int64_t *value)
{
    bool negative = size > 0 && text[0] == '-';
    size_t at = negative ? 1 : 0;
    if (at == size || (text[at] == '0' && size > 1)) {
        return false;
    }
    uint64_t sum = 0;
    for (; at < size; at++) {
        unsigned digit = (unsigned)text[at] - '0';
        if (digit > 9 || __builtin_mul_overflow(sum, UINT64_C(10), &sum) ||
            __builtin_add_overflow(sum, (uint64_t)digit, &sum)) {
            return false;
        }
    }
    uint64_t bound = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (sum > bound) {
        return false;
    }
    *value = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

/* Returns the end. `to` has room for 20 bytes. */
static uint8_t *decimal_store(uint8_t *to, uint64_t value)
{
    uint8_t digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    memcpy(to, digits + at, sizeof(digits) - at);
    return to + (sizeof(digits) - at);
}

/* ---- replies, read ---- */

/* The text between the type byte and the line break. */
static enum status line_read(struct slice bytes, struct slice *text, size_t *used)
{
    size_t window = bytes.size <= RESP_INLINE_SIZE_MAX ? bytes.size : RESP_INLINE_SIZE_MAX;
    const uint8_t *end = memchr(bytes.data, '\r', window);
    if (end == NULL) {
        return bytes.size < RESP_INLINE_SIZE_MAX ? STATUS_WOULD_BLOCK : STATUS_INVALID;
    }
    size_t size = (size_t)(end - bytes.data);
    if (size + 1 == bytes.size) {
        return STATUS_WOULD_BLOCK;
    }
    if (end[1] != '\n') {
        return STATUS_INVALID;
    }
    *text = slice_make(bytes.data + 1, size - 1);
    *used = size + 2;
    return STATUS_OK;
}

static size_t digits_size(struct slice text, size_t at)
{
    size_t begin = at;
    while (at < text.size && text.data[at] >= '0' && text.data[at] <= '9') {
        at++;
    }
    return at - begin;
}

static bool is_big(struct slice text)
{
    size_t sign = text.size > 0 && (text.data[0] == '-' || text.data[0] == '+') ? 1 : 0;
    size_t digits = digits_size(text, sign);
    return digits > 0 && sign + digits == text.size;
}

/* [sign] digits [. digits] [e [sign] digits], or inf, -inf, nan. */
static bool is_double(struct slice text)
{
    if (slice_equal(text, slice_text("inf")) || slice_equal(text, slice_text("-inf")) ||
        slice_equal(text, slice_text("nan"))) {
        return true;
    }
    size_t at = text.size > 0 && (text.data[0] == '-' || text.data[0] == '+') ? 1 : 0;
    size_t digits = digits_size(text, at);
    at += digits;
    if (digits > 0 && at < text.size && text.data[at] == '.') {
        at++;
        digits = digits_size(text, at);
        at += digits;
    }
    if (digits > 0 && at < text.size && (text.data[at] | 0x20) == 'e') {
        at++;
        at += at < text.size && (text.data[at] == '-' || text.data[at] == '+') ? 1 : 0;
        digits = digits_size(text, at);
        at += digits;
    }
    return digits > 0 && at == text.size;
}

/* The body behind "$5\r\n", "!..." or "=...". `header_size` was read, `item->integer` is its
 * number. */
static enum status body_read(struct slice bytes, size_t header_size, struct resp_item *item,
                             size_t *used)
{
    if (item->integer < 0 || item->integer > RESP_BULK_SIZE_MAX) {
        return STATUS_INVALID;
    }
    size_t size = (size_t)item->integer;
    if (bytes.size - header_size < size + 2) {
        return STATUS_WOULD_BLOCK;
    }
    const uint8_t *body = bytes.data + header_size;
    if (body[size] != '\r' || body[size + 1] != '\n') {
        return STATUS_INVALID;
    }
    item->text = slice_make(body, size);
    item->integer = 0;
    *used = header_size + size + 2;
    return STATUS_OK;
}

static enum status verbatim_strip(struct resp_item *item)
{
    struct slice text = item->text;
    if (text.size < RESP_VERBATIM_PREFIX_SIZE || text.data[RESP_VERBATIM_PREFIX_SIZE - 1] != ':') {
        return STATUS_INVALID;
    }
    item->text =
        slice_make(text.data + RESP_VERBATIM_PREFIX_SIZE, text.size - RESP_VERBATIM_PREFIX_SIZE);
    return STATUS_OK;
}

/* Items whose line is all there is. `line` is the text behind the type byte. */
static enum status scalar_read(uint8_t type, struct slice line, struct resp_item *item)
{
    bool valid = true;
    switch (type) {
    case '+':
        item->type = RESP_SIMPLE;
        item->text = line;
        break;
    case '-':
        item->type = RESP_ERROR;
        item->text = line;
        break;
    case ':':
        item->type = RESP_INTEGER;
        valid = resp_integer_parse(line.data, line.size, &item->integer);
        break;
    case '_':
        item->type = RESP_NULL;
        valid = line.size == 0;
        break;
    case '#':
        item->type = RESP_BOOLEAN;
        valid = line.size == 1 && (line.data[0] == 't' || line.data[0] == 'f');
        item->integer = valid && line.data[0] == 't' ? 1 : 0;
        break;
    case ',':
        item->type = RESP_DOUBLE;
        item->text = line;
        valid = is_double(line);
        break;
    case '(':
        item->type = RESP_BIG;
        item->text = line;
        valid = is_big(line);
        break;
    default:
        valid = false;
        break;
    }
    return valid ? STATUS_OK : STATUS_INVALID;
}

/* Items whose line is a number; which one decides what follows. */
static bool sized_type(uint8_t type, enum resp_type *meaning)
{
    switch (type) {
    case '$':
    case '=':
        *meaning = RESP_BULK;
        return true;
    case '!':
        *meaning = RESP_ERROR;
        return true;
    case '*':
        *meaning = RESP_ARRAY;
        return true;
    case '%':
        *meaning = RESP_MAP;
        return true;
    case '~':
        *meaning = RESP_SET;
        return true;
    case '>':
        *meaning = RESP_PUSH;
        return true;
    default:
        return false;
    }
}

static enum status sized_read(struct slice bytes, struct slice line, size_t header_size,
                              struct resp_item *item, size_t *used)
{
    uint8_t type = bytes.data[0];
    if (!resp_integer_parse(line.data, line.size, &item->integer)) {
        return STATUS_INVALID;
    }
    if (item->integer == -1 && (type == '$' || type == '*')) {
        *item = (struct resp_item){.type = RESP_NULL};
        *used = header_size;
        return STATUS_OK;
    }
    if (type == '$' || type == '=' || type == '!') {
        enum status status = body_read(bytes, header_size, item, used);
        return status == STATUS_OK && type == '=' ? verbatim_strip(item) : status;
    }
    if (item->integer < 0 || item->integer > RESP_COUNT_MAX) {
        return STATUS_INVALID;
    }
    *used = header_size;
    return STATUS_OK;
}

/* What an item may begin with. */
static const char item_types[] = {'+', '-', ':', '_', '#', ',', '(',
                                  '$', '=', '!', '*', '%', '~', '>'};

enum status resp_parse_item(struct slice bytes, struct resp_item *item, size_t *used)
{
    ASSERT(item != NULL);
    ASSERT(used != NULL);
    if (bytes.size == 0) {
        return STATUS_WOULD_BLOCK;
    }
    if (memchr(item_types, bytes.data[0], sizeof(item_types)) == NULL) {
        return STATUS_INVALID;
    }
    struct slice line;
    size_t line_used = 0;
    enum status status = line_read(bytes, &line, &line_used);
    if (status != STATUS_OK) {
        return status;
    }
    struct resp_item read = {0};
    if (sized_type(bytes.data[0], &read.type)) {
        status = sized_read(bytes, line, line_used, &read, &line_used);
    } else {
        status = scalar_read(bytes.data[0], line, &read);
    }
    if (status == STATUS_OK) {
        *item = read;
        *used = line_used;
    }
    return status;
}

/* How many items follow this one because of it. */
static uint64_t item_children(const struct resp_item *item)
{
    switch (item->type) {
    case RESP_ARRAY:
    case RESP_SET:
    case RESP_PUSH:
        return (uint64_t)item->integer;
    case RESP_MAP:
        return (uint64_t)item->integer * 2;
    case RESP_SIMPLE:
    case RESP_ERROR:
    case RESP_INTEGER:
    case RESP_BULK:
    case RESP_NULL:
    case RESP_DOUBLE:
    case RESP_BOOLEAN:
    case RESP_BIG:
        return 0;
    }
    UNREACHABLE("reply type");
}

enum status resp_reply_size(struct slice bytes, size_t *size)
{
    ASSERT(size != NULL);
    uint64_t left[RESP_DEPTH_MAX + 1] = {1}; /* Items still to come, per depth. */
    size_t depth = 0;
    size_t at = 0;
    do {
        struct resp_item item;
        size_t used = 0;
        struct slice rest = slice_make(bytes.size != 0 ? bytes.data + at : NULL, bytes.size - at);
        enum status status = resp_parse_item(rest, &item, &used);
        if (status != STATUS_OK) {
            return status;
        }
        at += used;
        left[depth]--;
        uint64_t children = item_children(&item);
        if (children > 0) {
            if (depth == RESP_DEPTH_MAX) {
                return STATUS_INVALID;
            }
            left[++depth] = children;
        }
        while (depth > 0 && left[depth] == 0) {
            depth--;
        }
    } while (depth > 0);
    *size = at;
    return STATUS_OK;
}

/* ---- writers ---- */

static uint8_t *line_end_store(uint8_t *to)
{
    to[0] = '\r';
    to[1] = '\n';
    return to + 2;
}

/* ":-12\r\n", "$5\r\n". Returns the end. */
static uint8_t *header_store(uint8_t *to, char type, int64_t value)
{
    *to++ = (uint8_t)type;
    uint64_t magnitude = (uint64_t)value;
    if (value < 0) {
        *to++ = '-';
        magnitude = 0 - magnitude;
    }
    return line_end_store(decimal_store(to, magnitude));
}

static void header_put(struct buffer *to, char type, int64_t value)
{
    uint8_t *begin = buffer_reserve(to, RESP_HEADER_SIZE_MAX);
    if (begin != NULL) {
        buffer_commit(to, (size_t)(header_store(begin, type, value) - begin));
    }
}

static void bulk_put(struct buffer *to, struct slice bytes)
{
    uint8_t *begin = buffer_reserve(to, RESP_HEADER_SIZE_MAX + bytes.size + 2);
    if (begin == NULL) {
        return;
    }
    uint8_t *end = header_store(begin, '$', (int64_t)bytes.size);
    if (bytes.size != 0) {
        memcpy(end, bytes.data, bytes.size);
    }
    end = line_end_store(end + bytes.size);
    buffer_commit(to, (size_t)(end - begin));
}

/* Type byte, text, line break; line breaks inside would be the end of the reply. */
static void line_put(struct buffer *to, char type, const char *text, size_t size)
{
    uint8_t *begin = buffer_reserve(to, 1 + size + 2);
    if (begin == NULL) {
        return;
    }
    uint8_t *end = begin;
    *end++ = (uint8_t)type;
    for (size_t index = 0; index < size; index++) {
        char byte = text[index];
        *end++ = (uint8_t)(byte == '\r' || byte == '\n' ? ' ' : byte);
    }
    end = line_end_store(end);
    buffer_commit(to, (size_t)(end - begin));
}

static void container_put(struct resp_writer *writer, char type, size_t count)
{
    ASSERT(writer->protocol == 2 || writer->protocol == 3);
    ASSERT(count <= RESP_COUNT_MAX);
    header_put(writer->to, type, (int64_t)count);
}

void resp_simple(struct resp_writer *writer, const char *text)
{
    line_put(writer->to, '+', text, strlen(text));
}

void resp_error(struct resp_writer *writer, const char *format, ...)
{
    char text[RESP_ERROR_SIZE_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(length >= 0);
    size_t size = (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1;
    line_put(writer->to, '-', text, size);
}

void resp_integer(struct resp_writer *writer, int64_t value)
{
    header_put(writer->to, ':', value);
}

void resp_bulk(struct resp_writer *writer, struct slice bytes)
{
    bulk_put(writer->to, bytes);
}

void resp_bulk_text(struct resp_writer *writer, const char *text)
{
    bulk_put(writer->to, slice_text(text));
}

void resp_null(struct resp_writer *writer)
{
    buffer_append_text(writer->to, writer->protocol == 3 ? "_\r\n" : "$-1\r\n");
}

void resp_null_array(struct resp_writer *writer)
{
    buffer_append_text(writer->to, writer->protocol == 3 ? "_\r\n" : "*-1\r\n");
}

/* Digits as Redis 7.0 writes them. */
void resp_double(struct resp_writer *writer, double value)
{
    char text[32];
    int length = isnan(value)   ? snprintf(text, sizeof(text), "nan")
                 : isinf(value) ? snprintf(text, sizeof(text), value > 0 ? "inf" : "-inf")
                                : snprintf(text, sizeof(text), "%.17g", value);
    ASSERT(length > 0 && (size_t)length < sizeof(text));
    if (writer->protocol == 3) {
        line_put(writer->to, ',', text, (size_t)length);
    } else {
        bulk_put(writer->to, slice_make(text, (size_t)length));
    }
}

void resp_array(struct resp_writer *writer, size_t count)
{
    container_put(writer, '*', count);
}

void resp_map(struct resp_writer *writer, size_t count)
{
    if (writer->protocol == 3) {
        container_put(writer, '%', count);
    } else {
        ASSERT(count <= RESP_COUNT_MAX / 2);
        container_put(writer, '*', count * 2);
    }
}

void resp_set(struct resp_writer *writer, size_t count)
{
    container_put(writer, writer->protocol == 3 ? '~' : '*', count);
}

void resp_request(struct buffer *to, const struct slice *arguments, size_t argument_count)
{
    ASSERT_IMPLIES(argument_count > 0, arguments != NULL);
    header_put(to, '*', (int64_t)argument_count);
    for (size_t index = 0; index < argument_count; index++) {
        bulk_put(to, arguments[index]);
    }
}
