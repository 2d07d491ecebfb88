/*
 * ring/topology.c -- the state machine: its life, look-ups, and the one door for commands.
 *
 * A command is decoded and judged before anything changes; whatever needs memory is built aside and
 * swapped in at the end. So a command is applied whole or not at all, and the hash, which covers
 * the command's bytes, stands for the state. What each command may do is in the files of
 * ring/topology_rules.h.
 */
#include "ring/topology.h"

#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "base/memory.h"
#include "ring/mutant.h"
#include "ring/topology_rules.h"

#define HASH_SEED 0

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
    memory_free(topology->history);
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
    copy.history = NULL;
    if (from->cluster_id != 0) {
        copy.members = array_copy(from->members, from->member_count, sizeof(*from->members));
        copy.ranges = array_copy(from->ranges, from->range_count, sizeof(*from->ranges));
        copy.keyspaces =
            array_copy(from->keyspaces, from->keyspace_count, sizeof(*from->keyspaces));
        copy.history = topology_history_make();
        if (copy.members == NULL || copy.ranges == NULL || copy.keyspaces == NULL ||
            copy.history == NULL) {
            topology_deinit(&copy);
            return STATUS_NO_MEMORY;
        }
        memcpy(copy.history, from->history, from->history_count * sizeof(*from->history));
    }
    topology_deinit(to);
    *to = copy;
    return STATUS_OK;
}

struct topology_member *topology_member_at(const struct topology *topology, uint32_t id)
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
    return topology_member_at(topology, id);
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

const struct topology_keyspace *topology_keyspace_named(const struct topology *topology,
                                                        struct slice name)
{
    for (uint32_t i = 0; i < topology->keyspace_count; i++) {
        if (slice_equal(slice_text(topology->keyspaces[i].name), name)) {
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

/* ------------------------------------------------------------------ apply */

static uint64_t hash_next(uint64_t hash, struct slice command)
{
    uint8_t previous[sizeof(hash)];
    codec_store_u64(previous, hash);
    const struct slice pieces[] = {slice_make(previous, sizeof(previous)), command};
    return checksum64_pieces(pieces, ARRAY_COUNT(pieces), HASH_SEED);
}

void topology_generation_begin(struct topology *topology, uint64_t generation_id, uint32_t voter_id)
{
    ASSERT(topology != NULL);
    ASSERT(topology_member_find(topology, voter_id) != NULL);
    uint8_t begun[sizeof(uint32_t) + sizeof(uint64_t) + sizeof(uint32_t)];
    struct topology_generation *generation = &topology->stamp.generation;
    if (!RING_MUTANT(GENERATION_STAYS)) {
        *generation = (struct topology_generation){generation->number + 1, generation_id};
    }
    for (uint32_t i = 0; i < topology->member_count; i++) {
        topology->members[i].voter = topology->members[i].id == voter_id;
    }
    codec_store_u32(begun, generation->number);
    codec_store_u64(begun + sizeof(uint32_t), generation_id);
    codec_store_u32(begun + sizeof(uint32_t) + sizeof(uint64_t), voter_id);
    topology->stamp.hash = hash_next(topology->stamp.hash, slice_make(begun, sizeof(begun)));
}

/* Of BOOTSTRAP 0 is the epoch, of all others it is any. */
static bool epoch_is_expected(const struct topology *topology,
                              const struct topology_command *command)
{
    bool any = command->expected_epoch == 0 && command->type != TOPOLOGY_BOOTSTRAP;
    return any || command->expected_epoch == topology->stamp.epoch;
}

static enum status command_apply(struct topology *topology, struct topology_command_owned *owned,
                                 const char **reason)
{
    const struct topology_command *command = &owned->command;
    if (topology->cluster_id == 0 && command->type != TOPOLOGY_BOOTSTRAP) {
        *reason = "the cluster is not bootstrapped";
        return STATUS_REFUSED;
    }
    switch (command->type) {
    case TOPOLOGY_BOOTSTRAP:
        return topology_bootstrap_apply(topology, owned, reason);
    case TOPOLOGY_MEMBER_ADD:
    case TOPOLOGY_MEMBER_UPDATE:
    case TOPOLOGY_MEMBER_REMOVE:
        return topology_member_apply(topology, command, reason);
    case TOPOLOGY_PLAN_STAGE:
    case TOPOLOGY_PLAN_CLEAR:
    case TOPOLOGY_PLAN_COMMIT:
    case TOPOLOGY_PLAN_ABORT:
        return topology_plan_apply(topology, command, reason);
    case TOPOLOGY_STEPS:
        return topology_steps_apply(topology, command, reason);
    case TOPOLOGY_VOTERS:
        return topology_voters_apply(topology, command, reason);
    case TOPOLOGY_ACCEPT_LOSS:
        return topology_loss_apply(topology, command, reason);
    case TOPOLOGY_KEYSPACE_CREATE:
        return topology_keyspace_apply(topology, command, reason);
    default:
        UNREACHABLE("a type of command");
    }
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
    if (epoch_is_expected(topology, &owned.command)) {
        status = command_apply(topology, &owned, reason);
    } else {
        *reason = "the epoch is not the expected one";
        status = STATUS_STALE;
    }
    if (status == STATUS_OK) {
        topology->stamp.epoch = epoch + 1;
        topology->stamp.hash = hash_next(hash, command);
        topology_plan_settle(topology);
    }
    topology_command_owned_deinit(&owned);
    return status;
}
