/*
 * node/stream_record.h -- how far the stream into one range is, so that a restart goes on there.
 *
 * Layout: docs/formats/records.md.
 */
#ifndef NODE_STREAM_RECORD_H
#define NODE_STREAM_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"
#include "ring/ring.h"

struct stream_progress {
    uint32_t id; /* Of the source. */
    bool done;   /* All of it is merged. */
    uint64_t size_done;
    struct buffer next; /* Engine key that the next chunk begins with; empty: the start. Owned. */
};

/* A zeroed struct is an empty one. */
struct stream_record {
    uint64_t session;
    uint32_t source_count;
    struct stream_progress sources[RING_REPLICA_COUNT_MAX];
};

void stream_record_deinit(struct stream_record *record);
void stream_record_encode(struct buffer *to, const struct stream_record *record);
/* `record` is an empty one. STATUS_CORRUPT, STATUS_UNSUPPORTED, STATUS_NO_MEMORY. */
MUST_USE enum status stream_record_decode(struct slice bytes, struct stream_record *record);
/* The progress of a source, begun if there was none; NULL: there are as many as can be. */
struct stream_progress *stream_record_of(struct stream_record *record, uint32_t source_id);

#endif
