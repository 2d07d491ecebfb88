/*
 * tests/sim/env_sim.h -- a world of many nodes in one process, a pure function of one seed.
 *
 * Why: the production code of lsm, ring, raft and node runs here against struct env, with time,
 * chance, disk and network drawn from a seed, so that any run can be had again exactly.
 * Contract:
 *  (1) One virtual clock in nanoseconds, one queue of events ordered by (time, order of asking),
 *      one generator. An event takes no virtual time.
 *  (2) world_hash() covers every event, every byte written, sent or logged, every timer and every
 *      draw: two runs of one seed have the same hash, or something outside the seed was looked at.
 *  (3) Events of an earlier incarnation of a node never run. While a node is paused its events
 *      wait, and run in their order once it is resumed.
 *  (4) A job's `run` is one event, after a drawn delay; the virtual time its file calls took passes
 *      before its `done` and before the next job of that thread. The WAL lane is one thread, first
 *      in first out; the pool is two threads that take any of the first few jobs.
 *  (5) File calls outside a job, a boot or a finish are asserted against, and so are timers and the
 *      network inside a job.
 *
 * Clients of a simulated cluster are nodes of the same world, with an env of their own.
 */
#ifndef TESTS_SIM_ENV_SIM_H
#define TESTS_SIM_ENV_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/prng.h"
#include "tests/sim/disk_sim.h"
#include "tests/sim/heap_sim.h"
#include "tests/sim/net_sim.h"

#define WORLD_NODE_COUNT_MAX NET_SIM_HOST_COUNT_MAX

struct world;
struct world_node;

/* A planted fault, to show that (2) is checked. */
enum world_plant {
    WORLD_PLANT_NONE,
    WORLD_PLANT_CLOCK,   /* monotonic_ns() lets the real clock through. */
    WORLD_PLANT_ADDRESS, /* random_u64() lets an address through. */
};

/* What the harness wants to know; any may be NULL. Called outside every node's heap. */
struct world_hooks {
    void (*before_event)(void *context, struct world_node *node); /* node NULL: of the world. */
    void (*after_event)(void *context, struct world_node *node);
    /* A node has crashed, also by a crash inside a job; its memory is gone. */
    void (*crashed)(void *context, struct world_node *node);
    void (*logged)(void *context, struct world_node *node, enum log_level level, struct slice line);
    /* A whole frame: as it is sent, whether it will arrive or not, and right before its receiver is
     * told of it. */
    void (*frame_sent)(void *context, struct world_node *from, struct world_node *to,
                       struct slice frame);
    void (*frame_arrives)(void *context, struct world_node *from, struct world_node *to,
                          struct slice frame);
    /* In a job: a sync of the node's disk begins, or has made durable what it is about. */
    void (*sync_point)(void *context, struct world_node *node, bool synced);
    void *context;
};

/* Every rate and size of a run. Swarm testing: world_options_draw() draws which faults are on. */
struct world_options {
    int64_t start_unix_ms;      /* Wall clock at virtual time 0. */
    uint64_t job_delay_ns_max;  /* Before a queued job starts on a free thread. */
    uint64_t done_delay_ns_max; /* Between the end of a job and its `done`. */
    uint32_t job_slow_ppm;      /* A job starts up to job_slow_ns later still. */
    uint64_t job_slow_ns;
    uint32_t crash_in_job_ppm; /* A job, drawn, ends in a loss of power between two file calls. */
    uint32_t clock_offset_ms_max; /* Drawn for each node, either way. */
    uint32_t clock_drift_ppm_max; /* Likewise. */
    enum world_plant plant;
    struct disk_sim_options disk;
    struct net_sim_options net;
    struct world_hooks hooks;
};

/* Modest delays, no faults, clocks alike. */
void world_options_calm(struct world_options *options);
/* Faults and sizes of the run of `seed`: each fault is on in a part of all seeds, at a drawn rate.
 * Faults of the disk that end an engine (errors, full disk) stay off: harnesses turn them on. */
void world_options_draw(struct world_options *options, uint64_t seed);

struct world *world_create(uint64_t seed, const struct world_options *options);
void world_destroy(struct world *world); /* Nodes still up are dropped as if by a crash. */

/* Runs every event up to and including `time_ns`; the clock is there afterwards. */
void world_run_until(struct world *world, uint64_t time_ns);
/* Runs at most that many events; returns how many there were to run. */
uint64_t world_run_steps(struct world *world, uint64_t step_count);
uint64_t world_now_ns(const struct world *world);
uint64_t world_step_count(const struct world *world); /* Events run so far. */
uint64_t world_hash(const struct world *world);
struct prng *world_prng(struct world *world);
struct net_sim *world_net(struct world *world);
void world_note(struct world *world, struct slice bytes); /* Into the hash. */

/* One event of the harness. With a node: on its loop, void if that incarnation ends before. */
void world_schedule(struct world *world, struct world_node *node, uint64_t delay_ns,
                    void (*run)(void *context), void *context);

/* A host: disk, clock and address; its process is not running yet. Drawn clock. */
struct world_node *world_node_add(struct world *world);
uint32_t world_node_count(const struct world *world);
struct world_node *world_node_at(struct world *world, uint32_t index);
uint32_t world_node_index(const struct world_node *node);   /* From 0; the host of net_sim.h. */
const char *world_node_host(const struct world_node *node); /* "10.0.0.N" */
struct world *world_node_world(struct world_node *node);
struct env *world_node_env(struct world_node *node);
struct world_node *world_node_of(struct env *env); /* The reverse. */
struct disk_sim *world_node_disk(struct world_node *node);
struct heap_sim *world_node_heap(struct world_node *node);
bool world_node_alive(const struct world_node *node);
bool world_node_paused(const struct world_node *node);
uint32_t world_node_incarnation(const struct world_node *node); /* 1 at the first start. */

/* Starts the process: `boot` runs as its first event, in its heap, and may call files. */
void world_node_start(struct world_node *node, void (*boot)(void *context), void *context);
/* Runs `run` now, on the node's loop and in its heap, between two events. */
void world_node_call(struct world_node *node, void (*run)(void *context), void *context);

enum world_crash {
    WORLD_CRASH_PROCESS, /* As SIGKILL: the files keep what was written, synced or not. */
    WORLD_CRASH_POWER,   /* Unsynced sectors and names are old or new; others see silence. */
};
/* Between events, or from an event of the world. Memory, timers, jobs and handles are gone. */
void world_node_crash(struct world_node *node, enum world_crash crash);
/* The crash comes inside the next job that makes changing file calls: after `operation_count` of
 * them (0: before its first) nothing more reaches the disk, and the node crashes as the job ends,
 * so that its `done` never runs. If the job makes fewer, the count goes on in the next. */
void world_node_crash_in_job(struct world_node *node, enum world_crash crash,
                             uint64_t operation_count);
/* From a sync_point: nothing more reaches the disk, and power goes as the job ends, so that its
 * `done` never runs. */
void world_node_crash_at_sync(struct world_node *node);
/* A clean end of the process: jobs that have not run are done with STATUS_CANCELLED, connections
 * are closed with their events, then `finish` may call files and frees. Returns the bytes the node
 * failed to free (which are then dropped). */
uint64_t world_node_stop(struct world_node *node, void (*finish)(void *context), void *context);
void world_node_pause(struct world_node *node, bool paused);           /* As SIGSTOP and SIGCONT. */
void world_node_clock_jump(struct world_node *node, int64_t delta_ms); /* Of realtime_ms alone. */
void world_node_clock_drift(struct world_node *node, int32_t drift_ppm);

#endif
