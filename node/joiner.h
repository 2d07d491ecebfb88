/*
 * node/joiner.h -- a node that was started with --join, until the cluster knows it.
 *
 *   contact --> who has the topology --> asks to be a member --> named
 *
 * The contact is one address of any member. It tells who it is; from then on that one is a peer
 * like any other, whose topology is adopted, and in it stand the rest. Being named is being
 * JOINING: the node coordinates, and owns nothing until a plan gives it ranges. Contract: (1) A
 * node that is named, say after a restart, asks nobody anything. (2) An id that is a member's with
 * another data folder is never taken over: the node fails.
 */
#ifndef NODE_JOINER_H
#define NODE_JOINER_H

#include <stdbool.h>

#include "base/env.h"
#include "node/proposals.h"

/* All of it outlives the joiner. */
struct joiner_options {
    const struct config *config;
    struct membership *membership;
    struct peers *peers;
    struct proposals *proposals;
    void (*failed)(void *context, enum status status); /* It will never be a member. */
    void *context;
};

/* Of the caller's; all zero before. */
struct joiner {
    struct env *env;
    struct joiner_options options;
    struct env_timer timer;
    struct proposal proposal;
    bool proposing;
    bool running;
    bool taken;             /* A member said that its id is another's. */
    uint64_t refused_epoch; /* Of the topology that the command was judged by; 0: not refused. */
};

/* Without a contact in the settings it only heeds joiner_refused(). STATUS_NO_MEMORY. */
MUST_USE enum status joiner_start(struct joiner *joiner, struct env *env,
                                  const struct joiner_options *options);
/* Before the proposals are stopped. */
void joiner_stop(struct joiner *joiner);
/* What a member said to our hello: one whose data folder is gone learns from it that it cannot go
 * on under its id. */
void joiner_refused(struct joiner *joiner, enum status status);

#endif
