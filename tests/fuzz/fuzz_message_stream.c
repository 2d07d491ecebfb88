/*
 * tests/fuzz/fuzz_message_stream.c -- payloads of streams and of load, and a node's records of
 * ranges: refused, or sound to use.
 *
 * The first byte chooses the layout, the rest is its bytes.
 * Properties: what was decoded encodes to the same bytes again, and keeps the bounds that code
 * asserts.
 */
#include <string.h>

#include "base/contract.h"
#include "base/token.h"
#include "lsm/lsm.h"
#include "node/holding_record.h"
#include "node/message_load.h"
#include "node/message_stream.h"
#include "node/stream_record.h"
#include "tests/fuzz/fuzz.h"

static void same_check(struct buffer *again, struct slice bytes)
{
    enum status status = buffer_status(again);
    ASSERT(status == STATUS_OK);
    ASSERT(slice_equal(buffer_slice(again), bytes));
    buffer_deinit(again);
}

/* A place in a stretch: never a record of the node's own. */
static void next_check(struct slice next)
{
    ASSERT(next.size <= LSM_KEY_SIZE_MAX);
    ASSERT_IMPLIES(next.size > 0, next.data[0] < ENGINE_KEY_LOCAL_FIRST);
}

static void ranges_check(struct slice bytes)
{
    static struct message_ranges ranges;
    if (message_ranges_decode(bytes, &ranges) == STATUS_OK) {
        ASSERT(ranges.count > 0);
        ASSERT(ranges.count <= MESSAGE_RANGE_COUNT_MAX);
        struct buffer again = {0};
        message_ranges_encode(&again, ranges.ranges, ranges.count);
        same_check(&again, bytes);
    }
}

static void range_states_check(struct slice bytes)
{
    static struct message_range_states states;
    if (message_range_states_decode(bytes, &states) == STATUS_OK) {
        struct buffer again = {0};
        for (uint32_t index = 0; index < states.count; index++) {
            ASSERT(states.states[index].range < RING_RANGE_COUNT_MAX);
            message_range_state_encode(&again, &states.states[index]);
        }
        same_check(&again, bytes);
    }
}

static void chunk_check(struct slice bytes)
{
    struct message_chunk chunk;
    if (message_chunk_decode(bytes, &chunk) == STATUS_OK) {
        ASSERT(chunk.range < RING_RANGE_COUNT_MAX);
        next_check(chunk.next);
        struct buffer again = {0};
        message_chunk_encode(&again, &chunk);
        same_check(&again, bytes);
    }
}

static void chunk_reply_check(struct slice bytes)
{
    struct message_chunk_reply reply;
    if (message_chunk_reply_decode(bytes, &reply) == STATUS_OK) {
        ASSERT(reply.size <= MESSAGE_CHUNK_SIZE_MAX);
        ASSERT((reply.id == 0) == (reply.size == 0));
        next_check(reply.next);
        struct buffer again = {0};
        message_chunk_reply_encode(&again, &reply);
        same_check(&again, bytes);
    }
}

static void piece_check(struct slice bytes)
{
    struct message_piece piece;
    if (message_piece_decode(bytes, &piece) == STATUS_OK) {
        ASSERT(piece.length > 0);
        ASSERT(piece.length <= MESSAGE_PIECE_SIZE_MAX);
        struct buffer again = {0};
        message_piece_encode(&again, &piece);
        same_check(&again, bytes);
    }
}

static void holding_record_check(struct slice bytes)
{
    struct holding_record record;
    if (holding_record_decode(bytes, &record) == STATUS_OK) {
        uint8_t again[HOLDING_RECORD_SIZE];
        holding_record_encode(again, &record);
        ASSERT(slice_equal(slice_make(again, sizeof(again)), bytes));
    }
}

static void stream_record_check(struct slice bytes)
{
    struct stream_record record = {0};
    if (stream_record_decode(bytes, &record) == STATUS_OK) {
        ASSERT(record.source_count <= RING_REPLICA_COUNT_MAX);
        struct buffer again = {0};
        stream_record_encode(&again, &record);
        same_check(&again, bytes);
    }
    stream_record_deinit(&record);
}

static void load_check(struct slice bytes)
{
    struct message_load load;
    if (message_load_decode(bytes, &load) == STATUS_OK) {
        struct buffer again = {0};
        message_load_head_encode(&again, &load.head);
        for (uint32_t index = 0; index < load.head.range_count; index++) {
            struct message_load_range range;
            message_load_range_at(&load, index, &range);
            message_load_range_encode(&again, &range);
        }
        for (uint32_t index = 0; index < load.head.key_count; index++) {
            struct message_load_key key;
            message_load_key_at(&load, index, &key);
            message_load_key_encode(&again, &key);
        }
        same_check(&again, bytes);
    }
}

static void load_request_check(struct slice bytes)
{
    uint32_t wants;
    if (message_load_request_decode(bytes, &wants) == STATUS_OK) {
        struct buffer again = {0};
        message_load_request_encode(&again, wants);
        same_check(&again, bytes);
    }
}

static void (*const checks[])(struct slice bytes) = {
    ranges_check,         range_states_check,  chunk_check, chunk_reply_check,  piece_check,
    holding_record_check, stream_record_check, load_check,  load_request_check,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0) {
        checks[data[0] % ARRAY_COUNT(checks)](slice_make(data + 1, size - 1));
    }
    return 0;
}
