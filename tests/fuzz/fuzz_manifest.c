/*
 * tests/fuzz/fuzz_manifest.c -- whatever bytes come as a manifest, or as one edit of it.
 *
 * The bytes are taken as a whole file, and as the body of an edit that is framed and sealed here,
 * since no mutation would get past the checksum.
 * Properties: only the statuses of the contract; a state that was read is written and read again
 * to the same bytes.
 */
#include "base/contract.h"
#include "lsm/manifest.h"
#include "tests/fuzz/fuzz.h"

#define FUZZ_NONCE 7

static void state_check(const struct manifest_state *state)
{
    struct buffer edit = {0};
    struct buffer again = {0};
    struct buffer file = {0};
    struct manifest_state copy = {0};
    uint64_t offset = 0;
    for (uint32_t i = 0; i < state->table_count; i++) {
        const struct table_properties *properties = &state->tables[i].properties;
        ASSERT(state->tables[i].tier <= MANIFEST_TIER_MAX);
        ASSERT(slice_compare(properties->key_min, properties->key_max) <= 0);
    }
    manifest_state_put(&edit, state);
    manifest_encode(&file, FUZZ_NONCE, buffer_slice(&edit));
    enum status status = manifest_decode(buffer_slice(&file), &copy, &offset);
    ASSERT(status == STATUS_OK);
    manifest_state_put(&again, &copy);
    ASSERT(slice_equal(buffer_slice(&edit), buffer_slice(&again)));
    manifest_state_deinit(&copy);
    buffer_deinit(&edit);
    buffer_deinit(&again);
    buffer_deinit(&file);
}

static void file_check(struct slice bytes)
{
    struct manifest_state state = {0};
    uint64_t offset = 0;
    enum status status = manifest_decode(bytes, &state, &offset);
    if (status == STATUS_OK) {
        state_check(&state);
    } else {
        ASSERT(status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED);
    }
    manifest_state_deinit(&state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_make(data, size);
    struct buffer file = {0};
    file_check(bytes);
    manifest_encode(&file, FUZZ_NONCE, bytes);
    file_check(buffer_slice(&file));
    buffer_deinit(&file);
    return 0;
}
