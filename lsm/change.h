/*
 * lsm/change.h -- changes of the set of tables that are asked for from outside: a stretch goes,
 * tables come, or both at once.
 *
 * Why a queue: such a change is one edit over all tables, whoever made them, so it must know what
 * the set is while it is committed. One is under way at a time, and none between the commit of a
 * merge and its place in the set.
 *
 *   WAITING --> COMMITTING --> INSTALLING --> told     (what fails is tried again where it failed)
 *
 * Contract:
 *  (1) A change that takes a stretch away takes what was accepted before it: all up to `position`
 *      in the log, and all in memtables frozen by then. It waits until these are in tables. Synced
 *      records still in the queue are passed over when their group is applied (change_takes),
 *      and memtables frozen later wait with their flush until it is installed: so the replay
 *      position does not pass over a record that was passed over, unless the edit says so too.
 *  (2) A merge that began before clips its output by what was taken since: compaction_note_taken.
 *  (3) Changes are made in the order they were added.
 */
#ifndef LSM_CHANGE_H
#define LSM_CHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/list.h"
#include "lsm/clip.h"
#include "lsm/table_set.h"

struct lsm;

enum change_phase { CHANGE_WAITING, CHANGE_COMMITTING, CHANGE_INSTALLING };

/* The asker's, until `done`; bounds too. */
struct change {
    bool takes; /* The stretch goes. */
    struct clip stretch;
    struct table_place *added; /* Tables that come; referenced by the asker. */
    uint32_t added_count;
    const struct quarantine_list *lost; /* Stretches to quarantine; NULL: none. */
    /* Gives them their run and tier, by the set as it is when they come. May be NULL. */
    void (*settle_locked)(struct lsm *lsm, struct change *change);
    /* On the loop, no lock held. STATUS_OK or STATUS_CANCELLED: closed before it was made, or
     * while it was (then the next open shows). */
    void (*done)(struct change *change, enum status status);

    uint64_t position; /* Set by change_add_locked. */
    uint64_t goal;     /* flushed_total from which it may be made. */
    struct list_node node;
};

struct changes {
    struct env_job job;
    bool running;
    struct list_node queue; /* change.node; the first is under way. */
    enum change_phase phase;
    bool exclusive; /* An edit was made of the set as it is, and is not installed. */
    enum status status;
};

void changes_init(struct lsm *lsm);
/* "Locked" functions ask for the write lock. STATUS_NO_MEMORY, and the change is not added. */
MUST_USE enum status change_add_locked(struct lsm *lsm, struct change *change);
void changes_pump_locked(struct lsm *lsm);
/* Whoever makes an edit that names tables of the set begins so, and ends once it is installed or
 * failed. False: another one is not through. */
MUST_USE bool changes_begin_locked(struct lsm *lsm);
void changes_end_locked(struct lsm *lsm);
/* Whether memtables must not be flushed now; see (1). */
bool changes_hold_flush_locked(const struct lsm *lsm);
/* Whether a record that ends at `position` in the log belongs to what a change takes away. */
bool change_takes_locked(const struct lsm *lsm, struct slice key, uint64_t position);
/* Tells all that are left CANCELLED; called without the lock, with nothing running. */
void changes_cancel(struct lsm *lsm);

#endif
