/* tests/unit/test_message_load.c -- payloads of LOAD: round trips, bounds, cut and padded. */
#include <criterion/criterion.h>

#include "node/message_load.h"

static struct buffer bytes;

static enum status decode(size_t size)
{
    struct message_load load;
    return message_load_decode(slice_make(bytes.data, size), &load);
}

static void load_make(uint32_t first_range, uint32_t second_range)
{
    const struct message_load_head head = {.sum = {.keys = 1, .bytes = 2, .reads = 3, .writes = 4},
                                           .space_free = 5,
                                           .range_count = 2,
                                           .key_count = 1};
    const struct message_load_range ranges[] = {
        {.range = first_range, .view = {.keys = 6, .bytes = 7, .reads = 8, .writes = 9}},
        {.range = second_range, .view = {.keys = 10, .bytes = 11, .reads = 12, .writes = 13}}};
    const struct message_load_key key = {.token = 14,
                                         .keyspace = 1,
                                         .size = 100,
                                         .rate = 15,
                                         .error = 16,
                                         .writes = 17,
                                         .key = slice_text("beginning")};
    message_load_head_encode(&bytes, &head);
    message_load_range_encode(&bytes, &ranges[0]);
    message_load_range_encode(&bytes, &ranges[1]);
    message_load_key_encode(&bytes, &key);
    cr_assert_eq(buffer_status(&bytes), STATUS_OK);
}

Test(message_load, load_round_trips)
{
    struct message_load load;
    struct message_load_range range;
    struct message_load_key key;
    load_make(3, RING_RANGE_COUNT_MAX - 1);
    cr_assert_eq(message_load_decode(buffer_slice(&bytes), &load), STATUS_OK);
    cr_expect_eq(load.head.sum.keys, 1);
    cr_expect_eq(load.head.sum.writes, 4);
    cr_expect_eq(load.head.space_free, 5);
    cr_assert_eq(load.head.range_count, 2);
    message_load_range_at(&load, 0, &range);
    cr_expect_eq(range.range, 3);
    cr_expect_eq(range.view.keys, 6);
    message_load_range_at(&load, 1, &range);
    cr_expect_eq(range.range, RING_RANGE_COUNT_MAX - 1);
    cr_expect_eq(range.view.bytes, 11);
    cr_expect_eq(range.view.reads, 12);
    cr_expect_eq(range.view.writes, 13);
    cr_assert_eq(load.head.key_count, 1);
    message_load_key_at(&load, 0, &key);
    cr_expect_eq(key.token, 14);
    cr_expect_eq(key.keyspace, 1);
    cr_expect_eq(key.size, 100);
    cr_expect_eq(key.rate, 15);
    cr_expect_eq(key.error, 16);
    cr_expect_eq(key.writes, 17);
    cr_expect(slice_equal(key.key, slice_text("beginning")));
    for (size_t size = 0; size < bytes.size; size++) {
        cr_expect_eq(decode(size), STATUS_CORRUPT, "cut at %zu", size);
    }
    uint8_t more = 0;
    buffer_append(&bytes, &more, 1);
    cr_expect_eq(decode(bytes.size), STATUS_CORRUPT, "one byte more");
    buffer_deinit(&bytes);
}

Test(message_load, ranges_rise_and_padding_is_zero)
{
    load_make(4, 4);
    cr_expect_eq(decode(bytes.size), STATUS_CORRUPT);
    buffer_clear(&bytes);
    load_make(5, 4);
    cr_expect_eq(decode(bytes.size), STATUS_CORRUPT);
    buffer_clear(&bytes);
    load_make(4, 5);
    bytes.data[bytes.size - 1] = 1;
    cr_expect_eq(decode(bytes.size), STATUS_CORRUPT);
    buffer_deinit(&bytes);
}

Test(message_load, requests_round_trip)
{
    uint32_t wants = 0;
    message_load_request_encode(&bytes, MESSAGE_LOAD_HOT_KEYS);
    cr_assert_eq(message_load_request_decode(buffer_slice(&bytes), &wants), STATUS_OK);
    cr_expect_eq(wants, MESSAGE_LOAD_HOT_KEYS);
    cr_expect_eq(message_load_request_decode(slice_make(bytes.data, 3), &wants), STATUS_CORRUPT);
    buffer_clear(&bytes);
    message_load_request_encode(&bytes, 4);
    cr_expect_eq(message_load_request_decode(buffer_slice(&bytes), &wants), STATUS_CORRUPT);
    buffer_deinit(&bytes);
}
