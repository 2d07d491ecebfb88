/*
 * node/driver_member.c -- keeps the topology's members true: where they are, and who has left.
 *
 * A member that moved says so in its hello; only what it has on disk proves that it is the one, so
 * a hello with another disk changes nothing (membership.c does not let it in either). A member that
 * is LEAVING goes once no range names it and it has no vote, neither by the topology nor by the
 * group.
 */
#include <string.h>

#include "node/driver_internal.h"

/* What the hello says of a member that the topology has otherwise. */
static bool update_due(const struct topology_member *member, const struct message_hello *hello,
                       struct topology_member *updated)
{
    if (member->lost || (member->disk_id != 0 && member->disk_id != hello->disk_id)) {
        return false;
    }
    *updated = *member;
    updated->disk_id = hello->disk_id;
    memcpy(updated->peer_address, hello->peer_address, sizeof(updated->peer_address));
    memcpy(updated->client_address, hello->client_address, sizeof(updated->client_address));
    memcpy(updated->admin_address, hello->admin_address, sizeof(updated->admin_address));
    return member->disk_id != updated->disk_id ||
           strcmp(member->peer_address, updated->peer_address) != 0 ||
           strcmp(member->client_address, updated->client_address) != 0 ||
           strcmp(member->admin_address, updated->admin_address) != 0;
}

/* Once it is no member nobody talks to it any more: a vote it still has would be lost to the group,
 * and if it leads, no one could be made a voter in its place. */
static bool removal_due(const struct driver *driver, const struct topology_member *member)
{
    return member->state == TOPOLOGY_LEAVING && !member->voter &&
           !topology_member_is_named(driver->options.topology, member->id) &&
           !driver->options.events->votes(driver->options.context, member->id);
}

bool driver_member_command(struct driver *driver, struct topology_command *command)
{
    const struct topology *topology = driver->options.topology;
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        struct driver_node *node = driver_node_of(driver, member->id);
        if (node == NULL || node->refused_epoch == topology->stamp.epoch) {
            continue;
        }
        *command = (struct topology_command){.type = TOPOLOGY_MEMBER_UPDATE, .member = *member};
        bool due = node->greeted && update_due(member, &node->hello, &command->member);
        if (!due && removal_due(driver, member)) {
            command->type = TOPOLOGY_MEMBER_REMOVE;
            due = true;
        }
        if (due) {
            driver->proposed_node = member->id;
            return true;
        }
    }
    return false;
}
