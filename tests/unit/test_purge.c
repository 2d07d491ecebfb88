/*
 * tests/unit/test_purge.c -- what was deleted and forgotten does not come back from the log.
 *
 * On the simulated disk. Each test makes a record older than a tombstone lie in a part of the log
 * that the next open replays and that no memtable remembers, and has the tombstone merged into the
 * bottom meanwhile.
 */
#include "tests/unit/lsm_sim_fixture.h"

#define FILLER_COUNT 80u
#define FILLER_SIZE 20000u

static struct version floor_now;

static struct version purge_floor(void *context, struct slice key)
{
    (void)context;
    (void)key;
    return floor_now;
}

static void setup(void)
{
    floor_now = (struct version){0};
    sim_init();
    world_node_crash(sim.node, WORLD_CRASH_PROCESS);
    sim.options.floor = purge_floor;
    sim.options.memtable_size = 4 << 20;
    sim.options.wal_segment_size = 1 << 20;
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
}

static void teardown(void)
{
    sim_deinit();
}

TestSuite(purge, .init = setup, .fini = teardown, .timeout = 60);

static void put_at(const char *key, uint64_t time, size_t size, enum lsm_durability durability)
{
    struct sim_put call = {.key = key, .size = size, .durability = durability, .time = time};
    world_node_call(sim.node, sim_put_call, &call);
    cr_assert_eq(call.status, STATUS_OK);
}

static void compact(void)
{
    cr_assert_eq(sim_ask(lsm_compact, 2000), STATUS_OK);
}

static void crash_and_start(enum world_crash crash)
{
    world_node_crash(sim.node, crash);
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
}

/* Once all is in tables, nothing stands in the way of forgetting. */
static void expect_forgotten_in_the_end(void)
{
    cr_assert_eq(sim_write("0", 10, 1000), STATUS_OK);
    compact();
    cr_assert_eq(sim_write("0", 10, 1000), STATUS_OK);
    compact();
    struct lsm_stats stats = sim_stats();
    cr_assert_eq(stats.purged_count, 1, "%d", (int)stats.purged_count);
    crash_and_start(WORLD_CRASH_PROCESS);
    cr_assert_eq(sim_get("a"), STATUS_NOT_FOUND);
}

/* The value loses to the tombstone in a memtable that freezes before the value's group is written:
 * the memtable's replay position lies below the value. */
static void value_behind_the_replay_position(enum lsm_durability tombstone, enum world_crash crash)
{
    put_at("a", 8, SIM_DELETE, tombstone);
    sim_pass(1000);
    put_at("a", 5, 100, LSM_BUFFERED);
    cr_assert_eq(sim_ask(lsm_flush, 1000), STATUS_OK);
    floor_now = (struct version){.time = 10};
    compact();
    crash_and_start(crash);
    cr_assert_eq(sim_get("a"), STATUS_NOT_FOUND);
    expect_forgotten_in_the_end();
}

Test(purge, a_buffered_value_queued_at_the_freeze_does_not_come_back)
{
    value_behind_the_replay_position(LSM_SYNCED, WORLD_CRASH_PROCESS);
}

Test(purge, a_buffered_value_queued_at_the_freeze_does_not_come_back_after_a_power_cut)
{
    value_behind_the_replay_position(LSM_SYNCED, WORLD_CRASH_POWER);
}

Test(purge, a_value_covered_by_an_unlogged_tombstone_does_not_come_back)
{
    value_behind_the_replay_position(LSM_NONE, WORLD_CRASH_PROCESS);
}

static void flush_done(struct lsm_request *request, enum status status)
{
    (void)request;
    cr_assert_eq(status, STATUS_OK);
}

static void flush_call(void *context)
{
    struct lsm_request *request = context;
    request->done = flush_done;
    cr_assert_eq(lsm_flush(sim.lsm, request), STATUS_OK);
}

/* Two memtables freeze before the group is written: the second one's position is no higher. */
Test(purge, a_value_queued_over_two_freezes_does_not_come_back)
{
    struct lsm_request flushes[2];
    put_at("a", 8, SIM_DELETE, LSM_SYNCED);
    sim_pass(1000);
    put_at("a", 5, 100, LSM_BUFFERED);
    world_node_call(sim.node, flush_call, &flushes[0]);
    put_at("b", 9, 100, LSM_BUFFERED);
    world_node_call(sim.node, flush_call, &flushes[1]);
    sim_pass(1000);
    floor_now = (struct version){.time = 10};
    compact();
    crash_and_start(WORLD_CRASH_PROCESS);
    cr_assert_eq(sim_get("a"), STATUS_NOT_FOUND);
    expect_forgotten_in_the_end();
}

static void fill(void)
{
    for (uint32_t i = 0; i < FILLER_COUNT; i++) {
        char key[16];
        snprintf(key, sizeof(key), "filler%02u", i);
        put_at(key, 0, FILLER_SIZE, LSM_SYNCED);
        snprintf(key, sizeof(key), "filler%02u/z", i);
        put_at(key, 0, SIM_DELETE, LSM_SYNCED); /* So that its table has to be merged. */
        sim_pass(50);
    }
}

/* Starts, and lets time pass only until `merged` bytes have come out of merges. */
static void start_until_merged(uint64_t merged)
{
    world_node_crash(sim.node, WORLD_CRASH_PROCESS);
    sim.lsm = NULL;
    world_node_start(sim.node, sim_boot, NULL);
    uint64_t written = 0;
    while (written < merged && world_run_steps(sim.world, 1) > 0) {
        written = sim.open_status == STATUS_OK ? sim_stats().compaction_written : 0;
    }
    cr_assert_geq(written, merged);
}

/* Memtables frozen on the way of a replay name the old replay position. While the last of them is
 * not flushed, another crash replays all of the log again, over tables that have merged it. */
Test(purge, a_value_replayed_twice_does_not_come_back)
{
    put_at("a", 8, SIM_DELETE, LSM_SYNCED);
    sim_pass(100);
    cr_assert_eq(sim_ask(lsm_flush, 1000), STATUS_OK);
    put_at("a", 5, 100, LSM_BUFFERED);
    fill();
    floor_now = (struct version){.time = 10};
    sim.options.memtable_size = 64 << 10; /* Many memtables. */
    start_until_merged(1);                /* Which is before the last flush. */
    crash_and_start(WORLD_CRASH_PROCESS);
    cr_assert_eq(sim_get("a"), STATUS_NOT_FOUND);
    expect_forgotten_in_the_end();
}

/* A merge into the bottom that a crash cuts short leaves runs whose lower part counts no more. The
 * next merge begins below that, with what was written since. */
Test(purge, what_went_down_before_a_crash_does_not_come_back)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (uint32_t i = 0; i < FILLER_SIZE; i++) { /* Bytes that no block compresses. */
        sim_bytes[i] = (uint8_t)prng_below(&prng, 256);
    }
    sim.options.table_size_max = 4 << 20; /* One table, to be merged in many steps. */
    crash_and_start(WORLD_CRASH_PROCESS);
    put_at("filler10/a", 5, 100, LSM_SYNCED);
    fill();
    cr_assert_eq(sim_ask(lsm_flush, 1000), STATUS_OK);
    put_at("filler10/a", 8, SIM_DELETE, LSM_SYNCED);
    sim_pass(100);
    cr_assert_eq(sim_ask(lsm_flush, 1000), STATUS_OK);
    floor_now = (struct version){.time = 10};
    sim.options.table_size_max = 64 << 10;
    sim.options.memtable_size = 64 << 10; /* So what there is is much, and goes down. */
    start_until_merged(FILLER_COUNT / 2 * FILLER_SIZE);
    cr_assert_eq(sim_stats().purged_count, 1);
    sim.options.memtable_size = 4 << 20;
    crash_and_start(WORLD_CRASH_PROCESS);
    cr_assert_gt(sim_stats().run_count, 2, "the merge had not ended");
    cr_assert_eq(sim_write("filler00", 100, 100), STATUS_OK);
    compact();
    cr_assert_eq(sim_get("filler10/a"), STATUS_NOT_FOUND);
}
