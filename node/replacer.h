/*
 * node/replacer.h -- replaces a member that is gone for long by one that waits; off by default.
 *
 * Why: a cluster that lost a node for good keeps fewer copies until somebody replaces it. With
 * [cluster] auto_replace_after_s set, and a joined node without ranges waiting, the Raft leader
 * stages and commits the REPLACE that an operator would.
 * Contract, of what is proposed:
 *  (1) Only the plan of an operator's own making: one REPLACE, through the log, judged there. The
 *      failure detector starts it and changes nothing by itself.
 *  (2) Never while another plan is staged or running, nor while a second member is not up: what
 *      looks like many lost nodes is mostly a network, and a replaced node has lost its data.
 *  (3) The one that is gone was DOWN, so not heard by those that were asked either, and silent all
 *      that time while this node led.
 *  (4) The one that waits is up and JOINING, in the zone of the one that is gone, or in one that
 *      has no member: so no zone gets a second copy of what it has. A zone of which nobody is up
 *      is left alone.
 *  (5) What it staged it commits or clears only as long as nobody staged anything else.
 */
#ifndef NODE_REPLACER_H
#define NODE_REPLACER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "node/peers.h"
#include "node/proposals.h"
#include "ring/topology.h"

/* What the leader sees of members; itself it sees up. */
struct replacer_view {
    enum node_peer_state (*state)(const void *context, uint32_t id);
    uint64_t (*silence_ms)(const void *context, uint32_t id); /* Counted while it leads. */
    const void *context;
    uint64_t after_ms;
};

/* Which member is to be replaced by which. */
bool replacer_choose(const struct topology *topology, const struct replacer_view *view,
                     uint32_t *id, uint32_t *to_id);
/* The next command, if one is due; `plan_id` is the plan it staged itself, 0 for none. */
bool replacer_command(const struct topology *topology, const struct replacer_view *view,
                      uint64_t plan_id, struct topology_command *command);

struct replacer {
    struct env *env;
    const struct config *config;
    struct membership *membership;
    struct peers *peers;
    struct proposals *proposals;
    struct env_timer timer;
    struct proposal proposal;
    uint64_t led_ms;  /* Since when this node leads. */
    uint64_t plan_id; /* Staged by us; 0: none. */
    bool leads;
    bool proposing;
    bool staging; /* What is being proposed is the PLAN_STAGE. */
};

struct replacer_options {
    const struct config *config;
    struct membership *membership;
    struct peers *peers;
    struct proposals *proposals;
};

/* All of the options outlive it. */
void replacer_init(struct replacer *replacer, struct env *env,
                   const struct replacer_options *options);
void replacer_lead(struct replacer *replacer, bool leads); /* This node leads, or no longer does. */
/* Proposes no more. Before proposals_stop(), which ends the proposal under way. */
void replacer_stop(struct replacer *replacer);

#endif
