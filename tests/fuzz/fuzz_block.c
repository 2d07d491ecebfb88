/*
 * tests/fuzz/fuzz_block.c -- whatever bytes come as a block: refused, or walked within bounds.
 *
 * The bytes are taken four ways: as a raw block; as a sealed one; as a sealed one whose checksum is
 * made right first, or no mutation would get past it; and as content to be sealed.
 * Properties: every entry shown lies within the block and has a key; walks end; what was sealed
 * unseals to the same bytes, and a get answers the same sealed or not.
 */
#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "lsm/block.h"
#include "lsm/block_cursor.h"
#include "tests/fuzz/fuzz.h"

static const struct block_place place = {.nonce = 7, .offset = 512};

static void entry_check(const struct block_cursor *cursor, struct slice raw)
{
    ASSERT(cursor->key.size >= 1);
    ASSERT(cursor->key.size <= LSM_KEY_SIZE_MAX);
    ASSERT(cursor->cell.data >= raw.data);
    ASSERT(cursor->cell.data + cursor->cell.size <= raw.data + raw.size);
}

/* An entry takes at least 3 bytes, so a walk that is longer goes in circles. */
static void walk_check(struct block_cursor *cursor, struct slice raw, bool reverse)
{
    size_t left = raw.size / 3 + 1;
    enum status status = reverse ? block_cursor_last(cursor) : block_cursor_first(cursor);
    while (status == STATUS_OK) {
        ASSERT(left > 0);
        left--;
        entry_check(cursor, raw);
        status = reverse ? block_cursor_previous(cursor) : block_cursor_next(cursor);
    }
    ASSERT(status == STATUS_NOT_FOUND || status == STATUS_CORRUPT);
}

static void raw_check(struct slice raw, struct slice key)
{
    struct slice cell;
    enum status status = block_get(raw, key, checksum64(key, 0), &cell);
    ASSERT(status == STATUS_OK || status == STATUS_NOT_FOUND || status == STATUS_CORRUPT);
    struct block_cursor cursor = {0};
    if (block_cursor_reset(&cursor, raw) == STATUS_OK) {
        walk_check(&cursor, raw, false);
        walk_check(&cursor, raw, true);
        if (block_cursor_seek(&cursor, key) == STATUS_OK) {
            entry_check(&cursor, raw);
            ASSERT(slice_compare(cursor.key, key) >= 0);
        }
        if (block_cursor_seek_before(&cursor, key) == STATUS_OK) {
            entry_check(&cursor, raw);
        }
    }
    block_cursor_deinit(&cursor);
}

static void sealed_check(const uint8_t *data, size_t size, bool make_right)
{
    struct buffer sealed = {0};
    buffer_append(&sealed, data, size);
    if (make_right && size >= BLOCK_TRAILER_SIZE) {
        uint64_t checksum = checksum64(slice_make(data, size - 8), place.nonce + place.offset);
        codec_store_u64(sealed.data + size - 8, checksum);
    }
    struct slice raw;
    if (block_unseal(&sealed, place, &raw) == STATUS_OK) {
        raw_check(raw, slice_text("key0012"));
    }
    buffer_deinit(&sealed);
    sealed = (struct buffer){0};
    buffer_append(&sealed, data, size);
    if (make_right && size >= BLOCK_TRAILER_SIZE) {
        codec_store_u64(sealed.data + size - 8,
                        checksum64(slice_make(data, size - 8), place.nonce + place.offset));
    }
    struct slice key = slice_text("key0012");
    struct slice cell;
    enum status status = block_get_sealed(&sealed, place, key, checksum64(key, 0), &cell);
    ASSERT(status == STATUS_OK || status == STATUS_NOT_FOUND || status == STATUS_CORRUPT);
    if (status == STATUS_OK) {
        ASSERT(cell.data >= sealed.data);
        ASSERT(cell.data + cell.size <= sealed.data + sealed.capacity);
    }
    buffer_deinit(&sealed);
}

static void gets_agree(struct slice raw, struct slice key, const struct buffer *sealed)
{
    struct buffer copy = {0};
    buffer_append_slice(&copy, buffer_slice(sealed));
    struct slice cell;
    struct slice cell_sealed;
    uint64_t hash = checksum64(key, 0);
    enum status status = block_get(raw, key, hash, &cell);
    ASSERT(block_get_sealed(&copy, place, key, hash, &cell_sealed) == status);
    ASSERT(status != STATUS_OK || slice_equal(cell, cell_sealed));
    buffer_deinit(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_make(data, size);
    raw_check(input, slice_text("key0012"));
    raw_check(input, slice_make(data, size < 8 ? size : 8));
    sealed_check(data, size, false);
    sealed_check(data, size, true);
    for (int compress = 0; compress <= 1; compress++) {
        struct buffer sealed = {0};
        block_seal(&sealed, input, compress == 1, place);
        ASSERT(buffer_status(&sealed) == STATUS_OK);
        gets_agree(input, slice_text("key0012"), &sealed);
        gets_agree(input, slice_make(data, size < 8 ? size : 8), &sealed);
        struct slice raw;
        enum status status = block_unseal(&sealed, place, &raw);
        ASSERT(status == STATUS_OK);
        ASSERT(slice_equal(raw, input));
        buffer_deinit(&sealed);
    }
    return 0;
}
