/*
 * tests/unit/test_topology.c -- bootstrap, members and voters: applied whole or not at all.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "tests/unit/topology_fixture.h"

static void apply_member_ok(struct fixture *fixture, enum topology_command_type type,
                            struct topology_member member)
{
    const struct topology_command command = member_command(fixture, type, member);
    apply_ok(fixture, &command);
}

static void check_member_refused(struct fixture *fixture, enum topology_command_type type,
                                 struct topology_member member, const char *reason)
{
    const struct topology_command command = member_command(fixture, type, member);
    check_refused(fixture, &command, reason);
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
    struct ring_node nodes[FIXTURE_MEMBER_COUNT];
    for (uint32_t i = 0; i < FIXTURE_MEMBER_COUNT; i++) {
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
        .nodes = nodes, .node_count = FIXTURE_MEMBER_COUNT, .range_count = 64, .replica_count = 3};
    cr_assert_eq(ring_place(&input, placement), STATUS_OK);
    for (uint32_t range = 0; range < 64; range++) {
        cr_assert_eq(topology->ranges[range].epoch, 1);
        cr_assert_eq(topology->ranges[range].stage, TOPOLOGY_STABLE);
        cr_assert_eq(topology->ranges[range].next.count, 0);
        cr_assert_eq(topology->ranges[range].goal.count, 0);
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

Test(topology, an_expected_epoch_of_0_is_any_but_for_bootstrap)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct topology_command command = {.type = TOPOLOGY_MEMBER_ADD, .member = member_make(8)};
    apply_ok(&fixture, &command);
    command.member = member_make(9);
    command.expected_epoch = 1;
    cr_assert_eq(apply(&fixture, &command), STATUS_STALE);
    command.expected_epoch = 2;
    apply_ok(&fixture, &command);
    topology_deinit(&fixture.topology);
}

Test(topology, a_member_enters_without_a_vote_is_updated_and_removed)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct topology_member added = member_make(9);
    added.voter = true;
    apply_member_ok(&fixture, TOPOLOGY_MEMBER_ADD, added);
    cr_assert_eq(fixture.topology.member_count, 6);
    cr_assert_eq(member_of(&fixture, 9)->state, TOPOLOGY_JOINING);
    cr_assert_not(member_of(&fixture, 9)->voter, "a vote is given by VOTERS");
    added.weight = 7;
    added.disk_id = 11;
    snprintf(added.peer_address, sizeof(added.peer_address), "elsewhere:1");
    snprintf(added.zone, sizeof(added.zone), "another");
    apply_member_ok(&fixture, TOPOLOGY_MEMBER_UPDATE, added);
    const struct topology_member *member = member_of(&fixture, 9);
    cr_assert_eq(member->weight, 7);
    cr_assert_eq(member->disk_id, 11);
    cr_assert_str_eq(member->peer_address, "elsewhere:1");
    cr_assert_str_eq(member->zone, "another");
    cr_assert_eq(member->state, TOPOLOGY_JOINING);
    cr_assert_not(member->voter, "an update gives no vote");
    apply_member_ok(&fixture, TOPOLOGY_MEMBER_REMOVE, added);
    cr_assert_eq(fixture.topology.member_count, 5);
    cr_assert_null(topology_member_find(&fixture.topology, 9));
    cr_assert_eq(fixture.topology.stamp.epoch, 4);
    topology_deinit(&fixture.topology);
}

Test(topology, of_a_member_that_joined_an_update_changes_addresses_alone)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct topology_member updated = member_make(2);
    updated.disk_id = 5;
    snprintf(updated.peer_address, sizeof(updated.peer_address), "elsewhere:1");
    apply_member_ok(&fixture, TOPOLOGY_MEMBER_UPDATE, updated);
    cr_assert_str_eq(member_of(&fixture, 2)->peer_address, "elsewhere:1");
    cr_assert_eq(member_of(&fixture, 2)->state, TOPOLOGY_ACTIVE);
    cr_assert(member_of(&fixture, 2)->voter);
    updated.disk_id = 6;
    check_member_refused(&fixture, TOPOLOGY_MEMBER_UPDATE, updated, "disk");
    updated.disk_id = 0;
    check_member_refused(&fixture, TOPOLOGY_MEMBER_UPDATE, updated, "disk");
    updated.disk_id = 5;
    updated.weight = 2;
    check_member_refused(&fixture, TOPOLOGY_MEMBER_UPDATE, updated, "by a plan");
    updated.weight = 1;
    snprintf(updated.zone, sizeof(updated.zone), "another");
    check_member_refused(&fixture, TOPOLOGY_MEMBER_UPDATE, updated, "by a plan");
    topology_deinit(&fixture.topology);
}

Test(topology, an_active_member_is_not_removed)
{
    struct fixture fixture;
    bootstrap(&fixture);
    check_member_refused(&fixture, TOPOLOGY_MEMBER_REMOVE, member_make(5), "holds ranges");
    for (uint32_t range = 0; range < fixture.topology.range_count; range++) {
        fixture.topology.ranges[range].replicas = (struct ring_replicas){1, {1}};
    }
    check_member_refused(&fixture, TOPOLOGY_MEMBER_REMOVE, member_make(5), "active");
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
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "id already");
    check_member_refused(&fixture, TOPOLOGY_MEMBER_UPDATE, good, "no member");
    check_member_refused(&fixture, TOPOLOGY_MEMBER_REMOVE, good, "no member");
    bad.id = 0;
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "id is 0");
    bad = good;
    bad.weight = RING_WEIGHT_MAX + 1;
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "weight");
    bad = good;
    snprintf(bad.zone, sizeof(bad.zone), "a b");
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "zone");
    snprintf(bad.zone, sizeof(bad.zone), "\xc3\xa4");
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "zone");
    bad.zone[0] = '\0';
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "zone");
    bad = good;
    snprintf(bad.peer_address, sizeof(bad.peer_address), "no-port");
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "malformed");
    bad.peer_address[0] = '\0';
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "malformed");
    bad = good;
    memcpy(bad.admin_address, member_make(2).admin_address, sizeof(bad.admin_address));
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "one address");
    bad = member_make(4);
    memcpy(bad.peer_address, member_make(2).peer_address, sizeof(bad.peer_address));
    check_member_refused(&fixture, TOPOLOGY_MEMBER_UPDATE, bad, "one address");
    good.client_address[0] = '\0';
    good.disk_id = 44;
    apply_member_ok(&fixture, TOPOLOGY_MEMBER_ADD, good);
    bad = member_make(8);
    bad.disk_id = 44;
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, bad, "one disk");
    topology_deinit(&fixture.topology);
}

static struct topology_command voters_command(const uint32_t *voters, uint32_t voter_count)
{
    return (struct topology_command){
        .type = TOPOLOGY_VOTERS, .voters = voters, .voter_count = voter_count};
}

Test(topology, voters_are_those_that_are_named_last)
{
    struct fixture fixture;
    bootstrap(&fixture);
    const uint32_t voters[] = {2, 4, 5, 9};
    struct topology_command command = voters_command(voters, 3);
    apply_ok(&fixture, &command);
    for (uint32_t id = 1; id <= FIXTURE_MEMBER_COUNT; id++) {
        cr_assert_eq(member_of(&fixture, id)->voter, id == 2 || id == 4 || id == 5, "%u", id);
    }
    command = voters_command(voters, 0);
    check_refused(&fixture, &command, "voters");
    command = voters_command(voters, 4);
    check_refused(&fixture, &command, "no member");
    const uint32_t fallen[] = {3, 2};
    command = voters_command(fallen, 2);
    check_refused(&fixture, &command, "rise");
    const uint32_t twice[] = {3, 3};
    command = voters_command(twice, 2);
    check_refused(&fixture, &command, "rise");
    topology_deinit(&fixture.topology);
}

Test(topology, a_member_that_votes_is_not_removed)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 9);
    uint32_t voter = 9;
    struct topology_command command = voters_command(&voter, 1);
    apply_ok(&fixture, &command);
    check_member_refused(&fixture, TOPOLOGY_MEMBER_REMOVE, member_make(9), "votes");
    voter = 1;
    apply_ok(&fixture, &command);
    apply_member_ok(&fixture, TOPOLOGY_MEMBER_REMOVE, member_make(9));
    topology_deinit(&fixture.topology);
}

Test(topology, nothing_but_bootstrap_works_before_it)
{
    struct fixture fixture;
    fixture_init(&fixture);
    check_member_refused(&fixture, TOPOLOGY_MEMBER_ADD, member_make(1), "not bootstrapped");
    check_member_refused(&fixture, TOPOLOGY_MEMBER_REMOVE, member_make(1), "not bootstrapped");
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
    for (uint32_t i = 0; i < FIXTURE_MEMBER_COUNT; i++) {
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
    member_add(&first, 8);
    member_add(&second, 9);
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

Test(topology, a_new_generation_is_greater_has_one_voter_and_another_hash)
{
    struct fixture first;
    struct fixture second;
    bootstrap(&first);
    bootstrap(&second);
    member_add(&first, 9);
    const struct topology_stamp before = first.topology.stamp;
    topology_generation_begin(&second.topology, 77, 4);
    cr_assert_gt(topology_stamp_compare(&second.topology.stamp, &before), 0);
    cr_assert_eq(second.topology.stamp.generation.number, 2);
    cr_assert_eq(second.topology.stamp.generation.id, 77);
    cr_assert_eq(second.topology.stamp.epoch, 1);
    for (uint32_t id = 1; id <= FIXTURE_MEMBER_COUNT; id++) {
        cr_assert_eq(member_of(&second, id)->voter, id == 4, "%u", id);
    }
    topology_generation_begin(&first.topology, 78, 4);
    cr_assert_neq(first.topology.stamp.hash, before.hash);
    cr_assert_neq(first.topology.stamp.hash, second.topology.stamp.hash);
    struct buffer bytes = {0};
    struct topology read;
    topology_init(&read);
    snapshot(&second.topology, &bytes);
    cr_assert_eq(topology_decode(&read, buffer_slice(&bytes)), STATUS_OK);
    member_add(&second, 9);
    topology_deinit(&read);
    buffer_deinit(&bytes);
    topology_deinit(&first.topology);
    topology_deinit(&second.topology);
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
    cr_assert_eq(fixture.topology.member_count, FIXTURE_MEMBER_COUNT);
    memory_set_hooks(NULL);
    buffer_deinit(&bytes);
    buffer_deinit(&add);
    topology_deinit(&fixture.topology);
}
