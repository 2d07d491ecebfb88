/*
 * ring/topology_snapshot.c -- a whole topology as bytes, and back only if every invariant holds.
 *
 * Version 1 had neither plans nor operations, version 2 less of keyspaces: what a version lacks is
 * nothing.
 */
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "ring/topology_frame.h"
#include "ring/topology_rules.h"

#define SNAPSHOT_TYPE 0x80 /* No command: one kind of frame is never taken for the other. */
#define FLAG_MERGE_ALL 1u
#define FLAG_LOSS_ACCEPTED 2u
#define RANGE_RESERVED_SIZE 3

static enum status judged(struct topology_fault *fault, uint32_t range, const char *why)
{
    if (why == NULL) {
        return STATUS_OK;
    }
    *fault = (struct topology_fault){.why = why, .range = range};
    return STATUS_CORRUPT;
}

/* ------------------------------------------------------------------ stamps */

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

/* ------------------------------------------------------------------ ranges */

static void replicas_put(struct buffer *to, const struct ring_replicas *replicas)
{
    for (uint32_t i = 0; i < replicas->count; i++) {
        codec_put_u32(to, replicas->ids[i]);
    }
}

static void range_put(struct buffer *to, const struct topology_range *range)
{
    codec_put_u64(to, range->epoch);
    codec_put_u8(to, (uint8_t)range->stage);
    codec_put_u8(to, range->replicas.count);
    codec_put_u8(to, range->next.count);
    codec_put_u8(to, range->goal.count);
    codec_put_u8(to, (uint8_t)((range->merge_all ? FLAG_MERGE_ALL : 0) |
                               (range->loss_accepted ? FLAG_LOSS_ACCEPTED : 0)));
    for (uint32_t i = 0; i < RANGE_RESERVED_SIZE; i++) {
        codec_put_u8(to, 0);
    }
    codec_put_u64(to, range->session);
    replicas_put(to, &range->replicas);
    replicas_put(to, &range->next);
    replicas_put(to, &range->goal);
}

static bool replicas_get(struct codec_reader *reader, uint8_t count, struct ring_replicas *replicas)
{
    if (count > RING_REPLICA_COUNT_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        replicas->ids[replicas->count++] = codec_get_u32(reader);
    }
    return true;
}

/* What version 1 has not: after the counts of `replicas` and `next`. */
static bool operation_get(struct codec_reader *reader, struct topology_range *range,
                          uint8_t *goal_count)
{
    *goal_count = codec_get_u8(reader);
    uint8_t flags = codec_get_u8(reader);
    bool reserved = false;
    for (uint32_t i = 0; i < RANGE_RESERVED_SIZE; i++) {
        reserved = codec_get_u8(reader) != 0 || reserved;
    }
    range->session = codec_get_u64(reader);
    range->merge_all = (flags & FLAG_MERGE_ALL) != 0;
    range->loss_accepted = (flags & FLAG_LOSS_ACCEPTED) != 0;
    return !reserved && (flags & ~(FLAG_MERGE_ALL | FLAG_LOSS_ACCEPTED)) == 0;
}

static bool range_get(struct topology_frame *frame, struct topology_range *range)
{
    struct codec_reader *reader = &frame->fields;
    uint8_t goal_count = 0;
    range->epoch = codec_get_u64(reader);
    uint8_t stage = codec_get_u8(reader);
    uint8_t count = codec_get_u8(reader);
    uint8_t next_count = codec_get_u8(reader);
    if (frame->version == TOPOLOGY_VERSION_PLAIN) {
        if (codec_get_u8(reader) != 0 || stage != TOPOLOGY_STABLE) {
            return false; /* No command of that version began an operation. */
        }
    } else if (!operation_get(reader, range, &goal_count)) {
        return false;
    }
    if (!codec_reader_ok(reader) || stage > TOPOLOGY_WRITE_BOTH_READ_NEW) {
        return false;
    }
    range->stage = (enum topology_stage)stage;
    return replicas_get(reader, count, &range->replicas) &&
           replicas_get(reader, next_count, &range->next) &&
           replicas_get(reader, goal_count, &range->goal);
}

static enum status ranges_get(struct topology_frame *frame, struct topology *topology,
                              struct topology_fault *fault)
{
    topology->ranges = memory_allocate_zeroed(topology->range_count, sizeof(*topology->ranges));
    if (topology->ranges == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < topology->range_count; i++) {
        struct topology_range *range = &topology->ranges[i];
        const char *why = "a range is no record of one";
        if (range_get(frame, range)) {
            why = topology_range_fault(topology, range);
        }
        if (why != NULL) {
            return judged(fault, i, why);
        }
    }
    return STATUS_OK;
}

/* ------------------------------------------------------------------ plans */

static void plan_put(struct buffer *to, const struct topology_plan *plan)
{
    ASSERT(plan->change_count <= TOPOLOGY_CHANGE_COUNT_MAX);
    codec_put_u64(to, plan->id);
    if (plan->id == 0) {
        return;
    }
    codec_put_u64(to, plan->committed_epoch);
    codec_put_u64(to, plan->ended_epoch);
    codec_put_u32(to, (uint32_t)plan->outcome);
    codec_put_u32(to, plan->move_count);
    codec_put_u32(to, plan->moved_count);
    codec_put_u32(to, plan->loss_count);
    codec_put_u32(to, plan->change_count);
    for (uint32_t i = 0; i < plan->change_count; i++) {
        topology_change_put(to, &plan->changes[i]);
    }
}

static bool plan_get(struct codec_reader *reader, struct topology_plan *plan)
{
    plan->id = codec_get_u64(reader);
    if (plan->id == 0) {
        return codec_reader_ok(reader);
    }
    plan->committed_epoch = codec_get_u64(reader);
    plan->ended_epoch = codec_get_u64(reader);
    uint32_t outcome = codec_get_u32(reader);
    plan->move_count = codec_get_u32(reader);
    plan->moved_count = codec_get_u32(reader);
    plan->loss_count = codec_get_u32(reader);
    uint32_t change_count = codec_get_u32(reader);
    if (!codec_reader_ok(reader) || outcome > TOPOLOGY_SUPERSEDED ||
        change_count > TOPOLOGY_CHANGE_COUNT_MAX) {
        return false;
    }
    plan->outcome = (enum topology_outcome)outcome;
    for (; plan->change_count < change_count; plan->change_count++) {
        if (!topology_change_get(reader, &plan->changes[plan->change_count])) {
            return false;
        }
    }
    return true;
}

static void plans_put(struct buffer *to, const struct topology *topology)
{
    ASSERT(topology->history_count <= TOPOLOGY_HISTORY_COUNT_MAX);
    plan_put(to, &topology->staged);
    plan_put(to, &topology->running);
    codec_put_u32(to, topology->history_count);
    for (uint32_t i = 0; i < topology->history_count; i++) {
        plan_put(to, &topology->history[i]);
    }
}

static enum status plans_get(struct topology_frame *frame, struct topology *topology,
                             struct topology_fault *fault)
{
    struct codec_reader *reader = &frame->fields;
    topology->history = topology_history_make();
    if (topology->history == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (frame->version == TOPOLOGY_VERSION_PLAIN) {
        return STATUS_OK;
    }
    if (!plan_get(reader, &topology->staged) || !plan_get(reader, &topology->running)) {
        return STATUS_CORRUPT;
    }
    uint32_t count = codec_get_u32(reader);
    if (!codec_reader_ok(reader) || count > TOPOLOGY_HISTORY_COUNT_MAX) {
        return STATUS_CORRUPT;
    }
    for (; topology->history_count < count; topology->history_count++) {
        if (!plan_get(reader, &topology->history[topology->history_count])) {
            return STATUS_CORRUPT;
        }
    }
    return judged(fault, TOPOLOGY_NO_RANGE, topology_plans_fault(topology));
}

/* ------------------------------------------------------------------ all of it */

void topology_encode(struct buffer *to, const struct topology *topology)
{
    ASSERT(to != NULL);
    ASSERT(topology != NULL);
    size_t start = topology_frame_begin(to, SNAPSHOT_TYPE);
    codec_put_u64(to, topology->cluster_id);
    if (topology->cluster_id != 0) {
        topology_stamp_put(to, &topology->stamp);
        codec_put_u32(to, topology->replica_count);
        codec_put_u32(to, topology->range_count);
        codec_put_u32(to, topology->member_count);
        codec_put_u32(to, topology->keyspace_count);
        for (uint32_t i = 0; i < topology->member_count; i++) {
            topology_member_put(to, &topology->members[i]);
        }
        for (uint32_t i = 0; i < topology->keyspace_count; i++) {
            topology_keyspace_put(to, &topology->keyspaces[i]);
        }
        for (uint32_t i = 0; i < topology->range_count; i++) {
            range_put(to, &topology->ranges[i]);
        }
        plans_put(to, topology);
    }
    topology_frame_end(to, start);
}

/* What its members and keyspaces are like; NULL: sound. */
static const char *arrays_fault(const struct topology *topology)
{
    const char *why = topology_members_fault(topology->members, topology->member_count);
    return why != NULL ? why
                       : topology_keyspaces_fault(topology->keyspaces, topology->keyspace_count);
}

static enum status topology_get(struct topology_frame *frame, struct topology *topology,
                                struct topology_fault *fault)
{
    struct codec_reader *reader = &frame->fields;
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
        topology->stamp.generation.number == 0) {
        return judged(fault, TOPOLOGY_NO_RANGE, "its stamp is none that was");
    }
    const char *why = topology_sizes_fault(topology->replica_count, topology->range_count);
    if (why != NULL) {
        return judged(fault, TOPOLOGY_NO_RANGE, why);
    }
    enum status status = topology_arrays_get(frame, member_count, &topology->members,
                                             keyspace_count, &topology->keyspaces);
    if (status != STATUS_OK) {
        return status;
    }
    topology->member_count = member_count;
    topology->keyspace_count = keyspace_count;
    status = judged(fault, TOPOLOGY_NO_RANGE, arrays_fault(topology));
    if (status == STATUS_OK) {
        status = ranges_get(frame, topology, fault);
    }
    return status == STATUS_OK ? plans_get(frame, topology, fault) : status;
}

enum status topology_decode_judged(struct topology *topology, struct slice bytes,
                                   struct topology_fault *fault)
{
    ASSERT(topology != NULL);
    ASSERT(fault != NULL);
    struct topology_frame frame;
    enum status status = topology_frame_open(bytes, &frame);
    if (status != STATUS_OK) {
        return judged(fault, TOPOLOGY_NO_RANGE, "it is no whole frame, or its checksum differs");
    }
    struct topology read;
    topology_init(&read);
    /* Where no one says what it is, it is this. */
    status = judged(fault, TOPOLOGY_NO_RANGE, "its fields are not those of a topology");
    if (frame.type == SNAPSHOT_TYPE) {
        status = topology_get(&frame, &read, fault);
    }
    if (status == STATUS_OK && !codec_reader_done(&frame.fields)) {
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

enum status topology_decode(struct topology *topology, struct slice bytes)
{
    struct topology_fault fault;
    return topology_decode_judged(topology, bytes, &fault);
}
