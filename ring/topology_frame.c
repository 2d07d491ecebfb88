/*
 * ring/topology_frame.c -- frames checked before they are believed, and fields that have one
 * spelling.
 */
#include "ring/topology_frame.h"

#include <string.h>

#include "base/checksum.h"
#include "base/contract.h"
#include "base/memory.h"

#define FRAME_HEADER_SIZE 8
#define FRAME_CHECKSUM_SIZE 8
#define FRAME_ALIGNMENT 8
#define FRAME_SIZE_OFFSET 4
#define FRAME_CHECKSUM_SEED UINT64_C(0x746f706f6c6f6779) /* "topology" */

/* ------------------------------------------------------------------ frames */

size_t topology_frame_begin(struct buffer *to, uint8_t type)
{
    size_t start = to->size;
    codec_put_u8(to, TOPOLOGY_VERSION);
    codec_put_u8(to, type);
    codec_put_u16(to, 0);
    codec_put_u32(to, 0); /* The size: topology_frame_end. */
    return start;
}

void topology_frame_end(struct buffer *to, size_t start)
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

enum status topology_frame_open(struct slice bytes, struct topology_frame *frame)
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
    frame->version = codec_get_u8(&header);
    frame->type = codec_get_u8(&header);
    uint16_t reserved = codec_get_u16(&header);
    uint32_t size = codec_get_u32(&header);
    if (!codec_reader_ok(&header) || frame->version < TOPOLOGY_VERSION_PLAIN ||
        frame->version > TOPOLOGY_VERSION || reserved != 0 || size < FRAME_HEADER_SIZE ||
        size > covered_size || covered_size - size >= FRAME_ALIGNMENT) {
        return STATUS_CORRUPT;
    }
    for (size_t at = size; at < covered_size; at++) {
        if (bytes.data[at] != 0) {
            return STATUS_CORRUPT;
        }
    }
    frame->fields =
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

void topology_member_put(struct buffer *to, const struct topology_member *member)
{
    codec_put_u32(to, member->id);
    codec_put_u32(to, member->weight);
    codec_put_u8(to, (uint8_t)member->state);
    codec_put_u8(to, member->voter ? 1 : 0);
    codec_put_u8(to, member->lost ? 1 : 0);
    codec_put_u8(to, 0);
    codec_put_u32(to, member->replaces);
    codec_put_u64(to, member->disk_id);
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

static bool bool_get(struct codec_reader *reader, bool *value)
{
    uint8_t byte = codec_get_u8(reader);
    *value = byte == 1;
    return byte <= 1;
}

bool topology_member_get(struct topology_frame *frame, struct topology_member *member)
{
    struct codec_reader *reader = &frame->fields;
    memset(member, 0, sizeof(*member));
    member->id = codec_get_u32(reader);
    member->weight = codec_get_u32(reader);
    if (!state_get(reader, &member->state) || !bool_get(reader, &member->voter) ||
        !bool_get(reader, &member->lost) || codec_get_u8(reader) != 0) {
        return false;
    }
    if (frame->version == TOPOLOGY_VERSION_PLAIN && member->lost) {
        return false; /* Reserved then. */
    }
    if (frame->version > TOPOLOGY_VERSION_PLAIN) {
        member->replaces = codec_get_u32(reader);
        member->disk_id = codec_get_u64(reader);
    }
    return text_get(reader, member->zone, sizeof(member->zone)) &&
           text_get(reader, member->peer_address, sizeof(member->peer_address)) &&
           text_get(reader, member->client_address, sizeof(member->client_address)) &&
           text_get(reader, member->admin_address, sizeof(member->admin_address));
}

void topology_keyspace_put(struct buffer *to, const struct topology_keyspace *keyspace)
{
    codec_put_u16(to, keyspace->number);
    codec_put_u8(to, (uint8_t)keyspace->class);
    codec_put_u8(to, 0);
    text_put(to, keyspace->name, sizeof(keyspace->name));
    codec_put_u8(to, (uint8_t)keyspace->read_level);
    codec_put_u8(to, (uint8_t)keyspace->write_level);
    codec_put_u64(to, keyspace->ttl_ms);
}

static bool level_get(struct codec_reader *reader, enum topology_level *level)
{
    uint8_t value = codec_get_u8(reader);
    if (value > TOPOLOGY_LEVEL_ALL) {
        return false;
    }
    *level = (enum topology_level)value;
    return true;
}

bool topology_keyspace_get(struct topology_frame *frame, struct topology_keyspace *keyspace)
{
    struct codec_reader *reader = &frame->fields;
    memset(keyspace, 0, sizeof(*keyspace));
    keyspace->number = codec_get_u16(reader);
    uint8_t class = codec_get_u8(reader);
    uint8_t reserved = codec_get_u8(reader);
    if ((class != TOPOLOGY_EVENTUAL && class != TOPOLOGY_STRONG) || reserved != 0) {
        return false;
    }
    keyspace->class = (enum topology_class) class;
    if (!text_get(reader, keyspace->name, sizeof(keyspace->name))) {
        return false;
    }
    if (frame->version <= TOPOLOGY_VERSION_PLANS) {
        return true;
    }
    if (!level_get(reader, &keyspace->read_level) || !level_get(reader, &keyspace->write_level)) {
        return false;
    }
    keyspace->ttl_ms = codec_get_u64(reader);
    return true;
}

/* Which of a change's fields count, by its type. */
enum {
    FIELD_ID,
    FIELD_TO_ID,
    FIELD_WEIGHT,
    FIELD_RANGE,
    FIELD_REPLICA_COUNT,
    FIELD_NUMBER_COUNT,
    FIELD_ZONE = FIELD_NUMBER_COUNT,
};

static const uint32_t change_fields[] = {
    [TOPOLOGY_JOIN] = BIT(FIELD_ID) | BIT(FIELD_WEIGHT),
    [TOPOLOGY_LEAVE] = BIT(FIELD_ID),
    [TOPOLOGY_REPLACE] = BIT(FIELD_ID) | BIT(FIELD_TO_ID),
    [TOPOLOGY_WEIGHT] = BIT(FIELD_ID) | BIT(FIELD_WEIGHT),
    [TOPOLOGY_ZONE] = BIT(FIELD_ID) | BIT(FIELD_ZONE),
    [TOPOLOGY_MOVE] = BIT(FIELD_ID) | BIT(FIELD_TO_ID) | BIT(FIELD_RANGE),
    [TOPOLOGY_FACTOR] = BIT(FIELD_REPLICA_COUNT),
};

void topology_change_put(struct buffer *to, const struct topology_change *change)
{
    ASSERT(change->type >= TOPOLOGY_JOIN);
    ASSERT(change->type <= TOPOLOGY_FACTOR);
    const uint32_t numbers[FIELD_NUMBER_COUNT] = {
        [FIELD_ID] = change->id,
        [FIELD_TO_ID] = change->to_id,
        [FIELD_WEIGHT] = change->weight,
        [FIELD_RANGE] = change->range,
        [FIELD_REPLICA_COUNT] = change->replica_count,
    };
    uint32_t used = change_fields[change->type];
    codec_put_u32(to, (uint32_t)change->type);
    for (uint32_t i = 0; i < FIELD_NUMBER_COUNT; i++) {
        codec_put_u32(to, (used & BIT(i)) != 0 ? numbers[i] : 0);
    }
    static const char no_zone[RING_ZONE_SIZE_MAX] = "";
    text_put(to, (used & BIT(FIELD_ZONE)) != 0 ? change->zone : no_zone, sizeof(no_zone));
}

bool topology_change_get(struct codec_reader *reader, struct topology_change *change)
{
    uint32_t numbers[FIELD_NUMBER_COUNT];
    memset(change, 0, sizeof(*change));
    uint32_t type = codec_get_u32(reader);
    if (type < TOPOLOGY_JOIN || type > TOPOLOGY_FACTOR) {
        return false;
    }
    for (uint32_t i = 0; i < FIELD_NUMBER_COUNT; i++) {
        numbers[i] = codec_get_u32(reader);
        if (numbers[i] != 0 && (change_fields[type] & BIT(i)) == 0) {
            return false;
        }
    }
    change->type = (enum topology_change_type)type;
    change->id = numbers[FIELD_ID];
    change->to_id = numbers[FIELD_TO_ID];
    change->weight = numbers[FIELD_WEIGHT];
    change->range = numbers[FIELD_RANGE];
    change->replica_count = numbers[FIELD_REPLICA_COUNT];
    return text_get(reader, change->zone, sizeof(change->zone)) &&
           (change->zone[0] == '\0' || (change_fields[type] & BIT(FIELD_ZONE)) != 0);
}

enum status topology_arrays_get(struct topology_frame *frame, uint32_t member_count,
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
        if (!topology_member_get(frame, &members_read[i])) {
            goto fail;
        }
    }
    for (uint32_t i = 0; i < keyspace_count; i++) {
        if (!topology_keyspace_get(frame, &keyspaces_read[i])) {
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
