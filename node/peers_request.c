/*
 * node/peers_request.c -- what is asked of peers, and the answers that go back to them.
 *
 * Invariants:
 *  (1) `pending` of a peer holds exactly its requests under way, each also in the slot table.
 *  (2) A slot's generation grows each time it is freed, so the answer to a cancelled request never
 *      finds a later one.
 */
#include "base/memory.h"
#include "node/peers_internal.h"

#define SLOT_COUNT_MAX (1u << 20) /* Requests under way, over all peers. */
#define SLOT_BITS 20

struct slot {
    struct peer_request *request; /* NULL: free. */
    uint32_t generation;
    uint32_t next_free;
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

struct peer_request *peer_request_find(const struct peers *peers, uint64_t id)
{
    uint32_t index = (uint32_t)(id & (SLOT_COUNT_MAX - 1));
    if (index >= peers->slot_count) {
        return NULL;
    }
    struct peer_request *request = peers->slots[index].request;
    return request != NULL && request->id == id ? request : NULL;
}

void peer_request_finish(struct peers *peers, struct peer_request *request, enum status status,
                         const struct frame *reply)
{
    list_remove(&request->node);
    slot_free(peers, request);
    request->done(request, status, reply);
}

/* ------------------------------------------------------------------ sending */

enum status connection_send(struct peers *peers, struct env_connection *connection,
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

enum status peer_send_request(struct peer *peer, struct peer_request *request, struct slice payload)
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
