/*
 * tests/unit/coordinator_fixture.h -- a coordinator over scripted replicas.
 *
 * It stands in for peers.c, replica.c and timekeeper.c. A request
 * to a replica waits until the test has it served. Node SELF coordinates; it is a replica itself
 * only where a set names it.
 */
#ifndef TESTS_UNIT_COORDINATOR_FIXTURE_H
#define TESTS_UNIT_COORDINATOR_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/token.h"
#include "node/coordinator.h"
#include "node/hot_keys.h"
#include "node/peers.h"
#include "node/replica.h"
#include "node/timekeeper.h"

#define MS UINT64_C(1000000)
#define SELF 9u
#define NODE_COUNT 10u /* Ids below. */
#define RANGE_COUNT 4u
#define TIMER_COUNT_MAX 16
#define TIMEOUT_MS 1000u

/* One scripted replica. */
struct scripted {
    bool down;
    enum status says;             /* STATUS_OK: does what is asked. */
    struct version held;          /* time 0: nothing. */
    struct peer_request *request; /* Waits to be served. */
    struct replica_operation *local;
    uint8_t payload[4096]; /* Of what waits. */
    size_t payload_size;
    uint32_t asked_count; /* In all. */
};

static struct {
    struct env env;
    struct config config;
    struct topology topology;
    struct topology_range ranges[RANGE_COUNT];
    struct node_counters counters;
    struct hot_keys hot_keys; /* Nothing is sampled. */
    struct timekeeper timekeeper;
    struct histogram read_latency_us;
    struct histogram write_latency_us;
    struct coordinator *coordinator;
    struct scripted nodes[NODE_COUNT];
    uint64_t now_ns;
    struct env_timer *timers[TIMER_COUNT_MAX];
    uint64_t timer_ns[TIMER_COUNT_MAX];
    uint64_t issued;
    bool ended;
    enum status status; /* Of the operation that ended. */
    struct version version;
} lab;

/* ------------------------------------------------------------------ env */

static uint64_t lab_monotonic_ns(struct env *env)
{
    (void)env;
    return lab.now_ns;
}

static int64_t lab_realtime_ms(struct env *env)
{
    (void)env;
    return 1;
}

static void lab_timer_stop(struct env *env, struct env_timer *timer)
{
    (void)env;
    for (uint32_t index = 0; index < TIMER_COUNT_MAX; index++) {
        if (lab.timers[index] == timer) {
            lab.timers[index] = NULL;
        }
    }
}

static void lab_timer_start(struct env *env, struct env_timer *timer, uint64_t delay_ns)
{
    lab_timer_stop(env, timer);
    for (uint32_t index = 0; index < TIMER_COUNT_MAX; index++) {
        if (lab.timers[index] == NULL) {
            lab.timers[index] = timer;
            lab.timer_ns[index] = lab.now_ns + delay_ns;
            return;
        }
    }
    cr_assert(false, "too many timers");
}

static const struct env_ops lab_ops = {
    .monotonic_ns = lab_monotonic_ns,
    .realtime_ms = lab_realtime_ms,
    .timer_start = lab_timer_start,
    .timer_stop = lab_timer_stop,
};

static void pass(uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed++) {
        lab.now_ns += MS;
        for (uint32_t index = 0; index < TIMER_COUNT_MAX; index++) {
            struct env_timer *timer = lab.timers[index];
            if (timer != NULL && lab.timer_ns[index] <= lab.now_ns) {
                lab.timers[index] = NULL;
                timer->fired(timer);
            }
        }
    }
}

/* ------------------------------------------------------------------ what stands in */

bool peers_up(const struct peers *peers, uint32_t id)
{
    (void)peers;
    return !lab.nodes[id].down;
}

static void payload_keep(struct scripted *node, struct slice payload)
{
    cr_assert_leq(payload.size, sizeof(node->payload));
    if (payload.size > 0) {
        memcpy(node->payload, payload.data, payload.size);
    }
    node->payload_size = payload.size;
}

enum status peers_request(struct peers *peers, struct peer_request *request, struct slice payload)
{
    (void)peers;
    struct scripted *node = &lab.nodes[request->peer_id];
    cr_assert_null(node->request, "node %u is asked twice", request->peer_id);
    if (node->down) {
        return STATUS_UNAVAILABLE;
    }
    request->id = 1;
    node->request = request;
    node->asked_count++;
    payload_keep(node, payload);
    return STATUS_OK;
}

void peers_cancel(struct peers *peers, struct peer_request *request)
{
    (void)peers;
    if (request->id != 0) {
        cr_assert_eq(lab.nodes[request->peer_id].request, request);
        lab.nodes[request->peer_id].request = NULL;
        request->id = 0;
    }
}

enum status replica_check(const struct replica *replica, uint32_t first_range, uint32_t last_range,
                          const struct topology_stamp *stamp)
{
    (void)replica;
    (void)first_range;
    (void)last_range;
    cr_assert_eq(stamp->epoch, lab.topology.stamp.epoch);
    return STATUS_OK;
}

static void local_keep(struct replica_operation *operation)
{
    cr_assert_null(lab.nodes[SELF].local);
    lab.nodes[SELF].local = operation;
    lab.nodes[SELF].asked_count++;
}

void replica_read(struct replica *replica, struct slice engine_key,
                  struct replica_operation *operation)
{
    (void)replica;
    (void)engine_key;
    lab.nodes[SELF].payload_size = 0; /* What tells it from a write. */
    local_keep(operation);
}

void replica_write(struct replica *replica, const struct message_write *write,
                   struct replica_operation *operation)
{
    (void)replica;
    struct buffer payload = {0};
    message_write_encode(&payload, write);
    payload_keep(&lab.nodes[SELF], buffer_slice(&payload));
    buffer_deinit(&payload);
    local_keep(operation);
}

void replica_scan(struct replica *replica, const struct message_scan *scan,
                  struct replica_operation *operation)
{
    (void)replica;
    (void)scan;
    (void)operation;
    cr_assert(false, "no test scans the coordinator's own replica");
}

void replica_hold(struct replica *replica)
{
    (void)replica;
}

void replica_release(struct replica *replica)
{
    (void)replica;
}

void replica_operation_deinit(struct replica_operation *operation)
{
    (void)operation;
}

void replica_operation_reset(struct replica_operation *operation)
{
    (void)operation;
}

enum status timekeeper_issue(struct timekeeper *timekeeper, uint64_t *time)
{
    (void)timekeeper;
    *time = ++lab.issued;
    return STATUS_OK;
}

void timekeeper_wait(struct timekeeper *timekeeper, struct timekeeper_wait *wait)
{
    (void)timekeeper;
    (void)wait;
}

/* ------------------------------------------------------------------ serving */

static void merge(struct scripted *node, struct slice payload, struct version *standing)
{
    struct message_write write;
    cr_assert_eq(message_write_decode(payload, &write), STATUS_OK);
    if (version_compare(write.cell.version, node->held) >= 0) {
        node->held = write.cell.version;
        *standing = (struct version){0};
    } else {
        *standing = write.repair ? (struct version){0} : node->held;
    }
}

static struct cell held_cell(const struct scripted *node)
{
    return (struct cell){.version = node->held, .kind = CELL_VALUE, .value = slice_text("a value")};
}

static void serve_local(struct scripted *node)
{
    struct replica_operation *operation = node->local;
    enum status status = node->says;
    node->local = NULL;
    if (status == STATUS_OK && node->payload_size > 0) {
        merge(node, slice_make(node->payload, node->payload_size), &operation->standing);
        status = operation->standing.time > 0 ? STATUS_SUPERSEDED : STATUS_OK;
    } else if (status == STATUS_OK) {
        operation->found = node->held.time > 0;
        operation->cell = held_cell(node);
    }
    operation->done(operation, status);
}

/* One key of the first range for each version: replicas may lack each other's. */
static void scan_key(struct buffer *engine_key, uint64_t time)
{
    for (uint32_t try = 0;; try++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "%u of %u", try, (unsigned)time);
        uint64_t token = token_of(1, slice_text(key));
        if (ring_range_of(token, RANGE_COUNT) == 0) {
            token_engine_key(engine_key, 1, token, slice_text(key));
            return;
        }
    }
}

static enum status reply_make(struct scripted *node, uint8_t type, struct buffer *to)
{
    struct slice payload = slice_make(node->payload, node->payload_size);
    if (type == FRAME_WRITE) {
        struct version standing;
        merge(node, payload, &standing);
        if (standing.time > 0) {
            message_write_reply_encode(to, standing);
            return STATUS_SUPERSEDED;
        }
        return STATUS_OK;
    }
    if (type == FRAME_READ) {
        struct message_read read;
        cr_assert_eq(message_read_decode(payload, &read), STATUS_OK);
        struct message_read_reply reply = {
            .found = node->held.time > 0, .digest = read.digest, .cell = held_cell(node)};
        message_read_reply_encode(to, &reply);
        return STATUS_OK;
    }
    struct message_scan scan;
    cr_assert_eq(message_scan_decode(payload, &scan), STATUS_OK);
    if (node->held.time > 0) {
        struct buffer engine_key = {0};
        scan_key(&engine_key, node->held.time);
        struct message_scan_entry entry = {.engine_key = buffer_slice(&engine_key),
                                           .cell = held_cell(node)};
        message_scan_entry_encode(to, &entry);
        buffer_deinit(&engine_key);
    }
    message_scan_end_encode(to, false, scan.last);
    return STATUS_OK;
}

static bool waits(uint32_t id)
{
    return lab.nodes[id].request != NULL || lab.nodes[id].local != NULL;
}

/* Node `id` answers what it was asked. */
static void serve(uint32_t id)
{
    struct scripted *node = &lab.nodes[id];
    cr_assert(waits(id), "node %u was not asked", id);
    if (node->local != NULL) {
        serve_local(node);
        return;
    }
    struct peer_request *request = node->request;
    struct buffer payload = {0};
    enum status status = node->says;
    if (status == STATUS_OK) {
        status = reply_make(node, request->type, &payload);
    }
    struct frame reply = {.type = request->type,
                          .flags = FRAME_FLAG_REPLY,
                          .sender = id,
                          .status = (uint32_t)status,
                          .payload = buffer_slice(&payload)};
    node->request = NULL;
    request->id = 0;
    request->done(request, STATUS_OK, &reply);
    buffer_deinit(&payload);
}

/* Whoever of `mask` is asked answers, until nobody of them waits. */
static void serve_all(uint32_t mask)
{
    for (bool served = true; served;) {
        served = false;
        for (uint32_t id = 1; id < NODE_COUNT; id++) {
            if ((mask & BIT(id)) != 0 && waits(id)) {
                serve(id);
                served = true;
            }
        }
    }
}

/* ------------------------------------------------------------------ the lab */

static struct ring_replicas set_of(uint32_t mask)
{
    struct ring_replicas set = {0};
    for (uint32_t id = 1; id < NODE_COUNT; id++) {
        if ((mask & BIT(id)) != 0) {
            set.ids[set.count++] = id;
        }
    }
    return set;
}

#define SET2(a, b) (BIT(a) | BIT(b))
#define SET3(a, b, c) (BIT(a) | BIT(b) | BIT(c))
#define EVERYBODY UINT32_MAX

/* Every range goes on like this, in a new epoch. */
static void range_set(enum topology_stage stage, uint32_t replicas, uint32_t next)
{
    lab.topology.stamp.epoch++;
    for (uint32_t index = 0; index < RANGE_COUNT; index++) {
        lab.ranges[index] = (struct topology_range){.replicas = set_of(replicas),
                                                    .next = set_of(next),
                                                    .stage = stage,
                                                    .epoch = lab.topology.stamp.epoch};
    }
    if (lab.coordinator != NULL) {
        coordinator_adopted(lab.coordinator);
    }
}

static void lab_open(void)
{
    memset(&lab, 0, sizeof(lab));
    lab.env.ops = &lab_ops;
    lab.now_ns = MS;
    config_defaults(&lab.config);
    lab.config.id = SELF;
    lab.config.request_timeout_ms = TIMEOUT_MS;
    lab.topology = (struct topology){.cluster_id = 1,
                                     .stamp = {.generation = {.number = 1}},
                                     .range_count = RANGE_COUNT,
                                     .ranges = lab.ranges};
    hlc_init(&lab.timekeeper.hlc, &lab.env, UINT64_C(1) << 40);
    range_set(TOPOLOGY_STABLE, SET3(1, 2, 3), 0);
    struct coordinator_options options = {.config = &lab.config,
                                          .timekeeper = &lab.timekeeper,
                                          .topology = &lab.topology,
                                          .counters = &lab.counters,
                                          .hot_keys = &lab.hot_keys,
                                          .read_latency_us = &lab.read_latency_us,
                                          .write_latency_us = &lab.write_latency_us};
    cr_assert_eq(coordinator_open(&lab.env, &options, &lab.coordinator), STATUS_OK);
}

static void lab_close(void)
{
    coordinator_stop(lab.coordinator);
    for (uint32_t id = 1; id < NODE_COUNT; id++) {
        cr_expect_null(lab.nodes[id].request, "node %u is still asked", id);
    }
    if (lab.nodes[SELF].local != NULL) {
        serve(SELF);
    }
    cr_expect(coordinator_stopped(lab.coordinator));
    coordinator_close(lab.coordinator);
}

static void write_done(struct coordinator_write *write, enum status status)
{
    cr_assert_not(lab.ended);
    lab.ended = true;
    lab.status = status;
    lab.version = write->version;
}

static struct coordinator_write the_write;

static void write_begin(enum level level)
{
    the_write = (struct coordinator_write){.keyspace = 1,
                                           .key = slice_text("key"),
                                           .cell = {.kind = CELL_VALUE, .value = slice_text("v")},
                                           .level = level,
                                           .done = write_done};
    lab.ended = false;
    coordinator_write(lab.coordinator, &the_write);
}

static void read_done(struct coordinator_read *read, enum status status)
{
    cr_assert_not(lab.ended);
    lab.ended = true;
    lab.status = status;
    lab.version = read->cell.version;
}

static struct coordinator_read the_read;

static void read_begin(enum level level)
{
    the_read = (struct coordinator_read){
        .keyspace = 1, .key = slice_text("key"), .level = level, .done = read_done};
    lab.ended = false;
    coordinator_read(lab.coordinator, &the_read);
}

static uint32_t scan_key_count;
static uint64_t scan_next;

static void scan_done(struct coordinator_scan *scan, enum status status)
{
    cr_assert_not(lab.ended);
    lab.ended = true;
    lab.status = status;
    scan_key_count = scan->entry_count;
    scan_next = scan->next;
}

static struct coordinator_scan the_scan;

static void scan_begin(uint64_t cursor)
{
    the_scan = (struct coordinator_scan){
        .keyspace = 1, .cursor = cursor, .count = 100, .level = LEVEL_QUORUM, .done = scan_done};
    lab.ended = false;
    coordinator_scan(lab.coordinator, &the_scan);
}

static void expect_ended(enum status status)
{
    cr_assert(lab.ended, "still under way, expected \"%s\"", status_name(status));
    cr_assert_eq(lab.status, status, "\"%s\" instead of \"%s\"", status_name(lab.status),
                 status_name(status));
}

static void expect_open(void)
{
    cr_assert_not(lab.ended, "ended with \"%s\"", status_name(lab.status));
}

static uint32_t bits(uint32_t mask)
{
    return (uint32_t)__builtin_popcount(mask);
}

static const enum topology_stage moving[] = {TOPOLOGY_WRITE_BOTH_READ_OLD,
                                             TOPOLOGY_WRITE_BOTH_READ_NEW};

/* Old and new sets that share all, most, some or none. */
static const struct {
    uint32_t replicas;
    uint32_t next;
} shapes[] = {
    {SET3(1, 2, 3), SET3(1, 2, 4)}, /* One replaced. */
    {SET3(1, 2, 3), SET3(1, 4, 5)}, /* Two replaced. */
    {SET3(1, 2, 3), SET3(4, 5, 6)}, /* All. */
    {BIT(1), SET3(1, 2, 3)},        /* A greater factor, */
    {SET3(1, 2, 3), SET3(1, 2, 3) | SET2(4, 5)},
    {SET3(1, 2, 3) | SET2(4, 5), SET3(3, 4, 6)}, /* a smaller one. */
    {SET3(1, 2, SELF), SET3(1, 2, 3)},           /* The coordinator leaves, */
    {SET3(1, 2, 3), SET3(1, 2, SELF)},           /* or enters. */
};

static uint32_t needed_of(enum level level, uint32_t set)
{
    return level == LEVEL_ONE ? 1 : level == LEVEL_ALL ? bits(set) : bits(set) / 2 + 1;
}

static bool enough(enum level level, uint32_t set, uint32_t mask)
{
    return bits(set & mask) >= needed_of(level, set);
}

#endif
