/* client/kvctl_plan.c -- see kvctl_plan.h. */
#include "client/kvctl_plan.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "client/kvctl_process.h"

#define SETTLE_MS 10000 /* Until some node must have heard of what was decided. */

/* ------------------------------------------------------------------ asking */

uint64_t plan_number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : 0;
    return number < 0 ? 0 : (uint64_t)number;
}

const char *plan_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

enum kvctl_exit plan_ask(struct kvctl *kvctl, const struct plan_question *question,
                         struct plan_answer *answer)
{
    const char *name = question->command != NULL ? question->command : "KV.PLAN";
    struct slice arguments[PLAN_WORD_COUNT_MAX + 1] = {slice_text(name)};
    size_t count = 1;
    for (; count <= PLAN_WORD_COUNT_MAX && question->words[count - 1] != NULL; count++) {
        arguments[count] = slice_text(question->words[count - 1]);
    }
    struct kv_result result;
    struct kv_command command = {.arguments = arguments,
                                 .argument_count = count,
                                 .endpoint = question->endpoint,
                                 .writes = question->changes};
    if (kv_command(kvctl->client, &command, &result) != KV_OK) {
        return question->quiet ? kvctl_exit_of(&result)
                               : kvctl_judge(&result, kvctl->command->name);
    }
    json_t *root = json_loadb((const char *)result.value.data, result.value.size, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        kvctl_complain("%s: the answer is no JSON object", kvctl->command->name);
        return KVCTL_FAILURE;
    }
    *answer = (struct plan_answer){.root = root, .text = result.value};
    return KVCTL_OK;
}

enum kvctl_exit plan_ask_since(struct kvctl *kvctl, const struct plan_question *question,
                               uint64_t epoch, struct plan_answer *answer)
{
    uint64_t begun_ms = process_now_ms();
    for (;;) {
        enum kvctl_exit code = plan_ask(kvctl, question, answer);
        if (code != KVCTL_OK || plan_number(answer->root, "epoch") >= epoch) {
            return code;
        }
        json_decref(answer->root);
        if (process_now_ms() - begun_ms > SETTLE_MS) {
            kvctl_complain("no node has heard of epoch %" PRIu64 " yet", epoch);
            return KVCTL_UNAVAILABLE;
        }
        process_sleep_ms(PLAN_POLL_MS / 10);
    }
}

bool plan_is_json(const struct kvctl *kvctl)
{
    return kvctl->output == KVCTL_JSON || kvctl->output == KVCTL_RAW;
}

enum kvctl_exit plan_json_pass(struct slice text)
{
    enum kvctl_exit code = output_bytes(text);
    return code == KVCTL_OK ? output_bytes(slice_text("\n")) : code;
}

enum kvctl_exit plan_change(struct kvctl *kvctl, struct plan_question question, uint64_t *epoch,
                            uint64_t *plan_id)
{
    struct plan_answer answer = {0};
    question.changes = true;
    enum kvctl_exit code = plan_ask(kvctl, &question, &answer);
    if (code == KVCTL_OK) {
        *epoch = plan_number(answer.root, "epoch");
        *plan_id = plan_number(answer.root, "plan");
        json_decref(answer.root);
    }
    return code;
}

/* ------------------------------------------------------------------ a plan in words */

static void change_spell(const json_t *change, char text[PLAN_TEXT_SIZE_MAX])
{
    const char *name = plan_text(change, "change");
    uint64_t node = plan_number(change, "node");
    uint64_t to = plan_number(change, "to");
    uint64_t weight = plan_number(change, "weight");
    if (strcmp(name, "factor") == 0) {
        (void)snprintf(text, PLAN_TEXT_SIZE_MAX, "%" PRIu64 " replicas",
                       plan_number(change, "replicas"));
    } else if (strcmp(name, "move") == 0) {
        (void)snprintf(text, PLAN_TEXT_SIZE_MAX,
                       "move range %" PRIu64 " from %" PRIu64 " to %" PRIu64,
                       plan_number(change, "range"), node, to);
    } else if (strcmp(name, "replace") == 0) {
        (void)snprintf(text, PLAN_TEXT_SIZE_MAX, "replace %" PRIu64 " by %" PRIu64, node, to);
    } else if (strcmp(name, "zone") == 0) {
        (void)snprintf(text, PLAN_TEXT_SIZE_MAX, "zone of %" PRIu64 " is %.64s", node,
                       plan_text(change, "zone"));
    } else if (weight != 0) {
        (void)snprintf(text, PLAN_TEXT_SIZE_MAX, "%.16s %" PRIu64 " with weight %" PRIu64, name,
                       node, weight);
    } else {
        (void)snprintf(text, PLAN_TEXT_SIZE_MAX, "%.16s %" PRIu64, name, node);
    }
}

void plan_spell(const json_t *plan, char text[PLAN_TEXT_SIZE_MAX])
{
    const json_t *changes = json_object_get(plan, "changes");
    size_t used = 0;
    text[0] = '\0';
    for (size_t index = 0; index < json_array_size(changes); index++) {
        char change[PLAN_TEXT_SIZE_MAX];
        change_spell(json_array_get(changes, index), change);
        size_t size = strlen(change) + 2;
        if (used + size + sizeof("...") > PLAN_TEXT_SIZE_MAX) {
            (void)snprintf(text + used, PLAN_TEXT_SIZE_MAX - used, "...");
            return;
        }
        used += (size_t)snprintf(text + used, PLAN_TEXT_SIZE_MAX - used, "%s%s",
                                 used == 0 ? "" : ", ", change);
    }
}

void plan_running_print(const json_t *root)
{
    const json_t *running = json_object_get(root, "running");
    char text[PLAN_TEXT_SIZE_MAX];
    if (json_is_object(running)) {
        plan_spell(running, text);
        (void)printf("plan %" PRIu64 " runs (%s): %" PRIu64 " of %" PRIu64 " copies done, %" PRIu64
                     " ranges left, %" PRIu64 " under way\n",
                     plan_number(running, "id"), text, plan_number(running, "copied"),
                     plan_number(running, "copies"), plan_number(root, "ranges_left"),
                     plan_number(root, "operations"));
    } else if (plan_number(root, "ranges_left") > 0) {
        (void)printf("no plan runs; %" PRIu64 " ranges are still on their way\n",
                     plan_number(root, "ranges_left"));
    } else {
        (void)printf("no plan runs\n");
    }
}
