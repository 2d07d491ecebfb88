/* tests/unit/test_holding_record.c -- what is remembered of a range, and what passes for it. */
#include <criterion/criterion.h>

#include "node/holding_record.h"

static const struct holding_record sample = {
    .generation = 2, .epoch = 90, .entered = 70, .streamed = 70, .left = 80, .cleared = 80};

Test(holding_record, round_trip)
{
    uint8_t bytes[HOLDING_RECORD_SIZE];
    struct holding_record out;
    holding_record_encode(bytes, &sample);
    cr_assert_eq(holding_record_decode(slice_make(bytes, sizeof(bytes)), &out), STATUS_OK);
    cr_expect_eq(out.generation, sample.generation);
    cr_expect_eq(out.epoch, sample.epoch);
    cr_expect_eq(out.entered, sample.entered);
    cr_expect_eq(out.streamed, sample.streamed);
    cr_expect_eq(out.left, sample.left);
    cr_expect_eq(out.cleared, sample.cleared);
    for (size_t size = 0; size < sizeof(bytes); size++) {
        cr_expect_eq(holding_record_decode(slice_make(bytes, size), &out), STATUS_CORRUPT);
    }
    bytes[0]++;
    cr_expect_eq(holding_record_decode(slice_make(bytes, sizeof(bytes)), &out), STATUS_UNSUPPORTED);
}

/* The bytes as docs/formats/records.md has them: other builds read them. */
Test(holding_record, layout)
{
    uint8_t bytes[HOLDING_RECORD_SIZE];
    const struct holding_record record = {
        .generation = 1, .epoch = 0x0203, .entered = 4, .streamed = 5, .left = 6, .cleared = 6};
    static const uint8_t expected[HOLDING_RECORD_SIZE] = {
        1, 1, 0, 0, 0, 3, 2, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0,
        0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0};
    holding_record_encode(bytes, &record);
    cr_expect_arr_eq(bytes, expected, sizeof(bytes));
}

Test(holding_record, a_record_of_nothing_is_refused)
{
    uint8_t bytes[HOLDING_RECORD_SIZE];
    struct holding_record out;
    holding_record_encode(bytes, &sample);
    bytes[5] = 0; /* Epoch 0. */
    cr_expect_eq(holding_record_decode(slice_make(bytes, sizeof(bytes)), &out), STATUS_CORRUPT);
    holding_record_encode(bytes, &sample);
    bytes[37]++; /* Emptied since another time than it was left. */
    cr_expect_eq(holding_record_decode(slice_make(bytes, sizeof(bytes)), &out), STATUS_CORRUPT);
}

Test(holding_record, fences_go_by_generation_first)
{
    cr_expect(holding_record_below(&sample, 3, 1));
    cr_expect(holding_record_below(&sample, 2, 91));
    cr_expect_not(holding_record_below(&sample, 2, 90));
    cr_expect_not(holding_record_below(&sample, 1, 100));
}
