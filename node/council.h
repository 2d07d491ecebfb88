/*
 * node/council.h -- keeps the Raft group as node/roles.h wants it, where this node leads it.
 *
 * Why apart from membership: that one follows what the group decided, this one decides who the
 * group is. All it remembers is what it has asked for; a new leader finds the rest in the group and
 * the topology. Invariants: (1) At most one change of the group and one command are under way. (2)
 * What was refused is asked for again no sooner than COUNCIL_RETRY_MS later.
 */
#ifndef NODE_COUNCIL_H
#define NODE_COUNCIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "node/config.h"
#include "raft/group.h"
#include "ring/topology.h"

#define COUNCIL_RETRY_MS 1000

struct council {
    /* Set by the owner. */
    struct env *env;
    const struct config *config;
    uint64_t (*silent_ms)(void *context, uint32_t id); /* As roles_view's. */
    void *context;

    struct group *group; /* NULL: this node has no part in it. */
    struct group_change change;
    bool changing;
    struct group_proposal proposal;
    bool proposing;
    uint64_t retry_ms; /* Not before. */
    bool led;          /* When last looked. */
    uint64_t led_since_ms;
    void (*handed_over)(void *context);
};

/* Looks, and asks for the next thing if there is one. `topology` is as the group applied it. */
void council_look(struct council *council, const struct topology *topology);
/* Before a stop: another voter is to lead, if one can; at most for an election time-out.
 * `handed_over` follows at once or later, whatever came of it. */
void council_hand_over(struct council *council, void (*handed_over)(void *context));

#endif
