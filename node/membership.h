/*
 * node/membership.h -- the topology this node goes by, and its part in deciding it.
 *
 * Voters and standbys run the Raft group and apply its commands; every node adopts the newest
 * topology it hears of from any peer, and keeps it in a record, so that a restart begins where the
 * node was. Adopting is taking a maximum: by generation, then epoch.
 * A topology of a newer generation ends the Raft group of the old one here: its folder is emptied,
 * and this node has no part in Raft until a leader adds it.
 * Bootstrap: the first Raft leader waits until it has heard every node of the bootstrap list, all
 * with the same list and settings, and proposes the first topology.
 */
#ifndef NODE_MEMBERSHIP_H
#define NODE_MEMBERSHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "lsm/lsm.h"
#include "node/config.h"
#include "node/identity.h"
#include "node/peers.h"
#include "node/records.h"
#include "raft/group.h"
#include "ring/topology.h"

struct membership;

/* What became of a topology command. */
struct membership_decision {
    struct slice command;
    enum status status; /* Of topology_apply(). */
    const char *reason; /* "" if it was accepted. */
    uint64_t epoch;     /* After it. */
};

struct membership_events {
    void (*adopted)(void *context); /* membership_topology() has changed. */
    /* A committed command was applied here, or a peer told of one that was accepted. Nothing may be
     * proposed from here. */
    void (*decided)(void *context, const struct membership_decision *decision);
    /* This node leads the Raft group, all of its log before that applied; or no longer does. */
    void (*led)(void *context, bool leads);
    void (*failed)(void *context, enum status status); /* The Raft log or memory failed. */
};

struct membership_options {
    const struct config *config;
    const struct identity *identity;
    const struct membership_events *events;
    void *context;
};

/* Blocks: reads the record of the last topology and the Raft log. */
MUST_USE enum status membership_open(struct env *env, struct lsm *lsm,
                                     const struct membership_options *options,
                                     struct membership **membership);
/* On the loop; `peers` outlives it. */
MUST_USE enum status membership_start(struct membership *membership, struct peers *peers);
/* Ends the node's part; `stopped` runs on the loop when no job of it is left. */
void membership_stop(struct membership *membership, void (*stopped)(void *context));
void membership_close(struct membership *membership);

/* The struct stays where it is for the membership's life; what it holds moves on. */
const struct topology *membership_topology(const struct membership *membership);
/* A restart would find no older topology than that. */
bool membership_recorded(const struct membership *membership);
/* The Raft leader as far as it is known here, this node included; 0: unknown, or no part in it. */
uint32_t membership_leader(const struct membership *membership);
/* As group_propose(); STATUS_NOT_LEADER also where this node has no part in Raft. */
MUST_USE enum status membership_propose(struct membership *membership, struct slice command,
                                        struct group_proposal *proposal);
bool membership_group_info(const struct membership *membership, struct group_info *info);
bool membership_group_configuration(const struct membership *membership,
                                    struct group_configuration *configuration);

/* A peer says hello: STATUS_OK; STATUS_REFUSED (another cluster, other bootstrap settings, an
 * unknown id that does not ask to join); STATUS_EXISTS (a member's id, with another disk); logged.
 */
MUST_USE enum status membership_greeted(struct membership *membership,
                                        const struct message_hello *hello);
void membership_hello(const struct membership *membership, struct message_hello *hello);
/* This node as it would enter the topology. */
void membership_member(const struct membership *membership, struct topology_member *member);
/* A frame of a peer: asks for its topology if that is newer. */
void membership_heard(struct membership *membership, const struct frame *frame);
/* Appends the answer to a peer that asks for ours. STATUS_CORRUPT, STATUS_NO_MEMORY. */
MUST_USE enum status membership_answer(const struct membership *membership, struct slice question,
                                       struct buffer *to);
/* A message of the Raft group, in `frame`. One of another generation is dropped; the first to a
 * member that has no part in the group opens it, for whoever leads has added this node. */
void membership_raft(struct membership *membership, const struct frame *frame, uint64_t connection,
                     uint64_t sequence, struct slice message);

#endif
