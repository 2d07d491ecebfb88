/*
 * client/client.h -- the C client library: blocking calls and pipelines on a cluster of Ringkv.
 *
 * It learns the ring from the nodes, sends each key to one of its replicas, goes to another node
 * when one does not answer, and tells what surely did not happen from what may have.
 * Contract:
 *  (1) Every operation ends, in one of the four outcomes of enum kv_outcome. KV_FAILED is said only
 *      of what no replica applies, now or later; everything doubtful is KV_INDETERMINATE.
 *  (2) Reads are tried again freely. A write is tried again only after an answer that says nothing
 *      was done, or when none of its bytes had left; with `retry_writes` after any failure, which
 * is harmless only while nobody else writes the key: a retry may overwrite their newer value. (3) A
 * client and what was opened from it belong to one thread at a time; two clients share nothing. (4)
 * Nothing here writes to a terminal, starts threads or installs signal handlers.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/contract.h"
#include "base/slice.h"
#include "base/status.h"

#define KV_ENDPOINTS_DEFAULT "127.0.0.1:7400"
#define KV_ENDPOINT_COUNT_MAX 64
#define KV_MEMBER_COUNT_MAX 256
#define KV_RANGE_COUNT_MAX 16384
#define KV_REPLICA_COUNT_MAX 7
#define KV_KEYSPACE_COUNT_MAX 64
#define KV_PIPELINE_DEPTH_MAX 4096
#define KV_MESSAGE_SIZE_MAX 512
#define KV_NAME_SIZE_MAX 64     /* Versions, operation ids, states, zones; with the terminator. */
#define KV_ADDRESS_SIZE_MAX 264 /* "host:port", with the terminator. */

struct kv_client;

enum kv_outcome {
    KV_OK,
    KV_NOT_FOUND,     /* No such key; or a scan's end. */
    KV_FAILED,        /* Nothing was done; `reason` says why. */
    KV_INDETERMINATE, /* A write that may have been applied, or may yet be. */
};

/* Why an outcome is not KV_OK; the one of the last try. */
enum kv_reason {
    KV_REASON_NONE,
    KV_REASON_UNREACHABLE, /* No node answers at all. */
    KV_REASON_BROKEN,      /* The connection was lost before the answer. */
    KV_REASON_TIMEOUT,     /* No answer in time, from the node or from its replicas. */
    KV_REASON_UNAVAILABLE, /* Too few replicas are up for the level; also NOQUORUM. */
    KV_REASON_OVERLOADED,
    KV_REASON_READ_ONLY,
    KV_REASON_LOADING,  /* The node does not serve yet. */
    KV_REASON_CONFLICT, /* A newer value was written meanwhile. */
    KV_REASON_DENIED,   /* Not authenticated, or not permitted. */
    KV_REASON_REFUSED,  /* The node understood and says no (-ERR). */
    KV_REASON_PROTOCOL, /* The answer made no sense. */
    KV_REASON_NO_MEMORY,
};

enum kv_level { KV_LEVEL_DEFAULT, KV_LEVEL_ONE, KV_LEVEL_QUORUM, KV_LEVEL_ALL };

/* Zeros mean the defaults in brackets. */
struct kv_options {
    const char *endpoints;       /* "host:port,host:port" [KV_ENDPOINTS_DEFAULT]; copied. */
    uint32_t connect_timeout_ms; /* [1000] */
    uint32_t timeout_ms;         /* Of one try; the node is told it as its deadline. [3000] */
    uint32_t try_count_max;      /* [4] */
    enum kv_level read_level; /* Of operations that name none [what the node is configured to]. */
    enum kv_level write_level;
    bool retry_writes; /* See (2). */
    bool no_routing;   /* Speak to the endpoints alone; the ring is not asked for. */
};

/* STATUS_INVALID (endpoints), STATUS_NO_MEMORY. Connects to nothing yet. */
MUST_USE enum status kv_open(const struct kv_options *options, struct kv_client **client);
void kv_close(struct kv_client *client); /* After its pipelines and scans. NULL is allowed. */

struct kv_result {
    enum kv_outcome outcome;
    enum kv_reason reason;
    struct slice key;               /* Of the operation; borrows as `value` does. */
    struct slice value;             /* Of a read; what it borrows from is said at each function. */
    uint64_t expiry_ms;             /* Unix time, 0 for never; with `meta`. */
    char version[KV_NAME_SIZE_MAX]; /* With `meta`. */
    char operation[KV_NAME_SIZE_MAX];  /* Of what is indeterminate, if the node named it. */
    char message[KV_MESSAGE_SIZE_MAX]; /* For people; empty if all went well. */
    uint32_t try_count;
    uint64_t latency_us; /* From when it was added to its end, tries and all. */
    void *context;       /* The operation's. */
};

enum kv_kind { KV_GET, KV_SET, KV_DELETE };

struct kv_operation {
    enum kv_kind kind;
    struct slice key;
    struct slice value;  /* KV_SET. */
    enum kv_level level; /* KV_LEVEL_DEFAULT: the client's. */
    uint64_t life_ms;    /* KV_SET: until it expires; 0 for never. */
    bool meta;           /* Ask for version and expiry. */
    void *context;
};

/* ---- one at a time: blocks until it is over. The result borrows until the next call on the
 * client. ---- */
enum kv_outcome kv_run(struct kv_client *client, const struct kv_operation *operation,
                       struct kv_result *result);
enum kv_outcome kv_get(struct kv_client *client, struct slice key, struct kv_result *result);
enum kv_outcome kv_set(struct kv_client *client, struct slice key, struct slice value,
                       struct kv_result *result);
enum kv_outcome kv_delete(struct kv_client *client, struct slice key, struct kv_result *result);

/* ---- many at once ----
 * Operations of a pipeline run side by side, in no order, also those on one key; results are
 * collected in the order the operations were added. */
struct kv_pipeline;
/* `depth`: operations under way or uncollected, 1 to KV_PIPELINE_DEPTH_MAX. STATUS_NO_MEMORY. */
MUST_USE enum status kv_pipeline_open(struct kv_client *client, uint32_t depth,
                                      struct kv_pipeline **pipeline);
/* What is under way is given up: writes among it may or may not happen. NULL is allowed. */
void kv_pipeline_close(struct kv_pipeline *pipeline);
uint32_t kv_pipeline_count(const struct kv_pipeline *pipeline); /* Added and not collected. */
/* Key and value are copied. The pipeline must not be full. */
void kv_pipeline_add(struct kv_pipeline *pipeline, const struct kv_operation *operation);
/* Waits for the oldest operation and takes it out. The pipeline must not be empty. The result
 * borrows until the next call on this pipeline. */
enum kv_outcome kv_pipeline_next(struct kv_pipeline *pipeline, struct kv_result *result);

/* ---- all keys ----
 * Every key that is there throughout is met at least once; one that comes or goes may be. */
struct kv_scan_options {
    const char *match;   /* A glob pattern; NULL for all. Copied. */
    uint32_t page_count; /* Keys asked for at a time [1000]. */
};
struct kv_scan;
MUST_USE enum status kv_scan_open(struct kv_client *client, const struct kv_scan_options *options,
                                  struct kv_scan **scan);
void kv_scan_close(struct kv_scan *scan);
/* KV_OK: *key borrows until the next call on the scan. KV_NOT_FOUND: that was all. KV_FAILED: ask
 * again to try the page again. */
enum kv_outcome kv_scan_next(struct kv_scan *scan, struct slice *key, struct kv_result *result);

/* ---- the cluster ---- */
struct kv_keyspace {
    uint16_t number;
    char name[KV_NAME_SIZE_MAX];
    char class_name[KV_NAME_SIZE_MAX];
};

struct kv_member {
    uint32_t id;
    uint32_t weight;
    bool voter;
    char zone[KV_NAME_SIZE_MAX];
    char state[KV_NAME_SIZE_MAX];
    char peer[KV_ADDRESS_SIZE_MAX];
    char client[KV_ADDRESS_SIZE_MAX];
    char admin[KV_ADDRESS_SIZE_MAX];
};

struct kv_replicas {
    uint32_t count;
    uint32_t ids[KV_REPLICA_COUNT_MAX]; /* Preferred first. */
};

struct kv_ring {
    uint64_t cluster_id;
    uint64_t epoch;
    uint64_t generation;
    uint64_t epoch_hash;
    uint32_t replica_count;
    uint32_t range_count; /* A power of two. */
    uint32_t keyspace_count;
    uint32_t member_count;
    struct kv_keyspace keyspaces[KV_KEYSPACE_COUNT_MAX];
    struct kv_member *members;
    struct kv_replicas *ranges;
};

/* Asks for the ring anew. On KV_OK *ring borrows until the next call on the client, and
 * result->value is the JSON it was read from. */
enum kv_outcome kv_ring(struct kv_client *client, const struct kv_ring **ring,
                        struct kv_result *result);
/* The ring as last learnt, or NULL. Borrows until the next call on the client. */
const struct kv_ring *kv_ring_known(const struct kv_client *client);
/* The member of this id, or NULL. */
const struct kv_member *kv_ring_member(const struct kv_ring *ring, uint32_t id);

struct kv_member_status {
    uint32_t id;
    char state[KV_NAME_SIZE_MAX]; /* up, suspect, down */
    bool heard;                   /* heard_ms_ago is known. */
    uint64_t heard_ms_ago;
    uint64_t key_count; /* On that node, replicas counted. */
    uint64_t stored_size;
    uint64_t epoch;
};

struct kv_status {
    uint32_t id;
    char state[KV_NAME_SIZE_MAX];
    char version[KV_NAME_SIZE_MAX];
    uint64_t cluster_id;
    uint64_t epoch;
    char raft_role[KV_NAME_SIZE_MAX];
    uint32_t raft_leader; /* 0: none known. */
    uint64_t raft_term;
    uint64_t raft_applied;
    uint32_t replica_count;
    uint64_t key_count;
    uint32_t member_count;
    struct kv_member_status members[KV_MEMBER_COUNT_MAX];
};

/* The view of the node at `endpoint`, or of any if NULL. result->value is its JSON. */
enum kv_outcome kv_status(struct kv_client *client, const char *endpoint, struct kv_status *status,
                          struct kv_result *result);

struct kv_location {
    uint32_t slot;
    uint64_t token;
    uint32_t range;
    struct kv_replicas replicas;
};
/* Where a key lies, as a node says. result->value is its JSON. */
enum kv_outcome kv_locate(struct kv_client *client, struct slice key, struct kv_location *location,
                          struct kv_result *result);

/* A command that names no key, KV.PLAN for one. */
struct kv_command {
    const struct slice *arguments; /* The name first. Copied. */
    size_t argument_count;
    const char *endpoint; /* The one node to ask, "host:port"; NULL: any. */
    bool writes;          /* It changes something: it is not tried again if it may have. */
};
/* result->value is a bulk string that was answered; it borrows until the next call on the client.
 */
enum kv_outcome kv_command(struct kv_client *client, const struct kv_command *command,
                           struct kv_result *result);

const char *kv_outcome_name(enum kv_outcome outcome); /* "ok", "not found", ... */

#endif
