/* tests/unit/test_scrub.c -- the pace of a scrub, what it holds meanwhile, and its end before time.
 * That it finds damage is tested in test_quarantine.c. */
#include "tests/unit/lsm_stretch_fixture.h"

#define VALUE_SIZE 4000u
#define RATE (32u << 10)

static void paced_init(void)
{
    sim_init();
    sim_bytes_fill();
    sim_power_cut();
    sim.options.scrub_rate = RATE;
    sim_start();
    put_all(VALUE_SIZE, LSM_SYNCED);
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_compact, 500), STATUS_OK);
    cr_assert_geq(sim_stats().table_count, 2u);
}

TestSuite(scrub, .init = paced_init, .fini = sim_deinit, .timeout = 60);

Test(scrub, reads_no_faster_than_its_rate_and_not_much_slower)
{
    uint64_t size = sim_stats().table_size;
    uint64_t wanted_ms = size * 1000 / RATE;
    uint64_t slice_ms = sim.options.slice_size * 1000 / RATE; /* The last one is not rested off. */
    cr_assert_gt(wanted_ms, 4 * slice_ms);
    ask_only(lsm_scrub);
    sim_pass(wanted_ms - 2 * slice_ms);
    cr_assert_not(sim.request_answered, "over within %u ms", (unsigned)(wanted_ms - 2 * slice_ms));
    sim_pass(3 * slice_ms);
    cr_assert(sim.request_answered, "not over after %u ms", (unsigned)(wanted_ms + slice_ms));
    cr_assert_eq(sim.request_status, STATUS_OK);
    cr_assert_eq(sim_stats().scrub_size, size);
}

/* The same without a rate. */
Test(scrub, without_a_rate_it_does_not_rest)
{
    sim_power_cut();
    sim.options.scrub_rate = 0;
    sim_start();
    cr_assert_eq(sim_ask(lsm_scrub, 200), STATUS_OK);
    cr_assert_eq(sim_stats().scrub_size, sim_stats().table_size);
}

static struct {
    struct lsm_request request;
    bool answered;
    enum status status;
} beside;

static void beside_done(struct lsm_request *request, enum status status)
{
    (void)request;
    beside.answered = true;
    beside.status = status;
}

static void beside_call(void *context)
{
    (void)context;
    beside.request = (struct lsm_request){.done = beside_done};
    cr_assert_eq(lsm_scrub(sim.lsm, &beside.request), STATUS_OK);
}

/* Else a slow scrub would double what a folder takes. */
Test(scrub, tables_that_a_merge_replaced_go_while_it_rests)
{
    uint32_t before = sim_file_count(".sst");
    world_node_call(sim.node, beside_call, NULL);
    sim_pass(100); /* In the middle of the first table. */
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(sim_put(key_name(i), 10, LSM_SYNCED), STATUS_OK);
    }
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_compact, 500), STATUS_OK);
    cr_assert_not(beside.answered);
    sim_pass(200); /* For what has to be removed. */
    cr_assert_lt(sim_stats().table_count, before);
    cr_assert_eq(sim_file_count(".sst"), sim_stats().table_count);
    sim_pass(3000); /* It ends the table it is in. */
    cr_assert(beside.answered);
    cr_assert_eq(beside.status, STATUS_OK);
    cr_assert_lt(sim_stats().scrub_size, (uint64_t)KEY_COUNT * VALUE_SIZE);
}

static void stopped(struct lsm_stop *stop)
{
    (void)stop;
    sim.told_count++;
}

static void stop_call(void *context)
{
    lsm_stop(sim.lsm, context);
    cr_assert_not(sim.request_answered, "told inside the call");
}

Test(scrub, a_stop_ends_one_that_rests)
{
    struct lsm_stop stop = {.stopped = stopped};
    ask_only(lsm_scrub);
    sim_pass(100);
    cr_assert_not(sim.request_answered);
    world_node_call(sim.node, stop_call, &stop);
    sim_pass(100);
    cr_assert(sim.request_answered);
    cr_assert_eq(sim.request_status, STATUS_CANCELLED);
    cr_assert_eq(sim.told_count, 1u);
}
