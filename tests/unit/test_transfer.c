/* tests/unit/test_transfer.c -- paths are cheapest, then shortest, and take surplus to lack. */
#include <signal.h>

#include <criterion/criterion.h>

#include "ring/transfer.h"

struct fixture {
    struct transfer transfer;
    uint32_t loads[5];
    uint32_t quotas[5];
    struct transfer_path path;
};

/* Member 0 has one too many, member 4 one too few. */
static void fixture_init(struct fixture *fixture)
{
    *fixture = (struct fixture){.loads = {3, 2, 2, 2, 1}, .quotas = {2, 2, 2, 2, 2}};
    cr_assert_eq(transfer_init(&fixture->transfer, 5), STATUS_OK);
}

static bool find(struct fixture *fixture)
{
    return transfer_find(&fixture->transfer, fixture->loads, fixture->quotas, &fixture->path);
}

Test(transfer, no_edges_no_path)
{
    struct fixture fixture;
    fixture_init(&fixture);
    cr_assert_not(find(&fixture));
    transfer_add(&fixture.transfer, 4, 0, 0);
    cr_assert_not(find(&fixture), "edges have a direction");
    transfer_deinit(&fixture.transfer);
}

Test(transfer, a_cheap_detour_beats_a_dear_step_and_few_steps_beat_many)
{
    struct fixture fixture;
    fixture_init(&fixture);
    transfer_add(&fixture.transfer, 0, 4, 1);
    cr_assert(find(&fixture));
    cr_assert_eq(fixture.path.member_count, 2);
    cr_assert_eq(fixture.path.costs[0], 1);
    transfer_add(&fixture.transfer, 0, 1, 1);
    transfer_add(&fixture.transfer, 1, 2, -1);
    transfer_add(&fixture.transfer, 2, 4, 0);
    cr_assert(find(&fixture));
    cr_assert_eq(fixture.path.member_count, 4);
    cr_assert_eq(fixture.path.members[1], 1);
    cr_assert_eq(fixture.path.members[2], 2);
    cr_assert_eq(fixture.path.costs[1], -1);
    transfer_add(&fixture.transfer, 0, 4, 0);
    cr_assert(find(&fixture));
    cr_assert_eq(fixture.path.member_count, 2);
    cr_assert_eq(fixture.path.costs[0], 0);
    transfer_deinit(&fixture.transfer);
}

Test(transfer, an_edge_is_there_until_its_last_range_goes)
{
    struct fixture fixture;
    fixture_init(&fixture);
    transfer_add(&fixture.transfer, 0, 4, 0);
    transfer_add(&fixture.transfer, 0, 4, 0);
    transfer_add(&fixture.transfer, 0, 4, 1);
    transfer_remove(&fixture.transfer, 0, 4, 0);
    cr_assert(find(&fixture));
    cr_assert_eq(fixture.path.costs[0], 0);
    transfer_remove(&fixture.transfer, 0, 4, 0);
    cr_assert(find(&fixture));
    cr_assert_eq(fixture.path.costs[0], 1);
    transfer_remove(&fixture.transfer, 0, 4, 1);
    cr_assert_not(find(&fixture));
    transfer_deinit(&fixture.transfer);
}

Test(transfer, removing_what_was_never_added_is_a_bug, .signal = SIGABRT)
{
    struct fixture fixture;
    fixture_init(&fixture);
    transfer_remove(&fixture.transfer, 0, 4, 0);
}
