/*
 * tests/unit/test_topology_sources.c -- who streams from whom, and how many fences count.
 */
#include "tests/unit/topology_fixture.h"

/* A topology of which only the members and one range matter here. */
static struct topology_member members[] = {{.id = 1}, {.id = 2}, {.id = 3}, {.id = 4},
                                           {.id = 5}, {.id = 6}, {.id = 7}};
static const struct topology topology = {.members = members,
                                         .member_count = sizeof(members) / sizeof(members[0])};

static struct topology_range operation(struct ring_replicas replicas, struct ring_replicas next)
{
    return (struct topology_range){.replicas = replicas,
                                   .next = next,
                                   .goal = next,
                                   .stage = TOPOLOGY_WRITE_BOTH_READ_OLD,
                                   .epoch = 5,
                                   .session = 5};
}

static void check(const struct topology_range *range, uint32_t target_id,
                  struct topology_sources want)
{
    struct topology_sources sources;
    memset(&sources, 0xff, sizeof(sources));
    topology_sources(&topology, range, target_id, &sources);
    cr_assert_eq(sources.count, want.count, "target %u: %u sources", target_id, sources.count);
    cr_assert_eq(sources.need, want.need, "target %u: %u needed", target_id, sources.need);
    for (uint32_t i = 0; i < want.count; i++) {
        cr_assert_eq(sources.ids[i], want.ids[i], "target %u: source %u is %u", target_id, i,
                     sources.ids[i]);
    }
}

Test(topology_sources, who_enters_takes_over_from_one_that_leaves_in_the_order_of_both)
{
    struct topology_range range =
        operation((struct ring_replicas){4, {1, 2, 3, 4}}, (struct ring_replicas){4, {6, 3, 1, 5}});
    check(&range, 6, (struct topology_sources){.ids = {2}, .count = 1, .need = 1});
    check(&range, 5, (struct topology_sources){.ids = {4}, .count = 1, .need = 1});
}

Test(topology_sources, who_stays_needs_nothing_and_neither_does_one_that_is_not_to_come)
{
    struct topology_range range =
        operation((struct ring_replicas){3, {1, 2, 3}}, (struct ring_replicas){3, {4, 3, 1}});
    check(&range, 1, (struct topology_sources){0});
    check(&range, 3, (struct topology_sources){0});
    check(&range, 2, (struct topology_sources){0});
    check(&range, 7, (struct topology_sources){0});
    const struct topology_range stable = {.replicas = range.replicas};
    check(&stable, 1, (struct topology_sources){0});
}

Test(topology_sources, merging_all_needs_a_majority_of_which_a_target_may_be_one)
{
    struct topology_range range =
        operation((struct ring_replicas){3, {1, 2, 3}}, (struct ring_replicas){3, {4, 3, 1}});
    range.merge_all = true;
    check(&range, 4, (struct topology_sources){.ids = {1, 2, 3}, .count = 3, .need = 2});
    check(&range, 1, (struct topology_sources){.ids = {2, 3}, .count = 2, .need = 1});
    range.replicas = (struct ring_replicas){4, {1, 2, 3, 5}};
    check(&range, 4, (struct topology_sources){.ids = {1, 2, 3, 5}, .count = 4, .need = 3});
    check(&range, 3, (struct topology_sources){.ids = {1, 2, 5}, .count = 3, .need = 2});
}

/* Also if the operation does not say so: a majority of three is no majority of four. */
Test(topology_sources, another_number_of_replicas_merges_all)
{
    struct topology_range range =
        operation((struct ring_replicas){3, {1, 2, 3}}, (struct ring_replicas){4, {1, 2, 3, 4}});
    check(&range, 4, (struct topology_sources){.ids = {1, 2, 3}, .count = 3, .need = 2});
    check(&range, 2, (struct topology_sources){.ids = {1, 3}, .count = 2, .need = 1});
    range = operation((struct ring_replicas){3, {1, 2, 3}}, (struct ring_replicas){2, {3, 1}});
    check(&range, 1, (struct topology_sources){.ids = {2, 3}, .count = 2, .need = 1});
    range = operation((struct ring_replicas){1, {1}}, (struct ring_replicas){2, {1, 2}});
    check(&range, 1, (struct topology_sources){0});
    check(&range, 2, (struct topology_sources){.ids = {1}, .count = 1, .need = 1});
}

Test(topology_sources, after_accepted_loss_every_survivor_is_merged)
{
    struct topology_range range =
        operation((struct ring_replicas){5, {1, 2, 3, 4, 5}}, (struct ring_replicas){3, {1, 6, 7}});
    range.merge_all = true;
    members[1].lost = true;
    members[2].lost = true;
    members[3].lost = true;
    check(&range, 6, (struct topology_sources){.ids = {1, 2, 3, 4, 5}, .count = 5, .need = 3});
    range.loss_accepted = true;
    check(&range, 6, (struct topology_sources){.ids = {1, 5}, .count = 2, .need = 2});
    check(&range, 1, (struct topology_sources){.ids = {5}, .count = 1, .need = 1});
    members[0].lost = true;
    members[4].lost = true;
    check(&range, 6, (struct topology_sources){0});
}

Test(topology_sources, all_must_merge_if_one_source_would_not_do)
{
    struct topology_range range = {.replicas = {3, {1, 2, 3}}, .goal = {3, {4, 3, 1}}};
    cr_assert_not(topology_must_merge_all(&topology, &range));
    members[0].lost = true;
    cr_assert_not(topology_must_merge_all(&topology, &range), "no source");
    range.loss_accepted = true;
    cr_assert(topology_must_merge_all(&topology, &range));
    range.loss_accepted = false;
    members[1].lost = true;
    cr_assert(topology_must_merge_all(&topology, &range));
    members[1].lost = false;
    range.goal = (struct ring_replicas){2, {3, 1}};
    cr_assert(topology_must_merge_all(&topology, &range));
    range.goal = (struct ring_replicas){4, {1, 2, 3, 4}};
    cr_assert(topology_must_merge_all(&topology, &range));
}

static void check_barrier(const struct topology_range *range, struct topology_barrier want)
{
    struct topology_barrier barrier = topology_barrier_of(&topology, range);
    cr_assert_eq(barrier.replicas, want.replicas);
    cr_assert_eq(barrier.next, want.next);
}

Test(topology_sources, a_barrier_is_a_majority_of_each_set_whoever_is_lost)
{
    struct topology_range range =
        operation((struct ring_replicas){3, {1, 2, 3}}, (struct ring_replicas){5, {1, 4, 5, 6, 7}});
    members[0].lost = true;
    members[1].lost = true;
    check_barrier(&range, (struct topology_barrier){2, 3});
    range.loss_accepted = true;
    check_barrier(&range, (struct topology_barrier){1, 3});
    members[2].lost = true;
    check_barrier(&range, (struct topology_barrier){0, 3});
    for (uint32_t i = 3; i < 6; i++) {
        members[i].lost = true;
    }
    check_barrier(&range, (struct topology_barrier){0, 1});
    members[2].lost = false;
    members[1].lost = false;
    check_barrier(&range, (struct topology_barrier){2, 1});
    const struct topology_range stable = {.replicas = {4, {1, 2, 3, 4}}};
    check_barrier(&stable, (struct topology_barrier){3, 0});
}

Test(topology_sources, a_range_goes_back_if_it_reads_the_old_set_and_is_to_end_there)
{
    struct topology_range range =
        operation((struct ring_replicas){3, {1, 2, 3}}, (struct ring_replicas){3, {4, 3, 1}});
    cr_assert_not(topology_range_goes_back(&range));
    range.goal = (struct ring_replicas){3, {3, 1, 2}};
    cr_assert(topology_range_goes_back(&range));
    range.stage = TOPOLOGY_WRITE_BOTH_READ_NEW;
    cr_assert_not(topology_range_goes_back(&range));
    range.stage = TOPOLOGY_STABLE;
    cr_assert_not(topology_range_goes_back(&range));
}
