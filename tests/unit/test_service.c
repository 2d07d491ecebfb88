/* tests/unit/test_service.c -- what a node answers those who change the ring. */
#include "tests/unit/stream_fixture.h"

static struct {
    struct peer_request request;
    uint8_t type;
    struct buffer payload;
    bool done;
    enum status status;
    struct message_range_states states;
    enum status decoded;
} ask;

static void ask_done(struct peer_request *request, enum status status, const struct frame *reply)
{
    (void)request;
    cr_assert_eq(status, STATUS_OK);
    ask.done = true;
    ask.status = (enum status)reply->status;
    ask.decoded = message_range_states_decode(reply->payload, &ask.states);
}

static void ask_call(void *context)
{
    struct side *side = context;
    ask.done = false;
    ask.request = (struct peer_request){
        .peer_id = 1, .type = ask.type, .range = FRAME_NO_RANGE, .done = ask_done};
    cr_assert_eq(peers_request(side->peers, &ask.request, buffer_slice(&ask.payload)), STATUS_OK);
}

/* Side 2 asks side 1. */
static enum status asked(uint8_t type)
{
    ask.type = type;
    world_node_call(side_of(2)->host, ask_call, side_of(2));
    streams_pass(1000);
    cr_assert(ask.done);
    buffer_deinit(&ask.payload);
    return ask.status;
}

Test(service, tells_how_far_ranges_are)
{
    streams_begin(2);
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    streams_pass(SIDE_SETTLE_MS);
    const uint32_t ranges[] = {1, 0};
    message_ranges_encode(&ask.payload, ranges, 2);
    cr_assert_eq(asked(FRAME_RANGE_STATE), STATUS_OK);
    cr_assert_eq(ask.decoded, STATUS_OK);
    cr_assert_eq(ask.states.count, 2);
    cr_expect_eq(ask.states.states[0].range, 1);
    cr_expect_eq(ask.states.states[0].fence, 0, "no part in it");
    cr_expect_eq(ask.states.states[1].range, 0);
    cr_expect_eq(ask.states.states[1].fence, 7);
    cr_expect_eq(ask.states.states[1].entered, 7);
    cr_expect_eq(ask.states.states[1].streamed, 7);
    cr_expect_eq(ask.states.states[1].problem, STATUS_OK);
    streams_end();
}

/* Its source is silent: what is wrong is told along. */
Test(service, tells_what_a_stream_met)
{
    streams_begin(3);
    world_node_crash(side_of(3)->host, WORLD_CRASH_POWER);
    struct topology_range range = range_taken_over(7);
    range.next = (struct ring_replicas){.count = 3, .ids = {1, 2, 4}}; /* In the place of 3. */
    range.goal = range.next;
    streams_adopt(0, &range);
    streams_pass(20000);
    const uint32_t ranges[] = {0};
    message_ranges_encode(&ask.payload, ranges, 1);
    cr_assert_eq(asked(FRAME_RANGE_STATE), STATUS_OK);
    cr_assert_eq(ask.decoded, STATUS_OK);
    cr_expect_eq(ask.states.states[0].entered, 7);
    cr_expect_eq(ask.states.states[0].streamed, 0);
    cr_expect_eq(ask.states.states[0].problem, STATUS_UNAVAILABLE);
    streams_end();
}

Test(service, refuses_what_it_cannot_answer)
{
    streams_begin(2);
    streams_pass(500); /* Until they are in touch. */
    const uint32_t ranges[] = {0};
    message_ranges_encode(&ask.payload, ranges, 1);
    cr_expect_eq(asked(FRAME_RANGE_STATE), STATUS_BEHIND, "no topology is adopted yet");
    struct topology_range range = range_taken_over(7);
    streams_adopt(0, &range);
    const uint32_t beyond[] = {SIDE_RANGE_COUNT};
    message_ranges_encode(&ask.payload, beyond, 1);
    cr_expect_eq(asked(FRAME_RANGE_STATE), STATUS_INVALID);
    cr_expect_eq(asked(FRAME_RANGE_STATE), STATUS_CORRUPT, "an empty payload");
    cr_expect_eq(asked(FRAME_STREAM_CHUNK), STATUS_CORRUPT);
    const struct message_chunk chunk = {.range = 0, .session = 7, .chunk_size = 4096};
    message_chunk_encode(&ask.payload, &chunk);
    cr_expect_eq(asked(FRAME_STREAM_CHUNK), STATUS_STALE, "it enters, and is no source");
    const struct message_piece piece = {.chunk_id = 1, .session = 7, .length = 10};
    message_piece_encode(&ask.payload, &piece);
    cr_expect_eq(asked(FRAME_STREAM_BYTES), STATUS_NOT_FOUND);
    cr_expect_eq(asked(200), STATUS_UNSUPPORTED);
    streams_end();
}

static enum status asked_for_chunk(uint64_t session, struct slice next)
{
    const struct message_chunk chunk = {
        .range = 0, .session = session, .chunk_size = 4096, .next = next};
    message_chunk_encode(&ask.payload, &chunk);
    return asked(FRAME_STREAM_CHUNK);
}

Test(service, gives_chunks_of_its_stretch_in_the_session_under_way)
{
    streams_begin(2);
    struct topology_range range = range_taken_over(7);
    range.replicas = (struct ring_replicas){.count = 3, .ids = {1, 3, 4}};
    range.next = (struct ring_replicas){.count = 3, .ids = {2, 3, 4}};
    range.goal = range.next;
    side_adopt(1, 0, &range);
    streams_pass(SIDE_SETTLE_MS);
    uint8_t key[ENGINE_KEY_PREFIX_SIZE + 4];
    struct slice inside = side_key(5, key);
    cr_expect_eq(asked_for_chunk(7, (struct slice){0}), STATUS_OK);
    cr_expect_eq(asked_for_chunk(7, inside), STATUS_OK);
    cr_expect_eq(asked_for_chunk(6, inside), STATUS_STALE);
    side_of(2)->topology.stamp.epoch = 9;
    cr_expect_eq(asked_for_chunk(9, inside), STATUS_BEHIND, "that may be one to come");
    struct holding_stretch other = holding_stretch_of(1, SIDE_RANGE_COUNT);
    memcpy(key, other.lower, sizeof(other.lower));
    cr_expect_eq(asked_for_chunk(7, inside), STATUS_INVALID, "in another range");
    streams_end();
}
