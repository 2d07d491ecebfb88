/* node/report_load.c -- JSON pages about load. */
#include "node/report_load.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/token.h"
#include "node/node.h"

#define PER_SECOND_UNITS 1000.0 /* Rates travel in thousandths. */

static void field_u64(struct json_writer *json, const char *key, uint64_t value)
{
    json_key(json, key);
    json_u64(json, value);
}

static void field_rate(struct json_writer *json, const char *key, uint64_t units)
{
    json_key(json, key);
    json_double(json, (double)units / PER_SECOND_UNITS);
}

static void view_write(struct json_writer *json, const struct message_load_view *view)
{
    field_u64(json, "keys", view->keys);
    field_u64(json, "bytes", view->bytes);
    field_rate(json, "reads_per_s", view->reads);
    field_rate(json, "writes_per_s", view->writes);
}

static uint32_t range_count_of(const struct topology *topology, uint32_t id)
{
    uint32_t count = 0;
    for (uint32_t range = 0; range < topology->range_count; range++) {
        count += ring_replicas_contain(&topology->ranges[range].replicas, id) ? 1 : 0;
    }
    return count;
}

static void parts_write(struct json_writer *json, const struct node *node,
                        const struct gathering *gathering)
{
    json_key(json, "nodes");
    json_array_begin(json);
    for (uint32_t index = 0; index < gathering->part_count; index++) {
        const struct gathering_part *part = &gathering->parts[index];
        bool known = part->status == STATUS_OK;
        json_object_begin(json);
        field_u64(json, "id", part->id);
        json_key(json, "known");
        json_bool(json, known);
        if (known) {
            field_u64(json, "ranges", range_count_of(node_topology(node), part->id));
            view_write(json, &part->load.head.sum);
            field_u64(json, "space_free", part->load.head.space_free);
        }
        json_object_end(json);
    }
    json_array_end(json);
}

static void part_ranges_write(struct json_writer *json, const struct gathering_part *part)
{
    for (uint32_t index = 0; index < part->load.head.range_count; index++) {
        struct message_load_range range;
        message_load_range_at(&part->load, index, &range);
        json_object_begin(json);
        field_u64(json, "range", range.range);
        field_u64(json, "node", part->id);
        view_write(json, &range.view);
        json_object_end(json);
    }
}

void report_load(const struct node *node, const struct gathering *gathering, bool ranges,
                 struct buffer *to)
{
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    field_u64(&json, "epoch", node_topology(node)->stamp.epoch);
    field_u64(&json, "half_life_s", node_config(node)->half_life_s);
    parts_write(&json, node, gathering);
    if (ranges) {
        json_key(&json, "ranges");
        json_array_begin(&json);
        for (uint32_t index = 0; index < gathering->part_count; index++) {
            if (gathering->parts[index].status == STATUS_OK) {
                part_ranges_write(&json, &gathering->parts[index]);
            }
        }
        json_array_end(&json);
    }
    json_object_end(&json);
}

/* ------------------------------------------------------------------ hot keys */

/* A key as one node tells of it; or all of them, once they are brought together. */
struct told_key {
    struct message_load_key key;
    uint32_t node_count;
};

static int by_token(const void *left, const void *right)
{
    const struct told_key *a = left;
    const struct told_key *b = right;
    if (a->key.token != b->key.token) {
        return a->key.token < b->key.token ? -1 : 1;
    }
    return a->key.keyspace < b->key.keyspace ? -1 : a->key.keyspace > b->key.keyspace ? 1 : 0;
}

static int by_rate(const void *left, const void *right)
{
    const struct told_key *a = left;
    const struct told_key *b = right;
    if (a->key.rate != b->key.rate) {
        return a->key.rate > b->key.rate ? -1 : 1;
    }
    return by_token(left, right);
}

/* Each operation is sampled on the node that coordinates it: rates of one key add up. */
static uint32_t told_merge(struct told_key *told, uint32_t count)
{
    uint32_t kept = 0;
    qsort(told, count, sizeof(*told), by_token);
    for (uint32_t index = 0; index < count; index++) {
        if (kept > 0 && by_token(&told[kept - 1], &told[index]) == 0) {
            told[kept - 1].key.rate += told[index].key.rate;
            told[kept - 1].key.error += told[index].key.error;
            told[kept - 1].key.writes += told[index].key.writes;
            told[kept - 1].node_count++;
        } else {
            told[kept++] = told[index];
        }
    }
    qsort(told, kept, sizeof(*told), by_rate);
    return kept;
}

/* NULL if there is no memory. */
static struct told_key *told_collect(const struct gathering *gathering, uint32_t *count)
{
    struct told_key *told =
        memory_allocate_zeroed(gathering->part_count * (size_t)HOT_KEYS_COUNT, sizeof(*told));
    *count = 0;
    for (uint32_t index = 0; told != NULL && index < gathering->part_count; index++) {
        const struct gathering_part *part = &gathering->parts[index];
        for (uint32_t at = 0; part->status == STATUS_OK && at < part->load.head.key_count; at++) {
            message_load_key_at(&part->load, at, &told[*count].key);
            told[(*count)++].node_count = 1;
        }
    }
    return told;
}

static void key_escape(struct slice key, struct buffer *to)
{
    for (size_t index = 0; index < key.size; index++) {
        uint8_t byte = key.data[index];
        if (byte == '\\') {
            buffer_append_text(to, "\\\\");
        } else if (byte < ' ' || byte > '~') {
            buffer_append_format(to, "\\x%02x", byte);
        } else {
            buffer_append(to, &byte, 1);
        }
    }
}

static void told_write(struct json_writer *json, const struct topology *topology,
                       const struct told_key *told)
{
    const struct message_load_key *key = &told->key;
    uint32_t range = ring_range_of(key->token, topology->range_count);
    struct buffer text = {0};
    key_escape(key->key, &text);
    json_object_begin(json);
    json_key(json, "key");
    json_slice(json, buffer_slice(&text));
    field_u64(json, "size", key->size);
    field_u64(json, "shown", key->key.size);
    field_u64(json, "keyspace", key->keyspace);
    json_key(json, "token");
    json_hex64(json, key->token);
    field_rate(json, "per_s", key->rate);
    field_rate(json, "error_per_s", key->error);
    field_rate(json, "writes_per_s", key->writes);
    field_u64(json, "nodes", told->node_count);
    field_u64(json, "range", range);
    json_key(json, "replicas");
    json_array_begin(json);
    const struct ring_replicas *replicas = &topology->ranges[range].replicas;
    for (uint32_t index = 0; index < replicas->count; index++) {
        json_u64(json, replicas->ids[index]);
    }
    json_array_end(json);
    json_object_end(json);
    buffer_deinit(&text);
}

void report_hot_keys(const struct node *node, const struct gathering *gathering, struct buffer *to)
{
    uint32_t count;
    struct told_key *told = told_collect(gathering, &count);
    if (told == NULL) {
        to->failed = true;
        return;
    }
    count = told_merge(told, count);
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    field_u64(&json, "half_life_s", node_config(node)->half_life_s);
    field_u64(&json, "stride", node_config(node)->hot_key_stride);
    json_key(&json, "nodes");
    json_array_begin(&json);
    for (uint32_t index = 0; index < gathering->part_count; index++) {
        json_object_begin(&json);
        field_u64(&json, "id", gathering->parts[index].id);
        json_key(&json, "known");
        json_bool(&json, gathering->parts[index].status == STATUS_OK);
        json_object_end(&json);
    }
    json_array_end(&json);
    json_key(&json, "keys");
    json_array_begin(&json);
    for (uint32_t index = 0; index < count && index < REPORT_HOT_KEYS_MAX; index++) {
        told_write(&json, node_topology(node), &told[index]);
    }
    json_array_end(&json);
    json_object_end(&json);
    memory_free(told);
}

/* ------------------------------------------------------------------ balance */

#define PPM_PER_PERCENT 10000.0

static void field_percent(struct json_writer *json, const char *key, uint64_t ppm)
{
    json_key(json, key);
    json_double(json, (double)ppm / PPM_PER_PERCENT);
}

static void field_ratio(struct json_writer *json, const char *key, uint64_t ppm)
{
    json_key(json, key);
    json_double(json, (double)ppm / (double)BALANCE_PPM);
}

static void balance_members_write(struct json_writer *json, const struct balance *balance)
{
    json_key(json, "nodes");
    json_array_begin(json);
    for (uint32_t index = 0; index < balance->member_count; index++) {
        const struct balance_member *member = &balance->members[index];
        json_object_begin(json);
        field_u64(json, "id", member->id);
        json_key(json, "counted");
        json_bool(json, member->counted);
        field_percent(json, "load_pct", member->load_ppm);
        field_percent(json, "load_pct_after", member->load_ppm_after);
        field_percent(json, "due_pct", member->due_ppm);
        field_u64(json, "moves_in", member->in_count);
        field_u64(json, "moves_out", member->out_count);
        field_u64(json, "bytes_in", member->in_bytes);
        field_u64(json, "bytes_out", member->out_bytes);
        json_object_end(json);
    }
    json_array_end(json);
}

static void balance_moves_write(struct json_writer *json, const struct balance *balance)
{
    json_key(json, "moves");
    json_array_begin(json);
    for (uint32_t index = 0; index < balance->move_count; index++) {
        const struct balance_move *move = &balance->moves[index];
        json_object_begin(json);
        field_u64(json, "range", move->range);
        field_u64(json, "from", move->from);
        field_u64(json, "to", move->to);
        field_u64(json, "bytes", move->bytes);
        field_percent(json, "load_pct", move->load_ppm);
        json_object_end(json);
    }
    json_array_end(json);
}

void report_balance(const struct topology *topology, const struct balance_input *input,
                    const struct balance *balance, struct buffer *to)
{
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    field_u64(&json, "epoch", topology->stamp.epoch);
    json_key(&json, "weights");
    json_object_begin(&json);
    field_u64(&json, "bytes", input->bytes_weight);
    field_u64(&json, "reads", input->reads_weight);
    field_u64(&json, "writes", input->writes_weight);
    json_object_end(&json);
    field_percent(&json, "gain_pct_min", input->gain_ppm);
    field_ratio(&json, "imbalance", balance->imbalance_ppm);
    field_ratio(&json, "imbalance_after", balance->imbalance_ppm_after);
    field_u64(&json, "bytes", balance->bytes);
    if (balance->reason != NULL) {
        json_key(&json, "reason");
        json_text(&json, balance->reason);
    }
    balance_members_write(&json, balance);
    balance_moves_write(&json, balance);
    json_object_end(&json);
}
