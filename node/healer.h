/*
 * node/healer.h -- brings the engine back to taking writes after its log failed.
 *
 * A failed write or sync of the log leaves the engine read-only (lsm_resume). What failed may be
 * over soon -- a controller that reset, a volume that came back, a quota -- so the node stays,
 * reads go on, and it is tried again: after a second, and then ever less often.
 * Contract:
 *  (1) One lsm_resume is under way at a time, and none after healer_stop.
 *  (2) While the engine is open and read-only, a try is under way or its time is set.
 */
#ifndef NODE_HEALER_H
#define NODE_HEALER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "lsm/lsm.h"

#define HEALER_DELAY_MS_MIN 1000u
#define HEALER_DELAY_MS_MAX 15000u
/* A log that failed again sooner than this after it was brought back is waited for longer. */
#define HEALER_CALM_MS 60000u

struct healer {
    struct env *env;
    struct lsm *lsm; /* NULL until it is open. */
    struct env_timer timer;
    struct lsm_request request;
    bool broken;  /* The engine takes no writes. */
    bool asking;  /* The request is under way. */
    bool stopped; /* Nothing is tried any more. */
    uint64_t delay_ms;
    uint64_t healed_ms;     /* Monotonic; 0: never. */
    uint64_t resume_count;  /* Times it worked, */
    uint64_t failure_count; /* and times it did not. */
};

/* All on the loop. The engine may break before it is known here. */
void healer_init(struct healer *healer, struct env *env);
void healer_begin(struct healer *healer, struct lsm *lsm);
/* The engine said that it went read-only. */
void healer_broken(struct healer *healer, enum status status);
/* Now, instead of when it is due. False: there is nothing to bring back, or no more trying. */
bool healer_try(struct healer *healer);
/* Whether writes are refused now. An engine that the disk was too full for resumes by itself,
 * before the next try. */
bool healer_is_broken(const struct healer *healer);
/* A request that is under way ends with the engine. */
void healer_stop(struct healer *healer);

#endif
