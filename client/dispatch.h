/*
 * client/dispatch.h -- which node gets an operation, and what happens when it does not answer.
 *
 *     submit --> WAITING --> SENT --> DONE
 *                   ^          |
 *                   +----------+      lost or refused, and another try is allowed
 *
 * A write goes to the replica its token picks, so that writes of one key keep to one connection
 * while nothing fails; reads go round the replicas. A node that failed is avoided for a while. A
 * round tries each candidate once; after a round without success the next one waits, longer and
 * longer. The ring is asked for anew every 30 s and after a failure.
 * A node that failed gets no work, if others can do it, before it answered a PING: a paused process
 * still accepts connections, and each operation given to it would wait for its deadline.
 *
 * Contract:
 *  (1) Everything happens inside dispatch_drive() and dispatch_poke(), on the caller's thread.
 *  (2) Replies that are there are read before a deadline is judged, so a caller that was busy
 *      elsewhere never blames a node for it.
 */
#ifndef CLIENT_DISPATCH_H
#define CLIENT_DISPATCH_H

#include <poll.h>

#include "client/client.h"
#include "client/connection.h"
#include "client/operation.h"

#define DISPATCH_TARGET_COUNT_MAX (KV_MEMBER_COUNT_MAX + KV_ENDPOINT_COUNT_MAX)
#define DISPATCH_ANSWER_GRACE_MS 500 /* Beyond the deadline told to the node. */
#define DISPATCH_BACKOFF_MS_MIN 20
#define DISPATCH_BACKOFF_MS_MAX 1000
#define DISPATCH_AVOID_MS_MIN 250 /* Doubles with each failure in a row. */
#define DISPATCH_AVOID_MS_MAX 4000
#define DISPATCH_REFRESH_MS 30000
#define DISPATCH_REFRESH_MS_MIN 1000 /* Between two requests for the ring. */

/* A node that can be spoken to. */
struct target {
    struct connection connection;
    char name[ADDRESS_TEXT_SIZE_MAX];
    bool endpoint;          /* Named in the options. */
    bool member;            /* Of the ring last learnt. */
    uint32_t pin_count;     /* Operations that name it. */
    uint32_t failure_count; /* In a row; above 0 it is avoided. */
    uint64_t probe_at_ns;   /* When to ask whether it is well again. */
    struct operation probe;
};

struct kv_client {
    uint64_t connect_timeout_ns;
    uint64_t answer_timeout_ns;
    uint32_t timeout_ms;
    uint32_t try_count_max;
    enum kv_level read_level;
    enum kv_level write_level;
    bool retry_writes;
    bool routing;
    struct target *targets[DISPATCH_TARGET_COUNT_MAX];
    uint32_t target_count;
    uint32_t rotation;
    struct kv_ring ring;
    bool ring_known;
    struct target *member_targets[KV_MEMBER_COUNT_MAX]; /* Of ring.members; NULL: no address. */
    uint16_t keyspace;
    struct list_node waiting;
    struct operation refresh;
    bool refresh_wanted;
    uint64_t refresh_due_ns;
    uint64_t refresh_not_before_ns;
    struct operation direct; /* Of the blocking calls. */
    struct pollfd polls[DISPATCH_TARGET_COUNT_MAX];
    struct target *polled[DISPATCH_TARGET_COUNT_MAX];
};

uint64_t dispatch_now_ns(void);
/* The target of this address, made if it is new. NULL: no memory, or too many. */
struct target *dispatch_target(struct kv_client *client, const struct address *address);
/* Puts an encoded operation in line. */
void dispatch_submit(struct kv_client *client, struct operation *operation);
/* Takes an operation out wherever it is; if it was sent, its connection is closed. */
void dispatch_abandon(struct kv_client *client, struct operation *operation);
/* Until the operation is done. */
void dispatch_drive(struct kv_client *client, const struct operation *operation);
/* Sends and reads what can be without waiting. */
void dispatch_poke(struct kv_client *client);
/* Asks for the ring if it is not known and was not asked for just now; waits for the answer. */
void dispatch_learn(struct kv_client *client);
/* Asks for the ring now; client->refresh.result tells how it went. */
void dispatch_refresh(struct kv_client *client);
/* Takes over a ring that a node answered. False: it made no sense, or no memory. */
bool dispatch_adopt(struct kv_client *client, struct slice json);

#endif
