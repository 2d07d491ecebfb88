/* node/message_stream.c -- see docs/formats/rpc.md. */
#include "node/message_stream.h"

#include "base/codec.h"
#include "base/contract.h"
#include "base/token.h"
#include "lsm/lsm.h"

#define RANGE_STATE_SIZE 37u

static enum status decoded(const struct codec_reader *reader, bool valid)
{
    return codec_reader_done(reader) && valid ? STATUS_OK : STATUS_CORRUPT;
}

void message_ranges_encode(struct buffer *to, const uint32_t *ranges, uint32_t count)
{
    ASSERT(count > 0);
    ASSERT(count <= MESSAGE_RANGE_COUNT_MAX);
    codec_put_u32(to, count);
    for (uint32_t index = 0; index < count; index++) {
        codec_put_u32(to, ranges[index]);
    }
}

enum status message_ranges_decode(struct slice payload, struct message_ranges *ranges)
{
    struct codec_reader reader = codec_reader_make(payload);
    bool valid = true;
    ranges->count = codec_get_u32(&reader);
    if (ranges->count == 0 || ranges->count > MESSAGE_RANGE_COUNT_MAX) {
        return STATUS_CORRUPT;
    }
    for (uint32_t index = 0; index < ranges->count; index++) {
        ranges->ranges[index] = codec_get_u32(&reader);
        valid = valid && ranges->ranges[index] < RING_RANGE_COUNT_MAX;
    }
    return decoded(&reader, valid);
}

void message_range_state_encode(struct buffer *to, const struct message_range_state *state)
{
    codec_put_u32(to, state->range);
    codec_put_u64(to, state->fence);
    codec_put_u64(to, state->entered);
    codec_put_u64(to, state->streamed);
    codec_put_u64(to, state->bytes_done);
    codec_put_u8(to, state->problem);
}

enum status message_range_states_decode(struct slice payload, struct message_range_states *states)
{
    struct codec_reader reader = codec_reader_make(payload);
    size_t count = payload.size / RANGE_STATE_SIZE;
    bool valid = true;
    if (count == 0 || count > MESSAGE_RANGE_COUNT_MAX) {
        return STATUS_CORRUPT;
    }
    states->count = (uint32_t)count;
    for (uint32_t index = 0; index < states->count; index++) {
        struct message_range_state *state = &states->states[index];
        state->range = codec_get_u32(&reader);
        state->fence = codec_get_u64(&reader);
        state->entered = codec_get_u64(&reader);
        state->streamed = codec_get_u64(&reader);
        state->bytes_done = codec_get_u64(&reader);
        state->problem = codec_get_u8(&reader);
        valid = valid && state->range < RING_RANGE_COUNT_MAX;
    }
    return decoded(&reader, valid);
}

/* Empty, or a key that the engine takes. */
static bool next_is_valid(struct slice next)
{
    uint16_t keyspace;
    uint64_t token;
    struct slice key;
    return next.size == 0 || (next.size <= LSM_KEY_SIZE_MAX &&
                              token_engine_split(next, &keyspace, &token, &key) == STATUS_OK);
}

void message_chunk_encode(struct buffer *to, const struct message_chunk *chunk)
{
    codec_put_u32(to, chunk->range);
    codec_put_u64(to, chunk->session);
    codec_put_u32(to, chunk->chunk_size);
    codec_put_bytes(to, chunk->next);
}

enum status message_chunk_decode(struct slice payload, struct message_chunk *chunk)
{
    struct codec_reader reader = codec_reader_make(payload);
    chunk->range = codec_get_u32(&reader);
    chunk->session = codec_get_u64(&reader);
    chunk->chunk_size = codec_get_u32(&reader);
    chunk->next = codec_get_bytes(&reader);
    return decoded(&reader, chunk->range < RING_RANGE_COUNT_MAX && chunk->session > 0 &&
                                chunk->chunk_size > 0 && next_is_valid(chunk->next));
}

static bool reply_is_valid(const struct message_chunk_reply *reply)
{
    bool nothing =
        reply->size == 0 && reply->checksum == 0 && reply->entry_count == 0 && reply->last;
    bool something =
        reply->size > 0 && reply->size <= MESSAGE_CHUNK_SIZE_MAX && reply->entry_count > 0;
    return (reply->id == 0 ? nothing : something) && reply->last == (reply->next.size == 0);
}

void message_chunk_reply_encode(struct buffer *to, const struct message_chunk_reply *reply)
{
    ASSERT(reply_is_valid(reply));
    codec_put_u64(to, reply->id);
    codec_put_u64(to, reply->size);
    codec_put_u64(to, reply->checksum);
    codec_put_u64(to, reply->entry_count);
    codec_put_u8(to, reply->last ? 1 : 0);
    codec_put_bytes(to, reply->next);
}

enum status message_chunk_reply_decode(struct slice payload, struct message_chunk_reply *reply)
{
    struct codec_reader reader = codec_reader_make(payload);
    reply->id = codec_get_u64(&reader);
    reply->size = codec_get_u64(&reader);
    reply->checksum = codec_get_u64(&reader);
    reply->entry_count = codec_get_u64(&reader);
    uint8_t last = codec_get_u8(&reader);
    reply->last = last == 1;
    reply->next = codec_get_bytes(&reader);
    return decoded(&reader, last <= 1 && reply_is_valid(reply) && next_is_valid(reply->next));
}

void message_piece_encode(struct buffer *to, const struct message_piece *piece)
{
    codec_put_u64(to, piece->chunk_id);
    codec_put_u64(to, piece->session);
    codec_put_u64(to, piece->offset);
    codec_put_u32(to, piece->length);
}

enum status message_piece_decode(struct slice payload, struct message_piece *piece)
{
    struct codec_reader reader = codec_reader_make(payload);
    piece->chunk_id = codec_get_u64(&reader);
    piece->session = codec_get_u64(&reader);
    piece->offset = codec_get_u64(&reader);
    piece->length = codec_get_u32(&reader);
    return decoded(&reader, piece->chunk_id > 0 && piece->length > 0 &&
                                piece->length <= MESSAGE_PIECE_SIZE_MAX &&
                                piece->offset < MESSAGE_CHUNK_SIZE_MAX);
}
