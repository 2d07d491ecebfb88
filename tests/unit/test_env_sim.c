/*
 * tests/unit/test_env_sim.c -- time, timers, jobs, crashes and the trace of a simulated world.
 */
#include <signal.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/log.h"
#include "base/memory.h"
#include "tests/sim/env_sim.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)

static void nothing(void *context)
{
    (void)context;
}

static struct world_node *node_started(struct world *world)
{
    struct world_node *node = world_node_add(world);
    world_node_start(node, nothing, NULL);
    (void)world_run_steps(world, 1);
    return node;
}

/* --- a busy world, for the trace -------------------------------------------------------------- */

/* A node that appends to a file, syncs it, logs and sends, for ever. */
struct busy {
    struct env *env;
    struct env_timer timer;
    struct env_job job;
    struct env_file *file;
    struct env_connection *connection;
    uint64_t offset;
    uint64_t job_count;
};

static void busy_run(struct env_job *job)
{
    struct busy *busy = container_of(job, struct busy, job);
    uint64_t number = env_random(busy->env);
    enum status status =
        busy->env->ops->file_write(busy->file, busy->offset, slice_make(&number, sizeof(number)));
    if (status == STATUS_OK) {
        busy->offset += sizeof(number);
        status = busy->env->ops->file_sync(busy->file);
    }
    cr_assert_eq(status, STATUS_OK);
}

static void busy_done(struct env_job *job, enum status status)
{
    struct busy *busy = container_of(job, struct busy, job);
    busy->job_count += status == STATUS_OK;
    if (busy->connection != NULL) {
        (void)busy->env->ops->net_send(busy->connection, slice_text("done"));
    }
    log_info(busy->env, "busy.done", "count=%d", (int)busy->job_count);
}

static void busy_fired(struct env_timer *timer)
{
    struct busy *busy = container_of(timer, struct busy, timer);
    uint64_t now = env_monotonic_ns(busy->env);
    char *text = memory_allocate(1 + now % 100);
    memory_free(text);
    env_submit(busy->env, ENV_LANE_WAL, &busy->job);
    busy->env->ops->timer_start(busy->env, timer, 50 * MS + now % 1000);
}

static void busy_opened(struct env_connection *connection)
{
    (void)connection;
}

static void busy_received(struct env_connection *connection, struct slice data)
{
    if (data.size < 64) {
        (void)world_node_of(((struct busy *)connection->context)->env);
    }
}

static void busy_drained(struct env_connection *connection)
{
    (void)connection;
}

static void busy_closed(struct env_connection *connection, enum status why)
{
    (void)why;
    struct busy *busy = connection->context;
    if (busy->connection == connection) {
        busy->connection = NULL;
    }
}

static const struct env_net_events busy_events = {busy_opened, busy_received, busy_drained,
                                                  busy_closed};

static void busy_boot(void *context)
{
    struct world_node *node = context;
    struct busy *busy = memory_allocate_zeroed(1, sizeof(*busy));
    busy->env = world_node_env(node);
    busy->timer.fired = busy_fired;
    busy->job.run = busy_run;
    busy->job.done = busy_done;
    enum status status = busy->env->ops->file_open(busy->env, "log", ENV_OPEN_CREATE, &busy->file);
    if (status == STATUS_EXISTS) {
        status = busy->env->ops->file_open(busy->env, "log", ENV_OPEN_WRITE, &busy->file);
    }
    cr_assert_eq(status, STATUS_OK);
    cr_assert_eq(busy->env->ops->dir_sync(busy->env, "/"), STATUS_OK);
    struct env_listener *listener;
    cr_assert_eq(busy->env->ops->net_listen(busy->env, "0.0.0.0:1", ENV_FRAMES, &busy_events, busy,
                                            &listener),
                 STATUS_OK);
    const char *peer = world_node_index(node) == 0 ? "10.0.0.2:1" : "10.0.0.1:1";
    cr_assert_eq(busy->env->ops->net_connect(busy->env, peer, ENV_FRAMES, &busy_events, busy,
                                             &busy->connection),
                 STATUS_OK);
    busy->env->ops->timer_start(busy->env, &busy->timer, MS);
}

/* What happened in two busy nodes under drawn faults, two crashes and a cut. */
static uint64_t busy_hash(uint64_t seed, enum world_plant plant)
{
    struct world_options options;
    world_options_draw(&options, seed);
    options.crash_in_job_ppm = 0;
    options.plant = plant;
    struct world *world = world_create(seed, &options);
    struct world_node *nodes[2];
    for (int index = 0; index < 2; index++) {
        nodes[index] = world_node_add(world);
        world_node_start(nodes[index], busy_boot, nodes[index]);
    }
    world_run_until(world, 2 * SECOND);
    net_sim_cut(world_net(world), 0, 1, true);
    world_node_crash(nodes[0], WORLD_CRASH_POWER);
    world_run_until(world, 3 * SECOND);
    net_sim_heal(world_net(world));
    world_node_start(nodes[0], busy_boot, nodes[0]);
    world_node_pause(nodes[1], true);
    world_run_until(world, 4 * SECOND);
    world_node_pause(nodes[1], false);
    world_node_crash_in_job(nodes[1], WORLD_CRASH_PROCESS, 1);
    world_run_until(world, 6 * SECOND);
    cr_assert_not(world_node_alive(nodes[1]), "seed %d", (int)seed);
    cr_assert_gt(world_step_count(world), 100);
    uint64_t hash = world_hash(world);
    world_destroy(world);
    return hash;
}

Test(env_sim, one_seed_gives_one_trace)
{
    uint64_t before = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t hash = busy_hash(seed, WORLD_PLANT_NONE);
        cr_assert_eq(hash, busy_hash(seed, WORLD_PLANT_NONE), "seed %d", (int)seed);
        cr_assert_neq(hash, before);
        before = hash;
    }
}

Test(env_sim, a_real_clock_let_in_changes_the_trace)
{
    uint64_t hash = busy_hash(7, WORLD_PLANT_CLOCK);
    cr_expect_neq(hash, busy_hash(7, WORLD_PLANT_CLOCK));
}

Test(env_sim, an_address_let_in_changes_the_trace)
{
    /* Nodes of a second world, made while the first lives, lie elsewhere. */
    struct world_options options;
    world_options_calm(&options);
    uint64_t hash = busy_hash(7, WORLD_PLANT_ADDRESS);
    struct world *other = world_create(1, &options);
    (void)world_node_add(other);
    void *held = heap_sim_take(sizeof(struct world_options));
    cr_expect_neq(hash, busy_hash(7, WORLD_PLANT_ADDRESS));
    heap_sim_give(held);
    world_destroy(other);
}

/* --- timers ----------------------------------------------------------------------------------- */

struct alarm {
    struct env *env;
    struct env_timer timer;
    uint64_t fired_ns;
    int count;
};

static void alarm_fired(struct env_timer *timer)
{
    struct alarm *alarm = container_of(timer, struct alarm, timer);
    alarm->fired_ns = env_monotonic_ns(alarm->env);
    alarm->count++;
}

static void alarm_start(void *context)
{
    struct alarm *alarm = context;
    alarm->env->ops->timer_start(alarm->env, &alarm->timer, 10 * MS);
}

static void alarm_put_off(void *context)
{
    struct alarm *alarm = context;
    alarm->env->ops->timer_start(alarm->env, &alarm->timer, 100 * MS);
}

static void alarm_hasten(void *context)
{
    struct alarm *alarm = context;
    alarm->env->ops->timer_start(alarm->env, &alarm->timer, MS);
}

static void alarm_stop(void *context)
{
    struct alarm *alarm = context;
    alarm->env->ops->timer_stop(alarm->env, &alarm->timer);
}

Test(env_sim, a_timer_fires_once_at_its_last_due_time)
{
    struct world_options options;
    world_options_calm(&options);
    struct world *world = world_create(1, &options);
    struct world_node *node = node_started(world);
    struct alarm alarm = {.env = world_node_env(node), .timer.fired = alarm_fired};
    world_node_call(node, alarm_start, &alarm);
    world_run_until(world, 5 * MS);
    world_node_call(node, alarm_put_off, &alarm);
    world_run_until(world, 104 * MS);
    cr_expect_eq(alarm.count, 0);
    world_run_until(world, 105 * MS);
    cr_expect_eq(alarm.count, 1);
    cr_expect_null(alarm.timer.implementation);
    world_node_call(node, alarm_put_off, &alarm);
    world_node_call(node, alarm_hasten, &alarm);
    world_run_until(world, 106 * MS);
    cr_expect_eq(alarm.count, 2);
    world_node_call(node, alarm_start, &alarm);
    world_node_call(node, alarm_stop, &alarm);
    world_run_until(world, SECOND);
    cr_expect_eq(alarm.count, 2);
    world_destroy(world);
}

Test(env_sim, clocks_drift_and_timers_follow_their_own_node)
{
    struct world_options options;
    world_options_calm(&options);
    struct world *world = world_create(1, &options);
    struct world_node *node = node_started(world);
    struct env *env = world_node_env(node);
    world_node_clock_drift(node, 100000);
    uint64_t before = env_monotonic_ns(env);
    int64_t wall = env->ops->realtime_ms(env);
    world_run_until(world, 10 * SECOND);
    cr_expect_eq(env_monotonic_ns(env) - before, 11 * SECOND);
    world_node_clock_jump(node, -5000);
    cr_expect_eq(env->ops->realtime_ms(env) - wall, 6000);
    for (int32_t drift = -400000; drift <= 400000; drift += 77777) {
        world_node_clock_drift(node, drift);
        struct alarm alarm = {.env = env, .timer.fired = alarm_fired};
        uint64_t start = env_monotonic_ns(env);
        world_node_call(node, alarm_start, &alarm);
        world_run_until(world, world_now_ns(world) + 20 * MS);
        cr_assert_eq(alarm.count, 1, "drift %d", drift);
        cr_assert_geq(alarm.fired_ns - start, 10 * MS, "drift %d", drift);
        cr_assert_leq(alarm.fired_ns - start, 10 * MS + 4, "drift %d", drift);
    }
    world_destroy(world);
}

/* --- jobs ------------------------------------------------------------------------------------- */

#define JOB_COUNT 40

struct work {
    struct env *env;
    struct env_job jobs[JOB_COUNT];
    int order[JOB_COUNT];
    int run_count;
    int done_order[JOB_COUNT];
    int done_count;
    int cancelled_count;
};

static struct work *work_now; /* The jobs are told apart by their place in it. */

static void work_run(struct env_job *job)
{
    work_now->order[work_now->run_count++] = (int)(job - work_now->jobs);
    enum status status = work_now->env->ops->dir_sync(work_now->env, "/");
    cr_assert_eq(status, STATUS_OK);
}

static void work_done(struct env_job *job, enum status status)
{
    work_now->done_order[work_now->done_count++] = (int)(job - work_now->jobs);
    work_now->cancelled_count += status == STATUS_CANCELLED;
}

static enum env_lane work_lane;

static void work_submit(void *context)
{
    struct work *work = context;
    for (int index = 0; index < JOB_COUNT; index++) {
        work->jobs[index].run = work_run;
        work->jobs[index].done = work_done;
        env_submit(work->env, work_lane, &work->jobs[index]);
    }
}

static int out_of_order(const int *order)
{
    int count = 0;
    for (int index = 0; index < JOB_COUNT; index++) {
        count += order[index] != index;
    }
    return count;
}

static void work_begin(struct world **world, struct world_node **node, struct work *work,
                       enum env_lane lane)
{
    struct world_options options;
    world_options_calm(&options);
    *world = world_create(3, &options);
    *node = node_started(*world);
    *work = (struct work){.env = world_node_env(*node)};
    work_now = work;
    work_lane = lane;
    world_node_call(*node, work_submit, work);
    cr_assert_eq(work->run_count, 0, "never inside the call");
}

Test(env_sim, wal_jobs_run_and_are_done_in_order_and_take_their_time)
{
    struct world *world;
    struct world_node *node;
    struct work work;
    work_begin(&world, &node, &work, ENV_LANE_WAL);
    (void)world_run_steps(world, 3);
    cr_expect_leq(work.run_count, 3);
    (void)world_run_steps(world, 1000);
    cr_expect_eq(work.done_count, JOB_COUNT);
    cr_expect_eq(out_of_order(work.order), 0);
    cr_expect_eq(out_of_order(work.done_order), 0);
    /* Forty syncs of up to 2 ms, one after the other. */
    cr_expect_gt(world_now_ns(world), 20 * MS);
    cr_expect_lt(world_now_ns(world), 85 * MS);
    world_destroy(world);
}

Test(env_sim, pool_jobs_run_once_each_in_any_order)
{
    struct world *world;
    struct world_node *node;
    struct work work;
    work_begin(&world, &node, &work, ENV_LANE_POOL);
    (void)world_run_steps(world, 1000);
    cr_expect_eq(work.done_count, JOB_COUNT);
    cr_expect_gt(out_of_order(work.order), 0);
    int seen[JOB_COUNT] = {0};
    for (int index = 0; index < JOB_COUNT; index++) {
        seen[work.done_order[index]]++;
    }
    for (int index = 0; index < JOB_COUNT; index++) {
        cr_assert_eq(seen[index], 1);
    }
    world_destroy(world);
}

Test(env_sim, a_clean_stop_ends_every_job_once_and_counts_what_was_not_freed)
{
    struct world *world;
    struct world_node *node;
    struct work work;
    work_begin(&world, &node, &work, ENV_LANE_WAL);
    (void)world_run_steps(world, 9);
    int run_count = work.run_count;
    cr_expect_eq(world_node_stop(node, nothing, NULL), 0);
    cr_expect_eq(work.done_count, JOB_COUNT);
    cr_expect_eq(work.cancelled_count, JOB_COUNT - run_count);
    cr_expect_gt(run_count, 0);
    (void)world_run_steps(world, 1000);
    cr_expect_eq(work.done_count, JOB_COUNT);
    world_destroy(world);
}

/* --- crashes ---------------------------------------------------------------------------------- */

static void crash_count(void *context, struct world_node *node)
{
    (void)node;
    ++*(int *)context;
}

static void *memory_leak;

static void memory_take(void *context)
{
    (void)context;
    memory_leak = memory_allocate(1000);
    cr_assert_not_null(memory_leak);
}

Test(env_sim, a_crash_drops_memory_timers_and_jobs)
{
    struct world *world;
    struct world_node *node;
    struct work work;
    work_begin(&world, &node, &work, ENV_LANE_WAL);
    struct alarm alarm = {.env = world_node_env(node), .timer.fired = alarm_fired};
    world_node_call(node, alarm_start, &alarm);
    world_node_call(node, memory_take, NULL);
    cr_expect_eq(world_node_heap(node)->size, 1000);
    (void)world_run_steps(world, 4);
    world_node_crash(node, WORLD_CRASH_PROCESS);
    cr_expect_eq(world_node_heap(node)->size, 0);
    int done = work.done_count;
    world_node_start(node, nothing, NULL);
    cr_expect_eq(world_node_incarnation(node), 2);
    world_run_until(world, SECOND);
    cr_expect_eq(work.done_count, done);
    cr_expect_eq(alarm.count, 0);
    world_destroy(world);
}

Test(env_sim, what_a_stopped_node_did_not_free_is_told)
{
    struct world_options options;
    world_options_calm(&options);
    struct world *world = world_create(1, &options);
    struct world_node *node = node_started(world);
    world_node_call(node, memory_take, NULL);
    cr_expect_eq(world_node_stop(node, nothing, NULL), 1000);
    cr_expect_not(world_node_alive(node));
    world_destroy(world);
}

/* Writes four sectors, each followed by a sync. */
static void crash_job_run(struct env_job *job)
{
    (void)job;
    struct env_file *file;
    struct env *env = work_now->env;
    cr_assert_eq(env->ops->file_open(env, "f", ENV_OPEN_CREATE, &file), STATUS_OK);
    cr_assert_eq(env->ops->dir_sync(env, "/"), STATUS_OK);
    uint8_t sector[ENV_SECTOR_SIZE];
    memset(sector, 'x', sizeof(sector));
    for (uint64_t index = 0; index < 4; index++) {
        cr_assert_eq(
            env->ops->file_write(file, index * sizeof(sector), slice_make(sector, sizeof(sector))),
            STATUS_OK);
        cr_assert_eq(env->ops->file_sync(file), STATUS_OK);
    }
    env->ops->file_close(file);
    work_now->run_count++;
}

static void crash_job_submit(void *context)
{
    struct work *work = context;
    work->jobs[0].run = crash_job_run;
    work->jobs[0].done = work_done;
    env_submit(work->env, ENV_LANE_POOL, &work->jobs[0]);
}

static uint64_t size_left;

static void size_look(void *context)
{
    struct env *env = context;
    struct env_file *file;
    size_left = 0;
    if (env->ops->file_open(env, "f", ENV_OPEN_READ, &file) == STATUS_OK) {
        cr_assert_eq(env->ops->file_size(file, &size_left), STATUS_OK);
        env->ops->file_close(file);
    }
}

/* For each number of calls before the crash, what was synced by then is there, and no more than
 * what was written by then; and the job's done never runs. */
Test(env_sim, a_crash_inside_a_job_leaves_what_its_first_calls_did)
{
    for (uint64_t calls = 0; calls < 10; calls++) {
        for (uint64_t seed = 1; seed < 10; seed++) {
            int crashes = 0;
            struct world_options options;
            world_options_calm(&options);
            options.hooks.crashed = crash_count;
            options.hooks.context = &crashes;
            struct world *world = world_create(seed, &options);
            struct world_node *node = node_started(world);
            struct work work = {.env = world_node_env(node)};
            work_now = &work;
            world_node_crash_in_job(node, WORLD_CRASH_POWER, calls);
            world_node_call(node, crash_job_submit, &work);
            world_run_until(world, SECOND);
            cr_assert_eq(crashes, 1);
            cr_assert_eq(work.run_count, 1);
            cr_assert_eq(work.done_count, 0);
            world_node_start(node, size_look, world_node_env(node));
            world_run_until(world, 2 * SECOND);
            /* Calls: create, dir_sync, then write and sync in turn. */
            uint64_t synced = calls < 2 ? 0 : (calls - 2) / 2 * ENV_SECTOR_SIZE;
            uint64_t written = calls < 2 ? 0 : (calls - 1) / 2 * ENV_SECTOR_SIZE;
            cr_assert_geq(size_left, synced, "calls %d seed %d", (int)calls, (int)seed);
            cr_assert_leq(size_left, written, "calls %d seed %d", (int)calls, (int)seed);
            world_destroy(world);
        }
    }
}

Test(env_sim, a_paused_node_runs_its_events_in_order_once_resumed)
{
    struct world *world;
    struct world_node *node;
    struct work work;
    work_begin(&world, &node, &work, ENV_LANE_WAL);
    struct alarm alarm = {.env = world_node_env(node), .timer.fired = alarm_fired};
    world_node_call(node, alarm_start, &alarm);
    world_node_pause(node, true);
    world_run_until(world, SECOND);
    cr_expect_eq(work.run_count, 0);
    cr_expect_eq(alarm.count, 0);
    world_node_pause(node, false);
    world_run_until(world, 2 * SECOND);
    cr_expect_eq(work.done_count, JOB_COUNT);
    cr_expect_eq(out_of_order(work.order), 0);
    cr_expect_eq(alarm.count, 1);
    world_destroy(world);
}

static void file_call(void *context)
{
    struct env *env = context;
    (void)env->ops->name_remove(env, "f");
}

Test(env_sim, a_file_call_on_the_loop_is_a_bug, .signal = SIGABRT)
{
    struct world_options options;
    world_options_calm(&options);
    struct world *world = world_create(1, &options);
    struct world_node *node = node_started(world);
    world_node_call(node, file_call, world_node_env(node));
}

static void timer_job_run(struct env_job *job)
{
    (void)job;
    struct env_timer timer = {.fired = alarm_fired};
    work_now->env->ops->timer_start(work_now->env, &timer, 1);
}

static void timer_job_submit(void *context)
{
    struct work *work = context;
    work->jobs[0].run = timer_job_run;
    work->jobs[0].done = work_done;
    env_submit(work->env, ENV_LANE_POOL, &work->jobs[0]);
}

Test(env_sim, a_timer_inside_a_job_is_a_bug, .signal = SIGABRT)
{
    struct world_options options;
    world_options_calm(&options);
    struct world *world = world_create(1, &options);
    struct world_node *node = node_started(world);
    struct work work = {.env = world_node_env(node)};
    work_now = &work;
    world_node_call(node, timer_job_submit, &work);
    world_run_until(world, SECOND);
}
