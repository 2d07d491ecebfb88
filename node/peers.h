/*
 * node/peers.h -- connections to the other nodes: hello, heartbeats, requests and their answers.
 *
 * Each node keeps one connection of its own to every peer, for its requests, heartbeats and Raft
 * messages; answers come back on it. So a pair has two connections, one each way.
 *
 *   outgoing   IDLE --> CONNECTING --> GREETING --> READY
 *                ^          |              |          |
 *                +----------+--------------+----------+     (closed; tried again after a pause)
 *
 * Contract:
 *  (1) A request is answered once: by its reply, by STATUS_CLOSED when its connection ends (it may
 *      have been carried out), or not at all after peers_cancel().
 *  (2) Nothing but a hello is sent or heeded on a connection before both sides accepted the other.
 *  (3) Whether a peer is up says what it was heard of, never who owns what.
 */
#ifndef NODE_PEERS_H
#define NODE_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/slice.h"
#include "base/status.h"
#include "node/config.h"
#include "node/frame.h"
#include "node/message.h"
#include "node/node.h"

struct peers;
struct peer_link; /* An inbound connection; counted. */

struct peer_request {
    uint32_t peer_id;
    uint8_t type;         /* enum frame_type */
    uint32_t range;       /* Or FRAME_NO_RANGE. */
    uint32_t deadline_ms; /* Told to the peer; the caller keeps its own timer. */
    /* `reply` is NULL unless `status` is STATUS_OK; it borrows until return. What the peer says is
     * reply->status. */
    void (*done)(struct peer_request *request, enum status status, const struct frame *reply);
    void *context;
    uint64_t id;           /* peers.c's; 0 while not under way. */
    struct list_node node; /* peers.c's. */
};

struct peers_events {
    /* Fills sender's part of an outgoing frame: sender, time, stamp. */
    void (*fill)(void *context, struct frame *frame);
    /* What we say of ourselves; `connection` is peers.c's to set. */
    void (*hello)(void *context, struct message_hello *hello);
    /* Whether the other side may talk to us; a refusal is logged here and told to it. */
    enum status (*greeted)(void *context, const struct message_hello *hello);
    void (*refused)(void *context, enum status status);     /* What a peer said to our hello. */
    void (*ping)(void *context, struct message_ping *ping); /* What heartbeats say. */
    /* Every valid frame of a greeted peer, before anything else is done with it. */
    void (*heard)(void *context, const struct frame *frame);
    /* A request to answer, now or later, with peers_reply(). `request` borrows until return. */
    void (*request)(void *context, struct peer_link *link, const struct frame *request);
    /* `frame` holds it; a message of another generation is for no group of ours. */
    void (*raft)(void *context, const struct frame *frame, uint64_t connection, uint64_t sequence,
                 struct slice message);
};

struct peers_options {
    const struct config *config; /* Outlives peers. */
    uint32_t boot;               /* Of identity.h. */
    const struct peers_events *events;
    void *context;
    struct node_counters *counters;
};

/* STATUS_EXISTS: the peer address is in use. */
MUST_USE enum status peers_open(struct env *env, const struct peers_options *options,
                                struct peers **peers);
/* Ends all connections; pending requests are answered STATUS_CLOSED. Nothing is tried again. */
void peers_stop(struct peers *peers);
bool peers_stopped(const struct peers *peers); /* Every connection has ended. */
void peers_close(struct peers *peers);

/* Names a peer, or gives it another address. Not for this node's own id. */
MUST_USE enum status peers_set(struct peers *peers, uint32_t id, const char *address);

/* Forgets a peer, and dials it no more: its connection ends, and what was asked on it is answered
 * STATUS_CLOSED. A connection of its own to us stays, until it ends it. Harmless if unknown. */
void peers_drop(struct peers *peers, uint32_t id);

/* An address whose node's id is not known: it is asked for its hello now and then, and who it says
 * it is is named as a peer. At most one in a life. STATUS_NO_MEMORY. */
MUST_USE enum status peers_contact(struct peers *peers, const char *address);
void peers_contact_end(struct peers *peers); /* Harmless without one. */

/* STATUS_OK: sent, `done` follows. STATUS_UNAVAILABLE: no ready connection; STATUS_OVERLOADED:
 * its queue is full; STATUS_NO_MEMORY: nothing was sent, `done` is not called. */
MUST_USE enum status peers_request(struct peers *peers, struct peer_request *request,
                                   struct slice payload);
void peers_cancel(struct peers *peers, struct peer_request *request); /* Harmless if done. */
/* A heartbeat at once, so that they learn of our topology, to those that go by an older one. */
void peers_announce(struct peers *peers);
/* Best effort. */
void peers_send_raft(struct peers *peers, uint32_t id, struct slice message);

/* Keeps the link's struct for a later reply; each hold ends with one release. */
void peers_link_hold(struct peer_link *link);
void peers_link_release(struct peer_link *link);
/* Its side does not read as fast as it asks: answers with much in them should wait. */
bool peers_link_congested(const struct peer_link *link);
/* Answers `request` of this link; dropped if the link has closed. */
void peers_reply(struct peers *peers, struct peer_link *link, const struct frame *request,
                 enum status status, struct slice payload);

/* DOWN if it is not known. */
enum node_peer_state peers_state(const struct peers *peers, uint32_t id);
/* A ready connection, and not silent for longer than its rhythm explains (detector.h). */
bool peers_up(const struct peers *peers, uint32_t id);
/* How long nothing was heard of it; UINT64_MAX: never was, in this life. */
uint64_t peers_silence_ms(const struct peers *peers, uint32_t id);
/* What the peer last said of itself; NULL if it was never greeted in this life. */
const struct message_hello *peers_hello_of(const struct peers *peers, uint32_t id);
/* Entries sorted by id, without this node. Returns how many were filled. */
uint32_t peers_list(const struct peers *peers, struct node_peer_info *infos, uint32_t capacity);

#endif
