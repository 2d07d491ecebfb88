/*
 * raft/group.h -- one replicated log of opaque commands, over libraft.
 *
 * Why: one Raft group decides who owns what. The library has known faults (docs/raft.md lists them
 * with the guard against each); group.c, group_io.c and group_guard.c are the only files that
 * touch it, and give it time, disk and network of base/env.h, so that the simulator runs the same
 * code as production.
 * Contract:
 *  (1) A command is applied on every server in the same order, at most once per position; after a
 *      restart from the last snapshot on. `applied` is never called twice for one index within
 *      one life, and never with a gap.
 *  (2) Nothing leaves a server (vote, acknowledgement) before what it promises is durable.
 *  (3) A failed write or sync of the log ends the group: `failed`, then silence. It never goes on.
 *  (4) Everything runs on the env's loop; disk work in jobs of the WAL lane.
 */
#ifndef RAFT_GROUP_H
#define RAFT_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/env.h"
#include "base/list.h"
#include "base/slice.h"
#include "base/status.h"

#define GROUP_COMMAND_SIZE_MAX (1u << 20)
#define GROUP_VOTER_COUNT_MAX 5

struct group;

enum group_role { GROUP_FOLLOWER, GROUP_CANDIDATE, GROUP_LEADER, GROUP_STOPPED };

struct group_events {
    /* A committed command. `command` borrows until return. A status other than OK ends the group
     * (a node that cannot apply must not go on). */
    enum status (*applied)(void *context, uint64_t index, struct slice command);
    /* Appends the whole state machine, as of the last applied command. */
    void (*snapshot)(void *context, struct buffer *to);
    /* Replaces the state machine. */
    enum status (*restored)(void *context, struct slice snapshot);
    /* Best effort; the bytes are copied. */
    void (*send)(void *context, uint32_t server_id, struct slice message);
    /* Role or leader changed; leader_id 0 while unknown. A leader is one only from the commit of
     * the barrier of its own term on. */
    void (*changed)(void *context, enum group_role role, uint32_t leader_id, uint64_t term);
    /* The group ended; see (3). STATUS_IO, STATUS_NO_SPACE, STATUS_CORRUPT, STATUS_NO_MEMORY. */
    void (*failed)(void *context, enum status status);
};

struct group_options {
    const char *path; /* Folder for log, metadata and snapshots; its parent must exist. */
    uint32_t id;      /* This server. */
    /* The first configuration, used only if the folder holds none: 1, 3 or 5 servers, the same
     * list on each of them; more are allowed as standby. */
    const uint32_t *voters;
    uint32_t voter_count;
    const uint32_t *standbys;
    uint32_t standby_count;
    uint32_t election_timeout_ms;  /* 0: 1000 */
    uint32_t heartbeat_timeout_ms; /* 0: 100 */
    uint32_t snapshot_threshold;   /* Entries applied between snapshots; 0: 1024 */
    uint32_t snapshot_trailing;    /* Entries kept behind one; 0: 256 */
    struct group_events events;
    void *context;
};

/*
 * Loads what is on disk, blocking: call in a pool job or outside the loop. No event is called until
 * group_start.
 * STATUS_CORRUPT  log, metadata or snapshot is damaged below what was synced; nothing is changed.
 * STATUS_LOCKED, STATUS_IO, STATUS_NO_SPACE, STATUS_NO_MEMORY, STATUS_INVALID
 */
MUST_USE enum status group_open(struct env *env, const struct group_options *options,
                                struct group **group);
/* On the loop: restores the snapshot, then takes part. */
MUST_USE enum status group_start(struct group *group);

/* A message of server `from`, brought by connection number `connection` as its `sequence`-th: older
 * ones of a pair are dropped, so that no reordering of connections reaches the library. Malformed
 * ones are dropped and logged. */
void group_receive(struct group *group, uint32_t from, uint64_t connection, uint64_t sequence,
                   struct slice bytes);

struct group_proposal {
    /* STATUS_OK          committed and applied here at *index.
     * STATUS_NOT_LEADER  refused: not in the log by this call.
     * STATUS_INDETERMINATE  leadership lost meanwhile: it may still be committed.
     * STATUS_CANCELLED   the group stopped: as indeterminate. */
    void (*done)(struct group_proposal *proposal, enum status status, uint64_t index);
    struct list_node node;
    void *implementation;
};
/* STATUS_NOT_LEADER, STATUS_TOO_LARGE, STATUS_OVERLOADED (more than 64 in flight),
 * STATUS_NO_MEMORY: then `done` is not called. The command is copied. */
MUST_USE enum status group_propose(struct group *group, struct slice command,
                                   struct group_proposal *proposal);

struct group_info {
    enum group_role role;
    uint32_t leader_id;
    uint64_t term;
    uint64_t last_index;
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t snapshot_index;
    uint32_t voter_count;
    uint64_t guard_drops; /* Messages the guard kept from the library. */
};
void group_info(const struct group *group, struct group_info *info);

/* On the loop: takes part no more; `stopped` once the last job is done. Pending proposals are
 * cancelled. */
struct group_stop {
    void (*stopped)(struct group_stop *stop);
};
void group_stop(struct group *group, struct group_stop *stop);
/* After `stopped`, or after the env has ended its jobs. Frees; blocks only to close files. */
void group_close(struct group *group);

#endif
