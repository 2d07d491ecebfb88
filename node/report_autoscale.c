/* node/report_autoscale.c -- how many nodes there should be, and why, as JSON. */
#include "base/json.h"
#include "node/autoscaler.h"
#include "node/node.h"
#include "node/report.h"

#define MS_PER_S 1000u

static const char *const directions[] = {
    [AUTOSCALE_HOLD] = "hold", [AUTOSCALE_GROW] = "grow", [AUTOSCALE_SHRINK] = "shrink"};

static void field_u64(struct json_writer *json, const char *key, uint64_t value)
{
    json_key(json, key);
    json_u64(json, value);
}

static void field_text(struct json_writer *json, const char *key, const char *value)
{
    json_key(json, key);
    json_text(json, value);
}

static void disk_write(struct json_writer *json, const struct autoscaler *autoscaler)
{
    const struct autoscale_usage *usage = &autoscaler->usage;
    json_key(json, "disk");
    json_object_begin(json);
    field_u64(json, "used", usage->disk_used);
    field_u64(json, "size", usage->disk_size);
    field_u64(json, "used_pct", autoscale_disk_pct(usage, usage->node_count));
    field_u64(json, "fullest_pct", usage->disk_fullest_pct);
    field_u64(json, "high_pct", autoscaler->limits.disk_high_pct);
    json_object_end(json);
}

static void requests_write(struct json_writer *json, const struct autoscaler *autoscaler)
{
    const struct autoscale_usage *usage = &autoscaler->usage;
    json_key(json, "requests");
    json_object_begin(json);
    field_u64(json, "per_s", usage->requests);
    field_u64(json, "used_pct",
              autoscale_request_pct(&autoscaler->limits, usage, usage->node_count));
    field_u64(json, "high_pct", autoscaler->limits.request_high_pct);
    field_u64(json, "node_requests", autoscaler->limits.node_requests);
    json_object_end(json);
}

static void judgement_write(struct json_writer *json, const struct autoscaler *autoscaler)
{
    const struct autoscale *judgement = &autoscaler->judgement;
    uint64_t now_ms = env_monotonic_ms(autoscaler->env);
    field_u64(json, "nodes", judgement->node_count);
    field_u64(json, "wanted", judgement->wanted);
    field_text(json, "direction", directions[judgement->direction]);
    field_u64(json, "direction_s", (now_ms - judgement->direction_ms) / MS_PER_S);
    field_text(json, "reason", judgement->reason);
    field_text(json, "pending", directions[judgement->pending]);
    field_u64(json, "pending_s", (now_ms - judgement->pending_ms) / MS_PER_S);
}

void report_autoscale(const struct node *node, struct buffer *to)
{
    const struct autoscaler *autoscaler = node_autoscaler(node);
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    bool begun = autoscaler != NULL && autoscaler->judgement.begun;
    json_key(&json, "steady");
    json_bool(&json, begun && autoscaler->usage.unsteady == NULL);
    if (begun) {
        judgement_write(&json, autoscaler);
        field_u64(&json, "joining", autoscaler->joining_count);
        field_u64(&json, "target_pct", autoscaler->limits.target_pct);
        field_u64(&json, "nodes_min", autoscaler->limits.nodes_min);
        field_u64(&json, "nodes_max", autoscaler->limits.nodes_max);
        disk_write(&json, autoscaler);
        requests_write(&json, autoscaler);
    }
    json_object_end(&json);
}
