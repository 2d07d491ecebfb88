/*
 * raft/group_change.c -- changes of the configuration and of the leader; group.h has the contract.
 *
 * Why so strict: a change of role is where the library is weakest (docs/raft.md), so it is begun
 * only by a leader that has committed a barrier of its own term, one at a time, and never by a
 * leader upon itself. An addition is two steps, for the library adds a server as a spare.
 * Why not the library's own transfer: it embeds a send in the request, which outlives the callback,
 * and lets the target's vote pass although another was given. So the message is ours: proposals
 * stop, and once the target has the whole log it is told to stand.
 * Invariants:
 *  (1) The library has at most one step of a change; its request lies in struct group, for after a
 *      failure the library keeps it until it is closed.
 *  (2) `done` is called when the library is off the stack, exactly once.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "raft/group_internal.h"
#include "raft/group_mutant.h"

/* A leader changes one for another by adding first, so that it never has fewer voters than wanted.
 */
#define VOTER_COUNT_MAX (GROUP_VOTER_COUNT_MAX + 1)

static const char *kind_name(enum group_change_kind kind)
{
    static const char *const names[] = {
        [GROUP_ADD] = "add",       [GROUP_PROMOTE] = "promote",   [GROUP_DEMOTE] = "demote",
        [GROUP_REMOVE] = "remove", [GROUP_TRANSFER] = "transfer",
    };
    return names[kind];
}

static const struct raft_server *server_of(const struct group *group, uint32_t id)
{
    const struct raft_configuration *configuration = group_guard_configuration(group);
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == id) {
            return &configuration->servers[i];
        }
    }
    return NULL;
}

/* ---- policy ---- */

static enum status refused(const struct group *group, const struct group_change *change,
                           const char *why)
{
    log_info(group->env, "group.change.refused",
             "id=%" PRIu32 " kind=%s server=%" PRIu32 " why=\"%s\"", group->id,
             kind_name(change->kind), change->id, why);
    return STATUS_REFUSED;
}

/* Voters other than `except`, and those of them that answer. */
struct voters {
    uint32_t count;
    uint32_t healthy_count;
};

static struct voters voters_without(const struct group *group, uint32_t except)
{
    const struct raft_configuration *configuration = group_guard_configuration(group);
    struct voters voters = {0};
    for (unsigned i = 0; i < configuration->n; i++) {
        uint32_t id = (uint32_t)configuration->servers[i].id;
        if (configuration->servers[i].role == RAFT_VOTER && id != except) {
            voters.count++;
            voters.healthy_count += group_guard_is_healthy(group, id) ? 1 : 0;
        }
    }
    return voters;
}

static enum status add_check(const struct group *group, const struct group_change *change)
{
    const struct raft_server *server = server_of(group, change->id);
    if (server != NULL) {
        return server->role == RAFT_SPARE ? STATUS_OK : STATUS_EXISTS;
    }
    if (group_guard_configuration(group)->n >= GROUP_SERVER_COUNT_MAX) {
        return refused(group, change, "the group has all the servers it can have");
    }
    return STATUS_OK;
}

static enum status promote_check(const struct group *group, const struct group_change *change,
                                 int role)
{
    if (role == RAFT_SPARE) {
        return refused(group, change, "it is a spare: add it first");
    }
    if (role == RAFT_VOTER) {
        return STATUS_EXISTS;
    }
    if (!group_guard_is_healthy(group, change->id)) {
        return refused(group, change, "it is still catching up, or does not answer");
    }
    struct voters voters = voters_without(group, change->id);
    if (voters.count >= VOTER_COUNT_MAX) {
        return refused(group, change, "there are too many voters");
    }
    /* The new voter is caught up before it counts; with it, those that answer must be a majority.
     */
    if (voters.healthy_count + 1 <= (voters.count + 1) / 2) {
        return refused(group, change, "too few voters answer");
    }
    return STATUS_OK;
}

static enum status demote_check(const struct group *group, const struct group_change *change,
                                int role)
{
    if (role != RAFT_VOTER) {
        return STATUS_EXISTS;
    }
    /* One that answers is demoted only if all the others do; a dead one, if a majority does. */
    struct voters rest = voters_without(group, change->id);
    bool dead = !group_guard_is_healthy(group, change->id);
    if (rest.healthy_count < rest.count && (!dead || rest.healthy_count <= rest.count / 2)) {
        return refused(group, change, "too few of the other voters answer");
    }
    return STATUS_OK;
}

static enum status remove_check(const struct group *group, const struct group_change *change,
                                int role)
{
    if (role == RAFT_VOTER) {
        return refused(group, change, "it is a voter: demote it first");
    }
    return STATUS_OK;
}

/* The voter with the longest log among those that answer; 0: none does. */
static uint32_t transfer_target(struct group *group)
{
    const struct raft_configuration *configuration = group_guard_configuration(group);
    uint32_t best = 0;
    uint64_t matched = 0;
    for (unsigned i = 0; i < configuration->n; i++) {
        uint32_t id = (uint32_t)configuration->servers[i].id;
        const struct group_peer *peer = group_guard_peer(group, id);
        if (configuration->servers[i].role == RAFT_VOTER && id != group->id &&
            group_guard_is_healthy(group, id) && (best == 0 || peer->matched_index > matched)) {
            best = id;
            matched = peer->matched_index;
        }
    }
    return best;
}

static enum status transfer_check(struct group *group, struct group_change *change)
{
    if (change->id == 0) {
        change->id = transfer_target(group);
        if (change->id == 0) {
            return refused(group, change, "no other voter answers");
        }
    }
    const struct raft_server *server = server_of(group, change->id);
    if (server == NULL) {
        return STATUS_NOT_FOUND;
    }
    if (server->role != RAFT_VOTER || !group_guard_is_healthy(group, change->id)) {
        return refused(group, change, "it is no voter that answers");
    }
    return STATUS_OK;
}

static enum status member_check(const struct group *group, const struct group_change *change)
{
    const struct raft_server *server = server_of(group, change->id);
    if (server == NULL) {
        return STATUS_NOT_FOUND;
    }
    if (change->kind == GROUP_PROMOTE) {
        return promote_check(group, change, server->role);
    }
    if (change->kind == GROUP_REMOVE) {
        return remove_check(group, change, server->role);
    }
    return GROUP_WITHOUT(CHANGE) ? STATUS_OK : demote_check(group, change, server->role);
}

static enum status change_check(struct group *group, struct group_change *change)
{
    if (change->id == group->id) {
        return refused(group, change, "a leader only hands over, to another");
    }
    if (change->kind == GROUP_TRANSFER) {
        return transfer_check(group, change);
    }
    if (change->kind == GROUP_ADD) {
        return change->id == 0 ? STATUS_INVALID : add_check(group, change);
    }
    return member_check(group, change);
}

/* ---- steps in the library ---- */

static void step_done(struct raft_change *request, int rc)
{
    struct group *group = request->data;
    if (group->change == NULL) {
        return; /* Given up when the group failed. */
    }
    group->change_stepped = true;
    if (rc == 0) {
        group->change_status = STATUS_OK;
    } else if (rc == RAFT_NOCONNECTION) {
        group->change_status = STATUS_TIMEOUT;
    } else {
        group->change_status =
            group->phase == GROUP_RUNNING ? STATUS_INDETERMINATE : STATUS_CANCELLED;
    }
}

/* What it acknowledged in an earlier life says nothing of this one. */
static void peer_forget(struct group *group, uint32_t id)
{
    struct group_peer *peer = group_guard_peer(group, id);
    if (peer != NULL) {
        peer->heard_term = 0;
        peer->matched_index = 0;
    }
}

static int step_ask(struct group *group, const struct group_change *change)
{
    struct raft_change *request = &group->change_request;
    char address[GROUP_ADDRESS_SIZE_MAX];
    *request = (struct raft_change){.data = group};
    switch (change->kind) {
    case GROUP_ADD:
        if (server_of(group, change->id) != NULL) {
            return raft_assign(&group->raft, request, change->id, RAFT_STANDBY, step_done);
        }
        peer_forget(group, change->id);
        (void)snprintf(address, sizeof address, "%" PRIu32, change->id);
        return raft_add(&group->raft, request, change->id, address, step_done);
    case GROUP_PROMOTE:
        return raft_assign(&group->raft, request, change->id, RAFT_VOTER, step_done);
    case GROUP_DEMOTE:
        return raft_assign(&group->raft, request, change->id, RAFT_STANDBY, step_done);
    case GROUP_REMOVE:
        return raft_remove(&group->raft, request, change->id, step_done);
    case GROUP_TRANSFER:
        break;
    }
    UNREACHABLE("group_change_kind");
}

/* Short of memory the library is left half-way, with our request in it: the group ends. */
static enum status step_begin(struct group *group, const struct group_change *change)
{
    group_enter(group);
    int rc = step_ask(group, change);
    group_leave(group);
    if (rc == 0) {
        return STATUS_OK;
    }
    if (rc == RAFT_NOMEM) {
        group_fail(group, STATUS_NO_MEMORY);
        return STATUS_NO_MEMORY;
    }
    return rc == RAFT_CANTCHANGE ? STATUS_OVERLOADED : STATUS_NOT_LEADER;
}

/* ---- the transfer ---- */

bool group_change_is_transfer(const struct group *group)
{
    return group->change != NULL && group->change->kind == GROUP_TRANSFER;
}

/* STATUS_WOULD_BLOCK while it is under way. */
static enum status transfer_advance(struct group *group)
{
    if (!group_guard_leads(group) || group_guard_term(group) != group->change_term) {
        return STATUS_OK;
    }
    if (env_monotonic_ms(group->env) - group->change_started_ms >= group->election_timeout_ms) {
        return STATUS_TIMEOUT;
    }
    uint64_t last = group_state_last_index(&group->state);
    const struct group_peer *peer = group_guard_peer(group, group->change->id);
    if (!group->transfer_told && peer != NULL && peer->matched_index == last &&
        group_guard_commit_index(group) == last && group->log_op_count == 0) {
        group->transfer_told = true;
        group_guard_tell_to_stand(group, group->change->id);
    }
    return STATUS_WOULD_BLOCK;
}

/* ---- what group.c calls ---- */

static void change_end(struct group *group, enum status status)
{
    struct group_change *change = group->change;
    group->change = NULL;
    group->change_stepped = false;
    log_info(group->env, "group.change", "id=%" PRIu32 " kind=%s server=%" PRIu32 " status=\"%s\"",
             group->id, kind_name(change->kind), change->id, status_name(status));
    change->done(change, status);
}

enum status group_change(struct group *group, struct group_change *change)
{
    ASSERT(group->depth == 0);
    ASSERT(change->done != NULL);
    bool leads = group_guard_leads(group) ||
                 (GROUP_WITHOUT(CHANGE) && raft_state(&group->raft) == RAFT_LEADER);
    if (group->phase != GROUP_RUNNING || group->failure != STATUS_OK || !leads) {
        return STATUS_NOT_LEADER;
    }
    if (group->change != NULL) {
        return STATUS_OVERLOADED;
    }
    enum status status = change_check(group, change);
    if (status == STATUS_OK && change->kind != GROUP_TRANSFER) {
        status = step_begin(group, change);
    }
    if (status == STATUS_OK) {
        group->change = change;
        group->change_stepped = false;
        group->change_term = group_guard_term(group);
        group->change_started_ms = env_monotonic_ms(group->env);
        group->transfer_told = false;
    }
    group_settle(group);
    return status;
}

/* An addition has a second step, once the first has made a spare. */
static bool addition_goes_on(const struct group *group)
{
    const struct raft_server *server = server_of(group, group->change->id);
    return group->change->kind == GROUP_ADD && group->change_status == STATUS_OK &&
           server != NULL && server->role == RAFT_SPARE && group_guard_leads(group);
}

void group_change_settle(struct group *group)
{
    if (group->change == NULL || group->failure != STATUS_OK) {
        group->change_stepped = false;
        return;
    }
    enum status status = STATUS_WOULD_BLOCK;
    if (group_change_is_transfer(group)) {
        status = transfer_advance(group);
    } else if (group->change_stepped) {
        group->change_stepped = false;
        status = group->change_status;
        if (addition_goes_on(group)) {
            enum status begun = step_begin(group, group->change);
            status = begun == STATUS_OK ? STATUS_WOULD_BLOCK : STATUS_INDETERMINATE;
        }
    }
    if (status != STATUS_WOULD_BLOCK) {
        change_end(group, status);
    }
}

void group_change_give_up(struct group *group, enum status status)
{
    if (group->change != NULL) {
        change_end(group, status);
    }
}

/* ---- the view ---- */

static enum group_duty duty_of(int role)
{
    if (role == RAFT_VOTER) {
        return GROUP_VOTER;
    }
    return role == RAFT_STANDBY ? GROUP_STANDBY : GROUP_SPARE;
}

static void server_view(const struct group *group, const struct raft_server *from,
                        struct group_server *to)
{
    *to = (struct group_server){
        .id = (uint32_t)from->id, .duty = duty_of(from->role), .heard_ms_ago = UINT64_MAX};
    if (!group_guard_leads(group)) {
        return;
    }
    if (to->id == group->id) {
        to->matched_index = group_state_last_index(&group->state);
        to->heard_ms_ago = 0;
    }
    for (size_t i = 0; i < GROUP_SERVER_COUNT_MAX; i++) {
        const struct group_peer *peer = &group->peers[i];
        if (peer->id == to->id && peer->heard_term == group_guard_term(group)) {
            to->matched_index = peer->matched_index;
            to->heard_ms_ago = env_monotonic_ms(group->env) - peer->heard_ms;
        }
    }
}

void group_configuration(const struct group *group, struct group_configuration *configuration)
{
    const struct raft_configuration *from = group_guard_configuration(group);
    ASSERT(from->n <= GROUP_SERVER_COUNT_MAX);
    *configuration = (struct group_configuration){.index = group_guard_configuration_index(group),
                                                  .server_count = from->n};
    configuration->committed = configuration->index <= group_guard_commit_index(group);
    for (unsigned i = 0; i < from->n; i++) {
        server_view(group, &from->servers[i], &configuration->servers[i]);
    }
}
