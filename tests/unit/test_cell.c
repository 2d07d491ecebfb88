/* tests/unit/test_cell.c -- the order of cells and their one encoding. */
#include <signal.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/cell.h"
#include "base/prng.h"

/* Few distinct values per field, so that ties of every length occur. */
static struct cell cell_draw(struct prng *prng)
{
    static const char text[] = "abcdefghijklmnopqrstuvwxyz";
    struct cell cell = {
        .version = {.time = prng_below(prng, 3) << 40,
                    .node = (uint32_t)prng_below(prng, 3),
                    .sequence = (uint32_t)prng_below(prng, 3)},
        .stamp = prng_below(prng, 3),
        .expiry_ms = prng_below(prng, 3) * 1000,
        .kind = (enum cell_kind)prng_below(prng, 3),
        .window = slice_make(text, (size_t)prng_below(prng, 20)),
        .value = slice_make(text, (size_t)prng_below(prng, 20)),
    };
    if (cell.kind == CELL_DELETE) {
        cell.value = slice_make(NULL, 0);
    }
    return cell;
}

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

Test(cell, compare_is_a_total_order)
{
    struct prng prng;
    prng_init(&prng, 11);
    for (int round = 0; round < 20000; round++) {
        struct cell a = cell_draw(&prng);
        struct cell b = cell_draw(&prng);
        struct cell c = cell_draw(&prng);
        cr_assert_eq(sign(cell_compare(&a, &b)), -sign(cell_compare(&b, &a)), "round %d", round);
        cr_assert_eq(cell_compare(&a, &a), 0);
        if (cell_compare(&a, &b) <= 0 && cell_compare(&b, &c) <= 0) {
            cr_assert_leq(cell_compare(&a, &c), 0, "round %d", round);
        }
        bool same = version_compare(a.version, b.version) == 0 && a.stamp == b.stamp &&
                    a.kind == b.kind && a.expiry_ms == b.expiry_ms;
        cr_assert_eq(cell_compare(&a, &b) == 0, same, "round %d", round);
    }
}

Test(cell, version_then_stamp_then_delete_decide)
{
    struct cell low = {.version = {.time = 5, .node = 9, .sequence = 9}, .stamp = 99};
    struct cell high = {.version = {.time = 6}};
    cr_assert_lt(cell_compare(&low, &high), 0);
    high.version = (struct version){.time = 5, .node = 10};
    cr_assert_lt(cell_compare(&low, &high), 0);
    high.version = (struct version){.time = 5, .node = 9, .sequence = 10};
    cr_assert_lt(cell_compare(&low, &high), 0);
    high = low;
    high.stamp = 100;
    low.kind = CELL_DELETE;
    cr_assert_lt(cell_compare(&low, &high), 0);
    high.stamp = 99;
    cr_assert_gt(cell_compare(&low, &high), 0);
    high.kind = CELL_PROMISE;
    cr_assert_gt(cell_compare(&low, &high), 0);
}

Test(cell, of_expiries_stamped_in_one_instant_by_two_nodes_one_wins)
{
    struct cell sooner = {.version = {.time = 5, .node = 1}, .stamp = 9, .expiry_ms = 100};
    struct cell later = sooner;
    later.expiry_ms = 200;
    struct cell never = sooner;
    never.expiry_ms = 0;
    cr_expect_lt(cell_compare(&sooner, &later), 0);
    cr_expect_gt(cell_compare(&later, &sooner), 0);
    cr_expect_lt(cell_compare(&never, &sooner), 0);
}

Test(cell, live_is_a_value_before_its_expiry)
{
    struct cell cell = {.kind = CELL_VALUE};
    cr_assert(cell_is_live(&cell, UINT64_MAX));
    cell.expiry_ms = 1000;
    cr_assert(cell_is_live(&cell, 999));
    cr_assert_not(cell_is_live(&cell, 1000));
    cell = (struct cell){.kind = CELL_DELETE};
    cr_assert_not(cell_is_live(&cell, 0));
    cell = (struct cell){.kind = CELL_PROMISE};
    cr_assert_not(cell_is_live(&cell, 0));
}

static void encoding_expect(const struct cell *cell, const uint8_t *bytes, size_t size)
{
    uint8_t encoded[256];
    cr_assert_eq(cell_encoded_size(cell), size);
    cell_encode(cell, encoded);
    cr_assert_arr_eq(encoded, bytes, size);
    struct cell decoded;
    cr_assert_eq(cell_decode(slice_make(bytes, size), &decoded), STATUS_OK);
    cr_assert_eq(cell_compare(cell, &decoded), 0);
    cr_assert_eq(decoded.expiry_ms, cell->expiry_ms);
    cr_assert(slice_equal(decoded.window, cell->window));
    cr_assert(slice_equal(decoded.value, cell->value));
}

/* Golden: these bytes are on disks. They may never stop being readable. */
Test(cell, golden_value)
{
    static const uint8_t bytes[] = {
        0x00,                                           /* value, nothing optional */
        0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* time */
        0x0c, 0x0b, 0x0a, 0x09,                         /* node */
        0x10, 0x0f, 0x0e, 0x0d,                         /* sequence */
        'h',  'i',
    };
    struct cell cell = {
        .version = {.time = 0x0102030405060708, .node = 0x090a0b0c, .sequence = 0x0d0e0f10},
        .value = slice_text("hi"),
    };
    encoding_expect(&cell, bytes, sizeof(bytes));
}

Test(cell, golden_value_with_everything)
{
    static const uint8_t bytes[] = {
        0x1c,                                           /* value, expiry, stamp, window */
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* time */
        0x02, 0x00, 0x00, 0x00,                         /* node */
        0x03, 0x00, 0x00, 0x00,                         /* sequence */
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* expiry */
        0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, /* stamp */
        0x03, 'w',  'i',  'n',                          /* window */
        'v',
    };
    struct cell cell = {
        .version = {.time = 1, .node = 2, .sequence = 3},
        .expiry_ms = 0x1122334455667788,
        .stamp = 0x8000000000000004,
        .window = slice_text("win"),
        .value = slice_text("v"),
    };
    encoding_expect(&cell, bytes, sizeof(bytes));
}

Test(cell, golden_delete_and_promise)
{
    uint8_t bytes[17] = {0x01, 0x07, [9] = 0x01};
    struct cell cell = {.kind = CELL_DELETE, .version = {.time = 7, .node = 1}};
    encoding_expect(&cell, bytes, sizeof(bytes));
    bytes[0] = 0x02;
    cell.kind = CELL_PROMISE;
    encoding_expect(&cell, bytes, sizeof(bytes));
}

Test(cell, drawn_cells_come_back_and_every_cut_header_is_corrupt)
{
    struct prng prng;
    prng_init(&prng, 12);
    for (int round = 0; round < 3000; round++) {
        struct cell cell = cell_draw(&prng);
        struct buffer buffer = {0};
        cell_put(&buffer, &cell);
        cr_assert_eq(buffer.size, cell_encoded_size(&cell));
        encoding_expect(&cell, buffer.data, buffer.size);
        size_t header = buffer.size - cell.value.size;
        for (size_t cut = 0; cut < header; cut++) {
            struct cell decoded;
            cr_assert_eq(cell_decode(slice_make(buffer.data, cut), &decoded), STATUS_CORRUPT,
                         "round %d cut %zu", round, cut);
        }
        buffer_deinit(&buffer);
    }
}

/* Whatever single byte is changed: refused, or a cell that encodes to exactly those bytes. */
Test(cell, a_decoded_cell_has_one_spelling)
{
    struct cell cell = {
        .version = {.time = 1, .node = 2, .sequence = 3},
        .expiry_ms = 4,
        .stamp = 5,
        .window = slice_text("w"),
        .value = slice_text("val"),
    };
    uint8_t bytes[64];
    size_t size = cell_encoded_size(&cell);
    int accepted = 0;
    for (size_t at = 0; at < size; at++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            cell_encode(&cell, bytes);
            bytes[at] = (uint8_t)byte;
            struct cell decoded;
            if (cell_decode(slice_make(bytes, size), &decoded) != STATUS_OK) {
                continue;
            }
            accepted++;
            uint8_t again[64];
            cr_assert_eq(cell_encoded_size(&decoded), size, "at %zu byte %u", at, byte);
            cell_encode(&decoded, again);
            cr_assert_arr_eq(again, bytes, size);
        }
    }
    cr_assert_gt(accepted, 0);
}

static enum status decode_status(uint8_t flags, const void *rest, size_t rest_size)
{
    uint8_t bytes[64] = {flags};
    if (rest_size != 0) {
        memcpy(bytes + 17, rest, rest_size);
    }
    struct cell cell;
    return cell_decode(slice_make(bytes, 17 + rest_size), &cell);
}

Test(cell, other_spellings_are_corrupt)
{
    static const uint8_t zero[8] = {0};
    cr_assert_eq(decode_status(0x00, NULL, 0), STATUS_OK);
    cr_assert_eq(decode_status(0x03, NULL, 0), STATUS_CORRUPT);
    cr_assert_eq(decode_status(0x20, NULL, 0), STATUS_CORRUPT);
    cr_assert_eq(decode_status(0x40, NULL, 0), STATUS_CORRUPT);
    cr_assert_eq(decode_status(0x80, NULL, 0), STATUS_CORRUPT);
    cr_assert_eq(decode_status(0x04, zero, 8), STATUS_CORRUPT);
    cr_assert_eq(decode_status(0x08, zero, 8), STATUS_CORRUPT);
    cr_assert_eq(decode_status(0x10, zero, 1), STATUS_CORRUPT);
    cr_assert_eq(decode_status(0x10, "\x81\x00w", 3), STATUS_CORRUPT);
    cr_assert_eq(decode_status(0x10, "\x02w", 2), STATUS_CORRUPT);
    cr_assert_eq(decode_status(0x10, "\x01w", 2), STATUS_OK);
    cr_assert_eq(decode_status(0x01, "v", 1), STATUS_CORRUPT);
    cr_assert_eq(decode_status(0x02, "v", 1), STATUS_OK);
}

Test(cell, encoding_a_delete_with_a_value_is_a_bug, .signal = SIGABRT)
{
    struct cell cell = {.kind = CELL_DELETE, .value = slice_text("v")};
    uint8_t bytes[64];
    cell_encode(&cell, bytes);
}

Test(cell, version_comes_back)
{
    struct buffer buffer = {0};
    struct version version = {.time = UINT64_MAX - 1, .node = UINT32_MAX - 2, .sequence = 3};
    version_put(&buffer, version);
    cr_assert_eq(buffer.size, VERSION_SIZE);
    struct codec_reader reader = codec_reader_make(buffer_slice(&buffer));
    cr_assert_eq(version_compare(version_get(&reader), version), 0);
    cr_assert(codec_reader_done(&reader));
    buffer_deinit(&buffer);
}
