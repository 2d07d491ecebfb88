/*
 * tests/unit/test_net_sim.c -- what simulated connections promise, and how each fault shows.
 */
#include <string.h>

#include <criterion/criterion.h>

#include "tests/sim/env_sim.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define STATUS_NONE 1000

/* One side of the one connection under test. */
struct side {
    struct env *env;
    struct env_connection *connection;
    int opened;
    int closed; /* The status, or STATUS_NONE. */
    int drained;
    int received;
    size_t size;
    uint8_t bytes[1 << 16];
    enum status sent;
};

struct bench {
    struct world_options options;
    struct world *world;
    struct world_node *nodes[2];
    struct side client;
    struct side server;
    enum env_framing framing;
    struct env_listener *listener;
};

static struct bench bench;

static void side_opened(struct env_connection *connection)
{
    struct side *side = connection->context;
    side->connection = connection;
    side->opened++;
}

static void side_received(struct env_connection *connection, struct slice data)
{
    struct side *side = connection->context;
    cr_assert_eq(side->closed, STATUS_NONE);
    cr_assert(side->size + data.size <= sizeof(side->bytes));
    memcpy(side->bytes + side->size, data.data, data.size);
    side->size += data.size;
    side->received++;
}

static void side_drained(struct env_connection *connection)
{
    struct side *side = connection->context;
    side->drained++;
}

static void side_closed(struct env_connection *connection, enum status why)
{
    struct side *side = connection->context;
    cr_assert_eq(side->closed, STATUS_NONE, "closed twice");
    side->closed = (int)why;
    side->connection = NULL;
}

static const struct env_net_events side_events = {side_opened, side_received, side_drained,
                                                  side_closed};

static void server_boot(void *context)
{
    (void)context;
    struct env *env = bench.server.env;
    cr_assert_eq(env->ops->net_listen(env, "10.0.0.2:7401", bench.framing, &side_events,
                                      &bench.server, &bench.listener),
                 STATUS_OK);
    struct env_listener *second;
    cr_assert_eq(env->ops->net_listen(env, "0.0.0.0:7401", bench.framing, &side_events,
                                      &bench.server, &second),
                 STATUS_EXISTS);
}

static void nothing(void *context)
{
    (void)context;
}

static void client_connect(void *address)
{
    struct env *env = bench.client.env;
    cr_assert_eq(env->ops->net_connect(env, address, bench.framing, &side_events, &bench.client,
                                       &bench.client.connection),
                 STATUS_OK);
    cr_assert_eq(bench.client.opened, 0, "never inside the call");
}

static void bench_prepare(uint64_t seed, enum env_framing framing)
{
    memset(&bench, 0, sizeof(bench));
    world_options_calm(&bench.options);
    (void)seed;
    bench.framing = framing;
    bench.client.closed = STATUS_NONE;
    bench.server.closed = STATUS_NONE;
}

static void bench_start(uint64_t seed)
{
    bench.world = world_create(seed, &bench.options);
    for (int index = 0; index < 2; index++) {
        bench.nodes[index] = world_node_add(bench.world);
    }
    bench.client.env = world_node_env(bench.nodes[0]);
    bench.server.env = world_node_env(bench.nodes[1]);
    world_node_start(bench.nodes[0], nothing, NULL);
    world_node_start(bench.nodes[1], server_boot, NULL);
    (void)world_run_steps(bench.world, 2);
}

static void later(uint64_t ns)
{
    world_run_until(bench.world, world_now_ns(bench.world) + ns);
}

static void bench_connect(void)
{
    char address[] = "10.0.0.2:7401";
    world_node_call(bench.nodes[0], client_connect, address);
    later(20 * MS);
    cr_assert_eq(bench.client.opened, 1);
    cr_assert_eq(bench.server.opened, 1);
}

static void bench_open(uint64_t seed, enum env_framing framing)
{
    bench_prepare(seed, framing);
    bench_start(seed);
    bench_connect();
}

static void bench_close(void)
{
    world_destroy(bench.world);
}

struct message {
    struct side *side;
    struct slice data;
};

static void message_send(void *context)
{
    struct message *message = context;
    message->side->sent =
        message->side->env->ops->net_send(message->side->connection, message->data);
}

static enum status send_text(struct side *side, const char *text)
{
    struct message message = {side, slice_text(text)};
    world_node_call(world_node_of(side->env), message_send, &message);
    return side->sent;
}

static void side_close(void *context)
{
    struct side *side = context;
    side->env->ops->net_close(side->connection);
    cr_assert_eq(side->closed, STATUS_NONE, "never inside the call");
}

Test(net_sim, frames_arrive_whole_and_in_order_and_both_sides_name_each_other)
{
    for (uint64_t seed = 1; seed < 50; seed++) {
        bench_prepare(seed, ENV_FRAMES);
        bench.options.net.slow_ppm = 200000;
        bench.options.net.slow_ns = 100 * MS;
        bench_start(seed);
        char address[] = "10.0.0.2:7401";
        world_node_call(bench.nodes[0], client_connect, address);
        later(SECOND);
        cr_assert_str_eq(bench.client.env->ops->net_remote(bench.client.connection), address);
        cr_assert_eq(
            strncmp(bench.server.env->ops->net_remote(bench.server.connection), "10.0.0.1:", 9), 0);
        for (char letter = 'a'; letter <= 'z'; letter++) {
            cr_assert_eq(send_text(&bench.client, (char[]){letter, '\0'}), STATUS_OK);
            later(MS);
        }
        cr_assert_eq(send_text(&bench.server, ""), STATUS_OK);
        later(SECOND);
        cr_assert_eq(bench.server.received, 26, "seed %d", (int)seed);
        cr_assert_arr_eq(bench.server.bytes, "abcdefghijklmnopqrstuvwxyz", 26);
        cr_assert_eq(bench.client.received, 1, "an empty frame is a frame");
        bench_close();
    }
}

Test(net_sim, bytes_arrive_in_drawn_chunks_and_nothing_is_lost)
{
    bench_prepare(1, ENV_BYTES);
    bench.options.net.chunk_size_max = 7;
    bench.options.net.drop_ppm = 1000000;
    bench.options.net.duplicate_ppm = 1000000;
    bench_start(1);
    bench_connect();
    for (int index = 0; index < 100; index++) {
        cr_assert_eq(send_text(&bench.client, "0123456789"), STATUS_OK);
    }
    later(SECOND);
    cr_assert_eq(bench.server.size, 1000);
    for (int index = 0; index < 1000; index++) {
        cr_assert_eq(bench.server.bytes[index], '0' + index % 10);
    }
    cr_expect_gt(bench.server.received, 200);
    bench_close();
}

Test(net_sim, frames_are_dropped_and_doubled_at_the_given_rates)
{
    bench_prepare(1, ENV_FRAMES);
    bench.options.net.drop_ppm = 200000;
    bench.options.net.duplicate_ppm = 100000;
    bench_start(1);
    bench_connect();
    for (int index = 0; index < 1000; index++) {
        cr_assert_eq(send_text(&bench.client, "x"), STATUS_OK);
    }
    later(SECOND);
    const struct net_sim_counters *counters = net_sim_counters(world_net(bench.world));
    cr_expect_gt(counters->frames_dropped, 150);
    cr_expect_lt(counters->frames_dropped, 250);
    cr_expect_gt(counters->frames_doubled, 50);
    cr_expect_lt(counters->frames_doubled, 110);
    cr_expect_eq((uint64_t)bench.server.received,
                 1000 - counters->frames_dropped + counters->frames_doubled);
    bench_close();
}

Test(net_sim, a_close_comes_behind_what_was_sent)
{
    bench_open(1, ENV_FRAMES);
    (void)send_text(&bench.client, "last words");
    world_node_call(bench.nodes[0], side_close, &bench.client);
    later(SECOND);
    cr_expect_eq(bench.client.closed, STATUS_OK);
    cr_expect_eq(bench.server.closed, STATUS_CLOSED);
    cr_expect_eq(bench.server.size, 10);
    bench_close();
}

Test(net_sim, what_is_sent_before_opened_arrives)
{
    bench_prepare(1, ENV_FRAMES);
    bench_start(1);
    char address[] = "10.0.0.2:7401";
    world_node_call(bench.nodes[0], client_connect, address);
    cr_assert_eq(send_text(&bench.client, "early"), STATUS_OK);
    later(SECOND);
    cr_expect_eq(bench.server.size, 5);
    bench_close();
}

Test(net_sim, a_cut_delays_and_a_healed_one_goes_on)
{
    bench_open(1, ENV_FRAMES);
    net_sim_cut(world_net(bench.world), 0, 1, true);
    (void)send_text(&bench.client, "to");
    (void)send_text(&bench.server, "back");
    later(SECOND);
    cr_expect_eq(bench.server.received, 0);
    cr_expect_eq(bench.client.received, 1, "the other direction works");
    net_sim_heal(world_net(bench.world));
    later(SECOND);
    cr_expect_eq(bench.server.received, 1);
    later(60 * SECOND);
    cr_expect_eq(bench.client.closed, STATUS_NONE);
    cr_expect_eq(bench.server.closed, STATUS_NONE);
    bench_close();
}

Test(net_sim, a_long_cut_ends_the_sender_and_the_other_side_is_not_told)
{
    bench_open(1, ENV_FRAMES);
    net_sim_cut_both(world_net(bench.world), 0, 1, true);
    (void)send_text(&bench.client, "lost");
    later(21 * SECOND);
    cr_expect_eq(bench.client.closed, STATUS_TIMEOUT);
    cr_expect_eq(bench.server.closed, STATUS_NONE);
    net_sim_heal(world_net(bench.world));
    later(SECOND);
    cr_expect_eq(bench.server.received, 0);
    (void)send_text(&bench.server, "anyone?");
    later(SECOND);
    cr_expect_eq(bench.server.closed, STATUS_CLOSED, "reset by who knows of no connection");
    bench_close();
}

Test(net_sim, without_acknowledgements_the_sender_gives_up_though_its_bytes_arrive)
{
    bench_open(1, ENV_FRAMES);
    net_sim_cut(world_net(bench.world), 1, 0, true);
    (void)send_text(&bench.client, "heard");
    later(SECOND);
    cr_expect_eq(bench.server.received, 1);
    later(21 * SECOND);
    cr_expect_eq(bench.client.closed, STATUS_TIMEOUT);
    bench_close();
}

Test(net_sim, connects_are_refused_time_out_or_find_no_name)
{
    const struct {
        const char *address;
        bool power;
        int closed;
    } cases[] = {
        {"10.0.0.2:9", true, STATUS_IO},          {"10.0.0.2:7401", false, STATUS_TIMEOUT},
        {"10.0.0.77:7401", true, STATUS_TIMEOUT}, {"nobody.example:7401", true, STATUS_NOT_FOUND},
        {"127.0.0.1:7401", true, STATUS_IO},
    };
    for (size_t index = 0; index < ARRAY_COUNT(cases); index++) {
        bench_prepare(1, ENV_FRAMES);
        bench_start(1);
        if (!cases[index].power) {
            world_node_crash(bench.nodes[1], WORLD_CRASH_POWER);
        }
        char address[64];
        strcpy(address, cases[index].address);
        world_node_call(bench.nodes[0], client_connect, address);
        later(10 * SECOND);
        cr_expect_eq(bench.client.closed, cases[index].closed, "%s: %d", address,
                     bench.client.closed);
        cr_expect_eq(bench.client.opened, 0);
        bench_close();
    }
}

Test(net_sim, the_end_of_a_process_is_seen_and_a_loss_of_power_is_not)
{
    for (uint64_t seed = 1; seed < 20; seed++) {
        bench_open(seed, ENV_FRAMES);
        world_node_crash(bench.nodes[1], WORLD_CRASH_PROCESS);
        later(SECOND);
        cr_expect_eq(bench.client.closed, STATUS_CLOSED);
        bench_close();

        bench_open(seed, ENV_FRAMES);
        world_node_crash(bench.nodes[1], WORLD_CRASH_POWER);
        later(100 * SECOND);
        cr_expect_eq(bench.client.closed, STATUS_NONE);
        world_node_start(bench.nodes[1], server_boot, NULL);
        later(SECOND);
        cr_expect_eq(bench.client.closed, STATUS_NONE);
        (void)send_text(&bench.client, "still there?");
        later(SECOND);
        cr_expect_eq(bench.client.closed, STATUS_CLOSED);
        cr_expect_eq(bench.server.received, 0, "nothing of an earlier life arrives");
        bench_close();
    }
}

static uint8_t block[4096];

Test(net_sim, a_full_queue_says_so_and_says_when_it_is_not)
{
    bench_prepare(1, ENV_BYTES);
    bench.options.net.send_queue_size_max = 10000;
    bench_start(1);
    bench_connect();
    struct message message = {&bench.client, slice_make(block, sizeof(block))};
    net_sim_cut(world_net(bench.world), 0, 1, true);
    int taken = 0;
    do {
        world_node_call(bench.nodes[0], message_send, &message);
        taken++;
    } while (bench.client.sent == STATUS_OK);
    cr_expect_eq(bench.client.sent, STATUS_OVERLOADED);
    cr_expect_eq(taken, 3);
    later(SECOND);
    cr_expect_eq(bench.client.drained, 0);
    net_sim_heal(world_net(bench.world));
    later(SECOND);
    cr_expect_eq(bench.client.drained, 1);
    cr_expect_eq(bench.server.size, 3 * sizeof(block));
    for (int index = 0; index < 20; index++) {
        if (bench.client.connection != NULL && bench.client.closed == STATUS_NONE) {
            world_node_call(bench.nodes[0], message_send, &message);
        }
    }
    cr_expect_eq(bench.client.sent, STATUS_CLOSED, "far above the bound the connection is lost");
    later(SECOND);
    cr_expect_eq(bench.client.closed, STATUS_OVERLOADED);
    cr_expect_eq(bench.server.closed, STATUS_CLOSED);
    bench_close();
}

static void server_pause(void *paused)
{
    bench.server.env->ops->net_pause(bench.server.connection, *(bool *)paused);
}

Test(net_sim, a_paused_connection_holds_what_comes)
{
    bench_open(1, ENV_FRAMES);
    bool paused = true;
    world_node_call(bench.nodes[1], server_pause, &paused);
    (void)send_text(&bench.client, "a");
    (void)send_text(&bench.client, "b");
    world_node_call(bench.nodes[0], side_close, &bench.client);
    later(SECOND);
    cr_expect_eq(bench.server.received, 0);
    cr_expect_eq(bench.server.closed, STATUS_NONE);
    paused = false;
    world_node_call(bench.nodes[1], server_pause, &paused);
    later(SECOND);
    cr_expect_eq(bench.server.received, 2);
    cr_expect_eq(bench.server.closed, STATUS_CLOSED);
    bench_close();
}

Test(net_sim, resets_reach_both_sides_and_a_clean_stop_closes_with_its_events)
{
    bench_open(1, ENV_FRAMES);
    net_sim_reset(world_net(bench.world), 1, 0);
    later(SECOND);
    cr_expect_eq(bench.client.closed, STATUS_CLOSED);
    cr_expect_eq(bench.server.closed, STATUS_CLOSED);
    bench_close();

    bench_open(1, ENV_FRAMES);
    cr_expect_eq(world_node_stop(bench.nodes[1], nothing, NULL), 0);
    cr_expect_eq(bench.server.closed, STATUS_CANCELLED);
    later(SECOND);
    cr_expect_eq(bench.client.closed, STATUS_CLOSED);
    bench_close();
}
