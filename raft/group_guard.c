/*
 * raft/group_guard.c -- the rules that make libraft 0.15 safe; docs/raft.md tells what each is for.
 *
 * The only file that looks into struct raft: another version of the library lays it out anew, and
 * then this file is what has to be read again. The rules bear the names docs/raft.md uses.
 * Queued below means: an append, truncation or snapshot is on its way to our disk.
 */
#include <stdio.h>

#include "base/log.h"
#include "raft/group_internal.h"

uint64_t group_guard_term(const struct group *group)
{
    return group->raft.current_term;
}

uint64_t group_guard_commit_index(const struct group *group)
{
    return group->raft.commit_index;
}

uint64_t group_guard_applied_index(const struct group *group)
{
    return group->raft.last_applied;
}

uint32_t group_guard_voter_count(const struct group *group)
{
    uint32_t count = 0;
    const struct raft_configuration *configuration = &group->raft.configuration;
    for (unsigned i = 0; i < configuration->n; i++) {
        count += configuration->servers[i].role == RAFT_VOTER ? 1 : 0;
    }
    return count;
}

static bool guard_is_leader(const struct group *group)
{
    return group->raft.state == RAFT_LEADER;
}

/* ---- barrier: nothing of an older term is committed by counting ---- */

static void barrier_done(struct raft_barrier *barrier, int rc)
{
    struct group *group = barrier->data;
    group->barrier_committed = rc == 0;
}

void group_guard_lead(struct group *group)
{
    if (!guard_is_leader(group)) {
        return;
    }
    if (group->led_term != group->raft.current_term) {
        group->led_term = group->raft.current_term;
        group->barrier_index = 0;
        group->barrier_committed = false;
    }
    if (group->barrier_index == 0) {
        group->barrier.data = group;
        group_enter(group);
        int rc = raft_barrier(&group->raft, &group->barrier, barrier_done);
        group_leave(group);
        if (rc == 0) {
            group->barrier_index = raft_last_index(&group->raft);
        } else {
            group_fail(group, STATUS_NO_MEMORY); /* The only cause; a leader without is unsafe. */
        }
    }
}

bool group_guard_leads(const struct group *group)
{
    return guard_is_leader(group) && group->led_term == group->raft.current_term &&
           group->barrier_committed;
}

/* ---- what comes in ---- */

/*
 * Index of the first of our entries that this AppendEntries makes the library truncate, or 0.
 * Committed entries never conflict, and the library drops them only from the front.
 */
static uint64_t conflict_index(const struct group *group, const struct raft_append_entries *append)
{
    const struct group_state *state = &group->state;
    if (append->term < group->raft.current_term) {
        return 0;
    }
    uint64_t before = group_state_term_of(state, append->prev_log_index);
    if (before != 0 && before != append->prev_log_term) {
        return 0; /* Will be refused. */
    }
    for (unsigned i = 0; i < append->n_entries; i++) {
        uint64_t index = append->prev_log_index + 1 + i;
        uint64_t term = group_state_term_of(state, index);
        if (index > group->raft.commit_index && term != 0 && term != append->entries[i].term) {
            return index;
        }
    }
    return 0;
}

static enum status configuration_below(const struct group *group, uint64_t limit,
                                       struct raft_configuration *configuration, uint64_t *index)
{
    const struct group_state *state = &group->state;
    *index = group_state_configuration_index(state, limit);
    struct slice bytes = buffer_slice(&state->configuration);
    if (*index != 0) {
        const struct group_entry *entry = group_state_entry(state, *index);
        bytes = slice_make(entry->data, entry->size);
    } else {
        *index = state->mark.configuration_index;
    }
    return group_configuration_decode(bytes, configuration);
}

/* Rule "rollback": before a configuration entry is truncated, the one before it counts again. */
static void configuration_roll_back(struct group *group, uint64_t limit)
{
    struct raft_configuration configuration;
    uint64_t index = 0;
    enum status status = configuration_below(group, limit, &configuration, &index);
    if (status != STATUS_OK) {
        group_fail(group, status);
        return;
    }
    log_info(group->env, "group.rollback", "id=%u truncated_at=%llu configuration_index=%llu",
             group->id, (unsigned long long)limit, (unsigned long long)index);
    raft_configuration_close(&group->raft.configuration);
    group->raft.configuration = configuration;
    group->raft.configuration_index = index;
    group->raft.configuration_uncommitted_index = 0;
}

static bool drops_append(struct group *group, const struct raft_append_entries *append)
{
    uint64_t conflict = conflict_index(group, append);
    if (conflict == 0) {
        return false;
    }
    if (group->log_op_count > 0) {
        return true; /* Rule "busy": truncate and re-append while in flight is a use after free. */
    }
    if (conflict <= group_state_configuration_index(&group->state, UINT64_MAX)) {
        configuration_roll_back(group, conflict);
    }
    return group->failure != STATUS_OK;
}

bool group_guard_drops_incoming(struct group *group, const struct raft_message *message)
{
    const struct raft *raft = &group->raft;
    bool drop = false;
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        drop = drops_append(group, &message->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        /* Rule "barrier": until our own is stored, an acknowledgement could commit by counting. A
         * newer term must pass: we are no leader then. */
        drop = guard_is_leader(group) &&
               message->append_entries_result.term <= raft->current_term &&
               (group->led_term != raft->current_term || group->barrier_index == 0 ||
                raft->last_stored < group->barrier_index);
        break;
    case RAFT_IO_REQUEST_VOTE:
        /* Rule "one vote". */
        drop = !message->request_vote.pre_vote &&
               message->request_vote.term == raft->current_term && raft->voted_for != 0 &&
               raft->voted_for != message->request_vote.candidate_id;
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        drop = group->log_op_count > 0; /* Rule "busy". */
        break;
    default:
        break;
    }
    group->drops += drop ? 1 : 0;
    return drop;
}

/* Rule "any vote": shows the library a voter while it judges a RequestVote, and lets a standby
 * forget a leader it has not heard of for an election timeout. Gives the entry to put back. */
static struct raft_server *vote_lend(struct group *group)
{
    struct raft *raft = &group->raft;
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        struct raft_server *server = &raft->configuration.servers[i];
        if (server->id != raft->id || server->role == RAFT_VOTER) {
            continue;
        }
        if (raft->state == RAFT_FOLLOWER &&
            env_monotonic_ms(group->env) - raft->election_timer_start >= raft->election_timeout) {
            raft->follower_state.current_leader.id = 0;
        }
        return server;
    }
    return NULL;
}

void group_guard_deliver(struct group *group, struct raft_message *message)
{
    struct raft_server *lent = NULL;
    int role = RAFT_VOTER;
    if (message->type == RAFT_IO_APPEND_ENTRIES) {
        group->proven = message->append_entries.prev_log_index + message->append_entries.n_entries;
    } else if (message->type == RAFT_IO_REQUEST_VOTE) {
        lent = vote_lend(group);
    }
    if (lent != NULL) {
        role = lent->role;
        lent->role = RAFT_VOTER;
    }
    group->recv_cb(&group->io, message);
    group->proven = 0;
    if (lent != NULL) {
        lent->role = role; /* A RequestVote changes no configuration: the entry is still there. */
    }
}

/* ---- what goes out ---- */

/* Rules "clamp", "snapshot acknowledgement" and "back up". */
static void result_correct(struct group *group, struct raft_append_entries_result *result)
{
    uint64_t commit = group->raft.commit_index;
    if (result->rejected == 0 && group->proven != 0 && result->last_log_index > group->proven) {
        result->last_log_index = group->proven;
    }
    uint64_t term = group_state_term_of(&group->state, result->rejected);
    if (result->rejected > 0 && result->rejected < commit && term == 0) {
        result->rejected = 0;
        result->last_log_index = commit;
    } else if (result->rejected == 0 && result->last_log_index < commit) {
        result->last_log_index = commit;
    }
    if (result->rejected == 0 || term == 0 || result->rejected <= commit) {
        return;
    }
    uint64_t first = result->rejected;
    while (first - 1 > commit && group_state_term_of(&group->state, first - 1) == term) {
        first--;
    }
    if (first > 1 && first - 1 < result->last_log_index) {
        result->last_log_index = first - 1;
    }
}

bool group_guard_drops_outgoing(struct group *group, struct raft_message *message)
{
    bool drop = false;
    if (message->server_id == 0 || message->server_id > UINT32_MAX ||
        message->server_address == NULL) {
        drop = true; /* Rule "stale": the leader became unknown while our write was in flight. */
    } else if (message->type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        drop = group->stale;
        result_correct(group, &message->append_entries_result);
    } else if (message->type == RAFT_IO_REQUEST_VOTE_RESULT) {
        struct raft_request_vote_result *result = &message->request_vote_result;
        /* Rule "pre-vote". */
        if (result->pre_vote == raft_tribool_true && !result->vote_granted &&
            result->term < group->raft.current_term) {
            result->term = group->raft.current_term;
        }
    }
    group->drops += drop ? 1 : 0;
    return drop;
}

/* ---- what the disk finished ---- */

void group_guard_append_done(struct group *group, struct group_op *op)
{
    group->stale = op->term != group->raft.current_term;
    group->proven = op->last_index;
    op->append->cb(op->append, 0);
    group->stale = false;
    group->proven = 0;
}

void group_guard_snapshot_done(struct group *group, struct group_op *op)
{
    op->put->cb(op->put, 0);
    if (op->install) {
        group->raft.configuration_uncommitted_index = 0; /* Rule "snapshot configuration". */
    }
}

/* ---- the rest ---- */

/* Rule "own term": the library lets an only voter lead on in its old term after a restart. Entries
 * that a standby got and its own disk lost would then be replaced by others of the same term. */
enum status group_guard_renew_term(struct group *group)
{
    struct raft_configuration configuration;
    uint64_t index = 0;
    enum status status = configuration_below(group, UINT64_MAX, &configuration, &index);
    if (status != STATUS_OK) {
        return status;
    }
    bool only = true;
    bool voter = false;
    for (unsigned i = 0; i < configuration.n; i++) {
        bool self = configuration.servers[i].id == group->id;
        bool votes = configuration.servers[i].role == RAFT_VOTER;
        voter = voter || (self && votes);
        only = only && (self || !votes);
    }
    raft_configuration_close(&configuration);
    if (voter && only) {
        if (group->state.term >= GROUP_TERM_MAX) {
            return STATUS_CORRUPT;
        }
        group->state.term++;
        group->state.vote = group->id;
    }
    return STATUS_OK;
}

/* Rule "no election": who stands while entries are queued adopts no configuration among them. */
bool group_guard_may_tick(struct group *group)
{
    bool may = guard_is_leader(group) || group->log_op_count == 0;
    group->drops += may ? 0 : 1;
    return may;
}

bool group_guard_may_snapshot(const struct group *group)
{
    uint64_t last = group_state_configuration_index(&group->state, UINT64_MAX);
    return last <= group->raft.last_applied;
}

static bool configurations_equal(const struct raft_configuration *a,
                                 const struct raft_configuration *b)
{
    if (a->n != b->n) {
        return false;
    }
    for (unsigned i = 0; i < a->n; i++) {
        if (a->servers[i].id != b->servers[i].id || a->servers[i].role != b->servers[i].role) {
            return false;
        }
    }
    return true;
}

enum status group_guard_check_configuration(const struct group *group)
{
    if (group->log_op_count > 0 || group->raft.state == RAFT_UNAVAILABLE) {
        return STATUS_OK; /* The library adopts an entry when it is stored. */
    }
    struct raft_configuration wanted;
    uint64_t index = 0;
    enum status status = configuration_below(group, UINT64_MAX, &wanted, &index);
    if (status != STATUS_OK) {
        return status;
    }
    bool equal = configurations_equal(&wanted, &group->raft.configuration);
    raft_configuration_close(&wanted);
    if (!equal) {
        log_error(group->env, "group.drift", "id=%u configuration_index=%llu", group->id,
                  (unsigned long long)index);
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}
