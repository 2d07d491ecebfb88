/*
 * tests/sim/net_sim_internal.h -- connections as two ends and a queue of batches each way.
 *
 *   NEW --> OPEN --> CLOSING --> GONE        (the end that accepts; NEW until its `opened`)
 *   CONNECTING --> OPEN --> CLOSING --> GONE (the end that connects)
 *
 * From every state an end may be GONE at once, when its process is.
 * Invariants:
 *  (1) A batch waits in the queue of the end that sent it. While there is one, either a delivery is
 *      scheduled, or `waiting` says that a cut or a dead host holds it (then a timer runs that
 *      drops it), or the receiver is not open yet or paused (which schedules when it changes).
 *  (2) A link is freed once both ends are gone and no event names it.
 *  (3) `closed` is called once for each end that the user knows of, from an event of its own, from
 *      a delivery, or from a clean end of the process; an end is GONE before.
 */
#ifndef TESTS_SIM_NET_SIM_INTERNAL_H
#define TESTS_SIM_NET_SIM_INTERNAL_H

#include "base/address.h"
#include "tests/sim/env_sim_internal.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/trace.h"

/* Names a call in the trace. */
enum net_call { NET_LISTEN = 100, NET_CONNECT, NET_SEND, NET_CLOSE, NET_PAUSE };

enum end_state { END_NEW, END_CONNECTING, END_OPEN, END_CLOSING, END_GONE };

/* What was sent in one event: frames with their sizes, or bytes. */
struct net_batch {
    struct net_batch *next;
    uint64_t arrival_ns;
    uint64_t turn;   /* Of the event that sent it. */
    bool last;       /* The sender closed after it. */
    uint32_t offset; /* Delivered so far. */
    uint32_t size;
    uint32_t capacity;
    uint8_t *data;
};

struct net_end {
    struct env_connection base;
    struct net_link *link;
    struct net_end *peer;
    struct world_node *node;
    enum end_state state;
    enum status why; /* While CLOSING. */
    bool paused;
    bool overloaded; /* `drained` is due. */
    /* Towards the peer. */
    struct net_batch *first;
    struct net_batch *last;
    size_t queued_size;
    uint64_t arrival_ns; /* Of the last batch: nothing overtakes it. */
    bool scheduled;
    bool waiting;
    bool dying; /* Unacknowledged since a while; see dead_start(). */
    uint64_t dying_number;
    char remote[ADDRESS_TEXT_SIZE_MAX];
};

struct net_link {
    struct list_node node;
    struct net_sim *net;
    enum env_framing framing;
    uint32_t event_count;
    uint32_t target_host; /* HOST_NONE: there is none of that address. */
    uint16_t target_port;
    bool resolved; /* The address was one, not a name. */
    struct net_end client;
    struct net_end server;
};

struct env_listener {
    struct list_node node;
    struct net_sim *net;
    struct world_node *owner;
    uint16_t port;
    enum env_framing framing;
    const struct env_net_events *events;
    void *context;
};

struct net_host {
    bool power;
    uint16_t next_port;
    struct list_node listeners;
};

struct net_sim {
    struct world *world;
    struct net_sim_options options;
    struct net_sim_counters counters;
    struct net_host hosts[NET_SIM_HOST_COUNT_MAX];
    bool cut[NET_SIM_HOST_COUNT_MAX][NET_SIM_HOST_COUNT_MAX];
    struct list_node links;
    struct net_batch *pool;
};

uint64_t net_latency_ns(struct net_sim *net); /* Drawn. */
/* Whether nothing comes from this end to its peer; both hosts are known. */
bool net_path_cut(const struct net_end *from);

/* An event that keeps the link; its handler ends with net_link_event_end(). */
void net_link_event(struct net_end *end, struct world_node *node, uint64_t delay_ns,
                    void (*run)(struct world_event *event, bool voided), uint64_t number);
void net_link_event_end(struct net_link *link);
void net_link_free(struct net_link *link);
void net_link_free_if_over(struct net_link *link);

void net_batches_drop(struct net_end *end);
/* Delivers the first batch when it is due, if nothing holds it. */
void net_end_schedule(struct net_end *end);
/* The other side will see a close behind what was sent. */
void net_end_send_last(struct net_end *end);
/* The other side tells `end` that there is no connection; lost if its way is cut by then. `forced`:
 * it comes in any case. */
void net_end_reset(struct net_end *end, bool forced);
/* Tells the user; in the node's heap. */
void net_end_finish(struct net_end *end, enum status why);

#endif
