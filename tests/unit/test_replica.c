/* tests/unit/test_replica.c -- what a replica refuses, and answers that outlive its part in a
 * range. */
#include "tests/unit/stream_fixture.h"

#define TIME 1000u

static struct topology_range held(uint64_t epoch)
{
    return (struct topology_range){.replicas = {.count = 3, .ids = {1, 2, 3}}, .epoch = epoch};
}

static enum status checked(uint64_t epoch, uint32_t first_range, uint32_t last_range)
{
    struct topology_stamp stamp = side_of(1)->topology.stamp;
    stamp.epoch = epoch;
    return replica_check(&side_of(1)->replica, first_range, last_range, &stamp);
}

Test(replica, what_is_older_than_the_fence_is_stale)
{
    streams_begin(1);
    struct topology_range range = held(3);
    side_adopt(1, 0, &range);
    side_adopt(1, 1, &range);
    cr_expect_eq(checked(3, 0, 1), STATUS_OK);
    range = held(5);
    side_adopt(1, 1, &range);
    cr_expect_eq(checked(4, 0, 0), STATUS_OK);
    cr_expect_eq(checked(4, 1, 1), STATUS_STALE);
    cr_expect_eq(checked(4, 0, 1), STATUS_STALE, "one of the run is enough");
    cr_expect_eq(checked(5, 0, 1), STATUS_OK);
    cr_expect_eq(checked(6, 0, 1), STATUS_BEHIND, "that is newer than ours");
    cr_expect_eq(checked(5, 0, 2), STATUS_INVALID);
    cr_expect_eq(side_of(1)->counters.stale_refused, 2);
    cr_expect_eq(side_of(1)->counters.behind_refused, 1);
    streams_end();
}

Test(replica, a_range_being_entered_is_not_served_yet)
{
    streams_begin(1);
    struct topology_range range = held(3);
    side_adopt(1, 1, &range);
    range = range_taken_over(7);
    side_adopt(1, 0, &range);
    cr_expect_eq(checked(7, 0, 0), STATUS_BEHIND);
    cr_expect_eq(checked(7, 0, 1), STATUS_BEHIND);
    cr_expect_eq(checked(6, 0, 1), STATUS_STALE);
    streams_pass(SIDE_SETTLE_MS);
    cr_expect_eq(checked(7, 0, 1), STATUS_OK);
    streams_end();
}

Test(replica, before_a_topology_is_known_it_is_behind)
{
    streams_begin(1);
    side_of(1)->topology.cluster_id = 0;
    cr_expect_eq(checked(1, 0, 0), STATUS_BEHIND);
    streams_end();
}

/* ------------------------------------------------------------------ answers of jobs */

static struct {
    struct replica_operation operation;
    uint8_t key[ENGINE_KEY_PREFIX_SIZE + 4];
    bool scans;
    bool done;
    enum status status;
} ask;

static void ask_done(struct replica_operation *operation, enum status status)
{
    ask.done = true;
    ask.status = status;
    replica_operation_deinit(operation);
}

static void ask_call(void *context)
{
    struct side *side = context;
    ask.operation = (struct replica_operation){.done = ask_done};
    ask.done = false;
    if (ask.scans) {
        const struct message_scan scan = {.last = ring_range_last(0, SIDE_RANGE_COUNT),
                                          .count = 10};
        replica_scan(&side->replica, &scan, &ask.operation);
    } else {
        replica_read(&side->replica, side_key(1000, ask.key), &ask.operation);
    }
}

static void flushed(struct lsm_request *request, enum status status)
{
    (void)request;
    cr_assert_eq(status, STATUS_OK);
}

static void flush_call(void *context)
{
    static struct lsm_request request;
    struct side *side = context;
    request.done = flushed;
    cr_assert_eq(lsm_flush(side->lsm, &request), STATUS_OK);
}

/* Of what has to come from the disk: asked, and the range is left while a job looks. */
static void left_while_asking(bool scans)
{
    streams_begin(1);
    struct topology_range range = held(3);
    side_adopt(1, 0, &range);
    side_put(1, 0, 2000, TIME);
    world_node_call(side_of(1)->host, flush_call, side_of(1));
    streams_pass(SIDE_SETTLE_MS);
    world_node_crash(side_of(1)->host, WORLD_CRASH_PROCESS); /* Nothing is in memory after. */
    disk_sim_faults(world_node_disk(side_of(1)->host))->would_block_ppm = 1000000;
    side_start(side_of(1));
    side_adopt(1, 0, &range);
    ask.scans = scans;
    world_node_call(side_of(1)->host, ask_call, side_of(1));
    cr_assert_not(ask.done);
    range = range_of_old(9);
    side_adopt(1, 0, &range);
    streams_pass(1000);
    cr_assert(ask.done);
    cr_expect_eq(ask.status, STATUS_STALE);
    streams_end();
}

Test(replica, a_read_of_a_range_left_meanwhile_says_nothing)
{
    left_while_asking(false);
}

Test(replica, a_scan_of_a_range_left_meanwhile_says_nothing)
{
    left_while_asking(true);
}
