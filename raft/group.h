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
#define GROUP_SERVER_COUNT_MAX 16

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
     * list on each of them; more are allowed as standby. No servers at all: this one joins. Its log
     * begins empty, it neither votes nor stands, and learns everything from a leader that adds it.
     */
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

/* What a server of the configuration is there for. */
enum group_duty {
    GROUP_STANDBY, /* Gets the log, does not count. */
    GROUP_VOTER,
    GROUP_SPARE, /* Gets nothing: half-way of an addition that was cut short. */
};

enum group_change_kind {
    GROUP_ADD,      /* As a standby; goes on with one left a spare. */
    GROUP_PROMOTE,  /* A standby becomes a voter, once its log has caught up. */
    GROUP_DEMOTE,   /* A voter becomes a standby. */
    GROUP_REMOVE,   /* A standby or spare goes. It never learns of it. */
    GROUP_TRANSFER, /* A voter is to lead; id 0: whichever is closest. */
};

/*
 * A change of the configuration, or of who leads. One at a time, and only by a leader; the caller
 * owns the struct until `done`, which may ask for the next one.
 */
struct group_change {
    enum group_change_kind kind;
    uint32_t id;
    /* STATUS_OK             committed, on this server too; TRANSFER: this server leads no more.
     * STATUS_TIMEOUT        did not catch up, or did not take over: nothing has changed.
     * STATUS_INDETERMINATE  leadership lost meanwhile: see group_configuration() of the next one.
     * STATUS_CANCELLED      the group stopped: as indeterminate. */
    void (*done)(struct group_change *change, enum status status);
};
/*
 * STATUS_NOT_LEADER
 * STATUS_OVERLOADED  another change is under way.
 * STATUS_EXISTS, STATUS_NOT_FOUND  it has that part already; it is no member of the group.
 * STATUS_REFUSED     a rule forbids it (logged): a leader changes its own part only by a transfer;
 * a voter is demoted before it is removed; who is demoted must leave behind voters that answer; at
 * most one voter and one server above the bounds. STATUS_NO_MEMORY   the group has failed. Then
 * `done` is not called.
 */
MUST_USE enum status group_change(struct group *group, struct group_change *change);

struct group_server {
    uint32_t id;
    enum group_duty duty;
    /* As a leader knows: the last entry it has for sure, and when it last answered. Elsewhere, and
     * of one never heard: 0 and UINT64_MAX. */
    uint64_t matched_index;
    uint64_t heard_ms_ago;
};
/* The last configuration of this server's log, which is the one in use. */
struct group_configuration {
    uint64_t index;
    bool committed; /* As far as this server knows. */
    uint32_t server_count;
    struct group_server servers[GROUP_SERVER_COUNT_MAX];
};
void group_configuration(const struct group *group, struct group_configuration *configuration);

struct group_info {
    enum group_role role;
    uint32_t leader_id;
    uint64_t term;
    uint64_t last_index;
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t snapshot_index;
    uint32_t voter_count;
    uint64_t guard_drops;     /* Messages the guard kept from the library. */
    uint64_t guard_rollbacks; /* Configurations it took back. */
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
/* Of a group that was stopped: its files, so that group_close() does not block. May run in a job.
 */
void group_files_close(struct group *group);

#endif
