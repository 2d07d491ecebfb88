/*
 * node/stream_target.h -- fills the ranges this node enters, or must merge a majority for.
 *
 * One stream per range, a few at a time. Of each source it needs it fetches the stretch chunk by
 * chunk, brings each chunk into the engine, and writes down where it is; so whatever ends it, it
 * goes on behind the last chunk, as long as the topology still asks for it.
 *
 *   LOADING --> ASKING --> FETCHING --> WRITING --> INGESTING --> RECORDING --> REMOVING --+
 *                 ^  |         |           |            |                          |        |
 *                 |  +---------+-----------+------------+---- what failed --> WAITING       |
 *                 +-----------------------------------------------------------------+-------+
 *
 * Contract:
 *  (R4) A stream belongs to a session: when that ends, so does it, and nothing it has fetched is
 *       merged any more. While a chunk is on its way into the engine the stretch is not excised.
 *  (R5) A range is reported as fed only after as many sources as topology_sources() asks for were
 *       merged from start to end, durably. (Floors would come along with them; there are none yet.)
 *  (3) A source that fails is left for the next one that may serve, and tried again, ever less
 *      often; nothing is given up while the topology asks for it.
 */
#ifndef NODE_STREAM_TARGET_H
#define NODE_STREAM_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/list.h"
#include "lsm/lsm.h"
#include "node/config.h"
#include "node/holding.h"
#include "node/peers.h"
#include "node/replica.h"
#include "node/stream_pace.h"

#define STREAM_PIECE_SIZE (128u << 10) /* Asked for at a time; small beside what a link holds. */
#define STREAM_PIECE_COUNT 4u          /* Of one stream on their way. */

struct stream_target_options {
    const struct config *config;
    struct lsm *lsm;
    struct holding *holding;
    struct replica *replica;
    struct peers *peers;
    const struct topology *topology;
    struct stream_pace *pace;
    struct node_counters *counters;
};

struct stream_target {
    struct env *env;
    struct stream_target_options options;
    struct list_node streams;
    uint32_t stream_count;
    uint64_t last_file_id;
    bool stopping;
};

void stream_target_init(struct stream_target *target, struct env *env,
                        const struct stream_target_options *options);
/* The topology has changed, or what holding says. Ends and begins streams. */
void stream_target_adopted(struct stream_target *target);
/* Adds to what holding_state() said: the bytes of a stream under way, and what it last met. */
void stream_target_state(const struct stream_target *target, struct message_range_state *state);
/* Ends all streams; jobs and writes under way end by themselves. */
void stream_target_stop(struct stream_target *target);
bool stream_target_stopped(const struct stream_target *target); /* No job is under way. */
/* After the engine was closed. */
void stream_target_close(struct stream_target *target);

#endif
