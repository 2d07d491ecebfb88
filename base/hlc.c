/*
 * base/hlc.c -- one word that is wall time when the wall leads, and a counter when it does not.
 *
 * The counter needs no care of its own: when it overflows it carries into the milliseconds, and the
 * clock runs that little ahead of the wall.
 * Invariants:
 *  (1) Issued times grow strictly, also over restarts, because none is above the durable limit.
 *  (2) `last` never goes back.
 */
#include "base/hlc.h"

#include <stddef.h>

#include "base/contract.h"

#define HLC_UNIX_MS_MAX ((UINT64_C(1) << (64 - HLC_COUNTER_BITS)) - 1)

void hlc_init(struct hlc *hlc, struct env *env, uint64_t limit)
{
    ASSERT(hlc != NULL);
    ASSERT(env != NULL);
    *hlc = (struct hlc){.env = env, .last = limit, .limit = limit};
}

/* A wall clock before 1970 or beyond 48 bits is one that jumped; the nearest time stands in. */
static uint64_t wall_ms(const struct hlc *hlc)
{
    int64_t ms = hlc->env->ops->realtime_ms(hlc->env);
    if (ms < 0) {
        return 0;
    }
    return (uint64_t)ms < HLC_UNIX_MS_MAX ? (uint64_t)ms : HLC_UNIX_MS_MAX;
}

enum status hlc_issue(struct hlc *hlc, uint64_t *time)
{
    ASSERT(hlc != NULL);
    ASSERT(time != NULL);
    uint64_t wall = hlc_make(wall_ms(hlc));
    if (hlc->last >= hlc->limit || wall > hlc->limit) {
        return STATUS_WOULD_BLOCK;
    }
    hlc->last = wall > hlc->last ? wall : hlc->last + 1;
    *time = hlc->last;
    return STATUS_OK;
}

bool hlc_hear(struct hlc *hlc, uint64_t time, uint64_t lead_ms_max)
{
    ASSERT(hlc != NULL);
    if (time <= hlc->last) {
        return true;
    }
    uint64_t heard_ms = hlc_unix_ms(time);
    uint64_t ours_ms = wall_ms(hlc);
    if (heard_ms > ours_ms && heard_ms - ours_ms > lead_ms_max) {
        return false;
    }
    hlc->last = time;
    return true;
}

uint64_t hlc_now(const struct hlc *hlc)
{
    ASSERT(hlc != NULL);
    uint64_t wall = hlc_make(wall_ms(hlc));
    return wall > hlc->last ? wall : hlc->last;
}

void hlc_raise_limit(struct hlc *hlc, uint64_t limit)
{
    ASSERT(hlc != NULL);
    if (limit > hlc->limit) {
        hlc->limit = limit;
    }
}
