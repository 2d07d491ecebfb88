/*
 * node/catchup.h -- newer topologies asked of peers, and told to those that lack them.
 *
 * A node says in its question what it has, and is told the commands that are missing if the other
 * side still knows them, else the whole.
 * Invariants:
 *  (1) At most one question is under way.
 *  (2) Commands are applied to a copy, which is adopted only if its stamp is the one that the
 * teller goes by; otherwise the whole is asked for.
 */
#ifndef NODE_CATCHUP_H
#define NODE_CATCHUP_H

#include "base/env.h"
#include "node/chronicle.h"
#include "node/peers.h"

struct catchup_events {
    /* Newer than the current one when it was asked for. It may be taken: then it is left
     * initialised and empty. */
    enum status (*learned)(void *context, struct topology *topology);
    /* A command of what was learned, once it was, and the epoch that it led to. */
    void (*passed)(void *context, struct slice command, uint64_t epoch);
};

/* The caller sets the first block; the rest is zero. */
struct catchup {
    struct env *env;
    const struct topology *current; /* Its struct stays, its content moves on. */
    const struct catchup_events *events;
    void *context;

    struct peers *peers; /* Set by catchup_start. */
    struct chronicle chronicle;
    struct peer_request request;
    struct topology_stamp asked; /* What the question said that we have. */
    uint64_t started_ms;
    bool whole; /* Commands did not fit: the next question is for the whole. */
    bool stopping;
};

void catchup_start(struct catchup *catchup, struct peers *peers);
void catchup_stop(struct catchup *catchup);
void catchup_deinit(struct catchup *catchup);

/* A peer goes by a newer topology. */
void catchup_ask(struct catchup *catchup, uint32_t peer_id);
/* A command led from one stamp to that of the current topology. */
void catchup_keep(struct catchup *catchup, const struct topology_stamp *from,
                  const struct topology_stamp *to, struct slice command);
/* Appends the payload that answers a question. STATUS_CORRUPT, STATUS_NO_MEMORY. */
MUST_USE enum status catchup_answer(const struct catchup *catchup, struct slice question,
                                    struct buffer *to);

#endif
