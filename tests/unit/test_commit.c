/*
 * tests/unit/test_commit.c -- what callers are told when disk or memory fails.
 *
 * On the simulated disk, so that a failure comes exactly where it is asked for.
 */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "lsm/engine.h"
#include "lsm/lsm.h"
#include "tests/sim/env_sim.h"

#define WRITE_COUNT_MAX 64u

static struct world *world;
static struct world_node *node;
static struct lsm_options options;
static struct lsm *lsm;
static enum status open_status;
static struct env_job open_job;
static uint32_t failed_count;
static enum status failed_status;
static struct lsm_write writes[WRITE_COUNT_MAX];
static enum status statuses[WRITE_COUNT_MAX];
static bool answered[WRITE_COUNT_MAX];
static uint32_t write_count;

static void engine_failed(void *context, enum status status)
{
    (void)context;
    failed_count++;
    failed_status = status;
}

static void open_run(struct env_job *job)
{
    (void)job;
    open_status = lsm_open(world_node_env(node), &options, &lsm);
}

static void open_done(struct env_job *job, enum status status)
{
    (void)job;
    (void)status;
}

static void boot(void *context)
{
    (void)context;
    open_status = STATUS_WOULD_BLOCK;
    open_job = (struct env_job){.run = open_run, .done = open_done};
    env_submit(world_node_env(node), ENV_LANE_POOL, &open_job);
}

static void settle(void)
{
    (void)world_run_steps(world, 100000);
}

/* For those that wait for a timer. */
static void pass(uint64_t ms)
{
    world_run_until(world, world_now_ns(world) + ms * UINT64_C(1000000));
}

static void start(void)
{
    lsm = NULL;
    world_node_start(node, boot, NULL);
    settle();
}

static void setup(void)
{
    struct world_options calm;
    world_options_calm(&calm);
    world = world_create(1, &calm);
    node = world_node_add(world);
    options = (struct lsm_options){
        .path = "engine",
        .memtable_size = 64 << 10,
        .wal_segment_size = 64 << 10,
        .failed = engine_failed,
    };
    failed_count = 0;
    write_count = 0;
    start();
    cr_assert_eq(open_status, STATUS_OK);
}

static void teardown(void)
{
    world_destroy(world);
}

TestSuite(commit, .init = setup, .fini = teardown, .timeout = 60);

static void write_done(struct lsm_write *write, enum status status)
{
    uint32_t index = (uint32_t)(write - writes);
    cr_assert(!answered[index]);
    answered[index] = true;
    statuses[index] = status;
}

struct put {
    const char *key;
    size_t size;
    enum lsm_durability durability;
    enum status status;
};

static void put_call(void *context)
{
    static uint8_t bytes[200000];
    struct put *put = context;
    struct lsm_record record = {
        .key = slice_text(put->key),
        .cell = {.version = {.time = write_count + 1, .node = 1},
                 .value = slice_make(bytes, put->size)},
    };
    struct lsm_write *write = &writes[write_count];
    *write = (struct lsm_write){
        .records = &record, .record_count = 1, .durability = put->durability, .done = write_done};
    answered[write_count] = false;
    put->status = lsm_write(lsm, write);
    write_count += put->status == STATUS_OK ? 1 : 0;
}

static enum status put(const char *key, size_t size, enum lsm_durability durability)
{
    struct put call = {.key = key, .size = size, .durability = durability};
    cr_assert_lt(write_count, WRITE_COUNT_MAX);
    world_node_call(node, put_call, &call);
    return call.status;
}

struct get {
    const char *key;
    enum status status;
};

static void get_call(void *context)
{
    struct get *get = context;
    struct buffer scratch = {0};
    struct cell cell;
    get->status = lsm_get(lsm, slice_text(get->key), LSM_NOWAIT, &scratch, &cell);
    buffer_deinit(&scratch);
}

static enum status get(const char *key)
{
    struct get call = {.key = key};
    world_node_call(node, get_call, &call);
    return call.status;
}

static void expect_read_only(void)
{
    struct lsm_stats stats;
    lsm_stats(lsm, &stats);
    cr_assert(stats.read_only);
    cr_assert_eq(failed_count, 1, "told %u times", failed_count);
    cr_assert_eq(put("later", 10, LSM_SYNCED), STATUS_READ_ONLY);
    cr_assert_eq(put("later", 10, LSM_NONE), STATUS_READ_ONLY);
}

Test(commit, a_failed_sync_makes_unsynced_writes_indeterminate_and_the_engine_read_only)
{
    cr_assert_eq(put("before", 10, LSM_SYNCED), STATUS_OK);
    settle();
    cr_assert_eq(statuses[0], STATUS_OK);
    disk_sim_faults(world_node_disk(node))->sync_error_ppm = 1000000;
    cr_assert_eq(put("a", 10, LSM_SYNCED), STATUS_OK);
    cr_assert_eq(put("b", 10, LSM_SYNCED), STATUS_OK);
    cr_assert_eq(put("c", 10, LSM_BUFFERED), STATUS_OK);
    settle();
    for (uint32_t i = 1; i <= 3; i++) {
        cr_assert(answered[i]);
        cr_assert_eq(statuses[i], STATUS_INDETERMINATE);
    }
    expect_read_only();
    cr_assert_eq(failed_status, STATUS_IO);
    cr_assert_eq(get("before"), STATUS_OK);
    cr_assert_eq(get("a"), STATUS_NOT_FOUND, "a failed write is never visible");
    cr_assert_eq(get("c"), STATUS_OK, "a buffered one was already");
}

Test(commit, a_failed_write_does_the_same_and_what_was_synced_is_there_after_a_restart)
{
    cr_assert_eq(put("before", 10, LSM_SYNCED), STATUS_OK);
    settle();
    disk_sim_faults(world_node_disk(node))->write_error_ppm = 1000000;
    cr_assert_eq(put("a", 10, LSM_SYNCED), STATUS_OK);
    settle();
    cr_assert_eq(statuses[1], STATUS_INDETERMINATE);
    expect_read_only();
    world_node_crash(node, WORLD_CRASH_POWER);
    disk_sim_faults(world_node_disk(node))->write_error_ppm = 0;
    start();
    cr_assert_eq(open_status, STATUS_OK);
    cr_assert_eq(get("before"), STATUS_OK);
}

Test(commit, a_full_disk_ends_writes_and_not_reads_until_there_is_space)
{
    cr_assert_eq(put("before", 10, LSM_SYNCED), STATUS_OK);
    settle();
    struct disk_sim *disk = world_node_disk(node);
    disk_sim_faults(disk)->capacity_size = disk_sim_used_size(disk);
    enum status status = STATUS_OK;
    uint32_t count = 0;
    while (status == STATUS_OK && count++ < 40) {
        status = put("big", 20000, LSM_SYNCED);
        pass(1000);
    }
    cr_assert_eq(status, STATUS_NO_SPACE);
    cr_assert_eq(failed_count, 0);
    cr_assert_eq(get("before"), STATUS_OK);
    disk_sim_faults(disk)->capacity_size = UINT64_MAX;
    pass(30000);
    for (uint32_t i = 0; i < write_count; i++) {
        cr_assert(answered[i]);
        cr_assert_eq(statuses[i], STATUS_OK);
    }
    cr_assert_eq(put("after", 10, LSM_SYNCED), STATUS_OK);
    settle();
    world_node_crash(node, WORLD_CRASH_POWER);
    start();
    cr_assert_eq(open_status, STATUS_OK);
    cr_assert_eq(get("before"), STATUS_OK);
    cr_assert_eq(get("after"), STATUS_OK);
}

Test(commit, the_log_buffer_has_a_bound)
{
    world_node_crash(node, WORLD_CRASH_POWER);
    options.wal_buffer_size = 100000;
    start();
    cr_assert_eq(put("a", 60000, LSM_SYNCED), STATUS_OK);
    cr_assert_eq(put("b", 60000, LSM_SYNCED), STATUS_OVERLOADED);
    settle();
    cr_assert_eq(put("b", 60000, LSM_SYNCED), STATUS_OK);
    settle();
    cr_assert_eq(statuses[1], STATUS_OK);
}

/* So those before and after it do not wait for its bytes. */
Test(commit, a_large_batch_has_a_group_of_its_own)
{
    struct lsm_stats before;
    struct lsm_stats after;
    lsm_stats(lsm, &before);
    cr_assert_eq(put("a", 10, LSM_SYNCED), STATUS_OK);
    cr_assert_eq(put("large", 180000, LSM_SYNCED), STATUS_OK);
    cr_assert_eq(put("b", 10, LSM_SYNCED), STATUS_OK);
    cr_assert_eq(put("c", 10, LSM_SYNCED), STATUS_OK);
    while (!answered[0]) {
        cr_assert_gt(world_run_steps(world, 1), 0);
    }
    cr_assert(!answered[1] && !answered[2]);
    settle();
    cr_assert(answered[1] && answered[2] && answered[3]);
    lsm_stats(lsm, &after);
    cr_assert_geq(after.group_count - before.group_count, 3);
    cr_assert_leq(after.group_count - before.group_count, 4, "b and c share one; one is idle");
}

/* Buffered writes taken while nothing is flushed: four fill a memtable. */
static uint32_t taken_without_flush(uint64_t memory_size)
{
    world_node_crash(node, WORLD_CRASH_POWER);
    options.memory_size = memory_size;
    options.wal_segment_size = 1 << 20; /* Of which no memtable fills four. */
    start();
    cr_assert_eq(open_status, STATUS_OK);
    uint32_t taken = 0;
    write_count = 0;
    while (put("a", 20000, LSM_BUFFERED) == STATUS_OK) {
        taken++;
    }
    return taken;
}

Test(commit, memtables_that_wait_for_their_flush_keep_to_the_budget)
{
    cr_assert_eq(taken_without_flush(6 << 16), 4 * (1 + 2)); /* Half of it. */
    cr_assert_eq(taken_without_flush(64 << 20), 4 * (1 + LSM_FROZEN_COUNT_MAX));
    cr_assert_eq(taken_without_flush(1 << 16), 4 * (1 + 1)); /* One must always do. */
}

Test(commit, a_batch_larger_than_a_segment_survives)
{
    cr_assert_eq(put("a", 180000, LSM_SYNCED), STATUS_OK);
    cr_assert_eq(put("b", 10, LSM_SYNCED), STATUS_OK);
    settle();
    cr_assert_eq(statuses[0], STATUS_OK);
    cr_assert_eq(statuses[1], STATUS_OK);
    world_node_crash(node, WORLD_CRASH_POWER);
    start();
    cr_assert_eq(open_status, STATUS_OK);
    cr_assert_eq(get("a"), STATUS_OK);
    cr_assert_eq(get("b"), STATUS_OK);
}

static void stopped(struct lsm_stop *stop)
{
    (void)stop;
    answered[WRITE_COUNT_MAX - 1] = true;
}

static void stop_call(void *context)
{
    static struct lsm_stop stop = {.stopped = stopped};
    (void)context;
    answered[WRITE_COUNT_MAX - 1] = false;
    lsm_stop(lsm, &stop);
}

static void close_call(void *context)
{
    (void)context;
    lsm_close(lsm);
}

Test(commit, a_stop_syncs_what_was_buffered_and_frees_everything)
{
    cr_assert_eq(put("a", 10, LSM_BUFFERED), STATUS_OK);
    world_node_call(node, stop_call, NULL);
    settle();
    cr_assert(answered[WRITE_COUNT_MAX - 1]);
    cr_assert_eq(world_node_stop(node, close_call, NULL), 0, "nothing leaks");
    start();
    cr_assert_eq(get("a"), STATUS_OK);
    world_node_crash(node, WORLD_CRASH_POWER); /* It was synced, so this takes nothing. */
    start();
    cr_assert_eq(get("a"), STATUS_OK);
}

/* Queued jobs are cancelled under it, and every write is answered. */
Test(commit, an_end_without_a_stop_answers_and_frees_everything)
{
    for (uint32_t i = 0; i < 20; i++) {
        cr_assert_eq(put("a", 5000, LSM_SYNCED), STATUS_OK);
    }
    (void)world_run_steps(world, 3);
    cr_assert_eq(world_node_stop(node, close_call, NULL), 0, "nothing leaks");
    for (uint32_t i = 0; i < write_count; i++) {
        cr_assert(answered[i]);
        cr_assert(statuses[i] == STATUS_OK || statuses[i] == STATUS_CANCELLED);
    }
}

/* The n-th allocation fails while the engine opens, for every n. */
Test(commit, opening_survives_any_failed_allocation)
{
    for (uint32_t i = 0; i < 30; i++) {
        cr_assert_eq(put(i % 2 == 0 ? "a" : "b", 5000, LSM_SYNCED), STATUS_OK);
        settle();
    }
    uint32_t refused = 0;
    for (uint64_t n = 1; n < 2000; n++) {
        world_node_crash(node, WORLD_CRASH_PROCESS);
        lsm = NULL;
        world_node_start(node, boot, NULL);
        (void)world_run_steps(world, 1);
        world_node_heap(node)->fail_countdown = n;
        while (open_status == STATUS_WOULD_BLOCK) {
            cr_assert_gt(world_run_steps(world, 1), 0);
        }
        bool reached = world_node_heap(node)->fail_countdown == 0;
        world_node_heap(node)->fail_countdown = 0;
        if (open_status == STATUS_OK) {
            settle();
            cr_assert_eq(get("a"), STATUS_OK);
            cr_assert_eq(get("b"), STATUS_OK);
        } else {
            cr_assert_eq(open_status, STATUS_NO_MEMORY, "n %d: %s", (int)n,
                         status_name(open_status));
            refused++;
        }
        if (!reached) {
            break;
        }
    }
    cr_assert_gt(refused, 10);
}
