/*
 * tests/unit/test_topology_codec.c -- commands as bytes: each field given back, none trusted.
 */
#include "ring/topology_codec.h"
#include "tests/unit/topology_fixture.h"

static const struct topology_step steps[] = {
    {.type = TOPOLOGY_BEGIN, .range = 3, .merge_all = true, .session = 1},
    {.type = TOPOLOGY_READ_NEW, .range = 5, .session = 77},
};
static const uint32_t voters[] = {2, 4, 5};

/* One of each type, all fields that count set. */
static uint32_t commands_make(const struct fixture *fixture, struct topology_command *commands)
{
    struct topology_member member = member_make(9);
    member.disk_id = 0xd15c;
    const struct topology_command all[] = {
        fixture->bootstrap,
        {.type = TOPOLOGY_MEMBER_ADD, .member = member},
        {.type = TOPOLOGY_MEMBER_UPDATE, .member = member},
        {.type = TOPOLOGY_MEMBER_REMOVE, .member = {.id = 9}},
        {.type = TOPOLOGY_PLAN_STAGE, .change = {.type = TOPOLOGY_JOIN, .id = 9, .weight = 3}},
        {.type = TOPOLOGY_PLAN_STAGE, .change = {.type = TOPOLOGY_LEAVE, .id = 9}},
        {.type = TOPOLOGY_PLAN_STAGE, .change = {.type = TOPOLOGY_REPLACE, .id = 9, .to_id = 4}},
        {.type = TOPOLOGY_PLAN_STAGE, .change = {.type = TOPOLOGY_WEIGHT, .id = 9, .weight = 4}},
        {.type = TOPOLOGY_PLAN_STAGE, .change = {.type = TOPOLOGY_ZONE, .id = 9, .zone = "a"}},
        {.type = TOPOLOGY_PLAN_STAGE,
         .change = {.type = TOPOLOGY_MOVE, .id = 9, .to_id = 4, .range = 63}},
        {.type = TOPOLOGY_PLAN_STAGE, .change = {.type = TOPOLOGY_FACTOR, .replica_count = 5}},
        {.type = TOPOLOGY_PLAN_CLEAR},
        {.type = TOPOLOGY_PLAN_COMMIT, .plan_id = 12},
        {.type = TOPOLOGY_PLAN_ABORT, .plan_id = 13},
        {.type = TOPOLOGY_STEPS, .steps = steps, .step_count = ARRAY_COUNT(steps)},
        {.type = TOPOLOGY_VOTERS, .voters = voters, .voter_count = ARRAY_COUNT(voters)},
        {.type = TOPOLOGY_ACCEPT_LOSS, .plan_id = 14, .range = TOPOLOGY_RANGE_ALL},
        {.type = TOPOLOGY_KEYSPACE_CREATE,
         .keyspace = {.class = TOPOLOGY_EVENTUAL,
                      .name = "orders",
                      .read_level = TOPOLOGY_LEVEL_ONE,
                      .write_level = TOPOLOGY_LEVEL_QUORUM,
                      .ttl_ms = 7}},
    };
    memcpy(commands, all, sizeof(all));
    return ARRAY_COUNT(all);
}

#define COMMAND_COUNT_MAX 32

Test(topology_codec, what_is_decoded_encodes_to_the_same_bytes)
{
    struct fixture fixture;
    fixture_init(&fixture);
    struct topology_command commands[COMMAND_COUNT_MAX];
    uint32_t count = commands_make(&fixture, commands);
    for (uint32_t i = 0; i < count; i++) {
        struct buffer bytes = {0};
        struct buffer again = {0};
        struct topology_command_owned owned;
        commands[i].request_id = 70 + i;
        commands[i].expected_epoch = 7;
        topology_command_encode(&bytes, &commands[i]);
        cr_assert_eq(topology_command_decode(&owned, buffer_slice(&bytes)), STATUS_OK, "%u", i);
        cr_assert_eq(owned.command.type, commands[i].type);
        topology_command_encode(&again, &owned.command);
        cr_assert(slice_equal(buffer_slice(&bytes), buffer_slice(&again)), "%u", i);
        enum topology_command_type type;
        uint64_t request_id;
        cr_assert_eq(topology_command_peek(buffer_slice(&again), &type, &request_id), STATUS_OK);
        cr_assert_eq(type, commands[i].type);
        cr_assert_eq(request_id, 70 + i);
        topology_command_owned_deinit(&owned);
        buffer_deinit(&bytes);
        buffer_deinit(&again);
    }
}

Test(topology_codec, every_field_comes_back)
{
    struct topology_command_owned owned;
    struct buffer bytes = {0};
    struct topology_command command = steps_command(steps, ARRAY_COUNT(steps));
    topology_command_encode(&bytes, &command);
    cr_assert_eq(topology_command_decode(&owned, buffer_slice(&bytes)), STATUS_OK);
    cr_assert_eq(owned.command.step_count, 2);
    cr_assert_eq(owned.command.steps[0].type, TOPOLOGY_BEGIN);
    cr_assert_eq(owned.command.steps[0].range, 3);
    cr_assert(owned.command.steps[0].merge_all);
    cr_assert_eq(owned.command.steps[0].session, 1);
    cr_assert_eq(owned.command.steps[1].type, TOPOLOGY_READ_NEW);
    cr_assert_eq(owned.command.steps[1].session, 77);
    topology_command_owned_deinit(&owned);
    buffer_clear(&bytes);
    command = stage_command(
        (struct topology_change){.type = TOPOLOGY_MOVE, .id = 9, .to_id = 4, .range = 63});
    topology_command_encode(&bytes, &command);
    cr_assert_eq(topology_command_decode(&owned, buffer_slice(&bytes)), STATUS_OK);
    cr_assert_eq(owned.command.change.type, TOPOLOGY_MOVE);
    cr_assert_eq(owned.command.change.id, 9);
    cr_assert_eq(owned.command.change.to_id, 4);
    cr_assert_eq(owned.command.change.range, 63);
    topology_command_owned_deinit(&owned);
    buffer_deinit(&bytes);
}

/* With the checksum made right, an altered byte is refused or changes a field that may have any
 * value: then what was read is written back the same. */
Test(topology_codec, altered_bytes_behind_a_right_checksum_have_one_spelling)
{
    struct fixture fixture;
    fixture_init(&fixture);
    struct topology_command commands[COMMAND_COUNT_MAX];
    uint32_t count = commands_make(&fixture, commands);
    for (uint32_t i = 0; i < count; i++) {
        struct buffer bytes = {0};
        struct buffer again = {0};
        topology_command_encode(&bytes, &commands[i]);
        for (size_t at = 1; at < bytes.size - 8; at++) {
            uint8_t before = bytes.data[at];
            for (uint32_t bit = 0; bit < 8; bit++) {
                struct topology_command_owned owned;
                bytes.data[at] = (uint8_t)(before ^ (1u << bit));
                reseal(bytes.data, bytes.size);
                if (topology_command_decode(&owned, buffer_slice(&bytes)) == STATUS_OK) {
                    buffer_clear(&again);
                    topology_command_encode(&again, &owned.command);
                    cr_assert(slice_equal(buffer_slice(&bytes), buffer_slice(&again)),
                              "command %u byte %zu", i, at);
                    topology_command_owned_deinit(&owned);
                }
            }
            bytes.data[at] = before;
        }
        buffer_deinit(&bytes);
        buffer_deinit(&again);
    }
}

Test(topology_codec, cut_or_altered_frames_are_corrupt_and_change_nothing)
{
    struct fixture fixture;
    fixture_init(&fixture);
    struct topology_command commands[COMMAND_COUNT_MAX];
    uint32_t count = commands_make(&fixture, commands);
    for (uint32_t i = 0; i < count; i++) {
        struct buffer bytes = {0};
        topology_command_encode(&bytes, &commands[i]);
        for (size_t size = 0; size < bytes.size; size++) {
            cr_assert_eq(
                topology_apply(&fixture.topology, slice_make(bytes.data, size), &fixture.reason),
                STATUS_CORRUPT, "command %u cut at %zu", i, size);
        }
        for (size_t at = 0; at < bytes.size; at++) {
            bytes.data[at] ^= 0x10;
            cr_assert_eq(topology_apply(&fixture.topology, buffer_slice(&bytes), &fixture.reason),
                         STATUS_CORRUPT, "command %u altered at %zu", i, at);
            bytes.data[at] ^= 0x10;
        }
        buffer_deinit(&bytes);
    }
    cr_assert_eq(fixture.topology.cluster_id, 0);
}

Test(topology_codec, padding_and_reserved_bytes_must_be_zero)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct buffer bytes = {0};
    struct topology_command command = {
        .type = TOPOLOGY_MEMBER_REMOVE, .expected_epoch = 1, .member = {.id = 77}};
    topology_command_encode(&bytes, &command);
    cr_assert_eq(bytes.size, 40);
    cr_assert_eq(topology_apply(&fixture.topology, buffer_slice(&bytes), &fixture.reason),
                 STATUS_REFUSED);
    static const size_t zeros[] = {2, 3, 28, 29, 30, 31};
    for (size_t i = 0; i < sizeof(zeros) / sizeof(zeros[0]); i++) {
        bytes.data[zeros[i]] = 1;
        reseal(bytes.data, bytes.size);
        cr_assert_eq(topology_apply(&fixture.topology, buffer_slice(&bytes), &fixture.reason),
                     STATUS_CORRUPT, "byte %zu", zeros[i]);
        bytes.data[zeros[i]] = 0;
    }
    buffer_deinit(&bytes);
    topology_deinit(&fixture.topology);
}

/* Version 1 knew types 1 to 5, and 4 no more. */
Test(topology_codec, an_old_version_does_not_speak_of_plans)
{
    struct topology_command_owned owned;
    struct buffer bytes = {0};
    struct topology_command command = {.type = TOPOLOGY_MEMBER_REMOVE, .member = {.id = 7}};
    topology_command_encode(&bytes, &command);
    bytes.data[0] = 1;
    reseal(bytes.data, bytes.size);
    cr_assert_eq(topology_command_decode(&owned, buffer_slice(&bytes)), STATUS_OK);
    cr_assert_eq(owned.command.member.id, 7);
    topology_command_owned_deinit(&owned);
    bytes.data[1] = 4;
    reseal(bytes.data, bytes.size);
    cr_assert_eq(topology_command_decode(&owned, buffer_slice(&bytes)), STATUS_CORRUPT);
    buffer_clear(&bytes);
    command = (struct topology_command){.type = TOPOLOGY_PLAN_COMMIT, .plan_id = 3};
    topology_command_encode(&bytes, &command);
    bytes.data[0] = 1;
    reseal(bytes.data, bytes.size);
    cr_assert_eq(topology_command_decode(&owned, buffer_slice(&bytes)), STATUS_CORRUPT);
    bytes.data[0] = 4;
    reseal(bytes.data, bytes.size);
    cr_assert_eq(topology_command_decode(&owned, buffer_slice(&bytes)), STATUS_CORRUPT);
    buffer_deinit(&bytes);
}

/* No node that writes version 2 creates a keyspace, and no node chooses its number. */
Test(topology_codec, a_keyspace_is_created_since_version_3_and_without_a_number)
{
    struct topology_command_owned owned;
    struct buffer bytes = {0};
    struct topology_command command = {
        .type = TOPOLOGY_KEYSPACE_CREATE,
        .keyspace = {.number = 9, .class = TOPOLOGY_EVENTUAL, .name = "orders"}};
    topology_command_encode(&bytes, &command);
    cr_assert_eq(topology_command_decode(&owned, buffer_slice(&bytes)), STATUS_OK);
    cr_assert_eq(owned.command.keyspace.number, 0);
    topology_command_owned_deinit(&owned);
    bytes.data[0] = 2;
    reseal(bytes.data, bytes.size);
    cr_assert_eq(topology_command_decode(&owned, buffer_slice(&bytes)), STATUS_CORRUPT);
    bytes.data[0] = 3;
    bytes.data[24] = 9; /* The number, behind header, request id and expected epoch. */
    reseal(bytes.data, bytes.size);
    cr_assert_eq(topology_command_decode(&owned, buffer_slice(&bytes)), STATUS_CORRUPT);
    buffer_deinit(&bytes);
}
