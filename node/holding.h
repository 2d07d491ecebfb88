/*
 * node/holding.h -- which ranges this node holds, and below which epoch it serves nothing.
 *
 * Why: a change of ownership is safe because old and new owners refuse what is older than the
 * change, also after a crash, and because nobody brings data of an earlier stay into a range. Both
 * are this node's own to keep, whatever the topology it happens to know.
 *
 *   (no part) --> ENTERING --> OPEN --> LEAVING --> (no part)
 *                    |                     ^
 *                    +---------------------+      (a range of the bootstrap is OPEN at once)
 *
 * Invariants; those of all parts of an ownership change are R1 to R7:
 *  (R1) From the moment a topology is adopted, requests older than a range's epoch in it are stale;
 *       a record of that fence is written at once, in order of the log behind all that was accepted
 *       before. What is reported as the fence is only what is durable. A node whose record is ahead
 *       of its topology serves the range to nobody until it has caught up.
 *  (R2) A range that is entered is served only after its stretch was excised for that session, and
 *       a record of that is durable.
 *  (R3) A range that was left is served no more at once; its record is durable before its stretch
 *       is excised, and a restart in between excises it again.
 *  (R4) It is a source only in the session under way, once its fence for that is durable.
 *  (R5) What was streamed is reported only when a record of it is durable.
 *  (6) A stretch is not excised while somebody is about to bring tables into it (holding_pin).
 */
#ifndef NODE_HOLDING_H
#define NODE_HOLDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "lsm/lsm.h"
#include "node/holding_record.h"
#include "node/message_stream.h"
#include "node/records.h"
#include "ring/topology.h"

/* Stretches being excised at a time: as many as are moved by default, since those that are asked
 * for together have the engine write what it has in memory once. */
#define HOLDING_EXCISE_COUNT_MAX 64u

enum holding_gate_state {
    HOLDING_OUT,    /* No part in it. */
    HOLDING_CLOSED, /* Not yet: entering, or behind. */
    HOLDING_OPEN,
};

/* All that a request is judged by; one look-up. */
struct holding_gate {
    uint64_t epoch; /* Requests below are stale. */
    uint32_t turn;  /* Grows as it closes: what was being read meanwhile may be gone. */
    uint8_t state;  /* enum holding_gate_state */
};

/* The keys of a range in the engine: from `lower`, below `upper`. */
struct holding_stretch {
    uint8_t lower[2];
    uint8_t upper[2];
};

struct holding_range;
struct holding;

struct holding_excise {
    struct lsm_excise request;
    struct holding *holding;
    uint32_t range;
    uint64_t session; /* Entered for; 0: left. */
    uint64_t left;
    bool busy;
};

struct holding_events {
    /* Records became durable, so holding_state() and holding_fed() may say something new. */
    void (*changed)(void *context);
    void *context;
};

struct holding {
    struct env *env;
    struct lsm *lsm;
    const struct topology *topology; /* Its struct stays, its content moves on. */
    struct holding_events events;
    uint32_t id;                  /* This node's. */
    uint32_t range_count;         /* Of gates; 0 before a topology was adopted. */
    uint32_t capacity;            /* Of ranges. */
    struct holding_gate *gates;   /* Owned. */
    struct holding_range *ranges; /* Owned. */
    uint32_t dirty_count;         /* Ranges whose record is to be written. */
    struct records_write write;
    bool writing;
    bool stopped;
    struct env_timer retry;
    struct holding_excise excises[HOLDING_EXCISE_COUNT_MAX];
};

/* Blocks: reads the records. `holding` is zeroed by the caller, and may be closed after a failure.
 * STATUS_CORRUPT, STATUS_UNSUPPORTED, or as lsm_get. */
MUST_USE enum status holding_open(struct holding *holding, struct env *env, struct lsm *lsm,
                                  uint32_t id);
/* On the loop, before the first holding_adopted(). `events` may be NULL. */
void holding_start(struct holding *holding, const struct topology *topology,
                   const struct holding_events *events);
/* The topology has changed, or is known from before a restart. */
MUST_USE enum status holding_adopted(struct holding *holding);
/* Nothing new is begun; what is under way ends with the engine. */
void holding_stop(struct holding *holding);
/* After the engine was closed. */
void holding_close(struct holding *holding);

struct holding_stretch holding_stretch_of(uint32_t range, uint32_t range_count);

/* What a request with this stamp is told for a range, given that the stamp is not newer than the
 * topology: STATUS_OK, STATUS_STALE, STATUS_BEHIND. */
static inline enum status holding_judge(const struct holding *holding, uint32_t range,
                                        const struct topology_stamp *stamp)
{
    const struct holding_gate *gate = &holding->gates[range];
    bool current = stamp->epoch >= gate->epoch &&
                   stamp->generation.number >= holding->topology->stamp.generation.number;
    if (!current || gate->state == HOLDING_OUT) {
        return STATUS_STALE;
    }
    return gate->state == HOLDING_OPEN ? STATUS_OK : STATUS_BEHIND;
}

/* The same at two moments: all that was open between them stayed so, and was not excised. */
uint64_t holding_turn(const struct holding *holding, uint32_t first_range, uint32_t last_range);

/* What the driver is told, but for the bytes of a stream and its troubles. */
void holding_state(const struct holding *holding, uint32_t range,
                   struct message_range_state *state);
/* Whether this node may be streamed from. STATUS_OK, STATUS_BEHIND: not yet; STATUS_STALE: not in
 * this session. */
MUST_USE enum status holding_source_check(const struct holding *holding, uint32_t range,
                                          uint64_t session);
/* Whether this node may take a stream in the range's session, and has not had all of it. */
bool holding_hungry(const struct holding *holding, uint32_t range);
/* Everything that had to be merged in that session is, durably. */
void holding_fed(struct holding *holding, uint32_t range, uint64_t session);
/* From a pin to its end the stretch is not excised. */
void holding_pin(struct holding *holding, uint32_t range);
void holding_unpin(struct holding *holding, uint32_t range);

/* Ranges this node is entering, and those it left whose stretch is not yet gone. */
void holding_counts(const struct holding *holding, uint32_t *entering, uint32_t *leaving);

#endif
