/*
 * tests/unit/node_fixture.h -- whole nodes and one client in a simulated world, for tests of node/.
 *
 * Everything is static: Criterion gives each test a process of its own. Node n (from 1) is host
 * n - 1 of the world, the client is the last host. Nodes that are to join come after those of the
 * bootstrap, and are started by the test.
 */
#ifndef TESTS_UNIT_NODE_FIXTURE_H
#define TESTS_UNIT_NODE_FIXTURE_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "node/node.h"
#include "tests/sim/env_sim.h"

#define FIXTURE_UNUSED_OK __attribute__((unused)) /* Not every test needs every helper. */
#define FIXTURE_NODE_COUNT_MAX 5
#define FIXTURE_REPLY_SIZE_MAX (4u << 20)
#define FIXTURE_MS UINT64_C(1000000)
#define FIXTURE_SERVING_MS 20000
#define FIXTURE_ANSWER_MS 20000

struct fixture_node {
    struct world_node *host;
    uint32_t id; /* Under which a joiner is started; 0: its number. */
    struct node *node;
    enum node_state state;
};

static struct {
    struct world *world;
    struct config config; /* What all nodes share; tests change it before fixture_start(). */
    struct fixture_node nodes[FIXTURE_NODE_COUNT_MAX];
    uint32_t node_count;   /* Of the bootstrap. */
    uint32_t joiner_count; /* Set before fixture_start(). */
    uint32_t contact;      /* Whom joiners ask; 0: node 1. */
    struct world_node *client;
    struct env_connection *connection;
    bool closed;
    uint8_t replies[FIXTURE_REPLY_SIZE_MAX];
    size_t reply_size;
} fixture;

static void fixture_changed(void *context, enum node_state state, enum status why)
{
    (void)why;
    struct fixture_node *node = context;
    node->state = state;
}

static void fixture_boot(void *context)
{
    struct fixture_node *node = context;
    struct config config = fixture.config;
    config.id = world_node_index(node->host) + 1;
    (void)snprintf(config.data_dir, sizeof(config.data_dir), "data");
    (void)snprintf(config.client, sizeof(config.client), "%s:7400", world_node_host(node->host));
    (void)snprintf(config.peer, sizeof(config.peer), "%s:7401", world_node_host(node->host));
    (void)snprintf(config.admin, sizeof(config.admin), "off");
    bool joins = config.id > fixture.node_count;
    if (joins) {
        config.id = node->id == 0 ? config.id : node->id;
        uint32_t contact = fixture.contact == 0 ? 1 : fixture.contact;
        (void)snprintf(config.join, sizeof(config.join), "%s:7401",
                       world_node_host(fixture.nodes[contact - 1].host));
    }
    config.bootstrap_count = joins ? 0 : fixture.node_count;
    for (uint32_t index = 0; index < config.bootstrap_count; index++) {
        struct config_bootstrap *entry = &config.bootstrap[index];
        entry->id = index + 1;
        (void)snprintf(entry->peer_address, sizeof(entry->peer_address), "%s:7401",
                       world_node_host(fixture.nodes[index].host));
    }
    struct node_events events = {.changed = fixture_changed, .context = node};
    cr_assert_eq(node_open(world_node_env(node->host), &config, &events, &node->node), STATUS_OK);
}

static void fixture_nothing(void *context)
{
    (void)context;
}

static bool fixture_serving(void)
{
    for (uint32_t index = 0; index < fixture.node_count; index++) {
        const struct fixture_node *node = &fixture.nodes[index];
        struct node_peer_info infos[FIXTURE_NODE_COUNT_MAX];
        if (node->state != NODE_SERVING) {
            return false;
        }
        uint32_t count = node_peers(node->node, infos, FIXTURE_NODE_COUNT_MAX);
        for (uint32_t peer = 0; peer < count; peer++) {
            if (infos[peer].state != NODE_PEER_UP) {
                return false;
            }
        }
    }
    return true;
}

static void fixture_pass(uint64_t ms)
{
    world_run_until(fixture.world, world_now_ns(fixture.world) + ms * FIXTURE_MS);
}

static void fixture_defaults(void)
{
    config_defaults(&fixture.config);
    fixture.config.insecure = true;
    fixture.config.ranges = 16;
    fixture.config.memory_size = 8u << 20;
    fixture.config.wal_segment_size = 1u << 20;
}

/* Starts the nodes and waits until all serve and see each other. */
static void fixture_start(uint64_t seed, uint32_t node_count)
{
    struct world_options options;
    world_options_calm(&options);
    fixture.world = world_create(seed, &options);
    fixture.node_count = node_count;
    for (uint32_t index = 0; index < node_count + fixture.joiner_count; index++) {
        fixture.nodes[index].host = world_node_add(fixture.world);
    }
    fixture.client = world_node_add(fixture.world);
    for (uint32_t index = 0; index < node_count; index++) {
        world_node_start(fixture.nodes[index].host, fixture_boot, &fixture.nodes[index]);
    }
    world_node_start(fixture.client, fixture_nothing, NULL);
    for (uint32_t ms = 0; !fixture_serving(); ms += 100) {
        cr_assert_lt(ms, FIXTURE_SERVING_MS, "the nodes do not come to serve");
        fixture_pass(100);
    }
}

/* ------------------------------------------------------------------ the client */

static void fixture_opened(struct env_connection *connection)
{
    (void)connection;
}

static void fixture_received(struct env_connection *connection, struct slice data)
{
    (void)connection;
    cr_assert_leq(fixture.reply_size + data.size, sizeof(fixture.replies));
    memcpy(fixture.replies + fixture.reply_size, data.data, data.size);
    fixture.reply_size += data.size;
}

static void fixture_drained(struct env_connection *connection)
{
    (void)connection;
}

static void fixture_closed(struct env_connection *connection, enum status why)
{
    (void)connection;
    (void)why;
    fixture.connection = NULL;
    fixture.closed = true;
}

static const struct env_net_events fixture_events = {fixture_opened, fixture_received,
                                                     fixture_drained, fixture_closed};

static void fixture_connect_call(void *context)
{
    const char *address = context;
    struct env *env = world_node_env(fixture.client);
    cr_assert_eq(
        env->ops->net_connect(env, address, ENV_BYTES, &fixture_events, NULL, &fixture.connection),
        STATUS_OK);
}

FIXTURE_UNUSED_OK static void fixture_connect(uint32_t node_id)
{
    char address[ADDRESS_TEXT_SIZE_MAX];
    (void)snprintf(address, sizeof(address), "%s:7400",
                   world_node_host(fixture.nodes[node_id - 1].host));
    fixture.reply_size = 0;
    fixture.closed = false;
    world_node_call(fixture.client, fixture_connect_call, address);
    fixture_pass(50);
    cr_assert_not_null(fixture.connection);
}

static void fixture_send_call(void *context)
{
    const struct slice *bytes = context;
    enum status status = world_node_env(fixture.client)->ops->net_send(fixture.connection, *bytes);
    cr_assert(status == STATUS_OK || status == STATUS_OVERLOADED);
}

FIXTURE_UNUSED_OK static void fixture_send(struct slice bytes)
{
    world_node_call(fixture.client, fixture_send_call, &bytes);
}

static void fixture_hang_up_call(void *context)
{
    (void)context;
    world_node_env(fixture.client)->ops->net_close(fixture.connection);
}

FIXTURE_UNUSED_OK static void fixture_hang_up(void)
{
    world_node_call(fixture.client, fixture_hang_up_call, NULL);
}

/* Waits until the answers since the last call are exactly `expected`. */
FIXTURE_UNUSED_OK static void fixture_expect(const char *expected)
{
    size_t size = strlen(expected);
    for (uint32_t ms = 0; fixture.reply_size < size && ms < FIXTURE_ANSWER_MS; ms += 10) {
        fixture_pass(10);
    }
    cr_assert(slice_equal(slice_make(fixture.replies, fixture.reply_size), slice_text(expected)),
              "expected \"%s\", got \"%.*s\"", expected, (int)fixture.reply_size,
              (const char *)fixture.replies);
    fixture.reply_size = 0;
}

/* Waits for one line (an error or status), and that it begins so. */
FIXTURE_UNUSED_OK static void fixture_expect_line(const char *start)
{
    for (uint32_t ms = 0; ms < FIXTURE_ANSWER_MS; ms += 10) {
        if (fixture.reply_size > 0 && fixture.replies[fixture.reply_size - 1] == '\n') {
            break;
        }
        fixture_pass(10);
    }
    cr_assert(fixture.reply_size >= strlen(start) &&
                  memcmp(fixture.replies, start, strlen(start)) == 0,
              "expected \"%s...\", got \"%.*s\"", start, (int)fixture.reply_size,
              (const char *)fixture.replies);
    fixture.reply_size = 0;
}

/* ------------------------------------------------------------------ ends */

static void fixture_stop_call(void *context)
{
    struct fixture_node *node = context;
    node_stop(node->node);
}

static void fixture_finish(void *context)
{
    struct fixture_node *node = context;
    node_close(node->node);
}

/* Stops every node that is up; each must come to its end and give back all its memory. */
static void fixture_stop(void)
{
    for (uint32_t index = 0; index < fixture.node_count + fixture.joiner_count; index++) {
        if (world_node_alive(fixture.nodes[index].host)) {
            world_node_call(fixture.nodes[index].host, fixture_stop_call, &fixture.nodes[index]);
        }
    }
    fixture_pass(fixture.config.shutdown_ms + 5000);
    for (uint32_t index = 0; index < fixture.node_count + fixture.joiner_count; index++) {
        struct fixture_node *node = &fixture.nodes[index];
        if (world_node_alive(node->host)) {
            cr_expect_eq(node->state, NODE_STOPPED, "node %u", index + 1);
            cr_expect_eq(world_node_stop(node->host, fixture_finish, node), 0, "node %u",
                         index + 1);
        }
    }
    world_destroy(fixture.world);
}

#endif
