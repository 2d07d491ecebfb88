/*
 * tests/unit/test_topology.c -- commands are applied whole or not at all; bytes are never trusted.
 */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/memory.h"
#include "ring/topology.h"

#define MEMBER_COUNT 5

struct fixture {
    struct topology topology;
    struct topology_member members[MEMBER_COUNT];
    struct topology_keyspace keyspaces[2];
    struct topology_command bootstrap;
    const char *reason;
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
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        fixture->members[i] = member_make(MEMBER_COUNT - i);
    }
    fixture->keyspaces[0] = (struct topology_keyspace){1, TOPOLOGY_EVENTUAL, "fast"};
    fixture->keyspaces[1] = (struct topology_keyspace){0, TOPOLOGY_STRONG, "default"};
    fixture->bootstrap = (struct topology_command){.type = TOPOLOGY_BOOTSTRAP,
                                                   .request_id = 0x1122334455667788,
                                                   .cluster_id = 0xc1,
                                                   .generation_id = 0x6e,
                                                   .replica_count = 3,
                                                   .range_count = 64,
                                                   .members = fixture->members,
                                                   .member_count = MEMBER_COUNT,
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
    buffer_deinit(&bytes);
    return status;
}

static void bootstrap(struct fixture *fixture)
{
    fixture_init(fixture);
    enum status status = apply(fixture, &fixture->bootstrap);
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_name(status), fixture->reason);
}

/* A command about one member, at the epoch the topology has. */
static enum status apply_member(struct fixture *fixture, enum topology_command_type type,
                                struct topology_member member)
{
    return apply(fixture,
                 &(struct topology_command){.type = type,
                                            .request_id = 9,
                                            .expected_epoch = fixture->topology.stamp.epoch,
                                            .member = member});
}

static enum status apply_state(struct fixture *fixture, uint32_t id,
                               enum topology_member_state state)
{
    return apply_member(fixture, TOPOLOGY_MEMBER_STATE,
                        (struct topology_member){.id = id, .state = state});
}

static void snapshot(const struct topology *topology, struct buffer *bytes)
{
    buffer_clear(bytes);
    topology_encode(bytes, topology);
    cr_assert_eq(buffer_status(bytes), STATUS_OK);
}

/* Refused for the reason that holds this text, with every byte of the state as it was. */
static void check_refused(struct fixture *fixture, enum topology_command_type type,
                          struct topology_member member, const char *reason)
{
    struct buffer before = {0};
    struct buffer after = {0};
    snapshot(&fixture->topology, &before);
    cr_assert_eq(apply_member(fixture, type, member), STATUS_REFUSED, "wanted: %s", reason);
    cr_assert_not_null(strstr(fixture->reason, reason), "%s, wanted: %s", fixture->reason, reason);
    snapshot(&fixture->topology, &after);
    cr_assert(slice_equal(buffer_slice(&before), buffer_slice(&after)), "%s", reason);
    buffer_deinit(&before);
    buffer_deinit(&after);
}

Test(topology, bootstrap_fills_everything_and_places)
{
    struct fixture fixture;
    bootstrap(&fixture);
    const struct topology *topology = &fixture.topology;
    cr_assert_eq(topology->cluster_id, 0xc1);
    cr_assert_eq(topology->stamp.epoch, 1);
    cr_assert_eq(topology->stamp.generation.number, 1);
    cr_assert_eq(topology->stamp.generation.id, 0x6e);
    cr_assert_neq(topology->stamp.hash, 0);
    cr_assert_eq(topology->replica_count, 3);
    cr_assert_eq(topology->range_count, 64);
    cr_assert_eq(topology->keyspaces[0].number, 0);
    cr_assert_eq(topology_keyspace_find(topology, 1)->class, TOPOLOGY_EVENTUAL);
    cr_assert_null(topology_keyspace_find(topology, 2));
    struct ring_node nodes[MEMBER_COUNT];
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        const struct topology_member *member = &topology->members[i];
        cr_assert_eq(member->id, i + 1);
        cr_assert_eq(member->state, TOPOLOGY_ACTIVE);
        cr_assert_eq(member->voter, i < 3);
        cr_assert_eq(topology_member_find(topology, i + 1), member);
        nodes[i] = (struct ring_node){.id = member->id, .weight = member->weight};
        memcpy(nodes[i].zone, member->zone, sizeof(member->zone));
    }
    cr_assert_null(topology_member_find(topology, 6));
    struct ring_replicas placement[64];
    struct ring_input input = {
        .nodes = nodes, .node_count = MEMBER_COUNT, .range_count = 64, .replica_count = 3};
    cr_assert_eq(ring_place(&input, placement), STATUS_OK);
    for (uint32_t range = 0; range < 64; range++) {
        cr_assert_eq(topology->ranges[range].epoch, 1);
        cr_assert_eq(topology->ranges[range].stage, TOPOLOGY_STABLE);
        cr_assert_eq(topology->ranges[range].next.count, 0);
        cr_assert_eq(
            memcmp(&topology->ranges[range].replicas, &placement[range], sizeof(placement[range])),
            0);
    }
    cr_assert_eq(topology_range_of(topology, 0), &topology->ranges[0]);
    cr_assert_eq(topology_range_of(topology, UINT64_MAX), &topology->ranges[63]);
    topology_deinit(&fixture.topology);
}

Test(topology, a_second_bootstrap_and_an_old_epoch_change_nothing)
{
    struct fixture fixture;
    bootstrap(&fixture);
    uint64_t hash = fixture.topology.stamp.hash;
    cr_assert_eq(apply(&fixture, &fixture.bootstrap), STATUS_STALE);
    fixture.bootstrap.expected_epoch = 1;
    cr_assert_eq(apply(&fixture, &fixture.bootstrap), STATUS_REFUSED);
    cr_assert_eq(fixture.topology.stamp.epoch, 1);
    cr_assert_eq(fixture.topology.stamp.hash, hash);
    topology_deinit(&fixture.topology);
}

Test(topology, a_member_joins_leaves_and_goes)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct topology_member added = member_make(9);
    added.voter = false;
    cr_assert_eq(apply_member(&fixture, TOPOLOGY_MEMBER_ADD, added), STATUS_OK, "%s",
                 fixture.reason);
    cr_assert_eq(fixture.topology.member_count, 6);
    cr_assert_eq(topology_member_find(&fixture.topology, 9)->state, TOPOLOGY_JOINING);
    added.weight = 7;
    snprintf(added.peer_address, sizeof(added.peer_address), "elsewhere:1");
    added.voter = true;
    cr_assert_eq(apply_member(&fixture, TOPOLOGY_MEMBER_UPDATE, added), STATUS_OK);
    const struct topology_member *member = topology_member_find(&fixture.topology, 9);
    cr_assert_eq(member->weight, 7);
    cr_assert_str_eq(member->peer_address, "elsewhere:1");
    cr_assert_eq(member->state, TOPOLOGY_JOINING);
    cr_assert_not(member->voter, "an update gives no vote");
    cr_assert_eq(apply_state(&fixture, 9, TOPOLOGY_ACTIVE), STATUS_OK);
    check_refused(&fixture, TOPOLOGY_MEMBER_REMOVE, added, "active");
    check_refused(&fixture, TOPOLOGY_MEMBER_STATE,
                  (struct topology_member){.id = 9, .state = TOPOLOGY_JOINING}, "cannot go");
    cr_assert_eq(apply_state(&fixture, 9, TOPOLOGY_LEAVING), STATUS_OK);
    cr_assert_eq(apply_member(&fixture, TOPOLOGY_MEMBER_REMOVE, added), STATUS_OK);
    cr_assert_eq(fixture.topology.member_count, 5);
    cr_assert_null(topology_member_find(&fixture.topology, 9));
    cr_assert_eq(fixture.topology.stamp.epoch, 6);
    topology_deinit(&fixture.topology);
}

Test(topology, a_member_that_holds_ranges_is_not_removed)
{
    struct fixture fixture;
    bootstrap(&fixture);
    cr_assert_eq(apply_state(&fixture, 5, TOPOLOGY_LEAVING), STATUS_OK);
    check_refused(&fixture, TOPOLOGY_MEMBER_REMOVE, member_make(5), "holds ranges");
    topology_deinit(&fixture.topology);
}

Test(topology, members_that_break_a_rule_are_refused)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct topology_member good = member_make(9);
    good.voter = false;
    struct topology_member bad = good;
    bad.id = 5;
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "id already");
    check_refused(&fixture, TOPOLOGY_MEMBER_UPDATE, good, "no member");
    check_refused(&fixture, TOPOLOGY_MEMBER_REMOVE, good, "no member");
    bad.id = 0;
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "id is 0");
    bad = good;
    bad.weight = RING_WEIGHT_MAX + 1;
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "weight");
    bad = good;
    snprintf(bad.zone, sizeof(bad.zone), "a b");
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "zone");
    snprintf(bad.zone, sizeof(bad.zone), "\xc3\xa4");
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "zone");
    bad.zone[0] = '\0';
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "zone");
    bad = good;
    snprintf(bad.peer_address, sizeof(bad.peer_address), "no-port");
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "malformed");
    bad.peer_address[0] = '\0';
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "malformed");
    bad = good;
    memcpy(bad.admin_address, member_make(2).admin_address, sizeof(bad.admin_address));
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "one address");
    bad = member_make(4);
    memcpy(bad.peer_address, member_make(2).peer_address, sizeof(bad.peer_address));
    check_refused(&fixture, TOPOLOGY_MEMBER_UPDATE, bad, "one address");
    good.client_address[0] = '\0';
    cr_assert_eq(apply_member(&fixture, TOPOLOGY_MEMBER_ADD, good), STATUS_OK, "%s",
                 fixture.reason);
    topology_deinit(&fixture.topology);
}

Test(topology, a_cluster_keeps_an_active_member_and_a_bound_of_voters)
{
    struct fixture fixture;
    bootstrap(&fixture);
    for (uint32_t id = 7; id <= 8; id++) {
        struct topology_member voter = member_make(id);
        voter.voter = true;
        cr_assert_eq(apply_member(&fixture, TOPOLOGY_MEMBER_ADD, voter), STATUS_OK);
    }
    struct topology_member sixth = member_make(9);
    sixth.voter = true;
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, sixth, "voters");
    for (uint32_t id = 1; id < MEMBER_COUNT; id++) {
        cr_assert_eq(apply_state(&fixture, id, TOPOLOGY_LEAVING), STATUS_OK);
    }
    check_refused(&fixture, TOPOLOGY_MEMBER_STATE,
                  (struct topology_member){.id = MEMBER_COUNT, .state = TOPOLOGY_LEAVING},
                  "last active");
    topology_deinit(&fixture.topology);
}

Test(topology, nothing_but_bootstrap_works_before_it)
{
    struct fixture fixture;
    fixture_init(&fixture);
    check_refused(&fixture, TOPOLOGY_MEMBER_ADD, member_make(1), "not bootstrapped");
    check_refused(&fixture, TOPOLOGY_MEMBER_REMOVE, member_make(1), "not bootstrapped");
    cr_assert_null(topology_range_of(&fixture.topology, 0));
    cr_assert_null(topology_member_find(&fixture.topology, 1));
}

static void check_no_bootstrap(struct fixture *fixture, const char *reason)
{
    cr_assert_eq(apply(fixture, &fixture->bootstrap), STATUS_REFUSED, "wanted: %s", reason);
    cr_assert_not_null(strstr(fixture->reason, reason), "%s, wanted: %s", fixture->reason, reason);
    cr_assert_eq(fixture->topology.cluster_id, 0);
    cr_assert_null(fixture->topology.members);
    fixture_init(fixture);
}

Test(topology, a_bootstrap_that_breaks_a_rule_is_refused)
{
    struct fixture fixture;
    fixture_init(&fixture);
    fixture.bootstrap.cluster_id = 0;
    check_no_bootstrap(&fixture, "cluster id");
    fixture.bootstrap.range_count = 65;
    check_no_bootstrap(&fixture, "range count");
    fixture.bootstrap.range_count = RING_RANGE_COUNT_MAX * 2;
    check_no_bootstrap(&fixture, "range count");
    fixture.bootstrap.replica_count = 0;
    check_no_bootstrap(&fixture, "replica count");
    fixture.bootstrap.replica_count = RING_REPLICA_COUNT_MAX + 1;
    check_no_bootstrap(&fixture, "replica count");
    fixture.members[1].id = 5;
    check_no_bootstrap(&fixture, "one id");
    fixture.members[4].voter = false;
    check_no_bootstrap(&fixture, "1, 3 or 5");
    fixture.bootstrap.member_count = 2;
    check_no_bootstrap(&fixture, "voters");
    fixture.keyspaces[1].number = 1;
    check_no_bootstrap(&fixture, "one number");
    snprintf(fixture.keyspaces[1].name, TOPOLOGY_KEYSPACE_NAME_SIZE_MAX, "fast");
    check_no_bootstrap(&fixture, "one name");
    fixture.keyspaces[1].name[0] = '\0';
    check_no_bootstrap(&fixture, "keyspace");
    for (uint32_t i = 0; i < MEMBER_COUNT; i++) {
        fixture.members[i].weight = 0;
    }
    check_no_bootstrap(&fixture, "weight");
}

Test(topology, equal_histories_give_equal_hashes_and_different_ones_do_not)
{
    struct fixture first;
    struct fixture second;
    bootstrap(&first);
    bootstrap(&second);
    cr_assert_eq(first.topology.stamp.hash, second.topology.stamp.hash);
    cr_assert_eq(apply_state(&first, 5, TOPOLOGY_LEAVING), STATUS_OK);
    cr_assert_eq(apply_state(&second, 4, TOPOLOGY_LEAVING), STATUS_OK);
    cr_assert_neq(first.topology.stamp.hash, second.topology.stamp.hash);
    cr_assert_eq(topology_stamp_compare(&first.topology.stamp, &second.topology.stamp), 0);
    topology_deinit(&first.topology);
    topology_deinit(&second.topology);
}

Test(topology, stamps_order_by_generation_then_epoch_and_survive_encoding)
{
    struct topology_stamp old = {.generation = {1, 5}, .epoch = 9, .hash = 3};
    struct topology_stamp new = {.generation = {2, 4}, .epoch = 1, .hash = 2};
    cr_assert_lt(topology_stamp_compare(&old, &new), 0);
    cr_assert_gt(topology_stamp_compare(&new, &old), 0);
    new.generation.number = 1;
    cr_assert_gt(topology_stamp_compare(&old, &new), 0);
    struct buffer bytes = {0};
    topology_stamp_put(&bytes, &old);
    struct codec_reader reader = codec_reader_make(buffer_slice(&bytes));
    struct topology_stamp read = topology_stamp_get(&reader);
    cr_assert(codec_reader_done(&reader));
    cr_assert_eq(read.generation.number, 1);
    cr_assert_eq(read.generation.id, 5);
    cr_assert_eq(read.epoch, 9);
    cr_assert_eq(read.hash, 3);
    buffer_deinit(&bytes);
}

Test(topology, a_snapshot_gives_back_every_byte_and_so_does_a_copy)
{
    struct fixture fixture;
    bootstrap(&fixture);
    fixture.topology.ranges[3].stage = TOPOLOGY_WRITE_BOTH_READ_OLD;
    fixture.topology.ranges[3].next = (struct ring_replicas){.count = 2, .ids = {4, 5}};
    struct buffer bytes = {0};
    struct buffer again = {0};
    snapshot(&fixture.topology, &bytes);
    struct topology read;
    topology_init(&read);
    cr_assert_eq(topology_decode(&read, buffer_slice(&bytes)), STATUS_OK);
    snapshot(&read, &again);
    cr_assert(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
    cr_assert_eq(read.ranges[3].next.ids[1], 5);
    struct topology copy;
    topology_init(&copy);
    cr_assert_eq(topology_copy(&copy, &read), STATUS_OK);
    topology_deinit(&read);
    snapshot(&copy, &again);
    cr_assert(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
    topology_init(&read);
    snapshot(&read, &again);
    cr_assert_eq(topology_decode(&copy, buffer_slice(&again)), STATUS_OK);
    cr_assert_eq(copy.cluster_id, 0);
    cr_assert_null(copy.ranges);
    buffer_deinit(&bytes);
    buffer_deinit(&again);
    topology_deinit(&fixture.topology);
}

/* Makes the checksum right again, so that what lies behind it is reached. */
static void reseal(uint8_t *bytes, size_t size)
{
    codec_store_u64(bytes + size - 8,
                    checksum64(slice_make(bytes, size - 8), UINT64_C(0x746f706f6c6f6779)));
}

Test(topology, cut_or_altered_frames_are_corrupt_and_change_nothing)
{
    struct fixture fixture;
    fixture_init(&fixture);
    struct buffer bytes = {0};
    topology_command_encode(&bytes, &fixture.bootstrap);
    for (size_t size = 0; size < bytes.size; size++) {
        cr_assert_eq(
            topology_apply(&fixture.topology, slice_make(bytes.data, size), &fixture.reason),
            STATUS_CORRUPT, "cut at %zu", size);
    }
    for (size_t at = 0; at < bytes.size; at++) {
        bytes.data[at] ^= 0x10;
        cr_assert_eq(topology_apply(&fixture.topology, buffer_slice(&bytes), &fixture.reason),
                     STATUS_CORRUPT, "altered at %zu", at);
        bytes.data[at] ^= 0x10;
    }
    cr_assert_eq(fixture.topology.cluster_id, 0);
    cr_assert_eq(topology_apply(&fixture.topology, buffer_slice(&bytes), &fixture.reason),
                 STATUS_OK);
    snapshot(&fixture.topology, &bytes);
    struct topology read;
    topology_init(&read);
    for (size_t size = 0; size < bytes.size; size++) {
        cr_assert_eq(topology_decode(&read, slice_make(bytes.data, size)), STATUS_CORRUPT,
                     "cut at %zu", size);
    }
    buffer_deinit(&bytes);
    topology_deinit(&fixture.topology);
}

/* With the checksum made right, every altered byte is either refused or changes a field that may
 * have any value: then what was read is written back the same. */
Test(topology, altered_bytes_behind_a_right_checksum_never_break_an_invariant)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct buffer bytes = {0};
    struct buffer again = {0};
    snapshot(&fixture.topology, &bytes);
    uint32_t refused = 0;
    for (size_t at = 0; at < bytes.size - 8; at++) {
        uint8_t before = bytes.data[at];
        for (uint32_t bit = 0; bit < 8; bit++) {
            struct topology read;
            topology_init(&read);
            bytes.data[at] = (uint8_t)(before ^ (1u << bit));
            reseal(bytes.data, bytes.size);
            if (topology_decode(&read, buffer_slice(&bytes)) == STATUS_OK) {
                snapshot(&read, &again);
                cr_assert(slice_equal(buffer_slice(&bytes), buffer_slice(&again)), "byte %zu", at);
            } else {
                refused++;
            }
            topology_deinit(&read);
        }
        bytes.data[at] = before;
    }
    cr_assert_gt(refused, bytes.size);
    buffer_deinit(&bytes);
    buffer_deinit(&again);
    topology_deinit(&fixture.topology);
}

Test(topology, padding_and_reserved_bytes_must_be_zero)
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

static uint32_t allocations_left;

static void *failing_allocate(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : (allocations_left = 0, NULL);
}

static void *failing_resize(void *memory, size_t size)
{
    return allocations_left-- > 0 ? realloc(memory, size) : (allocations_left = 0, NULL);
}

/* The address sanitizer watches for leaks. */
Test(topology, each_failing_allocation_changes_nothing)
{
    static const struct memory_hooks hooks = {failing_allocate, failing_resize, free};
    struct fixture fixture;
    fixture_init(&fixture);
    struct buffer bytes = {0};
    struct buffer add = {0};
    topology_command_encode(&bytes, &fixture.bootstrap);
    struct topology_command command = {
        .type = TOPOLOGY_MEMBER_ADD, .expected_epoch = 1, .member = member_make(9)};
    topology_command_encode(&add, &command);
    memory_set_hooks(&hooks);
    enum status status = STATUS_NO_MEMORY;
    uint32_t count = 0;
    for (; status != STATUS_OK; count++) {
        allocations_left = count;
        status = topology_apply(&fixture.topology, buffer_slice(&bytes), &fixture.reason);
        cr_assert(status == STATUS_OK || status == STATUS_NO_MEMORY, "allocation %u", count);
        cr_assert_eq(fixture.topology.cluster_id != 0, status == STATUS_OK, "allocation %u", count);
    }
    cr_assert_gt(count, 8);
    allocations_left = 0;
    cr_assert_eq(topology_apply(&fixture.topology, buffer_slice(&add), &fixture.reason),
                 STATUS_NO_MEMORY);
    cr_assert_eq(fixture.topology.stamp.epoch, 1);
    cr_assert_eq(fixture.topology.member_count, MEMBER_COUNT);
    memory_set_hooks(NULL);
    buffer_deinit(&bytes);
    buffer_deinit(&add);
    topology_deinit(&fixture.topology);
}

static void golden_read(const char *name, struct buffer *bytes)
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

/* Files written by the first version stay readable, and the golden bootstrap still leads to the
 * golden snapshot: nodes of any two builds agree on placement and hash. */
Test(topology, golden_files_of_version_1_are_read_and_written)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct buffer bytes = {0};
    struct buffer golden = {0};
    struct buffer command = {0};
    snapshot(&fixture.topology, &bytes);
    topology_command_encode(&command, &fixture.bootstrap);
    golden_read("topology_bootstrap_v1.bin", &golden);
    cr_assert(slice_equal(buffer_slice(&command), buffer_slice(&golden)));
    topology_deinit(&fixture.topology);
    cr_assert_eq(topology_apply(&fixture.topology, buffer_slice(&golden), &fixture.reason),
                 STATUS_OK);
    buffer_clear(&golden);
    golden_read("topology_v1.bin", &golden);
    cr_assert(slice_equal(buffer_slice(&bytes), buffer_slice(&golden)));
    struct topology read;
    topology_init(&read);
    cr_assert_eq(topology_decode(&read, buffer_slice(&golden)), STATUS_OK);
    cr_assert_eq(read.stamp.hash, fixture.topology.stamp.hash);
    topology_deinit(&read);
    topology_deinit(&fixture.topology);
    buffer_deinit(&bytes);
    buffer_deinit(&golden);
    buffer_deinit(&command);
}
