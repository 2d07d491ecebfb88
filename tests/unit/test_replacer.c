/* tests/unit/test_replacer.c -- when a member is replaced without being asked, and when never. */
#include "node/replacer.h"
#include "tests/unit/topology_fixture.h"

#define AFTER_MS 60000
#define ID_COUNT 16

/* Members 1 to 5, member 3 alone in its zone; 6 to 9 join where a test says so. */
static struct fixture fixture;
static enum node_peer_state states[ID_COUNT];
static uint64_t silences_ms[ID_COUNT];

static enum node_peer_state state_of(const void *context, uint32_t id)
{
    (void)context;
    return states[id];
}

static uint64_t silence_of(const void *context, uint32_t id)
{
    (void)context;
    return silences_ms[id];
}

static struct replacer_view view = {
    .state = state_of, .silence_ms = silence_of, .after_ms = AFTER_MS};

static void begin(void)
{
    memset(states, 0, sizeof(states)); /* All up. */
    memset(silences_ms, 0, sizeof(silences_ms));
    view.after_ms = AFTER_MS;
    bootstrap(&fixture);
}

static void end(void)
{
    topology_deinit(&fixture.topology);
}

static void join(uint32_t id, const char *zone)
{
    struct topology_member member = member_make(id);
    member.state = TOPOLOGY_JOINING;
    member.voter = false;
    (void)snprintf(member.zone, sizeof(member.zone), "%s", zone);
    struct topology_command command = {.type = TOPOLOGY_MEMBER_ADD, .member = member};
    apply_ok(&fixture, &command);
}

static void gone(uint32_t id, uint64_t silence_ms)
{
    states[id] = NODE_PEER_DOWN;
    silences_ms[id] = silence_ms;
}

/* Who takes the place of whom: lost * 100 + by; 0: nothing is to be done. */
static uint32_t chosen(void)
{
    uint32_t id = 0;
    uint32_t to_id = 0;
    return replacer_choose(&fixture.topology, &view, &id, &to_id) ? id * 100 + to_id : 0;
}

TestSuite(replacer, .init = begin, .fini = end);

Test(replacer, one_that_waits_takes_the_place_after_the_time_and_not_before)
{
    join(7, "zone-1");
    cr_expect_eq(chosen(), 0, "all are up");
    gone(1, AFTER_MS - 1);
    cr_expect_eq(chosen(), 0);
    gone(1, AFTER_MS);
    cr_expect_eq(chosen(), 107);
    view.after_ms = 0;
    cr_expect_eq(chosen(), 0, "it is off");
}

Test(replacer, who_is_only_suspect_is_not_replaced)
{
    join(7, "zone-1");
    gone(1, AFTER_MS);
    states[1] = NODE_PEER_SUSPECT;
    cr_expect_eq(chosen(), 0);
}

Test(replacer, nothing_happens_while_a_second_member_is_not_up)
{
    join(7, "zone-1");
    gone(1, AFTER_MS);
    states[5] = NODE_PEER_SUSPECT;
    cr_expect_eq(chosen(), 0);
}

Test(replacer, who_waits_must_be_up_and_joining)
{
    gone(1, AFTER_MS);
    cr_expect_eq(chosen(), 0, "nobody waits");
    join(7, "zone-1");
    states[7] = NODE_PEER_SUSPECT;
    cr_expect_eq(chosen(), 0);
}

Test(replacer, the_same_zone_goes_first_then_one_that_nobody_is_in)
{
    gone(1, AFTER_MS);
    join(6, "zone-2");
    cr_expect_eq(chosen(), 0, "zone-2 has copies of its own");
    join(7, "zone-new");
    cr_expect_eq(chosen(), 107);
    join(8, "zone-1");
    cr_expect_eq(chosen(), 108);
}

Test(replacer, a_zone_of_which_nobody_is_up_is_left_alone)
{
    gone(3, AFTER_MS);
    join(7, "zone-new");
    cr_expect_eq(chosen(), 0);
    join(8, "zone-0");
    cr_expect_eq(chosen(), 308, "the zone is there again");
}

Test(replacer, it_stages_then_commits_and_the_log_accepts_both)
{
    struct topology_command command;
    join(7, "zone-1");
    gone(1, AFTER_MS);
    cr_assert(replacer_command(&fixture.topology, &view, 0, &command));
    cr_expect_eq(command.type, TOPOLOGY_PLAN_STAGE);
    apply_ok(&fixture, &command);
    uint64_t plan_id = fixture.topology.stamp.epoch;
    cr_assert(replacer_command(&fixture.topology, &view, plan_id, &command));
    cr_expect_eq(command.type, TOPOLOGY_PLAN_COMMIT);
    apply_ok(&fixture, &command);
    const struct topology_member *lost = topology_member_find(&fixture.topology, 1);
    cr_expect(lost->lost);
    cr_expect_eq(topology_member_find(&fixture.topology, 7)->state, TOPOLOGY_ACTIVE);
    cr_expect_not(replacer_command(&fixture.topology, &view, plan_id, &command), "a plan runs");
}

Test(replacer, who_comes_back_before_the_commit_stays)
{
    struct topology_command command;
    join(7, "zone-1");
    gone(1, AFTER_MS);
    cr_assert(replacer_command(&fixture.topology, &view, 0, &command));
    apply_ok(&fixture, &command);
    states[1] = NODE_PEER_UP;
    cr_assert(replacer_command(&fixture.topology, &view, fixture.topology.stamp.epoch, &command));
    cr_expect_eq(command.type, TOPOLOGY_PLAN_CLEAR);
    apply_ok(&fixture, &command);
    cr_expect_eq(fixture.topology.staged.id, 0);
}

Test(replacer, what_others_staged_is_neither_committed_nor_cleared)
{
    struct topology_command command;
    struct topology_command leave = {.type = TOPOLOGY_PLAN_STAGE,
                                     .change = {.type = TOPOLOGY_LEAVE, .id = 5}};
    join(7, "zone-1");
    gone(1, AFTER_MS);
    cr_assert(replacer_command(&fixture.topology, &view, 0, &command));
    apply_ok(&fixture, &command);
    uint64_t plan_id = fixture.topology.stamp.epoch;
    apply_ok(&fixture, &leave); /* An operator adds to what we staged. */
    cr_expect_not(replacer_command(&fixture.topology, &view, plan_id, &command));
    cr_expect_not(replacer_command(&fixture.topology, &view, 0, &command), "as a new leader");
}
