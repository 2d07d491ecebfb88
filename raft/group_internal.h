/*
 * raft/group_internal.h -- struct group, and what group.c, group_io.c and group_guard.c share.
 *
 * group.c is what the owner sees (life, proposals, events), group_io.c is what the library sees
 * (its raft_io over the env), group_heap.c where its memory comes from, group_guard.c holds the
 * rules that make the library safe, and is the only file that looks into struct raft.
 *
 * Invariants:
 *  (1) The library is entered only between group_enter() and group_leave(); the owner's events
 *      other than `applied`, `snapshot`, `restored` and `send` are called after it has returned.
 *  (2) Nothing queued for the disk is reordered: ops complete in the order of their tickets.
 *  (3) A message leaves once the ticket it was stamped with is durable: votes and acknowledgements
 *      wait for every write queued before them, a leader's messages for term and vote.
 *  (4) After a failure the library is not entered again but to be closed.
 */
#ifndef RAFT_GROUP_INTERNAL_H
#define RAFT_GROUP_INTERNAL_H

#include <raft.h>

#include "raft/group.h"
#include "raft/group_log.h"
#include "raft/group_message.h"

#define GROUP_PROPOSAL_COUNT_MAX 64
#define GROUP_HELD_COUNT_MAX 4096
#define GROUP_HELD_SIZE_MAX (128u << 20)
#define GROUP_WRITE_SIZE_MAX (8u << 20)        /* Records of one job. */
#define GROUP_ROTATE_SIZE (UINT64_C(64) << 20) /* A log file grows at least to this. */
#define GROUP_ADDRESS_SIZE_MAX 12

/*
 *   OPEN --> RUNNING --> STOPPING --> STOPPED
 *     |         |           |            ^
 *     +---------+-----------+--> FAILED -+    (group_stop or group_close)
 */
enum group_phase { GROUP_OPEN, GROUP_RUNNING, GROUP_STOPPING, GROUP_FAILED, GROUP_CLOSED };

enum group_op_kind {
    GROUP_OP_VOTE, /* Term or vote. */
    GROUP_OP_APPEND,
    GROUP_OP_TRUNCATE,
    GROUP_OP_SNAPSHOT, /* Taken here, or installed: starts a generation. */
    GROUP_OP_ROTATE,   /* Starts a generation because the file grew long. */
    GROUP_OP_MARK,     /* A mere watermark. */
    GROUP_OP_ARRIVED,  /* No newcomer any more. */
};

/* One queued write. */
struct group_op {
    struct list_node node;
    enum group_op_kind kind;
    uint64_t ticket;
    uint64_t term;         /* The library's term when it was queued. */
    struct buffer records; /* For a generation: all it begins with. */
    struct raft_io_append *append;
    uint64_t last_index; /* Of the append. */
    struct raft_io_snapshot_put *put;
    bool install;
    struct buffer snapshot; /* File of the snapshot. */
    uint64_t generation;
    uint64_t snapshot_generation;
};

/* A message on its way out. */
struct group_held {
    struct list_node node;
    uint32_t to;
    uint64_t ticket;
    struct buffer bytes;
};

/* A completion owed to the library, or a snapshot it asked for. */
struct group_owed {
    struct list_node node;
    struct raft_io_send *send;
    struct raft_io_snapshot_get *get;
};

struct group_request {
    struct raft_apply apply;
    struct group *group;
    struct group_proposal *proposal; /* NULL once answered. */
    enum status status;
    uint64_t index;
    struct list_node node;
};

struct group_peer {
    uint32_t id;
    uint64_t connection;
    uint64_t sequence;
    bool newcomer; /* As it said last. */
    /* Of its last acknowledgement to us as the leader of `heard_term`. */
    uint64_t heard_term;
    uint64_t heard_ms;
    uint64_t matched_index;
};

struct group {
    struct env *env;
    uint32_t id;
    struct group_events events;
    void *context;
    uint32_t election_timeout_ms;
    uint32_t heartbeat_timeout_ms;
    enum group_phase phase;
    enum status failure;
    bool failure_reported;
    bool settling;
    unsigned depth; /* Calls into the library now on the stack. */

    struct raft raft;
    bool raft_ready; /* raft_init was done, raft_close was not. */
    struct raft_io io;
    struct raft_fsm fsm;
    raft_io_tick_cb tick_cb;
    raft_io_recv_cb recv_cb;
    struct env_timer tick_timer;
    struct env_timer owed_timer; /* Completions of sends and reads, on the next turn. */

    /* The disk: `state` runs ahead of `log`, which a running job owns. */
    struct group_state state;
    struct buffer snapshot; /* The file of the durable one; empty if there is none. */
    struct group_log log;
    uint64_t generation; /* Of the last generation queued. */
    struct list_node ops;
    struct list_node running;
    struct buffer batch;
    struct env_job job;
    enum status job_status;
    bool job_running;
    uint64_t ticket_queued;
    uint64_t ticket_metadata; /* The last one with term or vote. */
    uint64_t ticket_durable;
    unsigned log_op_count; /* Appends, truncations and snapshots queued or running. */

    /* Messages that wait for the disk: promises, and those a leader sends. */
    struct list_node held_promises;
    struct list_node held_leading;
    size_t held_count;
    size_t held_size;
    struct list_node owed;
    struct group_peer peers[GROUP_SERVER_COUNT_MAX];

    /* The guard. */
    bool role_hidden;  /* From the library, while it starts. */
    bool stale;        /* In the callback of an append of an older term. */
    uint64_t proven;   /* What an acknowledgement may say at most; 0: no bound. */
    uint64_t led_term; /* The term whose leadership was noticed. */
    uint64_t barrier_index;
    bool barrier_committed;
    struct raft_barrier barrier;
    uint64_t drops;
    uint64_t rollbacks;

    /* The change under way; see group_change.c. */
    struct group_change *change;
    struct raft_change change_request; /* The library's; it may outlive `change` after a failure. */
    enum status change_status;
    bool change_stepped;  /* The library is done with a step of it, as change_status says. */
    uint64_t change_term; /* In which it was asked for. */
    uint64_t change_started_ms;
    bool transfer_told; /* The target was told to stand. */

    enum group_role role; /* As reported. */
    uint32_t leader_id;
    uint64_t term;
    struct list_node requests; /* In flight. */
    struct list_node answered; /* Their `done` is to be called. */
    unsigned request_count;
    uint64_t request_number;
    struct group_stop *stop;
};

/* group.c */
/* Before anything of the library allocates; of the process, and as good twice. */
void group_heap_use(void);
void group_enter(struct group *group); /* Around each call into the library... */
void group_leave(struct group *group);
void group_settle(struct group *group); /* ...and after it: reports, writes, sends. */
void group_fail(struct group *group, enum status status);
void group_stop_continue(struct group *group); /* Finishes a stop once all is drained. */

/* group_change.c */
bool group_change_is_transfer(const struct group *group); /* Then nothing else is proposed. */
void group_change_settle(struct group *group);            /* The library is off the stack. */
void group_change_give_up(struct group *group, enum status status);

/* group_io.c */
void group_io_init(struct group *group);
void group_io_send(struct group *group, const struct raft_message *message);
MUST_USE enum status group_io_check(const struct group *group); /* What was loaded can be used. */
void group_io_flush(struct group *group); /* Starts the next job, lets go what may leave. */
bool group_io_drained(const struct group *group);
void group_io_push_mark(struct group *group);
void group_io_push_arrived(struct group *group);
/* Completes what the library still waits for; it is UNAVAILABLE by now. */
void group_io_abandon(struct group *group);
void group_io_deinit(struct group *group);

/* group_guard.c */
uint64_t group_guard_term(const struct group *group);
uint64_t group_guard_commit_index(const struct group *group);
uint64_t group_guard_applied_index(const struct group *group);
uint32_t group_guard_voter_count(const struct group *group);
const struct raft_configuration *group_guard_configuration(const struct group *group);
/* Index of the configuration in use; 0 if there is none yet. */
uint64_t group_guard_configuration_index(const struct group *group);
struct group_peer *group_guard_peer(struct group *group, uint32_t id); /* NULL: never heard. */
/* As the leader: it acknowledged within an election time-out, and has almost all that is committed.
 */
bool group_guard_is_healthy(const struct group *group, uint32_t id);
/* The message that makes `id` stand at once. */
void group_guard_tell_to_stand(struct group *group, uint32_t id);
/* Before what was loaded is written anew. STATUS_CORRUPT, STATUS_NO_MEMORY */
MUST_USE enum status group_guard_renew_term(struct group *group);
bool group_guard_drops_incoming(struct group *group, const struct raft_message *message);
void group_guard_deliver(struct group *group, struct raft_message *message);
/* May change `message`. */
bool group_guard_drops_outgoing(struct group *group, struct raft_message *message);
void group_guard_append_done(struct group *group, struct group_op *op);
void group_guard_snapshot_done(struct group *group, struct group_op *op);
void group_guard_tick(struct group *group);
/* raft_start(), between group_enter() and group_leave(). */
MUST_USE int group_guard_start(struct group *group);
/* Within it, when the library knows its log. */
void group_guard_loaded(struct group *group);
bool group_guard_may_snapshot(const struct group *group);
/* Notices a new leadership, and submits its barrier. */
void group_guard_lead(struct group *group);
bool group_guard_leads(const struct group *group); /* Leader, and the barrier is committed. */
/* The library's configuration is the last one of the log. */
MUST_USE enum status group_guard_check_configuration(const struct group *group);

#endif
