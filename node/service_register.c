/* node/service_register.c -- answers the PREPAREs and ACCEPTs of other nodes from the acceptor. */
#include "base/memory.h"
#include "node/acceptor.h"
#include "node/service.h"

struct register_call {
    struct acceptor_operation operation;
    struct service *service;
    struct peer_link *link; /* Held. */
    struct frame request;   /* Without payload. */
    uint64_t size;
};

static void reply_result(struct register_call *call, enum status status)
{
    const struct acceptor_operation *operation = &call->operation;
    struct buffer payload = {0};
    if (status == STATUS_PREEMPTED) {
        message_write_reply_encode(&payload, operation->promised);
    } else if (status == STATUS_OK && call->request.type == FRAME_PREPARE) {
        struct message_read_reply reply = {.found = operation->found, .cell = operation->cell};
        message_read_reply_encode(&payload, &reply);
    }
    if (buffer_status(&payload) != STATUS_OK) {
        /* It may be granted and durable: that must not be taken for a refusal. */
        status = STATUS_INDETERMINATE;
        buffer_deinit(&payload);
    }
    peers_reply(call->service->peers, call->link, &call->request, status, buffer_slice(&payload));
    buffer_deinit(&payload);
}

static void call_done(struct acceptor_operation *operation, enum status status)
{
    struct register_call *call = container_of(operation, struct register_call, operation);
    reply_result(call, status);
    service_release(call->service, call->link, call->size);
    acceptor_operation_deinit(operation);
    memory_free(call);
}

static enum status call_begin(struct service *service, struct peer_link *link,
                              const struct frame *request, struct register_call **out)
{
    struct register_call *call = memory_allocate_zeroed(1, sizeof(*call));
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

static enum status payload_decode(const struct frame *request, struct message_prepare *prepare,
                                  struct message_write *accept)
{
    if (request->type == FRAME_PREPARE) {
        return message_prepare_decode(request->payload, prepare);
    }
    enum status status = message_write_decode(request->payload, accept);
    bool promise = status == STATUS_OK && accept->cell.kind == CELL_PROMISE;
    return promise ? STATUS_INVALID : status;
}

enum status service_register_request(struct service *service, struct peer_link *link,
                                     const struct frame *request)
{
    struct message_prepare prepare = {0};
    struct message_write accept = {0};
    struct register_call *call;
    uint32_t range = 0;
    bool prepares = request->type == FRAME_PREPARE;
    enum status status = payload_decode(request, &prepare, &accept);
    struct acceptor_request asked = {
        .engine_key = prepares ? prepare.engine_key : accept.engine_key,
        .stamp = request->stamp,
        .copy = accept.repair,
    };
    if (status == STATUS_OK) {
        status = service_range_of(service, asked.engine_key, &range);
    }
    if (status == STATUS_OK) {
        status = replica_check(service->replica, range, range, &request->stamp);
    }
    if (status == STATUS_OK) {
        status = call_begin(service, link, request, &call);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (prepares) {
        acceptor_prepare(service->acceptor, &asked, prepare.ballot, &call->operation);
    } else {
        acceptor_accept(service->acceptor, &asked, &accept.cell, &call->operation);
    }
    return STATUS_OK;
}
