/* node/command_topology.c -- see command_topology.h. */
#include "node/command_topology.h"

#include "base/memory.h"

void topology_text_write(struct request *request, struct buffer *text)
{
    if (buffer_status(text) == STATUS_OK) {
        resp_bulk(&request->writer, buffer_slice(text));
    } else {
        request_error(request, "OVERLOADED out of memory");
    }
    buffer_deinit(text);
}

void topology_error_answer(struct request *request, const char *text)
{
    request_error(request, "%s", text);
    request_finish(request);
}

static void refusal_write(const struct topology_call *call)
{
    if (call->kind->refused != NULL) {
        call->kind->refused(call);
    } else {
        request_error(call->request, "ERR refused: %s", call->proposal.reason);
    }
}

static void failure_write(const struct topology_call *call, enum status status)
{
    struct request *request = call->request;
    switch ((int)status) {
    case STATUS_REFUSED:
        refusal_write(call);
        return;
    case STATUS_STALE:
        request_error(request, "TRYAGAIN the ring has changed meanwhile; nothing was done");
        return;
    case STATUS_UNAVAILABLE:
        request_error(request, "UNAVAILABLE no Raft leader can be reached; nothing was done");
        return;
    case STATUS_OVERLOADED:
    case STATUS_NO_MEMORY:
        request_error(request, "OVERLOADED too many changes at a time; nothing was done");
        return;
    case STATUS_INDETERMINATE:
    case STATUS_CANCELLED:
        request_error(request, "TIMEOUT maybe applied: %s tells, in a while", call->kind->look);
        return;
    default:
        request_error(request, "ERR %s", status_name(status));
        return;
    }
}

static void proposal_done(struct proposal *proposal, enum status status)
{
    struct topology_call *call = container_of(proposal, struct topology_call, proposal);
    struct request *request = call->request;
    if (status == STATUS_OK) {
        call->kind->applied(call);
    } else {
        failure_write(call, status);
    }
    request_finish(request);
    memory_free(call);
}

void topology_call_submit(struct request *request, const struct topology_call_kind *kind,
                          const struct topology_command *command)
{
    struct node *node = request->server->node;
    struct proposals *proposals = node_proposals(node);
    if (proposals == NULL) {
        topology_error_answer(request, "LOADING this node is not up yet");
        return;
    }
    struct topology_call *call = memory_allocate_zeroed(1, sizeof(*call));
    struct buffer bytes = {0};
    if (call != NULL) {
        call->kind = kind;
        call->request = request;
        call->command = *command;
        call->command.request_id = env_random(node_env(node));
        call->proposal.done = proposal_done;
        topology_command_encode(&bytes, &call->command);
    }
    if (call == NULL || buffer_status(&bytes) != STATUS_OK) {
        memory_free(call);
        topology_error_answer(request, "OVERLOADED out of memory");
    } else {
        proposals_submit(proposals, &call->proposal, buffer_slice(&bytes));
    }
    buffer_deinit(&bytes);
}
