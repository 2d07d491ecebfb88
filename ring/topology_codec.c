/*
 * ring/topology_codec.c -- frames of commands and snapshots, checked before they are believed.
 *
 * Both kinds of frame carry their size, are padded with zeros to a multiple of 8 (the Raft library
 * takes nothing else) and end in an XXH3 of all before it. A frame is checked as a whole first, its
 * fields are read after that, and a decoder takes every byte or none.
 */
#include "ring/topology_codec.h"

#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "base/memory.h"

#define COMMAND_VERSION 1
#define SNAPSHOT_VERSION 1
#define SNAPSHOT_TYPE 0x80 /* No command: one kind of frame is never taken for the other. */
#define FRAME_HEADER_SIZE 8
#define FRAME_CHECKSUM_SIZE 8
#define FRAME_ALIGNMENT 8
#define FRAME_SIZE_OFFSET 4
#define FRAME_CHECKSUM_SEED UINT64_C(0x746f706f6c6f6779) /* "topology" */

/* ------------------------------------------------------------------ frames */

/* Returns where the frame starts in the buffer. */
static size_t frame_begin(struct buffer *to, uint8_t version, uint8_t type)
{
    size_t start = to->size;
    codec_put_u8(to, version);
    codec_put_u8(to, type);
    codec_put_u16(to, 0);
    codec_put_u32(to, 0); /* The size: frame_end. */
    return start;
}

static void frame_end(struct buffer *to, size_t start)
{
    static const uint8_t zeros[FRAME_ALIGNMENT] = {0};
    if (to->failed) {
        return;
    }
    size_t size = to->size - start;
    ASSERT(size <= UINT32_MAX);
    codec_store_u32(to->data + start + FRAME_SIZE_OFFSET, (uint32_t)size);
    buffer_append(to, zeros, (FRAME_ALIGNMENT - size % FRAME_ALIGNMENT) % FRAME_ALIGNMENT);
    if (!to->failed) {
        struct slice covered = slice_make(to->data + start, to->size - start);
        codec_put_u64(to, checksum64(covered, FRAME_CHECKSUM_SEED));
    }
}

/* On STATUS_OK `fields` reads what lies between header and padding. */
static enum status frame_open(struct slice bytes, uint8_t version, uint8_t *type,
                              struct codec_reader *fields)
{
    if (bytes.size < FRAME_HEADER_SIZE + FRAME_CHECKSUM_SIZE || bytes.size % FRAME_ALIGNMENT != 0) {
        return STATUS_CORRUPT;
    }
    size_t covered_size = bytes.size - FRAME_CHECKSUM_SIZE;
    struct slice covered = slice_make(bytes.data, covered_size);
    if (codec_load_u64(bytes.data + covered_size) != checksum64(covered, FRAME_CHECKSUM_SEED)) {
        return STATUS_CORRUPT;
    }
    struct codec_reader header = codec_reader_make(covered);
    uint8_t version_found = codec_get_u8(&header);
    *type = codec_get_u8(&header);
    uint16_t reserved = codec_get_u16(&header);
    uint32_t size = codec_get_u32(&header);
    if (!codec_reader_ok(&header) || version_found != version || reserved != 0 ||
        size < FRAME_HEADER_SIZE || size > covered_size || covered_size - size >= FRAME_ALIGNMENT) {
        return STATUS_CORRUPT;
    }
    for (size_t at = size; at < covered_size; at++) {
        if (bytes.data[at] != 0) {
            return STATUS_CORRUPT;
        }
    }
    *fields =
        codec_reader_make(slice_make(bytes.data + FRAME_HEADER_SIZE, size - FRAME_HEADER_SIZE));
    return STATUS_OK;
}

/* ------------------------------------------------------------------ fields */

static void text_put(struct buffer *to, const char *text, size_t size_max)
{
    ASSERT(memchr(text, 0, size_max) != NULL);
    codec_put_bytes(to, slice_text(text));
}

/* Into an array of size_max bytes, the terminator among them. */
static bool text_get(struct codec_reader *reader, char *text, size_t size_max)
{
    struct slice bytes = codec_get_bytes(reader);
    if (!codec_reader_ok(reader) || bytes.size >= size_max) {
        return false;
    }
    memset(text, 0, size_max);
    if (bytes.size > 0) {
        if (memchr(bytes.data, 0, bytes.size) != NULL) {
            return false;
        }
        memcpy(text, bytes.data, bytes.size);
    }
    return true;
}

static void member_put(struct buffer *to, const struct topology_member *member)
{
    codec_put_u32(to, member->id);
    codec_put_u32(to, member->weight);
    codec_put_u8(to, (uint8_t)member->state);
    codec_put_u8(to, member->voter ? 1 : 0);
    codec_put_u16(to, 0);
    text_put(to, member->zone, sizeof(member->zone));
    text_put(to, member->peer_address, sizeof(member->peer_address));
    text_put(to, member->client_address, sizeof(member->client_address));
    text_put(to, member->admin_address, sizeof(member->admin_address));
}

static bool state_get(struct codec_reader *reader, enum topology_member_state *state)
{
    uint8_t value = codec_get_u8(reader);
    if (value < TOPOLOGY_JOINING || value > TOPOLOGY_LEAVING) {
        return false;
    }
    *state = (enum topology_member_state)value;
    return true;
}

static bool member_get(struct codec_reader *reader, struct topology_member *member)
{
    memset(member, 0, sizeof(*member));
    member->id = codec_get_u32(reader);
    member->weight = codec_get_u32(reader);
    if (!state_get(reader, &member->state)) {
        return false;
    }
    uint8_t voter = codec_get_u8(reader);
    uint16_t reserved = codec_get_u16(reader);
    if (voter > 1 || reserved != 0) {
        return false;
    }
    member->voter = voter == 1;
    return text_get(reader, member->zone, sizeof(member->zone)) &&
           text_get(reader, member->peer_address, sizeof(member->peer_address)) &&
           text_get(reader, member->client_address, sizeof(member->client_address)) &&
           text_get(reader, member->admin_address, sizeof(member->admin_address));
}

static void keyspace_put(struct buffer *to, const struct topology_keyspace *keyspace)
{
    codec_put_u16(to, keyspace->number);
    codec_put_u8(to, (uint8_t)keyspace->class);
    codec_put_u8(to, 0);
    text_put(to, keyspace->name, sizeof(keyspace->name));
}

static bool keyspace_get(struct codec_reader *reader, struct topology_keyspace *keyspace)
{
    memset(keyspace, 0, sizeof(*keyspace));
    keyspace->number = codec_get_u16(reader);
    uint8_t class = codec_get_u8(reader);
    uint8_t reserved = codec_get_u8(reader);
    if ((class != TOPOLOGY_EVENTUAL && class != TOPOLOGY_STRONG) || reserved != 0) {
        return false;
    }
    keyspace->class = (enum topology_class) class;
    return text_get(reader, keyspace->name, sizeof(keyspace->name));
}

/* Both arrays, as commands and snapshots hold them: counts were read and are in bounds. */
static enum status arrays_get(struct codec_reader *reader, uint32_t member_count,
                              struct topology_member **members, uint32_t keyspace_count,
                              struct topology_keyspace **keyspaces)
{
    enum status status = STATUS_CORRUPT;
    struct topology_member *members_read = NULL;
    struct topology_keyspace *keyspaces_read = NULL;
    if (member_count == 0 || member_count > RING_MEMBER_COUNT_MAX || keyspace_count == 0 ||
        keyspace_count > TOPOLOGY_KEYSPACE_COUNT_MAX) {
        return STATUS_CORRUPT;
    }
    members_read = memory_allocate_zeroed(member_count, sizeof(*members_read));
    keyspaces_read = memory_allocate_zeroed(keyspace_count, sizeof(*keyspaces_read));
    if (members_read == NULL || keyspaces_read == NULL) {
        status = STATUS_NO_MEMORY;
        goto fail;
    }
    for (uint32_t i = 0; i < member_count; i++) {
        if (!member_get(reader, &members_read[i])) {
            goto fail;
        }
    }
    for (uint32_t i = 0; i < keyspace_count; i++) {
        if (!keyspace_get(reader, &keyspaces_read[i])) {
            goto fail;
        }
    }
    *members = members_read;
    *keyspaces = keyspaces_read;
    return STATUS_OK;
fail:
    memory_free(members_read);
    memory_free(keyspaces_read);
    return status;
}

void topology_stamp_put(struct buffer *to, const struct topology_stamp *stamp)
{
    codec_put_u32(to, stamp->generation.number);
    codec_put_u64(to, stamp->generation.id);
    codec_put_u64(to, stamp->epoch);
    codec_put_u64(to, stamp->hash);
}

struct topology_stamp topology_stamp_get(struct codec_reader *reader)
{
    struct topology_stamp stamp = {0};
    stamp.generation.number = codec_get_u32(reader);
    stamp.generation.id = codec_get_u64(reader);
    stamp.epoch = codec_get_u64(reader);
    stamp.hash = codec_get_u64(reader);
    return stamp;
}

/* ------------------------------------------------------------------ commands */

static void bootstrap_put(struct buffer *to, const struct topology_command *command)
{
    ASSERT(command->member_count <= RING_MEMBER_COUNT_MAX);
    ASSERT(command->keyspace_count <= TOPOLOGY_KEYSPACE_COUNT_MAX);
    codec_put_u64(to, command->cluster_id);
    codec_put_u64(to, command->generation_id);
    codec_put_u32(to, command->replica_count);
    codec_put_u32(to, command->range_count);
    codec_put_u32(to, command->member_count);
    codec_put_u32(to, command->keyspace_count);
    for (uint32_t i = 0; i < command->member_count; i++) {
        struct topology_member member = command->members[i];
        member.state = TOPOLOGY_ACTIVE;
        member_put(to, &member);
    }
    for (uint32_t i = 0; i < command->keyspace_count; i++) {
        keyspace_put(to, &command->keyspaces[i]);
    }
}

static enum status bootstrap_get(struct codec_reader *reader, struct topology_command_owned *owned)
{
    struct topology_command *command = &owned->command;
    command->cluster_id = codec_get_u64(reader);
    command->generation_id = codec_get_u64(reader);
    command->replica_count = codec_get_u32(reader);
    command->range_count = codec_get_u32(reader);
    command->member_count = codec_get_u32(reader);
    command->keyspace_count = codec_get_u32(reader);
    if (!codec_reader_ok(reader)) {
        return STATUS_CORRUPT;
    }
    enum status status = arrays_get(reader, command->member_count, &owned->members,
                                    command->keyspace_count, &owned->keyspaces);
    if (status != STATUS_OK) {
        return status;
    }
    command->members = owned->members;
    command->keyspaces = owned->keyspaces;
    for (uint32_t i = 0; i < command->member_count; i++) {
        if (owned->members[i].state != TOPOLOGY_ACTIVE) {
            return STATUS_CORRUPT;
        }
    }
    return STATUS_OK;
}

void topology_command_encode(struct buffer *to, const struct topology_command *command)
{
    ASSERT(to != NULL);
    ASSERT(command != NULL);
    struct topology_member member = command->member;
    size_t start = frame_begin(to, COMMAND_VERSION, (uint8_t)command->type);
    codec_put_u64(to, command->request_id);
    codec_put_u64(to, command->expected_epoch);
    switch (command->type) {
    case TOPOLOGY_BOOTSTRAP:
        bootstrap_put(to, command);
        break;
    case TOPOLOGY_MEMBER_ADD:
    case TOPOLOGY_MEMBER_UPDATE:
        member.state = TOPOLOGY_JOINING; /* A state is given by MEMBER_STATE alone. */
        member_put(to, &member);
        break;
    case TOPOLOGY_MEMBER_STATE:
        codec_put_u32(to, member.id);
        codec_put_u32(to, (uint32_t)member.state);
        break;
    case TOPOLOGY_MEMBER_REMOVE:
        codec_put_u32(to, member.id);
        break;
    default:
        UNREACHABLE("a type of command");
    }
    frame_end(to, start);
    ASSERT(to->failed || to->size - start <= TOPOLOGY_COMMAND_SIZE_MAX);
}

static enum status member_command_get(struct codec_reader *reader, struct topology_command *command)
{
    uint32_t state = TOPOLOGY_JOINING;
    switch (command->type) {
    case TOPOLOGY_MEMBER_ADD:
    case TOPOLOGY_MEMBER_UPDATE:
        return member_get(reader, &command->member) && command->member.state == TOPOLOGY_JOINING
                   ? STATUS_OK
                   : STATUS_CORRUPT;
    case TOPOLOGY_MEMBER_STATE:
        command->member.id = codec_get_u32(reader);
        state = codec_get_u32(reader);
        if (state < TOPOLOGY_JOINING || state > TOPOLOGY_LEAVING) {
            return STATUS_CORRUPT;
        }
        command->member.state = (enum topology_member_state)state;
        return STATUS_OK;
    case TOPOLOGY_MEMBER_REMOVE:
        command->member.id = codec_get_u32(reader);
        return STATUS_OK;
    case TOPOLOGY_BOOTSTRAP:
    default:
        return STATUS_CORRUPT;
    }
}

enum status topology_command_decode(struct topology_command_owned *owned, struct slice bytes)
{
    ASSERT(owned != NULL);
    memset(owned, 0, sizeof(*owned));
    uint8_t type = 0;
    struct codec_reader reader;
    if (bytes.size > TOPOLOGY_COMMAND_SIZE_MAX) {
        return STATUS_CORRUPT;
    }
    enum status status = frame_open(bytes, COMMAND_VERSION, &type, &reader);
    if (status != STATUS_OK) {
        return status;
    }
    owned->command.type = (enum topology_command_type)type;
    owned->command.request_id = codec_get_u64(&reader);
    owned->command.expected_epoch = codec_get_u64(&reader);
    if (type == TOPOLOGY_BOOTSTRAP) {
        status = bootstrap_get(&reader, owned);
    } else {
        status = member_command_get(&reader, &owned->command);
    }
    if (status == STATUS_OK && !codec_reader_done(&reader)) {
        status = STATUS_CORRUPT;
    }
    if (status != STATUS_OK) {
        topology_command_owned_deinit(owned);
    }
    return status;
}

void topology_command_owned_deinit(struct topology_command_owned *owned)
{
    memory_free(owned->members);
    memory_free(owned->keyspaces);
    memset(owned, 0, sizeof(*owned));
}

/* ------------------------------------------------------------------ snapshots */

static void range_put(struct buffer *to, const struct topology_range *range)
{
    codec_put_u64(to, range->epoch);
    codec_put_u8(to, (uint8_t)range->stage);
    codec_put_u8(to, range->replicas.count);
    codec_put_u8(to, range->next.count);
    codec_put_u8(to, 0);
    for (uint32_t i = 0; i < range->replicas.count; i++) {
        codec_put_u32(to, range->replicas.ids[i]);
    }
    for (uint32_t i = 0; i < range->next.count; i++) {
        codec_put_u32(to, range->next.ids[i]);
    }
}

/* Ids that are members and distinct. */
static bool replicas_get(struct codec_reader *reader, uint8_t count,
                         const struct topology *topology, struct ring_replicas *replicas)
{
    if (count > RING_REPLICA_COUNT_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = codec_get_u32(reader);
        if (topology_member_find(topology, id) == NULL || ring_replicas_contain(replicas, id)) {
            return false;
        }
        replicas->ids[replicas->count++] = id;
    }
    return true;
}

static bool range_get(struct codec_reader *reader, const struct topology *topology,
                      struct topology_range *range)
{
    range->epoch = codec_get_u64(reader);
    uint8_t stage = codec_get_u8(reader);
    uint8_t count = codec_get_u8(reader);
    uint8_t next_count = codec_get_u8(reader);
    uint8_t reserved = codec_get_u8(reader);
    if (!codec_reader_ok(reader) || stage > TOPOLOGY_WRITE_BOTH_READ_NEW || reserved != 0 ||
        count == 0 || (next_count == 0) != (stage == TOPOLOGY_STABLE) || range->epoch == 0 ||
        range->epoch > topology->stamp.epoch) {
        return false;
    }
    range->stage = (enum topology_stage)stage;
    return replicas_get(reader, count, topology, &range->replicas) &&
           replicas_get(reader, next_count, topology, &range->next);
}

void topology_encode(struct buffer *to, const struct topology *topology)
{
    ASSERT(to != NULL);
    ASSERT(topology != NULL);
    size_t start = frame_begin(to, SNAPSHOT_VERSION, SNAPSHOT_TYPE);
    codec_put_u64(to, topology->cluster_id);
    if (topology->cluster_id != 0) {
        topology_stamp_put(to, &topology->stamp);
        codec_put_u32(to, topology->replica_count);
        codec_put_u32(to, topology->range_count);
        codec_put_u32(to, topology->member_count);
        codec_put_u32(to, topology->keyspace_count);
        for (uint32_t i = 0; i < topology->member_count; i++) {
            member_put(to, &topology->members[i]);
        }
        for (uint32_t i = 0; i < topology->keyspace_count; i++) {
            keyspace_put(to, &topology->keyspaces[i]);
        }
        for (uint32_t i = 0; i < topology->range_count; i++) {
            range_put(to, &topology->ranges[i]);
        }
    }
    frame_end(to, start);
}

static enum status ranges_get(struct codec_reader *reader, struct topology *topology)
{
    topology->ranges = memory_allocate_zeroed(topology->range_count, sizeof(*topology->ranges));
    if (topology->ranges == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < topology->range_count; i++) {
        if (!range_get(reader, topology, &topology->ranges[i])) {
            return STATUS_CORRUPT;
        }
    }
    return STATUS_OK;
}

static enum status topology_get(struct codec_reader *reader, struct topology *topology)
{
    topology->cluster_id = codec_get_u64(reader);
    if (topology->cluster_id == 0) {
        return STATUS_OK;
    }
    topology->stamp = topology_stamp_get(reader);
    topology->replica_count = codec_get_u32(reader);
    topology->range_count = codec_get_u32(reader);
    uint32_t member_count = codec_get_u32(reader);
    uint32_t keyspace_count = codec_get_u32(reader);
    if (!codec_reader_ok(reader) || topology->stamp.epoch == 0 ||
        topology->stamp.generation.number == 0 ||
        topology_sizes_fault(topology->replica_count, topology->range_count) != NULL) {
        return STATUS_CORRUPT;
    }
    enum status status =
        arrays_get(reader, member_count, &topology->members, keyspace_count, &topology->keyspaces);
    if (status != STATUS_OK) {
        return status;
    }
    topology->member_count = member_count;
    topology->keyspace_count = keyspace_count;
    if (topology_members_fault(topology->members, member_count) != NULL ||
        topology_keyspaces_fault(topology->keyspaces, keyspace_count) != NULL) {
        return STATUS_CORRUPT;
    }
    return ranges_get(reader, topology);
}

enum status topology_decode(struct topology *topology, struct slice bytes)
{
    ASSERT(topology != NULL);
    uint8_t type = 0;
    struct codec_reader reader;
    enum status status = frame_open(bytes, SNAPSHOT_VERSION, &type, &reader);
    if (status != STATUS_OK) {
        return status;
    }
    struct topology read;
    topology_init(&read);
    status = type == SNAPSHOT_TYPE ? topology_get(&reader, &read) : STATUS_CORRUPT;
    if (status == STATUS_OK && !codec_reader_done(&reader)) {
        status = STATUS_CORRUPT;
    }
    if (status != STATUS_OK) {
        topology_deinit(&read);
        return status;
    }
    topology_deinit(topology);
    *topology = read;
    return STATUS_OK;
}
