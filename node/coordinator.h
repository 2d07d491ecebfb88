/*
 * node/coordinator.h -- one client operation over the replicas of its key.
 *
 * Any node coordinates any key. A write goes to every replica and answers at its level; a read asks
 * as many as its level needs (one in full, the rest for versions) and, at QUORUM and ALL, makes
 * sure that what it answers is held by as many before it answers, so that such reads never go back.
 * Contract:
 *  (1) `done` runs exactly once, on the loop; when all is at hand, before the call that began the
 *      operation returns.
 *  (2) An operation struct is the coordinator's from begin to done; keys and values are copied at
 *      begin, results borrow until done returns.
 *  (3) A status that says refused means that nothing was sent to any replica; once one replica may
 *      have applied a write, only OK, SUPERSEDED, TIMEOUT or INDETERMINATE is said.
 *  (4) While a range moves from one set of replicas to another, (1) to (3) hold with the level's
 *      number in each set; an operation that the range changes under goes on, a write with the
 *      version it has.
 */
#ifndef NODE_COORDINATOR_H
#define NODE_COORDINATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cell.h"
#include "base/env.h"
#include "base/slice.h"
#include "base/status.h"
#include "node/config.h"

struct coordinator;

/* What a client is told beside the status. */
struct coordinator_outcome {
    uint32_t acks; /* Replicas that answered; while the range moves, of the set that lacks more. */
    uint32_t needed; /* By the level. */
    uint32_t alive;  /* Replicas counted on when the operation began. */
};

struct coordinator_read {
    uint16_t keyspace;
    struct slice key;
    enum level level;
    uint32_t timeout_ms; /* 0: the configured one. */
    /*
     * STATUS_OK           `cell` is the greatest of the quorum, live or not: judge with
     *                     cell_is_live(); it borrows until done returns.
     * STATUS_NOT_FOUND    no replica of the quorum holds a cell.
     * STATUS_UNAVAILABLE  too few replicas alive. STATUS_OVERLOADED. STATUS_TIMEOUT.
     * STATUS_CORRUPT, STATUS_IO  too few replicas could read. STATUS_CANCELLED: shutting down.
     * STATUS_READ_ONLY, STATUS_NO_SPACE  too few hold the newest cell, and others take no copy.
     */
    void (*done)(struct coordinator_read *read, enum status status);
    void *context;
    struct cell cell;
    struct coordinator_outcome outcome;
};

struct coordinator_write {
    uint16_t keyspace;
    struct slice key;
    /* kind, expiry_ms and value of the new cell. If `keep_version` is set, version is the stored
     * cell's and only the expiry changes, stamped anew (EXPIRE, PERSIST); otherwise version and
     * stamp are ignored and a new version is issued. */
    struct cell cell;
    bool keep_version;
    enum level level;
    uint32_t timeout_ms;
    /*
     * STATUS_OK             durable at the level. `version` is what was written.
     * STATUS_SUPERSEDED     a cell of a greater version, `version`, was there already.
     * STATUS_UNAVAILABLE    too few replicas alive; nothing was sent. STATUS_OVERLOADED: likewise.
     * STATUS_READ_ONLY, STATUS_NO_SPACE  enough replicas refused; nothing was applied anywhere.
     * STATUS_TIMEOUT        sent, too few answers in time: may be applied, now or later.
     * STATUS_INDETERMINATE  sent, too few can answer any more: may be applied.
     * STATUS_CANCELLED      shutting down: may be applied.
     */
    void (*done)(struct coordinator_write *write, enum status status);
    void *context;
    struct version version;
    struct coordinator_outcome outcome;
};

struct coordinator_scan_entry {
    uint64_t token;
    struct slice key;
};

/* One page of the keys of a keyspace, in token order. */
struct coordinator_scan {
    uint16_t keyspace;
    uint64_t cursor; /* Token to begin at; 0 for the start. */
    uint32_t count;  /* Aim of the page, 1 to COORDINATOR_SCAN_COUNT_MAX. */
    enum level level;
    uint32_t timeout_ms;
    /* STATUS_OK: `entries`, perhaps none, and `next`: where to go on, 0 at the end. Keys that are
     * deleted or expired are left out. Otherwise as for reads. */
    void (*done)(struct coordinator_scan *scan, enum status status);
    void *context;
    const struct coordinator_scan_entry *entries;
    uint32_t entry_count;
    uint64_t next;
    struct coordinator_outcome outcome;
};

#define COORDINATOR_SCAN_COUNT_MAX 10000

struct peers;
struct replica;
struct timekeeper;
struct topology;
struct node_counters;
struct histogram;
struct hot_keys;

/* All of it outlives the coordinator. */
struct coordinator_options {
    const struct config *config;
    struct peers *peers;
    struct replica *replica;
    struct timekeeper *timekeeper;
    const struct topology *topology;
    struct node_counters *counters;
    struct hot_keys *hot_keys;
    struct histogram *read_latency_us;
    struct histogram *write_latency_us;
};

MUST_USE enum status coordinator_open(struct env *env, const struct coordinator_options *options,
                                      struct coordinator **coordinator);
/* Answers every operation under way with STATUS_CANCELLED and refuses later ones so. */
void coordinator_stop(struct coordinator *coordinator);
/* No call to this node's own replica is under way any more. */
bool coordinator_stopped(const struct coordinator *coordinator);
void coordinator_close(struct coordinator *coordinator);

/* The topology has changed: operations whose ranges did go on in the new one. */
void coordinator_adopted(struct coordinator *coordinator);

/* Around several operations that begin in one turn of the loop: see replica_hold(). */
void coordinator_hold(struct coordinator *coordinator);
void coordinator_release(struct coordinator *coordinator);

/* Always take the operation: even a refusal comes through done. */
void coordinator_read(struct coordinator *coordinator, struct coordinator_read *read);
void coordinator_write(struct coordinator *coordinator, struct coordinator_write *write);
void coordinator_scan(struct coordinator *coordinator, struct coordinator_scan *scan);

#endif
