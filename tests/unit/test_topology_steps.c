/*
 * tests/unit/test_topology_steps.c -- a range goes to its goal by the stages and in no other way.
 */
#include "tests/unit/topology_fixture.h"

/* A plan is running by which member 6 takes its share. */
static void joining(struct fixture *fixture)
{
    bootstrap(fixture);
    member_add(fixture, 6);
    (void)plan_of(fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 6});
}

static const struct topology_range *range_of(const struct fixture *fixture, uint32_t range)
{
    return &fixture->topology.ranges[range];
}

static void check_step_refused(struct fixture *fixture, struct topology_step step,
                               const char *reason)
{
    const struct topology_command command = steps_command(&step, 1);
    check_refused(fixture, &command, reason);
}

Test(topology_steps, an_operation_goes_from_stable_over_both_stages_to_its_goal)
{
    struct fixture fixture;
    joining(&fixture);
    uint32_t range = range_at(&fixture, TOPOLOGY_STABLE, 0);
    const struct topology_range before = *range_of(&fixture, range);
    const struct topology_range *at = range_of(&fixture, range);
    uint64_t epoch = fixture.topology.stamp.epoch;
    step(&fixture, range, TOPOLOGY_BEGIN, false);
    cr_assert_eq(at->stage, TOPOLOGY_WRITE_BOTH_READ_OLD);
    cr_assert_eq(at->epoch, epoch + 1);
    cr_assert_eq(at->session, epoch + 1);
    cr_assert_eq(memcmp(&at->replicas, &before.replicas, sizeof(at->replicas)), 0);
    cr_assert_eq(memcmp(&at->next, &before.goal, sizeof(at->next)), 0);
    step(&fixture, range, TOPOLOGY_READ_NEW, false);
    cr_assert_eq(at->stage, TOPOLOGY_WRITE_BOTH_READ_NEW);
    cr_assert_eq(at->epoch, epoch + 2);
    cr_assert_eq(at->session, epoch + 1);
    cr_assert_eq(fixture.topology.running.moved_count, 0);
    step(&fixture, range, TOPOLOGY_FINISH, false);
    cr_assert_eq(at->stage, TOPOLOGY_STABLE);
    cr_assert_eq(at->epoch, epoch + 3);
    cr_assert_eq(at->session, 0);
    cr_assert_eq(at->next.count, 0);
    cr_assert_eq(at->goal.count, 0);
    cr_assert_eq(memcmp(&at->replicas, &before.goal, sizeof(at->replicas)), 0);
    cr_assert_eq(fixture.topology.running.moved_count, 1);
    topology_deinit(&fixture.topology);
}

Test(topology_steps, back_leaves_all_as_it_was_but_the_epoch_and_can_begin_again)
{
    struct fixture fixture;
    joining(&fixture);
    uint32_t range = range_at(&fixture, TOPOLOGY_STABLE, 0);
    struct topology_range before = *range_of(&fixture, range);
    step(&fixture, range, TOPOLOGY_BEGIN, true);
    uint64_t session = range_of(&fixture, range)->session;
    cr_assert(range_of(&fixture, range)->merge_all);
    step(&fixture, range, TOPOLOGY_BACK, false);
    before.epoch = fixture.topology.stamp.epoch;
    cr_assert_eq(memcmp(range_of(&fixture, range), &before, sizeof(before)), 0);
    step(&fixture, range, TOPOLOGY_BEGIN, false);
    cr_assert_gt(range_of(&fixture, range)->session, session);
    cr_assert_not(range_of(&fixture, range)->merge_all);
    cr_assert_eq(fixture.topology.running.moved_count, 0);
    topology_deinit(&fixture.topology);
}

/* All the steps there are, at each of the stages. */
Test(topology_steps, what_does_not_follow_a_stage_is_refused)
{
    static const enum topology_step_type all[] = {TOPOLOGY_BEGIN, TOPOLOGY_READ_NEW,
                                                  TOPOLOGY_FINISH, TOPOLOGY_BACK};
    static const uint32_t allowed[] = {
        [TOPOLOGY_STABLE] = BIT(TOPOLOGY_BEGIN),
        [TOPOLOGY_WRITE_BOTH_READ_OLD] = BIT(TOPOLOGY_READ_NEW) | BIT(TOPOLOGY_BACK),
        [TOPOLOGY_WRITE_BOTH_READ_NEW] = BIT(TOPOLOGY_FINISH),
    };
    struct fixture fixture;
    joining(&fixture);
    uint32_t range = range_at(&fixture, TOPOLOGY_STABLE, 0);
    for (uint32_t stage = TOPOLOGY_STABLE; stage <= TOPOLOGY_WRITE_BOTH_READ_NEW; stage++) {
        cr_assert_eq(range_of(&fixture, range)->stage, stage);
        for (uint32_t i = 0; i < ARRAY_COUNT(all); i++) {
            if ((allowed[stage] & BIT(all[i])) == 0) {
                check_step_refused(&fixture, step_of(&fixture, range, all[i]), "stage");
            }
        }
        if (stage == TOPOLOGY_STABLE) {
            step(&fixture, range, TOPOLOGY_BEGIN, false);
        } else if (stage == TOPOLOGY_WRITE_BOTH_READ_OLD) {
            step(&fixture, range, TOPOLOGY_READ_NEW, false);
        }
    }
    topology_deinit(&fixture.topology);
}

Test(topology_steps, of_another_session_or_epoch_they_are_refused)
{
    struct fixture fixture;
    joining(&fixture);
    uint32_t range = range_at(&fixture, TOPOLOGY_STABLE, 0);
    struct topology_step begin = step_of(&fixture, range, TOPOLOGY_BEGIN);
    begin.session++;
    check_step_refused(&fixture, begin, "another epoch");
    begin.session--;
    step(&fixture, range, TOPOLOGY_BEGIN, false);
    struct topology_step stale = step_of(&fixture, range, TOPOLOGY_READ_NEW);
    step(&fixture, range, TOPOLOGY_BACK, false);
    check_step_refused(&fixture, begin, "another epoch");
    step(&fixture, range, TOPOLOGY_BEGIN, false);
    check_step_refused(&fixture, stale, "another operation");
    stale.type = TOPOLOGY_BACK;
    check_step_refused(&fixture, stale, "another operation");
    stale.session = 0;
    check_step_refused(&fixture, stale, "another operation");
    step(&fixture, range, TOPOLOGY_READ_NEW, false);
    stale.type = TOPOLOGY_FINISH;
    check_step_refused(&fixture, stale, "another operation");
    topology_deinit(&fixture.topology);
}

Test(topology_steps, a_range_at_its_goal_and_one_that_is_not_there_are_refused)
{
    struct fixture fixture;
    joining(&fixture);
    uint32_t range = 0;
    while (range_of(&fixture, range)->goal.count > 0) {
        range++;
    }
    check_step_refused(&fixture, step_of(&fixture, range, TOPOLOGY_BEGIN), "at its goal");
    check_step_refused(&fixture,
                       (struct topology_step){.type = TOPOLOGY_BEGIN, .range = 64, .session = 1},
                       "no such range");
    topology_deinit(&fixture.topology);
}

Test(topology_steps, all_are_taken_or_none)
{
    struct fixture fixture;
    joining(&fixture);
    struct topology_step steps[3];
    for (uint32_t i = 0; i < ARRAY_COUNT(steps); i++) {
        steps[i] = step_of(&fixture, range_at(&fixture, TOPOLOGY_STABLE, i), TOPOLOGY_BEGIN);
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(steps); i++) {
        steps[i].session++;
        const struct topology_command command = steps_command(steps, ARRAY_COUNT(steps));
        check_refused(&fixture, &command, "another epoch");
        steps[i].session--;
    }
    const struct topology_step turned[] = {steps[1], steps[0]};
    struct topology_command command = steps_command(turned, 2);
    check_refused(&fixture, &command, "do not rise");
    const struct topology_step twice[] = {steps[1], steps[1]};
    command = steps_command(twice, 2);
    check_refused(&fixture, &command, "do not rise");
    command = steps_command(steps, ARRAY_COUNT(steps));
    apply_ok(&fixture, &command);
    for (uint32_t i = 0; i < ARRAY_COUNT(steps); i++) {
        const struct topology_range *range = range_of(&fixture, steps[i].range);
        cr_assert_eq(range->stage, TOPOLOGY_WRITE_BOTH_READ_OLD);
        cr_assert_eq(range->epoch, fixture.topology.stamp.epoch);
    }
    topology_deinit(&fixture.topology);
}

Test(topology_steps, none_at_all_is_corrupt)
{
    struct fixture fixture;
    joining(&fixture);
    const struct topology_command command = steps_command(NULL, 0);
    cr_assert_eq(apply(&fixture, &command), STATUS_CORRUPT);
    topology_deinit(&fixture.topology);
}

Test(topology_steps, another_number_of_replicas_must_merge_all)
{
    struct fixture fixture;
    bootstrap(&fixture);
    (void)plan_of(&fixture, (struct topology_change){.type = TOPOLOGY_FACTOR, .replica_count = 5});
    check_step_refused(&fixture, step_of(&fixture, 0, TOPOLOGY_BEGIN), "all must merge");
    step(&fixture, 0, TOPOLOGY_BEGIN, true);
    cr_assert_eq(range_of(&fixture, 0)->next.count, 5);
    topology_deinit(&fixture.topology);
}

Test(topology_steps, a_lost_source_must_not_be_the_only_one)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 8);
    (void)plan_of(&fixture,
                  (struct topology_change){.type = TOPOLOGY_REPLACE, .id = 5, .to_id = 8});
    uint32_t range = range_at(&fixture, TOPOLOGY_STABLE, 0);
    check_step_refused(&fixture, step_of(&fixture, range, TOPOLOGY_BEGIN), "all must merge");
    step(&fixture, range, TOPOLOGY_BEGIN, true);
    topology_deinit(&fixture.topology);
}

/* A goal laid anew while an operation is under way: that one finishes, and another begins. */
Test(topology_steps, a_goal_that_is_not_reached_stays)
{
    struct fixture fixture;
    joining(&fixture);
    uint32_t range = range_at(&fixture, TOPOLOGY_STABLE, 0);
    step(&fixture, range, TOPOLOGY_BEGIN, false);
    step(&fixture, range, TOPOLOGY_READ_NEW, false);
    (void)plan_of(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 6});
    const struct topology_range *at = range_of(&fixture, range);
    cr_assert(ring_replicas_contain(&at->next, 6));
    cr_assert_not(ring_replicas_contain(&at->goal, 6));
    step(&fixture, range, TOPOLOGY_FINISH, false);
    cr_assert(ring_replicas_contain(&at->replicas, 6));
    cr_assert_not(ring_replicas_contain(&at->goal, 6));
    step(&fixture, range, TOPOLOGY_BEGIN, false);
    step(&fixture, range, TOPOLOGY_READ_NEW, false);
    step(&fixture, range, TOPOLOGY_FINISH, false);
    cr_assert_not(ring_replicas_contain(&at->replicas, 6));
    cr_assert_eq(at->goal.count, 0);
    topology_deinit(&fixture.topology);
}
