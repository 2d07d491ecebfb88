/*
 * node/peers_liveness.c -- heartbeats: what is sent to hear whether peers live.
 */
#include "base/log.h"
#include "node/peers_internal.h"

static void heartbeat_done(struct peer_request *request, enum status status,
                           const struct frame *reply)
{
    struct peer *peer = container_of(request, struct peer, heartbeat);
    peer->ping_pending = false;
    struct message_ping ping;
    if (status == STATUS_OK && message_ping_decode(reply->payload, &ping) == STATUS_OK) {
        peer->ping = ping;
    }
}

static void ping_send(struct peer *peer, struct peer_request *request)
{
    struct peers *peers = peer->peers;
    struct message_ping ping = {0};
    peers->events->ping(peers->context, &ping);
    struct buffer payload = {0};
    message_ping_encode(&payload, &ping);
    if (buffer_status(&payload) == STATUS_OK) {
        enum status status = peer_send_request(peer, request, buffer_slice(&payload));
        (void)status; /* Not sent: its id stays 0, and it is tried with the next one. */
    }
    buffer_deinit(&payload);
}

static void announcement_done(struct peer_request *request, enum status status,
                              const struct frame *reply)
{
    (void)request; /* What counts was in the frames' headers. */
    (void)status;
    (void)reply;
}

void peers_announce(struct peers *peers)
{
    struct frame own = {0};
    peers->events->fill(peers->context, &own);
    for (uint32_t index = 0; index < peers->count; index++) {
        struct peer *peer = peers->all[index];
        if (peer->state != OUTGOING_READY || peer->congested || peer->epoch >= own.stamp.epoch) {
            continue;
        }
        peers_cancel(peers, &peer->announcement); /* It told of an older one. */
        peer->announcement = (struct peer_request){.peer_id = peer->id,
                                                   .type = FRAME_PING,
                                                   .range = FRAME_NO_RANGE,
                                                   .done = announcement_done};
        ping_send(peer, &peer->announcement);
    }
}

static void peer_beat(struct peer *peer)
{
    struct peers *peers = peer->peers;
    if (peer->state == OUTGOING_IDLE) {
        if (env_monotonic_ns(peers->env) >= peer->retry_ns) {
            peer_connect(peer);
        }
        return;
    }
    if (++peer->silent_rounds > SILENCE_ROUNDS_MAX) {
        log_warn(peers->env, "peer.silent", "peer=%u rounds=%u", peer->id, peer->silent_rounds);
        peer->silent_rounds = 0;
        peer_close(peer);
        return;
    }
    if (peer->state != OUTGOING_READY || peer->ping_pending) {
        return;
    }
    peer->heartbeat = (struct peer_request){
        .peer_id = peer->id, .type = FRAME_PING, .range = FRAME_NO_RANGE, .done = heartbeat_done};
    ping_send(peer, &peer->heartbeat);
    peer->ping_pending = peer->heartbeat.id != 0;
}

void heartbeat_fired(struct env_timer *timer)
{
    struct peers *peers = container_of(timer, struct peers, heartbeat);
    for (uint32_t index = 0; index < peers->count; index++) {
        peer_beat(peers->all[index]);
    }
    if (peers->contact != NULL) {
        peer_beat(peers->contact);
    }
    links_reap(peers);
    env_timer_start_ms(peers->env, timer, peers->config->heartbeat_ms);
}
