/*
 * node/stream_source.h -- gives the ranges this node holds to those who enter them, chunk by chunk.
 *
 * A chunk is a file that the engine exports in pool jobs, from the key the asker names; then its
 * bytes are asked for piece by piece. The source remembers nothing of a stream but its last chunk:
 * whoever asks says where to go on.
 *
 *   EXPORTING --> READY --> REMOVING --> (gone)
 *       |                      ^
 *       +----------------------+      (nothing to export, a failure, or its session ended)
 *
 * Contract:
 *  (R4) What is asked in another session than the one under way, or before the fence of this one is
 *       durable here, is refused; chunks of a session that ended go.
 *  (2) One chunk per range and asker, STREAM_CHUNK_COUNT_MAX in all: the oldest makes room. Who
 *      asks for bytes of one that went is told STATUS_NOT_FOUND, and asks for a new one.
 *  (3) A damaged stretch is no source: STATUS_CORRUPT.
 */
#ifndef NODE_STREAM_SOURCE_H
#define NODE_STREAM_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/list.h"
#include "lsm/lsm.h"
#include "node/config.h"
#include "node/holding.h"
#include "node/peers.h"
#include "node/stream_pace.h"

#define STREAM_CHUNK_COUNT_MAX 32u
#define STREAM_CALL_COUNT_MAX 256u /* Pieces asked for and not yet answered. */

struct stream_source_options {
    const struct config *config;
    struct lsm *lsm;
    struct holding *holding;
    struct peers *peers;
    const struct topology *topology;
    struct stream_pace *pace;
    struct node_counters *counters;
};

struct stream_source {
    struct env *env;
    struct stream_source_options options;
    struct list_node chunks; /* Oldest first. */
    uint32_t chunk_count;
    uint32_t export_count; /* Of them, being exported. */
    uint64_t last_id; /* Of a chunk; begins at random, so that none passes for one of before. */
    struct list_node calls; /* Waiting for the pace or the link. */
    uint32_t call_count;    /* With those whose bytes are being read. */
    struct env_timer timer;
    bool stopping;
};

void stream_source_init(struct stream_source *source, struct env *env,
                        const struct stream_source_options *options);
/* The topology has changed. */
void stream_source_adopted(struct stream_source *source);
/* A STREAM_CHUNK or STREAM_BYTES. STATUS_OK: it is or will be answered; else the caller answers
 * with that status. */
MUST_USE enum status stream_source_serve(struct stream_source *source, struct peer_link *link,
                                         const struct frame *request);
/* Chunks go; nobody is answered any more. */
void stream_source_stop(struct stream_source *source);
bool stream_source_stopped(const struct stream_source *source);
/* Before the engine is closed, after the env's jobs have ended. */
void stream_source_close(struct stream_source *source);

#endif
