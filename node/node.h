/*
 * node/node.h -- one Ringkv node: engine, Raft group, peers, coordinator and client server.
 *
 *   OPENING --> JOINING --> SERVING --> STOPPING --> STOPPED
 *      |           |           |           |
 *      +-----------+-----------+-----------+--> FAILED   (the Raft log failed, or what is on disk
 * is no good)
 *
 * A failed write or sync of the engine's log does not end a node: it answers reads, refuses writes
 * (-READONLY) and tries to take them again (healer.h).
 *
 * The simulator and main.c both drive exactly this header. Everything runs on the env's loop.
 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/env.h"
#include "base/histogram.h"
#include "base/status.h"
#include "node/config.h"
#include "ring/topology.h"

struct node;
struct coordinator;

enum node_state {
    NODE_OPENING, /* Recovering its files. */
    NODE_JOINING, /* Up, without a topology that names it. Data commands answer -LOADING. */
    NODE_SERVING,
    /* It served, and the topology names it no more: data commands answer -UNAVAILABLE. It stays so
     * for this life. */
    NODE_REMOVED,
    NODE_STOPPING, /* Answers what is owed, takes nothing new. */
    NODE_STOPPED,
    NODE_FAILED, /* A disk fault: takes part in nothing any more; the process should end. */
};

struct node_events {
    void (*changed)(void *context, enum node_state state, enum status why);
    void *context;
};

/* Begins to open; `changed` tells how it went. The config is copied.
 * STATUS_NO_MEMORY, or what the listeners said (STATUS_EXISTS: an address is in use). */
MUST_USE enum status node_open(struct env *env, const struct config *config,
                               const struct node_events *events, struct node **node);
/* Begins a clean shutdown: ends in STOPPED (or FAILED). Harmless twice. */
void node_stop(struct node *node);
/* Gives up whatever is under way, as before a hard end of the process; harmless after STOPPED. */
void node_abandon(struct node *node);
/* After STOPPED, or after node_abandon() and the end of the env's jobs. */
void node_close(struct node *node);

enum node_peer_state { NODE_PEER_UP, NODE_PEER_SUSPECT, NODE_PEER_DOWN };

/* A member as this node sees it. */
struct node_peer_info {
    uint32_t id;
    enum node_peer_state state;
    uint64_t heard_ms_ago; /* UINT64_MAX: never. */
    uint32_t phi_milli;    /* Of that silence (detector.h), in thousandths. */
    uint64_t key_estimate;
    uint64_t stored_size;  /* Bytes in its tables. */
    uint64_t space_free;   /* On its disk; 0: not known. */
    uint64_t request_rate; /* Reads and writes a second that its replica serves. */
    uint64_t epoch;
};

struct node_counters {
    uint64_t reads, writes, scans;      /* Coordinated here. */
    uint64_t read_errors, write_errors; /* By any status but OK, NOT_FOUND, SUPERSEDED. */
    uint64_t unavailable, timeouts, indeterminate, overloaded, superseded;
    uint64_t read_repairs, read_hedges;
    uint64_t replica_reads, replica_writes, replica_scans; /* Served to coordinators. */
    uint64_t stale_refused, behind_refused;
    uint64_t frames_in, frames_out, bytes_in, bytes_out, frames_bad;
    uint64_t inflight_count, inflight_size;
    uint64_t stream_bytes_in, stream_bytes_out; /* Of ranges on the move. */
    uint64_t stream_chunks_in, stream_chunks_out;
    uint64_t stream_errors; /* Tries that failed and were, or will be, made again. */
};

/* Tries at once to take writes again, instead of when it is due. False: the engine takes them. */
bool node_resume(struct node *node);

/* Views, all borrowed until the loop's next turn. */
enum node_state node_state(const struct node *node);
const struct config *node_config(const struct node *node);
struct env *node_env(const struct node *node);
const struct topology *node_topology(const struct node *node); /* cluster_id 0 before bootstrap. */
struct coordinator *node_coordinator(struct node *node);
struct proposals;
struct proposals *node_proposals(struct node *node); /* NULL while OPENING. */
const struct node_counters *node_counters(const struct node *node);
const struct histogram *node_read_latency_us(const struct node *node);
const struct histogram *node_write_latency_us(const struct node *node);
/* Fills at most `capacity` entries, sorted by id, this node included; returns how many. */
uint32_t node_peers(const struct node *node, struct node_peer_info *infos, uint32_t capacity);
bool node_read_only(const struct node *node); /* Its engine takes no writes, after a disk fault. */
/* How often it took them again since it started, and how often that was tried in vain. */
void node_resumes(const struct node *node, uint64_t *resume_count, uint64_t *failure_count);
uint64_t node_now_ms(const struct node *node);       /* HLC milliseconds, for judging expiry. */
uint64_t node_key_estimate(const struct node *node); /* Live keys of the cluster, roughly. */

/* Ranges this node is entering, and those it left that are not yet gone from its disk. */
void node_ranges_moving(const struct node *node, uint32_t *entering, uint32_t *leaving);

/* For tests that look at what a replica holds; NULL while OPENING. */
struct lsm;
struct lsm *node_engine(const struct node *node);

/* NULL while OPENING. */
struct driver;
const struct driver *node_driver(const struct node *node);

/* NULL while OPENING. */
struct holding;
const struct holding *node_holding(const struct node *node);

/* NULL while OPENING. */
struct load;
const struct load *node_load(const struct node *node);
struct load_gather;
struct load_gather *node_load_gather(struct node *node);
struct autoscaler;
const struct autoscaler *node_autoscaler(const struct node *node);

struct server;
struct server *node_server(const struct node *node);

struct lsm_stats;
struct group_info;
/* All zero while OPENING. */
void node_lsm_stats(const struct node *node, struct lsm_stats *stats);
/* False while this node has no part in the Raft group. */
bool node_group_info(const struct node *node, struct group_info *info);
struct group_configuration;
bool node_group_configuration(const struct node *node, struct group_configuration *configuration);

#endif
