/* client/kvctl_balance.c -- ring balance: shows what would make load more even, and stages it. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "client/kvctl_plan.h"

#define NUMBER_SIZE_MAX 24

static double figure(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static enum kvctl_exit node_rows(struct kvctl *kvctl, const json_t *root)
{
    static const struct output_column columns[] = {
        {"node", true},     {"load_%", true},   {"after_%", true},   {"due_%", true},
        {"moves_in", true}, {"bytes_in", true}, {"moves_out", true}, {"bytes_out", true}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    const json_t *nodes = json_object_get(root, "nodes");
    for (size_t index = 0; index < json_array_size(nodes); index++) {
        const json_t *node = json_array_get(nodes, index);
        if (!json_is_true(json_object_get(node, "counted"))) {
            kvctl_complain("node %" PRIu64 " takes no part: it is silent, or takes no ranges",
                           plan_number(node, "id"));
            continue;
        }
        output_cell(&rows, "%" PRIu64, plan_number(node, "id"));
        output_cell(&rows, "%.2f", figure(node, "load_pct"));
        output_cell(&rows, "%.2f", figure(node, "load_pct_after"));
        output_cell(&rows, "%.2f", figure(node, "due_pct"));
        output_cell(&rows, "%" PRIu64, plan_number(node, "moves_in"));
        output_size_cell(kvctl, &rows, plan_number(node, "bytes_in"));
        output_cell(&rows, "%" PRIu64, plan_number(node, "moves_out"));
        output_size_cell(kvctl, &rows, plan_number(node, "bytes_out"));
    }
    return output_print(kvctl, &rows);
}

static enum kvctl_exit move_rows(struct kvctl *kvctl, const json_t *root)
{
    static const struct output_column columns[] = {
        {"range", true}, {"from", true}, {"to", true}, {"load_%", true}, {"bytes", true}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    const json_t *moves = json_object_get(root, "moves");
    for (size_t index = 0; index < json_array_size(moves); index++) {
        const json_t *move = json_array_get(moves, index);
        output_cell(&rows, "%" PRIu64, plan_number(move, "range"));
        output_cell(&rows, "%" PRIu64, plan_number(move, "from"));
        output_cell(&rows, "%" PRIu64, plan_number(move, "to"));
        output_cell(&rows, "%.2f", figure(move, "load_pct"));
        output_size_cell(kvctl, &rows, plan_number(move, "bytes"));
    }
    return output_print(kvctl, &rows);
}

static void summary_print(const json_t *root)
{
    char size[OUTPUT_NUMBER_SIZE_MAX];
    size_t count = json_array_size(json_object_get(root, "moves"));
    (void)printf("the busiest node carries %.2f times what it is due", figure(root, "imbalance"));
    if (count == 0) {
        (void)printf("; nothing to move: %s\n\n", plan_text(root, "reason"));
    } else {
        (void)printf(", after %zu move%s %.2f times; to copy: about %s\n\n", count,
                     count == 1 ? "" : "s", figure(root, "imbalance_after"),
                     output_size(plan_number(root, "bytes"), size));
    }
}

/* Rows are nodes in a table, with the moves below; for programs the moves, which are what counts.
 */
static enum kvctl_exit show(struct kvctl *kvctl, const struct plan_answer *answer)
{
    if (plan_is_json(kvctl)) {
        return plan_json_pass(answer->text);
    }
    if (kvctl->output != KVCTL_TABLE) {
        return move_rows(kvctl, answer->root);
    }
    summary_print(answer->root);
    enum kvctl_exit code = node_rows(kvctl, answer->root);
    if (code == KVCTL_OK && json_array_size(json_object_get(answer->root, "moves")) > 0) {
        (void)printf("\n");
        code = move_rows(kvctl, answer->root);
    }
    return code;
}

static enum kvctl_exit stage(struct kvctl *kvctl, const json_t *moves)
{
    enum kvctl_exit code = KVCTL_OK;
    uint64_t epoch;
    uint64_t plan_id = 0;
    for (size_t index = 0; index < json_array_size(moves) && code == KVCTL_OK; index++) {
        const json_t *move = json_array_get(moves, index);
        char range[NUMBER_SIZE_MAX];
        char from[NUMBER_SIZE_MAX];
        char to[NUMBER_SIZE_MAX];
        (void)snprintf(range, sizeof(range), "%" PRIu64, plan_number(move, "range"));
        (void)snprintf(from, sizeof(from), "%" PRIu64, plan_number(move, "from"));
        (void)snprintf(to, sizeof(to), "%" PRIu64, plan_number(move, "to"));
        code = plan_change(kvctl, (struct plan_question){.words = {"MOVE", range, from, to}},
                           &epoch, &plan_id);
    }
    if (json_array_size(moves) > 0) {
        (void)fprintf(stderr,
                      code == KVCTL_OK ? "staged %zu moves; kvctl cluster commit makes them\n"
                                       : "not all of %zu moves are staged; kvctl cluster show "
                                         "tells which, cluster clear forgets them\n",
                      json_array_size(moves));
    }
    return code;
}

/* An option as two words of the command. False after complaining. */
static bool word_add(const struct kvctl *kvctl, enum option_id id, const char *word,
                     struct plan_question *question, size_t *count)
{
    if (kvctl->values[id] != NULL) {
        if (strspn(kvctl->values[id], "0123456789") != strlen(kvctl->values[id]) ||
            kvctl->values[id][0] == '\0') {
            kvctl_complain("--%s: not a number: %s", kvctl_options[id].name, kvctl->values[id]);
            return false;
        }
        question->words[(*count)++] = word;
        question->words[(*count)++] = kvctl->values[id];
    }
    return true;
}

enum kvctl_exit command_ring_balance(struct kvctl *kvctl)
{
    struct plan_answer answer = {0};
    struct plan_question question = {.command = "KV.BALANCE"};
    size_t count = 0;
    if (!word_add(kvctl, OPTION_BY_BYTES, "BYTES", &question, &count) ||
        !word_add(kvctl, OPTION_BY_READS, "READS", &question, &count) ||
        !word_add(kvctl, OPTION_BY_WRITES, "WRITES", &question, &count) ||
        !word_add(kvctl, OPTION_GAIN, "GAIN", &question, &count) ||
        !word_add(kvctl, OPTION_MOVES, "MOVES", &question, &count)) {
        return KVCTL_USAGE;
    }
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = plan_ask(kvctl, &question, &answer);
    }
    if (code != KVCTL_OK) {
        return code;
    }
    code = show(kvctl, &answer);
    if (code == KVCTL_OK && kvctl->values[OPTION_STAGE] != NULL) {
        code = stage(kvctl, json_object_get(answer.root, "moves"));
    }
    json_decref(answer.root);
    return code;
}
