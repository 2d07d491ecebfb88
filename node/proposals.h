/*
 * node/proposals.h -- topology commands proposed from any node, and what became of them.
 *
 * Where this node leads the Raft group it proposes itself; elsewhere it sends the command to who
 * leads, which answers once it was applied.
 * Contract:
 *  (1) `done` runs exactly once, on the loop, and not before the call that submitted returns.
 *  (2) A command is given to the log at most once: what may have entered it is not tried again.
 *  (3) Once it may be in the log, nothing but its being applied, here or as told by a peer, makes
 * the outcome a definite one; its request id says which one it is.
 */
#ifndef NODE_PROPOSALS_H
#define NODE_PROPOSALS_H

#include <stdbool.h>
#include <stdint.h>

#include "node/membership.h"
#include "node/peers.h"

#define PROPOSALS_COUNT_MAX 64u /* Of our own, and as many again of others while we lead. */
#define PROPOSALS_TIMEOUT_MS 5000u

struct proposals;

struct proposal {
    uint32_t timeout_ms; /* 0: PROPOSALS_TIMEOUT_MS */
    /*
     * STATUS_OK       accepted; `epoch` is the topology's after it.
     * STATUS_REFUSED, STATUS_STALE, STATUS_CORRUPT  as topology_apply(); `reason` says why.
     * STATUS_UNAVAILABLE  no leader in time; STATUS_OVERLOADED, STATUS_TOO_LARGE: nothing was
     *                     proposed.
     * STATUS_INDETERMINATE  proposed, and not heard of since. STATUS_CANCELLED: shutting down.
     */
    void (*done)(struct proposal *proposal, enum status status);
    void *context;
    uint64_t epoch;
    char reason[MESSAGE_REASON_SIZE_MAX + 1];
    /* proposals.c's. */
    struct proposals *proposals;
    struct list_node node;
    struct buffer command;
    uint64_t request_id;
    uint64_t deadline_ns;
    struct env_timer timer;
    struct peer_request request;
    struct motion *motion; /* Before our own group; NULL: not. */
    uint32_t hint;         /* Who leads, as the last one asked said; 0: not known. */
    uint32_t asked_id;     /* Whom we asked last. */
    bool hinted;           /* A hint was followed at once, since the last pause. */
    bool sent;             /* It may be in the log. */
    bool over;             /* To end with `status` in the loop's next turn. */
    enum status status;
};

struct proposals_options {
    const struct config *config;
    struct membership *membership;
    struct peers *peers;
};

/* All of the options outlive it. */
MUST_USE enum status proposals_open(struct env *env, const struct proposals_options *options,
                                    struct proposals **proposals);
/* Ends its own with STATUS_CANCELLED and takes no more. */
void proposals_stop(struct proposals *proposals);
/* After the membership was stopped or closed. */
void proposals_close(struct proposals *proposals);

/* The command is copied; the struct is lent until done. */
void proposals_submit(struct proposals *proposals, struct proposal *proposal, struct slice command);
/* A command that another node proposes to us; answered now or later. */
void proposals_serve(struct proposals *proposals, struct peer_link *link,
                     const struct frame *request);
/* A committed command was applied here, or accepted as a peer tells. */
void proposals_decided(struct proposals *proposals, const struct membership_decision *decision);

#endif
