/* tests/sim/kvsim_held.c -- see kvsim_held.h. */
#include "tests/sim/kvsim_held.h"

#include <inttypes.h>

#include "base/token.h"
#include "lsm/lsm.h"
#include "tests/sim/heap_sim.h"

#define KEYSPACE 1 /* That of a connection which selects none. */

static uint64_t token_of_key(uint32_t key)
{
    char name[24];
    uint32_t size = check_key_name(key, name, sizeof(name));
    return token_of(KEYSPACE, slice_make(name, size));
}

/* What of a node may be looked at. */
static bool node_shows(const struct cluster_node *node)
{
    return cluster_node_runs(node) && node->state != NODE_OPENING && node->state != NODE_FAILED;
}

uint64_t held_epoch(struct cluster *cluster, uint32_t node_index, uint32_t key)
{
    const struct cluster_node *node = cluster_node_at(cluster, node_index);
    if (!node_shows(node) || node_topology(node->node)->cluster_id == 0) {
        return 0;
    }
    return topology_range_of(node_topology(node->node), token_of_key(key))->epoch;
}

struct look {
    struct lsm *lsm;
    uint32_t key;
    enum status status;
    struct version version;
};

static void look_run(void *context)
{
    struct look *look = context;
    char name[24];
    uint32_t size = check_key_name(look->key, name, sizeof(name));
    struct buffer engine_key = {0};
    struct buffer scratch = {0};
    struct cell cell;
    token_engine_key(&engine_key, KEYSPACE, token_of_key(look->key), slice_make(name, size));
    look->status = lsm_get(look->lsm, buffer_slice(&engine_key), LSM_NOWAIT, &scratch, &cell);
    if (look->status == STATUS_OK) {
        look->version = cell.version;
    }
    buffer_deinit(&scratch);
    buffer_deinit(&engine_key);
}

static bool may_hold(struct cluster *cluster, uint32_t id, uint32_t key, struct version version)
{
    const struct cluster_node *node = cluster_node_find(cluster, id);
    if (!node_shows(node) || node_engine(node->node) == NULL) {
        return true;
    }
    struct look look = {.lsm = node_engine(node->node), .key = key};
    world_node_call(node->host, look_run, &look);
    return (look.status != STATUS_OK && look.status != STATUS_NOT_FOUND) ||
           version_compare(look.version, version) >= 0;
}

static void set_judge(struct cluster *cluster, const struct check_operation *operation,
                      struct version version, const struct ring_replicas *set)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < set->count; index++) {
        count += may_hold(cluster, set->ids[index], operation->key, version);
    }
    if (count <= set->count / 2u) {
        check_violate(cluster->check,
                      "operation %u (key-%u) was answered with %016" PRIx64 "-%" PRIu32
                      ", which %u of %u replicas hold",
                      operation->number, operation->key, version.time, version.node, count,
                      set->count);
    }
}

struct held {
    struct cluster *cluster;
    const struct check_operation *operation;
    struct version version;
    uint64_t epoch;
};

static void held_run(const struct held *held)
{
    const struct topology *topology = cluster_topology(held->cluster);
    if (topology == NULL) {
        return;
    }
    const struct topology_range *range =
        topology_range_of(topology, token_of_key(held->operation->key));
    if (range->epoch != held->epoch) {
        return;
    }
    set_judge(held->cluster, held->operation, held->version, &range->replicas);
    if (range->next.count > 0) {
        set_judge(held->cluster, held->operation, held->version, &range->next);
    }
}

static void held_due(void *context)
{
    struct held *held = context;
    held_run(held);
    heap_sim_give(held);
}

void held_judge(struct cluster *cluster, const struct check_operation *operation,
                struct version version, uint64_t epoch)
{
    if (operation->level == LEVEL_ONE || version.time == 0 || epoch == 0) {
        return;
    }
    struct held *held = heap_sim_take(sizeof(*held));
    *held = (struct held){cluster, operation, version, epoch};
    /* Engines are asked between events, and this is one of the client. */
    world_schedule(cluster->world, NULL, 0, held_due, held);
}
