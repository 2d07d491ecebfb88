/*
 * node/message_load.h -- payloads of LOAD: what a node's ranges cost it, and its hot keys.
 *
 * As message.h: decoders check everything and borrow from the payload; STATUS_CORRUPT otherwise.
 * Entries have fixed sizes, so that a reply can be read in any order once it was checked.
 */
#ifndef NODE_MESSAGE_LOAD_H
#define NODE_MESSAGE_LOAD_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"
#include "node/hot_keys.h"
#include "ring/ring.h"

#define MESSAGE_LOAD_RANGES 1u /* What is wanted beside the sums. */
#define MESSAGE_LOAD_HOT_KEYS 2u

void message_load_request_encode(struct buffer *to, uint32_t wants);
MUST_USE enum status message_load_request_decode(struct slice payload, uint32_t *wants);

/* Of a range on one node, or of a node in all. Rates in thousandths a second. */
struct message_load_view {
    uint64_t keys;
    uint64_t bytes;
    uint64_t reads;
    uint64_t writes;
};

struct message_load_range {
    uint32_t range; /* Rising. */
    struct message_load_view view;
};

struct message_load_key {
    uint64_t token;
    uint16_t keyspace;
    uint32_t size; /* Of the key, */
    uint64_t rate; /* Rates in thousandths a second. */
    uint64_t error;
    uint64_t writes;
    struct slice key; /* of which this is the beginning; at most HOT_KEYS_BYTES_MAX. */
};

/* As it is written: first this, then so many ranges, then so many keys. */
struct message_load_head {
    struct message_load_view sum;
    uint64_t space_free;
    uint32_t range_count; /* At most RING_RANGE_COUNT_MAX. */
    uint32_t key_count;   /* At most HOT_KEYS_COUNT. */
};
void message_load_head_encode(struct buffer *to, const struct message_load_head *head);
void message_load_range_encode(struct buffer *to, const struct message_load_range *range);
void message_load_key_encode(struct buffer *to, const struct message_load_key *key);

struct message_load {
    struct message_load_head head;
    const uint8_t *ranges;
    const uint8_t *keys;
};
MUST_USE enum status message_load_decode(struct slice payload, struct message_load *load);
void message_load_range_at(const struct message_load *load, uint32_t index,
                           struct message_load_range *range);
void message_load_key_at(const struct message_load *load, uint32_t index,
                         struct message_load_key *key);

#endif
