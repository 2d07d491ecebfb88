/* tests/unit/test_peers.c -- connections between nodes: hello, answers, losses, silence, bounds. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "node/peers.h"
#include "tests/sim/env_sim.h"

#define MS UINT64_C(1000000)
#define SIDE_COUNT_MAX 3
#define BIG_SIZE (1u << 20)
#define BIG_COUNT 40

/* Node n (from 1) is host n - 1. */
struct side {
    struct world_node *host;
    struct peers *peers;
    struct config config;
    struct node_counters counters;
    enum status greeting;   /* What it says to a hello. */
    enum status refusal;    /* What was last said to its own. */
    bool holds;             /* Requests are held, to be answered later or never. */
    struct peer_link *held; /* The link of the last of them. */
    uint32_t requests;      /* Served. */
    uint32_t congested;     /* Served while their link was congested. */
};

struct ask {
    struct peer_request request;
    uint32_t done;
    enum status status;
    size_t size;
};

static struct world *world;
static struct side sides[SIDE_COUNT_MAX];
static uint32_t side_count;
static uint8_t big[BIG_SIZE];

/* ------------------------------------------------------------------ what a node would say */

static void fill(void *context, struct frame *frame)
{
    const struct side *side = context;
    frame->sender = side->config.id;
}

static void hello(void *context, struct message_hello *to)
{
    const struct side *side = context;
    *to = (struct message_hello){.id = side->config.id, .disk_id = 1, .weight = 1};
}

static enum status greeted(void *context, const struct message_hello *from)
{
    const struct side *side = context;
    cr_assert_neq(from->id, side->config.id);
    return side->greeting;
}

static void refused(void *context, enum status status)
{
    struct side *side = context;
    side->refusal = status;
}

static void ping(void *context, struct message_ping *to)
{
    (void)context;
    *to = (struct message_ping){.key_estimate = 7};
}

static void heard(void *context, const struct frame *frame)
{
    const struct side *side = context;
    cr_assert_neq(frame->sender, side->config.id);
}

/* A payload is answered by itself, none by a megabyte. */
static void request_serve(void *context, struct peer_link *link, const struct frame *request)
{
    struct side *side = context;
    side->requests++;
    side->congested += peers_link_congested(link);
    if (side->holds) {
        peers_link_hold(link);
        side->held = link;
        return;
    }
    struct slice payload = request->payload;
    peers_reply(side->peers, link, request, STATUS_OK,
                payload.size > 0 ? payload : slice_make(big, sizeof(big)));
}

static void raft(void *context, const struct frame *frame, uint64_t connection, uint64_t sequence,
                 struct slice message)
{
    (void)context;
    (void)frame;
    (void)connection;
    (void)sequence;
    (void)message;
}

static const struct peers_events events = {.fill = fill,
                                           .hello = hello,
                                           .greeted = greeted,
                                           .refused = refused,
                                           .ping = ping,
                                           .heard = heard,
                                           .request = request_serve,
                                           .raft = raft};

/* ------------------------------------------------------------------ the world */

static void boot(void *context)
{
    struct side *side = context;
    struct peers_options options = {.config = &side->config,
                                    .boot = world_node_incarnation(side->host),
                                    .events = &events,
                                    .context = side,
                                    .counters = &side->counters};
    cr_assert_eq(peers_open(world_node_env(side->host), &options, &side->peers), STATUS_OK);
    for (uint32_t index = 0; index < side_count; index++) {
        if (&sides[index] != side) {
            cr_assert_eq(peers_set(side->peers, index + 1, sides[index].config.peer), STATUS_OK);
        }
    }
}

static void pass(uint64_t ms)
{
    world_run_until(world, world_now_ns(world) + ms * MS);
}

static uint32_t silent_links; /* Told in the log. */

static void logged(void *context, struct world_node *node, enum log_level level, struct slice line)
{
    (void)context;
    (void)node;
    (void)level;
    static const char event[] = "peer.link_silent";
    for (size_t at = 0; at + sizeof(event) - 1 <= line.size; at++) {
        silent_links += memcmp(line.data + at, event, sizeof(event) - 1) == 0;
    }
}

static void world_start_of(uint32_t count, enum status greeting)
{
    side_count = count;
    struct world_options options;
    world_options_calm(&options);
    options.hooks.logged = logged;
    world = world_create(99, &options);
    for (uint32_t index = 0; index < side_count; index++) {
        struct side *side = &sides[index];
        *side = (struct side){.host = world_node_add(world), .greeting = greeting};
        config_defaults(&side->config);
        side->config.id = index + 1;
        (void)snprintf(side->config.peer, sizeof(side->config.peer), "%s:7401",
                       world_node_host(side->host));
    }
    for (uint32_t index = 0; index < side_count; index++) {
        world_node_start(sides[index].host, boot, &sides[index]);
    }
    pass(2000);
}

static void world_start(enum status greeting)
{
    world_start_of(2, greeting);
}

static void stop_call(void *context)
{
    const struct side *side = context;
    peers_stop(side->peers);
}

static void finish(void *context)
{
    const struct side *side = context;
    peers_close(side->peers);
}

static void world_end(void)
{
    for (uint32_t index = 0; index < side_count; index++) {
        struct side *side = &sides[index];
        if (!world_node_alive(side->host)) {
            continue;
        }
        world_node_call(side->host, stop_call, side);
        pass(5000);
        cr_expect(peers_stopped(side->peers), "node %u", index + 1);
        cr_expect_eq(world_node_stop(side->host, finish, side), 0, "node %u", index + 1);
    }
    world_destroy(world);
}

static void ask_done(struct peer_request *request, enum status status, const struct frame *reply)
{
    struct ask *ask = container_of(request, struct ask, request);
    ask->done++;
    ask->status = status;
    ask->size = reply == NULL ? 0 : reply->payload.size;
    cr_assert_eq(reply == NULL, status != STATUS_OK);
}

/* From node 1 to node 2. */
static void ask_call(void *context)
{
    struct ask *ask = context;
    ask->request = (struct peer_request){
        .peer_id = 2, .type = FRAME_READ, .range = FRAME_NO_RANGE, .done = ask_done};
    struct slice payload = ask->size > 0 ? slice_text("echo") : (struct slice){0};
    cr_assert_eq(peers_request(sides[0].peers, &ask->request, payload), STATUS_OK);
}

static void cancel_call(void *context)
{
    struct ask *ask = context;
    peers_cancel(sides[0].peers, &ask->request);
    peers_cancel(sides[0].peers, &ask->request); /* Harmless. */
}

static void release_call(void *context)
{
    (void)context;
    peers_link_release(sides[1].held);
}

/* ------------------------------------------------------------------ tests */

Test(peers, a_request_is_answered_once)
{
    world_start(STATUS_OK);
    cr_assert(peers_up(sides[0].peers, 2));
    cr_assert(peers_up(sides[1].peers, 1));
    struct ask ask = {.size = 1};
    world_node_call(sides[0].host, ask_call, &ask);
    pass(1000);
    cr_expect_eq(ask.done, 1);
    cr_expect_eq(ask.status, STATUS_OK);
    cr_expect_eq(ask.size, 4);
    world_end();
}

Test(peers, the_answer_to_a_cancelled_request_finds_no_later_one)
{
    world_start(STATUS_OK);
    struct ask first = {.size = 1};
    struct ask second = {.size = 0};
    world_node_call(sides[0].host, ask_call, &first);
    world_node_call(sides[0].host, cancel_call, &first);
    world_node_call(sides[0].host, ask_call, &second); /* Takes the slot of the first. */
    pass(1000);
    cr_expect_eq(sides[1].requests, 2);
    cr_expect_eq(first.done, 0);
    cr_expect_eq(second.done, 1);
    cr_expect_eq(second.size, BIG_SIZE);
    world_end();
}

Test(peers, a_lost_connection_ends_its_requests_and_comes_back)
{
    world_start(STATUS_OK);
    sides[1].holds = true;
    struct ask ask = {.size = 1};
    world_node_call(sides[0].host, ask_call, &ask);
    pass(100);
    cr_assert_eq(sides[1].requests, 1);
    cr_assert_eq(ask.done, 0);
    net_sim_reset(world_net(world), 0, 1);
    pass(100);
    cr_expect_eq(ask.done, 1);
    cr_expect_eq(ask.status, STATUS_CLOSED);
    cr_expect_not(peers_up(sides[0].peers, 2));
    world_node_call(sides[1].host, release_call, NULL); /* The link outlived its connection. */
    pass(2000);
    cr_expect(peers_up(sides[0].peers, 2));
    world_end();
}

Test(peers, nothing_is_asked_of_one_who_refused_us)
{
    world_start(STATUS_REFUSED);
    cr_expect_not(peers_up(sides[0].peers, 2));
    cr_expect_null(peers_hello_of(sides[0].peers, 2));
    struct peer_request request = {.peer_id = 2, .type = FRAME_READ, .done = ask_done};
    cr_expect_eq(peers_request(sides[0].peers, &request, (struct slice){0}), STATUS_UNAVAILABLE);
    world_end();
}

/* Above a second bound the network would give the connection up, with all that is under way. */
Test(peers, a_link_whose_answers_pile_up_is_congested_until_they_are_gone)
{
    static struct ask asks[BIG_COUNT];
    world_start(STATUS_OK);
    for (uint32_t index = 0; index < BIG_COUNT; index++) {
        world_node_call(sides[0].host, ask_call, &asks[index]);
    }
    pass(5000);
    cr_expect_gt(sides[1].congested, 0);
    cr_expect_lt(sides[1].congested, BIG_COUNT);
    for (uint32_t index = 0; index < BIG_COUNT; index++) {
        cr_expect_eq(asks[index].size, BIG_SIZE, "answer %u", index);
    }
    uint32_t before = sides[1].congested;
    struct ask later = {.size = 1};
    world_node_call(sides[0].host, ask_call, &later);
    pass(1000);
    cr_expect_eq(later.done, 1);
    cr_expect_eq(sides[1].congested, before);
    world_end();
}

static uint32_t stranger_closed;

static void stranger_opened(struct env_connection *connection)
{
    const struct slice *bytes = connection->context;
    if (bytes->size > 0) {
        (void)world_node_env(sides[0].host)->ops->net_send(connection, *bytes);
    }
}

static void stranger_received(struct env_connection *connection, struct slice data)
{
    (void)connection;
    cr_assert_fail("%zu bytes to a stranger", data.size);
}

static void stranger_drained(struct env_connection *connection)
{
    (void)connection;
}

static void stranger_gone(struct env_connection *connection, enum status why)
{
    (void)connection;
    (void)why;
    stranger_closed++;
}

static const struct env_net_events stranger_events = {stranger_opened, stranger_received,
                                                      stranger_drained, stranger_gone};

static void stranger_call(void *context)
{
    struct env *env = world_node_env(sides[0].host);
    struct env_connection *connection;
    cr_assert_eq(env->ops->net_connect(env, "10.0.0.2:7401", ENV_FRAMES, &stranger_events, context,
                                       &connection),
                 STATUS_OK);
}

Test(peers, a_stranger_is_closed_for_what_he_says_and_for_saying_nothing)
{
    world_start(STATUS_OK);
    struct slice garbage = slice_text("no frame at all");
    struct frame early = {.type = FRAME_READ, .sender = 1, .range = FRAME_NO_RANGE};
    struct buffer bytes = {0};
    frame_encode(&bytes, &early); /* Well formed, but no hello came first. */
    struct slice before_hello = buffer_slice(&bytes);
    struct slice nothing = {0};
    world_node_call(sides[0].host, stranger_call, &garbage);
    pass(500);
    cr_expect_eq(stranger_closed, 1);
    world_node_call(sides[0].host, stranger_call, &before_hello);
    pass(500);
    cr_expect_eq(stranger_closed, 2);
    cr_expect_eq(sides[1].requests, 0);
    cr_expect_eq(sides[1].counters.frames_bad, 2);
    world_node_call(sides[0].host, stranger_call, &nothing);
    pass(4500);
    cr_expect_eq(stranger_closed, 2);
    pass(1500);
    cr_expect_eq(stranger_closed, 3);
    cr_expect(peers_up(sides[0].peers, 2), "who did say hello stays");
    buffer_deinit(&bytes);
    world_end();
}

/* Without power the far side closes nothing; each comeback would leave a dead link behind. */
Test(peers, links_of_a_side_that_vanished_are_closed)
{
    world_start(STATUS_OK);
    world_node_crash(sides[0].host, WORLD_CRASH_POWER);
    pass(UINT64_C(30) * 1000);
    cr_expect_eq(silent_links, 1);
    world_end();
}

/* ------------------------------------------------------------------ up, suspect, down */

static enum node_peer_state seen(uint32_t by, uint32_t id)
{
    struct node_peer_info infos[SIDE_COUNT_MAX];
    uint32_t count = peers_list(sides[by - 1].peers, infos, SIDE_COUNT_MAX);
    for (uint32_t index = 0; index < count; index++) {
        if (infos[index].id == id) {
            return infos[index].state;
        }
    }
    cr_assert(false, "node %u does not know node %u", by, id);
    return NODE_PEER_DOWN;
}

Test(peers, one_bad_link_makes_nobody_down)
{
    world_start_of(3, STATUS_OK);
    net_sim_cut(world_net(world), 0, 1, true); /* Node 1 cannot speak to node 2. */
    for (uint32_t second = 0; second < 30; second++) {
        pass(1000);
        cr_expect_neq(seen(1, 2), NODE_PEER_DOWN, "in second %u", second);
        cr_expect_neq(seen(2, 1), NODE_PEER_DOWN, "in second %u", second);
        cr_expect_eq(seen(3, 1), NODE_PEER_UP, "in second %u", second);
        cr_expect_eq(seen(3, 2), NODE_PEER_UP, "in second %u", second);
    }
    cr_expect_eq(seen(1, 2), NODE_PEER_SUSPECT);
    cr_expect_eq(seen(2, 1), NODE_PEER_SUSPECT);
    net_sim_cut_both(world_net(world), 2, 1, true); /* The way round is gone too. */
    pass(5000);
    cr_expect_eq(seen(1, 2), NODE_PEER_DOWN);
    net_sim_heal(world_net(world));
    pass(5000);
    cr_expect_eq(seen(1, 2), NODE_PEER_UP);
    cr_expect_eq(seen(2, 1), NODE_PEER_UP);
    world_end();
}

Test(peers, one_that_is_gone_is_down_for_all)
{
    world_start_of(3, STATUS_OK);
    world_node_crash(sides[1].host, WORLD_CRASH_POWER);
    pass(500);
    cr_expect_eq(seen(1, 2), NODE_PEER_UP, "not yet");
    pass(2500);
    cr_expect_eq(seen(1, 2), NODE_PEER_DOWN);
    cr_expect_eq(seen(3, 2), NODE_PEER_DOWN);
    cr_expect_eq(seen(1, 3), NODE_PEER_UP);
    world_end();
}

/* ------------------------------------------------------------------ members that were removed */

static void drop_call(void *context)
{
    (void)context;
    peers_drop(sides[0].peers, 2);
    peers_drop(sides[0].peers, 2); /* Harmless. */
}

static void name_again_call(void *context)
{
    (void)context;
    cr_assert_eq(peers_set(sides[0].peers, 2, sides[1].config.peer), STATUS_OK);
}

Test(peers, a_dropped_peer_is_dialled_no_more)
{
    world_start(STATUS_OK);
    sides[1].holds = true;
    struct ask ask = {.size = 1};
    struct node_peer_info info;
    world_node_call(sides[0].host, ask_call, &ask);
    pass(100);
    uint64_t before = 0;
    world_node_call(sides[0].host, drop_call, NULL);
    pass(1000);
    before = sides[0].counters.frames_in;
    cr_expect_eq(ask.done, 1);
    cr_expect_eq(ask.status, STATUS_CLOSED);
    cr_expect_eq(peers_list(sides[0].peers, &info, 1), 0);
    cr_expect_not(peers_up(sides[0].peers, 2));
    world_node_call(sides[1].host, release_call, NULL);
    pass(10000);
    cr_expect_gt(sides[0].counters.frames_in, before, "what node 2 sends on its own is answered");
    struct peer_request request = {.peer_id = 2, .type = FRAME_READ, .done = ask_done};
    cr_expect_eq(peers_request(sides[0].peers, &request, (struct slice){0}), STATUS_UNAVAILABLE);
    world_node_call(sides[0].host, name_again_call, NULL);
    pass(2000);
    cr_expect(peers_up(sides[0].peers, 2), "it may be a member again");
    world_end();
}
