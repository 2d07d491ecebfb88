/* tests/unit/test_holding.c -- fences, entering and leaving, over crashes at every step. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/token.h"
#include "node/holding.h"
#include "tests/sim/env_sim.h"

#define SEED 11u
#define MS UINT64_C(1000000)
#define SELF 1u
#define RANGE_COUNT 4u
#define STEP_COUNT_MAX 400u
#define SETTLE_MS 2000u

static struct {
    struct world *world;
    struct world_node *host;
    struct lsm *lsm;
    struct holding holding;
    struct topology topology;
    struct topology_range ranges[RANGE_COUNT];
    bool booted;
    uint32_t changed_count;
    /* Of a call on the loop. */
    struct slice key;
    bool found;
    struct lsm_write write;
    struct lsm_request request;
    uint32_t range;
    uint64_t session;
} lab;

static void changed(void *context)
{
    (void)context;
    lab.changed_count++;
}

static void boot(void *context)
{
    (void)context;
    struct env *env = world_node_env(lab.host);
    const struct lsm_options options = {
        .path = "lsm", .memory_size = 8u << 20, .wal_segment_size = 64u << 10};
    const struct holding_events events = {.changed = changed};
    cr_assert_eq(lsm_open(env, &options, &lab.lsm), STATUS_OK);
    memset(&lab.holding, 0, sizeof(lab.holding));
    cr_assert_eq(holding_open(&lab.holding, env, lab.lsm, SELF), STATUS_OK);
    holding_start(&lab.holding, &lab.topology, &events);
    lab.booted = true;
}

static void pass(uint64_t ms)
{
    world_run_until(lab.world, world_now_ns(lab.world) + ms * MS);
}

static void begin(void)
{
    struct world_options options;
    world_options_calm(&options);
    lab.topology = (struct topology){.cluster_id = 1,
                                     .stamp = {.generation = {1, 1}, .epoch = 1},
                                     .range_count = RANGE_COUNT,
                                     .ranges = lab.ranges};
    for (uint32_t range = 0; range < RANGE_COUNT; range++) {
        lab.ranges[range] =
            (struct topology_range){.replicas = {.count = 3, .ids = {2, 3, 4}}, .epoch = 1};
    }
    lab.world = world_create(SEED, &options);
    lab.host = world_node_add(lab.world);
    world_node_start(lab.host, boot, NULL);
    pass(1);
}

static void adopt_call(void *context)
{
    (void)context;
    cr_assert_eq(holding_adopted(&lab.holding), STATUS_OK);
}

static void adopt(void)
{
    for (uint32_t range = 0; range < RANGE_COUNT; range++) {
        if (lab.ranges[range].epoch > lab.topology.stamp.epoch) {
            lab.topology.stamp.epoch = lab.ranges[range].epoch;
        }
    }
    world_node_call(lab.host, adopt_call, NULL);
}

static void restart(void)
{
    world_node_crash(lab.host, WORLD_CRASH_POWER);
    lab.booted = false;
    world_node_start(lab.host, boot, NULL);
    while (!lab.booted) {
        world_run_steps(lab.world, 1);
    }
}

static void stop_call(void *context)
{
    (void)context;
    holding_stop(&lab.holding);
}

static void finish(void *context)
{
    (void)context;
    lsm_close(lab.lsm);
    holding_close(&lab.holding);
}

static void end(void)
{
    world_node_call(lab.host, stop_call, NULL);
    cr_expect_eq(world_node_stop(lab.host, finish, NULL), 0, "memory was not given back");
    world_destroy(lab.world);
}

/* ------------------------------------------------------------------ what a range may be */

static void is_held(uint32_t range, uint64_t epoch)
{
    lab.ranges[range] =
        (struct topology_range){.replicas = {.count = 3, .ids = {SELF, 2, 3}}, .epoch = epoch};
}

static void is_elsewhere(uint32_t range, uint64_t epoch)
{
    lab.ranges[range] =
        (struct topology_range){.replicas = {.count = 3, .ids = {2, 3, 4}}, .epoch = epoch};
}

static void is_entered(uint32_t range, uint64_t session)
{
    lab.ranges[range] = (struct topology_range){.replicas = {.count = 3, .ids = {2, 3, 4}},
                                                .next = {.count = 3, .ids = {SELF, 3, 4}},
                                                .goal = {.count = 3, .ids = {SELF, 3, 4}},
                                                .stage = TOPOLOGY_WRITE_BOTH_READ_OLD,
                                                .epoch = session,
                                                .session = session};
}

static void is_given(uint32_t range, uint64_t session)
{
    lab.ranges[range] = (struct topology_range){.replicas = {.count = 3, .ids = {SELF, 2, 3}},
                                                .next = {.count = 3, .ids = {2, 3, 4}},
                                                .goal = {.count = 3, .ids = {2, 3, 4}},
                                                .stage = TOPOLOGY_WRITE_BOTH_READ_OLD,
                                                .epoch = session,
                                                .session = session};
}

static enum status judged(uint32_t range, uint64_t epoch)
{
    const struct topology_stamp stamp = {.generation = lab.topology.stamp.generation,
                                         .epoch = epoch};
    return holding_judge(&lab.holding, range, &stamp);
}

static struct message_range_state state_of(uint32_t range)
{
    struct message_range_state state;
    holding_state(&lab.holding, range, &state);
    return state;
}

/* ------------------------------------------------------------------ what its stretch holds */

static struct slice key_in(uint32_t range)
{
    static uint8_t bytes[ENGINE_KEY_PREFIX_SIZE + 1];
    struct holding_stretch stretch = holding_stretch_of(range, RANGE_COUNT);
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, stretch.lower, sizeof(stretch.lower));
    bytes[sizeof(bytes) - 1] = 'k';
    return slice_make(bytes, sizeof(bytes));
}

static void written(struct lsm_write *write, enum status status)
{
    (void)write;
    cr_assert_eq(status, STATUS_OK);
}

static void put_call(void *context)
{
    (void)context;
    const struct lsm_record record = {
        .key = lab.key,
        .cell = {.version = {.time = 5, .node = 2}, .value = slice_text("a value")}};
    lab.write = (struct lsm_write){
        .records = &record, .record_count = 1, .durability = LSM_SYNCED, .done = written};
    cr_assert_eq(lsm_write(lab.lsm, &lab.write), STATUS_OK);
}

static void put(uint32_t range)
{
    lab.key = key_in(range);
    world_node_call(lab.host, put_call, NULL);
    pass(50);
}

static void has_call(void *context)
{
    (void)context;
    struct buffer scratch = {0};
    struct cell cell;
    enum status status = lsm_get(lab.lsm, lab.key, LSM_NOWAIT, &scratch, &cell);
    cr_assert(status == STATUS_OK || status == STATUS_NOT_FOUND || status == STATUS_WOULD_BLOCK);
    lab.found = status != STATUS_NOT_FOUND;
    buffer_deinit(&scratch);
}

/* Or may have: it is not in memory. */
static bool has(uint32_t range)
{
    lab.key = key_in(range);
    world_node_call(lab.host, has_call, NULL);
    return lab.found;
}

TestSuite(holding, .timeout = 120);

/* ------------------------------------------------------------------ R1 */

Test(holding, from_its_adoption_on_what_is_older_is_stale)
{
    begin();
    is_held(0, 1);
    adopt();
    cr_assert_eq(judged(0, 1), STATUS_OK);
    is_held(0, 5);
    adopt();
    cr_expect_eq(judged(0, 4), STATUS_STALE);
    cr_expect_eq(judged(0, 5), STATUS_OK);
    cr_expect_eq(judged(1, 5), STATUS_STALE, "no part in it");
    end();
}

Test(holding, a_fence_is_reported_once_it_is_durable)
{
    begin();
    is_held(0, 5);
    adopt();
    cr_expect_eq(state_of(0).fence, 0);
    pass(SETTLE_MS);
    cr_expect_eq(state_of(0).fence, 5);
    cr_expect_geq(lab.changed_count, 1);
    end();
}

/* After a crash at every step, with the topology of before: what was reported still holds. */
Test(holding, a_reported_fence_outlives_a_crash)
{
    bool reported = false;
    for (uint32_t steps = 0; steps < STEP_COUNT_MAX && !reported; steps++) {
        begin();
        is_held(0, 3);
        adopt();
        pass(SETTLE_MS);
        is_held(0, 5);
        adopt();
        world_run_steps(lab.world, steps);
        reported = state_of(0).fence == 5;
        lab.topology.stamp.epoch = 3;
        is_held(0, 3);
        restart();
        adopt();
        cr_expect(!reported || state_of(0).fence == 5, "after %u steps", steps);
        if (reported) {
            cr_expect_eq(judged(0, 4), STATUS_BEHIND, "after %u steps", steps);
            is_held(0, 5);
            adopt();
            cr_expect_eq(judged(0, 4), STATUS_STALE);
            cr_expect_eq(judged(0, 5), STATUS_OK);
        }
        end();
    }
    cr_assert(reported);
}

Test(holding, a_new_generation_raises_every_fence)
{
    begin();
    is_held(0, 5);
    adopt();
    pass(SETTLE_MS);
    lab.topology.stamp.generation.number = 2;
    adopt();
    cr_expect_eq(state_of(0).fence, 0, "that was of the old one");
    const struct topology_stamp old = {.generation = {1, 1}, .epoch = 9};
    cr_expect_eq(holding_judge(&lab.holding, 0, &old), STATUS_STALE);
    pass(SETTLE_MS);
    cr_expect_eq(state_of(0).fence, 5);
    end();
}

static void resume_done(struct lsm_request *request, enum status status)
{
    (void)request;
    cr_assert_eq(status, STATUS_OK);
}

static void resume_call(void *context)
{
    (void)context;
    lab.request = (struct lsm_request){.done = resume_done};
    cr_assert_eq(lsm_resume(lab.lsm, &lab.request), STATUS_OK);
}

Test(holding, a_record_that_the_disk_refused_is_written_later)
{
    begin();
    disk_sim_faults(world_node_disk(lab.host))->sync_error_ppm = 1000000;
    is_held(0, 5);
    adopt();
    pass(SETTLE_MS);
    cr_expect_eq(state_of(0).fence, 0);
    cr_expect_eq(judged(0, 4), STATUS_STALE);
    disk_sim_faults(world_node_disk(lab.host))->sync_error_ppm = 0;
    world_node_call(lab.host, resume_call, NULL);
    pass(SETTLE_MS);
    cr_expect_eq(state_of(0).fence, 5);
    end();
}

/* ------------------------------------------------------------------ R2 */

Test(holding, a_range_is_entered_empty_and_then_served)
{
    begin();
    put(1);
    is_entered(1, 7);
    adopt();
    cr_expect_eq(judged(1, 7), STATUS_BEHIND);
    cr_expect_eq(judged(1, 6), STATUS_STALE);
    pass(SETTLE_MS);
    cr_expect_eq(judged(1, 7), STATUS_OK);
    cr_expect_eq(state_of(1).entered, 7);
    cr_expect_not(has(1), "what an earlier stay left is gone");
    put(1);
    lab.ranges[1].stage = TOPOLOGY_WRITE_BOTH_READ_NEW;
    lab.ranges[1].epoch = 8;
    adopt();
    is_held(1, 9);
    adopt();
    pass(SETTLE_MS);
    cr_expect_eq(judged(1, 9), STATUS_OK);
    cr_expect(has(1), "what came since is not");
    end();
}

Test(holding, what_is_served_after_a_crash_while_entering_was_emptied)
{
    bool served = false;
    for (uint32_t steps = 0; steps < STEP_COUNT_MAX && !served; steps++) {
        begin();
        put(1);
        is_entered(1, 7);
        adopt();
        world_run_steps(lab.world, steps);
        restart();
        adopt();
        served = judged(1, 7) == STATUS_OK;
        cr_expect(!served || !has(1), "after %u steps", steps);
        pass(SETTLE_MS);
        cr_expect_eq(judged(1, 7), STATUS_OK, "after %u steps", steps);
        cr_expect_not(has(1), "after %u steps", steps);
        end();
    }
    cr_assert(served);
}

/* Else what is taken in between is excised by the restart after a crash. */
Test(holding, a_range_is_served_only_once_its_entering_is_durable)
{
    begin();
    is_entered(1, 7);
    adopt();
    while (judged(1, 7) != STATUS_OK) {
        world_run_steps(lab.world, 1);
    }
    cr_expect_eq(state_of(1).entered, 7);
    restart();
    adopt();
    cr_expect_eq(judged(1, 7), STATUS_OK);
    end();
}

Test(holding, each_session_enters_anew)
{
    begin();
    is_entered(1, 7);
    adopt();
    pass(SETTLE_MS);
    put(1);
    is_entered(1, 9); /* The end of the session before was not heard of. */
    adopt();
    cr_expect_eq(judged(1, 9), STATUS_BEHIND);
    pass(SETTLE_MS);
    cr_expect_eq(judged(1, 9), STATUS_OK);
    cr_expect_not(has(1));
    end();
}

/* ------------------------------------------------------------------ R3 */

Test(holding, a_range_that_was_left_is_served_no_more_and_goes)
{
    begin();
    is_held(2, 3);
    adopt();
    put(2);
    put(3);
    uint64_t turn = holding_turn(&lab.holding, 2, 2);
    is_elsewhere(2, 6);
    adopt();
    cr_expect_eq(judged(2, 6), STATUS_STALE);
    cr_expect_neq(holding_turn(&lab.holding, 2, 2), turn);
    pass(SETTLE_MS);
    cr_expect_not(has(2));
    cr_expect(has(3), "the range beside it stays");
    end();
}

/* With the topology of before: what was emptied is not served. With the new one: it goes. */
Test(holding, leaving_is_known_before_anything_goes)
{
    bool emptied = false;
    for (uint32_t steps = 0; steps < STEP_COUNT_MAX && !emptied; steps++) {
        begin();
        is_held(2, 3);
        adopt();
        put(2);
        is_elsewhere(2, 6);
        adopt();
        world_run_steps(lab.world, steps);
        lab.topology.stamp.epoch = 3;
        is_held(2, 3);
        restart();
        adopt();
        emptied = !has(2);
        cr_expect(!emptied || judged(2, 3) == STATUS_BEHIND, "after %u steps", steps);
        is_elsewhere(2, 6);
        adopt();
        pass(SETTLE_MS);
        cr_expect_not(has(2), "after %u steps", steps);
        end();
    }
    cr_assert(emptied);
}

static bool excises(void)
{
    for (uint32_t index = 0; index < HOLDING_EXCISE_COUNT_MAX; index++) {
        if (lab.holding.excises[index].busy) {
            return true;
        }
    }
    return false;
}

/* Also while another record is being written, so that this one waits. */
Test(holding, no_excise_is_begun_before_the_leaving_is_durable)
{
    begin();
    is_held(2, 3);
    adopt();
    pass(SETTLE_MS);
    is_held(0, 5);
    adopt();
    is_elsewhere(2, 6);
    adopt();
    while (!excises()) {
        world_run_steps(lab.world, 1);
    }
    lab.topology.stamp.epoch = 3;
    is_held(2, 3);
    restart();
    adopt();
    cr_expect_eq(judged(2, 3), STATUS_BEHIND);
    end();
}

Test(holding, an_operation_taken_back_leaves_nothing)
{
    begin();
    is_entered(1, 7);
    adopt();
    pass(SETTLE_MS);
    put(1);
    is_elsewhere(1, 8);
    adopt();
    cr_expect_eq(judged(1, 8), STATUS_STALE);
    pass(SETTLE_MS);
    cr_expect_not(has(1));
    end();
}

Test(holding, what_it_left_it_does_not_own)
{
    begin();
    is_held(2, 3);
    adopt();
    is_elsewhere(2, 6);
    adopt();
    pass(SETTLE_MS);
    is_held(2, 8); /* No operation brought it back. */
    adopt();
    pass(SETTLE_MS);
    cr_expect_eq(judged(2, 8), STATUS_BEHIND);
    end();
}

/* ------------------------------------------------------------------ R4, R5, pins */

Test(holding, a_source_waits_for_its_own_fence)
{
    begin();
    is_held(0, 3);
    adopt();
    pass(SETTLE_MS);
    cr_expect_eq(holding_source_check(&lab.holding, 0, 3), STATUS_STALE, "nothing is under way");
    is_given(0, 7);
    adopt();
    cr_expect_eq(holding_source_check(&lab.holding, 0, 7), STATUS_BEHIND);
    pass(SETTLE_MS);
    cr_expect_eq(holding_source_check(&lab.holding, 0, 7), STATUS_OK);
    cr_expect_eq(holding_source_check(&lab.holding, 0, 6), STATUS_STALE, "another session");
    cr_expect_eq(holding_source_check(&lab.holding, 1, 7), STATUS_STALE, "not ours");
    lab.ranges[0].stage = TOPOLOGY_WRITE_BOTH_READ_NEW;
    lab.ranges[0].epoch = 8;
    adopt();
    pass(SETTLE_MS);
    cr_expect_eq(holding_source_check(&lab.holding, 0, 7), STATUS_STALE, "too late");
    end();
}

static void fed_call(void *context)
{
    (void)context;
    holding_fed(&lab.holding, lab.range, lab.session);
}

static void fed(uint32_t range, uint64_t session)
{
    lab.range = range;
    lab.session = session;
    world_node_call(lab.host, fed_call, NULL);
}

Test(holding, what_was_streamed_is_reported_once_it_is_durable)
{
    begin();
    is_entered(1, 7);
    adopt();
    cr_expect_not(holding_hungry(&lab.holding, 1), "not entered yet");
    pass(SETTLE_MS);
    cr_expect(holding_hungry(&lab.holding, 1));
    fed(1, 6);
    pass(SETTLE_MS);
    cr_expect_eq(state_of(1).streamed, 0, "of another session");
    fed(1, 7);
    cr_expect_eq(state_of(1).streamed, 0);
    pass(SETTLE_MS);
    cr_expect_eq(state_of(1).streamed, 7);
    restart();
    adopt();
    cr_expect_eq(state_of(1).streamed, 7);
    cr_expect_not(holding_hungry(&lab.holding, 1));
    is_entered(1, 9);
    adopt();
    pass(SETTLE_MS);
    cr_expect_eq(state_of(1).streamed, 0);
    cr_expect(holding_hungry(&lab.holding, 1));
    end();
}

static void pin_call(void *context)
{
    (void)context;
    holding_pin(&lab.holding, lab.range);
}

static void unpin_call(void *context)
{
    (void)context;
    holding_unpin(&lab.holding, lab.range);
}

Test(holding, a_stretch_that_tables_come_into_is_excised_after_them)
{
    begin();
    is_entered(1, 7);
    adopt();
    pass(SETTLE_MS);
    lab.range = 1;
    world_node_call(lab.host, pin_call, NULL);
    is_elsewhere(1, 8);
    adopt();
    pass(SETTLE_MS);
    put(1); /* As an ingest that was under way. */
    cr_expect(has(1));
    world_node_call(lab.host, unpin_call, NULL);
    pass(SETTLE_MS);
    cr_expect_not(has(1));
    end();
}

Test(holding, many_ranges_come_and_go_at_once)
{
    begin();
    for (uint32_t range = 0; range < RANGE_COUNT; range++) {
        is_held(range, 2);
    }
    adopt();
    pass(SETTLE_MS);
    for (uint32_t range = 0; range < RANGE_COUNT; range++) {
        put(range);
        is_elsewhere(range, 4 + range);
    }
    adopt();
    uint32_t entering;
    uint32_t leaving;
    holding_counts(&lab.holding, &entering, &leaving);
    cr_expect_eq(leaving, RANGE_COUNT);
    pass(SETTLE_MS);
    holding_counts(&lab.holding, &entering, &leaving);
    cr_expect_eq(leaving, 0);
    for (uint32_t range = 0; range < RANGE_COUNT; range++) {
        cr_expect_not(has(range));
        cr_expect_eq(state_of(range).fence, 4 + range);
    }
    end();
}

Test(holding, stretches_meet_and_cover_all_slots)
{
    struct holding_stretch last = holding_stretch_of(0, 16384);
    cr_assert_eq(codec_load_be(last.lower, 2), 0);
    for (uint32_t range = 1; range < 16384; range++) {
        struct holding_stretch stretch = holding_stretch_of(range, 16384);
        cr_assert_eq(memcmp(stretch.lower, last.upper, 2), 0);
        last = stretch;
    }
    cr_assert_eq(codec_load_be(last.upper, 1), ENGINE_KEY_LOCAL_FIRST);
}
