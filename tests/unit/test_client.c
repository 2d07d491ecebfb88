/*
 * tests/unit/test_client.c -- the client against nodes played by threads.
 *
 * A fake node keeps no data: it answers from a script of what to do with the n-th data command, and
 * counts what reached it.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/buffer.h"
#include "base/contract.h"
#include "base/memory.h"
#include "base/resp.h"
#include "base/token.h"
#include "client/client.h"

#define FAKE_CONNECTION_COUNT_MAX 8
#define FAKE_ARGUMENT_COUNT_MAX 16

enum fake_deed {
    FAKE_SERVE,       /* GET answers "value of KEY", KEY "absent" nothing; the others OK. */
    FAKE_REPLY,       /* `reply` as it is. */
    FAKE_HANG,        /* No answer, to this and all that follows on the connection. */
    FAKE_CLOSE,       /* Closes the connection instead. */
    FAKE_SERVE_CLOSE, /* Answers, then closes. */
};

struct fake {
    int listener;
    uint16_t port;
    pthread_t thread;
    atomic_bool stop;
    atomic_uint command_count; /* Data commands that arrived. */
    atomic_uint ring_count;
    uint32_t deed_count; /* The first so many commands meet `deed`, later ones are served. */
    enum fake_deed deed;
    const char *reply;
    const char *ring; /* The answer to KV.RING; NULL: an error. */
    int connections[FAKE_CONNECTION_COUNT_MAX];
    struct buffer in[FAKE_CONNECTION_COUNT_MAX];
    bool hangs[FAKE_CONNECTION_COUNT_MAX];
};

static void fake_serve(struct resp_writer *writer, const struct slice *arguments, size_t count)
{
    char text[128];
    if (slice_equal(arguments[0], slice_text("KV.GET"))) {
        if (slice_equal(arguments[1], slice_text("absent"))) {
            resp_null(writer);
            return;
        }
        (void)snprintf(text, sizeof(text), "value of %.*s", (int)arguments[1].size,
                       (const char *)arguments[1].data);
        resp_bulk_text(writer, text);
    } else if (slice_equal(arguments[0], slice_text("SCAN"))) {
        /* Three pages of two keys; the middle one empty. */
        bool first = slice_equal(arguments[1], slice_text("0"));
        bool second = slice_equal(arguments[1], slice_text("18446744073709551615"));
        resp_array(writer, 2);
        resp_bulk_text(writer, first ? "18446744073709551615" : second ? "7" : "0");
        resp_array(writer, second ? 0 : 2);
        if (!second) {
            resp_bulk_text(writer, first ? "a" : "c");
            resp_bulk_text(writer, first ? "b" : "d");
        }
    } else {
        resp_simple(writer, "OK");
    }
    (void)count;
}

static void fake_drop(struct fake *fake, size_t at)
{
    close(fake->connections[at]);
    fake->connections[at] = -1;
    buffer_deinit(&fake->in[at]);
    fake->hangs[at] = false;
}

/* False: the connection is gone. */
static bool fake_command(struct fake *fake, size_t at, const struct slice *arguments, size_t count)
{
    struct buffer out = {0};
    struct resp_writer writer = {.to = &out, .protocol = 2};
    enum fake_deed deed = FAKE_SERVE;
    if (slice_equal(arguments[0], slice_text("KV.RING"))) {
        atomic_fetch_add(&fake->ring_count, 1);
        if (fake->ring != NULL) {
            resp_bulk_text(&writer, fake->ring);
        } else {
            resp_error(&writer, "ERR unknown command");
        }
    } else {
        deed =
            atomic_fetch_add(&fake->command_count, 1) < fake->deed_count ? fake->deed : FAKE_SERVE;
        if (deed == FAKE_REPLY) {
            buffer_append_text(&out, fake->reply);
        } else if (deed == FAKE_SERVE || deed == FAKE_SERVE_CLOSE) {
            fake_serve(&writer, arguments, count);
        }
        fake->hangs[at] = deed == FAKE_HANG;
    }
    if (out.size > 0) {
        ssize_t sent = send(fake->connections[at], out.data, out.size, MSG_NOSIGNAL);
        (void)sent; /* A client that went away is its own business. */
    }
    buffer_deinit(&out);
    if (deed == FAKE_CLOSE || deed == FAKE_SERVE_CLOSE) {
        fake_drop(fake, at);
        return false;
    }
    return !fake->hangs[at];
}

static void fake_read(struct fake *fake, size_t at)
{
    const struct resp_limits limits = {.argument_count_max = FAKE_ARGUMENT_COUNT_MAX,
                                       .argument_size_max = 1 << 20,
                                       .request_size_max = 1 << 21};
    struct buffer *in = &fake->in[at];
    uint8_t *room = buffer_reserve(in, 65536);
    ssize_t size = recv(fake->connections[at], room, 65536, 0);
    if (size <= 0) {
        fake_drop(fake, at);
        return;
    }
    buffer_commit(in, (size_t)size);
    while (in->size > 0 && !fake->hangs[at]) {
        struct slice arguments[FAKE_ARGUMENT_COUNT_MAX];
        struct resp_parse parse = {.arguments = arguments,
                                   .argument_capacity = FAKE_ARGUMENT_COUNT_MAX};
        enum status status = resp_parse_request(in->data, in->size, &limits, &parse);
        if (status != STATUS_OK) {
            ASSERT(status == STATUS_WOULD_BLOCK);
            return;
        }
        if (!fake_command(fake, at, arguments, parse.argument_count)) {
            return;
        }
        buffer_consume(in, parse.used);
    }
}

static void *fake_run(void *context)
{
    struct fake *fake = context;
    while (!atomic_load(&fake->stop)) {
        struct pollfd polls[FAKE_CONNECTION_COUNT_MAX + 1];
        for (size_t at = 0; at < FAKE_CONNECTION_COUNT_MAX; at++) {
            polls[at] = (struct pollfd){.fd = fake->connections[at], .events = POLLIN};
        }
        polls[FAKE_CONNECTION_COUNT_MAX] = (struct pollfd){.fd = fake->listener, .events = POLLIN};
        if (poll(polls, FAKE_CONNECTION_COUNT_MAX + 1, 10) <= 0) {
            continue;
        }
        for (size_t at = 0; at < FAKE_CONNECTION_COUNT_MAX; at++) {
            if (fake->connections[at] >= 0 && polls[at].revents != 0) {
                fake_read(fake, at);
            }
        }
        for (size_t at = 0;
             polls[FAKE_CONNECTION_COUNT_MAX].revents != 0 && at < FAKE_CONNECTION_COUNT_MAX;
             at++) {
            if (fake->connections[at] < 0) {
                fake->connections[at] = accept(fake->listener, NULL, NULL);
                break;
            }
        }
    }
    return NULL;
}

/* A port on loopback; it listens once fake_start() was called. */
static void fake_init(struct fake *fake)
{
    *fake = (struct fake){.listener = socket(AF_INET, SOCK_STREAM, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    cr_assert_eq(bind(fake->listener, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(getsockname(fake->listener, (struct sockaddr *)&address, &size), 0);
    fake->port = ntohs(address.sin_port);
    for (size_t at = 0; at < FAKE_CONNECTION_COUNT_MAX; at++) {
        fake->connections[at] = -1;
    }
}

static void fake_start(struct fake *fake)
{
    cr_assert_eq(listen(fake->listener, 8), 0);
    cr_assert_eq(pthread_create(&fake->thread, NULL, fake_run, fake), 0);
}

static void fake_stop(struct fake *fake)
{
    atomic_store(&fake->stop, true);
    pthread_join(fake->thread, NULL);
    for (size_t at = 0; at < FAKE_CONNECTION_COUNT_MAX; at++) {
        if (fake->connections[at] >= 0) {
            fake_drop(fake, at);
        }
    }
    close(fake->listener);
}

static struct kv_client *client_of(const struct fake *first, const struct fake *second,
                                   struct kv_options options)
{
    char endpoints[64];
    (void)snprintf(endpoints, sizeof(endpoints), "127.0.0.1:%u", first->port);
    if (second != NULL) {
        (void)snprintf(endpoints, sizeof(endpoints), "127.0.0.1:%u, 127.0.0.1:%u", first->port,
                       second->port);
    }
    struct kv_client *client;
    options.endpoints = endpoints;
    cr_assert_eq(kv_open(&options, &client), STATUS_OK);
    return client;
}

static const struct kv_options plain = {.no_routing = true, .timeout_ms = 300};

Test(client, get_set_delete)
{
    struct fake fake;
    fake_init(&fake);
    fake_start(&fake);
    struct kv_client *client = client_of(&fake, NULL, plain);
    struct kv_result result;
    cr_assert_eq(kv_get(client, slice_text("k"), &result), KV_OK);
    cr_assert(slice_equal(result.value, slice_text("value of k")));
    cr_assert(slice_equal(result.key, slice_text("k")));
    cr_assert_eq(kv_get(client, slice_text("absent"), &result), KV_NOT_FOUND);
    cr_assert_eq(kv_set(client, slice_text("k"), slice_text("v"), &result), KV_OK);
    cr_assert_eq(kv_delete(client, slice_text("k"), &result), KV_OK);
    cr_assert_eq(result.try_count, 1);
    kv_close(client);
    fake_stop(&fake);
}

Test(client, endpoints_are_checked)
{
    static const char *const bad[] = {"", ",", "a:1,", "a", "a:0x", "a:1 b:2", "a:70000"};
    for (size_t index = 0; index < ARRAY_COUNT(bad); index++) {
        struct kv_client *client;
        cr_assert_eq(kv_open(&(struct kv_options){.endpoints = bad[index]}, &client),
                     STATUS_INVALID, "'%s'", bad[index]);
    }
}

Test(client, nobody_there_is_unreachable)
{
    struct fake fake;
    fake_init(&fake); /* Bound, so nobody else has the port; nobody listens. */
    struct kv_client *client = client_of(&fake, NULL, (struct kv_options){0});
    struct kv_result result;
    cr_assert_eq(kv_set(client, slice_text("k"), slice_text("v"), &result), KV_FAILED);
    cr_assert_eq(result.reason, KV_REASON_UNREACHABLE);
    cr_assert_eq(result.try_count, 4);
    kv_close(client);
    close(fake.listener);
}

/* One node misbehaves as `deed` says on its first command; the other is well. */
struct pair {
    struct fake bad;
    struct fake good;
    struct kv_client *client;
};

static void pair_init(struct pair *pair, enum fake_deed deed, const char *reply,
                      struct kv_options options)
{
    fake_init(&pair->bad);
    fake_init(&pair->good);
    pair->bad.deed = deed;
    pair->bad.reply = reply;
    pair->bad.deed_count = 1;
    fake_start(&pair->bad);
    fake_start(&pair->good);
    pair->client = client_of(&pair->bad, &pair->good, options);
}

static void pair_deinit(struct pair *pair)
{
    kv_close(pair->client);
    fake_stop(&pair->bad);
    fake_stop(&pair->good);
}

static const char *const unavailable = "-UNAVAILABLE 1 replicas up, 2 needed; nothing was done\r\n";
static const char *const noquorum = "-NOQUORUM maybe applied, acks=1/2, op=0a-1\r\n";

Test(client, reads_go_to_another_node_whatever_happened)
{
    static const struct {
        enum fake_deed deed;
        const char *reply;
    } cases[] = {{FAKE_CLOSE, NULL},
                 {FAKE_HANG, NULL},
                 {FAKE_REPLY, unavailable},
                 {FAKE_REPLY, noquorum},
                 {FAKE_REPLY, "this is no RESP\r\n"}};
    for (size_t index = 0; index < ARRAY_COUNT(cases); index++) {
        struct pair pair;
        struct kv_result result;
        pair_init(&pair, cases[index].deed, cases[index].reply, plain);
        cr_assert_eq(kv_get(pair.client, slice_text("k"), &result), KV_OK, "case %zu: %s", index,
                     result.message);
        cr_assert_eq(result.try_count, 2, "case %zu", index);
        cr_assert_eq(pair.bad.command_count, 1, "case %zu", index);
        cr_assert_eq(pair.good.command_count, 1, "case %zu", index);
        pair_deinit(&pair);
    }
}

Test(client, a_write_whose_answer_is_lost_is_indeterminate_and_not_sent_again)
{
    static const struct {
        enum fake_deed deed;
        const char *reply;
        enum kv_reason reason;
    } cases[] = {{FAKE_CLOSE, NULL, KV_REASON_BROKEN},
                 {FAKE_HANG, NULL, KV_REASON_TIMEOUT},
                 {FAKE_REPLY, noquorum, KV_REASON_UNAVAILABLE},
                 {FAKE_REPLY, "this is no RESP\r\n", KV_REASON_PROTOCOL}};
    for (size_t index = 0; index < ARRAY_COUNT(cases); index++) {
        struct pair pair;
        struct kv_result result;
        pair_init(&pair, cases[index].deed, cases[index].reply, plain);
        cr_assert_eq(kv_set(pair.client, slice_text("k"), slice_text("v"), &result),
                     KV_INDETERMINATE, "case %zu", index);
        cr_assert_eq(result.reason, cases[index].reason, "case %zu", index);
        cr_assert_eq(pair.bad.command_count, 1);
        cr_assert_eq(pair.good.command_count, 0);
        cr_assert_str_eq(result.operation, cases[index].reply == noquorum ? "0a-1" : "");
        pair_deinit(&pair);
    }
}

Test(client, retry_writes_sends_it_again)
{
    struct pair pair;
    struct kv_result result;
    struct kv_options options = plain;
    options.retry_writes = true;
    pair_init(&pair, FAKE_CLOSE, NULL, options);
    cr_assert_eq(kv_set(pair.client, slice_text("k"), slice_text("v"), &result), KV_OK);
    cr_assert_eq(pair.good.command_count, 1);
    pair_deinit(&pair);
}

Test(client, a_write_refused_definitely_goes_to_another_node)
{
    struct pair pair;
    struct kv_result result;
    pair_init(&pair, FAKE_REPLY, unavailable, plain);
    cr_assert_eq(kv_set(pair.client, slice_text("k"), slice_text("v"), &result), KV_OK);
    cr_assert_eq(pair.good.command_count, 1);
    pair_deinit(&pair);
}

Test(client, unavailable_everywhere_is_a_definite_failure)
{
    struct fake fake;
    struct kv_result result;
    fake_init(&fake);
    fake.deed = FAKE_REPLY;
    fake.reply = unavailable;
    fake.deed_count = 100;
    fake_start(&fake);
    struct kv_client *client = client_of(&fake, NULL, plain);
    cr_assert_eq(kv_set(client, slice_text("k"), slice_text("v"), &result), KV_FAILED);
    cr_assert_eq(result.reason, KV_REASON_UNAVAILABLE);
    cr_assert_eq(fake.command_count, 4);
    kv_close(client);
    fake_stop(&fake);
}

Test(client, a_write_that_never_left_goes_to_a_node_that_listens)
{
    struct fake deaf;
    struct fake good;
    struct kv_result result;
    fake_init(&deaf);
    fake_init(&good);
    fake_start(&good);
    struct kv_client *client = client_of(&deaf, &good, plain);
    for (int round = 0; round < 4; round++) {
        cr_assert_eq(kv_set(client, slice_text("k"), slice_text("v"), &result), KV_OK, "%s",
                     result.message);
    }
    cr_assert_eq(good.command_count, 4);
    kv_close(client);
    fake_stop(&good);
    close(deaf.listener);
}

/* An idle connection that the node closed must not make a write doubtful. */
Test(client, a_closed_idle_connection_is_noticed_before_writing)
{
    struct fake fake;
    struct kv_result result;
    fake_init(&fake);
    fake.deed = FAKE_SERVE_CLOSE;
    fake.deed_count = 20;
    fake_start(&fake);
    struct kv_client *client = client_of(&fake, NULL, plain);
    for (int round = 0; round < 20; round++) {
        cr_assert_eq(kv_set(client, slice_text("k"), slice_text("v"), &result), KV_OK);
        (void)poll(NULL, 0, 5); /* The close follows the answer at once; loopback needs no more. */
    }
    kv_close(client);
    fake_stop(&fake);
}

/* A node that fell silent, as a paused process does, costs one deadline and no more. */
Test(client, a_silent_node_gets_no_work_before_it_answers_a_ping)
{
    struct pair pair;
    struct kv_result result;
    pair_init(&pair, FAKE_HANG, NULL, plain);
    pair.bad.deed_count = 1000; /* Its pings too. */
    cr_assert_eq(kv_get(pair.client, slice_text("k"), &result), KV_OK);
    cr_assert_eq(pair.bad.command_count, 1);
    for (int round = 0; round < 150; round++) {
        cr_assert_eq(kv_get(pair.client, slice_text("k"), &result), KV_OK);
        cr_assert_eq(result.try_count, 1);
        (void)poll(NULL, 0, 10);
    }
    cr_assert_gt(pair.bad.command_count, 1, "it was never probed");
    cr_assert_lt(pair.bad.command_count, 5, "probed %u times", pair.bad.command_count);
    pair_deinit(&pair);
}

Test(client, a_node_that_is_well_again_gets_work_again)
{
    struct pair pair;
    struct kv_result result;
    unsigned served = 0;
    pair_init(&pair, FAKE_CLOSE, NULL, plain);
    for (int round = 0; round < 60; round++) {
        cr_assert_eq(kv_get(pair.client, slice_text("k"), &result), KV_OK);
        (void)poll(NULL, 0, 10);
        served = pair.bad.command_count;
    }
    cr_assert_gt(served, 5, "%u", served);
    pair_deinit(&pair);
}

/* ------------------------------------------------------------------ routing */

static void ring_text(char *text, size_t capacity, const struct fake *one, const struct fake *two)
{
    (void)snprintf(text, capacity,
                   "{\"cluster_id\":\"00000000000000ff\",\"epoch\":1,\"generation\":1,"
                   "\"replica_count\":1,\"range_count\":2,\"keyspaces\":[{\"number\":1}],"
                   "\"members\":[{\"id\":1,\"client\":\"127.0.0.1:%u\"},{\"id\":2,"
                   "\"client\":\"127.0.0.1:%u\"}],\"ranges\":[[1],[2]]}",
                   one->port, two->port);
}

/* The second node is known from the ring alone. */
Test(client, each_key_goes_to_its_replica)
{
    struct fake fakes[2];
    char ring[512];
    unsigned expected[2] = {0, 0};
    fake_init(&fakes[0]);
    fake_init(&fakes[1]);
    ring_text(ring, sizeof(ring), &fakes[0], &fakes[1]);
    fakes[0].ring = ring;
    fakes[1].ring = ring;
    fake_start(&fakes[0]);
    fake_start(&fakes[1]);
    struct kv_client *client = client_of(&fakes[0], NULL, (struct kv_options){0});
    for (int number = 0; number < 64; number++) {
        char key[16];
        struct kv_result result;
        (void)snprintf(key, sizeof(key), "key %d", number);
        expected[token_of(1, slice_text(key)) >> 63]++;
        cr_assert_eq(number % 2 == 0 ? kv_get(client, slice_text(key), &result)
                                     : kv_set(client, slice_text(key), slice_text("v"), &result),
                     KV_OK);
    }
    cr_assert_eq(fakes[0].command_count, expected[0]);
    cr_assert_eq(fakes[1].command_count, expected[1]);
    cr_assert_neq(expected[0], 0);
    cr_assert_neq(expected[1], 0);
    cr_assert_eq(fakes[0].ring_count, 1, "asked for the ring %u times", fakes[0].ring_count);
    kv_close(client);
    fake_stop(&fakes[0]);
    fake_stop(&fakes[1]);
}

Test(client, a_key_whose_replica_is_deaf_goes_to_any_node)
{
    struct fake good;
    struct fake deaf;
    char ring[512];
    fake_init(&good);
    fake_init(&deaf);
    ring_text(ring, sizeof(ring), &good, &deaf);
    good.ring = ring;
    fake_start(&good);
    struct kv_client *client = client_of(&good, NULL, (struct kv_options){0});
    for (int number = 0; number < 32; number++) {
        char key[16];
        struct kv_result result;
        (void)snprintf(key, sizeof(key), "key %d", number);
        cr_assert_eq(kv_set(client, slice_text(key), slice_text("v"), &result), KV_OK, "%s",
                     result.message);
    }
    cr_assert_eq(good.command_count, 32);
    kv_close(client);
    fake_stop(&good);
    close(deaf.listener);
}

Test(client, a_ring_that_makes_no_sense_is_done_without)
{
    struct fake fake;
    struct kv_result result;
    const struct kv_ring *ring;
    fake_init(&fake);
    fake.ring = "{\"epoch\":[";
    fake_start(&fake);
    struct kv_client *client = client_of(&fake, NULL, (struct kv_options){0});
    cr_assert_eq(kv_get(client, slice_text("k"), &result), KV_OK);
    cr_assert_eq(kv_ring(client, &ring, &result), KV_FAILED);
    cr_assert_eq(result.reason, KV_REASON_PROTOCOL);
    kv_close(client);
    fake_stop(&fake);
}

/* ------------------------------------------------------------------ no memory */

/* The client's thread alone: the fakes go on. */
static _Thread_local uint32_t allocations_left = UINT32_MAX;

static bool allocation_fails(void)
{
    return allocations_left != UINT32_MAX && (allocations_left == 0 || allocations_left-- == 0);
}

static void *allocate_counted(size_t size)
{
    return allocation_fails() ? NULL : malloc(size);
}

static void *resize_counted(void *memory, size_t size)
{
    return allocation_fails() ? NULL : realloc(memory, size);
}

/* From the n-th allocation on there is no memory. Nothing may crash, leak, or be called written or
 * surely not written against what the node saw. */
Test(client, without_memory_outcomes_stay_true)
{
    const struct memory_hooks hooks = {
        .allocate = allocate_counted, .resize = resize_counted, .release = free};
    uint32_t written = 0;
    memory_set_hooks(&hooks);
    for (uint32_t fail_at = 0; fail_at < 24; fail_at++) {
        struct fake fake;
        struct kv_client *client = NULL;
        struct kv_result result = {.outcome = KV_FAILED};
        char endpoint[32];
        fake_init(&fake);
        fake_start(&fake);
        (void)snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%u", fake.port);
        struct kv_options options = plain;
        options.endpoints = endpoint;
        allocations_left = fail_at;
        if (kv_open(&options, &client) == STATUS_OK) {
            (void)kv_set(client, slice_text("k"), slice_text("v"), &result);
        }
        allocations_left = UINT32_MAX;
        written += result.outcome == KV_OK ? 1 : 0;
        if (result.outcome != KV_INDETERMINATE) {
            cr_assert_eq(fake.command_count, result.outcome == KV_OK ? 1 : 0, "at %u", fail_at);
        }
        kv_close(client);
        fake_stop(&fake);
    }
    memory_set_hooks(NULL);
    cr_assert_gt(written, 0, "24 allocations are enough for one write");
    cr_assert_lt(written, 24);
}

/* ------------------------------------------------------------------ pipelines and scans */

#define PIPELINE_OPERATION_COUNT 3000
#define PIPELINE_DEPTH 100

/* Reads `PIPELINE_OPERATION_COUNT` keys; each result must be the one its turn is. */
static void pipeline_check(struct kv_client *client)
{
    struct kv_pipeline *pipeline;
    int added = 0;
    int taken = 0;
    cr_assert_eq(kv_pipeline_open(client, PIPELINE_DEPTH, &pipeline), STATUS_OK);
    while (taken < PIPELINE_OPERATION_COUNT) {
        char text[32];
        while (added < PIPELINE_OPERATION_COUNT && kv_pipeline_count(pipeline) < PIPELINE_DEPTH) {
            (void)snprintf(text, sizeof(text), "%d", added++);
            kv_pipeline_add(pipeline,
                            &(struct kv_operation){.kind = KV_GET, .key = slice_text(text)});
        }
        struct kv_result result;
        cr_assert_eq(kv_pipeline_next(pipeline, &result), KV_OK, "%s", result.message);
        (void)snprintf(text, sizeof(text), "value of %d", taken++);
        cr_assert(slice_equal(result.value, slice_text(text)), "%s", text);
    }
    kv_pipeline_close(pipeline);
}

Test(client, a_pipeline_returns_results_in_order)
{
    struct pair pair;
    pair_init(&pair, FAKE_SERVE, NULL, plain);
    pipeline_check(pair.client);
    cr_assert_gt(pair.bad.command_count, 0);
    cr_assert_gt(pair.good.command_count, 0);
    pair_deinit(&pair);
}

Test(client, a_pipeline_lives_through_lost_connections)
{
    static const enum fake_deed deeds[] = {FAKE_CLOSE, FAKE_SERVE_CLOSE, FAKE_HANG};
    for (size_t index = 0; index < ARRAY_COUNT(deeds); index++) {
        struct pair pair;
        pair_init(&pair, deeds[index], NULL, plain);
        pair.bad.deed_count = 3;
        pipeline_check(pair.client);
        pair_deinit(&pair);
    }
}

Test(client, a_pipeline_may_be_closed_with_operations_under_way)
{
    struct pair pair;
    struct kv_pipeline *pipeline;
    struct kv_result result;
    pair_init(&pair, FAKE_HANG, NULL, plain);
    cr_assert_eq(kv_pipeline_open(pair.client, 128, &pipeline), STATUS_OK);
    for (int number = 0; number < 128; number++) {
        kv_pipeline_add(pipeline, &(struct kv_operation){.kind = KV_GET, .key = slice_text("k")});
    }
    kv_pipeline_close(pipeline);
    cr_assert_eq(kv_get(pair.client, slice_text("k"), &result), KV_OK);
    pair_deinit(&pair);
}

Test(client, adding_to_a_full_pipeline_is_a_bug, .signal = SIGABRT)
{
    struct kv_client *client;
    struct kv_pipeline *pipeline;
    const struct kv_operation operation = {.kind = KV_GET, .key = slice_text("k")};
    cr_assert_eq(kv_open(&(struct kv_options){.no_routing = true}, &client), STATUS_OK);
    cr_assert_eq(kv_pipeline_open(client, 1, &pipeline), STATUS_OK);
    kv_pipeline_add(pipeline, &operation);
    kv_pipeline_add(pipeline, &operation);
}

Test(client, a_scan_meets_all_pages)
{
    struct pair pair;
    struct kv_scan *scan;
    struct kv_result result;
    struct slice key;
    char met[8] = "";
    pair_init(&pair, FAKE_CLOSE, NULL, plain); /* One page is asked for twice. */
    cr_assert_eq(kv_scan_open(pair.client, &(struct kv_scan_options){.match = "*"}, &scan),
                 STATUS_OK);
    while (kv_scan_next(scan, &key, &result) == KV_OK) {
        strncat(met, (const char *)key.data, key.size);
    }
    cr_assert_eq(result.outcome, KV_NOT_FOUND, "%s", result.message);
    cr_assert_str_eq(met, "abcd");
    cr_assert_eq(kv_scan_next(scan, &key, &result), KV_NOT_FOUND);
    kv_scan_close(scan);
    pair_deinit(&pair);
}

Test(client, a_senseless_page_is_refused)
{
    static const char *const pages[] = {"+OK\r\n", "*2\r\n$1\r\n0\r\n$1\r\nx\r\n",
                                        "*2\r\n$1\r\nx\r\n*0\r\n", "*2\r\n$1\r\n0\r\n*1\r\n:1\r\n",
                                        "*1\r\n$1\r\n0\r\n"};
    for (size_t index = 0; index < ARRAY_COUNT(pages); index++) {
        struct fake fake;
        struct kv_scan *scan;
        struct kv_result result;
        struct slice key;
        fake_init(&fake);
        fake.deed = FAKE_REPLY;
        fake.reply = pages[index];
        fake.deed_count = 1;
        fake_start(&fake);
        struct kv_client *client = client_of(&fake, NULL, plain);
        cr_assert_eq(kv_scan_open(client, &(struct kv_scan_options){0}, &scan), STATUS_OK);
        cr_assert_eq(kv_scan_next(scan, &key, &result), KV_FAILED, "page %zu", index);
        cr_assert_eq(result.reason, KV_REASON_PROTOCOL);
        cr_assert_eq(kv_scan_next(scan, &key, &result), KV_OK, "page %zu", index);
        kv_scan_close(scan);
        kv_close(client);
        fake_stop(&fake);
    }
}
