/*
 * node/replica.h -- this node's part as one replica: merge, read and scan the ranges it holds.
 *
 * Coordinators of this node and of others both come through here, so that every rule of a replica
 * stands in one place.
 * Contract:
 *  (1) A request older than its range's fence changes nothing (STATUS_STALE); one newer than our
 *      topology waits for us to catch up elsewhere (STATUS_BEHIND); an equal epoch with another
 *      hash is refused (STATUS_REFUSED).
 *  (2) STATUS_OK to a write means that the cell, or a greater one, is durable here.
 *  (3) A new write (not a repair) whose version or expiry stamp leads our clock by more than the
 *      configured bound is STATUS_REFUSED, so that one wrong clock cannot shadow all later writes.
 *  (4) What a read returns is durable: synced writes become visible only after their sync.
 *  (5) What a read or scan did not find was not there: if this node ceased to serve the range while
 *      it looked, and perhaps excised it, the answer is STATUS_STALE.
 */
#ifndef NODE_REPLICA_H
#define NODE_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/cell.h"
#include "base/env.h"
#include "base/hlc.h"
#include "lsm/lsm.h"
#include "node/holding.h"
#include "node/message.h"
#include "node/node.h"
#include "ring/topology.h"

/* Work of one scan job, before it hands back what it has. */
#define REPLICA_SCAN_CELL_COUNT_MAX 20000
/* Bytes of entries in one page, but for those of one token, which stay together. */
#define REPLICA_SCAN_PAGE_SIZE_MAX (1u << 20)

/* Reads held at most, and asked together. */
#define REPLICA_HELD_COUNT_MAX 32u

struct replica_operation;

/* What was done for a range since the start. */
struct replica_count {
    uint64_t reads;  /* Scan pages too, each once for every range it touches. */
    uint64_t writes; /* Taken by the engine, copies too. */
};

struct replica {
    struct env *env;
    struct lsm *lsm;
    const struct config *config;
    const struct topology *topology; /* The current one; its struct stays, its content moves on. */
    const struct holding *holding;
    const struct hlc *hlc;
    struct node_counters *counters;
    uint64_t *range_time_max; /* Per range: at or above every version time accepted. */
    struct replica_count *range_counts;
    uint32_t range_count; /* Of range_time_max and range_counts. */
    uint32_t hold_depth;  /* Of holds not yet released. */
    bool asking;          /* Held reads are being answered. */
    uint32_t held_count;
    struct replica_operation *held[REPLICA_HELD_COUNT_MAX];
};

/* One operation on this replica; the replica's from begin to done, which may come inside begin. */
struct replica_operation {
    void (*done)(struct replica_operation *operation, enum status status);
    void *context;
    /* Results, until the owner deinits the operation. */
    bool found;              /* read */
    struct cell cell;        /* read, borrows `scratch` */
    struct version standing; /* write, STATUS_SUPERSEDED */
    struct buffer payload;   /* scan: a reply payload of message.h */
    /* replica.c's. */
    struct replica *replica;
    struct lsm_write write;
    struct env_job job;
    struct buffer scratch;
    struct buffer engine_key;
    struct version version;
    struct message_scan scan;
    uint32_t first_range; /* Of what a job looks at, */
    uint32_t last_range;
    uint64_t turn; /* and what holding_turn() said before. */
    enum status result;
    bool look; /* A write that must look whether it is superseded. */
};

MUST_USE enum status replica_init(struct replica *replica);
void replica_deinit(struct replica *replica);
/* Topology changed: sizes the per-range state. */
MUST_USE enum status replica_resize(struct replica *replica);

/* Whether (3) lets through what a node issued; logs that it does not. */
MUST_USE bool replica_clock_allows(const struct replica *replica, uint64_t issued,
                                   uint32_t node_id);
/* A version of this time was given to the engine. */
void replica_time_note(struct replica *replica, uint32_t range, uint64_t time);
/* Cells came into a range by another way than replica_write(). */
void replica_merged(struct replica *replica, uint32_t range);

/* What (1) says to a request with this stamp for a range, or for a run of ranges. */
MUST_USE enum status replica_check(const struct replica *replica, uint32_t first_range,
                                   uint32_t last_range, const struct topology_stamp *stamp);

void replica_operation_deinit(struct replica_operation *operation);
/* As new, but for memory that it is worth to keep. */
void replica_operation_reset(struct replica_operation *operation);

/*
 * From a hold to its release reads are gathered and then asked together, which costs less than one
 * by one: while one waits for memory, others go on. Their done comes in the release, or before. May
 * be nested; must be released before the loop's turn ends.
 */
void replica_hold(struct replica *replica);
void replica_release(struct replica *replica);

/* Each answers through done. Slices of the request need to live only until the call returns. */
void replica_read(struct replica *replica, struct slice engine_key,
                  struct replica_operation *operation);
void replica_write(struct replica *replica, const struct message_write *write,
                   struct replica_operation *operation);
void replica_scan(struct replica *replica, const struct message_scan *scan,
                  struct replica_operation *operation);

#endif
