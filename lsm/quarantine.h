/*
 * lsm/quarantine.h -- stretches of keys of which cells were lost with a damaged block or table.
 *
 * Why: one bad sector must cost the keys that lay in it and no others, and it must never be taken
 * for their absence. So what may have been lost is written down, and reads say so.
 * Contract:
 *  (1) In a quarantined stretch a cell counts only if its version is greater than any that may have
 *      been lost; otherwise a read is STATUS_CORRUPT.
 *  (2) A stretch is quarantined when a second look at its block finds it damaged too (a read may
 *      fail once), or when a merge passes over it, by the edit that drops the table. It is told
 *      to options.corrupted then and at each open, until it is excised.
 *  (3) More than QUARANTINE_COUNT_MAX stretches become fewer, larger ones.
 */
#ifndef LSM_QUARANTINE_H
#define LSM_QUARANTINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cell.h"
#include "base/env.h"
#include "base/status.h"
#include "lsm/clip.h"

#define QUARANTINE_COUNT_MAX 256u
#define QUARANTINE_NOTE_COUNT_MAX 64u

struct lsm;
struct table;

struct quarantine {
    struct clip stretch;        /* Bounds owned by the list. */
    struct version version_max; /* At or above every version that may be lost. */
};

/* A zeroed struct is an empty list. */
struct quarantine_list {
    struct quarantine *items;
    uint32_t count;
    uint32_t capacity;
    bool failed; /* Something is missing for want of memory. */
};

void quarantine_list_deinit(struct quarantine_list *list);
/* Copies the bounds. What is in the list already is not added. Sets `failed` without memory. */
void quarantine_list_add(struct quarantine_list *list, const struct clip *stretch,
                         struct version version_max);
void quarantine_list_add_all(struct quarantine_list *list, const struct quarantine_list *from);
/* The stretch is sound again: there is nothing in it. */
void quarantine_list_cut(struct quarantine_list *list, const struct clip *stretch);
/* The block of the table, as far as it lies in the clip. */
void quarantine_list_add_block(struct quarantine_list *list, const struct table *table,
                               const struct clip *clip, uint32_t block_index);
/* What of the keys between these (inclusive) lies in the clip. */
void quarantine_list_add_range(struct quarantine_list *list, struct slice key_min,
                               struct slice key_max, const struct clip *clip,
                               struct version version_max);
/* Raises *version to the greatest that may be lost of the key; false if none may. */
bool quarantine_list_find(const struct quarantine_list *list, struct slice key,
                          struct version *version);

/* Where cursors say what they passed over. */
struct quarantine_sink {
    struct quarantine_list list;
    struct lsm *lsm; /* A second look is asked for; NULL: the owner sees to it. */
};

struct quarantine_note {
    uint64_t file_id; /* 0: free. */
    uint32_t block_index;
    bool settled; /* It was looked at. */
};

/* What engine.h embeds. */
struct quarantines {
    struct env_job job;
    bool running; /* The job is submitted, or its change is on its way. */
    struct quarantine_note notes[QUARANTINE_NOTE_COUNT_MAX];
    uint32_t looking;              /* Index of the note it is about. */
    struct quarantine_list found;  /* By the job. */
    struct quarantine_list untold; /* To options.corrupted. */
    enum status status;
};

void quarantines_init(struct lsm *lsm);
void quarantines_deinit(struct lsm *lsm);
/* A read found this block damaged: have a second look. Any thread, without the write lock. */
void quarantine_note(struct lsm *lsm, uint64_t file_id, uint32_t block_index);
/* Stretches that are quarantined from now on; the loop tells them. */
void quarantine_told_locked(struct lsm *lsm, const struct quarantine_list *list);
/* Before they are: nobody jumps over them. */
void quarantine_cut_gaps_locked(struct lsm *lsm, const struct quarantine_list *list);
void quarantines_pump_locked(struct lsm *lsm);
/* Tells what is untold. The write lock is held on entry and exit, and not meanwhile. */
void quarantines_tell_locked(struct lsm *lsm);

#endif
