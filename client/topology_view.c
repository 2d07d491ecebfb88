/* client/topology_view.c -- KV.RING, KV.STATUS and KV.LOCATE, read with jansson. */
#include "client/topology_view.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/memory.h"

#define HEX64_DIGITS 16

/* ------------------------------------------------------------------ fields */

/* A field that may be missing leaves *to as it is; one of the wrong kind is an error. */
static bool field_u64(const json_t *object, const char *name, uint64_t max, uint64_t *to)
{
    const json_t *value = json_object_get(object, name);
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > max) {
        return false;
    }
    *to = (uint64_t)json_integer_value(value);
    return true;
}

static bool field_u32(const json_t *object, const char *name, uint32_t max, uint32_t *to)
{
    uint64_t value = *to;
    if (!field_u64(object, name, max, &value)) {
        return false;
    }
    *to = (uint32_t)value;
    return true;
}

static bool field_text(const json_t *object, const char *name, char *to, size_t capacity)
{
    const json_t *value = json_object_get(object, name);
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    if (!json_is_string(value) || json_string_length(value) >= capacity) {
        return false;
    }
    memcpy(to, json_string_value(value), json_string_length(value) + 1);
    return true;
}

/* Sixteen hex digits. */
static bool field_hex64(const json_t *object, const char *name, uint64_t *to)
{
    char text[HEX64_DIGITS + 1] = "";
    if (!field_text(object, name, text, sizeof(text))) {
        return false;
    }
    if (text[0] == '\0') {
        return true;
    }
    if (strlen(text) != HEX64_DIGITS || strspn(text, "0123456789abcdef") != HEX64_DIGITS) {
        return false;
    }
    *to = strtoull(text, NULL, 16);
    return true;
}

/* An array of at most `max`; a missing one counts as empty. NULL: something else. */
static bool field_array(const json_t *object, const char *name, size_t max, const json_t **array,
                        size_t *count)
{
    *array = json_object_get(object, name);
    *count = json_array_size(*array);
    return *array == NULL || (json_is_array(*array) && *count <= max);
}

static json_t *object_load(struct slice json)
{
    json_t *root = json_loadb((const char *)json.data, json.size, JSON_REJECT_DUPLICATES, NULL);
    if (root != NULL && !json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

static bool replicas_read(const json_t *array, struct kv_replicas *replicas)
{
    size_t count = json_array_size(array);
    if (!json_is_array(array) || count > KV_REPLICA_COUNT_MAX) {
        return false;
    }
    for (size_t index = 0; index < count; index++) {
        const json_t *id = json_array_get(array, index);
        if (!json_is_integer(id) || json_integer_value(id) < 1 ||
            json_integer_value(id) > UINT32_MAX) {
            return false;
        }
        replicas->ids[index] = (uint32_t)json_integer_value(id);
    }
    replicas->count = (uint32_t)count;
    return true;
}

/* ------------------------------------------------------------------ the ring */

static bool keyspaces_read(const json_t *root, struct kv_ring *ring)
{
    const json_t *array;
    size_t count;
    if (!field_array(root, "keyspaces", KV_KEYSPACE_COUNT_MAX, &array, &count)) {
        return false;
    }
    for (size_t index = 0; index < count; index++) {
        const json_t *entry = json_array_get(array, index);
        struct kv_keyspace *keyspace = &ring->keyspaces[index];
        uint32_t number = 0;
        if (!json_is_object(entry) || !field_u32(entry, "number", UINT16_MAX, &number) ||
            !field_text(entry, "name", keyspace->name, sizeof(keyspace->name)) ||
            !field_text(entry, "class", keyspace->class_name, sizeof(keyspace->class_name))) {
            return false;
        }
        keyspace->number = (uint16_t)number;
    }
    ring->keyspace_count = (uint32_t)count;
    return true;
}

static bool member_read(const json_t *entry, struct kv_member *member)
{
    member->voter = json_is_true(json_object_get(entry, "voter"));
    return json_is_object(entry) && field_u32(entry, "id", UINT32_MAX, &member->id) &&
           member->id != 0 && field_u32(entry, "weight", UINT32_MAX, &member->weight) &&
           field_text(entry, "zone", member->zone, sizeof(member->zone)) &&
           field_text(entry, "state", member->state, sizeof(member->state)) &&
           field_text(entry, "peer", member->peer, sizeof(member->peer)) &&
           field_text(entry, "client", member->client, sizeof(member->client)) &&
           field_text(entry, "admin", member->admin, sizeof(member->admin));
}

static enum status members_read(const json_t *root, struct kv_ring *ring)
{
    const json_t *array;
    size_t count;
    if (!field_array(root, "members", KV_MEMBER_COUNT_MAX, &array, &count) || count == 0) {
        return STATUS_CORRUPT;
    }
    ring->members = memory_allocate_zeroed(count, sizeof(*ring->members));
    if (ring->members == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (size_t index = 0; index < count; index++) {
        struct kv_member *member = &ring->members[index];
        if (!member_read(json_array_get(array, index), member) ||
            kv_ring_member(ring, member->id) != NULL) {
            return STATUS_CORRUPT;
        }
        ring->member_count = (uint32_t)index + 1;
    }
    return STATUS_OK;
}

static enum status ranges_read(const json_t *root, struct kv_ring *ring)
{
    const json_t *array;
    size_t count;
    uint32_t stated = 0;
    if (!field_u32(root, "range_count", KV_RANGE_COUNT_MAX, &stated) ||
        !field_array(root, "ranges", KV_RANGE_COUNT_MAX, &array, &count) || count != stated ||
        count == 0 || (count & (count - 1)) != 0) {
        return STATUS_CORRUPT;
    }
    ring->ranges = memory_allocate_zeroed(count, sizeof(*ring->ranges));
    if (ring->ranges == NULL) {
        return STATUS_NO_MEMORY;
    }
    ring->range_count = stated;
    for (size_t index = 0; index < count; index++) {
        struct kv_replicas *replicas = &ring->ranges[index];
        if (!replicas_read(json_array_get(array, index), replicas)) {
            return STATUS_CORRUPT;
        }
        for (uint32_t at = 0; at < replicas->count; at++) {
            if (kv_ring_member(ring, replicas->ids[at]) == NULL) {
                return STATUS_CORRUPT;
            }
        }
    }
    return STATUS_OK;
}

const struct kv_member *kv_ring_member(const struct kv_ring *ring, uint32_t id)
{
    for (uint32_t index = 0; index < ring->member_count; index++) {
        if (ring->members[index].id == id) {
            return &ring->members[index];
        }
    }
    return NULL;
}

enum status topology_view_ring(struct slice json, struct kv_ring *ring)
{
    *ring = (struct kv_ring){0};
    json_t *root = object_load(json);
    if (root == NULL) {
        return STATUS_CORRUPT;
    }
    enum status status = STATUS_CORRUPT;
    if (field_hex64(root, "cluster_id", &ring->cluster_id) &&
        field_u64(root, "epoch", INT64_MAX, &ring->epoch) &&
        field_u64(root, "generation", INT64_MAX, &ring->generation) &&
        field_hex64(root, "epoch_hash", &ring->epoch_hash) &&
        field_u32(root, "replica_count", KV_REPLICA_COUNT_MAX, &ring->replica_count) &&
        keyspaces_read(root, ring)) {
        const json_t *members = json_object_get(root, "members");
        bool none = ring->epoch == 0 && json_is_array(members) && json_array_size(members) == 0;
        status = none ? STATUS_UNAVAILABLE : members_read(root, ring);
    }
    if (status == STATUS_OK) {
        status = ranges_read(root, ring);
    }
    json_decref(root);
    if (status != STATUS_OK) {
        topology_view_ring_free(ring);
    }
    return status;
}

void topology_view_ring_free(struct kv_ring *ring)
{
    memory_free(ring->members);
    memory_free(ring->ranges);
    *ring = (struct kv_ring){0};
}

/* ------------------------------------------------------------------ the status */

static bool member_status_read(const json_t *entry, struct kv_member_status *member)
{
    member->heard = json_is_integer(json_object_get(entry, "heard_ms_ago"));
    return json_is_object(entry) && field_u32(entry, "id", UINT32_MAX, &member->id) &&
           field_text(entry, "state", member->state, sizeof(member->state)) &&
           field_u64(entry, "heard_ms_ago", INT64_MAX, &member->heard_ms_ago) &&
           field_u64(entry, "keys", INT64_MAX, &member->key_count) &&
           field_u64(entry, "stored_size", INT64_MAX, &member->stored_size) &&
           field_u64(entry, "epoch", INT64_MAX, &member->epoch);
}

static bool status_read(const json_t *root, struct kv_status *status)
{
    const json_t *raft = json_object_get(root, "raft");
    if (!field_u32(root, "id", UINT32_MAX, &status->id) || status->id == 0 ||
        !field_text(root, "state", status->state, sizeof(status->state)) ||
        !field_text(root, "version", status->version, sizeof(status->version)) ||
        !field_hex64(root, "cluster_id", &status->cluster_id) ||
        !field_u64(root, "epoch", INT64_MAX, &status->epoch) ||
        !field_u32(root, "replica_count", KV_REPLICA_COUNT_MAX, &status->replica_count) ||
        !field_u64(root, "keys", INT64_MAX, &status->key_count)) {
        return false;
    }
    if (!field_text(raft, "role", status->raft_role, sizeof(status->raft_role)) ||
        !field_u32(raft, "leader", UINT32_MAX, &status->raft_leader) ||
        !field_u64(raft, "term", INT64_MAX, &status->raft_term) ||
        !field_u64(raft, "applied", INT64_MAX, &status->raft_applied)) {
        return false;
    }
    const json_t *array;
    size_t count;
    if (!field_array(root, "members", KV_MEMBER_COUNT_MAX, &array, &count)) {
        return false;
    }
    for (size_t index = 0; index < count; index++) {
        if (!member_status_read(json_array_get(array, index), &status->members[index])) {
            return false;
        }
    }
    status->member_count = (uint32_t)count;
    return true;
}

enum status topology_view_status(struct slice json, struct kv_status *status)
{
    *status = (struct kv_status){0};
    json_t *root = object_load(json);
    if (root == NULL) {
        return STATUS_CORRUPT;
    }
    bool read = status_read(root, status);
    json_decref(root);
    return read ? STATUS_OK : STATUS_CORRUPT;
}

enum status topology_view_location(struct slice json, struct kv_location *location)
{
    *location = (struct kv_location){0};
    json_t *root = object_load(json);
    if (root == NULL) {
        return STATUS_CORRUPT;
    }
    bool read = field_u32(root, "slot", UINT16_MAX, &location->slot) &&
                field_hex64(root, "token", &location->token) &&
                field_u32(root, "range", KV_RANGE_COUNT_MAX - 1, &location->range) &&
                replicas_read(json_object_get(root, "replicas"), &location->replicas);
    json_decref(root);
    return read ? STATUS_OK : STATUS_CORRUPT;
}
