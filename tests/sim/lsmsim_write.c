/* tests/sim/lsmsim_write.c -- writes of all kinds, what is queued of them, and what is counted. */
#include <string.h>

#include "base/hlc.h"
#include "tests/sim/lsmsim_life.h"

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
                version_compare(cell->version, run->model.floor) > 0 &&
                version_compare(cell->version, key->let_go) > 0;
    return fits ? cell : NULL;
}

static uint64_t expiry_draw(struct run *run)
{
    return hlc_unix_ms(run->clock) + prng_below(&run->prng, 6);
}

/* What is accepted now is above the floor, and above what the owner of the key let go. */
static uint64_t time_floor(const struct run *run, uint32_t key)
{
    uint64_t floor = run->model.floor.time;
    uint64_t let_go = run->model.keys[key].let_go.time;
    return floor > let_go ? floor : let_go;
}

/* A cell that is newer than all before it, or older than some. */
static struct model_cell cell_forced(struct run *run, uint32_t key, enum draw draw)
{
    uint64_t floor = time_floor(run, key);
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
        return cell_forced(run, key, draw);
    }
    const struct model_cell *old = restampable(run, key);
    if (old != NULL && prng_chance(prng, run->plan.restamp_percent, 100)) {
        struct model_cell again = *old;
        again.stamp = run->clock;
        again.expiry_ms = prng_chance(prng, 1, 4) ? 0 : expiry_draw(run);
        return again;
    }
    uint64_t floor = time_floor(run, key);
    uint64_t time = run->clock - prng_below(prng, (uint64_t)run->plan.version_spread + 1);
    if (time <= floor) {
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

struct model_write *write_draw(struct run *run, uint32_t first, uint32_t count_max, enum draw draw)
{
    struct model_write *write = heap_sim_take(sizeof(*write));
    uint32_t count = 1 + (uint32_t)prng_below(&run->prng, count_max);
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
    }
    write->write = (struct lsm_write){.records = write->records, .record_count = count};
    return write;
}

static struct model_write *write_make(struct run *run, uint32_t first, enum draw draw,
                                      uint8_t *values)
{
    const struct plan *plan = &run->plan;
    uint32_t most =
        plan->batch_count_max < plan->key_count ? plan->batch_count_max : plan->key_count;
    struct model_write *write = write_draw(run, first, draw == DRAW_ANY ? most : 1, draw);
    for (uint32_t i = 0; i < write->write.record_count; i++) {
        struct cell *cell = &write->records[i].cell;
        if (cell->kind == CELL_VALUE) {
            struct slice value = model_value(&run->model, write->keys[i], cell->version);
            if (value.size > 0) {
                memcpy(values, value.data, value.size);
            }
            cell->value = slice_make(values, value.size);
            values += value.size;
        }
    }
    write->write.durability =
        (enum lsm_durability)plan_choose(&run->prng, run->plan.durability_weights, 3);
    write->write.done = write_done;
    return write;
}

/* What an ingest takes with all there is may be accepted before or after that moment. */
static bool is_taken(const struct run *run, const struct model_write *write)
{
    for (uint32_t i = 0; i < write->write.record_count; i++) {
        if (ingest_takes(run, write->keys[i])) {
            return true;
        }
    }
    return false;
}

void write_send(struct run *run, uint32_t first, enum draw draw)
{
    size_t huge = (size_t)run->plan.value_size_max + run->plan.value_huge_max;
    uint8_t *values = heap_sim_take(MODEL_BATCH_COUNT_MAX * huge + 1);
    struct model_write *write = write_make(run, first, draw, values);
    if (is_taken(run, write)) {
        heap_sim_give(values);
        heap_sim_give(write);
        return;
    }
    enum status status = lsm_write(run->lsm, &write->write);
    heap_sim_give(values); /* The engine copied them. */
    write->write.records = NULL;
    if (status == STATUS_OK) {
        model_accept(&run->model, write);
        return;
    }
    heap_sim_give(write);
    if (status != STATUS_OVERLOADED &&
        (run_is_unhealed(run, status) || !run_is_fault(run, status))) {
        model_fail(&run->model, "a write is refused: %s", status_name(status));
    }
}

void act_write(void *context)
{
    struct run *run = context;
    write_send(run, key_draw(run), DRAW_ANY);
}

/* An accepted synced write without its answer is in the queue, unless that answer is held back.
 */
void act_queued(void *context)
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
        bool logged = write->write.durability == LSM_SYNCED && !write->ingested;
        if (write->answered || !logged || run->faulty) {
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
            bool in = !write->ingested || write->seen;
            if (in && version_compare(write->cells[j].version, stats.version_max) > 0) {
                model_fail(&run->model, "version_max is below a version that was accepted");
            }
        }
    }
    run->purged_count += stats.purged_count - old->purged_count;
    run->merged_size += stats.compaction_written - old->compaction_written;
    run->stats = stats;
}

void act_stats(void *context)
{
    stats_look(context);
}
