/*
 * node/message_stream.h -- payloads of the frames that move ranges: how far a node is with its
 * ranges, chunks of a stretch, and their bytes.
 *
 * As message.h: decoders check everything and borrow from the payload; STATUS_CORRUPT otherwise.
 */
#ifndef NODE_MESSAGE_STREAM_H
#define NODE_MESSAGE_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"
#include "ring/ring.h"

#define MESSAGE_RANGE_COUNT_MAX 1024u       /* Of one RANGE_STATE. */
#define MESSAGE_PIECE_SIZE_MAX (256u << 10) /* Of one STREAM_BYTES. */
#define MESSAGE_CHUNK_SIZE_MAX (128u << 20) /* Of a chunk: one cell may be so large. */

/* RANGE_STATE asks for so many ranges, */
struct message_ranges {
    uint32_t count; /* 1 to MESSAGE_RANGE_COUNT_MAX. */
    uint32_t ranges[MESSAGE_RANGE_COUNT_MAX];
};
void message_ranges_encode(struct buffer *to, const uint32_t *ranges, uint32_t count);
MUST_USE enum status message_ranges_decode(struct slice payload, struct message_ranges *ranges);

/* and is answered for each of them, in the order asked. */
struct message_range_state {
    uint32_t range;
    uint64_t fence;      /* Epoch of the fence that is durable, in the generation of the frame; 0:
                            of none, or of an older one. */
    uint64_t entered;    /* Session entered, durably; 0 none. */
    uint64_t streamed;   /* Session for which all is merged, durably; 0 none. */
    uint64_t bytes_done; /* Of the stream under way. */
    uint8_t problem;     /* What its last try met, enum status; STATUS_OK: nothing. */
};
void message_range_state_encode(struct buffer *to, const struct message_range_state *state);
struct message_range_states {
    uint32_t count;
    struct message_range_state states[MESSAGE_RANGE_COUNT_MAX];
};
MUST_USE enum status message_range_states_decode(struct slice payload,
                                                 struct message_range_states *states);

/* STREAM_CHUNK: "make me a file of the stretch from here on." */
struct message_chunk {
    uint32_t range;
    uint64_t session;
    uint32_t chunk_size; /* A chunk ends at about this. */
    struct slice next;   /* Engine key to begin with; empty: at the start of the range. */
};
void message_chunk_encode(struct buffer *to, const struct message_chunk *chunk);
MUST_USE enum status message_chunk_decode(struct slice payload, struct message_chunk *chunk);

struct message_chunk_reply {
    uint64_t
        id; /* 0: there is nothing more; then size, checksum and count are 0, and it is last. */
    uint64_t size;
    uint64_t checksum;
    uint64_t entry_count;
    bool last;         /* No chunk follows, */
    struct slice next; /* else this is where it begins. */
};
void message_chunk_reply_encode(struct buffer *to, const struct message_chunk_reply *reply);
MUST_USE enum status message_chunk_reply_decode(struct slice payload,
                                                struct message_chunk_reply *reply);

/* STREAM_BYTES: answered with exactly these bytes of the chunk's file. */
struct message_piece {
    uint64_t chunk_id;
    uint64_t session;
    uint64_t offset;
    uint32_t length; /* 1 to MESSAGE_PIECE_SIZE_MAX. */
};
void message_piece_encode(struct buffer *to, const struct message_piece *piece);
MUST_USE enum status message_piece_decode(struct slice payload, struct message_piece *piece);

#endif
