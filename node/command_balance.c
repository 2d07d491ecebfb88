/*
 * node/command_balance.c -- KV.BALANCE: moves that would make load more even, from what all nodes
 * say of theirs. Changes nothing: who likes them stages them with KV.PLAN MOVE.
 *
 * Working them out may take long where ranges and nodes are many, so that is a job, on a copy.
 */
#include "base/memory.h"
#include "node/command.h"
#include "node/load_gather.h"
#include "node/report_load.h"
#include "node/session.h"
#include "ring/balance.h"

#define GAIN_PERCENT_DEFAULT 5u
#define GAIN_PERCENT_MAX 10000u
#define PPM_PER_PERCENT (BALANCE_PPM / 100)

struct balance_call {
    struct gathering gathering;
    struct env_job job;
    struct request *request;
    struct topology topology;
    struct balance_input input;
    struct balance_cost *costs;
    uint32_t known[RING_MEMBER_COUNT_MAX];
    struct balance balance;
    enum status status;
};

static void call_free(struct balance_call *call)
{
    gathering_deinit(&call->gathering);
    topology_deinit(&call->topology);
    balance_deinit(&call->balance);
    memory_free(call->costs);
    memory_free(call);
}

static void call_finish(struct balance_call *call, enum status status)
{
    struct request *request = call->request;
    struct buffer text = {0};
    if (status == STATUS_OK) {
        report_balance(&call->topology, &call->input, &call->balance, &text);
        status = buffer_status(&text);
    }
    if (status == STATUS_OK) {
        resp_bulk(&request->writer, buffer_slice(&text));
    } else {
        command_load_failed(request, status);
    }
    buffer_deinit(&text);
    call_free(call);
    request_finish(request);
}

static void balance_run(struct env_job *job)
{
    struct balance_call *call = container_of(job, struct balance_call, job);
    call->status = balance_init(&call->balance, &call->input);
}

static void balance_done(struct env_job *job, enum status status)
{
    struct balance_call *call = container_of(job, struct balance_call, job);
    call_finish(call, status == STATUS_OK ? call->status : status);
}

/* What the nodes told, as costs. */
static enum status costs_make(struct balance_call *call)
{
    const struct gathering *gathering = &call->gathering;
    size_t capacity = 1;
    for (uint32_t index = 0; index < gathering->part_count; index++) {
        const struct gathering_part *part = &gathering->parts[index];
        capacity += part->status == STATUS_OK ? part->load.head.range_count : 0;
    }
    call->costs = memory_allocate_zeroed(capacity, sizeof(*call->costs));
    if (call->costs == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t index = 0; index < gathering->part_count; index++) {
        const struct gathering_part *part = &gathering->parts[index];
        if (part->status != STATUS_OK) {
            continue;
        }
        call->known[call->input.known_count++] = part->id;
        for (uint32_t at = 0; at < part->load.head.range_count; at++) {
            struct message_load_range range;
            message_load_range_at(&part->load, at, &range);
            call->costs[call->input.cost_count++] =
                (struct balance_cost){.range = range.range,
                                      .node = part->id,
                                      .bytes = range.view.bytes,
                                      .reads = range.view.reads,
                                      .writes = range.view.writes};
        }
    }
    return STATUS_OK;
}

static void balance_gathered(struct gathering *gathering, enum status status)
{
    struct balance_call *call = container_of(gathering, struct balance_call, gathering);
    struct node *node = call->request->server->node;
    if (status == STATUS_OK) {
        status = costs_make(call);
    }
    if (status == STATUS_OK) {
        status = topology_copy(&call->topology, node_topology(node));
    }
    if (status != STATUS_OK) {
        call_finish(call, status);
        return;
    }
    call->input.topology = &call->topology;
    call->input.costs = call->costs;
    call->input.known = call->known;
    call->job = (struct env_job){.run = balance_run, .done = balance_done};
    env_submit(node_env(node), ENV_LANE_POOL, &call->job);
}

/* ------------------------------------------------------------------ the words */

static bool word_parse(struct slice word, struct slice value, struct balance_input *input)
{
    int64_t number;
    if (!argument_integer(value, &number) || number < 0 || number > GAIN_PERCENT_MAX) {
        return false;
    }
    uint32_t amount = (uint32_t)number;
    if (argument_is(word, "gain")) {
        input->gain_ppm = (uint32_t)(amount * PPM_PER_PERCENT);
        return true;
    }
    if (argument_is(word, "moves")) {
        input->move_count = amount;
        return amount >= 1 && amount <= TOPOLOGY_CHANGE_COUNT_MAX;
    }
    uint32_t *weight = argument_is(word, "bytes")    ? &input->bytes_weight
                       : argument_is(word, "reads")  ? &input->reads_weight
                       : argument_is(word, "writes") ? &input->writes_weight
                                                     : NULL;
    if (weight == NULL || amount > BALANCE_WEIGHT_MAX) {
        return false;
    }
    *weight = amount;
    return true;
}

static bool words_parse(const struct request *request, struct balance_input *input)
{
    *input = (struct balance_input){.bytes_weight = 1,
                                    .reads_weight = 1,
                                    .writes_weight = 1,
                                    .gain_ppm = (uint32_t)(GAIN_PERCENT_DEFAULT * PPM_PER_PERCENT),
                                    .move_count = TOPOLOGY_CHANGE_COUNT_MAX};
    bool good = request->argument_count % 2 == 1;
    for (uint32_t index = 1; good && index + 1 < request->argument_count; index += 2) {
        good = word_parse(request->arguments[index], request->arguments[index + 1], input);
    }
    return good && input->bytes_weight + input->reads_weight + input->writes_weight > 0;
}

void command_kv_balance(struct request *request)
{
    struct balance_input input;
    struct load_gather *gather = node_load_gather(request->server->node);
    struct balance_call *call = NULL;
    if (!words_parse(request, &input)) {
        request_error(request, "ERR KV.BALANCE [BYTES w] [READS w] [WRITES w] [GAIN percent] "
                               "[MOVES n]; weights are 0 to 100, moves 1 to 64");
        request_finish(request);
        return;
    }
    if (gather != NULL) {
        call = memory_allocate_zeroed(1, sizeof(*call));
    }
    if (call == NULL) {
        command_load_failed(request, gather == NULL ? STATUS_BEHIND : STATUS_NO_MEMORY);
        request_finish(request);
        return;
    }
    topology_init(&call->topology);
    call->request = request;
    call->input = input;
    call->gathering.wants = MESSAGE_LOAD_RANGES;
    call->gathering.done = balance_gathered;
    gathering_begin(gather, &call->gathering);
}
