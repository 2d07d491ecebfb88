/* client/kvctl_plan_stage.c -- cluster plan ..., cluster show, cluster clear. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "client/kvctl_plan.h"

#define PPM_PER_PERCENT 10000.0

/* ------------------------------------------------------------------ show */

static void preview_print(const json_t *root, const json_t *preview)
{
    char size[OUTPUT_NUMBER_SIZE_MAX];
    const json_t *staged = json_object_get(root, "staged");
    char text[PLAN_TEXT_SIZE_MAX];
    if (json_is_object(staged)) {
        plan_spell(staged, text);
        (void)printf("plan %" PRIu64 " is staged (%s)\n", plan_number(staged, "id"), text);
    }
    const char *refused = plan_text(root, "refused");
    if (refused[0] != '\0') {
        (void)printf("it cannot be committed: %s\n", refused);
    }
    if (!json_is_object(preview)) {
        return;
    }
    (void)printf("%s %" PRIu64 " ranges change hands, %" PRIu64 " copies (the least there can be: "
                 "%" PRIu64 "), about %s, at best in %" PRIu64 " s\n",
                 json_is_object(staged) ? "committed," : "to do:", plan_number(preview, "ranges"),
                 plan_number(preview, "copies"), plan_number(preview, "copies_min"),
                 output_size(plan_number(preview, "bytes"), size), plan_number(preview, "seconds"));
}

static enum kvctl_exit preview_rows(struct kvctl *kvctl, const json_t *preview)
{
    static const struct output_column columns[] = {
        {"node", true},       {"ranges", true},   {"after", true},     {"share_%", true},
        {"after_%", true},    {"fair_%", true},   {"copies_in", true}, {"bytes_in", true},
        {"copies_out", true}, {"bytes_out", true}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    const json_t *members = json_object_get(preview, "members");
    for (size_t index = 0; index < json_array_size(members); index++) {
        const json_t *member = json_array_get(members, index);
        output_cell(&rows, "%" PRIu64, plan_number(member, "id"));
        output_cell(&rows, "%" PRIu64, plan_number(member, "ranges"));
        output_cell(&rows, "%" PRIu64, plan_number(member, "ranges_after"));
        output_cell(&rows, "%.2f", (double)plan_number(member, "share_ppm") / PPM_PER_PERCENT);
        output_cell(&rows, "%.2f",
                    (double)plan_number(member, "share_ppm_after") / PPM_PER_PERCENT);
        output_cell(&rows, "%.2f", (double)plan_number(member, "share_ppm_fair") / PPM_PER_PERCENT);
        output_cell(&rows, "%" PRIu64, plan_number(member, "copies_in"));
        output_size_cell(kvctl, &rows, plan_number(member, "bytes_in"));
        output_cell(&rows, "%" PRIu64, plan_number(member, "copies_out"));
        output_size_cell(kvctl, &rows, plan_number(member, "bytes_out"));
    }
    return output_print(kvctl, &rows);
}

static enum kvctl_exit show(struct kvctl *kvctl, uint64_t epoch)
{
    struct plan_answer answer = {0};
    enum kvctl_exit code =
        plan_ask_since(kvctl, &(struct plan_question){.words = {"SHOW"}}, epoch, &answer);
    if (code != KVCTL_OK) {
        return code;
    }
    const json_t *preview = json_object_get(answer.root, "preview");
    if (plan_is_json(kvctl)) {
        code = plan_json_pass(answer.text);
    } else {
        if (kvctl->output == KVCTL_TABLE) {
            plan_running_print(answer.root);
            preview_print(answer.root, preview);
        }
        if (json_is_object(preview)) {
            (void)fputs(kvctl->output == KVCTL_TABLE ? "\n" : "", stdout);
            code = preview_rows(kvctl, preview);
        }
    }
    json_decref(answer.root);
    return code;
}

enum kvctl_exit command_cluster_show(struct kvctl *kvctl)
{
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    return code == KVCTL_OK ? show(kvctl, 0) : code;
}

/* ------------------------------------------------------------------ staging */

static enum kvctl_exit stage(struct kvctl *kvctl, struct plan_question question)
{
    uint64_t epoch;
    uint64_t plan_id;
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = plan_change(kvctl, question, &epoch, &plan_id);
    }
    return code == KVCTL_OK ? show(kvctl, epoch) : code;
}

/* One change for each node named; the first that is refused ends it. */
static enum kvctl_exit stage_each(struct kvctl *kvctl, const char *word, const char *weight)
{
    uint64_t epoch = 0;
    uint64_t plan_id;
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    for (int index = 0; index < kvctl->operand_count && code == KVCTL_OK; index++) {
        code = plan_change(kvctl,
                           (struct plan_question){.words = {word, kvctl->operands[index], weight}},
                           &epoch, &plan_id);
    }
    return code == KVCTL_OK ? show(kvctl, epoch) : code;
}

enum kvctl_exit command_plan_join(struct kvctl *kvctl)
{
    return stage_each(kvctl, "JOIN", kvctl->values[OPTION_WEIGHT]);
}

enum kvctl_exit command_plan_leave(struct kvctl *kvctl)
{
    return stage_each(kvctl, "LEAVE", NULL);
}

static enum kvctl_exit stage_operands(struct kvctl *kvctl, const char *word)
{
    struct plan_question question = {.words = {word}};
    ASSERT(kvctl->operand_count < PLAN_WORD_COUNT_MAX);
    for (int index = 0; index < kvctl->operand_count; index++) {
        question.words[index + 1] = kvctl->operands[index];
    }
    return stage(kvctl, question);
}

enum kvctl_exit command_plan_replace(struct kvctl *kvctl)
{
    return stage_operands(kvctl, "REPLACE");
}

enum kvctl_exit command_plan_weight(struct kvctl *kvctl)
{
    return stage_operands(kvctl, "WEIGHT");
}

enum kvctl_exit command_plan_zone(struct kvctl *kvctl)
{
    return stage_operands(kvctl, "ZONE");
}

enum kvctl_exit command_plan_move(struct kvctl *kvctl)
{
    return stage_operands(kvctl, "MOVE");
}

enum kvctl_exit command_plan_rf(struct kvctl *kvctl)
{
    return stage_operands(kvctl, "FACTOR");
}

enum kvctl_exit command_cluster_clear(struct kvctl *kvctl)
{
    return stage_operands(kvctl, "CLEAR");
}
