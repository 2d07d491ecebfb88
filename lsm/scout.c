/* lsm/scout.c -- the row of deletes, and the job that walks it. Invariants as in the header. */
#include "lsm/scout.h"

#include "base/contract.h"
#include "lsm/engine.h"
#include "lsm/iterator.h"

/* Deletes that make a row worth a walk: a small part of what a memtable holds, and a gap. */
#define ROW_MEMTABLE_SHARE 8192u
#define ROW_COUNT_MIN GAP_DEAD_COUNT_MIN
#define ROW_COUNT_MAX 8192u
#define WALK_ROWS_MAX 8u  /* Dead cells in a row that a walk passes over, in rows of deletes. */
#define WALK_LIVE_MAX 16u /* Cells that live before it turns back. */

static uint64_t row_count(const struct lsm *lsm)
{
    uint64_t count = lsm->options.memtable_size / ROW_MEMTABLE_SHARE;
    if (count < ROW_COUNT_MIN) {
        return ROW_COUNT_MIN;
    }
    return count > ROW_COUNT_MAX ? ROW_COUNT_MAX : count;
}

static bool key_set(struct buffer *to, struct slice key)
{
    buffer_clear(to);
    buffer_append_slice(to, key);
    bool done = buffer_status(to) == STATUS_OK;
    to->failed = false;
    return done;
}

void scout_note_locked(struct lsm *lsm, struct slice key)
{
    struct scout *scout = &lsm->scout;
    bool fits = key.size <= GAP_KEY_SIZE_MAX;
    if (!scout->row || slice_compare(key, buffer_slice(&scout->last)) <= 0) {
        scout->row = fits && key_set(&scout->lower, key);
        scout->count = 0;
    }
    scout->row = scout->row && fits && key_set(&scout->last, key); /* See (3). */
    scout->count += scout->row ? 1 : 0;
}

/* To the end of the stretch, or as far as is worth it. */
static void stretch_walk(struct lsm *lsm)
{
    struct lsm_iterator_options options = {
        .lower = buffer_slice(&lsm->scout.job_lower),
        .upper = buffer_slice(&lsm->scout.job_upper),
        .wait = LSM_MAY_BLOCK,
        .skip_dead = true,
        .work_budget = (uint32_t)row_count(lsm) * WALK_ROWS_MAX,
    };
    struct lsm_iterator *iterator = NULL;
    if (lsm_iterator_open(lsm, &options, &iterator) != STATUS_OK) {
        return;
    }
    iterator_watch(iterator);
    enum status status = STATUS_OK;
    for (uint32_t live = 0; status == STATUS_OK && live < WALK_LIVE_MAX; live++) {
        struct slice key;
        struct cell cell;
        status = lsm_iterator_next(iterator, &key, &cell);
    }
    lsm_iterator_close(iterator);
}

static void scout_run(struct env_job *job)
{
    stretch_walk(container_of(job, struct lsm, scout.job));
}

static void scout_done(struct env_job *job, enum status status)
{
    struct lsm *lsm = container_of(job, struct lsm, scout.job);
    mutex_lock(&lsm->mutex);
    lsm->scout.running = false;
    lsm->guest_job_count--;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

void scout_pump_locked(struct lsm *lsm)
{
    static const uint8_t zero = 0; /* The least key above `last` is `last` and a zero byte. */
    struct scout *scout = &lsm->scout;
    if (scout->running || scout->count < row_count(lsm)) {
        return;
    }
    bool made = key_set(&scout->job_lower, buffer_slice(&scout->lower)) &&
                key_set(&scout->job_upper, buffer_slice(&scout->last));
    buffer_append(&scout->job_upper, &zero, 1);
    made = made && buffer_status(&scout->job_upper) == STATUS_OK &&
           key_set(&scout->lower, buffer_slice(&scout->job_upper));
    scout->job_upper.failed = false;
    /* The row goes on behind what is walked now, and its gap becomes part of that one's. */
    scout->count = 0;
    scout->row = made;
    if (made) {
        scout->running = true;
        lsm->guest_job_count++;
        lsm->stats.scout_count++;
        env_submit(lsm->env, ENV_LANE_POOL, &scout->job);
    }
}

void scout_init(struct lsm *lsm)
{
    lsm->scout.job.run = scout_run;
    lsm->scout.job.done = scout_done;
}

void scout_deinit(struct lsm *lsm)
{
    buffer_deinit(&lsm->scout.lower);
    buffer_deinit(&lsm->scout.last);
    buffer_deinit(&lsm->scout.job_lower);
    buffer_deinit(&lsm->scout.job_upper);
}
