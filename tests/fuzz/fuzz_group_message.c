/*
 * tests/fuzz/fuzz_group_message.c -- raft messages, configurations and command envelopes.
 *
 * The bytes are tried as they are, and once more with a header and checksum that fit, as a forger
 * would send them. What is accepted must encode to the same bytes again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "raft/group_message.h"
#include "tests/fuzz/fuzz.h"

#define MAGIC UINT32_C(0x534d4752)
#define HEADER_SIZE 32
#define CHECKSUM_OFFSET 24

static const struct group_message_ends ends = {.from = 3, .to = 7};

static void seal(uint8_t *bytes, size_t size)
{
    codec_store_u32(bytes, MAGIC);
    bytes[4] = GROUP_MESSAGE_VERSION;
    codec_store_u32(bytes + 8, ends.from);
    codec_store_u32(bytes + 12, ends.to);
    struct slice pieces[2] = {
        slice_make(bytes, CHECKSUM_OFFSET),
        slice_make(bytes + HEADER_SIZE, size - HEADER_SIZE),
    };
    codec_store_u64(bytes + CHECKSUM_OFFSET, checksum64_pieces(pieces, 2, MAGIC));
}

static void try_message(struct slice bytes)
{
    struct raft_message message;
    if (group_message_decode(bytes, ends, &message) != STATUS_OK) {
        return;
    }
    struct buffer again = {0};
    message.server_id = ends.to;
    enum status status = group_message_encode(&again, ends.from, &message);
    ASSERT(status == STATUS_OK);
    if (group_message_is_newcomer(bytes)) {
        group_message_mark_newcomer(&again);
    }
    /* In a snapshot's configuration the decoder lets any padding pass, the encoder writes zeros. */
    if (message.type != RAFT_IO_INSTALL_SNAPSHOT && bytes.size < GROUP_MESSAGE_BATCH_SIZE_MAX) {
        bool has_barrier = false;
        for (unsigned i = 0;
             message.type == RAFT_IO_APPEND_ENTRIES && i < message.append_entries.n_entries; i++) {
            has_barrier = has_barrier || message.append_entries.entries[i].type == RAFT_BARRIER;
        }
        ASSERT(again.size == bytes.size);
        ASSERT(has_barrier || slice_equal(buffer_slice(&again), bytes)); /* Zeroed in those. */
    }
    buffer_deinit(&again);
    group_message_free(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_make(data, size);
    try_message(bytes);
    if (size >= HEADER_SIZE) {
        uint8_t *sealed = malloc(size);
        ASSERT(sealed != NULL);
        memcpy(sealed, data, size);
        seal(sealed, size);
        try_message(slice_make(sealed, size));
        free(sealed);
    }
    struct raft_configuration configuration;
    if (group_configuration_decode(bytes, &configuration) == STATUS_OK) {
        ASSERT(configuration.n > 0);
        ASSERT(configuration.n <= GROUP_SERVER_COUNT_MAX);
        raft_configuration_close(&configuration);
    }
    struct group_command command;
    if (group_command_decode(bytes, &command) == STATUS_OK) {
        ASSERT(group_command_size(command.payload.size) == size);
    }
    return 0;
}
