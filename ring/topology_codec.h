/*
 * ring/topology_codec.h -- topology commands as bytes and back, and what a member may look like.
 *
 * Frames, of commands and of snapshots, are docs/formats/topology.md. What does not decode is
 * STATUS_CORRUPT; whether a decoded command is allowed is topology.c's business.
 */
#ifndef RING_TOPOLOGY_CODEC_H
#define RING_TOPOLOGY_CODEC_H

#include "ring/topology.h"

/* A command with arrays of its own. */
struct topology_command_owned {
    struct topology_command command;
    struct topology_member *members;     /* What command.members borrows. Owned. */
    struct topology_keyspace *keyspaces; /* What command.keyspaces borrows. Owned. */
};

/* STATUS_CORRUPT, STATUS_NO_MEMORY. Only after STATUS_OK there is something to deinit. */
MUST_USE enum status topology_command_decode(struct topology_command_owned *owned,
                                             struct slice bytes);
void topology_command_owned_deinit(struct topology_command_owned *owned);

/* NULL if every rule holds, else which one does not; static storage. Members sorted by id,
 * keyspaces by number. */
const char *topology_member_fault(const struct topology_member *member);
const char *topology_members_fault(const struct topology_member *members, uint32_t member_count);
const char *topology_keyspaces_fault(const struct topology_keyspace *keyspaces,
                                     uint32_t keyspace_count);
const char *topology_sizes_fault(uint32_t replica_count, uint32_t range_count);

#endif
