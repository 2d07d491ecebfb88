/*
 * tests/sim/env_node_sim.c -- the table of functions that a simulated node sees.
 *
 * Clocks, chance, log, timers and jobs; calls of files and connections are forwarded.
 * Invariants:
 *  (1) A running timer's `implementation` is its event. A timer that is stopped leaves the event in
 *      the queue without a subject; one that is put off keeps it, and the event asks for another.
 *  (2) A job is in its lane's list, or in `finished` with an event for its done.
 */
#include <string.h>
#include <time.h>

#include "tests/sim/env_sim_internal.h"
#include "tests/sim/trace.h"

#define NS_PER_MS 1000000
#define PPM 1000000
/* How far ahead in its queue a pool thread may reach. */
#define POOL_REACH 4
/* Greatest number of calls before a drawn crash inside a job. */
#define CRASH_OPERATIONS_MAX 8

static struct world_node *node_of(struct env *env)
{
    struct world_node *node = world_node_of(env);
    ASSERT(node->alive);
    return node;
}

/* Of calls that belong to the loop. */
static struct world_node *loop_of(struct env *env)
{
    struct world_node *node = node_of(env);
    ASSERT(!node->in_job);
    return node;
}

/* --- clocks, chance, log ---------------------------------------------------------------------- */

uint64_t node_elapsed_ns(const struct world_node *node)
{
    uint64_t since = world_now_ns(node->world) - node->elapsed_at_ns;
    int64_t whole = (int64_t)(since / PPM) * node->drift_ppm;
    int64_t rest = (int64_t)(since % PPM) * node->drift_ppm / PPM;
    return node->elapsed_ns + since + (uint64_t)(whole + rest);
}

static uint64_t sim_monotonic_ns(struct env *env)
{
    struct world_node *node = node_of(env);
    uint64_t now = node_elapsed_ns(node) + node->monotonic_offset_ns;
    if (world_options_of(node->world)->plant == WORLD_PLANT_CLOCK) {
        struct timespec real;
        int rc = clock_gettime(CLOCK_MONOTONIC, &real);
        ASSERT(rc == 0);
        now += (uint64_t)real.tv_nsec % 1000;
    }
    return now;
}

static int64_t sim_realtime_ms(struct env *env)
{
    struct world_node *node = node_of(env);
    return world_options_of(node->world)->start_unix_ms + node->realtime_offset_ms +
           (int64_t)(node_elapsed_ns(node) / NS_PER_MS);
}

static uint64_t sim_random_u64(struct env *env)
{
    struct world_node *node = node_of(env);
    uint64_t value = prng_next(world_prng(node->world));
    if (world_options_of(node->world)->plant == WORLD_PLANT_ADDRESS) {
        value ^= (uint64_t)(uintptr_t)node;
    }
    trace_number(world_trace(node->world), value);
    return value;
}

static void sim_log_write(struct env *env, enum log_level level, struct slice line)
{
    struct world_node *node = world_node_of(env);
    trace_bytes(world_trace(node->world), line);
    const struct world_hooks *hooks = &world_options_of(node->world)->hooks;
    if (hooks->logged != NULL) {
        struct heap_sim *heap = heap_sim_enter(NULL);
        hooks->logged(hooks->context, node, level, line);
        heap_sim_enter(heap);
    }
}

/* --- timers ----------------------------------------------------------------------------------- */

/* Virtual time until the node's own clock has gone `delay_ns` further; never too short. */
static uint64_t world_delay_ns(const struct world_node *node, uint64_t delay_ns)
{
    if (node->drift_ppm == 0) {
        return delay_ns;
    }
    uint64_t rate = (uint64_t)(PPM + node->drift_ppm);
    return delay_ns / rate * PPM + (delay_ns % rate * PPM + rate - 1) / rate + 1;
}

static void timer_event(struct world_event *event, bool voided);

static void timer_schedule(struct world_node *node, struct env_timer *timer, uint64_t delay_ns)
{
    struct world_event *event =
        world_event_add(node->world, node, WORLD_EVENT_TIMER, delay_ns, timer_event, timer);
    event->number = world_now_ns(node->world) + delay_ns;
    timer->implementation = event;
}

static void timer_event(struct world_event *event, bool voided)
{
    struct env_timer *timer = event->subject;
    if (voided || timer == NULL) {
        return;
    }
    struct world_node *node = event->node;
    timer->implementation = NULL;
    uint64_t now = node_elapsed_ns(node);
    if (now < timer->due_ns) {
        timer_schedule(node, timer, world_delay_ns(node, timer->due_ns - now));
        return;
    }
    timer->fired(timer);
}

static void sim_timer_stop(struct env *env, struct env_timer *timer)
{
    (void)loop_of(env);
    struct world_event *event = timer->implementation;
    if (event != NULL) {
        ASSERT(event->subject == timer);
        event->subject = NULL;
        timer->implementation = NULL;
    }
}

static void sim_timer_start(struct env *env, struct env_timer *timer, uint64_t delay_ns)
{
    struct world_node *node = loop_of(env);
    ASSERT(timer->fired != NULL);
    trace_number(world_trace(node->world), delay_ns);
    timer->due_ns = node_elapsed_ns(node) + delay_ns;
    uint64_t delay = world_delay_ns(node, delay_ns);
    struct world_event *event = timer->implementation;
    if (event != NULL && event->number <= world_now_ns(node->world) + delay) {
        return; /* It comes no later than it is needed, and will look again. */
    }
    sim_timer_stop(env, timer);
    timer_schedule(node, timer, delay);
}

/* --- jobs ------------------------------------------------------------------------------------- */

void env_sim_lanes_init(struct world_node *node)
{
    for (size_t index = 0; index < ARRAY_COUNT(node->lanes); index++) {
        node->lanes[index] = (struct world_lane){0};
        list_init(&node->lanes[index].jobs);
    }
    memset(node->threads, 0, sizeof(node->threads));
    list_init(&node->finished);
}

static struct world_lane *lane_of(struct world_node *node, uint64_t thread)
{
    return &node->lanes[thread == 0 ? ENV_LANE_WAL : ENV_LANE_POOL];
}

static void thread_event(struct world_event *event, bool voided);

static void thread_schedule(struct world_node *node, uint32_t index)
{
    struct world *world = node->world;
    const struct world_options *options = world_options_of(world);
    struct world_thread *thread = &node->threads[index];
    uint64_t now = world_now_ns(world);
    uint64_t delay = thread->idle_ns > now ? thread->idle_ns - now : 0;
    delay += world_draw_ns(world, options->job_delay_ns_max);
    if (world_draw_chance(world, options->job_slow_ppm)) {
        delay += world_draw_ns(world, options->job_slow_ns);
    }
    thread->scheduled = true;
    lane_of(node, index)->scheduled_count++;
    struct world_event *event =
        world_event_add(world, node, WORLD_EVENT_JOB_RUN, delay, thread_event, NULL);
    event->number = index;
}

/* Wakes threads while there are more jobs than threads that will look for one. */
static void lane_wake(struct world_node *node, enum env_lane lane)
{
    uint32_t first = lane == ENV_LANE_WAL ? 0 : 1;
    uint32_t end = lane == ENV_LANE_WAL ? 1 : WORLD_THREADS;
    for (uint32_t index = first; index < end; index++) {
        if (node->lanes[lane].job_count <= node->lanes[lane].scheduled_count) {
            return;
        }
        if (!node->threads[index].scheduled) {
            thread_schedule(node, index);
        }
    }
}

static struct env_job *lane_take(struct world_node *node, enum env_lane lane)
{
    struct world_lane *queue = &node->lanes[lane];
    if (queue->job_count == 0) {
        return NULL;
    }
    struct list_node *place = queue->jobs.next;
    if (lane == ENV_LANE_POOL && queue->job_count > 1) {
        uint32_t reach = queue->job_count < POOL_REACH ? queue->job_count : POOL_REACH;
        for (uint64_t skip = prng_below(world_prng(node->world), reach); skip > 0; skip--) {
            place = place->next;
        }
    }
    list_remove(place);
    queue->job_count--;
    return container_of(place, struct env_job, node);
}

static void done_event(struct world_event *event, bool voided)
{
    /* Without a subject: the job was ended by env_sim_lanes_stop(). */
    if (voided) {
        return;
    }
    struct env_job *job = event->subject;
    list_remove(&job->node);
    job->done(job, STATUS_OK);
}

static void job_run(struct world_node *node, struct env_job *job)
{
    if (world_draw_chance(node->world, world_options_of(node->world)->crash_in_job_ppm)) {
        node->crash_armed = WORLD_CRASH_POWER;
        disk_sim_freeze_in(node->disk,
                           1 + prng_below(world_prng(node->world), CRASH_OPERATIONS_MAX));
    }
    node->cost_ns = 0;
    node->in_job = true;
    node->may_block = true;
    job->run(job);
    node->may_block = false;
    node->in_job = false;
}

static void thread_event(struct world_event *event, bool voided)
{
    if (voided) {
        return;
    }
    struct world_node *node = event->node;
    struct world *world = node->world;
    struct world_thread *thread = &node->threads[event->number];
    enum env_lane lane = event->number == 0 ? ENV_LANE_WAL : ENV_LANE_POOL;
    thread->scheduled = false;
    node->lanes[lane].scheduled_count--;
    struct env_job *job = lane_take(node, lane);
    if (job == NULL) {
        return;
    }
    job_run(node, job);
    uint64_t now = world_now_ns(world);
    thread->idle_ns = now + node->cost_ns;
    uint64_t done =
        thread->idle_ns + world_draw_ns(world, world_options_of(world)->done_delay_ns_max);
    thread->done_ns = done > thread->done_ns ? done : thread->done_ns;
    list_append(&node->finished, &job->node);
    (void)world_event_add(world, node, WORLD_EVENT_JOB_DONE, thread->done_ns - now, done_event,
                          job);
    lane_wake(node, lane);
}

static void sim_job_submit(struct env *env, enum env_lane lane, struct env_job *job)
{
    struct world_node *node = node_of(env);
    ASSERT(job->run != NULL);
    ASSERT(job->done != NULL);
    trace_number(world_trace(node->world), (uint64_t)lane);
    list_append(&node->lanes[lane].jobs, &job->node);
    node->lanes[lane].job_count++;
    if (!node->stopping) {
        lane_wake(node, lane);
    }
}

void env_sim_lanes_stop(struct world_node *node)
{
    for (;;) {
        struct list_node *finished = list_take_first(&node->finished);
        if (finished != NULL) {
            struct env_job *job = container_of(finished, struct env_job, node);
            job->done(job, STATUS_OK);
            continue;
        }
        struct env_job *job = lane_take(node, ENV_LANE_WAL);
        if (job == NULL) {
            job = lane_take(node, ENV_LANE_POOL);
        }
        if (job == NULL) {
            return;
        }
        list_init(&job->node);
        job->done(job, STATUS_CANCELLED);
    }
}

/* --- forwards --------------------------------------------------------------------------------- */

static enum status sim_file_open(struct env *env, const char *path, enum env_open mode,
                                 struct env_file **file)
{
    return disk_sim_open(node_of(env)->disk, path, mode, file);
}

static enum status sim_name_link(struct env *env, const char *from, const char *to)
{
    return disk_sim_link(node_of(env)->disk, from, to);
}

static enum status sim_name_rename(struct env *env, const char *from, const char *to)
{
    return disk_sim_rename(node_of(env)->disk, from, to);
}

static enum status sim_name_remove(struct env *env, const char *path)
{
    return disk_sim_remove(node_of(env)->disk, path);
}

static enum status sim_dir_create(struct env *env, const char *path)
{
    return disk_sim_dir_create(node_of(env)->disk, path);
}

static enum status sim_dir_list(struct env *env, const char *path,
                                void (*each)(void *context, const char *name), void *context)
{
    return disk_sim_dir_list(node_of(env)->disk, path, each, context);
}

static enum status sim_dir_sync(struct env *env, const char *path)
{
    return disk_sim_dir_sync(node_of(env)->disk, path);
}

static enum status sim_dir_lock(struct env *env, const char *path, struct env_dir_lock **lock)
{
    return disk_sim_dir_lock(node_of(env)->disk, path, lock);
}

static enum status sim_space_free(struct env *env, const char *path, uint64_t *bytes)
{
    return disk_sim_space_free(node_of(env)->disk, path, bytes);
}

static enum status sim_net_listen(struct env *env, const char *address, enum env_framing framing,
                                  const struct env_net_events *events, void *context,
                                  struct env_listener **listener)
{
    return net_sim_listen(loop_of(env), address, framing, events, context, listener);
}

static enum status sim_net_connect(struct env *env, const char *address, enum env_framing framing,
                                   const struct env_net_events *events, void *context,
                                   struct env_connection **connection)
{
    return net_sim_connect(loop_of(env), address, framing, events, context, connection);
}

static const struct env_ops env_sim_table = {
    .monotonic_ns = sim_monotonic_ns,
    .realtime_ms = sim_realtime_ms,
    .random_u64 = sim_random_u64,
    .log_write = sim_log_write,
    .timer_start = sim_timer_start,
    .timer_stop = sim_timer_stop,
    .job_submit = sim_job_submit,
    .file_open = sim_file_open,
    .file_close = disk_sim_close,
    .file_size = disk_sim_size,
    .file_read = disk_sim_read,
    .file_read_nowait = disk_sim_read_nowait,
    .file_write = disk_sim_write,
    .file_sync = disk_sim_sync,
    .file_truncate = disk_sim_truncate,
    .file_reserve = disk_sim_reserve,
    .name_link = sim_name_link,
    .name_rename = sim_name_rename,
    .name_remove = sim_name_remove,
    .dir_create = sim_dir_create,
    .dir_list = sim_dir_list,
    .dir_sync = sim_dir_sync,
    .dir_lock = sim_dir_lock,
    .dir_unlock = disk_sim_dir_unlock,
    .space_free = sim_space_free,
    .net_listen = sim_net_listen,
    .net_listener_close = net_sim_listener_close,
    .net_connect = sim_net_connect,
    .net_send = net_sim_send,
    .net_close = net_sim_close,
    .net_pause = net_sim_pause,
    .net_remote = net_sim_remote,
};

const struct env_ops *env_sim_ops(void)
{
    return &env_sim_table;
}
