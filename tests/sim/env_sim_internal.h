/*
 * tests/sim/env_sim_internal.h -- what the files of the simulated world share: events and nodes.
 */
#ifndef TESTS_SIM_ENV_SIM_INTERNAL_H
#define TESTS_SIM_ENV_SIM_INTERNAL_H

#include "tests/sim/env_sim.h"

/* Names an event in the trace. */
enum world_event_kind {
    WORLD_EVENT_CALL = 1, /* Of the harness. */
    WORLD_EVENT_BOOT,
    WORLD_EVENT_TIMER,
    WORLD_EVENT_JOB_RUN,
    WORLD_EVENT_JOB_DONE,
    WORLD_EVENT_NET,
};

/* Something that will happen; from the world's pool, back to it after `run`. */
struct world_event {
    /* `voided`: the incarnation it was for is over; only the simulator's own state may be touched.
     * Called in the node's heap, or outside if it is voided or the world's. */
    void (*run)(struct world_event *event, bool voided);
    struct world *world;
    struct world_node *node; /* NULL: the world's. */
    uint32_t incarnation;
    enum world_event_kind kind;
    void (*call)(void *context);
    void *subject;
    uint64_t number;
    struct world_event *next; /* In the pool, or among a paused node's. */
};

struct world_event *world_event_add(struct world *world, struct world_node *node,
                                    enum world_event_kind kind, uint64_t delay_ns,
                                    void (*run)(struct world_event *event, bool voided),
                                    void *subject);
uint64_t *world_trace(struct world *world);
/* Greater in every event than in the one before. */
uint64_t world_turn(const struct world *world);
const struct world_options *world_options_of(const struct world *world);
/* Drawn from 0 to `ns_max`. */
uint64_t world_draw_ns(struct world *world, uint64_t ns_max);
bool world_draw_chance(struct world *world, uint32_t ppm);

#define WORLD_POOL_THREADS 2
#define WORLD_THREADS (1 + WORLD_POOL_THREADS) /* The WAL's comes first. */

struct world_thread {
    bool scheduled;   /* An event will look for a job. */
    uint64_t idle_ns; /* When the last job is over. */
    uint64_t done_ns; /* When its `done` comes. */
};

struct world_lane {
    struct list_node jobs;
    uint32_t job_count;
    uint32_t scheduled_count; /* Threads that will look for a job. */
};

struct world_node {
    struct env env;
    struct world *world;
    uint32_t index;
    uint32_t incarnation;
    bool alive;
    bool paused;
    bool stopping;
    bool in_job;
    bool may_block;
    uint64_t cost_ns; /* Of the running job. */
    enum world_crash crash_armed;
    char host[16];
    struct heap_sim heap;
    struct disk_sim *disk;
    struct world_lane lanes[2];
    struct world_thread threads[WORLD_THREADS];
    struct list_node finished; /* Jobs that have run and are not done. */
    struct world_event *deferred_first;
    struct world_event *deferred_last;
    /* Clocks: elapsed time with drift, and what each clock adds. */
    uint64_t elapsed_ns;
    uint64_t elapsed_at_ns; /* The virtual time elapsed_ns is of. */
    int32_t drift_ppm;
    uint64_t monotonic_offset_ns;
    int64_t realtime_offset_ms;
};

uint64_t node_elapsed_ns(const struct world_node *node);
const struct env_ops *env_sim_ops(void);
void env_sim_lanes_init(struct world_node *node);
/* Ends every job with its done: CANCELLED if it has not run. */
void env_sim_lanes_stop(struct world_node *node);

#endif
