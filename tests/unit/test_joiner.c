/* tests/unit/test_joiner.c -- a node that joins a running cluster, and what must not come of it. */
#include "node/joiner.h"
#include "tests/unit/node_fixture.h"

#define SEED 11u
#define JOIN_MS 5000

static void request(const char *line)
{
    char text[256];
    int size = snprintf(text, sizeof(text), "%s\r\n", line);
    fixture_send(slice_make(text, (size_t)size));
}

static struct fixture_node *number(uint32_t node)
{
    return &fixture.nodes[node - 1];
}

static void cluster_start(uint32_t joiner_count)
{
    fixture_defaults();
    fixture.joiner_count = joiner_count;
    fixture_start(SEED, 3);
    fixture_connect(1);
    request("SET a 1");
    fixture_expect("+OK\r\n");
    fixture_hang_up();
    fixture_pass(10);
}

static void joiner_boot(uint32_t node)
{
    world_node_start(number(node)->host, fixture_boot, number(node));
}

static void wait_for(uint32_t node, enum node_state state)
{
    for (uint32_t ms = 0; number(node)->state != state && ms < JOIN_MS; ms += 10) {
        fixture_pass(10);
    }
    cr_assert_eq(number(node)->state, state, "node %u is in state %d", node,
                 (int)number(node)->state);
}

static const struct topology *topology_at(uint32_t node)
{
    return node_topology(number(node)->node);
}

TestSuite(joiner, .timeout = 120);

Test(joiner, becomes_a_member_that_owns_nothing_and_serves)
{
    cluster_start(1);
    joiner_boot(4);
    wait_for(4, NODE_SERVING);
    const struct topology_member *member = topology_member_find(topology_at(4), 4);
    cr_assert_not_null(member);
    cr_assert_eq(member->state, TOPOLOGY_JOINING);
    cr_assert_neq(member->disk_id, 0);
    for (uint32_t range = 0; range < topology_at(4)->range_count; range++) {
        cr_assert_not(ring_replicas_contain(&topology_at(4)->ranges[range].replicas, 4));
    }
    fixture_pass(1000); /* Until it has heard all of them. */
    fixture_connect(4);
    request("GET a");
    fixture_expect("$1\r\n1\r\n");
    request("SET b 2");
    fixture_expect("+OK\r\n");
    fixture_hang_up();
    fixture_pass(10);
    fixture_connect(2);
    request("GET b");
    fixture_expect("$1\r\n2\r\n");
    fixture_stop();
}

Test(joiner, every_member_knows_it_within_a_round_trip_of_the_leader)
{
    cluster_start(1);
    joiner_boot(4);
    wait_for(4, NODE_SERVING);
    fixture_pass(20);
    for (uint32_t node = 1; node <= 3; node++) {
        cr_assert_not_null(topology_member_find(topology_at(node), 4), "node %u", node);
        cr_assert_eq(topology_at(node)->stamp.hash, topology_at(4)->stamp.hash);
    }
    fixture_stop();
}

Test(joiner, a_restart_asks_for_nothing)
{
    cluster_start(1);
    joiner_boot(4);
    wait_for(4, NODE_SERVING);
    uint64_t epoch = topology_at(1)->stamp.epoch;
    fixture_pass(1000);
    world_node_crash(number(4)->host, WORLD_CRASH_PROCESS);
    number(4)->state = NODE_OPENING;
    fixture_pass(1000);
    joiner_boot(4);
    wait_for(4, NODE_SERVING);
    fixture_pass(2000);
    cr_assert_eq(topology_at(1)->stamp.epoch, epoch);
    cr_assert_eq(number(4)->state, NODE_SERVING);
    fixture_stop();
}

Test(joiner, waits_for_a_contact_that_is_down)
{
    cluster_start(1);
    fixture.contact = 3;
    world_node_crash(number(3)->host, WORLD_CRASH_PROCESS);
    joiner_boot(4);
    fixture_pass(3000);
    cr_assert_eq(number(4)->state, NODE_JOINING);
    world_node_start(number(3)->host, fixture_boot, number(3));
    wait_for(4, NODE_SERVING);
    fixture_stop();
}

/* A wiped member under its old id, or a number used twice. */
Test(joiner, a_member_s_id_with_another_folder_is_never_taken_over)
{
    cluster_start(1);
    number(4)->id = 2;
    joiner_boot(4);
    wait_for(4, NODE_FAILED);
    cr_assert_eq(topology_at(4)->cluster_id, 0, "it was let in");
    fixture_pass(1000);
    cr_assert_eq(number(2)->state, NODE_SERVING);
    fixture_connect(2);
    request("GET a");
    fixture_expect("$1\r\n1\r\n");
    world_node_crash(number(4)->host, WORLD_CRASH_PROCESS);
    fixture_stop();
}

Test(joiner, of_two_that_join_under_one_id_one_becomes_it)
{
    cluster_start(2);
    number(4)->id = 7;
    number(5)->id = 7;
    joiner_boot(4);
    joiner_boot(5);
    for (uint32_t ms = 0; ms < JOIN_MS; ms += 10) {
        fixture_pass(10);
        if (number(4)->state > NODE_JOINING && number(5)->state > NODE_JOINING) {
            break;
        }
    }
    fixture_pass(1000);
    bool first = number(4)->state == NODE_SERVING;
    uint32_t loser = first ? 5 : 4;
    cr_assert_eq(number(first ? 4 : 5)->state, NODE_SERVING);
    cr_assert_eq(number(loser)->state, NODE_FAILED);
    world_node_crash(number(loser)->host, WORLD_CRASH_PROCESS);
    fixture_stop();
}
