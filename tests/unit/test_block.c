/*
 * tests/unit/test_block.c -- lsm/block.h: building, sealing, searching and walking blocks.
 */
#include <signal.h>
#include <stdio.h>

#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/memory.h"
#include "base/prng.h"
#include "lsm/block.h"
#include "lsm/block_cursor.h"

#define ENTRY_COUNT_MAX 200u
#define KEY_SIZE 160u /* Of a few, longer than a cursor has room for. */

/* As much as a cursor's own room takes, give or take what follows. */
#define LONG_PREFIX                                  \
    "b-0123456789-0123456789-0123456789-0123456789-" \
    "0123456789-0123456789-0123456789-0123456789"

/* Sorted keys with the block built from them; cell i is i % 50 bytes of value i. */
struct fixture {
    uint32_t count;
    char keys[ENTRY_COUNT_MAX][KEY_SIZE];
    uint8_t cells[ENTRY_COUNT_MAX][50];
    struct block_builder builder;
    struct slice raw;
};

static int key_order(const void *a, const void *b)
{
    return strcmp(a, b);
}

static uint64_t hash_of(const char *key)
{
    return checksum64(slice_text(key), 0);
}

static struct slice cell_at(const struct fixture *fixture, uint32_t i)
{
    return slice_make(fixture->cells[i], i % 50);
}

/* Keys are even numbers under a few prefixes of different lengths, so odd ones lie between. Blocks
 * of odd seeds are tagged. */
static void fixture_make(struct fixture *fixture, uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    memset(fixture, 0, sizeof(*fixture));
    uint32_t wanted = 1 + (uint32_t)prng_below(&prng, ENTRY_COUNT_MAX);
    static const char *prefixes[] = {"", "a", "abc", "abcdefgh", "b", LONG_PREFIX};
    uint64_t prefix_count = seed % 3 == 0 ? 6 : 5;
    for (uint32_t i = 0; i < wanted; i++) {
        const char *tail = prng_below(&prng, 8) == 0 ? "-and-a-tail-of-many-bytes" : "";
        snprintf(fixture->keys[i], KEY_SIZE, "%s%04u%s", prefixes[prng_below(&prng, prefix_count)],
                 (unsigned)(2 * prng_below(&prng, 2000)), tail);
    }
    qsort(fixture->keys, wanted, KEY_SIZE, key_order);
    for (uint32_t i = 0; i < wanted; i++) {
        if (fixture->count == 0 || strcmp(fixture->keys[i], fixture->keys[fixture->count - 1])) {
            memmove(fixture->keys[fixture->count++], fixture->keys[i], KEY_SIZE);
        }
    }
    for (uint32_t i = 0; i < fixture->count; i++) {
        memset(fixture->cells[i], (int)(i & 0xff), sizeof(fixture->cells[i]));
        struct slice key = slice_text(fixture->keys[i]);
        if (seed % 2 == 0) {
            block_builder_add(&fixture->builder, key, cell_at(fixture, i));
        } else {
            block_builder_add_tagged(&fixture->builder, key, hash_of(fixture->keys[i]),
                                     cell_at(fixture, i));
        }
    }
    size_t size = block_builder_size(&fixture->builder);
    cr_assert_eq(block_builder_finish(&fixture->builder, &fixture->raw), STATUS_OK);
    cr_assert_eq(fixture->raw.size, size);
}

static void fixture_drop(struct fixture *fixture)
{
    block_builder_deinit(&fixture->builder);
}

/* Index of the least key at or above; count if there is none. */
static uint32_t model_seek(const struct fixture *fixture, const char *bound)
{
    uint32_t i = 0;
    while (i < fixture->count && strcmp(fixture->keys[i], bound) < 0) {
        i++;
    }
    return i;
}

static void assert_stands(const struct fixture *fixture, const struct block_cursor *cursor,
                          uint32_t i, uint64_t seed)
{
    cr_assert(slice_equal(cursor->key, slice_text(fixture->keys[i])), "seed=%lu i=%u", seed, i);
    cr_assert(slice_equal(cursor->cell, cell_at(fixture, i)), "seed=%lu i=%u", seed, i);
}

static const struct block_place place = {.nonce = 77, .offset = 4096};

/* Both kinds of get against the list; `sealed` is the fixture's block. */
static void assert_get(const struct fixture *fixture, const struct buffer *sealed,
                       struct buffer *scratch, const char *key)
{
    uint32_t i = model_seek(fixture, key);
    bool present = i < fixture->count && strcmp(fixture->keys[i], key) == 0;
    enum status wanted = present ? STATUS_OK : STATUS_NOT_FOUND;
    struct slice cell;
    cr_assert_eq(block_get(fixture->raw, slice_text(key), hash_of(key), &cell), wanted, "key=%s",
                 key);
    cr_assert(!present || slice_equal(cell, cell_at(fixture, i)), "key=%s", key);
    buffer_clear(scratch);
    buffer_append_slice(scratch, buffer_slice(sealed));
    cr_assert_eq(block_get_sealed(scratch, place, slice_text(key), hash_of(key), &cell), wanted,
                 "key=%s", key);
    cr_assert(!present || slice_equal(cell, cell_at(fixture, i)), "key=%s", key);
}

Test(block, gets_agree_with_a_list_for_present_and_absent_keys, .timeout = 120)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct fixture fixture;
        fixture_make(&fixture, seed);
        struct buffer sealed = {0};
        struct buffer scratch = {0};
        block_seal(&sealed, fixture.raw, seed % 3 != 0, place);
        static const char *prefixes[] = {"", "a", "abc", "abcdefgh", "b", "c"};
        for (uint32_t p = 0; p < 6; p++) {
            for (uint32_t number = 0; number < 4002; number += 1 + number % 3) {
                char key[KEY_SIZE];
                snprintf(key, sizeof(key), "%s%04u", prefixes[p], number);
                assert_get(&fixture, &sealed, &scratch, key);
            }
        }
        for (uint32_t i = 0; i < fixture.count; i++) {
            assert_get(&fixture, &sealed, &scratch, fixture.keys[i]);
        }
        buffer_deinit(&sealed);
        buffer_deinit(&scratch);
        fixture_drop(&fixture);
    }
}

/* What the tags are for: only a key that shares its tag with another costs any unpacking, which
 * shows in a scratch that need not grow. */
Test(block, a_key_that_is_not_there_is_seldom_worth_unpacking)
{
    struct fixture fixture;
    fixture_make(&fixture, 7);
    struct buffer sealed = {0};
    block_seal(&sealed, fixture.raw, true, place);
    cr_assert_lt(sealed.size, fixture.raw.size);
    uint32_t unpacked_count = 0;
    for (uint32_t number = 1; number < 2000; number += 2) {
        char key[KEY_SIZE];
        snprintf(key, sizeof(key), "abc%04u", number);
        struct buffer scratch = {0};
        buffer_append_slice(&scratch, buffer_slice(&sealed));
        size_t capacity = scratch.capacity;
        struct slice cell;
        cr_assert_eq(block_get_sealed(&scratch, place, slice_text(key), hash_of(key), &cell),
                     STATUS_NOT_FOUND);
        unpacked_count += scratch.capacity > capacity;
        buffer_deinit(&scratch);
    }
    /* Of 256 tags at most `count` are taken. */
    cr_assert_lt(unpacked_count, 1000 * fixture.count / 256 + 100, "%u of 1000", unpacked_count);
    buffer_deinit(&sealed);
    fixture_drop(&fixture);
}

Test(block, walks_and_seeks_agree_with_a_list_both_ways)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct fixture fixture;
        fixture_make(&fixture, seed);
        struct block_cursor cursor = {0};
        cr_assert_eq(block_cursor_reset(&cursor, fixture.raw), STATUS_OK);
        enum status status = block_cursor_first(&cursor);
        for (uint32_t i = 0; i < fixture.count; i++) {
            cr_assert_eq(status, STATUS_OK);
            assert_stands(&fixture, &cursor, i, seed);
            status = block_cursor_next(&cursor);
        }
        cr_assert_eq(status, STATUS_NOT_FOUND);
        status = block_cursor_last(&cursor);
        for (uint32_t i = fixture.count; i-- > 0;) {
            cr_assert_eq(status, STATUS_OK);
            assert_stands(&fixture, &cursor, i, seed);
            status = block_cursor_previous(&cursor);
        }
        cr_assert_eq(status, STATUS_NOT_FOUND);
        for (uint32_t i = 0; i < 4002; i += 7) {
            char bound[KEY_SIZE];
            static const char *prefixes[] = {"", "abc", LONG_PREFIX};
            snprintf(bound, sizeof(bound), "%s%04u", prefixes[i % 3], i);
            uint32_t at = model_seek(&fixture, bound);
            status = block_cursor_seek(&cursor, slice_text(bound));
            cr_assert_eq(status, at < fixture.count ? STATUS_OK : STATUS_NOT_FOUND);
            for (uint32_t k = at; k < at + 12 && k < fixture.count; k++) {
                cr_assert_eq(status, STATUS_OK);
                assert_stands(&fixture, &cursor, k, seed);
                status = block_cursor_next(&cursor);
            }
            status = block_cursor_seek(&cursor, slice_text(bound));
            status = block_cursor_seek_before(&cursor, slice_text(bound));
            cr_assert_eq(status, at > 0 ? STATUS_OK : STATUS_NOT_FOUND);
            if (at > 0) {
                assert_stands(&fixture, &cursor, at - 1, seed);
            }
        }
        block_cursor_deinit(&cursor);
        fixture_drop(&fixture);
    }
}

Test(block, keys_ascend_or_it_is_a_bug, .signal = SIGABRT)
{
    struct block_builder builder = {0};
    block_builder_add(&builder, slice_text("b"), slice_text("1"));
    block_builder_add(&builder, slice_text("ab"), slice_text("2"));
}

Test(block, the_same_key_twice_is_a_bug, .signal = SIGABRT)
{
    struct block_builder builder = {0};
    block_builder_add(&builder, slice_text("b"), slice_text("1"));
    block_builder_add(&builder, slice_text("b"), slice_text("2"));
}

Test(block, unseal_returns_what_was_sealed_compressed_or_not)
{
    struct prng prng;
    prng_init(&prng, 5);
    for (uint32_t round = 0; round < 400; round++) {
        struct buffer raw = {0};
        size_t size = 1 + prng_below(&prng, 20000);
        bool noise = prng_chance(&prng, 1, 2);
        for (size_t i = 0; i < size; i++) {
            uint8_t byte = noise ? (uint8_t)prng_next(&prng) : (uint8_t)(i / 100);
            buffer_append(&raw, &byte, 1);
        }
        struct buffer sealed = {0};
        block_seal(&sealed, buffer_slice(&raw), true, place);
        cr_assert_eq(buffer_status(&sealed), STATUS_OK);
        size_t payload = sealed.size - BLOCK_TRAILER_SIZE;
        cr_assert(payload == size || payload < size - size * 12 / 100, "size=%zu", size);
        cr_assert(noise || size < 1000 || payload < size / 2, "size=%zu", size);
        struct slice got;
        cr_assert_eq(block_unseal(&sealed, place, &got), STATUS_OK);
        cr_assert(slice_equal(got, buffer_slice(&raw)));
        buffer_deinit(&raw);
        buffer_deinit(&sealed);
    }
}

/* Seals, changes the copy as told, and says what unsealing it gives. */
static enum status unseal_changed(const struct buffer *sealed, size_t size, size_t flip_byte,
                                  uint8_t flip, struct block_place where)
{
    struct buffer copy = {0};
    buffer_append(&copy, sealed->data, size);
    if (flip != 0) {
        copy.data[flip_byte] ^= flip;
    }
    struct slice raw;
    enum status status = block_unseal(&copy, where, &raw);
    buffer_deinit(&copy);
    return status;
}

Test(block, any_change_of_bytes_size_or_place_is_corrupt)
{
    for (unsigned form = 0; form < 4; form++) { /* Tagged or not, compressed or not. */
        struct fixture fixture;
        fixture_make(&fixture, 3 + form % 2);
        struct buffer sealed = {0};
        block_seal(&sealed, fixture.raw, form >= 2, place);
        cr_assert_eq(unseal_changed(&sealed, sealed.size, 0, 0, place), STATUS_OK);
        for (size_t i = 0; i < sealed.size; i++) {
            uint8_t flip = (uint8_t)(1u << (i % 8));
            cr_assert_eq(unseal_changed(&sealed, sealed.size, i, flip, place), STATUS_CORRUPT);
            cr_assert_eq(unseal_changed(&sealed, i, 0, 0, place), STATUS_CORRUPT);
        }
        struct block_place other_file = {.nonce = 78, .offset = 4096};
        struct block_place other_offset = {.nonce = 77, .offset = 0};
        cr_assert_eq(unseal_changed(&sealed, sealed.size, 0, 0, other_file), STATUS_CORRUPT);
        cr_assert_eq(unseal_changed(&sealed, sealed.size, 0, 0, other_offset), STATUS_CORRUPT);
        buffer_deinit(&sealed);
        fixture_drop(&fixture);
    }
}

/* A raw block is checked on its own too: damage there is a status or a wrong entry, no wild read
 * (which the sanitizer would stop). */
Test(block, damaged_raw_blocks_are_never_read_outside_their_bytes)
{
    struct prng prng;
    prng_init(&prng, 11);
    uint32_t corrupt_count = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct fixture fixture;
        fixture_make(&fixture, seed);
        uint8_t *copy = memory_allocate(fixture.raw.size);
        memcpy(copy, fixture.raw.data, fixture.raw.size);
        for (uint32_t i = 0; i < 1 + seed % 4; i++) {
            copy[prng_below(&prng, fixture.raw.size)] ^= (uint8_t)(1 + prng_below(&prng, 255));
        }
        size_t size = seed % 3 == 0 ? prng_below(&prng, fixture.raw.size) : fixture.raw.size;
        struct slice raw = slice_make(copy, size);
        struct slice cell;
        struct block_cursor cursor = {0};
        corrupt_count +=
            block_get(raw, slice_text("abc1000"), hash_of("abc1000"), &cell) == STATUS_CORRUPT;
        struct buffer sealed = {0};
        block_seal(&sealed, raw, true, place);
        enum status got = block_get_sealed(&sealed, place, slice_text(fixture.keys[0]),
                                           hash_of(fixture.keys[0]), &cell);
        cr_assert(got == STATUS_OK || got == STATUS_NOT_FOUND || got == STATUS_CORRUPT);
        buffer_deinit(&sealed);
        if (block_cursor_reset(&cursor, raw) == STATUS_OK) {
            enum status status = block_cursor_first(&cursor);
            for (uint32_t i = 0; status == STATUS_OK && i < 3 * ENTRY_COUNT_MAX; i++) {
                status = block_cursor_next(&cursor);
            }
            status = block_cursor_last(&cursor);
            for (uint32_t i = 0; status == STATUS_OK && i < 3 * ENTRY_COUNT_MAX; i++) {
                status = block_cursor_previous(&cursor);
            }
            status = block_cursor_seek(&cursor, slice_text("abc"));
            status = block_cursor_seek_before(&cursor, slice_text("b"));
            cr_assert(status == STATUS_OK || status == STATUS_NOT_FOUND ||
                      status == STATUS_CORRUPT);
        }
        block_cursor_deinit(&cursor);
        memory_free(copy);
        fixture_drop(&fixture);
    }
    cr_assert(corrupt_count > 50, "%u", corrupt_count);
}
