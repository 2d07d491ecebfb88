/*
 * tests/sim/kvsim_script.h -- one change of the ring from its first word to its end, broken once.
 *
 * In place of the operator of kvsim_mover.h: nothing else goes wrong, and what is asked for is one
 * of a few scripts (seed % SCRIPT_COUNT). From its begin on, every sync of any node's disk is a
 * point: all that a node promises others is durable first, so between two of them there is no other
 * state to die in. At one point, given by its number, a blow is struck; a sweep strikes at each in
 * turn. What it checks: each plan of the script ends within SCRIPT_LIVENESS_MS of its commit, or of
 * the blow, and at the end no range is under way.
 */
#ifndef TESTS_SIM_KVSIM_SCRIPT_H
#define TESTS_SIM_KVSIM_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/kvsim_cluster.h"

#define SCRIPT_COUNT 5u
#define SCRIPT_NODE_COUNT 4u
#define SCRIPT_LIVENESS_MS UINT64_C(60000) /* Virtual. */

/* Whose power goes, and when. */
enum script_blow {
    BLOW_NONE,
    BLOW_UNSYNCED, /* The node's own, as its sync begins: what it is about is old or new. */
    BLOW_SYNCED,   /* The node's own, once that is durable, and before anyone is told. */
    BLOW_LEADER,   /* Of who leads the Raft group, and drives, right after that event. */
    BLOW_ALL,      /* Of all nodes, right after that event. */
    BLOW_COUNT,
};
const char *script_blow_name(enum script_blow blow);

struct script_options {
    enum script_blow blow;
    uint64_t point; /* From 1; 0: none is struck, points are counted. */
    bool verbose;
};

/* What the plan of a run of a script has in place of what was drawn. */
void script_plan(struct plan *plan);

struct script;

/* Adds its host, after those of the clients. */
struct script *script_open(struct cluster *cluster, const struct script_options *options);
void script_close(struct script *script);
/* Hook of the world. */
void script_sync_point(struct script *script, struct world_node *host, bool synced);
/* It has come to its end. A violation if it does not in time. */
bool script_over(struct script *script);
uint64_t script_points(const struct script *script); /* Passed so far. */

#endif
