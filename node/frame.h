/*
 * node/frame.h -- the frame every message between peers travels in.
 *
 * Fixed little-endian header, checksum over header and payload, and in every frame the sender's
 * topology stamp, so that two nodes that disagree notice at the first word they exchange.
 * Layout: docs/formats/rpc.md.
 */
#ifndef NODE_FRAME_H
#define NODE_FRAME_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"
#include "ring/topology.h"

#define FRAME_VERSION 1
#define FRAME_HEADER_SIZE 72
#define FRAME_PAYLOAD_SIZE_MAX (80u << 20)
#define FRAME_NO_RANGE UINT32_MAX

enum frame_type {
    FRAME_HELLO = 1,    /* First on every connection, both ways. */
    FRAME_PING = 2,     /* Heartbeat and its answer. */
    FRAME_RAFT = 3,     /* One way: no answer. */
    FRAME_TOPOLOGY = 4, /* "This is the topology I have: what do I lack?" */
    FRAME_READ = 5,
    FRAME_WRITE = 6,
    FRAME_SCAN = 7,
    FRAME_RANGE_STATE = 8,  /* "How far are you with these ranges?" */
    FRAME_STREAM_CHUNK = 9, /* "Make me a file of this stretch." */
    FRAME_STREAM_BYTES = 10,
    FRAME_PROPOSE = 11, /* A topology command, to whoever leads the Raft group. */
    FRAME_PROBE = 12,   /* "Do you hear that node?" */
    FRAME_LOAD = 13,    /* "What do your ranges cost you?" */
    FRAME_PREPARE = 14, /* Of a strong key: "Promise me this ballot, what have you accepted?" */
    FRAME_ACCEPT = 15,  /* Of a strong key: "Store this cell." */
};

#define FRAME_FLAG_REPLY 1u

struct frame {
    uint8_t type;
    uint8_t flags;
    uint32_t sender;
    uint64_t request_id;
    uint32_t deadline_ms; /* Of a request: time left when it was sent; 0 none. */
    uint32_t status;      /* Of a reply: enum status. */
    uint32_t range;       /* Or FRAME_NO_RANGE. */
    uint64_t time;        /* The sender's HLC. */
    struct topology_stamp stamp;
    struct slice payload;
};

/* Appends the whole frame. */
void frame_encode(struct buffer *to, const struct frame *frame);
/* Takes one whole message; the payload borrows from it.
 * STATUS_CORRUPT      too short, sizes that disagree, or a wrong checksum.
 * STATUS_UNSUPPORTED  another frame version. */
MUST_USE enum status frame_decode(struct slice message, struct frame *frame);

#endif
