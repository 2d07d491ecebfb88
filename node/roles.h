/*
 * node/roles.h -- who should be in the Raft group, and the next step on the way there.
 *
 * Why pure: the leader asks again whenever the topology, the group or who answers may have changed,
 * and does one thing at a time. What is wanted follows from what is seen alone, so a new leader
 * goes on where the old one stopped. What is wanted: (1) 1, 3 or 5 voters: 3 from three ACTIVE
 * members on, 5 from five on; and up to two standbys. Members that are JOINING, LEAVING, or lost
 * count for nothing. (2) Voters stay as long as they may. One that has been silent for
 * `patience_ms` is replaced if another member answers; the leader itself is replaced last. (3)
 * Zones differ by at most one voter, where members that answer allow it. (4) A new voter is
 * promoted before an old one is demoted, so there may be one too many for a while, never one too
 * few on our account: while too few of those that may vote answer, nobody is demoted.
 */
#ifndef NODE_ROLES_H
#define NODE_ROLES_H

#include <stdbool.h>
#include <stdint.h>

#include "raft/group.h"
#include "ring/topology.h"

#define ROLES_STANDBY_COUNT 2

struct roles_view {
    const struct topology *topology;
    const struct group_configuration *configuration; /* Of this leader. */
    uint32_t self;
    /* How long ago a member was last heard; 0 of ourselves. */
    uint64_t (*silent_ms)(void *context, uint32_t id);
    void *context;
    uint64_t led_ms;      /* This node leads for so long; nobody is blamed for what was before. */
    uint64_t answer_ms;   /* Who was silent for less answers. */
    uint64_t patience_ms; /* 0: silence alone replaces no voter. */
};

/* The next change to ask the group for. False: it is as wanted, or nothing can be done now. */
bool roles_next(const struct roles_view *view, struct group_change *change);

/* The voters of a committed configuration, by rising id, if the topology does not say the same and
 * may be told: all of them members, at most TOPOLOGY_VOTER_COUNT_MAX. */
bool roles_voters(const struct roles_view *view, uint32_t voters[TOPOLOGY_VOTER_COUNT_MAX],
                  uint32_t *voter_count);

#endif
