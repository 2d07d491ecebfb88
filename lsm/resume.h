/*
 * lsm/resume.h -- from READ_ONLY back to OPEN, without closing.
 *
 *   WAITING --> FLUSHING --> RESTARTING --> LOOKING
 *                               (any failure before LOOKING ends it, and the engine stays
 * READ_ONLY)
 *
 * Why a new log: after a failed write or sync nobody knows what the segment holds, and to sync it
 * once more proves nothing. So all that is visible goes into tables, and the log begins anew in a
 * new segment, at the position it had reached. LOOKING: if the disk was full it is looked whether
 * it still is, so that who is told OK is not refused for what is over.
 */
#ifndef LSM_RESUME_H
#define LSM_RESUME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/status.h"

enum resume_phase { RESUME_WAITING, RESUME_FLUSHING, RESUME_RESTARTING, RESUME_LOOKING };

struct resume {
    struct lsm_request *request; /* NULL: none is under way. */
    enum resume_phase phase;
    uint64_t goal; /* flushed_total, once all that was visible is in tables. */
    struct env_job job;
    bool running;
    bool looked;
    enum status status;
    bool ended; /* The request is to be told `status`. */
};

struct lsm;
struct lsm_request;
void resume_init(struct lsm *lsm);
/* As lsm_resume(). */
MUST_USE enum status resume_ask_locked(struct lsm *lsm, struct lsm_request *request);
void resume_pump_locked(struct lsm *lsm);
/* Flushes and merges go on although the engine is READ_ONLY. */
bool resume_flushes_locked(const struct lsm *lsm);
/* On the loop; the lock is held on entry and exit. */
void resume_tell_locked(struct lsm *lsm);

#endif
