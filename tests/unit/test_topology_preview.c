/*
 * tests/unit/test_topology_preview.c -- what a preview says is what the plan then does.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "tests/unit/topology_fixture.h"

static void preview_of(struct fixture *fixture, struct topology_preview *preview)
{
    enum status status = topology_preview_init(preview, &fixture->topology, &fixture->reason);
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_name(status), fixture->reason);
}

static uint32_t ranges_of(const struct topology *topology, uint32_t id)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->range_count; i++) {
        count += ring_replicas_contain(&topology->ranges[i].replicas, id) ? 1 : 0;
    }
    return count;
}

static void drive(struct fixture *fixture)
{
    for (uint32_t i = 0; i < fixture->topology.range_count; i++) {
        const struct topology_range *range = &fixture->topology.ranges[i];
        while (range->goal.count > 0) {
            static const enum topology_step_type types[] = {TOPOLOGY_BEGIN, TOPOLOGY_READ_NEW,
                                                            TOPOLOGY_FINISH};
            step(fixture, i, types[range->stage],
                 range->stage == TOPOLOGY_STABLE &&
                     topology_must_merge_all(&fixture->topology, range));
        }
    }
}

/* Of whatever is staged: previewed, committed, driven to its end and compared. */
static void check_preview(struct fixture *fixture, bool single_sources)
{
    struct topology_preview preview;
    struct topology before;
    topology_init(&before);
    cr_assert_eq(topology_copy(&before, &fixture->topology), STATUS_OK);
    preview_of(fixture, &preview);
    (void)commit(fixture);
    cr_assert_eq(preview.move_count, fixture->topology.running.move_count);
    drive(fixture);
    const struct topology *after = &fixture->topology;
    uint32_t copies_in = 0;
    uint32_t copies_out = 0;
    uint32_t changed = 0;
    for (uint32_t i = 0; i < after->range_count; i++) {
        changed +=
            ring_replicas_same(&before.ranges[i].replicas, &after->ranges[i].replicas) ? 0 : 1;
    }
    cr_assert_eq(preview.member_count, after->member_count);
    for (uint32_t i = 0; i < preview.member_count; i++) {
        const struct topology_preview_member *member = &preview.members[i];
        cr_assert_eq(member->range_count, ranges_of(&before, member->id), "%u", member->id);
        cr_assert_eq(member->range_count_after, ranges_of(after, member->id), "%u", member->id);
        copies_in += member->copy_in_count;
        copies_out += member->copy_out_count;
    }
    cr_assert_eq(preview.range_count, changed);
    cr_assert_eq(copies_in, preview.move_count);
    cr_assert_leq(preview.move_count_min, preview.move_count);
    if (single_sources) {
        cr_assert_eq(copies_out, preview.move_count);
    } else {
        cr_assert_gt(copies_out, preview.move_count);
    }
    topology_preview_deinit(&preview);
    topology_deinit(&before);
}

Test(topology_preview, of_a_join_and_a_leave_says_what_they_do)
{
    struct fixture fixture;
    bootstrap(&fixture);
    member_add(&fixture, 6);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 6, .weight = 2});
    check_preview(&fixture, true);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 4});
    check_preview(&fixture, true);
    topology_deinit(&fixture.topology);
}

/* Two sources for each newcomer, and the lost is none of them; 2, of its zone, shares no range. */
Test(topology_preview, of_a_replacement_counts_the_survivors_as_sources)
{
    struct fixture fixture;
    struct topology_preview preview;
    bootstrap(&fixture);
    member_add(&fixture, 8);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_REPLACE, .id = 5, .to_id = 8});
    preview_of(&fixture, &preview);
    for (uint32_t i = 0; i < preview.member_count; i++) {
        const struct topology_preview_member *member = &preview.members[i];
        bool survives = member->id == 1 || member->id == 3 || member->id == 4;
        cr_assert_eq(member->copy_in_count, member->id == 8 ? preview.move_count : 0);
        cr_assert_eq(member->copy_out_count > 0, survives, "%u", member->id);
    }
    topology_preview_deinit(&preview);
    check_preview(&fixture, false);
    topology_deinit(&fixture.topology);
}

Test(topology_preview, without_a_staged_plan_is_what_is_left_to_do)
{
    struct fixture fixture;
    struct topology_preview preview;
    bootstrap(&fixture);
    preview_of(&fixture, &preview);
    cr_assert_eq(preview.move_count, 0);
    cr_assert_eq(preview.range_count, 0);
    topology_preview_deinit(&preview);
    member_add(&fixture, 6);
    (void)plan_of(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 6});
    uint32_t range = range_at(&fixture, TOPOLOGY_STABLE, 0);
    step(&fixture, range, TOPOLOGY_BEGIN, false);
    step(&fixture, range, TOPOLOGY_READ_NEW, false);
    step(&fixture, range, TOPOLOGY_FINISH, false);
    preview_of(&fixture, &preview);
    cr_assert_eq(preview.move_count, fixture.topology.running.move_count - 1);
    topology_preview_deinit(&preview);
    topology_deinit(&fixture.topology);
}

Test(topology_preview, shares_are_parts_of_all_replicas)
{
    struct fixture fixture;
    struct topology_preview preview;
    bootstrap(&fixture);
    member_add(&fixture, 6);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 6});
    preview_of(&fixture, &preview);
    for (uint32_t i = 0; i < preview.member_count; i++) {
        const struct topology_preview_member *member = &preview.members[i];
        cr_assert_eq(member->share_ppm, member->range_count * 1000000ull / 192);
        cr_assert_eq(member->share_ppm_after, member->range_count_after * 1000000ull / 192);
        cr_assert_eq(member->share_ppm_fair, 166667, "%u", member->share_ppm_fair);
    }
    topology_preview_deinit(&preview);
    topology_deinit(&fixture.topology);
}

/* Whoever joins three that hold everything must be given three quarters of all ranges. */
Test(topology_preview, a_fourth_node_costs_little_more_than_its_share)
{
    static const uint32_t zone_counts[] = {1, 3};
    for (uint32_t i = 0; i < ARRAY_COUNT(zone_counts); i++) {
        struct fixture fixture;
        struct topology_preview preview;
        fixture_init(&fixture);
        fixture.bootstrap.range_count = 1024;
        fixture.bootstrap.member_count = 3;
        for (uint32_t j = 0; j < 3; j++) {
            fixture.members[j] = member_make(3 - j);
            if (zone_counts[i] == 1) {
                snprintf(fixture.members[j].zone, sizeof(fixture.members[j].zone), "zone-1");
            }
        }
        apply_ok(&fixture, &fixture.bootstrap);
        member_add(&fixture, 4);
        stage(&fixture, (struct topology_change){.type = TOPOLOGY_JOIN, .id = 4});
        preview_of(&fixture, &preview);
        cr_assert_eq(preview.members[3].copy_in_count, preview.members[3].range_count_after);
        cr_assert_eq(preview.members[3].range_count_after, zone_counts[i] == 1 ? 768 : 512);
        cr_assert_leq(preview.move_count * 100, preview.move_count_min * 115, "%u of %u",
                      preview.move_count, preview.move_count_min);
        topology_preview_deinit(&preview);
        topology_deinit(&fixture.topology);
    }
}

Test(topology_preview, of_nothing_is_refused)
{
    struct topology topology;
    struct topology_preview preview;
    const char *reason;
    topology_init(&topology);
    cr_assert_eq(topology_preview_init(&preview, &topology, &reason), STATUS_REFUSED);
    cr_assert_not_null(strstr(reason, "bootstrapped"));
}

static uint32_t allocations_left;

static void *failing_allocate(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : (allocations_left = 0, NULL);
}

/* The address sanitizer watches for leaks. */
Test(topology_preview, each_failing_allocation_is_told)
{
    static const struct memory_hooks hooks = {failing_allocate, realloc, free};
    struct fixture fixture;
    struct topology_preview preview;
    bootstrap(&fixture);
    stage(&fixture, (struct topology_change){.type = TOPOLOGY_LEAVE, .id = 4});
    enum status status = STATUS_NO_MEMORY;
    uint32_t count = 0;
    for (; status != STATUS_OK; count++) {
        memory_set_hooks(&hooks);
        allocations_left = count;
        status = topology_preview_init(&preview, &fixture.topology, &fixture.reason);
        memory_set_hooks(NULL);
        cr_assert(status == STATUS_OK || status == STATUS_NO_MEMORY, "allocation %u", count);
    }
    cr_assert_geq(count, 8);
    topology_preview_deinit(&preview);
    topology_deinit(&fixture.topology);
}
