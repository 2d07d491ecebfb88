/*
 * tests/sim/env_sim.c -- the world: its queue of events, its nodes, their lives and crashes.
 *
 * Invariants:
 *  (1) The queue is a binary heap by (time, sequence); the sequence makes the order total, so the
 *      shape of the heap never shows.
 *  (2) Between events no heap of a node is current, and no event of a node runs in another's heap.
 *  (3) A node whose disk froze is crashed before the next event.
 */
#include "tests/sim/env_sim.h"

#include <stdio.h>

#include "tests/sim/env_sim_internal.h"
#include "tests/sim/trace.h"

#define PPM 1000000u
#define EVENT_CHUNK_COUNT 256
#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
/* A host's monotonic clock starts anywhere below this. */
#define UPTIME_NS_MAX (1000 * NS_PER_S)

struct queue_entry {
    uint64_t time_ns;
    uint64_t sequence;
    struct world_event *event;
};

/* Events are made in chunks and used again. */
struct event_chunk {
    struct event_chunk *next;
    struct world_event events[EVENT_CHUNK_COUNT];
};

struct world {
    struct world_options options;
    struct prng prng;
    uint64_t now_ns;
    uint64_t sequence;
    uint64_t step_count;
    uint64_t turn;
    uint64_t hash;
    struct queue_entry *queue;
    uint32_t queue_count;
    uint32_t queue_capacity;
    struct world_event *pool;
    struct event_chunk *chunks;
    struct net_sim *net;
    struct world_node *current; /* Whose code runs. */
    struct world_node *nodes[WORLD_NODE_COUNT_MAX];
    uint32_t node_count;
};

/* --- options ---------------------------------------------------------------------------------- */

void world_options_calm(struct world_options *options)
{
    *options = (struct world_options){
        .start_unix_ms = INT64_C(1700000000000),
        .job_delay_ns_max = 20 * NS_PER_US,
        .done_delay_ns_max = 20 * NS_PER_US,
        .disk =
            {
                .faults = {.capacity_size = UINT64_C(4) << 30},
                .read_ns_max = 100 * NS_PER_US,
                .write_ns_max = 50 * NS_PER_US,
                .sync_ns_max = 2 * NS_PER_MS,
                .name_ns_max = 100 * NS_PER_US,
            },
        .net =
            {
                .latency_ns_min = 100 * NS_PER_US,
                .latency_ns_max = 500 * NS_PER_US,
                .dead_after_ns = 20 * NS_PER_S,
                .connect_timeout_ns = 3 * NS_PER_S,
                .send_queue_size_max = 16u << 20,
            },
    };
}

/* A rate that is 0 in half of all seeds, and spread over orders of magnitude in the others. */
static uint32_t draw_ppm(struct prng *prng, uint32_t ppm_max)
{
    if (prng_chance(prng, 1, 2)) {
        return 0;
    }
    uint32_t ppm = (uint32_t)(1 + prng_below(prng, ppm_max));
    return ppm >> prng_below(prng, 6);
}

static uint64_t draw_between(struct prng *prng, uint64_t least, uint64_t greatest)
{
    return least + prng_below(prng, greatest - least + 1);
}

void world_options_draw(struct world_options *options, uint64_t seed)
{
    world_options_calm(options);
    struct prng prng;
    prng_init(&prng, prng_mix(seed));
    options->job_delay_ns_max = draw_between(&prng, 0, 2 * NS_PER_MS);
    options->done_delay_ns_max = draw_between(&prng, 0, NS_PER_MS);
    options->job_slow_ppm = draw_ppm(&prng, 20000);
    options->job_slow_ns = draw_between(&prng, NS_PER_MS, NS_PER_S);
    options->crash_in_job_ppm = draw_ppm(&prng, 200);
    options->clock_offset_ms_max = prng_chance(&prng, 1, 2) ? 0 : 200;
    options->clock_drift_ppm_max = prng_chance(&prng, 1, 2) ? 0 : 1000;
    struct disk_sim_options *disk = &options->disk;
    disk->read_ns_max = draw_between(&prng, 0, NS_PER_MS);
    disk->write_ns_max = draw_between(&prng, 0, NS_PER_MS);
    disk->sync_ns_max = draw_between(&prng, 0, 20 * NS_PER_MS);
    disk->faults.slow_ppm = draw_ppm(&prng, 5000);
    disk->faults.slow_ns = draw_between(&prng, 10 * NS_PER_MS, 2 * NS_PER_S);
    disk->faults.would_block_ppm = draw_ppm(&prng, PPM);
    struct net_sim_options *net = &options->net;
    net->latency_ns_min = draw_between(&prng, 0, NS_PER_MS);
    net->latency_ns_max = net->latency_ns_min + draw_between(&prng, 0, 20 * NS_PER_MS);
    net->slow_ppm = draw_ppm(&prng, 20000);
    net->slow_ns = draw_between(&prng, NS_PER_MS, 3 * NS_PER_S);
    net->drop_ppm = draw_ppm(&prng, 50000);
    net->duplicate_ppm = draw_ppm(&prng, 50000);
    net->reset_ppm = draw_ppm(&prng, 2000);
    net->refuse_ppm = draw_ppm(&prng, 100000);
    net->dead_after_ns = draw_between(&prng, NS_PER_S, 20 * NS_PER_S);
    net->connect_timeout_ns = draw_between(&prng, 200 * NS_PER_MS, 5 * NS_PER_S);
    net->chunk_size_max = prng_chance(&prng, 1, 2) ? 0 : (uint32_t)draw_between(&prng, 1, 4096);
    net->send_queue_size_max = (size_t)draw_between(&prng, 64u << 10, 16u << 20);
}

/* --- the queue of events ---------------------------------------------------------------------- */

static bool entry_before(const struct queue_entry *a, const struct queue_entry *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->sequence < b->sequence;
}

static void queue_push(struct world *world, struct queue_entry entry)
{
    if (world->queue_count == world->queue_capacity) {
        world->queue_capacity = world->queue_capacity == 0 ? 1024 : world->queue_capacity * 2;
        world->queue = heap_sim_retake(world->queue, world->queue_capacity * sizeof(*world->queue));
    }
    uint32_t index = world->queue_count++;
    while (index > 0) {
        uint32_t parent = (index - 1) / 2;
        if (!entry_before(&entry, &world->queue[parent])) {
            break;
        }
        world->queue[index] = world->queue[parent];
        index = parent;
    }
    world->queue[index] = entry;
}

static struct queue_entry queue_pop(struct world *world)
{
    ASSERT(world->queue_count > 0);
    struct queue_entry first = world->queue[0];
    struct queue_entry last = world->queue[--world->queue_count];
    uint32_t index = 0;
    for (;;) {
        uint32_t child = index * 2 + 1;
        if (child >= world->queue_count) {
            break;
        }
        if (child + 1 < world->queue_count &&
            entry_before(&world->queue[child + 1], &world->queue[child])) {
            child++;
        }
        if (!entry_before(&world->queue[child], &last)) {
            break;
        }
        world->queue[index] = world->queue[child];
        index = child;
    }
    if (world->queue_count > 0) {
        world->queue[index] = last;
    }
    return first;
}

static struct world_event *event_take(struct world *world)
{
    if (world->pool == NULL) {
        struct event_chunk *chunk = heap_sim_take(sizeof(*chunk));
        chunk->next = world->chunks;
        world->chunks = chunk;
        for (uint32_t index = 0; index < EVENT_CHUNK_COUNT; index++) {
            chunk->events[index].next = world->pool;
            world->pool = &chunk->events[index];
        }
    }
    struct world_event *event = world->pool;
    world->pool = event->next;
    return event;
}

static void event_give(struct world *world, struct world_event *event)
{
    event->next = world->pool;
    world->pool = event;
}

static void event_queue(struct world *world, struct world_event *event, uint64_t delay_ns)
{
    queue_push(world, (struct queue_entry){.time_ns = world->now_ns + delay_ns,
                                           .sequence = world->sequence++,
                                           .event = event});
}

struct world_event *world_event_add(struct world *world, struct world_node *node,
                                    enum world_event_kind kind, uint64_t delay_ns,
                                    void (*run)(struct world_event *event, bool voided),
                                    void *subject)
{
    struct world_event *event = event_take(world);
    *event = (struct world_event){
        .run = run,
        .world = world,
        .node = node,
        .incarnation = node == NULL ? 0 : node->incarnation,
        .kind = kind,
        .subject = subject,
    };
    event_queue(world, event, delay_ns);
    return event;
}

/* --- running ---------------------------------------------------------------------------------- */

static void node_defer(struct world_node *node, struct world_event *event)
{
    event->next = NULL;
    if (node->deferred_last == NULL) {
        node->deferred_first = event;
    } else {
        node->deferred_last->next = event;
    }
    node->deferred_last = event;
}

static void node_enter(struct world_node *node)
{
    ASSERT(node->world->current == NULL);
    node->world->current = node;
    struct heap_sim *before = heap_sim_enter(&node->heap);
    ASSERT(before == NULL);
}

static void node_leave(struct world_node *node)
{
    ASSERT(node->world->current == node);
    struct heap_sim *before = heap_sim_enter(NULL);
    ASSERT(before == &node->heap);
    node->world->current = NULL;
}

static void node_crash_if_frozen(struct world_node *node)
{
    if (node->alive && disk_sim_frozen(node->disk)) {
        world_node_crash(node, node->crash_armed);
    }
}

static void event_run(struct world *world, struct world_event *event)
{
    struct world_node *node = event->node;
    bool voided = node != NULL && (!node->alive || node->incarnation != event->incarnation);
    if (node != NULL && node->paused && !voided) {
        node_defer(node, event);
        return;
    }
    world->turn++;
    trace_number(&world->hash, world->now_ns);
    trace_number(&world->hash, (uint64_t)event->kind << 32 | (node == NULL ? 0 : node->index + 1));
    const struct world_hooks *hooks = &world->options.hooks;
    if (hooks->before_event != NULL) {
        hooks->before_event(hooks->context, node);
    }
    if (node == NULL || voided) {
        event->run(event, voided);
    } else {
        node_enter(node);
        event->run(event, false);
        node_leave(node);
        node_crash_if_frozen(node);
    }
    if (hooks->after_event != NULL) {
        hooks->after_event(hooks->context, node);
    }
    event_give(world, event);
}

static void world_step(struct world *world)
{
    struct queue_entry entry = queue_pop(world);
    ASSERT(entry.time_ns >= world->now_ns);
    world->now_ns = entry.time_ns;
    world->step_count++;
    event_run(world, entry.event);
}

void world_run_until(struct world *world, uint64_t time_ns)
{
    ASSERT(world->current == NULL);
    while (world->queue_count > 0 && world->queue[0].time_ns <= time_ns) {
        world_step(world);
    }
    world->now_ns = time_ns > world->now_ns ? time_ns : world->now_ns;
}

uint64_t world_run_steps(struct world *world, uint64_t step_count)
{
    ASSERT(world->current == NULL);
    uint64_t count = 0;
    while (count < step_count && world->queue_count > 0) {
        world_step(world);
        count++;
    }
    return count;
}

static void call_event(struct world_event *event, bool voided)
{
    if (!voided) {
        event->call(event->subject);
    }
}

void world_schedule(struct world *world, struct world_node *node, uint64_t delay_ns,
                    void (*run)(void *context), void *context)
{
    struct world_event *event =
        world_event_add(world, node, WORLD_EVENT_CALL, delay_ns, call_event, context);
    event->call = run;
}

/* --- the world -------------------------------------------------------------------------------- */

struct world *world_create(uint64_t seed, const struct world_options *options)
{
    heap_sim_install();
    struct world *world = heap_sim_take(sizeof(*world));
    world->options = *options;
    world->hash = seed;
    prng_init(&world->prng, seed);
    world->net = net_sim_create(world, &options->net);
    return world;
}

void world_destroy(struct world *world)
{
    ASSERT(world->current == NULL);
    for (uint32_t index = 0; index < world->node_count; index++) {
        if (world->nodes[index]->alive) {
            world_node_crash(world->nodes[index], WORLD_CRASH_POWER);
        }
    }
    net_sim_destroy(world->net);
    for (uint32_t index = 0; index < world->node_count; index++) {
        disk_sim_destroy(world->nodes[index]->disk);
        heap_sim_give(world->nodes[index]);
    }
    while (world->chunks != NULL) {
        struct event_chunk *chunk = world->chunks;
        world->chunks = chunk->next;
        heap_sim_give(chunk);
    }
    heap_sim_give(world->queue);
    heap_sim_give(world);
    heap_sim_uninstall();
}

uint64_t world_now_ns(const struct world *world)
{
    return world->now_ns;
}

uint64_t world_step_count(const struct world *world)
{
    return world->step_count;
}

/* What the generator gives next stands for every draw so far. */
uint64_t world_hash(const struct world *world)
{
    uint64_t hash = world->hash;
    struct prng next = world->prng;
    trace_number(&hash, prng_next(&next));
    return hash;
}

struct prng *world_prng(struct world *world)
{
    return &world->prng;
}

struct net_sim *world_net(struct world *world)
{
    return world->net;
}

void world_note(struct world *world, struct slice bytes)
{
    trace_bytes(&world->hash, bytes);
}

uint64_t *world_trace(struct world *world)
{
    return &world->hash;
}

uint64_t world_turn(const struct world *world)
{
    return world->turn;
}

const struct world_options *world_options_of(const struct world *world)
{
    return &world->options;
}

uint64_t world_draw_ns(struct world *world, uint64_t ns_max)
{
    return ns_max == 0 ? 0 : prng_below(&world->prng, ns_max + 1);
}

bool world_draw_chance(struct world *world, uint32_t ppm)
{
    return ppm > 0 && prng_chance(&world->prng, ppm, PPM);
}

/* --- nodes ------------------------------------------------------------------------------------ */

/* Drawn from -max to max. */
static int32_t draw_either_way(struct world *world, uint32_t max)
{
    return (int32_t)prng_below(&world->prng, (uint64_t)max * 2 + 1) - (int32_t)max;
}

static void sync_point(void *context, bool synced)
{
    struct world_node *node = context;
    const struct world_hooks *hooks = &node->world->options.hooks;
    if (hooks->sync_point != NULL) {
        struct heap_sim *heap = heap_sim_enter(NULL);
        hooks->sync_point(hooks->context, node, synced);
        heap_sim_enter(heap);
    }
}

struct world_node *world_node_add(struct world *world)
{
    ASSERT(world->node_count < WORLD_NODE_COUNT_MAX);
    struct world_node *node = heap_sim_take(sizeof(*node));
    node->env.ops = env_sim_ops();
    node->world = world;
    node->index = world->node_count;
    (void)snprintf(node->host, sizeof(node->host), "10.0.0.%u", (node->index & 0xff) + 1);
    heap_sim_init(&node->heap, 0);
    env_sim_lanes_init(node);
    node->elapsed_at_ns = world->now_ns;
    node->elapsed_ns = world->now_ns;
    node->drift_ppm = draw_either_way(world, world->options.clock_drift_ppm_max);
    node->realtime_offset_ms = draw_either_way(world, world->options.clock_offset_ms_max);
    node->monotonic_offset_ns = world_draw_ns(world, UPTIME_NS_MAX);
    struct disk_world disk_world = {
        .prng = &world->prng,
        .hash = &world->hash,
        .cost_ns = &node->cost_ns,
        .may_block = &node->may_block,
        .sync_point = sync_point,
        .context = node,
    };
    node->disk = disk_sim_create(&world->options.disk, &disk_world);
    world->nodes[world->node_count++] = node;
    return node;
}

uint32_t world_node_count(const struct world *world)
{
    return world->node_count;
}

struct world_node *world_node_at(struct world *world, uint32_t index)
{
    ASSERT(index < world->node_count);
    return world->nodes[index];
}

uint32_t world_node_index(const struct world_node *node)
{
    return node->index;
}

const char *world_node_host(const struct world_node *node)
{
    return node->host;
}

struct world *world_node_world(struct world_node *node)
{
    return node->world;
}

struct env *world_node_env(struct world_node *node)
{
    return &node->env;
}

struct world_node *world_node_of(struct env *env)
{
    ASSERT(env != NULL);
    return container_of(env, struct world_node, env);
}

struct disk_sim *world_node_disk(struct world_node *node)
{
    return node->disk;
}

struct heap_sim *world_node_heap(struct world_node *node)
{
    return &node->heap;
}

bool world_node_alive(const struct world_node *node)
{
    return node->alive;
}

bool world_node_paused(const struct world_node *node)
{
    return node->paused;
}

uint32_t world_node_incarnation(const struct world_node *node)
{
    return node->incarnation;
}

/* --- their lives ------------------------------------------------------------------------------ */

static void boot_event(struct world_event *event, bool voided)
{
    if (voided) {
        return;
    }
    event->node->may_block = true;
    event->call(event->subject);
    event->node->may_block = false;
}

void world_node_start(struct world_node *node, void (*boot)(void *context), void *context)
{
    ASSERT(!node->alive);
    ASSERT(node->heap.block_count == 0);
    trace_number(&node->world->hash, node->index);
    node->incarnation++;
    node->alive = true;
    env_sim_lanes_init(node);
    net_sim_host_up(node->world->net, node);
    struct world_event *event =
        world_event_add(node->world, node, WORLD_EVENT_BOOT, 0, boot_event, context);
    event->call = boot;
}

void world_node_call(struct world_node *node, void (*run)(void *context), void *context)
{
    ASSERT(node->alive);
    ASSERT(!node->paused);
    node->world->turn++;
    trace_number(&node->world->hash, node->index);
    node_enter(node);
    run(context);
    node_leave(node);
}

/* The process is no more: what it owned goes, its events are void. */
static void node_end(struct world_node *node, bool power)
{
    node->alive = false;
    node->stopping = false;
    if (node->paused) {
        world_node_pause(node, false);
    }
    heap_sim_drop(&node->heap);
    disk_sim_crash(node->disk, power);
    env_sim_lanes_init(node);
}

void world_node_crash(struct world_node *node, enum world_crash crash)
{
    ASSERT(node->alive);
    ASSERT(node->world->current != node);
    struct world *world = node->world;
    bool power = crash == WORLD_CRASH_POWER;
    trace_number(&world->hash, (uint64_t)node->index << 1 | power);
    net_sim_host_down(world->net, node, power);
    node_end(node, power);
    if (power) {
        node->monotonic_offset_ns = world_draw_ns(world, UPTIME_NS_MAX) - node_elapsed_ns(node);
    }
    if (world->options.hooks.crashed != NULL) {
        world->options.hooks.crashed(world->options.hooks.context, node);
    }
}

void world_node_crash_in_job(struct world_node *node, enum world_crash crash,
                             uint64_t operation_count)
{
    ASSERT(node->alive);
    node->crash_armed = crash;
    disk_sim_freeze_in(node->disk, operation_count + 1);
}

void world_node_crash_at_sync(struct world_node *node)
{
    ASSERT(node->alive);
    node->crash_armed = WORLD_CRASH_POWER;
    disk_sim_freeze_in(node->disk, 0);
}

uint64_t world_node_stop(struct world_node *node, void (*finish)(void *context), void *context)
{
    ASSERT(node->alive);
    ASSERT(!node->paused);
    struct world *world = node->world;
    world->turn++;
    trace_number(&world->hash, node->index);
    disk_sim_unfreeze(node->disk);
    node->stopping = true;
    node_enter(node);
    env_sim_lanes_stop(node);
    net_sim_host_close(world->net, node);
    env_sim_lanes_stop(node);
    node->may_block = true;
    finish(context);
    node->may_block = false;
    node_leave(node);
    uint64_t left = node->heap.size;
    net_sim_host_down(world->net, node, false);
    node_end(node, false);
    return left;
}

void world_node_pause(struct world_node *node, bool paused)
{
    if (node->paused == paused) {
        return;
    }
    trace_number(&node->world->hash, (uint64_t)node->index << 1 | paused);
    node->paused = paused;
    struct world_event *event = node->deferred_first;
    node->deferred_first = NULL;
    node->deferred_last = NULL;
    while (event != NULL) {
        struct world_event *next = event->next;
        event_queue(node->world, event, 0);
        event = next;
    }
}

void world_node_clock_jump(struct world_node *node, int64_t delta_ms)
{
    trace_number(&node->world->hash, (uint64_t)delta_ms);
    node->realtime_offset_ms += delta_ms;
}

void world_node_clock_drift(struct world_node *node, int32_t drift_ppm)
{
    ASSERT(drift_ppm > -(int32_t)PPM / 2);
    trace_number(&node->world->hash, (uint64_t)drift_ppm);
    node->elapsed_ns = node_elapsed_ns(node);
    node->elapsed_at_ns = node->world->now_ns;
    node->drift_ppm = drift_ppm;
}
