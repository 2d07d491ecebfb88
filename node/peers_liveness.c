/*
 * node/peers_liveness.c -- heartbeats, and questions to others about peers that are not heard.
 *
 * What comes of them is detector.h's to say.
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
        detector_beat(&peer->detector, env_monotonic_ns(peer->peers->env));
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
    /* Other words may come all the while, and then nobody would ever notice that it is lost. */
    if (peer->ping_pending && ++peer->ping_rounds > PING_ROUNDS_MAX) {
        peers_cancel(peers, &peer->heartbeat);
        peer->ping_pending = false;
    }
    if (peer->state != OUTGOING_READY || peer->ping_pending) {
        return;
    }
    peer->ping_rounds = 0;
    peer->heartbeat = (struct peer_request){
        .peer_id = peer->id, .type = FRAME_PING, .range = FRAME_NO_RANGE, .done = heartbeat_done};
    ping_send(peer, &peer->heartbeat);
    peer->ping_pending = peer->heartbeat.id != 0;
}

/* ------------------------------------------------------------------ asking others */

static void probe_done(struct peer_request *request, enum status status, const struct frame *reply)
{
    struct peer *about = container_of(request, struct probe, request)->about;
    struct message_probe_reply answer;
    if (status == STATUS_OK && reply->status == (uint32_t)STATUS_OK &&
        message_probe_reply_decode(reply->payload, &answer) == STATUS_OK && answer.hears) {
        detector_vouched(&about->detector, env_monotonic_ns(about->peers->env));
    }
}

void probes_cancel(struct peer *peer)
{
    for (uint32_t index = 0; index < DETECTOR_HELPER_COUNT_MAX; index++) {
        peers_cancel(peer->peers, &peer->probes[index].request);
    }
}

/* One that is up, and is not being asked about `about` already. */
static struct peer *helper_choose(struct peer *about)
{
    struct peers *peers = about->peers;
    for (uint32_t step = 0; step < peers->count; step++) {
        struct peer *helper = peers->all[about->probe_turn++ % peers->count];
        bool asked = false;
        for (uint32_t index = 0; index < DETECTOR_HELPER_COUNT_MAX; index++) {
            const struct peer_request *request = &about->probes[index].request;
            asked = asked || (request->id != 0 && request->peer_id == helper->id);
        }
        if (helper != about && !asked && !helper->congested && peer_state(helper) == NODE_PEER_UP) {
            return helper;
        }
    }
    return NULL;
}

static void probe_send(struct probe *probe, struct peer *helper)
{
    probe->request = (struct peer_request){
        .peer_id = helper->id, .type = FRAME_PROBE, .range = FRAME_NO_RANGE, .done = probe_done};
    struct buffer payload = {0};
    message_probe_encode(&payload, probe->about->id);
    if (buffer_status(&payload) == STATUS_OK) {
        enum status status = peer_send_request(helper, &probe->request, buffer_slice(&payload));
        (void)status; /* Not sent: its id stays 0, and another is asked next time. */
    }
    buffer_deinit(&payload);
}

/* A question stays open while who was asked is up; then another is asked. */
static void peer_probe(struct peer *peer)
{
    for (uint32_t index = 0; index < DETECTOR_HELPER_COUNT_MAX; index++) {
        struct probe *probe = &peer->probes[index];
        if (probe->request.id != 0) {
            const struct peer *asked = peer_find(peer->peers, probe->request.peer_id);
            if (asked != NULL && peer_state(asked) == NODE_PEER_UP) {
                continue;
            }
            peers_cancel(peer->peers, &probe->request);
        }
        struct peer *helper = helper_choose(peer);
        if (helper != NULL) {
            probe->about = peer;
            probe_send(probe, helper);
        }
    }
    detector_asked(&peer->detector, env_monotonic_ns(peer->peers->env));
}

static void peer_judge(struct peer *peer)
{
    static const char *const names[] = {
        [NODE_PEER_UP] = "up", [NODE_PEER_SUSPECT] = "suspect", [NODE_PEER_DOWN] = "down"};
    struct env *env = peer->peers->env;
    enum node_peer_state state = peer_state(peer);
    if (state != peer->told_state) {
        log_info(env, "peer.state", "peer=%u state=%s phi_milli=%u", peer->id, names[state],
                 detector_phi_milli(&peer->detector, env_monotonic_ns(env)));
        peer->told_state = state;
    }
    if (state == NODE_PEER_UP) {
        probes_cancel(peer);
    } else {
        peer_probe(peer);
    }
}

/* ------------------------------------------------------------------ every heartbeat */

/* While this node did not run it heard nobody, whoever spoke. */
static void sleep_excuse(struct peers *peers)
{
    uint64_t now_ns = env_monotonic_ns(peers->env);
    uint64_t heartbeat_ns = peers->config->heartbeat_ms * UINT64_C(1000000);
    uint64_t passed_ns = now_ns - peers->round_ns;
    if (peers->round_ns != 0 && passed_ns > 2 * heartbeat_ns) {
        for (uint32_t index = 0; index < peers->count; index++) {
            detector_slept(&peers->all[index]->detector, passed_ns - heartbeat_ns, now_ns);
        }
    }
    peers->round_ns = now_ns;
}

void heartbeat_fired(struct env_timer *timer)
{
    struct peers *peers = container_of(timer, struct peers, heartbeat);
    sleep_excuse(peers);
    for (uint32_t index = 0; index < peers->count; index++) {
        peer_beat(peers->all[index]);
        peer_judge(peers->all[index]);
    }
    if (peers->contact != NULL) {
        peer_beat(peers->contact);
    }
    links_reap(peers);
    parting_reap(peers);
    env_timer_start_ms(peers->env, timer, peers->config->heartbeat_ms);
}
