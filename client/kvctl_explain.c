/* client/kvctl_explain.c -- topo explain. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/memory.h"
#include "client/kvctl_plan.h"

#define NUMBER_SIZE_MAX 24

/* "4, 5 and 6" of ids, or of the `id`s of objects. */
static void ids_spell(const json_t *array, char text[PLAN_TEXT_SIZE_MAX])
{
    size_t count = json_array_size(array);
    size_t used = 0;
    text[0] = '\0';
    for (size_t index = 0; index < count && used + NUMBER_SIZE_MAX < PLAN_TEXT_SIZE_MAX; index++) {
        const json_t *entry = json_array_get(array, index);
        uint64_t id =
            json_is_object(entry) ? plan_number(entry, "id") : (uint64_t)json_integer_value(entry);
        const char *join = index == 0 ? "" : index + 1 == count ? " and " : ", ";
        used += (size_t)snprintf(text + used, PLAN_TEXT_SIZE_MAX - used, "%s%" PRIu64, join, id);
    }
}

/* "stream of 4 from 1: 1.2 MiB of about 8.0 MiB" */
static void stream_spell(const json_t *nodes, char text[PLAN_TEXT_SIZE_MAX])
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t index = 0; index < json_array_size(nodes) && used + 1 < PLAN_TEXT_SIZE_MAX;
         index++) {
        const json_t *node = json_array_get(nodes, index);
        const json_t *sources = json_object_get(node, "sources");
        char from[PLAN_TEXT_SIZE_MAX];
        char done[OUTPUT_NUMBER_SIZE_MAX];
        char about[OUTPUT_NUMBER_SIZE_MAX];
        ids_spell(sources, from);
        uint64_t needed = plan_number(node, "sources_needed");
        int size = snprintf(
            text + used, PLAN_TEXT_SIZE_MAX - used,
            "%sstream of %" PRIu64 " from %s%s: %s of about %s%s%s", index == 0 ? "" : "; ",
            plan_number(node, "id"), needed < json_array_size(sources) ? "a majority with " : "",
            from, output_size(plan_number(node, "bytes_done"), done),
            output_size(plan_number(node, "bytes_about"), about),
            plan_text(node, "problem")[0] != '\0' ? ", " : "", plan_text(node, "problem"));
        used = size < 0 || used + (size_t)size >= PLAN_TEXT_SIZE_MAX ? PLAN_TEXT_SIZE_MAX - 1
                                                                     : used + (size_t)size;
    }
}

static void wait_spell(const json_t *operation, char text[PLAN_TEXT_SIZE_MAX])
{
    const json_t *nodes = json_object_get(operation, "nodes");
    const char *waits_for = plan_text(operation, "waits_for");
    char ids[PLAN_TEXT_SIZE_MAX / 2];
    char all[PLAN_TEXT_SIZE_MAX];
    ids_spell(nodes, all);
    (void)snprintf(ids, sizeof(ids), "%.*s", (int)sizeof(ids) - 1, all);
    if (strcmp(waits_for, "fence") == 0) {
        bool some = json_is_true(json_object_get(operation, "some_suffice"));
        (void)snprintf(text, PLAN_TEXT_SIZE_MAX, "fence of %s%s", ids, some ? ", not of all" : "");
    } else if (strcmp(waits_for, "enter") == 0) {
        (void)snprintf(text, PLAN_TEXT_SIZE_MAX, "entering of %s", ids);
    } else if (strcmp(waits_for, "stream") == 0) {
        stream_spell(nodes, text);
    } else {
        (void)snprintf(text, PLAN_TEXT_SIZE_MAX, "its step %.16s to be written down",
                       plan_text(operation, "step"));
    }
}

static enum kvctl_exit operation_rows(struct kvctl *kvctl, const json_t *operations)
{
    static const struct output_column columns[] = {
        {"range", true}, {"stage", false},     {"session", true}, {"replicas", false},
        {"next", false}, {"waits_for", false}, {"stage_s", true}, {"in_all_s", true}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    for (size_t index = 0; index < json_array_size(operations); index++) {
        const json_t *operation = json_array_get(operations, index);
        char replicas[PLAN_TEXT_SIZE_MAX];
        char next[PLAN_TEXT_SIZE_MAX];
        char wait[PLAN_TEXT_SIZE_MAX];
        ids_spell(json_object_get(operation, "replicas"), replicas);
        ids_spell(json_object_get(operation, "next"), next);
        wait_spell(operation, wait);
        output_cell(&rows, "%" PRIu64, plan_number(operation, "range"));
        output_cell(&rows, "%s", plan_text(operation, "stage"));
        output_cell(&rows, "%" PRIu64, plan_number(operation, "session"));
        output_cell(&rows, "%s", replicas);
        output_cell(&rows, "%s", next);
        output_cell(&rows, "%s", wait);
        output_cell(&rows, "%.1f", (double)plan_number(operation, "stage_ms") / 1000);
        output_cell(&rows, "%.1f", (double)plan_number(operation, "operation_ms") / 1000);
    }
    return output_print(kvctl, &rows);
}

/* What keeps ranges from being begun, and members from going. */
static void obstacles_print(const json_t *root)
{
    const json_t *held_up = json_object_get(root, "held_up");
    const json_t *leaving = json_object_get(root, "leaving");
    if (plan_number(root, "queued") > 0) {
        (void)printf("%" PRIu64 " ranges wait for their turn\n", plan_number(root, "queued"));
    }
    for (size_t index = 0; index < json_array_size(held_up); index++) {
        const json_t *entry = json_array_get(held_up, index);
        (void)printf("node %" PRIu64 " is silent: %" PRIu64 " ranges are not begun without it\n",
                     plan_number(entry, "by"), plan_number(entry, "ranges"));
    }
    for (size_t index = 0; index < json_array_size(leaving); index++) {
        const json_t *entry = json_array_get(leaving, index);
        bool votes = json_is_true(json_object_get(entry, "voter"));
        (void)printf("node %" PRIu64 " leaves: it is a replica of %" PRIu64 " ranges%s\n",
                     plan_number(entry, "id"), plan_number(entry, "ranges"),
                     votes ? ", and votes in the Raft group" : "");
    }
}

/* Asks one node; true if it is the one that knows. */
static bool explains(struct kvctl *kvctl, const char *endpoint, struct plan_answer *answer)
{
    struct plan_question question = {.words = {"EXPLAIN"}, .endpoint = endpoint, .quiet = true};
    if (endpoint[0] == '\0' || plan_ask(kvctl, &question, answer) != KVCTL_OK) {
        return false;
    }
    if (json_is_true(json_object_get(answer->root, "drives"))) {
        return true;
    }
    json_decref(answer->root);
    return false;
}

/* The members' client addresses, copied: asking may bring a new ring. */
struct member_list {
    uint32_t count;
    struct kv_member members[KV_MEMBER_COUNT_MAX];
};

static enum kvctl_exit explainer_find(struct kvctl *kvctl, struct plan_answer *answer)
{
    struct kv_result result;
    const struct kv_ring *ring;
    if (kv_ring(kvctl->client, &ring, &result) != KV_OK) {
        return kvctl_judge(&result, kvctl->command->name);
    }
    struct member_list *list = memory_allocate_zeroed(1, sizeof(*list));
    if (list == NULL) {
        kvctl_complain("out of memory");
        return KVCTL_FAILURE;
    }
    list->count = ring->member_count;
    memcpy(list->members, ring->members, list->count * sizeof(*list->members));
    bool found = false;
    for (int pass = 0; pass < 2 && !found; pass++) {
        for (uint32_t index = 0; index < list->count && !found; index++) {
            /* Voters first: one of them leads. */
            found = list->members[index].voter == (pass == 0) &&
                    explains(kvctl, list->members[index].client, answer);
        }
    }
    memory_free(list);
    if (!found) {
        kvctl_complain("none of the nodes that answer leads the Raft group");
    }
    return found ? KVCTL_OK : KVCTL_UNAVAILABLE;
}

enum kvctl_exit command_topo_explain(struct kvctl *kvctl)
{
    struct plan_answer answer = {0};
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = explainer_find(kvctl, &answer);
    }
    if (code != KVCTL_OK) {
        return code;
    }
    const json_t *operations = json_object_get(answer.root, "under_way");
    if (plan_is_json(kvctl)) {
        code = plan_json_pass(answer.text);
    } else {
        if (kvctl->output == KVCTL_TABLE) {
            plan_running_print(answer.root);
            obstacles_print(answer.root);
        }
        if (json_array_size(operations) > 0) {
            (void)fputs(kvctl->output == KVCTL_TABLE ? "\n" : "", stdout);
            code = operation_rows(kvctl, operations);
        }
    }
    json_decref(answer.root);
    return code;
}
