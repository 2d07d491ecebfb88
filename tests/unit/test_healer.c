/* tests/unit/test_healer.c -- a node whose engine's log fails stays, reads, and writes again. */
#include "node/healer.h"
#include "tests/unit/node_fixture.h"

#define SEED 7u

static void request(const char *line)
{
    char text[256];
    int size = snprintf(text, sizeof(text), "%s\r\n", line);
    fixture_send(slice_make(text, (size_t)size));
}

static struct disk_faults *faults_of(uint32_t node_id)
{
    return disk_sim_faults(world_node_disk(fixture.nodes[node_id - 1].host));
}

/* The engine's files alone: the Raft log of a node ends it. */
static void engine_break(uint32_t node_id)
{
    faults_of(node_id)->error_path_part = "/lsm/";
    faults_of(node_id)->sync_error_ppm = 1000000;
}

static void engine_mend(uint32_t node_id)
{
    faults_of(node_id)->sync_error_ppm = 0;
}

static void one_node(void)
{
    fixture_defaults();
    fixture_start(SEED, 1);
    fixture_connect(1);
    request("SET a 1");
    fixture_expect("+OK\r\n");
}

static void broken_node(void)
{
    one_node();
    engine_break(1);
    request("SET a 2");
    fixture_expect_line("-NOQUORUM maybe applied");
    fixture_pass(10);
    cr_assert(node_read_only(fixture.nodes[0].node));
}

TestSuite(healer, .timeout = 60);

Test(healer, a_log_that_works_again_takes_writes_again)
{
    broken_node();
    cr_assert_eq(fixture.nodes[0].state, NODE_SERVING);
    request("GET a");
    fixture_expect("$1\r\n1\r\n");
    request("SET a 3");
    fixture_expect_line("-READONLY");
    engine_mend(1);
    fixture_pass(2 * HEALER_DELAY_MS_MIN);
    cr_assert_not(node_read_only(fixture.nodes[0].node));
    request("GET a");
    fixture_expect("$1\r\n1\r\n");
    request("SET a 4");
    fixture_expect("+OK\r\n");
    fixture_hang_up();
    fixture_pass(50);
    world_node_crash(fixture.nodes[0].host, WORLD_CRASH_POWER);
    world_node_start(fixture.nodes[0].host, fixture_boot, &fixture.nodes[0]);
    fixture_pass(5000);
    fixture_connect(1);
    request("GET a");
    fixture_expect("$1\r\n4\r\n");
    fixture_stop();
}

static uint64_t failures(void)
{
    uint64_t resume_count;
    uint64_t failure_count;
    node_resumes(fixture.nodes[0].node, &resume_count, &failure_count);
    cr_assert_eq(resume_count, 0u);
    return failure_count;
}

Test(healer, is_tried_ever_less_often_while_it_fails)
{
    broken_node();
    fixture_pass(HEALER_DELAY_MS_MIN * 3 / 2);
    cr_assert_eq(failures(), 1u);
    fixture_pass(HEALER_DELAY_MS_MIN * 2);
    cr_assert_eq(failures(), 2u);
    fixture_pass(10 * HEALER_DELAY_MS_MAX);
    uint64_t before = failures();
    fixture_pass(10 * HEALER_DELAY_MS_MAX);
    cr_assert_geq(failures(), before + 9);
    cr_assert_leq(failures(), before + 10);
    engine_mend(1);
    fixture_pass(HEALER_DELAY_MS_MAX + 1000);
    request("SET a 4");
    fixture_expect("+OK\r\n");
    fixture_stop();
}

Test(healer, an_operator_need_not_wait)
{
    broken_node();
    fixture_pass(10 * HEALER_DELAY_MS_MAX);
    engine_mend(1);
    fixture_pass(10);
    cr_assert(node_read_only(fixture.nodes[0].node));
    request("KV.RESUME");
    fixture_expect("+RESUMING\r\n");
    fixture_pass(500);
    request("SET a 4");
    fixture_expect("+OK\r\n");
    request("KV.RESUME");
    fixture_expect("+OK\r\n");
    fixture_stop();
}

/* Nothing is left that waits for the engine, and nothing leaks (fixture_stop). */
Test(healer, a_node_stops_while_its_engine_is_broken)
{
    broken_node();
    fixture_stop();
}

Test(healer, of_three_nodes_one_may_be_broken)
{
    fixture_defaults();
    fixture_start(SEED, 3);
    fixture_connect(2);
    request("SET a 1");
    fixture_expect("+OK\r\n");
    engine_break(1);
    request("SET a 2");
    fixture_expect("+OK\r\n");
    fixture_pass(100);
    cr_assert(node_read_only(fixture.nodes[0].node));
    request("SET a 3");
    fixture_expect("+OK\r\n");
    request("GET a");
    fixture_expect("$1\r\n3\r\n");
    engine_mend(1);
    fixture_pass(2 * HEALER_DELAY_MS_MIN);
    cr_assert_not(node_read_only(fixture.nodes[0].node));
    cr_assert_eq(fixture.nodes[0].state, NODE_SERVING);
    fixture_stop();
}
