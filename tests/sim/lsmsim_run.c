/*
 * tests/sim/lsmsim_run.c -- see lsmsim_run.h.
 *
 * A life: the engine is opened (power may go meanwhile, then it is opened again), what it holds is
 * compared with what the model allows, acts follow, and it ends in one of the ways of plan_end.
 */
#include "tests/sim/lsmsim_run.h"

#include <stdio.h>
#include <string.h>

#include "base/hlc.h"
#include "tests/sim/lsmsim_life.h"
#include "tests/sim/lsmsim_mutant.h"

#define CLOCK_START (UINT64_C(1700000000000) << HLC_COUNTER_BITS)
#define OPEN_COUNT_MAX 6u /* Tries with trouble before one without. */

/* --- acts ------------------------------------------------------------------------------------- */

static void act_pause(void *context)
{
    (void)context; /* See acts_run(). */
}

static void (*const acts[ACT_COUNT])(void *context) = {
    [ACT_WRITE] = act_write,           [ACT_GET] = act_get,
    [ACT_GET_LOOP] = act_get_loop,     [ACT_WALK] = act_walk,
    [ACT_QUEUED] = act_queued,         [ACT_STATS] = act_stats,
    [ACT_FLUSH] = act_flush,           [ACT_COMPACT] = act_compact,
    [ACT_FLOOR] = act_floor,           [ACT_FORGET] = act_forget,
    [ACT_EXCISE] = act_excise,         [ACT_FAULT] = act_fault,
    [ACT_RESUME] = act_resume,         [ACT_PAUSE] = act_pause,
    [ACT_INGEST] = act_ingest,         [ACT_EXPORT] = act_export,
    [ACT_CHECKPOINT] = act_checkpoint, [ACT_SCRUB] = act_scrub,
    [ACT_LET_GO] = act_let_go,
};

/* Until what was asked for is done, or for so many events. */
static void requests_wait(struct run *run, uint64_t steps_max)
{
    for (uint64_t i = 0; i < steps_max && run_is_alive(run) && !requests_are_done(run); i++) {
        (void)world_run_steps(run->world, 1);
    }
}

void acts_run(struct run *run, uint32_t count)
{
    for (uint32_t i = 0; i < count && run_is_alive(run); i++) {
        uint32_t act = plan_choose(&run->prng, run->plan.act_weights, ACT_COUNT);
        world_node_call(run->node, acts[act], run);
        if (!run_is_alive(run)) {
            return;
        }
        uint64_t steps = prng_below(&run->prng, (uint64_t)run->plan.steps_max + 1);
        if (act == ACT_FORGET) {
            requests_wait(run, 400);
        } else {
            (void)world_run_steps(run->world, act == ACT_PAUSE ? 2000 : steps);
        }
    }
}

/* --- lives ------------------------------------------------------------------------------------ */

/* Opens it, and again after every crash on the way. */
static void life_begin(struct run *run)
{
    checkpoint_look(run);
    for (uint32_t tries = 0; !run_is_over(run); tries++) {
        bool calm = tries >= OPEN_COUNT_MAX;
        life_start(run);
        if (!calm && run->plan.crash_at_open && prng_chance(&run->prng, 1, 3)) {
            world_node_crash_in_job(run->node, WORLD_CRASH_POWER, prng_below(&run->prng, 14));
        } else if (!calm && run->plan.faults && prng_chance(&run->prng, 1, 4)) {
            act_fault(run);
        }
        if (life_open(run)) {
            if (run->faulty) { /* Its first jobs may have failed already. */
                life_close(run);
            } else if (life_check(run)) {
                return;
            }
        }
        run->crash_count++;
        life_forget(run);
        faults_end(run);
    }
}

/* Half of the lives are short: the next end then meets what the last one left undone. */
static uint32_t life_length(struct run *run)
{
    uint32_t most = run->plan.options.operation_count * 2;
    if (most > 24 && prng_chance(&run->prng, 1, 2)) {
        most = 24;
    }
    return (uint32_t)prng_below(&run->prng, (uint64_t)most + 1);
}

static void life_run(struct run *run)
{
    life_begin(run);
    acts_run(run, life_length(run));
    if (run_is_alive(run)) {
        world_node_call(run->node, act_stats, run);
    }
    if (run_is_alive(run)) {
        life_end(run, (enum plan_end)plan_choose(&run->prng, run->plan.end_weights, END_COUNT));
    }
    run->crash_count++;
    if (!run_is_over(run)) {
        life_forget(run);
        faults_end(run);
    }
}

static bool writes_are_answered(const struct run *run)
{
    for (uint32_t i = run->model.write_count; i > 0; i--) {
        if (!run->model.writes[i - 1]->answered) {
            return false;
        }
    }
    return true;
}

/* What was asked for is done, then the engine is stopped. False: the node died on the way. */
static bool life_finish(struct run *run)
{
    world_node_call(run->node, act_compact, run);
    acts_run(run, 20);
    uint64_t steps = 0;
    while (run_is_alive(run) && !(requests_are_done(run) && writes_are_answered(run))) {
        if (world_run_steps(run->world, 1) == 0 || ++steps > STEPS_STUCK) {
            model_fail(&run->model, "%s never ends",
                       requests_are_done(run) ? "a write" : "a request");
        }
    }
    if (run_is_alive(run)) {
        world_node_call(run->node, act_stats, run);
    }
    return run_is_alive(run) && life_stop(run);
}

/* The last life ends well: everything asked for is done, and nothing is left behind. */
void life_last(struct run *run)
{
    run->plan.crash_at_open = false;
    run->plan.faults = false;
    run->plan.act_weights[ACT_FAULT] = 0;
    for (bool ended = false; !ended && !run_is_over(run);) {
        life_begin(run);
        ended = run_is_alive(run) && life_finish(run);
        if (!run_is_over(run)) {
            life_forget(run);
        }
    }
}

/* --- a whole run ------------------------------------------------------------------------------ */

static void logged(void *context, struct world_node *node, enum log_level level, struct slice line)
{
    struct run *run = context;
    (void)node;
    (void)level;
    if (run->verbose) {
        (void)fprintf(stderr, "%10.6f %.*s\n", (double)world_now_ns(run->world) / 1e9,
                      (int)line.size, (const char *)line.data);
    }
}

struct run *run_create(const struct plan *plan, enum world_plant plant, bool verbose)
{
    struct run *run = heap_sim_take(sizeof(*run));
    run->plan = *plan;
    run->verbose = verbose;
    run->clock = CLOCK_START;
    run->plan.world.plant = plant;
    run->plan.world.hooks = (struct world_hooks){.logged = logged, .context = run};
    mutant_options(&run->plan.world);
    prng_init(&run->prng, plan->seed);
    model_init(&run->model, plan->seed, plan->key_count, plan->shape);
    run->model.value_size_max = plan->value_size_max;
    run->model.value_huge_max = plan->value_huge_max;
    run->world = world_create(plan->seed, &run->plan.world);
    run->node = world_node_add(run->world);
    run->found = heap_sim_take(plan->key_count * sizeof(struct model_cell));
    run->exporter.walk.low = heap_sim_take(plan->key_count * sizeof(struct model_cell));
    run->keeper.low = heap_sim_take(plan->key_count * sizeof(struct model_cell));
    for (uint32_t i = 0; i < WALKER_COUNT; i++) {
        run->walkers[i].low = heap_sim_take(plan->key_count * sizeof(struct model_cell));
    }
    return run;
}

void run_destroy(struct run *run, struct run_result *result)
{
    *result = (struct run_result){
        .trace = world_hash(run->world),
        .steps = world_step_count(run->world),
        .time_ns = world_now_ns(run->world),
        .operation_count = run->model.read_count + run->model.write_total,
        .purged_count = run->purged_count,
        .merged_size = run->merged_size,
        .crash_count = run->crash_count,
    };
    memcpy(result->violation, run->model.violation, sizeof(run->model.violation));
    world_destroy(run->world);
    model_deinit(&run->model);
    for (uint32_t i = 0; i < WALKER_COUNT; i++) {
        heap_sim_give(run->walkers[i].low);
    }
    heap_sim_give(run->found);
    heap_sim_give(run->exporter.walk.low);
    heap_sim_give(run->keeper.low);
    heap_sim_give(run);
}

void run_seed(uint64_t seed, const struct run_options *options, struct run_result *result)
{
    struct plan plan;
    plan_draw(&plan, seed, &options->plan);
    if (options->verbose) {
        plan_print(&plan);
    }
    struct run *run = run_create(&plan, options->plant, options->verbose);
    for (uint32_t i = 0; i < plan.options.life_count && !run_is_over(run); i++) {
        life_run(run);
    }
    if (!run_is_over(run)) {
        life_last(run);
    }
    run_destroy(run, result);
}
