/*
 * client/kvctl_plan.h -- what the commands about ring changes share: asking KV.PLAN, and plans in
 * words.
 *
 * What nodes answer is docs/reports.md. A field that is missing counts as zero or empty, so that
 * another version of the node is no failure.
 */
#ifndef CLIENT_KVCTL_PLAN_H
#define CLIENT_KVCTL_PLAN_H

#include "client/kvctl.h"

struct json_t; /* jansson's. */

#define PLAN_TEXT_SIZE_MAX 256
#define PLAN_WORD_COUNT_MAX 10
#define PLAN_POLL_MS 200 /* Between looks at a plan. */

uint64_t plan_number(const struct json_t *object, const char *name);
const char *plan_text(const struct json_t *object, const char *name);

struct plan_question {
    const char *command;                    /* NULL: KV.PLAN. */
    const char *words[PLAN_WORD_COUNT_MAX]; /* Behind it; NULL ends them. */
    const char *endpoint;                   /* NULL: any node. */
    bool changes;
    bool quiet; /* Complains of nothing. */
};

struct plan_answer {
    struct json_t *root; /* Owned. */
    struct slice text;   /* Borrows until the next question. */
};

enum kvctl_exit plan_ask(struct kvctl *kvctl, const struct plan_question *question,
                         struct plan_answer *answer);
/* What some node says that has heard of `epoch`. */
enum kvctl_exit plan_ask_since(struct kvctl *kvctl, const struct plan_question *question,
                               uint64_t epoch, struct plan_answer *answer);
/* A change; *epoch is that of the topology with it, *plan_id the plan it is about, 0: not told. */
enum kvctl_exit plan_change(struct kvctl *kvctl, struct plan_question question, uint64_t *epoch,
                            uint64_t *plan_id);

bool plan_is_json(const struct kvctl *kvctl); /* The answer is wanted as the node sent it. */
enum kvctl_exit plan_json_pass(struct slice text);
/* All changes of a plan, as far as they fit. */
void plan_spell(const struct json_t *plan, char text[PLAN_TEXT_SIZE_MAX]);
/* One line about the plan that runs. */
void plan_running_print(const struct json_t *root);

#endif
