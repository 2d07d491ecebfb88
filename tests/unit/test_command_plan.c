/* tests/unit/test_command_plan.c -- KV.PLAN on whole nodes: said, refused, carried out. */
#include "tests/unit/node_fixture.h"

#define SEED 11u
#define KEY_COUNT 64
#define PLAN_MS 20000

static void request(const char *line)
{
    char text[256];
    int size = snprintf(text, sizeof(text), "%s\r\n", line);
    fixture_send(slice_make(text, (size_t)size));
}

/* Asks until the answer holds `part`. */
static void expect_within(const char *line, const char *part, uint32_t limit_ms)
{
    for (uint32_t ms = 0; ms < limit_ms; ms += 20) {
        request(line);
        fixture_pass(20);
        bool there = memmem(fixture.replies, fixture.reply_size, part, strlen(part)) != NULL;
        if (there) {
            fixture.reply_size = 0;
            return;
        }
        cr_assert_lt(ms + 20, limit_ms, "\"%s\" is not in %.*s", part, (int)fixture.reply_size,
                     (const char *)fixture.replies);
        fixture.reply_size = 0;
    }
}

/* Three nodes, two replicas of each range, so that a range can move. */
static void three_nodes(uint32_t node_id)
{
    fixture_defaults();
    fixture.config.replicas = 2;
    fixture_start(SEED, 3);
    fixture_connect(node_id);
}

TestSuite(command_plan, .timeout = 120);

Test(command_plan, says_why_not)
{
    three_nodes(2);
    request("KV.PLAN LEAVE 7");
    fixture_expect("-ERR node 7 is no member; members are 1, 2, 3\r\n");
    request("KV.PLAN REPLACE 1 9");
    fixture_expect("-ERR node 9 is no member; members are 1, 2, 3\r\n");
    request("KV.PLAN WEIGHT 1");
    fixture_expect("-ERR KV.PLAN WEIGHT id weight; numbers are above 0\r\n");
    request("KV.PLAN WEIGHT 1 x");
    fixture_expect("-ERR KV.PLAN WEIGHT id weight; numbers are above 0\r\n");
    request("KV.PLAN MOVE 5000 1 2");
    fixture_expect_line("-ERR refused: ");
    request("KV.PLAN COMMIT");
    fixture_expect("-ERR no plan is staged\r\n");
    request("KV.PLAN COMMIT 12");
    fixture_expect_line("-ERR refused: ");
    request("KV.PLAN ABORT");
    fixture_expect("-ERR no plan runs\r\n");
    request("KV.PLAN ACCEPT-DATA-LOSS");
    fixture_expect_line("-ERR no plan runs");
    request("KV.PLAN FORGET");
    fixture_expect_line("-ERR KV.PLAN: JOIN, LEAVE");
    fixture_stop();
}

Test(command_plan, what_is_staged_is_shown_by_every_node_and_forgotten_by_all)
{
    three_nodes(3);
    request("KV.PLAN WEIGHT 1 3");
    fixture_expect_line("$");
    for (uint32_t node = 1; node <= 3; node++) {
        fixture_hang_up();
        fixture_pass(50);
        fixture_connect(node);
        expect_within("KV.PLAN SHOW",
                      "\"changes\":[{\"change\":\"weight\",\"node\":1,\"weight\":3}]", 2000);
        expect_within("KV.PLAN SHOW", "\"share_ppm_after\":", 2000);
    }
    request("KV.PLAN CLEAR");
    fixture_expect_line("$");
    expect_within("KV.PLAN SHOW", "\"staged\":null", 2000);
    fixture_stop();
}

/* The node that leads; 0: none says so. Stays connected to it. */
static uint32_t driving_node(void)
{
    uint32_t driving = 0;
    for (uint32_t node = 1; node <= 3; node++) {
        fixture_hang_up();
        fixture_pass(50);
        fixture_connect(node);
        request("KV.PLAN EXPLAIN");
        fixture_pass(50);
        if (memmem(fixture.replies, fixture.reply_size, "\"drives\":true", 13) != NULL) {
            cr_assert_eq(driving, 0u, "nodes %u and %u drive", driving, node);
            driving = node;
        }
        fixture.reply_size = 0;
    }
    return driving;
}

Test(command_plan, one_node_drives)
{
    three_nodes(1);
    cr_assert_neq(driving_node(), 0u);
    fixture_stop();
}

static void keys_write(void)
{
    char line[64];
    for (int key = 0; key < KEY_COUNT; key++) {
        (void)snprintf(line, sizeof(line), "SET key:%d %d", key, key);
        request(line);
        fixture_expect("+OK\r\n");
    }
}

/* Every key, from every replica of it. */
static void keys_read(void)
{
    for (int key = 0; key < KEY_COUNT; key++) {
        char line[64];
        char answer[32];
        (void)snprintf(line, sizeof(line), "KV.GET key:%d LEVEL ALL", key);
        (void)snprintf(answer, sizeof(answer), "$%d\r\n%d\r\n", key < 10 ? 1 : 2, key);
        request(line);
        fixture_expect(answer);
    }
}

static void plan_commit(void)
{
    request("KV.PLAN WEIGHT 1 3");
    fixture_expect_line("$");
    expect_within("KV.PLAN SHOW", "\"staged\":{", 2000);
    request("KV.PLAN COMMIT");
    fixture_expect_line("$");
}

static void expect_plan_done(void)
{
    expect_within("KV.PLAN HISTORY", "\"outcome\":\"done\"", PLAN_MS);
    expect_within("KV.PLAN SHOW", "\"ranges_left\":0,\"operations\":0,\"running\":null", 2000);
}

Test(command_plan, a_committed_plan_is_carried_out_and_every_key_is_there)
{
    three_nodes(2);
    keys_write();
    plan_commit();
    expect_plan_done();
    keys_read();
    fixture_stop();
}

/* The plan is caught at another place each time. */
Test(command_plan, the_next_leader_goes_on)
{
    for (uint32_t wait_ms = 0; wait_ms < 120; wait_ms += 20) {
        three_nodes(2);
        keys_write();
        uint32_t driving = driving_node();
        fixture_hang_up();
        fixture_pass(50);
        fixture_connect(driving % 3 + 1);
        plan_commit();
        fixture_pass(wait_ms);
        struct fixture_node *crashed = &fixture.nodes[driving - 1];
        world_node_crash(crashed->host, WORLD_CRASH_POWER);
        fixture_pass(3000);
        crashed->state = NODE_OPENING;
        world_node_start(crashed->host, fixture_boot, crashed);
        expect_plan_done();
        for (uint32_t ms = 0; !fixture_serving(); ms += 100) {
            cr_assert_lt(ms, FIXTURE_SERVING_MS);
            fixture_pass(100);
        }
        keys_read();
        fixture_stop();
    }
}
