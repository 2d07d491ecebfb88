/*
 * tests/unit/topology_fixture.h -- a cluster of five in three zones, and commands for it.
 */
#ifndef TESTS_UNIT_TOPOLOGY_FIXTURE_H
#define TESTS_UNIT_TOPOLOGY_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "ring/topology.h"

#define FIXTURE_MEMBER_COUNT 5
#define FIXTURE_CHECKSUM_SEED UINT64_C(0x746f706f6c6f6779)
#define UNUSED_OK __attribute__((unused)) /* Not every test needs every helper. */

struct fixture {
    struct topology topology;
    struct topology_member members[FIXTURE_MEMBER_COUNT];
    struct topology_keyspace keyspaces[2];
    struct topology_command bootstrap;
    const char *reason;
    struct buffer *log; /* Every command that was applied, one after the other; may be NULL. */
};

static struct topology_member member_make(uint32_t id)
{
    struct topology_member member = {.id = id, .weight = 1, .voter = id <= 3};
    snprintf(member.zone, sizeof(member.zone), "zone-%u", id % 3);
    snprintf(member.peer_address, sizeof(member.peer_address), "node-%u:7401", id);
    snprintf(member.client_address, sizeof(member.client_address), "node-%u:7400", id);
    snprintf(member.admin_address, sizeof(member.admin_address), "[::1]:%u", 7000 + id);
    return member;
}

/* Members and keyspaces are given out of order on purpose. */
static void fixture_init(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    topology_init(&fixture->topology);
    for (uint32_t i = 0; i < FIXTURE_MEMBER_COUNT; i++) {
        fixture->members[i] = member_make(FIXTURE_MEMBER_COUNT - i);
    }
    fixture->keyspaces[0] =
        (struct topology_keyspace){.number = 1, .class = TOPOLOGY_EVENTUAL, .name = "fast"};
    fixture->keyspaces[1] =
        (struct topology_keyspace){.number = 0, .class = TOPOLOGY_STRONG, .name = "default"};
    fixture->bootstrap = (struct topology_command){.type = TOPOLOGY_BOOTSTRAP,
                                                   .request_id = 0x1122334455667788,
                                                   .cluster_id = 0xc1,
                                                   .generation_id = 0x6e,
                                                   .replica_count = 3,
                                                   .range_count = 64,
                                                   .members = fixture->members,
                                                   .member_count = FIXTURE_MEMBER_COUNT,
                                                   .keyspaces = fixture->keyspaces,
                                                   .keyspace_count = 2};
}

static enum status apply(struct fixture *fixture, const struct topology_command *command)
{
    struct buffer bytes = {0};
    topology_command_encode(&bytes, command);
    cr_assert_eq(buffer_status(&bytes), STATUS_OK);
    cr_assert_eq(bytes.size % 8, 0);
    enum status status = topology_apply(&fixture->topology, buffer_slice(&bytes), &fixture->reason);
    if (status == STATUS_OK && fixture->log != NULL) {
        buffer_append(fixture->log, bytes.data, bytes.size);
    }
    buffer_deinit(&bytes);
    return status;
}

static void apply_ok(struct fixture *fixture, const struct topology_command *command)
{
    enum status status = apply(fixture, command);
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_name(status), fixture->reason);
}

UNUSED_OK static void bootstrap(struct fixture *fixture)
{
    fixture_init(fixture);
    apply_ok(fixture, &fixture->bootstrap);
}

static void snapshot(const struct topology *topology, struct buffer *bytes)
{
    buffer_clear(bytes);
    topology_encode(bytes, topology);
    cr_assert_eq(buffer_status(bytes), STATUS_OK);
}

/* Refused for the reason that holds this text, with every byte of the state as it was. */
UNUSED_OK static void check_refused(struct fixture *fixture, const struct topology_command *command,
                                    const char *reason)
{
    struct buffer before = {0};
    struct buffer after = {0};
    snapshot(&fixture->topology, &before);
    enum status status = apply(fixture, command);
    cr_assert_eq(status, STATUS_REFUSED, "%s, wanted: %s", status_name(status), reason);
    cr_assert_not_null(strstr(fixture->reason, reason), "%s, wanted: %s", fixture->reason, reason);
    snapshot(&fixture->topology, &after);
    cr_assert(slice_equal(buffer_slice(&before), buffer_slice(&after)), "%s", reason);
    buffer_deinit(&before);
    buffer_deinit(&after);
}

/* ------------------------------------------------------------------ bytes */

/* Makes the checksum right again, so that what lies behind it is reached. */
UNUSED_OK static void reseal(uint8_t *bytes, size_t size)
{
    codec_store_u64(bytes + size - 8,
                    checksum64(slice_make(bytes, size - 8), FIXTURE_CHECKSUM_SEED));
}

UNUSED_OK static void golden_read(const char *name, struct buffer *bytes)
{
    char path[512];
    uint8_t chunk[4096];
    snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, name);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    size_t got;
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        buffer_append(bytes, chunk, got);
    }
    fclose(file);
}

/* ------------------------------------------------------------------ members */

/* A command about one member, at the epoch the topology has. */
UNUSED_OK static struct topology_command member_command(const struct fixture *fixture,
                                                        enum topology_command_type type,
                                                        struct topology_member member)
{
    return (struct topology_command){.type = type,
                                     .request_id = 9,
                                     .expected_epoch = fixture->topology.stamp.epoch,
                                     .member = member};
}

UNUSED_OK static void member_add(struct fixture *fixture, uint32_t id)
{
    apply_ok(fixture,
             &(struct topology_command){.type = TOPOLOGY_MEMBER_ADD, .member = member_make(id)});
}

UNUSED_OK static const struct topology_member *member_of(const struct fixture *fixture, uint32_t id)
{
    const struct topology_member *member = topology_member_find(&fixture->topology, id);
    cr_assert_not_null(member, "member %u", id);
    return member;
}

/* ------------------------------------------------------------------ plans and steps */

UNUSED_OK static struct topology_command stage_command(struct topology_change change)
{
    return (struct topology_command){.type = TOPOLOGY_PLAN_STAGE, .change = change};
}

UNUSED_OK static void stage(struct fixture *fixture, struct topology_change change)
{
    const struct topology_command command = stage_command(change);
    apply_ok(fixture, &command);
}

/* Returns the plan's id. */
UNUSED_OK static uint64_t commit(struct fixture *fixture)
{
    uint64_t id = fixture->topology.staged.id;
    apply_ok(fixture, &(struct topology_command){.type = TOPOLOGY_PLAN_COMMIT, .plan_id = id});
    return id;
}

UNUSED_OK static uint64_t plan_of(struct fixture *fixture, struct topology_change change)
{
    stage(fixture, change);
    return commit(fixture);
}

UNUSED_OK static struct topology_command steps_command(const struct topology_step *steps,
                                                       uint32_t step_count)
{
    return (struct topology_command){
        .type = TOPOLOGY_STEPS, .steps = steps, .step_count = step_count};
}

/* The step as the range stands: a BEGIN at its epoch, any other of its session. */
UNUSED_OK static struct topology_step step_of(const struct fixture *fixture, uint32_t range,
                                              enum topology_step_type type)
{
    const struct topology_range *at = &fixture->topology.ranges[range];
    return (struct topology_step){
        .type = type, .range = range, .session = type == TOPOLOGY_BEGIN ? at->epoch : at->session};
}

UNUSED_OK static void step(struct fixture *fixture, uint32_t range, enum topology_step_type type,
                           bool merge_all)
{
    struct topology_step step = step_of(fixture, range, type);
    step.merge_all = merge_all;
    const struct topology_command command = steps_command(&step, 1);
    apply_ok(fixture, &command);
}

/* The nth range that has a goal and is at this stage, counted from 0. */
UNUSED_OK static uint32_t range_at(const struct fixture *fixture, enum topology_stage stage,
                                   uint32_t nth)
{
    for (uint32_t i = 0; i < fixture->topology.range_count; i++) {
        const struct topology_range *range = &fixture->topology.ranges[i];
        if (range->goal.count > 0 && range->stage == stage && nth-- == 0) {
            return i;
        }
    }
    UNREACHABLE("a range that the test counts on");
}

/* On from bootstrap to a state that has some of everything: a plan in the history, one running and
 * one staged, ranges at each stage, one of them on its way back, and accepted loss. */
UNUSED_OK static void busy(struct fixture *fixture)
{
    member_add(fixture, 6);
    uint64_t first = plan_of(fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 6});
    uint32_t ranges[4];
    for (uint32_t i = 0; i < ARRAY_COUNT(ranges); i++) {
        ranges[i] = range_at(fixture, TOPOLOGY_STABLE, 0);
        step(fixture, ranges[i], TOPOLOGY_BEGIN, i == 3);
    }
    for (uint32_t i = 0; i < 3; i++) {
        step(fixture, ranges[i], TOPOLOGY_READ_NEW, false);
    }
    step(fixture, ranges[0], TOPOLOGY_FINISH, false);
    apply_ok(fixture, &(struct topology_command){.type = TOPOLOGY_PLAN_ABORT, .plan_id = first});
    member_add(fixture, 7);
    member_add(fixture, 8);
    stage(fixture, (struct topology_change){.type = TOPOLOGY_REPLACE, .id = 5, .to_id = 8});
    stage(fixture, (struct topology_change){.type = TOPOLOGY_REPLACE, .id = 4, .to_id = 7});
    uint64_t second = commit(fixture);
    apply_ok(fixture, &(struct topology_command){.type = TOPOLOGY_ACCEPT_LOSS,
                                                 .plan_id = second,
                                                 .range = TOPOLOGY_RANGE_ALL});
    stage(fixture, (struct topology_change){.type = TOPOLOGY_WEIGHT, .id = 1, .weight = 3});
    stage(fixture, (struct topology_change){.type = TOPOLOGY_ZONE, .id = 2, .zone = "zone-9"});
}

#endif
