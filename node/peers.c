/*
 * node/peers.c -- connections to the other nodes.
 *
 * Invariants:
 *  (1) `pending` of a peer holds exactly its requests under way, each also in the slot table.
 *  (2) A slot's generation grows each time it is freed, so the answer to a cancelled request never
 *      finds a later one.
 *  (3) An inbound link is freed when its connection has closed and nobody holds it. One that brings
 *      nothing for twice as long as its other side would wait for us is closed: that side is gone.
 */
#include "node/peers.h"

#include <string.h>

#include "base/log.h"
#include "base/memory.h"

#define RECONNECT_MS 250          /* Pause before a broken connection is tried again. */
#define RECONNECT_REFUSED_MS 2000 /* After the other side refused us. */
#define SILENCE_ROUNDS_MAX 25     /* Heartbeats without a word before a connection is given up. */
#define GREETING_MS 5000          /* A stranger who has not said hello by then is closed. */
#define SLOT_COUNT_MAX (1u << 20) /* Requests under way, over all peers. */
#define SLOT_BITS 20
#define CONTACT_ID 0 /* Of the peer that stands for an address; no node has it. */

enum outgoing_state { OUTGOING_IDLE, OUTGOING_CONNECTING, OUTGOING_GREETING, OUTGOING_READY };

struct peer {
    struct peers *peers;
    uint32_t id;
    char address[ADDRESS_TEXT_SIZE_MAX];
    enum outgoing_state state;
    struct env_connection *connection; /* NULL while IDLE. */
    uint64_t connection_number;
    uint64_t raft_sequence;
    uint64_t heard_ns; /* When its last answer came; 0 never. */
    uint64_t retry_ns; /* Not before this. */
    uint64_t epoch;
    uint32_t silent_rounds; /* Heartbeats since the last word. */
    bool congested;         /* The queue of unsent bytes is over its bound. */
    bool greeted;           /* `hello` holds what it said. */
    bool ping_pending;
    struct message_hello hello;
    struct message_ping ping;
    struct peer_request greeting;
    struct peer_request heartbeat;
    struct peer_request announcement;
    struct list_node pending; /* Of peer_request. */
};

struct peer_link {
    struct peers *peers;
    struct env_connection *connection; /* NULL once closed. */
    uint32_t peer_id;                  /* 0 until greeted. */
    uint32_t holds;
    bool congested;    /* The queue of unsent answers is over its bound. */
    uint64_t heard_ns; /* When its last frame came; at first, when it was opened. */
    uint64_t connection_number;
    struct list_node node;
};

struct slot {
    struct peer_request *request; /* NULL: free. */
    uint32_t generation;
    uint32_t next_free;
};

struct peers {
    struct env *env;
    const struct config *config;
    const struct peers_events *events;
    void *context;
    struct node_counters *counters;
    struct env_listener *listener;
    struct env_timer heartbeat;
    struct peer **all; /* Sorted by id. */
    uint32_t count;
    struct peer *contact; /* NULL: none. Its id is CONTACT_ID; it is never READY. */
    struct list_node links;
    struct slot *slots;
    uint32_t slot_count;
    uint32_t free_slot; /* Index + 1; 0: none. */
    uint64_t connection_base;
    uint32_t connection_count;
    struct buffer out; /* The frame being encoded. */
    bool stopping;
};

/* ------------------------------------------------------------------ slots */

static bool slots_grow(struct peers *peers)
{
    uint32_t count = peers->slot_count == 0 ? 256 : peers->slot_count * 2;
    if (count > SLOT_COUNT_MAX) {
        return false;
    }
    struct slot *slots = memory_resize(peers->slots, count * sizeof(*slots));
    if (slots == NULL) {
        return false;
    }
    for (uint32_t index = count; index-- > peers->slot_count;) {
        slots[index] = (struct slot){.generation = 1, .next_free = peers->free_slot};
        peers->free_slot = index + 1;
    }
    peers->slots = slots;
    peers->slot_count = count;
    return true;
}

static bool slot_take(struct peers *peers, struct peer_request *request)
{
    if (peers->free_slot == 0 && !slots_grow(peers)) {
        return false;
    }
    uint32_t index = peers->free_slot - 1;
    struct slot *slot = &peers->slots[index];
    peers->free_slot = slot->next_free;
    slot->request = request;
    request->id = (uint64_t)slot->generation << SLOT_BITS | index;
    return true;
}

static void slot_free(struct peers *peers, struct peer_request *request)
{
    uint32_t index = (uint32_t)(request->id & (SLOT_COUNT_MAX - 1));
    struct slot *slot = &peers->slots[index];
    ASSERT(slot->request == request);
    slot->request = NULL;
    slot->generation += slot->generation == UINT32_MAX ? 2 : 1; /* 0 would make an id of 0. */
    slot->next_free = peers->free_slot;
    peers->free_slot = index + 1;
    request->id = 0;
}

static struct peer_request *slot_find(const struct peers *peers, uint64_t id)
{
    uint32_t index = (uint32_t)(id & (SLOT_COUNT_MAX - 1));
    if (index >= peers->slot_count) {
        return NULL;
    }
    struct peer_request *request = peers->slots[index].request;
    return request != NULL && request->id == id ? request : NULL;
}

/* ------------------------------------------------------------------ peers by id */

static struct peer *peer_find(const struct peers *peers, uint32_t id)
{
    for (uint32_t index = 0; index < peers->count; index++) {
        if (peers->all[index]->id == id) {
            return peers->all[index];
        }
    }
    return NULL;
}

static void request_finish(struct peers *peers, struct peer_request *request, enum status status,
                           const struct frame *reply)
{
    list_remove(&request->node);
    slot_free(peers, request);
    request->done(request, status, reply);
}

/* ------------------------------------------------------------------ sending */

static enum status connection_send(struct peers *peers, struct env_connection *connection,
                                   const struct frame *frame)
{
    buffer_clear(&peers->out);
    peers->out.failed = false;
    frame_encode(&peers->out, frame);
    if (buffer_status(&peers->out) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    peers->counters->frames_out++;
    peers->counters->bytes_out += peers->out.size;
    return peers->env->ops->net_send(connection, buffer_slice(&peers->out));
}

/* Sends on a peer's own connection, in whatever state; registers the request first. */
static enum status peer_send_request(struct peer *peer, struct peer_request *request,
                                     struct slice payload)
{
    struct peers *peers = peer->peers;
    if (!slot_take(peers, request)) {
        return STATUS_NO_MEMORY;
    }
    list_append(&peer->pending, &request->node);
    struct frame frame = {.type = request->type,
                          .request_id = request->id,
                          .deadline_ms = request->deadline_ms,
                          .range = request->range,
                          .payload = payload};
    peers->events->fill(peers->context, &frame);
    enum status status = connection_send(peers, peer->connection, &frame);
    if (status == STATUS_OVERLOADED) {
        peer->congested = true;
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        list_remove(&request->node);
        slot_free(peers, request);
        return status == STATUS_CLOSED ? STATUS_UNAVAILABLE : status;
    }
    return STATUS_OK;
}

enum status peers_request(struct peers *peers, struct peer_request *request, struct slice payload)
{
    struct peer *peer = peer_find(peers, request->peer_id);
    if (peer == NULL || peer->state != OUTGOING_READY) {
        return STATUS_UNAVAILABLE;
    }
    if (peer->congested) {
        return STATUS_OVERLOADED;
    }
    return peer_send_request(peer, request, payload);
}

void peers_cancel(struct peers *peers, struct peer_request *request)
{
    if (request->id != 0) {
        list_remove(&request->node);
        slot_free(peers, request);
    }
}

void peers_send_raft(struct peers *peers, uint32_t id, struct slice message)
{
    struct peer *peer = peer_find(peers, id);
    if (peer == NULL || peer->state != OUTGOING_READY) {
        return;
    }
    struct buffer payload = {0};
    message_raft_encode(&payload, ++peer->raft_sequence, message);
    if (buffer_status(&payload) == STATUS_OK) {
        struct frame frame = {
            .type = FRAME_RAFT, .range = FRAME_NO_RANGE, .payload = buffer_slice(&payload)};
        peers->events->fill(peers->context, &frame);
        enum status status = connection_send(peers, peer->connection, &frame);
        peer->congested = peer->congested || status == STATUS_OVERLOADED;
    }
    buffer_deinit(&payload);
}

void peers_reply(struct peers *peers, struct peer_link *link, const struct frame *request,
                 enum status status, struct slice payload)
{
    if (link->connection == NULL) {
        return;
    }
    struct frame frame = {.type = request->type,
                          .flags = FRAME_FLAG_REPLY,
                          .request_id = request->request_id,
                          .range = request->range,
                          .status = (uint32_t)status,
                          .payload = payload};
    peers->events->fill(peers->context, &frame);
    enum status sent = connection_send(peers, link->connection, &frame);
    link->congested = link->congested || sent == STATUS_OVERLOADED;
}

bool peers_link_congested(const struct peer_link *link)
{
    return link->congested;
}

/* ------------------------------------------------------------------ the outgoing side */

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

static void peer_close(struct peer *peer)
{
    if (peer->connection != NULL) {
        peer->peers->env->ops->net_close(peer->connection);
    }
}

static void peer_connect(struct peer *peer)
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
    peer->silent_rounds = 0;
    peer->epoch = frame.stamp.epoch;
    if (peer->state == OUTGOING_READY) {
        peers->events->heard(peers->context, &frame);
    }
    struct peer_request *request = slot_find(peers, frame.request_id);
    if (request != NULL && request->peer_id == peer->id && request->type == frame.type) {
        request_finish(peers, request, STATUS_OK, &frame);
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
    peer->congested = false;
    uint64_t retry_ns = env_monotonic_ns(peers->env) + RECONNECT_MS * UINT64_C(1000000);
    peer->retry_ns = peer->retry_ns > retry_ns ? peer->retry_ns : retry_ns;
    /* A request whose `done` sends again meets IDLE, so this list only shrinks. */
    while (!list_empty(&peer->pending)) {
        struct peer_request *request = container_of(peer->pending.next, struct peer_request, node);
        request_finish(peers, request, STATUS_CLOSED, NULL);
    }
}

/* ------------------------------------------------------------------ heartbeats */

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

static void links_reap(struct peers *peers)
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

static void heartbeat_fired(struct env_timer *timer)
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

/* ------------------------------------------------------------------ the inbound side */

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

static const struct env_net_events inbound_events = {
    .opened = inbound_opened,
    .received = inbound_received,
    .drained = inbound_drained,
    .closed = inbound_closed,
};

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
    enum status status = env->ops->net_listen(env, options->config->peer, ENV_FRAMES,
                                              &inbound_events, peers, &peers->listener);
    if (status != STATUS_OK) {
        memory_free(peers);
        return status;
    }
    peers->heartbeat.fired = heartbeat_fired;
    env_timer_start_ms(env, &peers->heartbeat, 0);
    *out = peers;
    return STATUS_OK;
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
    struct peer *peer = memory_allocate_zeroed(1, sizeof(*peer));
    struct peer **all = memory_resize(peers->all, (peers->count + 1) * sizeof(struct peer *));
    if (all != NULL) {
        peers->all = all;
    }
    if (peer == NULL || all == NULL) {
        memory_free(peer);
        return STATUS_NO_MEMORY;
    }
    peer->peers = peers;
    peer->id = id;
    memcpy(peer->address, address, strlen(address) + 1);
    list_init(&peer->pending);
    uint32_t at = peers->count++;
    for (; at > 0 && all[at - 1]->id > id; at--) {
        all[at] = all[at - 1];
    }
    all[at] = peer;
    return STATUS_OK;
}

enum status peers_contact(struct peers *peers, const char *address)
{
    ASSERT(peers->contact == NULL);
    ASSERT(strlen(address) < ADDRESS_TEXT_SIZE_MAX);
    struct peer *contact = memory_allocate_zeroed(1, sizeof(*contact));
    if (contact == NULL) {
        return STATUS_NO_MEMORY;
    }
    contact->peers = peers;
    contact->id = CONTACT_ID;
    memcpy(contact->address, address, strlen(address) + 1);
    list_init(&contact->pending);
    peers->contact = contact;
    return STATUS_OK;
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
    list_for_each (node, next, &peers->links) {
        memory_free(container_of(node, struct peer_link, node));
    }
    memory_free(peers->all);
    memory_free(peers->slots);
    buffer_deinit(&peers->out);
    memory_free(peers);
}

/* ------------------------------------------------------------------ what is known of them */

static uint64_t peer_silence_ms(const struct peer *peer)
{
    uint64_t now_ns = env_monotonic_ns(peer->peers->env);
    return peer->heard_ns == 0 ? UINT64_MAX : (now_ns - peer->heard_ns) / UINT64_C(1000000);
}

static enum node_peer_state peer_state(const struct peer *peer)
{
    uint64_t silence_ms = peer_silence_ms(peer);
    if (peer->state == OUTGOING_READY && silence_ms < peer->peers->config->suspect_ms) {
        return NODE_PEER_UP;
    }
    return silence_ms < peer->peers->config->down_ms ? NODE_PEER_SUSPECT : NODE_PEER_DOWN;
}

bool peers_up(const struct peers *peers, uint32_t id)
{
    const struct peer *peer = peer_find(peers, id);
    return peer != NULL && peer_state(peer) == NODE_PEER_UP;
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

uint64_t peers_silent_ms(const struct peers *peers, uint32_t id)
{
    const struct peer *peer = peer_find(peers, id);
    return peer == NULL ? UINT64_MAX : peer_silence_ms(peer);
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
            .key_estimate = peer->ping.key_estimate,
            .stored_size = peer->ping.stored_size,
            .epoch = peer->epoch,
        };
    }
    return count;
}
