/*
 * ring/topology_rules.c -- what holds of every topology, however it came to be.
 */
#include "ring/topology_rules.h"

#include <string.h>

#include "base/contract.h"

/* ------------------------------------------------------------------ members and keyspaces */

static bool text_is_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~') {
            return false;
        }
    }
    return true;
}

/* Nodes without a client or admin port have an empty text there. */
static bool address_is_valid(const char *text, bool may_be_empty)
{
    struct address address;
    if (text[0] == '\0') {
        return may_be_empty;
    }
    return address_parse(text, &address) == STATUS_OK;
}

const char *topology_zone_fault(const char *zone)
{
    bool valid = zone[0] != '\0' && text_is_printable(zone);
    return valid ? NULL : "a member's zone is empty or not printable";
}

const char *topology_member_fault(const struct topology_member *member)
{
    if (member->id == 0) {
        return "a member's id is 0";
    }
    if (member->weight > RING_WEIGHT_MAX) {
        return "a member's weight is above the limit";
    }
    if (member->lost && member->state != TOPOLOGY_LEAVING) {
        return "a member is lost and does not leave";
    }
    const char *fault = topology_zone_fault(member->zone);
    if (fault != NULL) {
        return fault;
    }
    if (!address_is_valid(member->peer_address, false) ||
        !address_is_valid(member->client_address, true) ||
        !address_is_valid(member->admin_address, true)) {
        return "a member's address is malformed";
    }
    return NULL;
}

static bool texts_collide(const char *a, const char *b)
{
    return a[0] != '\0' && strcmp(a, b) == 0;
}

static bool members_collide(const struct topology_member *a, const struct topology_member *b)
{
    return texts_collide(a->peer_address, b->peer_address) ||
           texts_collide(a->client_address, b->client_address) ||
           texts_collide(a->admin_address, b->admin_address);
}

static bool member_is_lost(const struct topology_member *members, uint32_t member_count,
                           uint32_t id)
{
    for (uint32_t i = 0; i < member_count; i++) {
        if (members[i].id == id) {
            return members[i].lost;
        }
    }
    return false;
}

/* Against the members before it. */
static const char *pair_fault(const struct topology_member *members, uint32_t index)
{
    const struct topology_member *member = &members[index];
    if (index > 0 && member->id <= members[index - 1].id) {
        return "two members have one id";
    }
    for (uint32_t i = 0; i < index; i++) {
        if (members_collide(member, &members[i])) {
            return "two members have one address";
        }
        if (member->disk_id != 0 && member->disk_id == members[i].disk_id) {
            return "two members have one disk";
        }
    }
    return NULL;
}

const char *topology_members_fault(const struct topology_member *members, uint32_t member_count)
{
    uint32_t voter_count = 0;
    if (member_count == 0 || member_count > RING_MEMBER_COUNT_MAX) {
        return "the number of members is out of bounds";
    }
    for (uint32_t i = 0; i < member_count; i++) {
        const char *fault = topology_member_fault(&members[i]);
        if (fault == NULL) {
            fault = pair_fault(members, i);
        }
        if (fault != NULL) {
            return fault;
        }
        if (members[i].replaces != 0 &&
            !member_is_lost(members, member_count, members[i].replaces)) {
            return "a member replaces one that is not lost";
        }
        voter_count += members[i].voter ? 1 : 0;
    }
    return voter_count >= 1 && voter_count <= TOPOLOGY_VOTER_COUNT_MAX ? NULL : "not 1 to 5 voters";
}

static const char *keyspace_fault(const struct topology_keyspace *keyspace)
{
    if (keyspace->number >= TOPOLOGY_KEYSPACE_COUNT_MAX) {
        return "a keyspace's number is out of bounds";
    }
    if (keyspace->name[0] == '\0' || !text_is_printable(keyspace->name)) {
        return "a keyspace's name is empty or not printable";
    }
    if (keyspace->class == TOPOLOGY_STRONG && (keyspace->read_level != TOPOLOGY_LEVEL_NODE ||
                                               keyspace->write_level != TOPOLOGY_LEVEL_NODE)) {
        return "a strong keyspace has no levels";
    }
    return keyspace->ttl_ms <= TOPOLOGY_TTL_MS_MAX ? NULL : "a keyspace's time to live is too long";
}

const char *topology_keyspaces_fault(const struct topology_keyspace *keyspaces,
                                     uint32_t keyspace_count)
{
    if (keyspace_count == 0 || keyspace_count > TOPOLOGY_KEYSPACE_COUNT_MAX) {
        return "the number of keyspaces is out of bounds";
    }
    for (uint32_t i = 0; i < keyspace_count; i++) {
        const char *fault = keyspace_fault(&keyspaces[i]);
        if (fault != NULL) {
            return fault;
        }
        if (i > 0 && keyspaces[i].number <= keyspaces[i - 1].number) {
            return "two keyspaces have one number";
        }
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(keyspaces[i].name, keyspaces[j].name) == 0) {
                return "two keyspaces have one name";
            }
        }
    }
    return NULL;
}

const char *topology_sizes_fault(uint32_t replica_count, uint32_t range_count)
{
    if (replica_count < 1 || replica_count > RING_REPLICA_COUNT_MAX) {
        return "the replica count is out of bounds";
    }
    if (range_count < 1 || range_count > RING_RANGE_COUNT_MAX ||
        (range_count & (range_count - 1)) != 0) {
        return "the range count is no power of two within bounds";
    }
    return NULL;
}

/* ------------------------------------------------------------------ ranges */

/* Ids of members, distinct. */
static bool replicas_are_sound(const struct topology *topology,
                               const struct ring_replicas *replicas)
{
    if (replicas->count > RING_REPLICA_COUNT_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < replicas->count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (replicas->ids[i] == replicas->ids[j]) {
                return false;
            }
        }
        if (topology_member_find(topology, replicas->ids[i]) == NULL) {
            return false;
        }
    }
    return true;
}

static bool goal_is_sound(const struct topology *topology, const struct topology_range *range)
{
    for (uint32_t i = 0; i < range->goal.count; i++) {
        uint32_t id = range->goal.ids[i];
        enum topology_member_state state = topology_member_find(topology, id)->state;
        bool held =
            ring_replicas_contain(&range->replicas, id) || ring_replicas_contain(&range->next, id);
        if (state == TOPOLOGY_JOINING || (state == TOPOLOGY_LEAVING && !held)) {
            return false;
        }
    }
    return true;
}

static bool operation_is_sound(const struct topology_range *range)
{
    if (range->stage == TOPOLOGY_STABLE) {
        return range->next.count == 0 && range->session == 0 && !range->merge_all &&
               !ring_replicas_same(&range->goal, &range->replicas);
    }
    return range->next.count > 0 && range->goal.count > 0 && range->session > 0 &&
           range->session <= range->epoch;
}

const char *topology_range_fault(const struct topology *topology,
                                 const struct topology_range *range)
{
    if (range->replicas.count == 0 || !replicas_are_sound(topology, &range->replicas) ||
        !replicas_are_sound(topology, &range->next) ||
        !replicas_are_sound(topology, &range->goal)) {
        return "the replicas of a range are none, repeated or no members";
    }
    if (range->epoch == 0 || range->epoch > topology->stamp.epoch) {
        return "the epoch of a range is none that was";
    }
    if (!operation_is_sound(range)) {
        return "the stage of a range does not go with the rest of it";
    }
    if (!goal_is_sound(topology, range)) {
        return "the goal of a range names a member that takes none";
    }
    return range->loss_accepted && range->goal.count == 0 ? "loss is accepted for nothing" : NULL;
}

/* ------------------------------------------------------------------ plans */

static bool staged_is_sound(const struct topology_plan *plan)
{
    return plan->id == 0 ||
           (plan->change_count > 0 && plan->committed_epoch == 0 && plan->ended_epoch == 0 &&
            plan->outcome == TOPOLOGY_OPEN && plan->move_count == 0 && plan->moved_count == 0 &&
            plan->loss_count == 0);
}

static bool committed_is_sound(const struct topology_plan *plan)
{
    return plan->change_count > 0 && plan->id < plan->committed_epoch;
}

static bool running_is_sound(const struct topology_plan *plan, uint64_t epoch)
{
    return plan->id == 0 || (committed_is_sound(plan) && plan->committed_epoch <= epoch &&
                             plan->ended_epoch == 0 && plan->outcome == TOPOLOGY_OPEN);
}

static bool ended_is_sound(const struct topology_plan *plan, uint64_t epoch)
{
    return plan->id != 0 && committed_is_sound(plan) &&
           plan->committed_epoch <= plan->ended_epoch && plan->ended_epoch <= epoch &&
           plan->outcome != TOPOLOGY_OPEN;
}

const char *topology_plans_fault(const struct topology *topology)
{
    uint64_t epoch = topology->stamp.epoch;
    if (topology->staged.id > epoch || !staged_is_sound(&topology->staged)) {
        return "the staged plan is not sound";
    }
    if (!running_is_sound(&topology->running, epoch)) {
        return "the running plan is not sound";
    }
    for (uint32_t i = 0; i < topology->history_count; i++) {
        if (!ended_is_sound(&topology->history[i], epoch)) {
            return "a plan that ended is not sound";
        }
        if (i > 0 && topology->history[i].ended_epoch < topology->history[i - 1].ended_epoch) {
            return "the plans that ended are out of order";
        }
    }
    return NULL;
}
