/*
 * tests/fuzz/fuzz_topology.c -- whatever bytes come as a command or snapshot: refused, or sound.
 *
 * The bytes are taken as they are, and again with the checksum made right, or no mutation would get
 * past it.
 * Properties: a command that is not applied changes no byte of the state; what was applied or
 * decoded is a state that encodes, decodes again and encodes to the same bytes.
 */
#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "ring/topology.h"
#include "tests/fuzz/fuzz.h"

#define CHECKSUM_SEED UINT64_C(0x746f706f6c6f6779)
#define CHECKSUM_SIZE 8

static void snapshot_write(const struct topology *topology, struct buffer *bytes)
{
    buffer_clear(bytes);
    topology_encode(bytes, topology);
    enum status status = buffer_status(bytes);
    ASSERT(status == STATUS_OK);
}

static void round_trip_check(const struct topology *topology)
{
    struct buffer bytes = {0};
    struct buffer again = {0};
    struct topology read;
    topology_init(&read);
    snapshot_write(topology, &bytes);
    enum status status = topology_decode(&read, buffer_slice(&bytes));
    ASSERT(status == STATUS_OK);
    snapshot_write(&read, &again);
    ASSERT(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
    topology_deinit(&read);
    buffer_deinit(&bytes);
    buffer_deinit(&again);
}

static void command_apply(struct topology *topology, const struct topology_command *command)
{
    struct buffer bytes = {0};
    const char *reason;
    topology_command_encode(&bytes, command);
    enum status status = topology_apply(topology, buffer_slice(&bytes), &reason);
    ASSERT(status == STATUS_OK);
    buffer_deinit(&bytes);
}

/* Commands meet an empty state, one that has members and ranges, and one amid a plan. */
enum state { STATE_EMPTY, STATE_BOOTSTRAPPED, STATE_PLANNED, STATE_COUNT };

static void bootstrap(struct topology *topology)
{
    const struct topology_member members[] = {
        {.id = 1, .weight = 1, .voter = true, .zone = "a", .peer_address = "one:1"},
        {.id = 5, .weight = 2, .voter = false, .zone = "b", .peer_address = "five:1"},
    };
    const struct topology_keyspace keyspace = {
        .number = 1, .class = TOPOLOGY_EVENTUAL, .name = "fast"};
    const struct topology_command command = {.type = TOPOLOGY_BOOTSTRAP,
                                             .cluster_id = 1,
                                             .replica_count = 1,
                                             .range_count = 4,
                                             .members = members,
                                             .member_count = ARRAY_COUNT(members),
                                             .keyspaces = &keyspace,
                                             .keyspace_count = 1};
    command_apply(topology, &command);
}

/* 7 replaces 5, which held ranges, by plan 3; of two ranges that began at epoch 5 one reads 7
 * already. 8 is joining, and that it joins is staged as plan 8. */
static void plan(struct topology *topology)
{
    const struct topology_member members[] = {
        {.id = 7, .weight = 2, .zone = "b", .peer_address = "seven:1"},
        {.id = 8, .weight = 1, .zone = "b", .peer_address = "eight:1"},
    };
    command_apply(topology,
                  &(struct topology_command){.type = TOPOLOGY_MEMBER_ADD, .member = members[0]});
    const struct topology_change replace = {.type = TOPOLOGY_REPLACE, .id = 5, .to_id = 7};
    command_apply(topology,
                  &(struct topology_command){.type = TOPOLOGY_PLAN_STAGE, .change = replace});
    command_apply(topology, &(struct topology_command){.type = TOPOLOGY_PLAN_COMMIT, .plan_id = 3});
    struct topology_step steps[2];
    uint32_t step_count = 0;
    for (uint32_t i = 0; i < topology->range_count && step_count < ARRAY_COUNT(steps); i++) {
        if (topology->ranges[i].goal.count > 0) {
            steps[step_count++] = (struct topology_step){
                .type = TOPOLOGY_BEGIN, .range = i, .merge_all = true, .session = 1};
        }
    }
    command_apply(topology, &(struct topology_command){
                                .type = TOPOLOGY_STEPS, .steps = steps, .step_count = step_count});
    steps[0].type = TOPOLOGY_READ_NEW;
    steps[0].merge_all = false;
    steps[0].session = topology->stamp.epoch;
    command_apply(topology, &(struct topology_command){
                                .type = TOPOLOGY_STEPS, .steps = steps, .step_count = 1});
    command_apply(topology,
                  &(struct topology_command){.type = TOPOLOGY_MEMBER_ADD, .member = members[1]});
    const struct topology_change join = {.type = TOPOLOGY_JOIN, .id = 8};
    command_apply(topology,
                  &(struct topology_command){.type = TOPOLOGY_PLAN_STAGE, .change = join});
}

static void command_check(struct slice command, enum state state)
{
    struct topology topology;
    struct buffer before = {0};
    struct buffer after = {0};
    const char *reason;
    topology_init(&topology);
    if (state != STATE_EMPTY) {
        bootstrap(&topology);
    }
    if (state == STATE_PLANNED) {
        plan(&topology);
    }
    uint64_t epoch = topology.stamp.epoch;
    snapshot_write(&topology, &before);
    enum status status = topology_apply(&topology, command, &reason);
    if (status == STATUS_OK) {
        ASSERT(topology.stamp.epoch == epoch + 1);
        round_trip_check(&topology);
    } else {
        ASSERT(status == STATUS_CORRUPT || status == STATUS_STALE || status == STATUS_REFUSED);
        ASSERT(reason != NULL);
        snapshot_write(&topology, &after);
        ASSERT(slice_equal(buffer_slice(&before), buffer_slice(&after)));
    }
    buffer_deinit(&before);
    buffer_deinit(&after);
    topology_deinit(&topology);
}

static void bytes_check(struct slice bytes)
{
    struct topology topology;
    topology_init(&topology);
    enum status status = topology_decode(&topology, bytes);
    ASSERT(status == STATUS_OK || status == STATUS_CORRUPT);
    if (status == STATUS_OK) {
        round_trip_check(&topology);
    }
    topology_deinit(&topology);
    for (uint32_t state = 0; state < STATE_COUNT; state++) {
        command_check(bytes, (enum state)state);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes_check(slice_make(data, size));
    if (size >= CHECKSUM_SIZE) {
        struct buffer sealed = {0};
        buffer_append(&sealed, data, size);
        enum status status = buffer_status(&sealed);
        ASSERT(status == STATUS_OK);
        uint64_t checksum = checksum64(slice_make(data, size - CHECKSUM_SIZE), CHECKSUM_SEED);
        codec_store_u64(sealed.data + size - CHECKSUM_SIZE, checksum);
        bytes_check(buffer_slice(&sealed));
        buffer_deinit(&sealed);
    }
    return 0;
}
