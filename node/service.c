/* node/service.c -- answers the requests of other nodes. */
#include "node/service.h"

#include "base/memory.h"
#include "base/token.h"
#include "node/load_gather.h"
#include "node/membership.h"
#include "node/proposals.h"

struct service_call {
    struct replica_operation operation;
    struct service *service;
    struct peer_link *link; /* Held. */
    struct frame request;   /* Without payload. */
    uint64_t size;
    bool digest;
};

enum status service_admit(struct service *service, struct peer_link *link, uint64_t size)
{
    const struct config *config = service->config;
    if (service->stopping || service->under_way >= config->inflight_count_max ||
        service->size + size > config->inflight_size_max) {
        return STATUS_OVERLOADED;
    }
    peers_link_hold(link);
    service->under_way++;
    service->size += size;
    return STATUS_OK;
}

void service_release(struct service *service, struct peer_link *link, uint64_t size)
{
    service->under_way--;
    service->size -= size;
    peers_link_release(link);
}

static void reply_empty(struct service *service, struct peer_link *link,
                        const struct frame *request, enum status status)
{
    peers_reply(service->peers, link, request, status, (struct slice){0});
}

static void reply_result(struct service_call *call, enum status status)
{
    struct service *service = call->service;
    struct replica_operation *operation = &call->operation;
    struct buffer payload = {0};
    if (call->request.type != FRAME_WRITE && peers_link_congested(call->link)) {
        status = STATUS_OVERLOADED; /* Above a second bound the connection would be closed. */
    } else if (call->request.type == FRAME_READ && status == STATUS_OK) {
        struct message_read_reply reply = {
            .found = operation->found, .digest = call->digest, .cell = operation->cell};
        message_read_reply_encode(&payload, &reply);
    } else if (call->request.type == FRAME_WRITE && status == STATUS_SUPERSEDED) {
        message_write_reply_encode(&payload, operation->standing);
    } else if (call->request.type == FRAME_SCAN && status == STATUS_OK) {
        buffer_append_slice(&payload, buffer_slice(&operation->payload));
    }
    if (buffer_status(&payload) != STATUS_OK) {
        /* A write was applied all the same: the asking side must not take this for a refusal. */
        bool write = call->request.type == FRAME_WRITE;
        status = write ? STATUS_INDETERMINATE : STATUS_OVERLOADED;
        buffer_deinit(&payload);
    }
    peers_reply(service->peers, call->link, &call->request, status, buffer_slice(&payload));
    buffer_deinit(&payload);
}

static void call_done(struct replica_operation *operation, enum status status)
{
    struct service_call *call = container_of(operation, struct service_call, operation);
    struct service *service = call->service;
    reply_result(call, status);
    service_release(service, call->link, call->size);
    replica_operation_deinit(operation);
    memory_free(call);
}

enum status service_range_of(const struct service *service, struct slice engine_key,
                             uint32_t *range)
{
    uint16_t keyspace;
    uint64_t token;
    struct slice key;
    enum status status = token_engine_split(engine_key, &keyspace, &token, &key);
    if (status == STATUS_OK && service->topology->range_count == 0) {
        return STATUS_BEHIND;
    }
    if (status == STATUS_OK) {
        *range = ring_range_of(token, service->topology->range_count);
    }
    return status;
}

static enum status call_begin(struct service *service, struct peer_link *link,
                              const struct frame *request, struct service_call **out)
{
    struct service_call *call = memory_allocate_zeroed(1, sizeof(*call));
    if (call == NULL || service_admit(service, link, request->payload.size) != STATUS_OK) {
        memory_free(call);
        return STATUS_OVERLOADED;
    }
    call->service = service;
    call->link = link;
    call->request = *request;
    call->request.payload = (struct slice){0};
    call->size = request->payload.size;
    call->operation.done = call_done;
    *out = call;
    return STATUS_OK;
}

static enum status serve_read(struct service *service, struct peer_link *link,
                              const struct frame *request)
{
    struct message_read read;
    uint32_t range = 0;
    struct service_call *call;
    enum status status = message_read_decode(request->payload, &read);
    if (status == STATUS_OK) {
        status = service_range_of(service, read.engine_key, &range);
    }
    if (status == STATUS_OK) {
        status = replica_check(service->replica, range, range, &request->stamp);
    }
    if (status == STATUS_OK) {
        status = call_begin(service, link, request, &call);
    }
    if (status == STATUS_OK) {
        call->digest = read.digest;
        replica_read(service->replica, read.engine_key, &call->operation);
    }
    return status;
}

static enum status serve_write(struct service *service, struct peer_link *link,
                               const struct frame *request)
{
    struct message_write write;
    uint32_t range = 0;
    struct service_call *call;
    enum status status = message_write_decode(request->payload, &write);
    if (status == STATUS_OK) {
        status = service_range_of(service, write.engine_key, &range);
    }
    if (status == STATUS_OK) {
        status = replica_check(service->replica, range, range, &request->stamp);
    }
    if (status == STATUS_OK) {
        status = call_begin(service, link, request, &call);
    }
    if (status == STATUS_OK) {
        replica_write(service->replica, &write, &call->operation);
    }
    return status;
}

static enum status serve_scan(struct service *service, struct peer_link *link,
                              const struct frame *request)
{
    struct message_scan scan;
    struct service_call *call;
    enum status status = message_scan_decode(request->payload, &scan);
    uint32_t range_count = service->topology->range_count;
    if (status == STATUS_OK && range_count == 0) {
        status = STATUS_BEHIND;
    }
    if (status == STATUS_OK) {
        status = replica_check(service->replica, ring_range_of(scan.first, range_count),
                               ring_range_of(scan.last, range_count), &request->stamp);
    }
    if (status == STATUS_OK) {
        status = call_begin(service, link, request, &call);
    }
    if (status == STATUS_OK) {
        replica_scan(service->replica, &scan, &call->operation);
    }
    return status;
}

static enum status serve_topology(struct service *service, struct peer_link *link,
                                  const struct frame *request)
{
    struct buffer payload = {0};
    enum status status = membership_answer(service->membership, request->payload, &payload);
    if (status == STATUS_OK) {
        peers_reply(service->peers, link, request, STATUS_OK, buffer_slice(&payload));
    }
    buffer_deinit(&payload);
    return status;
}

static enum status serve_range_state(struct service *service, struct peer_link *link,
                                     const struct frame *request)
{
    struct message_ranges ranges;
    struct buffer payload = {0};
    enum status status = message_ranges_decode(request->payload, &ranges);
    if (status == STATUS_OK && service->holding->range_count == 0) {
        status = STATUS_BEHIND;
    }
    for (uint32_t index = 0; status == STATUS_OK && index < ranges.count; index++) {
        struct message_range_state state;
        if (ranges.ranges[index] >= service->holding->range_count) {
            status = STATUS_INVALID;
        } else {
            holding_state(service->holding, ranges.ranges[index], &state);
            stream_target_state(service->target, &state);
            message_range_state_encode(&payload, &state);
        }
    }
    if (status == STATUS_OK) {
        status = buffer_status(&payload);
    }
    if (status == STATUS_OK) {
        peers_reply(service->peers, link, request, STATUS_OK, buffer_slice(&payload));
    }
    buffer_deinit(&payload);
    return status;
}

void service_request(struct service *service, struct peer_link *link, const struct frame *request)
{
    enum status status = STATUS_UNSUPPORTED;
    if (request->type == FRAME_READ) {
        status = serve_read(service, link, request);
    } else if (request->type == FRAME_WRITE) {
        status = serve_write(service, link, request);
    } else if (request->type == FRAME_SCAN) {
        status = serve_scan(service, link, request);
    } else if (request->type == FRAME_PREPARE || request->type == FRAME_ACCEPT) {
        status = service_register_request(service, link, request);
    } else if (request->type == FRAME_TOPOLOGY) {
        status = serve_topology(service, link, request);
    } else if (request->type == FRAME_RANGE_STATE) {
        status = serve_range_state(service, link, request);
    } else if (request->type == FRAME_STREAM_CHUNK || request->type == FRAME_STREAM_BYTES) {
        status = stream_source_serve(service->source, link, request);
    } else if (request->type == FRAME_PROPOSE) {
        proposals_serve(service->proposals, link, request);
        status = STATUS_OK;
    } else if (request->type == FRAME_LOAD) {
        status = load_gather_serve(service->gather, link, request);
    }
    if (status != STATUS_OK) {
        reply_empty(service, link, request, status);
    }
}
