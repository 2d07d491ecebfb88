/*
 * tests/fuzz/fuzz_frame.c -- whatever bytes come as a frame: refused, or exactly what is encoded.
 *
 * The bytes are taken as they are, and again with the checksum made right, or no mutation would get
 * past it.
 * Properties: a frame that was decoded borrows its payload from the input's end, and encodes to the
 * same bytes again.
 */
#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "node/frame.h"
#include "tests/fuzz/fuzz.h"

/* As docs/formats/rpc.md has them; frame.c keeps its own. */
#define CHECKSUM_OFFSET 64
#define CHECKSUM_SEED UINT64_C(0x46564b52)

static void bytes_check(struct slice bytes)
{
    struct frame frame;
    enum status status = frame_decode(bytes, &frame);
    if (status != STATUS_OK) {
        ASSERT(status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED);
        return;
    }
    ASSERT(frame.payload.size == bytes.size - FRAME_HEADER_SIZE);
    ASSERT(frame.payload.size == 0 || frame.payload.data == bytes.data + FRAME_HEADER_SIZE);
    bool reply = (frame.flags & FRAME_FLAG_REPLY) != 0;
    ASSERT(reply ? frame.deadline_ms == 0 : frame.status == 0);
    struct buffer again = {0};
    frame_encode(&again, &frame);
    ASSERT(slice_equal(buffer_slice(&again), bytes));
    buffer_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes_check(slice_make(data, size));
    if (size >= FRAME_HEADER_SIZE) {
        struct buffer sealed = {0};
        buffer_append(&sealed, data, size);
        enum status status = buffer_status(&sealed);
        ASSERT(status == STATUS_OK);
        const struct slice pieces[] = {
            slice_make(data, CHECKSUM_OFFSET),
            slice_make(data + FRAME_HEADER_SIZE, size - FRAME_HEADER_SIZE)};
        codec_store_u64(sealed.data + CHECKSUM_OFFSET,
                        checksum64_pieces(pieces, ARRAY_COUNT(pieces), CHECKSUM_SEED));
        bytes_check(buffer_slice(&sealed));
        buffer_deinit(&sealed);
    }
    return 0;
}
