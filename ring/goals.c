/*
 * ring/goals.c -- goals in place where that is enough, by ring_place where it is not.
 */
#include "ring/goals.h"

#include <string.h>

#include "base/contract.h"
#include "base/memory.h"

const struct ring_replicas *goals_home(const struct topology_range *range)
{
    bool stays = range->stage == TOPOLOGY_STABLE || topology_range_goes_back(range);
    return stays ? &range->replicas : &range->next;
}

const struct ring_replicas *goals_aim(const struct topology_range *range)
{
    return range->goal.count > 0 ? &range->goal : &range->replicas;
}

static bool member_is_eligible(const struct topology_member *member)
{
    return member->state == TOPOLOGY_ACTIVE && member->weight > 0;
}

/* ------------------------------------------------------------------ zones */

static uint32_t zone_find(const struct goals_zones *zones, uint32_t member)
{
    const struct topology_member *members = zones->topology->members;
    for (uint32_t i = 0; i < member; i++) {
        if (strcmp(members[i].zone, members[member].zone) == 0) {
            return zones->zone_of[i];
        }
    }
    return zones->zone_count;
}

void goals_zones_init(struct goals_zones *zones, const struct topology *topology)
{
    memset(zones, 0, sizeof(*zones));
    zones->topology = topology;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        uint32_t zone = zone_find(zones, i);
        zones->zone_of[i] = zone;
        zones->zone_count += zone == zones->zone_count ? 1 : 0;
        zones->member_counts[zone] += member_is_eligible(&topology->members[i]) ? 1 : 0;
    }
}

/* Whether the replicas lie so even over the zones that none could go to a zone with two fewer. */
static bool zones_are_even(const struct goals_zones *zones, const struct ring_replicas *replicas)
{
    const struct topology *topology = zones->topology;
    uint32_t counts[RING_MEMBER_COUNT_MAX] = {0};
    uint32_t most = 0;
    uint32_t least = RING_REPLICA_COUNT_MAX;
    for (uint32_t i = 0; i < replicas->count; i++) {
        const struct topology_member *member = topology_member_find(topology, replicas->ids[i]);
        ASSERT(member != NULL);
        uint32_t zone = zones->zone_of[member - topology->members];
        counts[zone]++;
        most = counts[zone] > most ? counts[zone] : most;
    }
    for (uint32_t zone = 0; zone < zones->zone_count; zone++) {
        if (counts[zone] < zones->member_counts[zone] && counts[zone] < least) {
            least = counts[zone];
        }
    }
    return most < least + 2;
}

/* ------------------------------------------------------------------ in place */

static bool plan_is_in_place(const struct topology *topology, const struct topology_plan *plan)
{
    for (uint32_t i = 0; i < plan->change_count; i++) {
        const struct topology_change *change = &plan->changes[i];
        if (change->type == TOPOLOGY_REPLACE) {
            const struct topology_member *old = topology_member_find(topology, change->id);
            const struct topology_member *new = topology_member_find(topology, change->to_id);
            ASSERT(old != NULL);
            ASSERT(new != NULL);
            if (old->weight != new->weight) {
                return false;
            }
        } else if (change->type != TOPOLOGY_MOVE) {
            return false;
        }
    }
    return true;
}

static bool replicas_substitute(struct ring_replicas *replicas, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < replicas->count; i++) {
        if (replicas->ids[i] == from) {
            replicas->ids[i] = to;
            return true;
        }
    }
    return false;
}

static bool replicas_are_active(const struct topology *topology,
                                const struct ring_replicas *replicas)
{
    for (uint32_t i = 0; i < replicas->count; i++) {
        if (topology_member_find(topology, replicas->ids[i])->state != TOPOLOGY_ACTIVE) {
            return false;
        }
    }
    return true;
}

/* False if some range must be placed: a newcomer may not stand where the lost one did, or a leaver
 * of another plan is still there. */
static bool places_substitute(const struct goals_zones *zones, const struct topology_plan *plan,
                              struct ring_replicas *places)
{
    const struct topology *topology = zones->topology;
    for (uint32_t range = 0; range < topology->range_count; range++) {
        bool changed = false;
        places[range] = *goals_aim(&topology->ranges[range]);
        for (uint32_t i = 0; i < plan->change_count; i++) {
            const struct topology_change *change = &plan->changes[i];
            if (change->type == TOPOLOGY_REPLACE) {
                changed = replicas_substitute(&places[range], change->id, change->to_id) || changed;
            }
        }
        if (!replicas_are_active(topology, &places[range]) ||
            (changed && !zones_are_even(zones, &places[range]))) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------ by placement */

void goals_nodes(const struct topology *topology, struct ring_node *nodes)
{
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct topology_member *member = &topology->members[i];
        nodes[i] = (struct ring_node){
            .id = member->id,
            .weight = member->state == TOPOLOGY_ACTIVE ? member->weight : 0,
        };
        memcpy(nodes[i].zone, member->zone, sizeof(nodes[i].zone));
    }
}

enum status goals_place(const struct topology *topology, struct ring_replicas *places)
{
    struct ring_node *nodes = memory_allocate_zeroed(topology->member_count, sizeof(*nodes));
    struct ring_replicas *current = memory_allocate_zeroed(topology->range_count, sizeof(*current));
    enum status status = STATUS_NO_MEMORY;
    if (nodes != NULL && current != NULL) {
        goals_nodes(topology, nodes);
        for (uint32_t range = 0; range < topology->range_count; range++) {
            current[range] = *goals_home(&topology->ranges[range]);
        }
        const struct ring_input input = {.nodes = nodes,
                                         .node_count = topology->member_count,
                                         .range_count = topology->range_count,
                                         .replica_count = topology->replica_count,
                                         .current = current};
        status = ring_place(&input, places);
        ASSERT(status != STATUS_INVALID); /* Each change leaves members enough. */
    }
    memory_free(nodes);
    memory_free(current);
    return status;
}

/* ------------------------------------------------------------------ moves */

const char *goals_move_make(const struct goals_zones *zones, const struct topology_change *change,
                            struct ring_replicas *place)
{
    const struct topology_member *to = topology_member_find(zones->topology, change->to_id);
    ASSERT(to != NULL);
    if (!ring_replicas_contain(place, change->id)) {
        return "by the plan the range will not be with the member that it is to move from";
    }
    if (ring_replicas_contain(place, change->to_id)) {
        return "by the plan the range will be with the member that it is to move to";
    }
    if (!member_is_eligible(to)) {
        return "the member that a range is to move to takes no ranges";
    }
    struct ring_replicas moved = *place;
    (void)replicas_substitute(&moved, change->id, change->to_id);
    if (zones_are_even(zones, place) && !zones_are_even(zones, &moved)) {
        return "the move would put more replicas of the range into one zone than must be";
    }
    *place = moved;
    return NULL;
}

static const char *moves_make(const struct goals_zones *zones, const struct topology_plan *plan,
                              struct ring_replicas *places)
{
    const char *fault = NULL;
    for (uint32_t i = 0; i < plan->change_count && fault == NULL; i++) {
        const struct topology_change *change = &plan->changes[i];
        if (change->type == TOPOLOGY_MOVE) {
            ASSERT(change->range < zones->topology->range_count);
            fault = goals_move_make(zones, change, &places[change->range]);
        }
    }
    return fault;
}

/* ------------------------------------------------------------------ laying */

/* Of a STABLE range that has the right replicas only the order changes, which needs no operation.
 */
static void goal_set(struct topology_range *range, const struct ring_replicas *place)
{
    if (range->stage == TOPOLOGY_STABLE && ring_replicas_same(&range->replicas, place)) {
        range->replicas = *place;
        range->goal = (struct ring_replicas){0};
        range->loss_accepted = false;
    } else {
        range->goal = *place;
    }
}

enum status goals_lay(struct topology *topology, const struct topology_plan *plan,
                      const char **reason)
{
    ASSERT(topology != NULL);
    ASSERT(plan != NULL);
    struct goals_zones *zones = memory_allocate_zeroed(1, sizeof(*zones));
    struct ring_replicas *places = memory_allocate_zeroed(topology->range_count, sizeof(*places));
    enum status status = STATUS_NO_MEMORY;
    if (zones != NULL && places != NULL) {
        goals_zones_init(zones, topology);
        bool in_place = plan_is_in_place(topology, plan) && places_substitute(zones, plan, places);
        status = in_place ? STATUS_OK : goals_place(topology, places);
    }
    if (status == STATUS_OK) {
        *reason = moves_make(zones, plan, places);
        status = *reason == NULL ? STATUS_OK : STATUS_REFUSED;
    }
    for (uint32_t range = 0; status == STATUS_OK && range < topology->range_count; range++) {
        goal_set(&topology->ranges[range], &places[range]);
    }
    memory_free(zones);
    memory_free(places);
    return status;
}

uint32_t goals_move_count(const struct topology *topology)
{
    uint64_t moves = 0;
    for (uint32_t i = 0; i < topology->range_count; i++) {
        const struct topology_range *range = &topology->ranges[i];
        const struct ring_replicas *home = goals_home(range);
        moves += ring_moves(&range->replicas, home, 1) + ring_moves(home, goals_aim(range), 1);
    }
    return (uint32_t)moves;
}
