/* client/kvctl_keyspace.c -- keyspace list, keyspace create. */
#include <inttypes.h>
#include <jansson.h>

#include "client/kvctl_plan.h"

#define KEYSPACE_COMMAND "KV.KEYSPACE"
#define MS_PER_S 1000

static const struct plan_question list_question = {.command = KEYSPACE_COMMAND, .words = {"LIST"}};

/* ------------------------------------------------------------------ list */

static void row_add(struct output_rows *rows, const json_t *keyspace)
{
    const char *read = plan_text(keyspace, "read");
    const char *write = plan_text(keyspace, "write");
    uint64_t ttl_ms = plan_number(keyspace, "ttl_ms");
    output_cell(rows, "%" PRIu64, plan_number(keyspace, "number"));
    output_cell(rows, "%s", plan_text(keyspace, "name"));
    output_cell(rows, "%s", plan_text(keyspace, "class"));
    output_cell(rows, "%s", read[0] != '\0' ? read : "-");
    output_cell(rows, "%s", write[0] != '\0' ? write : "-");
    if (ttl_ms > 0) {
        output_cell(rows, "%" PRIu64, ttl_ms / MS_PER_S);
    } else {
        output_cell(rows, "-");
    }
}

enum kvctl_exit command_keyspace_list(struct kvctl *kvctl)
{
    static const struct output_column columns[] = {{"number", true}, {"name", false},
                                                   {"class", false}, {"read", false},
                                                   {"write", false}, {"ttl_s", false}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    struct plan_answer answer = {0};
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = plan_ask(kvctl, &list_question, &answer);
    }
    if (code != KVCTL_OK) {
        return code;
    }
    const json_t *keyspaces = json_object_get(answer.root, "keyspaces");
    for (size_t index = 0; index < json_array_size(keyspaces); index++) {
        row_add(&rows, json_array_get(keyspaces, index));
    }
    json_decref(answer.root);
    return output_print(kvctl, &rows);
}

/* ------------------------------------------------------------------ create */

/* Appends a pair of words if the option was given. */
static void option_add(const struct kvctl *kvctl, enum option_id id, const char *word,
                       struct plan_question *question, size_t *count)
{
    if (kvctl->values[id] != NULL) {
        ASSERT(*count + 2 <= PLAN_WORD_COUNT_MAX);
        question->words[(*count)++] = word;
        question->words[(*count)++] = kvctl->values[id];
    }
}

static enum kvctl_exit number_print(struct kvctl *kvctl, uint64_t epoch, const char *name)
{
    struct plan_answer answer = {0};
    enum kvctl_exit code = plan_ask_since(kvctl, &list_question, epoch, &answer);
    if (code != KVCTL_OK) {
        return code;
    }
    static const struct output_column columns[] = {{"number", true}, {"name", false}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    const json_t *keyspaces = json_object_get(answer.root, "keyspaces");
    for (size_t index = 0; index < json_array_size(keyspaces); index++) {
        const json_t *keyspace = json_array_get(keyspaces, index);
        if (strcmp(plan_text(keyspace, "name"), name) == 0) {
            output_cell(&rows, "%" PRIu64, plan_number(keyspace, "number"));
            output_cell(&rows, "%s", name);
        }
    }
    json_decref(answer.root);
    return output_print(kvctl, &rows);
}

enum kvctl_exit command_keyspace_create(struct kvctl *kvctl)
{
    const char *name = kvctl->operands[0];
    if (kvctl->values[OPTION_CLASS] == NULL) {
        kvctl_complain("keyspace create: --class is needed: it can never be changed");
        return KVCTL_USAGE;
    }
    struct plan_question question = {.command = KEYSPACE_COMMAND, .words = {"CREATE", name}};
    size_t count = 2;
    option_add(kvctl, OPTION_CLASS, "CLASS", &question, &count);
    option_add(kvctl, OPTION_READ_LEVEL, "READ", &question, &count);
    option_add(kvctl, OPTION_WRITE_LEVEL, "WRITE", &question, &count);
    option_add(kvctl, OPTION_TTL, "TTL", &question, &count);
    uint64_t epoch;
    uint64_t plan_id;
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = plan_change(kvctl, question, &epoch, &plan_id);
    }
    return code == KVCTL_OK ? number_print(kvctl, epoch, name) : code;
}
