/*
 * tests/sim/kvsim_nemesis.c -- see kvsim_nemesis.h.
 *
 * A fault that lasts is a struct of its own, whose end is an event of the world; at the end of all
 * trouble the network is healed and disks and clocks are set right as a whole, and later ends of
 * single faults do nothing.
 */
#include "tests/sim/kvsim_nemesis.h"

#include <inttypes.h>
#include <stdio.h>

#include "raft/group.h"
#include "tests/sim/heap_sim.h"

#define NS_PER_MS UINT64_C(1000000)
#define CLOG_MS_MAX 300
#define JUMP_MS_MAX 900
#define DRIFT_PPM_MAX 3000
#define POWER_CALLS_MAX 40 /* File calls until a loss of power inside a job. */
#define BUSY_AFTER_MS 3000 /* After a pause or a slow disk, a node catches up. */
#define WEDGE_MS_MIN 8000
#define WEDGE_MS_MAX 20000
#define EPOCH_US_MAX 5000     /* From the adoption of an epoch until a node dies of it. */
#define EPOCH_CUT_MS_MAX 4000 /* Of a cut that begins with it. */

/* One trouble that lasts. */
struct trouble {
    struct nemesis *nemesis;
    enum plan_fault fault;
    uint32_t node; /* Index; or a host's. */
    uint64_t side; /* Bit n: node n stands on that side, or is the other end. */
    bool inbound;
};

static struct prng *prng_of(const struct nemesis *nemesis)
{
    return nemesis->cluster->prng;
}

static uint64_t draw(const struct nemesis *nemesis, uint64_t bound)
{
    return prng_below(prng_of(nemesis), bound);
}

static void show(const struct nemesis *nemesis, enum plan_fault fault, uint32_t node, uint64_t side,
                 const char *what)
{
    if (nemesis->verbose) {
        uint64_t mask = (UINT64_C(1) << nemesis->cluster->count) - 1;
        (void)fprintf(stderr, "%9.3f nemesis %s %s node %u side %" PRIx64 "\n",
                      (double)world_now_ns(nemesis->cluster->world) / 1e9, plan_fault_name(fault),
                      what, node + 1, side & mask);
    }
}

static struct net_sim *net_of(const struct nemesis *nemesis)
{
    return world_net(nemesis->cluster->world);
}

static struct cluster_node *node_drawn(struct nemesis *nemesis)
{
    return cluster_node_at(nemesis->cluster, (uint32_t)draw(nemesis, nemesis->cluster->count));
}

static struct disk_faults *disk_of(const struct trouble *trouble)
{
    const struct cluster_node *node = cluster_node_at(trouble->nemesis->cluster, trouble->node);
    return disk_sim_faults(world_node_disk(node->host));
}

static void busy(struct cluster_node *node)
{
    uint64_t until = world_now_ns(node->cluster->world) + BUSY_AFTER_MS * NS_PER_MS;
    node->busy_until_ns = until > node->busy_until_ns ? until : node->busy_until_ns;
}

/* ------------------------------------------------------------------ what lasts */

/* Between `a` and every node on the other side. */
static void sides_set(const struct trouble *trouble, uint32_t a, bool cut)
{
    bool there = (trouble->side >> a & 1) != 0;
    for (uint32_t b = 0; b < trouble->nemesis->cluster->count; b++) {
        if (there != ((trouble->side >> b & 1) != 0)) {
            net_sim_cut(net_of(trouble->nemesis), a, b, cut);
        }
    }
}

static void cuts_set(const struct trouble *trouble, bool cut)
{
    struct net_sim *net = net_of(trouble->nemesis);
    uint32_t count = trouble->nemesis->cluster->count;
    for (uint32_t a = 0; a < count; a++) {
        bool there = (trouble->side >> a & 1) != 0;
        if (trouble->fault == FAULT_PARTITION) {
            sides_set(trouble, a, cut);
        } else if (there && a != trouble->node) {
            bool both = trouble->fault == FAULT_CLIENT_CUT;
            if (both || trouble->inbound) {
                net_sim_cut(net, a, trouble->node, cut);
            }
            if (both || !trouble->inbound) {
                net_sim_cut(net, trouble->node, a, cut);
            }
        }
    }
}

static void storm_set(const struct nemesis *nemesis, bool on)
{
    const struct net_sim_options *calm = &nemesis->plan->world.net;
    struct net_sim_options *live = net_sim_options(net_of(nemesis));
    live->drop_ppm = on ? 20000 + (uint32_t)draw(nemesis, 100000) : calm->drop_ppm;
    live->duplicate_ppm = on ? (uint32_t)draw(nemesis, 200000) : calm->duplicate_ppm;
    live->slow_ppm = on ? (uint32_t)draw(nemesis, 200000) : calm->slow_ppm;
}

static void disk_set(const struct trouble *trouble, bool on)
{
    const struct nemesis *nemesis = trouble->nemesis;
    struct disk_faults *faults = disk_of(trouble);
    const struct disk_faults *calm = &nemesis->plan->world.disk.faults;
    if (trouble->fault == FAULT_DISK_SLOW) {
        faults->slow_ppm = on ? (uint32_t)draw(nemesis, 500000) : calm->slow_ppm;
        busy(cluster_node_at(nemesis->cluster, trouble->node));
        return;
    }
    bool all = on && trouble->fault == FAULT_DISK_ERRORS;
    uint32_t ppm = 1000 + (uint32_t)draw(nemesis, 100000);
    faults->sync_error_ppm = on ? ppm : 0;
    faults->write_error_ppm = all ? ppm : 0;
    faults->read_error_ppm = all ? ppm : 0;
    faults->name_error_ppm = all ? ppm : 0;
}

static void trouble_set(const struct trouble *trouble, bool on)
{
    show(trouble->nemesis, trouble->fault, trouble->node, trouble->side, on ? "begins" : "ends");
    struct cluster *cluster = trouble->nemesis->cluster;
    switch ((int)trouble->fault) {
    case FAULT_PARTITION:
    case FAULT_ONE_WAY:
    case FAULT_CLOG:
    case FAULT_CLIENT_CUT:
        cuts_set(trouble, on);
        break;
    case FAULT_STORM:
        storm_set(trouble->nemesis, on);
        break;
    case FAULT_WEDGE:
    case FAULT_PAUSE: {
        struct cluster_node *node = cluster_node_at(cluster, trouble->node);
        busy(node);
        if (trouble->fault == FAULT_WEDGE) {
            trouble->nemesis->wedged = on ? node : NULL;
        }
        if (world_node_alive(node->host)) {
            world_node_pause(node->host, on);
        }
        break;
    }
    case FAULT_DISK_ERRORS:
    case FAULT_SYNC_ERRORS:
    case FAULT_DISK_SLOW:
        disk_set(trouble, on);
        break;
    case FAULT_CLOCK_DRIFT: {
        struct cluster_node *node = cluster_node_at(cluster, trouble->node);
        int32_t ppm = (int32_t)draw(trouble->nemesis, 2 * DRIFT_PPM_MAX + 1) - DRIFT_PPM_MAX;
        world_node_clock_drift(node->host, on ? ppm : 0);
        break;
    }
    default:
        UNREACHABLE("a fault that does not last");
    }
}

static void trouble_end(void *context)
{
    struct trouble *trouble = context;
    if (!trouble->nemesis->over) {
        trouble_set(trouble, false);
    }
    heap_sim_give(trouble);
}

void nemesis_wedge(struct nemesis *nemesis, struct cluster_node *node, uint64_t ms)
{
    if (nemesis->wedged != NULL || nemesis->over) {
        return;
    }
    struct trouble *trouble = heap_sim_take(sizeof(*trouble));
    *trouble = (struct trouble){
        .nemesis = nemesis, .fault = FAULT_WEDGE, .node = world_node_index(node->host)};
    nemesis->counts[FAULT_WEDGE]++;
    trouble_set(trouble, true);
    world_schedule(nemesis->cluster->world, NULL, ms * NS_PER_MS, trouble_end, trouble);
}

static void trouble_begin(struct nemesis *nemesis, enum plan_fault fault, uint64_t length_ms)
{
    struct trouble *trouble = heap_sim_take(sizeof(*trouble));
    uint32_t count = nemesis->cluster->count;
    *trouble = (struct trouble){
        .nemesis = nemesis,
        .fault = fault,
        .node = (uint32_t)draw(nemesis, count),
        .side = prng_next(prng_of(nemesis)),
        .inbound = draw(nemesis, 2) == 0,
    };
    if (fault == FAULT_CLOG) {
        trouble->side = UINT64_C(1) << draw(nemesis, count);
        length_ms = 10 + draw(nemesis, CLOG_MS_MAX);
    } else if (fault == FAULT_ONE_WAY && draw(nemesis, 2) == 0) {
        trouble->side = UINT64_MAX;
    } else if (fault == FAULT_CLIENT_CUT) {
        uint32_t client = (uint32_t)draw(nemesis, nemesis->plan->client_count);
        trouble->node = client_host(nemesis->clients, client);
    }
    trouble_set(trouble, true);
    world_schedule(nemesis->cluster->world, NULL, length_ms * NS_PER_MS, trouble_end, trouble);
}

/* ------------------------------------------------------------------ what strikes once */

static void power_many(struct nemesis *nemesis)
{
    uint64_t side = prng_next(prng_of(nemesis));
    bool all = draw(nemesis, 3) == 0;
    for (uint32_t index = 0; index < nemesis->cluster->count; index++) {
        if (all || (side >> index & 1) != 0) {
            cluster_node_crash(cluster_node_at(nemesis->cluster, index), WORLD_CRASH_POWER);
        }
    }
}

static void clock_jump(struct nemesis *nemesis, struct cluster_node *node)
{
    int64_t jump_ms = (int64_t)draw(nemesis, 2 * JUMP_MS_MAX + 1) - JUMP_MS_MAX;
    node->jumped_ms += jump_ms;
    world_node_clock_jump(node->host, jump_ms);
}

/* ------------------------------------------------------------------ at an epoch */

static void epoch_kill(void *context)
{
    struct cluster_node *node = context;
    if (!node->cluster->quiet) {
        cluster_node_crash(node, WORLD_CRASH_PROCESS);
    }
}

static void epoch_power(void *context)
{
    struct cluster_node *node = context;
    if (!node->cluster->quiet) {
        cluster_node_crash(node, WORLD_CRASH_POWER);
    }
}

/* Who dies: the one that adopted it, the one that leads and drives, or any. */
static struct cluster_node *epoch_victim(struct nemesis *nemesis, struct cluster_node *adopter)
{
    uint64_t roll = draw(nemesis, 4);
    if (roll < 2) {
        return adopter;
    }
    for (uint32_t index = 0; roll == 2 && index < nemesis->cluster->count; index++) {
        struct cluster_node *node = cluster_node_at(nemesis->cluster, index);
        struct group_info info;
        if (cluster_node_runs(node) && node_group_info(node->node, &info) &&
            info.role == GROUP_LEADER) {
            return node;
        }
    }
    return node_drawn(nemesis);
}

static void adopted(void *context, struct cluster_node *node)
{
    struct nemesis *nemesis = context;
    if (nemesis->over || !nemesis->plan->faults[FAULT_EPOCH] ||
        draw(nemesis, nemesis->plan->epoch_fault_odds) != 0) {
        return;
    }
    nemesis->counts[FAULT_EPOCH]++;
    if (draw(nemesis, 3) != 0) {
        trouble_begin(nemesis, draw(nemesis, 4) != 0 ? FAULT_PARTITION : FAULT_ONE_WAY,
                      10 + draw(nemesis, EPOCH_CUT_MS_MAX));
        return;
    }
    struct cluster_node *victim = epoch_victim(nemesis, node);
    show(nemesis, FAULT_EPOCH, world_node_index(victim->host), 0, "drawn");
    uint64_t roll = draw(nemesis, 3);
    if (roll == 2 && world_node_alive(victim->host)) {
        world_node_crash_in_job(victim->host, WORLD_CRASH_POWER, draw(nemesis, POWER_CALLS_MAX));
        return;
    }
    world_schedule(nemesis->cluster->world, NULL, draw(nemesis, EPOCH_US_MAX) * 1000,
                   roll == 0 ? epoch_kill : epoch_power, victim);
}

static void strike(struct nemesis *nemesis, enum plan_fault fault)
{
    struct cluster_node *node = node_drawn(nemesis);
    if (fault == FAULT_WEDGE) {
        nemesis_wedge(nemesis, node, WEDGE_MS_MIN + draw(nemesis, WEDGE_MS_MAX - WEDGE_MS_MIN));
        return;
    }
    nemesis->counts[fault]++;
    show(nemesis, fault, world_node_index(node->host), 0, "drawn");
    switch ((int)fault) {
    case FAULT_RESET:
        net_sim_reset(net_of(nemesis), world_node_index(node->host),
                      world_node_index(node_drawn(nemesis)->host));
        break;
    case FAULT_KILL:
        cluster_node_crash(node, WORLD_CRASH_PROCESS);
        break;
    case FAULT_POWER:
        cluster_node_crash(node, WORLD_CRASH_POWER);
        break;
    case FAULT_POWER_MANY:
        power_many(nemesis);
        break;
    case FAULT_POWER_IN_JOB:
        if (world_node_alive(node->host)) {
            world_node_crash_in_job(node->host, WORLD_CRASH_POWER, draw(nemesis, POWER_CALLS_MAX));
        }
        break;
    case FAULT_STOP:
        cluster_node_stop(node);
        break;
    case FAULT_CLOCK_JUMP:
        clock_jump(nemesis, node);
        break;
    default:
        trouble_begin(nemesis, fault, 10 + draw(nemesis, nemesis->plan->fault_length_ms));
    }
}

static void turn(void *context)
{
    struct nemesis *nemesis = context;
    if (nemesis->over) {
        return;
    }
    uint32_t enabled[FAULT_COUNT];
    uint32_t count = 0;
    for (uint32_t fault = 0; fault < FAULT_COUNT; fault++) {
        if (nemesis->plan->faults[fault] && fault != FAULT_EPOCH) {
            enabled[count++] = fault;
        }
    }
    if (count > 0) {
        strike(nemesis, (enum plan_fault)enabled[draw(nemesis, count)]);
    }
    uint64_t pause_ns = nemesis->plan->fault_pause_ms * 2 * NS_PER_MS;
    world_schedule(nemesis->cluster->world, NULL, draw(nemesis, pause_ns), turn, nemesis);
}

/* ------------------------------------------------------------------ begin and end */

void nemesis_init(struct nemesis *nemesis, struct cluster *cluster, const struct clients *clients,
                  bool verbose)
{
    *nemesis = (struct nemesis){
        .cluster = cluster, .clients = clients, .plan = cluster->plan, .verbose = verbose};
    cluster->adopted = adopted;
    cluster->adopted_context = nemesis;
    uint64_t pause_ns = nemesis->plan->fault_pause_ms * 2 * NS_PER_MS;
    world_schedule(cluster->world, NULL, draw(nemesis, pause_ns), turn, nemesis);
}

static void node_calm(const struct nemesis *nemesis, struct cluster_node *node)
{
    struct disk_faults *faults = disk_sim_faults(world_node_disk(node->host));
    *faults = nemesis->plan->world.disk.faults;
    faults->slow_ppm = 0;
    busy(node);
    world_node_clock_jump(node->host, -node->jumped_ms);
    node->jumped_ms = 0;
    world_node_clock_drift(node->host, 0);
    if (world_node_alive(node->host)) {
        disk_sim_unfreeze(world_node_disk(node->host));
        world_node_pause(node->host, false);
    }
}

void nemesis_end(struct nemesis *nemesis)
{
    nemesis->over = true;
    struct net_sim *net = net_of(nemesis);
    struct net_sim_options *live = net_sim_options(net);
    net_sim_heal(net);
    live->drop_ppm = 0;
    live->duplicate_ppm = 0;
    live->slow_ppm = 0;
    live->reset_ppm = 0;
    live->refuse_ppm = 0;
    for (uint32_t index = 0; index < nemesis->cluster->count; index++) {
        node_calm(nemesis, cluster_node_at(nemesis->cluster, index));
    }
    cluster_quiet(nemesis->cluster);
}
