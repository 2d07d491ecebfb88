/*
 * node/seat.h -- this node's part in the Raft group: whether it has one, and of which generation.
 *
 * Why apart from membership: that one is what the group agreed on; this one is how a node gets into
 * the group and out of it while it runs.
 * Contract:
 *  (1) Only a node that knows no topology founds a group, of the bootstrap list. Any other opens an
 *      empty log when the first message of a leader of its generation reaches it.
 *  (2) A group of a generation that is over ends, and its folder is emptied, before anything of a
 *      newer one is taken: what its log holds may never have been committed in the new one.
 *  (3) A message of another generation never reaches the group.
 */
#ifndef NODE_SEAT_H
#define NODE_SEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "node/council.h"
#include "node/frame.h"
#include "node/peers.h"

/*
 *   REST --> OPENING --> REST
 *     |
 *     +--> ENDING --> EMPTYING --> REST
 */
enum seat_work { SEAT_REST, SEAT_OPENING, SEAT_ENDING, SEAT_EMPTYING };

struct seat_options {
    const struct config *config;
    /* The first configuration; see seat.h (1). */
    const uint32_t *voters;
    uint32_t voter_count;
    const uint32_t *standbys;
    uint32_t standby_count;
    const struct topology *current; /* What this node goes by. */
    const struct topology *machine; /* What the group has applied here. */
    struct group_events events;     /* `failed` also when the folder cannot be opened or emptied. */
    void (*ended)(void *context);   /* The group is gone: `machine` is to be as at first. */
    void *context;
};

struct seat {
    struct seat_options options;
    struct env *env;
    struct peers *peers;
    struct council council; /* Its `group` is ours; NULL: this node has no part. */
    uint32_t generation;    /* Of the group. */
    enum seat_work work;
    struct env_job job;
    enum status job_status;
    struct group *opened; /* By the job, not started yet. */
    struct group *gone;   /* Stopped; the job closes its files. */
    struct group_stop group_stop;
    bool stopping;
    void (*stopped)(void *context);
};

/* Blocks. The voters and standbys of the options are not looked at afterwards. */
MUST_USE enum status seat_open(struct seat *seat, struct env *env,
                               const struct seat_options *options);
MUST_USE enum status seat_start(struct seat *seat, struct peers *peers);
void seat_receive(struct seat *seat, const struct frame *frame, uint64_t connection,
                  uint64_t sequence, struct slice message);
/* Now and then, and when a topology was adopted; not from within an event of the group. */
void seat_look(struct seat *seat);
/* Hands leadership over if it can, at most for an election time-out, then ends. */
void seat_stop(struct seat *seat, void (*stopped)(void *context));
void seat_close(struct seat *seat);
struct group *seat_group(const struct seat *seat); /* NULL: no part in it. */

#endif
