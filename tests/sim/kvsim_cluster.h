/*
 * tests/sim/kvsim_cluster.h -- the nodes of a simulated cluster: their lives, and what they show.
 *
 * A node that died or failed is started again after a drawn time, as a supervisor would; but for
 * one that the operator of kvsim_mover.h gave up. Hosts after those of the bootstrap list are
 * spares: nothing runs there until he has them join.
 * Rules it checks by itself, after every event of a node:
 *  (1) Topologies of one generation and epoch are equal, by stamp and byte by byte, over all nodes
 *      and the whole run; and sound: what a node tells of one is believed.
 *  (2) The generation of a node, and its epoch of one, never go back while it runs, and one that
 * had served never comes back without any topology. (3) No operation stands longer than its
 * deadline and a slack. (4) A node never calls its files damaged: nothing here damages what was
 * synced. (5) A clean stop ends in time and frees all memory. (6) The Raft group is not left with
 * fewer than three voters while there are three members to vote.
 */
#ifndef TESTS_SIM_KVSIM_CLUSTER_H
#define TESTS_SIM_KVSIM_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "node/node.h"
#include "tests/sim/env_sim.h"
#include "tests/sim/kvsim_check.h"
#include "tests/sim/kvsim_plan.h"

#define CLUSTER_EPOCH_COUNT_MAX 4096
#define CLUSTER_GENERATION_COUNT_MAX 4 /* One, and one for each recovery. */

struct cluster;

struct cluster_node {
    struct cluster *cluster;
    struct world_node *host;
    struct node *node; /* NULL: not running. */
    uint32_t id;
    bool spare;    /* Nothing ran here yet. */
    bool lost;     /* Given up: it is not started any more. */
    bool belonged; /* Some topology that was seen named it. */
    enum node_state state;
    bool stopping;          /* node_stop() was called. */
    bool restart_due;       /* An event will start it. */
    uint64_t epoch;         /* As last looked at, in this life. */
    uint32_t generation;    /* Likewise. */
    uint64_t epoch_max;     /* Shown while it served. */
    uint64_t busy_until_ns; /* Was paused or its disk slow: (3) allows more until then. */
    int64_t jumped_ms;      /* Sum of the jumps of its clock. */
    uint64_t stop_ns;       /* When node_stop() was called. */
    uint32_t starts;
};

/* What was seen of an epoch, for (1). */
struct cluster_epoch {
    uint64_t cluster_id;
    struct topology_stamp stamp;
    uint64_t content; /* Checksum over all of it. */
};

struct cluster {
    struct world *world;
    const struct plan *plan;
    struct check *check;
    struct prng *prng; /* The world's. */
    uint32_t count;    /* Of hosts for nodes, spares included. */
    struct cluster_node nodes[PLAN_HOST_COUNT_MAX];
    bool quiet; /* Dead nodes are started at once. */
    bool over;  /* Dead nodes stay dead. */
    uint64_t clock_ms_max;
    struct cluster_epoch epochs[CLUSTER_GENERATION_COUNT_MAX][CLUSTER_EPOCH_COUNT_MAX];
    uint64_t epoch_max; /* The greatest of them seen. */
    /* Of whoever led the Raft group last, for (6). */
    uint32_t voters_generation;
    uint32_t voter_count;
    uint32_t fit_count; /* Members that may vote. */
    /* Told when a node goes by a newer topology than before; may be NULL. */
    void (*adopted)(void *context, struct cluster_node *node);
    void *adopted_context;
    struct {
        uint32_t crashes, failures, stops, starts;
        uint64_t flushed_size, compacted_size; /* In the last lives. */
    } counts;
};

/* Adds the hosts 0 to count - 1 of the world, and starts those that are no spares at drawn times.
 */
void cluster_init(struct cluster *cluster, struct world *world, const struct plan *plan,
                  struct check *check);
/* Hooks of the world; the context is the cluster. */
void cluster_after_event(struct cluster *cluster, struct world_node *host);
void cluster_crashed(struct cluster *cluster, struct world_node *host);

struct cluster_node *cluster_node_at(struct cluster *cluster, uint32_t index);
struct cluster_node *cluster_node_find(struct cluster *cluster, uint32_t id); /* NULL: none. */
bool cluster_node_runs(const struct cluster_node *node); /* Alive and not paused. */
/* The newest topology that a running node goes by; NULL: none has one. */
const struct topology *cluster_topology(const struct cluster *cluster);
/* As the node is started with, now. */
void cluster_node_config(const struct cluster_node *node, struct config *config);
/* Between events: */
void cluster_node_crash(struct cluster_node *node, enum world_crash crash);
void cluster_node_stop(struct cluster_node *node);   /* Cleanly; then it is started again. */
void cluster_node_join(struct cluster_node *node);   /* A spare: it is started, and asks to join. */
void cluster_node_lose(struct cluster_node *node);   /* It is dead from now on. */
void cluster_node_revive(struct cluster_node *node); /* It is started again after all. */
/* From now on dead nodes are started at once, failed ones are ended first. */
void cluster_quiet(struct cluster *cluster);
/* Every member serves, sees every other one up, and has the one topology; one leads; each host that
 * was started is a member or was one. If not, `why` says what is missing. */
bool cluster_converged(struct cluster *cluster, char *why, size_t size);
/* Is named by the newest topology. */
bool cluster_is_member(const struct cluster *cluster, uint32_t index);
/* No operation of a client is under way on any node. */
bool cluster_idle(const struct cluster *cluster);
/* The greatest that the clock of any node has shown, also of one that is dead. */
uint64_t cluster_clock_ms_max(const struct cluster *cluster);
/* Begins to stop all nodes for good. */
void cluster_end(struct cluster *cluster);
bool cluster_ended(const struct cluster *cluster);

#endif
