/*
 * raft/group_guard.c -- the rules that make libraft 0.15 safe; docs/raft.md tells what each is for.
 *
 * The only file that looks into struct raft: another version of the library lays it out anew, and
 * then this file is what has to be read again. The rules bear the names docs/raft.md uses.
 * Queued below means: an append, truncation or snapshot is on its way to our disk.
 */
#include <string.h>

#include "base/log.h"
#include "raft/group_internal.h"
#include "raft/group_mutant.h"

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

const struct raft_configuration *group_guard_configuration(const struct group *group)
{
    return &group->raft.configuration;
}

uint64_t group_guard_configuration_index(const struct group *group)
{
    uint64_t index = group_state_configuration_index(&group->state, UINT64_MAX);
    return index != 0 ? index : group->state.mark.configuration_index;
}

static bool guard_is_leader(const struct group *group)
{
    return group->raft.state == RAFT_LEADER;
}

static const struct raft_server *server_find(const struct group *group, raft_id id)
{
    const struct raft_configuration *configuration = &group->raft.configuration;
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == id) {
            return &configuration->servers[i];
        }
    }
    return NULL;
}

static struct raft_server *server_own(struct group *group)
{
    struct raft_configuration *configuration = &group->raft.configuration;
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == group->id) {
            return &configuration->servers[i];
        }
    }
    return NULL;
}

static bool server_votes(const struct group *group, raft_id id)
{
    const struct raft_server *server = server_find(group, id);
    return server != NULL && server->role == RAFT_VOTER;
}

static bool voter_is_alone(const struct group *group)
{
    return group_guard_voter_count(group) == 1 && server_votes(group, group->id) &&
           !group->state.newcomer;
}

/* ---- who answers ---- */

struct group_peer *group_guard_peer(struct group *group, uint32_t id)
{
    for (size_t i = 0; i < GROUP_SERVER_COUNT_MAX; i++) {
        if (group->peers[i].id == id) {
            return &group->peers[i];
        }
    }
    return NULL;
}

static void acknowledgement_note(struct group *group, const struct raft_message *message)
{
    const struct raft_append_entries_result *result = &message->append_entries_result;
    struct group_peer *peer = group_guard_peer(group, (uint32_t)message->server_id);
    if (peer == NULL || !guard_is_leader(group) || result->term != group->raft.current_term) {
        return;
    }
    if (peer->heard_term != result->term) {
        peer->matched_index = 0;
    }
    peer->heard_term = result->term;
    peer->heard_ms = env_monotonic_ms(group->env);
    if (result->rejected == 0 && result->last_log_index > peer->matched_index) {
        uint64_t last = group_state_last_index(&group->state);
        peer->matched_index = result->last_log_index < last ? result->last_log_index : last;
    }
}

bool group_guard_is_healthy(const struct group *group, uint32_t id)
{
    if (id == group->id) {
        return true;
    }
    for (size_t i = 0; i < GROUP_SERVER_COUNT_MAX; i++) {
        const struct group_peer *peer = &group->peers[i];
        if (peer->id == id) {
            return peer->heard_term == group->raft.current_term &&
                   env_monotonic_ms(group->env) - peer->heard_ms <= group->election_timeout_ms &&
                   peer->matched_index + GROUP_PROPOSAL_COUNT_MAX >= group->raft.commit_index &&
                   !peer->newcomer;
        }
    }
    return false;
}

void group_guard_tell_to_stand(struct group *group, uint32_t id)
{
    struct raft_message message = {.type = RAFT_IO_TIMEOUT_NOW, .server_id = id};
    uint64_t last = group_state_last_index(&group->state);
    message.timeout_now = (struct raft_timeout_now){
        .term = group->raft.current_term,
        .last_log_index = last,
        .last_log_term = group_state_term_of(&group->state, last),
    };
    group_io_send(group, &message);
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
    if (*index == 0 && bytes.size == 0) {
        raft_configuration_init(configuration); /* Of a server that was not added yet. */
        return STATUS_OK;
    }
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
    group->rollbacks++;
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
    if (group->log_op_count > 0 && !GROUP_WITHOUT(BUSY)) {
        return true; /* Rule "busy": truncate and re-append while in flight is a use after free. */
    }
    if (!GROUP_WITHOUT(ROLLBACK) &&
        conflict <= group_state_configuration_index(&group->state, UINT64_MAX)) {
        configuration_roll_back(group, conflict);
    }
    return group->failure != STATUS_OK;
}

/* Until our barrier is stored, an acknowledgement could commit by counting. A newer term must pass:
 * we are no leader then. */
static bool acknowledgement_is_early(const struct group *group, uint64_t term)
{
    return guard_is_leader(group) && term <= group->raft.current_term &&
           (group->led_term != group->raft.current_term || group->barrier_index == 0 ||
            group->raft.last_stored < group->barrier_index);
}

/* Rule "alone": nobody else leads or stands while we are the only voter; whoever claims it goes by
 * a configuration that is gone. */
static bool claims_to_lead(const struct raft_message *message)
{
    return message->type == RAFT_IO_APPEND_ENTRIES || message->type == RAFT_IO_REQUEST_VOTE ||
           message->type == RAFT_IO_INSTALL_SNAPSHOT || message->type == RAFT_IO_TIMEOUT_NOW;
}

/* Rule "newcomer": what a server that began with an empty log may have promised in an earlier life,
 * it does not know; and it passes configurations in which it once voted. */
static bool asks_for_a_vote(const struct raft_message *message)
{
    return message->type == RAFT_IO_REQUEST_VOTE || message->type == RAFT_IO_TIMEOUT_NOW;
}

/* Rules "busy" and "no election". */
static bool waits_for_disk(const struct raft_message *message)
{
    bool snapshot = message->type == RAFT_IO_INSTALL_SNAPSHOT && !GROUP_WITHOUT(BUSY);
    bool stand = message->type == RAFT_IO_TIMEOUT_NOW && !GROUP_WITHOUT(NO_ELECTION);
    return snapshot || stand;
}

bool group_guard_drops_incoming(struct group *group, const struct raft_message *message)
{
    const struct raft *raft = &group->raft;
    const struct raft_request_vote *vote = &message->request_vote;
    bool drop = false;
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        drop = drops_append(group, &message->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        drop = !GROUP_WITHOUT(BARRIER) &&
               acknowledgement_is_early(group, message->append_entries_result.term);
        break;
    case RAFT_IO_REQUEST_VOTE:
        drop = !GROUP_WITHOUT(ONE_VOTE) && !vote->pre_vote && vote->term == raft->current_term &&
               raft->voted_for != 0 && raft->voted_for != vote->candidate_id;
        break;
    default:
        drop = group->log_op_count > 0 && waits_for_disk(message);
        break;
    }
    if ((claims_to_lead(message) && voter_is_alone(group) && !GROUP_WITHOUT(ALONE)) ||
        (asks_for_a_vote(message) && group->state.newcomer)) {
        drop = true;
    }
    group->drops += drop ? 1 : 0;
    return drop;
}

/* Rule "any vote": shows the library a voter while it judges a RequestVote, and lets a standby
 * forget a leader it has not heard of for an election timeout. Gives the entry to put back. */
static struct raft_server *vote_lend(struct group *group)
{
    struct raft *raft = &group->raft;
    struct raft_server *server = server_own(group);
    if (server == NULL || server->role == RAFT_VOTER) {
        return NULL;
    }
    if (raft->state == RAFT_FOLLOWER &&
        env_monotonic_ms(group->env) - raft->election_timer_start >= raft->election_timeout) {
        raft->follower_state.current_leader.id = 0;
    }
    return server;
}

/* A leader that has committed something of its own term has committed our addition too: either it
 * found it in its log, or it added us, and then as a spare, which gets nothing, before anything
 * else. So who has all that such a leader calls committed has arrived. The note is queued before
 * the acknowledgement, so that nobody counts on us without it. */
static void newcomer_arrives(struct group *group, const struct raft_append_entries *append)
{
    const struct group_state *state = &group->state;
    uint64_t last = append->prev_log_index + append->n_entries;
    bool taken = append->term == group->raft.current_term &&
                 group_state_term_of(state, append->prev_log_index) == append->prev_log_term &&
                 group_state_last_index(state) >= last;
    bool of_its_term = group_state_term_of(state, append->leader_commit) == append->term;
    if (taken && of_its_term && last >= append->leader_commit && group->failure == STATUS_OK) {
        group->state.newcomer = false;
        group_io_push_arrived(group);
    }
}

/* Rule "cut": to entries from the very first on the library appends those that our snapshot
 * replaced, once more, at the end. What the snapshot holds is committed, so whoever leads has it.
 */
static void append_cut(const struct group *group, struct raft_append_entries *append)
{
    const struct group_mark *mark = &group->state.mark;
    if (append->prev_log_index != 0 || append->n_entries == 0 || group->state.start_index == 1 ||
        GROUP_WITHOUT(CUT)) {
        return;
    }
    void *batch = append->entries[0].batch;
    unsigned cut = append->n_entries < mark->index ? append->n_entries : (unsigned)mark->index;
    append->n_entries -= cut;
    append->prev_log_index = mark->index;
    append->prev_log_term = mark->term;
    if (append->n_entries > 0) {
        memmove(append->entries, append->entries + cut,
                append->n_entries * sizeof *append->entries);
    } else {
        raft_free(batch);
        raft_free(append->entries);
        append->entries = NULL;
    }
}

void group_guard_deliver(struct group *group, struct raft_message *message)
{
    struct raft_server *lent = NULL;
    int role = RAFT_VOTER;
    struct raft_append_entries append = {0};
    if (message->type == RAFT_IO_APPEND_ENTRIES) {
        append_cut(group, &message->append_entries);
        append = message->append_entries;
        group->proven = append.prev_log_index + append.n_entries;
    } else if (message->type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        acknowledgement_note(group, message);
    } else if (message->type == RAFT_IO_REQUEST_VOTE && !GROUP_WITHOUT(ANY_VOTE)) {
        lent = vote_lend(group);
    }
    if (lent != NULL) {
        role = lent->role;
        lent->role = RAFT_VOTER;
    }
    group->recv_cb(&group->io, message);
    group->proven = 0;
    if (group->state.newcomer && append.term != 0) {
        newcomer_arrives(group, &append);
    }
    if (lent != NULL) {
        lent->role = role; /* A RequestVote changes no configuration: the entry is still there. */
    }
}

/* ---- what goes out ---- */

/* Rule "snapshot acknowledgement". */
static void result_raise(const struct group *group, struct raft_append_entries_result *result)
{
    uint64_t commit = group->raft.commit_index;
    bool compacted = result->rejected > 0 && result->rejected < commit &&
                     group_state_term_of(&group->state, result->rejected) == 0;
    if (compacted || (result->rejected == 0 && result->last_log_index < commit)) {
        result->rejected = 0;
        result->last_log_index = commit;
    }
}

/* Rule "back up". */
static void result_back_up(const struct group *group, struct raft_append_entries_result *result)
{
    uint64_t commit = group->raft.commit_index;
    uint64_t term = group_state_term_of(&group->state, result->rejected);
    if (result->rejected <= commit || term == 0) {
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

static void result_correct(const struct group *group, struct raft_append_entries_result *result)
{
    if (!GROUP_WITHOUT(CLAMP) && result->rejected == 0 && group->proven != 0 &&
        result->last_log_index > group->proven) {
        result->last_log_index = group->proven;
    }
    if (!GROUP_WITHOUT(SNAPSHOT_ACKNOWLEDGEMENT)) {
        result_raise(group, result);
    }
    if (!GROUP_WITHOUT(BACK_UP) && result->rejected > 0) {
        result_back_up(group, result);
    }
}

/* Rule "hold back": who does not vote in a new configuration gets it once it is committed. Else a
 * demoted server alone might hold the longest log, in which it may not stand itself, and to whose
 * owner it refuses every other one its vote. */
static void entries_hold_back(const struct group *group, const struct raft_message *message,
                              struct raft_append_entries *append)
{
    uint64_t change = group_state_configuration_index(&group->state, UINT64_MAX);
    if (change <= group->raft.commit_index || server_votes(group, message->server_id) ||
        append->prev_log_index + append->n_entries < change) {
        return;
    }
    append->n_entries =
        append->prev_log_index < change ? (unsigned)(change - 1 - append->prev_log_index) : 0;
}

bool group_guard_drops_outgoing(struct group *group, struct raft_message *message)
{
    bool drop = false;
    if (message->server_id == 0 || message->server_id > UINT32_MAX ||
        message->server_address == NULL) {
        drop = true; /* Rule "stale": the leader became unknown while our write was in flight. */
    } else if (message->type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        drop = group->stale && !GROUP_WITHOUT(STALE);
        result_correct(group, &message->append_entries_result);
    } else if (message->type == RAFT_IO_REQUEST_VOTE_RESULT) {
        struct raft_request_vote_result *result = &message->request_vote_result;
        /* Rule "pre-vote". */
        if (result->pre_vote == raft_tribool_true && !result->vote_granted &&
            result->term < group->raft.current_term && !GROUP_WITHOUT(PRE_VOTE)) {
            result->term = group->raft.current_term;
        }
    } else if (message->type == RAFT_IO_APPEND_ENTRIES && !GROUP_WITHOUT(HOLD_BACK)) {
        entries_hold_back(group, message, &message->append_entries);
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
    if (op->install && !GROUP_WITHOUT(SNAPSHOT_CONFIGURATION)) {
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
    if (voter && only && !group->state.newcomer && !GROUP_WITHOUT(OWN_TERM)) {
        if (group->state.term >= GROUP_TERM_MAX) {
            return STATUS_CORRUPT;
        }
        group->state.term++;
        group->state.vote = group->id;
    }
    return STATUS_OK;
}

/* Rule "own term" again: an only voter that heard of a newer term leads on in that very term, which
 * another may have led. */
static void term_renew(struct group *group)
{
    struct raft *raft = &group->raft;
    bool due = raft->state == RAFT_FOLLOWER && voter_is_alone(group) &&
               env_monotonic_ms(group->env) - raft->election_timer_start >=
                   raft->follower_state.randomized_election_timeout;
    if (due && !GROUP_WITHOUT(OWN_TERM)) {
        raft_term term = raft->current_term + 1;
        group->io.set_term(&group->io, term);
        group->io.set_vote(&group->io, group->id);
        raft->current_term = term;
        raft->voted_for = group->id;
    }
}

/* At its start the library elects an only voter at once; a newcomer is shown to it as a standby. */
void group_guard_loaded(struct group *group)
{
    struct raft_server *self = group->state.newcomer ? server_own(group) : NULL;
    if (self != NULL && self->role == RAFT_VOTER) {
        self->role = RAFT_STANDBY;
        group->role_hidden = true;
    }
}

int group_guard_start(struct group *group)
{
    int rc = raft_start(&group->raft);
    struct raft_server *self = group->role_hidden ? server_own(group) : NULL;
    if (self != NULL) {
        self->role = RAFT_VOTER;
    }
    group->role_hidden = false;
    return rc;
}

void group_guard_tick(struct group *group)
{
    /* Rule "no election": who stands while entries are queued adopts no configuration among them.
     */
    bool writes = group->log_op_count > 0 && !GROUP_WITHOUT(NO_ELECTION);
    if (!guard_is_leader(group) && (writes || group->state.newcomer)) {
        group->drops++;
        return;
    }
    term_renew(group);
    group->tick_cb(&group->io);
}

bool group_guard_may_snapshot(const struct group *group)
{
    uint64_t last = group_state_configuration_index(&group->state, UINT64_MAX);
    return last <= group->raft.last_applied || GROUP_WITHOUT(SNAPSHOT_CONFIGURATION);
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
