/* tests/unit/test_checksum.c -- XXH3 whole and in pieces, CRC16. */
#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/prng.h"

/* Published values: the empty input's of XXH3, the check value of CRC-16/XMODEM. */
Test(checksum, published_values)
{
    cr_assert_eq(checksum64(slice_make(NULL, 0), 0), UINT64_C(0x2d06800538d394c2));
    cr_assert_eq(checksum_crc16(slice_text("123456789")), 0x31c3);
    cr_assert_eq(checksum_crc16(slice_make(NULL, 0)), 0);
}

/* Golden: these are on disks. */
Test(checksum, golden_values)
{
    cr_assert_eq(checksum64(slice_text("ringkv"), 0), UINT64_C(0x115c485cf2d256c6));
    cr_assert_eq(checksum64(slice_text("ringkv"), 1), UINT64_C(0x4108b7c5f1dd891e));
}

/* Bitwise, as the polynomial is defined. */
static uint16_t crc16_model(const uint8_t *bytes, size_t size)
{
    unsigned crc = 0;
    for (size_t index = 0; index < size; index++) {
        crc ^= (unsigned)bytes[index] << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 0x8000u) != 0 ? (crc << 1 ^ 0x1021u) & 0xffffu : crc << 1;
        }
    }
    return (uint16_t)crc;
}

Test(checksum, crc16_is_its_polynomial)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t bytes[3] = {(uint8_t)byte, 0xff, (uint8_t)(byte * 7)};
        cr_assert_eq(checksum_crc16(slice_make(bytes, 3)), crc16_model(bytes, 3), "byte %u", byte);
    }
}

/* Every size around the steps of XXH3 (16, 128, 240, blocks of 1024), cut at every byte. */
Test(checksum, pieces_equal_the_whole)
{
    static const size_t sizes[] = {0,   1,   15,  16,  17,  127,  128,  129,  239, 240,
                                   241, 255, 256, 257, 512, 1023, 1024, 1025, 1300};
    static const uint64_t seeds[] = {0, 1, UINT64_MAX, UINT64_C(0x0123456789abcdef)};
    uint8_t bytes[1300];
    struct prng prng;
    prng_init(&prng, 3);
    for (size_t index = 0; index < sizeof(bytes); index++) {
        bytes[index] = (uint8_t)prng_next(&prng);
    }
    for (size_t size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size++) {
        for (size_t seed = 0; seed < sizeof(seeds) / sizeof(seeds[0]); seed++) {
            uint64_t whole = checksum64(slice_make(bytes, sizes[size]), seeds[seed]);
            for (size_t cut = 0; cut <= sizes[size]; cut++) {
                size_t middle = cut + (sizes[size] - cut) / 2;
                struct slice pieces[4] = {slice_make(bytes, cut), slice_make(NULL, 0),
                                          slice_make(bytes + cut, middle - cut),
                                          slice_make(bytes + middle, sizes[size] - middle)};
                cr_assert_eq(checksum64_pieces(pieces, 4, seeds[seed]), whole,
                             "size %zu cut %zu seed %zu", sizes[size], cut, seed);
            }
        }
    }
    cr_assert_eq(checksum64_pieces(NULL, 0, 5), checksum64(slice_make(NULL, 0), 5));
}

Test(checksum, every_bit_of_input_and_seed_counts)
{
    uint8_t bytes[300] = {0};
    uint64_t before = checksum64(slice_make(bytes, sizeof(bytes)), 9);
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_neq(checksum64(slice_make(bytes, sizeof(bytes)), 9), before, "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t seed = UINT64_C(9) ^ UINT64_C(1) << bit;
        cr_assert_neq(checksum64(slice_make(bytes, sizeof(bytes)), seed), before, "bit %u", bit);
    }
}
