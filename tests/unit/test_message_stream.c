/* tests/unit/test_message_stream.c -- payloads of streams: round trips, bounds, cut and padded. */
#include <criterion/criterion.h>

#include "base/token.h"
#include "node/message_stream.h"

static struct buffer bytes;

typedef enum status (*decoder)(struct slice payload);

/* Every proper prefix, and one byte more, are refused. */
static void expect_whole_only(decoder decode)
{
    cr_expect_eq(decode(buffer_slice(&bytes)), STATUS_OK);
    for (size_t size = 0; size < bytes.size; size++) {
        cr_expect_neq(decode(slice_make(bytes.data, size)), STATUS_OK, "cut at %zu of %zu", size,
                      bytes.size);
    }
    uint8_t more = 0;
    buffer_append(&bytes, &more, 1);
    cr_expect_neq(decode(buffer_slice(&bytes)), STATUS_OK, "one byte more");
    buffer_deinit(&bytes);
}

static enum status ranges_decode(struct slice payload)
{
    static struct message_ranges ranges;
    return message_ranges_decode(payload, &ranges);
}

Test(message_stream, ranges_round_trip)
{
    static struct message_ranges out;
    const uint32_t in[] = {0, 5, RING_RANGE_COUNT_MAX - 1};
    message_ranges_encode(&bytes, in, 3);
    cr_assert_eq(message_ranges_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_assert_eq(out.count, 3);
    cr_expect_arr_eq(out.ranges, in, sizeof(in));
    expect_whole_only(ranges_decode);
    const uint32_t none[] = {RING_RANGE_COUNT_MAX};
    message_ranges_encode(&bytes, none, 1);
    cr_expect_eq(ranges_decode(buffer_slice(&bytes)), STATUS_CORRUPT);
    buffer_deinit(&bytes);
}

static struct message_range_states states;

Test(message_stream, range_states_round_trip)
{
    const struct message_range_state in = {.range = 3,
                                           .fence = 10,
                                           .entered = 9,
                                           .streamed = 8,
                                           .bytes_done = 7,
                                           .problem = STATUS_CORRUPT};
    message_range_state_encode(&bytes, &in);
    message_range_state_encode(&bytes, &in);
    cr_assert_eq(message_range_states_decode(buffer_slice(&bytes), &states), STATUS_OK);
    cr_assert_eq(states.count, 2);
    for (uint32_t index = 0; index < 2; index++) {
        const struct message_range_state *out = &states.states[index];
        cr_expect_eq(out->range, in.range);
        cr_expect_eq(out->fence, in.fence);
        cr_expect_eq(out->entered, in.entered);
        cr_expect_eq(out->streamed, in.streamed);
        cr_expect_eq(out->bytes_done, in.bytes_done);
        cr_expect_eq(out->problem, in.problem);
    }
    size_t half = bytes.size / 2;
    for (size_t size = 0; size <= bytes.size; size++) {
        bool whole = size > 0 && size % half == 0;
        enum status status = message_range_states_decode(slice_make(bytes.data, size), &states);
        cr_expect_eq(status == STATUS_OK, whole, "cut at %zu", size);
    }
    buffer_deinit(&bytes);
}

static enum status chunk_decode(struct slice payload)
{
    struct message_chunk chunk;
    return message_chunk_decode(payload, &chunk);
}

Test(message_stream, chunk_round_trip)
{
    struct buffer key = {0};
    token_engine_key(&key, 1, token_of(1, slice_text("k")), slice_text("k"));
    const struct message_chunk in = {
        .range = 7, .session = 8, .chunk_size = 9, .next = buffer_slice(&key)};
    struct message_chunk out;
    message_chunk_encode(&bytes, &in);
    cr_assert_eq(message_chunk_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect_eq(out.range, 7);
    cr_expect_eq(out.session, 8);
    cr_expect_eq(out.chunk_size, 9);
    cr_expect(slice_equal(out.next, in.next));
    expect_whole_only(chunk_decode);
    buffer_deinit(&key);
}

Test(message_stream, a_chunk_of_the_nodes_own_records_is_refused)
{
    static const uint8_t local[] = {0xff, 'f', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    const struct message_chunk in = {
        .range = 7, .session = 8, .chunk_size = 9, .next = slice_make(local, sizeof(local))};
    message_chunk_encode(&bytes, &in);
    cr_expect_eq(chunk_decode(buffer_slice(&bytes)), STATUS_CORRUPT);
    buffer_deinit(&bytes);
}

static enum status chunk_reply_decode(struct slice payload)
{
    struct message_chunk_reply reply;
    return message_chunk_reply_decode(payload, &reply);
}

Test(message_stream, chunk_reply_round_trip)
{
    struct buffer key = {0};
    token_engine_key(&key, 1, token_of(1, slice_text("k")), slice_text("k"));
    const struct message_chunk_reply in = {
        .id = 1, .size = 2, .checksum = 3, .entry_count = 4, .next = buffer_slice(&key)};
    struct message_chunk_reply out;
    message_chunk_reply_encode(&bytes, &in);
    cr_assert_eq(message_chunk_reply_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect_eq(out.id, 1);
    cr_expect_eq(out.size, 2);
    cr_expect_eq(out.checksum, 3);
    cr_expect_eq(out.entry_count, 4);
    cr_expect_not(out.last);
    cr_expect(slice_equal(out.next, in.next));
    expect_whole_only(chunk_reply_decode);
    const struct message_chunk_reply nothing = {.last = true};
    message_chunk_reply_encode(&bytes, &nothing);
    expect_whole_only(chunk_reply_decode);
    buffer_deinit(&key);
}

/* A file that no asker could hold, or a chunk that says both that it is and that it is not. */
Test(message_stream, chunk_replies_that_contradict_themselves_are_refused)
{
    const struct message_chunk_reply good = {
        .id = 1, .size = 2, .checksum = 3, .entry_count = 4, .last = true};
    message_chunk_reply_encode(&bytes, &good);
    static const struct {
        size_t offset;
        uint8_t value;
    } changes[] = {{0, 0}, {8, 0}, {8 + 3, 0xff}, {24, 0}, {32, 0}, {32, 2}};
    for (size_t index = 0; index < sizeof(changes) / sizeof(changes[0]); index++) {
        uint8_t was = bytes.data[changes[index].offset];
        bytes.data[changes[index].offset] = changes[index].value;
        cr_expect_eq(chunk_reply_decode(buffer_slice(&bytes)), STATUS_CORRUPT, "change %zu", index);
        bytes.data[changes[index].offset] = was;
    }
    cr_expect_eq(chunk_reply_decode(buffer_slice(&bytes)), STATUS_OK);
    buffer_deinit(&bytes);
}

static enum status piece_decode(struct slice payload)
{
    struct message_piece piece;
    return message_piece_decode(payload, &piece);
}

Test(message_stream, piece_round_trip)
{
    const struct message_piece in = {
        .chunk_id = 1, .session = 2, .offset = 3, .length = MESSAGE_PIECE_SIZE_MAX};
    struct message_piece out;
    message_piece_encode(&bytes, &in);
    cr_assert_eq(message_piece_decode(buffer_slice(&bytes), &out), STATUS_OK);
    cr_expect_eq(out.chunk_id, 1);
    cr_expect_eq(out.session, 2);
    cr_expect_eq(out.offset, 3);
    cr_expect_eq(out.length, MESSAGE_PIECE_SIZE_MAX);
    expect_whole_only(piece_decode);
    const struct message_piece large = {.chunk_id = 1, .length = MESSAGE_PIECE_SIZE_MAX + 1};
    message_piece_encode(&bytes, &large);
    cr_expect_eq(piece_decode(buffer_slice(&bytes)), STATUS_CORRUPT);
    buffer_deinit(&bytes);
}
