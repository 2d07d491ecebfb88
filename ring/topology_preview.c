/*
 * ring/topology_preview.c -- what committing the staged plan would come to, member by member.
 *
 * A range takes at most two ways: from its replicas to where it will be once the operation under
 * way is over, and from there to its goal. Both are counted, as they will be copied.
 */
#include "base/contract.h"
#include "base/memory.h"
#include "ring/goals.h"
#include "ring/topology_rules.h"

#define PPM UINT64_C(1000000)

static struct topology_preview_member *preview_member(const struct topology_preview *preview,
                                                      const struct topology *built, uint32_t id)
{
    const struct topology_member *member = topology_member_find(built, id);
    ASSERT(member != NULL);
    return &preview->members[member - built->members];
}

/* Where it merges a majority, the first ones that can be had stand for it. */
static void copy_count(struct topology_preview *preview, const struct topology *built,
                       const struct topology_range *way, uint32_t target_id)
{
    struct topology_sources sources;
    topology_sources(built, way, target_id, &sources);
    preview_member(preview, built, target_id)->copy_in_count++;
    for (uint32_t i = 0; i < sources.count && sources.need > 0; i++) {
        if (!topology_member_find(built, sources.ids[i])->lost) {
            preview_member(preview, built, sources.ids[i])->copy_out_count++;
            sources.need--;
        }
    }
}

static void way_count(struct topology_preview *preview, const struct topology *built,
                      const struct ring_replicas *from, const struct ring_replicas *to)
{
    struct topology_range way = {
        .replicas = *from, .next = *to, .goal = *to, .stage = TOPOLOGY_WRITE_BOTH_READ_OLD};
    way.merge_all = topology_must_merge_all(built, &way);
    for (uint32_t i = 0; i < to->count; i++) {
        if (!ring_replicas_contain(from, to->ids[i])) {
            copy_count(preview, built, &way, to->ids[i]);
        }
    }
}

static void range_preview(struct topology_preview *preview, const struct topology *built,
                          const struct topology_range *range)
{
    const struct ring_replicas *home = goals_home(range);
    const struct ring_replicas *aim = goals_aim(range);
    for (uint32_t i = 0; i < range->replicas.count; i++) {
        preview_member(preview, built, range->replicas.ids[i])->range_count++;
    }
    for (uint32_t i = 0; i < aim->count; i++) {
        preview_member(preview, built, aim->ids[i])->range_count_after++;
    }
    preview->range_count += ring_replicas_same(&range->replicas, aim) ? 0 : 1;
    way_count(preview, built, &range->replicas, home);
    way_count(preview, built, home, aim);
}

/* From the counts of ranges to shares and sums. */
static void preview_sum(struct topology_preview *preview)
{
    uint64_t total = 0;
    uint64_t total_after = 0;
    for (uint32_t i = 0; i < preview->member_count; i++) {
        total += preview->members[i].range_count;
        total_after += preview->members[i].range_count_after;
    }
    ASSERT(total > 0);
    ASSERT(total_after > 0);
    for (uint32_t i = 0; i < preview->member_count; i++) {
        struct topology_preview_member *member = &preview->members[i];
        member->share_ppm = (uint32_t)(member->range_count * PPM / total);
        member->share_ppm_after = (uint32_t)(member->range_count_after * PPM / total_after);
        if (member->range_count_after > member->range_count) {
            preview->move_count_min += member->range_count_after - member->range_count;
        }
    }
}

static enum status fair_fill(struct topology_preview *preview, const struct topology *built)
{
    struct ring_node *nodes = memory_allocate_zeroed(built->member_count, sizeof(*nodes));
    uint32_t *share_ppm = memory_allocate_zeroed(built->member_count, sizeof(*share_ppm));
    enum status status = STATUS_NO_MEMORY;
    if (nodes != NULL && share_ppm != NULL) {
        goals_nodes(built, nodes);
        const struct ring_input input = {.nodes = nodes,
                                         .node_count = built->member_count,
                                         .range_count = built->range_count,
                                         .replica_count = built->replica_count};
        status = ring_feasible_shares(&input, share_ppm);
        ASSERT(status == STATUS_OK); /* Each change leaves members enough. */
        for (uint32_t i = 0; i < built->member_count; i++) {
            preview->members[i].share_ppm_fair = share_ppm[i];
        }
    }
    memory_free(nodes);
    memory_free(share_ppm);
    return status;
}

static enum status preview_fill(struct topology_preview *preview, const struct topology *built)
{
    preview->member_count = built->member_count;
    preview->members = memory_allocate_zeroed(built->member_count, sizeof(*preview->members));
    if (preview->members == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < built->member_count; i++) {
        preview->members[i].id = built->members[i].id;
    }
    for (uint32_t i = 0; i < built->range_count; i++) {
        range_preview(preview, built, &built->ranges[i]);
    }
    preview_sum(preview);
    return fair_fill(preview, built);
}

enum status topology_preview_init(struct topology_preview *preview, const struct topology *topology,
                                  const char **reason)
{
    ASSERT(preview != NULL);
    ASSERT(topology != NULL);
    ASSERT(reason != NULL);
    *preview = (struct topology_preview){0};
    if (topology->cluster_id == 0) {
        *reason = "the cluster is not bootstrapped";
        return STATUS_REFUSED;
    }
    struct topology built;
    topology_init(&built);
    enum status status =
        topology->staged.id != 0
            ? topology_plan_build(topology, &topology->staged, &built, &preview->move_count, reason)
            : topology_copy(&built, topology);
    if (status == STATUS_OK) {
        preview->move_count = goals_move_count(&built);
        status = preview_fill(preview, &built);
    }
    if (status != STATUS_OK) {
        topology_preview_deinit(preview);
    }
    topology_deinit(&built);
    return status;
}

void topology_preview_deinit(struct topology_preview *preview)
{
    memory_free(preview->members);
    *preview = (struct topology_preview){0};
}
