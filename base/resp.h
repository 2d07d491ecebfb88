/*
 * base/resp.h -- the Redis protocol, versions 2 and 3: requests and replies, both ways.
 *
 * Why in base: the node reads requests and writes replies, the client library the reverse.
 * Contract:
 *  (1) Parsers take what has arrived so far and say how many bytes one whole item took, or that it
 *      is not whole yet, or that it is malformed; they keep no state and allocate nothing.
 *  (2) Sizes are checked against the limits before any byte of a body is awaited, so a hostile
 *      header never makes a reader buffer more than the limits.
 * Source: the protocol's published specification (redis.io, RESP2 and RESP3).
 */
#ifndef BASE_RESP_H
#define BASE_RESP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"

#define RESP_INLINE_SIZE_MAX (64u << 10)

struct resp_limits {
    uint32_t argument_count_max; /* Of one request. */
    uint32_t argument_size_max;  /* Bytes of one argument. */
    uint64_t request_size_max;   /* Bytes of one request. */
};

/* Where the arguments of a request go, and what the parser found; each field with its status. */
struct resp_parse {
    struct slice *arguments; /* The caller's. */
    uint32_t argument_capacity;
    uint32_t argument_count;
    size_t used;
    size_t needed;
    const char *reason; /* Static. */
};

/*
 * One request: an array of bulk strings, or an inline command (quotes and escapes as Redis reads
 * them; inline arguments are unescaped in place, so `bytes` must be writable and stay put).
 *
 * STATUS_OK           `argument_count` arguments (0: an empty line) borrow from `bytes`; `used`.
 * STATUS_WOULD_BLOCK  not whole yet; `needed` is a lower bound of the bytes wanted in all.
 * STATUS_TOO_LARGE, STATUS_INVALID  answer `reason` as -ERR Protocol error: ... and close.
 */
MUST_USE enum status resp_parse_request(uint8_t *bytes, size_t size,
                                        const struct resp_limits *limits, struct resp_parse *parse);

enum resp_type {
    RESP_SIMPLE,  /* + text */
    RESP_ERROR,   /* - or ! text: CODE message */
    RESP_INTEGER, /* : */
    RESP_BULK,    /* $ or = text */
    RESP_NULL,    /* $-1, *-1 or _ */
    RESP_ARRAY,   /* * count: that many items follow */
    RESP_MAP,     /* % count: twice that many items follow */
    RESP_SET,     /* ~ */
    RESP_PUSH,    /* > */
    RESP_DOUBLE,  /* , text */
    RESP_BOOLEAN, /* # integer 0 or 1 */
    RESP_BIG,     /* ( text */
};

/* One item of a reply; containers give only their count, their items follow. */
struct resp_item {
    enum resp_type type;
    struct slice text; /* Borrows. */
    int64_t integer;   /* Integer, boolean, or count of a container. */
};

/* STATUS_OK, STATUS_WOULD_BLOCK (not whole yet), STATUS_INVALID. */
MUST_USE enum status resp_parse_item(struct slice bytes, struct resp_item *item, size_t *used);
/* The size of one whole reply with all that is nested in it (at most 32 deep). */
MUST_USE enum status resp_reply_size(struct slice bytes, size_t *size);

/* Writers. `protocol` is 2 or 3; maps, nulls and doubles take the form that version has. */
struct resp_writer {
    struct buffer *to;
    int protocol;
};
void resp_simple(struct resp_writer *writer, const char *text);
/* "CODE message"; line breaks in it become spaces. */
void resp_error(struct resp_writer *writer, const char *format, ...) PRINTF_LIKE(2, 3);
void resp_integer(struct resp_writer *writer, int64_t value);
void resp_bulk(struct resp_writer *writer, struct slice bytes);
void resp_bulk_text(struct resp_writer *writer, const char *text);
void resp_null(struct resp_writer *writer);
void resp_null_array(struct resp_writer *writer);
void resp_double(struct resp_writer *writer, double value);
void resp_array(struct resp_writer *writer, size_t count);
void resp_map(struct resp_writer *writer, size_t count); /* RESP2: an array of twice the count. */
void resp_set(struct resp_writer *writer, size_t count);
/* A request, for clients. */
void resp_request(struct buffer *to, const struct slice *arguments, size_t argument_count);

#endif
