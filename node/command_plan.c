/*
 * node/command_plan.c -- KV.PLAN: ring changes staged, committed, shown.
 *
 * Any node takes these: node/command_topology.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "node/command.h"
#include "node/command_topology.h"
#include "node/report_plan.h"

#define MEMBERS_TEXT_SIZE_MAX 200

static void text_answer(struct request *request, struct buffer *text)
{
    topology_text_write(request, text);
    request_finish(request);
}

/* ------------------------------------------------------------------ commands to the topology */

/* The first id of the change that is no member, as far as this node knows; 0: none. */
static uint32_t stranger_of(const struct topology *topology, const struct topology_command *command)
{
    const struct topology_change *change = &command->change;
    if (command->type != TOPOLOGY_PLAN_STAGE || change->type == TOPOLOGY_FACTOR) {
        return 0;
    }
    if (topology_member_find(topology, change->id) == NULL) {
        return change->id;
    }
    bool other = change->to_id != 0 && topology_member_find(topology, change->to_id) == NULL;
    return other ? change->to_id : 0;
}

/* "1, 2, 3"; cut with "..." where it becomes too long. */
static void members_spell(const struct topology *topology, char text[MEMBERS_TEXT_SIZE_MAX])
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t index = 0; index < topology->member_count; index++) {
        if (used + 20 > MEMBERS_TEXT_SIZE_MAX) {
            (void)snprintf(text + used, MEMBERS_TEXT_SIZE_MAX - used, ", ...");
            return;
        }
        used += (size_t)snprintf(text + used, MEMBERS_TEXT_SIZE_MAX - used, "%s%" PRIu32,
                                 index == 0 ? "" : ", ", topology->members[index].id);
    }
}

static void plan_refused(const struct topology_call *call)
{
    const struct topology *topology = node_topology(call->request->server->node);
    uint32_t stranger = stranger_of(topology, &call->command);
    if (stranger != 0) {
        char members[MEMBERS_TEXT_SIZE_MAX];
        members_spell(topology, members);
        request_error(call->request, "ERR node %" PRIu32 " is no member; members are %s", stranger,
                      members);
    } else {
        request_error(call->request, "ERR refused: %s", call->proposal.reason);
    }
}

/* The plan that the command was about: its id is the epoch of its first change. */
static uint64_t plan_of(const struct topology_call *call)
{
    const struct topology *topology = node_topology(call->request->server->node);
    if (call->command.plan_id != 0) {
        return call->command.plan_id;
    }
    bool known = topology->stamp.epoch >= call->proposal.epoch;
    return known ? topology->staged.id : 0;
}

static void plan_applied(const struct topology_call *call)
{
    struct buffer text = {0};
    buffer_append_format(&text, "{\"epoch\":%" PRIu64 ",\"plan\":%" PRIu64 "}",
                         call->proposal.epoch, plan_of(call));
    topology_text_write(call->request, &text);
}

static void command_submit(struct request *request, const struct topology_command *command)
{
    static const struct topology_call_kind kind = {
        .look = "KV.PLAN SHOW", .applied = plan_applied, .refused = plan_refused};
    topology_call_submit(request, &kind, command);
}

/* ------------------------------------------------------------------ show */

/* Working out what a plan would do takes up to a second, so that is a job, on a copy. */
struct plan_show {
    struct env_job job;
    struct request *request;
    struct topology topology;
    struct topology_preview preview;
    enum status status;
    const char *reason;
};

static void show_run(struct env_job *job)
{
    struct plan_show *show = container_of(job, struct plan_show, job);
    show->status = topology_preview_init(&show->preview, &show->topology, &show->reason);
}

static void show_done(struct env_job *job, enum status status)
{
    struct plan_show *show = container_of(job, struct plan_show, job);
    struct request *request = show->request;
    status = status == STATUS_OK ? show->status : status;
    bool previewed = status == STATUS_OK;
    if (previewed || status == STATUS_REFUSED) {
        struct buffer text = {0};
        report_plan_show(request->server->node, &show->topology, previewed ? &show->preview : NULL,
                         previewed ? NULL : show->reason, &text);
        text_answer(request, &text);
    } else {
        request_error(request, "OVERLOADED %s", status_name(status));
        request_finish(request);
    }
    if (previewed) {
        topology_preview_deinit(&show->preview);
    }
    topology_deinit(&show->topology);
    memory_free(show);
}

static void run_show(struct request *request)
{
    struct node *node = request->server->node;
    if (node_topology(node)->cluster_id == 0) {
        topology_error_answer(request, "LOADING there is no cluster yet");
        return;
    }
    struct plan_show *show = memory_allocate_zeroed(1, sizeof(*show));
    if (show != NULL) {
        topology_init(&show->topology);
    }
    if (show == NULL || topology_copy(&show->topology, node_topology(node)) != STATUS_OK) {
        memory_free(show);
        topology_error_answer(request, "OVERLOADED out of memory");
        return;
    }
    show->request = request;
    show->job = (struct env_job){.run = show_run, .done = show_done};
    env_submit(node_env(node), ENV_LANE_POOL, &show->job);
}

static void run_history(struct request *request)
{
    struct buffer text = {0};
    report_plan_history(request->server->node, &text);
    text_answer(request, &text);
}

static void run_explain(struct request *request)
{
    struct buffer text = {0};
    report_plan_explain(request->server->node, &text);
    text_answer(request, &text);
}

/* ------------------------------------------------------------------ the words */

static bool number_argument(const struct request *request, uint32_t index, uint64_t max,
                            uint64_t *value)
{
    int64_t number;
    if (!argument_integer(request->arguments[index], &number) || number < 0 ||
        (uint64_t)number > max) {
        return false;
    }
    *value = (uint64_t)number;
    return true;
}

static bool number32_argument(const struct request *request, uint32_t index, uint32_t *value)
{
    uint64_t number;
    bool good = number_argument(request, index, UINT32_MAX, &number);
    *value = good ? (uint32_t)number : 0;
    return good;
}

/* Behind the word: which fields of the change the arguments are, in order. */
enum field {
    FIELD_NONE,
    FIELD_ID,
    FIELD_TO_ID,
    FIELD_WEIGHT,
    FIELD_RANGE,
    FIELD_REPLICAS,
    FIELD_ZONE
};

#define FIELD_COUNT_MAX 3

static const struct {
    const char *word;
    enum topology_change_type type;
    uint32_t required;
    enum field fields[FIELD_COUNT_MAX];
    const char *usage;
} changes[] = {
    {"join", TOPOLOGY_JOIN, 1, {FIELD_ID, FIELD_WEIGHT}, "JOIN id [weight]"},
    {"leave", TOPOLOGY_LEAVE, 1, {FIELD_ID}, "LEAVE id"},
    {"replace", TOPOLOGY_REPLACE, 2, {FIELD_ID, FIELD_TO_ID}, "REPLACE old new"},
    {"weight", TOPOLOGY_WEIGHT, 2, {FIELD_ID, FIELD_WEIGHT}, "WEIGHT id weight"},
    {"zone", TOPOLOGY_ZONE, 2, {FIELD_ID, FIELD_ZONE}, "ZONE id zone"},
    {"move", TOPOLOGY_MOVE, 3, {FIELD_RANGE, FIELD_ID, FIELD_TO_ID}, "MOVE range from to"},
    {"factor", TOPOLOGY_FACTOR, 1, {FIELD_REPLICAS}, "FACTOR replicas"},
};

static bool field_parse(const struct request *request, uint32_t index, enum field field,
                        struct topology_change *change)
{
    struct slice text = request->arguments[index];
    switch (field) {
    case FIELD_ID:
        return number32_argument(request, index, &change->id) && change->id > 0;
    case FIELD_TO_ID:
        return number32_argument(request, index, &change->to_id) && change->to_id > 0;
    case FIELD_WEIGHT:
        return number32_argument(request, index, &change->weight) && change->weight > 0;
    case FIELD_RANGE:
        return number32_argument(request, index, &change->range);
    case FIELD_REPLICAS:
        return number32_argument(request, index, &change->replica_count);
    case FIELD_ZONE:
        if (text.size == 0 || text.size >= sizeof(change->zone) ||
            memchr(text.data, '\0', text.size) != NULL) {
            return false;
        }
        memcpy(change->zone, text.data, text.size);
        return true;
    case FIELD_NONE:
        return false;
    }
    UNREACHABLE("field");
}

static void run_stage(struct request *request, size_t at)
{
    struct topology_command command = {.type = TOPOLOGY_PLAN_STAGE};
    uint32_t given = request->argument_count - 2;
    bool good = given >= changes[at].required && given <= FIELD_COUNT_MAX;
    command.change.type = changes[at].type;
    for (uint32_t index = 0; good && index < given; index++) {
        good = field_parse(request, index + 2, changes[at].fields[index], &command.change);
    }
    if (!good) {
        request_error(request, "ERR KV.PLAN %s; numbers are above 0", changes[at].usage);
        request_finish(request);
        return;
    }
    command_submit(request, &command);
}

/* COMMIT and ABORT [id]: of the plan that this node knows to be staged, or to run. */
static void run_plan(struct request *request, enum topology_command_type type)
{
    const struct topology *topology = node_topology(request->server->node);
    bool commits = type == TOPOLOGY_PLAN_COMMIT;
    struct topology_command command = {
        .type = type, .plan_id = commits ? topology->staged.id : topology->running.id};
    if (request->argument_count > 3 ||
        (request->argument_count == 3 &&
         (!number_argument(request, 2, INT64_MAX, &command.plan_id) || command.plan_id == 0))) {
        topology_error_answer(request, "ERR the id of the plan is one number");
    } else if (command.plan_id == 0) {
        topology_error_answer(request, commits ? "ERR no plan is staged" : "ERR no plan runs");
    } else {
        command_submit(request, &command);
    }
}

static void run_commit(struct request *request)
{
    run_plan(request, TOPOLOGY_PLAN_COMMIT);
}

static void run_abort(struct request *request)
{
    run_plan(request, TOPOLOGY_PLAN_ABORT);
}

static void run_clear(struct request *request)
{
    command_submit(request, &(struct topology_command){.type = TOPOLOGY_PLAN_CLEAR});
}

static void run_accept_loss(struct request *request)
{
    struct topology_command command = {.type = TOPOLOGY_ACCEPT_LOSS,
                                       .plan_id = node_topology(request->server->node)->running.id,
                                       .range = TOPOLOGY_RANGE_ALL};
    if (request->argument_count > 3 ||
        (request->argument_count == 3 && !number32_argument(request, 2, &command.range))) {
        topology_error_answer(request, "ERR KV.PLAN ACCEPT-DATA-LOSS [range]");
    } else if (command.plan_id == 0) {
        topology_error_answer(request, "ERR no plan runs: first replace the nodes that are lost");
    } else {
        command_submit(request, &command);
    }
}

static const struct {
    const char *word;
    void (*run)(struct request *request);
} verbs[] = {
    {"show", run_show},
    {"history", run_history},
    {"explain", run_explain},
    {"commit", run_commit},
    {"abort", run_abort},
    {"clear", run_clear},
    {"accept-data-loss", run_accept_loss},
};

void command_kv_plan(struct request *request)
{
    struct slice word = request->arguments[1];
    for (size_t index = 0; index < ARRAY_COUNT(changes); index++) {
        if (argument_is(word, changes[index].word)) {
            run_stage(request, index);
            return;
        }
    }
    for (size_t index = 0; index < ARRAY_COUNT(verbs); index++) {
        if (argument_is(word, verbs[index].word)) {
            verbs[index].run(request);
            return;
        }
    }
    topology_error_answer(request,
                          "ERR KV.PLAN: JOIN, LEAVE, REPLACE, WEIGHT, ZONE, MOVE, FACTOR, SHOW, "
                          "COMMIT, ABORT, CLEAR, HISTORY, EXPLAIN or ACCEPT-DATA-LOSS");
}
