/*
 * tests/fuzz/fuzz_resp.c -- whatever bytes come on a connection, as a request and as a reply.
 *
 * Properties of requests: the outcome of the whole is the outcome of every longer prefix than it
 * took; a shorter one waits; `needed` is more than is there; arguments lie inside the bytes; what
 * was read, written again as a client writes it, reads the same.
 * Of replies: an item never takes more than is there, and the size of a reply is what a recursive
 * walk over its items finds.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "base/resp.h"

#define ARGUMENT_CAPACITY 32
#define REPLY_DEPTH_MAX 32 /* As the header promises. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small, so that the fuzzer reaches them. */
static const struct resp_limits limits = {
    .argument_count_max = ARGUMENT_CAPACITY,
    .argument_size_max = 4096,
    .request_size_max = 16384,
};

struct outcome {
    enum status status;
    uint8_t *bytes; /* Owned; of exactly the input's size. */
    struct slice arguments[ARGUMENT_CAPACITY];
    uint32_t count;
    size_t used;
    size_t needed;
    const char *reason;
};

static struct outcome request_parse(const uint8_t *data, size_t size)
{
    struct outcome outcome = {.bytes = memory_allocate(size)};
    ASSERT(outcome.bytes != NULL);
    if (size != 0) {
        memcpy(outcome.bytes, data, size);
    }
    struct resp_parse parse = {.arguments = outcome.arguments,
                               .argument_capacity = ARGUMENT_CAPACITY};
    outcome.status = resp_parse_request(outcome.bytes, size, &limits, &parse);
    outcome.count = parse.argument_count;
    outcome.used = parse.used;
    outcome.needed = parse.needed;
    outcome.reason = parse.reason;
    return outcome;
}

static void arguments_check(const struct outcome *outcome)
{
    ASSERT(outcome->count <= ARGUMENT_CAPACITY);
    const uint8_t *end = outcome->bytes + outcome->used;
    for (uint32_t index = 0; index < outcome->count; index++) {
        struct slice argument = outcome->arguments[index];
        ASSERT(argument.data >= outcome->bytes);
        ASSERT(argument.size <= (size_t)(end - argument.data));
        ASSERT(argument.size <= limits.argument_size_max);
    }
}

static void round_trip_check(const struct outcome *outcome)
{
    struct buffer wire = {0};
    resp_request(&wire, outcome->arguments, outcome->count);
    ASSERT(buffer_status(&wire) == STATUS_OK);
    if (wire.size <= limits.request_size_max) {
        struct outcome again = request_parse(wire.data, wire.size);
        ASSERT(again.status == STATUS_OK);
        ASSERT(again.used == wire.size);
        ASSERT(again.count == outcome->count);
        for (uint32_t index = 0; index < outcome->count; index++) {
            ASSERT(slice_equal(again.arguments[index], outcome->arguments[index]));
        }
        memory_free(again.bytes);
    }
    buffer_deinit(&wire);
}

/* A prefix waits until it is as long as what the whole took, and then says the same. */
static void prefix_check(const uint8_t *data, size_t cut, const struct outcome *whole)
{
    struct outcome prefix = request_parse(data, cut);
    if (whole->status == STATUS_OK && cut >= whole->used) {
        ASSERT(prefix.status == STATUS_OK);
        ASSERT(prefix.used == whole->used);
        ASSERT(prefix.count == whole->count);
    } else if (whole->status == STATUS_OK || whole->status == STATUS_WOULD_BLOCK) {
        ASSERT(prefix.status == STATUS_WOULD_BLOCK);
        ASSERT(prefix.needed > cut);
        ASSERT_IMPLIES(whole->status == STATUS_OK, prefix.needed <= whole->used);
        ASSERT_IMPLIES(whole->status == STATUS_WOULD_BLOCK, prefix.needed <= whole->needed);
    } else {
        ASSERT(prefix.status == STATUS_WOULD_BLOCK || prefix.status == whole->status);
        ASSERT_IMPLIES(prefix.status == whole->status, strcmp(prefix.reason, whole->reason) == 0);
    }
    memory_free(prefix.bytes);
}

static void request_check(const uint8_t *data, size_t size)
{
    struct outcome whole = request_parse(data, size);
    if (whole.status == STATUS_OK) {
        ASSERT(whole.used > 0 && whole.used <= size);
        arguments_check(&whole);
        round_trip_check(&whole);
    } else if (whole.status == STATUS_WOULD_BLOCK) {
        ASSERT(whole.needed > size);
    } else {
        ASSERT(whole.status == STATUS_INVALID || whole.status == STATUS_TOO_LARGE);
        ASSERT(whole.reason[0] != '\0');
    }
    for (size_t cut = 0; cut < size && cut < 256; cut++) {
        prefix_check(data, cut, &whole);
    }
    memory_free(whole.bytes);
}

/* The model of resp_reply_size(): by recursion, item by item. */
/* NOLINTNEXTLINE(misc-no-recursion): on purpose, and at most REPLY_DEPTH_MAX deep. */
static enum status reply_walk(struct slice bytes, unsigned depth, size_t *at)
{
    struct resp_item item;
    size_t used = 0;
    struct slice rest = slice_make(bytes.data + *at, bytes.size - *at);
    enum status status = resp_parse_item(rest, &item, &used);
    if (status != STATUS_OK) {
        return status;
    }
    *at += used;
    bool container = item.type == RESP_ARRAY || item.type == RESP_MAP || item.type == RESP_SET ||
                     item.type == RESP_PUSH;
    int64_t children = container ? item.integer : 0;
    children *= item.type == RESP_MAP ? 2 : 1;
    if (children > 0 && depth == REPLY_DEPTH_MAX) {
        return STATUS_INVALID;
    }
    for (int64_t index = 0; index < children; index++) {
        status = reply_walk(bytes, depth + 1, at);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static void item_check(struct slice bytes)
{
    struct resp_item item;
    size_t used = 0;
    enum status status = resp_parse_item(bytes, &item, &used);
    if (status != STATUS_OK) {
        ASSERT(status == STATUS_WOULD_BLOCK || status == STATUS_INVALID);
        return;
    }
    ASSERT(used > 0 && used <= bytes.size);
    ASSERT(item.text.size <= used);
    status = resp_parse_item(slice_make(bytes.data, used - 1), &item, &used);
    ASSERT(status == STATUS_WOULD_BLOCK);
}

static void reply_check(struct slice bytes)
{
    size_t walked = 0;
    enum status expected = reply_walk(bytes, 0, &walked);
    size_t size = 0;
    enum status status = resp_reply_size(bytes, &size);
    ASSERT(status == expected);
    if (status == STATUS_OK) {
        ASSERT(size == walked);
        status = resp_reply_size(slice_make(bytes.data, size - 1), &size);
        ASSERT(status == STATUS_WOULD_BLOCK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    request_check(data, size);
    item_check(slice_make(data, size));
    reply_check(slice_make(data, size));
    return 0;
}
