/* tests/unit/test_frame.c -- the frame header: round trip, and every damage noticed. */
#include <string.h>

#include <criterion/criterion.h>

#include "node/frame.h"

static struct frame sample(uint8_t flags)
{
    return (struct frame){
        .type = FRAME_WRITE,
        .flags = flags,
        .sender = 7,
        .request_id = UINT64_C(0x0102030405060708),
        .deadline_ms = flags == 0 ? 1500 : 0,
        .status = flags == 0 ? 0 : STATUS_SUPERSEDED,
        .range = 99,
        .time = UINT64_C(0xaabbccddeeff0011),
        .stamp = {.generation = {.number = 2, .id = 33}, .epoch = 44, .hash = 55},
        .payload = slice_text("payload of a frame"),
    };
}

Test(frame, round_trip_keeps_every_field)
{
    for (uint8_t flags = 0; flags <= FRAME_FLAG_REPLY; flags++) {
        struct frame in = sample(flags);
        struct frame out;
        struct buffer bytes = {0};
        frame_encode(&bytes, &in);
        cr_assert_eq(frame_decode(buffer_slice(&bytes), &out), STATUS_OK);
        cr_expect_eq(out.type, in.type);
        cr_expect_eq(out.flags, in.flags);
        cr_expect_eq(out.sender, in.sender);
        cr_expect_eq(out.request_id, in.request_id);
        cr_expect_eq(out.deadline_ms, in.deadline_ms);
        cr_expect_eq(out.status, in.status);
        cr_expect_eq(out.range, in.range);
        cr_expect_eq(out.time, in.time);
        cr_expect_eq(out.stamp.generation.number, in.stamp.generation.number);
        cr_expect_eq(out.stamp.generation.id, in.stamp.generation.id);
        cr_expect_eq(out.stamp.epoch, in.stamp.epoch);
        cr_expect_eq(out.stamp.hash, in.stamp.hash);
        cr_expect(slice_equal(out.payload, in.payload));
        buffer_deinit(&bytes);
    }
}

Test(frame, every_flipped_bit_and_every_cut_is_noticed)
{
    struct frame in = sample(0);
    struct frame out;
    struct buffer bytes = {0};
    frame_encode(&bytes, &in);
    for (size_t index = 0; index < bytes.size; index++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes.data[index] ^= (uint8_t)(1u << bit);
            cr_expect_neq(frame_decode(buffer_slice(&bytes), &out), STATUS_OK, "byte %zu bit %u",
                          index, bit);
            bytes.data[index] ^= (uint8_t)(1u << bit);
        }
    }
    for (size_t size = 0; size < bytes.size; size++) {
        cr_expect_neq(frame_decode(slice_make(bytes.data, size), &out), STATUS_OK, "size %zu",
                      size);
    }
    buffer_deinit(&bytes);
}
