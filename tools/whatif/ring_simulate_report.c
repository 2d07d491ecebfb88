/* tools/whatif/ring_simulate_report.c -- the figures as tables, JSON or tab-separated rows. */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "tools/whatif/ring_simulate.h"
#include "tools/whatif/what_if_chart.h"

#define PERCENT 100.0
#define DECIMALS_RATIO 3
#define DECIMALS_PERCENT 2

/* One step, and what it takes to tell of it. */
struct telling {
    const struct simulation *simulation;
    const struct what_if_input *input;
    const struct what_if_step *step;
    uint32_t index;
};

static bool has_keys(const struct telling *telling)
{
    return telling->input->keys->total > 0;
}

static enum kvctl_exit rows_print(const struct telling *telling, struct output_rows *rows)
{
    struct kvctl kvctl = {.output = telling->simulation->output};
    return output_print(&kvctl, rows);
}

/* ------------------------------------------------------------------ cells of both forms */

/* "-" where there is nothing to tell: no keys, or no step before. */
static void figure_cell(struct output_rows *rows, bool told, int decimals, double value)
{
    if (told) {
        output_cell(rows, "%.*f", decimals, value);
    } else {
        output_cell(rows, "-");
    }
}

static void figures_cells(struct output_rows *rows, const struct telling *telling, bool told,
                          const struct what_if_figures *figures)
{
    bool moved = told && telling->step->change != NULL;
    figure_cell(rows, told, DECIMALS_RATIO, figures->max_over_mean);
    figure_cell(rows, told, DECIMALS_PERCENT, PERCENT * figures->variation);
    figure_cell(rows, moved, DECIMALS_PERCENT, PERCENT * figures->moved);
    figure_cell(rows, moved, DECIMALS_PERCENT, PERCENT * figures->moved_least);
}

static void scheme_cells(struct output_rows *rows, const struct telling *telling,
                         enum scheme scheme)
{
    const struct what_if_result *result = &telling->step->results[scheme];
    figures_cells(rows, telling, true, &result->ranges);
    figures_cells(rows, telling, has_keys(telling), &result->keys);
    output_cell(rows, "%.*f", DECIMALS_PERCENT, PERCENT * result->zones_short);
}

static void keys_cell(struct output_rows *rows, const struct telling *telling,
                      const struct what_if_load *load)
{
    if (has_keys(telling)) {
        output_cell(rows, "%" PRIu64, load->key_count);
    } else {
        output_cell(rows, "-");
    }
}

/* ------------------------------------------------------------------ table */

static void heading_print(const struct telling *telling)
{
    char change[WHAT_IF_CHANGE_TEXT_SIZE_MAX];
    char keys[OUTPUT_NUMBER_SIZE_MAX];
    const struct what_if_step *step = telling->step;
    if (step->change == NULL) {
        (void)printf("start: %" PRIu32 " nodes, %" PRIu32 " replicas of %" PRIu32
                     " ranges, %s keys\n\n",
                     step->nodes.count, telling->input->replica_count, telling->input->range_count,
                     output_count(telling->input->keys->total, keys));
    } else {
        (void)printf("\nstep %" PRIu32 ": %s, then %" PRIu32 " nodes\n\n", telling->index,
                     what_if_change_text(step->change, change), step->nodes.count);
    }
}

static enum kvctl_exit schemes_table(const struct telling *telling)
{
    static const struct output_column columns[] = {
        {"scheme", false},       {"max/mean", true},     {"cv_%", true},
        {"moved_%", true},       {"least_%", true},      {"keys_max/mean", true},
        {"keys_cv_%", true},     {"keys_moved_%", true}, {"keys_least_%", true},
        {"zones_short_%", true},
    };
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        output_cell(&rows, "%s", scheme_name((enum scheme)scheme));
        scheme_cells(&rows, telling, (enum scheme)scheme);
    }
    return rows_print(telling, &rows);
}

static enum kvctl_exit nodes_table(const struct telling *telling)
{
    static const struct output_column columns[] = {
        {"node", true},        {"zone", false},     {"weight", true},       {"due_%", true},
        {"ranges", true},      {"ring_%", true},    {"ring_keys", true},    {"modulo_%", true},
        {"modulo_keys", true}, {"virtual_%", true}, {"virtual_keys", true},
    };
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    for (uint32_t index = 0; index < telling->step->nodes.count; index++) {
        const struct ring_node *node = &telling->step->nodes.nodes[index];
        const struct what_if_load *ring = &telling->step->results[SCHEME_RING].loads[index];
        output_cell(&rows, "%" PRIu32, node->id);
        output_cell(&rows, "%s", node->zone);
        output_cell(&rows, "%" PRIu32, node->weight);
        output_cell(&rows, "%.*f", DECIMALS_PERCENT, PERCENT * ring->due);
        output_cell(&rows, "%" PRIu32, ring->ranges);
        for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
            const struct what_if_load *load = &telling->step->results[scheme].loads[index];
            output_cell(&rows, "%.*f", DECIMALS_PERCENT, PERCENT * load->share);
            keys_cell(&rows, telling, load);
        }
    }
    return rows_print(telling, &rows);
}

static enum kvctl_exit step_table(const struct telling *telling)
{
    heading_print(telling);
    enum kvctl_exit code = schemes_table(telling);
    (void)putchar('\n');
    return code == KVCTL_OK ? nodes_table(telling) : code;
}

/* ------------------------------------------------------------------ tab-separated */

static void row_begin(struct output_rows *rows, const char *kind, const struct telling *telling,
                      enum scheme scheme)
{
    char change[WHAT_IF_CHANGE_TEXT_SIZE_MAX];
    output_cell(rows, "%s", kind);
    output_cell(rows, "%" PRIu32, telling->index);
    output_cell(rows, "%s", what_if_change_text(telling->step->change, change));
    output_cell(rows, "%s", scheme_name(scheme));
}

static enum kvctl_exit schemes_tsv(const struct telling *telling)
{
    static const struct output_column columns[] = {
        {"kind", false},      {"step", true},          {"change", false},   {"scheme", false},
        {"nodes", true},      {"max/mean", true},      {"cv_%", true},      {"moved_%", true},
        {"least_%", true},    {"keys_max", true},      {"keys_cv_%", true}, {"keys_moved_%", true},
        {"keys_least", true}, {"zones_short_%", true},
    };
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        row_begin(&rows, "scheme", telling, (enum scheme)scheme);
        output_cell(&rows, "%" PRIu32, telling->step->nodes.count);
        scheme_cells(&rows, telling, (enum scheme)scheme);
    }
    return rows_print(telling, &rows);
}

static enum kvctl_exit nodes_tsv(const struct telling *telling)
{
    static const struct output_column columns[] = {
        {"kind", false},  {"step", true},    {"change", false}, {"scheme", false},
        {"node", true},   {"zone", false},   {"weight", true},  {"due_%", true},
        {"ranges", true}, {"share_%", true}, {"keys", true},
    };
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        for (uint32_t index = 0; index < telling->step->nodes.count; index++) {
            const struct ring_node *node = &telling->step->nodes.nodes[index];
            const struct what_if_load *load = &telling->step->results[scheme].loads[index];
            row_begin(&rows, "node", telling, (enum scheme)scheme);
            output_cell(&rows, "%" PRIu32, node->id);
            output_cell(&rows, "%s", node->zone);
            output_cell(&rows, "%" PRIu32, node->weight);
            output_cell(&rows, "%.*f", DECIMALS_PERCENT, PERCENT * load->due);
            if (scheme == SCHEME_RING) {
                output_cell(&rows, "%" PRIu32, load->ranges);
            } else {
                output_cell(&rows, "-");
            }
            output_cell(&rows, "%.*f", DECIMALS_PERCENT, PERCENT * load->share);
            keys_cell(&rows, telling, load);
        }
    }
    return rows_print(telling, &rows);
}

static enum kvctl_exit step_tsv(const struct telling *telling)
{
    enum kvctl_exit code = schemes_tsv(telling);
    return code == KVCTL_OK ? nodes_tsv(telling) : code;
}

/* ------------------------------------------------------------------ JSON */

static void figures_json(struct json_writer *json, const struct telling *telling,
                         const struct what_if_figures *figures)
{
    json_object_begin(json);
    json_key(json, "max_over_mean");
    json_double(json, figures->max_over_mean);
    json_key(json, "variation");
    json_double(json, figures->variation);
    if (telling->step->change != NULL) {
        json_key(json, "moved");
        json_double(json, figures->moved);
        json_key(json, "moved_least");
        json_double(json, figures->moved_least);
    }
    json_object_end(json);
}

static void node_json(struct json_writer *json, const struct telling *telling, enum scheme scheme,
                      uint32_t index)
{
    const struct ring_node *node = &telling->step->nodes.nodes[index];
    const struct what_if_load *load = &telling->step->results[scheme].loads[index];
    json_object_begin(json);
    json_key(json, "node");
    json_u64(json, node->id);
    json_key(json, "zone");
    json_text(json, node->zone);
    json_key(json, "weight");
    json_u64(json, node->weight);
    json_key(json, "due");
    json_double(json, load->due);
    json_key(json, "share");
    json_double(json, load->share);
    if (scheme == SCHEME_RING) {
        json_key(json, "ranges");
        json_u64(json, load->ranges);
    }
    if (has_keys(telling)) {
        json_key(json, "keys");
        json_u64(json, load->key_count);
    }
    json_object_end(json);
}

static void scheme_json(struct json_writer *json, const struct telling *telling, enum scheme scheme)
{
    const struct what_if_result *result = &telling->step->results[scheme];
    json_object_begin(json);
    json_key(json, "ranges");
    figures_json(json, telling, &result->ranges);
    if (has_keys(telling)) {
        json_key(json, "keys");
        figures_json(json, telling, &result->keys);
    }
    json_key(json, "zones_short");
    json_double(json, result->zones_short);
    json_key(json, "nodes");
    json_array_begin(json);
    for (uint32_t index = 0; index < telling->step->nodes.count; index++) {
        node_json(json, telling, scheme, index);
    }
    json_array_end(json);
    json_object_end(json);
}

static void step_json(struct json_writer *json, const struct telling *telling)
{
    char change[WHAT_IF_CHANGE_TEXT_SIZE_MAX];
    json_object_begin(json);
    json_key(json, "change");
    json_text(json, what_if_change_text(telling->step->change, change));
    json_key(json, "schemes");
    json_object_begin(json);
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        json_key(json, scheme_name((enum scheme)scheme));
        scheme_json(json, telling, (enum scheme)scheme);
    }
    json_object_end(json);
    json_object_end(json);
}

static enum kvctl_exit json_report(const struct simulation *simulation,
                                   const struct what_if_input *input,
                                   const struct what_if_step *steps)
{
    struct buffer text = {0};
    struct json_writer json;
    json_init(&json, &text);
    json_object_begin(&json);
    json_key(&json, "replicas");
    json_u64(&json, input->replica_count);
    json_key(&json, "ranges");
    json_u64(&json, input->range_count);
    json_key(&json, "keys");
    json_u64(&json, input->keys->total);
    json_key(&json, "distinct_keys");
    json_u64(&json, input->keys->item_count);
    json_key(&json, "steps");
    json_array_begin(&json);
    for (uint32_t index = 0; index <= input->change_count; index++) {
        const struct telling telling = {simulation, input, &steps[index], index};
        step_json(&json, &telling);
    }
    json_array_end(&json);
    json_object_end(&json);
    buffer_append_text(&text, "\n");
    enum kvctl_exit code = KVCTL_FAILURE;
    if (buffer_status(&text) == STATUS_OK) {
        code = output_bytes(buffer_slice(&text));
    } else {
        kvctl_complain("out of memory");
    }
    buffer_deinit(&text);
    return code;
}

enum kvctl_exit simulation_report(const struct simulation *simulation,
                                  const struct what_if_input *input,
                                  const struct what_if_step *steps)
{
    if (simulation->output == KVCTL_JSON) {
        return json_report(simulation, input, steps);
    }
    enum kvctl_exit code = KVCTL_OK;
    for (uint32_t index = 0; index <= input->change_count && code == KVCTL_OK; index++) {
        const struct telling telling = {simulation, input, &steps[index], index};
        code = simulation->output == KVCTL_TABLE ? step_table(&telling) : step_tsv(&telling);
    }
    return code;
}
