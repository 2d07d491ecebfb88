/*
 * node/peers_internal.h -- what the parts of peers share: a peer, a link, and who sends what.
 *
 * peers.c holds the peers by id and their life; peers_request.c what is asked of them and answered;
 * peers_outgoing.c the connections to them, peers_inbound.c those from them; peers_liveness.c what
 * is sent to learn whether they live.
 */
#ifndef NODE_PEERS_INTERNAL_H
#define NODE_PEERS_INTERNAL_H

#include "base/env.h"
#include "base/list.h"
#include "node/detector.h"
#include "node/peers.h"

#define RECONNECT_MS 250          /* Pause before a broken connection is tried again. */
#define RECONNECT_REFUSED_MS 2000 /* After the other side refused us. */
#define SILENCE_ROUNDS_MAX 25     /* Heartbeats without a word before a connection is given up. */
#define PING_ROUNDS_MAX 10        /* Then a heartbeat that was not answered is sent again. */
#define GREETING_MS 5000          /* A stranger who has not said hello by then is closed. */
#define CONTACT_ID 0              /* Of the peer that stands for an address; no node has it. */

enum outgoing_state { OUTGOING_IDLE, OUTGOING_CONNECTING, OUTGOING_GREETING, OUTGOING_READY };

/* The question to one peer whether it hears another. */
struct probe {
    struct peer *about;
    struct peer_request request;
};

struct peer {
    struct peers *peers;
    uint32_t id;
    char address[ADDRESS_TEXT_SIZE_MAX];
    enum outgoing_state state;
    struct env_connection *connection; /* NULL while IDLE. */
    uint64_t connection_number;
    uint64_t raft_sequence;
    uint64_t heard_ns; /* When its last answer came; 0 never. */
    uint64_t retry_ns; /* Not before this. */
    uint64_t epoch;
    uint32_t silent_rounds; /* Heartbeats since the last word. */
    bool congested;         /* The queue of unsent bytes is over its bound. */
    bool greeted;           /* `hello` holds what it said. */
    bool ping_pending;
    uint32_t ping_rounds; /* Heartbeats due since the pending one was sent. */
    struct message_hello hello;
    struct message_ping ping;
    struct peer_request greeting;
    struct peer_request heartbeat;
    struct peer_request announcement;
    struct list_node pending; /* Of peer_request. */
    struct detector detector;
    enum node_peer_state told_state; /* The last one that was logged. */
    struct probe probes[DETECTOR_HELPER_COUNT_MAX];
    uint32_t probe_turn;   /* Whom to ask first, so that all get their turn. */
    struct list_node node; /* Of `parting`, once dropped. */
};

struct peer_link {
    struct peers *peers;
    struct env_connection *connection; /* NULL once closed. */
    uint32_t peer_id;                  /* 0 until greeted. */
    uint32_t holds;
    bool congested;    /* The queue of unsent answers is over its bound. */
    uint64_t heard_ns; /* When its last frame came; at first, when it was opened. */
    uint64_t connection_number;
    struct list_node node;
};

struct slot; /* peers_request.c's. */

struct peers {
    struct env *env;
    const struct config *config;
    const struct peers_events *events;
    void *context;
    struct node_counters *counters;
    struct env_listener *listener;
    struct env_timer heartbeat;
    struct peer **all; /* Sorted by id. */
    uint32_t count;
    struct list_node parting; /* Dropped peers, until their connections have closed. */
    struct peer *contact;     /* NULL: none. Its id is CONTACT_ID; it is never READY. */
    struct list_node links;
    struct slot *slots;
    uint32_t slot_count;
    uint32_t free_slot; /* Index + 1; 0: none. */
    uint64_t connection_base;
    uint32_t connection_count;
    struct buffer out; /* The frame being encoded. */
    uint64_t round_ns; /* When heartbeats were last due; 0: never. */
    bool stopping;
};

/* ---- peers.c ---- */

struct peer *peer_find(const struct peers *peers, uint32_t id);
enum node_peer_state peer_state(const struct peer *peer);
uint64_t peer_silence_ms(const struct peer *peer); /* UINT64_MAX: never heard. */
void parting_reap(struct peers *peers);            /* Frees those whose connection is gone. */

/* ---- peers_request.c ---- */

/* Encodes and sends; STATUS_OVERLOADED: sent, but no more should be. */
MUST_USE enum status connection_send(struct peers *peers, struct env_connection *connection,
                                     const struct frame *frame);
/* Sends on a peer's own connection, in whatever state; registers the request first. */
MUST_USE enum status peer_send_request(struct peer *peer, struct peer_request *request,
                                       struct slice payload);
/* The request a reply's id belongs to; NULL: none, or cancelled. */
struct peer_request *peer_request_find(const struct peers *peers, uint64_t id);
void peer_request_finish(struct peers *peers, struct peer_request *request, enum status status,
                         const struct frame *reply);

/* ---- peers_outgoing.c ---- */

void peer_connect(struct peer *peer); /* From IDLE. */
void peer_close(struct peer *peer);   /* Ends in IDLE, later; harmless there. */

/* ---- peers_inbound.c ---- */

extern const struct env_net_events peers_inbound_events;
void links_reap(struct peers *peers); /* Closes those whose other side is gone. */

/* ---- peers_liveness.c ---- */

void heartbeat_fired(struct env_timer *timer);
void probes_cancel(struct peer *peer); /* Those about it. */

#endif
