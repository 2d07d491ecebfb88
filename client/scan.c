/*
 * client/scan.c -- all keys of the cluster, a page at a time.
 *
 * A cursor is the node's own number, opaque here and good on every node; a page that failed is
 * asked for again with the same cursor.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/resp.h"
#include "client/dispatch.h"
#include "client/request.h"

#define PAGE_COUNT_DEFAULT 1000
#define CURSOR_SIZE_MAX 24

struct kv_scan {
    struct kv_client *client;
    struct operation operation; /* Its reply holds the page. */
    char *match;                /* Owned; NULL for all. */
    uint32_t page_count;
    char cursor[CURSOR_SIZE_MAX];
    bool ended;    /* The page at hand is the last. */
    size_t offset; /* Of the next key in the page. */
    int64_t left;  /* Keys of the page not handed out. */
};

enum status kv_scan_open(struct kv_client *client, const struct kv_scan_options *options,
                         struct kv_scan **opened)
{
    struct kv_scan *scan = memory_allocate_zeroed(1, sizeof(*scan));
    if (scan == NULL) {
        return STATUS_NO_MEMORY;
    }
    scan->client = client;
    scan->page_count = options->page_count != 0 ? options->page_count : PAGE_COUNT_DEFAULT;
    scan->cursor[0] = '0';
    list_init(&scan->operation.node);
    if (options->match != NULL) {
        scan->match = memory_copy_string(options->match);
        if (scan->match == NULL) {
            kv_scan_close(scan);
            return STATUS_NO_MEMORY;
        }
    }
    *opened = scan;
    return STATUS_OK;
}

void kv_scan_close(struct kv_scan *scan)
{
    if (scan == NULL) {
        return;
    }
    dispatch_abandon(scan->client, &scan->operation);
    operation_deinit(&scan->operation);
    memory_free(scan->match);
    memory_free(scan);
}

/* Reads one item of the page at `offset`. */
static bool item_next(struct kv_scan *scan, struct resp_item *item)
{
    struct slice page = buffer_slice(&scan->operation.reply);
    size_t used;
    if (scan->offset >= page.size ||
        resp_parse_item(slice_make(page.data + scan->offset, page.size - scan->offset), item,
                        &used) != STATUS_OK) {
        return false;
    }
    scan->offset += used;
    return true;
}

static bool is_cursor(struct slice text)
{
    for (size_t index = 0; index < text.size; index++) {
        if (text.data[index] < '0' || text.data[index] > '9') {
            return false;
        }
    }
    return text.size > 0 && text.size < CURSOR_SIZE_MAX;
}

/* [cursor, [key, ...]], all of it looked at before any of it is believed. */
static bool page_open(struct kv_scan *scan)
{
    struct resp_item outer;
    struct resp_item cursor;
    struct resp_item keys;
    struct resp_item key;
    scan->offset = 0;
    if (!item_next(scan, &outer) || outer.type != RESP_ARRAY || outer.integer != 2 ||
        !item_next(scan, &cursor) || cursor.type != RESP_BULK || !is_cursor(cursor.text) ||
        !item_next(scan, &keys) || keys.type != RESP_ARRAY) {
        return false;
    }
    size_t keys_offset = scan->offset;
    for (int64_t index = 0; index < keys.integer; index++) {
        if (!item_next(scan, &key) || key.type != RESP_BULK) {
            return false;
        }
    }
    memcpy(scan->cursor, cursor.text.data, cursor.text.size);
    scan->cursor[cursor.text.size] = '\0';
    scan->ended = strcmp(scan->cursor, "0") == 0;
    scan->offset = keys_offset;
    scan->left = keys.integer;
    return true;
}

static enum kv_outcome page_fetch(struct kv_scan *scan, struct kv_result *result)
{
    char count[CURSOR_SIZE_MAX];
    (void)snprintf(count, sizeof(count), "%" PRIu32, scan->page_count);
    const struct slice arguments[] = {
        slice_text("SCAN"),  slice_text(scan->cursor),
        slice_text("COUNT"), slice_text(count),
        slice_text("MATCH"), slice_text(scan->match != NULL ? scan->match : "*")};
    dispatch_learn(scan->client);
    request_begin_raw(scan->client, &scan->operation, arguments,
                      scan->match != NULL ? ARRAY_COUNT(arguments) : ARRAY_COUNT(arguments) - 2);
    dispatch_submit(scan->client, &scan->operation);
    dispatch_drive(scan->client, &scan->operation);
    *result = scan->operation.result;
    if (result->outcome == KV_OK && !page_open(scan)) {
        result->outcome = KV_FAILED;
        result->reason = KV_REASON_PROTOCOL;
        (void)snprintf(result->message, sizeof(result->message),
                       "SCAN: an answer of the wrong kind");
    }
    return result->outcome;
}

enum kv_outcome kv_scan_next(struct kv_scan *scan, struct slice *key, struct kv_result *result)
{
    *result = (struct kv_result){.outcome = KV_OK};
    while (scan->left == 0) {
        if (scan->ended) {
            result->outcome = KV_NOT_FOUND;
            return KV_NOT_FOUND;
        }
        if (page_fetch(scan, result) != KV_OK) {
            return result->outcome;
        }
    }
    struct resp_item item;
    bool read = item_next(scan, &item);
    ASSERT(read); /* page_open() saw it. */
    scan->left--;
    *key = item.text;
    result->key = item.text;
    return KV_OK;
}
