/*
 * tests/sim/lsmsim_run.c -- see lsmsim_run.h.
 *
 * A life: the engine is opened (power may go meanwhile, then it is opened again), what it holds is
 * compared with what the model allows, acts follow, and it ends in one of the ways of plan_end.
 */
#include "tests/sim/lsmsim_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hlc.h"
#include "tests/sim/lsmsim_mutant.h"

#define READER_COUNT 3u
#define READER_KEY_COUNT 6u
#define WALKER_COUNT 3u
#define REQUEST_COUNT 2u
#define STEPS_STUCK 400000u /* Events without an end: something waits for ever. */
#define CLOCK_STEP (UINT64_C(1) << 13)
#define CLOCK_START (UINT64_C(1700000000000) << HLC_COUNTER_BITS)
#define REOPEN_STEPS 300u /* Of the engine that is opened to be crashed. */
#define REOPEN_FIRST 30u  /* The call of the script after which power goes first: */
#define REOPEN_LAST 400u  /* up to so many later. */
#define OPEN_COUNT_MAX 6u /* Tries with trouble before one without. */

struct run;

struct reader {
    struct env_job job;
    struct run *run;
    bool busy;
    bool many;
    uint32_t keys[READER_KEY_COUNT];
    uint32_t key_count;
};

struct walker {
    struct env_job job;
    struct run *run;
    bool busy; /* Its job is under way. */
    struct lsm_iterator *iterator;
    enum lsm_wait wait;
    bool reverse;
    uint32_t lower;
    uint32_t upper; /* Exclusive; keys in [lower, upper) may still come. */
    uint32_t step_count;
    struct model_cell *low; /* What had to be visible when it was opened. */
    uint32_t excise_number; /* The model's then; with another the iterator may show what is gone. */
};

struct excise {
    struct lsm_excise excise;
    struct run *run;
    bool busy;
};

struct request {
    struct lsm_request request;
    struct run *run;
    bool busy;
    uint32_t flush_number;
    bool resumes;
};

enum opening { OPENING_NOT, OPENING_BUSY, OPENING_DONE };

struct run {
    struct plan plan;
    struct prng prng;
    struct model model;
    struct world *world;
    struct world_node *node;
    struct lsm *lsm; /* NULL while it is not open. */
    bool verbose;
    bool faulty;      /* The disk or the memory may fail in this life. */
    bool healed;      /* Since then it was resumed, and nothing fails any more. */
    bool quarantined; /* What looked cut was taken for damage: its stretch says so for good. */
    bool short_reads; /* A file may seem to be cut. */
    bool begun;       /* What it found was checked; the model's writes are of this life. */
    bool ending;
    uint64_t clock;
    uint32_t version_count;
    struct env_job open_job;
    enum opening opening;
    enum status open_status;
    struct env_job found_job;
    enum opening finding;
    struct model_cell *found;
    struct reader readers[READER_COUNT];
    struct walker walkers[WALKER_COUNT];
    struct request requests[REQUEST_COUNT];
    struct excise excise;
    struct lsm_stop stop;
    bool stopped;
    uint32_t crash_count;
    struct lsm_stats stats; /* At the last look. */
    uint64_t purged_count;
    uint64_t merged_size;
};

static bool is_over(const struct run *run)
{
    return model_failed(&run->model);
}

static bool is_alive(const struct run *run)
{
    return world_node_alive(run->node) && !is_over(run);
}

static struct env *env_of(const struct run *run)
{
    return world_node_env(run->node);
}

/* What only a fault may cause. */
static bool is_fault(const struct run *run, enum status status)
{
    if (run->short_reads && status == STATUS_CORRUPT) {
        return true;
    }
    return run->faulty && (status == STATUS_IO || status == STATUS_NO_SPACE ||
                           status == STATUS_NO_MEMORY || status == STATUS_READ_ONLY);
}

/* Of what a resumed engine on a sound disk may not say. (That it was full it finds out itself.) */
static bool is_unhealed(const struct run *run, enum status status)
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

static void open_run(struct env_job *job)
{
    struct run *run = container_of(job, struct run, open_job);
    struct lsm_options options = run->plan.lsm;
    options.floor = run->plan.floor == FLOOR_NONE ? NULL : floor_told;
    options.failed = failed_told;
    options.context = run;
    run->lsm = NULL;
    run->open_status = lsm_open(env_of(run), &options, &run->lsm);
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
    env_submit(env_of(run), ENV_LANE_POOL, &run->open_job);
}

/* --- reads ------------------------------------------------------------------------------------ */

static void get_take(struct run *run, uint32_t key, enum lsm_wait wait, enum status status,
                     const struct cell *cell)
{
    if ((status == STATUS_WOULD_BLOCK && wait == LSM_NOWAIT) || is_fault(run, status)) {
        return;
    }
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        model_fail(&run->model, "key %u: get says %s", key, status_name(status));
        return;
    }
    model_read(&run->model, key, NULL, status, cell);
}

static void get_one(struct run *run, uint32_t key, enum lsm_wait wait, struct buffer *scratch)
{
    struct cell cell;
    enum status status = lsm_get(run->lsm, model_key(&run->model, key), wait, scratch, &cell);
    get_take(run, key, wait, status, &cell);
}

/* All keys of the reader by one call. */
static void get_many(struct reader *reader, enum lsm_wait wait)
{
    struct run *run = reader->run;
    struct lsm_get_many_item items[READER_KEY_COUNT] = {0};
    for (uint32_t i = 0; i < reader->key_count; i++) {
        items[i].key = model_key(&run->model, reader->keys[i]);
    }
    lsm_get_many(run->lsm, items, reader->key_count, wait);
    for (uint32_t i = 0; i < reader->key_count; i++) {
        get_take(run, reader->keys[i], wait, items[i].status, &items[i].cell);
        buffer_deinit(&items[i].scratch);
    }
}

static void reader_run(struct env_job *job)
{
    struct reader *reader = container_of(job, struct reader, job);
    if (reader->many) {
        get_many(reader, LSM_MAY_BLOCK);
        return;
    }
    struct buffer scratch = {0};
    for (uint32_t i = 0; i < reader->key_count; i++) {
        get_one(reader->run, reader->keys[i], LSM_MAY_BLOCK, &scratch);
    }
    buffer_deinit(&scratch);
}

static void reader_done(struct env_job *job, enum status status)
{
    (void)status;
    container_of(job, struct reader, job)->busy = false;
}

static uint32_t key_draw(struct run *run)
{
    uint32_t hot = run->plan.key_hot_count;
    return (uint32_t)prng_below(&run->prng,
                                prng_chance(&run->prng, 3, 4) ? hot : run->plan.key_count);
}

static void act_get(void *context)
{
    struct run *run = context;
    for (uint32_t i = 0; i < READER_COUNT; i++) {
        struct reader *reader = &run->readers[i];
        if (!reader->busy) {
            *reader = (struct reader){.run = run, .busy = true};
            reader->job.run = reader_run;
            reader->job.done = reader_done;
            reader->key_count = 1 + (uint32_t)prng_below(&run->prng, READER_KEY_COUNT);
            reader->many = prng_chance(&run->prng, 1, 2);
            for (uint32_t j = 0; j < reader->key_count; j++) {
                reader->keys[j] = key_draw(run);
            }
            env_submit(env_of(run), ENV_LANE_POOL, &reader->job);
            return;
        }
    }
}

static void act_get_loop(void *context)
{
    struct run *run = context;
    struct buffer scratch = {0};
    get_one(run, key_draw(run), LSM_NOWAIT, &scratch);
    buffer_deinit(&scratch);
}

/* --- iterators -------------------------------------------------------------------------------- */

static void walker_close(struct walker *walker)
{
    lsm_iterator_close(walker->iterator);
    walker->iterator = NULL;
}

/* Keys that the iterator passed over. */
static void walker_skip(struct walker *walker, uint32_t lower, uint32_t upper)
{
    bool is_old = walker->excise_number != walker->run->model.excise_number;
    for (uint32_t i = lower; i < upper && !is_old; i++) {
        model_read(&walker->run->model, i, &walker->low[i], STATUS_NOT_FOUND, NULL);
    }
}

static void walker_found(struct walker *walker, struct slice key, const struct cell *cell)
{
    struct model *model = &walker->run->model;
    uint32_t index = model_key_find(model, key);
    if (index == UINT32_MAX || index < walker->lower || index >= walker->upper) {
        model_fail(model, "an iterator gave key %u outside of %u to %u", index, walker->lower,
                   walker->upper);
        return;
    }
    if (walker->reverse) {
        walker_skip(walker, index + 1, walker->upper);
        walker->upper = index;
    } else {
        walker_skip(walker, walker->lower, index);
        walker->lower = index + 1;
    }
    if (walker->excise_number == model->excise_number) {
        model_read(model, index, &walker->low[index], STATUS_OK, cell);
    }
}

/* Some keys on; the iterator is closed at its end. */
static void walker_step(struct walker *walker)
{
    for (uint32_t i = 0; i < walker->step_count; i++) {
        struct slice key;
        struct cell cell;
        enum status status = lsm_iterator_next(walker->iterator, &key, &cell);
        if (status == STATUS_OK) {
            walker_found(walker, key, &cell);
            continue;
        }
        if (status == STATUS_BUDGET ||
            (status == STATUS_WOULD_BLOCK && walker->wait == LSM_NOWAIT)) {
            return;
        }
        if (status == STATUS_NOT_FOUND) {
            walker_skip(walker, walker->lower, walker->upper);
        } else if (!is_fault(walker->run, status)) {
            model_fail(&walker->run->model, "an iterator says %s", status_name(status));
        }
        walker_close(walker);
        return;
    }
}

static void walker_run(struct env_job *job)
{
    walker_step(container_of(job, struct walker, job));
}

static void walker_done(struct env_job *job, enum status status)
{
    (void)status;
    container_of(job, struct walker, job)->busy = false;
}

static void walker_open(struct run *run, struct walker *walker)
{
    const struct model *model = &run->model;
    struct model_cell *low = walker->low;
    *walker = (struct walker){.run = run, .low = low};
    walker->job = (struct env_job){.run = walker_run, .done = walker_done};
    walker->excise_number = model->excise_number;
    walker->reverse = prng_chance(&run->prng, 1, 2);
    walker->wait = prng_chance(&run->prng, 1, 3) ? LSM_NOWAIT : LSM_MAY_BLOCK;
    walker->step_count = 1 + (uint32_t)prng_below(&run->prng, 40);
    walker->upper = model->key_count;
    if (prng_chance(&run->prng, 1, 2)) {
        walker->lower = (uint32_t)prng_below(&run->prng, model->key_count);
        walker->upper =
            walker->lower + (uint32_t)prng_below(&run->prng, model->key_count - walker->lower + 1);
    }
    for (uint32_t i = 0; i < model->key_count; i++) {
        low[i] = model->keys[i].low;
    }
    struct lsm_iterator_options options = {
        .reverse = walker->reverse,
        .wait = walker->wait,
        .work_budget = prng_chance(&run->prng, 1, 2) ? 1 + (uint32_t)prng_below(&run->prng, 8) : 0,
    };
    if (walker->lower > 0) {
        options.lower = model_key(model, walker->lower);
    }
    if (walker->upper < model->key_count) {
        options.upper = model_key(model, walker->upper);
    }
    enum status status = lsm_iterator_open(run->lsm, &options, &walker->iterator);
    if (status != STATUS_OK) {
        walker->iterator = NULL;
        if (!is_fault(run, status)) {
            model_fail(&run->model, "no iterator: %s", status_name(status));
        }
    }
}

static void act_walk(void *context)
{
    struct run *run = context;
    struct walker *walker = &run->walkers[prng_below(&run->prng, WALKER_COUNT)];
    if (walker->busy) {
        return;
    }
    if (walker->iterator == NULL) {
        walker_open(run, walker);
    } else if (prng_chance(&run->prng, 1, 16)) {
        walker_close(walker);
    } else if (walker->wait == LSM_NOWAIT) {
        walker_step(walker);
    } else {
        walker->busy = true;
        env_submit(env_of(run), ENV_LANE_POOL, &walker->job);
    }
}

/* --- writes ----------------------------------------------------------------------------------- */

static void write_done(struct lsm_write *done, enum status status)
{
    struct model_write *write = container_of(done, struct model_write, write);
    struct run *run = container_of(write->model, struct run, model);
    bool expected = status == STATUS_OK || (run->faulty && status == STATUS_INDETERMINATE) ||
                    (run->ending && status == STATUS_CANCELLED);
    if (!expected) {
        model_fail(&run->model, "a write ends with %s", status_name(status));
    }
    model_answer(write, status);
}

/* A value of this key that may get another expiry; NULL if there is none above the floor. */
static const struct model_cell *restampable(const struct run *run, uint32_t index)
{
    const struct model_key *key = &run->model.keys[index];
    const struct model_cell *cell = &key->base;
    if (key->entry_count > 0) {
        uint32_t entry = key->entries[key->entry_count - 1];
        cell =
            &run->model.writes[entry / MODEL_BATCH_COUNT_MAX]->cells[entry % MODEL_BATCH_COUNT_MAX];
    }
    bool fits = cell->any && cell->kind == CELL_VALUE &&
                version_compare(cell->version, run->model.floor) > 0;
    return fits ? cell : NULL;
}

static uint64_t expiry_draw(struct run *run)
{
    return hlc_unix_ms(run->clock) + prng_below(&run->prng, 6);
}

/* What act_forget() asks for; DRAW_ANY follows the plan. */
enum draw { DRAW_ANY, DRAW_DELETE, DRAW_OLD };

/* A cell that is newer than all before it, or older than some. */
static struct model_cell cell_forced(struct run *run, enum draw draw)
{
    uint64_t floor = run->model.floor.time;
    uint64_t room = run->clock - floor < CLOCK_STEP * 64 ? run->clock - floor : CLOCK_STEP * 64;
    bool deletes = draw == DRAW_DELETE;
    return (struct model_cell){
        .any = true,
        .kind = deletes ? CELL_DELETE : CELL_VALUE,
        .version = {.time = deletes ? run->clock : run->clock - prng_below(&run->prng, room),
                    .node = ++run->version_count},
    };
}

static struct model_cell cell_draw(struct run *run, uint32_t key, enum draw draw)
{
    struct prng *prng = &run->prng;
    run->clock += CLOCK_STEP;
    if (draw != DRAW_ANY) {
        return cell_forced(run, draw);
    }
    const struct model_cell *old = restampable(run, key);
    if (old != NULL && prng_chance(prng, run->plan.restamp_percent, 100)) {
        struct model_cell again = *old;
        again.stamp = run->clock;
        again.expiry_ms = prng_chance(prng, 1, 4) ? 0 : expiry_draw(run);
        return again;
    }
    uint64_t floor = run->model.floor.time;
    uint64_t time = run->clock - prng_below(prng, (uint64_t)run->plan.version_spread + 1);
    if (time <= floor) { /* What is accepted after the floor was raised is above it. */
        time = floor + 1 + prng_below(prng, run->clock - floor);
    }
    struct model_cell cell = {
        .any = true,
        .kind = CELL_VALUE,
        .version = {.time = time, .node = ++run->version_count},
    };
    if (prng_chance(prng, run->plan.delete_percent, 100)) {
        cell.kind = CELL_DELETE;
    } else if (prng_chance(prng, run->plan.expiry_percent, 100)) {
        cell.expiry_ms = expiry_draw(run);
    }
    return cell;
}

static struct model_write *write_make(struct run *run, uint32_t first, enum draw draw,
                                      uint8_t *values)
{
    struct model_write *write = heap_sim_take(sizeof(*write));
    uint32_t count = 1 + (uint32_t)prng_below(&run->prng, run->plan.batch_count_max);
    count = count > run->plan.key_count ? run->plan.key_count : count;
    count = draw == DRAW_ANY ? count : 1;
    write->model = &run->model;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = (first + i) % run->plan.key_count;
        struct model_cell drawn = cell_draw(run, key, draw);
        write->keys[i] = key;
        write->cells[i] = drawn;
        write->records[i] = (struct lsm_record){
            .key = model_key(&run->model, key),
            .cell = {.version = drawn.version,
                     .stamp = drawn.stamp,
                     .expiry_ms = drawn.expiry_ms,
                     .kind = drawn.kind},
        };
        if (drawn.kind == CELL_VALUE) {
            struct slice value = model_value(&run->model, key, drawn.version);
            if (value.size > 0) {
                memcpy(values, value.data, value.size);
            }
            write->records[i].cell.value = slice_make(values, value.size);
            values += value.size;
        }
    }
    write->write = (struct lsm_write){
        .records = write->records,
        .record_count = count,
        .durability = (enum lsm_durability)plan_choose(&run->prng, run->plan.durability_weights, 3),
        .done = write_done,
    };
    return write;
}

static void write_send(struct run *run, uint32_t first, enum draw draw)
{
    size_t huge = (size_t)run->plan.value_size_max + run->plan.value_huge_max;
    uint8_t *values = heap_sim_take(MODEL_BATCH_COUNT_MAX * huge + 1);
    struct model_write *write = write_make(run, first, draw, values);
    enum status status = lsm_write(run->lsm, &write->write);
    heap_sim_give(values); /* The engine copied them. */
    write->write.records = NULL;
    if (status == STATUS_OK) {
        model_accept(&run->model, write);
        return;
    }
    heap_sim_give(write);
    if (status != STATUS_OVERLOADED && (is_unhealed(run, status) || !is_fault(run, status))) {
        model_fail(&run->model, "a write is refused: %s", status_name(status));
    }
}

static void act_write(void *context)
{
    struct run *run = context;
    write_send(run, key_draw(run), DRAW_ANY);
}

/* An accepted synced write without its answer is in the queue, unless that answer is held back. */
static void act_queued(void *context)
{
    struct run *run = context;
    struct model *model = &run->model;
    struct lsm_stats stats;
    lsm_stats(run->lsm, &stats);
    if (stats.stalled_count > 0) {
        return;
    }
    for (uint32_t i = model->write_count; i > 0 && model->write_count - i < 8; i--) {
        const struct model_write *write = model->writes[i - 1];
        if (write->answered || write->write.durability != LSM_SYNCED || run->faulty) {
            continue;
        }
        for (uint32_t j = 0; j < write->write.record_count; j++) {
            struct version queued = lsm_queued_version(run->lsm, model_key(model, write->keys[j]));
            if (write->cells[j].any && version_compare(queued, write->cells[j].version) < 0) {
                model_fail(model, "key %u: a write under way is not in the queue", write->keys[j]);
            }
        }
    }
}

static void stats_look(struct run *run)
{
    struct lsm_stats stats;
    lsm_stats(run->lsm, &stats);
    const struct lsm_stats *old = &run->stats;
    bool grew = stats.write_count >= old->write_count && stats.user_written >= old->user_written &&
                stats.wal_written >= old->wal_written && stats.sync_count >= old->sync_count &&
                stats.purged_count >= old->purged_count &&
                version_compare(stats.version_max, old->version_max) >= 0;
    if (!grew) {
        model_fail(&run->model, "counters went back");
    }
    for (uint32_t i = 0; i < run->model.write_count; i++) {
        const struct model_write *write = run->model.writes[i];
        for (uint32_t j = 0; j < write->write.record_count; j++) {
            if (version_compare(write->cells[j].version, stats.version_max) > 0) {
                model_fail(&run->model, "version_max is below a version that was accepted");
            }
        }
    }
    run->purged_count += stats.purged_count - old->purged_count;
    run->merged_size += stats.compaction_written - old->compaction_written;
    run->stats = stats;
}

static void act_stats(void *context)
{
    stats_look(context);
}

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
    } else if (!is_fault(run, status) && !(run->ending && status == STATUS_CANCELLED)) {
        model_fail(&run->model, "a request ends with %s", status_name(status));
    }
}

static void request_ask(struct run *run, bool compact)
{
    struct request *request = &run->requests[prng_below(&run->prng, REQUEST_COUNT)];
    if (request->busy) {
        return;
    }
    *request = (struct request){.run = run, .request.done = request_done};
    request->flush_number = model_flush_begin(&run->model);
    enum status status =
        compact ? lsm_compact(run->lsm, &request->request) : lsm_flush(run->lsm, &request->request);
    request->busy = status == STATUS_OK;
    if (status != STATUS_OK && !is_fault(run, status)) {
        model_fail(&run->model, "a request is refused: %s", status_name(status));
    }
}

static void act_flush(void *context)
{
    request_ask(context, false);
}

static void act_compact(void *context)
{
    request_ask(context, true);
}

static void act_floor(void *context)
{
    struct run *run = context;
    if (run->plan.floor == FLOOR_EAGER || model_all_durable(&run->model)) {
        run->model.floor =
            (struct version){.time = run->clock, .node = UINT32_MAX, .sequence = UINT32_MAX};
    }
}

/* A key that is deleted and written below that, whatever comes first, then merged at once under a
 * floor above both: if the tombstone goes too early, the older cell is still on its way. */
static void act_forget(void *context)
{
    struct run *run = context;
    uint32_t key = key_draw(run);
    bool deletes_first = prng_chance(&run->prng, 1, 2);
    write_send(run, key, deletes_first ? DRAW_DELETE : DRAW_OLD);
    write_send(run, key, deletes_first ? DRAW_OLD : DRAW_DELETE);
    act_floor(run);
    request_ask(run, prng_chance(&run->prng, 3, 4));
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

static void act_excise(void *context)
{
    struct run *run = context;
    if (run->excise.busy) {
        return;
    }
    const struct model *model = &run->model;
    uint32_t lower = (uint32_t)prng_below(&run->prng, model->key_count);
    uint32_t upper = lower + 1 + (uint32_t)prng_below(&run->prng, model->key_count - lower);
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
    } else if (!is_fault(run, status)) {
        model_fail(&run->model, "an excise is refused: %s", status_name(status));
    }
}

static void act_fault(void *context)
{
    struct run *run = context;
    run->faulty = true;
    run->healed = false;
    run->requests[0].resumes = false; /* What is under way cannot promise that. */
    *disk_sim_faults(world_node_disk(run->node)) = run->plan.fault;
}

/* The fault goes, and somebody helps. In a life that had one, statuses stay excused. */
static void act_resume(void *context)
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
    if (status != STATUS_OK && status != STATUS_OVERLOADED && !is_fault(run, status)) {
        model_fail(&run->model, "resuming is refused: %s", status_name(status));
    }
}

static void act_pause(void *context)
{
    (void)context; /* See acts_run(). */
}

static void (*const acts[ACT_COUNT])(void *context) = {
    [ACT_WRITE] = act_write,   [ACT_GET] = act_get,         [ACT_GET_LOOP] = act_get_loop,
    [ACT_WALK] = act_walk,     [ACT_QUEUED] = act_queued,   [ACT_STATS] = act_stats,
    [ACT_FLUSH] = act_flush,   [ACT_COMPACT] = act_compact, [ACT_FLOOR] = act_floor,
    [ACT_FORGET] = act_forget, [ACT_EXCISE] = act_excise,   [ACT_FAULT] = act_fault,
    [ACT_RESUME] = act_resume, [ACT_PAUSE] = act_pause,
};

/* --- ends ------------------------------------------------------------------------------------- */

/* What was the engine's is gone. */
static void life_forget(struct run *run)
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
}

static void close_finish(void *context)
{
    struct run *run = context;
    for (uint32_t i = 0; i < WALKER_COUNT; i++) {
        if (run->walkers[i].iterator != NULL) {
            walker_close(&run->walkers[i]);
        }
    }
    lsm_close(run->lsm);
}

/* Ends the process in order; everything must be answered and freed. */
static void life_close(struct run *run)
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
    while (is_alive(run) && !*flag) {
        if (world_run_steps(run->world, 1) == 0 || ++steps > STEPS_STUCK) {
            model_fail(&run->model, "%s never ends", what);
        }
    }
}

/* False: the node died on the way. */
static bool life_stop(struct run *run)
{
    world_node_call(run->node, act_stop, run);
    run_until(run, &run->stopped, "lsm_stop");
    if (!is_alive(run)) {
        return false;
    }
    if (!run->faulty) {
        run->model.durable_position = UINT64_MAX; /* All that was logged. */
    }
    life_close(run);
    return true;
}

static void life_end(struct run *run, enum plan_end end)
{
    bool process = end == END_PROCESS || end == END_PROCESS_IN_JOB;
    enum world_crash crash = process ? WORLD_CRASH_PROCESS : WORLD_CRASH_POWER;
    if (end == END_POWER_IN_JOB || end == END_PROCESS_IN_JOB) {
        world_node_crash_in_job(run->node, crash, prng_below(&run->prng, 16));
        for (uint32_t i = 0; i < 100 && is_alive(run); i++) {
            world_node_call(run->node, prng_chance(&run->prng, 1, 8) ? act_flush : act_write, run);
            (void)world_run_steps(run->world, 8);
        }
        if (is_alive(run)) {
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
    env_submit(env_of(run), ENV_LANE_POOL, &run->found_job);
}

static void stage_wait(struct run *run, const enum opening *stage, const char *what)
{
    uint64_t steps = 0;
    while (is_alive(run) && *stage == OPENING_BUSY) {
        if (world_run_steps(run->world, 1) == 0 || ++steps > STEPS_STUCK) {
            model_fail(&run->model, "%s never ends", what);
        }
    }
}

static void faults_end(struct run *run)
{
    run->faulty = false;
    run->healed = false;
    *disk_sim_faults(world_node_disk(run->node)) = run->plan.world.disk.faults;
    world_node_heap(run->node)->fail_countdown = 0;
    disk_sim_fail_end(world_node_disk(run->node));
}

static void life_start(struct run *run)
{
    run->opening = OPENING_BUSY;
    world_node_start(run->node, boot, run);
}

/* One try; false: the node died, or the open failed because of a fault. */
static bool life_open(struct run *run)
{
    stage_wait(run, &run->opening, "lsm_open");
    if (!is_alive(run)) {
        return false;
    }
    if (run->open_status != STATUS_OK) {
        if (!is_fault(run, run->open_status)) {
            model_fail(&run->model, "open says %s", status_name(run->open_status));
        }
        life_close(run);
        return false;
    }
    return true;
}

/* What is there becomes the truth of the new life; false: the node died. */
static bool life_check(struct run *run)
{
    world_node_call(run->node, found_start, run);
    stage_wait(run, &run->finding, "the check");
    if (is_alive(run) && run->finding == OPENING_DONE && !run->quarantined) {
        model_next_life(&run->model, run->found);
        run->begun = true;
        return true;
    }
    return false;
}

/* Opens it, and again after every crash on the way. */
static void life_begin(struct run *run)
{
    for (uint32_t tries = 0; !is_over(run); tries++) {
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

static bool requests_are_done(const struct run *run)
{
    for (uint32_t i = 0; i < REQUEST_COUNT; i++) {
        if (run->requests[i].busy) {
            return false;
        }
    }
    return !run->excise.busy;
}

/* Until what was asked for is done, or for so many events. */
static void requests_wait(struct run *run, uint64_t steps_max)
{
    for (uint64_t i = 0; i < steps_max && is_alive(run) && !requests_are_done(run); i++) {
        (void)world_run_steps(run->world, 1);
    }
}

static void acts_run(struct run *run, uint32_t count)
{
    for (uint32_t i = 0; i < count && is_alive(run); i++) {
        uint32_t act = plan_choose(&run->prng, run->plan.act_weights, ACT_COUNT);
        world_node_call(run->node, acts[act], run);
        if (!is_alive(run)) {
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
    if (is_alive(run)) {
        world_node_call(run->node, act_stats, run);
    }
    if (is_alive(run)) {
        life_end(run, (enum plan_end)plan_choose(&run->prng, run->plan.end_weights, END_COUNT));
    }
    run->crash_count++;
    if (!is_over(run)) {
        life_forget(run);
        faults_end(run);
    }
}

/* What was asked for is done, then the engine is stopped. False: the node died on the way. */
static bool life_finish(struct run *run)
{
    world_node_call(run->node, act_compact, run);
    acts_run(run, 20);
    uint64_t steps = 0;
    while (is_alive(run) && !requests_are_done(run)) {
        if (world_run_steps(run->world, 1) == 0 || ++steps > STEPS_STUCK) {
            model_fail(&run->model, "a request never ends");
        }
    }
    if (is_alive(run)) {
        world_node_call(run->node, act_stats, run);
    }
    return is_alive(run) && life_stop(run);
}

/* The last life ends well: everything asked for is done, and nothing is left behind. */
static void life_last(struct run *run)
{
    run->plan.crash_at_open = false;
    run->plan.faults = false;
    run->plan.act_weights[ACT_FAULT] = 0;
    for (bool ended = false; !ended && !is_over(run);) {
        life_begin(run);
        ended = is_alive(run) && life_finish(run);
        if (!is_over(run)) {
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

static struct run *run_create(const struct plan *plan, enum world_plant plant, bool verbose)
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
    for (uint32_t i = 0; i < WALKER_COUNT; i++) {
        run->walkers[i].low = heap_sim_take(plan->key_count * sizeof(struct model_cell));
    }
    return run;
}

static void run_destroy(struct run *run, struct run_result *result)
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
    for (uint32_t i = 0; i < plan.options.life_count && !is_over(run); i++) {
        life_run(run);
    }
    if (!is_over(run)) {
        life_last(run);
    }
    run_destroy(run, result);
}

/* --- the script ------------------------------------------------------------------------------- */

const char *run_trouble_name(enum run_trouble trouble)
{
    static const char *const names[TROUBLE_COUNT] = {
        [TROUBLE_NONE] = "none",   [TROUBLE_RECOVERY] = "recovery", [TROUBLE_CRASH] = "crash",
        [TROUBLE_ERROR] = "error", [TROUBLE_ERRORS] = "errors",     [TROUBLE_NO_SPACE] = "no-space",
        [TROUBLE_SHORT] = "short", [TROUBLE_MEMORY] = "memory",
    };
    return names[trouble];
}

static void trouble_arm(struct run *run, enum run_trouble trouble, uint64_t n)
{
    static const enum disk_trouble troubles[TROUBLE_COUNT] = {
        [TROUBLE_ERROR] = DISK_TROUBLE_ERROR,
        [TROUBLE_ERRORS] = DISK_TROUBLE_ERRORS,
        [TROUBLE_NO_SPACE] = DISK_TROUBLE_NO_SPACE,
        [TROUBLE_SHORT] = DISK_TROUBLE_SHORT,
    };
    if (trouble == TROUBLE_CRASH || trouble == TROUBLE_RECOVERY) {
        world_node_crash_in_job(run->node, WORLD_CRASH_POWER, n - 1);
    } else if (trouble == TROUBLE_MEMORY) {
        world_node_heap(run->node)->fail_countdown = n;
    } else if (trouble != TROUBLE_NONE) {
        disk_sim_fail_in(world_node_disk(run->node), troubles[trouble], n);
    }
    run->faulty = trouble > TROUBLE_RECOVERY;
    run->short_reads = trouble == TROUBLE_SHORT;
    run->model.shown_by_answer = trouble == TROUBLE_MEMORY;
}

static uint64_t trouble_points(const struct run *run, enum run_trouble trouble)
{
    const struct disk_sim *disk = world_node_disk(run->node);
    if (trouble == TROUBLE_CRASH || trouble == TROUBLE_RECOVERY) {
        return disk_sim_operation_count(disk);
    }
    if (trouble == TROUBLE_MEMORY) {
        return world_node_heap(run->node)->request_count;
    }
    return trouble == TROUBLE_SHORT ? disk_sim_read_count(disk) : disk_sim_call_count(disk);
}

/* The script, and its end; true if the engine was stopped. */
static bool script_play(struct run *run)
{
    if (!life_open(run) || (!run->faulty && !life_check(run))) {
        return false;
    }
    run->begun = true; /* If it was not checked: there was nothing to be found. */
    acts_run(run, run->plan.options.operation_count);
    return is_alive(run) && life_stop(run);
}

/* What the script left is opened for a while, and meets a loss of power at its n-th call; returns
 * how many calls there were. */
static uint64_t script_reopen(struct run *run, uint64_t n)
{
    uint64_t before = disk_sim_operation_count(world_node_disk(run->node));
    life_start(run);
    if (n > 0) {
        world_node_crash_in_job(run->node, WORLD_CRASH_POWER, n - 1);
    }
    if (life_open(run) && life_check(run)) {
        (void)world_run_steps(run->world, REOPEN_STEPS);
    }
    uint64_t after = disk_sim_operation_count(world_node_disk(run->node));
    if (is_alive(run)) {
        world_node_crash(run->node, WORLD_CRASH_POWER);
    }
    if (!is_over(run)) {
        life_forget(run);
    }
    return after - before;
}

/* Whether something was quarantined; then every other key must still be one that was written. */
static void quarantine_look(struct run *run)
{
    life_start(run);
    if (life_open(run)) {
        world_node_call(run->node, found_start, run);
        stage_wait(run, &run->finding, "the check");
    }
    if (is_alive(run)) {
        (void)life_stop(run);
    }
    if (!is_over(run)) {
        life_forget(run);
    }
}

void run_script(uint64_t seed, enum run_trouble trouble, uint64_t n, bool verbose, uint64_t *points,
                struct run_result *result)
{
    struct plan plan;
    plan_scripted(&plan, seed);
    struct run *run = run_create(&plan, WORLD_PLANT_NONE, verbose);
    bool reopens = trouble == TROUBLE_RECOVERY;
    uint64_t first = reopens ? REOPEN_FIRST + prng_mix(seed) % REOPEN_LAST : n;
    life_start(run);
    trouble_arm(run, first == 0 ? TROUBLE_NONE : trouble, first);
    (void)script_play(run);
    *points = trouble_points(run, trouble);
    if (!is_over(run)) {
        life_forget(run);
        faults_end(run);
        run->model.shown_by_answer = false;
    }
    if (!is_over(run) && run->short_reads) {
        quarantine_look(run);
    }
    if (!is_over(run) && reopens) {
        *points = script_reopen(run, n);
    }
    run->short_reads = false;
    if (!is_over(run) && !run->quarantined) {
        life_last(run);
    }
    run_destroy(run, result);
}
