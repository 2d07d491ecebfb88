/*
 * node/driver_link.h -- a driver within its node: carries its questions to peers and its commands
 * to the node's own Raft group.
 *
 * A question to the node itself is answered at once. A command is judged where it is applied, so
 * the link watches for its request id among what is applied here.
 */
#ifndef NODE_DRIVER_LINK_H
#define NODE_DRIVER_LINK_H

#include "node/config.h"
#include "node/driver.h"
#include "node/holding.h"
#include "node/membership.h"
#include "node/peers.h"
#include "node/stream_target.h"

struct driver_link_options {
    const struct config *config;
    struct membership *membership;
    struct peers *peers;
    const struct holding *holding;
    const struct stream_target *target;
};

struct driver_link {
    struct env *env;
    struct driver_link_options options;
    struct driver *driver;
    struct group_proposal proposal;
    uint64_t request_id; /* Of the command under way; 0: none. */
    enum status judged;  /* What was said of it when it was applied, */
    const char *reason;  /* and why; static storage. */
};

/* All of the options outlive it. `link` is zeroed by the caller. STATUS_NO_MEMORY. */
MUST_USE enum status driver_link_open(struct driver_link *link, struct env *env,
                                      const struct driver_link_options *options);
void driver_link_stop(struct driver_link *link);  /* Harmless if it was never opened. */
void driver_link_close(struct driver_link *link); /* Likewise. */

/* A command was applied here. */
void driver_link_decided(struct driver_link *link, const struct membership_decision *decision);

#endif
