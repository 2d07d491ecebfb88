/* client/kvctl_plan_commit.c -- cluster commit, abort, accept-data-loss, history. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/kvctl_plan.h"
#include "client/kvctl_process.h"

#define NUMBER_SIZE_MAX 24
#define HEARSAY_MS 1500          /* Until every node has heard of a plan, if there is one. */
#define UNREACHABLE_MS_MAX 60000 /* A plan is followed on while no node answers for so long. */

static void progress_print(const json_t *root, const json_t *running)
{
    const char *end = isatty(STDERR_FILENO) == 1 ? "   \r" : "\n";
    (void)fprintf(stderr,
                  "plan %" PRIu64 ": %" PRIu64 " of %" PRIu64 " copies, %" PRIu64
                  " ranges left, %" PRIu64 " under way%s",
                  plan_number(running, "id"), plan_number(running, "copied"),
                  plan_number(running, "copies"), plan_number(root, "ranges_left"),
                  plan_number(root, "operations"), end);
}

/* The plan of this id in the history, if it ended; borrows from the answer. */
static const json_t *ended_find(const json_t *root, uint64_t plan_id)
{
    const json_t *plans = json_object_get(root, "plans");
    for (size_t index = 0; index < json_array_size(plans); index++) {
        const json_t *plan = json_array_get(plans, index);
        if (plan_number(plan, "id") == plan_id) {
            return plan;
        }
    }
    return NULL;
}

/* The id of the plan that is staged, or of the one that runs, as soon as a node knows of one. */
static enum kvctl_exit plan_find(struct kvctl *kvctl, const char *which, uint64_t *plan_id)
{
    uint64_t begun_ms = process_now_ms();
    for (;;) {
        struct plan_answer answer = {0};
        enum kvctl_exit code = plan_ask(kvctl, &(struct plan_question){.words = {"SHOW"}}, &answer);
        if (code != KVCTL_OK) {
            return code;
        }
        *plan_id = plan_number(json_object_get(answer.root, which), "id");
        json_decref(answer.root);
        if (*plan_id != 0) {
            return KVCTL_OK;
        }
        if (process_now_ms() - begun_ms > HEARSAY_MS) {
            kvctl_complain("no plan is %s", which);
            return KVCTL_FAILURE;
        }
        process_sleep_ms(PLAN_POLL_MS);
    }
}

struct following {
    uint64_t plan_id;
    uint64_t epoch; /* The greatest heard of: nodes that know less, and those that left, are not
                       believed. */
    uint64_t answered_ms;
    uint64_t printed_left; /* Ranges, as last printed. */
    bool ended;
};

/* One look at the plan. */
static enum kvctl_exit follow_once(struct kvctl *kvctl, struct following *following)
{
    struct plan_answer answer = {0};
    struct plan_question question = {.words = {"SHOW"}, .quiet = true};
    enum kvctl_exit code = plan_ask(kvctl, &question, &answer);
    uint64_t now_ms = process_now_ms();
    if (code != KVCTL_OK) {
        return now_ms - following->answered_ms > UNREACHABLE_MS_MAX ? code : KVCTL_OK;
    }
    uint64_t epoch = plan_number(answer.root, "epoch");
    if (epoch >= following->epoch) {
        const json_t *running = json_object_get(answer.root, "running");
        uint64_t left = plan_number(answer.root, "ranges_left");
        following->epoch = epoch;
        following->answered_ms = now_ms;
        following->ended = plan_number(running, "id") != following->plan_id;
        if (!following->ended && left != following->printed_left) {
            progress_print(answer.root, running);
            following->printed_left = left;
        }
    }
    json_decref(answer.root);
    return KVCTL_OK;
}

static enum kvctl_exit outcome_print(struct kvctl *kvctl, const struct following *following,
                                     uint64_t begun_ms)
{
    struct plan_answer answer = {0};
    enum kvctl_exit code = plan_ask_since(kvctl, &(struct plan_question){.words = {"HISTORY"}},
                                          following->epoch, &answer);
    if (code != KVCTL_OK) {
        return code;
    }
    const json_t *plan = ended_find(answer.root, following->plan_id);
    if (plan == NULL) {
        kvctl_complain("plan %" PRIu64 " is not in the history any more", following->plan_id);
        code = KVCTL_FAILURE;
    } else if (plan_is_json(kvctl)) {
        char *text = json_dumps(plan, JSON_COMPACT);
        code = text != NULL ? plan_json_pass(slice_text(text)) : KVCTL_FAILURE;
        free(text);
    } else {
        (void)printf("plan %" PRIu64 ": %s, %" PRIu64 " replicas copied, %.1f s\n",
                     following->plan_id, plan_text(plan, "outcome"), plan_number(plan, "copied"),
                     (double)(process_now_ms() - begun_ms) / 1000);
    }
    if (plan != NULL && strcmp(plan_text(plan, "outcome"), "done") != 0) {
        code = KVCTL_FAILURE;
    }
    json_decref(answer.root);
    return code;
}

static enum kvctl_exit decided_print(struct kvctl *kvctl, uint64_t plan_id, uint64_t epoch,
                                     const char *done)
{
    if (plan_is_json(kvctl)) {
        (void)printf("{\"plan\":%" PRIu64 ",\"epoch\":%" PRIu64 "}\n", plan_id, epoch);
    } else {
        (void)printf("plan %" PRIu64 ": %s\n", plan_id, done);
    }
    return KVCTL_OK;
}

enum kvctl_exit command_cluster_commit(struct kvctl *kvctl)
{
    uint64_t begun_ms = process_now_ms();
    struct following following = {.printed_left = UINT64_MAX, .answered_ms = begun_ms};
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = plan_find(kvctl, "staged", &following.plan_id);
    }
    if (code == KVCTL_OK) {
        char id[NUMBER_SIZE_MAX];
        (void)snprintf(id, sizeof(id), "%" PRIu64, following.plan_id);
        code = plan_change(kvctl, (struct plan_question){.words = {"COMMIT", id}}, &following.epoch,
                           &following.plan_id);
    }
    if (code != KVCTL_OK) {
        return code;
    }
    if (kvctl->values[OPTION_NO_WAIT] != NULL) {
        return decided_print(kvctl, following.plan_id, following.epoch, "committed");
    }
    while (code == KVCTL_OK && !following.ended) {
        code = follow_once(kvctl, &following);
        if (code == KVCTL_OK && !following.ended) {
            process_sleep_ms(PLAN_POLL_MS);
        }
    }
    if (following.printed_left != UINT64_MAX && isatty(STDERR_FILENO) == 1) {
        (void)fputc('\n', stderr);
    }
    if (code != KVCTL_OK) {
        kvctl_complain("no node answers any more; plan %" PRIu64 " goes on without us",
                       following.plan_id);
        return code;
    }
    return outcome_print(kvctl, &following, begun_ms);
}

enum kvctl_exit command_cluster_abort(struct kvctl *kvctl)
{
    char id[NUMBER_SIZE_MAX];
    uint64_t epoch;
    uint64_t plan_id;
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = plan_find(kvctl, "running", &plan_id);
    }
    if (code == KVCTL_OK) {
        (void)snprintf(id, sizeof(id), "%" PRIu64, plan_id);
        code = plan_change(kvctl, (struct plan_question){.words = {"ABORT", id}}, &epoch, &plan_id);
    }
    return code == KVCTL_OK
               ? decided_print(kvctl, plan_id, epoch,
                               "aborted; ranges that are read at their new nodes stay there")
               : code;
}

enum kvctl_exit command_cluster_accept_data_loss(struct kvctl *kvctl)
{
    uint64_t epoch;
    uint64_t plan_id;
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = plan_find(kvctl, "running", &plan_id);
    }
    if (code == KVCTL_OK) {
        struct plan_question question = {.words = {"ACCEPT-DATA-LOSS"}};
        question.words[1] = kvctl->operand_count > 0 ? kvctl->operands[0] : NULL;
        code = plan_change(kvctl, question, &epoch, &plan_id);
    }
    return code == KVCTL_OK ? decided_print(kvctl, plan_id, epoch,
                                            "ranges without a majority go on with what is left")
                            : code;
}

enum kvctl_exit command_cluster_history(struct kvctl *kvctl)
{
    static const struct output_column columns[] = {
        {"plan", true},   {"from_epoch", true}, {"to_epoch", true}, {"outcome", false},
        {"copies", true}, {"copied", true},     {"losses", true},   {"changes", false}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    struct plan_answer answer = {0};
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = plan_ask(kvctl, &(struct plan_question){.words = {"HISTORY"}}, &answer);
    }
    if (code != KVCTL_OK) {
        return code;
    }
    const json_t *plans = json_object_get(answer.root, "plans");
    for (size_t index = 0; index < json_array_size(plans); index++) {
        const json_t *plan = json_array_get(plans, index);
        char text[PLAN_TEXT_SIZE_MAX];
        plan_spell(plan, text);
        output_cell(&rows, "%" PRIu64, plan_number(plan, "id"));
        output_cell(&rows, "%" PRIu64, plan_number(plan, "committed_epoch"));
        output_cell(&rows, "%" PRIu64, plan_number(plan, "ended_epoch"));
        output_cell(&rows, "%s", plan_text(plan, "outcome"));
        output_cell(&rows, "%" PRIu64, plan_number(plan, "copies"));
        output_cell(&rows, "%" PRIu64, plan_number(plan, "copied"));
        output_cell(&rows, "%" PRIu64, plan_number(plan, "losses_accepted"));
        output_cell(&rows, "%s", text);
    }
    if (plan_is_json(kvctl)) {
        buffer_deinit(&rows.cells);
        code = plan_json_pass(answer.text);
    } else {
        code = output_print(kvctl, &rows);
    }
    json_decref(answer.root);
    return code;
}
