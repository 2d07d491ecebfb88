/* node/frame.c -- encoder and decoder of the frame header; see docs/formats/rpc.md. */
#include "node/frame.h"

#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"

/*
 * OFFSET  SIZE  FIELD
 *      0     4  magic "RKVF"
 *      4     1  version
 *      5     1  type
 *      6     1  flags
 *      7     1  zero
 *      8     4  sender
 *     12     4  deadline_ms or status
 *     16     8  request id
 *     24     8  HLC time
 *     32     4  generation number
 *     36     4  range
 *     40     8  generation id
 *     48     8  epoch
 *     56     8  epoch hash
 *     64     8  checksum of bytes 0-63 and the payload
 *     72        payload
 */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_TYPE = 5,
    AT_FLAGS = 6,
    AT_ZERO = 7,
    AT_SENDER = 8,
    AT_DEADLINE = 12,
    AT_REQUEST = 16,
    AT_TIME = 24,
    AT_GENERATION = 32,
    AT_RANGE = 36,
    AT_GENERATION_ID = 40,
    AT_EPOCH = 48,
    AT_HASH = 56,
    AT_CHECKSUM = 64,
};
STATIC_ASSERT(AT_CHECKSUM + 8 == FRAME_HEADER_SIZE, "the checksum ends the header");

static const uint32_t frame_magic = 0x46564b52; /* "RKVF" */

static uint64_t frame_checksum(const uint8_t *header, struct slice payload)
{
    const struct slice pieces[] = {slice_make(header, AT_CHECKSUM), payload};
    return checksum64_pieces(pieces, ARRAY_COUNT(pieces), frame_magic);
}

void frame_encode(struct buffer *to, const struct frame *frame)
{
    ASSERT(frame->payload.size <= FRAME_PAYLOAD_SIZE_MAX);
    uint8_t *at = buffer_reserve(to, FRAME_HEADER_SIZE + frame->payload.size);
    if (at == NULL) {
        return;
    }
    bool reply = (frame->flags & FRAME_FLAG_REPLY) != 0;
    codec_store_u32(at + AT_MAGIC, frame_magic);
    at[AT_VERSION] = FRAME_VERSION;
    at[AT_TYPE] = frame->type;
    at[AT_FLAGS] = frame->flags;
    at[AT_ZERO] = 0;
    codec_store_u32(at + AT_SENDER, frame->sender);
    codec_store_u32(at + AT_DEADLINE, reply ? frame->status : frame->deadline_ms);
    codec_store_u64(at + AT_REQUEST, frame->request_id);
    codec_store_u64(at + AT_TIME, frame->time);
    codec_store_u32(at + AT_GENERATION, frame->stamp.generation.number);
    codec_store_u32(at + AT_RANGE, frame->range);
    codec_store_u64(at + AT_GENERATION_ID, frame->stamp.generation.id);
    codec_store_u64(at + AT_EPOCH, frame->stamp.epoch);
    codec_store_u64(at + AT_HASH, frame->stamp.hash);
    codec_store_u64(at + AT_CHECKSUM, frame_checksum(at, frame->payload));
    if (frame->payload.size > 0) {
        memcpy(at + FRAME_HEADER_SIZE, frame->payload.data, frame->payload.size);
    }
    buffer_commit(to, FRAME_HEADER_SIZE + frame->payload.size);
}

enum status frame_decode(struct slice message, struct frame *frame)
{
    const uint8_t *at = message.data;
    if (message.size < FRAME_HEADER_SIZE || codec_load_u32(at + AT_MAGIC) != frame_magic) {
        return STATUS_CORRUPT;
    }
    if (at[AT_VERSION] != FRAME_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    struct slice payload = slice_make(at + FRAME_HEADER_SIZE, message.size - FRAME_HEADER_SIZE);
    if (payload.size > FRAME_PAYLOAD_SIZE_MAX || at[AT_ZERO] != 0 ||
        (at[AT_FLAGS] & ~FRAME_FLAG_REPLY) != 0 ||
        codec_load_u64(at + AT_CHECKSUM) != frame_checksum(at, payload)) {
        return STATUS_CORRUPT;
    }
    bool reply = (at[AT_FLAGS] & FRAME_FLAG_REPLY) != 0;
    uint32_t word = codec_load_u32(at + AT_DEADLINE);
    *frame = (struct frame){
        .type = at[AT_TYPE],
        .flags = at[AT_FLAGS],
        .sender = codec_load_u32(at + AT_SENDER),
        .request_id = codec_load_u64(at + AT_REQUEST),
        .deadline_ms = reply ? 0 : word,
        .status = reply ? word : 0,
        .range = codec_load_u32(at + AT_RANGE),
        .time = codec_load_u64(at + AT_TIME),
        .stamp = {.generation = {.number = codec_load_u32(at + AT_GENERATION),
                                 .id = codec_load_u64(at + AT_GENERATION_ID)},
                  .epoch = codec_load_u64(at + AT_EPOCH),
                  .hash = codec_load_u64(at + AT_HASH)},
        .payload = payload,
    };
    return STATUS_OK;
}
