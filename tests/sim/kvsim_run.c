/* tests/sim/kvsim_run.c -- see kvsim_run.h. */
#include "tests/sim/kvsim_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "tests/sim/heap_sim.h"
#include "tests/sim/kvsim_mover.h"
#include "tests/sim/kvsim_mutant.h"
#include "tests/sim/kvsim_ownership.h"
#include "tests/sim/kvsim_view.h"

#define NS_PER_MS UINT64_C(1000000)
#define SLICE_MS 50         /* Between two looks of the harness. */
#define FINISH_MS_MAX 60000 /* For what is left of the clients' operations. */
#define CONVERGE_MS_MAX 60000
#define SETTLE_MS 4000 /* What was on its way arrives. */
#define INSIST_MS_MAX 60000
#define VIEW_MS_MAX 20000
#define END_MS_MAX 60000
#define MOVES_MS_MAX (4 * MOVER_LIVENESS_MS) /* The last plans, one after the other. */
#define STEP_COUNT_MAX (PLAN_HOST_COUNT_MAX * 16 + CHECK_KEY_COUNT_MAX * 3 + 16)
#define SCAN_OPERATIONS_MAX 1024 /* Of the last scan, one a page. */

struct run {
    const struct run_options *options;
    struct plan plan;
    struct world *world;
    struct check *check;
    struct cluster cluster;
    struct clients clients;
    struct nemesis nemesis;
    struct mover *mover;         /* NULL: no one draws changes of the ring. */
    struct script *script;       /* NULL: or goes by a script. */
    struct ownership *ownership; /* NULL: the ring stays as it is. */
    struct client_step steps[STEP_COUNT_MAX];
    uint32_t step_count;
    uint32_t cell_count;
};

/* ------------------------------------------------------------------ hooks */

static void after_event(void *context, struct world_node *node)
{
    struct run *run = context;
    cluster_after_event(&run->cluster, node);
    if (run->ownership != NULL && node != NULL && world_node_index(node) < run->cluster.count) {
        ownership_observe(run->ownership, cluster_node_at(&run->cluster, world_node_index(node)));
    }
}

static void frame_sent(void *context, struct world_node *from, struct world_node *to,
                       struct slice frame)
{
    const struct run *run = context;
    ownership_frame_sent(run->ownership, from, to, frame);
}

static void frame_arrives(void *context, struct world_node *from, struct world_node *to,
                          struct slice frame)
{
    const struct run *run = context;
    ownership_frame_arrives(run->ownership, from, to, frame);
}

static void sync_point(void *context, struct world_node *node, bool synced)
{
    const struct run *run = context;
    if (run->script != NULL) {
        script_sync_point(run->script, node, synced);
    }
}

static void crashed(void *context, struct world_node *node)
{
    struct run *run = context;
    cluster_crashed(&run->cluster, node);
}

static void logged(void *context, struct world_node *node, enum log_level level, struct slice line)
{
    struct run *run = context;
    (void)fprintf(stderr, "%9.3f %s %-5s %.*s\n", (double)world_now_ns(run->world) / 1e9,
                  world_node_host(node), log_level_name(level), (int)line.size,
                  (const char *)line.data);
}

/* ------------------------------------------------------------------ running */

static bool broken(const struct run *run)
{
    return check_violation(run->check) != NULL;
}

static void run_for(struct run *run, uint64_t ms)
{
    uint64_t end = world_now_ns(run->world) + ms * NS_PER_MS;
    while (!broken(run) && world_now_ns(run->world) < end) {
        uint64_t next = world_now_ns(run->world) + SLICE_MS * NS_PER_MS;
        world_run_until(run->world, next < end ? next : end);
    }
}

/* Until `over` says so; a violation if it does not within the bound. */
static void run_until(struct run *run, uint64_t ms_max, bool (*over)(struct run *run, bool last))
{
    uint64_t end = world_now_ns(run->world) + ms_max * NS_PER_MS;
    while (!broken(run) && !over(run, world_now_ns(run->world) >= end)) {
        run_for(run, SLICE_MS);
    }
}

static bool clients_over(struct run *run, bool last)
{
    if (clients_done(&run->clients)) {
        return true;
    }
    if (last) {
        check_violate(run->check, "after all faults, clients do not end their operations");
    }
    return false;
}

static bool moves_over(struct run *run, bool last)
{
    if (run->mover == NULL || mover_over(run->mover)) {
        return true;
    }
    if (last) {
        check_violate(run->check, "after all faults, plans follow one another");
    }
    return false;
}

static bool converged(struct run *run, bool last)
{
    char why[160] = "";
    if (cluster_converged(&run->cluster, why, sizeof(why))) {
        return true;
    }
    if (last) {
        check_violate(run->check, "the cluster does not converge: %s", why);
    }
    return false;
}

static bool idle(struct run *run, bool last)
{
    if (cluster_idle(&run->cluster)) {
        return true;
    }
    if (last) {
        check_violate(run->check, "operations are under way, and nobody asks any more");
    }
    return false;
}

/* ------------------------------------------------------------------ the last questions */

static void step_add(struct run *run, struct client_step step)
{
    ASSERT(run->step_count < STEP_COUNT_MAX);
    run->steps[run->step_count++] = step;
}

/* Every kind of operation on every node, then every key, then a whole scan. */
static void steps_make(struct run *run)
{
    static const enum client_form forms[] = {
        CLIENT_KV_SET, CLIENT_KV_GET, CLIENT_SET_EXPIRING, CLIENT_PTTL,   CLIENT_PEXPIRE,
        CLIENT_GET,    CLIENT_SET,    CLIENT_PERSIST,      CLIENT_KV_DEL, CLIENT_DEL,
    };
    const struct plan *plan = &run->plan;
    uint32_t members[PLAN_HOST_COUNT_MAX]; /* Indexes of them. */
    uint32_t member_count = 0;
    for (uint32_t index = 0; index < run->cluster.count; index++) {
        if (cluster_is_member(&run->cluster, index)) {
            members[member_count++] = index;
        }
    }
    ASSERT(member_count > 0);
    for (uint32_t member = 0; member < member_count; member++) {
        uint32_t node = members[member];
        for (size_t index = 0; index < ARRAY_COUNT(forms); index++) {
            uint32_t key = (uint32_t)prng_below(world_prng(run->world), plan->key_count);
            step_add(run,
                     (struct client_step){
                         .form = forms[index], .node = node, .key = key, .level = LEVEL_QUORUM});
        }
        step_add(run, (struct client_step){.form = CLIENT_KV_SET,
                                           .node = node,
                                           .key = node % plan->key_count,
                                           .level = LEVEL_ALL});
    }
    for (uint32_t key = 0; key < plan->key_count; key++) {
        uint32_t node = members[prng_below(world_prng(run->world), member_count)];
        step_add(run, (struct client_step){
                          .form = CLIENT_KV_GET, .node = node, .key = key, .level = LEVEL_QUORUM});
    }
    for (uint32_t key = 0; key < plan->key_count; key++) {
        step_add(run, (struct client_step){.form = CLIENT_KV_GET,
                                           .node = members[key % member_count],
                                           .key = key,
                                           .level = LEVEL_ALL,
                                           .last = true});
    }
    step_add(run,
             (struct client_step){.form = CLIENT_SCAN, .node = members[0], .level = LEVEL_QUORUM});
}

/* The scan returned every key that lives, once, and no other. */
static void scan_judge(struct run *run, const struct client *client)
{
    const uint32_t *scanned = client_scanned(client);
    for (uint32_t key = 0; key < run->plan.key_count; key++) {
        enum client_found found = client_found(client, key);
        uint32_t expected = found == CLIENT_LIVE ? 1 : 0;
        if (found != CLIENT_MORTAL && scanned[key] != expected) {
            check_violate(run->check, "the last SCAN returned key-%u %u times, not %u", key,
                          scanned[key], expected);
        }
    }
}

static void insist(struct run *run)
{
    steps_make(run);
    const struct client *client = client_insist(&run->clients, run->steps, run->step_count);
    uint64_t end = world_now_ns(run->world) + INSIST_MS_MAX * NS_PER_MS;
    while (!broken(run) && !client_insisted(client)) {
        run_for(run, SLICE_MS);
        if (world_now_ns(run->world) >= end) {
            check_violate(run->check, "in quiet, the last questions take too long");
        }
    }
    if (!broken(run)) {
        scan_judge(run, client);
    }
}

static void compare(struct run *run)
{
    struct view *view = view_begin(&run->cluster);
    uint64_t end = world_now_ns(run->world) + VIEW_MS_MAX * NS_PER_MS;
    while (!broken(run) && !view_done(view)) {
        run_for(run, SLICE_MS);
        if (world_now_ns(run->world) >= end) {
            check_violate(run->check, "in quiet, reading all cells takes too long");
        }
    }
    if (!broken(run)) {
        run->cell_count = view_compare(view);
    }
    view_free(view);
}

static bool ended(struct run *run, bool last)
{
    if (cluster_ended(&run->cluster)) {
        return true;
    }
    if (last) {
        check_violate(run->check, "nodes do not stop");
    }
    return false;
}

/* ------------------------------------------------------------------ a seed */

static void trouble(struct run *run)
{
    if (run->script == NULL) {
        run_for(run, run->plan.safety_ms);
    }
    while (run->script != NULL && !broken(run) && !script_over(run->script)) {
        run_for(run, SLICE_MS);
    }
}

static void phases(struct run *run)
{
    trouble(run);
    nemesis_end(&run->nemesis);
    clients_hurry(&run->clients);
    if (run->mover != NULL) {
        mover_quiet(run->mover);
    }
    run_until(run, MOVES_MS_MAX, moves_over);
    run_until(run, FINISH_MS_MAX, clients_over);
    run_until(run, CONVERGE_MS_MAX, converged);
    run_for(run, broken(run) ? 0 : SETTLE_MS);
    run_until(run, CONVERGE_MS_MAX, converged);
    run_until(run, CONVERGE_MS_MAX, idle);
    if (!broken(run)) {
        insist(run);
    }
    if (!broken(run)) {
        compare(run);
    }
    if (!broken(run)) {
        cluster_end(&run->cluster);
        run_until(run, END_MS_MAX, ended);
    }
}

static void moves_print(const struct run *run)
{
    struct mover_counts moves;
    struct ownership_counts seen;
    mover_count(run->mover, &moves);
    ownership_count(run->ownership, &seen);
    (void)fprintf(
        stderr,
        "seed %" PRIu64 ": epochs=%" PRIu64 " staged=%u refused=%u committed=%u aborted=%u "
        "cleared=%u unknown=%u joins=%u lost=%u wedges=%u epoch_crashes=%u begins=%u "
        "backs=%u ends=%u streams=%u entries=%u unread=%u stale=%u without=%u\n",
        run->plan.seed, run->cluster.epoch_max, moves.staged, moves.refused, moves.committed,
        moves.aborted, moves.cleared, moves.unknown, moves.joins, moves.lost,
        run->nemesis.counts[FAULT_WEDGE], run->nemesis.counts[FAULT_EPOCH], seen.begins, seen.backs,
        seen.ends, seen.streams, seen.entries, seen.entries_unread, seen.stale, moves.without);
}

static void summary_print(const struct run *run, const struct run_result *result)
{
    struct check_counts counts;
    check_count(run->check, &counts);
    const struct net_sim_counters *net = net_sim_counters(world_net(run->world));
    (void)fprintf(stderr,
                  "seed %" PRIu64 ": trace=%016" PRIx64 " steps=%" PRIu64 " virtual_ms=%" PRIu64
                  " operations=%u ok=%u refused=%u indeterminate=%u "
                  "hangups=%u values=%u tombstones=%u expired=%u crashes=%u failures=%u stops=%u "
                  "starts=%u cells=%u flushed_kib=%" PRIu64 " compacted_kib=%" PRIu64
                  " connects=%" PRIu64 " dropped=%" PRIu64 " doubled=%" PRIu64 "\n",
                  run->plan.seed, result->trace, result->steps, result->time_ns / NS_PER_MS,
                  check_operation_count(run->check), counts.by_outcome[CHECK_OK],
                  counts.by_outcome[CHECK_DEFINITE], counts.by_outcome[CHECK_INDETERMINATE],
                  run->clients.hangups, counts.values_read, counts.tombstones_read,
                  counts.expired_read, result->crashes, result->failures, result->stops,
                  run->cluster.counts.starts, run->cell_count,
                  run->cluster.counts.flushed_size >> 10, run->cluster.counts.compacted_size >> 10,
                  net->connects, net->frames_dropped, net->frames_doubled);
    if (run->mover != NULL) {
        moves_print(run);
    }
}

static void result_fill(const struct run *run, struct run_result *result)
{
    struct check_counts counts;
    check_count(run->check, &counts);
    const char *violation = check_violation(run->check);
    *result = (struct run_result){
        .passed = violation == NULL,
        .trace = world_hash(run->world),
        .steps = world_step_count(run->world),
        .time_ns = world_now_ns(run->world),
        .points = run->script == NULL ? 0 : script_points(run->script),
        .crashes = run->cluster.counts.crashes,
        .failures = run->cluster.counts.failures,
        .stops = run->cluster.counts.stops,
        .acknowledged = counts.by_outcome[CHECK_OK],
        .refused = counts.by_outcome[CHECK_DEFINITE],
        .indeterminate = counts.by_outcome[CHECK_INDETERMINATE],
    };
    if (violation != NULL) {
        (void)snprintf(result->violation, sizeof(result->violation), "at %.3f s: %s",
                       (double)result->time_ns / 1e9, violation);
    }
}

void run_seed(uint64_t seed, const struct run_options *options, struct run_result *result)
{
    struct run *run = heap_sim_take(sizeof(*run));
    run->options = options;
    plan_draw(&run->plan, seed, &options->plan);
    if (options->script != NULL) {
        script_plan(&run->plan);
    }
    struct world_options *world = &run->plan.world;
    world->plant = options->plant;
    mutant_options(world);
    world->hooks = (struct world_hooks){.after_event = after_event,
                                        .crashed = crashed,
                                        .logged = options->verbose ? logged : NULL,
                                        .context = run};
    if (run->plan.moves) {
        world->hooks.frame_sent = frame_sent;
        world->hooks.frame_arrives = frame_arrives;
    }
    world->hooks.sync_point = options->script == NULL ? NULL : sync_point;
    if (options->verbose) {
        plan_print(&run->plan);
    }
    run->check = check_open(run->plan.key_count,
                            run->plan.operation_count + STEP_COUNT_MAX + SCAN_OPERATIONS_MAX);
    run->world = world_create(seed, world);
    cluster_init(&run->cluster, run->world, &run->plan, run->check);
    clients_init(&run->clients, &run->cluster, options->verbose);
    nemesis_init(&run->nemesis, &run->cluster, &run->clients, options->verbose);
    if (options->script != NULL) {
        run->script = script_open(&run->cluster, options->script);
    } else if (run->plan.moves) {
        run->mover = mover_open(&run->cluster, &run->nemesis, options->verbose);
    }
    if (run->plan.moves) {
        run->ownership = ownership_open(&run->cluster);
    }
    phases(run);
    result_fill(run, result);
    if (options->verbose) {
        summary_print(run, result);
    }
    run->cluster.over = true;
    world_destroy(run->world);
    clients_free(&run->clients);
    if (run->mover != NULL) {
        mover_close(run->mover);
    }
    if (run->script != NULL) {
        script_close(run->script);
    }
    if (run->ownership != NULL) {
        ownership_close(run->ownership);
    }
    check_close(run->check);
    heap_sim_give(run);
}
