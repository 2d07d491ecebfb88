/* raft/group_recovery.c: a server of three whose peers are gone for good, on the disk of
 * tests/sim/group_lab.h. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "raft/group.h"
#include "raft/group_message.h"
#include "raft/group_recovery.h"
#include "tests/sim/group_lab.h"

#define MILLISECOND UINT64_C(1000000)
#define COMMAND_COUNT 20
#define CRASH_POINT_MAX 64

/* Applies commands "1", "2", ... in order, or is what a snapshot says. */
struct machine {
    uint64_t count;
};

struct fixture {
    struct lab *lab;
    struct group *group;
    struct machine machine;
    uint32_t threshold;
    enum group_role role;
    struct group_stop stop;
    bool stopped;
    uint64_t sequence;
};

static enum status on_applied(void *context, uint64_t index, struct slice command)
{
    struct machine *machine = context;
    (void)index;
    (void)command;
    machine->count++;
    return STATUS_OK;
}

static void on_snapshot(void *context, struct buffer *to)
{
    const struct machine *machine = context;
    buffer_append_format(to, "%llu", (unsigned long long)machine->count);
}

static enum status on_restored(void *context, struct slice snapshot)
{
    struct machine *machine = context;
    char text[32] = {0};
    cr_assert_lt(snapshot.size, sizeof text);
    memcpy(text, snapshot.data, snapshot.size);
    *machine = (struct machine){.count = strtoull(text, NULL, 10)};
    return STATUS_OK;
}

static void on_send(void *context, uint32_t to, struct slice bytes)
{
    (void)context;
    (void)to;
    (void)bytes;
}

static void on_changed(void *context, enum group_role role, uint32_t leader_id, uint64_t term)
{
    struct machine *machine = context;
    struct fixture *fixture = container_of(machine, struct fixture, machine);
    (void)leader_id;
    (void)term;
    fixture->role = role;
}

static void on_failed(void *context, enum status status)
{
    (void)context;
    cr_assert_fail("failed: %s", status_name(status));
}

static const struct group_folder folder = {.path = "group", .id = 1};

static void start(struct fixture *fixture)
{
    static const uint32_t voters[] = {1, 2, 3};
    struct group_options options = {
        .path = folder.path,
        .id = folder.id,
        .voters = voters,
        .voter_count = 3,
        .election_timeout_ms = 10000,
        .heartbeat_timeout_ms = 20,
        .snapshot_threshold = fixture->threshold,
        .snapshot_trailing = 1,
        .events = {.applied = on_applied,
                   .snapshot = on_snapshot,
                   .restored = on_restored,
                   .send = on_send,
                   .changed = on_changed,
                   .failed = on_failed},
        .context = &fixture->machine,
    };
    lab_host_start(&fixture->lab->hosts[0]);
    fixture->machine = (struct machine){0};
    fixture->role = GROUP_STOPPED;
    cr_assert_eq(group_open(&fixture->lab->hosts[0].env, &options, &fixture->group), STATUS_OK);
    cr_assert_eq(group_start(fixture->group), STATUS_OK);
}

static void run_ms(struct fixture *fixture, uint64_t ms)
{
    lab_run(fixture->lab, fixture->lab->now_ns + ms * MILLISECOND);
}

static void on_stopped(struct group_stop *stop)
{
    container_of(stop, struct fixture, stop)->stopped = true;
}

static void stop(struct fixture *fixture)
{
    fixture->stop.stopped = on_stopped;
    fixture->stopped = false;
    group_stop(fixture->group, &fixture->stop);
    run_ms(fixture, 1000);
    cr_assert(fixture->stopped);
    group_close(fixture->group);
    lab_host_crash(&fixture->lab->hosts[0], true);
}

/* COMMAND_COUNT commands of leader 2, the last two of which it did not call committed. */
static void fill(struct fixture *fixture)
{
    for (uint64_t i = 0; i < COMMAND_COUNT; i++) {
        uint8_t command[GROUP_ENVELOPE_SIZE + 8];
        struct buffer bytes = {0};
        group_command_encode(command, &(struct group_command){.payload = slice_text("command")});
        struct raft_entry entry = {
            .term = 2, .type = RAFT_COMMAND, .buf = {.base = command, .len = sizeof command}};
        struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES, .server_id = 1};
        message.append_entries = (struct raft_append_entries){
            .term = 2,
            .prev_log_index = i + 1,
            .prev_log_term = i == 0 ? 1 : 2,
            .leader_commit = i < COMMAND_COUNT - 2 ? i + 2 : COMMAND_COUNT - 1,
            .entries = &entry,
            .n_entries = 1,
        };
        cr_assert_eq(group_message_encode(&bytes, 2, &message), STATUS_OK);
        group_receive(fixture->group, 2, 1, ++fixture->sequence, buffer_slice(&bytes));
        buffer_deinit(&bytes);
        run_ms(fixture, 100);
    }
}

static void fixture_init(struct fixture *fixture, uint32_t threshold)
{
    *fixture = (struct fixture){.lab = calloc(1, sizeof *fixture->lab), .threshold = threshold};
    lab_init(fixture->lab, 1);
    start(fixture);
    fill(fixture);
    cr_assert_eq(fixture->machine.count, COMMAND_COUNT - 2);
    stop(fixture);
}

static void fixture_deinit(struct fixture *fixture)
{
    if (fixture->lab->hosts[0].up) {
        lab_host_crash(&fixture->lab->hosts[0], false);
    }
    lab_host_erase(&fixture->lab->hosts[0]);
    free(fixture->lab->events);
    free(fixture->lab);
}

/* Goes on from `state`, or if that is NULL from all that the folder has. */
static enum status recover(struct fixture *fixture, const char *state)
{
    struct env *env = &fixture->lab->hosts[0].env;
    struct machine machine = {0};
    struct group_examination examination = {
        .applied = on_applied, .restored = on_restored, .context = &machine};
    struct buffer bytes = {0};
    enum status status = STATUS_OK;
    if (state != NULL) {
        buffer_append_text(&bytes, state);
    } else {
        status = group_examine(env, &folder, &examination);
        on_snapshot(&machine, &bytes);
    }
    if (status == STATUS_OK) {
        status = group_recover(env, &folder, buffer_slice(&bytes));
    }
    buffer_deinit(&bytes);
    return status;
}

static void expect_a_group_of_one(struct fixture *fixture, uint64_t count)
{
    start(fixture);
    run_ms(fixture, 200);
    cr_assert_eq(fixture->role, GROUP_LEADER);
    cr_assert_eq(fixture->machine.count, count, "%zu", (size_t)fixture->machine.count);
    struct group_configuration configuration;
    group_configuration(fixture->group, &configuration);
    cr_assert_eq(configuration.server_count, 1);
    cr_assert_eq(configuration.servers[0].id, 1);
    cr_assert_eq(configuration.servers[0].duty, GROUP_VOTER);
    stop(fixture);
}

/* With and without snapshots; entries that may never have been committed stay too. */
Test(group_recovery, the_server_that_is_left_leads_with_all_it_had)
{
    static const uint32_t thresholds[] = {1000, 5};
    for (size_t i = 0; i < 2; i++) {
        struct fixture fixture;
        fixture_init(&fixture, thresholds[i]);
        cr_assert_eq(recover(&fixture, NULL), STATUS_OK);
        expect_a_group_of_one(&fixture, COMMAND_COUNT);
        expect_a_group_of_one(&fixture, COMMAND_COUNT); /* After another restart too. */
        fixture_deinit(&fixture);
    }
}

Test(group_recovery, a_state_that_others_told_of_takes_the_place_of_the_log)
{
    struct fixture fixture;
    fixture_init(&fixture, 5);
    cr_assert_eq(recover(&fixture, "77"), STATUS_OK);
    expect_a_group_of_one(&fixture, 77);
    fixture_deinit(&fixture);
}

Test(group_recovery, without_a_log_it_goes_on_from_a_state_or_not_at_all)
{
    struct fixture fixture;
    fixture_init(&fixture, 5);
    lab_host_erase(&fixture.lab->hosts[0]);
    cr_assert_eq(recover(&fixture, NULL), STATUS_NOT_FOUND);
    cr_assert_eq(recover(&fixture, "77"), STATUS_OK);
    expect_a_group_of_one(&fixture, 77);
    fixture_deinit(&fixture);
}

Test(group_recovery, doing_it_twice_is_doing_it_once)
{
    struct fixture fixture;
    fixture_init(&fixture, 1000);
    cr_assert_eq(recover(&fixture, NULL), STATUS_OK);
    cr_assert_eq(recover(&fixture, NULL), STATUS_OK);
    expect_a_group_of_one(&fixture, COMMAND_COUNT);
    fixture_deinit(&fixture);
}

Test(group_recovery, an_examination_sees_all_entries_and_changes_nothing)
{
    struct fixture fixture;
    fixture_init(&fixture, 5);
    struct machine machine = {0};
    struct group_examination examination = {
        .applied = on_applied, .restored = on_restored, .context = &machine};
    struct env *env = &fixture.lab->hosts[0].env;
    cr_assert_eq(group_examine(env, &folder, &examination), STATUS_OK);
    cr_assert_eq(machine.count, COMMAND_COUNT);
    cr_assert_eq(examination.last_index, COMMAND_COUNT + 1);
    cr_assert_gt(examination.snapshot_index, 0);
    cr_assert_eq(examination.voter_count, 3);
    start(&fixture);
    cr_assert_eq(fixture.machine.count, examination.snapshot_index - 1);
    stop(&fixture);
    fixture_deinit(&fixture);
}

Test(group_recovery, a_folder_in_use_or_of_another_server_is_refused)
{
    struct fixture fixture;
    fixture_init(&fixture, 1000);
    start(&fixture);
    cr_assert_eq(recover(&fixture, NULL), STATUS_LOCKED);
    stop(&fixture);
    struct group_folder other = {.path = folder.path, .id = 2};
    struct env *env = &fixture.lab->hosts[0].env;
    cr_assert_eq(group_recover(env, &other, slice_text("77")), STATUS_INVALID);
    start(&fixture);
    struct group_configuration configuration;
    group_configuration(fixture.group, &configuration);
    cr_assert_eq(configuration.server_count, 3);
    stop(&fixture);
    fixture_deinit(&fixture);
}

/* Every seventh byte of each file, but for the watermark at the end of the log: that is a torn
 * tail.
 */
Test(group_recovery, a_damaged_folder_is_refused)
{
    struct fixture fixture;
    fixture_init(&fixture, 5);
    struct lab_host *host = &fixture.lab->hosts[0];
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        struct lab_file *file = &host->disk.files[i];
        size_t size = file->now.size;
        if (strncmp(file->name, "log-", 4) == 0) {
            size -= ENV_SECTOR_SIZE;
        }
        for (size_t at = 0; at < size; at += 7) {
            file->now.data[at] ^= 1;
            cr_assert_eq(recover(&fixture, NULL), STATUS_CORRUPT, "%s at %zu", file->name, at);
            cr_assert_eq(recover(&fixture, "77"), STATUS_CORRUPT, "%s at %zu", file->name, at);
            file->now.data[at] ^= 1;
        }
    }
    cr_assert_eq(recover(&fixture, NULL), STATUS_OK);
    expect_a_group_of_one(&fixture, COMMAND_COUNT);
    fixture_deinit(&fixture);
}

/* Power goes before the nth change of the disk, for every n: the folder is as it was, or recovered.
 */
Test(group_recovery, a_crash_at_any_point_leaves_the_old_folder_or_the_new)
{
    static const char *const states[] = {NULL, "77"};
    for (size_t with = 0; with < 2; with++) {
        unsigned old_count = 0;
        unsigned new_count = 0;
        for (unsigned point = 1; point < CRASH_POINT_MAX; point++) {
            struct fixture fixture;
            fixture_init(&fixture, 5);
            struct lab_host *host = &fixture.lab->hosts[0];
            prng_init(&fixture.lab->prng, point);
            host->crash_in = point;
            cr_assert_eq(recover(&fixture, states[with]), STATUS_OK);
            bool crashed = host->crashed != NULL;
            if (crashed) {
                lab_host_lose(host);
            }
            start(&fixture);
            run_ms(&fixture, 200);
            struct group_configuration configuration;
            group_configuration(fixture.group, &configuration);
            bool recovered = configuration.server_count == 1;
            cr_assert(recovered || crashed, "point %u", point);
            cr_assert(recovered || configuration.server_count == 3, "point %u", point);
            stop(&fixture);
            cr_assert_eq(recover(&fixture, states[with]), STATUS_OK);
            expect_a_group_of_one(&fixture, with == 0 ? COMMAND_COUNT : 77);
            old_count += crashed && !recovered ? 1 : 0;
            new_count += crashed && recovered ? 1 : 0;
            fixture_deinit(&fixture);
            if (!crashed) {
                break;
            }
        }
        cr_assert_gt(old_count, 0);
        cr_assert_gt(new_count, 0);
    }
}
