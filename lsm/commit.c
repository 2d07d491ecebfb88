/*
 * lsm/commit.c -- the way of a write: into the log's buffer, to disk, into the memtable, answered.
 *
 * Invariants:
 *  (1) A synced write enters the memtable after the sync of its group and before it is answered.
 *  (2) applied_position moves only after a whole group is in the memtable, so a memtable frozen in
 *      between names a replay position that leaves nothing out.
 *  (3) After a failed write or sync nothing more is written, and every write not yet answered is
 *      told INDETERMINATE: what reached the disk is unknown.
 */
#include "base/codec.h"
#include "base/contract.h"
#include "base/log.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"
#include "lsm/wal_recovery.h"

enum status commit_merge_locked(struct lsm *lsm, struct slice key, struct slice encoded_cell)
{
    uint64_t dead_ms = 0;
    if (!cell_peek_dead(encoded_cell, 0, &dead_ms)) {
        gaps_cut(&lsm->gaps, key); /* Before it is visible. */
    }
    enum status status = memtable_merge(lsm->sources->active, key, encoded_cell);
    if (status == STATUS_OK && lsm->sources->active->version_max.time != 0 &&
        version_compare(lsm->sources->active->version_max, lsm->stats.version_max) > 0) {
        lsm->stats.version_max = lsm->sources->active->version_max;
    }
    return status;
}

static bool memtable_is_full(const struct lsm *lsm)
{
    const struct memtable *active = lsm->sources->active;
    return atomic_load_explicit(&active->size, memory_order_relaxed) >=
               lsm->options.memtable_size ||
           lsm->wal.position - active->log_start >
               LSM_MEMTABLE_SEGMENT_COUNT * lsm->options.wal_segment_size;
}

/* If there is no memory for a new memtable, the old one grows on; the next write tries again. */
static void freeze_if_full_locked(struct lsm *lsm)
{
    if (memtable_is_full(lsm) && lsm->sources->frozen_count < LSM_FROZEN_COUNT_MAX) {
        enum status status = sources_freeze_locked(lsm);
        if (status != STATUS_OK) {
            log_warn(lsm->env, "lsm.freeze_failed", "status=%s", status_name(status));
        }
    }
}

/* Makes the records of an unsynced write visible. */
static enum status records_merge_locked(struct lsm *lsm, const struct lsm_write *write)
{
    for (uint32_t i = 0; i < write->record_count; i++) {
        const struct lsm_record *record = &write->records[i];
        buffer_clear(&lsm->encode);
        cell_put(&lsm->encode, &record->cell);
        enum status status = buffer_status(&lsm->encode);
        lsm->encode.failed = false;
        if (status == STATUS_OK) {
            status = commit_merge_locked(lsm, record->key, buffer_slice(&lsm->encode));
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status admit_locked(const struct lsm *lsm, uint64_t size)
{
    if (lsm->stopping || lsm->cancelled) {
        return STATUS_CLOSED;
    }
    if (lsm->failed) {
        return STATUS_READ_ONLY;
    }
    if (engine_is_full_locked(lsm)) {
        return STATUS_NO_SPACE;
    }
    uint64_t queued = lsm->wal.queue_size;
    if (queued > 0 && queued + size > lsm->options.wal_buffer_size) {
        return STATUS_OVERLOADED;
    }
    if (lsm->sources->frozen_count >= LSM_FROZEN_COUNT_MAX && memtable_is_full(lsm)) {
        return STATUS_OVERLOADED;
    }
    return STATUS_OK;
}

enum status lsm_write(struct lsm *lsm, struct lsm_write *write)
{
    ASSERT(lsm != NULL);
    ASSERT(write != NULL);
    ASSERT(write->done != NULL);
    uint64_t encoded_size = 0;
    enum status status = wal_batch_size(write->records, write->record_count, &encoded_size);
    if (status != STATUS_OK) {
        return status;
    }
    mutex_lock(&lsm->mutex);
    status = admit_locked(lsm, encoded_size);
    if (status == STATUS_OK) {
        status = wal_append(&lsm->wal, write, write->durability == LSM_NONE ? 0 : encoded_size);
    } else if (status == STATUS_OVERLOADED) {
        lsm->stats.overloaded_count++;
    }
    if (status != STATUS_OK) {
        mutex_unlock(&lsm->mutex);
        return status;
    }
    lsm->stats.write_count++;
    lsm->stats.user_written += encoded_size;
    for (uint32_t i = 0; i < write->record_count; i++) {
        if (version_compare(write->records[i].cell.version, lsm->stats.version_max) > 0) {
            lsm->stats.version_max = write->records[i].cell.version;
        }
    }
    if (write->durability != LSM_SYNCED || LSM_MUTANT(GROUP_VISIBLE_EARLY)) {
        enum status merged = records_merge_locked(lsm, write);
        if (merged != STATUS_OK) { /* Accepted, and partly visible: no way back. */
            engine_fail_locked(lsm, merged, "memtable");
        }
        freeze_if_full_locked(lsm);
    }
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
    return STATUS_OK;
}

struct version lsm_queued_version(struct lsm *lsm, struct slice key)
{
    mutex_lock(&lsm->mutex);
    struct version version = wal_queued_version(&lsm->wal, key);
    mutex_unlock(&lsm->mutex);
    return LSM_MUTANT(QUEUED_NOT_SEEN) ? (struct version){0} : version;
}

/* The next `count` records of a group become visible, or are passed over. */
static enum status records_apply_locked(struct lsm *lsm, struct codec_reader *reader,
                                        const struct lsm_write *write)
{
    bool merged = write->durability == LSM_BUFFERED;
    for (uint32_t i = 0; i < write->record_count; i++) {
        struct slice key;
        struct slice cell;
        wal_record_get(reader, &key, &cell);
        ASSERT(codec_reader_ok(reader)); /* We encoded it. */
        bool passed_over = merged || change_takes_locked(lsm, key, write->position);
        enum status status = passed_over ? STATUS_OK : commit_merge_locked(lsm, key, cell);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/*
 * The records of a group that was just synced become visible. Those of buffered writes among them
 * have been since they were accepted. They must not be merged again: a newer tombstone may have
 * taken them away since, and be forgotten itself.
 */
static enum status group_apply_locked(struct lsm *lsm, const struct wal_group *group)
{
    if (group->sync) {
        struct slice body = slice_make(group->bytes.data + WAL_GROUP_HEADER_SIZE,
                                       group->bytes.size - WAL_GROUP_HEADER_SIZE);
        struct codec_reader reader = codec_reader_make(body);
        list_for_each (node, following, &group->writes) {
            const struct lsm_write *write = container_of(node, struct lsm_write, node);
            if (write->durability == LSM_NONE) {
                continue; /* Not in the log. */
            }
            enum status status = records_apply_locked(lsm, &reader, write);
            if (status != STATUS_OK) {
                return status;
            }
        }
        ASSERT(codec_reader_done(&reader));
    }
    lsm->applied_position = group->end_position;
    return STATUS_OK;
}

static void writes_move(struct list_node *to, struct list_node *from)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(from)) != NULL) {
        list_append(to, node);
    }
}

static void idle_timer_start_locked(struct lsm *lsm)
{
    bool stale = lsm->wal.watermark < lsm->wal.written_position;
    if (stale && !lsm->idle_timer_running && !lsm->stopping && !lsm->failed && !lsm->cancelled &&
        list_empty(&lsm->wal.filling)) {
        lsm->idle_timer_running = true;
        env_timer_start_ms(lsm->env, &lsm->idle_timer, LSM_IDLE_DELAY_MS);
    }
}

static void wal_job_run(struct env_job *job)
{
    struct lsm *lsm = container_of(job, struct lsm, wal_job);
    lsm->wal_status = wal_run(&lsm->wal);
}

static void writes_tell(struct list_node *writes, enum status status)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(writes)) != NULL) {
        struct lsm_write *write = container_of(node, struct lsm_write, node);
        write->done(write, status);
    }
}

static void wal_job_done(struct env_job *job, enum status status)
{
    struct lsm *lsm = container_of(job, struct lsm, wal_job);
    struct list_node answered;
    list_init(&answered);
    mutex_lock(&lsm->mutex);
    struct wal_group *group = wal_take_done(&lsm->wal);
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        status = lsm->wal_status;
    }
    if (status == STATUS_OK) {
        status = group_apply_locked(lsm, group);
    }
    if (status == STATUS_OK || status == STATUS_CANCELLED) {
        writes_move(&answered, &group->writes);
    } else {
        engine_fail_locked(lsm, status, "log");
        writes_move(&lsm->lost_writes, &group->writes);
    }
    if (status == STATUS_OK) {
        lsm->stats.group_count++;
        freeze_if_full_locked(lsm);
    }
    lsm->stats.wal_written = lsm->wal.bytes_written;
    lsm->stats.sync_count = lsm->wal.sync_count;
    wal_group_retire(&lsm->wal, group);
    idle_timer_start_locked(lsm);
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
    writes_tell(&answered, status);
}

static void idle_timer_fired(struct env_timer *timer)
{
    struct lsm *lsm = container_of(timer, struct lsm, idle_timer);
    mutex_lock(&lsm->mutex);
    lsm->idle_timer_running = false;
    if (lsm->wal.in_flight == NULL && list_empty(&lsm->wal.filling) && !lsm->stopping &&
        !lsm->failed && !lsm->cancelled && lsm->wal.watermark < lsm->wal.written_position) {
        if (wal_append_idle(&lsm->wal) == STATUS_OK) { /* Else the next write does it. */
            engine_pump_locked(lsm);
        }
    }
    mutex_unlock(&lsm->mutex);
}

/* Names it in the manifest: records may go into it from then on. */
static enum status segment_name(struct lsm *lsm, const struct wal_segment *segment)
{
    struct manifest_segment named = {
        .id = segment->id, .nonce = segment->nonce, .start_position = WAL_START_UNKNOWN};
    struct buffer edit = {0};
    manifest_put_segment(&edit, &named);
    manifest_put_next_file(&edit, segment->id + 1);
    enum status status = manifest_commit(&lsm->manifest, &edit);
    buffer_deinit(&edit);
    return status;
}

static enum status segment_make(struct lsm *lsm, struct segment_prepare *prepare)
{
    enum status status = STATUS_OK;
    if (prepare->segment == NULL) {
        struct wal_segment_header header = {
            .id = engine_file_id(lsm),
            .nonce = env_random(lsm->env),
        };
        status =
            wal_segment_create(lsm->env, lsm->path, &header, prepare->capacity, &prepare->segment);
    }
    if (status == STATUS_OK && prepare->segment->capacity < prepare->capacity) {
        status = wal_segment_grow(prepare->segment, prepare->capacity);
    }
    if (status == STATUS_OK && !prepare->named) {
        status = segment_name(lsm, prepare->segment);
        prepare->named = status == STATUS_OK;
    }
    return status;
}

static void prepare_run(struct env_job *job)
{
    struct segment_prepare *prepare = container_of(job, struct segment_prepare, job);
    prepare->status = segment_make(container_of(prepare, struct lsm, prepare), prepare);
}

static void prepare_done(struct env_job *job, enum status status)
{
    struct segment_prepare *prepare = container_of(job, struct segment_prepare, job);
    struct lsm *lsm = container_of(prepare, struct lsm, prepare);
    mutex_lock(&lsm->mutex);
    prepare->running = false;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        status = prepare->status;
    }
    if (status == STATUS_OK) {
        ASSERT(lsm->wal.ready == NULL);
        lsm->wal.ready = prepare->segment;
        prepare->segment = NULL;
        prepare->named = false;
        engine_job_worked_locked(lsm, ENGINE_SEGMENT);
    } else {
        engine_job_failed_locked(lsm, ENGINE_SEGMENT, status); /* Goes on where it failed. */
    }
    engine_pump_locked(lsm);
    mutex_unlock(&lsm->mutex);
}

static void prepare_start_locked(struct lsm *lsm, uint64_t capacity)
{
    struct segment_prepare *prepare = &lsm->prepare;
    if (prepare->running || !engine_may_start_locked(lsm, ENGINE_SEGMENT)) {
        return; /* If the result is too small, it is grown next. */
    }
    if (prepare->segment == NULL && lsm->wal.ready != NULL) {
        prepare->segment = lsm->wal.ready;
        prepare->named = true;
        lsm->wal.ready = NULL;
    }
    prepare->running = true;
    prepare->capacity = capacity;
    env_submit(lsm->env, ENV_LANE_POOL, &prepare->job);
}

void commit_pump_locked(struct lsm *lsm)
{
    struct wal *wal = &lsm->wal;
    if (wal->in_flight != NULL) {
        return;
    }
    if (lsm->failed) {
        wal_take_writes(wal, &lsm->lost_writes);
        return;
    }
    const struct wal_segment *current = wal->current;
    if (wal->ready == NULL && !lsm->stopping && current->end_offset > current->capacity / 2) {
        prepare_start_locked(lsm, wal->segment_size);
    }
    uint64_t capacity = 0;
    switch (wal_next(wal, &capacity)) {
    case WAL_RUN:
        env_submit(lsm->env, ENV_LANE_WAL, &lsm->wal_job);
        break;
    case WAL_SEGMENT_NEEDED:
        prepare_start_locked(lsm, capacity);
        break;
    case WAL_NOTHING:
        break;
    }
}

void commit_init(struct lsm *lsm)
{
    lsm->wal_job.run = wal_job_run;
    lsm->wal_job.done = wal_job_done;
    lsm->prepare.job.run = prepare_run;
    lsm->prepare.job.done = prepare_done;
    lsm->idle_timer.fired = idle_timer_fired;
}
