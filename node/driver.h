/*
 * node/driver.h -- brings ranges where the topology says they are to end, one step at a time.
 *
 * Runs on every node, and acts where the node leads the Raft group. All it goes by is in the
 * topology, and all else it asks for anew; so any leader goes on where the one before stood, and a
 * leader that no longer is one leaves nothing behind but a proposal that the log judges.
 * Contract:
 *  (1) A step is proposed only if driver_move.h says that it is due. Whether nodes are up or down
 *      decides what is begun and which way, never whether a step is due.
 *  (2) One proposal is under way at a time, and one question per node; everything that is due
 *      goes together.
 *  (3) No range is begun while `moves_max` are in an operation, nor with a node that streams, or
 *      is streamed from, `streams_max` times; more of the latter only while streams turn out to
 *      carry next to nothing.
 *  (4) Nothing is proposed and no one is asked while another leads.
 * Everything runs on the env's loop, in a timer of its own: no call of this header calls back.
 */
#ifndef NODE_DRIVER_H
#define NODE_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/status.h"
#include "node/driver_move.h"
#include "node/peers.h"
#include "ring/topology.h"

#define DRIVER_ASK_COUNT_MAX MESSAGE_RANGE_COUNT_MAX /* Ranges of one question. */
#define DRIVER_PATIENCE_MS 10000 /* A silent source of a stream is given up after this; */
#define DRIVER_DOWN_MS 2000      /* a silent node is not begun with. */
#define DRIVER_BATCH_COUNT_MAX TOPOLOGY_STEP_COUNT_MAX

struct driver;

/* A question to one node about ranges; the driver's, but for `request`. */
struct driver_ask {
    uint32_t node;
    uint32_t range_count;
    const uint32_t *ranges; /* Until done. */
    /* `states`: with STATUS_OK, of these ranges in this order; borrowed until return. */
    void (*done)(struct driver_ask *ask, enum status status,
                 const struct message_range_state *states);
    struct peer_request request; /* Of who carries it. */
};

struct driver_events {
    /* Hands a command to this node's Raft group, and to no other leader. STATUS_OK:
     * driver_proposed() follows, once, after the call. */
    enum status (*propose)(void *context, struct slice command);
    /* STATUS_OK: ask->done follows, once, perhaps inside the call; unless it is forgotten. */
    enum status (*ask)(void *context, struct driver_ask *ask);
    void (*forget)(void *context, struct driver_ask *ask);
    /* How long nothing was heard of it; 0 for this node, UINT64_MAX for never. */
    uint64_t (*silence_ms)(void *context, uint32_t node);
    /* By the Raft group's configuration as this leader has it. What the topology says of it may be
     * older: it is told only after a change was committed, and then perhaps by another leader. */
    bool (*votes)(void *context, uint32_t node);
};

struct driver_options {
    const struct topology *topology; /* As this node applied it; outlives the driver. */
    uint32_t moves_max;
    uint32_t streams_max;
    const struct driver_events *events;
    void *context;
};

/* STATUS_NO_MEMORY. */
MUST_USE enum status driver_open(struct env *env, const struct driver_options *options,
                                 struct driver **driver);
/* Ends for good: asks and proposes no more. A proposal under way may still be told of. */
void driver_stop(struct driver *driver);
void driver_close(struct driver *driver);

/* This node leads, with the barrier of its term applied; or no longer does. */
void driver_lead(struct driver *driver, bool leads);
/* The topology has changed. */
void driver_adopted(struct driver *driver);
/* What became of the command: STATUS_OK applied; STATUS_REFUSED, STATUS_STALE judged and without
 * effect; anything else: unknown, or not in the log. `reason` may be NULL. */
void driver_proposed(struct driver *driver, enum status status, const char *reason);
/* A member says who and where it is; this node too, of itself. */
void driver_greeted(struct driver *driver, const struct message_hello *hello);

/* ---- what it is at, for people. Borrowed until the loop's next turn. ---- */
bool driver_leads(const struct driver *driver);
const struct driver_move *driver_moves(const struct driver *driver, uint32_t *count);
struct driver_wait driver_wait_of(const struct driver *driver, const struct driver_move *move);
/* Ranges with a goal that were not begun since this node is silent; UINT32_MAX as `node`: since
 * enough others are under way. */
uint32_t driver_held_up_by(const struct driver *driver, uint32_t node);

#endif
