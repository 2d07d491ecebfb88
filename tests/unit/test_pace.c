/*
 * tests/unit/test_pace.c -- writers that never stop are slowed down by debt, and never stopped.
 *
 * The writers wait for an answer and write again at once, on a simulated disk that is much slower
 * at flushing and merging than at logging.
 */
#include "base/contract.h"
#include "lsm/pace.h"
#include "tests/unit/lsm_sim_fixture.h"

#define SLOT_COUNT 32u
#define VALUE_SIZE 1000u
#define MEMTABLE_SIZE (256u << 10)
#define RATE_DROP_MAX 4u /* Between two milliseconds. */
#define NS_PER_MS UINT64_C(1000000)
#define RUN_MS UINT64_C(30000)

/* One writer: it has one write under way. */
struct slot {
    struct lsm_write write;
    uint64_t number; /* Of this write among all. */
    uint64_t began_ns;
    bool busy;
};

static struct slot slots[SLOT_COUNT];
static uint32_t slot_count; /* That are used. */
static uint64_t written_count;
static uint64_t answered_count;
static uint64_t overloaded_count;
static uint64_t last_number; /* Told last. */
static uint64_t delay_ns_max;
static enum lsm_durability durability;
static bool ended; /* The writers write no more. */
static bool stopped;
static uint64_t indeterminate_count;

static void setup(void)
{
    memset(slots, 0, sizeof(slots));
    slot_count = SLOT_COUNT;
    written_count = 0;
    answered_count = 0;
    overloaded_count = 0;
    last_number = 0;
    delay_ns_max = 0;
    durability = LSM_BUFFERED;
    ended = false;
    stopped = false;
    indeterminate_count = 0;
    sim_bytes_fill();
    sim_init();
    sim_power_cut();
    sim.options.memtable_size = MEMTABLE_SIZE;
    sim.options.wal_segment_size = 1 << 20;
    sim.options.table_size_max = 1 << 20;
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
}

TestSuite(pace, .init = setup, .fini = sim_deinit, .timeout = 120);

static void slot_done(struct lsm_write *write, enum status status);

static void slot_write(struct slot *slot)
{
    char key[24];
    uint64_t number = ++written_count;
    snprintf(key, sizeof(key), "key%08llu", (unsigned long long)(prng_mix(number) % 100000000));
    struct lsm_record record = {
        .key = slice_text(key),
        .cell = {.version = {.time = number, .node = 1},
                 .kind = CELL_VALUE,
                 .value = slice_make(sim_bytes + number % 1024 * 8, VALUE_SIZE)},
    };
    slot->write = (struct lsm_write){
        .records = &record, .record_count = 1, .durability = durability, .done = slot_done};
    slot->number = number;
    slot->began_ns = world_now_ns(sim.world);
    slot->busy = true;
    enum status status = lsm_write(sim.lsm, &slot->write);
    if (status != STATUS_OK) {
        written_count--;
        overloaded_count += status == STATUS_OVERLOADED ? 1 : 0;
        slot->busy = false;
    }
}

static void slot_done(struct lsm_write *write, enum status status)
{
    struct slot *slot = container_of(write, struct slot, write);
    cr_assert(slot->busy, "told twice");
    cr_assert_eq(slot->number, last_number + 1, "told out of turn");
    last_number = slot->number;
    slot->busy = false;
    if (status == STATUS_INDETERMINATE) {
        indeterminate_count++;
    } else {
        cr_assert_eq(status, STATUS_OK);
        cr_assert_eq(indeterminate_count, 0, "what was held comes before what was lost");
    }
    answered_count++;
    uint64_t delay_ns = world_now_ns(sim.world) - slot->began_ns;
    delay_ns_max = delay_ns > delay_ns_max ? delay_ns : delay_ns_max;
    if (!ended) {
        slot_write(slot);
    }
}

static void slots_start(void *context)
{
    (void)context;
    for (uint32_t i = 0; i < slot_count; i++) {
        if (!slots[i].busy) {
            slot_write(&slots[i]);
        }
    }
}

/* A table file is written in many calls, a group of the log in one or two. */
static void disk_slow(void)
{
    sim_faults()->slow_ppm = 1000000;
    sim_faults()->slow_ns = 3 * NS_PER_MS;
}

static void slots_end(void)
{
    ended = true;
    sim_pass(2000);
    cr_assert_eq(answered_count, written_count, "all answers come");
}

/* Until debt holds all writers back, and the rate is below `rate`. */
static void slots_run_into_debt(uint64_t rate)
{
    disk_slow();
    world_node_call(sim.node, slots_start, NULL);
    for (uint32_t ms = 0; ms < 20000; ms++) {
        sim_pass(1);
        struct lsm_stats stats = sim_stats();
        if (stats.pace_rate != 0 && stats.pace_rate < rate && stats.wal_queue_size == 0) {
            return;
        }
    }
    cr_assert_fail("no debt");
}

static void stop_done(struct lsm_stop *stop)
{
    (void)stop;
    cr_assert_eq(answered_count, written_count, "the last thing told");
    stopped = true;
}

static void stop_call(void *context)
{
    static struct lsm_stop stop = {.stopped = stop_done};
    (void)context;
    uint64_t answered_before = answered_count;
    ended = true;
    lsm_stop(sim.lsm, &stop);
    cr_assert_eq(answered_count, answered_before, "not inside the call");
}

static void close_call(void *context)
{
    (void)context;
    lsm_close(sim.lsm);
}

static uint64_t rate_of(uint64_t waiting, uint32_t run_count, uint64_t debt)
{
    struct pace_load load = {
        .waiting = waiting, .room = PACE_ONE, .run_count = run_count, .debt = debt, .unit = 1000};
    return pace_rate(&load);
}

static uint64_t rate_of_room(uint64_t room)
{
    struct pace_load load = {.room = room, .unit = 1000};
    return pace_rate(&load);
}

Test(pace, the_rate_begins_high_halves_by_equal_steps_and_is_never_zero, .init = NULL, .fini = NULL)
{
    cr_assert_eq(rate_of(PACE_WAITING_FIRST, PACE_RUNS_FIRST, 1000), 0, "no debt, no bound");
    uint64_t before = PACE_RATE_MAX;
    for (uint64_t at = PACE_WAITING_FIRST + 1; at <= PACE_ONE; at++) {
        uint64_t rate = rate_of(at, 0, 0);
        cr_assert_leq(rate, before);
        cr_assert_geq(rate, before - before / 1000, "no jump at %llu", (unsigned long long)at);
        before = rate;
    }
    cr_assert_eq(before, PACE_RATE_MIN);
    uint64_t half = (PACE_WAITING_FIRST + PACE_WAITING_LAST) / 2;
    uint64_t middle = PACE_RATE_MAX >> (PACE_HALVING_COUNT / 2);
    cr_assert_eq(rate_of(half, 0, 0), middle);
    cr_assert_eq(rate_of(0, (PACE_RUNS_FIRST + PACE_RUNS_LAST) / 2, 0), middle);
    cr_assert_eq(rate_of(0, 0, 1000 * (PACE_UNITS_FIRST + PACE_UNITS_LAST) / 2), middle);
    cr_assert_eq(rate_of_room(PACE_ROOM_FIRST), 0);
    cr_assert_eq(rate_of_room((PACE_ROOM_FIRST + PACE_ROOM_LAST) / 2), middle);
    cr_assert_eq(rate_of_room(0), PACE_RATE_MIN);
    cr_assert_eq(rate_of(0, TABLE_SET_RUN_COUNT_MAX, 0), PACE_RATE_MIN);
    cr_assert_eq(rate_of(0, 0, UINT64_C(1) << 50), PACE_RATE_MIN);
    cr_assert_eq(rate_of(half, PACE_RUNS_LAST, 0), PACE_RATE_MIN, "the greatest counts");
}

Test(pace, a_writer_that_never_stops_slows_down_smoothly_and_is_never_refused)
{
    disk_slow();
    world_node_call(sim.node, slots_start, NULL);
    uint64_t rate_before = 0;
    uint64_t rate_min = UINT64_MAX;
    uint64_t window_rate = 0; /* Of the window that began there; 0: it changed meanwhile. */
    uint64_t window_count = 0;
    uint32_t checked_count = 0;
    for (uint32_t ms = 0; ms < RUN_MS; ms++) {
        sim_pass(1);
        uint64_t rate = sim_stats().pace_rate;
        uint64_t expected = rate_before == 0 ? PACE_RATE_MAX : rate_before;
        cr_assert(rate == 0 || rate >= expected / RATE_DROP_MAX, "%llu after %llu",
                  (unsigned long long)rate, (unsigned long long)rate_before);
        rate_min = rate != 0 && rate < rate_min ? rate : rate_min;
        window_rate = rate == window_rate ? rate : 0;
        if (ms % 200 == 199) {
            uint64_t count = answered_count - window_count;
            cr_assert_gt(count, 0, "it never stops");
            if (window_rate != 0) { /* What was answered is what the rate allows. */
                uint64_t allowed = window_rate / 5 / (VALUE_SIZE + PACE_RECORD_SIZE);
                cr_assert_leq(count, allowed + 2);
                cr_assert_geq(count + 2, allowed * 9 / 10);
                checked_count++;
            }
            window_count = answered_count;
            window_rate = rate;
        }
        rate_before = rate;
    }
    cr_assert_eq(overloaded_count, 0);
    cr_assert_gt(checked_count, 10);
    cr_assert_lt(rate_min, PACE_RATE_MAX / 1000, "merges were far behind");
    /* Each waits for the others' turns, and they are alike. */
    uint64_t turn_ns = SLOT_COUNT * (VALUE_SIZE + 2 * PACE_RECORD_SIZE) * 1000 * NS_PER_MS;
    cr_assert_lt(delay_ns_max, turn_ns / rate_min + 10 * NS_PER_MS);
    struct lsm_stats stats = sim_stats();
    cr_assert_gt(stats.stall_count, 0);
    cr_assert_leq(stats.stall_count, written_count);
    cr_assert_gt(stats.stall_ns, stats.stall_count * NS_PER_MS / 2);
    cr_assert_leq(stats.stall_ns, RUN_MS * NS_PER_MS * SLOT_COUNT);
    slots_end();
}

/* The bound is nearer then, and so is the pace. */
Test(pace, with_little_memory_one_memtable_may_wait_and_no_writer_is_refused)
{
    sim_power_cut();
    sim.options.memory_size = 3 * MEMTABLE_SIZE;
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
    disk_slow();
    world_node_call(sim.node, slots_start, NULL);
    sim_pass(5000);
    cr_assert_eq(overloaded_count, 0);
    cr_assert_gt(answered_count, 8 * MEMTABLE_SIZE / VALUE_SIZE, "they do get on");
    cr_assert_gt(sim_stats().stall_count, 0);
    slots_end();
}

Test(pace, nobody_waits_while_flushes_and_merges_keep_up)
{
    durability = LSM_SYNCED; /* As fast as the log is: some megabytes a second. */
    slot_count = 4;
    world_node_call(sim.node, slots_start, NULL);
    for (uint32_t ms = 0; ms < 3000; ms++) {
        sim_pass(1);
        struct lsm_stats stats = sim_stats();
        cr_assert_eq(stats.pace_rate, 0);
        cr_assert_eq(stats.stall_count, 0);
        cr_assert_eq(stats.stall_ns, 0);
    }
    cr_assert_gt(sim_stats().flush_written, 8 * MEMTABLE_SIZE);
    slots_end();
}

Test(pace, a_stop_tells_what_is_held_in_order)
{
    slots_run_into_debt(PACE_RATE_MAX / 2000);
    uint64_t held_count = written_count - answered_count;
    cr_assert_gt(held_count, SLOT_COUNT / 2);
    cr_assert_eq(sim_stats().stalled_count, held_count);
    world_node_call(sim.node, stop_call, NULL);
    sim_pass(10000);
    cr_assert(stopped);
    cr_assert_eq(answered_count, written_count);
    cr_assert_eq(world_node_stop(sim.node, close_call, NULL), 0, "nothing leaks");
}

Test(pace, an_end_without_a_stop_tells_what_is_held)
{
    slots_run_into_debt(PACE_RATE_MAX / 2000);
    cr_assert_gt(written_count - answered_count, SLOT_COUNT / 2);
    ended = true;
    cr_assert_eq(world_node_stop(sim.node, close_call, NULL), 0, "nothing leaks");
    cr_assert_eq(answered_count, written_count);
}

Test(pace, what_is_held_when_the_log_fails_was_done_and_is_told_first)
{
    slots_run_into_debt(PACE_RATE_MAX / 2000);
    uint64_t held_count = written_count - answered_count;
    cr_assert_gt(held_count, SLOT_COUNT / 2);
    sim_faults()->write_error_ppm = 1000000;
    sim_pass(1000); /* The next that writes finds it out. */
    cr_assert(sim_stats().read_only);
    cr_assert_eq(answered_count, written_count);
    cr_assert_gt(indeterminate_count, 0);
    cr_assert_lt(indeterminate_count, SLOT_COUNT, "those that were held are not lost");
}

static bool urgent_answered;

static void urgent_done(struct lsm_write *write, enum status status)
{
    (void)write;
    cr_assert_eq(status, STATUS_OK);
    urgent_answered = true;
}

static void urgent_write(void *context)
{
    static struct lsm_write write;
    (void)context;
    struct lsm_record record = {.key = slice_text("urgent"),
                                .cell = {.version = {.time = 1, .node = 1}}};
    write = (struct lsm_write){.records = &record,
                               .record_count = 1,
                               .durability = LSM_BUFFERED,
                               .vital = true,
                               .done = urgent_done};
    cr_assert_eq(lsm_write(sim.lsm, &write), STATUS_OK);
}

Test(pace, a_vital_write_does_not_wait)
{
    slots_run_into_debt(PACE_RATE_MAX / 8000);
    uint64_t answered_before = answered_count;
    urgent_answered = false;
    world_node_call(sim.node, urgent_write, NULL);
    sim_pass(20); /* Its group's turn on a slow disk. */
    cr_assert(urgent_answered);
    cr_assert_lt(answered_count, answered_before + SLOT_COUNT / 2, "the others wait");
    slots_end();
}

/* Then there is a hard bound, but it is far away, and answers go on. */
Test(pace, while_nothing_can_be_flushed_the_hard_bound_comes_late)
{
    disk_slow();
    sim_faults()->error_path_part = ".sst";
    sim_faults()->write_error_ppm = 1000000;
    world_node_call(sim.node, slots_start, NULL);
    sim_pass(3000);
    cr_assert_eq(overloaded_count, 0);
    cr_assert_eq(sim_stats().pace_rate, PACE_RATE_MIN);
    sim_pass(6000);
    cr_assert_gt(overloaded_count, 0);
    sim_pass(2000);
    cr_assert_eq(answered_count, written_count);
    sim_faults()->write_error_ppm = 0;
    sim_pass(30000); /* The flush's rest after failures ends. */
    cr_assert_eq(sim_stats().pace_rate, 0);
    world_node_call(sim.node, slots_start, NULL);
    slots_end();
}
