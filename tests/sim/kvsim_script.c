/*
 * tests/sim/kvsim_script.c -- see kvsim_script.h.
 *
 * A step is a plan: its changes are staged in order, it is committed, and perhaps aborted. What to
 * ask next is seen from the newest topology that any node goes by, so that a request whose answer
 * was lost is asked again only if it was not done.
 *
 * A step may begin with the loss of all three voters, of which one is recovered as the whole group
 * by what `kvctl raft recover` calls, again if its power went meanwhile; then the others are back:
 *
 *   NONE --> ALONE (it recovers) --> LEADS --> RETURN (the others come) --> OVER
 */
#include "tests/sim/kvsim_script.h"

#include <inttypes.h>
#include <stdio.h>

#include "node/revival.h"
#include "raft/group.h"
#include "tests/sim/heap_sim.h"
#include "tests/sim/kvsim_asker.h"

#define NS_PER_MS UINT64_C(1000000)
#define CHANGE_COUNT_MAX 2
#define STEP_COUNT_MAX 2
#define LOOK_MS 20 /* Between two looks while there is nothing to ask. */
#define SPARE_ID (SCRIPT_NODE_COUNT + 1)
#define DOWN_MS_MAX 500 /* Of the node that was struck. */

struct script_step {
    const char *changes[CHANGE_COUNT_MAX];
    uint32_t change_count;
    bool joins;    /* The spare host first. */
    uint32_t dead; /* That node dies for good first; 0: none does. */
    bool aborted;  /* Once a range is under way. */
    bool recovers; /* The Raft group is lost first. */
};

static const struct {
    struct script_step steps[STEP_COUNT_MAX];
    uint32_t count;
} scripts[] = {
    {.steps = {{.changes = {"KV.PLAN JOIN 5", "KV.PLAN LEAVE 1"},
                .change_count = 2,
                .joins = true}},
     .count = 1},
    {.steps = {{.changes = {"KV.PLAN FACTOR 2"}, .change_count = 1},
               {.changes = {"KV.PLAN FACTOR 3"}, .change_count = 1}},
     .count = 2},
    {.steps = {{.changes = {"KV.PLAN LEAVE 1"}, .change_count = 1, .aborted = true},
               {.changes = {"KV.PLAN LEAVE 1"}, .change_count = 1}},
     .count = 2},
    {.steps = {{.changes = {"KV.PLAN REPLACE 2 5"}, .change_count = 1, .joins = true, .dead = 2}},
     .count = 1},
    {.steps = {{.changes = {"KV.PLAN JOIN 5", "KV.PLAN LEAVE 2"},
                .change_count = 2,
                .joins = true,
                .recovers = true}},
     .count = 1},
};
STATIC_ASSERT(ARRAY_COUNT(scripts) == SCRIPT_COUNT, "a seed picks one of them");

#define RECOVERED_ID 1u /* Of the voters 1 to 3. */
enum recovery { RECOVERY_NONE, RECOVERY_ALONE, RECOVERY_LEADS, RECOVERY_RETURN, RECOVERY_OVER };

/* The tool. */
struct recoverer {
    struct script *script;
    struct revival revival;
};

struct script {
    struct asker asker;
    struct cluster *cluster;
    struct script_options options;
    struct env_timer pace;
    uint64_t points;
    bool begun;
    bool struck;
    uint32_t step;
    uint64_t plan_id;     /* Of the step; 0: not staged as a whole. */
    uint32_t moved_count; /* Replicas copied by the plans that ended. */
    enum recovery recovery;
    uint32_t generation; /* Before it. */
    struct recoverer recoverer;
    uint64_t since_ns; /* Of what is owed within SCRIPT_LIVENESS_MS. */
};

const char *script_blow_name(enum script_blow blow)
{
    static const char *const names[] = {[BLOW_NONE] = "none",
                                        [BLOW_UNSYNCED] = "unsynced",
                                        [BLOW_SYNCED] = "synced",
                                        [BLOW_LEADER] = "leader",
                                        [BLOW_ALL] = "all-nodes"};
    STATIC_ASSERT(ARRAY_COUNT(names) == BLOW_COUNT, "each blow has a name");
    return names[blow];
}

static uint64_t now_ns(const struct script *script)
{
    return world_now_ns(script->cluster->world);
}

static const struct script_step *step_of(const struct script *script)
{
    uint32_t number = (uint32_t)(script->cluster->plan->seed % SCRIPT_COUNT);
    return script->step < scripts[number].count ? &scripts[number].steps[script->step] : NULL;
}

/* ------------------------------------------------------------------ the plan */

/* Small and quick, so that there are few points: what is drawn otherwise stays as it was drawn. */
void script_plan(struct plan *plan)
{
    world_options_calm(&plan->world);
    for (uint32_t fault = 0; fault < FAULT_COUNT; fault++) {
        plan->faults[fault] = false;
    }
    plan->moves = true;
    plan->node_count = SCRIPT_NODE_COUNT;
    plan->spare_count = 1;
    plan->zone_count = 0;
    plan->client_count = 3;
    plan->depth_max = 1;
    plan->key_count = 24;
    plan->hot_key_count = 24;
    plan->value_size_max = 512;
    plan->down_ms = DOWN_MS_MAX;
    plan->config.replicas = 3;
    plan->config.ranges = 8;
    plan->config.moves = 4;
    plan->config.streams = 2;
    plan->config.stream_rate = UINT64_C(1) << 20;
    plan->config.stream_chunk = 4u << 10;
    plan->config.inflight_count_max = 1000;
    plan->config.raft_snapshot_threshold = 8;
    plan->config.raft_snapshot_trailing = 2;
}

/* ------------------------------------------------------------------ the blow */

static void strike_leader(void *context)
{
    struct script *script = context;
    for (uint32_t index = 0; index < script->cluster->count; index++) {
        struct cluster_node *node = cluster_node_at(script->cluster, index);
        struct group_info info;
        if (cluster_node_runs(node) && node->state != NODE_OPENING &&
            node_group_info(node->node, &info) && info.role == GROUP_LEADER) {
            cluster_node_crash(node, WORLD_CRASH_POWER);
        }
    }
}

static void strike_all(void *context)
{
    struct script *script = context;
    for (uint32_t index = 0; index < script->cluster->count; index++) {
        cluster_node_crash(cluster_node_at(script->cluster, index), WORLD_CRASH_POWER);
    }
}

void script_sync_point(struct script *script, struct world_node *host, bool synced)
{
    uint32_t index = world_node_index(host);
    enum script_blow blow = script->options.blow;
    if (!script->begun || step_of(script) == NULL || index >= script->cluster->count ||
        synced != (blow != BLOW_UNSYNCED) || ++script->points != script->options.point) {
        return;
    }
    script->struck = true;
    script->since_ns = now_ns(script);
    if (script->options.verbose) {
        (void)fprintf(stderr, "%9.3f point %" PRIu64 " on node %u: %s\n",
                      (double)now_ns(script) / 1e9, script->points, index + 1,
                      script_blow_name(blow));
    }
    if (blow == BLOW_UNSYNCED || blow == BLOW_SYNCED) {
        world_node_crash_at_sync(host);
    } else {
        world_schedule(script->cluster->world, NULL, 0,
                       blow == BLOW_LEADER ? strike_leader : strike_all, script);
    }
}

/* ------------------------------------------------------------------ recovery */

static void recovery_go(struct script *script, enum recovery to)
{
    script->recovery = to;
    script->since_ns = now_ns(script);
}

static void tool_finish(void *context)
{
    struct script *script = context;
    revival_deinit(&script->recoverer.revival);
}

static void tool_end(void *context)
{
    struct script *script = context;
    struct cluster_node *node = cluster_node_find(script->cluster, RECOVERED_ID);
    if (!world_node_alive(node->host)) {
        return;
    }
    enum status status = script->recoverer.revival.status;
    uint64_t left = world_node_stop(node->host, tool_finish, script);
    if (status != STATUS_OK || left != 0) {
        check_violate(script->cluster->check,
                      "recovery ends with \"%s\", and %" PRIu64 " bytes not freed",
                      status_name(status), left);
    }
    recovery_go(script, RECOVERY_LEADS);
    cluster_node_revive(node);
}

static void tool_done(struct revival *revival)
{
    struct script *script = container_of(revival, struct recoverer, revival)->script;
    world_schedule(script->cluster->world, NULL, 0, tool_end, script);
}

static void tool_boot(void *context)
{
    struct script *script = context;
    struct cluster_node *node = cluster_node_find(script->cluster, RECOVERED_ID);
    revival_begin(&script->recoverer.revival, world_node_env(node->host));
}

/* What an earlier run of it had in memory went with its process. */
static void tool_start(struct script *script)
{
    struct cluster_node *node = cluster_node_find(script->cluster, RECOVERED_ID);
    struct revival *revival = &script->recoverer.revival;
    script->recoverer = (struct recoverer){.script = script};
    cluster_node_config(node, &revival->config);
    revival->carry_out = true;
    revival->done = tool_done;
    world_node_start(node->host, tool_boot, script);
}

static bool leads_anew(const struct script *script, const struct cluster_node *node)
{
    struct group_info info;
    return cluster_node_runs(node) && node->state == NODE_SERVING &&
           node_topology(node->node)->stamp.generation.number > script->generation &&
           node_group_info(node->node, &info) && info.role == GROUP_LEADER;
}

/* One more step of it; true: it is over. */
static bool recovered(struct script *script, const struct topology *topology)
{
    struct cluster_node *voters[] = {cluster_node_find(script->cluster, RECOVERED_ID),
                                     cluster_node_find(script->cluster, 2),
                                     cluster_node_find(script->cluster, 3)};
    char why[160];
    switch (script->recovery) {
    case RECOVERY_NONE:
        script->generation = topology->stamp.generation.number;
        for (size_t index = 0; index < ARRAY_COUNT(voters); index++) {
            cluster_node_lose(voters[index]);
        }
        recovery_go(script, RECOVERY_ALONE);
        break;
    case RECOVERY_ALONE:
        if (!world_node_alive(voters[0]->host)) {
            tool_start(script);
        }
        break;
    case RECOVERY_LEADS:
        if (leads_anew(script, voters[0])) {
            recovery_go(script, RECOVERY_RETURN);
            cluster_node_revive(voters[1]);
            cluster_node_revive(voters[2]);
        }
        break;
    case RECOVERY_RETURN:
        if (cluster_converged(script->cluster, why, sizeof(why))) {
            recovery_go(script, RECOVERY_OVER);
        }
        break;
    case RECOVERY_OVER:
        break;
    }
    return script->recovery == RECOVERY_OVER;
}

/* ------------------------------------------------------------------ a step */

static void step_over(struct script *script)
{
    script->step++;
    script->plan_id = 0;
    script->since_ns = now_ns(script);
}

/* NULL: it has not ended. */
static const struct topology_plan *ended_find(const struct topology *topology, uint64_t plan_id)
{
    for (uint32_t index = 0; index < topology->history_count; index++) {
        if (topology->history[index].id == plan_id) {
            return &topology->history[index];
        }
    }
    return NULL;
}

/* What was to be copied was, unless the plan was aborted. */
static void ended_judge(struct script *script, const struct script_step *step,
                        const struct topology_plan *plan)
{
    bool whole = plan->outcome == TOPOLOGY_DONE && plan->moved_count == plan->move_count;
    script->moved_count += plan->moved_count;
    if (!whole && !step->aborted) {
        check_violate(script->cluster->check,
                      "plan %" PRIu64 " ended as %d, with %u of %u ranges moved", plan->id,
                      (int)plan->outcome, plan->moved_count, plan->move_count);
    }
}

static bool reads_old(const struct topology *topology)
{
    bool found = false;
    for (uint32_t index = 0; index < topology->range_count; index++) {
        found = found || topology->ranges[index].stage == TOPOLOGY_WRITE_BOTH_READ_OLD;
    }
    return found;
}

/* What comes before the changes; false: it is not done yet. */
static bool prepared(struct script *script, const struct script_step *step,
                     const struct topology *topology)
{
    struct cluster_node *spare = cluster_node_find(script->cluster, SPARE_ID);
    if (step->recovers && !recovered(script, topology)) {
        return false;
    }
    if (step->joins && spare->spare) {
        cluster_node_join(spare);
    }
    if (step->joins && topology_member_find(topology, SPARE_ID) == NULL) {
        return false;
    }
    if (step->dead != 0 && !cluster_node_find(script->cluster, step->dead)->lost) {
        cluster_node_lose(cluster_node_find(script->cluster, step->dead));
        return false; /* The topology may have been that node's. */
    }
    return true;
}

/* What there is to ask now; false: nothing. */
static bool line_make(struct script *script, const struct script_step *step,
                      const struct topology *topology, char *line, size_t size)
{
    const struct topology_plan *staged = &topology->staged;
    uint32_t count = staged->id == 0 ? 0 : staged->change_count;
    if (script->plan_id == 0 && count < step->change_count) {
        (void)snprintf(line, size, "%s", step->changes[count]);
        return true;
    }
    script->plan_id = script->plan_id == 0 ? staged->id : script->plan_id;
    if (staged->id == script->plan_id) {
        (void)snprintf(line, size, "KV.PLAN COMMIT %" PRIu64, script->plan_id);
        return true;
    }
    if (topology->running.id == script->plan_id && step->aborted && reads_old(topology)) {
        (void)snprintf(line, size, "KV.PLAN ABORT %" PRIu64, script->plan_id);
        return true;
    }
    return false;
}

static void turn(struct env_timer *timer)
{
    struct script *script = container_of(timer, struct script, pace);
    const struct topology *topology = cluster_topology(script->cluster);
    const struct script_step *step = step_of(script);
    char why[160];
    char line[ASKER_LINE_SIZE_MAX];
    if (!script->begun) {
        script->begun = cluster_converged(script->cluster, why, sizeof(why));
        script->since_ns = now_ns(script);
    } else if (step != NULL && topology != NULL) {
        const struct topology_plan *ended = ended_find(topology, script->plan_id);
        if (ended != NULL) {
            ended_judge(script, step, ended);
            /* The next step is the same again; if the abort came too late, there is nothing to. */
            script->step += step->aborted && ended->outcome == TOPOLOGY_DONE;
            step_over(script);
        } else if (prepared(script, step, topology) &&
                   line_make(script, step, topology, line, sizeof(line))) {
            asker_ask(&script->asker, line);
            return;
        }
    }
    env_timer_start_ms(script->asker.env, timer, LOOK_MS);
}

/* Whatever it was: what is to be asked next is seen from the topology. */
static void answered(void *context, enum asker_outcome outcome, struct slice text)
{
    struct script *script = context;
    (void)outcome;
    (void)text;
    env_timer_start_ms(script->asker.env, &script->pace, LOOK_MS);
}

/* ------------------------------------------------------------------ life */

static void boot(void *context)
{
    struct script *script = context;
    env_timer_start_ms(script->asker.env, &script->pace, LOOK_MS);
}

struct script *script_open(struct cluster *cluster, const struct script_options *options)
{
    struct script *script = heap_sim_take(sizeof(*script));
    script->cluster = cluster;
    script->options = *options;
    script->pace.fired = turn;
    script->since_ns = now_ns(script);
    script->asker = (struct asker){
        .cluster = cluster, .verbose = options->verbose, .answered = answered, .context = script};
    asker_init(&script->asker, boot);
    return script;
}

void script_close(struct script *script)
{
    heap_sim_give(script);
}

bool script_over(struct script *script)
{
    const struct topology *topology = cluster_topology(script->cluster);
    if (step_of(script) == NULL && topology != NULL && !script->asker.asked) {
        for (uint32_t index = 0; index < topology->range_count; index++) {
            const struct topology_range *range = &topology->ranges[index];
            if (range->stage != TOPOLOGY_STABLE || range->goal.count != 0) {
                check_violate(script->cluster->check, "all plans have ended, and range %u has not",
                              index);
            }
        }
        if (script->moved_count == 0 || (!script->struck && script->options.point != 0)) {
            check_violate(script->cluster->check,
                          "%u replicas were copied, and %" PRIu64 " points passed: no sweep",
                          script->moved_count, script->points);
        }
        return true;
    }
    if (now_ns(script) > script->since_ns + SCRIPT_LIVENESS_MS * NS_PER_MS) {
        check_violate(script->cluster->check,
                      "step %u of the script does not end (%s at point %" PRIu64 ", plan %" PRIu64
                      ")",
                      script->step + 1, script_blow_name(script->options.blow),
                      script->options.point, script->plan_id);
    }
    return false;
}

uint64_t script_points(const struct script *script)
{
    return script->points;
}
