/*
 * ring/topology.c -- the state machine: which commands are allowed, and what they change.
 *
 * A command is decoded and judged before anything changes; whatever needs memory is built aside and
 * swapped in at the end. So a command is applied whole or not at all, and the hash, which covers
 * the command's bytes, stands for the state.
 */
#include "ring/topology.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "base/memory.h"
#include "ring/topology_codec.h"

#define VOTER_COUNT_MAX 5
#define HASH_SEED 0

static const uint32_t member_moves[] = {
    [TOPOLOGY_JOINING] = BIT(TOPOLOGY_ACTIVE),
    [TOPOLOGY_ACTIVE] = BIT(TOPOLOGY_LEAVING),
    [TOPOLOGY_LEAVING] = 0,
};

/* ------------------------------------------------------------------ life and look-ups */

void topology_init(struct topology *topology)
{
    memset(topology, 0, sizeof(*topology));
}

void topology_deinit(struct topology *topology)
{
    memory_free(topology->members);
    memory_free(topology->ranges);
    memory_free(topology->keyspaces);
    topology_init(topology);
}

static void *array_copy(const void *from, size_t count, size_t size)
{
    void *to = memory_allocate_zeroed(count, size);
    if (to != NULL) {
        memcpy(to, from, count * size);
    }
    return to;
}

enum status topology_copy(struct topology *to, const struct topology *from)
{
    ASSERT(to != NULL);
    ASSERT(from != NULL);
    struct topology copy = *from;
    copy.members = NULL;
    copy.ranges = NULL;
    copy.keyspaces = NULL;
    if (from->cluster_id != 0) {
        copy.members = array_copy(from->members, from->member_count, sizeof(*from->members));
        copy.ranges = array_copy(from->ranges, from->range_count, sizeof(*from->ranges));
        copy.keyspaces =
            array_copy(from->keyspaces, from->keyspace_count, sizeof(*from->keyspaces));
        if (copy.members == NULL || copy.ranges == NULL || copy.keyspaces == NULL) {
            topology_deinit(&copy);
            return STATUS_NO_MEMORY;
        }
    }
    topology_deinit(to);
    *to = copy;
    return STATUS_OK;
}

static struct topology_member *member_find(const struct topology *topology, uint32_t id)
{
    uint32_t low = 0;
    uint32_t high = topology->member_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (topology->members[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < topology->member_count && topology->members[low].id == id;
    return found ? &topology->members[low] : NULL;
}

const struct topology_member *topology_member_find(const struct topology *topology, uint32_t id)
{
    return member_find(topology, id);
}

const struct topology_range *topology_range_of(const struct topology *topology, uint64_t token)
{
    if (topology->range_count == 0) {
        return NULL;
    }
    return &topology->ranges[ring_range_of(token, topology->range_count)];
}

const struct topology_keyspace *topology_keyspace_find(const struct topology *topology,
                                                       uint16_t number)
{
    for (uint32_t i = 0; i < topology->keyspace_count; i++) {
        if (topology->keyspaces[i].number == number) {
            return &topology->keyspaces[i];
        }
    }
    return NULL;
}

int topology_stamp_compare(const struct topology_stamp *a, const struct topology_stamp *b)
{
    if (a->generation.number != b->generation.number) {
        return a->generation.number < b->generation.number ? -1 : 1;
    }
    return (a->epoch > b->epoch) - (a->epoch < b->epoch);
}

/* ------------------------------------------------------------------ rules */

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

const char *topology_member_fault(const struct topology_member *member)
{
    if (member->id == 0) {
        return "a member's id is 0";
    }
    if (member->weight > RING_WEIGHT_MAX) {
        return "a member's weight is above the limit";
    }
    if (member->zone[0] == '\0' || !text_is_printable(member->zone)) {
        return "a member's zone is empty or not printable";
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

const char *topology_members_fault(const struct topology_member *members, uint32_t member_count)
{
    uint32_t voter_count = 0;
    if (member_count == 0 || member_count > RING_MEMBER_COUNT_MAX) {
        return "the number of members is out of bounds";
    }
    for (uint32_t i = 0; i < member_count; i++) {
        const char *fault = topology_member_fault(&members[i]);
        if (fault != NULL) {
            return fault;
        }
        if (i > 0 && members[i].id <= members[i - 1].id) {
            return "two members have one id";
        }
        for (uint32_t j = 0; j < i; j++) {
            if (members_collide(&members[i], &members[j])) {
                return "two members have one address";
            }
        }
        voter_count += members[i].voter ? 1 : 0;
    }
    return voter_count >= 1 && voter_count <= VOTER_COUNT_MAX ? NULL : "not 1 to 5 voters";
}

const char *topology_keyspaces_fault(const struct topology_keyspace *keyspaces,
                                     uint32_t keyspace_count)
{
    if (keyspace_count == 0 || keyspace_count > TOPOLOGY_KEYSPACE_COUNT_MAX) {
        return "the number of keyspaces is out of bounds";
    }
    for (uint32_t i = 0; i < keyspace_count; i++) {
        if (keyspaces[i].name[0] == '\0' || !text_is_printable(keyspaces[i].name)) {
            return "a keyspace's name is empty or not printable";
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
    struct ring_node *nodes = memory_allocate_zeroed(topology->member_count, sizeof(*nodes));
    struct ring_replicas *placement =
        memory_allocate_zeroed(topology->range_count, sizeof(*placement));
    topology->ranges = memory_allocate_zeroed(topology->range_count, sizeof(*topology->ranges));
    enum status status = STATUS_NO_MEMORY;
    if (nodes != NULL && placement != NULL && topology->ranges != NULL) {
        for (uint32_t i = 0; i < topology->member_count; i++) {
            nodes[i].id = topology->members[i].id;
            nodes[i].weight = topology->members[i].weight;
            memcpy(nodes[i].zone, topology->members[i].zone, sizeof(nodes[i].zone));
        }
        const struct ring_input input = {.nodes = nodes,
                                         .node_count = topology->member_count,
                                         .range_count = topology->range_count,
                                         .replica_count = topology->replica_count};
        status = ring_place(&input, placement);
        ASSERT(status != STATUS_INVALID); /* bootstrap_fault looked at all of it. */
    }
    for (uint32_t i = 0; status == STATUS_OK && i < topology->range_count; i++) {
        topology->ranges[i].replicas = placement[i];
        topology->ranges[i].epoch = topology->stamp.epoch;
    }
    memory_free(nodes);
    memory_free(placement);
    return status;
}

static enum status bootstrap_apply(struct topology *topology, struct topology_command_owned *owned,
                                   const char **reason)
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
    built.members = array_copy(command->members, built.member_count, sizeof(*built.members));
    built.keyspaces =
        array_copy(command->keyspaces, built.keyspace_count, sizeof(*built.keyspaces));
    enum status status = STATUS_NO_MEMORY;
    if (built.members != NULL && built.keyspaces != NULL) {
        status = bootstrap_place(&built);
    }
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
    if (member_find(topology, member->id) != NULL) {
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

/* State and vote stay what they are. */
static enum status update_apply(struct topology *topology, struct topology_member *member,
                                const struct topology_member *updated, const char **reason)
{
    struct topology_member before = *member;
    *member = *updated;
    member->state = before.state;
    member->voter = before.voter;
    *reason = topology_members_fault(topology->members, topology->member_count);
    if (*reason != NULL) {
        *member = before;
        return STATUS_REFUSED;
    }
    return STATUS_OK;
}

static enum status state_apply(const struct topology *topology, struct topology_member *member,
                               enum topology_member_state state, const char **reason)
{
    uint32_t active_count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        active_count += topology->members[i].state == TOPOLOGY_ACTIVE ? 1 : 0;
    }
    if ((member_moves[member->state] & BIT(state)) == 0) {
        *reason = "a member cannot go from its state to this one";
        return STATUS_REFUSED;
    }
    if (state == TOPOLOGY_LEAVING && active_count == 1) {
        *reason = "the last active member cannot leave";
        return STATUS_REFUSED;
    }
    member->state = state;
    return STATUS_OK;
}

static bool member_is_named(const struct topology *topology, uint32_t id)
{
    for (uint32_t i = 0; i < topology->range_count; i++) {
        if (ring_replicas_contain(&topology->ranges[i].replicas, id) ||
            ring_replicas_contain(&topology->ranges[i].next, id)) {
            return true;
        }
    }
    return false;
}

static enum status remove_apply(struct topology *topology, struct topology_member *member,
                                const char **reason)
{
    if (member_is_named(topology, member->id)) {
        *reason = "the member still holds ranges";
        return STATUS_REFUSED;
    }
    if (member->state == TOPOLOGY_ACTIVE) {
        *reason = "the member is active: it must leave first";
        return STATUS_REFUSED;
    }
    if (member->voter && voters_of(topology->members, topology->member_count) == 1) {
        *reason = "the member is the last voter";
        return STATUS_REFUSED;
    }
    size_t after = (size_t)(topology->members + topology->member_count - member) - 1;
    memmove(member, member + 1, after * sizeof(*member));
    topology->member_count--;
    return STATUS_OK;
}

static enum status member_apply(struct topology *topology, const struct topology_command *command,
                                const char **reason)
{
    if (topology->cluster_id == 0) {
        *reason = "the cluster is not bootstrapped";
        return STATUS_REFUSED;
    }
    if (command->type == TOPOLOGY_MEMBER_ADD) {
        return add_apply(topology, &command->member, reason);
    }
    struct topology_member *member = member_find(topology, command->member.id);
    if (member == NULL) {
        *reason = "no member has this id";
        return STATUS_REFUSED;
    }
    switch (command->type) {
    case TOPOLOGY_MEMBER_UPDATE:
        return update_apply(topology, member, &command->member, reason);
    case TOPOLOGY_MEMBER_STATE:
        return state_apply(topology, member, command->member.state, reason);
    case TOPOLOGY_MEMBER_REMOVE:
        return remove_apply(topology, member, reason);
    case TOPOLOGY_BOOTSTRAP:
    case TOPOLOGY_MEMBER_ADD:
    default:
        UNREACHABLE("a command about one member");
    }
}

/* ------------------------------------------------------------------ apply */

static uint64_t hash_next(uint64_t hash, struct slice command)
{
    uint8_t previous[sizeof(hash)];
    codec_store_u64(previous, hash);
    const struct slice pieces[] = {slice_make(previous, sizeof(previous)), command};
    return checksum64_pieces(pieces, ARRAY_COUNT(pieces), HASH_SEED);
}

enum status topology_apply(struct topology *topology, struct slice command, const char **reason)
{
    ASSERT(topology != NULL);
    ASSERT(reason != NULL);
    struct topology_command_owned owned;
    uint64_t epoch = topology->stamp.epoch;
    uint64_t hash = topology->stamp.hash;
    *reason = "the command does not decode";
    enum status status = topology_command_decode(&owned, command);
    if (status != STATUS_OK) {
        return status;
    }
    if (owned.command.expected_epoch != epoch) {
        *reason = "the epoch is not the expected one";
        status = STATUS_STALE;
    } else if (owned.command.type == TOPOLOGY_BOOTSTRAP) {
        status = bootstrap_apply(topology, &owned, reason);
    } else {
        status = member_apply(topology, &owned.command, reason);
    }
    if (status == STATUS_OK) {
        topology->stamp.epoch = epoch + 1;
        topology->stamp.hash = hash_next(hash, command);
    }
    topology_command_owned_deinit(&owned);
    return status;
}
