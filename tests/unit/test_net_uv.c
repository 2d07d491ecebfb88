/* tests/unit/test_net_uv.c -- connections over real loopback sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/buffer.h"
#include "base/codec.h"
#include "base/env_uv.h"
#include "base/prng.h"

#define BOUND ((size_t)1 << 20)
/* To env_uv a name, which the resolver is asked for; it knows it on any machine, without a file. */
#define NAME "127.1"

TestSuite(net_uv, .timeout = 120);

/* One side of a connection, and what it saw. */
struct side {
    struct env *env;
    struct env_connection *connection; /* NULL before `opened` and after `closed`. */
    bool echo;
    bool close_on_received;
    bool pause_on_received;
    unsigned opened;
    unsigned drained;
    unsigned closed;
    unsigned received;
    enum status why;
    struct buffer bytes; /* Bodies of all that was received, in order. */
    bool in_call;        /* A call of ours is under way: no event may come. */
};

static void side_opened(struct env_connection *connection)
{
    struct side *side = connection->context;
    cr_assert(!side->in_call);
    side->connection = connection;
    side->opened++;
}

static void side_received(struct env_connection *connection, struct slice data)
{
    struct side *side = connection->context;
    cr_assert(!side->in_call);
    side->received++;
    buffer_append_slice(&side->bytes, data);
    if (side->echo) {
        (void)side->env->ops->net_send(connection, data);
    }
    if (side->pause_on_received) {
        side->env->ops->net_pause(connection, true);
    }
    if (side->close_on_received) {
        side->in_call = true;
        side->env->ops->net_close(connection);
        side->in_call = false;
    }
}

static void side_drained(struct env_connection *connection)
{
    struct side *side = connection->context;
    cr_assert(!side->in_call);
    side->drained++;
}

static void side_closed(struct env_connection *connection, enum status why)
{
    struct side *side = connection->context;
    cr_assert(!side->in_call, "closed inside a call");
    side->closed++;
    side->why = why;
    side->connection = NULL;
}

static const struct env_net_events side_events = {.opened = side_opened,
                                                  .received = side_received,
                                                  .drained = side_drained,
                                                  .closed = side_closed};

static struct env *env_new(void)
{
    struct env *env = NULL;
    struct env_uv_options options = {
        .pool_threads = 1, .log_level = LOG_ERROR, .send_queue_bytes_max = BOUND};
    cr_assert_eq(env_uv_open(&options, &env), STATUS_OK);
    return env;
}

static uint16_t port_free(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static struct env_listener *listen_on(struct side *server, enum env_framing framing, uint16_t *port)
{
    struct env_listener *listener = NULL;
    enum status status;
    do { /* Another test may have taken the port meanwhile. */
        *port = port_free();
        char address[64];
        snprintf(address, sizeof(address), "127.0.0.1:%u", *port);
        status = server->env->ops->net_listen(server->env, address, framing, &side_events, server,
                                              &listener);
    } while (status == STATUS_EXISTS);
    cr_assert_eq(status, STATUS_OK);
    return listener;
}

static void connect_to(struct side *client, const char *host, uint16_t port,
                       enum env_framing framing)
{
    char address[64];
    snprintf(address, sizeof(address), "%s:%u", host, port);
    struct env_connection *connection = NULL;
    client->in_call = true;
    cr_assert_eq(client->env->ops->net_connect(client->env, address, framing, &side_events, client,
                                               &connection),
                 STATUS_OK);
    client->in_call = false;
    cr_assert_not_null(connection);
    client->connection = connection;
}

#define WAIT_FOR(env, condition)  \
    do {                          \
        while (!(condition)) {    \
            env_uv_run_once(env); \
        }                         \
    } while (0)

/* A plain socket as peer, so that the wire itself is in the test's hands. */
static int socket_to(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void socket_write(int fd, const void *data, size_t size)
{
    cr_assert_eq(write(fd, data, size), (ssize_t)size);
}

/* Two listening ends and one connection between them, both open. */
struct pair {
    struct env *env;
    struct side server;
    struct side client;
    struct env_listener *listener;
    uint16_t port;
};

static void pair_open(struct pair *pair, enum env_framing framing)
{
    *pair = (struct pair){.env = env_new()};
    pair->server.env = pair->env;
    pair->client.env = pair->env;
    pair->listener = listen_on(&pair->server, framing, &pair->port);
    connect_to(&pair->client, "127.0.0.1", pair->port, framing);
    WAIT_FOR(pair->env, pair->server.opened == 1 && pair->client.opened == 1);
}

static void pair_close(struct pair *pair)
{
    env_uv_close(pair->env);
    cr_assert_eq(pair->server.closed, pair->server.opened);
    cr_assert_eq(pair->client.closed, 1);
    buffer_deinit(&pair->server.bytes);
    buffer_deinit(&pair->client.bytes);
}

Test(net_uv, frames_of_all_sizes_come_back_whole_and_in_order)
{
    static const size_t sizes[] = {0,     1,       3,     4,        5,      100,    65531,
                                   65532, 65533,   65536, 65537,    131072, 200000, 1000000,
                                   7,     9000000, 0,     64 << 10, 12345,  3,      300000};
    struct pair pair;
    pair_open(&pair, ENV_FRAMES);
    pair.server.echo = true;
    struct prng prng;
    prng_init(&prng, 11);
    struct buffer sent = {0};
    for (size_t index = 0; index < ARRAY_COUNT(sizes); index++) {
        size_t from = sent.size;
        for (size_t at = 0; at < sizes[index]; at++) {
            uint8_t byte = (uint8_t)prng_next(&prng);
            buffer_append(&sent, &byte, 1);
        }
        enum status status = pair.env->ops->net_send(pair.client.connection,
                                                     slice_make(sent.data + from, sizes[index]));
        cr_assert(status == STATUS_OK || status == STATUS_OVERLOADED);
        WAIT_FOR(pair.env, pair.client.received == index + 1);
        cr_assert_eq(pair.client.bytes.size, sent.size, "frame of %zu", sizes[index]);
        cr_assert_eq(pair.server.received, index + 1);
    }
    cr_assert(slice_equal(buffer_slice(&pair.client.bytes), buffer_slice(&sent)), "seed 11");
    buffer_deinit(&sent);
    pair_close(&pair);
}

Test(net_uv, many_frames_of_one_turn_arrive_whatever_the_reads_cut)
{
    struct pair pair;
    pair_open(&pair, ENV_FRAMES);
    pair.server.echo = true;
    struct prng prng;
    prng_init(&prng, 12);
    struct buffer sent = {0};
    unsigned count = 0;
    static uint8_t body[3000];
    for (size_t index = 0; index < sizeof(body); index++) {
        body[index] = (uint8_t)prng_next(&prng);
    }
    while (sent.size < 700000) {
        size_t size = prng_below(&prng, sizeof(body));
        buffer_append(&sent, body, size);
        cr_assert_eq(pair.env->ops->net_send(pair.client.connection, slice_make(body, size)),
                     STATUS_OK);
        count++;
    }
    WAIT_FOR(pair.env, pair.client.received == count);
    cr_assert(slice_equal(buffer_slice(&pair.client.bytes), buffer_slice(&sent)), "seed 12");
    buffer_deinit(&sent);
    pair_close(&pair);
}

/* Every cut of two frames into two writes, a byte stream as a hostile network gives it. */
Test(net_uv, a_frame_may_be_cut_at_every_byte)
{
    struct side server = {.env = env_new()};
    uint16_t port;
    (void)listen_on(&server, ENV_FRAMES, &port);
    static const uint8_t wire[] = {3, 0, 0, 0, 'a', 'b', 'c', 0, 0, 0, 0, 2, 0, 0, 0, 'd', 'e'};
    int fd = socket_to(port);
    WAIT_FOR(server.env, server.opened == 1);
    for (size_t cut = 1; cut < sizeof(wire); cut++) {
        unsigned before = server.received;
        buffer_clear(&server.bytes);
        socket_write(fd, wire, cut);
        if (cut >= 7) {
            WAIT_FOR(server.env, server.received > before);
        } else {
            /* Nothing whole yet: one turn takes in what there is. */
            env_uv_run_once(server.env);
            cr_assert_eq(server.received, before, "cut %zu", cut);
        }
        socket_write(fd, wire + cut, sizeof(wire) - cut);
        WAIT_FOR(server.env, server.received == before + 3);
        cr_assert(slice_equal(buffer_slice(&server.bytes), slice_text("abcde")), "cut %zu", cut);
    }
    close(fd);
    WAIT_FOR(server.env, server.closed == 1);
    cr_assert_eq(server.why, STATUS_CLOSED);
    env_uv_close(server.env);
    buffer_deinit(&server.bytes);
}

Test(net_uv, a_frame_over_the_limit_closes_the_connection)
{
    struct side server = {.env = env_new()};
    uint16_t port;
    (void)listen_on(&server, ENV_FRAMES, &port);
    int fd = socket_to(port);
    uint8_t wire[9] = {1, 0, 0, 0, 'x'};
    codec_store_u32(wire + 5, ENV_FRAME_SIZE_MAX + 1);
    socket_write(fd, wire, sizeof(wire));
    WAIT_FOR(server.env, server.closed == 1);
    cr_assert_eq(server.received, 1, "what came before counts");
    cr_assert_eq(server.why, STATUS_TOO_LARGE);
    close(fd);
    env_uv_close(server.env);
    buffer_deinit(&server.bytes);
}

Test(net_uv, bytes_are_a_stream_and_a_half_closed_peer_gets_its_answer)
{
    struct side server = {.env = env_new(), .echo = true};
    uint16_t port;
    (void)listen_on(&server, ENV_BYTES, &port);
    int fd = socket_to(port);
    socket_write(fd, "question", 8);
    cr_assert_eq(shutdown(fd, SHUT_WR), 0);
    WAIT_FOR(server.env, server.closed == 1);
    cr_assert_eq(server.why, STATUS_CLOSED);
    char text[16];
    cr_assert_eq(recv(fd, text, sizeof(text), MSG_WAITALL), 8, "the answer, then the end");
    cr_assert_arr_eq(text, "question", 8);
    close(fd);
    env_uv_close(server.env);
    buffer_deinit(&server.bytes);
}

Test(net_uv, close_sends_what_is_queued_and_receives_no_more)
{
    struct pair pair;
    pair_open(&pair, ENV_FRAMES);
    pair.server.close_on_received = true;
    pair.server.echo = true;
    static uint8_t body[400000];
    cr_assert_eq(pair.env->ops->net_send(pair.client.connection, slice_make(body, sizeof(body))),
                 STATUS_OK);
    cr_assert_eq(pair.env->ops->net_send(pair.client.connection, slice_text("never seen")),
                 STATUS_OK);
    WAIT_FOR(pair.env, pair.server.closed == 1 && pair.client.closed == 1);
    cr_assert_eq(pair.server.received, 1);
    cr_assert_eq(pair.server.why, STATUS_OK);
    cr_assert_eq(pair.client.received, 1);
    cr_assert_eq(pair.client.bytes.size, sizeof(body));
    pair_close(&pair);
}

Test(net_uv, after_close_nothing_is_taken)
{
    struct pair pair;
    pair_open(&pair, ENV_BYTES);
    struct env_connection *connection = pair.client.connection;
    pair.client.in_call = true;
    cr_assert_eq(pair.env->ops->net_send(connection, slice_text("last")), STATUS_OK);
    pair.env->ops->net_close(connection);
    pair.env->ops->net_close(connection);
    cr_assert_eq(pair.env->ops->net_send(connection, slice_text("x")), STATUS_CLOSED);
    pair.client.in_call = false;
    cr_assert_str_neq(pair.env->ops->net_remote(connection), "");
    WAIT_FOR(pair.env, pair.client.closed == 1 && pair.server.closed == 1);
    cr_assert(slice_equal(buffer_slice(&pair.server.bytes), slice_text("last")));
    pair_close(&pair);
}

struct tick {
    struct env_timer timer;
    bool fired;
};

static void tick_fired(struct env_timer *timer)
{
    container_of(timer, struct tick, timer)->fired = true;
}

/* Lets the loop run for a while, for what must not happen in it. */
static void run_for_ms(struct env *env, uint64_t delay_ms)
{
    struct tick tick = {.timer.fired = tick_fired};
    env_timer_start_ms(env, &tick.timer, delay_ms);
    WAIT_FOR(env, tick.fired);
}

Test(net_uv, a_slow_reader_overloads_the_queue_and_is_drained_later)
{
    struct pair pair;
    pair_open(&pair, ENV_FRAMES);
    pair.env->ops->net_pause(pair.server.connection, true);
    static uint8_t body[64 << 10];
    unsigned sent = 0;
    unsigned drained;
    do { /* The kernel's buffers fill first, then ours. */
        drained = pair.client.drained;
        enum status status;
        do {
            status =
                pair.env->ops->net_send(pair.client.connection, slice_make(body, sizeof(body)));
            sent++;
        } while (status == STATUS_OK);
        cr_assert_eq(status, STATUS_OVERLOADED);
        cr_assert_eq(pair.client.drained, drained, "never inside net_send");
        run_for_ms(pair.env, 20);
    } while (pair.client.drained > drained);
    cr_assert_eq(pair.server.received, 0, "paused");
    pair.env->ops->net_pause(pair.server.connection, false);
    WAIT_FOR(pair.env, pair.client.drained == drained + 1);
    WAIT_FOR(pair.env, pair.server.received == sent);
    cr_assert_eq(pair.server.bytes.size, sent * sizeof(body));
    cr_assert_eq(pair.client.drained, drained + 1, "once for one OVERLOADED");
    pair_close(&pair);
}

Test(net_uv, one_who_sends_on_in_spite_of_overload_loses_the_connection)
{
    struct pair pair;
    pair_open(&pair, ENV_FRAMES);
    static uint8_t body[64 << 10];
    size_t taken = 0;
    pair.client.in_call = true;
    for (;;) {
        enum status status =
            pair.env->ops->net_send(pair.client.connection, slice_make(body, sizeof(body)));
        if (status == STATUS_CLOSED) {
            break;
        }
        taken += sizeof(body);
        cr_assert_lt(taken, 6 * BOUND);
    }
    pair.client.in_call = false;
    cr_assert_gt(taken, 3 * BOUND);
    WAIT_FOR(pair.env, pair.client.closed == 1);
    cr_assert_eq(pair.client.why, STATUS_OVERLOADED);
    pair_close(&pair);
}

Test(net_uv, a_pause_keeps_frames_back_and_loses_none)
{
    struct pair pair;
    pair_open(&pair, ENV_FRAMES);
    pair.server.pause_on_received = true;
    for (unsigned index = 0; index < 10; index++) {
        uint8_t byte = (uint8_t)('0' + index);
        cr_assert_eq(pair.env->ops->net_send(pair.client.connection, slice_make(&byte, 1)),
                     STATUS_OK);
    }
    for (unsigned index = 1; index <= 10; index++) {
        WAIT_FOR(pair.env, pair.server.received == index);
        run_for_ms(pair.env, 2);
        cr_assert_eq(pair.server.received, index, "paused after each");
        pair.server.in_call = true;
        pair.env->ops->net_pause(pair.server.connection, false);
        pair.server.in_call = false;
    }
    cr_assert(slice_equal(buffer_slice(&pair.server.bytes), slice_text("0123456789")));
    pair_close(&pair);
}

Test(net_uv, a_refused_connect_is_closed_without_opened)
{
    struct side client = {.env = env_new()};
    connect_to(&client, "127.0.0.1", port_free(), ENV_FRAMES);
    WAIT_FOR(client.env, client.closed == 1);
    cr_assert_eq(client.opened, 0);
    cr_assert_eq(client.why, STATUS_IO);
    env_uv_close(client.env);
}

Test(net_uv, names_are_resolved_and_unknown_ones_not_found)
{
    struct side server = {.env = env_new(), .echo = true};
    struct side client = {.env = server.env};
    uint16_t port;
    (void)listen_on(&server, ENV_FRAMES, &port);
    connect_to(&client, NAME, port, ENV_FRAMES);
    cr_assert_eq(server.env->ops->net_send(client.connection, slice_text("early")), STATUS_OK);
    WAIT_FOR(server.env, client.received == 1 || client.closed == 1);
    cr_assert(slice_equal(buffer_slice(&client.bytes), slice_text("early")));
    struct side lost = {.env = server.env};
    connect_to(&lost, "no-such-host.invalid", port, ENV_FRAMES);
    WAIT_FOR(server.env, lost.closed == 1);
    cr_assert_eq(lost.opened, 0);
    cr_assert_eq(lost.why, STATUS_NOT_FOUND);
    env_uv_close(server.env);
    buffer_deinit(&server.bytes);
    buffer_deinit(&client.bytes);
}

/* localhost may be ::1 before it is 127.0.0.1, and there nobody listens. */
Test(net_uv, addresses_of_a_name_are_tried_in_turn)
{
    struct side server = {.env = env_new()};
    struct side client = {.env = server.env};
    uint16_t port;
    (void)listen_on(&server, ENV_FRAMES, &port);
    connect_to(&client, "localhost", port, ENV_FRAMES);
    WAIT_FOR(server.env, client.opened == 1 || client.closed == 1);
    env_uv_close(server.env);
    if (client.opened == 0 && client.why == STATUS_NOT_FOUND) {
        cr_skip_test("this machine does not know localhost");
    }
    cr_assert_eq(client.opened, 1, "%s", status_name(client.why));
}

Test(net_uv, addresses_are_checked)
{
    struct side side = {.env = env_new()};
    const struct env_ops *ops = side.env->ops;
    struct env_connection *connection = NULL;
    struct env_listener *listener = NULL;
    static const char *const bad[] = {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "[::1:5"};
    for (size_t index = 0; index < ARRAY_COUNT(bad); index++) {
        cr_assert_eq(
            ops->net_connect(side.env, bad[index], ENV_FRAMES, &side_events, &side, &connection),
            STATUS_INVALID, "%s", bad[index]);
        cr_assert_eq(
            ops->net_listen(side.env, bad[index], ENV_FRAMES, &side_events, &side, &listener),
            STATUS_INVALID, "%s", bad[index]);
    }
    cr_assert_eq(
        ops->net_listen(side.env, "example.invalid:1", ENV_FRAMES, &side_events, &side, &listener),
        STATUS_INVALID, "listening takes no names");
    uint16_t port;
    struct env_listener *first = listen_on(&side, ENV_FRAMES, &port);
    char address[64];
    snprintf(address, sizeof(address), "localhost:%u", port);
    cr_assert_eq(ops->net_listen(side.env, address, ENV_FRAMES, &side_events, &side, &listener),
                 STATUS_EXISTS);
    cr_assert_null(listener);
    ops->net_listener_close(first);
    struct side client = {.env = side.env};
    connect_to(&client, "127.0.0.1", port, ENV_FRAMES);
    WAIT_FOR(side.env, client.closed == 1);
    cr_assert_eq(client.opened, 0);
    env_uv_close(side.env);
}

Test(net_uv, connections_outlive_their_listener)
{
    struct pair pair;
    pair_open(&pair, ENV_FRAMES);
    pair.server.echo = true;
    pair.env->ops->net_listener_close(pair.listener);
    cr_assert_eq(pair.env->ops->net_send(pair.client.connection, slice_text("still")), STATUS_OK);
    WAIT_FOR(pair.env, pair.client.received == 1);
    pair_close(&pair);
}

Test(net_uv, close_before_opened_gives_closed_alone)
{
    struct side server = {.env = env_new()};
    uint16_t port;
    (void)listen_on(&server, ENV_FRAMES, &port);
    static const char *const hosts[] = {"127.0.0.1", NAME}; /* Connecting, resolving. */
    for (size_t index = 0; index < ARRAY_COUNT(hosts); index++) {
        struct side client = {.env = server.env};
        connect_to(&client, hosts[index], port, ENV_FRAMES);
        client.in_call = true;
        server.env->ops->net_close(client.connection);
        client.in_call = false;
        WAIT_FOR(server.env, client.closed == 1);
        cr_assert_eq(client.opened, 0);
        cr_assert_eq(client.why, STATUS_OK);
    }
    env_uv_close(server.env);
}

Test(net_uv, a_reset_by_the_peer_is_closed)
{
    struct side server = {.env = env_new()};
    uint16_t port;
    (void)listen_on(&server, ENV_BYTES, &port);
    int fd = socket_to(port);
    WAIT_FOR(server.env, server.opened == 1);
    cr_assert_eq(strncmp(server.env->ops->net_remote(server.connection), "127.0.0.1:", 10), 0);
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(fd);
    WAIT_FOR(server.env, server.closed == 1);
    cr_assert_eq(server.why, STATUS_CLOSED);
    env_uv_close(server.env);
}

/* With sends under way, one resolving, one connecting; the sanitizers look for what is left. */
Test(net_uv, an_env_may_be_closed_in_the_middle_of_traffic)
{
    for (unsigned turns = 0; turns < 12; turns++) {
        struct side server = {.env = env_new(), .echo = true};
        struct side clients[6] = {0};
        uint16_t port;
        (void)listen_on(&server, ENV_FRAMES, &port);
        static uint8_t body[300000];
        for (size_t index = 0; index < ARRAY_COUNT(clients); index++) {
            clients[index].env = server.env;
            clients[index].echo = true;
            connect_to(&clients[index], index % 3 == 2 ? NAME : "127.0.0.1", port, ENV_FRAMES);
            size_t size = index % 2 == 0 ? sizeof(body) : 10;
            cr_assert_eq(
                server.env->ops->net_send(clients[index].connection, slice_make(body, size)),
                STATUS_OK);
        }
        for (unsigned turn = 0; turn < turns; turn++) {
            env_uv_run_once(server.env);
        }
        env_uv_close(server.env);
        cr_assert_eq(server.closed, server.opened);
        buffer_deinit(&server.bytes);
        for (size_t index = 0; index < ARRAY_COUNT(clients); index++) {
            cr_assert_eq(clients[index].closed, 1, "%u turns, client %zu", turns, index);
            buffer_deinit(&clients[index].bytes);
        }
    }
}
