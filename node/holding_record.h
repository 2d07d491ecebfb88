/*
 * node/holding_record.h -- what a node remembers of its part in one range, over restarts.
 *
 * Layout: docs/formats/records.md.
 */
#ifndef NODE_HOLDING_RECORD_H
#define NODE_HOLDING_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"

#define HOLDING_RECORD_SIZE 45

struct holding_record {
    uint32_t generation; /* With the epoch: the fence. Requests below it are never served. */
    uint64_t epoch;      /* 0: this node never had a part in the range. */
    uint64_t entered;    /* Session for which the stretch was emptied; 0 none. */
    uint64_t streamed;   /* Session for which all that had to be merged was; 0 none. */
    uint64_t left;       /* Epoch in which this node ceased to have a part; 0: it has one. */
    uint64_t cleared;    /* Equal to `left` once the stretch was emptied since. */
};

void holding_record_encode(uint8_t to[HOLDING_RECORD_SIZE], const struct holding_record *record);
/* STATUS_CORRUPT, STATUS_UNSUPPORTED */
MUST_USE enum status holding_record_decode(struct slice bytes, struct holding_record *record);
/* Whether the fence is below (generation, epoch). */
bool holding_record_below(const struct holding_record *record, uint32_t generation, uint64_t epoch);

#endif
