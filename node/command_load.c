/*
 * node/command_load.c -- KV.LOAD, KV.HOTKEYS: what all nodes say of their load, brought together
 * here.
 */
#include "base/memory.h"
#include "node/command.h"
#include "node/load_gather.h"
#include "node/report_load.h"
#include "node/session.h"

struct load_command {
    struct gathering gathering;
    struct request *request;
    bool ranges;
    bool keys; /* Hot keys, not load. */
};

void command_load_failed(struct request *request, enum status status)
{
    if (status == STATUS_BEHIND) {
        request_error(request, "LOADING there is no cluster yet");
    } else if (status == STATUS_CANCELLED) {
        request_error(request, "UNAVAILABLE this node is stopping");
    } else {
        request_error(request, "OVERLOADED %s",
                      status == STATUS_OVERLOADED ? "too many ask for the load" : "out of memory");
    }
}

static void load_gathered(struct gathering *gathering, enum status status)
{
    struct load_command *command = container_of(gathering, struct load_command, gathering);
    struct request *request = command->request;
    struct buffer text = {0};
    if (status == STATUS_OK && command->keys) {
        report_hot_keys(request->server->node, gathering, &text);
    } else if (status == STATUS_OK) {
        report_load(request->server->node, gathering, command->ranges, &text);
    }
    status = status == STATUS_OK ? buffer_status(&text) : status;
    if (status == STATUS_OK) {
        resp_bulk(&request->writer, buffer_slice(&text));
    } else {
        command_load_failed(request, status);
    }
    buffer_deinit(&text);
    gathering_deinit(gathering);
    memory_free(command);
    request_finish(request);
}

static void load_begin(struct request *request, uint32_t wants)
{
    struct load_gather *gather = node_load_gather(request->server->node);
    struct load_command *command = memory_allocate_zeroed(1, sizeof(*command));
    if (gather == NULL || command == NULL) {
        command_load_failed(request, gather == NULL ? STATUS_BEHIND : STATUS_NO_MEMORY);
        memory_free(command);
        request_finish(request);
        return;
    }
    command->request = request;
    command->ranges = (wants & MESSAGE_LOAD_RANGES) != 0;
    command->keys = (wants & MESSAGE_LOAD_HOT_KEYS) != 0;
    command->gathering.wants = wants;
    command->gathering.done = load_gathered;
    gathering_begin(gather, &command->gathering);
}

void command_kv_load(struct request *request)
{
    bool ranges = request->argument_count == 2;
    if (request->argument_count > 2 || (ranges && !argument_is(request->arguments[1], "ranges"))) {
        request_error(request, "ERR KV.LOAD [RANGES]");
        request_finish(request);
        return;
    }
    load_begin(request, ranges ? MESSAGE_LOAD_RANGES : 0);
}

void command_kv_hotkeys(struct request *request)
{
    load_begin(request, MESSAGE_LOAD_HOT_KEYS);
}
