/* tests/unit/test_driver.c -- what the driver asks, proposes, and leaves alone. */
#include "node/driver.h"
#include "tests/unit/driver_fixture.h"

#define MANY 1000 /* More commands than any of these plans takes. */

/* Three members and a fourth that is to join; the driver leads. */
static void joining(uint32_t moves_max, uint32_t streams_max)
{
    lab_topology(3, 3);
    lab_driver(moves_max, streams_max);
    lab_join(4);
    driver_lead(lab.driver, true);
    lab_run();
}

static void expect_done(void)
{
    cr_assert_eq(lab_count(TOPOLOGY_STABLE), (uint32_t)LAB_RANGE_COUNT);
    cr_assert_eq(lab_goal_count(), 0u);
    cr_assert_eq(lab.topology.running.id, 0u);
    cr_assert_geq(lab.topology.history_count, 1u);
    cr_assert_eq(lab.topology.history[lab.topology.history_count - 1].outcome, TOPOLOGY_DONE);
}

Test(driver, brings_a_plan_to_its_end)
{
    joining(16, 64);
    lab_drive(MANY);
    expect_done();
    lab_end();
}

Test(driver, proposes_what_is_due_together)
{
    joining(LAB_RANGE_COUNT, LAB_RANGE_COUNT);
    uint32_t goals = lab_goal_count();
    cr_assert_gt(goals, 40u);
    cr_assert_eq(lab_drive(MANY), 3u, "BEGIN, READ_NEW and FINISH of %u ranges", goals);
    expect_done();
    lab_end();
}

Test(driver, asks_at_once_after_a_step_and_then_ever_less_often)
{
    joining(1, 1);
    for (uint32_t node = 1; node <= 4; node++) {
        lab.truthful[node] = false; /* All zero: no news. */
    }
    lab_commit();
    cr_assert_eq(lab.ask_count, 4u, "nobody was waited for");
    lab.ask_count = 0;
    uint32_t first = 0;
    for (uint64_t elapsed_ms = 0; elapsed_ms < 1000; elapsed_ms++) {
        lab_answer_all();
        lab_pass(1);
        first = elapsed_ms == 100 ? lab.ask_count : first;
    }
    cr_assert_geq(first, 4u * 4);
    cr_assert_leq(lab.ask_count, 4u * (7 + 1000 / 64));
    lab_end();
}

Test(driver, a_node_that_never_answers_delays_nothing_that_needs_it_not)
{
    joining(LAB_RANGE_COUNT, LAB_RANGE_COUNT);
    uint64_t begun_ms = lab.now_ms;
    for (int round = 0; round < 100; round++) {
        lab_answer(1);
        lab_answer(2);
        lab_answer(4);
        lab_run();
        if (lab.proposed) {
            cr_assert_eq(lab_commit(), STATUS_OK);
        } else {
            lab_pass(1);
        }
    }
    cr_assert_leq(lab.now_ms - begun_ms, 100u);
    expect_done();
    lab_end();
}

Test(driver, a_question_that_is_not_answered_is_asked_again)
{
    joining(1, 1);
    lab_commit();
    lab.ask_count = 0;
    lab_pass(1900);
    cr_assert_eq(lab.ask_count, 0u);
    lab_pass(200);
    cr_assert_eq(lab.ask_count, 4u, "each is asked anew, once");
    lab_drive(MANY);
    expect_done();
    lab_end();
}

/* ------------------------------------------------------------------ leadership */

Test(driver, does_nothing_while_another_leads)
{
    joining(4, 64);
    lab_commit();
    cr_assert_not_null(lab.asks[1]);
    driver_lead(lab.driver, false);
    for (uint32_t node = 1; node <= 4; node++) {
        cr_assert_null(lab.asks[node], "the question to %u was not taken back", node);
    }
    lab.ask_count = 0;
    lab_add(5);
    lab_pass(20000);
    cr_assert_not(lab.proposed);
    cr_assert_eq(lab.ask_count, 0u);
    lab_end();
}

Test(driver, what_became_of_a_proposal_may_be_told_after_it_led)
{
    joining(4, 64);
    cr_assert(lab.proposed);
    driver_lead(lab.driver, false);
    lab.proposed = false;
    driver_proposed(lab.driver, STATUS_INDETERMINATE, NULL);
    lab_pass(5000);
    cr_assert_not(lab.proposed);
    driver_lead(lab.driver, true);
    lab_drive(MANY);
    expect_done();
    lab_end();
}

Test(driver, a_command_that_came_to_nothing_is_proposed_again)
{
    joining(4, 64);
    for (int round = 0; round < 3; round++) {
        cr_assert(lab.proposed);
        lab.proposed = false;
        driver_proposed(lab.driver, STATUS_INDETERMINATE, NULL);
        lab_run();
        cr_assert_not(lab.proposed, "it does not spin");
        lab_pass(100);
    }
    lab_drive(MANY);
    expect_done();
    lab_end();
}

/* A new leader after every so many commands, each knowing nothing but the topology. */
Test(driver, any_leader_goes_on_where_the_one_before_stood)
{
    for (uint32_t life = 1; life <= 5; life++) {
        joining(8, 64);
        for (int leaders = 0; lab_drive(life) == life; leaders++) {
            cr_assert_lt(leaders, MANY);
            lab_driver_close();
            lab.proposed = false;
            memset(lab.asks, 0, sizeof(lab.asks));
            lab_driver(8, 64);
            driver_lead(lab.driver, true);
        }
        expect_done();
        lab_end();
    }
}

/* ------------------------------------------------------------------ limits */

Test(driver, no_more_ranges_move_at_a_time_than_configured)
{
    joining(5, LAB_RANGE_COUNT);
    uint32_t most = 0;
    while (lab_drive(1) == 1) {
        uint32_t moving = LAB_RANGE_COUNT - lab_count(TOPOLOGY_STABLE);
        most = moving > most ? moving : most;
    }
    cr_assert_eq(most, 5u);
    expect_done();
    lab_end();
}

/* Ranges whose streams node 4 has not ended. */
static uint32_t streaming(void)
{
    return lab_count(TOPOLOGY_WRITE_BOTH_READ_OLD);
}

Test(driver, streams_that_carry_much_are_few_at_a_time_and_others_ever_more)
{
    joining(LAB_RANGE_COUNT, 2);
    lab_commit();
    cr_assert_eq(streaming(), 2u);
    uint32_t before = 0;
    for (int round = 0; round < 2; round++) {
        before = streaming();
        cr_assert_eq(lab_drive(1), 1u); /* READ_NEW of these, BEGIN of others. */
        cr_assert_gt(streaming(), before);
    }
    lab.bytes_done = UINT64_C(1) << 30;
    while (lab_drive(1) == 1) {
        cr_assert_leq(streaming(), 2u);
    }
    expect_done();
    lab_end();
}

/* ------------------------------------------------------------------ trouble */

/* The one range under way, and who enters it from whom. */
struct way {
    uint32_t range;
    uint32_t source;
    uint32_t target;
};

static struct way way_of(void)
{
    for (uint32_t range = 0; range < LAB_RANGE_COUNT; range++) {
        const struct topology_range *at = &lab.topology.ranges[range];
        for (uint32_t index = 0; at->stage != TOPOLOGY_STABLE && index < at->next.count; index++) {
            struct topology_sources sources;
            topology_sources(&lab.topology, at, at->next.ids[index], &sources);
            if (sources.count > 0) {
                return (struct way){range, sources.ids[0], at->next.ids[index]};
            }
        }
    }
    cr_assert_fail("nothing is under way");
    return (struct way){0};
}

Test(driver, a_source_that_died_is_given_up_and_a_majority_is_merged_instead)
{
    joining(1, 64);
    lab_commit();
    struct way way = way_of();
    lab.truthful[4] = false;
    lab.silence_ms[way.source] = UINT64_MAX;
    lab_drive(MANY);
    cr_assert_eq(lab.topology.ranges[way.range].stage, TOPOLOGY_WRITE_BOTH_READ_OLD);
    cr_assert_not(lab.topology.ranges[way.range].merge_all);
    lab_pass(DRIVER_PATIENCE_MS);
    cr_assert_eq(lab_commit(), STATUS_OK);
    cr_assert_eq(lab.topology.ranges[way.range].stage, TOPOLOGY_STABLE);
    lab.truthful[4] = true;
    while (lab.topology.ranges[way.range].stage == TOPOLOGY_STABLE) {
        cr_assert_eq(lab_drive(1), 1u);
    }
    cr_assert(lab.topology.ranges[way.range].merge_all);
    lab_drive(MANY);
    expect_done();
    lab_end();
}

Test(driver, does_not_wait_for_one_who_is_not_wanted_any_more)
{
    joining(4, 64);
    lab_commit();
    lab.truthful[4] = false; /* It died, and cannot be waited for. */
    lab_stage((struct topology_change){.type = TOPOLOGY_LEAVE, .id = 4});
    lab_commit_plan();
    lab_drive(MANY);
    expect_done();
    cr_assert_null(topology_member_find(&lab.topology, 4));
    lab_end();
}

Test(driver, a_damaged_source_is_not_trusted_alone_again)
{
    joining(1, 64);
    lab_commit();
    struct way way = way_of();
    lab.truthful[4] = false;
    lab.said[4][way.range].problem = STATUS_CORRUPT;
    lab_answer(4);
    lab_pass(100);
    cr_assert_eq(lab_commit(), STATUS_OK);
    cr_assert_eq(lab.topology.ranges[way.range].stage, TOPOLOGY_STABLE);
    lab.truthful[4] = true;
    while (lab.topology.ranges[way.range].stage == TOPOLOGY_STABLE) {
        cr_assert_eq(lab_drive(1), 1u);
    }
    cr_assert(lab.topology.ranges[way.range].merge_all);
    /* The target still says so: there is no better way than the one under way. */
    lab.truthful[4] = false;
    lab_drive(MANY);
    cr_assert_eq(lab.topology.ranges[way.range].stage, TOPOLOGY_WRITE_BOTH_READ_OLD);
    lab.truthful[4] = true;
    lab_drive(MANY);
    expect_done();
    lab_end();
}

Test(driver, begins_nothing_with_a_node_that_is_down)
{
    lab_topology(3, 3);
    lab_driver(4, 64);
    driver_lead(lab.driver, true);
    lab_pass(DRIVER_PATIENCE_MS);
    lab.silence_ms[4] = UINT64_MAX;
    lab_join(4);
    lab_pass(5000);
    cr_assert_not(lab.proposed);
    cr_assert_eq(driver_held_up_by(lab.driver, 4), lab_goal_count());
    lab.silence_ms[4] = 0;
    lab_pass(200);
    cr_assert(lab.proposed);
    lab_drive(MANY);
    expect_done();
    lab_end();
}

Test(driver, replaces_a_dead_node_from_a_majority_of_the_others)
{
    lab_topology(3, 3);
    lab_driver(4, 64);
    driver_lead(lab.driver, true);
    lab_pass(DRIVER_PATIENCE_MS);
    lab.silence_ms[3] = UINT64_MAX;
    lab_add(4);
    lab_stage((struct topology_change){.type = TOPOLOGY_REPLACE, .id = 3, .to_id = 4});
    lab_commit_plan();
    lab_voters((const uint32_t[]){1}, 1); /* Not the dead one, or it would have to stay. */
    lab_run();
    while (lab_drive(1) == 1) {
        for (uint32_t range = 0; range < LAB_RANGE_COUNT; range++) {
            const struct topology_range *at = &lab.topology.ranges[range];
            cr_assert(at->stage == TOPOLOGY_STABLE || at->merge_all, "range %u", range);
        }
        lab.asks[3] = NULL; /* It says nothing. */
    }
    expect_done();
    cr_assert_null(topology_member_find(&lab.topology, 3));
    lab_end();
}

Test(driver, goes_on_with_one_survivor_only_when_the_loss_is_accepted)
{
    lab_topology(3, 3);
    lab_driver(8, 64);
    driver_lead(lab.driver, true);
    lab_pass(DRIVER_PATIENCE_MS);
    lab.silence_ms[2] = UINT64_MAX;
    lab.silence_ms[3] = UINT64_MAX;
    lab_add(4);
    lab_add(5);
    lab_stage((struct topology_change){.type = TOPOLOGY_REPLACE, .id = 2, .to_id = 4});
    lab_stage((struct topology_change){.type = TOPOLOGY_REPLACE, .id = 3, .to_id = 5});
    lab_commit_plan();
    lab_voters((const uint32_t[]){1}, 1);
    lab_drive(MANY);
    cr_assert_eq(lab_count(TOPOLOGY_STABLE), (uint32_t)LAB_RANGE_COUNT);
    cr_assert_eq(lab_goal_count(), (uint32_t)LAB_RANGE_COUNT);
    lab_apply((struct topology_command){.type = TOPOLOGY_ACCEPT_LOSS,
                                        .plan_id = lab.topology.running.id,
                                        .range = TOPOLOGY_RANGE_ALL});
    lab_drive(MANY);
    expect_done();
    cr_assert_eq(lab.topology.history[0].loss_count, (uint32_t)LAB_RANGE_COUNT);
    lab_end();
}

Test(driver, a_change_of_the_factor_merges_majorities)
{
    lab_topology(5, 3);
    lab_driver(4, 64);
    driver_lead(lab.driver, true);
    lab_stage((struct topology_change){.type = TOPOLOGY_FACTOR, .replica_count = 5});
    lab_commit_plan();
    lab_run();
    while (lab_drive(1) == 1) {
        for (uint32_t range = 0; range < LAB_RANGE_COUNT; range++) {
            const struct topology_range *at = &lab.topology.ranges[range];
            cr_assert(at->stage == TOPOLOGY_STABLE || at->merge_all, "range %u", range);
        }
    }
    expect_done();
    lab_end();
}

Test(driver, an_abort_takes_back_what_can_be_and_ends_the_rest)
{
    joining(8, 64);
    lab_drive(3); /* Some are at every stage by now. */
    lab_apply(
        (struct topology_command){.type = TOPOLOGY_PLAN_ABORT, .plan_id = lab.topology.running.id});
    if (lab.proposed) {
        lab_commit(); /* It was on its way when the abort overtook it: whatever the log says. */
    }
    lab_drive(MANY);
    cr_assert_eq(lab_count(TOPOLOGY_STABLE), (uint32_t)LAB_RANGE_COUNT);
    cr_assert_eq(lab_goal_count(), 0u);
    lab_end();
}

/* The log refuses whatever has a step of one range, as often as it is proposed. */
Test(driver, a_step_that_is_refused_holds_up_no_other)
{
    joining(LAB_RANGE_COUNT, LAB_RANGE_COUNT);
    uint32_t refused_count = 0;
    uint32_t barred = lab_range();
    for (int round = 0; round < MANY && lab_goal_count() > 1; round++) {
        lab_run();
        lab_answer_all();
        if (!lab.proposed) {
            lab_pass(10);
        } else if (lab_proposes(barred)) {
            lab.proposed = false;
            driver_proposed(lab.driver, STATUS_REFUSED, "by the test");
            refused_count++;
        } else {
            cr_assert_eq(lab_commit(), STATUS_OK);
        }
    }
    cr_assert_eq(lab_goal_count(), 1u);
    cr_assert_eq(lab_range(), barred);
    cr_assert_gt(refused_count, 0u);
    lab_end();
}

/* ------------------------------------------------------------------ members */

static struct message_hello hello_of(uint32_t id)
{
    struct topology_member member = lab_member(id);
    struct message_hello hello = {.id = id, .disk_id = member.disk_id, .weight = 1};
    memcpy(hello.zone, member.zone, sizeof(hello.zone));
    memcpy(hello.peer_address, member.peer_address, sizeof(hello.peer_address));
    memcpy(hello.client_address, member.client_address, sizeof(hello.client_address));
    memcpy(hello.admin_address, member.admin_address, sizeof(hello.admin_address));
    return hello;
}

static void three_members(void)
{
    lab_topology(3, 3);
    lab_driver(4, 64);
    driver_lead(lab.driver, true);
    lab_run();
}

Test(driver, a_member_that_moved_house_is_written_down)
{
    three_members();
    struct message_hello hello = hello_of(2);
    driver_greeted(lab.driver, &hello);
    lab_pass(2000);
    cr_assert_not(lab.proposed, "it is where it was");
    (void)snprintf(hello.client_address, sizeof(hello.client_address), "elsewhere:7400");
    driver_greeted(lab.driver, &hello);
    lab_run();
    cr_assert_eq(lab_commit(), STATUS_OK);
    cr_assert_str_eq(topology_member_find(&lab.topology, 2)->client_address, "elsewhere:7400");
    lab_pass(2000);
    cr_assert_not(lab.proposed);
    lab_end();
}

Test(driver, nobody_moves_house_to_another_disk)
{
    three_members();
    struct message_hello hello = hello_of(2);
    hello.disk_id++;
    (void)snprintf(hello.client_address, sizeof(hello.client_address), "elsewhere:7400");
    driver_greeted(lab.driver, &hello);
    lab_pass(2000);
    cr_assert_not(lab.proposed);
    lab_end();
}

Test(driver, an_address_that_is_refused_waits_for_another_epoch)
{
    three_members();
    struct message_hello hello = hello_of(2);
    (void)snprintf(hello.client_address, sizeof(hello.client_address), "node-3:7400");
    driver_greeted(lab.driver, &hello);
    lab_run();
    cr_assert_eq(lab_commit(), STATUS_REFUSED);
    lab_pass(5000);
    cr_assert_not(lab.proposed);
    lab_join(4);
    lab_run();
    cr_assert_eq(lab_commit(), STATUS_REFUSED);
    lab_drive(1);
    cr_assert_gt(LAB_RANGE_COUNT - lab_count(TOPOLOGY_STABLE), 0u, "other things go on");
    lab_end();
}

Test(driver, one_that_leaves_goes_when_it_holds_nothing_and_votes_no_more)
{
    lab_topology(4, 3);
    lab_driver(16, 64);
    driver_lead(lab.driver, true);
    lab_stage((struct topology_change){.type = TOPOLOGY_LEAVE, .id = 2});
    lab_commit_plan();
    lab_drive(MANY);
    cr_assert_eq(lab_goal_count(), 0u);
    cr_assert_not_null(topology_member_find(&lab.topology, 2), "it still votes");
    cr_assert_neq(lab.topology.running.id, 0u);
    lab_voters((const uint32_t[]){1, 3, 4}, 3);
    lab_drive(MANY);
    cr_assert_null(topology_member_find(&lab.topology, 2));
    expect_done();
    lab_end();
}

/* It was made a voter, and whoever led then died before the topology was told. */
Test(driver, one_that_leaves_stays_while_the_group_alone_knows_that_it_votes)
{
    lab_topology(4, 3);
    lab_driver(16, 64);
    lab.votes[4] = true;
    driver_lead(lab.driver, true);
    lab_stage((struct topology_change){.type = TOPOLOGY_LEAVE, .id = 4});
    lab_commit_plan();
    lab_drive(MANY);
    cr_assert_eq(lab_goal_count(), 0u);
    cr_assert_not_null(topology_member_find(&lab.topology, 4), "it votes");
    lab.votes[4] = false;
    lab_pass(1000); /* Nothing tells of it: it is looked for now and then. */
    lab_drive(MANY);
    cr_assert_null(topology_member_find(&lab.topology, 4));
    expect_done();
    lab_end();
}
