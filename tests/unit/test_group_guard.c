/* raft/group_guard.c and the gate of group_io.c, rule by rule: one server of three, its two peers
 * played by the test, on the disk of tests/sim/group_lab.h. */
#include <stdlib.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "raft/group.h"
#include "raft/group_message.h"
#include "tests/sim/group_lab.h"

#define MILLISECOND UINT64_C(1000000)
#define SENT_COUNT_MAX 64
#define SELF 1

struct fixture {
    struct lab *lab;
    struct group *group;
    struct raft_message sent[SENT_COUNT_MAX]; /* Of results and votes; they own nothing. */
    uint32_t sent_count;
    uint64_t sequence;
    uint64_t applied_index;
    enum status failure;
    struct group_stop stop;
    bool stopped;
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
    group_message_free(&message);
    cr_assert_lt(fixture->sent_count, SENT_COUNT_MAX);
    fixture->sent[fixture->sent_count++] = message;
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

static void fixture_init(struct fixture *fixture)
{
    static const uint32_t voters[] = {1, 2, 3};
    *fixture = (struct fixture){.lab = calloc(1, sizeof *fixture->lab)};
    lab_init(fixture->lab, 1);
    lab_host_start(&fixture->lab->hosts[0]);
    struct group_options options = {
        .path = "group",
        .id = SELF,
        .voters = voters,
        .voter_count = 3,
        .election_timeout_ms = 10000, /* It stands for no election by itself here. */
        .heartbeat_timeout_ms = 20,
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

static void run_ms(struct fixture *fixture, uint64_t ms)
{
    lab_run(fixture->lab, fixture->lab->now_ns + ms * MILLISECOND);
}

static void on_stopped(struct group_stop *stop)
{
    struct fixture *fixture = container_of(stop, struct fixture, stop);
    fixture->stopped = true;
}

static void fixture_deinit(struct fixture *fixture)
{
    fixture->stop.stopped = on_stopped;
    group_stop(fixture->group, &fixture->stop);
    run_ms(fixture, 1000);
    cr_assert(fixture->stopped);
    group_close(fixture->group);
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
