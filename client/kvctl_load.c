/* client/kvctl_load.c -- ring load, hot-keys: what nodes and ranges hold and serve. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "client/kvctl_plan.h"

#define RANGE_ROWS_DEFAULT 20u
#define KEY_ROWS_DEFAULT 20u
#define ROW_COUNT_MAX 65536u

static double rate_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

/* Nodes that did not answer are named on standard error: the rest is not the whole. */
static void unknown_complain(const json_t *root)
{
    const json_t *nodes = json_object_get(root, "nodes");
    for (size_t index = 0; index < json_array_size(nodes); index++) {
        const json_t *node = json_array_get(nodes, index);
        if (!json_is_true(json_object_get(node, "known"))) {
            kvctl_complain("node %" PRIu64 " did not answer: what it knows is not counted",
                           plan_number(node, "id"));
        }
    }
}

/* ------------------------------------------------------------------ ring load */

static enum kvctl_exit node_rows(struct kvctl *kvctl, const json_t *root)
{
    static const struct output_column columns[] = {
        {"node", true},    {"ranges", true},   {"keys", true}, {"bytes", true},
        {"reads/s", true}, {"writes/s", true}, {"free", true}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    const json_t *nodes = json_object_get(root, "nodes");
    for (size_t index = 0; index < json_array_size(nodes); index++) {
        const json_t *node = json_array_get(nodes, index);
        output_cell(&rows, "%" PRIu64, plan_number(node, "id"));
        if (!json_is_true(json_object_get(node, "known"))) {
            for (size_t column = 1; column < ARRAY_COUNT(columns); column++) {
                output_cell(&rows, "-");
            }
            continue;
        }
        output_cell(&rows, "%" PRIu64, plan_number(node, "ranges"));
        output_cell(&rows, "%" PRIu64, plan_number(node, "keys"));
        output_size_cell(kvctl, &rows, plan_number(node, "bytes"));
        output_cell(&rows, "%.1f", rate_of(node, "reads_per_s"));
        output_cell(&rows, "%.1f", rate_of(node, "writes_per_s"));
        output_size_cell(kvctl, &rows, plan_number(node, "space_free"));
    }
    return output_print(kvctl, &rows);
}

static int by_load(const void *left, const void *right)
{
    const json_t *a = *(const json_t *const *)left;
    const json_t *b = *(const json_t *const *)right;
    double rates[] = {rate_of(a, "reads_per_s") + rate_of(a, "writes_per_s"),
                      rate_of(b, "reads_per_s") + rate_of(b, "writes_per_s")};
    if (rates[0] != rates[1]) {
        return rates[0] > rates[1] ? -1 : 1;
    }
    uint64_t sizes[] = {plan_number(a, "bytes"), plan_number(b, "bytes")};
    if (sizes[0] != sizes[1]) {
        return sizes[0] > sizes[1] ? -1 : 1;
    }
    uint64_t ranges[] = {plan_number(a, "range"), plan_number(b, "range")};
    return ranges[0] < ranges[1] ? -1 : ranges[0] > ranges[1] ? 1 : 0;
}

static enum kvctl_exit sorted_rows(struct kvctl *kvctl, const json_t **ranges, size_t count)
{
    static const struct output_column columns[] = {{"range", true},   {"node", true},
                                                   {"keys", true},    {"bytes", true},
                                                   {"reads/s", true}, {"writes/s", true}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    for (size_t index = 0; index < count; index++) {
        output_cell(&rows, "%" PRIu64, plan_number(ranges[index], "range"));
        output_cell(&rows, "%" PRIu64, plan_number(ranges[index], "node"));
        output_cell(&rows, "%" PRIu64, plan_number(ranges[index], "keys"));
        output_size_cell(kvctl, &rows, plan_number(ranges[index], "bytes"));
        output_cell(&rows, "%.1f", rate_of(ranges[index], "reads_per_s"));
        output_cell(&rows, "%.1f", rate_of(ranges[index], "writes_per_s"));
    }
    return output_print(kvctl, &rows);
}

/* The busiest first. */
static enum kvctl_exit range_rows(struct kvctl *kvctl, const json_t *root, uint64_t limit)
{
    const json_t *list = json_object_get(root, "ranges");
    size_t count = json_array_size(list);
    const json_t **ranges = memory_allocate_zeroed(count + 1, sizeof(const json_t *));
    if (ranges == NULL) {
        kvctl_complain("out of memory");
        return KVCTL_FAILURE;
    }
    for (size_t index = 0; index < count; index++) {
        ranges[index] = json_array_get(list, index);
    }
    qsort(ranges, count, sizeof(const json_t *), by_load);
    enum kvctl_exit code = sorted_rows(kvctl, ranges, count < limit ? count : limit);
    memory_free(ranges);
    return code;
}

enum kvctl_exit command_ring_load(struct kvctl *kvctl)
{
    struct plan_answer answer = {0};
    uint64_t limit;
    bool ranges = kvctl->values[OPTION_RANGES] != NULL;
    if (!kvctl_number(kvctl, OPTION_LIMIT, ROW_COUNT_MAX, RANGE_ROWS_DEFAULT, &limit)) {
        return KVCTL_USAGE;
    }
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        const struct plan_question question = {.command = "KV.LOAD",
                                               .words = {ranges ? "RANGES" : NULL}};
        code = plan_ask(kvctl, &question, &answer);
    }
    if (code != KVCTL_OK) {
        return code;
    }
    unknown_complain(answer.root);
    if (plan_is_json(kvctl)) {
        code = plan_json_pass(answer.text);
    } else {
        code = ranges ? range_rows(kvctl, answer.root, limit) : node_rows(kvctl, answer.root);
    }
    json_decref(answer.root);
    return code;
}

/* ------------------------------------------------------------------ hot-keys */

static enum kvctl_exit key_rows(struct kvctl *kvctl, const json_t *root, uint64_t limit)
{
    static const struct output_column columns[] = {
        {"ops/s", true}, {"+-", true},        {"writes/s", true},
        {"range", true}, {"replicas", false}, {"keyspace", true},
        {"size", true},  {"token", false},    {"key", false}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    const json_t *keys = json_object_get(root, "keys");
    for (size_t index = 0; index < json_array_size(keys) && index < limit; index++) {
        const json_t *key = json_array_get(keys, index);
        const json_t *replicas = json_object_get(key, "replicas");
        char text[KV_REPLICA_COUNT_MAX * 21] = "";
        size_t used = 0;
        for (size_t at = 0; at < json_array_size(replicas) && at < KV_REPLICA_COUNT_MAX; at++) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%" JSON_INTEGER_FORMAT,
                                     at == 0 ? "" : ",",
                                     json_integer_value(json_array_get(replicas, at)));
        }
        bool cut = plan_number(key, "shown") < plan_number(key, "size");
        output_cell(&rows, "%.1f", rate_of(key, "per_s"));
        output_cell(&rows, "%.1f", rate_of(key, "error_per_s"));
        output_cell(&rows, "%.1f", rate_of(key, "writes_per_s"));
        output_cell(&rows, "%" PRIu64, plan_number(key, "range"));
        output_cell(&rows, "%s", text);
        output_cell(&rows, "%" PRIu64, plan_number(key, "keyspace"));
        output_cell(&rows, "%" PRIu64, plan_number(key, "size"));
        output_cell(&rows, "%s", plan_text(key, "token"));
        output_cell(&rows, "%s%s", plan_text(key, "key"), cut ? "..." : "");
    }
    return output_print(kvctl, &rows);
}

enum kvctl_exit command_hot_keys(struct kvctl *kvctl)
{
    struct plan_answer answer = {0};
    uint64_t limit;
    if (!kvctl_number(kvctl, OPTION_LIMIT, ROW_COUNT_MAX, KEY_ROWS_DEFAULT, &limit)) {
        return KVCTL_USAGE;
    }
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = plan_ask(kvctl, &(struct plan_question){.command = "KV.HOTKEYS"}, &answer);
    }
    if (code != KVCTL_OK) {
        return code;
    }
    unknown_complain(answer.root);
    code = plan_is_json(kvctl) ? plan_json_pass(answer.text) : key_rows(kvctl, answer.root, limit);
    json_decref(answer.root);
    return code;
}
