/*
 * raft/group.c -- the life of a group, its proposals and its events; the promises are in group.h.
 *
 * Every way in ends in group_settle(): it submits the barrier of a new leadership, tells the owner
 * what changed, starts the next write and lets messages go. The owner's callbacks run from there,
 * when the library is off the stack, so they may propose or stop at once; only `applied`,
 * `snapshot`, `restored` and `send` run inside it and must not call back.
 */
#include "raft/group.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "raft/group_internal.h"
#include "raft/group_mutant.h"

#define ELECTION_TIMEOUT_MS_DEFAULT 1000
#define HEARTBEAT_TIMEOUT_MS_DEFAULT 100
#define SNAPSHOT_THRESHOLD_DEFAULT 1024
#define SNAPSHOT_TRAILING_DEFAULT 256
/* A leader sends a snapshot again after this many election timeouts without an answer. */
#define INSTALL_TIMEOUT_FACTOR 10

void group_enter(struct group *group)
{
    ASSERT(group->depth == 0);
    group->depth++;
}

void group_leave(struct group *group)
{
    ASSERT(group->depth == 1);
    group->depth--;
}

void group_fail(struct group *group, enum status status)
{
    ASSERT(status != STATUS_OK);
    if (group->failure == STATUS_OK && group->phase != GROUP_CLOSED) {
        log_error(group->env, "group.failed", "id=%" PRIu32 " status=%s", group->id,
                  status_name(status));
        group->failure = status;
    }
}

/* ---- the state machine, as the library sees it ---- */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buffer, void **result)
{
    struct group *group = fsm->data;
    *result = NULL;
    if (group->failure != STATUS_OK) {
        return RAFT_SHUTDOWN;
    }
    struct group_command command = {0};
    enum status status = group_command_decode(slice_make(buffer->base, buffer->len), &command);
    if (status == STATUS_OK) {
        uint64_t index = raft_last_applied(&group->raft) + 1;
        status = group->events.applied(group->context, index, command.payload);
    }
    if (status != STATUS_OK) {
        group_fail(group, status);
        return RAFT_SHUTDOWN;
    }
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer **buffers, unsigned *count)
{
    struct group *group = fsm->data;
    if (group->failure != STATUS_OK || !group_guard_may_snapshot(group)) {
        return RAFT_BUSY; /* Asked again at the next apply. */
    }
    struct buffer data = {0};
    group->events.snapshot(group->context, &data);
    enum status status = buffer_status(&data);
    if (status == STATUS_OK && data.size > GROUP_SNAPSHOT_SIZE_MAX) {
        status = STATUS_TOO_LARGE;
    }
    void *copy = raft_malloc(data.size > 0 ? data.size : 1);
    struct raft_buffer *list = raft_calloc(1, sizeof *list);
    if (status != STATUS_OK || copy == NULL || list == NULL) {
        log_error(group->env, "group.snapshot", "id=%" PRIu32 " size=%zu status=%s", group->id,
                  data.size, status_name(status == STATUS_OK ? STATUS_NO_MEMORY : status));
        raft_free(copy);
        raft_free(list);
        buffer_deinit(&data);
        return RAFT_BUSY;
    }
    if (data.size > 0) {
        memcpy(copy, data.data, data.size);
    }
    *list = (struct raft_buffer){.base = copy, .len = data.size};
    *buffers = list;
    *count = 1;
    buffer_deinit(&data);
    return 0;
}

/* Never an error to the library, which would lose what it loaded; the group has failed then. */
static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buffer)
{
    struct group *group = fsm->data;
    if (group->failure == STATUS_OK) {
        enum status status =
            group->events.restored(group->context, slice_make(buffer->base, buffer->len));
        if (status != STATUS_OK) {
            group_fail(group, status);
        }
    }
    raft_free(buffer->base);
    return 0;
}

/* ---- proposals ---- */

static void request_answer(struct group_request *request, enum status status)
{
    if (request->proposal == NULL) {
        return;
    }
    request->status = status;
    list_remove(&request->node);
    list_append(&request->group->answered, &request->node);
}

/* The library is done with the request; its `done` is called once the library has returned. */
static void apply_done(struct raft_apply *apply, int rc, void *result)
{
    struct group_request *request = apply->data;
    struct group *group = request->group;
    (void)result;
    if (request->proposal == NULL) {
        list_remove(&request->node); /* Answered when the group failed. */
        memory_free(request);
        return;
    }
    request->index = apply->index;
    enum status status = STATUS_OK;
    if (rc != 0) {
        status = group->phase == GROUP_RUNNING ? STATUS_INDETERMINATE : STATUS_CANCELLED;
    }
    request_answer(request, status);
}

static void answers_give(struct group *group)
{
    for (struct list_node *node = list_take_first(&group->answered); node != NULL;
         node = list_take_first(&group->answered)) {
        struct group_request *request = container_of(node, struct group_request, node);
        struct group_proposal *proposal = request->proposal;
        enum status status = request->status;
        uint64_t index = request->index;
        ASSERT(group->request_count > 0);
        group->request_count--;
        memory_free(request);
        proposal->done(proposal, status, index);
    }
}

/* After a failure the library keeps the requests until it is closed; the owner need not wait. */
static void requests_give_up(struct group *group)
{
    list_for_each (node, following, &group->requests) {
        struct group_request *request = container_of(node, struct group_request, node);
        struct group_proposal *proposal = request->proposal;
        if (proposal != NULL) {
            request->proposal = NULL;
            group->request_count--;
            proposal->done(proposal, STATUS_INDETERMINATE, 0);
        }
    }
}

enum status group_propose(struct group *group, struct slice command,
                          struct group_proposal *proposal)
{
    ASSERT(group->depth == 0);
    if (command.size > GROUP_COMMAND_SIZE_MAX) {
        return STATUS_TOO_LARGE;
    }
    if (group->phase != GROUP_RUNNING || group->failure != STATUS_OK || !group_guard_leads(group) ||
        group_change_is_transfer(group)) {
        return STATUS_NOT_LEADER;
    }
    if (group->request_count >= GROUP_PROPOSAL_COUNT_MAX) {
        return STATUS_OVERLOADED;
    }
    struct raft_buffer buffer = {.len = group_command_size(command.size)};
    struct group_request *request = memory_allocate_zeroed(1, sizeof *request);
    buffer.base = raft_malloc(buffer.len);
    if (request == NULL || buffer.base == NULL) {
        memory_free(request);
        raft_free(buffer.base);
        return STATUS_NO_MEMORY;
    }
    group_command_encode(buffer.base, &(struct group_command){.request = ++group->request_number,
                                                              .payload = command});
    request->group = group;
    request->proposal = proposal;
    request->apply.data = request;
    proposal->implementation = request;
    list_append(&group->requests, &request->node);
    group->request_count++;
    group_enter(group);
    int rc = raft_apply(&group->raft, &request->apply, &buffer, 1, apply_done);
    group_leave(group);
    if (rc != 0) {
        list_remove(&request->node);
        group->request_count--;
        memory_free(request);
        raft_free(buffer.base);
        return rc == RAFT_NOMEM ? STATUS_NO_MEMORY : STATUS_NOT_LEADER;
    }
    group_settle(group);
    return STATUS_OK;
}

/* ---- settling ---- */

static void role_report(struct group *group)
{
    enum group_role role = GROUP_FOLLOWER;
    raft_id leader = 0;
    const char *address = NULL;
    int state = raft_state(&group->raft);
    if (state == RAFT_LEADER && group_guard_leads(group)) {
        role = GROUP_LEADER;
        leader = group->id;
    } else if (state == RAFT_LEADER || state == RAFT_CANDIDATE) {
        role = GROUP_CANDIDATE; /* A leader whose barrier is not committed is none yet. */
    } else if (state == RAFT_FOLLOWER) {
        raft_leader(&group->raft, &leader, &address);
    }
    uint64_t term = group_guard_term(group);
    if (role == group->role && leader == group->leader_id && term == group->term) {
        return;
    }
    group->role = role;
    group->leader_id = (uint32_t)leader;
    group->term = term;
    log_info(group->env, "group.role", "id=%" PRIu32 " role=%d leader=%" PRIu32 " term=%" PRIu64,
             group->id, (int)role, group->leader_id, term);
    group->events.changed(group->context, role, group->leader_id, term);
}

static void failure_report(struct group *group)
{
    if (group->phase != GROUP_RUNNING) {
        return; /* While opening or stopping, the caller learns it from the status. */
    }
    group->phase = GROUP_FAILED;
    group->role = GROUP_STOPPED;
    group->leader_id = 0;
    group->env->ops->timer_stop(group->env, &group->tick_timer);
    requests_give_up(group);
    group_change_give_up(group, STATUS_INDETERMINATE);
    if (!group->failure_reported && group->failure != STATUS_CANCELLED) {
        group->failure_reported = true;
        group->events.failed(group->context, group->failure);
    }
}

static bool settle_is_done(const struct group *group)
{
    return list_empty(&group->answered) && !group->change_stepped &&
           (group->failure == STATUS_OK || group->phase != GROUP_RUNNING);
}

/* A group that failed writes no more; else all that is queued is written first. */
static bool stop_is_due(const struct group *group)
{
    if (group->stop == NULL) {
        return false;
    }
    return group->failure != STATUS_OK ? !group->job_running : group_io_drained(group);
}

void group_settle(struct group *group)
{
    if (group->settling || group->depth > 0) {
        return; /* The call further up the stack goes on until nothing is left. */
    }
    group->settling = true;
    do {
        if (group->failure == STATUS_OK && group->phase == GROUP_RUNNING) {
            if (raft_state(&group->raft) == RAFT_UNAVAILABLE) {
                log_error(group->env, "group.library", "id=%" PRIu32 " message=%s", group->id,
                          raft_errmsg(&group->raft));
                group_fail(group, STATUS_CORRUPT);
            } else {
                group_guard_lead(group);
                role_report(group);
            }
        }
        group_io_flush(group);
        answers_give(group);
        group_change_settle(group);
        if (group->failure != STATUS_OK) {
            failure_report(group);
        }
    } while (!settle_is_done(group));
    group_io_flush(group);
    group->settling = false;
    if (stop_is_due(group)) {
        env_timer_start_ms(group->env, &group->owed_timer, 0);
    }
}

/* ---- opening ---- */

static bool id_is_in(uint32_t id, const uint32_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

static enum status configuration_add(struct raft_configuration *configuration, uint32_t id,
                                     int role)
{
    char address[GROUP_ADDRESS_SIZE_MAX];
    (void)snprintf(address, sizeof address, "%" PRIu32, id);
    if (id == 0) {
        return STATUS_INVALID;
    }
    int rc = raft_configuration_add(configuration, id, address, role);
    if (rc == RAFT_NOMEM) {
        return STATUS_NO_MEMORY;
    }
    return rc == 0 ? STATUS_OK : STATUS_INVALID;
}

/* The first entry of every server's log: the configuration of the options, in term 1. A server that
 * joins has none. */
static enum status group_found(struct group *group, const struct group_options *options)
{
    group->state.term = 1;
    if (options->voter_count == 0 && options->standby_count == 0) {
        group->state.newcomer = !GROUP_WITHOUT(NEWCOMER);
        return STATUS_OK;
    }
    struct raft_configuration configuration;
    struct buffer bytes = {0};
    raft_configuration_init(&configuration);
    enum status status = STATUS_OK;
    if ((options->voter_count != 1 && options->voter_count != 3 && options->voter_count != 5) ||
        options->standby_count > GROUP_SERVER_COUNT_MAX - GROUP_VOTER_COUNT_MAX ||
        (!id_is_in(group->id, options->voters, options->voter_count) &&
         !id_is_in(group->id, options->standbys, options->standby_count))) {
        status = STATUS_INVALID;
    }
    for (uint32_t i = 0; status == STATUS_OK && i < options->voter_count; i++) {
        status = configuration_add(&configuration, options->voters[i], RAFT_VOTER);
    }
    for (uint32_t i = 0; status == STATUS_OK && i < options->standby_count; i++) {
        status = configuration_add(&configuration, options->standbys[i], RAFT_STANDBY);
    }
    if (status == STATUS_OK) {
        group_configuration_encode(&bytes, &configuration);
        status = buffer_status(&bytes);
    }
    if (status == STATUS_OK) {
        status = group_state_append(&group->state, 1, GROUP_ENTRY_CHANGE, buffer_slice(&bytes));
    }
    raft_configuration_close(&configuration);
    buffer_deinit(&bytes);
    return status;
}

/* What was read may stand in the page cache only, and a torn tail may lie behind it: everything is
 * written anew and synced before it is believed. */
static enum status group_load(struct group *group, const struct group_options *options)
{
    enum status status = group_log_open(&group->log, group->env, options->path, group->id,
                                        &group->state, &group->snapshot);
    if (status == STATUS_NOT_FOUND) {
        status = group_found(group, options);
    } else if (status == STATUS_OK) {
        status = group_io_check(group);
    }
    if (status == STATUS_OK) {
        status = group_guard_renew_term(group);
    }
    if (status != STATUS_OK) {
        log_error(group->env, "group.unreadable", "id=%" PRIu32 " path=%s status=%s", group->id,
                  options->path, status_name(status));
        return status;
    }
    struct buffer records = {0};
    group->generation = group->log.generation + 1;
    group_record_state(&records, &group->state);
    status = buffer_status(&records);
    if (status == STATUS_OK) {
        status =
            group_log_rotate(&group->log, &(struct group_log_next){
                                              .generation = group->generation,
                                              .records = buffer_slice(&records),
                                              .snapshot_generation = group->state.mark.generation,
                                          });
    }
    buffer_deinit(&records);
    return status;
}

static enum status group_init_library(struct group *group, const struct group_options *options)
{
    char address[GROUP_ADDRESS_SIZE_MAX];
    (void)snprintf(address, sizeof address, "%" PRIu32, group->id);
    group->fsm = (struct raft_fsm){
        .version = 1,
        .data = group,
        .apply = fsm_apply,
        .snapshot = fsm_snapshot,
        .restore = fsm_restore,
    };
    if (raft_init(&group->raft, &group->io, &group->fsm, group->id, address) != 0) {
        return STATUS_NO_MEMORY;
    }
    group->raft_ready = true;
    uint32_t threshold = options->snapshot_threshold;
    uint32_t trailing = options->snapshot_trailing;
    raft_set_election_timeout(&group->raft, group->election_timeout_ms);
    raft_set_heartbeat_timeout(&group->raft, group->heartbeat_timeout_ms);
    raft_set_install_snapshot_timeout(&group->raft,
                                      group->election_timeout_ms * INSTALL_TIMEOUT_FACTOR);
    raft_set_pre_vote(&group->raft, true);
    raft_set_snapshot_threshold(&group->raft,
                                threshold == 0 ? SNAPSHOT_THRESHOLD_DEFAULT : threshold);
    raft_set_snapshot_trailing(&group->raft, trailing == 0 ? SNAPSHOT_TRAILING_DEFAULT : trailing);
    return STATUS_OK;
}

enum status group_open(struct env *env, const struct group_options *options, struct group **opened)
{
    ASSERT(options->path != NULL);
    const struct group_events *events = &options->events;
    ASSERT(events->applied != NULL && events->snapshot != NULL && events->restored != NULL);
    ASSERT(events->send != NULL && events->changed != NULL && events->failed != NULL);
    group_heap_use();
    struct group *group = memory_allocate_zeroed(1, sizeof *group);
    if (group == NULL) {
        return STATUS_NO_MEMORY;
    }
    group->env = env;
    group->id = options->id;
    group->events = options->events;
    group->context = options->context;
    group->election_timeout_ms = options->election_timeout_ms == 0 ? ELECTION_TIMEOUT_MS_DEFAULT
                                                                   : options->election_timeout_ms;
    group->heartbeat_timeout_ms = options->heartbeat_timeout_ms == 0
                                      ? HEARTBEAT_TIMEOUT_MS_DEFAULT
                                      : options->heartbeat_timeout_ms;
    group->request_number = (uint64_t)group->id << 32;
    list_init(&group->requests);
    list_init(&group->answered);
    group_state_init(&group->state);
    group_io_init(group);
    enum status status = STATUS_INVALID;
    if (group->id != 0 && group->heartbeat_timeout_ms < group->election_timeout_ms) {
        status = group_load(group, options);
    }
    if (status == STATUS_OK) {
        status = group_init_library(group, options);
    }
    if (status != STATUS_OK) {
        group_close(group);
        return status;
    }
    *opened = group;
    return STATUS_OK;
}

enum status group_start(struct group *group)
{
    ASSERT(group->phase == GROUP_OPEN);
    group->phase = GROUP_RUNNING; /* The only voter leads, and sends, from within raft_start. */
    group_enter(group);
    int rc = group_guard_start(group);
    group_leave(group);
    if (rc != 0 && group->failure == STATUS_OK) {
        group_fail(group, rc == RAFT_NOMEM ? STATUS_NO_MEMORY : STATUS_CORRUPT);
    }
    if (group->failure != STATUS_OK) {
        group->failure_reported = true; /* The caller is told here. */
    }
    group_settle(group);
    return group->failure;
}

/* ---- receiving ---- */

/* Where a sender is noted that was not heard before: instead of one that has left the group. */
static struct group_peer *peer_place(struct group *group)
{
    struct group_peer *place = group_guard_peer(group, 0);
    const struct raft_configuration *configuration = group_guard_configuration(group);
    for (size_t i = 0; place == NULL && i < GROUP_SERVER_COUNT_MAX; i++) {
        bool member = false;
        for (unsigned j = 0; j < configuration->n; j++) {
            member = member || configuration->servers[j].id == group->peers[i].id;
        }
        place = member ? NULL : &group->peers[i];
    }
    return place;
}

/* False for a message older than one already taken from this peer. */
static bool peer_advance(struct group *group, uint32_t from, uint64_t connection, uint64_t sequence)
{
    struct group_peer *peer = group_guard_peer(group, from);
    if (peer == NULL) {
        peer = peer_place(group);
        if (peer == NULL) {
            return false; /* More senders than a group can have. */
        }
        *peer = (struct group_peer){.id = from};
    } else if (connection < peer->connection ||
               (connection == peer->connection && sequence <= peer->sequence)) {
        return false;
    }
    peer->connection = connection;
    peer->sequence = sequence;
    return true;
}

void group_receive(struct group *group, uint32_t from, uint64_t connection, uint64_t sequence,
                   struct slice bytes)
{
    ASSERT(group->depth == 0);
    if (group->phase != GROUP_RUNNING || group->failure != STATUS_OK) {
        return;
    }
    struct raft_message message;
    struct group_message_ends ends = {.from = from, .to = group->id};
    enum status status = group_message_decode(bytes, ends, &message);
    if (status != STATUS_OK) {
        log_warn(group->env, "group.receive.refused", "id=%" PRIu32 " from=%" PRIu32 " status=%s",
                 group->id, from, status_name(status));
        group->drops++;
        return;
    }
    if (!peer_advance(group, from, connection, sequence)) {
        group->drops++;
        group_message_free(&message);
        return;
    }
    group_guard_peer(group, from)->newcomer = group_message_is_newcomer(bytes);
    char address[GROUP_ADDRESS_SIZE_MAX];
    (void)snprintf(address, sizeof address, "%" PRIu32, from);
    message.server_address = address;
    if (group_guard_drops_incoming(group, &message)) {
        group_message_free(&message);
    } else {
        group_enter(group);
        group_guard_deliver(group, &message);
        group_leave(group);
    }
    group_settle(group);
}

void group_info(const struct group *group, struct group_info *info)
{
    *info = (struct group_info){
        .role = group->phase == GROUP_RUNNING ? group->role : GROUP_STOPPED,
        .leader_id = group->leader_id,
        .term = group->state.term,
        .last_index = group_state_last_index(&group->state),
        .commit_index = group_guard_commit_index(group),
        .applied_index = group_guard_applied_index(group),
        .snapshot_index = group->state.mark.index,
        .voter_count = group_guard_voter_count(group),
        .guard_drops = group->drops,
        .guard_rollbacks = group->rollbacks,
    };
}

/* ---- the end ---- */

static void library_closed(struct raft *raft)
{
    (void)raft;
}

/* The library goes UNAVAILABLE, gives back its requests, and is then told that its writes ended. */
static void library_close(struct group *group)
{
    if (group->raft_ready) {
        group->raft_ready = false;
        group_enter(group);
        raft_close(&group->raft, library_closed);
        group_leave(group);
    }
    answers_give(group);
    group_change_give_up(group, STATUS_CANCELLED);
}

void group_stop(struct group *group, struct group_stop *stop)
{
    ASSERT(group->depth == 0);
    ASSERT(group->stop == NULL);
    group->stop = stop;
    group->env->ops->timer_stop(group->env, &group->tick_timer);
    if (group->phase == GROUP_RUNNING) {
        group->phase = GROUP_STOPPING;
        group_io_push_mark(group); /* So that damage to the last records would be noticed. */
    }
    group_settle(group);
    env_timer_start_ms(group->env, &group->owed_timer, 0);
}

void group_stop_continue(struct group *group)
{
    if (!stop_is_due(group)) {
        return;
    }
    struct group_stop *stop = group->stop;
    group->stop = NULL;
    library_close(group);
    group->phase = GROUP_CLOSED;
    stop->stopped(stop);
}

void group_files_close(struct group *group)
{
    ASSERT(group->phase == GROUP_CLOSED);
    ASSERT(!group->job_running);
    group_log_close(&group->log);
}

void group_close(struct group *group)
{
    if (group == NULL) {
        return;
    }
    ASSERT(!group->job_running);
    if (group->phase == GROUP_RUNNING) {
        group->phase = GROUP_STOPPING;
    }
    library_close(group);
    group_io_deinit(group);
    memory_free(group);
}
