/* tests/unit/test_service_register.c -- PREPARE and ACCEPT as a peer asks them. */
#include "tests/unit/stream_fixture.h"

#define EPOCH 3u
#define KEY 7u

static struct {
    struct peer_request request;
    struct buffer payload;
    uint8_t type;
    bool done;
    enum status status;
    bool found;
    uint64_t accepted;  /* Time of the ballot. */
    uint64_t preempted; /* Likewise. */
    char value[16];
} ask;

static void ask_done(struct peer_request *request, enum status status, const struct frame *reply)
{
    struct message_read_reply read = {0};
    struct version version = {0};
    cr_assert_eq(status, STATUS_OK);
    ask.done = true;
    ask.status = (enum status)reply->status;
    if (ask.status == STATUS_PREEMPTED) {
        cr_assert_eq(message_write_reply_decode(reply->payload, &version), STATUS_OK);
        ask.preempted = version.time;
    } else if (ask.status == STATUS_OK && request->type == FRAME_PREPARE) {
        cr_assert_eq(message_read_reply_decode(reply->payload, &read), STATUS_OK);
        cr_assert_not(read.digest);
        ask.found = read.found;
        ask.accepted = read.cell.version.time;
        cr_assert_lt(read.cell.value.size, sizeof(ask.value));
        (void)snprintf(ask.value, sizeof(ask.value), "%.*s", (int)read.cell.value.size,
                       (const char *)read.cell.value.data);
    } else {
        cr_assert_eq(reply->payload.size, 0);
    }
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

static enum status prepare(uint64_t time)
{
    uint8_t bytes[ENGINE_KEY_PREFIX_SIZE + 4];
    const struct message_prepare message = {.ballot = {.time = time, .node = 2},
                                            .engine_key = side_key(KEY, bytes)};
    message_prepare_encode(&ask.payload, &message);
    return asked(FRAME_PREPARE);
}

static enum status accept_kind(uint64_t time, const char *value, enum cell_kind kind)
{
    uint8_t bytes[ENGINE_KEY_PREFIX_SIZE + 4];
    const struct message_write message = {
        .engine_key = side_key(KEY, bytes),
        .cell = {.version = {.time = time, .node = 2}, .kind = kind, .value = slice_text(value)}};
    message_write_encode(&ask.payload, &message);
    return asked(FRAME_ACCEPT);
}

static enum status accept_value(uint64_t time, const char *value)
{
    return accept_kind(time, value, CELL_VALUE);
}

/* Side 1 is a replica; both go by this epoch. */
static void own(uint64_t epoch)
{
    struct topology_range range = {.replicas = {.count = 3, .ids = {1, 3, 4}}, .epoch = epoch};
    streams_adopt(0, &range);
    streams_adopt(1, &range);
    streams_pass(500);
}

Test(service_register, a_round_of_both_and_what_it_is_preempted_by)
{
    streams_begin(2);
    own(EPOCH);
    cr_assert_eq(prepare(10), STATUS_OK);
    cr_assert_not(ask.found);
    cr_assert_eq(accept_value(10, "ten"), STATUS_OK);
    cr_assert_eq(prepare(20), STATUS_OK);
    cr_assert(ask.found);
    cr_assert_eq(ask.accepted, 10);
    cr_assert_str_eq(ask.value, "ten");
    cr_assert_eq(prepare(15), STATUS_PREEMPTED);
    cr_assert_eq(ask.preempted, 20);
    cr_assert_eq(accept_value(15, "late"), STATUS_PREEMPTED);
    cr_assert_eq(ask.preempted, 20);
    cr_assert_eq(side_of(1)->service.under_way, 0);
    cr_assert_eq(side_of(1)->service.size, 0);
    streams_end();
}

Test(service_register, what_is_stale_or_no_cell_of_a_user_changes_nothing)
{
    streams_begin(2);
    own(EPOCH);
    cr_assert_eq(accept_kind(30, "", CELL_PROMISE), STATUS_INVALID);
    uint8_t bytes[ENGINE_KEY_PREFIX_SIZE + 4];
    const struct message_prepare hidden = {.ballot = {.time = 30, .node = 2},
                                           .engine_key = side_key(KEY, bytes)};
    bytes[2] = 0x80; /* The keyspace of promises. */
    message_prepare_encode(&ask.payload, &hidden);
    cr_assert_eq(asked(FRAME_PREPARE), STATUS_INVALID);
    cr_assert_eq(asked(FRAME_PREPARE), STATUS_CORRUPT, "an empty payload");
    struct topology_range range = {.replicas = {.count = 3, .ids = {1, 3, 4}}, .epoch = EPOCH + 2};
    side_adopt(1, 0, &range); /* Side 2 has not heard of it. */
    streams_pass(500);
    cr_assert_eq(prepare(30), STATUS_STALE);
    cr_assert_eq(accept_value(30, "stale"), STATUS_STALE);
    own(EPOCH + 2);
    cr_assert_eq(prepare(1), STATUS_OK, "nothing was promised meanwhile");
    cr_assert_not(ask.found);
    streams_end();
}
