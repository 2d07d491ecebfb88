/*
 * ring/topology.h -- who the members are and who owns what: a pure state machine.
 *
 * It changes only by commands that the one Raft group committed, applied in the same order on every
 * node. No I/O, no clock, no chance: what a command needs of those it carries.
 * Invariants:
 *  (1) `epoch` counts accepted changes; a refused command changes nothing, the epoch included.
 *  (2) epoch_hash = H(previous hash, command): two topologies of one cluster with the same epoch
 *      and hash are equal.
 *  (3) Every range has at least one replica, all of them members, distinct.
 *  (4) The cluster id, range count, replica count and the classes of keyspaces never change after
 *      bootstrap (the replica count: until an ownership operation for it exists).
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
#define TOPOLOGY_COMMAND_SIZE_MAX (1u << 20)

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
 *   JOINING --> ACTIVE --> LEAVING --> (removed)
 *      |
 *      +--> (removed)
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
    bool voter; /* Of the Raft group. */
    char zone[RING_ZONE_SIZE_MAX];
    char peer_address[ADDRESS_TEXT_SIZE_MAX];
    char client_address[ADDRESS_TEXT_SIZE_MAX];
    char admin_address[ADDRESS_TEXT_SIZE_MAX];
};

enum topology_stage {
    TOPOLOGY_STABLE = 0,
    TOPOLOGY_WRITE_BOTH_READ_OLD = 1,
    TOPOLOGY_WRITE_BOTH_READ_NEW = 2,
};

struct topology_range {
    struct ring_replicas replicas; /* Those that answer now. */
    struct ring_replicas next;     /* Those to come; count 0 while STABLE. */
    enum topology_stage stage;
    uint64_t epoch; /* Of the last command that changed this range: its fence. */
};

enum topology_class { TOPOLOGY_EVENTUAL = 1, TOPOLOGY_STRONG = 2 };

struct topology_keyspace {
    uint16_t number;
    enum topology_class class;
    char name[TOPOLOGY_KEYSPACE_NAME_SIZE_MAX];
};

struct topology {
    uint64_t cluster_id; /* 0: not bootstrapped; then all below is empty. */
    struct topology_stamp stamp;
    uint32_t replica_count; /* The replication factor. */
    uint32_t range_count;
    uint32_t member_count;
    uint32_t keyspace_count;
    struct topology_member *members;     /* Sorted by id. Owned. */
    struct topology_range *ranges;       /* range_count of them. Owned. */
    struct topology_keyspace *keyspaces; /* Sorted by number. Owned. */
};

enum topology_command_type {
    TOPOLOGY_BOOTSTRAP = 1,
    TOPOLOGY_MEMBER_ADD = 2,    /* Enters as JOINING. */
    TOPOLOGY_MEMBER_UPDATE = 3, /* Addresses, weight, zone; by id. */
    TOPOLOGY_MEMBER_STATE = 4,
    TOPOLOGY_MEMBER_REMOVE = 5, /* Only one that no range names. */
};

/* A decoded command; which fields count depends on the type. Arrays are borrowed. */
struct topology_command {
    enum topology_command_type type;
    uint64_t request_id;     /* Random; told back in logs, tells retries apart. */
    uint64_t expected_epoch; /* Refused unless the epoch is this. */
    /* BOOTSTRAP */
    uint64_t cluster_id;
    uint64_t generation_id;
    uint32_t replica_count;
    uint32_t range_count;
    const struct topology_member *members;
    uint32_t member_count;
    const struct topology_keyspace *keyspaces;
    uint32_t keyspace_count;
    /* MEMBER_ADD, MEMBER_UPDATE (all of it); MEMBER_STATE (id, state); MEMBER_REMOVE (id) */
    struct topology_member member;
};

void topology_init(struct topology *topology);
void topology_deinit(struct topology *topology);
/* The copy owns its arrays. */
MUST_USE enum status topology_copy(struct topology *to, const struct topology *from);

void topology_command_encode(struct buffer *to, const struct topology_command *command);

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

/* A whole topology as bytes, for Raft snapshots and for nodes that are behind. */
void topology_encode(struct buffer *to, const struct topology *topology);
/* STATUS_CORRUPT unless every invariant holds. `topology` must be initialised; what it held goes.
 */
MUST_USE enum status topology_decode(struct topology *topology, struct slice bytes);

const struct topology_member *topology_member_find(const struct topology *topology, uint32_t id);
const struct topology_range *topology_range_of(const struct topology *topology, uint64_t token);
const struct topology_keyspace *topology_keyspace_find(const struct topology *topology,
                                                       uint16_t number);
/* By generation number, then epoch. Negative, 0 or positive; hashes are not looked at. */
int topology_stamp_compare(const struct topology_stamp *a, const struct topology_stamp *b);
void topology_stamp_put(struct buffer *to, const struct topology_stamp *stamp);
struct codec_reader;
struct topology_stamp topology_stamp_get(struct codec_reader *reader);

#endif
