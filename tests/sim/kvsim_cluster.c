/* tests/sim/kvsim_cluster.c -- see kvsim_cluster.h. */
#include "tests/sim/kvsim_cluster.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/checksum.h"
#include "lsm/lsm.h"
#include "node/coordinator_internal.h"
#include "raft/group.h"

#define NS_PER_MS UINT64_C(1000000)
#define BOOT_MS_MAX 500
#define NODE_PORT_CLIENT 7400
#define NODE_PORT_PEER 7401
/* An operation may outlive its deadline by this: timers fire in virtual time, so it is generous. */
#define OPERATION_SLACK_MS 200
#define STOP_SLACK_MS 10000

static void node_start_due(void *context);

static uint64_t now_ns(const struct cluster *cluster)
{
    return world_now_ns(cluster->world);
}

static uint64_t draw_ms(struct cluster *cluster, uint64_t ms_max)
{
    return prng_below(cluster->prng, ms_max + 1);
}

/* ------------------------------------------------------------------ life */

static void start_later(struct cluster_node *node, uint64_t delay_ms)
{
    struct cluster *cluster = node->cluster;
    if (cluster->over || node->restart_due || node->lost) {
        return;
    }
    node->restart_due = true;
    world_schedule(cluster->world, NULL, delay_ms * NS_PER_MS, node_start_due, node);
}

static void start_after_death(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    start_later(node, cluster->quiet ? 0 : draw_ms(cluster, cluster->plan->down_ms));
}

/* A process that lost its disk ends; the supervisor starts it again. */
static void failed_end(void *context)
{
    struct cluster_node *node = context;
    if (node->node != NULL && node->state == NODE_FAILED) {
        world_node_crash(node->host, WORLD_CRASH_PROCESS);
    }
}

static void node_finish(void *context)
{
    struct cluster_node *node = context;
    node_close(node->node);
}

static void stopped_end(void *context)
{
    struct cluster_node *node = context;
    struct cluster *cluster = node->cluster;
    if (node->node == NULL || node->state != NODE_STOPPED) {
        return;
    }
    if (world_node_paused(node->host)) {
        world_node_pause(node->host, false);
    }
    uint64_t left = world_node_stop(node->host, node_finish, node);
    node->node = NULL;
    cluster->counts.stops++;
    if (left != 0) {
        check_violate(cluster->check, "node %u: %" PRIu64 " bytes not freed by a clean stop",
                      node->id, left);
    }
    start_after_death(node);
}

static void node_changed(void *context, enum node_state state, enum status why)
{
    struct cluster_node *node = context;
    struct cluster *cluster = node->cluster;
    node->state = state;
    if (state == NODE_FAILED) {
        cluster->counts.failures++;
        if (why == STATUS_CORRUPT || why == STATUS_UNSUPPORTED || why == STATUS_REFUSED) {
            check_violate(cluster->check, "node %u failed: %s", node->id, status_name(why));
        }
        world_schedule(cluster->world, NULL, draw_ms(cluster, 100) * NS_PER_MS, failed_end, node);
    } else if (state == NODE_STOPPED) {
        world_schedule(cluster->world, NULL, 0, stopped_end, node);
    }
}

/* Whom a node that joins asks first: a member; if none can be asked who they are, the first node.
 */
static void contact_draw(const struct cluster_node *node, struct config *config)
{
    const struct cluster *cluster = node->cluster;
    uint32_t contact = 0;
    uint32_t drawn = (uint32_t)prng_below(cluster->prng, cluster->count);
    for (uint32_t step = 0; step < cluster->count; step++) {
        uint32_t index = (drawn + step) % cluster->count;
        if (&cluster->nodes[index] != node && !cluster->nodes[index].lost &&
            cluster_is_member(cluster, index)) {
            contact = index;
            break;
        }
    }
    (void)snprintf(config->join, sizeof(config->join), "%s:%d",
                   world_node_host(cluster->nodes[contact].host), NODE_PORT_PEER);
}

void cluster_node_config(const struct cluster_node *node, struct config *config)
{
    const struct cluster *cluster = node->cluster;
    *config = cluster->plan->config;
    config->id = node->id;
    (void)snprintf(config->data_dir, sizeof(config->data_dir), "data");
    (void)snprintf(config->client, sizeof(config->client), "%s:%d", world_node_host(node->host),
                   NODE_PORT_CLIENT);
    (void)snprintf(config->peer, sizeof(config->peer), "%s:%d", world_node_host(node->host),
                   NODE_PORT_PEER);
    (void)snprintf(config->admin, sizeof(config->admin), "off");
    config->insecure = true;
    if (cluster->plan->zone_count > 0) {
        (void)snprintf(config->zone, sizeof(config->zone), "zone-%u",
                       node->id % cluster->plan->zone_count);
    }
    if (world_node_index(node->host) >= cluster->plan->node_count) {
        contact_draw(node, config);
        return;
    }
    config->bootstrap_count = cluster->plan->node_count;
    for (uint32_t index = 0; index < config->bootstrap_count; index++) {
        struct config_bootstrap *entry = &config->bootstrap[index];
        entry->id = cluster->nodes[index].id;
        (void)snprintf(entry->peer_address, sizeof(entry->peer_address), "%s:%d",
                       world_node_host(cluster->nodes[index].host), NODE_PORT_PEER);
    }
}

static void node_boot(void *context)
{
    struct cluster_node *node = context;
    struct cluster *cluster = node->cluster;
    struct config config;
    cluster_node_config(node, &config);
    struct buffer message = {0};
    if (config_check(&config, &message) != STATUS_OK) {
        check_violate(cluster->check, "configuration refused: %.*s", (int)message.size,
                      (const char *)message.data);
        return;
    }
    struct node_events events = {.changed = node_changed, .context = node};
    enum status status = node_open(world_node_env(node->host), &config, &events, &node->node);
    if (status != STATUS_OK) {
        node->node = NULL;
        check_violate(cluster->check, "node %u does not open: %s", node->id, status_name(status));
    }
}

static void node_start_due(void *context)
{
    struct cluster_node *node = context;
    struct cluster *cluster = node->cluster;
    node->restart_due = false;
    if (world_node_alive(node->host) || cluster->over || node->lost) {
        return;
    }
    node->state = NODE_OPENING;
    node->stopping = false;
    node->epoch = 0;
    node->generation = 0;
    node->starts++;
    cluster->counts.starts++;
    world_node_start(node->host, node_boot, node);
}

void cluster_init(struct cluster *cluster, struct world *world, const struct plan *plan,
                  struct check *check)
{
    *cluster = (struct cluster){.world = world,
                                .plan = plan,
                                .check = check,
                                .prng = world_prng(world),
                                .count = plan->node_count + plan->spare_count};
    for (uint32_t index = 0; index < cluster->count; index++) {
        struct world_node *host = world_node_add(world);
        ASSERT(world_node_index(host) == index);
        cluster->nodes[index] =
            (struct cluster_node){.cluster = cluster, .host = host, .id = index + 1};
        cluster->nodes[index].spare = index >= plan->node_count;
        if (!cluster->nodes[index].spare) {
            start_later(&cluster->nodes[index], draw_ms(cluster, BOOT_MS_MAX));
        }
    }
}

void cluster_crashed(struct cluster *cluster, struct world_node *host)
{
    uint32_t index = world_node_index(host);
    if (index >= cluster->count || cluster->over) {
        return;
    }
    cluster->counts.crashes++;
    cluster->nodes[index].node = NULL;
    start_after_death(&cluster->nodes[index]);
}

/* ------------------------------------------------------------------ rules */

/* All that a node could tell of a topology; 0: a node that is told would not believe it. */
static uint64_t content_of(const struct topology *topology)
{
    struct buffer bytes = {0};
    struct topology copy;
    topology_init(&copy);
    topology_encode(&bytes, topology);
    enum status status = topology_decode(&copy, buffer_slice(&bytes));
    uint64_t content = status == STATUS_OK ? checksum64(buffer_slice(&bytes), 0) | 1 : 0;
    topology_deinit(&copy);
    buffer_deinit(&bytes);
    return content;
}

static void members_note(struct cluster *cluster, const struct topology *topology)
{
    for (uint32_t index = 0; index < topology->member_count; index++) {
        struct cluster_node *node = cluster_node_find(cluster, topology->members[index].id);
        if (node != NULL) {
            node->belonged = true;
        }
    }
}

/* (1), once for each epoch that a node comes to. */
static void epoch_observe(struct cluster_node *node, const struct topology *topology)
{
    struct cluster *cluster = node->cluster;
    uint64_t epoch = topology->stamp.epoch;
    uint32_t generation = topology->stamp.generation.number;
    if (epoch >= CLUSTER_EPOCH_COUNT_MAX || generation > CLUSTER_GENERATION_COUNT_MAX) {
        check_violate(cluster->check,
                      "node %u: epoch %" PRIu64 " of generation %u, more than anyone asked for",
                      node->id, epoch, generation);
        return;
    }
    struct cluster_epoch *seen = &cluster->epochs[generation - 1][epoch];
    uint64_t content = content_of(topology);
    if (content == 0) {
        check_violate(cluster->check, "node %u: the topology of epoch %" PRIu64 " is not sound",
                      node->id, epoch);
    }
    members_note(cluster, topology);
    if (seen->cluster_id == 0) {
        *seen = (struct cluster_epoch){
            .cluster_id = topology->cluster_id, .stamp = topology->stamp, .content = content};
    }
    if (seen->cluster_id != topology->cluster_id || seen->content != content ||
        seen->stamp.hash != topology->stamp.hash ||
        seen->stamp.generation.id != topology->stamp.generation.id) {
        check_violate(cluster->check, "two topologies of epoch %" PRIu64 ", one on node %u", epoch,
                      node->id);
    }
    cluster->epoch_max = epoch > cluster->epoch_max ? epoch : cluster->epoch_max;
}

static void topology_observe(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    const struct topology *topology = node_topology(node->node);
    uint64_t epoch = topology->stamp.epoch;
    if (topology->cluster_id == 0) {
        if (node->epoch_max > 0 && node->state == NODE_SERVING) {
            check_violate(cluster->check, "node %u serves without a topology", node->id);
        }
        return;
    }
    if (node->state == NODE_SERVING) {
        node->epoch_max = epoch > node->epoch_max ? epoch : node->epoch_max;
    }
    uint32_t generation = topology->stamp.generation.number;
    if (epoch == node->epoch && generation == node->generation) {
        return; /* What it goes by is replaced as a whole, or not at all. */
    }
    if (generation < node->generation || (generation == node->generation && epoch < node->epoch)) {
        check_violate(cluster->check,
                      "node %u: epoch %" PRIu64 " of generation %u after %" PRIu64 " of %u",
                      node->id, epoch, generation, node->epoch, node->generation);
    }
    node->epoch = epoch;
    node->generation = generation;
    epoch_observe(node, topology);
    if (cluster->adopted != NULL) {
        cluster->adopted(cluster->adopted_context, node);
    }
}

/* Opened by its files without any topology after it had served by one: the record of the first was
 * not durable. Of later ones it may not be: then the fences are (kvsim_ownership.h). */
static void restart_observe(struct cluster_node *node)
{
    const struct topology *topology = node_topology(node->node);
    if (node->state == NODE_JOINING && node->epoch_max > 0 && topology->cluster_id == 0) {
        check_violate(node->cluster->check, "node %u came back without a topology", node->id);
    }
}

static void operations_observe(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    struct coordinator *coordinator = node_coordinator(node->node);
    if (coordinator == NULL || now_ns(cluster) < node->busy_until_ns ||
        list_empty(&coordinator->operations)) {
        return;
    }
    const struct operation *first =
        container_of(coordinator->operations.next, struct operation, node);
    uint64_t now = env_monotonic_ns(world_node_env(node->host));
    if (now > first->deadline_ns + OPERATION_SLACK_MS * NS_PER_MS) {
        check_violate(cluster->check,
                      "node %u: an operation stands %" PRIu64 " ms after its deadline", node->id,
                      (now - first->deadline_ns) / NS_PER_MS);
    }
}

static void stop_observe(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    if (node->state != NODE_STOPPING || now_ns(cluster) < node->busy_until_ns) {
        return;
    }
    uint64_t since = node->stop_ns > node->busy_until_ns ? node->stop_ns : node->busy_until_ns;
    uint64_t limit_ms = cluster->plan->config.shutdown_ms + STOP_SLACK_MS;
    if (now_ns(cluster) > since + limit_ms * NS_PER_MS) {
        check_violate(cluster->check, "node %u does not stop", node->id);
    }
}

static uint32_t voters_of(const struct group_configuration *configuration)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < configuration->server_count; index++) {
        count += configuration->servers[index].duty == GROUP_VOTER;
    }
    return count;
}

static uint32_t fit_of(const struct topology *topology)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        count += member->state == TOPOLOGY_ACTIVE && !member->lost;
    }
    return count;
}

/* (6): of what the leader does, from one of its events to the next. */
static void voters_observe(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    struct group_info info;
    struct group_configuration configuration;
    if (!node_group_info(node->node, &info) || info.role != GROUP_LEADER ||
        !node_group_configuration(node->node, &configuration) || !configuration.committed) {
        return; /* One that is not may be taken back. */
    }
    uint32_t voter_count = voters_of(&configuration);
    uint32_t fit_count = fit_of(node_topology(node->node));
    bool fewer = voter_count < cluster->voter_count && voter_count < 3;
    bool same = node->generation == cluster->voters_generation;
    if (same && fewer && fit_count >= 3 && cluster->fit_count >= 3) {
        check_violate(cluster->check, "node %u leaves the Raft group with %u voters of %u members",
                      node->id, voter_count, fit_count);
    }
    cluster->voters_generation = node->generation;
    cluster->voter_count = voter_count;
    cluster->fit_count = fit_count;
}

void cluster_after_event(struct cluster *cluster, struct world_node *host)
{
    if (host == NULL || world_node_index(host) >= cluster->count) {
        return;
    }
    struct cluster_node *node = &cluster->nodes[world_node_index(host)];
    /* Events of an earlier life come also while this one is paused. */
    if (!cluster_node_runs(node) || node->state == NODE_OPENING || node->state == NODE_FAILED) {
        return;
    }
    uint64_t now_ms = node_now_ms(node->node);
    cluster->clock_ms_max = now_ms > cluster->clock_ms_max ? now_ms : cluster->clock_ms_max;
    topology_observe(node);
    restart_observe(node);
    operations_observe(node);
    stop_observe(node);
    voters_observe(node);
}

/* ------------------------------------------------------------------ control */

struct cluster_node *cluster_node_at(struct cluster *cluster, uint32_t index)
{
    ASSERT(index < cluster->count);
    return &cluster->nodes[index];
}

struct cluster_node *cluster_node_find(struct cluster *cluster, uint32_t id)
{
    return id >= 1 && id <= cluster->count ? &cluster->nodes[id - 1] : NULL;
}

const struct topology *cluster_topology(const struct cluster *cluster)
{
    const struct topology *newest = NULL;
    for (uint32_t index = 0; index < cluster->count; index++) {
        const struct cluster_node *node = &cluster->nodes[index];
        if (!cluster_node_runs(node) || node->state == NODE_OPENING) {
            continue;
        }
        const struct topology *topology = node_topology(node->node);
        if (topology->cluster_id != 0 &&
            (newest == NULL || topology_stamp_compare(&topology->stamp, &newest->stamp) > 0)) {
            newest = topology;
        }
    }
    return newest;
}

bool cluster_is_member(const struct cluster *cluster, uint32_t index)
{
    ASSERT(index < cluster->count);
    const struct topology *topology = cluster_topology(cluster);
    return topology != NULL && topology_member_find(topology, cluster->nodes[index].id) != NULL;
}

bool cluster_node_runs(const struct cluster_node *node)
{
    return world_node_alive(node->host) && !world_node_paused(node->host) && node->node != NULL;
}

void cluster_node_crash(struct cluster_node *node, enum world_crash crash)
{
    if (world_node_alive(node->host)) {
        world_node_crash(node->host, crash);
    }
}

static void node_stop_call(void *context)
{
    node_stop(context);
}

void cluster_node_stop(struct cluster_node *node)
{
    if (!cluster_node_runs(node) || node->stopping || node->state == NODE_FAILED) {
        return;
    }
    node->stopping = true;
    node->stop_ns = now_ns(node->cluster);
    world_node_call(node->host, node_stop_call, node->node);
}

void cluster_node_join(struct cluster_node *node)
{
    ASSERT(node->spare);
    node->spare = false;
    start_later(node, draw_ms(node->cluster, BOOT_MS_MAX));
}

void cluster_node_lose(struct cluster_node *node)
{
    node->lost = true;
    cluster_node_crash(node, WORLD_CRASH_POWER);
}

void cluster_node_revive(struct cluster_node *node)
{
    node->lost = false;
    start_later(node, 0);
}

/* Whether it still tries to join by a node that may be gone for good. */
static bool node_joins(const struct cluster_node *node)
{
    return world_node_index(node->host) >= node->cluster->plan->node_count && !node->spare &&
           !node->lost && node->epoch_max == 0;
}

void cluster_quiet(struct cluster *cluster)
{
    cluster->quiet = true;
    for (uint32_t index = 0; index < cluster->count; index++) {
        struct cluster_node *node = &cluster->nodes[index];
        if (node_joins(node)) {
            cluster_node_crash(node, WORLD_CRASH_PROCESS); /* Another contact is drawn then. */
        }
        if (!world_node_alive(node->host) && !node->spare) {
            node->restart_due = false; /* A later event of the old plan finds it running. */
            start_later(node, 0);
        }
    }
}

uint64_t cluster_clock_ms_max(const struct cluster *cluster)
{
    return cluster->clock_ms_max;
}

/* ------------------------------------------------------------------ the end */

static bool node_settled(const struct cluster_node *node, uint32_t member_count, char *why,
                         size_t size)
{
    if (!cluster_node_runs(node) || node->state != NODE_SERVING) {
        (void)snprintf(why, size, "node %u does not serve (alive=%d state=%d)", node->id,
                       world_node_alive(node->host), (int)node->state);
        return false;
    }
    if (node_read_only(node->node)) { /* It asks for its log again, within HEALER_DELAY_MS_MAX. */
        (void)snprintf(why, size, "node %u takes no writes", node->id);
        return false;
    }
    struct node_peer_info infos[PLAN_HOST_COUNT_MAX];
    uint32_t count = node_peers(node->node, infos, PLAN_HOST_COUNT_MAX);
    if (count != member_count) {
        (void)snprintf(why, size, "node %u knows %u nodes", node->id, count);
        return false;
    }
    for (uint32_t index = 0; index < count; index++) {
        if (infos[index].state != NODE_PEER_UP) {
            (void)snprintf(why, size, "node %u sees node %u in state %d", node->id, infos[index].id,
                           (int)infos[index].state);
            return false;
        }
    }
    return true;
}

/* Whether it has its part in the cluster yet to get, or had it and left. */
static bool node_is_outside(const struct cluster_node *node)
{
    return node->spare || node->lost || node->belonged;
}

bool cluster_converged(struct cluster *cluster, char *why, size_t size)
{
    const struct topology_stamp *stamp = NULL;
    const struct topology *newest = cluster_topology(cluster);
    uint32_t leaders = 0;
    for (uint32_t index = 0; index < cluster->count; index++) {
        const struct cluster_node *node = &cluster->nodes[index];
        if (!cluster_is_member(cluster, index) && node_is_outside(node)) {
            continue;
        }
        if (!node_settled(node, newest == NULL ? 0 : newest->member_count, why, size)) {
            return false;
        }
        const struct topology *topology = node_topology(node->node);
        if (stamp != NULL && topology_stamp_compare(stamp, &topology->stamp) != 0) {
            (void)snprintf(why, size, "node %u has epoch %" PRIu64, node->id,
                           topology->stamp.epoch);
            return false;
        }
        stamp = &topology->stamp;
        struct group_info info;
        leaders += node_group_info(node->node, &info) && info.role == GROUP_LEADER;
    }
    if (leaders != 1) {
        (void)snprintf(why, size, "%u Raft leaders", leaders);
        return false;
    }
    uint32_t fit_count = fit_of(newest);
    uint32_t wanted = fit_count >= 5 ? 5 : fit_count >= 3 ? 3 : 1;
    if (cluster->voter_count != wanted) {
        (void)snprintf(why, size, "%u voters of %u members", cluster->voter_count, fit_count);
    }
    return cluster->voter_count == wanted;
}

bool cluster_idle(const struct cluster *cluster)
{
    for (uint32_t index = 0; index < cluster->count; index++) {
        const struct cluster_node *node = &cluster->nodes[index];
        if (node->node != NULL && node_counters(node->node)->inflight_count > 0) {
            return false;
        }
    }
    return true;
}

void cluster_end(struct cluster *cluster)
{
    for (uint32_t index = 0; index < cluster->count; index++) {
        struct lsm_stats stats;
        struct cluster_node *node = &cluster->nodes[index];
        if (node->node != NULL) {
            node_lsm_stats(node->node, &stats);
            cluster->counts.flushed_size += stats.flush_written;
            cluster->counts.compacted_size += stats.compaction_written;
        }
        cluster_node_stop(node);
    }
    cluster->over = true;
}

bool cluster_ended(const struct cluster *cluster)
{
    for (uint32_t index = 0; index < cluster->count; index++) {
        if (world_node_alive(cluster->nodes[index].host)) {
            return false;
        }
    }
    return true;
}
