/*
 * node/timekeeper.h -- issues version times that never go back, also over a restart.
 *
 * The HLC may issue nothing above a mark that is durable in the engine. While times are being
 * issued the mark is kept TIMEKEEPER_MARGIN_MS ahead, so that writers do not wait for it; after
 * idling the first writer waits for one sync.
 */
#ifndef NODE_TIMEKEEPER_H
#define NODE_TIMEKEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hlc.h"
#include "base/list.h"
#include "base/status.h"
#include "lsm/lsm.h"
#include "node/records.h"

/* A crash costs this much of the future, which a restarted node waits out before it serves; twice
 * the time that writing the last mark took comes on top, up to the second bound, or a log that
 * syncs slower than the margin would have every mark overtaken before it is durable. */
#define TIMEKEEPER_MARGIN_MS 1000
#define TIMEKEEPER_MARGIN_MS_MAX 10000

struct timekeeper {
    struct hlc hlc;
    struct lsm *lsm;
    struct list_node waiting; /* Of timekeeper_wait. */
    struct records_write write;
    uint64_t raising_to;     /* The mark being written; 0: none. */
    uint64_t raise_began_ms; /* Monotonic. */
    uint64_t raise_took_ms;  /* The last one. */
    bool closed;
};

struct timekeeper_wait {
    void (*done)(struct timekeeper_wait *wait, enum status status);
    struct list_node node;
};

/* Blocks: reads the mark. As lsm_get, never STATUS_NOT_FOUND. */
MUST_USE enum status timekeeper_open(struct timekeeper *timekeeper, struct env *env,
                                     struct lsm *lsm);
/* STATUS_OK, or STATUS_WOULD_BLOCK: timekeeper_wait, then ask again. */
MUST_USE enum status timekeeper_issue(struct timekeeper *timekeeper, uint64_t *time);
/* `done` runs once the mark has moved (or could not: then with that status). */
void timekeeper_wait(struct timekeeper *timekeeper, struct timekeeper_wait *wait);
/* Fails all who wait with STATUS_CANCELLED; a mark being written may still complete. */
void timekeeper_close(struct timekeeper *timekeeper);

#endif
