/*
 * node/message.h -- the payloads of frames, one encoder and decoder each.
 *
 * Layouts: docs/formats/rpc.md. Decoders check everything (sizes, counts, enums, zero bytes, the
 * end) and borrow from the payload; STATUS_CORRUPT otherwise.
 */
#ifndef NODE_MESSAGE_H
#define NODE_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/buffer.h"
#include "base/cell.h"
#include "base/slice.h"
#include "base/status.h"
#include "ring/ring.h"

#define MESSAGE_FEATURE_JOIN 1u /* Not a member yet, and asks to become one. */
#define MESSAGE_REASON_SIZE_MAX 512

/* Who is at the other end. The same layout in the hello and in its answer. */
struct message_hello {
    uint32_t id;
    uint64_t disk_id;          /* Drawn when the data folder was made. */
    uint64_t cluster_id;       /* 0 before bootstrap. */
    uint64_t bootstrap_digest; /* Of the bootstrap list, replicas and ranges; 0 without one. */
    uint64_t connection;       /* The sender's number of this connection; grows for ever. */
    uint32_t features;         /* MESSAGE_FEATURE_ bits; unknown ones are ignored. */
    uint32_t weight;
    char zone[RING_ZONE_SIZE_MAX];
    char peer_address[ADDRESS_TEXT_SIZE_MAX];
    char client_address[ADDRESS_TEXT_SIZE_MAX];
    char admin_address[ADDRESS_TEXT_SIZE_MAX];
};
void message_hello_encode(struct buffer *to, const struct message_hello *hello);
MUST_USE enum status message_hello_decode(struct slice payload, struct message_hello *hello);

struct message_ping {
    uint64_t key_estimate;
    uint64_t stored_size;
    uint64_t space_free;   /* 0: not known yet. */
    uint64_t request_rate; /* Reads and writes a second that its replica serves. */
};
void message_ping_encode(struct buffer *to, const struct message_ping *ping);
MUST_USE enum status message_ping_decode(struct slice payload, struct message_ping *ping);

/* Whether the answerer hears the node asked about: by itself, not by what others told it. */
struct message_probe_reply {
    bool hears;          /* It is up, as far as the answerer can tell. */
    uint64_t silence_ms; /* Since its last word; UINT64_MAX: never heard. */
};
void message_probe_encode(struct buffer *to, uint32_t id);
MUST_USE enum status message_probe_decode(struct slice payload, uint32_t *id);
void message_probe_reply_encode(struct buffer *to, const struct message_probe_reply *reply);
MUST_USE enum status message_probe_reply_decode(struct slice payload,
                                                struct message_probe_reply *reply);

/* The sequence number within its connection, then the Raft message. */
void message_raft_encode(struct buffer *to, uint64_t sequence, struct slice raft);
MUST_USE enum status message_raft_decode(struct slice payload, uint64_t *sequence,
                                         struct slice *raft);

/* The request is the asker's stamp, as topology_stamp_put() writes it; all zero for the whole. */
struct message_topology_reply {
    bool whole;         /* `bytes` is a snapshot; else commands, each as codec_put_bytes() does. */
    struct slice bytes; /* Not looked into. */
};
void message_topology_reply_encode(struct buffer *to, const struct message_topology_reply *reply);
MUST_USE enum status message_topology_reply_decode(struct slice payload,
                                                   struct message_topology_reply *reply);

/* How a proposal went; the status is the frame's. */
struct message_propose_reply {
    uint32_t leader_id;  /* With STATUS_NOT_LEADER: who leads, or 0. */
    uint64_t epoch;      /* Otherwise: of the topology after it. */
    struct slice reason; /* Why it was refused; printable, may be empty. */
};
void message_propose_reply_encode(struct buffer *to, const struct message_propose_reply *reply);
MUST_USE enum status message_propose_reply_decode(struct slice payload,
                                                  struct message_propose_reply *reply);

struct message_read {
    bool digest; /* Only version, stamp, kind and expiry are wanted. */
    struct slice engine_key;
};
void message_read_encode(struct buffer *to, const struct message_read *read);
MUST_USE enum status message_read_decode(struct slice payload, struct message_read *read);

/* A cell, perhaps without its value. */
struct message_read_reply {
    bool found;
    bool digest;
    struct cell cell;
};
void message_read_reply_encode(struct buffer *to, const struct message_read_reply *reply);
MUST_USE enum status message_read_reply_decode(struct slice payload,
                                               struct message_read_reply *reply);

/* Granted, the reply is a message_read_reply of the accepted cell. STATUS_PREEMPTED: the greater
 * ballot, as in a write's reply. */
struct message_prepare {
    struct version ballot;
    struct slice engine_key;
};
void message_prepare_encode(struct buffer *to, const struct message_prepare *prepare);
MUST_USE enum status message_prepare_decode(struct slice payload, struct message_prepare *prepare);

/* ACCEPT is one too; its version is the ballot. */
struct message_write {
    bool repair; /* A copy of a stored cell, not a new write. */
    struct slice engine_key;
    struct cell cell;
};
void message_write_encode(struct buffer *to, const struct message_write *write);
MUST_USE enum status message_write_decode(struct slice payload, struct message_write *write);

/* With STATUS_SUPERSEDED and _PREEMPTED: the version that stands. Otherwise empty. */
void message_write_reply_encode(struct buffer *to, struct version standing);
MUST_USE enum status message_write_reply_decode(struct slice payload, struct version *standing);

struct message_scan {
    uint16_t keyspace;
    uint64_t first; /* Tokens, both included. */
    uint64_t last;
    uint32_t count;
};
void message_scan_encode(struct buffer *to, const struct message_scan *scan);
MUST_USE enum status message_scan_decode(struct slice payload, struct message_scan *scan);

/* Entries in engine order, then how far they reach. */
struct message_scan_entry {
    struct slice engine_key;
    struct cell cell; /* Without its value. */
};
void message_scan_entry_encode(struct buffer *to, const struct message_scan_entry *entry);
/* Ends a reply: everything in [first, end_token] is covered, unless `truncated` is false: then all
 * up to the last token asked. */
void message_scan_end_encode(struct buffer *to, bool truncated, uint64_t end_token);
struct message_scan_cursor {
    struct codec_reader reader;
    bool truncated;     /* Valid after next said NOT_FOUND. */
    uint64_t end_token; /* Likewise. */
};
void message_scan_cursor_init(struct message_scan_cursor *cursor, struct slice payload);
/* STATUS_OK, STATUS_NOT_FOUND at the end, STATUS_CORRUPT. */
MUST_USE enum status message_scan_cursor_next(struct message_scan_cursor *cursor,
                                              struct message_scan_entry *entry);

#endif
