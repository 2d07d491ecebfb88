/*
 * tests/unit/test_net_end_sim.c -- five chattering nodes under every fault at once.
 *
 * Nothing is checked about what arrives: that is test_net_sim.c's. Here each seed runs twice, with
 * crashes, pauses, cuts and resets drawn on top of drawn options; both runs must have one trace,
 * and the sanitizer sees every link, batch, handle and page freed, and none used after.
 */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "tests/sim/env_sim.h"

#define MS UINT64_C(1000000)
#define NODE_COUNT 5
#define SEED_COUNT 12
#define SECONDS 20
#define FILE_SIZE_MAX 200000

/* Of one node; asks all others, every 20 ms, and writes to its disk meanwhile. */
struct chatter {
    struct env *env;
    uint32_t index;
    struct env_timer timer;
    struct env_job job;
    bool job_running;
    struct env_file *file;
    uint64_t offset;
    struct env_connection *connections[NODE_COUNT];
};

static const uint8_t question[200] = {1};
static const uint8_t answer[100] = {2};

static void chatter_run(struct env_job *job)
{
    struct chatter *chatter = container_of(job, struct chatter, job);
    const struct env_ops *ops = chatter->env->ops;
    struct slice bytes = slice_make(question, sizeof(question));
    cr_assert_eq(ops->file_write(chatter->file, chatter->offset, bytes), STATUS_OK);
    chatter->offset += bytes.size;
    cr_assert_eq(ops->file_sync(chatter->file), STATUS_OK);
    if (chatter->offset > FILE_SIZE_MAX) {
        cr_assert_eq(ops->file_truncate(chatter->file, 0), STATUS_OK);
        chatter->offset = 0;
    }
}

static void chatter_done(struct env_job *job, enum status status)
{
    (void)status;
    container_of(job, struct chatter, job)->job_running = false;
}

static void chatter_opened(struct env_connection *connection)
{
    (void)connection;
}

static void chatter_received(struct env_connection *connection, struct slice data)
{
    struct chatter *chatter = connection->context;
    const struct env_ops *ops = chatter->env->ops;
    uint64_t drawn = env_random(chatter->env) % 100;
    if (data.data[0] == question[0] && drawn < 50) {
        (void)ops->net_send(connection, slice_make(answer, sizeof(answer)));
    } else if (drawn == 97 || drawn == 98) {
        ops->net_pause(connection, drawn == 97);
    } else if (drawn == 99) {
        ops->net_close(connection);
    }
}

static void chatter_closed(struct env_connection *connection, enum status why)
{
    (void)why;
    struct chatter *chatter = connection->context;
    for (uint32_t index = 0; index < NODE_COUNT; index++) {
        if (chatter->connections[index] == connection) {
            chatter->connections[index] = NULL;
        }
    }
}

static const struct env_net_events chatter_events = {chatter_opened, chatter_received,
                                                     chatter_opened, chatter_closed};

static void chatter_fired(struct env_timer *timer)
{
    struct chatter *chatter = container_of(timer, struct chatter, timer);
    const struct env_ops *ops = chatter->env->ops;
    for (uint32_t index = 0; index < NODE_COUNT; index++) {
        struct env_connection **connection = &chatter->connections[index];
        if (*connection == NULL) {
            char address[32];
            (void)snprintf(address, sizeof(address), "10.0.0.%u:1", index + 1);
            cr_assert_eq(ops->net_connect(chatter->env, address, ENV_FRAMES, &chatter_events,
                                          chatter, connection),
                         STATUS_OK);
        }
        (void)ops->net_send(*connection, slice_make(question, sizeof(question)));
    }
    if (!chatter->job_running) {
        chatter->job_running = true;
        env_submit(chatter->env, ENV_LANE_WAL, &chatter->job);
    }
    env_timer_start_ms(chatter->env, timer, 20);
}

static void chatter_boot(void *context)
{
    struct world_node *node = context;
    struct chatter *chatter = memory_allocate_zeroed(1, sizeof(*chatter));
    chatter->env = world_node_env(node);
    chatter->index = world_node_index(node);
    chatter->timer.fired = chatter_fired;
    chatter->job.run = chatter_run;
    chatter->job.done = chatter_done;
    const struct env_ops *ops = chatter->env->ops;
    enum status status = ops->file_open(chatter->env, "f", ENV_OPEN_CREATE, &chatter->file);
    if (status == STATUS_EXISTS) {
        status = ops->file_open(chatter->env, "f", ENV_OPEN_WRITE, &chatter->file);
    }
    cr_assert_eq(status, STATUS_OK);
    cr_assert_eq(ops->file_size(chatter->file, &chatter->offset), STATUS_OK);
    struct env_listener *listener;
    status =
        ops->net_listen(chatter->env, "0.0.0.0:1", ENV_FRAMES, &chatter_events, chatter, &listener);
    cr_assert_eq(status, STATUS_OK);
    env_timer_start_ms(chatter->env, &chatter->timer, 1);
}

static void nothing(void *context)
{
    (void)context;
}

/* Perhaps something happens to a node. */
static void disturb(struct world *world, struct world_node *node)
{
    struct prng *prng = world_prng(world);
    if (!world_node_alive(node)) {
        if (prng_chance(prng, 1, 2)) {
            world_node_start(node, chatter_boot, node);
        }
        return;
    }
    if (world_node_paused(node)) {
        world_node_pause(node, prng_chance(prng, 1, 2));
        return;
    }
    struct net_sim *net = world_net(world);
    uint32_t index = world_node_index(node);
    uint32_t other = (uint32_t)prng_below(prng, NODE_COUNT);
    enum world_crash crash = prng_chance(prng, 1, 2) ? WORLD_CRASH_POWER : WORLD_CRASH_PROCESS;
    switch (prng_below(prng, 30)) {
    case 0:
        world_node_crash(node, crash);
        break;
    case 1:
        world_node_crash_in_job(node, crash, prng_below(prng, 5));
        break;
    case 2:
        world_node_pause(node, true);
        break;
    case 3:
    case 4:
        net_sim_cut(net, index, other, true);
        break;
    case 5:
    case 6:
        net_sim_heal(net);
        break;
    case 7:
        net_sim_reset(net, index, other);
        break;
    case 8:
        /* What its heap still holds is dropped with it. */
        cr_assert_gt(world_node_stop(node, nothing, NULL), 0);
        break;
    case 9:
        world_node_clock_jump(node, (int64_t)prng_below(prng, 1000) - 500);
        break;
    default:
        break;
    }
}

static uint64_t chatter_hash(uint64_t seed)
{
    struct world_options options;
    world_options_draw(&options, seed);
    struct world *world = world_create(seed, &options);
    for (uint32_t index = 0; index < NODE_COUNT; index++) {
        struct world_node *node = world_node_add(world);
        world_node_start(node, chatter_boot, node);
    }
    for (uint64_t second = 1; second <= SECONDS; second++) {
        world_run_until(world, second * 1000 * MS);
        for (uint32_t index = 0; index < NODE_COUNT; index++) {
            disturb(world, world_node_at(world, index));
        }
    }
    cr_assert_gt(net_sim_counters(world_net(world))->bytes_delivered, 10000);
    uint64_t hash = world_hash(world);
    world_destroy(world);
    return hash;
}

Test(net_end_sim, every_fault_at_once_replays_and_frees_all)
{
    for (uint64_t seed = 1; seed <= SEED_COUNT; seed++) {
        cr_assert_eq(chatter_hash(seed), chatter_hash(seed), "seed %d", (int)seed);
    }
}
