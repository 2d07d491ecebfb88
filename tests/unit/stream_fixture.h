/*
 * tests/unit/stream_fixture.h -- a few nodes' engines, holdings and streams in a simulated world,
 * without the rest of a node: each goes by a topology that the test hands it.
 *
 * Side n (from 1) is host n - 1 of the world.
 */
#ifndef TESTS_UNIT_STREAM_FIXTURE_H
#define TESTS_UNIT_STREAM_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/token.h"
#include "node/acceptor.h"
#include "node/service.h"
#include "node/stream_files.h"
#include "tests/sim/env_sim.h"

#define STREAM_SEED 5u
#define STREAM_MS UINT64_C(1000000)
#define SIDE_COUNT_MAX 4u
#define SIDE_RANGE_COUNT 2u
#define SIDE_VALUE_SIZE 100u
#define SIDE_SETTLE_MS 3000u

struct side {
    struct world_node *host;
    struct config config;
    struct topology topology; /* Its own, so that one may be behind. */
    struct topology_range ranges[SIDE_RANGE_COUNT];
    struct lsm *lsm;
    struct holding holding;
    struct replica replica;
    struct acceptor acceptor;
    struct hlc hlc;
    struct peers *peers;
    struct stream_pace pace;
    struct stream_source source;
    struct stream_target target;
    struct service service;
    struct node_counters counters;
    struct histogram latencies;
    uint32_t served; /* Requests. */
    bool booted;
};

static struct {
    struct world *world;
    struct side sides[SIDE_COUNT_MAX];
    uint32_t side_count;
} streams;

/* ------------------------------------------------------------------ what a node would do */

static void side_fill(void *context, struct frame *frame)
{
    const struct side *side = context;
    frame->sender = side->config.id;
    frame->stamp = side->topology.stamp;
}

static void side_hello(void *context, struct message_hello *to)
{
    const struct side *side = context;
    *to = (struct message_hello){.id = side->config.id, .disk_id = 1, .weight = 1};
}

static enum status side_greeted(void *context, const struct message_hello *from)
{
    const struct side *side = context;
    cr_assert_neq(from->id, side->config.id);
    return STATUS_OK;
}

static void side_ping(void *context, struct message_ping *to)
{
    (void)context;
    *to = (struct message_ping){0};
}

static void side_heard(void *context, const struct frame *frame)
{
    const struct side *side = context;
    cr_assert_neq(frame->sender, side->config.id);
}

static void side_request(void *context, struct peer_link *link, const struct frame *request)
{
    struct side *side = context;
    side->served++;
    service_request(&side->service, link, request);
}

static void side_raft(void *context, const struct frame *frame, uint64_t connection,
                      uint64_t sequence, struct slice message)
{
    (void)context;
    (void)frame;
    (void)connection;
    (void)sequence;
    (void)message;
}

static const struct peers_events side_events = {
    .fill = side_fill,
    .hello = side_hello,
    .greeted = side_greeted,
    .ping = side_ping,
    .heard = side_heard,
    .request = side_request,
    .raft = side_raft,
};

static void side_changed(void *context)
{
    struct side *side = context;
    stream_target_adopted(&side->target);
}

static void side_streams(struct side *side, struct env *env)
{
    stream_pace_init(&side->pace, side->config.stream_rate, side->config.stream_p99_ms,
                     &side->latencies, &side->latencies, env_monotonic_ns(env));
    const struct stream_source_options source = {.config = &side->config,
                                                 .lsm = side->lsm,
                                                 .holding = &side->holding,
                                                 .peers = side->peers,
                                                 .topology = &side->topology,
                                                 .pace = &side->pace,
                                                 .counters = &side->counters};
    stream_source_init(&side->source, env, &source);
    const struct stream_target_options target = {.config = &side->config,
                                                 .lsm = side->lsm,
                                                 .holding = &side->holding,
                                                 .replica = &side->replica,
                                                 .peers = side->peers,
                                                 .topology = &side->topology,
                                                 .pace = &side->pace,
                                                 .counters = &side->counters};
    stream_target_init(&side->target, env, &target);
}

static void side_boot(void *context)
{
    struct side *side = context;
    struct env *env = world_node_env(side->host);
    const struct lsm_options engine = {
        .path = "data/lsm", .memory_size = 8u << 20, .wal_segment_size = 64u << 10};
    enum status made = env->ops->dir_create(env, side->config.data_dir);
    cr_assert(made == STATUS_OK || made == STATUS_EXISTS);
    cr_assert_eq(lsm_open(env, &engine, &side->lsm), STATUS_OK);
    cr_assert_eq(stream_files_open(env, side->config.data_dir), STATUS_OK);
    memset(&side->holding, 0, sizeof(side->holding));
    memset(&side->counters, 0, sizeof(side->counters));
    cr_assert_eq(holding_open(&side->holding, env, side->lsm, side->config.id), STATUS_OK);
    const struct holding_events events = {.changed = side_changed, .context = side};
    holding_start(&side->holding, &side->topology, &events);
    hlc_init(&side->hlc, env, 0);
    side->replica = (struct replica){.env = env,
                                     .lsm = side->lsm,
                                     .config = &side->config,
                                     .topology = &side->topology,
                                     .holding = &side->holding,
                                     .hlc = &side->hlc,
                                     .counters = &side->counters};
    const struct peers_options peers = {.config = &side->config,
                                        .boot = world_node_incarnation(side->host),
                                        .events = &side_events,
                                        .context = side,
                                        .counters = &side->counters};
    cr_assert_eq(peers_open(env, &peers, &side->peers), STATUS_OK);
    for (uint32_t index = 0; index < streams.side_count; index++) {
        const struct side *other = &streams.sides[index];
        if (other != side) {
            cr_assert_eq(peers_set(side->peers, other->config.id, other->config.peer), STATUS_OK);
        }
    }
    cr_assert_eq(replica_init(&side->replica), STATUS_OK);
    acceptor_init(&side->acceptor, &side->replica);
    side_streams(side, env);
    side->service = (struct service){.peers = side->peers,
                                     .replica = &side->replica,
                                     .acceptor = &side->acceptor,
                                     .holding = &side->holding,
                                     .source = &side->source,
                                     .target = &side->target,
                                     .topology = &side->topology,
                                     .config = &side->config};
    side->booted = true;
}

/* ------------------------------------------------------------------ the world */

static struct side *side_of(uint32_t id)
{
    return &streams.sides[id - 1];
}

static void streams_pass(uint64_t ms)
{
    world_run_until(streams.world, world_now_ns(streams.world) + ms * STREAM_MS);
}

static void side_start(struct side *side)
{
    side->booted = false;
    world_node_start(side->host, side_boot, side);
    while (!side->booted) {
        world_run_steps(streams.world, 1);
    }
}

static void side_defaults(struct side *side, uint32_t id)
{
    side->host = world_node_add(streams.world);
    config_defaults(&side->config);
    side->config.id = id;
    side->config.stream_chunk = 8u << 10;
    (void)snprintf(side->config.data_dir, sizeof(side->config.data_dir), "data");
    (void)snprintf(side->config.peer, sizeof(side->config.peer), "%s:7401",
                   world_node_host(side->host));
    side->topology = (struct topology){.cluster_id = 1,
                                       .stamp = {.generation = {1, 1}, .epoch = 1},
                                       .replica_count = 3,
                                       .range_count = SIDE_RANGE_COUNT,
                                       .ranges = side->ranges};
    for (uint32_t range = 0; range < SIDE_RANGE_COUNT; range++) {
        side->ranges[range] =
            (struct topology_range){.replicas = {.count = 3, .ids = {2, 3, 4}}, .epoch = 1};
    }
}

/* Sides 1 to `side_count` up, in touch, each with a topology in which 2, 3 and 4 own all. */
static void streams_begin(uint32_t side_count)
{
    struct world_options options;
    world_options_calm(&options);
    streams.world = world_create(STREAM_SEED, &options);
    streams.side_count = side_count;
    for (uint32_t index = 0; index < side_count; index++) {
        side_defaults(&streams.sides[index], index + 1);
    }
    for (uint32_t index = 0; index < side_count; index++) {
        side_start(&streams.sides[index]);
    }
}

static void side_adopt_call(void *context)
{
    struct side *side = context;
    cr_assert_eq(holding_adopted(&side->holding), STATUS_OK);
    stream_source_adopted(&side->source);
    stream_target_adopted(&side->target);
}

static void side_adopt(uint32_t id, uint32_t range, const struct topology_range *says)
{
    struct side *side = side_of(id);
    side->ranges[range] = *says;
    if (says->epoch > side->topology.stamp.epoch) {
        side->topology.stamp.epoch = says->epoch;
    }
    world_node_call(side->host, side_adopt_call, side);
}

static inline void streams_adopt(uint32_t range, const struct topology_range *says)
{
    for (uint32_t id = 1; id <= streams.side_count; id++) {
        if (world_node_alive(side_of(id)->host)) {
            side_adopt(id, range, says);
        }
    }
}

static void side_stop_call(void *context)
{
    struct side *side = context;
    holding_stop(&side->holding);
    stream_target_stop(&side->target);
    stream_source_stop(&side->source);
    peers_stop(side->peers);
}

static void side_finish(void *context)
{
    struct side *side = context;
    stream_source_close(&side->source);
    replica_deinit(&side->replica);
    peers_close(side->peers);
    lsm_close(side->lsm);
    stream_target_close(&side->target);
    holding_close(&side->holding);
}

static void streams_end(void)
{
    for (uint32_t id = 1; id <= streams.side_count; id++) {
        if (world_node_alive(side_of(id)->host)) {
            world_node_call(side_of(id)->host, side_stop_call, side_of(id));
        }
    }
    streams_pass(SIDE_SETTLE_MS);
    for (uint32_t id = 1; id <= streams.side_count; id++) {
        struct side *side = side_of(id);
        if (world_node_alive(side->host)) {
            cr_expect(stream_source_stopped(&side->source), "side %u", id);
            cr_expect(stream_target_stopped(&side->target), "side %u", id);
            cr_expect_eq(world_node_stop(side->host, side_finish, side), 0,
                         "side %u did not give back its memory", id);
        }
    }
    world_destroy(streams.world);
}

/* ------------------------------------------------------------------ operations */

/* Side 1 takes over the place of side 2. */
static inline struct topology_range range_taken_over(uint64_t session)
{
    return (struct topology_range){.replicas = {.count = 3, .ids = {2, 3, 4}},
                                   .next = {.count = 3, .ids = {1, 3, 4}},
                                   .goal = {.count = 3, .ids = {1, 3, 4}},
                                   .stage = TOPOLOGY_WRITE_BOTH_READ_OLD,
                                   .epoch = session,
                                   .session = session};
}

static inline struct topology_range range_merged(uint64_t session)
{
    struct topology_range range = range_taken_over(session);
    range.merge_all = true;
    return range;
}

static inline struct topology_range range_of_old(uint64_t epoch)
{
    return (struct topology_range){.replicas = {.count = 3, .ids = {2, 3, 4}}, .epoch = epoch};
}

static inline struct message_range_state side_state(uint32_t id, uint32_t range)
{
    struct message_range_state state;
    holding_state(&side_of(id)->holding, range, &state);
    stream_target_state(&side_of(id)->target, &state);
    return state;
}

/* ------------------------------------------------------------------ cells */

struct side_keys {
    struct side *side;
    uint32_t first;
    uint32_t count;
    uint32_t found;
    uint64_t time;
};

/* Keys of range 0, and in order. */
static struct slice side_key(uint32_t number, uint8_t bytes[ENGINE_KEY_PREFIX_SIZE + 4])
{
    memset(bytes, 0, ENGINE_KEY_PREFIX_SIZE);
    codec_store_be(bytes + ENGINE_KEY_PREFIX_SIZE, number, 4);
    return slice_make(bytes, ENGINE_KEY_PREFIX_SIZE + 4);
}

static struct lsm_write side_writes[4096];

static void side_written(struct lsm_write *write, enum status status)
{
    (void)write;
    cr_assert_eq(status, STATUS_OK);
}

static void side_put_call(void *context)
{
    const struct side_keys *keys = context;
    uint8_t value[SIDE_VALUE_SIZE];
    for (uint32_t number = keys->first; number < keys->first + keys->count; number++) {
        uint8_t key[ENGINE_KEY_PREFIX_SIZE + 4];
        for (uint32_t index = 0; index < SIDE_VALUE_SIZE; index++) {
            value[index] = (uint8_t)(number * 31 + index * index); /* Not to be packed away. */
        }
        const struct lsm_record record = {.key = side_key(number, key),
                                          .cell = {.version = {.time = keys->time, .node = 2},
                                                   .value = slice_make(value, sizeof(value))}};
        struct lsm_write *write = &side_writes[number % 4096];
        *write = (struct lsm_write){
            .records = &record, .record_count = 1, .durability = LSM_SYNCED, .done = side_written};
        cr_assert_eq(lsm_write(keys->side->lsm, write), STATUS_OK);
    }
}

static inline void side_put_unsynced(uint32_t id, uint32_t first, uint32_t count, uint64_t time)
{
    struct side_keys keys = {.side = side_of(id), .first = first, .count = count, .time = time};
    world_node_call(keys.side->host, side_put_call, &keys);
}

static inline void side_put(uint32_t id, uint32_t first, uint32_t count, uint64_t time)
{
    side_put_unsynced(id, first, count, time);
    streams_pass(200);
}

static void side_count_run(struct env_job *job);
static void side_count_done(struct env_job *job, enum status status)
{
    (void)job;
    cr_assert_eq(status, STATUS_OK);
}

static struct {
    struct env_job job;
    struct side_keys *keys;
} side_look;

static void side_count_run(struct env_job *job)
{
    (void)job;
    struct side_keys *keys = side_look.keys;
    struct buffer scratch = {0};
    for (uint32_t number = keys->first; number < keys->first + keys->count; number++) {
        uint8_t key[ENGINE_KEY_PREFIX_SIZE + 4];
        struct cell cell;
        enum status status =
            lsm_get(keys->side->lsm, side_key(number, key), LSM_MAY_BLOCK, &scratch, &cell);
        keys->found += status == STATUS_OK && cell.version.time == keys->time ? 1 : 0;
    }
    buffer_deinit(&scratch);
}

static void side_count_call(void *context)
{
    side_look.keys = context;
    side_look.job = (struct env_job){.run = side_count_run, .done = side_count_done};
    env_submit(world_node_env(side_look.keys->side->host), ENV_LANE_POOL, &side_look.job);
}

/* Of these keys, how many the side has, at that version. */
static inline uint32_t side_has(uint32_t id, uint32_t first, uint32_t count, uint64_t time)
{
    struct side_keys keys = {.side = side_of(id), .first = first, .count = count, .time = time};
    world_node_call(keys.side->host, side_count_call, &keys);
    streams_pass(1000);
    return keys.found;
}

/* Files of streams on its disk. */
static inline uint32_t side_files(uint32_t id)
{
    struct disk_sim *disk = world_node_disk(side_of(id)->host);
    uint32_t count = 0;
    for (uint32_t index = 0; index < disk_sim_file_count(disk); index++) {
        count += strstr(disk_sim_path(disk, index), "streams/") != NULL ? 1 : 0;
    }
    return count;
}

#endif
