/*
 * tests/unit/test_topology_keyspaces.c -- keyspaces are created, and never change.
 */
#include "base/memory.h"
#include "tests/unit/topology_fixture.h"

static struct topology_command create_command(const char *name)
{
    struct topology_command command = {
        .type = TOPOLOGY_KEYSPACE_CREATE,
        .keyspace = {.number = 77, .class = TOPOLOGY_EVENTUAL, .ttl_ms = 5000}};
    command.keyspace.read_level = TOPOLOGY_LEVEL_ONE;
    command.keyspace.write_level = TOPOLOGY_LEVEL_ALL;
    (void)snprintf(command.keyspace.name, sizeof(command.keyspace.name), "%s", name);
    return command;
}

/* The fixture's bootstrap has 0 and 1; this one leaves room in between. */
static void bootstrap_numbered(struct fixture *fixture, uint16_t first, uint16_t second)
{
    fixture_init(fixture);
    fixture->keyspaces[0].number = first;
    fixture->keyspaces[1].number = second;
    apply_ok(fixture, &fixture->bootstrap);
}

Test(topology_keyspaces, one_is_created_under_the_least_number_that_is_free)
{
    struct fixture fixture;
    bootstrap_numbered(&fixture, 3, 1);
    static const char *const names[] = {"a", "b", "c"};
    static const uint16_t numbers[] = {2, 4, 5};
    for (uint32_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct topology_command command = create_command(names[i]);
        apply_ok(&fixture, &command);
        const struct topology_keyspace *keyspace =
            topology_keyspace_named(&fixture.topology, slice_text(names[i]));
        cr_assert_not_null(keyspace, "%s", names[i]);
        cr_assert_eq(keyspace->number, numbers[i], "%s", names[i]);
        cr_assert_eq(topology_keyspace_find(&fixture.topology, numbers[i]), keyspace);
    }
    cr_assert_eq(fixture.topology.keyspace_count, 5);
    for (uint32_t i = 1; i < 5; i++) {
        cr_assert_eq(fixture.topology.keyspaces[i].number, i + 1);
    }
    cr_assert_null(topology_keyspace_named(&fixture.topology, slice_text("d")));
    topology_deinit(&fixture.topology);
}

Test(topology_keyspaces, what_was_asked_for_survives_a_snapshot)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct topology_command command = create_command("orders");
    apply_ok(&fixture, &command);
    struct buffer bytes = {0};
    struct topology read;
    topology_init(&read);
    snapshot(&fixture.topology, &bytes);
    cr_assert_eq(topology_decode(&read, buffer_slice(&bytes)), STATUS_OK);
    const struct topology_keyspace *keyspace = topology_keyspace_find(&read, 2);
    cr_assert_not_null(keyspace);
    cr_assert_str_eq(keyspace->name, "orders");
    cr_assert_eq(keyspace->class, TOPOLOGY_EVENTUAL);
    cr_assert_eq(keyspace->read_level, TOPOLOGY_LEVEL_ONE);
    cr_assert_eq(keyspace->write_level, TOPOLOGY_LEVEL_ALL);
    cr_assert_eq(keyspace->ttl_ms, 5000);
    topology_deinit(&read);
    topology_deinit(&fixture.topology);
    buffer_deinit(&bytes);
}

Test(topology_keyspaces, one_that_breaks_a_rule_is_refused)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct topology_command command = create_command("fast");
    check_refused(&fixture, &command, "two keyspaces have one name");
    command = create_command("");
    check_refused(&fixture, &command, "name is empty");
    command = create_command("a b");
    check_refused(&fixture, &command, "not printable");
    command = create_command("sure");
    command.keyspace.class = TOPOLOGY_STRONG;
    check_refused(&fixture, &command, "has no levels");
    command = create_command("long");
    command.keyspace.ttl_ms = TOPOLOGY_TTL_MS_MAX + 1;
    check_refused(&fixture, &command, "too long");
    command.keyspace.ttl_ms = TOPOLOGY_TTL_MS_MAX;
    apply_ok(&fixture, &command);
    topology_deinit(&fixture.topology);
}

Test(topology_keyspaces, there_are_no_more_than_there_can_be)
{
    struct fixture fixture;
    bootstrap(&fixture);
    char name[16];
    for (uint32_t number = TOPOLOGY_KEYSPACE_FIRST; number < TOPOLOGY_KEYSPACE_COUNT_MAX;
         number++) {
        (void)snprintf(name, sizeof(name), "k%u", number);
        struct topology_command command = create_command(name);
        apply_ok(&fixture, &command);
    }
    struct topology_command command = create_command("last");
    check_refused(&fixture, &command, "as many keyspaces as there can be");
    topology_deinit(&fixture.topology);
}

static void *no_allocate(size_t size)
{
    (void)size;
    return NULL;
}

Test(topology_keyspaces, without_memory_nothing_changes)
{
    static const struct memory_hooks hooks = {no_allocate, realloc, free};
    struct fixture fixture;
    bootstrap(&fixture);
    struct topology_command command = create_command("orders");
    struct buffer bytes = {0};
    topology_command_encode(&bytes, &command);
    memory_set_hooks(&hooks);
    cr_assert_eq(topology_apply(&fixture.topology, buffer_slice(&bytes), &fixture.reason),
                 STATUS_NO_MEMORY);
    memory_set_hooks(NULL);
    cr_assert_eq(fixture.topology.stamp.epoch, 1);
    cr_assert_eq(fixture.topology.keyspace_count, 2);
    buffer_deinit(&bytes);
    topology_deinit(&fixture.topology);
}
