/*
 * tests/sim/lsmsim_read.c -- gets, one and many, and iterators held open over many events.
 *
 * What a read had to see is what was visible as it began (lsmsim_model.h, rule 2).
 */
#include "base/hlc.h"
#include "tests/sim/lsmsim_life.h"

/* --- reads ------------------------------------------------------------------------------------ */

static void get_take(struct run *run, uint32_t key, enum lsm_wait wait, enum status status,
                     const struct cell *cell)
{
    if ((status == STATUS_WOULD_BLOCK && wait == LSM_NOWAIT) || run_is_fault(run, status)) {
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

uint32_t key_draw(struct run *run)
{
    uint32_t hot = run->plan.key_hot_count;
    return (uint32_t)prng_below(&run->prng,
                                prng_chance(&run->prng, 3, 4) ? hot : run->plan.key_count);
}

void act_get(void *context)
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
            env_submit(run_env(run), ENV_LANE_POOL, &reader->job);
            return;
        }
    }
}

void act_get_loop(void *context)
{
    struct run *run = context;
    struct buffer scratch = {0};
    get_one(run, key_draw(run), LSM_NOWAIT, &scratch);
    buffer_deinit(&scratch);
}

/* --- iterators -------------------------------------------------------------------------------- */

void walker_close(struct walker *walker)
{
    lsm_iterator_close(walker->iterator);
    walker->iterator = NULL;
}

/* Keys that the iterator passed over. */
void walker_skip(struct walker *walker, uint32_t lower, uint32_t upper)
{
    struct model *model = &walker->run->model;
    bool is_old = walker->excise_number != model->excise_number;
    for (uint32_t i = lower; i < upper && !is_old; i++) {
        if (walker->skip_dead) {
            model_passed(model, i, &walker->low[i], walker->now_ms);
        } else {
            model_read(model, i, &walker->low[i], STATUS_NOT_FOUND, NULL);
        }
    }
}

uint32_t walker_index(const struct walker *walker, struct slice key)
{
    const struct model *model = &walker->run->model;
    uint32_t lower = 0;
    uint32_t upper = model->key_count;
    while (lower < upper) {
        uint32_t middle = (lower + upper) / 2;
        if (slice_compare(model_key(model, middle), key) < 0) {
            lower = middle + 1;
        } else {
            upper = middle;
        }
    }
    return lower;
}

void walker_found(struct walker *walker, struct slice key, const struct cell *cell)
{
    struct model *model = &walker->run->model;
    uint32_t index = model_key_find(model, key);
    if (index == UINT32_MAX || index < walker->lower || index >= walker->upper) {
        model_fail(model, "an iterator gave key %u outside of %u to %u", index, walker->lower,
                   walker->upper);
        return;
    }
    if (walker->skip_dead && !cell_is_live(cell, walker->now_ms)) {
        model_fail(model, "an iterator gave key %u, which is dead", index);
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

static void walker_look(struct walker *walker)
{
    const struct model *model = &walker->run->model;
    walker->excise_number = model->excise_number;
    for (uint32_t i = 0; i < model->key_count; i++) {
        walker->low[i] = model->keys[i].low;
    }
}

static void walker_options(struct walker *walker, struct lsm_iterator_options *options)
{
    struct run *run = walker->run;
    *options = (struct lsm_iterator_options){
        .reverse = walker->reverse,
        .wait = walker->wait,
        .work_budget = prng_chance(&run->prng, 1, 2) ? 1 + (uint32_t)prng_below(&run->prng, 8) : 0,
        .skip_dead = walker->skip_dead,
        .now_ms = walker->now_ms,
    };
}

/* What lies before a resume key was passed over; the bounds of who goes on there. */
static bool walker_move(struct walker *walker, struct slice from,
                        struct lsm_iterator_options *options)
{
    struct model *model = &walker->run->model;
    bool whole = walker->reverse && from.size == 0; /* It has not moved yet. */
    uint32_t index = whole ? walker->upper : walker_index(walker, from);
    if (index < walker->lower || index > walker->upper) {
        model_fail(model, "an iterator would go on at key %u, outside of %u to %u", index,
                   walker->lower, walker->upper);
        return false;
    }
    walker_options(walker, options);
    options->lower = from;
    options->upper = from;
    if (walker->reverse) {
        options->lower = walker->lower == 0 ? slice_make(NULL, 0) : model_key(model, walker->lower);
        walker_skip(walker, index, walker->upper);
        walker->upper = index;
    } else {
        bool open = walker->upper == model->key_count;
        options->upper = open ? slice_make(NULL, 0) : model_key(model, walker->upper);
        walker_skip(walker, walker->lower, index);
        walker->lower = index;
    }
    return true;
}

/* Another iterator goes on in its place, over what is visible now. */
static void walker_resume(struct walker *walker)
{
    struct run *run = walker->run;
    struct slice from;
    enum status status = lsm_iterator_resume_key(walker->iterator, &from);
    if (status == STATUS_NOT_FOUND) {
        walker_skip(walker, walker->lower, walker->upper);
        walker_close(walker);
        return;
    }
    if (status != STATUS_OK) {
        if (!run_is_fault(run, status)) {
            model_fail(&run->model, "no key to resume at: %s", status_name(status));
        }
        walker_close(walker);
        return;
    }
    struct lsm_iterator_options options;
    if (!walker_move(walker, from, &options)) {
        return;
    }
    walker_look(walker);
    status = lsm_iterator_reopen(walker->iterator, &options);
    if (status != STATUS_OK) {
        if (!run_is_fault(run, status)) {
            model_fail(&run->model, "no iterator again: %s", status_name(status));
        }
        walker_close(walker);
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
        } else if (!run_is_fault(walker->run, status)) {
            model_fail(&walker->run->model, "an iterator says %s", status_name(status));
        }
        walker_close(walker);
        return;
    }
    if (walker->step_count % 8 == 0) {
        walker_resume(walker);
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
    walker->reverse = prng_chance(&run->prng, 1, 2);
    walker->wait = prng_chance(&run->prng, 1, 3) ? LSM_NOWAIT : LSM_MAY_BLOCK;
    walker->step_count = 1 + (uint32_t)prng_below(&run->prng, 40);
    walker->upper = model->key_count;
    if (prng_chance(&run->prng, 1, 2)) {
        walker->lower = (uint32_t)prng_below(&run->prng, model->key_count);
        walker->upper =
            walker->lower + (uint32_t)prng_below(&run->prng, model->key_count - walker->lower + 1);
    }
    walker->skip_dead = prng_chance(&run->prng, 1, 2);
    /* Clocks of walkers differ. */
    walker->now_ms = hlc_unix_ms(run->clock) - prng_below(&run->prng, 6);
    walker_look(walker);
    struct lsm_iterator_options options;
    walker_options(walker, &options);
    if (walker->lower > 0) {
        options.lower = model_key(model, walker->lower);
    }
    if (walker->upper < model->key_count) {
        options.upper = model_key(model, walker->upper);
    }
    enum status status = lsm_iterator_open(run->lsm, &options, &walker->iterator);
    if (status != STATUS_OK) {
        walker->iterator = NULL;
        if (!run_is_fault(run, status)) {
            model_fail(&run->model, "no iterator: %s", status_name(status));
        }
    }
}

void act_walk(void *context)
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
        env_submit(run_env(run), ENV_LANE_POOL, &walker->job);
    }
}
