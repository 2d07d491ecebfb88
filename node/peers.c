/*
 * node/peers.c -- the other nodes by id, from the first word about them to the last.
 */
#include "node/peers.h"

#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "node/peers_internal.h"

struct peer *peer_find(const struct peers *peers, uint32_t id)
{
    for (uint32_t index = 0; index < peers->count; index++) {
        if (peers->all[index]->id == id) {
            return peers->all[index];
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------ life */

enum status peers_open(struct env *env, const struct peers_options *options, struct peers **out)
{
    struct peers *peers = memory_allocate_zeroed(1, sizeof(*peers));
    if (peers == NULL) {
        return STATUS_NO_MEMORY;
    }
    peers->env = env;
    peers->config = options->config;
    peers->events = options->events;
    peers->context = options->context;
    peers->counters = options->counters;
    peers->connection_base = (uint64_t)options->boot << 32;
    list_init(&peers->links);
    list_init(&peers->parting);
    enum status status = env->ops->net_listen(env, options->config->peer, ENV_FRAMES,
                                              &peers_inbound_events, peers, &peers->listener);
    if (status != STATUS_OK) {
        memory_free(peers);
        return status;
    }
    peers->heartbeat.fired = heartbeat_fired;
    env_timer_start_ms(env, &peers->heartbeat, 0);
    *out = peers;
    return STATUS_OK;
}

static struct peer *peer_make(struct peers *peers, uint32_t id, const char *address)
{
    const struct config *config = peers->config;
    const struct detector_options detector_options = {.heartbeat_ms = config->heartbeat_ms,
                                                      .suspect_phi = config->suspect_phi,
                                                      .down_phi = config->down_phi,
                                                      .suspect_ms = config->suspect_ms,
                                                      .down_ms = config->down_ms};
    struct peer *peer = memory_allocate_zeroed(1, sizeof(*peer));
    if (peer != NULL) {
        peer->peers = peers;
        peer->id = id;
        peer->told_state = NODE_PEER_SUSPECT;
        memcpy(peer->address, address, strlen(address) + 1);
        list_init(&peer->pending);
        detector_init(&peer->detector, &detector_options);
    }
    return peer;
}

enum status peers_set(struct peers *peers, uint32_t id, const char *address)
{
    ASSERT(id != peers->config->id);
    ASSERT(id != CONTACT_ID);
    ASSERT(strlen(address) < ADDRESS_TEXT_SIZE_MAX);
    struct peer *known = peer_find(peers, id);
    if (known != NULL) {
        if (strcmp(known->address, address) != 0) {
            memcpy(known->address, address, strlen(address) + 1);
            peer_close(known);
        }
        return STATUS_OK;
    }
    struct peer *peer = peer_make(peers, id, address);
    struct peer **all = memory_resize(peers->all, (peers->count + 1) * sizeof(struct peer *));
    if (all != NULL) {
        peers->all = all;
    }
    if (peer == NULL || all == NULL) {
        memory_free(peer);
        return STATUS_NO_MEMORY;
    }
    uint32_t at = peers->count++;
    for (; at > 0 && all[at - 1]->id > id; at--) {
        all[at] = all[at - 1];
    }
    all[at] = peer;
    return STATUS_OK;
}

void peers_drop(struct peers *peers, uint32_t id)
{
    struct peer *peer = peer_find(peers, id);
    if (peer == NULL) {
        return;
    }
    uint32_t at = 0;
    while (peers->all[at] != peer) {
        at++;
    }
    peers->count--;
    memmove(&peers->all[at], &peers->all[at + 1], (peers->count - at) * sizeof(struct peer *));
    probes_cancel(peer);
    list_append(&peers->parting, &peer->node);
    peer_close(peer);
}

void parting_reap(struct peers *peers)
{
    list_for_each (node, next, &peers->parting) {
        struct peer *peer = container_of(node, struct peer, node);
        if (peer->state == OUTGOING_IDLE) {
            list_remove(&peer->node);
            memory_free(peer);
        }
    }
}

enum status peers_contact(struct peers *peers, const char *address)
{
    ASSERT(peers->contact == NULL);
    ASSERT(strlen(address) < ADDRESS_TEXT_SIZE_MAX);
    peers->contact = peer_make(peers, CONTACT_ID, address);
    return peers->contact == NULL ? STATUS_NO_MEMORY : STATUS_OK;
}

void peers_contact_end(struct peers *peers)
{
    if (peers->contact != NULL) {
        peers->contact->retry_ns = UINT64_MAX;
        peer_close(peers->contact);
    }
}

void peers_stop(struct peers *peers)
{
    if (peers->stopping) {
        return;
    }
    peers->stopping = true;
    peers->env->ops->timer_stop(peers->env, &peers->heartbeat);
    peers->env->ops->net_listener_close(peers->listener);
    peers->listener = NULL;
    for (uint32_t index = 0; index < peers->count; index++) {
        peer_close(peers->all[index]);
    }
    if (peers->contact != NULL) {
        peer_close(peers->contact);
    }
    list_for_each (node, next, &peers->links) {
        struct peer_link *link = container_of(node, struct peer_link, node);
        if (link->connection != NULL) {
            peers->env->ops->net_close(link->connection);
        }
    }
}

bool peers_stopped(const struct peers *peers)
{
    for (uint32_t index = 0; index < peers->count; index++) {
        if (peers->all[index]->state != OUTGOING_IDLE) {
            return false;
        }
    }
    list_for_each (node, next, &peers->parting) {
        if (container_of(node, struct peer, node)->state != OUTGOING_IDLE) {
            return false;
        }
    }
    bool contact_idle = peers->contact == NULL || peers->contact->state == OUTGOING_IDLE;
    return peers->stopping && contact_idle && list_empty(&peers->links);
}

void peers_close(struct peers *peers)
{
    if (peers == NULL) {
        return;
    }
    for (uint32_t index = 0; index < peers->count; index++) {
        memory_free(peers->all[index]);
    }
    memory_free(peers->contact);
    list_for_each (node, next, &peers->parting) {
        memory_free(container_of(node, struct peer, node));
    }
    list_for_each (node, next, &peers->links) {
        memory_free(container_of(node, struct peer_link, node));
    }
    memory_free(peers->all);
    memory_free(peers->slots);
    buffer_deinit(&peers->out);
    memory_free(peers);
}

/* ------------------------------------------------------------------ what is known of them */

uint64_t peer_silence_ms(const struct peer *peer)
{
    uint64_t now_ns = env_monotonic_ns(peer->peers->env);
    return peer->heard_ns == 0 ? UINT64_MAX : (now_ns - peer->heard_ns) / UINT64_C(1000000);
}

enum node_peer_state peer_state(const struct peer *peer)
{
    return detector_state(&peer->detector, env_monotonic_ns(peer->peers->env));
}

enum node_peer_state peers_state(const struct peers *peers, uint32_t id)
{
    const struct peer *peer = peer_find(peers, id);
    return peer == NULL ? NODE_PEER_DOWN : peer_state(peer);
}

bool peers_up(const struct peers *peers, uint32_t id)
{
    return peers_state(peers, id) == NODE_PEER_UP;
}

uint64_t peers_silence_ms(const struct peers *peers, uint32_t id)
{
    const struct peer *peer = peer_find(peers, id);
    return peer == NULL ? UINT64_MAX : peer_silence_ms(peer);
}

const struct message_hello *peers_hello_of(const struct peers *peers, uint32_t id)
{
    const struct peer *peer = peer_find(peers, id);
    return peer != NULL && peer->greeted ? &peer->hello : NULL;
}

uint32_t peers_list(const struct peers *peers, struct node_peer_info *infos, uint32_t capacity)
{
    uint32_t count = peers->count < capacity ? peers->count : capacity;
    for (uint32_t index = 0; index < count; index++) {
        const struct peer *peer = peers->all[index];
        infos[index] = (struct node_peer_info){
            .id = peer->id,
            .state = peer_state(peer),
            .heard_ms_ago = peer_silence_ms(peer),
            .phi_milli = detector_phi_milli(&peer->detector, env_monotonic_ns(peers->env)),
            .key_estimate = peer->ping.key_estimate,
            .stored_size = peer->ping.stored_size,
            .space_free = peer->ping.space_free,
            .request_rate = peer->ping.request_rate,
            .epoch = peer->epoch,
        };
    }
    return count;
}
