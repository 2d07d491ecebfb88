/* tests/unit/test_stream.c -- ranges on their way between engines, with all that may end a stream.
 */
#include "tests/unit/stream_fixture.h"

#define KEY_COUNT 2000u /* About 30 chunks. */
#define TIME 1000u
#define STREAM_MS_MAX 60000u

/* Until side 1 says that all is merged; false if it does not. */
static bool streamed_within(uint64_t session, uint64_t ms_max)
{
    for (uint64_t ms = 0; ms < ms_max; ms += 10) {
        if (side_state(1, 0).streamed == session) {
            return true;
        }
        streams_pass(10);
    }
    return false;
}

static void chunks_come(uint64_t count)
{
    for (uint32_t ms = 0; side_of(1)->counters.stream_chunks_in < count; ms++) {
        cr_assert_lt(ms, STREAM_MS_MAX);
        streams_pass(1);
    }
}

TestSuite(stream, .timeout = 120);

Test(stream, a_range_comes_whole)
{
    streams_begin(2);
    side_put(2, 0, KEY_COUNT, TIME);
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    cr_expect_eq(side_has(1, 0, KEY_COUNT, TIME), KEY_COUNT);
    cr_expect_gt(side_of(1)->counters.stream_chunks_in, 5);
    cr_expect_gt(side_of(1)->counters.stream_bytes_in, 0);
    cr_expect_eq(side_of(1)->counters.stream_bytes_in, side_of(2)->counters.stream_bytes_out);
    cr_expect_eq(side_files(1), 0);
    range = range_of_old(8);
    streams_adopt(0, &range);
    streams_pass(SIDE_SETTLE_MS);
    cr_expect_eq(side_files(2), 0, "chunks of a session that ended");
    streams_end();
}

Test(stream, an_empty_range_is_soon_there)
{
    streams_begin(2);
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    streams_end();
}

Test(stream, cells_on_both_sides_merge)
{
    streams_begin(2);
    side_put(2, 0, 100, TIME);
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    streams_pass(1); /* Not entered yet, or just so: what is written below came after the excise. */
    for (uint32_t ms = 0; side_state(1, 0).entered != 7; ms++) {
        cr_assert_lt(ms, STREAM_MS_MAX);
        streams_pass(1);
    }
    side_put_unsynced(1, 50, 10, TIME + 1); /* Newer than what comes, */
    side_put_unsynced(1, 70, 10, TIME - 1); /* and older. */
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    cr_expect_eq(side_has(1, 50, 10, TIME + 1), 10);
    cr_expect_eq(side_has(1, 70, 10, TIME), 10);
    cr_expect_eq(side_has(1, 0, 100, TIME), 90);
    streams_end();
}

/* R4: what a source accepts before its fence is durable goes along. */
Test(stream, a_source_without_its_fence_gives_nothing)
{
    streams_begin(2);
    struct topology_range range = range_taken_over(7);
    side_put(2, 0, KEY_COUNT / 2, TIME);
    struct topology_range before = range_of_old(1);
    side_adopt(2, 0, &before);
    side_adopt(1, 0, &range);
    cr_expect_not(streamed_within(7, SIDE_SETTLE_MS));
    cr_expect_eq(side_of(1)->counters.stream_bytes_in, 0);
    cr_expect_gt(side_of(2)->served, 1, "it is asked again");
    side_put_unsynced(2, KEY_COUNT / 2, KEY_COUNT / 2, TIME);
    side_adopt(2, 0, &range);
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    cr_expect_eq(side_has(1, 0, KEY_COUNT, TIME), KEY_COUNT);
    streams_end();
}

Test(stream, a_target_that_crashed_goes_on_behind_the_last_chunk)
{
    streams_begin(2);
    side_put(2, 0, KEY_COUNT, TIME);
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    chunks_come(10);
    world_node_crash(side_of(1)->host, WORLD_CRASH_POWER);
    cr_expect_gt(side_of(2)->counters.stream_chunks_out, 0);
    uint64_t chunks_before = side_of(2)->counters.stream_chunks_out;
    side_start(side_of(1));
    cr_expect_eq(side_files(1), 0, "what is unfinished goes at open");
    side_adopt(1, 0, &range);
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    cr_expect_eq(side_has(1, 0, KEY_COUNT, TIME), KEY_COUNT);
    uint64_t chunks_after = side_of(2)->counters.stream_chunks_out - chunks_before;
    cr_expect_leq(side_of(1)->counters.stream_chunks_in + 8, chunks_before + chunks_after);
    cr_expect_leq(chunks_before + chunks_after, side_of(1)->counters.stream_chunks_in + 12);
    streams_end();
}

/* A power loss after every few events of a stream: it always ends whole. */
Test(stream, a_target_may_crash_at_any_step)
{
    for (uint32_t round = 0; round < 12; round++) {
        streams_begin(2);
        side_put(2, 0, 300, TIME);
        struct topology_range range = range_taken_over(7);
        streams_adopt(0, &range);
        for (uint32_t crash = 0; crash < 5; crash++) {
            world_run_steps(streams.world, 37 + 61 * (uint64_t)round);
            world_node_crash(side_of(1)->host, WORLD_CRASH_POWER);
            side_start(side_of(1));
            side_adopt(1, 0, &range);
        }
        cr_assert(streamed_within(7, STREAM_MS_MAX), "round %u", round);
        cr_expect_eq(side_has(1, 0, 300, TIME), 300, "round %u", round);
        streams_end();
    }
}

Test(stream, a_source_that_crashed_is_asked_again)
{
    streams_begin(2);
    side_put(2, 0, KEY_COUNT, TIME);
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    chunks_come(5);
    world_node_crash(side_of(2)->host, WORLD_CRASH_POWER); /* Which is heard as silence. */
    streams_pass(20000);
    cr_expect_eq(side_state(1, 0).streamed, 0);
    cr_expect_neq(side_state(1, 0).problem, STATUS_OK);
    side_start(side_of(2));
    side_adopt(2, 0, &range);
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    cr_expect_eq(side_has(1, 0, KEY_COUNT, TIME), KEY_COUNT);
    cr_expect_eq(side_state(1, 0).problem, STATUS_OK);
    streams_end();
}

/* R4: what a session fetched is no part of the next one, for which the stretch was emptied. */
Test(stream, a_new_session_begins_again)
{
    streams_begin(2);
    side_put(2, 0, KEY_COUNT, TIME);
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    chunks_come(10);
    range = range_taken_over(9); /* BACK was 8, and is not heard of. */
    streams_adopt(0, &range);
    cr_assert(streamed_within(9, STREAM_MS_MAX));
    cr_expect_eq(side_has(1, 0, KEY_COUNT, TIME), KEY_COUNT);
    streams_end();
}

Test(stream, an_operation_taken_back_ends_its_stream)
{
    streams_begin(2);
    side_put(2, 0, KEY_COUNT, TIME);
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    chunks_come(10);
    range = range_of_old(8);
    streams_adopt(0, &range);
    streams_pass(SIDE_SETTLE_MS);
    uint64_t bytes_in = side_of(1)->counters.stream_bytes_in;
    streams_pass(SIDE_SETTLE_MS);
    cr_expect_eq(side_of(1)->counters.stream_bytes_in, bytes_in);
    cr_expect_eq(side_has(1, 0, KEY_COUNT, TIME), 0);
    cr_expect_eq(side_files(1), 0);
    cr_expect_eq(side_files(2), 0);
    streams_end();
}

/* R5: with a majority to merge, what only one of the old set holds is there too. */
Test(stream, a_majority_is_merged_in_full)
{
    streams_begin(4);
    side_put(2, 0, 500, TIME);
    side_put(3, 500, 500, TIME);
    side_put(4, 1000, 500, TIME);
    struct topology_range range = range_merged(7);
    streams_adopt(0, &range);
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    uint32_t whole = 0;
    for (uint32_t part = 0; part < 3; part++) {
        whole += side_has(1, part * 500, 500, TIME) == 500 ? 1 : 0;
    }
    cr_expect_geq(whole, 2);
    streams_end();
}

Test(stream, one_who_stays_merges_the_rest_of_a_majority)
{
    streams_begin(3);
    side_put(3, 0, 500, TIME);
    struct topology_range range = range_of_old(1);
    range.replicas = (struct ring_replicas){.count = 3, .ids = {1, 2, 3}};
    streams_adopt(0, &range);
    side_put(1, 500, 500, TIME);
    world_node_crash(side_of(2)->host, WORLD_CRASH_PROCESS); /* So that it is side 3. */
    range = (struct topology_range){.replicas = {.count = 3, .ids = {1, 2, 3}},
                                    .next = {.count = 2, .ids = {1, 3}},
                                    .goal = {.count = 2, .ids = {1, 3}},
                                    .stage = TOPOLOGY_WRITE_BOTH_READ_OLD,
                                    .merge_all = true,
                                    .epoch = 7,
                                    .session = 7};
    streams_adopt(0, &range);
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    cr_expect_eq(side_has(1, 0, 1000, TIME), 1000, "and keeps what it had");
    streams_end();
}

Test(stream, a_dead_source_is_left_for_one_that_may_serve)
{
    streams_begin(4);
    side_put(3, 0, 500, TIME);
    side_put(4, 0, 500, TIME);
    world_node_crash(side_of(2)->host, WORLD_CRASH_POWER);
    struct topology_range range = range_merged(7);
    streams_adopt(0, &range);
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    cr_expect_eq(side_has(1, 0, 500, TIME), 500);
    streams_end();
}

Test(stream, a_majority_that_is_not_there_is_waited_for)
{
    streams_begin(4);
    side_put(4, 0, 100, TIME);
    world_node_crash(side_of(2)->host, WORLD_CRASH_POWER);
    world_node_crash(side_of(3)->host, WORLD_CRASH_POWER);
    struct topology_range range = range_merged(7);
    streams_adopt(0, &range);
    cr_expect_not(streamed_within(7, 30000));
    side_start(side_of(3));
    side_adopt(3, 0, &range);
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    streams_end();
}

/* ------------------------------------------------------------------ troubles */

static void flush_done(struct lsm_request *request, enum status status)
{
    (void)request;
    cr_assert_eq(status, STATUS_OK);
}

static struct lsm_request flush;

static void flush_call(void *context)
{
    struct side *side = context;
    flush = (struct lsm_request){.done = flush_done};
    cr_assert_eq(lsm_flush(side->lsm, &flush), STATUS_OK);
}

/* R6. Of many flipped bits one lies in a block. */
Test(stream, a_damaged_stretch_is_no_source)
{
    streams_begin(2);
    side_put(2, 0, KEY_COUNT, TIME);
    world_node_call(side_of(2)->host, flush_call, side_of(2));
    streams_pass(SIDE_SETTLE_MS);
    world_node_crash(side_of(2)->host, WORLD_CRASH_POWER); /* Nothing is cached after. */
    struct disk_sim *disk = world_node_disk(side_of(2)->host);
    for (uint32_t index = 0; index < disk_sim_file_count(disk); index++) {
        const char *path = disk_sim_path(disk, index);
        if (strstr(path, ".sst") != NULL) {
            for (uint32_t bit = 0; bit < 20; bit++) {
                cr_assert(disk_sim_rot(disk, path));
            }
        }
    }
    side_start(side_of(2));
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    cr_expect_not(streamed_within(7, 10000));
    cr_expect_eq(side_state(1, 0).problem, STATUS_CORRUPT);
    cr_expect_gt(side_of(1)->counters.stream_errors, 0);
    streams_end();
}

Test(stream, a_full_disk_of_the_target_is_waited_out)
{
    streams_begin(2);
    side_put(2, 0, 300, TIME);
    struct disk_faults *faults = disk_sim_faults(world_node_disk(side_of(1)->host));
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    faults->error_path_part = "/streams/";
    faults->write_error_ppm = 1000000;
    faults->write_error_no_space = true;
    cr_expect_not(streamed_within(7, 5000));
    cr_expect_eq(side_state(1, 0).problem, STATUS_NO_SPACE);
    faults->write_error_ppm = 0;
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    cr_expect_eq(side_has(1, 0, 300, TIME), 300);
    cr_expect_eq(side_files(1), 0);
    streams_end();
}

/* Every n-th call of either disk fails once. */
Test(stream, any_call_of_a_disk_may_fail)
{
    for (uint32_t id = 1; id <= 2; id++) {
        for (uint64_t count = 1; count < 60; count++) {
            streams_begin(2);
            side_put(2, 0, 200, TIME);
            struct topology_range range = range_taken_over(7);
            streams_adopt(0, &range);
            struct disk_faults *faults = disk_sim_faults(world_node_disk(side_of(id)->host));
            faults->error_path_part = "/streams/";
            faults->error_countdown = count;
            cr_assert(streamed_within(7, STREAM_MS_MAX), "side %u, call %llu", id,
                      (unsigned long long)count);
            bool spent = faults->error_countdown > 0;
            cr_expect_eq(side_has(1, 0, 200, TIME), 200, "side %u, call %llu", id,
                         (unsigned long long)count);
            streams_end();
            if (spent) {
                cr_expect_gt(count, 3);
                break;
            }
        }
    }
}

Test(stream, bytes_keep_the_pace)
{
    streams_begin(2);
    side_of(1)->config.stream_rate = 64u << 10;
    side_put(2, 0, KEY_COUNT, TIME);
    world_node_crash(side_of(1)->host, WORLD_CRASH_PROCESS);
    side_start(side_of(1));
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    uint64_t begin_ns = world_now_ns(streams.world);
    cr_assert(streamed_within(7, STREAM_MS_MAX));
    uint64_t took_ms = (world_now_ns(streams.world) - begin_ns) / STREAM_MS;
    uint64_t size = side_of(1)->counters.stream_bytes_in;
    cr_expect_geq(took_ms, (size - (32u << 10)) * 1000 / (64u << 10) * 8 / 10);
    streams_end();
}

Test(stream, stopping_leaves_nothing_behind)
{
    for (uint32_t steps = 0; steps < 400; steps += 23) {
        streams_begin(2);
        side_put(2, 0, 500, TIME);
        struct topology_range range = range_taken_over(7);
        streams_adopt(0, &range);
        world_run_steps(streams.world, steps);
        streams_end(); /* Which checks. */
    }
}
