/*
 * tests/unit/test_load.c -- what ranges cost: rates from counts, surveys when they are due and when
 * somebody asks; and all members' load brought together, also when one of them says nothing.
 */
#include <math.h>

#include "node/load_gather.h"
#include "tests/unit/stream_fixture.h"

#define TIME 1000u
#define KEY_COUNT 500u
#define SECOND_MS 1000u

/* Of each side. */
static struct {
    struct load load;
    struct load_gather gather;
    struct topology_member members[SIDE_COUNT_MAX];
} parts[SIDE_COUNT_MAX];

static void part_open(void *context)
{
    struct side *side = context;
    uint32_t index = side->config.id - 1;
    struct env *env = world_node_env(side->host);
    load_init(&parts[index].load, env, side->lsm, &side->config);
    cr_assert_eq(load_resize(&parts[index].load, &side->replica), STATUS_OK);
    const struct load_gather_options options = {.config = &side->config,
                                                .load = &parts[index].load,
                                                .peers = side->peers,
                                                .topology = &side->topology};
    load_gather_init(&parts[index].gather, env, &options);
    side->service.gather = &parts[index].gather;
    for (uint32_t id = 1; id <= streams.side_count; id++) {
        parts[index].members[id - 1].id = id;
    }
    side->topology.members = parts[index].members;
    side->topology.member_count = streams.side_count;
}

static void part_stop(void *context)
{
    struct side *side = context;
    load_gather_stop(&parts[side->config.id - 1].gather);
    load_stop(&parts[side->config.id - 1].load);
}

static void part_close(void *context)
{
    struct side *side = context;
    uint32_t index = side->config.id - 1;
    cr_assert(load_stopped(&parts[index].load));
    cr_assert(load_gather_stopped(&parts[index].gather));
    load_close(&parts[index].load);
}

static void lab_begin(uint32_t side_count, uint32_t survey_s)
{
    streams_begin(side_count);
    for (uint32_t id = 1; id <= side_count; id++) {
        side_of(id)->config.survey_s = survey_s;
        world_node_call(side_of(id)->host, part_open, side_of(id));
    }
}

static void lab_end(void)
{
    for (uint32_t id = 1; id <= streams.side_count; id++) {
        world_node_call(side_of(id)->host, part_stop, side_of(id));
    }
    streams_pass(SECOND_MS);
    for (uint32_t id = 1; id <= streams.side_count; id++) {
        world_node_call(side_of(id)->host, part_close, side_of(id));
    }
    streams_end();
}

/* Reads and writes a second of each range of side 1, for so many seconds. */
static void serve(uint32_t seconds, const uint64_t reads[2], const uint64_t writes[2])
{
    for (uint32_t second = 0; second < seconds; second++) {
        for (uint32_t range = 0; range < SIDE_RANGE_COUNT; range++) {
            side_of(1)->replica.range_counts[range].reads += reads[range];
            side_of(1)->replica.range_counts[range].writes += writes[range];
        }
        streams_pass(SECOND_MS);
    }
}

static void expect_near(double got, double wanted)
{
    cr_expect(fabs(got - wanted) <= 0.01 * wanted, "%f, not %f", got, wanted);
}

Test(load, rates_are_those_of_each_range_and_fade)
{
    lab_begin(1, 0);
    streams_pass(SECOND_MS / 2); /* Steps and what is served lie apart. */
    const struct load *load = &parts[0].load;
    const uint64_t reads[] = {100, 0};
    const uint64_t writes[] = {10, 3};
    const uint64_t none[] = {0, 0};
    serve(30, reads, writes);
    struct load_view view = load_range_view(load, 0);
    expect_near(view.reads, 100.0);
    expect_near(view.writes, 10.0);
    view = load_range_view(load, 1);
    cr_expect_eq(view.reads, 0.0);
    expect_near(view.writes, 3.0);
    expect_near(load->sum.reads, 100.0);
    expect_near(load->sum.writes, 13.0);
    serve(20 * 60, none, none);
    cr_expect_lt(load->sum.reads, 0.01);
    lab_end();
}

/* ------------------------------------------------------------------ surveys */

static struct {
    struct load_wait wait;
    uint32_t done_count;
    enum status status;
} waited;

static void wait_done(struct load_wait *wait, enum status status)
{
    (void)wait;
    waited.done_count++;
    waited.status = status;
}

static void wait_call(void *context)
{
    struct side *side = context;
    waited.wait.done = wait_done;
    load_survey_wait(&parts[side->config.id - 1].load, &waited.wait);
}

Test(load, a_survey_is_made_for_who_asks_and_holds_for_a_moment)
{
    lab_begin(1, 0);
    const struct load *load = &parts[0].load;
    side_put(1, 0, KEY_COUNT, TIME);
    cr_expect_not(load->surveyed, "nobody asked");
    waited.done_count = 0;
    world_node_call(side_of(1)->host, wait_call, side_of(1));
    cr_expect_eq(waited.done_count, 0);
    streams_pass(SECOND_MS / 2);
    cr_assert_eq(waited.done_count, 1);
    cr_expect_eq(waited.status, STATUS_OK);
    struct load_view first = load_range_view(load, 0);
    struct load_view second = load_range_view(load, 1);
    cr_expect_eq(first.keys + second.keys, KEY_COUNT);
    cr_expect_eq(load->sum.keys, KEY_COUNT);
    cr_expect_gt(first.bytes + second.bytes, KEY_COUNT * SIDE_VALUE_SIZE);
    cr_expect_gt(load->space_free, 0);
    world_node_call(side_of(1)->host, wait_call, side_of(1));
    cr_expect_eq(waited.done_count, 2, "the last one is young");
    streams_pass(2 * LOAD_SURVEY_FRESH_MS);
    world_node_call(side_of(1)->host, wait_call, side_of(1));
    cr_expect_eq(waited.done_count, 2, "it is no more");
    streams_pass(SECOND_MS);
    cr_expect_eq(waited.done_count, 3);
    lab_end();
}

Test(load, surveys_are_made_now_and_then)
{
    lab_begin(1, 5);
    side_put(1, 0, KEY_COUNT, TIME);
    streams_pass(7 * SECOND_MS);
    cr_expect_eq(parts[0].load.sum.keys, KEY_COUNT);
    side_put(1, KEY_COUNT, KEY_COUNT, TIME);
    streams_pass(7 * SECOND_MS);
    cr_expect_eq(parts[0].load.sum.keys, 2 * KEY_COUNT);
    lab_end();
}

/* ------------------------------------------------------------------ gatherings */

static struct {
    struct gathering gathering;
    uint32_t done_count;
    enum status status;
} gathered;

static void gathered_done(struct gathering *gathering, enum status status)
{
    (void)gathering;
    gathered.done_count++;
    gathered.status = status;
}

static void gather_call(void *context)
{
    struct side *side = context;
    gathered.gathering = (struct gathering){.done = gathered_done,
                                            .wants = MESSAGE_LOAD_RANGES | MESSAGE_LOAD_HOT_KEYS};
    gathering_begin(&parts[side->config.id - 1].gather, &gathered.gathering);
}

static void gathered_free(void *context)
{
    (void)context;
    gathering_deinit(&gathered.gathering);
}

static void gather_from_1(uint64_t ms)
{
    gathered.done_count = 0;
    world_node_call(side_of(1)->host, gather_call, side_of(1));
    streams_pass(ms);
    cr_assert_eq(gathered.done_count, 1);
    cr_assert_eq(gathered.status, STATUS_OK);
}

static void heat_call(void *context)
{
    struct side *side = context;
    for (uint32_t count = 0; count < 1000; count++) {
        hot_keys_note(&parts[side->config.id - 1].load.hot_keys, 1, slice_text("hot"), false);
    }
}

Test(load, all_members_are_asked)
{
    lab_begin(3, 0);
    struct topology_range range = {.replicas = {.count = 3, .ids = {1, 2, 3}}, .epoch = 3};
    streams_adopt(0, &range);
    range.replicas = (struct ring_replicas){.count = 2, .ids = {1, 3}};
    streams_adopt(1, &range);
    side_put(2, 0, KEY_COUNT, TIME);
    world_node_call(side_of(2)->host, heat_call, side_of(2));
    gather_from_1(SECOND_MS);
    cr_assert_eq(gathered.gathering.part_count, 3);
    const struct gathering_part *part = &gathered.gathering.parts[1];
    cr_assert_eq(part->id, 2);
    cr_assert_eq(part->status, STATUS_OK);
    cr_expect_gt(part->load.head.sum.keys, 0);
    cr_assert_eq(part->load.head.range_count, 1, "the ranges that it holds");
    struct message_load_range told;
    message_load_range_at(&part->load, 0, &told);
    cr_expect_eq(told.range, 0);
    cr_expect_eq(told.view.keys, part->load.head.sum.keys);
    cr_assert_eq(part->load.head.key_count, 1);
    struct message_load_key key;
    message_load_key_at(&part->load, 0, &key);
    cr_expect(slice_equal(key.key, slice_text("hot")));
    cr_expect_eq(gathered.gathering.parts[0].load.head.range_count, 2);
    cr_expect_eq(gathered.gathering.parts[2].load.head.sum.keys, 0);
    world_node_call(side_of(1)->host, gathered_free, NULL);
    lab_end();
}

Test(load, who_says_nothing_is_left_out_in_time)
{
    lab_begin(3, 0);
    streams_pass(SECOND_MS); /* They greet each other. */
    world_node_pause(side_of(2)->host, true);
    gather_from_1(LOAD_GATHER_MS + SECOND_MS);
    cr_expect_eq(gathered.gathering.parts[0].status, STATUS_OK);
    cr_expect_eq(gathered.gathering.parts[1].status, STATUS_TIMEOUT);
    cr_expect_eq(gathered.gathering.parts[2].status, STATUS_OK);
    world_node_call(side_of(1)->host, gathered_free, NULL);
    world_node_pause(side_of(2)->host, false);
    lab_end();
}

static void stop_amid_call(void *context)
{
    gather_call(context);
    part_stop(context);
}

Test(load, whoever_waits_is_told_when_the_node_stops)
{
    lab_begin(2, 0);
    gathered.done_count = 0;
    world_node_call(side_of(1)->host, stop_amid_call, side_of(1));
    cr_assert_eq(gathered.done_count, 1);
    cr_expect_eq(gathered.status, STATUS_CANCELLED);
    world_node_call(side_of(1)->host, gathered_free, NULL);
    lab_end();
}
