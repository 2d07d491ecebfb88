/*
 * base/resp_request.c -- reads requests as Redis 7.0 does.
 *
 * Requests are judged in the order and with the words of Redis, so that clients and test tools see
 * what they know. Kept on purpose: after a header's CR, and after an argument, two bytes are
 * skipped and not compared; numbers have one spelling (no "+1", no "01").
 * Changed: limits do not depend on how the bytes were cut into packets. A NUL byte is a byte like
 * any other, also in an inline line (Redis stops reading there and waits for ever).
 * Invariants:
 *  (1) Whether a prefix of the bytes is whole, and what it says, depends on its bytes alone.
 *  (2) No byte is changed before the whole line of an inline request is there.
 *  (3) `needed` is greater than what has arrived and at most what the whole request takes.
 *
 * Source: networking.c and sds.c of Redis 7.0 for the rules; the code is ours.
 */
#include <string.h>

#include "base/contract.h"
#include "base/resp.h"
#include "base/resp_internal.h"

#define RESP_ARGUMENT_SIZE_MIN 6 /* "$0\r\n\r\n" */
#define RESP_REQUEST_SIZE_MIN 4  /* "*0\r\n" */

/* "expected '$', got 'x'" must outlive the call, which has no memory of its own for it: one text
 * for each byte that can be shown. Others are shown as '?'. */
#define EXPECTED(byte)                                                                         \
    {                                                                                          \
        'e', 'x', 'p', 'e', 'c', 't', 'e', 'd', ' ', '\'', '$', '\'', ',', ' ', 'g', 'o', 't', \
            ' ', '\'', (char)(byte), '\'', '\0'                                                \
    }
#define EXPECTED_4(byte) \
    EXPECTED(byte), EXPECTED((byte) + 1), EXPECTED((byte) + 2), EXPECTED((byte) + 3)
#define EXPECTED_16(byte) \
    EXPECTED_4(byte), EXPECTED_4((byte) + 4), EXPECTED_4((byte) + 8), EXPECTED_4((byte) + 12)
#define EXPECTED_FIRST 0x20
#define EXPECTED_END 0x7f

static const char expected_texts[][sizeof("expected '$', got 'x'")] = {
    EXPECTED_16(0x20), EXPECTED_16(0x30), EXPECTED_16(0x40),
    EXPECTED_16(0x50), EXPECTED_16(0x60), EXPECTED_16(0x70),
};

STATIC_ASSERT(ARRAY_COUNT(expected_texts) == 0x60, "a text for each byte that can be shown");

static const char *expected_text(uint8_t got)
{
    if (got == '\r' || got == '\n') {
        got = ' '; /* As in every error: a reply is one line. */
    }
    if (got < EXPECTED_FIRST || got >= EXPECTED_END) {
        got = '?';
    }
    return expected_texts[got - EXPECTED_FIRST];
}

struct request {
    uint8_t *bytes;
    size_t size; /* Arrived. */
    size_t at;   /* Understood so far. */
    const struct resp_limits *limits;
    struct slice *arguments;
    uint32_t argument_count_max;
    uint32_t argument_count;
    uint64_t needed;
    const char *reason;
};

static enum status refuse(struct request *request, enum status status, const char *reason)
{
    request->reason = reason;
    return status;
}

/* `needed` may be short of the truth, but never of one byte more than is there. */
static enum status wait_for(struct request *request, uint64_t needed)
{
    request->needed = needed > request->size ? needed : request->size + 1;
    return STATUS_WOULD_BLOCK;
}

/* What kind of line the header is, for the words of a refusal. */
struct header_words {
    const char *too_big;
    const char *invalid;
};

static const struct header_words words_multibulk = {
    .too_big = "too big mbulk count string",
    .invalid = "invalid multibulk length",
};
static const struct header_words words_bulk = {
    .too_big = "too big bulk count string",
    .invalid = "invalid bulk length",
};

/*
 * Any header that is not plain and short. `type` is what must stand at its beginning, judged only
 * once the line is whole.
 */
static enum status header_read_slow(struct request *request, uint8_t type,
                                    const struct header_words *words, uint64_t needed,
                                    int64_t *number)
{
    const uint8_t *line = request->bytes + request->at;
    size_t rest = request->size - request->at;
    size_t window = rest <= RESP_INLINE_SIZE_MAX ? rest : RESP_INLINE_SIZE_MAX + 1;
    const uint8_t *end = window != 0 ? memchr(line, '\r', window) : NULL;
    if (end == NULL && rest > RESP_INLINE_SIZE_MAX) {
        return refuse(request, STATUS_TOO_LARGE, words->too_big);
    }
    if (end == NULL || (size_t)(end - line) + 2 > rest) {
        return wait_for(request, needed);
    }
    if (line[0] != type) {
        return refuse(request, STATUS_INVALID, expected_text(line[0]));
    }
    if (!resp_integer_parse(line + 1, (size_t)(end - line) - 1, number)) {
        return refuse(request, STATUS_INVALID, words->invalid);
    }
    request->at += (size_t)(end - line) + 2;
    return STATUS_OK;
}

/* "*3\r\n" or "$11\r\n": nearly all headers are one to four digits, read here. */
static inline enum status header_read(struct request *request, uint8_t type,
                                      const struct header_words *words, uint64_t needed,
                                      int64_t *number)
{
    const uint8_t *line = request->bytes + request->at;
    if (request->size - request->at >= 7 && line[0] == type && line[1] >= '1' && line[1] <= '9') {
        unsigned value = (unsigned)line[1] - '0';
        size_t at = 2;
        while (at < 5 && line[at] >= '0' && line[at] <= '9') {
            value = value * 10 + (unsigned)line[at] - '0';
            at++;
        }
        if (line[at] == '\r') {
            request->at += at + 2;
            *number = value;
            return STATUS_OK;
        }
    }
    return header_read_slow(request, type, words, needed, number);
}

/* `after` arguments follow this one. */
static enum status argument_read(struct request *request, uint64_t after)
{
    uint64_t after_size = after * RESP_ARGUMENT_SIZE_MIN;
    uint64_t least = request->at + RESP_ARGUMENT_SIZE_MIN + after_size;
    int64_t size = 0;
    enum status status = header_read(request, '$', &words_bulk, least, &size);
    if (status != STATUS_OK) {
        return status;
    }
    if (size < 0) {
        return refuse(request, STATUS_INVALID, words_bulk.invalid);
    }
    if (size > request->limits->argument_size_max) {
        return refuse(request, STATUS_TOO_LARGE, words_bulk.invalid);
    }
    uint64_t wanted = request->at + (uint64_t)size + 2;
    if (wanted + after_size > request->limits->request_size_max) {
        return refuse(request, STATUS_TOO_LARGE, "too big request");
    }
    if (wanted > request->size) {
        return wait_for(request, wanted + after_size);
    }
    request->arguments[request->argument_count++] =
        slice_make(request->bytes + request->at, (size_t)size);
    request->at = (size_t)wanted;
    return STATUS_OK;
}

static enum status multibulk_read(struct request *request)
{
    int64_t count = 0;
    enum status status = header_read(request, '*', &words_multibulk, RESP_REQUEST_SIZE_MIN, &count);
    if (status != STATUS_OK) {
        return status;
    }
    if (count > request->argument_count_max) {
        return refuse(request, STATUS_TOO_LARGE, words_multibulk.invalid);
    }
    /* Redis takes *0 and *-1 for an empty line. */
    uint64_t left = count > 0 ? (uint64_t)count : 0;
    if (request->at + left * RESP_ARGUMENT_SIZE_MIN > request->limits->request_size_max) {
        return refuse(request, STATUS_TOO_LARGE, words_multibulk.invalid);
    }
    while (left > 0) {
        left--;
        status = argument_read(request, left);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* ---- inline requests ---- */

/* One line; words are written over it from its beginning as they are read. */
struct words {
    uint8_t *line;
    size_t size;
    size_t at;  /* Next byte to read. */
    size_t end; /* Next byte to write; never above `at`. */
};

/* The byte `ahead` of the next one; -1 behind the end of the line. */
static int words_peek(const struct words *words, size_t ahead)
{
    return ahead < words->size - words->at ? words->line[words->at + ahead] : -1;
}

static void words_put(struct words *words, int byte)
{
    ASSERT(words->end < words->at);
    words->line[words->end++] = (uint8_t)byte;
}

static bool is_space(int byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static int hex_digit(int byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    int letter = byte | 0x20;
    return byte >= 'A' && letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* A closing quote must be followed by a space or nothing at all. */
static bool quote_closes(const struct words *words)
{
    int next = words_peek(words, 0);
    return next < 0 || is_space(next);
}

static int unescape(int byte)
{
    switch (byte) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return byte;
    }
}

static bool double_quoted_read(struct words *words)
{
    for (;;) {
        int byte = words_peek(words, 0);
        if (byte < 0) {
            return false;
        }
        words->at++;
        if (byte == '"') {
            return quote_closes(words);
        }
        int next = words_peek(words, 0);
        if (byte == '\\' && next == 'x') {
            int high = hex_digit(words_peek(words, 1));
            int low = hex_digit(words_peek(words, 2));
            if (high >= 0 && low >= 0) {
                words->at += 3;
                words_put(words, high << 4 | low);
                continue;
            }
        }
        if (byte == '\\' && next >= 0) {
            words->at++;
            byte = unescape(next);
        }
        words_put(words, byte);
    }
}

static bool single_quoted_read(struct words *words)
{
    for (;;) {
        int byte = words_peek(words, 0);
        if (byte < 0) {
            return false;
        }
        words->at++;
        if (byte == '\'') {
            return quote_closes(words);
        }
        if (byte == '\\' && words_peek(words, 0) == '\'') {
            words->at++;
            byte = '\'';
        }
        words_put(words, byte);
    }
}

/* A word may begin bare and go on quoted; a closing quote ends it. False: quotes are unbalanced. */
static bool word_read(struct words *words)
{
    for (;;) {
        int byte = words_peek(words, 0);
        if (byte < 0 || byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t') {
            return true;
        }
        words->at++;
        if (byte == '"') {
            return double_quoted_read(words);
        }
        if (byte == '\'') {
            return single_quoted_read(words);
        }
        words_put(words, byte);
    }
}

static enum status words_read(struct request *request, struct words *words)
{
    for (;;) {
        while (is_space(words_peek(words, 0))) {
            words->at++;
        }
        if (words->at == words->size) {
            return STATUS_OK;
        }
        if (request->argument_count == request->argument_count_max) {
            return refuse(request, STATUS_TOO_LARGE, "too big inline request");
        }
        size_t begin = words->end;
        if (!word_read(words)) {
            return refuse(request, STATUS_INVALID, "unbalanced quotes in request");
        }
        size_t size = words->end - begin;
        if (size > request->limits->argument_size_max) {
            return refuse(request, STATUS_TOO_LARGE, "too big inline request");
        }
        request->arguments[request->argument_count++] = slice_make(words->line + begin, size);
    }
}

static enum status inline_read(struct request *request)
{
    uint64_t line_size_max = RESP_INLINE_SIZE_MAX;
    if (request->limits->request_size_max < line_size_max) {
        line_size_max = request->limits->request_size_max;
    }
    size_t window = request->size <= line_size_max ? request->size : (size_t)line_size_max + 1;
    const uint8_t *end = memchr(request->bytes, '\n', window);
    if (end == NULL) {
        if (request->size > line_size_max) {
            return refuse(request, STATUS_TOO_LARGE, "too big inline request");
        }
        return wait_for(request, 0);
    }
    size_t size = (size_t)(end - request->bytes);
    request->at = size + 1;
    if (size > 0 && request->bytes[size - 1] == '\r') {
        size--;
    }
    struct words words = {.line = request->bytes, .size = size};
    return words_read(request, &words);
}

enum status resp_parse_request(uint8_t *bytes, size_t size, const struct resp_limits *limits,
                               struct resp_parse *parse)
{
    ASSERT(limits != NULL);
    ASSERT(parse != NULL);
    ASSERT_IMPLIES(parse->argument_capacity > 0, parse->arguments != NULL);
    struct request request = {
        .size = size,
        .limits = limits,
        .arguments = parse->arguments,
        .argument_count_max = parse->argument_capacity < limits->argument_count_max
                                  ? parse->argument_capacity
                                  : limits->argument_count_max,
    };
    request.bytes = bytes;
    if (size == 0) {
        parse->needed = 1;
        return STATUS_WOULD_BLOCK;
    }
    enum status status = bytes[0] == '*' ? multibulk_read(&request) : inline_read(&request);
    if (status == STATUS_OK) {
        parse->argument_count = request.argument_count;
        parse->used = request.at;
    } else if (status == STATUS_WOULD_BLOCK) {
        parse->needed = (size_t)request.needed;
    } else {
        parse->reason = request.reason;
    }
    return status;
}
