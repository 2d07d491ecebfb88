/*
 * ring/topology_sources.c -- who streams from whom, how many must have a fence, and what is left of
 * both when a majority is lost for good.
 */
#include "base/contract.h"
#include "ring/topology_rules.h"

static uint32_t majority_of(uint32_t count)
{
    return count / 2 + 1;
}

static bool is_lost(const struct topology *topology, uint32_t id)
{
    const struct topology_member *member = topology_member_find(topology, id);
    ASSERT(member != NULL);
    return member->lost;
}

static uint32_t survivors_of(const struct topology *topology, const struct ring_replicas *replicas)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < replicas->count; i++) {
        count += is_lost(topology, replicas->ids[i]) ? 0 : 1;
    }
    return count;
}

bool topology_range_goes_back(const struct topology_range *range)
{
    ASSERT(range != NULL);
    return range->stage == TOPOLOGY_WRITE_BOTH_READ_OLD &&
           ring_replicas_same(&range->goal, &range->replicas);
}

/* ------------------------------------------------------------------ sources */

/* Those of `of` that are not in `without`, in their order. */
static struct ring_replicas replicas_difference(const struct ring_replicas *of,
                                                const struct ring_replicas *without)
{
    struct ring_replicas difference = {0};
    for (uint32_t i = 0; i < of->count; i++) {
        if (!ring_replicas_contain(without, of->ids[i])) {
            difference.ids[difference.count++] = of->ids[i];
        }
    }
    return difference;
}

static void sources_merge_all(const struct topology *topology, const struct topology_range *range,
                              uint32_t target_id, struct topology_sources *sources)
{
    const struct ring_replicas *replicas = &range->replicas;
    for (uint32_t i = 0; i < replicas->count; i++) {
        uint32_t id = replicas->ids[i];
        if (id != target_id && !(range->loss_accepted && is_lost(topology, id))) {
            sources->ids[sources->count++] = id;
        }
    }
    uint32_t own = ring_replicas_contain(replicas, target_id) ? 1 : 0;
    sources->need = range->loss_accepted ? sources->count : majority_of(replicas->count) - own;
}

void topology_sources(const struct topology *topology, const struct topology_range *range,
                      uint32_t target_id, struct topology_sources *sources)
{
    ASSERT(topology != NULL);
    ASSERT(range != NULL);
    ASSERT(sources != NULL);
    *sources = (struct topology_sources){0};
    if (!ring_replicas_contain(&range->next, target_id)) {
        return;
    }
    const struct ring_replicas entering = replicas_difference(&range->next, &range->replicas);
    const struct ring_replicas leaving = replicas_difference(&range->replicas, &range->next);
    if (range->merge_all || entering.count != leaving.count) {
        sources_merge_all(topology, range, target_id, sources);
        return;
    }
    for (uint32_t i = 0; i < entering.count; i++) {
        if (entering.ids[i] == target_id) {
            *sources = (struct topology_sources){.ids = {leaving.ids[i]}, .count = 1, .need = 1};
        }
    }
}

bool topology_must_merge_all(const struct topology *topology, const struct topology_range *range)
{
    ASSERT(topology != NULL);
    ASSERT(range != NULL);
    const struct ring_replicas entering = replicas_difference(&range->goal, &range->replicas);
    const struct ring_replicas leaving = replicas_difference(&range->replicas, &range->goal);
    bool must = range->loss_accepted || entering.count != leaving.count;
    for (uint32_t i = 0; i < leaving.count && !must; i++) {
        must = is_lost(topology, leaving.ids[i]);
    }
    return must;
}

/* ------------------------------------------------------------------ barriers */

static uint32_t fences_needed(const struct topology *topology, const struct topology_range *range,
                              const struct ring_replicas *replicas)
{
    if (replicas->count == 0) {
        return 0;
    }
    uint32_t majority = majority_of(replicas->count);
    uint32_t survivors = survivors_of(topology, replicas);
    return range->loss_accepted && survivors < majority ? survivors : majority;
}

struct topology_barrier topology_barrier_of(const struct topology *topology,
                                            const struct topology_range *range)
{
    ASSERT(topology != NULL);
    ASSERT(range != NULL);
    return (struct topology_barrier){
        .replicas = fences_needed(topology, range, &range->replicas),
        .next = fences_needed(topology, range, &range->next),
    };
}

/* ------------------------------------------------------------------ accepted loss */

static bool majority_is_lost(const struct topology *topology, const struct ring_replicas *replicas)
{
    return replicas->count > 0 && survivors_of(topology, replicas) < majority_of(replicas->count);
}

/* Only for what cannot be had in any other way, and is still to be done. */
static bool loss_is_due(const struct topology *topology, const struct topology_range *range)
{
    return range->goal.count > 0 && !range->loss_accepted &&
           (majority_is_lost(topology, &range->replicas) ||
            majority_is_lost(topology, &range->next));
}

enum status topology_loss_apply(struct topology *topology, const struct topology_command *command,
                                const char **reason)
{
    bool all = command->range == TOPOLOGY_RANGE_ALL;
    if (topology->running.id == 0 || topology->running.id != command->plan_id) {
        *reason = "no plan of this id is running";
        return STATUS_REFUSED;
    }
    if (!all && command->range >= topology->range_count) {
        *reason = "there is no such range";
        return STATUS_REFUSED;
    }
    uint32_t accepted = 0;
    uint32_t first = all ? 0 : command->range;
    uint32_t last = all ? topology->range_count - 1 : command->range;
    for (uint32_t i = first; i <= last; i++) {
        struct topology_range *range = &topology->ranges[i];
        if (loss_is_due(topology, range)) {
            range->loss_accepted = true;
            accepted++;
        }
    }
    if (accepted == 0) {
        *reason = "no majority is lost, or the loss is accepted already";
        return STATUS_REFUSED;
    }
    topology->running.loss_count += accepted;
    return STATUS_OK;
}
