/* raft/group_guard.c and the gate of group_io.c, rule by rule: one server of three, its two peers
 * played by the test, on the disk of tests/sim/group_lab.h. */
#include <stdlib.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "raft/group.h"
#include "raft/group_message.h"
#include "tests/sim/group_lab.h"

#define MILLISECOND UINT64_C(1000000)
#define SENT_COUNT_MAX 1024
#define SELF 1
#define SNAPSHOT_THRESHOLD 8

struct fixture {
    struct lab *lab;
    struct group *group;
    struct raft_message sent[SENT_COUNT_MAX]; /* Of results and votes; they own nothing. */
    uint32_t sent_count;
    uint32_t answered_count; /* Of those, by answer(). */
    uint64_t sequence;
    uint64_t applied_index;
    enum status failure;
    struct group_stop stop;
    bool stopped;
    struct group_change change;
    bool change_ended;
    enum status change_status;
};

static enum status on_applied(void *context, uint64_t index, struct slice command)
{
    struct fixture *fixture = context;
    (void)command;
    fixture->applied_index = index;
    return STATUS_OK;
}

static void on_snapshot(void *context, struct buffer *to)
{
    (void)context;
    buffer_append_text(to, "snapshot");
}

static enum status on_restored(void *context, struct slice snapshot)
{
    (void)context;
    return slice_equal(snapshot, slice_text("snapshot")) ? STATUS_OK : STATUS_CORRUPT;
}

static void on_send(void *context, uint32_t to, struct slice bytes)
{
    struct fixture *fixture = context;
    struct group_message_ends ends = {.from = SELF, .to = to};
    struct raft_message message;
    cr_assert_eq(group_message_decode(bytes, ends, &message), STATUS_OK);
    message.server_id = to;
    cr_assert_lt(fixture->sent_count, SENT_COUNT_MAX);
    fixture->sent[fixture->sent_count++] = message;
    group_message_free(&message);
}

static void on_changed(void *context, enum group_role role, uint32_t leader_id, uint64_t term)
{
    (void)context;
    (void)role;
    (void)leader_id;
    (void)term;
}

static void on_failed(void *context, enum status status)
{
    struct fixture *fixture = context;
    fixture->failure = status;
}

static void fixture_open(struct fixture *fixture, uint32_t voter_count)
{
    static const uint32_t voters[] = {1, 2, 3};
    lab_host_start(&fixture->lab->hosts[0]);
    struct group_options options = {
        .path = "group",
        .id = SELF,
        .voters = voters,
        .voter_count = voter_count,
        .election_timeout_ms = 10000, /* It stands for no election by itself here. */
        .heartbeat_timeout_ms = 20,
        .snapshot_threshold = SNAPSHOT_THRESHOLD,
        .events = {.applied = on_applied,
                   .snapshot = on_snapshot,
                   .restored = on_restored,
                   .send = on_send,
                   .changed = on_changed,
                   .failed = on_failed},
        .context = fixture,
    };
    cr_assert_eq(group_open(&fixture->lab->hosts[0].env, &options, &fixture->group), STATUS_OK);
    cr_assert_eq(group_start(fixture->group), STATUS_OK);
}

/* Of no voters at all: a server that joins. */
static void fixture_init_of(struct fixture *fixture, uint32_t voter_count)
{
    *fixture = (struct fixture){.lab = calloc(1, sizeof *fixture->lab)};
    lab_init(fixture->lab, 1);
    fixture_open(fixture, voter_count);
}

static void fixture_init(struct fixture *fixture)
{
    fixture_init_of(fixture, 3);
}

static void run_ms(struct fixture *fixture, uint64_t ms)
{
    lab_run(fixture->lab, fixture->lab->now_ns + ms * MILLISECOND);
}

static void on_stopped(struct group_stop *stop)
{
    struct fixture *fixture = container_of(stop, struct fixture, stop);
    fixture->stopped = true;
}

static void fixture_close(struct fixture *fixture)
{
    fixture->stop.stopped = on_stopped;
    fixture->stopped = false;
    group_stop(fixture->group, &fixture->stop);
    run_ms(fixture, 1000);
    cr_assert(fixture->stopped);
    group_close(fixture->group);
}

static void fixture_deinit(struct fixture *fixture)
{
    fixture_close(fixture);
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        buffer_deinit(&fixture->lab->hosts[0].disk.files[i].now);
        buffer_deinit(&fixture->lab->hosts[0].disk.files[i].durable);
    }
    free(fixture->lab->events);
    free(fixture->lab);
}

static void tell(struct fixture *fixture, uint32_t from, struct raft_message message)
{
    struct buffer bytes = {0};
    message.server_id = SELF;
    cr_assert_eq(group_message_encode(&bytes, from, &message), STATUS_OK);
    group_receive(fixture->group, from, 1, ++fixture->sequence, buffer_slice(&bytes));
    buffer_deinit(&bytes);
}

/* `count` commands of `entry_term` behind `index`, from the leader of `term`. */
static void append(struct fixture *fixture, uint32_t leader, struct raft_append_entries at,
                   raft_term entry_term, unsigned count)
{
    struct raft_entry entries[8];
    uint8_t command[GROUP_ENVELOPE_SIZE + 8];
    cr_assert_leq(count, 8);
    group_command_encode(command, &(struct group_command){.payload = slice_text("command")});
    for (unsigned i = 0; i < count; i++) {
        entries[i] = (struct raft_entry){
            .term = entry_term, .type = RAFT_COMMAND, .buf = {command, sizeof command}};
    }
    at.entries = entries;
    at.n_entries = count;
    tell(fixture, leader,
         (struct raft_message){.type = RAFT_IO_APPEND_ENTRIES, .append_entries = at});
}

static const struct raft_message *last_sent(const struct fixture *fixture)
{
    cr_assert_gt(fixture->sent_count, 0, "nothing was sent");
    return &fixture->sent[fixture->sent_count - 1];
}

static uint64_t drops(const struct fixture *fixture)
{
    struct group_info info;
    group_info(fixture->group, &info);
    return info.guard_drops;
}

Test(group_guard, a_vote_leaves_only_once_it_is_durable)
{
    struct fixture fixture;
    fixture_init(&fixture);
    struct raft_message vote = {.type = RAFT_IO_REQUEST_VOTE};
    vote.request_vote = (struct raft_request_vote){
        .term = 2, .candidate_id = 2, .last_log_index = 1, .last_log_term = 1};
    tell(&fixture, 2, vote);
    cr_assert_eq(fixture.sent_count, 0, "it promised before it wrote");
    struct group_info info;
    group_info(fixture.group, &info);
    cr_assert_eq(info.term, 2);
    run_ms(&fixture, 100);
    cr_assert_eq(fixture.sent_count, 1);
    cr_assert(last_sent(&fixture)->request_vote_result.vote_granted);
    cr_assert_eq(last_sent(&fixture)->server_id, 2);
    fixture_deinit(&fixture);
}

Test(group_guard, an_acknowledgement_leaves_only_once_the_entries_are_durable)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 3);
    cr_assert_eq(fixture.sent_count, 0);
    run_ms(&fixture, 100);
    cr_assert_eq(fixture.sent_count, 1);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.rejected, 0);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.last_log_index, 4);
    fixture_deinit(&fixture);
}

Test(group_guard, a_write_that_fails_ends_the_group_in_silence)
{
    struct fixture fixture;
    fixture_init(&fixture);
    fixture.lab->hosts[0].fail_in = 2; /* The write goes well, its sync does not. */
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 3);
    run_ms(&fixture, 100);
    cr_assert_eq(fixture.failure, STATUS_IO);
    cr_assert_eq(fixture.sent_count, 0);
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 3);
    run_ms(&fixture, 100);
    cr_assert_eq(fixture.sent_count, 0);
    fixture_deinit(&fixture);
}

/* The library acknowledges its whole log, also what the new leader never saw. */
Test(group_guard, an_acknowledgement_says_no_more_than_the_leader_showed)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 5);
    run_ms(&fixture, 100);
    append(&fixture, 3, (struct raft_append_entries){3, 3, 2, 1, NULL, 0}, 3, 0);
    run_ms(&fixture, 100);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.term, 3);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.rejected, 0);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.last_log_index, 3);
    fixture_deinit(&fixture);
}

Test(group_guard, what_would_truncate_waits_for_the_disk)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 3);
    uint64_t before = drops(&fixture);
    append(&fixture, 3, (struct raft_append_entries){3, 1, 1, 1, NULL, 0}, 3, 2);
    cr_assert_eq(drops(&fixture), before + 1);
    run_ms(&fixture, 100);
    append(&fixture, 3, (struct raft_append_entries){3, 1, 1, 1, NULL, 0}, 3, 2);
    cr_assert_eq(drops(&fixture), before + 1);
    run_ms(&fixture, 100);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.last_log_index, 3);
    fixture_deinit(&fixture);
}

Test(group_guard, an_append_of_an_older_term_acknowledges_nothing)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 3);
    append(&fixture, 3, (struct raft_append_entries){3, 1, 1, 1, NULL, 0}, 3, 0);
    run_ms(&fixture, 100);
    for (uint32_t i = 0; i < fixture.sent_count; i++) {
        const struct raft_append_entries_result *result = &fixture.sent[i].append_entries_result;
        cr_assert_leq(result->last_log_index, 1, "entries of term 2 told to the leader of 3");
    }
    fixture_deinit(&fixture);
}

/* Six entries of one term to go back over are one step, not six heartbeats. */
Test(group_guard, a_mismatch_reports_the_start_of_its_term)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 6);
    run_ms(&fixture, 100);
    append(&fixture, 3, (struct raft_append_entries){5, 7, 4, 1, NULL, 0}, 5, 0);
    run_ms(&fixture, 100);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.rejected, 7);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.last_log_index, 1);
    fixture_deinit(&fixture);
}

Test(group_guard, a_refused_pre_vote_tells_the_newer_term)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append(&fixture, 2, (struct raft_append_entries){7, 1, 1, 1, NULL, 0}, 7, 1);
    run_ms(&fixture, 100);
    struct raft_message vote = {.type = RAFT_IO_REQUEST_VOTE};
    vote.request_vote = (struct raft_request_vote){
        .term = 3, .candidate_id = 3, .last_log_index = 9, .last_log_term = 2, .pre_vote = true};
    tell(&fixture, 3, vote);
    run_ms(&fixture, 100);
    cr_assert(!last_sent(&fixture)->request_vote_result.vote_granted);
    cr_assert_eq(last_sent(&fixture)->request_vote_result.term, 7);
    fixture_deinit(&fixture);
}

Test(group_guard, one_vote_a_term)
{
    struct fixture fixture;
    fixture_init(&fixture);
    for (uint32_t candidate = 2; candidate <= 3; candidate++) {
        struct raft_message vote = {.type = RAFT_IO_REQUEST_VOTE};
        vote.request_vote = (struct raft_request_vote){
            .term = 2, .candidate_id = candidate, .last_log_index = 1, .last_log_term = 1};
        tell(&fixture, candidate, vote);
    }
    run_ms(&fixture, 100);
    cr_assert_eq(fixture.sent_count, 1);
    cr_assert_eq(last_sent(&fixture)->server_id, 2);
    fixture_deinit(&fixture);
}

Test(group_guard, a_message_older_than_one_taken_is_dropped)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 0);
    uint64_t before = drops(&fixture);
    fixture.sequence = 0;
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 0);
    cr_assert_eq(drops(&fixture), before + 1);
    fixture_deinit(&fixture);
}

/* Each of one, three and more appends; all that is committed is applied, in order. */
Test(group_guard, committed_entries_are_applied)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 3);
    run_ms(&fixture, 100);
    cr_assert_eq(fixture.applied_index, 0);
    append(&fixture, 2, (struct raft_append_entries){2, 4, 2, 3, NULL, 0}, 2, 2);
    run_ms(&fixture, 100);
    cr_assert_eq(fixture.applied_index, 3);
    append(&fixture, 2, (struct raft_append_entries){2, 6, 2, 6, NULL, 0}, 2, 0);
    run_ms(&fixture, 100);
    cr_assert_eq(fixture.applied_index, 6);
    fixture_deinit(&fixture);
}

/* ---- changes of the configuration ---- */

static struct group_configuration configuration_of(const struct fixture *fixture)
{
    struct group_configuration configuration;
    group_configuration(fixture->group, &configuration);
    return configuration;
}

/* The first `voter_count` servers vote, the one after them stands by. */
static struct raft_configuration configuration_make(uint32_t voter_count)
{
    struct raft_configuration configuration;
    char address[16];
    raft_configuration_init(&configuration);
    for (uint32_t id = 1; id <= voter_count + 1; id++) {
        int role = id <= voter_count ? RAFT_VOTER : RAFT_STANDBY;
        (void)snprintf(address, sizeof address, "%u", id);
        cr_assert_eq(raft_configuration_add(&configuration, id, address, role), 0);
    }
    return configuration;
}

/* Appends a configuration of configuration_make(). */
static void append_configuration(struct fixture *fixture, uint32_t leader,
                                 struct raft_append_entries at, uint32_t voter_count)
{
    struct raft_configuration configuration = configuration_make(voter_count);
    struct raft_entry entry = {.term = at.term, .type = RAFT_CHANGE};
    struct buffer bytes = {0};
    group_configuration_encode(&bytes, &configuration);
    raft_configuration_close(&configuration);
    entry.buf = (struct raft_buffer){.base = bytes.data, .len = bytes.size};
    at.entries = &entry;
    at.n_entries = 1;
    tell(fixture, leader,
         (struct raft_message){.type = RAFT_IO_APPEND_ENTRIES, .append_entries = at});
    buffer_deinit(&bytes);
}

/* What a willing peer says to each message sent since. */
static void answer(struct fixture *fixture)
{
    while (fixture->answered_count < fixture->sent_count) {
        const struct raft_message *sent = &fixture->sent[fixture->answered_count++];
        uint32_t from = (uint32_t)sent->server_id;
        struct raft_message reply = {0};
        if (sent->type == RAFT_IO_REQUEST_VOTE) {
            reply.type = RAFT_IO_REQUEST_VOTE_RESULT;
            reply.request_vote_result = (struct raft_request_vote_result){
                .term = sent->request_vote.term,
                .vote_granted = true,
                .pre_vote = sent->request_vote.pre_vote ? raft_tribool_true : raft_tribool_false};
        } else if (sent->type == RAFT_IO_APPEND_ENTRIES) {
            reply.type = RAFT_IO_APPEND_ENTRIES_RESULT;
            reply.append_entries_result = (struct raft_append_entries_result){
                .term = sent->append_entries.term,
                .last_log_index =
                    sent->append_entries.prev_log_index + sent->append_entries.n_entries};
        } else {
            continue;
        }
        tell(fixture, from, reply);
    }
}

static void run_answered_ms(struct fixture *fixture, uint64_t ms)
{
    for (uint64_t done = 0; done < ms; done += 10) {
        run_ms(fixture, 10);
        answer(fixture);
    }
}

static enum group_role role_of(const struct fixture *fixture)
{
    struct group_info info;
    group_info(fixture->group, &info);
    return info.role;
}

/* Stands, is elected by the others, and commits its barrier. */
static void lead(struct fixture *fixture)
{
    for (int turn = 0; turn < 3000 && role_of(fixture) != GROUP_LEADER; turn++) {
        run_answered_ms(fixture, 10);
    }
    cr_assert_eq(role_of(fixture), GROUP_LEADER);
    fixture->sent_count = 0;
    fixture->answered_count = 0;
}

static void on_change_done(struct group_change *change, enum status status)
{
    struct fixture *fixture = container_of(change, struct fixture, change);
    fixture->change_ended = true;
    fixture->change_status = status;
}

static enum status ask(struct fixture *fixture, enum group_change_kind kind, uint32_t id)
{
    fixture->change = (struct group_change){.kind = kind, .id = id, .done = on_change_done};
    fixture->change_ended = false;
    return group_change(fixture->group, &fixture->change);
}

/* Rule "rollback", also of a configuration the library does not know to be uncommitted. */
Test(group_guard, a_truncated_configuration_does_not_count_any_more)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append_configuration(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 3);
    run_ms(&fixture, 100);
    cr_assert_eq(configuration_of(&fixture).server_count, 4);
    cr_assert_eq(configuration_of(&fixture).index, 2);
    cr_assert_not(configuration_of(&fixture).committed);
    append(&fixture, 3, (struct raft_append_entries){3, 1, 1, 1, NULL, 0}, 3, 1);
    run_ms(&fixture, 100);
    cr_assert_eq(configuration_of(&fixture).server_count, 3);
    cr_assert_eq(configuration_of(&fixture).index, 1);
    cr_assert_eq(fixture.failure, STATUS_OK);
    struct group_info info;
    group_info(fixture.group, &info);
    cr_assert_eq(info.guard_rollbacks, 1);
    fixture_deinit(&fixture);
}

/* Rule "no election": the candidate would not adopt the configuration that is on its way. */
Test(group_guard, who_still_writes_does_not_stand)
{
    struct fixture fixture;
    fixture_init(&fixture);
    fixture.lab->hosts[0].lane_free_ns = 60000 * MILLISECOND;
    append_configuration(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 3);
    run_ms(&fixture, 50000);
    cr_assert_eq(role_of(&fixture), GROUP_FOLLOWER, "it stood for election");
    struct raft_message now = {.type = RAFT_IO_TIMEOUT_NOW};
    now.timeout_now = (struct raft_timeout_now){.term = 2, .last_log_index = 2, .last_log_term = 2};
    tell(&fixture, 2, now);
    cr_assert_eq(role_of(&fixture), GROUP_FOLLOWER, "it stood for election when told to");
    run_ms(&fixture, 20000);
    fixture_deinit(&fixture);
}

Test(group_guard, who_is_told_to_stand_stands_at_once)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 1);
    run_ms(&fixture, 100);
    fixture.sent_count = 0;
    struct raft_message now = {.type = RAFT_IO_TIMEOUT_NOW};
    now.timeout_now = (struct raft_timeout_now){.term = 2, .last_log_index = 2, .last_log_term = 2};
    tell(&fixture, 2, now);
    run_ms(&fixture, 100);
    cr_assert_eq(fixture.sent_count, 2);
    cr_assert_eq(last_sent(&fixture)->type, RAFT_IO_REQUEST_VOTE);
    cr_assert_eq(last_sent(&fixture)->request_vote.term, 3);
    cr_assert(last_sent(&fixture)->request_vote.disrupt_leader);
    fixture_deinit(&fixture);
}

/* Rule "snapshot configuration": it would hold one that may be taken back. */
Test(group_guard, no_snapshot_while_a_configuration_is_not_committed)
{
    struct fixture fixture;
    fixture_init(&fixture);
    struct group_info info;
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 8);
    run_ms(&fixture, 100);
    append_configuration(&fixture, 2, (struct raft_append_entries){2, 9, 2, 1, NULL, 0}, 3);
    run_ms(&fixture, 100);
    append(&fixture, 2, (struct raft_append_entries){2, 10, 2, 9, NULL, 0}, 2, 0);
    run_ms(&fixture, 100);
    group_info(fixture.group, &info);
    cr_assert_eq(info.applied_index, 9);
    cr_assert_eq(info.snapshot_index, 0);
    append(&fixture, 2, (struct raft_append_entries){2, 10, 2, 10, NULL, 0}, 2, 0);
    run_ms(&fixture, 100);
    group_info(fixture.group, &info);
    cr_assert_eq(info.snapshot_index, 10);
    fixture_deinit(&fixture);
}

/* Rule "barrier": the acknowledgement of an old entry would commit it by counting. */
Test(group_guard, an_entry_of_an_older_term_is_not_committed_by_counting)
{
    struct fixture fixture;
    fixture_init(&fixture);
    append(&fixture, 2, (struct raft_append_entries){2, 1, 1, 1, NULL, 0}, 2, 3);
    run_ms(&fixture, 100);
    fixture.sent_count = 0;
    while (fixture.sent_count == 0 || last_sent(&fixture)->type != RAFT_IO_APPEND_ENTRIES) {
        run_ms(&fixture, 10);
        fixture.lab->hosts[0].lane_free_ns = fixture.lab->now_ns;
        if (fixture.sent_count > 0 && last_sent(&fixture)->type == RAFT_IO_REQUEST_VOTE) {
            /* Once it leads its barrier is slow. */
            fixture.lab->hosts[0].lane_free_ns += 2000 * MILLISECOND;
            answer(&fixture);
        }
    }
    struct raft_message acknowledgement = {.type = RAFT_IO_APPEND_ENTRIES_RESULT};
    acknowledgement.append_entries_result = (struct raft_append_entries_result){
        .term = last_sent(&fixture)->append_entries.term, .last_log_index = 4};
    tell(&fixture, 2, acknowledgement);
    struct group_info info;
    group_info(fixture.group, &info);
    cr_assert_eq(info.commit_index, 1, "entry %zu of an old term", (size_t)info.commit_index);
    run_ms(&fixture, 5000);
    fixture_deinit(&fixture);
}

/* Rule "alone". */
Test(group_guard, the_only_voter_follows_nobody)
{
    struct fixture fixture;
    fixture_init_of(&fixture, 1);
    run_ms(&fixture, 100);
    cr_assert_eq(role_of(&fixture), GROUP_LEADER);
    struct group_info before;
    group_info(fixture.group, &before);
    struct raft_message vote = {.type = RAFT_IO_REQUEST_VOTE};
    vote.request_vote = (struct raft_request_vote){.term = 9,
                                                   .candidate_id = 2,
                                                   .last_log_index = 99,
                                                   .last_log_term = 8,
                                                   .disrupt_leader = true};
    tell(&fixture, 2, vote);
    append(&fixture, 2, (struct raft_append_entries){9, 1, 1, 1, NULL, 0}, 9, 2);
    run_ms(&fixture, 1000);
    struct group_info after;
    group_info(fixture.group, &after);
    cr_assert_eq(after.role, GROUP_LEADER);
    cr_assert_eq(after.term, before.term);
    cr_assert_eq(after.last_index, before.last_index);
    fixture_deinit(&fixture);
}

/* Rule "own term": whoever led the newer term is not us. */
Test(group_guard, the_only_voter_leads_on_in_a_term_of_its_own)
{
    struct fixture fixture;
    fixture_init_of(&fixture, 1);
    run_ms(&fixture, 100);
    struct raft_message result = {.type = RAFT_IO_APPEND_ENTRIES_RESULT};
    result.append_entries_result = (struct raft_append_entries_result){.term = 9};
    tell(&fixture, 2, result);
    cr_assert_neq(role_of(&fixture), GROUP_LEADER);
    run_ms(&fixture, 30000);
    struct group_info info;
    group_info(fixture.group, &info);
    cr_assert_eq(info.role, GROUP_LEADER);
    cr_assert_gt(info.term, 9);
    fixture_deinit(&fixture);
}

Test(group_guard, an_added_server_becomes_a_standby_then_a_voter_then_leaves)
{
    struct fixture fixture;
    fixture_init(&fixture);
    lead(&fixture);
    cr_assert_eq(ask(&fixture, GROUP_ADD, 4), STATUS_OK);
    struct group_change second = {.kind = GROUP_ADD, .id = 5, .done = on_change_done};
    cr_assert_eq(group_change(fixture.group, &second), STATUS_OVERLOADED);
    run_answered_ms(&fixture, 500);
    cr_assert(fixture.change_ended);
    cr_assert_eq(fixture.change_status, STATUS_OK);
    struct group_configuration configuration = configuration_of(&fixture);
    cr_assert_eq(configuration.server_count, 4);
    cr_assert_eq(configuration.servers[3].id, 4);
    cr_assert_eq(configuration.servers[3].duty, GROUP_STANDBY);
    cr_assert(configuration.committed);
    cr_assert_eq(ask(&fixture, GROUP_ADD, 4), STATUS_EXISTS);
    cr_assert_eq(ask(&fixture, GROUP_PROMOTE, 4), STATUS_OK);
    run_answered_ms(&fixture, 500);
    cr_assert_eq(fixture.change_status, STATUS_OK);
    cr_assert_eq(configuration_of(&fixture).servers[3].duty, GROUP_VOTER);
    cr_assert_eq(ask(&fixture, GROUP_REMOVE, 4), STATUS_REFUSED);
    cr_assert_eq(ask(&fixture, GROUP_DEMOTE, 4), STATUS_OK);
    run_answered_ms(&fixture, 500);
    cr_assert_eq(ask(&fixture, GROUP_REMOVE, 4), STATUS_OK);
    run_answered_ms(&fixture, 500);
    cr_assert(fixture.change_ended);
    cr_assert_eq(fixture.change_status, STATUS_OK);
    cr_assert_eq(configuration_of(&fixture).server_count, 3);
    cr_assert_eq(ask(&fixture, GROUP_REMOVE, 4), STATUS_NOT_FOUND);
    fixture_deinit(&fixture);
}

Test(group_guard, a_change_is_refused_but_to_a_leader_and_never_upon_itself)
{
    struct fixture fixture;
    fixture_init(&fixture);
    cr_assert_eq(ask(&fixture, GROUP_ADD, 4), STATUS_NOT_LEADER);
    lead(&fixture);
    cr_assert_eq(ask(&fixture, GROUP_DEMOTE, SELF), STATUS_REFUSED);
    cr_assert_eq(ask(&fixture, GROUP_TRANSFER, SELF), STATUS_REFUSED);
    cr_assert_eq(ask(&fixture, GROUP_PROMOTE, 7), STATUS_NOT_FOUND);
    fixture_deinit(&fixture);
}

/* One that answers is kept unless all others do; a dead one may go while a majority answers. */
Test(group_guard, a_voter_is_demoted_only_if_those_who_stay_answer)
{
    struct fixture fixture;
    fixture_init(&fixture);
    lead(&fixture);
    /* Server 3 falls silent for longer than an election time-out of 10 s; 2 answers. */
    for (int turn = 0; turn < 600; turn++) {
        run_ms(&fixture, 20);
        for (uint32_t i = fixture.answered_count; i < fixture.sent_count; i++) {
            if (fixture.sent[i].server_id == 3) {
                fixture.sent[i].type = RAFT_IO_TIMEOUT_NOW;
            }
        }
        answer(&fixture);
        fixture.sent_count = 0;
        fixture.answered_count = 0;
    }
    cr_assert_eq(role_of(&fixture), GROUP_LEADER);
    cr_assert_eq(ask(&fixture, GROUP_DEMOTE, 2), STATUS_REFUSED);
    cr_assert_eq(ask(&fixture, GROUP_TRANSFER, 3), STATUS_REFUSED);
    cr_assert_eq(ask(&fixture, GROUP_DEMOTE, 3), STATUS_OK);
    run_answered_ms(&fixture, 500);
    cr_assert_eq(fixture.change_status, STATUS_OK);
    fixture_deinit(&fixture);
}

/* Rule "hold back": else 3 alone might hold the longest log, and may not stand by it. */
Test(group_guard, who_is_demoted_learns_of_it_once_it_is_committed)
{
    struct fixture fixture;
    fixture_init(&fixture);
    lead(&fixture);
    run_answered_ms(&fixture, 200);
    uint64_t last = configuration_of(&fixture).servers[0].matched_index;
    fixture.sent_count = 0;
    fixture.answered_count = 0;
    cr_assert_eq(ask(&fixture, GROUP_DEMOTE, 3), STATUS_OK);
    run_ms(&fixture, 200);
    bool told = false;
    for (uint32_t i = 0; i < fixture.sent_count; i++) {
        const struct raft_append_entries *append = &fixture.sent[i].append_entries;
        if (fixture.sent[i].server_id == 3) {
            cr_assert_leq(append->prev_log_index + append->n_entries, last + 1);
            cr_assert_eq(append->n_entries, 0, "sent before it was committed");
        }
        told = told || (fixture.sent[i].server_id == 2 && append->n_entries == 1);
    }
    cr_assert(told);
    run_answered_ms(&fixture, 500);
    cr_assert_eq(fixture.change_status, STATUS_OK);
    run_answered_ms(&fixture, 500);
    struct group_configuration configuration = configuration_of(&fixture);
    cr_assert_eq(configuration.servers[2].duty, GROUP_STANDBY);
    cr_assert_eq(configuration.servers[2].matched_index, last + 1);
    fixture_deinit(&fixture);
}

Test(group_guard, a_transfer_tells_its_target_and_takes_no_proposals)
{
    struct fixture fixture;
    fixture_init(&fixture);
    lead(&fixture);
    run_answered_ms(&fixture, 200);
    fixture.sent_count = 0;
    fixture.answered_count = 0;
    cr_assert_eq(ask(&fixture, GROUP_TRANSFER, 0), STATUS_OK);
    struct group_proposal proposal = {0};
    cr_assert_eq(group_propose(fixture.group, slice_text("command"), &proposal), STATUS_NOT_LEADER);
    run_ms(&fixture, 100);
    const struct raft_message *told = NULL;
    for (uint32_t i = 0; i < fixture.sent_count; i++) {
        told = fixture.sent[i].type == RAFT_IO_TIMEOUT_NOW ? &fixture.sent[i] : told;
    }
    cr_assert_not_null(told);
    struct raft_message vote = {.type = RAFT_IO_REQUEST_VOTE};
    vote.request_vote =
        (struct raft_request_vote){.term = told->timeout_now.term + 1,
                                   .candidate_id = told->server_id,
                                   .last_log_index = told->timeout_now.last_log_index,
                                   .last_log_term = told->timeout_now.last_log_term,
                                   .disrupt_leader = true};
    tell(&fixture, (uint32_t)told->server_id, vote);
    cr_assert(fixture.change_ended);
    cr_assert_eq(fixture.change_status, STATUS_OK);
    cr_assert_neq(role_of(&fixture), GROUP_LEADER);
    fixture_deinit(&fixture);
}

Test(group_guard, a_transfer_that_nobody_takes_leaves_the_leader_in_charge)
{
    struct fixture fixture;
    fixture_init(&fixture);
    lead(&fixture);
    cr_assert_eq(ask(&fixture, GROUP_TRANSFER, 2), STATUS_OK);
    for (int turn = 0; turn < 600; turn++) {
        run_answered_ms(&fixture, 20);
        fixture.sent_count = 0;
        fixture.answered_count = 0;
    }
    cr_assert(fixture.change_ended);
    cr_assert_eq(fixture.change_status, STATUS_TIMEOUT);
    cr_assert_eq(role_of(&fixture), GROUP_LEADER);
    fixture_deinit(&fixture);
}

Test(group_guard, a_change_under_way_is_cancelled_when_the_group_stops)
{
    struct fixture fixture;
    fixture_init(&fixture);
    lead(&fixture);
    cr_assert_eq(ask(&fixture, GROUP_ADD, 4), STATUS_OK);
    fixture_deinit(&fixture);
    cr_assert(fixture.change_ended);
    cr_assert_eq(fixture.change_status, STATUS_CANCELLED);
}

/* ---- servers that join ---- */

static void ask_for_vote(struct fixture *fixture, uint32_t candidate, uint64_t term)
{
    struct raft_message vote = {.type = RAFT_IO_REQUEST_VOTE};
    vote.request_vote = (struct raft_request_vote){
        .term = term, .candidate_id = candidate, .last_log_index = 99, .last_log_term = 1};
    tell(fixture, candidate, vote);
    run_ms(fixture, 100);
}

/* Rule "newcomer": on the way it passes a configuration in which it was the only voter. */
Test(group_guard, a_newcomer_does_not_lead_by_a_configuration_of_the_past)
{
    struct fixture fixture;
    fixture_init_of(&fixture, 0);
    append_configuration(&fixture, 2, (struct raft_append_entries){2, 0, 0, 9, NULL, 0}, 1);
    run_ms(&fixture, 50000);
    cr_assert_eq(role_of(&fixture), GROUP_FOLLOWER);
    fixture_close(&fixture);
    lab_host_crash(&fixture.lab->hosts[0], true);
    fixture_open(&fixture, 0);
    run_ms(&fixture, 50000);
    cr_assert_eq(role_of(&fixture), GROUP_FOLLOWER, "after a restart");
    cr_assert_eq(configuration_of(&fixture).servers[0].duty, GROUP_VOTER);
    fixture.sent_count = 0;
    append(&fixture, 2, (struct raft_append_entries){2, 1, 2, 9, NULL, 0}, 2, 2);
    run_ms(&fixture, 100);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.last_log_index, 3,
                 "it must follow meanwhile");
    fixture_deinit(&fixture);
}

Test(group_guard, a_newcomer_votes_once_it_has_what_a_leader_committed_in_its_term)
{
    struct fixture fixture;
    fixture_init_of(&fixture, 0);
    ask_for_vote(&fixture, 3, 2);
    append_configuration(&fixture, 2, (struct raft_append_entries){2, 0, 0, 3, NULL, 0}, 3);
    run_ms(&fixture, 30000);
    ask_for_vote(&fixture, 3, 3);
    for (uint32_t i = 0; i < fixture.sent_count; i++) {
        cr_assert_neq(fixture.sent[i].type, RAFT_IO_REQUEST_VOTE_RESULT, "it voted");
        cr_assert_neq(fixture.sent[i].type, RAFT_IO_REQUEST_VOTE, "it stood");
    }
    append(&fixture, 2, (struct raft_append_entries){2, 1, 2, 3, NULL, 0}, 2, 2);
    run_ms(&fixture, 100);
    fixture_close(&fixture);
    lab_host_crash(&fixture.lab->hosts[0], true);
    fixture_open(&fixture, 0);
    fixture.sent_count = 0;
    ask_for_vote(&fixture, 3, 9);
    cr_assert_eq(last_sent(&fixture)->type, RAFT_IO_REQUEST_VOTE_RESULT);
    fixture_deinit(&fixture);
}

/* Up to index 5, of leader 2. */
static void install_snapshot(struct fixture *fixture)
{
    struct raft_message install = {.type = RAFT_IO_INSTALL_SNAPSHOT};
    install.install_snapshot = (struct raft_install_snapshot){.term = 2,
                                                              .last_index = 5,
                                                              .last_term = 2,
                                                              .conf = configuration_make(3),
                                                              .conf_index = 1,
                                                              .data = {"snapshot", 8}};
    tell(fixture, 2, install);
    raft_configuration_close(&install.install_snapshot.conf);
    run_ms(fixture, 200);
}

/* Rule "snapshot acknowledgement": a leader with an older snapshot would send it for ever. */
Test(group_guard, what_is_compacted_is_acknowledged)
{
    struct fixture fixture;
    fixture_init_of(&fixture, 0);
    install_snapshot(&fixture);
    append(&fixture, 2, (struct raft_append_entries){2, 3, 2, 5, NULL, 0}, 2, 0);
    run_ms(&fixture, 200);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.rejected, 0);
    cr_assert_eq(last_sent(&fixture)->append_entries_result.last_log_index, 5);
    fixture_deinit(&fixture);
}

/* Rule "cut": the library would append them once more, behind what the snapshot replaced. */
Test(group_guard, entries_that_a_snapshot_replaced_are_not_appended_again)
{
    struct fixture fixture;
    fixture_init_of(&fixture, 0);
    install_snapshot(&fixture);
    static const struct {
        unsigned count;
        uint64_t last;
    } cases[] = {{3, 5}, {5, 5}, {7, 7}};
    for (size_t i = 0; i < 3; i++) {
        append(&fixture, 2, (struct raft_append_entries){2, 0, 0, 5, NULL, 0}, 2, cases[i].count);
        run_ms(&fixture, 200);
        cr_assert_eq(fixture.failure, STATUS_OK);
        cr_assert_eq(last_sent(&fixture)->append_entries_result.rejected, 0);
        cr_assert_eq(last_sent(&fixture)->append_entries_result.last_log_index, cases[i].last,
                     "case %zu", i);
        struct group_info info;
        group_info(fixture.group, &info);
        cr_assert_eq(info.last_index, cases[i].last, "case %zu", i);
    }
    fixture_deinit(&fixture);
}
