/* raft/group_log.h and raft/group_state.h: what was synced comes back after any crash, damage to it
 * is told, and a failed disk ends the log. On the disk of tests/sim/group_lab.h. */
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/memory.h"
#include "raft/group_log.h"
#include "tests/sim/group_lab.h"

#define ID 4
#define STEP_COUNT 24

struct fixture {
    struct lab *lab;
    struct lab_host *host;
    struct group_log log;
    struct group_state state;
    struct buffer snapshot;
};

static void fixture_init(struct fixture *fixture, uint64_t seed)
{
    *fixture = (struct fixture){.lab = calloc(1, sizeof *fixture->lab)};
    lab_init(fixture->lab, seed);
    fixture->host = &fixture->lab->hosts[0];
    lab_host_start(fixture->host);
    group_state_init(&fixture->state);
}

static void fixture_close(struct fixture *fixture)
{
    group_log_close(&fixture->log);
    group_state_deinit(&fixture->state);
    buffer_deinit(&fixture->snapshot);
}

static void fixture_deinit(struct fixture *fixture)
{
    fixture_close(fixture);
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        buffer_deinit(&fixture->host->disk.files[i].now);
        buffer_deinit(&fixture->host->disk.files[i].durable);
    }
    free(fixture->lab->events);
    free(fixture->lab);
}

static enum status open_log(struct fixture *fixture)
{
    group_state_init(&fixture->state);
    return group_log_open(&fixture->log, &fixture->host->env, "group", ID, &fixture->state,
                          &fixture->snapshot);
}

static uint64_t digest(const struct group_state *state)
{
    struct buffer records = {0};
    group_record_state(&records, state);
    uint64_t sum = checksum64(buffer_slice(&records), 0);
    buffer_deinit(&records);
    return sum;
}

static enum status rotate(struct fixture *fixture, const struct buffer *snapshot)
{
    struct buffer records = {0};
    group_record_state(&records, &fixture->state);
    enum status status =
        group_log_rotate(&fixture->log, &(struct group_log_next){
                                            .generation = fixture->log.generation + 1,
                                            .records = buffer_slice(&records),
                                            .snapshot = snapshot,
                                            .snapshot_generation = fixture->state.mark.generation,
                                        });
    buffer_deinit(&records);
    return status;
}

static void append_entry(struct group_state *state, struct buffer *records, size_t size)
{
    uint8_t data[3000];
    uint64_t index = group_state_last_index(state) + 1;
    memset(data, (int)index, sizeof data);
    cr_assert_eq(
        group_state_append(state, state->term, GROUP_ENTRY_COMMAND, slice_make(data, size)),
        STATUS_OK);
    group_record_append(records, index, group_state_entry(state, index));
}

/* A snapshot of all but the last `trailing` entries. */
static void snapshot_take(struct fixture *fixture, struct buffer *file, uint64_t trailing)
{
    struct group_state *state = &fixture->state;
    uint64_t index = group_state_last_index(state) - trailing;
    struct group_snapshot snapshot = {
        .mark = {.generation = fixture->log.generation + 1,
                 .index = index,
                 .term = group_state_term_of(state, index),
                 .configuration_index = 1},
        .configuration = slice_text("configuration"),
        .data = slice_text("all there is"),
    };
    cr_assert_eq(group_snapshot_encode(file, &snapshot), STATUS_OK);
    state->mark = snapshot.mark;
    buffer_clear(&state->configuration);
    buffer_append_slice(&state->configuration, snapshot.configuration);
    group_state_drop_until(state, index);
}

/* One step of a fixed story: the state moves on, and the disk is told. */
static enum status story_step(struct fixture *fixture, unsigned step)
{
    struct group_state *state = &fixture->state;
    struct buffer records = {0};
    struct buffer file = {0};
    enum status status = STATUS_OK;
    if (step == 0) {
        state->term = 1;
        append_entry(state, &records, 8);
        status = rotate(fixture, NULL);
    } else if (step % 8 == 7) {
        snapshot_take(fixture, &file, step % 3);
        status = rotate(fixture, &file);
    } else {
        if (step % 5 == 1) {
            state->term++;
            state->vote = step;
            group_record_vote(&records, state->term, state->vote);
        }
        if (step % 5 == 3 && state->entry_count > 1) {
            uint64_t last = group_state_last_index(state);
            group_state_truncate(state, last);
            group_record_truncate(&records, last);
        }
        append_entry(state, &records, 8 + step * 113);
        append_entry(state, &records, 16);
        status = group_log_write(&fixture->log, buffer_slice(&records));
    }
    buffer_deinit(&records);
    buffer_deinit(&file);
    return status;
}

/* Runs the story until the disk fails or the power goes. digests[i] is the state after i steps. */
static unsigned story_run(struct fixture *fixture, uint64_t digests[STEP_COUNT + 1])
{
    digests[0] = digest(&fixture->state);
    for (unsigned step = 0; step < STEP_COUNT; step++) {
        enum status status = story_step(fixture, step);
        digests[step + 1] = digest(&fixture->state);
        if (status != STATUS_OK || fixture->host->crashed != NULL) {
            return step;
        }
    }
    return STEP_COUNT;
}

static void disk_replace(struct lab_host *host)
{
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        buffer_deinit(&host->disk.files[i].now);
        buffer_deinit(&host->disk.files[i].durable);
    }
    host->disk = *host->crashed;
    free(host->crashed);
    host->crashed = NULL;
}

/* The state is what it was after `done` steps, or after the one that was under way. */
static void expect_story(struct fixture *fixture, unsigned done, const uint64_t *digests,
                         unsigned at)
{
    enum status status = open_log(fixture);
    if (status == STATUS_NOT_FOUND) {
        cr_assert_eq(done, 0, "all is gone after %u steps, stopped at call %u", done, at);
        return;
    }
    cr_assert_eq(status, STATUS_OK, "%d after %u steps, stopped at call %u", status, done, at);
    uint64_t found = digest(&fixture->state);
    cr_assert(found == digests[done] || found == digests[done + 1],
              "another state after %u steps, stopped at call %u", done, at);
}

Test(group_log, a_new_folder_waits_for_its_first_generation)
{
    struct fixture fixture;
    fixture_init(&fixture, 1);
    cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
    cr_assert_eq(story_step(&fixture, 0), STATUS_OK);
    uint64_t before = digest(&fixture.state);
    fixture_close(&fixture);
    cr_assert_eq(open_log(&fixture), STATUS_OK);
    cr_assert_eq(digest(&fixture.state), before);
    fixture_deinit(&fixture);
}

Test(group_log, the_whole_story_comes_back)
{
    struct fixture fixture;
    uint64_t digests[STEP_COUNT + 1];
    fixture_init(&fixture, 1);
    cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
    cr_assert_eq(story_run(&fixture, digests), STEP_COUNT);
    fixture_close(&fixture);
    cr_assert_eq(open_log(&fixture), STATUS_OK);
    cr_assert_eq(digest(&fixture.state), digests[STEP_COUNT]);
    struct group_snapshot snapshot;
    cr_assert_eq(group_snapshot_decode(buffer_slice(&fixture.snapshot), &snapshot), STATUS_OK);
    cr_assert(slice_equal(snapshot.data, slice_text("all there is")));
    fixture_deinit(&fixture);
}

Test(group_log, the_power_may_go_at_every_call_of_the_disk)
{
    unsigned call = 1;
    for (bool reached = true; reached; call++) {
        for (uint64_t seed = 1; seed <= 8; seed++) {
            struct fixture fixture;
            uint64_t digests[STEP_COUNT + 1];
            fixture_init(&fixture, seed);
            cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
            fixture.host->crash_in = call;
            unsigned done = story_run(&fixture, digests);
            reached = fixture.host->crashed != NULL;
            fixture_close(&fixture);
            if (reached) {
                disk_replace(fixture.host);
                expect_story(&fixture, done, digests, call);
            }
            fixture_deinit(&fixture);
        }
    }
    cr_assert_gt(call, STEP_COUNT * 2);
}

Test(group_log, every_call_of_the_disk_may_fail)
{
    unsigned call = 1;
    for (bool reached = true; reached; call++) {
        struct fixture fixture;
        uint64_t digests[STEP_COUNT + 1];
        fixture_init(&fixture, call);
        cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
        fixture.host->fail_in = call;
        unsigned done = story_run(&fixture, digests);
        reached = fixture.host->fail_in == 0;
        if (done < STEP_COUNT) {
            /* Nothing more is written, whatever the disk would say now. */
            struct buffer records = {0};
            group_record_vote(&records, 100, 1);
            if (fixture.log.file != NULL) {
                cr_assert_neq(group_log_write(&fixture.log, buffer_slice(&records)), STATUS_OK);
            }
            cr_assert_neq(rotate(&fixture, NULL), STATUS_OK);
            buffer_deinit(&records);
            fixture_close(&fixture);
            fixture.host->failed_sync = false;
            expect_story(&fixture, done, digests, call);
        }
        fixture_deinit(&fixture);
    }
    cr_assert_gt(call, STEP_COUNT * 2);
}

static struct lab_file *file_named(struct fixture *fixture, const char *prefix)
{
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        struct lab_file *file = &fixture->host->disk.files[i];
        if (file->used && strncmp(file->name, prefix, strlen(prefix)) == 0) {
            return file;
        }
    }
    return NULL;
}

static enum status reopen(struct fixture *fixture)
{
    fixture_close(fixture);
    return open_log(fixture);
}

Test(group_log, damage_below_a_watermark_is_corruption_and_changes_nothing)
{
    struct fixture fixture;
    uint64_t digests[STEP_COUNT + 1];
    fixture_init(&fixture, 1);
    cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
    (void)story_run(&fixture, digests);
    cr_assert_eq(story_step(&fixture, 25), STATUS_OK);
    cr_assert_eq(story_step(&fixture, 26), STATUS_OK);
    uint64_t marked = fixture.log.offset;
    cr_assert(!fixture.log.witnessed);
    cr_assert_eq(group_log_write(&fixture.log, slice_make(NULL, 0)), STATUS_OK);
    cr_assert(fixture.log.witnessed);
    struct buffer *bytes = &file_named(&fixture, "log-")->now;
    for (size_t at = 0; at < marked; at += 37) {
        uint64_t before = checksum64(buffer_slice(bytes), 0);
        bytes->data[at] ^= 0x10;
        uint64_t damaged = checksum64(buffer_slice(bytes), 0);
        cr_assert_neq(before, damaged);
        cr_assert_eq(reopen(&fixture), STATUS_CORRUPT, "byte %zu", at);
        cr_assert_eq(checksum64(buffer_slice(bytes), 0), damaged);
        bytes->data[at] ^= 0x10;
    }
    cr_assert_eq(reopen(&fixture), STATUS_OK);
    fixture_deinit(&fixture);
}

Test(group_log, a_torn_tail_is_dropped_whole)
{
    struct fixture fixture;
    fixture_init(&fixture, 1);
    cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
    for (unsigned step = 0; step < 6; step++) {
        cr_assert_eq(story_step(&fixture, step), STATUS_OK);
    }
    uint64_t expected = digest(&fixture.state);
    uint64_t end = fixture.log.offset;
    cr_assert_eq(story_step(&fixture, 6), STATUS_OK);
    uint64_t whole = digest(&fixture.state);
    struct buffer *bytes = &file_named(&fixture, "log-")->now;
    size_t size = bytes->size;
    for (size_t cut = end; cut < size; cut++) {
        bytes->size = cut;
        cr_assert_eq(reopen(&fixture), STATUS_OK, "cut at %zu", cut);
        cr_assert_eq(digest(&fixture.state), expected, "cut at %zu", cut);
    }
    bytes->size = size;
    cr_assert_eq(reopen(&fixture), STATUS_OK);
    cr_assert_eq(digest(&fixture.state), whole);
    fixture_deinit(&fixture);
}

Test(group_log, a_base_that_is_cut_is_corruption)
{
    struct fixture fixture;
    uint64_t digests[STEP_COUNT + 1];
    fixture_init(&fixture, 1);
    cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
    (void)story_run(&fixture, digests);
    cr_assert_eq(rotate(&fixture, NULL), STATUS_OK);
    struct buffer *bytes = &file_named(&fixture, "log-")->now;
    size_t size = bytes->size;
    for (size_t cut = 0; cut < size; cut += 100) {
        bytes->size = cut;
        cr_assert_eq(reopen(&fixture), STATUS_CORRUPT, "cut at %zu", cut);
    }
    bytes->size = size;
    fixture_deinit(&fixture);
}

Test(group_log, a_snapshot_that_is_damaged_or_missing_is_corruption)
{
    struct fixture fixture;
    uint64_t digests[STEP_COUNT + 1];
    fixture_init(&fixture, 1);
    cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
    (void)story_run(&fixture, digests);
    struct lab_file *file = file_named(&fixture, "snapshot-");
    for (size_t at = 0; at < file->now.size; at++) {
        file->now.data[at] ^= 1;
        cr_assert_neq(reopen(&fixture), STATUS_OK, "byte %zu", at);
        file->now.data[at] ^= 1;
    }
    size_t size = file->now.size;
    for (file->now.size = 0; file->now.size < size; file->now.size++) {
        cr_assert_eq(reopen(&fixture), STATUS_CORRUPT, "cut at %zu", file->now.size);
    }
    cr_assert_eq(reopen(&fixture), STATUS_OK);
    file->name[0] = 'x';
    cr_assert_eq(reopen(&fixture), STATUS_CORRUPT);
    fixture_deinit(&fixture);
}

Test(group_log, one_log_and_one_snapshot_are_kept)
{
    struct fixture fixture;
    uint64_t digests[STEP_COUNT + 1];
    fixture_init(&fixture, 1);
    cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
    (void)story_run(&fixture, digests);
    unsigned count = 0;
    for (unsigned i = 0; i < LAB_FILE_COUNT_MAX; i++) {
        count += fixture.host->disk.files[i].name[0] != '\0';
    }
    cr_assert_eq(count, 2);
    fixture_deinit(&fixture);
}

Test(group_log, the_folder_of_another_server_is_refused)
{
    struct fixture fixture;
    fixture_init(&fixture, 1);
    cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
    cr_assert_eq(story_step(&fixture, 0), STATUS_OK);
    fixture_close(&fixture);
    group_state_init(&fixture.state);
    cr_assert_eq(group_log_open(&fixture.log, &fixture.host->env, "group", ID + 1, &fixture.state,
                                &fixture.snapshot),
                 STATUS_INVALID);
    fixture_deinit(&fixture);
}

Test(group_log, a_file_of_another_version_is_refused_as_such)
{
    struct fixture fixture;
    fixture_init(&fixture, 1);
    cr_assert_eq(open_log(&fixture), STATUS_NOT_FOUND);
    cr_assert_eq(story_step(&fixture, 0), STATUS_OK);
    struct buffer *bytes = &file_named(&fixture, "log-")->now;
    codec_store_u32(bytes->data + 8, GROUP_LOG_VERSION + 1);
    codec_store_u64(bytes->data + 40,
                    checksum64(slice_make(bytes->data, 40), codec_load_u64(bytes->data)));
    cr_assert_eq(reopen(&fixture), STATUS_UNSUPPORTED);
    fixture_deinit(&fixture);
}

/* ---- records ---- */

static enum status replay_bytes(const void *data, size_t size)
{
    struct group_state state;
    group_state_init(&state);
    enum status status = group_record_replay(&state, slice_make(data, size));
    group_state_deinit(&state);
    return status;
}

Test(group_log, replay_refuses_what_no_server_writes)
{
    struct buffer good = {0};
    struct group_entry entry = {
        .term = 1, .type = GROUP_ENTRY_COMMAND, .data = (uint8_t[]){1, 2, 3, 4}, .size = 4};
    group_record_vote(&good, 1, 0);
    group_record_append(&good, 1, &entry);
    cr_assert_eq(replay_bytes(good.data, good.size), STATUS_OK);

    struct buffer bad = {0};
    group_record_append(&bad, 1, &entry); /* An entry of a term that was never begun. */
    cr_assert_eq(replay_bytes(bad.data, bad.size), STATUS_CORRUPT);

    buffer_clear(&bad);
    buffer_append_slice(&bad, buffer_slice(&good));
    group_record_append(&bad, 3, &entry); /* A gap. */
    cr_assert_eq(replay_bytes(bad.data, bad.size), STATUS_CORRUPT);

    buffer_clear(&bad);
    group_record_vote(&bad, 5, 2);
    group_record_vote(&bad, 5, 3); /* A second vote. */
    cr_assert_eq(replay_bytes(bad.data, bad.size), STATUS_CORRUPT);

    buffer_clear(&bad);
    group_record_vote(&bad, 5, 2);
    group_record_vote(&bad, 4, 2); /* A term that goes back. */
    cr_assert_eq(replay_bytes(bad.data, bad.size), STATUS_CORRUPT);

    buffer_clear(&bad);
    buffer_append_slice(&bad, buffer_slice(&good));
    group_record_truncate(&bad, 3); /* Beyond the end. */
    cr_assert_eq(replay_bytes(bad.data, bad.size), STATUS_CORRUPT);

    for (size_t size = 1; size < good.size; size++) {
        if (size != 24) { /* The vote alone is whole. */
            cr_assert_eq(replay_bytes(good.data, size), STATUS_CORRUPT, "cut at %zu", size);
        }
    }
    buffer_deinit(&good);
    buffer_deinit(&bad);
}

Test(group_log, records_are_split_between_them)
{
    struct buffer records = {0};
    for (uint64_t term = 1; term <= 10; term++) {
        group_record_vote(&records, term, 0); /* 24 bytes each. */
    }
    struct slice all = buffer_slice(&records);
    cr_assert_eq(group_record_split(all, 1000), 240);
    cr_assert_eq(group_record_split(all, 240), 240);
    cr_assert_eq(group_record_split(all, 239), 216);
    cr_assert_eq(group_record_split(all, 1), 24); /* One at least. */
    cr_assert_eq(group_record_split(slice_make(NULL, 0), 100), 0);
    buffer_deinit(&records);
}
