/*
 * ring/topology_frame.h -- what commands and snapshots are made of: frames, and fields of both.
 *
 * Both kinds of frame carry their size, are padded with zeros to a multiple of 8 (the Raft library
 * takes nothing else) and end in an XXH3 of all before it. A frame is checked as a whole first, its
 * fields are read after that, and a decoder takes every byte or none.
 */
#ifndef RING_TOPOLOGY_FRAME_H
#define RING_TOPOLOGY_FRAME_H

#include "base/codec.h"
#include "ring/topology.h"

/* Written; older ones are still read. PLAIN had no plans and no operations, and of members less;
 * up to PLANS a keyspace had neither levels nor a time to live, and none was created. */
#define TOPOLOGY_VERSION 3
#define TOPOLOGY_VERSION_PLANS 2
#define TOPOLOGY_VERSION_PLAIN 1

/* Returns where the frame starts in the buffer. */
size_t topology_frame_begin(struct buffer *to, uint8_t type);
void topology_frame_end(struct buffer *to, size_t start);

struct topology_frame {
    uint8_t version; /* TOPOLOGY_VERSION_PLAIN to TOPOLOGY_VERSION. */
    uint8_t type;
    struct codec_reader fields; /* What lies between header and padding. */
};
MUST_USE enum status topology_frame_open(struct slice bytes, struct topology_frame *frame);

/* Each getter gives false for what has no meaning; a reader that ran out is told by both. */
void topology_member_put(struct buffer *to, const struct topology_member *member);
MUST_USE bool topology_member_get(struct topology_frame *frame, struct topology_member *member);
void topology_keyspace_put(struct buffer *to, const struct topology_keyspace *keyspace);
MUST_USE bool topology_keyspace_get(struct topology_frame *frame,
                                    struct topology_keyspace *keyspace);
/* Fields that do not count for its type are written as 0. */
void topology_change_put(struct buffer *to, const struct topology_change *change);
MUST_USE bool topology_change_get(struct codec_reader *reader, struct topology_change *change);

/* Both arrays, as BOOTSTRAP and snapshots hold them, after their counts. Owned by the caller on
 * STATUS_OK. STATUS_CORRUPT, STATUS_NO_MEMORY. */
MUST_USE enum status topology_arrays_get(struct topology_frame *frame, uint32_t member_count,
                                         struct topology_member **members, uint32_t keyspace_count,
                                         struct topology_keyspace **keyspaces);

#endif
