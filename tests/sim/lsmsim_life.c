/*
 * tests/sim/lsmsim_life.c -- one life of the engine: how it begins, and how it ends.
 *
 * What a new engine holds is read key by key and by scans of both directions, before anything is
 * asked of it, and compared with what the model allows (lsmsim_model.h, rules 4 to 6).
 */
#include "tests/sim/lsmsim_life.h"

#include <inttypes.h>

/* What only a fault may cause. */
bool run_is_fault(const struct run *run, enum status status)
{
    if (run->short_reads && status == STATUS_CORRUPT) {
        return true;
    }
    return run->faulty && (status == STATUS_IO || status == STATUS_NO_SPACE ||
                           status == STATUS_NO_MEMORY || status == STATUS_READ_ONLY);
}

/* Of what a resumed engine on a sound disk may not say. (That it was full it finds out itself.) */
bool run_is_unhealed(const struct run *run, enum status status)
{
    return run->healed && status == STATUS_READ_ONLY;
}

/* --- opening ---------------------------------------------------------------------------------- */

static void failed_told(void *context, enum status status)
{
    struct run *run = context;
    if (!run->faulty) {
        model_fail(&run->model, "read-only without a fault: %s", status_name(status));
    }
}

static struct version floor_told(void *context, struct slice key)
{
    struct run *run = context;
    (void)key;
    return run->model.floor;
}

static bool keep_told(void *context, struct slice key, const struct cell *cell)
{
    const struct run *run = context;
    uint32_t index = model_key_find(&run->model, key);
    return index == UINT32_MAX || version_compare(cell->version, run->model.keys[index].let_go) > 0;
}

static void open_run(struct env_job *job)
{
    struct run *run = container_of(job, struct run, open_job);
    struct lsm_options options = run->plan.lsm;
    options.floor = run->plan.floor == FLOOR_NONE ? NULL : floor_told;
    options.failed = failed_told;
    options.keep = run->plan.act_weights[ACT_LET_GO] > 0 ? keep_told : NULL;
    options.path = run->path == NULL ? options.path : run->path;
    options.context = run;
    run->lsm = NULL;
    run->open_status = lsm_open(run_env(run), &options, &run->lsm);
}

static void open_done(struct env_job *job, enum status status)
{
    struct run *run = container_of(job, struct run, open_job);
    run->opening = status == STATUS_OK ? OPENING_DONE : OPENING_NOT;
}

static void boot(void *context)
{
    struct run *run = context;
    run->open_job = (struct env_job){.run = open_run, .done = open_done};
    env_submit(run_env(run), ENV_LANE_POOL, &run->open_job);
}

/* --- ends ------------------------------------------------------------------------------------- */

/* What was the engine's is gone. */
void life_forget(struct run *run)
{
    run->lsm = NULL;
    run->opening = OPENING_NOT;
    run->finding = OPENING_NOT;
    run->begun = false;
    run->ending = false;
    run->stopped = false;
    run->stats = (struct lsm_stats){0};
    for (uint32_t i = 0; i < READER_COUNT; i++) {
        run->readers[i].busy = false;
    }
    for (uint32_t i = 0; i < WALKER_COUNT; i++) {
        run->walkers[i].busy = false;
        run->walkers[i].iterator = NULL;
    }
    for (uint32_t i = 0; i < REQUEST_COUNT; i++) {
        run->requests[i].busy = false;
    }
    run->excise.busy = false;
    files_forget(run);
}

static void close_finish(void *context)
{
    struct run *run = context;
    for (uint32_t i = 0; i < WALKER_COUNT; i++) {
        if (run->walkers[i].iterator != NULL) {
            walker_close(&run->walkers[i]);
        }
    }
    files_close(run);
    lsm_close(run->lsm);
}

/* Ends the process in order; everything must be answered and freed. */
void life_close(struct run *run)
{
    run->ending = true;
    uint64_t left = world_node_stop(run->node, close_finish, run);
    if (left > 0) {
        model_fail(&run->model, "%" PRIu64 " bytes were not freed", left);
    }
    for (uint32_t i = 0; run->begun && i < run->model.write_count; i++) {
        if (!run->model.writes[i]->answered) {
            model_fail(&run->model, "a write was never answered");
        }
    }
    for (uint32_t i = 0; i < REQUEST_COUNT; i++) {
        if (run->requests[i].busy) {
            model_fail(&run->model, "a request was never answered");
        }
    }
    if (run->excise.busy) {
        model_fail(&run->model, "an excise was never answered");
    }
    if (run->ingester.busy && run->ingester.asked) {
        model_fail(&run->model, "an ingest was never answered");
    }
    if (run->keeper.busy) {
        model_fail(&run->model, "a checkpoint was never answered");
    }
    life_forget(run);
}

static void stop_told(struct lsm_stop *stop)
{
    container_of(stop, struct run, stop)->stopped = true;
}

static void act_stop(void *context)
{
    struct run *run = context;
    run->ending = true;
    run->stop.stopped = stop_told;
    lsm_stop(run->lsm, &run->stop);
}

/* Until `flag` is up, the node died or all is stuck. */
static void run_until(struct run *run, const bool *flag, const char *what)
{
    uint64_t steps = 0;
    while (run_is_alive(run) && !*flag) {
        if (world_run_steps(run->world, 1) == 0 || ++steps > STEPS_STUCK) {
            model_fail(&run->model, "%s never ends", what);
        }
    }
}

/* False: the node died on the way. */
bool life_stop(struct run *run)
{
    world_node_call(run->node, act_stop, run);
    run_until(run, &run->stopped, "lsm_stop");
    if (!run_is_alive(run)) {
        return false;
    }
    if (!run->faulty && run->begun) {
        run->model.durable_position = UINT64_MAX; /* All that was logged. */
    }
    life_close(run);
    return true;
}

void life_end(struct run *run, enum plan_end end)
{
    bool process = end == END_PROCESS || end == END_PROCESS_IN_JOB;
    enum world_crash crash = process ? WORLD_CRASH_PROCESS : WORLD_CRASH_POWER;
    if (end == END_POWER_IN_JOB || end == END_PROCESS_IN_JOB) {
        world_node_crash_in_job(run->node, crash, prng_below(&run->prng, 16));
        for (uint32_t i = 0; i < 100 && run_is_alive(run); i++) {
            world_node_call(run->node, prng_chance(&run->prng, 1, 8) ? act_flush : act_write, run);
            (void)world_run_steps(run->world, 8);
        }
        if (run_is_alive(run)) {
            world_node_crash(run->node, crash);
        }
    } else if (end == END_STOP) {
        (void)life_stop(run);
    } else if (end == END_CANCELLED) {
        life_close(run);
    } else {
        world_node_crash(run->node, crash);
    }
}

/* --- lives ------------------------------------------------------------------------------------ */

static void found_run(struct env_job *job)
{
    struct run *run = container_of(job, struct run, found_job);
    struct model *model = &run->model;
    struct buffer scratch = {0};
    for (uint32_t i = 0; i < model->key_count; i++) {
        struct cell cell;
        enum status status = lsm_get(run->lsm, model_key(model, i), LSM_MAY_BLOCK, &scratch, &cell);
        if (status == STATUS_CORRUPT && run->short_reads) {
            run->quarantined = true;
        } else if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            model_fail(model, "key %u after the crash: %s", i, status_name(status));
        } else {
            model_found(model, i, status, &cell, &run->found[i]);
        }
    }
    buffer_deinit(&scratch);
}

/* A scan shows what the gets did: nothing is written meanwhile. */
static void found_walk(struct run *run, bool reverse)
{
    struct model *model = &run->model;
    struct lsm_iterator_options options = {.reverse = reverse};
    struct lsm_iterator *iterator = NULL;
    if (lsm_iterator_open(run->lsm, &options, &iterator) != STATUS_OK) {
        model_fail(model, "no iterator after the crash");
        return;
    }
    uint32_t count = 0;
    struct slice key;
    struct cell cell;
    enum status status = STATUS_OK;
    while ((status = lsm_iterator_next(iterator, &key, &cell)) == STATUS_OK) {
        uint32_t index = model_key_find(model, key);
        bool same = index != UINT32_MAX && run->found[index].any &&
                    version_compare(run->found[index].version, cell.version) == 0 &&
                    run->found[index].stamp == cell.stamp;
        if (!same) {
            model_fail(model, "key %u after the crash: get and scan differ", index);
        }
        count++;
    }
    for (uint32_t i = 0; i < model->key_count; i++) {
        count -= run->found[i].any ? 1 : 0;
    }
    run->quarantined = run->quarantined || (run->short_reads && status == STATUS_CORRUPT);
    if (!run->quarantined && (status != STATUS_NOT_FOUND || count != 0)) {
        model_fail(model, "a scan after the crash ends with %s, %d keys too many",
                   status_name(status), (int)count);
    }
    lsm_iterator_close(iterator);
}

static void found_all_run(struct env_job *job)
{
    struct run *run = container_of(job, struct run, found_job);
    found_run(job);
    if (!run->quarantined) {
        found_walk(run, false);
        found_walk(run, true);
    }
}

static void found_done(struct env_job *job, enum status status)
{
    struct run *run = container_of(job, struct run, found_job);
    run->finding = status == STATUS_OK ? OPENING_DONE : OPENING_NOT;
}

static void found_start(void *context)
{
    struct run *run = context;
    run->finding = OPENING_BUSY;
    run->found_job = (struct env_job){.run = found_all_run, .done = found_done};
    env_submit(run_env(run), ENV_LANE_POOL, &run->found_job);
}

static void stage_wait(struct run *run, const enum opening *stage, const char *what)
{
    uint64_t steps = 0;
    while (run_is_alive(run) && *stage == OPENING_BUSY) {
        if (world_run_steps(run->world, 1) == 0 || ++steps > STEPS_STUCK) {
            model_fail(&run->model, "%s never ends", what);
        }
    }
}

void faults_end(struct run *run)
{
    run->faulty = false;
    run->healed = false;
    *disk_sim_faults(world_node_disk(run->node)) = run->plan.world.disk.faults;
    world_node_heap(run->node)->fail_countdown = 0;
    disk_sim_fail_end(world_node_disk(run->node));
}

void life_start(struct run *run)
{
    run->opening = OPENING_BUSY;
    world_node_start(run->node, boot, run);
}

/* One try; false: the node died, or the open failed because of a fault. */
bool life_open(struct run *run)
{
    stage_wait(run, &run->opening, "lsm_open");
    if (!run_is_alive(run)) {
        return false;
    }
    if (run->open_status != STATUS_OK) {
        if (!run_is_fault(run, run->open_status)) {
            model_fail(&run->model, "open says %s", status_name(run->open_status));
        }
        life_close(run);
        return false;
    }
    return true;
}

void life_look(struct run *run)
{
    world_node_call(run->node, found_start, run);
    stage_wait(run, &run->finding, "the check");
}

/* What is there becomes the truth of the new life; false: the node died. */
bool life_check(struct run *run)
{
    life_look(run);
    if (run_is_alive(run) && run->finding == OPENING_DONE && !run->quarantined) {
        model_next_life(&run->model, run->found);
        run->begun = true;
        return true;
    }
    return false;
}
