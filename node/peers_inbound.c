/*
 * node/peers_inbound.c -- connections that peers opened: their hello, heartbeats and requests.
 *
 * Invariants:
 *  (1) A link is freed when its connection has closed and nobody holds it. One that brings nothing
 *      for twice as long as its other side would wait for us is closed: that side is gone.
 */
#include "base/log.h"
#include "base/memory.h"
#include "node/peers_internal.h"

static void link_free_if_unused(struct peer_link *link)
{
    if (link->holds == 0 && link->connection == NULL) {
        list_remove(&link->node);
        memory_free(link);
    }
}

void peers_link_hold(struct peer_link *link)
{
    link->holds++;
}

void peers_link_release(struct peer_link *link)
{
    ASSERT(link->holds > 0);
    link->holds--;
    link_free_if_unused(link);
}

static void inbound_opened(struct env_connection *connection)
{
    struct peers *peers = connection->context;
    struct peer_link *link = memory_allocate_zeroed(1, sizeof(*link));
    if (link == NULL || peers->stopping) {
        memory_free(link);
        peers->env->ops->net_close(connection);
        return;
    }
    link->peers = peers;
    link->connection = connection;
    link->heard_ns = env_monotonic_ns(peers->env);
    list_append(&peers->links, &link->node);
    connection->user = link;
}

static void link_greet(struct peer_link *link, const struct frame *request)
{
    struct peers *peers = link->peers;
    struct message_hello hello;
    enum status status = message_hello_decode(request->payload, &hello);
    if (status == STATUS_OK && hello.id != request->sender) {
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        status = peers->events->greeted(peers->context, &hello);
    }
    struct message_hello own = {0};
    peers->events->hello(peers->context, &own);
    struct buffer payload = {0};
    message_hello_encode(&payload, &own);
    if (buffer_status(&payload) == STATUS_OK) {
        peers_reply(peers, link, request, status, buffer_slice(&payload));
    }
    buffer_deinit(&payload);
    if (status != STATUS_OK) {
        log_warn(peers->env, "peer.refused", "peer=%u remote=%s status=\"%s\"", request->sender,
                 peers->env->ops->net_remote(link->connection), status_name(status));
        peers->env->ops->net_close(link->connection);
        return;
    }
    link->peer_id = hello.id;
    link->connection_number = hello.connection;
}

/* Says what this node itself hears, so that no two can vouch for a third by each other's word. */
static void link_probe(struct peer_link *link, const struct frame *request)
{
    struct peers *peers = link->peers;
    uint32_t id = 0;
    struct buffer payload = {0};
    enum status status = message_probe_decode(request->payload, &id);
    const struct peer *peer = status == STATUS_OK ? peer_find(peers, id) : NULL;
    if (status == STATUS_OK) {
        struct message_probe_reply reply = {
            .hears = peer != NULL && peer_state(peer) == NODE_PEER_UP,
            .silence_ms = peer != NULL ? peer_silence_ms(peer) : UINT64_MAX,
        };
        message_probe_reply_encode(&payload, &reply);
        status = buffer_status(&payload);
    }
    peers_reply(peers, link, request, status,
                status == STATUS_OK ? buffer_slice(&payload) : (struct slice){0});
    buffer_deinit(&payload);
}

static void link_request(struct peer_link *link, const struct frame *frame)
{
    struct peers *peers = link->peers;
    peers->events->heard(peers->context, frame);
    if (frame->type == FRAME_RAFT) {
        uint64_t sequence;
        struct slice raft;
        if (message_raft_decode(frame->payload, &sequence, &raft) == STATUS_OK) {
            peers->events->raft(peers->context, frame, link->connection_number, sequence, raft);
        }
        return;
    }
    if (frame->type == FRAME_PING) {
        struct message_ping ping = {0};
        peers->events->ping(peers->context, &ping);
        struct buffer payload = {0};
        message_ping_encode(&payload, &ping);
        if (buffer_status(&payload) == STATUS_OK) {
            peers_reply(peers, link, frame, STATUS_OK, buffer_slice(&payload));
        }
        buffer_deinit(&payload);
        return;
    }
    if (frame->type == FRAME_PROBE) {
        link_probe(link, frame);
        return;
    }
    peers->events->request(peers->context, link, frame);
}

static void inbound_received(struct env_connection *connection, struct slice data)
{
    struct peers *peers = connection->context;
    struct peer_link *link = connection->user;
    if (link == NULL) {
        return;
    }
    struct frame frame;
    enum status status = frame_decode(data, &frame);
    bool reply = status == STATUS_OK && (frame.flags & FRAME_FLAG_REPLY) != 0;
    bool stranger = status == STATUS_OK && link->peer_id != 0 && frame.sender != link->peer_id;
    bool unexpected = status == STATUS_OK && (frame.type == FRAME_HELLO) != (link->peer_id == 0);
    if (status != STATUS_OK || reply || stranger || unexpected) {
        peers->counters->frames_bad++;
        log_warn(peers->env, "peer.bad_frame", "remote=%s status=\"%s\"",
                 peers->env->ops->net_remote(connection), status_name(status));
        peers->env->ops->net_close(connection);
        return;
    }
    peers->counters->frames_in++;
    peers->counters->bytes_in += data.size;
    link->heard_ns = env_monotonic_ns(peers->env);
    if (frame.type == FRAME_HELLO) {
        link_greet(link, &frame);
    } else {
        link_request(link, &frame);
    }
}

static void inbound_drained(struct env_connection *connection)
{
    struct peer_link *link = connection->user;
    if (link != NULL) {
        link->congested = false;
    }
}

static void inbound_closed(struct env_connection *connection, enum status why)
{
    (void)why;
    struct peer_link *link = connection->user;
    if (link != NULL) {
        link->connection = NULL;
        link->congested = false; /* Nothing goes there any more. */
        link_free_if_unused(link);
    }
}

const struct env_net_events peers_inbound_events = {
    .opened = inbound_opened,
    .received = inbound_received,
    .drained = inbound_drained,
    .closed = inbound_closed,
};

void links_reap(struct peers *peers)
{
    uint64_t now_ns = env_monotonic_ns(peers->env);
    uint64_t silence_ms = UINT64_C(2) * SILENCE_ROUNDS_MAX * peers->config->heartbeat_ms;
    list_for_each (node, next, &peers->links) {
        struct peer_link *link = container_of(node, struct peer_link, node);
        uint64_t limit_ms = link->peer_id == 0 ? GREETING_MS : silence_ms;
        if (link->connection != NULL && now_ns - link->heard_ns > limit_ms * UINT64_C(1000000)) {
            log_warn(peers->env, "peer.link_silent", "peer=%u remote=%s", link->peer_id,
                     peers->env->ops->net_remote(link->connection));
            link->heard_ns = now_ns; /* Closing takes a while; told once. */
            peers->env->ops->net_close(link->connection);
        }
    }
}
