/*
 * ring/topology_plan.c -- changes staged, committed as one plan, and how plans end.
 *
 * A plan is tried on a copy: staging tries what is staged and the change, and keeps nothing but the
 * change; committing keeps the copy. So an error shows when it is made, and a commit that met
 * another state than the staging did is judged again.
 */
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "ring/goals.h"
#include "ring/mutant.h"
#include "ring/topology_rules.h"

/* ------------------------------------------------------------------ one change */

typedef const char *change_make(struct topology *topology, struct topology_member *member,
                                const struct topology_change *change);

static const char *join_make(struct topology *topology, struct topology_member *member,
                             const struct topology_change *change)
{
    (void)topology;
    if (member->state != TOPOLOGY_JOINING) {
        return "the member has joined already";
    }
    if (change->weight > RING_WEIGHT_MAX) {
        return "a member's weight is above the limit";
    }
    member->state = TOPOLOGY_ACTIVE;
    member->weight = change->weight > 0 ? change->weight : member->weight;
    return NULL;
}

/* One that is lost may be told to leave again, after the plan that it left by was aborted. */
static const char *leave_make(struct topology *topology, struct topology_member *member,
                              const struct topology_change *change)
{
    (void)change;
    if (member->state == TOPOLOGY_JOINING) {
        return "the member has not joined: it can be removed";
    }
    if (member->state == TOPOLOGY_LEAVING && (!member->lost || topology->running.id != 0)) {
        return "the member is leaving already";
    }
    member->state = TOPOLOGY_LEAVING;
    return NULL;
}

static const char *replace_make(struct topology *topology, struct topology_member *member,
                                const struct topology_change *change)
{
    struct topology_member *to = topology_member_at(topology, change->to_id);
    if (to == NULL || to->state != TOPOLOGY_JOINING) {
        return "the member that replaces another is not joining";
    }
    if (member->state == TOPOLOGY_JOINING) {
        return "the member has not joined: it can be removed";
    }
    member->state = TOPOLOGY_LEAVING;
    member->lost = true;
    to->state = TOPOLOGY_ACTIVE;
    to->replaces = member->id;
    return NULL;
}

static const char *weight_make(struct topology *topology, struct topology_member *member,
                               const struct topology_change *change)
{
    (void)topology;
    if (member->state != TOPOLOGY_ACTIVE) {
        return "only the weight of an active member changes by a plan";
    }
    if (change->weight > RING_WEIGHT_MAX) {
        return "a member's weight is above the limit";
    }
    if (change->weight == member->weight) {
        return "the member has this weight already";
    }
    member->weight = change->weight;
    return NULL;
}

static const char *zone_make(struct topology *topology, struct topology_member *member,
                             const struct topology_change *change)
{
    (void)topology;
    if (member->state != TOPOLOGY_ACTIVE) {
        return "only the zone of an active member changes by a plan";
    }
    if (strcmp(change->zone, member->zone) == 0) {
        return "the member is in this zone already";
    }
    const char *fault = topology_zone_fault(change->zone);
    if (fault == NULL) {
        memcpy(member->zone, change->zone, sizeof(member->zone));
    }
    return fault;
}

/* Whether the range can move so is seen when goals are laid. */
static const char *move_make(struct topology *topology, struct topology_member *member,
                             const struct topology_change *change)
{
    (void)member;
    if (change->range >= topology->range_count) {
        return "there is no such range";
    }
    return topology_member_find(topology, change->to_id) != NULL ? NULL : "no member has this id";
}

static uint32_t eligible_count(const struct topology *topology)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct topology_member *member = &topology->members[i];
        count += member->state == TOPOLOGY_ACTIVE && member->weight > 0 ? 1 : 0;
    }
    return count;
}

static const char *factor_make(struct topology *topology, const struct topology_change *change)
{
    if (change->replica_count < 1 || change->replica_count > RING_REPLICA_COUNT_MAX) {
        return "the replica count is out of bounds";
    }
    if (change->replica_count == topology->replica_count) {
        return "the replica count is this already";
    }
    if (change->replica_count > eligible_count(topology)) {
        return "there are fewer members to hold ranges than replicas are asked for";
    }
    topology->replica_count = change->replica_count;
    return NULL;
}

static const char *plan_change_make(struct topology *topology, const struct topology_change *change)
{
    static change_make *const makers[] = {
        [TOPOLOGY_JOIN] = join_make,       [TOPOLOGY_LEAVE] = leave_make,
        [TOPOLOGY_REPLACE] = replace_make, [TOPOLOGY_WEIGHT] = weight_make,
        [TOPOLOGY_ZONE] = zone_make,       [TOPOLOGY_MOVE] = move_make,
    };
    if (change->type == TOPOLOGY_FACTOR) {
        return factor_make(topology, change);
    }
    struct topology_member *member = topology_member_at(topology, change->id);
    if (member == NULL) {
        return "no member has this id";
    }
    uint32_t before = eligible_count(topology);
    const char *fault = makers[change->type](topology, member, change);
    if (fault != NULL) {
        return fault;
    }
    uint32_t after = eligible_count(topology);
    return after < before && after < topology->replica_count
               ? "fewer members to hold ranges would be left than there are replicas"
               : NULL;
}

/* ------------------------------------------------------------------ a whole plan */

/* Members and factor as after the plan; goals as before. */
static enum status plan_members_build(const struct topology *topology,
                                      const struct topology_plan *plan, struct topology *built,
                                      const char **reason)
{
    enum status status = topology_copy(built, topology);
    for (uint32_t i = 0; status == STATUS_OK && i < plan->change_count; i++) {
        *reason = plan_change_make(built, &plan->changes[i]);
        status = *reason == NULL ? STATUS_OK : STATUS_REFUSED;
    }
    return status;
}

enum status topology_plan_build(const struct topology *topology, const struct topology_plan *plan,
                                struct topology *built, uint32_t *move_count, const char **reason)
{
    enum status status = plan_members_build(topology, plan, built, reason);
    if (status == STATUS_OK) {
        status = goals_lay(built, plan, reason);
    }
    if (status == STATUS_OK) {
        *move_count = goals_move_count(built);
    }
    return status;
}

static bool plan_has_moves(const struct topology_plan *plan)
{
    for (uint32_t i = 0; i < plan->change_count; i++) {
        if (plan->changes[i].type == TOPOLOGY_MOVE) {
            return true;
        }
    }
    return false;
}

/* Nothing but a MOVE can fail when goals are laid, so without one they are not laid to try. */
static enum status plan_try(const struct topology *topology, const struct topology_plan *plan,
                            const char **reason)
{
    struct topology tried;
    uint32_t move_count;
    topology_init(&tried);
    enum status status = plan_has_moves(plan)
                             ? topology_plan_build(topology, plan, &tried, &move_count, reason)
                             : plan_members_build(topology, plan, &tried, reason);
    topology_deinit(&tried);
    return status;
}

static enum status stage_apply(struct topology *topology, const struct topology_change *change,
                               const char **reason)
{
    struct topology_plan plan = topology->staged;
    if (plan.change_count == TOPOLOGY_CHANGE_COUNT_MAX) {
        *reason = "as many changes are staged as a plan can have";
        return STATUS_REFUSED;
    }
    if (plan.id == 0) {
        plan.id = topology->stamp.epoch + 1;
    }
    plan.changes[plan.change_count++] = *change;
    enum status status = plan_try(topology, &plan, reason);
    if (status == STATUS_OK) {
        topology->staged = plan;
    }
    return status;
}

/* ------------------------------------------------------------------ history */

struct topology_plan *topology_history_make(void)
{
    return memory_allocate_zeroed(TOPOLOGY_HISTORY_COUNT_MAX, sizeof(struct topology_plan));
}

static void running_end(struct topology *topology, enum topology_outcome outcome, uint64_t epoch)
{
    ASSERT(topology->running.id != 0);
    struct topology_plan *history = topology->history;
    if (topology->history_count == TOPOLOGY_HISTORY_COUNT_MAX) {
        topology->history_count--;
        memmove(history, history + 1, topology->history_count * sizeof(*history));
    }
    topology->running.outcome = outcome;
    topology->running.ended_epoch = epoch;
    history[topology->history_count++] = topology->running;
    memset(&topology->running, 0, sizeof(topology->running));
}

void topology_plan_settle(struct topology *topology)
{
    if (topology->running.id == 0) {
        return;
    }
    for (uint32_t i = 0; i < topology->member_count; i++) {
        if (topology->members[i].state == TOPOLOGY_LEAVING) {
            return;
        }
    }
    for (uint32_t i = 0; i < topology->range_count; i++) {
        if (topology->ranges[i].goal.count > 0) {
            return;
        }
    }
    running_end(topology, TOPOLOGY_DONE, topology->stamp.epoch);
}

/* ------------------------------------------------------------------ commit and abort */

static enum status commit_apply(struct topology *topology, uint64_t plan_id, const char **reason)
{
    uint64_t epoch = topology->stamp.epoch + 1;
    uint32_t move_count = 0;
    struct topology built;
    if (topology->staged.id == 0 || topology->staged.id != plan_id) {
        *reason = "no plan of this id is staged";
        return STATUS_REFUSED;
    }
    topology_init(&built);
    enum status status =
        topology_plan_build(topology, &topology->staged, &built, &move_count, reason);
    if (status != STATUS_OK) {
        topology_deinit(&built);
        return status;
    }
    if (built.running.id != 0) {
        running_end(&built, TOPOLOGY_SUPERSEDED, epoch);
    }
    built.running = built.staged;
    built.running.committed_epoch = epoch;
    built.running.move_count = move_count;
    memset(&built.staged, 0, sizeof(built.staged));
    topology_deinit(topology);
    *topology = built;
    return STATUS_OK;
}

/* A range that reads its new replicas goes on to them, one that does not goes back. Weights, zones
 * and the factor stay as the plan set them: the next plan goes by them. */
static enum status abort_apply(struct topology *topology, uint64_t plan_id, const char **reason)
{
    if (topology->running.id == 0 || topology->running.id != plan_id) {
        *reason = "no plan of this id is running";
        return STATUS_REFUSED;
    }
    for (uint32_t i = 0; i < topology->member_count; i++) {
        struct topology_member *member = &topology->members[i];
        if (member->state == TOPOLOGY_LEAVING && !member->lost) {
            member->state = TOPOLOGY_ACTIVE;
        }
    }
    for (uint32_t i = 0; i < topology->range_count; i++) {
        struct topology_range *range = &topology->ranges[i];
        switch (range->stage) {
        case TOPOLOGY_STABLE:
            range->goal = (struct ring_replicas){0};
            range->loss_accepted = false;
            break;
        case TOPOLOGY_WRITE_BOTH_READ_OLD:
            range->goal = range->replicas;
            break;
        case TOPOLOGY_WRITE_BOTH_READ_NEW:
            range->goal = range->next;
            if (RING_MUTANT(ABORT_AFTER_READ_NEW)) {
                *range = (struct topology_range){.replicas = range->replicas,
                                                 .epoch = topology->stamp.epoch + 1};
            }
            break;
        default:
            UNREACHABLE("a stage");
        }
    }
    running_end(topology, TOPOLOGY_ABORTED, topology->stamp.epoch + 1);
    return STATUS_OK;
}

enum status topology_plan_apply(struct topology *topology, const struct topology_command *command,
                                const char **reason)
{
    switch ((int)command->type) {
    case TOPOLOGY_PLAN_STAGE:
        return stage_apply(topology, &command->change, reason);
    case TOPOLOGY_PLAN_CLEAR:
        if (topology->staged.id == 0) {
            *reason = "nothing is staged";
            return STATUS_REFUSED;
        }
        memset(&topology->staged, 0, sizeof(topology->staged));
        return STATUS_OK;
    case TOPOLOGY_PLAN_COMMIT:
        return commit_apply(topology, command->plan_id, reason);
    case TOPOLOGY_PLAN_ABORT:
        return abort_apply(topology, command->plan_id, reason);
    default:
        UNREACHABLE("a command about a plan");
    }
}
