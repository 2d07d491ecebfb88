/*
 * node/revival.h -- a node that is left when the majority of the Raft group is lost for good: it
 * becomes the whole group, of a new generation. Offline.
 *
 * Every member holds the topology as it adopted it; a voter also has a log, the end of which may be
 * newer. The greater of the two is gone on from. All older stamps are less than one of the new
 * generation, so old members that come back follow it, and their Raft groups end (membership.h).
 * Whoever is left with the greatest (generation, epoch) is to be recovered, and that one alone:
 * which it is, only an operator can know.
 */
#ifndef NODE_REVIVAL_H
#define NODE_REVIVAL_H

#include "base/env.h"
#include "base/status.h"
#include "lsm/lsm.h"
#include "node/config.h"
#include "node/identity.h"
#include "ring/topology.h"

struct revival {
    struct config config; /* Of the node; its id is taken from the folder. */
    bool carry_out;       /* Else it is only looked what there is. */
    void (*done)(struct revival *revival);

    /* STATUS_OK         looked at, or recovered.
     * STATUS_NOT_FOUND  the folder is none of a node, or holds no topology.
     * STATUS_LOCKED     the node runs.
     * STATUS_REFUSED    the node is no member (any more).
     * STATUS_CORRUPT, STATUS_IO, STATUS_NO_SPACE, ...: nothing was changed. */
    enum status status;
    struct identity identity;
    struct topology topology;   /* What it goes on from; of the new generation if carried out. */
    struct topology_stamp log;  /* Of the Raft log; epoch 0: there is none. */
    struct topology_stamp told; /* Of the record; epoch 0: there is none. */

    struct env *env;
    struct env_job job;
    struct lsm *lsm;
    struct topology machine; /* By the log. */
    struct topology record;
    bool diverged; /* The log does not lead to the record: its end was never committed. */
};

/* On the loop; `done` follows. */
void revival_begin(struct revival *revival, struct env *env);
/* After the env has ended its jobs. */
void revival_deinit(struct revival *revival);

#endif
