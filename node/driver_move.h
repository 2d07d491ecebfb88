/*
 * node/driver_move.h -- one range in an operation, as the driver knows it: what was heard of its
 * replicas, and which step that allows.
 *
 * No I/O and no clock: facts go in, the step that is due comes out, or what it waits for.
 * Contract:
 *  (1) A fence counts once as many of the old and of the new replicas as topology_barrier_of() asks
 *      have it durable. How long it takes changes nothing; what others than those say neither, so
 *      that one wedged node holds up no operation that has its majorities without it.
 *  (2) WRITE_BOTH_READ_NEW is due only when the fence of BEGIN counts and every member of `next`
 *      that must stream says that it has, in this session. STABLE only when the fence of READ_NEW
 *      counts.
 *  (3) What a node said counts for the epoch and the session that it spoke of, never for later
 *      ones; trouble it told of only if it was asked since the range's last step.
 *  (4) A declared-dead node counts for nothing.
 */
#ifndef NODE_DRIVER_MOVE_H
#define NODE_DRIVER_MOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "node/message_stream.h"
#include "ring/topology.h"

/* The union of the old and the new replicas. */
#define DRIVER_FACT_COUNT_MAX (2 * RING_REPLICA_COUNT_MAX)

struct driver_fact {
    uint32_t node;
    struct message_range_state state; /* All zero until something was heard. */
};

struct driver_move {
    uint32_t range;
    uint64_t session;  /* Of the operation. */
    uint64_t epoch;    /* Of the range, as last followed. */
    uint64_t began_ms; /* When this driver first saw the operation, and */
    uint64_t stage_ms; /* its present stage. */
    uint32_t fact_count;
    struct driver_fact facts[DRIVER_FACT_COUNT_MAX];
};

/* Takes note of where the range stands: facts stay while the session does. */
void driver_move_follow(struct driver_move *move, const struct topology *topology, uint32_t range,
                        uint64_t now_ms);
/* What `node` said, when it was asked while the topology had `asked_epoch`. True: with this it has
 * streamed all it must, which it had not before. */
bool driver_move_hear(struct driver_move *move, const struct topology *topology, uint32_t node,
                      uint64_t asked_epoch, const struct message_range_state *state);

/* What `node` said so far; it must be one of the operation's. */
const struct message_range_state *driver_move_state(const struct driver_move *move, uint32_t node);
/* Whether anything that `node` could still say would bring the range on. */
bool driver_move_asks(const struct driver_move *move, const struct topology *topology,
                      uint32_t node);
/* Whether `node` must stream, and has not said that it did. */
bool driver_move_streams(const struct driver_move *move, const struct topology *topology,
                         uint32_t node);

/* How a node is, for choosing between ways that are all correct. */
struct driver_health {
    /* Silent for longer than the driver is patient. */
    bool (*gone)(const void *context, uint32_t node);
    const void *context;
};

enum driver_wait_type {
    DRIVER_WAIT_NONE,   /* `step` is due. */
    DRIVER_WAIT_FENCE,  /* Of `nodes`. */
    DRIVER_WAIT_ENTER,  /* Of `nodes`: they clear the stretch first. */
    DRIVER_WAIT_STREAM, /* Of `nodes`. */
};

struct driver_wait {
    enum driver_wait_type type;
    enum topology_step_type step; /* What is due, or waited for. */
    bool missing_majority;        /* FENCE: not all of `nodes` are needed. */
    uint32_t node_count;
    uint32_t nodes[DRIVER_FACT_COUNT_MAX];
};

/* The next step of the range, or what holds it up. */
struct driver_wait driver_move_next(const struct driver_move *move, const struct topology *topology,
                                    const struct driver_health *health);

#endif
