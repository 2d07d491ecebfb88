/*
 * lsm/purge.c -- the purge rule.
 *
 * Invariants:
 *  (1) The floor is read before the state. What is accepted later is above it, so nothing that is
 *      looked for can appear after the look.
 *  (2) Tails, queue and sources are looked at under one hold of the write lock: a record moves from
 *      queue to memtable, and from memtable to tail, under that lock too.
 */
#include "lsm/purge.h"

#include "base/checksum.h"
#include "base/contract.h"
#include "base/hlc.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"

void purge_tail_add_locked(struct lsm *lsm, struct version version_min, uint64_t end_position)
{
    struct purge *purge = &lsm->purge;
    if (purge->tail_count == PURGE_TAIL_COUNT_MAX) {
        const struct purge_tail oldest = purge->tails[0];
        purge->tail_count--;
        memmove(purge->tails, purge->tails + 1, purge->tail_count * sizeof(purge->tails[0]));
        struct purge_tail *next = &purge->tails[0];
        if (version_compare(oldest.version_min, next->version_min) < 0) {
            next->version_min = oldest.version_min;
        }
        if (oldest.end_position > next->end_position) {
            next->end_position = oldest.end_position;
        }
    }
    purge->tails[purge->tail_count++] =
        (struct purge_tail){.version_min = version_min, .end_position = end_position};
}

void purge_note_freeze_locked(struct lsm *lsm)
{
    struct version version_min;
    if (wal_buffered_version_min(&lsm->wal, &version_min)) {
        purge_tail_add_locked(lsm, version_min, lsm->wal.position);
    }
}

void purge_note_replay_position_locked(struct lsm *lsm, uint64_t replay_position)
{
    struct purge *purge = &lsm->purge;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < purge->tail_count; i++) {
        if (purge->tails[i].end_position > replay_position) {
            purge->tails[kept++] = purge->tails[i];
        }
    }
    purge->tail_count = kept;
}

static bool tails_may_hold_older_locked(const struct lsm *lsm, struct version version)
{
    for (uint32_t i = 0; i < lsm->purge.tail_count && !LSM_MUTANT(REPLAY_TAIL_IGNORED); i++) {
        if (version_compare(lsm->purge.tails[i].version_min, version) <= 0) {
            return true;
        }
    }
    return false;
}

static bool is_dead_at(const struct cell *cell, struct version floor)
{
    if (version_compare(cell->version, floor) > 0) {
        return false;
    }
    if (cell->kind == CELL_DELETE) {
        return true;
    }
    return cell->kind == CELL_VALUE && cell->expiry_ms != 0 && cell->stamp <= floor.time &&
           cell->expiry_ms <= hlc_unix_ms(floor.time);
}

bool purge_may_help(const struct lsm *lsm, const struct table_properties *properties)
{
    if (lsm->options.floor == NULL) {
        return false;
    }
    struct version floor = lsm->options.floor(lsm->options.context, properties->key_min);
    bool below = version_compare(properties->version_min, floor) <= 0;
    bool expired =
        properties->expiring_count > 0 && properties->expiry_min_ms <= hlc_unix_ms(floor.time);
    return below && (properties->tombstone_count > 0 || expired);
}

static bool run_holds(const struct run *run, const struct table *table)
{
    for (uint32_t i = 0; i < run->table_count; i++) {
        if (run->tables[i] == table) {
            return true;
        }
    }
    return false;
}

static bool is_input(const struct compaction *compaction, const struct run *run,
                     const struct table *table)
{
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        const struct run *input = compaction->inputs[i];
        if (input == &compaction->bottom_run ? run_holds(input, table) : input->id == run->id) {
            return true;
        }
    }
    return false;
}

static bool memtables_hold(const struct sources *sources, struct slice key)
{
    const struct memtable_record *record = NULL;
    if (LSM_MUTANT(PURGE_OLDER_RUNS_ONLY)) {
        return false;
    }
    if (memtable_get(sources->active, key, LSM_MAY_BLOCK, &record) == STATUS_OK) {
        return true;
    }
    for (uint32_t i = 0; i < sources->frozen_count; i++) {
        if (memtable_get(sources->frozen[i], key, LSM_MAY_BLOCK, &record) == STATUS_OK) {
            return true;
        }
    }
    return false;
}

static bool tables_may_hold_older(const struct compaction *compaction, const struct table_set *set,
                                  struct slice key, struct version version)
{
    uint64_t hash = checksum64(key, 0);
    for (uint32_t i = 0; i < set->run_count; i++) {
        const struct run *run = &set->runs[i];
        const struct table *table = run_find(run, key);
        bool asked = !LSM_MUTANT(PURGE_OLDER_RUNS_ONLY) || run->id < compaction->inputs[0]->id;
        if (table != NULL && asked && !is_input(compaction, run, table) &&
            version_compare(table->properties.version_min, version) <= 0 &&
            table_may_hold(table, key, hash)) {
            return true;
        }
    }
    return false;
}

bool purge_allows(struct lsm *lsm, struct slice key, struct slice encoded_cell)
{
    if (lsm->options.floor == NULL) {
        return false;
    }
    struct cell cell;
    if (cell_decode(encoded_cell, &cell) != STATUS_OK) {
        return false; /* The writer reports it. */
    }
    if (cell.kind != CELL_DELETE && cell.expiry_ms == 0) {
        return false;
    }
    if (!is_dead_at(&cell, lsm->options.floor(lsm->options.context, key))) {
        return false;
    }
    if (LSM_MUTANT(PURGE_BY_FLOOR_ALONE)) {
        return true;
    }
    mutex_lock(&lsm->mutex);
    bool queued = version_compare(wal_queued_version(&lsm->wal, key), (struct version){0}) > 0 &&
                  !LSM_MUTANT(PURGE_IGNORES_QUEUE);
    bool older = queued || tails_may_hold_older_locked(lsm, cell.version) ||
                 (ingests_may_hold_locked(lsm, key) && !LSM_MUTANT(PURGE_IGNORES_INGEST));
    struct sources *sources = older ? NULL : sources_pin(lsm);
    mutex_unlock(&lsm->mutex);
    if (older) {
        return false;
    }
    older = memtables_hold(sources, key) ||
            tables_may_hold_older(&lsm->compaction, sources->tables, key, cell.version);
    sources_unpin(lsm, sources);
    return !older;
}
