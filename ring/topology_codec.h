/*
 * ring/topology_codec.h -- topology commands as bytes and back.
 *
 * Frames, of commands and of snapshots, are docs/formats/topology.md. What does not decode is
 * STATUS_CORRUPT; whether a decoded command is allowed is the business of ring/topology_rules.h.
 */
#ifndef RING_TOPOLOGY_CODEC_H
#define RING_TOPOLOGY_CODEC_H

#include "ring/topology.h"

/* A command with arrays of its own; command.voters points into it, so it stays where it is. */
struct topology_command_owned {
    struct topology_command command;
    struct topology_member *members;     /* What command.members borrows. Owned. */
    struct topology_keyspace *keyspaces; /* What command.keyspaces borrows. Owned. */
    struct topology_step *steps;         /* What command.steps borrows. Owned. */
    uint32_t voters[TOPOLOGY_VOTER_COUNT_MAX];
};

/* STATUS_CORRUPT, STATUS_NO_MEMORY. Only after STATUS_OK there is something to deinit. */
MUST_USE enum status topology_command_decode(struct topology_command_owned *owned,
                                             struct slice bytes);
void topology_command_owned_deinit(struct topology_command_owned *owned);

#endif
