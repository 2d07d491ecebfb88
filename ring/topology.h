/*
 * ring/topology.h -- who the members are and who owns what: a pure state machine.
 *
 * It changes only by commands that the one Raft group committed, applied in the same order on every
 * node. No I/O, no clock, no chance: what a command needs of those it carries.
 *
 * Ownership changes by plans. Changes are staged one by one, each judged as if those before it had
 * happened; committing the plan changes the members and lays down for every range where it is to
 * end, its goal. Ranges then get there each on its own, by STEPS that the Raft leader's driver
 * proposes. The machine checks that a step is allowed where the range stands; that the fence of the
 * step before it counts (topology_barrier) is the driver's to know. Why it is done so:
 * docs/decisions/0011-ownership-changes-range-by-range.md.
 * Invariants:
 *  (1) `epoch` counts accepted changes; a refused command changes nothing, the epoch included.
 *  (2) epoch_hash = H(previous hash, command): two topologies of one cluster with the same epoch
 *      and hash are equal.
 *  (3) Every range has at least one replica, all of them members, distinct; so have `next` and
 *      `goal` where they are given.
 *  (4) The cluster id and range count never change after bootstrap; a keyspace never changes once
 *      it is created, and its number is never given again.
 *  (5) A STABLE range has no `next` and no session, and a goal only if that is another set than its
 *      replicas. A range in an operation has `next`, a session and a goal.
 *  (6) A range in an operation took as many epochs as steps: session <= epoch, and epoch only
 *      grows.
 *  (7) No goal names a member that is JOINING, and none that is LEAVING unless the range holds it.
 * Commands and snapshots are docs/formats/topology.md.
 */
#ifndef RING_TOPOLOGY_H
#define RING_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"
#include "ring/ring.h"

#define TOPOLOGY_KEYSPACE_COUNT_MAX 64
#define TOPOLOGY_KEYSPACE_NAME_SIZE_MAX 32
#define TOPOLOGY_KEYSPACE_FIRST 2               /* Least number that KEYSPACE_CREATE gives. */
#define TOPOLOGY_TTL_MS_MAX (UINT64_C(1) << 42) /* Of values, unless they say it: 139 years. */
#define TOPOLOGY_COMMAND_SIZE_MAX (1u << 20)
#define TOPOLOGY_VOTER_COUNT_MAX 5
#define TOPOLOGY_CHANGE_COUNT_MAX 64 /* Of one plan. */
#define TOPOLOGY_STEP_COUNT_MAX 256  /* Of one command. */
#define TOPOLOGY_HISTORY_COUNT_MAX 32
#define TOPOLOGY_RANGE_ALL UINT32_MAX /* ACCEPT_LOSS: wherever a majority is lost. */

/* Orders configurations over the life of a cluster; greater wins. */
struct topology_generation {
    uint32_t number; /* 1 at bootstrap; grows only by recovery from a lost Raft majority. */
    uint64_t id;     /* Random: tells two recoveries apart. */
};

/* What a request carries, so that two nodes notice when they do not agree. */
struct topology_stamp {
    struct topology_generation generation;
    uint64_t epoch;
    uint64_t hash;
};

/*
 *   JOINING --> ACTIVE <--> LEAVING --> (removed)
 *      |
 *      +--> (removed)
 *
 * The committing of a plan makes JOINING ones ACTIVE and ACTIVE ones LEAVING; an abort makes
 * LEAVING ones ACTIVE again, unless they are lost.
 */
enum topology_member_state {
    TOPOLOGY_JOINING = 1, /* Known, owns nothing yet. */
    TOPOLOGY_ACTIVE = 2,
    TOPOLOGY_LEAVING = 3, /* Takes no new ranges. */
};

struct topology_member {
    uint32_t id;
    uint32_t weight;
    enum topology_member_state state;
    bool voter;        /* Of the Raft group. */
    bool lost;         /* Declared dead by a REPLACE; then LEAVING, and no source of any stream. */
    uint32_t replaces; /* The lost member that it came for, while that is there; else 0. */
    uint64_t disk_id;  /* 0: not known. Once known it never changes. */
    char zone[RING_ZONE_SIZE_MAX];
    char peer_address[ADDRESS_TEXT_SIZE_MAX];
    char client_address[ADDRESS_TEXT_SIZE_MAX];
    char admin_address[ADDRESS_TEXT_SIZE_MAX];
};

/*
 *             BEGIN                        READ_NEW                        FINISH
 *   STABLE ----------> WRITE_BOTH_READ_OLD ----------> WRITE_BOTH_READ_NEW ----------> STABLE
 *     ^                         |
 *     +-------------------------+ BACK
 */
enum topology_stage {
    TOPOLOGY_STABLE = 0,
    TOPOLOGY_WRITE_BOTH_READ_OLD = 1,
    TOPOLOGY_WRITE_BOTH_READ_NEW = 2,
};

struct topology_range {
    /* Those that answer now. Their order is a preference: a commit may change it without an epoch.
     */
    struct ring_replicas replicas;
    struct ring_replicas next; /* Those to come; count 0 while STABLE. */
    /* Where it is to end; count 0: where it is. In an operation it may be other than `next`: a
     * later plan changed its mind, and another operation follows; or it is `replicas` again, and
     * the driver takes the operation BACK (topology_range_goes_back). */
    struct ring_replicas goal;
    enum topology_stage stage;
    bool merge_all; /* Of the operation: each of `next` first merges a majority of `replicas`. */
    bool loss_accepted; /* By ACCEPT_LOSS, until an operation finishes: survivors are enough. */
    uint64_t epoch;     /* Of the last command that took this range a step: its fence. */
    uint64_t session;   /* Epoch of the operation's BEGIN; 0 while STABLE. */
};

enum topology_class { TOPOLOGY_EVENTUAL = 1, TOPOLOGY_STRONG = 2 };

/* How many replicas must answer for a client that does not say so itself. */
enum topology_level {
    TOPOLOGY_LEVEL_NODE = 0, /* As the node it asks is configured. */
    TOPOLOGY_LEVEL_ONE = 1,
    TOPOLOGY_LEVEL_QUORUM = 2,
    TOPOLOGY_LEVEL_ALL = 3,
};

struct topology_keyspace {
    uint16_t number; /* Below KEYSPACE_COUNT_MAX. */
    enum topology_class class;
    char name[TOPOLOGY_KEYSPACE_NAME_SIZE_MAX];
    enum topology_level read_level; /* Of a strong one LEVEL_NODE: it knows no levels. */
    enum topology_level write_level;
    uint64_t ttl_ms; /* Of values set without an expiry; 0: for ever. Up to TTL_MS_MAX. */
};

enum topology_change_type {
    TOPOLOGY_JOIN = 1,    /* id, weight (0: as announced): JOINING becomes ACTIVE. */
    TOPOLOGY_LEAVE = 2,   /* id */
    TOPOLOGY_REPLACE = 3, /* id is lost; to_id, JOINING until now, takes its places. */
    TOPOLOGY_WEIGHT = 4,  /* id, weight */
    TOPOLOGY_ZONE = 5,    /* id, zone */
    TOPOLOGY_MOVE = 6,    /* range: from id to to_id. */
    TOPOLOGY_FACTOR = 7,  /* replica_count */
};

/* Which fields count depends on the type; the others are 0. */
struct topology_change {
    enum topology_change_type type;
    uint32_t id;
    uint32_t to_id;
    uint32_t weight;
    uint32_t range;
    uint32_t replica_count;
    char zone[RING_ZONE_SIZE_MAX];
};

enum topology_outcome {
    TOPOLOGY_OPEN = 0,
    TOPOLOGY_DONE = 1,       /* Every goal is reached, every leaver removed. */
    TOPOLOGY_ABORTED = 2,    /* By an operator; some of it may have happened. */
    TOPOLOGY_SUPERSEDED = 3, /* A later plan took over what was left. */
};

struct topology_plan {
    uint64_t id; /* Epoch of its first PLAN_STAGE; 0: there is no plan. */
    uint64_t committed_epoch;
    uint64_t ended_epoch;
    enum topology_outcome outcome;
    uint32_t move_count;  /* Replicas to copy, as its goals were laid. */
    uint32_t moved_count; /* Replicas copied by operations that finished while it ran. */
    uint32_t loss_count;  /* Ranges for which ACCEPT_LOSS was said while it ran. */
    uint32_t change_count;
    struct topology_change changes[TOPOLOGY_CHANGE_COUNT_MAX];
};

struct topology {
    uint64_t cluster_id; /* 0: not bootstrapped; then all below is empty. */
    struct topology_stamp stamp;
    uint32_t replica_count; /* The replication factor. */
    uint32_t range_count;
    uint32_t member_count;
    uint32_t keyspace_count;
    uint32_t history_count;
    struct topology_member *members;     /* Sorted by id. Owned. */
    struct topology_range *ranges;       /* range_count of them. Owned. */
    struct topology_keyspace *keyspaces; /* Sorted by number. Owned. */
    /* Plans that ended, oldest first; the oldest makes room. Owned, of HISTORY_COUNT_MAX: the end
     * of a plan must not need memory. */
    struct topology_plan *history;
    struct topology_plan staged;  /* Not committed yet. */
    struct topology_plan running; /* Committed, not ended. Goals may also outlive an abort. */
};

enum topology_command_type {
    TOPOLOGY_BOOTSTRAP = 1,
    TOPOLOGY_MEMBER_ADD = 2,    /* Enters as JOINING, without a vote. */
    TOPOLOGY_MEMBER_UPDATE = 3, /* Addresses, a disk not known; weight and zone while JOINING. */
    /* 4 set states, before there were plans. */
    TOPOLOGY_MEMBER_REMOVE = 5, /* Only one that no range names, not ACTIVE and without a vote. */
    TOPOLOGY_PLAN_STAGE = 6,
    TOPOLOGY_PLAN_CLEAR = 7,
    TOPOLOGY_PLAN_COMMIT = 8,
    TOPOLOGY_PLAN_ABORT = 9,
    TOPOLOGY_STEPS = 10, /* All of them, or none. */
    TOPOLOGY_VOTERS = 11,
    TOPOLOGY_ACCEPT_LOSS = 12,
    TOPOLOGY_KEYSPACE_CREATE = 13, /* Its number is the least that is free from FIRST on. */
};

enum topology_step_type {
    TOPOLOGY_BEGIN = 1,    /* STABLE: next := goal; the new epoch is the operation's session. */
    TOPOLOGY_READ_NEW = 2, /* Once all of `next` that must stream have; not if it goes back. */
    TOPOLOGY_FINISH = 3,   /* replicas := next; the goal goes if reached. */
    TOPOLOGY_BACK = 4,     /* From WRITE_BOTH_READ_OLD: all as it was, and the goal stays. */
};

struct topology_step {
    enum topology_step_type type;
    uint32_t range;   /* Those of one command rise. */
    bool merge_all;   /* BEGIN only; topology_must_merge_all says when it has to be. */
    uint64_t session; /* Of the operation; of BEGIN, the epoch the range is expected to have. */
};

/* A decoded command; which fields count depends on the type. Arrays are borrowed. */
struct topology_command {
    enum topology_command_type type;
    uint64_t request_id;     /* Random; told back in logs, tells retries apart. */
    uint64_t expected_epoch; /* Refused unless the epoch is this; 0 after bootstrap: any. */
    /* BOOTSTRAP */
    uint64_t cluster_id;
    uint64_t generation_id;
    uint32_t replica_count;
    uint32_t range_count;
    const struct topology_member *members;
    uint32_t member_count;
    const struct topology_keyspace *keyspaces;
    uint32_t keyspace_count;
    /* MEMBER_ADD, MEMBER_UPDATE (all of it); MEMBER_REMOVE (id) */
    struct topology_member member;
    /* PLAN_STAGE */
    struct topology_change change;
    /* PLAN_COMMIT (of the staged plan); PLAN_ABORT, ACCEPT_LOSS (of the running one) */
    uint64_t plan_id;
    /* STEPS */
    const struct topology_step *steps;
    uint32_t step_count;
    /* VOTERS: rising ids of all that vote. */
    const uint32_t *voters;
    uint32_t voter_count;
    /* ACCEPT_LOSS */
    uint32_t range; /* Or TOPOLOGY_RANGE_ALL. */
    /* KEYSPACE_CREATE (all but its number) */
    struct topology_keyspace keyspace;
};

void topology_init(struct topology *topology);
void topology_deinit(struct topology *topology);
/* The copy owns its arrays. */
MUST_USE enum status topology_copy(struct topology *to, const struct topology *from);

void topology_command_encode(struct buffer *to, const struct topology_command *command);
/* Checks the whole of an encoded command and tells its type and request id. STATUS_CORRUPT,
 * STATUS_NO_MEMORY. */
MUST_USE enum status topology_command_peek(struct slice bytes, enum topology_command_type *type,
                                           uint64_t *request_id);

/*
 * Applies one encoded command.
 * STATUS_OK       applied; the epoch has grown by one.
 * STATUS_STALE    expected_epoch is not the epoch.
 * STATUS_REFUSED  a rule forbids it; *reason says which (static storage).
 * STATUS_CORRUPT  does not decode: refused in the same way everywhere.
 * STATUS_NO_MEMORY  nothing changed; the caller must stop, since others went on.
 */
MUST_USE enum status topology_apply(struct topology *topology, struct slice command,
                                    const char **reason);

/*
 * Begins a new generation, from the greatest topology that is left after a majority of the voters
 * was lost for good: by no command, since none can be committed. `voter_id`, a member, votes alone.
 * All else stays, the epoch too; what older members of the last generation still commit is less.
 */
void topology_generation_begin(struct topology *topology, uint64_t generation_id,
                               uint32_t voter_id);

/* A whole topology as bytes, for Raft snapshots and for nodes that are behind. */
void topology_encode(struct buffer *to, const struct topology *topology);
/* STATUS_CORRUPT unless every invariant holds. `topology` must be initialised; what it held goes.
 */
MUST_USE enum status topology_decode(struct topology *topology, struct slice bytes);
/* Why bytes are no topology. */
struct topology_fault {
    const char *why; /* Static storage. */
    uint32_t range;  /* The one it is about, or TOPOLOGY_NO_RANGE. */
};
#define TOPOLOGY_NO_RANGE UINT32_MAX
/* As topology_decode; `fault` says more where that is STATUS_CORRUPT. */
MUST_USE enum status topology_decode_judged(struct topology *topology, struct slice bytes,
                                            struct topology_fault *fault);

const struct topology_member *topology_member_find(const struct topology *topology, uint32_t id);
const struct topology_range *topology_range_of(const struct topology *topology, uint64_t token);
const struct topology_keyspace *topology_keyspace_find(const struct topology *topology,
                                                       uint16_t number);
const struct topology_keyspace *topology_keyspace_named(const struct topology *topology,
                                                        struct slice name);
/* By generation number, then epoch. Negative, 0 or positive; hashes are not looked at. */
int topology_stamp_compare(const struct topology_stamp *a, const struct topology_stamp *b);
void topology_stamp_put(struct buffer *to, const struct topology_stamp *stamp);
struct codec_reader;
struct topology_stamp topology_stamp_get(struct codec_reader *reader);

/* ------------------------------------------------------------------ operations on a range */

/* Whether some range names the member: as a replica, one to come or as a goal. */
bool topology_member_is_named(const struct topology *topology, uint32_t id);
/* In WRITE_BOTH_READ_OLD, with `replicas` for a goal: it is to end as it began. */
bool topology_range_goes_back(const struct topology_range *range);

/* Whether an operation from `replicas` to `goal` cannot do with one source for each that enters:
 * their number changes, loss was accepted, or a source that would be the only one is lost. */
bool topology_must_merge_all(const struct topology *topology, const struct topology_range *range);

/* Whom a member of `next` must stream from before READ_NEW. */
struct topology_sources {
    uint32_t ids[RING_REPLICA_COUNT_MAX];
    uint32_t count;
    uint32_t need; /* So many of them must be merged in full; 0: it has what it needs. */
};

/*
 * Of the operation under way. Without merge_all the ones that stay need nothing, and of those that
 * enter, in the order of `next`, each takes over one that leaves, in the order of `replicas`, and
 * streams from that one alone. With merge_all, or if as many do not enter as leave, each merges a
 * majority of `replicas`, where a target that is one of them counts. Where loss was accepted: every
 * replica that is not lost. Nothing for a range that is STABLE and for who is not in `next`.
 */
void topology_sources(const struct topology *topology, const struct topology_range *range,
                      uint32_t target_id, struct topology_sources *sources);

/* How many of each set must have persisted a fence before it counts. */
struct topology_barrier {
    uint32_t replicas; /* A majority; where loss was accepted at most those that are not lost. */
    uint32_t next;     /* Likewise; 0 while STABLE. */
};
struct topology_barrier topology_barrier_of(const struct topology *topology,
                                            const struct topology_range *range);

/* ------------------------------------------------------------------ what a plan would do */

struct topology_preview_member {
    uint32_t id;
    uint32_t range_count;       /* Ranges held, as they are on the way to be by now. */
    uint32_t range_count_after; /* By the goals that committing would lay. */
    uint32_t copy_in_count;     /* Replicas it would have to receive, */
    uint32_t copy_out_count;    /* and to send, where it is a source. */
    uint32_t share_ppm;         /* Of all replicas, as held. */
    uint32_t share_ppm_after;   /* As held then. */
    uint32_t share_ppm_fair;    /* What its weight and zone allow, by the plan. */
};

struct topology_preview {
    uint32_t member_count;
    struct topology_preview_member *members; /* By rising id. Owned. */
    uint32_t range_count;                    /* Ranges with another set of replicas in the end. */
    uint32_t move_count;                     /* Replicas to copy. */
    uint32_t move_count_min; /* Any plan that gives members these many ranges copies as many. */
};

/*
 * What committing the staged plan would lay down; with nothing staged, what is still to do.
 * STATUS_REFUSED  it would be refused; *reason says why. STATUS_NO_MEMORY.
 */
MUST_USE enum status topology_preview_init(struct topology_preview *preview,
                                           const struct topology *topology, const char **reason);
void topology_preview_deinit(struct topology_preview *preview);

#endif
