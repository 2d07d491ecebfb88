/*
 * node/acceptor.h -- this node as one acceptor of strong keys: what it promises and what it
 * accepts.
 *
 * Why: a strong key is a register of its own (CASPaxos). The accepted cell is the stored cell, and
 * its version the ballot it was accepted under; the promise is a cell beside it, under a key that
 * differs in the keyspace alone, so that it lies in the same range and goes where the range goes.
 * Both merge by maximum, like all cells. What is not a maximum is being allowed to: that takes a
 * look at both and a write, between which no other operation on the key may come.
 * Contract:
 *  (1) A PREPARE of a ballot is granted only if it is above all that was promised or accepted; an
 *      ACCEPT only if it is not below. Copies of cells (hints, repairs) are ACCEPTs.
 *  (2) Operations on a key run one after the other, in the order they came, each from its look
 *      until what it wrote is synced. So every check sees all that was taken before it, and every
 *      answer, a refusal too, rests on what is synced.
 *  (3) Whether the request's epoch is good for its range is asked again in the turn that gives the
 *      write to the engine: none enters a range behind its fence.
 *  (4) A ballot whose time leads our clock too far is refused (node/replica.h), but not a copy's.
 *
 * Source: Rystsov, "CASPaxos: Replicated State Machines without logs", 2018. Changed: accepting
 * raises what is promised without a write of its own, since the accepted ballot counts as promised.
 */
#ifndef NODE_ACCEPTOR_H
#define NODE_ACCEPTOR_H

#include "base/list.h"
#include "node/replica.h"

/* Keyspaces of users are below; with it the number is that of their promises. */
#define ACCEPTOR_PROMISE_KEYSPACE 0x8000u
#define ACCEPTOR_KEY_COUNT_MAX 64u         /* Operations on one key, */
#define ACCEPTOR_OPERATION_COUNT_MAX 4096u /* and on all. */
#define ACCEPTOR_BUCKET_COUNT 256u

struct acceptor {
    struct replica *replica; /* Outlives it. */
    uint32_t operation_count;
    /* Operations by their key's hash, in the order they came; the first of a key is under way. */
    struct list_node buckets[ACCEPTOR_BUCKET_COUNT];
};

struct acceptor_request {
    struct slice engine_key; /* Of a user's keyspace. */
    struct topology_stamp stamp;
    bool copy; /* ACCEPT: of a cell that is stored elsewhere. */
};

/* One operation; the acceptor's from begin to done, which may come inside begin. */
struct acceptor_operation {
    /*
     * STATUS_OK         granted and durable. Of a PREPARE `found` and `cell`: what was accepted.
     * STATUS_PREEMPTED  `promised` is greater (PREPARE: or equal). Nothing was done.
     * STATUS_OVERLOADED, STATUS_REFUSED (4), STATUS_STALE, STATUS_BEHIND (3), STATUS_INVALID
     * nothing was done; so for what lsm_write() says at once. STATUS_CORRUPT, STATUS_IO,
     * STATUS_NO_MEMORY  it could not look. Nothing was done. STATUS_INDETERMINATE, STATUS_CANCELLED
     * it may be done.
     */
    void (*done)(struct acceptor_operation *operation, enum status status);
    void *context;
    /* Results, until the owner deinits the operation. */
    bool found;
    struct cell cell; /* Borrows `scratch`. */
    struct version promised;
    /* acceptor.c's. */
    struct acceptor *acceptor;
    struct list_node node;
    struct lsm_write write;
    struct env_job job;
    struct topology_stamp stamp;
    uint32_t range;
    bool prepares;
    struct version ballot;
    struct buffer engine_key;
    struct buffer promise_key;
    struct buffer proposed; /* The cell to be accepted, encoded. */
    struct buffer scratch;
    struct buffer promise_scratch;
    struct cell promise; /* Borrows promise_scratch. */
    enum status looked;  /* At the accepted cell, */
    enum status looked_promise;
};

void acceptor_init(struct acceptor *acceptor, struct replica *replica);
/* No operation is under way. */
void acceptor_deinit(const struct acceptor *acceptor);

/* Slices of requests need to live only until the call returns. `operation` is zeroed but for done
 * and context. */
void acceptor_prepare(struct acceptor *acceptor, const struct acceptor_request *request,
                      struct version ballot, struct acceptor_operation *operation);
/* The cell's version is the ballot. */
void acceptor_accept(struct acceptor *acceptor, const struct acceptor_request *request,
                     const struct cell *cell, struct acceptor_operation *operation);
void acceptor_operation_deinit(struct acceptor_operation *operation);

#endif
