/*
 * tools/whatif/ring_simulate_options.c -- the command line: nodes, keys, and steps in their order.
 *
 * Options are spelled as client/kvctl_table.c has them, which kvctl has checked before it runs
 * this; tests/integration/test_simulate.py holds the two together.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/contract.h"
#include "tools/whatif/ring_simulate.h"

#define NODE_COUNT_DEFAULT 3
#define REPLICA_COUNT_DEFAULT 3
#define SEED_DEFAULT 1
#define ZONE_DEFAULT "default" /* As kvnode's. */

/* Options that only together make sense are looked at when all were read. */
struct given {
    uint32_t node_count;
    const char *zones;
    bool zipf;
    bool seed;
    const char *changes[WHAT_IF_CHANGE_COUNT_MAX];
};

/* ------------------------------------------------------------------ values */

static bool number_parse(const char *text, const char *end, uint64_t least, uint64_t max,
                         uint64_t *value)
{
    char *stopped;
    errno = 0;
    *value = strtoull(text, &stopped, 10);
    return text[0] >= '0' && text[0] <= '9' && stopped == end && errno == 0 && *value >= least &&
           *value <= max;
}

static bool number_option(const char *name, const char *text, uint64_t least, uint64_t max,
                          uint64_t *value)
{
    if (number_parse(text, text + strlen(text), least, max, value)) {
        return true;
    }
    kvctl_complain("--%s: not a number from %" PRIu64 " to %" PRIu64 ": %s", name, least, max,
                   text);
    return false;
}

static bool zipf_option(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    if (end != text && *end == '\0' && *value > 0 && *value <= KEY_LOAD_ZIPF_MAX) {
        return true;
    }
    kvctl_complain("--zipf: not a number above 0, up to %.0f: %s", KEY_LOAD_ZIPF_MAX, text);
    return false;
}

static bool zone_copy(const char *zone, size_t size, struct ring_node *node)
{
    if (size == 0 || size >= sizeof(node->zone)) {
        return false;
    }
    memcpy(node->zone, zone, size);
    node->zone[size] = '\0';
    return true;
}

/* ID[:WEIGHT[:ZONE]] */
static bool node_parse(const char *text, struct ring_node *node)
{
    uint64_t id;
    uint64_t weight = 1;
    const char *zone = ZONE_DEFAULT;
    const char *end = strchrnul(text, ':');
    bool parsed = number_parse(text, end, 1, UINT32_MAX, &id);
    if (parsed && *end == ':') {
        text = end + 1;
        end = strchrnul(text, ':');
        parsed = number_parse(text, end, 0, RING_WEIGHT_MAX, &weight);
        zone = *end == ':' ? end + 1 : zone;
    }
    *node = (struct ring_node){.id = (uint32_t)id, .weight = (uint32_t)weight};
    return parsed && zone_copy(zone, strlen(zone), node);
}

static bool node_option(const char *name, const char *text, struct ring_node *node)
{
    if (node_parse(text, node)) {
        return true;
    }
    kvctl_complain(
        "--%s: ID[:WEIGHT[:ZONE]], the id from 1, the weight from 0 to %d, the zone of 1 "
        "to %d bytes, not %s",
        name, RING_WEIGHT_MAX, RING_ZONE_SIZE_MAX - 1, text);
    return false;
}

/* ID:WEIGHT */
static bool weight_option(const char *text, struct ring_node *node)
{
    uint64_t id;
    uint64_t weight;
    const char *colon = strchrnul(text, ':');
    if (*colon == ':' && number_parse(text, colon, 1, UINT32_MAX, &id) &&
        number_parse(colon + 1, colon + strlen(colon), 0, RING_WEIGHT_MAX, &weight)) {
        *node = (struct ring_node){.id = (uint32_t)id, .weight = (uint32_t)weight};
        return true;
    }
    kvctl_complain("--weight: ID:WEIGHT, the weight from 0 to %d, not %s", RING_WEIGHT_MAX, text);
    return false;
}

/* ------------------------------------------------------------------ options */

enum letter {
    NODE = 256, /* Above every letter. */
    ZONES,
    REPLICAS,
    RANGES,
    KEYS,
    SYNTHETIC,
    ZIPF,
    SEED,
    ADD,
    REMOVE,
    WEIGHT,
    SVG,
};

static const struct option options[] = {
    {"nodes", required_argument, NULL, 'n'},
    {"node", required_argument, NULL, NODE},
    {"zones", required_argument, NULL, ZONES},
    {"replicas", required_argument, NULL, REPLICAS},
    {"ranges", required_argument, NULL, RANGES},
    {"keys", required_argument, NULL, KEYS},
    {"synthetic", required_argument, NULL, SYNTHETIC},
    {"zipf", required_argument, NULL, ZIPF},
    {"seed", required_argument, NULL, SEED},
    {"add", required_argument, NULL, ADD},
    {"remove", required_argument, NULL, REMOVE},
    {"weight", required_argument, NULL, WEIGHT},
    {"svg", required_argument, NULL, SVG},
    {"output", required_argument, NULL, 'o'},
    {0},
};

static bool node_take(struct simulation *simulation, const char *text)
{
    struct what_if_change change = {.type = WHAT_IF_ADD};
    if (!node_option("node", text, &change.node)) {
        return false;
    }
    const char *refused = what_if_change_make(&simulation->nodes, &change);
    if (refused != NULL) {
        kvctl_complain("--node %s: %s", text, refused);
    }
    return refused == NULL;
}

static bool change_take(struct simulation *simulation, struct given *given,
                        enum what_if_change_type type, const char *text)
{
    if (simulation->change_count == WHAT_IF_CHANGE_COUNT_MAX) {
        kvctl_complain("more than %d steps", WHAT_IF_CHANGE_COUNT_MAX);
        return false;
    }
    uint64_t id = 0;
    struct what_if_change *change = &simulation->changes[simulation->change_count];
    *change = (struct what_if_change){.type = type};
    given->changes[simulation->change_count++] = text;
    switch (type) {
    case WHAT_IF_ADD:
        return node_option("add", text, &change->node);
    case WHAT_IF_REMOVE:
        if (!number_option("remove", text, 1, UINT32_MAX, &id)) {
            return false;
        }
        change->node.id = (uint32_t)id;
        return true;
    case WHAT_IF_WEIGHT:
        return weight_option(text, &change->node);
    }
    UNREACHABLE("what_if_change_type");
}

static bool ranges_option(struct simulation *simulation, const char *text)
{
    uint64_t ranges;
    if (!number_option("ranges", text, 1, RING_RANGE_COUNT_MAX, &ranges)) {
        return false;
    }
    if ((ranges & (ranges - 1)) != 0) {
        kvctl_complain("--ranges: a power of two, not %s", text);
        return false;
    }
    simulation->range_count = (uint32_t)ranges;
    return true;
}

static bool output_option(struct simulation *simulation, const char *text)
{
    static const char *const names[] = {
        [KVCTL_TABLE] = "table", [KVCTL_JSON] = "json", [KVCTL_TSV] = "tsv", [KVCTL_RAW] = "raw"};
    for (size_t index = 0; index < ARRAY_COUNT(names); index++) {
        if (strcmp(text, names[index]) == 0) {
            simulation->output = (enum kvctl_output)index;
            return true;
        }
    }
    kvctl_complain("--output: table, json, tsv or raw, not %s", text);
    return false;
}

/* Options about keys and files. */
static bool load_option_take(struct simulation *simulation, struct given *given, int letter,
                             const char *text)
{
    switch (letter) {
    case KEYS:
        simulation->keys_file = text;
        return true;
    case SYNTHETIC:
        return number_option("synthetic", text, 1, KEY_LOAD_COUNT_MAX,
                             &simulation->synthesis.count);
    case ZIPF:
        given->zipf = true;
        return zipf_option(text, &simulation->synthesis.zipf);
    case SEED:
        given->seed = true;
        return number_option("seed", text, 0, UINT64_MAX, &simulation->synthesis.seed);
    case SVG:
        simulation->svg_file = text;
        return true;
    case 'o':
        return output_option(simulation, text);
    default: /* getopt_long() has complained. */
        return false;
    }
}

static bool option_take(struct simulation *simulation, struct given *given, int letter,
                        const char *text)
{
    uint64_t number = 0;
    bool taken;
    switch (letter) {
    case 'n':
        taken = number_option("nodes", text, 1, RING_MEMBER_COUNT_MAX, &number);
        given->node_count = (uint32_t)number;
        return taken;
    case NODE:
        return node_take(simulation, text);
    case ZONES:
        given->zones = text;
        return true;
    case REPLICAS:
        taken = number_option("replicas", text, 1, RING_REPLICA_COUNT_MAX, &number);
        simulation->replica_count = (uint32_t)number;
        return taken;
    case RANGES:
        return ranges_option(simulation, text);
    case ADD:
        return change_take(simulation, given, WHAT_IF_ADD, text);
    case REMOVE:
        return change_take(simulation, given, WHAT_IF_REMOVE, text);
    case WEIGHT:
        return change_take(simulation, given, WHAT_IF_WEIGHT, text);
    default:
        return load_option_take(simulation, given, letter, text);
    }
}

/* ------------------------------------------------------------------ the whole */

/* Nodes 1 to node_count, in the zones in turn. */
static bool nodes_number(struct simulation *simulation, const struct given *given)
{
    const char *zones = given->zones != NULL ? given->zones : ZONE_DEFAULT;
    const char *zone = zones;
    uint32_t count = given->node_count == 0 ? NODE_COUNT_DEFAULT : given->node_count;
    for (uint32_t id = 1; id <= count; id++) {
        struct what_if_change change = {.type = WHAT_IF_ADD, .node = {.id = id, .weight = 1}};
        size_t size = strcspn(zone, ",");
        if (!zone_copy(zone, size, &change.node)) {
            kvctl_complain("--zones: names of 1 to %d bytes with commas between, not %s",
                           RING_ZONE_SIZE_MAX - 1, zones);
            return false;
        }
        const char *refused = what_if_change_make(&simulation->nodes, &change);
        ASSERT(refused == NULL);
        zone = zone[size] == ',' ? zone + size + 1 : zones;
    }
    return true;
}

static bool nodes_settle(struct simulation *simulation, const struct given *given)
{
    if (simulation->nodes.count == 0) {
        return nodes_number(simulation, given);
    }
    if (given->node_count > 0 || given->zones != NULL) {
        kvctl_complain("--node names every node with its zone; --nodes and --zones go without it");
        return false;
    }
    if (!what_if_any_eligible(&simulation->nodes)) {
        kvctl_complain("--node: no node has a weight above 0");
        return false;
    }
    return true;
}

static bool keys_settle(const struct simulation *simulation, const struct given *given)
{
    if (simulation->keys_file != NULL && simulation->synthesis.count > 0) {
        kvctl_complain("--keys and --synthetic: one of them");
        return false;
    }
    if ((given->zipf || given->seed) && simulation->synthesis.count == 0) {
        kvctl_complain("--%s goes with --synthetic", given->zipf ? "zipf" : "seed");
        return false;
    }
    return true;
}

/* Makes the changes on a copy, so that none fails later. */
static bool changes_settle(const struct simulation *simulation, const struct given *given)
{
    static const char *const names[] = {
        [WHAT_IF_ADD] = "add", [WHAT_IF_REMOVE] = "remove", [WHAT_IF_WEIGHT] = "weight"};
    struct what_if_nodes nodes = simulation->nodes;
    for (uint32_t index = 0; index < simulation->change_count; index++) {
        const struct what_if_change *change = &simulation->changes[index];
        const char *refused = what_if_change_make(&nodes, change);
        if (refused == NULL && !what_if_any_eligible(&nodes)) {
            refused = "no node of a weight above 0 would be left";
        }
        if (refused != NULL) {
            kvctl_complain("--%s %s: %s", names[change->type], given->changes[index], refused);
            return false;
        }
    }
    return true;
}

enum kvctl_exit simulation_parse(struct simulation *simulation, int argc, char **argv)
{
    struct given given = {0};
    int letter;
    *simulation = (struct simulation){.replica_count = REPLICA_COUNT_DEFAULT,
                                      .range_count = RING_RANGE_COUNT_DEFAULT,
                                      .synthesis.seed = SEED_DEFAULT};
    while ((letter = getopt_long(argc, argv, "n:o:", options, NULL)) != -1) {
        if (!option_take(simulation, &given, letter, optarg)) {
            return KVCTL_USAGE;
        }
    }
    if (optind < argc) {
        kvctl_complain("ring simulate takes options alone, not %s", argv[optind]);
        return KVCTL_USAGE;
    }
    bool settled = nodes_settle(simulation, &given) && keys_settle(simulation, &given) &&
                   changes_settle(simulation, &given);
    return settled ? KVCTL_OK : KVCTL_USAGE;
}
