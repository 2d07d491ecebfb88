/*
 * tests/unit/lsm_sim_fixture.h -- one engine on a simulated disk, driven step by step.
 *
 * For tests of what happens when disk or memory fails: faults come exactly where they are asked
 * for, and time passes only when the test lets it.
 */
#ifndef TESTS_UNIT_LSM_SIM_FIXTURE_H
#define TESTS_UNIT_LSM_SIM_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/codec.h"
#include "base/prng.h"
#include "lsm/lsm.h"
#include "tests/sim/env_sim.h"

#define LSM_SIM_WRITE_COUNT_MAX 4096u
#define LSM_SIM_VALUE_SIZE_MAX (2u << 20)

struct lsm_sim {
    struct world *world;
    struct world_node *node;
    struct lsm_options options;
    struct lsm *lsm;
    struct env_job open_job;
    enum status open_status;
    struct lsm_write writes[LSM_SIM_WRITE_COUNT_MAX];
    enum status statuses[LSM_SIM_WRITE_COUNT_MAX];
    bool answered[LSM_SIM_WRITE_COUNT_MAX];
    uint32_t write_count;
    uint64_t time_passed; /* Of versions: writes that were forgotten. */
    struct lsm_request request;
    bool request_answered;
    enum status request_status;
    uint32_t told_count; /* Of options.failed. */
    enum status told_status;
};

static struct lsm_sim sim;
static uint8_t sim_bytes[LSM_SIM_VALUE_SIZE_MAX];

static inline void sim_engine_failed(void *context, enum status status)
{
    (void)context;
    sim.told_count++;
    sim.told_status = status;
}

static inline void sim_open_run(struct env_job *job)
{
    (void)job;
    sim.open_status = lsm_open(world_node_env(sim.node), &sim.options, &sim.lsm);
}

static inline void sim_open_done(struct env_job *job, enum status status)
{
    (void)job;
    (void)status;
}

static inline void sim_boot(void *context)
{
    (void)context;
    sim.open_status = STATUS_WOULD_BLOCK;
    sim.open_job = (struct env_job){.run = sim_open_run, .done = sim_open_done};
    env_submit(world_node_env(sim.node), ENV_LANE_POOL, &sim.open_job);
}

/* Lets `ms` of virtual time pass. */
static inline void sim_pass(uint64_t ms)
{
    world_run_until(sim.world, world_now_ns(sim.world) + ms * UINT64_C(1000000));
}

static inline void sim_start(void)
{
    sim.lsm = NULL;
    world_node_start(sim.node, sim_boot, NULL);
    sim_pass(2000);
}

/* Values do not compress from here on: they take the space they seem to take. */
static inline void sim_bytes_fill(void)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (size_t i = 0; i < sizeof(sim_bytes); i += 8) {
        codec_store_u64(sim_bytes + i, prng_next(&prng));
    }
}

static inline void sim_init(void)
{
    struct world_options calm;
    memset(&sim, 0, sizeof(sim));
    world_options_calm(&calm);
    sim.world = world_create(1, &calm);
    sim.node = world_node_add(sim.world);
    sim.options = (struct lsm_options){
        .path = "engine",
        .memtable_size = 64 << 10,
        .wal_segment_size = 64 << 10,
        .slice_size = 16 << 10,
        .table_size_max = 64 << 10,
        .failed = sim_engine_failed,
    };
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
}

static inline void sim_deinit(void)
{
    world_destroy(sim.world);
}

static inline struct disk_sim *sim_disk(void)
{
    return world_node_disk(sim.node);
}

static inline struct disk_faults *sim_faults(void)
{
    return disk_sim_faults(sim_disk());
}

static inline void sim_power_cut(void)
{
    world_node_crash(sim.node, WORLD_CRASH_POWER);
}

static inline void sim_write_done(struct lsm_write *write, enum status status)
{
    uint32_t index = (uint32_t)(write - sim.writes);
    cr_assert(!sim.answered[index], "a write is answered once");
    sim.answered[index] = true;
    sim.statuses[index] = status;
}

struct sim_put {
    const char *key;
    size_t size; /* SIM_DELETE: a tombstone. */
    enum lsm_durability durability;
    uint64_t time; /* Of its version; 0: greater than all before it. */
    enum status status;
};

#define SIM_DELETE SIZE_MAX
#define SIM_TIME_FIRST 1000u /* Of versions that are not given. */

static inline void sim_put_call(void *context)
{
    struct sim_put *put = context;
    bool deletes = put->size == SIM_DELETE;
    struct lsm_record record = {
        .key = slice_text(put->key),
        .cell = {.version = {.time = put->time != 0
                                         ? put->time
                                         : SIM_TIME_FIRST + sim.time_passed + sim.write_count,
                             .node = 1},
                 .kind = deletes ? CELL_DELETE : CELL_VALUE,
                 .value = slice_make(sim_bytes, deletes ? 0 : put->size)},
    };
    struct lsm_write *write = &sim.writes[sim.write_count];
    *write = (struct lsm_write){.records = &record,
                                .record_count = 1,
                                .durability = put->durability,
                                .done = sim_write_done};
    sim.answered[sim.write_count] = false;
    put->status = lsm_write(sim.lsm, write);
    sim.write_count += put->status == STATUS_OK ? 1 : 0;
}

/* All are answered: makes room for more, whose versions are still above those. */
static inline void sim_writes_forget(void)
{
    if (sim.write_count > LSM_SIM_WRITE_COUNT_MAX / 2) {
        sim.time_passed += sim.write_count;
        sim.write_count = 0;
    }
}

/* What lsm_write said. Lets no time pass. */
static inline enum status sim_put(const char *key, size_t size, enum lsm_durability durability)
{
    struct sim_put call = {.key = key, .size = size, .durability = durability};
    cr_assert_lt(sim.write_count, LSM_SIM_WRITE_COUNT_MAX);
    world_node_call(sim.node, sim_put_call, &call);
    return call.status;
}

/* Writes, lets `ms` pass, and says what came of it; WOULD_BLOCK: no answer yet. */
static inline enum status sim_write(const char *key, size_t size, uint64_t ms)
{
    uint32_t index = sim.write_count;
    enum status status = sim_put(key, size, LSM_SYNCED);
    sim_pass(ms);
    if (status != STATUS_OK) {
        return status;
    }
    return sim.answered[index] ? sim.statuses[index] : STATUS_WOULD_BLOCK;
}

struct sim_get {
    struct env_job job;
    const char *key;
    enum status status;
    enum cell_kind kind;
};

static inline void sim_get_run(struct env_job *job)
{
    struct sim_get *get = container_of(job, struct sim_get, job);
    struct buffer scratch = {0};
    struct cell cell;
    get->status = lsm_get(sim.lsm, slice_text(get->key), LSM_MAY_BLOCK, &scratch, &cell);
    if (get->status == STATUS_OK) {
        get->kind = cell.kind;
    }
    buffer_deinit(&scratch);
}

static inline void sim_get_done(struct env_job *job, enum status status)
{
    (void)job;
    cr_assert_eq(status, STATUS_OK);
}

static inline void sim_get_call(void *context)
{
    struct sim_get *get = context;
    env_submit(world_node_env(sim.node), ENV_LANE_POOL, &get->job);
}

/* A tombstone counts as NOT_FOUND. */
static inline enum status sim_get(const char *key)
{
    struct sim_get get = {.job = {.run = sim_get_run, .done = sim_get_done},
                          .key = key,
                          .status = STATUS_WOULD_BLOCK};
    world_node_call(sim.node, sim_get_call, &get);
    sim_pass(100);
    return get.status == STATUS_OK && get.kind == CELL_DELETE ? STATUS_NOT_FOUND : get.status;
}

static inline void sim_request_done(struct lsm_request *request, enum status status)
{
    (void)request;
    cr_assert(!sim.request_answered, "a request is answered once");
    sim.request_answered = true;
    sim.request_status = status;
}

struct sim_ask {
    enum status (*ask)(struct lsm *lsm, struct lsm_request *request);
    enum status status;
};

static inline void sim_ask_call(void *context)
{
    struct sim_ask *call = context;
    sim.request_answered = false;
    sim.request = (struct lsm_request){.done = sim_request_done};
    call->status = call->ask(sim.lsm, &sim.request);
}

/* Asks for background work and lets `ms` pass; WOULD_BLOCK: no answer yet. */
static inline enum status sim_ask(enum status (*ask)(struct lsm *lsm, struct lsm_request *request),
                                  uint64_t ms)
{
    struct sim_ask call = {.ask = ask};
    world_node_call(sim.node, sim_ask_call, &call);
    if (call.status != STATUS_OK) {
        return call.status;
    }
    sim_pass(ms);
    return sim.request_answered ? sim.request_status : STATUS_WOULD_BLOCK;
}

static inline struct lsm_stats sim_stats(void)
{
    struct lsm_stats stats;
    lsm_stats(sim.lsm, &stats);
    return stats;
}

/* Files in the engine's folder whose names end so. */
static inline uint32_t sim_file_count(const char *end)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < disk_sim_file_count(sim_disk()); i++) {
        const char *path = disk_sim_path(sim_disk(), i);
        size_t size = strlen(path);
        count += size >= strlen(end) && strcmp(path + size - strlen(end), end) == 0 ? 1 : 0;
    }
    return count;
}

#endif
