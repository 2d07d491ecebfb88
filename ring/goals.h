/*
 * ring/goals.h -- where each range is to end, laid down anew when a plan is committed.
 *
 * A plan that only replaces members and moves ranges changes what it names and nothing else, if
 * each newcomer weighs what its predecessor did and may stand in every place of it. Any other plan
 * has all ranges placed (ring_place), from where they are on the way to be; moves come on top.
 * Contract:
 *  (1) Pure: the topology and the changes decide, so every node lays the same goals.
 *  (2) Placed goals hold ACTIVE members only, and no other placement with their loads copies less.
 */
#ifndef RING_GOALS_H
#define RING_GOALS_H

#include "ring/topology.h"

/* Where the range is to end: its goal, or where it is. */
const struct ring_replicas *goals_aim(const struct topology_range *range);
/* Where the range will be once the operation under way is over. */
const struct ring_replicas *goals_home(const struct topology_range *range);

/* The members as placement sees them: who takes no ranges weighs 0. member_count entries. */
void goals_nodes(const struct topology *topology, struct ring_node *nodes);
/* Places all ranges on the ACTIVE members, from where they are on the way to be. range_count
 * entries; STATUS_NO_MEMORY. */
MUST_USE enum status goals_place(const struct topology *topology, struct ring_replicas *places);

/* Members that may be given ranges, and how many of them stand in each zone. */
struct goals_zones {
    const struct topology *topology;
    uint32_t zone_of[RING_MEMBER_COUNT_MAX];       /* By index of the member. */
    uint32_t member_counts[RING_MEMBER_COUNT_MAX]; /* By zone. */
    uint32_t zone_count;
};
void goals_zones_init(struct goals_zones *zones, const struct topology *topology);
/* Makes a MOVE from what is in `place`. NULL, or why it cannot be; then `place` is as it was. */
const char *goals_move_make(const struct goals_zones *zones, const struct topology_change *change,
                            struct ring_replicas *place);

/*
 * Lays down the goals of all ranges after the changes were made to the members. STATUS_REFUSED: a
 * MOVE cannot be, *reason says why; goals are then as they were. STATUS_NO_MEMORY.
 */
MUST_USE enum status goals_lay(struct topology *topology, const struct topology_plan *plan,
                               const char **reason);
/* Replicas to copy until every range is at its goal. */
uint32_t goals_move_count(const struct topology *topology);

#endif
