/* tests/unit/test_proposals.c -- topology commands from any node, and what is told of them. */
#include "node/proposals.h"
#include "tests/unit/node_fixture.h"

#define SEED 13u
#define PROPOSE_MS 8000

struct asked {
    struct proposal proposal;
    struct fixture_node *node;
    struct buffer command;
    uint32_t done;
    enum status status;
};

static struct fixture_node *number(uint32_t node)
{
    return &fixture.nodes[node - 1];
}

static const struct topology *topology_at(uint32_t node)
{
    return node_topology(number(node)->node);
}

static void asked_done(struct proposal *proposal, enum status status)
{
    struct asked *asked = container_of(proposal, struct asked, proposal);
    asked->done++;
    asked->status = status;
}

static void submit_call(void *context)
{
    struct asked *asked = context;
    proposals_submit(node_proposals(asked->node->node), &asked->proposal,
                     buffer_slice(&asked->command));
    cr_assert_eq(asked->done, 0, "not before the call returns");
}

/* Node `node` proposes that `id` be a member. */
static void submit(struct asked *asked, uint32_t node, uint32_t id, uint64_t expected_epoch)
{
    struct topology_command command = {.type = TOPOLOGY_MEMBER_ADD,
                                       .request_id = 1000 + id,
                                       .expected_epoch = expected_epoch,
                                       .member = {.id = id, .weight = 1, .zone = "default"}};
    (void)snprintf(command.member.peer_address, sizeof(command.member.peer_address),
                   "nowhere-%u:7401", id);
    asked->node = number(node);
    asked->done = 0;
    asked->proposal.done = asked_done;
    buffer_clear(&asked->command);
    topology_command_encode(&asked->command, &command);
    world_node_call(asked->node->host, submit_call, asked);
}

static void wait_for(const struct asked *asked, enum status status)
{
    for (uint32_t ms = 0; asked->done == 0 && ms < PROPOSE_MS; ms++) {
        fixture_pass(1);
    }
    cr_assert_eq(asked->done, 1);
    cr_assert_eq(asked->status, status, "\"%s\" instead of \"%s\"", status_name(asked->status),
                 status_name(status));
}

static uint32_t leader(void)
{
    for (uint32_t node = 1; node <= fixture.node_count; node++) {
        struct group_info info;
        if (world_node_alive(number(node)->host) && node_group_info(number(node)->node, &info) &&
            info.role == GROUP_LEADER) {
            return node;
        }
    }
    return 0;
}

static void cluster_start(uint32_t node_count)
{
    fixture_defaults();
    fixture_start(SEED, node_count);
    for (uint32_t ms = 0; leader() == 0 && ms < PROPOSE_MS; ms += 10) {
        fixture_pass(10);
    }
}

static void asked_deinit(struct asked *asked)
{
    buffer_deinit(&asked->command);
}

TestSuite(proposals, .timeout = 120);

Test(proposals, every_node_can_propose_and_all_know_soon)
{
    struct asked asked = {0};
    cluster_start(3);
    for (uint32_t node = 1; node <= 3; node++) {
        uint64_t epoch = topology_at(leader())->stamp.epoch;
        submit(&asked, node, 10 + node, 0);
        wait_for(&asked, STATUS_OK);
        cr_assert_eq(asked.proposal.epoch, epoch + 1);
        fixture_pass(20); /* Raft alone would tell followers at its next heartbeat, in 100. */
        for (uint32_t other = 1; other <= 3; other++) {
            cr_assert_not_null(topology_member_find(topology_at(other), 10 + node),
                               "node %u of what node %u proposed", other, node);
        }
    }
    asked_deinit(&asked);
    fixture_stop();
}

Test(proposals, a_refusal_says_why)
{
    struct asked asked = {0};
    cluster_start(3);
    for (uint32_t node = 1; node <= 3; node++) {
        uint64_t epoch = topology_at(leader())->stamp.epoch;
        submit(&asked, node, 2, 0);
        wait_for(&asked, STATUS_REFUSED);
        cr_assert_str_eq(asked.proposal.reason, "a member has this id already");
        cr_assert_eq(asked.proposal.epoch, epoch);
        submit(&asked, node, 20, epoch + 5);
        wait_for(&asked, STATUS_STALE);
    }
    asked_deinit(&asked);
    fixture_stop();
}

Test(proposals, what_is_no_command_is_refused_before_it_is_sent)
{
    struct asked asked = {.node = number(1)};
    cluster_start(1);
    buffer_append_text(&asked.command, "no command");
    asked.proposal.done = asked_done;
    world_node_call(asked.node->host, submit_call, &asked);
    wait_for(&asked, STATUS_CORRUPT);
    asked_deinit(&asked);
    fixture_stop();
}

/* Nothing can have been proposed: that is a definite failure. */
Test(proposals, without_a_leader_nothing_is_proposed)
{
    struct asked asked = {0};
    cluster_start(3);
    for (uint32_t node = 2; node <= 3; node++) {
        world_node_crash(number(node)->host, WORLD_CRASH_PROCESS);
    }
    fixture_pass(5000);
    asked.proposal.timeout_ms = 1000;
    submit(&asked, 1, 30, 0);
    wait_for(&asked, STATUS_UNAVAILABLE);
    world_node_start(number(2)->host, fixture_boot, number(2));
    world_node_start(number(3)->host, fixture_boot, number(3));
    fixture_pass(10000);
    cr_assert_null(topology_member_find(topology_at(1), 30));
    asked_deinit(&asked);
    fixture_stop();
}

/* The leader is cut off with the command in its log; the next one has it or has not. */
Test(proposals, what_a_cut_off_leader_took_is_open_until_it_is_seen)
{
    struct asked asked = {0};
    cluster_start(3);
    uint32_t old = leader();
    for (uint32_t node = 1; node <= 3; node++) {
        if (node != old) {
            net_sim_cut_both(world_net(fixture.world), world_node_index(number(old)->host),
                             world_node_index(number(node)->host), true);
        }
    }
    submit(&asked, old, 40, 0);
    wait_for(&asked, STATUS_INDETERMINATE);
    net_sim_heal(world_net(fixture.world));
    fixture_pass(5000);
    asked_deinit(&asked);
    fixture_stop();
}

static void leader_cut(uint32_t old, bool cut)
{
    for (uint32_t node = 1; node <= 3; node++) {
        if (node != old) {
            net_sim_cut(world_net(fixture.world), world_node_index(number(old)->host),
                        world_node_index(number(node)->host), cut);
        }
    }
}

/* The leader hears it, tells nobody, and dies. A second try would put it into the next one's log.
 */
Test(proposals, what_may_be_in_a_log_is_not_proposed_again)
{
    struct asked asked = {0};
    cluster_start(3);
    uint32_t old = leader();
    uint32_t left = old == 1 ? 2 : 1;
    leader_cut(old, true);
    asked.proposal.timeout_ms = PROPOSE_MS - 1000;
    submit(&asked, left, 45, 0);
    fixture_pass(100);
    world_node_crash(number(old)->host, WORLD_CRASH_POWER);
    leader_cut(old, false);
    fixture_pass(6000); /* By then the connection to it was given up. */
    cr_assert_neq(leader(), 0);
    wait_for(&asked, STATUS_INDETERMINATE);
    cr_assert_null(topology_member_find(topology_at(left), 45));
    asked_deinit(&asked);
    fixture_stop();
}

/* Submitted while nobody leads, it waits for who comes to. */
Test(proposals, a_new_leader_takes_what_waited)
{
    struct asked asked = {0};
    cluster_start(3);
    uint32_t old = leader();
    uint32_t left = old == 1 ? 2 : 1;
    world_node_crash(number(old)->host, WORLD_CRASH_PROCESS);
    fixture_pass(1200);
    asked.proposal.timeout_ms = PROPOSE_MS;
    submit(&asked, left, 50, 0);
    wait_for(&asked, STATUS_OK);
    fixture_pass(20); /* The answer may come before the command. */
    cr_assert_not_null(topology_member_find(topology_at(left), 50));
    world_node_start(number(old)->host, fixture_boot, number(old));
    fixture_pass(5000);
    cr_assert_not_null(topology_member_find(topology_at(old), 50));
    asked_deinit(&asked);
    fixture_stop();
}

Test(proposals, more_than_are_counted_on_are_refused)
{
    static struct asked many[PROPOSALS_COUNT_MAX + 1];
    cluster_start(3);
    for (uint32_t index = 0; index <= PROPOSALS_COUNT_MAX; index++) {
        submit(&many[index], leader() % 3 + 1, 100 + index, 0);
    }
    wait_for(&many[PROPOSALS_COUNT_MAX], STATUS_OVERLOADED);
    for (uint32_t index = 0; index < PROPOSALS_COUNT_MAX; index++) {
        wait_for(&many[index], STATUS_OK);
    }
    for (uint32_t index = 0; index <= PROPOSALS_COUNT_MAX; index++) {
        asked_deinit(&many[index]);
    }
    fixture_stop();
}

Test(proposals, a_node_that_stops_ends_its_own)
{
    struct asked asked = {0};
    cluster_start(3);
    for (uint32_t node = 2; node <= 3; node++) {
        world_node_crash(number(node)->host, WORLD_CRASH_PROCESS);
    }
    asked.proposal.timeout_ms = 60000;
    submit(&asked, 1, 60, 0);
    asked_deinit(&asked); /* It was copied. */
    fixture_stop();
    cr_assert_eq(asked.done, 1);
    cr_assert_eq(asked.status, STATUS_CANCELLED);
}
