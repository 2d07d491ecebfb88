/*
 * ring/topology_codec.c -- commands as bytes: one layout a type, in the frame of topology_frame.h.
 */
#include "ring/topology_codec.h"

#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "ring/topology_frame.h"

/* ------------------------------------------------------------------ bootstrap */

/* A state is given by plans alone, a vote by BOOTSTRAP and VOTERS. */
static struct topology_member member_entering(const struct topology_member *member,
                                              enum topology_member_state state)
{
    struct topology_member entering = *member;
    entering.state = state;
    entering.lost = false;
    entering.replaces = 0;
    return entering;
}

static bool member_is_entering(const struct topology_member *member,
                               enum topology_member_state state)
{
    return member->state == state && !member->lost && member->replaces == 0;
}

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
        struct topology_member member = member_entering(&command->members[i], TOPOLOGY_ACTIVE);
        topology_member_put(to, &member);
    }
    for (uint32_t i = 0; i < command->keyspace_count; i++) {
        topology_keyspace_put(to, &command->keyspaces[i]);
    }
}

static enum status bootstrap_get(struct topology_frame *frame, struct topology_command_owned *owned)
{
    struct topology_command *command = &owned->command;
    struct codec_reader *reader = &frame->fields;
    command->cluster_id = codec_get_u64(reader);
    command->generation_id = codec_get_u64(reader);
    command->replica_count = codec_get_u32(reader);
    command->range_count = codec_get_u32(reader);
    command->member_count = codec_get_u32(reader);
    command->keyspace_count = codec_get_u32(reader);
    if (!codec_reader_ok(reader)) {
        return STATUS_CORRUPT;
    }
    enum status status = topology_arrays_get(frame, command->member_count, &owned->members,
                                             command->keyspace_count, &owned->keyspaces);
    if (status != STATUS_OK) {
        return status;
    }
    command->members = owned->members;
    command->keyspaces = owned->keyspaces;
    for (uint32_t i = 0; i < command->member_count; i++) {
        if (!member_is_entering(&owned->members[i], TOPOLOGY_ACTIVE)) {
            return STATUS_CORRUPT;
        }
    }
    return STATUS_OK;
}

/* ------------------------------------------------------------------ members */

static enum status member_command_get(struct topology_frame *frame,
                                      struct topology_command *command)
{
    return topology_member_get(frame, &command->member) &&
                   member_is_entering(&command->member, TOPOLOGY_JOINING)
               ? STATUS_OK
               : STATUS_CORRUPT;
}

static void voters_put(struct buffer *to, const struct topology_command *command)
{
    ASSERT(command->voter_count <= TOPOLOGY_VOTER_COUNT_MAX);
    codec_put_u32(to, command->voter_count);
    for (uint32_t i = 0; i < command->voter_count; i++) {
        codec_put_u32(to, command->voters[i]);
    }
}

static enum status voters_get(struct codec_reader *reader, struct topology_command_owned *owned)
{
    uint32_t count = codec_get_u32(reader);
    if (count > TOPOLOGY_VOTER_COUNT_MAX) {
        return STATUS_CORRUPT;
    }
    for (uint32_t i = 0; i < count; i++) {
        owned->voters[i] = codec_get_u32(reader);
    }
    owned->command.voters = owned->voters;
    owned->command.voter_count = count;
    return STATUS_OK;
}

/* ------------------------------------------------------------------ keyspaces */

/* The machine gives the number. */
static void keyspace_command_put(struct buffer *to, const struct topology_command *command)
{
    struct topology_keyspace keyspace = command->keyspace;
    keyspace.number = 0;
    topology_keyspace_put(to, &keyspace);
}

static enum status keyspace_command_get(struct topology_frame *frame,
                                        struct topology_command *command)
{
    return topology_keyspace_get(frame, &command->keyspace) && command->keyspace.number == 0
               ? STATUS_OK
               : STATUS_CORRUPT;
}

/* ------------------------------------------------------------------ steps */

static void steps_put(struct buffer *to, const struct topology_command *command)
{
    ASSERT(command->step_count <= TOPOLOGY_STEP_COUNT_MAX);
    codec_put_u32(to, command->step_count);
    for (uint32_t i = 0; i < command->step_count; i++) {
        const struct topology_step *step = &command->steps[i];
        codec_put_u8(to, (uint8_t)step->type);
        codec_put_u8(to, step->type == TOPOLOGY_BEGIN && step->merge_all ? 1 : 0);
        codec_put_u16(to, 0);
        codec_put_u32(to, step->range);
        codec_put_u64(to, step->session);
    }
}

static bool step_get(struct codec_reader *reader, struct topology_step *step)
{
    uint8_t type = codec_get_u8(reader);
    uint8_t merge_all = codec_get_u8(reader);
    uint16_t reserved = codec_get_u16(reader);
    step->range = codec_get_u32(reader);
    step->session = codec_get_u64(reader);
    if (type < TOPOLOGY_BEGIN || type > TOPOLOGY_BACK || reserved != 0 ||
        merge_all > (type == TOPOLOGY_BEGIN ? 1 : 0)) {
        return false;
    }
    step->type = (enum topology_step_type)type;
    step->merge_all = merge_all == 1;
    return true;
}

static enum status steps_get(struct codec_reader *reader, struct topology_command_owned *owned)
{
    uint32_t count = codec_get_u32(reader);
    if (!codec_reader_ok(reader) || count == 0 || count > TOPOLOGY_STEP_COUNT_MAX) {
        return STATUS_CORRUPT;
    }
    owned->steps = memory_allocate_zeroed(count, sizeof(*owned->steps));
    if (owned->steps == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!step_get(reader, &owned->steps[i])) {
            return STATUS_CORRUPT;
        }
    }
    owned->command.steps = owned->steps;
    owned->command.step_count = count;
    return STATUS_OK;
}

/* ------------------------------------------------------------------ commands */

static void fields_put(struct buffer *to, const struct topology_command *command)
{
    struct topology_member member = member_entering(&command->member, TOPOLOGY_JOINING);
    switch (command->type) {
    case TOPOLOGY_BOOTSTRAP:
        bootstrap_put(to, command);
        break;
    case TOPOLOGY_MEMBER_ADD:
    case TOPOLOGY_MEMBER_UPDATE:
        topology_member_put(to, &member);
        break;
    case TOPOLOGY_MEMBER_REMOVE:
        codec_put_u32(to, member.id);
        break;
    case TOPOLOGY_PLAN_STAGE:
        topology_change_put(to, &command->change);
        break;
    case TOPOLOGY_PLAN_CLEAR:
        break;
    case TOPOLOGY_PLAN_COMMIT:
    case TOPOLOGY_PLAN_ABORT:
        codec_put_u64(to, command->plan_id);
        break;
    case TOPOLOGY_STEPS:
        steps_put(to, command);
        break;
    case TOPOLOGY_VOTERS:
        voters_put(to, command);
        break;
    case TOPOLOGY_ACCEPT_LOSS:
        codec_put_u64(to, command->plan_id);
        codec_put_u32(to, command->range);
        break;
    case TOPOLOGY_KEYSPACE_CREATE:
        keyspace_command_put(to, command);
        break;
    default:
        UNREACHABLE("a type of command");
    }
}

void topology_command_encode(struct buffer *to, const struct topology_command *command)
{
    ASSERT(to != NULL);
    ASSERT(command != NULL);
    size_t start = topology_frame_begin(to, (uint8_t)command->type);
    codec_put_u64(to, command->request_id);
    codec_put_u64(to, command->expected_epoch);
    fields_put(to, command);
    topology_frame_end(to, start);
    ASSERT(to->failed || to->size - start <= TOPOLOGY_COMMAND_SIZE_MAX);
}

/* Whether frames of the version had the type. */
static bool version_knows(uint8_t version, uint8_t type)
{
    if (version == TOPOLOGY_VERSION_PLAIN) {
        return type <= TOPOLOGY_MEMBER_REMOVE;
    }
    return version > TOPOLOGY_VERSION_PLANS || type <= TOPOLOGY_ACCEPT_LOSS;
}

static enum status fields_get(struct topology_frame *frame, struct topology_command_owned *owned)
{
    struct topology_command *command = &owned->command;
    struct codec_reader *reader = &frame->fields;
    if (!version_knows(frame->version, frame->type)) {
        return STATUS_CORRUPT;
    }
    switch (frame->type) {
    case TOPOLOGY_BOOTSTRAP:
        return bootstrap_get(frame, owned);
    case TOPOLOGY_MEMBER_ADD:
    case TOPOLOGY_MEMBER_UPDATE:
        return member_command_get(frame, command);
    case TOPOLOGY_MEMBER_REMOVE:
        command->member.id = codec_get_u32(reader);
        return STATUS_OK;
    case TOPOLOGY_PLAN_STAGE:
        return topology_change_get(reader, &command->change) ? STATUS_OK : STATUS_CORRUPT;
    case TOPOLOGY_PLAN_CLEAR:
        return STATUS_OK;
    case TOPOLOGY_PLAN_COMMIT:
    case TOPOLOGY_PLAN_ABORT:
        command->plan_id = codec_get_u64(reader);
        return STATUS_OK;
    case TOPOLOGY_STEPS:
        return steps_get(reader, owned);
    case TOPOLOGY_VOTERS:
        return voters_get(reader, owned);
    case TOPOLOGY_ACCEPT_LOSS:
        command->plan_id = codec_get_u64(reader);
        command->range = codec_get_u32(reader);
        return STATUS_OK;
    case TOPOLOGY_KEYSPACE_CREATE:
        return keyspace_command_get(frame, command);
    default:
        return STATUS_CORRUPT;
    }
}

enum status topology_command_decode(struct topology_command_owned *owned, struct slice bytes)
{
    ASSERT(owned != NULL);
    memset(owned, 0, sizeof(*owned));
    struct topology_frame frame;
    if (bytes.size > TOPOLOGY_COMMAND_SIZE_MAX) {
        return STATUS_CORRUPT;
    }
    enum status status = topology_frame_open(bytes, &frame);
    if (status != STATUS_OK) {
        return status;
    }
    owned->command.request_id = codec_get_u64(&frame.fields);
    owned->command.expected_epoch = codec_get_u64(&frame.fields);
    status = fields_get(&frame, owned);
    if (status == STATUS_OK && !codec_reader_done(&frame.fields)) {
        status = STATUS_CORRUPT;
    }
    if (status != STATUS_OK) {
        topology_command_owned_deinit(owned);
        return status;
    }
    owned->command.type = (enum topology_command_type)frame.type;
    return STATUS_OK;
}

void topology_command_owned_deinit(struct topology_command_owned *owned)
{
    memory_free(owned->members);
    memory_free(owned->keyspaces);
    memory_free(owned->steps);
    memset(owned, 0, sizeof(*owned));
}

enum status topology_command_peek(struct slice bytes, enum topology_command_type *type,
                                  uint64_t *request_id)
{
    ASSERT(type != NULL);
    ASSERT(request_id != NULL);
    struct topology_command_owned owned;
    enum status status = topology_command_decode(&owned, bytes);
    if (status == STATUS_OK) {
        *type = owned.command.type;
        *request_id = owned.command.request_id;
        topology_command_owned_deinit(&owned);
    }
    return status;
}
