/*
 * node/coordinator_internal.h -- what the reads, writes and scans of a coordinator share.
 *
 * An operation has one slot per replica. Whatever happens to a slot (an answer, a lost connection,
 * time) changes its state and then has the operation judged: a look at all slots that asks more,
 * ends the operation or waits. So the order in which things happen never matters.
 * While a range moves two sets of replicas are live: the old, which was complete when it began, and
 * the new, which is complete when it ends. What an operation needs it then needs of each.
 */
#ifndef NODE_COORDINATOR_INTERNAL_H
#define NODE_COORDINATOR_INTERNAL_H

#include "base/env.h"
#include "base/list.h"
#include "node/coordinator.h"
#include "node/peers.h"
#include "node/replica.h"
#include "node/timekeeper.h"

/* How often a slot whose node was unreachable is tried again within the deadline; one whose node
 * had another topology sooner at first, each time after twice as long. */
#define OPERATION_RETRY_MS 25
#define OPERATION_RETRY_BEHIND_MS UINT64_C(2)

#define SLOT_COUNT_MAX (2 * RING_REPLICA_COUNT_MAX)

/* Replicas counted in each set; while a range is stable there is no new one, and its count is 0. */
struct tally {
    uint16_t old_count;
    uint16_t new_count;
};

static inline void tally_add(struct tally *tally, struct tally more)
{
    tally->old_count = (uint16_t)(tally->old_count + more.old_count);
    tally->new_count = (uint16_t)(tally->new_count + more.new_count);
}

static inline bool tally_reaches(struct tally tally, struct tally needed)
{
    return tally.old_count >= needed.old_count && tally.new_count >= needed.new_count;
}

/* One more with this vote would bring it closer to what is needed. */
static inline bool tally_wants(struct tally tally, struct tally needed, struct tally vote)
{
    return (vote.old_count > 0 && tally.old_count < needed.old_count) ||
           (vote.new_count > 0 && tally.new_count < needed.new_count);
}

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
    struct tally vote; /* 1 in each set that it is of. */
    enum slot_state state;
    enum status status;    /* Of its last answer or refusal. */
    uint32_t behind_count; /* Refusals for want of the same topology. */
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
    bool reads; /* Not a write. */
    /* True ends the operation with *status. It may ask slots, and set wake_ns to be judged again
     * before the deadline. */
    bool (*judge)(struct operation *operation, enum status *status);
    void (*finish)(struct operation *operation, enum status status);
    /* Takes a good answer into the slot; STATUS_CORRUPT if it does not decode. */
    enum status (*remote)(struct slot *slot, const struct frame *reply);
    void (*local)(struct slot *slot, struct replica_operation *done);
    /* Ranges changed: sets anew what the operation asks of them. NULL: nothing to set. */
    enum status (*aim)(struct operation *operation);
    /* What a deadline means. */
    enum status (*late)(const struct operation *operation);
};

struct operation {
    struct list_node node;
    struct coordinator *coordinator;
    const struct operation_kind *kind;
    void *request; /* The caller's struct coordinator_read, _write or _scan. */
    enum level level;
    struct tally needed;
    struct tally alive;          /* When its slots were laid. */
    struct topology_stamp stamp; /* Its ranges have not changed since the slots were laid. */
    bool applied;                /* Slots given up before may have applied it. */
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
    struct slot slots[SLOT_COUNT_MAX]; /* Only the first slot_count are ever touched. */
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
/* Lays its first slots. False if fewer than it needs are up: then it has ended. */
MUST_USE bool operation_aim(struct operation *operation);
/* Slots for the replicas of its range: this node, then those that are up, then the others. */
void slots_lay(struct operation *operation);
void slots_give_up(struct operation *operation);
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
struct tally operation_tally(const struct operation *operation, enum slot_state state);
/* OPEN slots whose node is up, now or later. */
struct tally operation_hopes(const struct operation *operation);
void operation_wake(struct operation *operation, uint64_t at_ns); /* The earliest counts. */
/* Of the set that lacks more. */
struct coordinator_outcome operation_outcome(const struct operation *operation);
void calls_free(struct coordinator *coordinator); /* Those kept for reuse. */
MUST_USE enum status engine_key_make(struct operation *operation, uint16_t keyspace,
                                     struct slice key);

#endif
