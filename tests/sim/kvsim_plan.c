/* tests/sim/kvsim_plan.c -- see kvsim_plan.h. */
#include "tests/sim/kvsim_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define STREAM_SECONDS 8

static uint32_t between(struct prng *prng, uint32_t least, uint32_t greatest)
{
    return least + (uint32_t)prng_below(prng, (uint64_t)greatest - least + 1);
}

/* The quiet phase ends every fault that can be ended; what cannot stays small, or is made by the
 * nemesis instead. */
static void world_draw(struct world_options *world, uint64_t seed, struct prng *prng)
{
    world_options_draw(world, seed);
    world->crash_in_job_ppm = 0;
    uint64_t job_slow_ns_max = 100 * NS_PER_MS;
    world->job_slow_ns =
        world->job_slow_ns < job_slow_ns_max ? world->job_slow_ns : job_slow_ns_max;
    world->job_slow_ppm /= 4;
    /* A connection that loses one frame in twenty does little else than to break. */
    world->net.drop_ppm /= 10;
    world->net.duplicate_ppm /= 2;
    if (prng_chance(prng, 1, 2)) {
        world->net.slow_ns = prng_below(prng, 200 * NS_PER_MS);
    }
    world->disk.sync_ns_max = prng_below(prng, 8 * NS_PER_MS);
    world->disk.write_ns_max = prng_below(prng, NS_PER_MS / 2);
    world->disk.faults.slow_ns = prng_below(prng, 300 * NS_PER_MS);
}

static void config_draw(struct config *config, uint32_t node_count, struct prng *prng)
{
    config_defaults(config);
    config->log_level = LOG_INFO;
    config->replicas = prng_chance(prng, 3, 4) ? 3 : between(prng, 1, 5);
    config->replicas = config->replicas < node_count ? config->replicas : node_count;
    config->ranges = prng_chance(prng, 3, 4) ? 64 : UINT32_C(1) << between(prng, 3, 8);
    config->request_timeout_ms = between(prng, 800, 2000);
    config->hedge_timeout_ms = between(prng, 10, 100);
    config->heartbeat_ms = between(prng, 60, 200);
    config->suspect_ms = config->heartbeat_ms * between(prng, 4, 6);
    config->down_ms = config->suspect_ms * 2;
    config->election_ms = between(prng, 300, 800);
    config->shutdown_ms = between(prng, 500, 3000);
    config->memory_size = UINT64_C(8) << 20;
    config->memtable_size = UINT64_C(64) << 10 << between(prng, 0, 4);
    config->wal_segment_size = UINT64_C(64) << 10 << between(prng, 0, 3);
    config->inflight_count_max = prng_chance(prng, 1, 8) ? between(prng, 4, 32) : 1000;
    config->clock_lead_ms = between(prng, 700, 1500);
    config->survey_s = 0; /* Jobs draw; see plan_draw(). */
}

/* What only seeds with changes of the ring draw, last: the others are what they would be without.
 * Ranges are few and streams slow, so that most keys are on their way most of the time. */
static void moves_draw(struct plan *plan, struct prng *prng)
{
    plan->moves = true;
    plan->spare_count = between(prng, 1, PLAN_SPARE_COUNT_MAX);
    plan->zone_count = prng_chance(prng, 1, 2) ? 0 : between(prng, 2, 4);
    plan->operation_count *= 2;
    plan->move_pause_ms = UINT64_C(100) << between(prng, 0, 5);
    plan->faults[FAULT_WEDGE] = prng_chance(prng, 2, 5);
    plan->faults[FAULT_EPOCH] = prng_chance(prng, 3, 5);
    plan->epoch_fault_odds = 4u << between(prng, 0, 4);
    struct config *config = &plan->config;
    config->ranges = UINT32_C(8) << between(prng, 0, 3);
    /* Slow, but so that each node could take in all values there may be within some seconds: a plan
     * must end in time. */
    uint64_t rate_least = (uint64_t)plan->key_count * plan->value_size_max / STREAM_SECONDS;
    config->stream_rate = UINT64_C(4) << 10 << between(prng, 0, 8);
    config->stream_rate = config->stream_rate > rate_least ? config->stream_rate : rate_least;
    config->stream_chunk = 1u << 10 << between(prng, 0, 8);
    config->streams = between(prng, 1, 4);
    config->moves = UINT32_C(1) << between(prng, 0, 6);
    if (prng_chance(prng, 1, 2)) {
        config->raft_snapshot_threshold = between(prng, 4, 64);
        config->raft_snapshot_trailing = between(prng, 1, 16);
    }
}

void plan_draw(struct plan *plan, uint64_t seed, const struct plan_options *options)
{
    ASSERT(options->node_count >= 1);
    ASSERT(options->node_count <= PLAN_NODE_COUNT_MAX);
    struct prng prng;
    prng_init(&prng, prng_mix(seed ^ UINT64_C(0x6b7673696d)));
    *plan = (struct plan){
        .seed = seed,
        .node_count = options->node_count,
        .operation_count = options->operation_count,
        .safety_ms = (uint64_t)options->seconds * 1000,
        .client_count = between(&prng, 4, PLAN_CLIENT_COUNT_MAX),
        .depth_max = prng_chance(&prng, 1, 2) ? 1 : between(&prng, 2, PLAN_DEPTH_MAX),
        .key_count = between(&prng, 8, 64),
        .value_size_max = UINT32_C(128) << between(&prng, 0, 8),
        .client_patience_ms = between(&prng, 50, 3000),
        .fault_pause_ms = between(&prng, 300, 4000),
        .fault_length_ms = between(&prng, 200, 6000),
        .down_ms = between(&prng, 20, 5000),
    };
    plan->hot_key_count = between(&prng, 1, 6);
    for (uint32_t fault = 0; fault < FAULT_WEDGE; fault++) {
        plan->faults[fault] = prng_chance(&prng, 2, 5);
    }
    world_draw(&plan->world, seed, &prng);
    config_draw(&plan->config, plan->node_count, &prng);
    if (seed % 4 == 1 || seed % 4 == 2) {
        moves_draw(plan, &prng);
    }
    if (seed % 16 == 4 || seed % 16 == 5) {
        plan->config.survey_s = 1; /* The other seeds are what they would be without surveys. */
    }
}

const char *plan_fault_name(enum plan_fault fault)
{
    static const char *const names[] = {
        [FAULT_PARTITION] = "partition",
        [FAULT_ONE_WAY] = "one-way",
        [FAULT_CLOG] = "clog",
        [FAULT_RESET] = "reset",
        [FAULT_CLIENT_CUT] = "client-cut",
        [FAULT_STORM] = "storm",
        [FAULT_KILL] = "kill",
        [FAULT_POWER] = "power",
        [FAULT_POWER_MANY] = "power-many",
        [FAULT_POWER_IN_JOB] = "power-in-job",
        [FAULT_STOP] = "stop",
        [FAULT_PAUSE] = "pause",
        [FAULT_DISK_ERRORS] = "disk-errors",
        [FAULT_SYNC_ERRORS] = "sync-errors",
        [FAULT_DISK_SLOW] = "disk-slow",
        [FAULT_CLOCK_JUMP] = "clock-jump",
        [FAULT_CLOCK_DRIFT] = "clock-drift",
        [FAULT_WEDGE] = "wedge",
        [FAULT_EPOCH] = "epoch",
    };
    STATIC_ASSERT(ARRAY_COUNT(names) == FAULT_COUNT, "each fault has a name");
    return names[fault];
}

void plan_print(const struct plan *plan)
{
    (void)fprintf(stderr,
                  "seed %" PRIu64 ": nodes=%u replicas=%u ranges=%u clients=%u depth=%u keys=%u "
                  "hot=%u value_max=%u memtable_kib=%u segment_kib=%u timeout_ms=%u faults=",
                  plan->seed, plan->node_count, plan->config.replicas, plan->config.ranges,
                  plan->client_count, plan->depth_max, plan->key_count, plan->hot_key_count,
                  plan->value_size_max, (unsigned)(plan->config.memtable_size >> 10),
                  (unsigned)(plan->config.wal_segment_size >> 10), plan->config.request_timeout_ms);
    for (uint32_t fault = 0; fault < FAULT_COUNT; fault++) {
        if (plan->faults[fault]) {
            (void)fprintf(stderr, "%s ", plan_fault_name((enum plan_fault)fault));
        }
    }
    (void)fprintf(stderr, "drop_ppm=%u", plan->world.net.drop_ppm);
    if (plan->moves) {
        (void)fprintf(stderr,
                      " spares=%u zones=%u move_pause_ms=%" PRIu64 " rate=%" PRIu64
                      " chunk=%u streams=%u moves=%u",
                      plan->spare_count, plan->zone_count, plan->move_pause_ms,
                      plan->config.stream_rate, (unsigned)plan->config.stream_chunk,
                      plan->config.streams, plan->config.moves);
    }
    (void)fputc('\n', stderr);
}
