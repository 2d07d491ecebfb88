/*
 * lsm/commit.c -- the way of a write: into the log's buffer, to disk, into the memtable, answered.
 *
 * Invariants:
 *  (1) A synced write enters the memtable after the sync of its group and before it is answered.
 *  (2) applied_position moves only after a whole group is in the memtable, so a memtable frozen in
 *      between names a replay position that leaves nothing out.
 *  (3) After a failed write or sync nothing more is written, and every write not yet answered is
 *      told INDETERMINATE: what reached the disk is unknown.
 *  (4) Groups are applied in the order in which they were written: the WAL lane is first in, first
 *      out, and so are its completions.
 *
 * When groups begin: the first write of an idle log starts a job at once, and the job takes all
 * that has come when it runs. When a group is done, its callers are told first, and the next group
 * begins with the next turn of the loop, so that what they write in answer is in it: otherwise two
 * halves of the callers would take turns, each waiting for the other's sync. But if far more
 * waits already than is under way, a second job is queued behind the first, and the lane goes on
 * without the loop.
 */
#include "base/codec.h"
#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"

/* The lane goes on by itself with a group this much larger than the one it writes. */
#define CROWD_FACTOR 2u
/* So many keys of a batch are looked for in the memtable before they are merged. */
#define LOCATE_AHEAD 8u

enum status commit_merge_at_locked(struct lsm *lsm, const struct memtable_place *place,
                                   struct slice key, struct slice encoded_cell)
{
    uint64_t dead_ms = 0;
    if (!cell_peek_dead(encoded_cell, 0, &dead_ms) && !LSM_MUTANT(GAP_IGNORES_WRITES)) {
        gaps_cut(&lsm->gaps, key); /* Before it is visible. */
    } else if (dead_ms == 0) {
        scout_note_locked(lsm, key);
    }
    enum status status = memtable_merge_at(lsm->sources->active, place, key, encoded_cell);
    if (status == STATUS_OK && lsm->sources->active->version_max.time != 0 &&
        version_compare(lsm->sources->active->version_max, lsm->stats.version_max) > 0) {
        lsm->stats.version_max = lsm->sources->active->version_max;
    }
    return status;
}

enum status commit_merge_locked(struct lsm *lsm, struct slice key, struct slice encoded_cell)
{
    struct memtable_place nowhere = {.leaf = NULL};
    return commit_merge_at_locked(lsm, &nowhere, key, encoded_cell);
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
    if (memtable_is_full(lsm) && lsm->sources->frozen_count < lsm->frozen_count_max) {
        enum status status = sources_freeze_locked(lsm);
        if (status != STATUS_OK) {
            log_warn(lsm->env, "lsm.freeze_failed", "status=%s", status_name(status));
        } else {
            engine_pump_locked(lsm); /* There is something to flush. */
        }
    }
}

/* Makes the records of a write that is not logged visible. */
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

/* Keys of a write, looked for ahead: the memory that merges touch arrives while others are done. */
struct places {
    struct memtable_place ring[LOCATE_AHEAD]; /* Of record i: at i % LOCATE_AHEAD. */
};

static void places_locate(const struct lsm *lsm, struct places *places,
                          const struct lsm_write *write, uint32_t index)
{
    if (index < write->record_count) {
        memtable_locate(lsm->sources->active, write->records[index].key,
                        &places->ring[index % LOCATE_AHEAD]);
    }
}

static void places_begin(const struct lsm *lsm, struct places *places,
                         const struct lsm_write *write)
{
    for (uint32_t i = 0; i < LOCATE_AHEAD; i++) {
        places_locate(lsm, places, write, i);
    }
}

/* The same for a buffered one: from its bytes in the log, just encoded. */
static enum status logged_merge_locked(struct lsm *lsm, const struct lsm_write *write,
                                       struct places *places)
{
    struct codec_reader reader = codec_reader_make(wal_last_bytes(&lsm->wal, write->size));
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < write->record_count; i++) {
        struct slice key;
        struct slice cell;
        wal_record_get(&reader, &key, &cell);
        ASSERT(codec_reader_ok(&reader)); /* We encoded it. */
        status = commit_merge_at_locked(lsm, &places->ring[i % LOCATE_AHEAD], key, cell);
        places_locate(lsm, places, write, i + LOCATE_AHEAD);
    }
    return status;
}

/*
 * What is visible at once cannot be taken back, so all the memory that takes is found before it is
 * logged.
 */
static bool memory_reserve_locked(struct lsm *lsm, const struct lsm_write *write, uint64_t size)
{
    if (!memtable_reserve(lsm->sources->active, write->record_count, size)) {
        return false;
    }
    size_t cell_size = 0; /* `encode` holds one at a time. */
    for (uint32_t i = 0; write->durability == LSM_NONE && i < write->record_count; i++) {
        size_t encoded = cell_encoded_size(&write->records[i].cell);
        cell_size = encoded > cell_size ? encoded : cell_size;
    }
    buffer_clear(&lsm->encode);
    return cell_size == 0 || buffer_reserve(&lsm->encode, cell_size) != NULL;
}

static enum status admit_locked(struct lsm *lsm, const struct lsm_write *write, uint64_t size)
{
    enum status status = engine_admit_locked(lsm);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t queued = lsm->wal.queue_size;
    if (queued > 0 && queued + size > lsm->options.wal_buffer_size) {
        return STATUS_OVERLOADED;
    }
    if (lsm->sources->frozen_count >= lsm->frozen_count_max && memtable_is_full(lsm)) {
        return STATUS_OVERLOADED;
    }
    return space_admit_locked(lsm, write, size);
}

static struct env_job *commit_due_locked(struct lsm *lsm);

/* `job` may be NULL. Best without the lock: the lane wakes at once, and looks for it. */
static void commit_submit(struct lsm *lsm, struct env_job *job)
{
    if (job != NULL) {
        env_submit(lsm->env, ENV_LANE_WAL, job);
    }
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
    struct places places;
    mutex_lock(&lsm->mutex);
    status = admit_locked(lsm, write, encoded_size);
    bool at_once = write->durability != LSM_SYNCED || LSM_MUTANT(GROUP_VISIBLE_EARLY);
    if (status == STATUS_OK && at_once && !memory_reserve_locked(lsm, write, encoded_size)) {
        status = STATUS_NO_MEMORY;
    }
    if (status == STATUS_OK) {
        if (write->durability != LSM_NONE && at_once) {
            places_begin(lsm, &places, write);
        }
        status = wal_append(&lsm->wal, write, write->durability == LSM_NONE ? 0 : encoded_size);
    } else if (status == STATUS_OVERLOADED) {
        lsm->stats.overloaded_count++;
    }
    if (status != STATUS_OK) {
        mutex_unlock(&lsm->mutex);
        return status;
    }
    write->paced_size = encoded_size + (uint64_t)write->record_count * PACE_RECORD_SIZE;
    lsm->stats.write_count++;
    lsm->stats.user_written += encoded_size;
    for (uint32_t i = 0; i < write->record_count; i++) {
        if (version_compare(write->records[i].cell.version, lsm->stats.version_max) > 0) {
            lsm->stats.version_max = write->records[i].cell.version;
        }
    }
    if (at_once) {
        enum status merged = write->durability == LSM_NONE
                                 ? records_merge_locked(lsm, write)
                                 : logged_merge_locked(lsm, write, &places);
        ASSERT(merged == STATUS_OK); /* Its memory was reserved. */
        freeze_if_full_locked(lsm);
    }
    /* Not the whole pump: a write makes nothing else due by itself. */
    struct env_job *due = commit_due_locked(lsm);
    mutex_unlock(&lsm->mutex);
    commit_submit(lsm, due);
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
    const struct wal *wal = &lsm->wal;
    if (wal->in_flight != NULL || !list_empty(&wal->filling) || lsm->idle_timer_running ||
        lsm->stopping || lsm->failed || lsm->cancelled) {
        return;
    }
    if (wal->watermark < wal->written_position) {
        lsm->idle_timer_running = true;
        env_timer_start_ms(lsm->env, &lsm->idle_timer, LSM_IDLE_DELAY_MS);
    }
}

static void commit_run(struct env_job *job)
{
    struct commit *commit = container_of(job, struct commit, job);
    struct lsm *lsm = commit->lsm;
    uint64_t capacity = 0;
    mutex_lock(&lsm->mutex);
    enum wal_next next = wal_next(&lsm->wal, &capacity);
    mutex_unlock(&lsm->mutex);
    commit->group = NULL;
    if (next != WAL_RUN) {
        return; /* The pump looks what is missing. */
    }
    commit->status = wal_run(&lsm->wal);
    mutex_lock(&lsm->mutex);
    commit->group = wal_take_done(&lsm->wal, commit->status);
    lsm->stats.wal_written = lsm->wal.bytes_written;
    lsm->stats.sync_count = lsm->wal.sync_count;
    mutex_unlock(&lsm->mutex);
}

void commit_tell(struct list_node *writes, enum status status)
{
    struct list_node *node = NULL;
    while ((node = list_take_first(writes)) != NULL) {
        struct lsm_write *write = container_of(node, struct lsm_write, node);
        write->done(write, status);
    }
}

/* What came of a group; those of its writes that are told now go to `answered`. */
static enum status group_end_locked(struct lsm *lsm, struct wal_group *group, enum status status,
                                    struct list_node *answered)
{
    if (status == STATUS_OK) {
        status = group_apply_locked(lsm, group);
    }
    if (status == STATUS_OK || status == STATUS_CANCELLED) {
        writes_move(answered, &group->writes);
    } else {
        engine_fail_locked(lsm, status, "log");
        writes_move(&lsm->lost_writes, &group->writes);
    }
    if (status == STATUS_OK) {
        lsm->stats.group_count++;
        freeze_if_full_locked(lsm);
    }
    wal_group_retire(&lsm->wal, group);
    return status;
}

static bool is_idle_locked(const struct lsm *lsm)
{
    return !lsm->commits[0].submitted && !lsm->commits[1].submitted;
}

static void commit_done(struct env_job *job, enum status status)
{
    struct commit *commit = container_of(job, struct commit, job);
    struct lsm *lsm = commit->lsm;
    struct list_node held; /* Those of earlier groups that this one must not overtake. */
    struct list_node answered;
    list_init(&held);
    list_init(&answered);
    mutex_lock(&lsm->mutex);
    commit->submitted = false;
    lsm->cancelled = lsm->cancelled || status == STATUS_CANCELLED;
    if (status == STATUS_OK) {
        status = commit->status;
    }
    struct wal_group *group = commit->group;
    commit->group = NULL;
    if (group != NULL) {
        status = group_end_locked(lsm, group, status, &answered);
        if (is_idle_locked(lsm) && !lsm->stopping && !lsm->failed && !lsm->cancelled) {
            lsm->gathering = true;
            lsm->env->ops->timer_start(lsm->env, &lsm->gather_timer, 0);
        }
    }
    idle_timer_start_locked(lsm);
    engine_pump_locked(lsm);
    if (status == STATUS_OK) {
        pace_pass_locked(lsm, &answered);
    } else {
        pace_end_locked(lsm, &held);
    }
    mutex_unlock(&lsm->mutex);
    commit_tell(&held, STATUS_OK);
    commit_tell(&answered, status);
}

static void gather_timer_fired(struct env_timer *timer)
{
    struct lsm *lsm = container_of(timer, struct lsm, gather_timer);
    mutex_lock(&lsm->mutex);
    lsm->gathering = false;
    struct env_job *due = commit_due_locked(lsm);
    mutex_unlock(&lsm->mutex);
    commit_submit(lsm, due);
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
        compaction_note_quiet_locked(lsm);
        segment_note_quiet_locked(lsm);
    }
    mutex_unlock(&lsm->mutex);
}

static struct env_job *commit_begin_locked(struct lsm *lsm)
{
    struct commit *commit = &lsm->commits[lsm->commits[0].submitted ? 1 : 0];
    commit->submitted = true;
    commit->group = NULL;
    commit->status = STATUS_OK;
    return &commit->job;
}

/* Whether the lane shall go on with the next group by itself. */
static bool is_crowded_locked(const struct lsm *lsm)
{
    const struct wal *wal = &lsm->wal;
    if (wal->in_flight == NULL || (lsm->commits[0].submitted && lsm->commits[1].submitted)) {
        return false; /* What is submitted already takes all. */
    }
    const struct wal_group *next = container_of(wal->filling.next, struct wal_group, node);
    const struct wal_group *now = wal->in_flight;
    return next->end_position - next->start_position >
           CROWD_FACTOR * (now->end_position - now->start_position);
}

/* What is due: a job that is to be submitted now, or NULL. */
static struct env_job *commit_due_locked(struct lsm *lsm)
{
    struct wal *wal = &lsm->wal;
    bool idle = is_idle_locked(lsm);
    if (lsm->failed) {
        if (idle) {
            wal_take_writes(wal, &lsm->lost_writes);
        }
        return NULL;
    }
    if (segment_is_due_locked(lsm) && !lsm->stopping) {
        segment_prepare_locked(lsm, wal->segment_size, false);
    }
    if (list_empty(&wal->filling) || (lsm->gathering && !lsm->stopping)) {
        return NULL;
    }
    if (!idle) {
        return is_crowded_locked(lsm) ? commit_begin_locked(lsm) : NULL;
    }
    uint64_t capacity = 0;
    if (wal_look(wal, &capacity) == WAL_SEGMENT_NEEDED) {
        segment_prepare_locked(lsm, capacity, true);
        return NULL;
    }
    return commit_begin_locked(lsm);
}

void commit_pump_locked(struct lsm *lsm)
{
    commit_submit(lsm, commit_due_locked(lsm));
}

bool commit_is_quiet_locked(const struct lsm *lsm)
{
    return is_idle_locked(lsm) && list_empty(&lsm->wal.filling) && !lsm->segments.running;
}

void commit_stop_locked(struct lsm *lsm)
{
    lsm->env->ops->timer_stop(lsm->env, &lsm->idle_timer);
    lsm->env->ops->timer_stop(lsm->env, &lsm->gather_timer);
    pace_stop_locked(lsm);
    lsm->idle_timer_running = false;
    lsm->gathering = false;
}

void commit_init(struct lsm *lsm)
{
    for (uint32_t i = 0; i < ARRAY_COUNT(lsm->commits); i++) {
        lsm->commits[i] = (struct commit){
            .job = {.run = commit_run, .done = commit_done},
            .lsm = lsm,
        };
    }
    lsm->idle_timer.fired = idle_timer_fired;
    lsm->gather_timer.fired = gather_timer_fired;
    pace_init(lsm);
}
