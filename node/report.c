/* node/report.c -- JSON pages about the ring and the node. */
#include "node/report.h"

#include "base/json.h"
#include "base/token.h"
#include "node/node.h"
#include "raft/group.h"

const char *report_state_name(const struct node *node)
{
    static const char *const names[] = {
        [NODE_OPENING] = "opening", [NODE_JOINING] = "joining",   [NODE_SERVING] = "serving",
        [NODE_REMOVED] = "removed", [NODE_STOPPING] = "stopping", [NODE_STOPPED] = "stopped",
        [NODE_FAILED] = "failed"};
    return names[node_state(node)];
}

static void field_u64(struct json_writer *json, const char *key, uint64_t value)
{
    json_key(json, key);
    json_u64(json, value);
}

static void field_text(struct json_writer *json, const char *key, const char *value)
{
    json_key(json, key);
    json_text(json, value);
}

static void field_hex(struct json_writer *json, const char *key, uint64_t value)
{
    json_key(json, key);
    json_hex64(json, value);
}

static void replicas_write(struct json_writer *json, const struct ring_replicas *replicas)
{
    json_array_begin(json);
    for (uint32_t index = 0; index < replicas->count; index++) {
        json_u64(json, replicas->ids[index]);
    }
    json_array_end(json);
}

static void member_write(struct json_writer *json, const struct topology_member *member)
{
    static const char *const states[] = {[TOPOLOGY_JOINING] = "joining",
                                         [TOPOLOGY_ACTIVE] = "active",
                                         [TOPOLOGY_LEAVING] = "leaving"};
    json_object_begin(json);
    field_u64(json, "id", member->id);
    field_u64(json, "weight", member->weight);
    field_text(json, "zone", member->zone);
    field_text(json, "state", states[member->state]);
    json_key(json, "voter");
    json_bool(json, member->voter);
    field_text(json, "peer", member->peer_address);
    field_text(json, "client", member->client_address);
    field_text(json, "admin", member->admin_address);
    json_object_end(json);
}

static void level_write(struct json_writer *json, const char *name, enum topology_level level)
{
    static const char *const names[] = {[TOPOLOGY_LEVEL_NODE] = "",
                                        [TOPOLOGY_LEVEL_ONE] = "one",
                                        [TOPOLOGY_LEVEL_QUORUM] = "quorum",
                                        [TOPOLOGY_LEVEL_ALL] = "all"};
    field_text(json, name, names[level]);
}

static void keyspaces_write(struct json_writer *json, const struct topology *topology)
{
    json_array_begin(json);
    for (uint32_t index = 0; index < topology->keyspace_count; index++) {
        const struct topology_keyspace *keyspace = &topology->keyspaces[index];
        json_object_begin(json);
        field_u64(json, "number", keyspace->number);
        field_text(json, "name", keyspace->name);
        field_text(json, "class", keyspace->class == TOPOLOGY_STRONG ? "strong" : "eventual");
        level_write(json, "read", keyspace->read_level);
        level_write(json, "write", keyspace->write_level);
        field_u64(json, "ttl_ms", keyspace->ttl_ms);
        json_object_end(json);
    }
    json_array_end(json);
}

void report_keyspaces(const struct node *node, struct buffer *to)
{
    const struct topology *topology = node_topology(node);
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    field_u64(&json, "epoch", topology->stamp.epoch);
    json_key(&json, "keyspaces");
    keyspaces_write(&json, topology);
    json_object_end(&json);
}

void report_ring(const struct node *node, struct buffer *to)
{
    const struct topology *topology = node_topology(node);
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    field_hex(&json, "cluster_id", topology->cluster_id);
    field_u64(&json, "epoch", topology->stamp.epoch);
    field_u64(&json, "generation", topology->stamp.generation.number);
    field_hex(&json, "epoch_hash", topology->stamp.hash);
    field_u64(&json, "replica_count", topology->replica_count);
    field_u64(&json, "range_count", topology->range_count);
    json_key(&json, "keyspaces");
    keyspaces_write(&json, topology);
    json_key(&json, "members");
    json_array_begin(&json);
    for (uint32_t index = 0; index < topology->member_count; index++) {
        member_write(&json, &topology->members[index]);
    }
    json_array_end(&json);
    json_key(&json, "ranges");
    json_array_begin(&json);
    for (uint32_t index = 0; index < topology->range_count; index++) {
        replicas_write(&json, &topology->ranges[index].replicas);
    }
    json_array_end(&json);
    json_object_end(&json);
}

static void servers_write(struct json_writer *json, const struct node *node)
{
    static const char *const duties[] = {
        [GROUP_STANDBY] = "standby", [GROUP_VOTER] = "voter", [GROUP_SPARE] = "spare"};
    struct group_configuration configuration = {0};
    bool part = node_group_configuration(node, &configuration);
    json_array_begin(json);
    for (uint32_t index = 0; part && index < configuration.server_count; index++) {
        const struct group_server *server = &configuration.servers[index];
        json_object_begin(json);
        field_u64(json, "id", server->id);
        field_text(json, "duty", duties[server->duty]);
        field_u64(json, "matched", server->matched_index);
        json_key(json, "heard_ms_ago");
        if (server->heard_ms_ago == UINT64_MAX) {
            json_null(json);
        } else {
            json_u64(json, server->heard_ms_ago);
        }
        json_object_end(json);
    }
    json_array_end(json);
}

static void raft_write(struct json_writer *json, const struct node *node)
{
    static const char *const roles[] = {[GROUP_FOLLOWER] = "follower",
                                        [GROUP_CANDIDATE] = "candidate",
                                        [GROUP_LEADER] = "leader",
                                        [GROUP_STOPPED] = "stopped"};
    struct group_info info = {0};
    bool part = node_group_info(node, &info);
    json_object_begin(json);
    field_text(json, "role", part ? roles[info.role] : "none");
    field_u64(json, "leader", info.leader_id);
    field_u64(json, "term", info.term);
    field_u64(json, "applied", info.applied_index);
    field_u64(json, "last", info.last_index);
    json_key(json, "servers");
    servers_write(json, node);
    json_object_end(json);
}

static void peers_write(struct json_writer *json, const struct node *node)
{
    static const char *const states[] = {
        [NODE_PEER_UP] = "up", [NODE_PEER_SUSPECT] = "suspect", [NODE_PEER_DOWN] = "down"};
    struct node_peer_info infos[RING_MEMBER_COUNT_MAX];
    uint32_t count = node_peers(node, infos, RING_MEMBER_COUNT_MAX);
    json_array_begin(json);
    for (uint32_t index = 0; index < count; index++) {
        const struct node_peer_info *info = &infos[index];
        json_object_begin(json);
        field_u64(json, "id", info->id);
        field_text(json, "state", states[info->state]);
        json_key(json, "heard_ms_ago");
        if (info->heard_ms_ago == UINT64_MAX) {
            json_null(json);
        } else {
            json_u64(json, info->heard_ms_ago);
        }
        json_key(json, "phi");
        json_double(json, (double)info->phi_milli / 1000);
        field_u64(json, "keys", info->key_estimate);
        field_u64(json, "stored_size", info->stored_size);
        field_u64(json, "epoch", info->epoch);
        json_object_end(json);
    }
    json_array_end(json);
}

void report_status(const struct node *node, struct buffer *to)
{
    const struct topology *topology = node_topology(node);
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    field_u64(&json, "id", node_config(node)->id);
    field_text(&json, "state", report_state_name(node));
    json_key(&json, "read_only");
    json_bool(&json, node_read_only(node));
    field_text(&json, "version", REPORT_VERSION);
    field_hex(&json, "cluster_id", topology->cluster_id);
    field_u64(&json, "epoch", topology->stamp.epoch);
    json_key(&json, "raft");
    raft_write(&json, node);
    json_key(&json, "members");
    peers_write(&json, node);
    field_u64(&json, "replica_count", topology->replica_count);
    field_u64(&json, "keys", node_key_estimate(node));
    json_object_end(&json);
}

void report_locate(const struct node *node, uint16_t keyspace, struct slice key, struct buffer *to)
{
    const struct topology *topology = node_topology(node);
    uint64_t token = token_of(keyspace, key);
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    field_u64(&json, "slot", token_slot(key));
    field_hex(&json, "token", token);
    if (topology->range_count > 0) {
        uint32_t range = ring_range_of(token, topology->range_count);
        field_u64(&json, "range", range);
        json_key(&json, "replicas");
        replicas_write(&json, &topology->ranges[range].replicas);
    }
    json_object_end(&json);
}
