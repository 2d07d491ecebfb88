/*
 * ring/topology_keyspaces.c -- keyspaces beyond those of the bootstrap.
 *
 * They only ever become more: cells lie under a keyspace's number, and nothing removes those of a
 * whole keyspace, so a number that was given once would bring old values under a new name.
 */
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "ring/topology_rules.h"

/* Keyspaces are sorted by number, and at most one has each. */
static uint16_t number_free(const struct topology *topology)
{
    uint16_t number = TOPOLOGY_KEYSPACE_FIRST;
    for (uint32_t i = 0; i < topology->keyspace_count; i++) {
        number = (uint16_t)(number + (topology->keyspaces[i].number == number ? 1 : 0));
    }
    return number;
}

/* Into room for one more than there are. */
static void keyspace_insert(const struct topology *topology,
                            const struct topology_keyspace *keyspace, struct topology_keyspace *to)
{
    uint32_t at = 0;
    while (at < topology->keyspace_count && topology->keyspaces[at].number < keyspace->number) {
        at++;
    }
    uint32_t behind = topology->keyspace_count - at;
    memcpy(to, topology->keyspaces, at * sizeof(*to));
    to[at] = *keyspace;
    if (behind > 0) {
        memcpy(&to[at + 1], &topology->keyspaces[at], behind * sizeof(*to));
    }
}

enum status topology_keyspace_apply(struct topology *topology,
                                    const struct topology_command *command, const char **reason)
{
    struct topology_keyspace keyspace = command->keyspace;
    keyspace.number = number_free(topology);
    if (keyspace.number >= TOPOLOGY_KEYSPACE_COUNT_MAX) {
        *reason = "there are as many keyspaces as there can be";
        return STATUS_REFUSED;
    }
    uint32_t count = topology->keyspace_count + 1;
    struct topology_keyspace *keyspaces = memory_allocate_zeroed(count, sizeof(*keyspaces));
    if (keyspaces == NULL) {
        return STATUS_NO_MEMORY;
    }
    keyspace_insert(topology, &keyspace, keyspaces);
    *reason = topology_keyspaces_fault(keyspaces, count);
    if (*reason != NULL) {
        memory_free(keyspaces);
        return STATUS_REFUSED;
    }
    memory_free(topology->keyspaces);
    topology->keyspaces = keyspaces;
    topology->keyspace_count = count;
    return STATUS_OK;
}
