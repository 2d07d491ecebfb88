/*
 * ring/topology_members.c -- who belongs to the cluster: bootstrap, members by themselves, voters.
 *
 * What a member holds, and its state with it, changes by plans alone (ring/topology_plan.c).
 */
#include <stdlib.h>
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "ring/goals.h"
#include "ring/topology_rules.h"

/* ------------------------------------------------------------------ bootstrap */

static int compare_members(const void *a, const void *b)
{
    uint32_t left = ((const struct topology_member *)a)->id;
    uint32_t right = ((const struct topology_member *)b)->id;
    return (left > right) - (left < right);
}

static int compare_keyspaces(const void *a, const void *b)
{
    uint16_t left = ((const struct topology_keyspace *)a)->number;
    uint16_t right = ((const struct topology_keyspace *)b)->number;
    return (left > right) - (left < right);
}

static bool members_have_weight(const struct topology_member *members, uint32_t member_count)
{
    for (uint32_t i = 0; i < member_count; i++) {
        if (members[i].weight > 0) {
            return true;
        }
    }
    return false;
}

static uint32_t voters_of(const struct topology_member *members, uint32_t member_count)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < member_count; i++) {
        count += members[i].voter ? 1 : 0;
    }
    return count;
}

/* Members and keyspaces are sorted. */
static const char *bootstrap_fault(const struct topology_command *command)
{
    if (command->cluster_id == 0) {
        return "the cluster id is 0";
    }
    const char *fault = topology_sizes_fault(command->replica_count, command->range_count);
    if (fault == NULL) {
        fault = topology_members_fault(command->members, command->member_count);
    }
    if (fault == NULL) {
        fault = topology_keyspaces_fault(command->keyspaces, command->keyspace_count);
    }
    if (fault != NULL) {
        return fault;
    }
    if (voters_of(command->members, command->member_count) % 2 == 0) {
        return "not 1, 3 or 5 voters";
    }
    if (!members_have_weight(command->members, command->member_count)) {
        return "no member has a weight";
    }
    return NULL;
}

/* Fills topology->ranges by the members; all of them are placed as if new. */
static enum status bootstrap_place(struct topology *topology)
{
    struct ring_replicas *places = memory_allocate_zeroed(topology->range_count, sizeof(*places));
    topology->ranges = memory_allocate_zeroed(topology->range_count, sizeof(*topology->ranges));
    enum status status = STATUS_NO_MEMORY;
    if (places != NULL && topology->ranges != NULL) {
        status = goals_place(topology, places);
    }
    for (uint32_t i = 0; status == STATUS_OK && i < topology->range_count; i++) {
        topology->ranges[i].replicas = places[i];
        topology->ranges[i].epoch = topology->stamp.epoch;
    }
    memory_free(places);
    return status;
}

enum status topology_bootstrap_apply(struct topology *topology,
                                     struct topology_command_owned *owned, const char **reason)
{
    const struct topology_command *command = &owned->command;
    if (topology->cluster_id != 0) {
        *reason = "the cluster is bootstrapped already";
        return STATUS_REFUSED;
    }
    qsort(owned->members, command->member_count, sizeof(*owned->members), compare_members);
    qsort(owned->keyspaces, command->keyspace_count, sizeof(*owned->keyspaces), compare_keyspaces);
    *reason = bootstrap_fault(command);
    if (*reason != NULL) {
        return STATUS_REFUSED;
    }
    struct topology built;
    topology_init(&built);
    built.cluster_id = command->cluster_id;
    built.stamp = (struct topology_stamp){.generation = {1, command->generation_id}, .epoch = 1};
    built.replica_count = command->replica_count;
    built.range_count = command->range_count;
    built.member_count = command->member_count;
    built.keyspace_count = command->keyspace_count;
    built.members = owned->members;
    built.keyspaces = owned->keyspaces;
    owned->members = NULL;
    owned->keyspaces = NULL;
    built.history = topology_history_make();
    enum status status = built.history != NULL ? bootstrap_place(&built) : STATUS_NO_MEMORY;
    if (status != STATUS_OK) {
        topology_deinit(&built);
        return status;
    }
    topology_deinit(topology);
    *topology = built;
    return STATUS_OK;
}

/* ------------------------------------------------------------------ members */

static enum status add_apply(struct topology *topology, const struct topology_member *member,
                             const char **reason)
{
    if (topology->member_count == RING_MEMBER_COUNT_MAX) {
        *reason = "the cluster has as many members as it can";
        return STATUS_REFUSED;
    }
    if (topology_member_find(topology, member->id) != NULL) {
        *reason = "a member has this id already";
        return STATUS_REFUSED;
    }
    uint32_t count = topology->member_count + 1;
    struct topology_member *members = memory_allocate_zeroed(count, sizeof(*members));
    if (members == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(members, topology->members, topology->member_count * sizeof(*members));
    members[count - 1] = *member;
    members[count - 1].state = TOPOLOGY_JOINING;
    members[count - 1].voter = false;
    qsort(members, count, sizeof(*members), compare_members);
    *reason = topology_members_fault(members, count);
    if (*reason != NULL) {
        memory_free(members);
        return STATUS_REFUSED;
    }
    memory_free(topology->members);
    topology->members = members;
    topology->member_count = count;
    return STATUS_OK;
}

static const char *update_fault(const struct topology_member *before,
                                const struct topology_member *after)
{
    if (before->disk_id != 0 && after->disk_id != before->disk_id) {
        return "the disk of a member cannot change: replace the member";
    }
    if (before->state != TOPOLOGY_JOINING &&
        (after->weight != before->weight || strcmp(after->zone, before->zone) != 0)) {
        return "the weight and zone of a member that has joined change by a plan";
    }
    return NULL;
}

/* What plans and votes made of it stays. */
static enum status update_apply(struct topology *topology, struct topology_member *member,
                                const struct topology_member *updated, const char **reason)
{
    struct topology_member before = *member;
    *reason = update_fault(member, updated);
    if (*reason != NULL) {
        return STATUS_REFUSED;
    }
    *member = *updated;
    member->state = before.state;
    member->voter = before.voter;
    member->lost = before.lost;
    member->replaces = before.replaces;
    *reason = topology_members_fault(topology->members, topology->member_count);
    if (*reason != NULL) {
        *member = before;
        return STATUS_REFUSED;
    }
    return STATUS_OK;
}

bool topology_member_is_named(const struct topology *topology, uint32_t id)
{
    for (uint32_t i = 0; i < topology->range_count; i++) {
        const struct topology_range *range = &topology->ranges[i];
        if (ring_replicas_contain(&range->replicas, id) ||
            ring_replicas_contain(&range->next, id) || ring_replicas_contain(&range->goal, id)) {
            return true;
        }
    }
    return false;
}

static enum status remove_apply(struct topology *topology, struct topology_member *member,
                                const char **reason)
{
    uint32_t id = member->id;
    if (topology_member_is_named(topology, id)) {
        *reason = "the member still holds ranges";
        return STATUS_REFUSED;
    }
    if (member->state == TOPOLOGY_ACTIVE) {
        *reason = "the member is active: it must leave first";
        return STATUS_REFUSED;
    }
    if (member->voter) {
        *reason = "the member still votes: another must be given its vote first";
        return STATUS_REFUSED;
    }
    size_t after = (size_t)(topology->members + topology->member_count - member) - 1;
    memmove(member, member + 1, after * sizeof(*member));
    topology->member_count--;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        if (topology->members[i].replaces == id) {
            topology->members[i].replaces = 0;
        }
    }
    return STATUS_OK;
}

enum status topology_member_apply(struct topology *topology, const struct topology_command *command,
                                  const char **reason)
{
    if (command->type == TOPOLOGY_MEMBER_ADD) {
        return add_apply(topology, &command->member, reason);
    }
    struct topology_member *member = topology_member_at(topology, command->member.id);
    if (member == NULL) {
        *reason = "no member has this id";
        return STATUS_REFUSED;
    }
    if (command->type == TOPOLOGY_MEMBER_UPDATE) {
        return update_apply(topology, member, &command->member, reason);
    }
    ASSERT(command->type == TOPOLOGY_MEMBER_REMOVE);
    return remove_apply(topology, member, reason);
}

/* ------------------------------------------------------------------ voters */

static const char *voters_fault(const struct topology *topology,
                                const struct topology_command *command)
{
    if (command->voter_count == 0) {
        return "not 1 to 5 voters";
    }
    for (uint32_t i = 0; i < command->voter_count; i++) {
        if (i > 0 && command->voters[i] <= command->voters[i - 1]) {
            return "the voters do not rise";
        }
        if (topology_member_find(topology, command->voters[i]) == NULL) {
            return "a voter is no member";
        }
    }
    return NULL;
}

enum status topology_voters_apply(struct topology *topology, const struct topology_command *command,
                                  const char **reason)
{
    *reason = voters_fault(topology, command);
    if (*reason != NULL) {
        return STATUS_REFUSED;
    }
    for (uint32_t i = 0; i < topology->member_count; i++) {
        topology->members[i].voter = false;
    }
    for (uint32_t i = 0; i < command->voter_count; i++) {
        topology_member_at(topology, command->voters[i])->voter = true;
    }
    return STATUS_OK;
}
