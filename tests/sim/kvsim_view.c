/* tests/sim/kvsim_view.c -- see kvsim_view.h. */
#include "tests/sim/kvsim_view.h"

#include <inttypes.h>

#include "base/token.h"
#include "lsm/lsm.h"
#include "tests/sim/heap_sim.h"

#define VIEW_KEY_SIZE_MAX 64

struct view_cell {
    uint8_t key[VIEW_KEY_SIZE_MAX];
    uint32_t key_size;
    uint8_t *cell; /* As cell_encode() writes it. Owned. */
    uint32_t cell_size;
};

struct view_node {
    struct view *view;
    struct cluster_node *node;
    struct env_job job;
    struct lsm_iterator *iterator;
    enum status status;
    bool done;
    struct view_cell *cells; /* Sorted by key. */
    uint32_t count;
    uint32_t capacity;
};

struct view {
    struct cluster *cluster;
    struct view_node nodes[PLAN_HOST_COUNT_MAX];
};

static void cell_add(struct view_node *node, struct slice key, const struct cell *cell)
{
    ASSERT(key.size <= VIEW_KEY_SIZE_MAX);
    if (node->count == node->capacity) {
        node->capacity = node->capacity == 0 ? 64 : node->capacity * 2;
        node->cells = heap_sim_retake(node->cells, node->capacity * sizeof(*node->cells));
    }
    struct view_cell *added = &node->cells[node->count++];
    added->key_size = (uint32_t)key.size;
    memcpy(added->key, key.data, key.size);
    added->cell_size = (uint32_t)cell_encoded_size(cell);
    added->cell = heap_sim_take(added->cell_size);
    cell_encode(cell, added->cell);
}

static void view_run(struct env_job *job)
{
    struct view_node *node = container_of(job, struct view_node, job);
    uint8_t first_local = ENGINE_KEY_LOCAL_FIRST;
    struct lsm_iterator_options options = {.upper = slice_make(&first_local, 1),
                                           .wait = LSM_MAY_BLOCK};
    struct lsm_iterator *iterator;
    node->status = lsm_iterator_open(node_engine(node->node->node), &options, &iterator);
    if (node->status != STATUS_OK) {
        return;
    }
    for (;;) {
        struct slice key;
        struct cell cell;
        enum status status = lsm_iterator_next(iterator, &key, &cell);
        if (status == STATUS_OK) {
            cell_add(node, key, &cell);
        } else if (status != STATUS_BUDGET) {
            node->status = status == STATUS_NOT_FOUND ? STATUS_OK : status;
            break;
        }
    }
    lsm_iterator_close(iterator);
}

static void view_job_done(struct env_job *job, enum status status)
{
    struct view_node *node = container_of(job, struct view_node, job);
    node->status = status == STATUS_OK ? node->status : status;
    node->done = true;
}

static void view_submit(void *context)
{
    struct view_node *node = context;
    env_submit(world_node_env(node->node->host), ENV_LANE_POOL, &node->job);
}

struct view *view_begin(struct cluster *cluster)
{
    struct view *view = heap_sim_take(sizeof(*view));
    view->cluster = cluster;
    for (uint32_t index = 0; index < cluster->count; index++) {
        struct view_node *node = &view->nodes[index];
        node->view = view;
        node->node = cluster_node_at(cluster, index);
        node->job = (struct env_job){.run = view_run, .done = view_job_done};
        /* Not of one that was removed: it may run on without ever being told. */
        node->done = !cluster_is_member(cluster, index);
        if (!node->done) {
            ASSERT(cluster_node_runs(node->node));
            world_node_call(node->node->host, view_submit, node);
        }
    }
    return view;
}

bool view_done(const struct view *view)
{
    for (uint32_t index = 0; index < view->cluster->count; index++) {
        if (!view->nodes[index].done) {
            return false;
        }
    }
    return true;
}

static struct slice key_of(const struct view_cell *cell)
{
    return slice_make(cell->key, cell->key_size);
}

static const struct view_cell *cell_find(const struct view_node *node, struct slice key)
{
    uint32_t low = 0;
    uint32_t high = node->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = slice_compare(key, key_of(&node->cells[middle]));
        if (order == 0) {
            return &node->cells[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

/* One cell of one node against all nodes. */
static void cell_compare_all(struct view *view, const struct view_node *node,
                             const struct view_cell *cell)
{
    struct check *check = view->cluster->check;
    const struct topology *topology = cluster_topology(view->cluster);
    uint16_t keyspace;
    uint64_t token;
    struct slice name;
    if (token_engine_split(key_of(cell), &keyspace, &token, &name) != STATUS_OK) {
        check_violate(check, "node %u holds a key that is none", node->node->id);
        return;
    }
    const struct topology_range *range = topology_range_of(topology, token);
    if (!ring_replicas_contain(&range->replicas, node->node->id)) {
        check_violate(check, "node %u holds %.*s and is no replica of it", node->node->id,
                      (int)name.size, (const char *)name.data);
        return;
    }
    for (uint32_t index = 0; index < view->cluster->count; index++) {
        const struct view_node *other = &view->nodes[index];
        if (!ring_replicas_contain(&range->replicas, other->node->id)) {
            continue;
        }
        const struct view_cell *theirs = cell_find(other, key_of(cell));
        if (theirs == NULL || !slice_equal(slice_make(theirs->cell, theirs->cell_size),
                                           slice_make(cell->cell, cell->cell_size))) {
            check_violate(check, "%.*s: node %u %s node %u", (int)name.size,
                          (const char *)name.data, other->node->id,
                          theirs == NULL ? "lacks what is on" : "holds another cell than",
                          node->node->id);
        }
    }
}

uint32_t view_compare(struct view *view)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < view->cluster->count; index++) {
        const struct view_node *node = &view->nodes[index];
        if (node->status != STATUS_OK) {
            check_violate(view->cluster->check, "in quiet, node %u cannot read its cells: %s",
                          node->node->id, status_name(node->status));
        }
        for (uint32_t at = 0; at < node->count; at++) {
            cell_compare_all(view, node, &node->cells[at]);
        }
        count += node->count;
    }
    return count;
}

void view_free(struct view *view)
{
    for (uint32_t index = 0; index < view->cluster->count; index++) {
        struct view_node *node = &view->nodes[index];
        for (uint32_t at = 0; at < node->count; at++) {
            heap_sim_give(node->cells[at].cell);
        }
        heap_sim_give(node->cells);
    }
    heap_sim_give(view);
}
