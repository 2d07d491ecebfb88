/* tests/unit/test_acceptor.c -- what an acceptor grants, in which order, and what outlives a crash.
 */
#include "node/acceptor.h"
#include "tests/unit/stream_fixture.h"

#define EPOCH 3u
#define SLOT_COUNT 80u
#define CRASH_STEP_COUNT_MAX 60u

/* Operations that were begun; the answers in the order they came. */
static struct {
    struct acceptor acceptor;
    struct acceptor_operation operations[SLOT_COUNT];
    enum status statuses[SLOT_COUNT];
    bool answered[SLOT_COUNT];
    uint32_t order[SLOT_COUNT];
    uint32_t answer_count;
    uint32_t count;
    uint64_t epoch; /* Of the requests. */
    bool copies;
} lab;

static struct version ballot_of(uint64_t time)
{
    return (struct version){.time = time, .node = 2};
}

static void lab_done(struct acceptor_operation *operation, enum status status)
{
    uint32_t index = (uint32_t)(operation - lab.operations);
    cr_assert_not(lab.answered[index]);
    lab.answered[index] = true;
    lab.statuses[index] = status;
    lab.order[lab.answer_count++] = index;
}

/* Side 1 is a replica of both ranges since this epoch. */
static void lab_own(uint64_t epoch)
{
    struct topology_range range = {.replicas = {.count = 3, .ids = {1, 2, 3}}, .epoch = epoch};
    side_adopt(1, 0, &range);
    side_adopt(1, 1, &range);
    lab.epoch = epoch;
}

static void lab_begin(void)
{
    streams_begin(1);
    acceptor_init(&lab.acceptor, &side_of(1)->replica);
    lab_own(EPOCH);
}

static void lab_reset(void)
{
    memset(&lab, 0, sizeof(lab));
    acceptor_init(&lab.acceptor, &side_of(1)->replica);
    lab.epoch = EPOCH;
}

static void forget_call(void *context)
{
    (void)context;
    acceptor_deinit(&lab.acceptor);
    for (uint32_t index = 0; index < lab.count; index++) {
        acceptor_operation_deinit(&lab.operations[index]);
    }
    lab_reset();
}

static void lab_forget(void)
{
    world_node_call(side_of(1)->host, forget_call, NULL);
}

/* What was not answered is never answered; memory is gone by itself. */
static void lab_crash(enum world_crash how)
{
    world_node_crash(side_of(1)->host, how);
    lab_reset();
    side_start(side_of(1));
    lab_own(EPOCH);
}

static void lab_end(void)
{
    lab_forget();
    streams_end();
}

struct lab_call {
    uint32_t key;
    struct version ballot;
    const char *value; /* NULL: a PREPARE. */
};

static void lab_call(void *context)
{
    const struct lab_call *call = context;
    uint8_t bytes[ENGINE_KEY_PREFIX_SIZE + 4];
    cr_assert_lt(lab.count, SLOT_COUNT);
    struct acceptor_operation *operation = &lab.operations[lab.count++];
    *operation = (struct acceptor_operation){.done = lab_done};
    struct acceptor_request request = {.engine_key = side_key(call->key, bytes),
                                       .stamp = side_of(1)->topology.stamp,
                                       .copy = lab.copies};
    request.stamp.epoch = lab.epoch;
    if (call->value == NULL) {
        acceptor_prepare(&lab.acceptor, &request, call->ballot, operation);
    } else {
        struct cell cell = {.version = call->ballot, .value = slice_text(call->value)};
        acceptor_accept(&lab.acceptor, &request, &cell, operation);
    }
}

/* Begins one; returns its number. */
static uint32_t begin(uint32_t key, uint64_t time, const char *value)
{
    struct lab_call call = {.key = key, .ballot = ballot_of(time), .value = value};
    world_node_call(side_of(1)->host, lab_call, &call);
    return lab.count - 1;
}

static uint32_t run(uint32_t key, uint64_t time, const char *value)
{
    uint32_t number = begin(key, time, value);
    streams_pass(200);
    cr_assert(lab.answered[number]);
    return number;
}

static void check_preempted(uint32_t number, uint64_t time)
{
    cr_assert_eq(lab.statuses[number], STATUS_PREEMPTED, "%s", status_name(lab.statuses[number]));
    cr_assert_eq(lab.operations[number].promised.time, time);
}

/* A PREPARE of this ballot is granted, and tells of this cell. */
static void check_granted(uint32_t key, uint64_t time, uint64_t accepted, const char *value)
{
    uint32_t number = run(key, time, NULL);
    const struct acceptor_operation *operation = &lab.operations[number];
    cr_assert_eq(lab.statuses[number], STATUS_OK, "%s", status_name(lab.statuses[number]));
    cr_assert_eq(operation->found, value != NULL);
    if (value != NULL) {
        cr_assert_eq(operation->cell.version.time, accepted);
        cr_assert(slice_equal(operation->cell.value, slice_text(value)));
    }
}

/* ------------------------------------------------------------------ rules */

Test(acceptor, a_prepare_is_granted_above_all_and_tells_what_was_accepted)
{
    lab_begin();
    check_granted(1, 10, 0, NULL);
    check_preempted(run(1, 10, NULL), 10);
    check_preempted(run(1, 9, NULL), 10);
    cr_assert_eq(lab.statuses[run(1, 10, "ten")], STATUS_OK);
    check_preempted(run(1, 10, NULL), 10);
    check_granted(1, 11, 10, "ten");
    check_granted(2, 5, 0, NULL);
    lab_end();
}

Test(acceptor, an_accept_is_taken_unless_more_was_promised_and_promises_itself)
{
    lab_begin();
    check_granted(1, 10, 0, NULL);
    check_preempted(run(1, 9, "nine"), 10);
    cr_assert_eq(lab.statuses[run(1, 12, "twelve")], STATUS_OK, "without a promise of its own");
    check_preempted(run(1, 11, NULL), 12);
    check_preempted(run(1, 11, "eleven"), 12);
    cr_assert_eq(lab.statuses[run(1, 12, "twelve")], STATUS_OK, "again");
    check_granted(1, 13, 12, "twelve");
    lab_end();
}

Test(acceptor, a_copy_heeds_promises_but_not_the_clock)
{
    lab_begin();
    uint64_t ahead =
        hlc_make(hlc_unix_ms(hlc_now(&side_of(1)->hlc)) + 2 * side_of(1)->config.clock_lead_ms);
    check_granted(1, 10, 0, NULL);
    cr_assert_eq(lab.statuses[run(2, ahead, NULL)], STATUS_REFUSED);
    cr_assert_eq(lab.statuses[run(2, ahead, "ahead")], STATUS_REFUSED);
    lab.copies = true;
    check_preempted(run(1, 9, "nine"), 10);
    cr_assert_eq(lab.statuses[run(1, 10, "ten")], STATUS_OK);
    cr_assert_eq(lab.statuses[run(2, ahead, "ahead")], STATUS_OK);
    lab_end();
}

/* ------------------------------------------------------------------ order */

Test(acceptor, checks_see_what_was_taken_before_and_is_not_synced_yet)
{
    lab_begin();
    uint32_t first = begin(1, 20, NULL);
    uint32_t lower = begin(1, 10, NULL);
    uint32_t accept = begin(1, 20, "twenty");
    uint32_t late = begin(1, 15, "fifteen");
    uint32_t higher = begin(1, 30, NULL);
    cr_assert_eq(lab.answer_count, 0, "a refusal rests on what is synced too");
    streams_pass(500);
    cr_assert_eq(lab.answer_count, 5);
    for (uint32_t index = 0; index < 5; index++) {
        cr_assert_eq(lab.order[index], index);
    }
    cr_assert_eq(lab.statuses[first], STATUS_OK);
    cr_assert_not(lab.operations[first].found);
    check_preempted(lower, 20);
    cr_assert_eq(lab.statuses[accept], STATUS_OK);
    check_preempted(late, 20);
    cr_assert_eq(lab.statuses[higher], STATUS_OK);
    cr_assert_eq(lab.operations[higher].cell.version.time, 20);
    lab_end();
}

Test(acceptor, keys_do_not_wait_for_one_another_and_one_does_not_take_all)
{
    lab_begin();
    for (uint32_t index = 0; index < ACCEPTOR_KEY_COUNT_MAX; index++) {
        begin(1, 10 + index, NULL);
    }
    uint32_t over = begin(1, 1000, NULL);
    cr_assert(lab.answered[over]);
    cr_assert_eq(lab.statuses[over], STATUS_OVERLOADED);
    uint32_t other = begin(2, 10, NULL);
    while (!lab.answered[other]) {
        world_run_steps(streams.world, 1);
    }
    cr_assert_lt(lab.answer_count, ACCEPTOR_KEY_COUNT_MAX);
    streams_pass(2000);
    cr_assert_eq(lab.answer_count, ACCEPTOR_KEY_COUNT_MAX + 2);
    cr_assert_eq(lab.acceptor.operation_count, 0);
    check_preempted(run(1, 1, NULL), 10 + ACCEPTOR_KEY_COUNT_MAX - 1);
    lab_end();
}

/* ------------------------------------------------------------------ crashes */

/* Power is cut after every number of events from the request on: whatever was answered stands. */
static void crash_sweep(const char *value)
{
    uint32_t answered_count = 0;
    lab_begin();
    for (uint32_t steps = 0; steps < CRASH_STEP_COUNT_MAX; steps++) {
        uint32_t key = 100 + steps;
        begin(key, 10, value);
        world_run_steps(streams.world, steps);
        bool granted = lab.answered[0] && lab.statuses[0] == STATUS_OK;
        answered_count += granted ? 1 : 0;
        lab_crash(WORLD_CRASH_POWER);
        uint32_t number = run(key, 10, NULL);
        if (granted) {
            check_preempted(number, 10);
        }
        uint32_t above = run(key, 11, NULL);
        if (granted && value != NULL) {
            cr_assert(lab.operations[above].found, "after %u steps", steps);
            cr_assert(slice_equal(lab.operations[above].cell.value, slice_text(value)));
        }
        lab_forget();
    }
    cr_assert_gt(answered_count, 0);
    cr_assert_lt(answered_count, CRASH_STEP_COUNT_MAX);
    lab_end();
}

Test(acceptor, a_promise_that_was_answered_outlives_a_power_cut)
{
    crash_sweep(NULL);
}

Test(acceptor, what_was_answered_to_be_accepted_outlives_a_power_cut)
{
    crash_sweep("value");
}

/* ------------------------------------------------------------------ ranges */

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

/* They look from a pool job; the fence comes meanwhile. */
Test(acceptor, nothing_is_taken_behind_the_fence_of_its_range)
{
    lab_begin();
    side_put(1, 0, 2000, 10);
    world_node_call(side_of(1)->host, flush_call, side_of(1));
    streams_pass(SIDE_SETTLE_MS);
    disk_sim_faults(world_node_disk(side_of(1)->host))->would_block_ppm = 1000000;
    lab_crash(WORLD_CRASH_PROCESS); /* Nothing is in memory after. */
    uint32_t prepare = begin(1000, 20, NULL);
    uint32_t accept = begin(1000, 21, "late");
    cr_assert_not(lab.answered[prepare]);
    lab_own(EPOCH + 1);
    streams_pass(1000);
    cr_assert_eq(lab.statuses[prepare], STATUS_STALE);
    cr_assert_eq(lab.statuses[accept], STATUS_STALE);
    uint32_t next = run(1000, 11, NULL);
    cr_assert_eq(lab.statuses[next], STATUS_OK);
    cr_assert_eq(lab.operations[next].cell.version.time, 10);
    lab_end();
}

static struct {
    struct replica_operation operation;
    uint32_t entry_count;
    bool done;
} scan;

static void scan_done(struct replica_operation *operation, enum status status)
{
    struct message_scan_cursor cursor;
    struct message_scan_entry entry;
    cr_assert_eq(status, STATUS_OK);
    message_scan_cursor_init(&cursor, buffer_slice(&operation->payload));
    while (message_scan_cursor_next(&cursor, &entry) == STATUS_OK) {
        scan.entry_count++;
        cr_assert_eq(entry.cell.kind, CELL_VALUE);
    }
    scan.done = true;
    replica_operation_deinit(operation);
}

static void scan_call(void *context)
{
    (void)context;
    const struct message_scan page = {.last = ring_range_last(0, SIDE_RANGE_COUNT), .count = 10};
    scan.operation.done = scan_done;
    replica_scan(&side_of(1)->replica, &page, &scan.operation);
}

/* Two keys, of one of them a promise alone. */
Test(acceptor, a_scan_sees_no_promises)
{
    lab_begin();
    check_granted(1, 10, 0, NULL);
    cr_assert_eq(lab.statuses[run(1, 10, "ten")], STATUS_OK);
    check_granted(2, 10, 0, NULL);
    world_node_call(side_of(1)->host, scan_call, NULL);
    streams_pass(200);
    cr_assert(scan.done);
    cr_assert_eq(scan.entry_count, 1);
    lab_end();
}
