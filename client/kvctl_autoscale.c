/* client/kvctl_autoscale.c -- cluster autoscale: how many nodes there should be. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "client/kvctl_plan.h"

static enum kvctl_exit resource_rows(struct kvctl *kvctl, const json_t *root)
{
    static const struct output_column columns[] = {
        {"of", false}, {"used_%", true}, {"limit_%", true}, {"target_%", true}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    const json_t *disk = json_object_get(root, "disk");
    const json_t *requests = json_object_get(root, "requests");
    const struct {
        const char *name;
        uint64_t used_pct;
        uint64_t high_pct;
        bool judged;
    } resources[] = {
        {"disks", plan_number(disk, "used_pct"), plan_number(disk, "high_pct"), true},
        {"fullest disk", plan_number(disk, "fullest_pct"), plan_number(disk, "high_pct"), true},
        {"requests", plan_number(requests, "used_pct"), plan_number(requests, "high_pct"),
         plan_number(requests, "node_requests") > 0},
    };
    for (size_t index = 0; index < ARRAY_COUNT(resources); index++) {
        output_cell(&rows, "%s", resources[index].name);
        if (resources[index].judged) {
            output_cell(&rows, "%" PRIu64, resources[index].used_pct);
        } else {
            output_cell(&rows, "-");
        }
        output_cell(&rows, "%" PRIu64, resources[index].high_pct);
        output_cell(&rows, "%" PRIu64, plan_number(root, "target_pct"));
    }
    return output_print(kvctl, &rows);
}

static void summary_print(const json_t *root)
{
    const char *direction = plan_text(root, "direction");
    const char *pending = plan_text(root, "pending");
    (void)printf("%" PRIu64 " nodes, %" PRIu64 " wanted (%s for %" PRIu64 " s): %s\n",
                 plan_number(root, "nodes"), plan_number(root, "wanted"), direction,
                 plan_number(root, "direction_s"), plan_text(root, "reason"));
    if (strcmp(direction, pending) != 0) {
        (void)printf("soon perhaps: %s, which has held for %" PRIu64 " s\n", pending,
                     plan_number(root, "pending_s"));
    }
    (void)printf("\n");
}

enum kvctl_exit command_cluster_autoscale(struct kvctl *kvctl)
{
    struct plan_answer answer = {0};
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = plan_ask(kvctl, &(struct plan_question){.command = "KV.AUTOSCALE"}, &answer);
    }
    if (code != KVCTL_OK) {
        return code;
    }
    if (plan_is_json(kvctl)) {
        code = plan_json_pass(answer.text);
    } else {
        if (kvctl->output == KVCTL_TABLE) {
            summary_print(answer.root);
        }
        code = resource_rows(kvctl, answer.root);
    }
    json_decref(answer.root);
    return code;
}
