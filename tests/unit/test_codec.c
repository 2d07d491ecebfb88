/* tests/unit/test_codec.c -- numbers to bytes and back, and readers that never run over. */
#include <signal.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/codec.h"
#include "base/prng.h"

Test(codec, numbers_are_little_endian)
{
    static const uint8_t expected[] = {0xab, 0x34, 0x12, 0xef, 0xcd, 0xab, 0x89, 0x08,
                                       0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01};
    struct buffer buffer = {0};
    codec_put_u8(&buffer, 0xab);
    codec_put_u16(&buffer, 0x1234);
    codec_put_u32(&buffer, 0x89abcdef);
    codec_put_u64(&buffer, 0x0102030405060708);
    cr_assert(slice_equal(buffer_slice(&buffer), slice_make(expected, sizeof(expected))));
    struct codec_reader reader = codec_reader_make(buffer_slice(&buffer));
    cr_assert_eq(codec_get_u8(&reader), 0xab);
    cr_assert_eq(codec_get_u16(&reader), 0x1234);
    cr_assert_eq(codec_get_u32(&reader), 0x89abcdef);
    cr_assert(codec_reader_ok(&reader));
    cr_assert_not(codec_reader_done(&reader));
    cr_assert_eq(codec_get_u64(&reader), 0x0102030405060708);
    cr_assert(codec_reader_done(&reader));
    buffer_deinit(&buffer);
}

Test(codec, big_endian_sorts_as_numbers)
{
    struct prng prng;
    prng_init(&prng, 7);
    for (int round = 0; round < 2000; round++) {
        size_t size = 1 + (size_t)prng_below(&prng, 8);
        uint64_t mask = size == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
        uint64_t a = prng_next(&prng) & mask;
        uint64_t b = prng_chance(&prng, 1, 4) ? a : prng_next(&prng) & mask;
        uint8_t a_bytes[8];
        uint8_t b_bytes[8];
        codec_store_be(a_bytes, a, size);
        codec_store_be(b_bytes, b, size);
        cr_assert_eq(codec_load_be(a_bytes, size), a);
        int order = memcmp(a_bytes, b_bytes, size);
        cr_assert_eq((order > 0) - (order < 0), (a > b) - (a < b), "round %d", round);
    }
}

Test(codec, big_endian_value_that_does_not_fit_is_a_bug, .signal = SIGABRT)
{
    uint8_t bytes[2];
    codec_store_be(bytes, 0x10000, 2);
}

static uint64_t varint_read(const uint8_t *bytes, size_t size, bool *done)
{
    struct codec_reader reader = codec_reader_make(slice_make(bytes, size));
    uint64_t value = codec_get_varint(&reader);
    *done = codec_reader_done(&reader);
    return value;
}

/* Every power of two with its neighbours, and every way to cut the encoding short. */
Test(codec, varint_of_every_size_comes_back_and_no_prefix_does)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)(int64_t)delta;
            uint8_t bytes[CODEC_VARINT_SIZE_MAX];
            size_t size = codec_store_varint(bytes, value);
            cr_assert_leq(size, CODEC_VARINT_SIZE_MAX);
            bool done = false;
            cr_assert_eq(varint_read(bytes, size, &done), value, "bit %u", bit);
            cr_assert(done);
            for (size_t cut = 0; cut < size; cut++) {
                cr_assert_eq(varint_read(bytes, cut, &done), 0);
                cr_assert_not(done, "bit %u cut %zu", bit, cut);
            }
        }
    }
    uint8_t bytes[CODEC_VARINT_SIZE_MAX];
    cr_assert_eq(codec_store_varint(bytes, 127), 1);
    cr_assert_eq(codec_store_varint(bytes, 128), 2);
    cr_assert_eq(codec_store_varint(bytes, UINT64_MAX), 10);
}

Test(codec, varint_has_one_spelling)
{
    bool done = true;
    varint_read((const uint8_t[]){0x80, 0x00}, 2, &done);
    cr_assert_not(done);
    varint_read((const uint8_t[]){0xff, 0x80, 0x00}, 3, &done);
    cr_assert_not(done);
    /* 2^64: the tenth byte has room for one bit. */
    varint_read((const uint8_t[]){0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02}, 10,
                &done);
    cr_assert_not(done);
    varint_read((const uint8_t[]){0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00},
                11, &done);
    cr_assert_not(done);
}

Test(codec, bytes_longer_than_the_rest_fail)
{
    struct buffer buffer = {0};
    codec_put_bytes(&buffer, slice_text("hello"));
    codec_put_bytes(&buffer, slice_make(NULL, 0));
    for (size_t cut = 0; cut <= buffer.size; cut++) {
        struct codec_reader reader = codec_reader_make(slice_make(buffer.data, cut));
        struct slice first = codec_get_bytes(&reader);
        struct slice second = codec_get_bytes(&reader);
        cr_assert_eq(codec_reader_done(&reader), cut == buffer.size, "cut %zu", cut);
        cr_assert_eq(first.size, cut >= 6 ? 5 : 0);
        cr_assert_eq(second.size, 0);
    }
    buffer_clear(&buffer);
    codec_put_varint(&buffer, UINT64_MAX);
    struct codec_reader reader = codec_reader_make(buffer_slice(&buffer));
    cr_assert_eq(codec_get_bytes(&reader).size, 0);
    cr_assert_not(codec_reader_ok(&reader));
    buffer_deinit(&buffer);
}

Test(codec, a_failed_reader_stays_failed_and_gives_zeroes)
{
    static const uint8_t bytes[] = {1, 2, 3};
    struct codec_reader reader = codec_reader_make(slice_make(bytes, sizeof(bytes)));
    cr_assert_eq(codec_get_u32(&reader), 0);
    cr_assert_not(codec_reader_ok(&reader));
    cr_assert_eq(codec_get_u8(&reader), 0);
    cr_assert_eq(codec_get_u16(&reader), 0);
    cr_assert_eq(codec_get_u64(&reader), 0);
    cr_assert_eq(codec_get_varint(&reader), 0);
    cr_assert_eq(codec_get_raw(&reader, 0).size, 0);
    cr_assert_not(codec_reader_done(&reader));
}

Test(codec, an_empty_slice_can_be_read_as_nothing)
{
    struct codec_reader reader = codec_reader_make(slice_make(NULL, 0));
    cr_assert_eq(codec_get_raw(&reader, 0).size, 0);
    cr_assert(codec_reader_done(&reader));
}
