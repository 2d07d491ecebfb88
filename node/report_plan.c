/*
 * node/report_plan.c -- see report_plan.h.
 *
 * Sizes are estimates: what a node stores, shared out evenly over the ranges it holds.
 */
#include "node/report_plan.h"

#include "base/json.h"
#include "node/driver.h"
#include "node/node.h"
#include "raft/group.h"

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

static void ids_write(struct json_writer *json, const char *key, const uint32_t *ids,
                      uint32_t count)
{
    json_key(json, key);
    json_array_begin(json);
    for (uint32_t index = 0; index < count; index++) {
        json_u64(json, ids[index]);
    }
    json_array_end(json);
}

/* ------------------------------------------------------------------ plans */

static const char *change_name(enum topology_change_type type)
{
    static const char *const names[] = {
        [TOPOLOGY_JOIN] = "join",     [TOPOLOGY_LEAVE] = "leave", [TOPOLOGY_REPLACE] = "replace",
        [TOPOLOGY_WEIGHT] = "weight", [TOPOLOGY_ZONE] = "zone",   [TOPOLOGY_MOVE] = "move",
        [TOPOLOGY_FACTOR] = "factor"};
    return names[type];
}

/* Only what the change is about. */
static void change_write(struct json_writer *json, const struct topology_change *change)
{
    json_object_begin(json);
    field_text(json, "change", change_name(change->type));
    if (change->type == TOPOLOGY_MOVE) {
        field_u64(json, "range", change->range);
    }
    if (change->type == TOPOLOGY_FACTOR) {
        field_u64(json, "replicas", change->replica_count);
    } else {
        field_u64(json, "node", change->id);
    }
    if (change->to_id != 0) {
        field_u64(json, "to", change->to_id);
    }
    if (change->weight != 0) {
        field_u64(json, "weight", change->weight);
    }
    if (change->type == TOPOLOGY_ZONE) {
        field_text(json, "zone", change->zone);
    }
    json_object_end(json);
}

static void plan_begin(struct json_writer *json, const struct topology_plan *plan)
{
    json_object_begin(json);
    field_u64(json, "id", plan->id);
    json_key(json, "changes");
    json_array_begin(json);
    for (uint32_t index = 0; index < plan->change_count; index++) {
        change_write(json, &plan->changes[index]);
    }
    json_array_end(json);
}

static void plan_figures(struct json_writer *json, const struct topology_plan *plan)
{
    field_u64(json, "committed_epoch", plan->committed_epoch);
    field_u64(json, "copies", plan->move_count);
    field_u64(json, "copied", plan->moved_count);
    field_u64(json, "losses_accepted", plan->loss_count);
}

/* Ranges that are not where they are to end, and those of them in an operation. */
struct remainder {
    uint32_t goal_count;
    uint32_t operation_count;
};

static struct remainder remainder_of(const struct topology *topology)
{
    struct remainder remainder = {0};
    for (uint32_t range = 0; range < topology->range_count; range++) {
        bool moves = topology->ranges[range].stage != TOPOLOGY_STABLE;
        remainder.operation_count += moves ? 1 : 0;
        remainder.goal_count += moves || topology->ranges[range].goal.count > 0 ? 1 : 0;
    }
    return remainder;
}

static void running_write(struct json_writer *json, const struct topology *topology)
{
    struct remainder remainder = remainder_of(topology);
    field_u64(json, "ranges_left", remainder.goal_count);
    field_u64(json, "operations", remainder.operation_count);
    json_key(json, "running");
    if (topology->running.id == 0) {
        json_null(json);
        return;
    }
    plan_begin(json, &topology->running);
    plan_figures(json, &topology->running);
    json_object_end(json);
}

void report_plan_history(const struct node *node, struct buffer *to)
{
    static const char *const outcomes[] = {[TOPOLOGY_OPEN] = "open",
                                           [TOPOLOGY_DONE] = "done",
                                           [TOPOLOGY_ABORTED] = "aborted",
                                           [TOPOLOGY_SUPERSEDED] = "superseded"};
    const struct topology *topology = node_topology(node);
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    field_u64(&json, "epoch", topology->stamp.epoch);
    json_key(&json, "plans");
    json_array_begin(&json);
    for (uint32_t index = 0; index < topology->history_count; index++) {
        const struct topology_plan *plan = &topology->history[index];
        plan_begin(&json, plan);
        plan_figures(&json, plan);
        field_u64(&json, "ended_epoch", plan->ended_epoch);
        field_text(&json, "outcome", outcomes[plan->outcome]);
        json_object_end(&json);
    }
    json_array_end(&json);
    json_object_end(&json);
}

/* ------------------------------------------------------------------ what a plan would do */

/* Bytes of one range on one node, on average over the cluster. */
static uint64_t range_size_of(const struct node *node, const struct topology *topology)
{
    struct node_peer_info infos[RING_MEMBER_COUNT_MAX];
    uint32_t count = node_peers(node, infos, RING_MEMBER_COUNT_MAX);
    uint64_t size = 0;
    uint64_t held = 0;
    for (uint32_t index = 0; index < count; index++) {
        size += infos[index].stored_size;
    }
    for (uint32_t range = 0; range < topology->range_count; range++) {
        held += topology->ranges[range].replicas.count;
    }
    return held == 0 ? 0 : size / held;
}

static void preview_member_write(struct json_writer *json,
                                 const struct topology_preview_member *member, uint64_t range_size)
{
    json_object_begin(json);
    field_u64(json, "id", member->id);
    field_u64(json, "ranges", member->range_count);
    field_u64(json, "ranges_after", member->range_count_after);
    field_u64(json, "copies_in", member->copy_in_count);
    field_u64(json, "copies_out", member->copy_out_count);
    field_u64(json, "bytes_in", member->copy_in_count * range_size);
    field_u64(json, "bytes_out", member->copy_out_count * range_size);
    field_u64(json, "share_ppm", member->share_ppm);
    field_u64(json, "share_ppm_after", member->share_ppm_after);
    field_u64(json, "share_ppm_fair", member->share_ppm_fair);
    json_object_end(json);
}

static void preview_write(struct json_writer *json, const struct node *node,
                          const struct topology *topology, const struct topology_preview *preview)
{
    uint64_t range_size = range_size_of(node, topology);
    uint64_t busiest = 0; /* Copies that the node with the most of them takes or gives. */
    for (uint32_t index = 0; index < preview->member_count; index++) {
        const struct topology_preview_member *member = &preview->members[index];
        busiest = member->copy_in_count > busiest ? member->copy_in_count : busiest;
        busiest = member->copy_out_count > busiest ? member->copy_out_count : busiest;
    }
    json_object_begin(json);
    field_u64(json, "ranges", preview->range_count);
    field_u64(json, "copies", preview->move_count);
    field_u64(json, "copies_min", preview->move_count_min);
    field_u64(json, "bytes", preview->move_count * range_size);
    field_u64(json, "seconds", busiest * range_size / node_config(node)->stream_rate);
    json_key(json, "members");
    json_array_begin(json);
    for (uint32_t index = 0; index < preview->member_count; index++) {
        preview_member_write(json, &preview->members[index], range_size);
    }
    json_array_end(json);
    json_object_end(json);
}

void report_plan_show(const struct node *node, const struct topology *topology,
                      const struct topology_preview *preview, const char *refused,
                      struct buffer *to)
{
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    field_u64(&json, "epoch", topology->stamp.epoch);
    json_key(&json, "staged");
    if (topology->staged.id == 0) {
        json_null(&json);
    } else {
        plan_begin(&json, &topology->staged);
        json_object_end(&json);
    }
    running_write(&json, topology);
    json_key(&json, "refused");
    if (refused == NULL) {
        json_null(&json);
    } else {
        json_text(&json, refused);
    }
    json_key(&json, "preview");
    if (preview == NULL) {
        json_null(&json);
    } else {
        preview_write(&json, node, topology, preview);
    }
    json_object_end(&json);
}

/* ------------------------------------------------------------------ what it waits for */

static const char *wait_name(const struct driver_wait *wait)
{
    static const char *const names[] = {[DRIVER_WAIT_NONE] = "step",
                                        [DRIVER_WAIT_FENCE] = "fence",
                                        [DRIVER_WAIT_ENTER] = "enter",
                                        [DRIVER_WAIT_STREAM] = "stream"};
    return names[wait->type];
}

static void wait_nodes_write(struct json_writer *json, const struct topology *topology,
                             const struct driver_move *move, const struct driver_wait *wait,
                             uint64_t range_size)
{
    const struct topology_range *range = &topology->ranges[move->range];
    json_key(json, "nodes");
    json_array_begin(json);
    for (uint32_t index = 0; index < wait->node_count; index++) {
        uint32_t id = wait->nodes[index];
        const struct message_range_state *state = driver_move_state(move, id);
        json_object_begin(json);
        field_u64(json, "id", id);
        if (wait->type == DRIVER_WAIT_STREAM) {
            struct topology_sources sources;
            topology_sources(topology, range, id, &sources);
            ids_write(json, "sources", sources.ids, sources.count);
            field_u64(json, "sources_needed", sources.need);
            field_u64(json, "bytes_done", state->bytes_done);
            field_u64(json, "bytes_about", sources.need * range_size);
        }
        if (state->problem != STATUS_OK) {
            field_text(json, "problem", status_name((enum status)state->problem));
        }
        json_object_end(json);
    }
    json_array_end(json);
}

static void operation_write(struct json_writer *json, const struct node *node,
                            const struct driver_move *move, uint64_t range_size)
{
    static const char *const steps[] = {[TOPOLOGY_BEGIN] = "begin",
                                        [TOPOLOGY_READ_NEW] = "read_new",
                                        [TOPOLOGY_FINISH] = "finish",
                                        [TOPOLOGY_BACK] = "back"};
    const struct topology *topology = node_topology(node);
    const struct topology_range *range = &topology->ranges[move->range];
    struct driver_wait wait = driver_wait_of(node_driver(node), move);
    uint64_t now_ms = env_monotonic_ms(node_env(node));
    json_object_begin(json);
    field_u64(json, "range", move->range);
    field_text(json, "stage",
               range->stage == TOPOLOGY_WRITE_BOTH_READ_OLD ? "read_old" : "read_new");
    field_u64(json, "session", move->session);
    ids_write(json, "replicas", range->replicas.ids, range->replicas.count);
    ids_write(json, "next", range->next.ids, range->next.count);
    json_key(json, "merge_all");
    json_bool(json, range->merge_all);
    field_text(json, "step", steps[wait.step]);
    field_text(json, "waits_for", wait_name(&wait));
    json_key(json, "some_suffice");
    json_bool(json, wait.missing_majority);
    wait_nodes_write(json, topology, move, &wait, range_size);
    field_u64(json, "stage_ms", now_ms - move->stage_ms);
    field_u64(json, "operation_ms", now_ms - move->began_ms);
    json_object_end(json);
}

/* Ranges that were not begun, by the node that is silent. */
static void held_up_write(struct json_writer *json, const struct node *node)
{
    const struct topology *topology = node_topology(node);
    const struct driver *driver = node_driver(node);
    field_u64(json, "queued", driver_held_up_by(driver, UINT32_MAX));
    json_key(json, "held_up");
    json_array_begin(json);
    for (uint32_t index = 0; index < topology->member_count; index++) {
        uint32_t id = topology->members[index].id;
        uint32_t count = driver_held_up_by(driver, id);
        if (count > 0) {
            json_object_begin(json);
            field_u64(json, "by", id);
            field_u64(json, "ranges", count);
            json_object_end(json);
        }
    }
    json_array_end(json);
}

/* Members on their way out, and what keeps them. */
static void leaving_write(struct json_writer *json, const struct topology *topology)
{
    json_key(json, "leaving");
    json_array_begin(json);
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        if (member->state != TOPOLOGY_LEAVING) {
            continue;
        }
        uint32_t held = 0;
        for (uint32_t range = 0; range < topology->range_count; range++) {
            held += ring_replicas_contain(&topology->ranges[range].replicas, member->id) ? 1 : 0;
        }
        json_object_begin(json);
        field_u64(json, "id", member->id);
        field_u64(json, "ranges", held);
        json_key(json, "voter");
        json_bool(json, member->voter);
        json_key(json, "lost");
        json_bool(json, member->lost);
        json_object_end(json);
    }
    json_array_end(json);
}

void report_plan_explain(const struct node *node, struct buffer *to)
{
    const struct topology *topology = node_topology(node);
    const struct driver *driver = node_driver(node);
    bool leads = driver != NULL && driver_leads(driver);
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    field_u64(&json, "epoch", topology->stamp.epoch);
    field_u64(&json, "node", node_config(node)->id);
    json_key(&json, "drives");
    json_bool(&json, leads);
    running_write(&json, topology);
    leaving_write(&json, topology);
    if (leads) {
        uint32_t count;
        const struct driver_move *moves = driver_moves(driver, &count);
        uint64_t range_size = range_size_of(node, topology);
        held_up_write(&json, node);
        json_key(&json, "under_way");
        json_array_begin(&json);
        for (uint32_t index = 0; index < count; index++) {
            operation_write(&json, node, &moves[index], range_size);
        }
        json_array_end(&json);
    }
    json_object_end(&json);
}
