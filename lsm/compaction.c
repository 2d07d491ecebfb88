/*
 * lsm/compaction.c -- merge the runs of a tier into the next, or all tiers into the bottom, one
 * bounded slice a job.
 *
 * Why slices: one long merge would show up as a latency cliff, so each job merges about
 * `slice_size` and remembers where it stopped. A merge into the bottom also commits piece by piece
 * -- a step takes one stretch of keys, with the bottom tables in it -- so that it needs little
 * extra space, and a crash loses one step at most.
 * Invariants:
 *  (1) Of the cells of one key among the inputs, the greatest is kept, no other.
 *  (2) A tombstone or expired cell goes only if the purge rule allows it: see lsm/purge.h.
 *  (3) Bottom tables are disjoint in keys: a step takes every bottom table its stretch touches.
 *  (4) Inputs stay readable until the manifest edit naming the outputs is synced.
 *  (5) What a step took is cut off its inputs in the same edit.
 *
 * Source: O'Neil et al., "The Log-Structured Merge-Tree", Acta Informatica 33 (1996).
 * Changed: tiers of runs over one bottom; versions order cells, arrival does not.
 */
#include "lsm/compaction.h"

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"

#define IDLE_DELAY_MS 150u

/* A step takes further bottom tables while those it has are smaller than this share of one. */
#define STEP_BOTTOM_SHARE 2u

/* One step: set up. */

static void inputs_add(struct compaction *compaction, const struct run *run)
{
    ASSERT(compaction->input_count < ARRAY_COUNT(compaction->inputs));
    uint32_t index = compaction->input_count++;
    compaction->inputs[index] = run;
    run_cursor_open(&compaction->cursors[index], run, &compaction->lost);
    compaction->cursor_pointers[index] = &compaction->cursors[index].base;
}

bool compaction_takes_down(const struct compaction *compaction, uint64_t run_id)
{
    for (uint32_t i = 0; i < compaction->merging_count; i++) {
        if (compaction->merging[i] == run_id) {
            return true;
        }
    }
    return false;
}

/* Sets *key to the least bound of the merging runs; false if none of them is left. */
static bool merging_first_bound(const struct compaction *compaction, const struct table_set *set,
                                struct slice *key)
{
    bool any = false;
    for (uint32_t i = 0; i < set->run_count; i++) {
        if (compaction_takes_down(compaction, set->runs[i].id)) {
            struct slice first = run_place_first(&set->runs[i], 0);
            if (!any || slice_compare(first, *key) < 0) {
                *key = first;
            }
            any = true;
        }
    }
    return any;
}

static enum status upper_set_after(struct compaction *compaction, struct slice key)
{
    static const uint8_t zero = 0; /* The least key above `key` is `key` and a zero byte. */
    buffer_clear(&compaction->upper);
    buffer_append_slice(&compaction->upper, key);
    buffer_append(&compaction->upper, &zero, 1);
    return buffer_status(&compaction->upper);
}

/* Tables of a large bottom are large, so that there are not ever more of them. */
static uint64_t bottom_table_size(const struct lsm *lsm, const struct run *bottom)
{
    uint64_t least = lsm->options.table_size_max;
    uint64_t size = bottom == NULL ? 0 : bottom->size / COMPACTION_BOTTOM_TABLE_COUNT;
    size = size < COMPACTION_TABLE_SIZE_MAX ? size : COMPACTION_TABLE_SIZE_MAX;
    return size > least ? size : least;
}

/* The bottom tables of the step that begins at `first`, and where it ends. */
static enum status bottom_choose(struct compaction *compaction, const struct run *bottom,
                                 struct slice first)
{
    compaction->bottom_run = (struct run){.id = 0, .tier = TABLE_SET_BOTTOM};
    if (bottom == NULL) {
        return STATUS_OK;
    }
    uint32_t index = run_lower_bound(bottom, first);
    if (index == bottom->table_count) {
        return STATUS_OK; /* All that is left lies behind the bottom. */
    }
    struct run *chosen = &compaction->bottom_run;
    chosen->id = bottom->id;
    chosen->tables = &bottom->tables[index];
    chosen->clips = &bottom->clips[index];
    do {
        chosen->size += bottom->tables[index]->properties.file_size;
        chosen->table_count++;
        index++;
    } while (index < bottom->table_count &&
             chosen->size < compaction->output.table_size_max / STEP_BOTTOM_SHARE);
    const struct clip *clip = &chosen->clips[chosen->table_count - 1];
    struct slice key_max = chosen->tables[chosen->table_count - 1]->properties.key_max;
    if (clip->upper.size > 0 && slice_compare(clip->upper, key_max) <= 0) {
        /* Behind it another place may begin, be it of the same file. */
        buffer_clear(&compaction->upper);
        buffer_append_slice(&compaction->upper, clip->upper);
        return buffer_status(&compaction->upper);
    }
    return upper_set_after(compaction, key_max);
}

/* Pins the sources and sets up one step of the merge into the bottom. */
static enum status bottom_step_begin_locked(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    const struct table_set *set = compaction->set;
    const struct run *bottom = compaction_bottom(set);
    struct slice first = {0};
    bool any = merging_first_bound(compaction, set, &first);
    ASSERT(any);
    compaction->output = (struct table_output){
        .run_id = bottom == NULL ? lsm->next_file_id++ : bottom->id,
        .tier = TABLE_SET_BOTTOM,
        .table_size_max = bottom_table_size(lsm, bottom),
    };
    enum status status = bottom_choose(compaction, bottom, first);
    for (uint32_t i = 0; i < set->run_count; i++) {
        if (compaction_takes_down(compaction, set->runs[i].id)) {
            inputs_add(compaction, &set->runs[i]);
        }
    }
    if (compaction->bottom_run.table_count > 0) {
        inputs_add(compaction, &compaction->bottom_run);
    }
    return status;
}

static void tier_step_begin_locked(struct lsm *lsm, uint32_t tier)
{
    struct compaction *compaction = &lsm->compaction;
    const struct table_set *set = compaction->set;
    compaction->output = (struct table_output){
        .run_id = lsm->next_file_id++,
        .tier = tier + 1,
        .table_size_max = lsm->options.table_size_max,
    };
    for (uint32_t i = 0; i < set->run_count; i++) {
        if (set->runs[i].tier == tier && !compaction_takes_down(compaction, set->runs[i].id)) {
            inputs_add(compaction, &set->runs[i]);
        }
    }
}

/* One step: run. */

static enum status merge_move(struct compaction *compaction)
{
    struct cursor *cursor = &compaction->merge.base;
    if (compaction->started) {
        return cursor_next(cursor, LSM_MAY_BLOCK);
    }
    enum status status =
        merge_open(&compaction->merge, compaction->cursor_pointers, compaction->input_count);
    if (status != STATUS_OK) {
        return status;
    }
    compaction->merge_open = true;
    compaction->started = true;
    return cursor_seek(cursor, slice_make(NULL, 0), LSM_MAY_BLOCK);
}

static bool is_beyond(const struct compaction *compaction, struct slice key)
{
    return compaction->upper.size > 0 && slice_compare(key, buffer_slice(&compaction->upper)) >= 0;
}

/* Whether the caller wants to have the cell forgotten. */
static bool is_kept(const struct lsm *lsm, const struct cursor *cursor)
{
    struct cell cell;
    if (lsm->options.keep == NULL || cell_decode(cursor->cell, &cell) != STATUS_OK) {
        return true; /* What does not decode is reported by the writer. */
    }
    if (LSM_MUTANT(KEEP_BY_KEY_ALONE)) {
        cell.version = (struct version){0};
    }
    return lsm->options.keep(lsm->options.context, cursor->key, &cell);
}

/* What was hidden by a cell that is not kept may show again. */
static void unkept_note(struct compaction *compaction, struct slice key)
{
    if (!compaction->unkept) {
        buffer_append_slice(&compaction->unkept_first, key);
    }
    compaction->unkept = true;
    buffer_clear(&compaction->unkept_last);
    buffer_append_slice(&compaction->unkept_last, key);
}

/* Takes about one slice; STATUS_NOT_FOUND: the step's stretch is at its end. */
static enum status slice_merge(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    const struct cursor *cursor = &compaction->merge.base;
    uint64_t taken = 0;
    while (taken < lsm->options.slice_size) {
        enum status status = merge_move(compaction);
        if (status != STATUS_OK) {
            return status;
        }
        if (is_beyond(compaction, cursor->key)) {
            return STATUS_NOT_FOUND;
        }
        taken += cursor->key.size + cursor->cell.size;
        bool kept = is_kept(lsm, cursor);
        if (!kept) {
            unkept_note(compaction, cursor->key);
        }
        if (!kept || purge_allows(lsm, cursor->key, cursor->cell)) {
            compaction->purged_count++;
            continue;
        }
        bool cut = false;
        status = table_output_add(lsm, &compaction->output, cursor->key, cursor->cell, &cut);
        if (status != STATUS_OK) {
            return status;
        }
        if (cut && compaction->bottom && compaction->bottom_run.table_count == 0) {
            /* Behind the bottom a step ends with its first table. */
            status = upper_set_after(compaction, cursor->key);
            return status == STATUS_OK ? STATUS_NOT_FOUND : status;
        }
    }
    return STATUS_OK;
}

/* The part of one place that the step took, if any. */
static void place_take(struct compaction *compaction, const struct run *run, uint32_t index)
{
    const struct table *table = run->tables[index];
    struct clip stretch = run->clips[index];
    struct slice upper = buffer_slice(&compaction->upper);
    if (is_beyond(compaction, run_place_first(run, index))) {
        return;
    }
    if (upper.size > 0 && !clip_ends_before(&stretch, table->properties.key_max, upper)) {
        ASSERT(run != &compaction->bottom_run);
        stretch.upper = upper;
    } else {
        compaction->read_size += table->properties.file_size;
    }
    compaction->cuts[compaction->cut_count++] =
        (struct table_cut){.file_id = table->file_id, .stretch = stretch};
}

static enum status inputs_settle(struct compaction *compaction)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        count += compaction->inputs[i]->table_count;
    }
    compaction->cuts = memory_allocate(count * sizeof(*compaction->cuts));
    if (compaction->cuts == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        const struct run *run = compaction->inputs[i];
        for (uint32_t j = 0; j < run->table_count; j++) {
            place_take(compaction, run, j);
        }
    }
    return STATUS_OK;
}

static struct table_change compaction_change(const struct compaction *compaction)
{
    return (struct table_change){
        .cuts = compaction->cuts,
        .cut_count = compaction->cut_count,
        .added = compaction->output.places,
        .added_count = compaction->output.place_count,
        .lost = &compaction->lost.list,
    };
}

static enum status step_finish(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    enum status status = table_output_finish(lsm, &compaction->output);
    return status == STATUS_OK ? inputs_settle(compaction) : status;
}

/* What went meanwhile does not come back with the output. */
static enum status taken_cut(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < compaction->taken_count; i++) {
        status = table_output_cut(lsm, &compaction->output, &compaction->taken[i]);
        quarantine_list_cut(&compaction->lost.list, &compaction->taken[i]);
    }
    return compaction->lost.list.failed ? STATUS_NO_MEMORY : status;
}

static enum status step_commit(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    enum status status = taken_cut(lsm);
    if (status != STATUS_OK) {
        return status;
    }
    struct table_change change = compaction_change(compaction);
    struct buffer edit = {0};
    mutex_lock(&lsm->mutex);
    table_change_put(&edit, &change, lsm->sources->tables);
    manifest_put_next_file(&edit, lsm->next_file_id);
    mutex_unlock(&lsm->mutex);
    status = manifest_commit(&lsm->manifest, &edit);
    buffer_deinit(&edit);
    return status;
}

/* False: a change of the set is not through; the pump goes on here. */
static bool exclusive_begin(struct lsm *lsm)
{
    mutex_lock(&lsm->mutex);
    lsm->compaction.exclusive = changes_begin_locked(lsm);
    mutex_unlock(&lsm->mutex);
    return lsm->compaction.exclusive;
}

static void exclusive_end_locked(struct lsm *lsm)
{
    if (lsm->compaction.exclusive) {
        changes_end_locked(lsm);
        lsm->compaction.exclusive = false;
    }
}

static void compaction_run(struct env_job *job)
{
    struct compaction *compaction = container_of(job, struct compaction, job);
    struct lsm *lsm = container_of(compaction, struct lsm, compaction);
    enum status status = STATUS_OK;
    if (compaction->phase == COMPACTION_GIVING_UP) {
        table_output_discard(lsm, &compaction->output);
    }
    if (compaction->phase == COMPACTION_WRITING && compaction->sweeps && !compaction->started &&
        !purge_may_help(lsm, &compaction->bottom_run.tables[0]->properties)) {
        compaction->phase = COMPACTION_GIVING_UP; /* Another time. */
    }
    if (compaction->phase == COMPACTION_WRITING) {
        status = slice_merge(lsm);
        if (status == STATUS_NOT_FOUND) {
            status = step_finish(lsm);
            compaction->phase = status == STATUS_OK ? COMPACTION_COMMITTING : COMPACTION_WRITING;
        }
    }
    if (compaction->phase == COMPACTION_COMMITTING && exclusive_begin(lsm)) {
        status = step_commit(lsm);
        compaction->phase = status == STATUS_OK ? COMPACTION_INSTALLING : COMPACTION_COMMITTING;
    }
    compaction->status = status;
}

static void bound_free(struct slice bound)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): the way past const, which a slice has. */
    memory_free((void *)(uintptr_t)bound.data);
}

static enum status bound_copy(struct slice from, struct slice *to)
{
    uint8_t *copy = memory_allocate(from.size + 1);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (from.size > 0) {
        memcpy(copy, from.data, from.size);
    }
    *to = slice_make(copy, from.size);
    return STATUS_OK;
}

/* Whether there is a step. Its phase is its job's while that runs; its tables are pinned and let go
 * under the lock. */
static bool is_under_way_locked(const struct compaction *compaction)
{
    return compaction->set != NULL;
}

enum status compaction_note_taken_locked(struct lsm *lsm, const struct clip *stretch)
{
    struct compaction *compaction = &lsm->compaction;
    if (!is_under_way_locked(compaction)) {
        return STATUS_OK;
    }
    ASSERT(!compaction->exclusive);
    struct clip *taken =
        memory_resize(compaction->taken, (compaction->taken_count + 1) * sizeof(struct clip));
    if (taken == NULL) {
        return STATUS_NO_MEMORY;
    }
    compaction->taken = taken;
    struct clip copy = {0};
    enum status status = bound_copy(stretch->lower, &copy.lower);
    if (status == STATUS_OK) {
        status = bound_copy(stretch->upper, &copy.upper);
    }
    if (status != STATUS_OK) {
        bound_free(copy.lower);
        return status;
    }
    taken[compaction->taken_count++] = copy;
    return STATUS_OK;
}

/* Frees what one step holds; no file is closed if it ended well. */
static void step_free(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    if (compaction->merge_open) {
        merge_close(&compaction->merge);
    }
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        run_cursor_close(&compaction->cursors[i]);
    }
    table_output_reset(&compaction->output);
    memory_free(compaction->cuts);
    buffer_deinit(&compaction->upper);
    buffer_deinit(&compaction->unkept_first);
    buffer_deinit(&compaction->unkept_last);
    compaction->unkept = false;
    if (compaction->set != NULL) {
        sources_set_unpin(lsm, compaction->set);
    }
    compaction->set = NULL;
    compaction->bottom_run = (struct run){0};
    compaction->input_count = 0;
    compaction->merge_open = false;
    compaction->started = false;
    compaction->sweeps = false;
    compaction->phase = COMPACTION_IDLE;
    for (uint32_t i = 0; i < compaction->taken_count; i++) {
        bound_free(compaction->taken[i].lower);
        bound_free(compaction->taken[i].upper);
    }
    quarantine_list_deinit(&compaction->lost.list);
    memory_free(compaction->taken);
    compaction->taken = NULL;
    compaction->taken_count = 0;
    compaction->cuts = NULL;
    compaction->cut_count = 0;
    compaction->read_size = 0;
    compaction->purged_count = 0;
}

/* Every table there is now may be swept, once. */
static void sweep_begin_locked(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    compaction->sweep_next = 0;
    compaction->sweep_end = lsm->next_file_id;
    compaction->sweep_total = lsm->flushed_total;
}

/* Forgets runs that went down whole; the merge is over when none is left. */
static void merging_prune_locked(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    const struct table_set *set = lsm->sources->tables;
    if (compaction->merging_count == 0) {
        return;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < compaction->merging_count; i++) {
        for (uint32_t j = 0; j < set->run_count; j++) {
            if (set->runs[j].id == compaction->merging[i]) {
                compaction->merging[kept++] = compaction->merging[i];
                break;
            }
        }
    }
    compaction->merging_count = kept;
    if (kept == 0) {
        lsm->compacted_total = compaction->merging_goal;
        sweep_begin_locked(lsm);
    }
}

/* Without memory for a bound, all of them go. */
static void gaps_cut_for_step_locked(struct lsm *lsm)
{
    const struct compaction *compaction = &lsm->compaction;
    const struct buffer *first = &compaction->unkept_first;
    const struct buffer *last = &compaction->unkept_last;
    if (compaction->unkept) {
        if (buffer_status(first) == STATUS_OK && buffer_status(last) == STATUS_OK) {
            gaps_cut_span(&lsm->gaps, buffer_slice(first), buffer_slice(last));
        } else {
            gaps_cut_range(&lsm->gaps, slice_make(NULL, 0), slice_make(NULL, 0));
        }
    }
    quarantine_cut_gaps_locked(lsm, &compaction->lost.list);
}

static enum status step_install_locked(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    struct table_change change = compaction_change(compaction);
    gaps_cut_for_step_locked(lsm);
    enum status status = sources_change_locked(lsm, &change, false);
    if (status == STATUS_OK) {
        lsm->stats.compaction_read += compaction->read_size;
        quarantine_told_locked(lsm, &compaction->lost.list);
        lsm->stats.compaction_written += compaction->output.size;
        lsm->stats.purged_count += compaction->purged_count;
    }
    return status;
}

static void compaction_submit_locked(struct lsm *lsm)
{
    lsm->compaction.running = true;
    env_submit(lsm->env, ENV_LANE_POOL, &lsm->compaction.job);
}

void compaction_rest_locked(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    bool quiet = compaction->quiet && lsm->stats.write_count == compaction->idle_count;
    if (!quiet || lsm->stopping || lsm->cancelled || is_under_way_locked(compaction) ||
        lsm->sources->frozen_count > 0) {
        return;
    }
    if (compaction->sweep_total != lsm->flushed_total) {
        sweep_begin_locked(lsm);
        compaction->quiet_number = 0;
    }
    if (compaction->idle) {
        return; /* The pump sees to it. */
    }
    compaction->idle = true;
    bool due = compaction_pick_locked(lsm, lsm->sources->tables).kind != COMPACTION_NOTHING ||
               compaction_memory_takes_much_locked(lsm, lsm->sources->tables);
    compaction->idle = false;
    if (due) { /* Else time would bring nothing. */
        env_timer_start_ms(lsm->env, &compaction->idle_timer, IDLE_DELAY_MS);
    }
}

static void compaction_done(struct env_job *job, enum status status)
{
    struct compaction *compaction = container_of(job, struct compaction, job);
    struct lsm *lsm = container_of(compaction, struct lsm, compaction);
    mutex_lock(&lsm->mutex);
    compaction->running = false;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        status = compaction->status;
    }
    if (status == STATUS_OK && compaction->phase == COMPACTION_INSTALLING) {
        status = step_install_locked(lsm);
        if (status == STATUS_OK) {
            engine_job_worked_locked(lsm, ENGINE_MERGE);
            exclusive_end_locked(lsm);
            step_free(lsm);
            merging_prune_locked(lsm);
        }
    } else if (status == STATUS_OK && compaction->phase == COMPACTION_GIVING_UP) {
        step_free(lsm); /* The pump chooses a step anew, after a rest. */
    }
    if (status != STATUS_OK) {
        engine_job_failed_locked(lsm, ENGINE_MERGE, status);
        if (compaction->phase == COMPACTION_COMMITTING) {
            exclusive_end_locked(lsm);
        }
        if (compaction->phase == COMPACTION_WRITING && status != STATUS_CANCELLED) {
            compaction->phase = COMPACTION_GIVING_UP;
            compaction_submit_locked(lsm); /* At once: somebody may need the space. */
        }
    }
    compaction_rest_locked(lsm);
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

/* What to do next. */

static void merging_begin_locked(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    const struct table_set *set = lsm->sources->tables;
    compaction->merging_count = 0;
    compaction->merging_goal = lsm->flushed_total;
    for (uint32_t i = 0; i < set->run_count; i++) {
        if (set->runs[i].tier != TABLE_SET_BOTTOM) {
            compaction->merging[compaction->merging_count++] = set->runs[i].id;
        }
    }
}

/* Whether somebody waits for all to be in the bottom, and all is flushed. */
static bool is_asked_locked(const struct lsm *lsm)
{
    list_for_each (node, following, &lsm->compact_requests) {
        const struct lsm_request *request = container_of(node, struct lsm_request, node);
        if (request->goal <= lsm->flushed_total && request->goal > lsm->compacted_total) {
            return true;
        }
    }
    return false;
}

static const struct run *run_of(const struct table_set *set, uint64_t run_id)
{
    const struct run *run = set->runs;
    while (run->id != run_id) {
        run++;
        ASSERT(run < set->runs + set->run_count);
    }
    return run;
}

/* One table, into the place that it had. */
static void sweep_step_begin_locked(struct lsm *lsm, const struct compaction_pick *pick)
{
    struct compaction *compaction = &lsm->compaction;
    const struct run *run = run_of(compaction->set, pick->run_id);
    uint32_t count = 1; /* Further places of the file follow the first. */
    while (pick->place + count < run->table_count &&
           run->tables[pick->place + count] == run->tables[pick->place]) {
        count++;
    }
    compaction->output = (struct table_output){
        .run_id = run->id,
        .tier = run->tier,
        .table_size_max = bottom_table_size(lsm, run),
    };
    compaction->bottom_run = (struct run){
        .id = run->id,
        .tier = run->tier,
        .tables = &run->tables[pick->place],
        .clips = &run->clips[pick->place],
        .table_count = count,
    };
    compaction->sweeps = true;
    compaction->sweep_next = run->tables[pick->place]->file_id + 1;
    inputs_add(compaction, &compaction->bottom_run);
}

/* Its tables become the bottom's by an edit alone: nothing is written, and nothing forgotten. */
static enum status move_step_begin_locked(struct lsm *lsm, uint64_t run_id)
{
    struct compaction *compaction = &lsm->compaction;
    const struct run *bottom = compaction_bottom(compaction->set);
    const struct run *run = run_of(compaction->set, run_id);
    compaction->cuts = memory_allocate(run->table_count * sizeof(*compaction->cuts));
    if (compaction->cuts == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct table_place place = {
        .run_id = bottom == NULL ? lsm->next_file_id++ : bottom->id,
        .tier = TABLE_SET_BOTTOM,
    };
    for (uint32_t i = 0; i < run->table_count; i++) {
        compaction->cuts[compaction->cut_count++] =
            (struct table_cut){.file_id = run->tables[i]->file_id, .stretch = run->clips[i]};
        place.table = run->tables[i];
        place.clip = run->clips[i];
        enum status status = table_output_adopt(&compaction->output, &place);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static void step_start_locked(struct lsm *lsm, const struct compaction_pick *pick)
{
    struct compaction *compaction = &lsm->compaction;
    enum status status = STATUS_OK;
    compaction->set = sources_set_pin_locked(lsm);
    compaction->bottom = pick->kind == COMPACTION_DOWN;
    compaction->moves = pick->kind == COMPACTION_MOVE;
    compaction->phase = COMPACTION_WRITING;
    if (pick->kind == COMPACTION_DOWN) {
        status = bottom_step_begin_locked(lsm);
    } else if (pick->kind == COMPACTION_TIER) {
        tier_step_begin_locked(lsm, pick->tier);
    } else if (pick->kind == COMPACTION_SWEEP) {
        sweep_step_begin_locked(lsm, pick);
    } else {
        ASSERT(pick->kind == COMPACTION_MOVE);
        status = move_step_begin_locked(lsm, pick->run_id);
        compaction->phase = COMPACTION_COMMITTING;
    }
    if (status != STATUS_OK) {
        step_free(lsm);
        engine_job_failed_locked(lsm, ENGINE_MERGE, status);
        return;
    }
    compaction_submit_locked(lsm);
}

/* All is in the bottom, or on its way: those who asked for it need no new merge. */
static void asked_begin_locked(struct lsm *lsm)
{
    if (lsm->compaction.merging_count == 0) {
        merging_begin_locked(lsm);
    }
    if (lsm->compaction.merging_count == 0) {
        lsm->compacted_total = lsm->flushed_total; /* There is nothing above the bottom. */
    }
}

void compaction_pump_locked(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    const struct table_set *set = lsm->sources->tables;
    if (compaction->running || !engine_may_start_locked(lsm, ENGINE_MERGE)) {
        return;
    }
    bool excluded = lsm->changes.exclusive && !compaction->exclusive;
    if (excluded &&
        (compaction->phase == COMPACTION_IDLE || compaction->phase == COMPACTION_COMMITTING)) {
        return; /* Neither a plan nor an edit is made of a set that changes. */
    }
    if (compaction->phase != COMPACTION_IDLE) {
        compaction_submit_locked(lsm); /* The next slice, or what failed once more. */
        return;
    }
    merging_prune_locked(lsm);
    compaction->idle = compaction->idle && lsm->stats.write_count == compaction->idle_count;
    if (is_asked_locked(lsm)) {
        asked_begin_locked(lsm);
    } else if (set->number == compaction->quiet_number) {
        return;
    }
    struct compaction_pick pick = compaction_pick_locked(lsm, set);
    if (pick.kind == COMPACTION_NOTHING) {
        compaction->quiet_number = set->number;
        return;
    }
    if (pick.kind == COMPACTION_DOWN && compaction->merging_count == 0) {
        merging_begin_locked(lsm);
    }
    step_start_locked(lsm, &pick);
}

void compaction_note_quiet_locked(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    compaction->quiet = true;
    compaction->idle_count = lsm->stats.write_count;
    compaction_rest_locked(lsm);
}

/* Before all goes into a bottom that is a good part of it: what is in memory goes along. It costs
 * little beside such a merge, and neither its log nor the room for its flush is kept at rest. What
 * is over little covers little, and waits. Deletes in memory that would take away much of what lies
 * in tables begin such a merge by themselves. */
static bool idle_flush_begin_locked(struct lsm *lsm)
{
    struct compaction *compaction = &lsm->compaction;
    const struct table_set *set = lsm->sources->tables;
    uint64_t frozen_total = lsm->frozen_total;
    compaction->idle = true;
    bool due = compaction_pick_locked(lsm, set).kind == COMPACTION_DOWN;
    compaction->idle = false;
    due = (due && compaction_is_over_much(set)) || compaction_memory_takes_much_locked(lsm, set);
    due = due && !lsm->failed && !lsm->space.full;
    if (due && sources_freeze_locked(lsm) != STATUS_OK) {
        log_warn(lsm->env, "lsm.freeze_failed", "at=rest");
    }
    return lsm->frozen_total != frozen_total;
}

static void idle_timer_fired(struct env_timer *timer)
{
    struct compaction *compaction = container_of(timer, struct compaction, idle_timer);
    struct lsm *lsm = container_of(compaction, struct lsm, compaction);
    mutex_lock(&lsm->mutex);
    bool quiet = lsm->stats.write_count == compaction->idle_count && !lsm->stopping;
    if (quiet && idle_flush_begin_locked(lsm)) {
        engine_pump_locked(lsm); /* Its end starts the timer again. */
    } else if (quiet) {
        compaction->idle = true;
        compaction->quiet_number = 0;
        engine_pump_locked(lsm);
    }
    mutex_unlock(&lsm->mutex);
}

void compaction_stop_locked(struct lsm *lsm)
{
    lsm->env->ops->timer_stop(lsm->env, &lsm->compaction.idle_timer);
}

void compaction_abandon(struct lsm *lsm)
{
    step_free(lsm);
}

void compaction_init(struct lsm *lsm)
{
    lsm->compaction.job.run = compaction_run;
    lsm->compaction.job.done = compaction_done;
    lsm->compaction.idle_timer.fired = idle_timer_fired;
}
