/* tests/sim/lsmsim_ask.c -- what is asked of an engine beside reads and writes. */
#include "tests/sim/lsmsim_life.h"

/* --- requests, floor, faults ------------------------------------------------------------------ */

static void request_done(struct lsm_request *done, enum status status)
{
    struct request *request = container_of(done, struct request, request);
    struct run *run = request->run;
    if (!request->busy) {
        model_fail(&run->model, "a request was answered twice");
    }
    request->busy = false;
    if (status == STATUS_OK) {
        model_flushed(&run->model, request->flush_number);
        run->healed = run->healed || request->resumes;
    } else if (!run_is_fault(run, status) && !(run->ending && status == STATUS_CANCELLED)) {
        model_fail(&run->model, "a request ends with %s", status_name(status));
    }
}

enum ask { ASK_FLUSH, ASK_COMPACT, ASK_SCRUB };

static void request_ask(struct run *run, enum ask ask)
{
    struct request *request = &run->requests[prng_below(&run->prng, REQUEST_COUNT)];
    if (request->busy) {
        return;
    }
    *request = (struct request){.run = run, .request.done = request_done};
    enum status status = STATUS_OK;
    switch (ask) {
    case ASK_FLUSH:
        request->flush_number = model_flush_begin(&run->model);
        status = lsm_flush(run->lsm, &request->request);
        break;
    case ASK_COMPACT:
        request->flush_number = model_flush_begin(&run->model);
        status = lsm_compact(run->lsm, &request->request);
        break;
    case ASK_SCRUB:
        status = lsm_scrub(run->lsm, &request->request);
        break;
    }
    request->busy = status == STATUS_OK;
    if (status != STATUS_OK && !run_is_fault(run, status)) {
        model_fail(&run->model, "a request is refused: %s", status_name(status));
    }
}

void act_flush(void *context)
{
    request_ask(context, ASK_FLUSH);
}

void act_compact(void *context)
{
    request_ask(context, ASK_COMPACT);
}

void act_scrub(void *context)
{
    request_ask(context, ASK_SCRUB);
}

void act_floor(void *context)
{
    struct run *run = context;
    if (run->plan.floor == FLOOR_EAGER || model_all_durable(&run->model)) {
        run->model.floor =
            (struct version){.time = run->clock, .node = UINT32_MAX, .sequence = UINT32_MAX};
    }
}

/* A key that is deleted and written below that, whatever comes first, then merged at once under a
 * floor above both: if the tombstone goes too early, the older cell is still on its way. */
void act_forget(void *context)
{
    struct run *run = context;
    uint32_t key = key_draw(run);
    bool deletes_first = prng_chance(&run->prng, 1, 2);
    write_send(run, key, deletes_first ? DRAW_DELETE : DRAW_OLD);
    write_send(run, key, deletes_first ? DRAW_OLD : DRAW_DELETE);
    act_floor(run);
    request_ask(run, prng_chance(&run->prng, 3, 4) ? ASK_COMPACT : ASK_FLUSH);
}

void forget_key(struct run *run, uint32_t key)
{
    write_send(run, key, DRAW_DELETE);
    act_floor(run);
    request_ask(run, ASK_COMPACT);
}

static void excise_done(struct lsm_excise *done, enum status status)
{
    struct excise *excise = container_of(done, struct excise, excise);
    struct run *run = excise->run;
    if (!excise->busy) {
        model_fail(&run->model, "an excise was answered twice");
    }
    excise->busy = false;
    if (status == STATUS_OK) {
        model_excised(&run->model);
    } else if (!run->ending || status != STATUS_CANCELLED) {
        model_fail(&run->model, "an excise ends with %s", status_name(status));
    }
}

void act_excise(void *context)
{
    struct run *run = context;
    if (run->excise.busy || run->model.excise.pending) {
        return;
    }
    const struct model *model = &run->model;
    uint32_t lower = (uint32_t)prng_below(&run->prng, model->key_count);
    uint32_t upper = lower + 1 + (uint32_t)prng_below(&run->prng, model->key_count - lower);
    const struct ingester *ingester = &run->ingester;
    if (ingester->busy && lower < ingester->upper && ingester->lower < upper) {
        return; /* What comes in may be there before or after. */
    }
    run->excise = (struct excise){.run = run, .excise.done = excise_done};
    if (lower > 0) {
        run->excise.excise.lower = model_key(model, lower);
    }
    if (upper < model->key_count) {
        run->excise.excise.upper = model_key(model, upper);
    }
    enum status status = lsm_excise(run->lsm, &run->excise.excise);
    run->excise.busy = status == STATUS_OK;
    if (status == STATUS_OK) {
        model_excise_begin(&run->model, lower, upper);
    } else if (!run_is_fault(run, status)) {
        model_fail(&run->model, "an excise is refused: %s", status_name(status));
    }
}

/* Of some keys nothing that was accepted so far is kept any more. */
void act_let_go(void *context)
{
    struct run *run = context;
    uint32_t first = key_draw(run);
    uint32_t count = 1 + (uint32_t)prng_below(&run->prng, 4);
    for (uint32_t key = first; key < run->plan.key_count && key - first < count; key++) {
        model_let_go(
            &run->model, key,
            (struct version){.time = run->clock, .node = UINT32_MAX, .sequence = UINT32_MAX});
    }
}

void act_fault(void *context)
{
    struct run *run = context;
    run->faulty = true;
    run->healed = false;
    run->requests[0].resumes = false; /* What is under way cannot promise that. */
    *disk_sim_faults(world_node_disk(run->node)) = run->plan.fault;
}

/* The fault goes, and somebody helps. In a life that had one, statuses stay excused. */
void act_resume(void *context)
{
    struct run *run = context;
    struct request *request = &run->requests[0];
    if (!run->faulty || request->busy) {
        return;
    }
    *disk_sim_faults(world_node_disk(run->node)) = run->plan.world.disk.faults;
    *request = (struct request){.run = run, .request.done = request_done};
    struct lsm_stats stats;
    lsm_stats(run->lsm, &stats);
    request->resumes = stats.read_only; /* Else a failure may still be on its way to the loop. */
    enum status status = lsm_resume(run->lsm, &request->request);
    request->busy = status == STATUS_OK;
    if (status != STATUS_OK && status != STATUS_OVERLOADED && !run_is_fault(run, status)) {
        model_fail(&run->model, "resuming is refused: %s", status_name(status));
    }
}

bool requests_are_done(const struct run *run)
{
    for (uint32_t i = 0; i < REQUEST_COUNT; i++) {
        if (run->requests[i].busy) {
            return false;
        }
    }
    return !run->excise.busy && !run->ingester.busy && !run->keeper.busy;
}
