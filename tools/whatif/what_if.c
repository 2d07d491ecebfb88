/* tools/whatif/what_if.c -- nodes change step by step; figures of each scheme after each. */
#include "tools/whatif/what_if.h"

#include <math.h>
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"

/* ------------------------------------------------------------------ nodes */

/* Where a node of that id is, or would be inserted. */
static uint32_t node_position(const struct what_if_nodes *nodes, uint32_t id)
{
    uint32_t low = 0;
    uint32_t high = nodes->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (nodes->nodes[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct ring_node *node_find(struct what_if_nodes *nodes, uint32_t id)
{
    uint32_t position = node_position(nodes, id);
    bool found = position < nodes->count && nodes->nodes[position].id == id;
    return found ? &nodes->nodes[position] : NULL;
}

const char *what_if_change_make(struct what_if_nodes *nodes, const struct what_if_change *change)
{
    struct ring_node *node = node_find(nodes, change->node.id);
    uint32_t position = node_position(nodes, change->node.id);
    struct ring_node *at = &nodes->nodes[position];
    switch (change->type) {
    case WHAT_IF_ADD:
        if (node != NULL) {
            return "a node of that id is there already";
        }
        if (nodes->count == RING_MEMBER_COUNT_MAX) {
            return "there are as many nodes as a ring may have";
        }
        memmove(at + 1, at, (nodes->count - position) * sizeof(*at));
        *at = change->node;
        nodes->count++;
        return NULL;
    case WHAT_IF_REMOVE:
        if (node == NULL) {
            return "there is no node of that id";
        }
        nodes->count--;
        memmove(at, at + 1, (nodes->count - position) * sizeof(*at));
        return NULL;
    case WHAT_IF_WEIGHT:
        if (node == NULL) {
            return "there is no node of that id";
        }
        node->weight = change->node.weight;
        return NULL;
    }
    UNREACHABLE("what_if_change_type");
}

bool what_if_any_eligible(const struct what_if_nodes *nodes)
{
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (nodes->nodes[i].weight > 0) {
            return true;
        }
    }
    return false;
}

/* Distinct zones among those of the nodes at some positions. */
static uint32_t zone_count(const struct what_if_nodes *nodes, const uint32_t *positions,
                           uint32_t position_count)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < position_count; i++) {
        bool first = true;
        for (uint32_t j = 0; j < i && first; j++) {
            first = strcmp(nodes->nodes[positions[i]].zone, nodes->nodes[positions[j]].zone) != 0;
        }
        count += first ? 1 : 0;
    }
    return count;
}

/* Over how many zones replicas could lie. */
static uint32_t zone_count_possible(const struct what_if_nodes *nodes, uint32_t replica_count)
{
    uint32_t positions[RING_MEMBER_COUNT_MAX];
    uint32_t eligible_count = 0;
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (nodes->nodes[i].weight > 0) {
            positions[eligible_count++] = i;
        }
    }
    uint32_t count = zone_count(nodes, positions, eligible_count);
    return count < replica_count ? count : replica_count;
}

/* ------------------------------------------------------------------ loads */

static void dues_fill(const struct what_if_nodes *nodes, const uint32_t *share_ppm,
                      struct what_if_result *result)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < nodes->count; i++) {
        sum += share_ppm[i];
    }
    for (uint32_t i = 0; i < nodes->count; i++) {
        result->loads[i].due = (double)share_ppm[i] / (double)sum;
    }
}

static enum status dues_find(const struct what_if_nodes *nodes, enum scheme scheme,
                             const struct ring_input *input, struct what_if_result *result)
{
    struct ring_node known[RING_MEMBER_COUNT_MAX];
    uint32_t share_ppm[RING_MEMBER_COUNT_MAX];
    struct ring_input zoned = *input;
    memcpy(known, nodes->nodes, sizeof(known));
    for (uint32_t i = 0; i < nodes->count && scheme != SCHEME_RING; i++) {
        known[i].zone[0] = '\0';
    }
    zoned.nodes = known;
    enum status status = ring_feasible_shares(&zoned, share_ppm);
    if (status == STATUS_OK) {
        dues_fill(nodes, share_ppm, result);
    }
    return status;
}

static void shares_fill(const struct what_if_step *step, const struct scheme_placement *placement,
                        struct what_if_result *result)
{
    uint32_t zones_possible = zone_count_possible(&step->nodes, placement->replica_count);
    for (uint32_t index = 0; index < placement->cell_count; index++) {
        const struct ring_replicas *cell = &placement->cells[index];
        double part = scheme_cell_part(placement, index);
        uint32_t positions[RING_REPLICA_COUNT_MAX];
        for (uint32_t i = 0; i < cell->count; i++) {
            positions[i] = node_position(&step->nodes, cell->ids[i]);
            result->loads[positions[i]].share += part;
            result->loads[positions[i]].ranges += placement->scheme == SCHEME_RING ? 1 : 0;
        }
        if (zone_count(&step->nodes, positions, cell->count) < zones_possible) {
            result->zones_short += part;
        }
    }
    for (uint32_t i = 0; i < step->nodes.count; i++) {
        result->loads[i].share /= placement->replica_count;
    }
}

static enum status keys_fill(const struct what_if_step *step,
                             const struct scheme_placement *placement, const struct key_load *keys,
                             struct what_if_result *result)
{
    uint64_t *counts = memory_allocate_zeroed(placement->cell_count, sizeof(counts[0]));
    if (counts == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (size_t i = 0; i < keys->item_count; i++) {
        counts[scheme_cell_of(placement, keys->items[i].token)] += keys->items[i].count;
    }
    for (uint32_t index = 0; index < placement->cell_count; index++) {
        const struct ring_replicas *cell = &placement->cells[index];
        for (uint32_t i = 0; i < cell->count; i++) {
            result->loads[node_position(&step->nodes, cell->ids[i])].key_count += counts[index];
        }
    }
    memory_free(counts);
    return STATUS_OK;
}

/* ------------------------------------------------------------------ figures */

/* The part of all replicas that a load is, by tokens or by keys. */
static double load_part(const struct what_if_load *load, uint64_t key_replica_count)
{
    return key_replica_count == 0 ? load->share
                                  : (double)load->key_count / (double)key_replica_count;
}

static void evenness_find(const struct what_if_step *step, const struct what_if_result *result,
                          uint64_t key_replica_count, struct what_if_figures *figures)
{
    double squares = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < step->nodes.count; i++) {
        const struct what_if_load *load = &result->loads[i];
        if (load->due > 0) {
            double ratio = load_part(load, key_replica_count) / load->due;
            figures->max_over_mean = fmax(figures->max_over_mean, ratio);
            squares += (ratio - 1) * (ratio - 1);
            count++;
        }
    }
    ASSERT(count > 0);
    figures->variation = sqrt(squares / count);
}

/* A step and the one before it, of one scheme. */
struct transition {
    const struct what_if_step *before;
    const struct what_if_step *after;
    const struct scheme_placement *from;
    const struct scheme_placement *to;
    const struct key_load *keys;
};

static const struct what_if_load *load_before(const struct transition *transition, uint32_t id)
{
    static const struct what_if_load none = {0};
    const struct what_if_nodes *nodes = &transition->before->nodes;
    uint32_t position = node_position(nodes, id);
    bool found = position < nodes->count && nodes->nodes[position].id == id;
    return found ? &transition->before->results[transition->to->scheme].loads[position] : &none;
}

/* What was held is counted in replicas of the whole, since their number may have changed. */
static void least_find(const struct transition *transition, struct what_if_result *result)
{
    double replicas = transition->to->replica_count;
    double replicas_before = transition->from->replica_count;
    uint64_t gained_keys = 0;
    double gained = 0;
    for (uint32_t i = 0; i < transition->after->nodes.count; i++) {
        const struct what_if_load *now = &result->loads[i];
        const struct what_if_load *then =
            load_before(transition, transition->after->nodes.nodes[i].id);
        gained += fmax(0, now->share * replicas - then->share * replicas_before);
        gained_keys += now->key_count > then->key_count ? now->key_count - then->key_count : 0;
    }
    result->ranges.moved_least = gained / replicas;
    if (transition->keys->total > 0) {
        result->keys.moved_least =
            (double)gained_keys / ((double)transition->keys->total * replicas);
    }
}

static void moved_find(const struct transition *transition, struct what_if_result *result)
{
    const struct key_load *keys = transition->keys;
    const struct scheme_placement *to = transition->to;
    uint64_t moved_keys = 0;
    for (size_t i = 0; i < keys->item_count; i++) {
        const struct key_load_item *item = &keys->items[i];
        const struct ring_replicas *from =
            &transition->from->cells[scheme_cell_of(transition->from, item->token)];
        moved_keys +=
            item->count * ring_moves(from, &to->cells[scheme_cell_of(to, item->token)], 1);
    }
    result->ranges.moved = scheme_moved(transition->from, to) / to->replica_count;
    if (keys->total > 0) {
        result->keys.moved = (double)moved_keys / ((double)keys->total * to->replica_count);
    }
}

/* ------------------------------------------------------------------ steps */

/* `placement` is that of the step before, and becomes that of this one; zeroed at the start. */
static enum status scheme_step(const struct what_if_input *input, struct what_if_step *step,
                               struct scheme_placement *placement, enum scheme scheme)
{
    struct what_if_result *result = &step->results[scheme];
    struct scheme_placement next;
    struct ring_input asked = {.nodes = step->nodes.nodes,
                               .node_count = step->nodes.count,
                               .range_count = input->range_count,
                               .replica_count = input->replica_count,
                               .current = scheme == SCHEME_RING ? placement->cells : NULL};
    enum status status = scheme_place(&next, scheme, &asked);
    if (status != STATUS_OK) {
        return status;
    }
    *result = (struct what_if_result){0};
    status = dues_find(&step->nodes, scheme, &asked, result);
    if (status == STATUS_OK) {
        shares_fill(step, &next, result);
        status = keys_fill(step, &next, input->keys, result);
    }
    if (status == STATUS_OK) {
        evenness_find(step, result, 0, &result->ranges);
        if (input->keys->total > 0) {
            evenness_find(step, result, input->keys->total * next.replica_count, &result->keys);
        }
        if (step->change != NULL) {
            const struct transition transition = {.before = step - 1,
                                                  .after = step,
                                                  .from = placement,
                                                  .to = &next,
                                                  .keys = input->keys};
            least_find(&transition, result);
            moved_find(&transition, result);
        }
    }
    scheme_deinit(placement);
    *placement = next;
    return status;
}

enum status what_if_run(const struct what_if_input *input, struct what_if_step *steps)
{
    ASSERT(input->change_count <= WHAT_IF_CHANGE_COUNT_MAX);
    ASSERT(what_if_any_eligible(input->nodes));
    enum status status = STATUS_OK;
    struct scheme_placement placements[SCHEME_COUNT] = {0};
    for (uint32_t index = 0; index <= input->change_count && status == STATUS_OK; index++) {
        struct what_if_step *step = &steps[index];
        step->nodes = index == 0 ? *input->nodes : steps[index - 1].nodes;
        step->change = index == 0 ? NULL : &input->changes[index - 1];
        if (step->change != NULL) {
            const char *refused = what_if_change_make(&step->nodes, step->change);
            ASSERT(refused == NULL);
            ASSERT(what_if_any_eligible(&step->nodes));
        }
        for (uint32_t scheme = 0; scheme < SCHEME_COUNT && status == STATUS_OK; scheme++) {
            status = scheme_step(input, step, &placements[scheme], (enum scheme)scheme);
        }
    }
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        scheme_deinit(&placements[scheme]);
    }
    return status;
}
