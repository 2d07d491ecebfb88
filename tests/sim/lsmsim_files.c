/*
 * tests/sim/lsmsim_files.c -- what enters and leaves an engine as files.
 *
 * Ingested files are written here, from drawn cells that no engine has seen; so what comes in is
 * told apart from all that is there. The chunks of an export are read back, and held to what a walk
 * must show. A checkpoint is opened as an engine of its own after the life that made it, however
 * that ended; and again if power goes before all of it is read.
 */
#include <stdio.h>

#include "base/buffer.h"
#include "lsm/table.h"
#include "lsm/table_writer.h"
#include "tests/sim/lsmsim_life.h"

/* --- ingests ---------------------------------------------------------------------------------- */

bool ingest_takes(const struct run *run, uint32_t key)
{
    const struct ingester *ingester = &run->ingester;
    return ingester->busy && ingester->asked && ingester->takes && key >= ingester->lower &&
           key < ingester->upper;
}

static enum status cells_add(struct ingester *ingester, struct table_writer *writer, uint32_t first,
                             uint32_t end)
{
    struct model *model = &ingester->run->model;
    struct buffer encoded = {0};
    enum status status = STATUS_OK;
    for (uint32_t i = first; i < end && status == STATUS_OK; i++) {
        struct lsm_record *record = &ingester->write->records[i];
        struct cell cell = record->cell;
        if (cell.kind == CELL_VALUE) {
            cell.value = model_value(model, ingester->write->keys[i], cell.version);
        }
        buffer_clear(&encoded);
        cell_put(&encoded, &cell);
        status = buffer_status(&encoded);
        if (status == STATUS_OK) {
            status = table_writer_add(writer, record->key, buffer_slice(&encoded));
        }
    }
    buffer_deinit(&encoded);
    return status;
}

static enum status file_make(struct ingester *ingester, uint32_t index)
{
    struct run *run = ingester->run;
    struct env *env = run_env(run);
    uint32_t count = ingester->write->write.record_count;
    struct table_writer_options options = {
        .block_size = run->plan.lsm.block_size,
        .bloom_bits_per_key = run->plan.lsm.bloom_bits_per_key,
        .compress = true,
    };
    struct table_writer *writer = NULL;
    struct table_properties properties;
    enum status status = env->ops->name_remove(env, ingester->paths[index]); /* The last one's. */
    if (status == STATUS_OK || status == STATUS_NOT_FOUND) {
        status = table_writer_open(env, ingester->paths[index], &options, &writer);
    }
    if (status == STATUS_OK) {
        status = cells_add(ingester, writer, count * index / ingester->file_count,
                           count * (index + 1) / ingester->file_count);
    }
    if (status == STATUS_OK) {
        status = table_writer_finish(writer, &properties);
    }
    table_writer_close(writer);
    return status;
}

static void files_run(struct env_job *job)
{
    struct ingester *ingester = container_of(job, struct ingester, job);
    ingester->made = STATUS_OK;
    for (uint32_t i = 0; i < ingester->file_count && ingester->made == STATUS_OK; i++) {
        ingester->made = file_make(ingester, i);
    }
}

static void ingest_drop(struct ingester *ingester)
{
    heap_sim_give(ingester->write);
    ingester->write = NULL;
    ingester->busy = false;
}

/* What was drawn before the files were made may be too old by now, or in the way. */
static bool may_come(const struct ingester *ingester)
{
    const struct run *run = ingester->run;
    const struct model_write *write = ingester->write;
    for (uint32_t i = 0; i < write->write.record_count; i++) {
        struct version version = write->cells[i].version;
        if (version_compare(version, run->model.floor) <= 0 ||
            version_compare(version, run->model.keys[write->keys[i]].let_go) <= 0) {
            return false;
        }
    }
    return !ingester->takes || !run->model.excise.pending;
}

static void ingest_answered(struct lsm_ingest *ingest, enum status status)
{
    struct ingester *ingester = container_of(ingest, struct ingester, ingest);
    struct run *run = ingester->run;
    if (!ingester->busy) {
        model_fail(&run->model, "an ingest was answered twice");
    }
    ingester->busy = false;
    if (status != STATUS_OK && !run_is_fault(run, status) &&
        !(run->ending && status == STATUS_CANCELLED)) {
        model_fail(&run->model, "an ingest ends with %s: %s", status_name(status),
                   ingest->problem == NULL ? "" : ingest->problem);
    }
    model_answer(ingester->write, status);
}

static void files_done(struct env_job *job, enum status made)
{
    struct ingester *ingester = container_of(job, struct ingester, job);
    struct run *run = ingester->run;
    if (made == STATUS_OK) {
        made = ingester->made;
    }
    if (made != STATUS_OK && !run_is_fault(run, made) && made != STATUS_CANCELLED) {
        model_fail(&run->model, "a file to be ingested: %s", status_name(made));
    }
    if (made != STATUS_OK || run->ending || !may_come(ingester)) {
        ingest_drop(ingester);
        return;
    }
    struct model *model = &run->model;
    ingester->ingest = (struct lsm_ingest){
        .paths = ingester->path_pointers,
        .count = ingester->file_count,
        .lower = model_key(model, ingester->lower),
        .excise = ingester->takes,
        .done = ingest_answered,
    };
    if (ingester->upper < model->key_count) {
        ingester->ingest.upper = model_key(model, ingester->upper);
    }
    enum status status = lsm_ingest(run->lsm, &ingester->ingest);
    if (status != STATUS_OK) {
        ingest_drop(ingester);
        if (!run_is_fault(run, status)) {
            model_fail(model, "an ingest is refused: %s", status_name(status));
        }
        return;
    }
    ingester->asked = true;
    ingester->write->write.records = NULL;
    model_ingest(model, ingester->write, ingester->takes, ingester->lower, ingester->upper);
    if (!ingester->takes && run->plan.act_weights[ACT_FORGET] > 0) {
        forget_key(run, ingester->write->keys[0]); /* Something older of it is on its way. */
    }
}

void act_ingest(void *context)
{
    struct run *run = context;
    struct ingester *ingester = &run->ingester;
    uint32_t key_count = run->plan.key_count;
    uint32_t first = key_draw(run);
    uint32_t room = key_count - first;
    if (ingester->busy) {
        return;
    }
    *ingester = (struct ingester){.run = run, .busy = true};
    ingester->write = write_draw(
        run, first, room < MODEL_BATCH_COUNT_MAX ? room : MODEL_BATCH_COUNT_MAX, DRAW_ANY);
    ingester->write->ingested = true;
    ingester->write->write.durability = LSM_SYNCED;
    uint32_t count = ingester->write->write.record_count;
    ingester->takes = prng_chance(&run->prng, 1, 3);
    ingester->lower = first - (uint32_t)prng_below(&run->prng, first + 1);
    ingester->upper =
        first + count + (uint32_t)prng_below(&run->prng, key_count - first - count + 1);
    ingester->file_count = 1 + (uint32_t)prng_below(&run->prng, INGEST_FILE_COUNT);
    ingester->file_count = ingester->file_count < count ? ingester->file_count : count;
    for (uint32_t i = 0; i < ingester->file_count; i++) {
        (void)snprintf(ingester->paths[i], PATH_ROOM, "ingest-%u", i);
        ingester->path_pointers[i] = ingester->paths[i];
    }
    ingester->job = (struct env_job){.run = files_run, .done = files_done};
    env_submit(run_env(run), ENV_LANE_POOL, &ingester->job);
}

/* --- exports ---------------------------------------------------------------------------------- */

/* Every cell of the chunk, as a walk that shows it. */
static enum status chunk_walk(struct exporter *exporter, const struct table *table)
{
    struct table_cursor cursor;
    uint64_t count = 0;
    table_cursor_open(&cursor, table);
    enum status status = cursor_seek(&cursor.base, slice_make(NULL, 0), LSM_MAY_BLOCK);
    while (status == STATUS_OK) {
        struct cell cell;
        status = cell_decode(cursor.base.cell, &cell);
        if (status == STATUS_OK) {
            walker_found(&exporter->walk, cursor.base.key, &cell);
            count++;
            status = cursor_next(&cursor.base, LSM_MAY_BLOCK);
        }
    }
    table_cursor_close(&cursor);
    if (status == STATUS_NOT_FOUND && count != table->properties.entry_count) {
        model_fail(&exporter->run->model, "a chunk has %u cells and says otherwise",
                   (unsigned)count);
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status chunk_read(struct exporter *exporter, const char *path,
                              const struct lsm_export_chunk *chunk)
{
    struct table *table = NULL;
    enum status status = table_open(run_env(exporter->run), path, 1, NULL, &table);
    if (status != STATUS_OK) {
        return status;
    }
    table->properties.file_checksum = chunk->checksum;
    bool right = table->properties.file_size == chunk->size &&
                 table->properties.entry_count == chunk->entry_count;
    if (!right) {
        model_fail(&exporter->run->model, "a chunk is not what it was told to be");
    }
    status = table_verify(table);
    if (status == STATUS_OK) {
        status = chunk_walk(exporter, table);
    }
    table_close(table);
    return status;
}

/* What lies between its last key and the next chunk's first has nothing to show. */
static void chunk_end(struct exporter *exporter, struct slice next)
{
    struct walker *walk = &exporter->walk;
    uint32_t index = next.size == 0 ? walk->upper : model_key_find(&exporter->run->model, next);
    if (index == UINT32_MAX || index < walk->lower || index > walk->upper) {
        model_fail(&exporter->run->model, "an export would go on at key %u, outside of %u to %u",
                   index, walk->lower, walk->upper);
        return;
    }
    walker_skip(walk, walk->lower, index);
    walk->lower = index;
    exporter->closes = next.size == 0;
}

static enum status export_step(struct exporter *exporter)
{
    static const char path[] = "export";
    struct env *env = run_env(exporter->run);
    struct lsm_export_chunk chunk;
    enum status status = lsm_export_next(exporter->export, path, &chunk);
    if (status == STATUS_OK) {
        status = chunk_read(exporter, path, &chunk);
        if (status == STATUS_OK) {
            chunk_end(exporter, chunk.next);
            status = env->ops->name_remove(env, path);
        }
        return status;
    }
    if (status == STATUS_NOT_FOUND) {
        walker_skip(&exporter->walk, exporter->walk.lower, exporter->walk.upper);
        exporter->closes = true;
        return STATUS_OK;
    }
    return status == STATUS_BUDGET ? STATUS_OK : status;
}

static enum status export_begin(struct exporter *exporter)
{
    struct run *run = exporter->run;
    struct model *model = &run->model;
    const struct walker *walk = &exporter->walk;
    struct lsm_export_options options = {.chunk_size = exporter->chunk_size};
    if (walk->lower > 0) {
        options.lower = model_key(model, walk->lower);
    }
    if (walk->upper < model->key_count) {
        options.upper = model_key(model, walk->upper);
    }
    for (uint32_t i = 0; i < model->key_count; i++) {
        walk->low[i] = model->keys[i].low;
    }
    exporter->walk.excise_number = model->excise_number;
    return lsm_export_open(run->lsm, &options, &exporter->export);
}

static void export_run(struct env_job *job)
{
    struct exporter *exporter = container_of(job, struct exporter, job);
    struct run *run = exporter->run;
    enum status status = STATUS_OK;
    if (exporter->export == NULL) {
        status = export_begin(exporter);
    } else if (!exporter->closes) {
        status = export_step(exporter);
    }
    if (status != STATUS_OK && !run_is_fault(run, status)) {
        model_fail(&run->model, "an export says %s", status_name(status));
    }
    if (status != STATUS_OK || exporter->closes) {
        lsm_export_close(exporter->export);
        exporter->export = NULL;
    }
}

static void export_done(struct env_job *job, enum status status)
{
    (void)status;
    container_of(job, struct exporter, job)->busy = false;
}

void act_export(void *context)
{
    struct run *run = context;
    struct exporter *exporter = &run->exporter;
    if (exporter->busy) {
        return;
    }
    if (exporter->export == NULL) {
        struct model_cell *low = exporter->walk.low;
        uint32_t lower = (uint32_t)prng_below(&run->prng, run->plan.key_count);
        uint32_t count = 1 + (uint32_t)prng_below(&run->prng, run->plan.key_count - lower);
        *exporter = (struct exporter){
            .run = run,
            .walk = {.run = run, .low = low, .lower = lower, .upper = lower + count},
            .chunk_size = UINT64_C(1) << (6 + prng_below(&run->prng, 12)),
        };
    } else if (prng_chance(&run->prng, 1, 24)) {
        exporter->closes = true;
    }
    exporter->busy = true;
    exporter->job = (struct env_job){.run = export_run, .done = export_done};
    env_submit(run_env(run), ENV_LANE_POOL, &exporter->job);
}

/* --- checkpoints ------------------------------------------------------------------------------ */

static void checkpoint_done(struct lsm_checkpoint *checkpoint, enum status status)
{
    struct keeper *keeper = container_of(checkpoint, struct keeper, checkpoint);
    struct run *run = keeper->run;
    if (!keeper->busy) {
        model_fail(&run->model, "a checkpoint was answered twice");
    }
    keeper->busy = false;
    keeper->whole = status == STATUS_OK;
    if (status != STATUS_OK && !run_is_fault(run, status) &&
        !(run->ending && status == STATUS_CANCELLED)) {
        model_fail(&run->model, "a checkpoint ends with %s", status_name(status));
    }
}

void act_checkpoint(void *context)
{
    struct run *run = context;
    struct model *model = &run->model;
    struct keeper *keeper = &run->keeper;
    if (keeper->busy || keeper->whole || model->excise.pending) {
        return;
    }
    keeper->run = run;
    keeper->checkpoint = (struct lsm_checkpoint){.path = keeper->path, .done = checkpoint_done};
    keeper->excise_number = model->excise_number;
    (void)snprintf(keeper->path, PATH_ROOM, "checkpoint-%u", ++keeper->number);
    for (uint32_t i = 0; i < model->key_count; i++) {
        keeper->low[i] = model->keys[i].low;
    }
    enum status status = lsm_checkpoint(run->lsm, &keeper->checkpoint);
    keeper->busy = status == STATUS_OK;
    if (status != STATUS_OK && !run_is_fault(run, status)) {
        model_fail(model, "a checkpoint is refused: %s", status_name(status));
    }
}

/* One try, with run->path set; false: the node died before all was read. */
static bool checkpoint_read(struct run *run, bool calm)
{
    life_start(run);
    if (!calm && prng_chance(&run->prng, 1, 3)) {
        world_node_crash_in_job(run->node, WORLD_CRASH_POWER, prng_below(&run->prng, 14));
    }
    if (!life_open(run)) {
        return false;
    }
    life_look(run);
    return run_is_alive(run) && run->finding == OPENING_DONE;
}

void checkpoint_look(struct run *run)
{
    struct model *model = &run->model;
    struct keeper *keeper = &run->keeper;
    /* With an excise in between, what it may hold is not known any more. */
    bool due = keeper->whole && keeper->excise_number == model->excise_number;
    keeper->whole = false;
    if (!due || run_is_over(run)) {
        return;
    }
    run->path = keeper->path;
    bool calm = !run->plan.crash_at_open;
    while (!run_is_over(run) && !checkpoint_read(run, calm)) {
        life_forget(run); /* What is found so far is of no use; what is whole outlives that. */
        calm = true;
    }
    for (uint32_t i = 0; i < model->key_count && !run_is_over(run); i++) {
        const struct model_cell *low = &keeper->low[i];
        if (low->any && !model_holds(model, i, &run->found[i], low)) {
            model_fail(model, "key %u is missing or older in a checkpoint", i);
        }
    }
    if (run_is_alive(run)) {
        (void)life_stop(run);
    }
    if (!run_is_over(run)) {
        life_forget(run);
    }
    run->path = NULL;
}

/* --- ends ------------------------------------------------------------------------------------- */

void files_close(struct run *run)
{
    if (run->exporter.export != NULL) {
        lsm_export_close(run->exporter.export);
        run->exporter.export = NULL;
    }
}

void files_forget(struct run *run)
{
    struct ingester *ingester = &run->ingester;
    if (ingester->busy && !ingester->asked) {
        heap_sim_give(ingester->write);
    }
    ingester->busy = false;
    run->exporter.busy = false;
    run->exporter.export = NULL;
    run->keeper.busy = false;
}
