/*
 * tests/fuzz/fuzz_group_log.c -- log files of a raft server, their records and snapshot files.
 *
 * The bytes are tried as they are, as records, and once more with checksums that fit. A state that
 * is accepted must come back the same from the records it is written as.
 */
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "raft/group_log.h"
#include "tests/fuzz/fuzz.h"

#define FILE_MAGIC UINT64_C(0x31474f4c564b4752)
#define FRAME_MAGIC UINT32_C(0x464c4752)
#define FRAME_HEADER_SIZE 32
#define SNAPSHOT_MAGIC UINT64_C(0x3150414e534b5652)
#define SNAPSHOT_HEADER_SIZE 72

static void check_state(const struct group_state *state)
{
    if (state->term == 0) {
        return; /* No file of ours is without a term; its base could not be replayed. */
    }
    struct group_state again;
    struct buffer first = {0};
    struct buffer second = {0};
    group_state_init(&again);
    group_record_state(&first, state);
    enum status status = group_record_replay(&again, buffer_slice(&first));
    ASSERT(status == STATUS_OK);
    group_record_state(&second, &again);
    ASSERT(slice_equal(buffer_slice(&first), buffer_slice(&second)));
    group_state_deinit(&again);
    buffer_deinit(&first);
    buffer_deinit(&second);
}

static void try_file(struct slice bytes)
{
    struct group_state state;
    struct group_log_image image;
    group_state_init(&state);
    if (group_log_decode(bytes, &state, &image) == STATUS_OK) {
        ASSERT(image.end <= bytes.size);
        check_state(&state);
    }
    group_state_deinit(&state);
}

static void seal_file(uint8_t *bytes, size_t size)
{
    codec_store_u64(bytes, FILE_MAGIC);
    codec_store_u32(bytes + 8, GROUP_LOG_VERSION);
    memset(bytes + 48, 0, ENV_SECTOR_SIZE - 48);
    codec_store_u64(bytes + 40, checksum64(slice_make(bytes, 40), FILE_MAGIC));
    uint64_t nonce = codec_load_u64(bytes + 24);
    size_t offset = ENV_SECTOR_SIZE;
    while (offset + ENV_SECTOR_SIZE <= size) {
        uint8_t *at = bytes + offset;
        size_t whole = FRAME_HEADER_SIZE + (size_t)codec_load_u32(at + 4);
        whole = (whole + ENV_SECTOR_SIZE - 1) / ENV_SECTOR_SIZE * ENV_SECTOR_SIZE;
        if (codec_load_u32(at) != FRAME_MAGIC || whole > size - offset) {
            return;
        }
        struct slice pieces[2] = {
            slice_make(at, 16),
            slice_make(at + FRAME_HEADER_SIZE, whole - FRAME_HEADER_SIZE),
        };
        codec_store_u64(at + 16, checksum64_pieces(pieces, 2, nonce + offset));
        offset += whole;
    }
}

static void try_snapshot(struct slice bytes)
{
    struct group_snapshot snapshot;
    if (group_snapshot_decode(bytes, &snapshot) == STATUS_OK) {
        struct buffer again = {0};
        enum status status = group_snapshot_encode(&again, &snapshot);
        ASSERT(status == STATUS_OK);
        ASSERT(slice_equal(buffer_slice(&again), bytes));
        buffer_deinit(&again);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_make(data, size);
    try_file(bytes);
    try_snapshot(bytes);
    struct group_state state;
    group_state_init(&state);
    if (group_record_replay(&state, bytes) == STATUS_OK) {
        check_state(&state);
    }
    group_state_deinit(&state);
    uint8_t *sealed = malloc(size == 0 ? 1 : size);
    ASSERT(sealed != NULL);
    memcpy(sealed, size == 0 ? (const uint8_t *)"" : data, size);
    if (size >= ENV_SECTOR_SIZE) {
        seal_file(sealed, size);
        try_file(slice_make(sealed, size));
    }
    if (size >= SNAPSHOT_HEADER_SIZE) {
        memcpy(sealed, data, size);
        codec_store_u64(sealed, SNAPSHOT_MAGIC);
        struct slice pieces[2] = {
            slice_make(sealed, SNAPSHOT_HEADER_SIZE - 8),
            slice_make(sealed + SNAPSHOT_HEADER_SIZE, size - SNAPSHOT_HEADER_SIZE),
        };
        codec_store_u64(sealed + SNAPSHOT_HEADER_SIZE - 8,
                        checksum64_pieces(pieces, 2, SNAPSHOT_MAGIC));
        try_snapshot(slice_make(sealed, size));
    }
    free(sealed);
    return 0;
}
