/*
 * node/load_gather.h -- the load of all members, asked of each and brought together on one.
 *
 * Both ends of LOAD: what this node answers, and what it asks for whoever wants to know of all.
 * Every member is asked at once, this node likewise; who does not answer within LOAD_GATHER_MS is
 * left out, and shown to be.
 * Contract:
 *  (1) A gathering is the gather's from begin to done; done runs once, perhaps before begin
 * returns. (2) At most LOAD_GATHER_COUNT_MAX at a time.
 */
#ifndef NODE_LOAD_GATHER_H
#define NODE_LOAD_GATHER_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/env.h"
#include "base/list.h"
#include "node/load.h"
#include "node/message_load.h"
#include "node/peers.h"
#include "ring/topology.h"

#define LOAD_GATHER_MS 2000u
#define LOAD_GATHER_COUNT_MAX 8u

struct gathering;

/* One member's answer. */
struct gathering_part {
    uint32_t id;
    enum status status; /* STATUS_OK: `load` is good, and borrows from `payload`. */
    struct message_load load;
    /* load_gather.c's. */
    struct gathering *gathering;
    struct peer_request request;
    struct load_wait wait;
    struct buffer payload;
    bool pending;
};

struct gathering {
    void (*done)(struct gathering *gathering, enum status status);
    uint32_t wants; /* MESSAGE_LOAD_ bits. */
    /* Results on STATUS_OK, until gathering_deinit(): by rising id of the member. */
    struct gathering_part *parts;
    uint32_t part_count;
    /* load_gather.c's. */
    struct load_gather *gather;
    struct env_timer timer;
    struct list_node node;
    uint32_t pending_count;
};

struct load_gather_options {
    const struct config *config;
    struct load *load;
    struct peers *peers;
    const struct topology *topology;
};

struct load_gather {
    struct env *env;
    struct load_gather_options options;
    struct list_node gatherings;
    struct list_node calls; /* Of peers, that wait for a survey. */
    uint32_t count;
    bool stopping;
};

void load_gather_init(struct load_gather *gather, struct env *env,
                      const struct load_gather_options *options);
/* Ends all with STATUS_CANCELLED. load_stop() comes after it. */
void load_gather_stop(struct load_gather *gather);
bool load_gather_stopped(const struct load_gather *gather);

/* Set `done` and `wants`, the rest zero. STATUS_OVERLOADED, STATUS_NO_MEMORY, STATUS_BEHIND: there
 * is no cluster yet; STATUS_CANCELLED. */
void gathering_begin(struct load_gather *gather, struct gathering *gathering);
void gathering_deinit(struct gathering *gathering);

/* Answers a LOAD of a peer, now or later. What cannot be begun is returned. */
MUST_USE enum status load_gather_serve(struct load_gather *gather, struct peer_link *link,
                                       const struct frame *request);

#endif
