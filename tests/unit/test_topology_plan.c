/*
 * tests/unit/test_topology_plan.c -- changes are judged when staged, done when committed, and every
 * plan ends in one of three ways.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "tests/unit/topology_fixture.h"

static void check_change_refused(struct fixture *fixture, struct topology_change change,
                                 const char *reason)
{
    const struct topology_command command = stage_command(change);
    check_refused(fixture, &command, reason);
}

static uint32_t goals_of(const struct fixture *fixture)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < fixture->topology.range_count; i++) {
        count += fixture->topology.ranges[i].goal.count > 0 ? 1 : 0;
    }
    return count;
}

/* Every range to its goal, however many operations that takes. */
static void drive(struct fixture *fixture)
{
    for (uint32_t i = 0; i < fixture->topology.range_count; i++) {
        const struct topology_range *range = &fixture->topology.ranges[i];
        while (range->goal.count > 0) {
            if (range->stage == TOPOLOGY_STABLE) {
                step(fixture, i, TOPOLOGY_BEGIN,
                     topology_must_merge_all(&fixture->topology, range));
            } else if (topology_range_goes_back(range)) {
                step(fixture, i, TOPOLOGY_BACK, false);
            } else if (range->stage == TOPOLOGY_WRITE_BOTH_READ_OLD) {
                step(fixture, i, TOPOLOGY_READ_NEW, false);
            } else {
                step(fixture, i, TOPOLOGY_FINISH, false);
            }
        }
    }
}

static void check_holds(const struct fixture *fixture, uint32_t id, bool holds)
{
    cr_assert_eq(topology_member_is_named(&fixture->topology, id), holds, "member %u", id);
}

static const struct topology_plan *last_plan(const struct fixture *fixture)
{
    cr_assert_gt(fixture->topology.history_count, 0);
    return &fixture->topology.history[fixture->topology.history_count - 1];
}

static struct topology_command plan_command(enum topology_command_type type, uint64_t plan_id)
{
    return (struct topology_command){.type = type, .plan_id = plan_id};
}

Test(topology_plan, a_join_is_staged_committed_and_done)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 6);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 6, .weight = 2});
    cr_assert_eq(fixture.topology.staged.id, 3);
    cr_assert_eq(member_of(&fixture, 6)->state, TOPOLOGY_JOINING);
    cr_assert_eq(goals_of(&fixture), 0);
    cr_assert_eq(commit(&fixture), 3);
    cr_assert_eq(fixture.topology.staged.id, 0);
    cr_assert_eq(fixture.topology.running.id, 3);
    cr_assert_eq(fixture.topology.running.committed_epoch, 4);
    cr_assert_eq(member_of(&fixture, 6)->state, TOPOLOGY_ACTIVE);
    cr_assert_eq(member_of(&fixture, 6)->weight, 2);
    uint32_t moves = fixture.topology.running.move_count;
    cr_assert_gt(moves, 0);
    drive(&fixture);
    cr_assert_eq(fixture.topology.running.id, 0);
    const struct topology_plan *plan = last_plan(&fixture);
    cr_assert_eq(plan->id, 3);
    cr_assert_eq(plan->outcome, TOPOLOGY_DONE);
    cr_assert_eq(plan->moved_count, moves);
    cr_assert_eq(plan->ended_epoch, fixture.topology.stamp.epoch);
    cr_assert_eq(plan->changes[0].type, TOPOLOGY_JOIN);
    check_holds(&fixture, 6, true);
    topology_deinit(&fixture.topology);
}

Test(topology_plan, a_leaver_is_done_once_it_is_removed)
{
    struct fixture fixture;
    bootstrap(&fixture);
    (void)plan_of(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 5});
    cr_assert_eq(member_of(&fixture, 5)->state, TOPOLOGY_LEAVING);
    const struct topology_command remove = {.type = TOPOLOGY_MEMBER_REMOVE, .member = {.id = 5}};
    check_refused(&fixture, &remove, "holds ranges");
    drive(&fixture);
    check_holds(&fixture, 5, false);
    cr_assert_neq(fixture.topology.running.id, 0, "a member is still leaving");
    apply_ok(&fixture, &remove);
    cr_assert_eq(fixture.topology.running.id, 0);
    cr_assert_eq(last_plan(&fixture)->outcome, TOPOLOGY_DONE);
    topology_deinit(&fixture.topology);
}

Test(topology_plan, one_that_moves_nothing_is_done_at_once)
{
    struct fixture fixture;
    bootstrap(&fixture);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_ZONE, .id = 5, .zone = "zone-2b"});
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_ZONE, .id = 5, .zone = "zone-2"});
    uint64_t id = commit(&fixture);
    cr_assert_eq(last_plan(&fixture)->id, id);
    cr_assert_eq(last_plan(&fixture)->outcome, TOPOLOGY_DONE);
    cr_assert_eq(last_plan(&fixture)->move_count, 0);
    cr_assert_eq(last_plan(&fixture)->ended_epoch, last_plan(&fixture)->committed_epoch);
    topology_deinit(&fixture.topology);
}

/* In one zone with equal weights, the newcomer stands exactly where the lost one stood. */
Test(topology_plan, a_replacement_takes_the_very_places_of_the_lost)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct topology before;
    topology_init(&before);
    cr_assert_eq(topology_copy(&before, &fixture.topology), STATUS_OK);
    member_add(&fixture, 8);
    (void)plan_of(&fixture,
                  (struct topology_change){.type = TOPOLOGY_REPLACE, .id = 5, .to_id = 8});
    cr_assert(member_of(&fixture, 5)->lost);
    cr_assert_eq(member_of(&fixture, 5)->state, TOPOLOGY_LEAVING);
    cr_assert_eq(member_of(&fixture, 8)->replaces, 5);
    drive(&fixture);
    for (uint32_t i = 0; i < before.range_count; i++) {
        for (uint32_t j = 0; j < before.ranges[i].replicas.count; j++) {
            uint32_t was = before.ranges[i].replicas.ids[j];
            cr_assert_eq(fixture.topology.ranges[i].replicas.ids[j], was == 5 ? 8 : was);
        }
    }
    apply_ok(&fixture,
             &(struct topology_command){.type = TOPOLOGY_MEMBER_REMOVE, .member = {.id = 5}});
    cr_assert_eq(member_of(&fixture, 8)->replaces, 0);
    cr_assert_eq(last_plan(&fixture)->outcome, TOPOLOGY_DONE);
    topology_deinit(&before);
    topology_deinit(&fixture.topology);
}

/* 5 stands in zone-2, 7 in zone-1, where other replicas of its ranges are. */
Test(topology_plan, a_replacement_in_another_zone_is_placed)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 7);
    (void)plan_of(&fixture,
                  (struct topology_change){.type = TOPOLOGY_REPLACE, .id = 5, .to_id = 7});
    drive(&fixture);
    check_holds(&fixture, 5, false);
    for (uint32_t i = 0; i < fixture.topology.range_count; i++) {
        const struct ring_replicas *replicas = &fixture.topology.ranges[i].replicas;
        for (uint32_t j = 0; j < 3; j++) {
            cr_assert_str_neq(member_of(&fixture, replicas->ids[j])->zone,
                              member_of(&fixture, replicas->ids[(j + 1) % 3])->zone, "range %u", i);
        }
    }
    topology_deinit(&fixture.topology);
}

Test(topology_plan, moves_change_the_ranges_they_name_and_no_other)
{
    struct fixture fixture;
    bootstrap(&fixture);
    fixture.topology.ranges[9].replicas = (struct ring_replicas){3, {1, 2, 3}};
    const struct topology_change change = {
        .type = TOPOLOGY_MOVE, .range = 9, .id = 2, .to_id = 5}; /* Both in zone-2. */
    (void)plan_of(&fixture, change);
    cr_assert_eq(goals_of(&fixture), 1);
    cr_assert_eq(fixture.topology.running.move_count, 1);
    cr_assert_eq(fixture.topology.ranges[9].goal.ids[1], 5);
    topology_deinit(&fixture.topology);
}

Test(topology_plan, a_move_that_cannot_be_is_refused)
{
    struct fixture fixture;
    bootstrap(&fixture);
    fixture.topology.ranges[9].replicas = (struct ring_replicas){3, {1, 2, 3}};
    struct topology_change change = {.type = TOPOLOGY_MOVE, .range = 9, .id = 5, .to_id = 4};
    check_change_refused(&fixture, change, "move from");
    change.id = 1;
    change.to_id = 2;
    check_change_refused(&fixture, change, "move to");
    change.to_id = 5;
    check_change_refused(&fixture, change, "zone");
    change.to_id = 44;
    check_change_refused(&fixture, change, "no member");
    change.id = 44;
    check_change_refused(&fixture, change, "no member");
    change = (struct topology_change){.type = TOPOLOGY_MOVE, .range = 64, .id = 1, .to_id = 4};
    check_change_refused(&fixture, change, "no such range");
    member_add(&fixture, 7);
    change = (struct topology_change){.type = TOPOLOGY_MOVE, .range = 9, .id = 1, .to_id = 7};
    check_change_refused(&fixture, change, "takes no ranges");
    change.to_id = 4;
    stage(&fixture, change);
    check_change_refused(&fixture, change, "move from");
    topology_deinit(&fixture.topology);
}

Test(topology_plan, a_change_is_judged_by_those_staged_before_it)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 7);
    check_change_refused(&fixture,
                         (struct topology_change){.type = TOPOLOGY_WEIGHT, .id = 7, .weight = 2},
                         "active");
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 7});
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_WEIGHT, .id = 7, .weight = 2});
    check_change_refused(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 7},
                         "joined already");
    cr_assert_eq(fixture.topology.staged.change_count, 2);
    cr_assert_eq(member_of(&fixture, 7)->weight, 1);
    (void)commit(&fixture);
    cr_assert_eq(member_of(&fixture, 7)->weight, 2);
    topology_deinit(&fixture.topology);
}

Test(topology_plan, changes_that_break_a_rule_are_refused)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 7);
    const struct {
        struct topology_change change;
        const char *reason;
    } bad[] = {
        {{.type = TOPOLOGY_JOIN, .id = 9}, "no member"},
        {{.type = TOPOLOGY_JOIN, .id = 1}, "joined already"},
        {{.type = TOPOLOGY_JOIN, .id = 7, .weight = RING_WEIGHT_MAX + 1}, "limit"},
        {{.type = TOPOLOGY_LEAVE, .id = 9}, "no member"},
        {{.type = TOPOLOGY_LEAVE, .id = 7}, "not joined"},
        {{.type = TOPOLOGY_REPLACE, .id = 5, .to_id = 9}, "not joining"},
        {{.type = TOPOLOGY_REPLACE, .id = 5, .to_id = 4}, "not joining"},
        {{.type = TOPOLOGY_REPLACE, .id = 7, .to_id = 7}, "not joined"},
        {{.type = TOPOLOGY_WEIGHT, .id = 5, .weight = 1}, "already"},
        {{.type = TOPOLOGY_WEIGHT, .id = 5, .weight = RING_WEIGHT_MAX + 1}, "limit"},
        {{.type = TOPOLOGY_ZONE, .id = 5, .zone = "zone-2"}, "already"},
        {{.type = TOPOLOGY_ZONE, .id = 5, .zone = "a b"}, "printable"},
        {{.type = TOPOLOGY_ZONE, .id = 5, .zone = ""}, "empty"},
        {{.type = TOPOLOGY_ZONE, .id = 7, .zone = "a"}, "active"},
        {{.type = TOPOLOGY_FACTOR, .replica_count = 3}, "this already"},
        {{.type = TOPOLOGY_FACTOR, .replica_count = 0}, "bounds"},
        {{.type = TOPOLOGY_FACTOR, .replica_count = RING_REPLICA_COUNT_MAX + 1}, "bounds"},
        {{.type = TOPOLOGY_FACTOR, .replica_count = 6}, "fewer members"},
    };
    for (uint32_t i = 0; i < ARRAY_COUNT(bad); i++) {
        check_change_refused(&fixture, bad[i].change, bad[i].reason);
    }
    topology_deinit(&fixture.topology);
}

Test(topology_plan, members_enough_for_the_replicas_must_be_left)
{
    struct fixture fixture;
    bootstrap(&fixture);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 5});
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_WEIGHT, .id = 4, .weight = 0});
    check_change_refused(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 3},
                         "fewer members");
    check_change_refused(&fixture,
                         (struct topology_change){.type = TOPOLOGY_WEIGHT, .id = 3, .weight = 0},
                         "fewer members");
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_FACTOR, .replica_count = 2});
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 3});
    (void)commit(&fixture);
    drive(&fixture);
    for (uint32_t i = 0; i < fixture.topology.range_count; i++) {
        cr_assert_eq(fixture.topology.ranges[i].replicas.count, 2);
    }
    topology_deinit(&fixture.topology);
}

Test(topology_plan, a_factor_changes_every_range)
{
    struct fixture fixture;
    bootstrap(&fixture);
    (void)plan_of(&fixture, (struct topology_change){.type = TOPOLOGY_FACTOR, .replica_count = 5});
    cr_assert_eq(fixture.topology.replica_count, 5);
    cr_assert_eq(goals_of(&fixture), fixture.topology.range_count);
    drive(&fixture);
    for (uint32_t i = 0; i < fixture.topology.range_count; i++) {
        cr_assert_eq(fixture.topology.ranges[i].replicas.count, 5);
    }
    cr_assert_eq(last_plan(&fixture)->moved_count, 2 * fixture.topology.range_count);
    topology_deinit(&fixture.topology);
}

Test(topology_plan, only_the_plan_that_is_named_is_committed_or_aborted)
{
    struct fixture fixture;
    bootstrap(&fixture);
    struct topology_command command = plan_command(TOPOLOGY_PLAN_COMMIT, 0);
    check_refused(&fixture, &command, "staged");
    command = plan_command(TOPOLOGY_PLAN_CLEAR, 0);
    check_refused(&fixture, &command, "nothing is staged");
    command = plan_command(TOPOLOGY_PLAN_ABORT, 0);
    check_refused(&fixture, &command, "running");
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 5});
    uint64_t id = fixture.topology.staged.id;
    command = plan_command(TOPOLOGY_PLAN_COMMIT, id + 1);
    check_refused(&fixture, &command, "staged");
    command = plan_command(TOPOLOGY_PLAN_ABORT, id);
    check_refused(&fixture, &command, "running");
    command = plan_command(TOPOLOGY_PLAN_CLEAR, 0);
    apply_ok(&fixture, &command);
    cr_assert_eq(fixture.topology.staged.id, 0);
    (void)plan_of(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 5});
    command = plan_command(TOPOLOGY_PLAN_ABORT, id);
    check_refused(&fixture, &command, "running");
    topology_deinit(&fixture.topology);
}

Test(topology_plan, no_more_changes_are_staged_than_a_plan_can_have)
{
    struct fixture fixture;
    bootstrap(&fixture);
    for (uint32_t i = 0; i < TOPOLOGY_CHANGE_COUNT_MAX; i++) {
        stage(&fixture,
              (struct topology_change){.type = TOPOLOGY_WEIGHT, .id = 5, .weight = 2 + i % 2});
    }
    check_change_refused(&fixture,
                         (struct topology_change){.type = TOPOLOGY_WEIGHT, .id = 5, .weight = 9},
                         "as many");
    topology_deinit(&fixture.topology);
}

/* A commit meets another state than the staging did. */
Test(topology_plan, a_commit_is_judged_again)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 7);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 7});
    apply_ok(&fixture,
             &(struct topology_command){.type = TOPOLOGY_MEMBER_REMOVE, .member = {.id = 7}});
    const struct topology_command command =
        plan_command(TOPOLOGY_PLAN_COMMIT, fixture.topology.staged.id);
    check_refused(&fixture, &command, "no member");
    topology_deinit(&fixture.topology);
}

Test(topology_plan, an_abort_leaves_what_reads_anew_and_takes_the_rest_back)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 6);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 6});
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 3});
    uint64_t id = commit(&fixture);
    uint32_t old = range_at(&fixture, TOPOLOGY_STABLE, 0);
    uint32_t new = range_at(&fixture, TOPOLOGY_STABLE, 1);
    const struct topology_range before = fixture.topology.ranges[old];
    const struct ring_replicas goal = fixture.topology.ranges[new].goal;
    step(&fixture, old, TOPOLOGY_BEGIN, false);
    step(&fixture, new, TOPOLOGY_BEGIN, false);
    step(&fixture, new, TOPOLOGY_READ_NEW, false);
    const struct topology_command command = plan_command(TOPOLOGY_PLAN_ABORT, id);
    apply_ok(&fixture, &command);
    cr_assert_eq(last_plan(&fixture)->outcome, TOPOLOGY_ABORTED);
    cr_assert_eq(fixture.topology.running.id, 0);
    cr_assert_eq(member_of(&fixture, 3)->state, TOPOLOGY_ACTIVE);
    cr_assert_eq(member_of(&fixture, 6)->state, TOPOLOGY_ACTIVE);
    cr_assert_eq(goals_of(&fixture), 2);
    cr_assert(topology_range_goes_back(&fixture.topology.ranges[old]));
    cr_assert_not(topology_range_goes_back(&fixture.topology.ranges[new]));
    /* One that was on its way meanwhile: in the end the range would be to go to who was let go. */
    const struct topology_step late = step_of(&fixture, old, TOPOLOGY_READ_NEW);
    const struct topology_command late_command = steps_command(&late, 1);
    check_refused(&fixture, &late_command, "go back");
    drive(&fixture);
    cr_assert(ring_replicas_same(&fixture.topology.ranges[old].replicas, &before.replicas));
    cr_assert(ring_replicas_same(&fixture.topology.ranges[new].replicas, &goal));
    cr_assert_eq(goals_of(&fixture), 0);
    topology_deinit(&fixture.topology);
}

Test(topology_plan, after_an_abort_the_lost_are_still_lost_and_can_be_told_to_leave)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 8);
    uint64_t id =
        plan_of(&fixture, (struct topology_change){.type = TOPOLOGY_REPLACE, .id = 5, .to_id = 8});
    check_change_refused(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 5},
                         "leaving already");
    const struct topology_command command = plan_command(TOPOLOGY_PLAN_ABORT, id);
    apply_ok(&fixture, &command);
    cr_assert(member_of(&fixture, 5)->lost);
    cr_assert_eq(member_of(&fixture, 5)->state, TOPOLOGY_LEAVING);
    cr_assert_eq(goals_of(&fixture), 0);
    (void)plan_of(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 5});
    drive(&fixture);
    check_holds(&fixture, 5, false);
    topology_deinit(&fixture.topology);
}

Test(topology_plan, a_later_plan_supersedes_and_takes_over)
{
    struct fixture fixture;
    bootstrap(&fixture);
    uint64_t first = plan_of(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 5});
    step(&fixture, range_at(&fixture, TOPOLOGY_STABLE, 0), TOPOLOGY_BEGIN, false);
    member_add(&fixture, 8);
    uint64_t second = plan_of(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 8});
    cr_assert_eq(last_plan(&fixture)->id, first);
    cr_assert_eq(last_plan(&fixture)->outcome, TOPOLOGY_SUPERSEDED);
    cr_assert_eq(fixture.topology.running.id, second);
    drive(&fixture);
    check_holds(&fixture, 5, false);
    check_holds(&fixture, 8, true);
    apply_ok(&fixture,
             &(struct topology_command){.type = TOPOLOGY_MEMBER_REMOVE, .member = {.id = 5}});
    cr_assert_eq(last_plan(&fixture)->id, second);
    cr_assert_eq(last_plan(&fixture)->outcome, TOPOLOGY_DONE);
    topology_deinit(&fixture.topology);
}

Test(topology_plan, of_the_history_the_oldest_makes_room)
{
    struct fixture fixture;
    bootstrap(&fixture);
    uint64_t ids[TOPOLOGY_HISTORY_COUNT_MAX + 2];
    for (uint32_t i = 0; i < ARRAY_COUNT(ids); i++) {
        ids[i] = plan_of(&fixture, (struct topology_change){
                                       .type = TOPOLOGY_WEIGHT, .id = 5, .weight = 2 + i % 2});
    }
    cr_assert_eq(fixture.topology.history_count, TOPOLOGY_HISTORY_COUNT_MAX);
    bool runs = fixture.topology.running.id != 0;
    cr_assert_eq(fixture.topology.history[0].id, ids[runs ? 1 : 2]);
    topology_deinit(&fixture.topology);
}

/* Two of three lost: nothing goes on before the loss is accepted, then one survivor is enough. */
Test(topology_plan, loss_is_accepted_where_a_majority_is_lost_and_nowhere_else)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 7);
    member_add(&fixture, 8);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_REPLACE, .id = 4, .to_id = 7});
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_REPLACE, .id = 5, .to_id = 8});
    struct topology_command command = {
        .type = TOPOLOGY_ACCEPT_LOSS, .plan_id = 1, .range = TOPOLOGY_RANGE_ALL};
    check_refused(&fixture, &command, "running");
    command.plan_id = commit(&fixture);
    uint32_t lost_count = 0;
    uint32_t whole = 0;
    uint32_t lost = 0;
    for (uint32_t i = 0; i < fixture.topology.range_count; i++) {
        const struct ring_replicas *replicas = &fixture.topology.ranges[i].replicas;
        if (ring_replicas_contain(replicas, 4) && ring_replicas_contain(replicas, 5)) {
            lost_count++;
            lost = i;
        } else {
            whole = i;
        }
    }
    cr_assert_gt(lost_count, 1);
    command.range = fixture.topology.range_count;
    check_refused(&fixture, &command, "no such range");
    command.range = whole;
    check_refused(&fixture, &command, "no majority");
    command.range = lost;
    apply_ok(&fixture, &command);
    check_refused(&fixture, &command, "no majority");
    cr_assert_eq(fixture.topology.running.loss_count, 1);
    command.range = TOPOLOGY_RANGE_ALL;
    apply_ok(&fixture, &command);
    cr_assert_eq(fixture.topology.running.loss_count, lost_count);
    struct topology_range *range = &fixture.topology.ranges[lost];
    cr_assert_eq(topology_barrier_of(&fixture.topology, range).replicas, 1);
    step(&fixture, lost, TOPOLOGY_BEGIN, true);
    step(&fixture, lost, TOPOLOGY_BACK, false);
    cr_assert(range->loss_accepted, "the loss is as it was");
    step(&fixture, lost, TOPOLOGY_BEGIN, true);
    step(&fixture, lost, TOPOLOGY_READ_NEW, false);
    step(&fixture, lost, TOPOLOGY_FINISH, false);
    cr_assert_not(range->loss_accepted);
    drive(&fixture);
    for (uint32_t id = 4; id <= 5; id++) {
        apply_ok(&fixture,
                 &(struct topology_command){.type = TOPOLOGY_MEMBER_REMOVE, .member = {.id = id}});
    }
    cr_assert_eq(last_plan(&fixture)->loss_count, lost_count);
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

/* Of staging with a move, committing, and a preview. The address sanitizer watches for leaks. */
Test(topology_plan, each_failing_allocation_changes_nothing)
{
    static const struct memory_hooks hooks = {failing_allocate, failing_resize, free};
    struct fixture fixture;
    bootstrap(&fixture);
    fixture.topology.ranges[9].replicas = (struct ring_replicas){3, {1, 2, 3}};
    member_add(&fixture, 7);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 7});
    const struct topology_command commands[] = {
        stage_command((struct topology_change){.type = TOPOLOGY_WEIGHT, .id = 2, .weight = 2}),
        {.type = TOPOLOGY_PLAN_COMMIT, .plan_id = fixture.topology.staged.id},
    };
    for (uint32_t i = 0; i < ARRAY_COUNT(commands); i++) {
        struct buffer bytes = {0};
        struct buffer before = {0};
        struct buffer after = {0};
        topology_command_encode(&bytes, &commands[i]);
        snapshot(&fixture.topology, &before);
        enum status status = STATUS_NO_MEMORY;
        uint32_t count = 0;
        for (; status != STATUS_OK; count++) {
            memory_set_hooks(&hooks);
            allocations_left = count;
            status = topology_apply(&fixture.topology, buffer_slice(&bytes), &fixture.reason);
            memory_set_hooks(NULL);
            cr_assert(status == STATUS_OK || status == STATUS_NO_MEMORY, "allocation %u", count);
            snapshot(&fixture.topology, &after);
            cr_assert_eq(slice_equal(buffer_slice(&before), buffer_slice(&after)),
                         status != STATUS_OK, "allocation %u", count);
        }
        cr_assert_geq(count, 5);
        buffer_deinit(&bytes);
        buffer_deinit(&before);
        buffer_deinit(&after);
    }
    topology_deinit(&fixture.topology);
}
