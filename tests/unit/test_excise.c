/*
 * tests/unit/test_excise.c -- a stretch goes: from tables, memtables, the queue and the log, under
 * merges and flushes, and whole or not at all over a crash at any point.
 *
 * Each write has a size of its own generation, so that a read tells which one it found.
 */
#include "tests/unit/lsm_stretch_fixture.h"

#define LOWER 10u /* The stretch that goes: keys in [LOWER, UPPER). */
#define UPPER 25u
#define SIZE_TABLE 900u   /* In a table of the bottom when the excise is asked for, */
#define SIZE_TIER 1000u   /* in a tier, */
#define SIZE_VISIBLE 300u /* in a memtable, buffered, */
#define SIZE_QUEUED 400u  /* in the queue, */
#define SIZE_AFTER 500u   /* or written after. */

TestSuite(excise, .init = sim_init, .fini = sim_deinit, .timeout = 200);

struct asked {
    struct lsm_excise excise;
    enum status accepted;
    bool answered;
    enum status status;
};

static struct asked asked;
static uint32_t after_count; /* Of the SIZE_AFTER writes, how many were answered. */

static bool in_stretch(uint32_t index)
{
    return index >= LOWER && index < UPPER;
}

static void excise_done(struct lsm_excise *excise, enum status status)
{
    struct asked *of = container_of(excise, struct asked, excise);
    cr_assert(!of->answered);
    of->answered = true;
    of->status = status;
}

static void excise_call(void *context)
{
    struct asked *of = context;
    of->accepted = lsm_excise(sim.lsm, &of->excise);
}

static void ask_excise(uint32_t lower, uint32_t upper)
{
    asked = (struct asked){
        .excise = {.lower = slice_text(key_name(lower)),
                   .upper = upper == KEY_COUNT ? slice_make(NULL, 0) : slice_text(key_name(upper)),
                   .done = excise_done},
    };
    world_node_call(sim.node, excise_call, &asked);
}

/* Cells of every kind of place, and one excise among them. */
static void prepare(void)
{
    put_all(SIZE_TABLE, LSM_SYNCED);
    sim_pass(50); /* A flush takes what is visible. */
    cr_assert_eq(sim_ask(lsm_compact, 500), STATUS_OK);
    for (uint32_t i = 0; i < KEY_COUNT; i += 2) {
        cr_assert_eq(sim_put(key_name(i), SIZE_TIER, LSM_SYNCED), STATUS_OK);
    }
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_flush, 200), STATUS_OK);
    cr_assert_eq(sim_stats().table_count, 2);
}

/* The node may crash at any step of it. */
static void script_put(uint32_t step, uint32_t size, enum lsm_durability durability)
{
    for (uint32_t i = 0; i < KEY_COUNT && world_node_alive(sim.node); i += step) {
        cr_assert_eq(sim_put(key_name(i), size, durability), STATUS_OK);
    }
}

static void script(bool merging)
{
    script_put(3, SIZE_VISIBLE, LSM_BUFFERED);
    if (merging) {
        ask_only(lsm_compact);
        (void)world_run_steps(sim.world, 3);
    }
    script_put(4, SIZE_QUEUED, LSM_SYNCED);
    asked = (struct asked){0};
    if (world_node_alive(sim.node)) {
        ask_excise(LOWER, UPPER);
    }
    uint32_t first = sim.write_count;
    script_put(5, SIZE_AFTER, LSM_SYNCED);
    sim_pass(500);
    after_count = 0;
    for (uint32_t i = first; i < sim.write_count; i++) {
        after_count += sim.answered[i] && sim.statuses[i] == STATUS_OK ? 1 : 0;
    }
}

/* The greatest of what was written before. */
static uint32_t size_before(uint32_t index)
{
    return index % 4 == 0   ? SIZE_QUEUED
           : index % 3 == 0 ? SIZE_VISIBLE
           : index % 2 == 0 ? SIZE_TIER
                            : SIZE_TABLE;
}

static void check_excised(const char *when, uint32_t point)
{
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        uint32_t wanted = i % 5 == 0 ? SIZE_AFTER : in_stretch(i) ? 0 : size_before(i);
        cr_assert_eq(found.sizes[i], wanted, "%s, point %u: key %u has %u, not %u", when, point, i,
                     found.sizes[i], wanted);
    }
}

Test(excise, takes_what_was_accepted_before_and_nothing_else)
{
    for (int merging = 0; merging < 2; merging++) {
        prepare();
        script(merging == 1);
        cr_assert(asked.answered);
        cr_assert_eq(asked.status, STATUS_OK);
        look();
        check_excised("at once", 0);
        sim_power_cut();
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK);
        look();
        check_excised("after a loss of power", 0);
        cr_assert_eq(sim_ask(lsm_compact, 2000), STATUS_OK);
        look();
        check_excised("after a merge", 0);
        sim_power_cut();
        sim_start();
        look();
        check_excised("after all", 0);
    }
}

/* Nothing of the stretch may be left, or all that was durable of it. */
static void check_crashed(uint32_t point)
{
    bool gone = true;
    bool whole = true;
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        uint32_t size = found.sizes[i];
        bool after = i % 5 == 0 && size == SIZE_AFTER;
        if (!in_stretch(i)) {
            cr_assert(size >= SIZE_VISIBLE, "point %u: key %u is lost", point, i);
            continue;
        }
        gone = gone && (size == 0 || after);
        whole = whole && (size > 0);
        cr_assert(size == 0 || after || size == SIZE_TABLE || size == SIZE_TIER ||
                  size == SIZE_VISIBLE || size == SIZE_QUEUED);
    }
    cr_assert(gone || whole, "point %u: a part of the stretch is left", point);
    cr_assert(gone || !asked.answered, "point %u: the stretch came back", point);
    for (uint32_t i = 0, order = 0; i < KEY_COUNT; i += 5, order++) {
        cr_assert(order >= after_count || found.sizes[i] == SIZE_AFTER,
                  "point %u: key %u was answered after the excise, and is lost", point, i);
    }
}

static uint32_t crash_sweep(bool merging, uint32_t *gone_count)
{
    for (uint32_t point = 1;; point++) {
        cr_assert_lt(point, 400, "the sweep has no end");
        sim_deinit();
        sim_init();
        prepare();
        world_node_crash_in_job(sim.node, WORLD_CRASH_POWER, point - 1);
        script(merging);
        bool reached = !world_node_alive(sim.node);
        if (!reached) {
            sim_power_cut();
        }
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK, "point %u: %s", point,
                     status_name(sim.open_status));
        look();
        check_crashed(point);
        *gone_count += found.sizes[LOWER + 1] == 0 ? 1 : 0;
        /* And it stays so, whatever comes. */
        struct found before = found;
        cr_assert_eq(sim_ask(lsm_compact, 2000), STATUS_OK);
        sim_power_cut();
        sim_start();
        look();
        cr_assert_arr_eq(before.sizes, found.sizes, sizeof(before.sizes), "point %u", point);
        if (!reached) {
            return point;
        }
    }
}

Test(excise, is_whole_or_not_at_all_over_a_crash_at_any_point)
{
    for (int merging = 0; merging < 2; merging++) {
        uint32_t gone_count = 0;
        uint32_t points = crash_sweep(merging == 1, &gone_count);
        cr_assert_gt(points, 8);
        cr_assert(gone_count > 0 && gone_count < points, "%u of %u", gone_count, points);
    }
}

/* The n-th call on the manifest or on a table fails. */
Test(excise, is_made_good_after_any_failed_call)
{
    static const char *const parts[] = {"MANIFEST", ".sst"};
    for (uint32_t part = 0; part < 2; part++) {
        for (uint32_t n = 1; n < 60; n++) {
            sim_deinit();
            sim_init();
            prepare();
            sim_faults()->error_path_part = parts[part];
            sim_faults()->error_countdown = n;
            script(true);
            sim_pass(3000);
            bool reached = sim_faults()->error_countdown == 0;
            sim_faults()->error_countdown = 0;
            cr_assert(asked.answered, "%s call %u", parts[part], n);
            cr_assert_eq(asked.status, STATUS_OK);
            look();
            check_excised(parts[part], n);
            sim_power_cut();
            sim_start();
            look();
            check_excised(parts[part], n);
            if (!reached) {
                cr_assert_gt(n, 3);
                break;
            }
        }
    }
}

Test(excise, any_failed_allocation_is_refused_or_made_good)
{
    uint32_t refused = 0;
    prepare();
    for (uint64_t n = 1; n < 200; n++) {
        for (uint32_t i = LOWER; i < UPPER; i++) {
            cr_assert_eq(sim_put(key_name(i), SIZE_TABLE, LSM_SYNCED), STATUS_OK);
        }
        sim_pass(50);
        world_node_heap(sim.node)->fail_countdown = n;
        ask_excise(LOWER, UPPER);
        sim_pass(3000);
        bool reached = world_node_heap(sim.node)->fail_countdown == 0;
        world_node_heap(sim.node)->fail_countdown = 0;
        look();
        if (asked.accepted != STATUS_OK) {
            cr_assert_eq(asked.accepted, STATUS_NO_MEMORY);
            cr_assert_eq(found.sizes[LOWER], SIZE_TABLE);
            refused++;
        } else {
            cr_assert(asked.answered, "allocation %u", (unsigned)n);
            cr_assert_eq(found.sizes[LOWER], 0);
        }
        cr_assert_gt(found.sizes[0], 0);
        if (!reached) {
            break;
        }
        cr_assert_lt(n, 199);
    }
    cr_assert_gt(refused, 0);
}

Test(excise, again_changes_nothing_and_all_is_a_stretch_too)
{
    prepare();
    for (int i = 0; i < 3; i++) {
        ask_excise(LOWER, UPPER);
        sim_pass(100);
        cr_assert_eq(asked.status, STATUS_OK);
        look();
        cr_assert_eq(found.sizes[LOWER], 0);
        cr_assert_gt(found.sizes[LOWER - 1], 0);
    }
    ask_excise(0, KEY_COUNT);
    sim_pass(500);
    cr_assert_eq(asked.status, STATUS_OK);
    cr_assert_eq(sim_stats().table_count, 0);
    cr_assert_eq(sim_file_count(".sst"), 0);
    look();
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(found.sizes[i], 0);
    }
    sim_power_cut();
    sim_start();
    look();
    cr_assert_eq(found.sizes[0], 0);
    cr_assert_eq(sim_write(key_name(3), 77, 50), STATUS_OK);
}

Test(excise, what_is_no_stretch_is_refused)
{
    ask_excise(UPPER, LOWER);
    cr_assert_eq(asked.accepted, STATUS_INVALID);
    ask_excise(LOWER, LOWER);
    cr_assert_eq(asked.accepted, STATUS_INVALID);
}

/* Many stretches one after the other, over data that is flushed and merged all the time. */
Test(excise, many_leave_what_a_model_leaves)
{
    struct prng prng;
    prng_init(&prng, 5);
    uint32_t model[KEY_COUNT] = {0};
    for (uint32_t round = 0; round < 120; round++) {
        uint32_t count = (uint32_t)prng_below(&prng, 30);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t index = (uint32_t)prng_below(&prng, KEY_COUNT);
            uint32_t size = 100 + (uint32_t)prng_below(&prng, 3000);
            cr_assert_eq(sim_put(key_name(index), size,
                                 prng_chance(&prng, 1, 2) ? LSM_SYNCED : LSM_BUFFERED),
                         STATUS_OK);
            model[index] = size;
        }
        uint32_t lower = (uint32_t)prng_below(&prng, KEY_COUNT);
        uint32_t upper = lower + 1 + (uint32_t)prng_below(&prng, KEY_COUNT - lower);
        if (prng_chance(&prng, 1, 3)) {
            ask_only(prng_chance(&prng, 1, 2) ? lsm_compact : lsm_flush);
            (void)world_run_steps(sim.world, prng_below(&prng, 12));
        }
        if (prng_chance(&prng, 1, 3)) {
            ask_excise(lower, upper);
            for (uint32_t i = lower; i < upper; i++) {
                model[i] = 0;
            }
        } else {
            asked.answered = true;
        }
        sim_pass(prng_chance(&prng, 1, 2) ? 400 : 800);
        cr_assert(asked.answered);
        if (prng_chance(&prng, 1, 10)) {
            cr_assert_eq(sim_write("sync", 10, 50), STATUS_OK);
            sim_power_cut();
            sim_start();
            cr_assert_eq(sim.open_status, STATUS_OK);
        }
        look();
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            cr_assert_eq(found.sizes[i], model[i], "round %u key %u: %u, not %u", round, i,
                         found.sizes[i], model[i]);
        }
        sim_writes_forget();
    }
}

/* Its commit failed and rests; what is written meanwhile must not go to a table before it. */
Test(excise, what_came_after_is_not_flushed_before_it)
{
    prepare();
    sim_faults()->error_path_part = "MANIFEST";
    sim_faults()->error_countdown = 1;
    ask_excise(LOWER, UPPER);
    sim_pass(20);
    cr_assert_eq(sim_faults()->error_countdown, 0);
    cr_assert(!asked.answered);
    put_all(SIZE_AFTER, LSM_SYNCED);
    sim_pass(30);
    cr_assert(!asked.answered);
    ask_only(lsm_flush);
    sim_pass(2000);
    cr_assert(asked.answered);
    cr_assert_eq(asked.status, STATUS_OK);
    cr_assert(sim.request_answered);
    look();
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(found.sizes[i], SIZE_AFTER, "key %u: %u", i, found.sizes[i]);
    }
}

/* An excise whose position is beyond the end of the log that a loss of power leaves; with `replays`
 * there are records of the stretch before that end. */
static void lose_tail(bool replays)
{
    uint32_t durable = replays ? 4 : 0;
    for (uint32_t i = 0; i < durable; i++) { /* They fill a group, which is synced. */
        cr_assert_eq(sim_put(key_name(LOWER + i % 2), 3900, LSM_SYNCED), STATUS_OK);
    }
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(sim_put(key_name(LOWER + 2), 3900, LSM_BUFFERED), STATUS_OK);
    }
    ask_excise(LOWER, UPPER);
    /* In a memtable when the edit is made, or that would move the replay position. */
    cr_assert_eq(sim_put(key_name(LOWER - 1), SIZE_AFTER, LSM_BUFFERED), STATUS_OK);
    while (!asked.answered) {
        cr_assert_gt(world_run_steps(sim.world, 1), 0);
    }
    cr_assert_eq(asked.status, STATUS_OK);
    sim_power_cut();
}

static void check_stretch(bool written, bool replays, uint32_t point)
{
    look();
    cr_assert_eq(found.sizes[LOWER - 1], 0, "the tail of the log is to be lost");
    for (uint32_t i = LOWER; i < UPPER; i++) {
        uint32_t wanted = written && i == LOWER + 3 ? SIZE_AFTER : 0;
        cr_assert_eq(found.sizes[i], wanted, "replays %d, point %u: key %u has %u, not %u", replays,
                     point, i, found.sizes[i], wanted);
    }
}

/* The positions that the lost records had are given out again: to records it must not take. */
Test(excise, takes_nothing_that_is_written_where_the_log_was_cut)
{
    for (int replays = 0; replays < 2; replays++) {
        bool reached = true;
        uint32_t point = 0;
        while (reached) { /* The open that finds the log so may be crashed too. */
            cr_assert_lt(++point, 200, "the sweep has no end");
            sim_deinit();
            sim_init();
            lose_tail(replays == 1);
            world_node_start(sim.node, sim_boot, NULL);
            world_node_crash_in_job(sim.node, WORLD_CRASH_POWER, point - 1);
            sim_pass(2000);
            reached = !world_node_alive(sim.node);
            if (!reached) {
                sim_power_cut();
            }
            sim_start();
            cr_assert_eq(sim.open_status, STATUS_OK);
            check_stretch(false, replays == 1, point);
            cr_assert_eq(sim_write(key_name(LOWER + 3), SIZE_AFTER, 20), STATUS_OK);
            sim_power_cut();
            sim_start();
            cr_assert_eq(sim.open_status, STATUS_OK);
            check_stretch(true, replays == 1, point);
        }
        cr_assert_gt(point, 4);
    }
}
