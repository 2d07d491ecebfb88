/*
 * node/peers_outgoing.c -- the one connection this node keeps to each peer, and its hello there.
 */
#include <string.h>

#include "base/log.h"
#include "node/peers_internal.h"

static void outgoing_opened(struct env_connection *connection);
static void outgoing_received(struct env_connection *connection, struct slice data);
static void outgoing_drained(struct env_connection *connection);
static void outgoing_closed(struct env_connection *connection, enum status why);

static const struct env_net_events outgoing_events = {
    .opened = outgoing_opened,
    .received = outgoing_received,
    .drained = outgoing_drained,
    .closed = outgoing_closed,
};

void peer_close(struct peer *peer)
{
    if (peer->connection != NULL) {
        peer->peers->env->ops->net_close(peer->connection);
    }
}

void peer_connect(struct peer *peer)
{
    struct peers *peers = peer->peers;
    ASSERT(peer->state == OUTGOING_IDLE);
    enum status status = peers->env->ops->net_connect(peers->env, peer->address, ENV_FRAMES,
                                                      &outgoing_events, peer, &peer->connection);
    if (status != STATUS_OK) {
        peer->connection = NULL;
        peer->retry_ns = env_monotonic_ns(peers->env) + RECONNECT_REFUSED_MS * UINT64_C(1000000);
        log_warn(peers->env, "peer.connect_failed", "peer=%u address=%s status=\"%s\"", peer->id,
                 peer->address, status_name(status));
        return;
    }
    peer->state = OUTGOING_CONNECTING;
    peer->silent_rounds = 0;
}

/* Under the address that it gives itself it is reached as others reach it. */
static enum status contact_found(struct peers *peers, const struct message_hello *hello)
{
    log_info(peers->env, "peer.contact", "peer=%u address=%s", hello->id, hello->peer_address);
    return peers_set(peers, hello->id, hello->peer_address);
}

static void greeting_done(struct peer_request *request, enum status status,
                          const struct frame *reply)
{
    struct peer *peer = container_of(request, struct peer, greeting);
    struct peers *peers = peer->peers;
    if (status != STATUS_OK) {
        return; /* The connection ended: `closed` goes on from there. */
    }
    struct message_hello hello;
    enum status answer = (enum status)reply->status;
    if (answer == STATUS_OK) {
        answer = message_hello_decode(reply->payload, &hello);
    }
    if (answer == STATUS_OK && hello.id != peer->id && peer->id != CONTACT_ID) {
        log_warn(peers->env, "peer.other_node", "peer=%u address=%s found=%u", peer->id,
                 peer->address, hello.id);
        answer = STATUS_REFUSED;
    }
    if (answer == STATUS_OK) {
        answer = peers->events->greeted(peers->context, &hello);
    } else {
        log_warn(peers->env, "peer.refused_us", "peer=%u address=%s status=\"%s\"", peer->id,
                 peer->address, status_name(answer));
        peers->events->refused(peers->context, answer);
    }
    if (answer == STATUS_OK && peer->id == CONTACT_ID) {
        answer = contact_found(peers, &hello);
    }
    if (answer != STATUS_OK || peer->id == CONTACT_ID) {
        peer->retry_ns = env_monotonic_ns(peers->env) + RECONNECT_REFUSED_MS * UINT64_C(1000000);
        peer_close(peer);
        return;
    }
    peer->hello = hello;
    peer->greeted = true;
    peer->state = OUTGOING_READY;
    detector_linked(&peer->detector);
    log_info(peers->env, "peer.up", "peer=%u address=%s", peer->id, peer->address);
}

static void outgoing_opened(struct env_connection *connection)
{
    struct peer *peer = connection->context;
    struct peers *peers = peer->peers;
    peer->state = OUTGOING_GREETING;
    peer->connection_number = peers->connection_base + ++peers->connection_count;
    peer->raft_sequence = 0;
    struct message_hello hello = {0};
    peers->events->hello(peers->context, &hello);
    hello.connection = peer->connection_number;
    struct buffer payload = {0};
    message_hello_encode(&payload, &hello);
    peer->greeting = (struct peer_request){
        .peer_id = peer->id, .type = FRAME_HELLO, .range = FRAME_NO_RANGE, .done = greeting_done};
    if (buffer_status(&payload) != STATUS_OK ||
        peer_send_request(peer, &peer->greeting, buffer_slice(&payload)) != STATUS_OK) {
        peer_close(peer);
    }
    buffer_deinit(&payload);
}

static void outgoing_received(struct env_connection *connection, struct slice data)
{
    struct peer *peer = connection->context;
    struct peers *peers = peer->peers;
    struct frame frame;
    enum status status = frame_decode(data, &frame);
    bool stranger = status == STATUS_OK && frame.sender != peer->id && peer->id != CONTACT_ID;
    if (status != STATUS_OK || (frame.flags & FRAME_FLAG_REPLY) == 0 || stranger) {
        peers->counters->frames_bad++;
        log_warn(peers->env, "peer.bad_frame", "peer=%u status=\"%s\"", peer->id,
                 status_name(status));
        peer_close(peer);
        return;
    }
    peers->counters->frames_in++;
    peers->counters->bytes_in += data.size;
    peer->heard_ns = env_monotonic_ns(peers->env);
    detector_heard(&peer->detector, peer->heard_ns);
    peer->silent_rounds = 0;
    peer->epoch = frame.stamp.epoch;
    if (peer->state == OUTGOING_READY) {
        peers->events->heard(peers->context, &frame);
    }
    struct peer_request *request = peer_request_find(peers, frame.request_id);
    if (request != NULL && request->peer_id == peer->id && request->type == frame.type) {
        peer_request_finish(peers, request, STATUS_OK, &frame);
    }
}

static void outgoing_drained(struct env_connection *connection)
{
    struct peer *peer = connection->context;
    peer->congested = false;
}

static void outgoing_closed(struct env_connection *connection, enum status why)
{
    struct peer *peer = connection->context;
    struct peers *peers = peer->peers;
    if (peer->state == OUTGOING_READY) {
        log_info(peers->env, "peer.lost", "peer=%u status=\"%s\"", peer->id, status_name(why));
    }
    peer->state = OUTGOING_IDLE;
    peer->connection = NULL;
    detector_lost(&peer->detector);
    peer->congested = false;
    uint64_t retry_ns = env_monotonic_ns(peers->env) + RECONNECT_MS * UINT64_C(1000000);
    peer->retry_ns = peer->retry_ns > retry_ns ? peer->retry_ns : retry_ns;
    /* A request whose `done` sends again meets IDLE, so this list only shrinks. */
    while (!list_empty(&peer->pending)) {
        struct peer_request *request = container_of(peer->pending.next, struct peer_request, node);
        peer_request_finish(peers, request, STATUS_CLOSED, NULL);
    }
}
