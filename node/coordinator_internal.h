/*
 * node/coordinator_internal.h -- what the reads, writes and scans of a coordinator share.
 *
 * An operation has one slot per replica. Whatever happens to a slot (an answer, a lost connection,
 * time) changes its state and then has the operation judged: a look at all slots that asks more,
 * ends the operation or waits. So the order in which things happen never matters.
 */
#ifndef NODE_COORDINATOR_INTERNAL_H
#define NODE_COORDINATOR_INTERNAL_H

#include "base/env.h"
#include "base/list.h"
#include "node/coordinator.h"
#include "node/peers.h"
#include "node/replica.h"
#include "node/timekeeper.h"

/* How often a slot whose node was behind or unreachable is tried again within the deadline. */
#define OPERATION_RETRY_MS 25

struct coordinator {
    struct coordinator_options options;
    struct env *env;
    struct list_node operations; /* Every one under way, oldest first. */
    struct list_node spare;      /* Kept for reuse. */
    uint32_t spare_count;
    struct list_node spare_calls; /* local_call.node */
    uint32_t spare_call_count;
    uint32_t local_count; /* Calls to our own replica under way. */
    bool stopping;
};

enum slot_state {
    SLOT_OPEN, /* Not asked yet, or refused for now: to be asked from `open_ns` on. */
    SLOT_ASKED,
    SLOT_ANSWERED,
    SLOT_REFUSED, /* Refused for good, with `status`; nothing was applied. */
    SLOT_LOST,    /* Asked, and no answer will come: a write may have been applied. */
};

struct operation;

/* One call of this node to its own replica; over when done, wanted or not. */
struct local_call {
    struct list_node node; /* Once over: kept for reuse. */
    struct replica_operation operation;
    struct coordinator *coordinator;
    struct slot *slot; /* NULL: given up. */
};

/* One replica of an operation. */
struct slot {
    struct operation *operation;
    uint32_t node;
    enum slot_state state;
    enum status status; /* Of its last answer or refusal. */
    uint64_t open_ns;
    bool full;      /* Asked for the whole cell. */
    bool repairing; /* What is asked is a repair, with the cell of `copied`. */
    struct cell copied;
    bool known; /* What it holds is known: `found`, and then `header`, without value. */
    bool found;
    struct cell header;
    struct version standing; /* A write's answer, when superseded. */
    struct peer_request request;
    struct local_call *local;
    struct buffer page; /* A scan's answer. */
};

struct operation_kind {
    /* True ends the operation with *status. It may ask slots, and set wake_ns to be judged again
     * before the deadline. */
    bool (*judge)(struct operation *operation, enum status *status);
    void (*finish)(struct operation *operation, enum status status);
    /* Takes a good answer into the slot; STATUS_CORRUPT if it does not decode. */
    enum status (*remote)(struct slot *slot, const struct frame *reply);
    void (*local)(struct slot *slot, struct replica_operation *done);
    /* What a deadline means. */
    enum status (*late)(const struct operation *operation);
};

struct operation {
    struct list_node node;
    struct coordinator *coordinator;
    const struct operation_kind *kind;
    void *request; /* The caller's struct coordinator_read, _write or _scan. */
    enum level level;
    uint32_t needed;
    uint32_t alive; /* When it began. */
    uint32_t range;
    uint32_t last_range; /* Of a scan; else `range`. */
    uint64_t started_ns;
    uint64_t deadline_ns;
    uint64_t charge;
    struct env_timer timer;
    uint64_t timer_ns; /* What the timer is set to; 0: not running. */
    uint64_t wake_ns;  /* Set by judge: to be judged again at. */
    uint64_t hedge_ns; /* When a read asks one more. */
    bool judging;
    bool changed; /* Something happened while judging. */
    uint32_t slot_count;
    struct slot slots[RING_REPLICA_COUNT_MAX];
    struct buffer engine_key;
    struct buffer value;   /* Backs `cell`. */
    struct buffer payload; /* Scratch: a request, encoded. */
    struct cell cell;      /* Written, or the newest read so far in full. */
    bool have_cell;        /* A read holds a full cell. */
    struct timekeeper_wait clock_wait;
    bool clock_waiting;
    struct message_scan scan;
    struct coordinator_scan_entry *entries; /* A scan's result; owned. */
};

struct operation_terms {
    void *request; /* The caller's coordinator_read, _write or _scan. */
    enum level level;
    uint64_t charge;     /* Bytes the request holds meanwhile. */
    uint32_t timeout_ms; /* 0: that of the config. */
};

/* NULL: refused, *why says how; the caller's done is yet to be called. */
MUST_USE struct operation *operation_begin(struct coordinator *coordinator,
                                           const struct operation_kind *kind,
                                           const struct operation_terms *terms, enum status *why);
/* Slots for the replicas of its range: this node, then those that are up, then the others. False if
 * fewer than it needs are up: then it has ended. */
MUST_USE bool operation_aim(struct operation *operation);
/* Counts bytes that the operation came to hold; given back at its end. */
void operation_charge(struct operation *operation, uint64_t size);
/* Judges until nothing changes; may end, and so free, the operation. */
void operation_touch(struct operation *operation);
/* Gives up what is still asked, calls kind->finish, and frees. Not while judging. */
void operation_end(struct operation *operation, enum status status);
/* Only while judging. Asks with operation->payload, encoded for a peer; `ask_local` is called for
 * our own replica instead. A slot that cannot be asked stays OPEN, for later. */
void slot_ask(struct slot *slot, enum frame_type type,
              void (*ask_local)(struct slot *slot, struct replica_operation *operation));
bool slot_up(const struct slot *slot);
/* OPEN, its time has come and its node is up. */
bool slot_askable(const struct slot *slot, uint64_t now_ns);
uint32_t operation_count(const struct operation *operation, enum slot_state state);
/* OPEN slots whose node is up, now or later. */
uint32_t operation_hopes(const struct operation *operation);
void operation_wake(struct operation *operation, uint64_t at_ns); /* The earliest counts. */
struct coordinator_outcome operation_outcome(const struct operation *operation);
MUST_USE enum status engine_key_make(struct operation *operation, uint16_t keyspace,
                                     struct slice key);

#endif
