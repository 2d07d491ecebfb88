/*
 * tests/fuzz/fuzz_message.c -- whatever bytes come as a payload: refused, or sound to use.
 *
 * The first byte chooses the payload, the rest is its bytes.
 * Properties: what was decoded encodes and decodes to the same again (byte for byte where a layout
 * has one form only), keys are ones the engine takes, and a page has an end.
 */
#include <string.h>

#include "base/contract.h"
#include "base/token.h"
#include "lsm/lsm.h"
#include "node/message.h"
#include "tests/fuzz/fuzz.h"

static void same_check(struct buffer *again, struct slice bytes)
{
    enum status status = buffer_status(again);
    ASSERT(status == STATUS_OK);
    ASSERT(slice_equal(buffer_slice(again), bytes));
    buffer_deinit(again);
}

/* What ASSERTs in replica.c rest on. */
static void engine_key_check(struct slice engine_key)
{
    uint16_t keyspace;
    uint64_t token;
    struct slice key;
    enum status status = token_engine_split(engine_key, &keyspace, &token, &key);
    ASSERT(status == STATUS_OK);
    ASSERT(engine_key.size <= LSM_KEY_SIZE_MAX);
    ASSERT(engine_key.data[0] < ENGINE_KEY_LOCAL_FIRST);
}

static void hello_check(struct slice bytes)
{
    struct message_hello hello;
    if (message_hello_decode(bytes, &hello) != STATUS_OK) {
        return;
    }
    ASSERT(hello.id != 0);
    ASSERT(memchr(hello.zone, 0, sizeof(hello.zone)) != NULL);
    ASSERT(memchr(hello.peer_address, 0, sizeof(hello.peer_address)) != NULL);
    ASSERT(memchr(hello.client_address, 0, sizeof(hello.client_address)) != NULL);
    ASSERT(memchr(hello.admin_address, 0, sizeof(hello.admin_address)) != NULL);
    struct buffer again = {0};
    message_hello_encode(&again, &hello);
    same_check(&again, bytes);
}

static void ping_check(struct slice bytes)
{
    struct message_ping ping;
    if (message_ping_decode(bytes, &ping) == STATUS_OK) {
        struct buffer again = {0};
        message_ping_encode(&again, &ping);
        same_check(&again, bytes);
    }
}

static void raft_check(struct slice bytes)
{
    uint64_t sequence;
    struct slice raft;
    if (message_raft_decode(bytes, &sequence, &raft) == STATUS_OK) {
        struct buffer again = {0};
        message_raft_encode(&again, sequence, raft);
        same_check(&again, bytes);
    }
}

static void topology_reply_check(struct slice bytes)
{
    struct message_topology_reply reply;
    if (message_topology_reply_decode(bytes, &reply) == STATUS_OK) {
        struct buffer again = {0};
        message_topology_reply_encode(&again, &reply);
        same_check(&again, bytes);
    }
}

static void propose_reply_check(struct slice bytes)
{
    struct message_propose_reply reply;
    if (message_propose_reply_decode(bytes, &reply) == STATUS_OK) {
        struct buffer again = {0};
        message_propose_reply_encode(&again, &reply);
        same_check(&again, bytes);
    }
}

static void probe_check(struct slice bytes)
{
    uint32_t id;
    if (message_probe_decode(bytes, &id) == STATUS_OK) {
        struct buffer again = {0};
        message_probe_encode(&again, id);
        same_check(&again, bytes);
    }
}

static void probe_reply_check(struct slice bytes)
{
    struct message_probe_reply reply;
    if (message_probe_reply_decode(bytes, &reply) == STATUS_OK) {
        struct buffer again = {0};
        message_probe_reply_encode(&again, &reply);
        same_check(&again, bytes);
    }
}

static void read_check(struct slice bytes)
{
    struct message_read read;
    if (message_read_decode(bytes, &read) == STATUS_OK) {
        engine_key_check(read.engine_key);
        struct buffer again = {0};
        message_read_encode(&again, &read);
        same_check(&again, bytes);
    }
}

/* A digest with a value in it decodes; it is encoded without one. */
static void read_reply_check(struct slice bytes)
{
    struct message_read_reply reply;
    if (message_read_reply_decode(bytes, &reply) != STATUS_OK) {
        return;
    }
    struct buffer again = {0};
    message_read_reply_encode(&again, &reply);
    enum status status = buffer_status(&again);
    ASSERT(status == STATUS_OK);
    struct message_read_reply second;
    status = message_read_reply_decode(buffer_slice(&again), &second);
    ASSERT(status == STATUS_OK);
    ASSERT(second.found == reply.found);
    ASSERT(second.digest == reply.digest);
    if (reply.found) {
        ASSERT(cell_compare(&reply.cell, &second.cell) == 0);
        ASSERT(reply.cell.expiry_ms == second.cell.expiry_ms);
        ASSERT(reply.digest ? second.cell.value.size == 0
                            : slice_equal(reply.cell.value, second.cell.value));
    }
    buffer_deinit(&again);
}

static void prepare_check(struct slice bytes)
{
    struct message_prepare prepare;
    if (message_prepare_decode(bytes, &prepare) == STATUS_OK) {
        engine_key_check(prepare.engine_key);
        struct buffer again = {0};
        message_prepare_encode(&again, &prepare);
        same_check(&again, bytes);
    }
}

static void write_check(struct slice bytes)
{
    struct message_write write;
    if (message_write_decode(bytes, &write) == STATUS_OK) {
        engine_key_check(write.engine_key);
        struct buffer again = {0};
        message_write_encode(&again, &write);
        same_check(&again, bytes);
    }
}

static void write_reply_check(struct slice bytes)
{
    struct version standing;
    if (message_write_reply_decode(bytes, &standing) == STATUS_OK && bytes.size > 0) {
        struct buffer again = {0};
        message_write_reply_encode(&again, standing);
        same_check(&again, bytes);
    }
}

static void scan_check(struct slice bytes)
{
    struct message_scan scan;
    if (message_scan_decode(bytes, &scan) == STATUS_OK) {
        ASSERT(scan.first <= scan.last);
        ASSERT(scan.count > 0);
        struct buffer again = {0};
        message_scan_encode(&again, &scan);
        same_check(&again, bytes);
    }
}

static void page_check(struct slice bytes)
{
    struct message_scan_cursor cursor;
    struct message_scan_entry entry;
    message_scan_cursor_init(&cursor, bytes);
    size_t count = 0;
    enum status status;
    while ((status = message_scan_cursor_next(&cursor, &entry)) == STATUS_OK) {
        engine_key_check(entry.engine_key);
        count++;
        ASSERT(count <= bytes.size);
    }
    ASSERT(status == STATUS_NOT_FOUND || status == STATUS_CORRUPT);
}

static void (*const checks[])(struct slice bytes) = {
    hello_check,         ping_check,        raft_check,        read_check,    read_reply_check,
    write_check,         write_reply_check, scan_check,        page_check,    topology_reply_check,
    propose_reply_check, probe_check,       probe_reply_check, prepare_check,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0) {
        checks[data[0] % ARRAY_COUNT(checks)](slice_make(data + 1, size - 1));
    }
    return 0;
}
