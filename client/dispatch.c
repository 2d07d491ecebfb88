/* client/dispatch.c -- choosing nodes, waiting for sockets, and trying again. */
#include "client/dispatch.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/memory.h"
#include "base/token.h"
#include "client/topology_view.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define POLL_MS_MAX 60000

uint64_t dispatch_now_ns(void)
{
    struct timespec now;
    int failed = clock_gettime(CLOCK_MONOTONIC, &now);
    ASSERT(failed == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ------------------------------------------------------------------ targets */

static bool target_in_use(const struct target *target)
{
    return target->endpoint || target->member || target->pin_count > 0 ||
           !list_empty(&target->connection.operations);
}

struct target *dispatch_target(struct kv_client *client, const struct address *address)
{
    char name[ADDRESS_TEXT_SIZE_MAX];
    address_format(address, name);
    struct target *unused = NULL;
    for (uint32_t index = 0; index < client->target_count; index++) {
        struct target *target = client->targets[index];
        if (strcmp(target->name, name) == 0) {
            return target;
        }
        if (!target_in_use(target)) {
            unused = target;
        }
    }
    if (client->target_count == DISPATCH_TARGET_COUNT_MAX) {
        if (unused == NULL) {
            return NULL;
        }
        connection_close(&unused->connection);
        operation_deinit(&unused->probe);
    } else {
        unused = memory_allocate_zeroed(1, sizeof(*unused));
        if (unused == NULL) {
            return NULL;
        }
        client->targets[client->target_count++] = unused;
    }
    *unused = (struct target){0};
    connection_init(&unused->connection, address);
    list_init(&unused->probe.node);
    (void)snprintf(unused->name, sizeof(unused->name), "%s", name);
    return unused;
}

static struct target *target_of_member(const struct kv_client *client, uint32_t id)
{
    const struct kv_member *member = kv_ring_member(&client->ring, id);
    return member != NULL ? client->member_targets[member - client->ring.members] : NULL;
}

/* ------------------------------------------------------------------ routing */

static bool was_tried(const struct operation *operation, const struct target *target)
{
    for (uint32_t index = 0; index < operation->tried_count; index++) {
        if (operation->tried[index] == target) {
            return true;
        }
    }
    return false;
}

/* A replica of the operation's range that was not tried and is not avoided. */
static struct target *replica_choose(struct kv_client *client, const struct operation *operation)
{
    if (!operation->routed || !client->ring_known) {
        return NULL;
    }
    uint64_t range_size = UINT64_MAX / client->ring.range_count + 1; /* 0 for one range. */
    uint64_t range = range_size == 0 ? 0 : operation->token / range_size;
    const struct kv_replicas *replicas = &client->ring.ranges[range];
    uint64_t start = operation->writes ? operation->token : client->rotation++;
    for (uint32_t step = 0; step < replicas->count; step++) {
        uint32_t at = (uint32_t)((start + step) % replicas->count);
        struct target *target = target_of_member(client, replicas->ids[at]);
        if (target != NULL && target->failure_count == 0 && !was_tried(operation, target)) {
            return target;
        }
    }
    return NULL;
}

/* Any node not tried in this round; of several, one that is not avoided, else the one that is to be
 * probed first. NULL: the round is over. */
static struct target *any_choose(struct kv_client *client, const struct operation *operation)
{
    struct target *best = NULL;
    uint64_t best_until_ns = UINT64_MAX;
    uint32_t start = client->rotation++;
    for (uint32_t step = 0; step < client->target_count; step++) {
        struct target *target = client->targets[(start + step) % client->target_count];
        uint64_t until_ns = target->failure_count > 0 ? target->probe_at_ns : 0;
        if ((target->endpoint || target->member) && !was_tried(operation, target) &&
            until_ns < best_until_ns) {
            best = target;
            best_until_ns = until_ns;
        }
    }
    return best;
}

static struct target *target_choose(struct kv_client *client, const struct operation *operation)
{
    if (operation->tried_count == OPERATION_TRIED_COUNT_MAX) {
        return NULL;
    }
    if (operation->only != NULL) {
        return operation->tried_count == 0 ? operation->only : NULL;
    }
    struct target *target = replica_choose(client, operation);
    return target != NULL ? target : any_choose(client, operation);
}

/* ------------------------------------------------------------------ ends and further tries */

static void operation_finish(struct kv_client *client, struct operation *operation)
{
    operation->result.latency_us = (dispatch_now_ns() - operation->begun_ns) / 1000;
    operation->result.key = operation->key;
    operation->state = OPERATION_DONE;
    if (operation->only != NULL) {
        operation->only->pin_count--;
    }
    if (operation == &client->refresh && operation->result.outcome == KV_OK &&
        dispatch_adopt(client, operation->result.value)) {
        client->refresh_due_ns = dispatch_now_ns() + DISPATCH_REFRESH_MS * NS_PER_MS;
    }
}

static uint64_t backoff_ns(uint64_t min_ms, uint64_t max_ms, uint32_t doublings)
{
    uint64_t ms = doublings >= 16 ? max_ms : min_ms << doublings;
    return (ms < max_ms ? ms : max_ms) * NS_PER_MS;
}

static void wait_again(struct kv_client *client, struct operation *operation, uint64_t now_ns)
{
    operation->state = OPERATION_WAITING;
    operation->retry_at_ns = now_ns;
    if (target_choose(client, operation) == NULL) {
        operation->tried_count = 0;
        operation->retry_at_ns +=
            backoff_ns(DISPATCH_BACKOFF_MS_MIN, DISPATCH_BACKOFF_MS_MAX, operation->round_count++);
    }
    list_append(&client->waiting, &operation->node);
}

static void verdict_follow(struct kv_client *client, struct operation *operation,
                           enum operation_verdict verdict)
{
    if (verdict == OPERATION_FINAL) {
        operation_finish(client, operation);
    } else {
        wait_again(client, operation, dispatch_now_ns());
    }
}

/* The connection is gone; what was owed on it is judged one by one. */
static void target_lost(struct kv_client *client, struct target *target, enum kv_reason reason)
{
    struct connection *connection = &target->connection;
    char message[KV_MESSAGE_SIZE_MAX];
    (void)snprintf(message, sizeof(message), "%s: %s", target->name, connection->fault);
    uint64_t sent_offset = connection->sent_offset;
    target->probe_at_ns =
        dispatch_now_ns() +
        backoff_ns(DISPATCH_AVOID_MS_MIN, DISPATCH_AVOID_MS_MAX, target->failure_count++);
    client->refresh_wanted = true;
    connection_close(connection);
    struct list_node *node;
    while ((node = list_take_first(&connection->operations)) != NULL) {
        struct operation *operation = container_of(node, struct operation, node);
        bool left = operation->stream_begin < sent_offset;
        verdict_follow(client, operation, operation_lost(operation, reason, left, message));
    }
}

/* ------------------------------------------------------------------ sending */

static void operation_send(struct kv_client *client, struct operation *operation, uint64_t now_ns)
{
    struct target *target = target_choose(client, operation);
    if (target == NULL) {
        /* What was a candidate when it was put in line is none any more. */
        wait_again(client, operation, now_ns);
        return;
    }
    struct connection *connection = &target->connection;
    operation->result.try_count++;
    operation->tried[operation->tried_count++] = target;
    if (connection_is_stale(connection)) {
        connection_close(connection);
    }
    if (connection->state == CONNECTION_CLOSED) {
        if (connection_begin(connection) != STATUS_OK) {
            list_append(&connection->operations, &operation->node);
            operation->stream_begin = connection->stream_end;
            target_lost(client, target, KV_REASON_UNREACHABLE);
            return;
        }
        connection->deadline_ns = now_ns + client->connect_timeout_ns;
    } else if (list_empty(&connection->operations)) {
        connection->deadline_ns = now_ns + client->answer_timeout_ns;
    }
    operation->stream_begin = connection->stream_end;
    operation->state = OPERATION_SENT;
    connection_append(connection, buffer_slice(&operation->request));
    list_append(&connection->operations, &operation->node);
}

/* Sends what is due; the rest keeps its order. Those put back meanwhile wait for the next turn. */
static void waiting_send(struct kv_client *client, uint64_t now_ns)
{
    struct list_node due;
    list_init(&due);
    list_for_each (node, next, &client->waiting) {
        struct operation *operation = container_of(node, struct operation, node);
        if (operation->retry_at_ns <= now_ns) {
            list_remove(node);
            list_append(&due, node);
        }
    }
    struct list_node *node;
    while ((node = list_take_first(&due)) != NULL) {
        operation_send(client, container_of(node, struct operation, node), now_ns);
    }
}

void dispatch_submit(struct kv_client *client, struct operation *operation)
{
    ASSERT(operation->state == OPERATION_IDLE);
    operation->begun_ns = dispatch_now_ns();
    if (operation->only != NULL) {
        operation->only->pin_count++;
    }
    if (buffer_status(&operation->request) != STATUS_OK) {
        operation->result.outcome = KV_FAILED;
        operation->result.reason = KV_REASON_NO_MEMORY;
        (void)snprintf(operation->result.message, sizeof(operation->result.message),
                       "out of memory for a request");
        operation_finish(client, operation);
        return;
    }
    operation->state = OPERATION_WAITING;
    operation->retry_at_ns = 0;
    list_append(&client->waiting, &operation->node);
}

/* ------------------------------------------------------------------ probes */

static bool probe_wanted(const struct target *target)
{
    return target->failure_count > 0 && (target->endpoint || target->member) &&
           (target->probe.state == OPERATION_IDLE || target->probe.state == OPERATION_DONE);
}

static void probes_submit(struct kv_client *client, uint64_t now_ns)
{
    const struct slice argument = slice_text("PING");
    for (uint32_t index = 0; index < client->target_count; index++) {
        struct target *target = client->targets[index];
        if (probe_wanted(target) && target->probe_at_ns <= now_ns) {
            operation_encode(&target->probe, &argument, 1);
            target->probe.answer = OPERATION_ANSWER_ANY;
            target->probe.try_count_max = 1;
            target->probe.only = target;
            dispatch_submit(client, &target->probe);
        }
    }
}

/* ------------------------------------------------------------------ the ring */

static uint64_t refresh_time_ns(const struct kv_client *client)
{
    if (!client->routing || client->refresh.state == OPERATION_WAITING ||
        client->refresh.state == OPERATION_SENT) {
        return UINT64_MAX;
    }
    uint64_t wanted_ns = client->refresh_wanted ? 0 : client->refresh_due_ns;
    return wanted_ns > client->refresh_not_before_ns ? wanted_ns : client->refresh_not_before_ns;
}

static void refresh_submit(struct kv_client *client, uint64_t now_ns)
{
    const struct slice argument = slice_text("KV.RING");
    operation_encode(&client->refresh, &argument, 1);
    client->refresh.answer = OPERATION_ANSWER_ANY;
    client->refresh.try_count_max = client->target_count;
    client->refresh_wanted = false;
    client->refresh_due_ns = now_ns + DISPATCH_REFRESH_MS * NS_PER_MS;
    client->refresh_not_before_ns = now_ns + DISPATCH_REFRESH_MS_MIN * NS_PER_MS;
    dispatch_submit(client, &client->refresh);
}

void dispatch_learn(struct kv_client *client)
{
    uint64_t now_ns = dispatch_now_ns();
    if (client->ring_known || refresh_time_ns(client) > now_ns) {
        return;
    }
    refresh_submit(client, now_ns);
    dispatch_drive(client, &client->refresh);
}

void dispatch_refresh(struct kv_client *client)
{
    if (client->refresh.state != OPERATION_WAITING && client->refresh.state != OPERATION_SENT) {
        refresh_submit(client, dispatch_now_ns());
    }
    dispatch_drive(client, &client->refresh);
}

bool dispatch_adopt(struct kv_client *client, struct slice json)
{
    struct kv_ring ring;
    if (topology_view_ring(json, &ring) != STATUS_OK) {
        return false;
    }
    if (client->ring_known && client->ring.cluster_id == ring.cluster_id &&
        ring.generation == client->ring.generation && ring.epoch < client->ring.epoch) {
        /* A node that lags behind; what is known already is better. */
        topology_view_ring_free(&ring);
        return true;
    }
    topology_view_ring_free(&client->ring);
    client->ring = ring;
    client->ring_known = true;
    client->keyspace = ring.keyspace_count > 0 ? ring.keyspaces[0].number : 0;
    for (uint32_t index = 0; index < client->target_count; index++) {
        client->targets[index]->member = false;
    }
    for (uint32_t index = 0; index < ring.member_count; index++) {
        struct address address;
        client->member_targets[index] = NULL;
        if (client->routing && address_parse(ring.members[index].client, &address) == STATUS_OK) {
            client->member_targets[index] = dispatch_target(client, &address);
        }
        if (client->member_targets[index] != NULL) {
            client->member_targets[index]->member = true;
        }
    }
    return true;
}

/* ------------------------------------------------------------------ one turn */

static enum status replies_take(struct kv_client *client, struct target *target, uint64_t now_ns)
{
    struct connection *connection = &target->connection;
    struct slice reply;
    enum status status;
    while ((status = connection_reply(connection, &reply)) == STATUS_OK) {
        struct list_node *node = list_take_first(&connection->operations);
        struct operation *operation = container_of(node, struct operation, node);
        target->failure_count = 0;
        verdict_follow(client, operation, operation_answered(operation, reply, target->name));
        connection->deadline_ns =
            list_empty(&connection->operations) ? 0 : now_ns + client->answer_timeout_ns;
    }
    return status == STATUS_WOULD_BLOCK ? STATUS_OK : status;
}

static void target_ready(struct kv_client *client, struct target *target, short events)
{
    struct connection *connection = &target->connection;
    uint64_t now_ns = dispatch_now_ns();
    if (connection->state == CONNECTION_CONNECTING) {
        if (connection_continue(connection) != STATUS_OK) {
            target_lost(client, target, KV_REASON_UNREACHABLE);
            return;
        }
        if (connection->state == CONNECTION_READY) {
            connection->deadline_ns = now_ns + client->answer_timeout_ns;
        }
        return;
    }
    if ((events & (POLLIN | POLLHUP | POLLERR)) == 0) {
        return;
    }
    enum status received = connection_receive(connection);
    enum status status = replies_take(client, target, now_ns);
    if (status == STATUS_OK) {
        status = received;
    }
    if (status != STATUS_OK) {
        target_lost(client, target,
                    status == STATUS_CORRUPT ? KV_REASON_PROTOCOL : KV_REASON_BROKEN);
    }
}

static void flush_all(struct kv_client *client)
{
    for (uint32_t index = 0; index < client->target_count; index++) {
        struct target *target = client->targets[index];
        if (target->connection.state == CONNECTION_READY &&
            connection_has_output(&target->connection) &&
            connection_flush(&target->connection) != STATUS_OK) {
            target_lost(client, target, KV_REASON_BROKEN);
        }
    }
}

static void deadlines_judge(struct kv_client *client)
{
    uint64_t now_ns = dispatch_now_ns();
    for (uint32_t index = 0; index < client->target_count; index++) {
        struct target *target = client->targets[index];
        struct connection *connection = &target->connection;
        if (connection->deadline_ns == 0 || now_ns < connection->deadline_ns) {
            continue;
        }
        bool connecting = connection->state == CONNECTION_CONNECTING;
        (void)snprintf(connection->fault, sizeof(connection->fault),
                       connecting ? "no connection in time" : "no answer in time");
        target_lost(client, target, connecting ? KV_REASON_UNREACHABLE : KV_REASON_TIMEOUT);
    }
}

/* When something must happen even if no socket stirs. */
static uint64_t wake_time_ns(const struct kv_client *client)
{
    uint64_t wake_ns = refresh_time_ns(client);
    for (uint32_t index = 0; index < client->target_count; index++) {
        const struct target *target = client->targets[index];
        uint64_t deadline_ns = target->connection.deadline_ns;
        if (deadline_ns != 0 && deadline_ns < wake_ns) {
            wake_ns = deadline_ns;
        }
        if (probe_wanted(target) && target->probe_at_ns < wake_ns) {
            wake_ns = target->probe_at_ns;
        }
    }
    list_for_each (node, next, &client->waiting) {
        const struct operation *operation = container_of(node, struct operation, node);
        if (operation->retry_at_ns < wake_ns) {
            wake_ns = operation->retry_at_ns;
        }
    }
    return wake_ns;
}

static uint32_t polls_fill(struct kv_client *client)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < client->target_count; index++) {
        struct target *target = client->targets[index];
        const struct connection *connection = &target->connection;
        if (connection->state == CONNECTION_CLOSED) {
            continue;
        }
        bool connecting = connection->state == CONNECTION_CONNECTING;
        if (!connecting && list_empty(&connection->operations)) {
            continue; /* Idle: connection_is_stale() looks when it is needed. */
        }
        bool writes = connecting || connection_has_output(connection);
        client->polls[count] =
            (struct pollfd){.fd = connection->fd,
                            .events = (short)((connecting ? 0 : POLLIN) | (writes ? POLLOUT : 0))};
        client->polled[count++] = target;
    }
    return count;
}

static void turn(struct kv_client *client, bool wait)
{
    uint64_t now_ns = dispatch_now_ns();
    if (refresh_time_ns(client) <= now_ns) {
        refresh_submit(client, now_ns);
    }
    probes_submit(client, now_ns);
    waiting_send(client, now_ns);
    flush_all(client);
    uint64_t wake_ns = wake_time_ns(client);
    int timeout_ms = 0;
    if (wait && wake_ns > now_ns) {
        uint64_t left_ms = (wake_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
        timeout_ms = left_ms < POLL_MS_MAX ? (int)left_ms : POLL_MS_MAX;
    }
    uint32_t count = polls_fill(client);
    if (poll(client->polls, count, timeout_ms) > 0) {
        for (uint32_t index = 0; index < count; index++) {
            if (client->polls[index].revents != 0) {
                target_ready(client, client->polled[index], client->polls[index].revents);
            }
        }
    }
    deadlines_judge(client);
}

void dispatch_drive(struct kv_client *client, const struct operation *operation)
{
    while (operation->state != OPERATION_DONE) {
        ASSERT(operation->state != OPERATION_IDLE);
        turn(client, true);
    }
}

void dispatch_poke(struct kv_client *client)
{
    turn(client, false);
}

/* The target on whose connection an answer to the operation is owed. */
static struct target *target_owing(const struct kv_client *client,
                                   const struct operation *operation)
{
    for (uint32_t index = 0; index < client->target_count; index++) {
        struct target *target = client->targets[index];
        list_for_each (node, next, &target->connection.operations) {
            if (node == &operation->node) {
                return target;
            }
        }
    }
    UNREACHABLE("an operation that was sent is on no connection");
}

void dispatch_abandon(struct kv_client *client, struct operation *operation)
{
    bool under_way = operation->state == OPERATION_SENT || operation->state == OPERATION_WAITING;
    if (operation->state == OPERATION_SENT) {
        struct target *target = target_owing(client, operation);
        (void)snprintf(target->connection.fault, sizeof(target->connection.fault), "given up");
        list_remove(&operation->node);
        target_lost(client, target, KV_REASON_BROKEN);
        target->failure_count = 0; /* It did nothing wrong. */
    }
    list_remove(&operation->node);
    if (operation->only != NULL && under_way) {
        operation->only->pin_count--;
    }
    operation->state = OPERATION_IDLE;
}
