/*
 * lsm/excise.c -- lsm_excise: a stretch of keys goes, at once and for good.
 *
 * No cell is looked at: tables are clipped or dropped by one edit of the manifest, and what of the
 * stretch is still in the log is passed over, now (lsm/change.h) and by any later replay.
 */
#include "base/contract.h"
#include "base/memory.h"
#include "lsm/engine.h"

/* One request, with copies of its bounds behind it. */
struct excise {
    struct change change;
    struct lsm_excise *request;
};

static void excise_done(struct change *change, enum status status)
{
    struct excise *excise = container_of(change, struct excise, change);
    struct lsm_excise *request = excise->request;
    memory_free(excise);
    request->done(request, status);
}

static struct excise *excise_create(struct lsm_excise *request)
{
    struct slice lower = request->lower;
    struct slice upper = request->upper;
    struct excise *excise = memory_allocate(sizeof(*excise) + lower.size + upper.size);
    if (excise == NULL) {
        return NULL;
    }
    uint8_t *bounds = (uint8_t *)(excise + 1);
    if (lower.size > 0) {
        memcpy(bounds, lower.data, lower.size);
    }
    if (upper.size > 0) {
        memcpy(bounds + lower.size, upper.data, upper.size);
    }
    *excise = (struct excise){
        .change = {.takes = true,
                   .stretch = {.lower = slice_make(bounds, lower.size),
                               .upper = slice_make(bounds + lower.size, upper.size)},
                   .done = excise_done},
        .request = request,
    };
    return excise;
}

enum status lsm_excise(struct lsm *lsm, struct lsm_excise *request)
{
    ASSERT(lsm != NULL);
    ASSERT(request != NULL && request->done != NULL);
    if (!clip_is_stretch(&(struct clip){request->lower, request->upper})) {
        return STATUS_INVALID;
    }
    struct excise *excise = excise_create(request);
    if (excise == NULL) {
        return STATUS_NO_MEMORY;
    }
    mutex_lock(&lsm->mutex);
    enum status status = engine_admit_locked(lsm);
    if (status == STATUS_OK) {
        status = change_add_locked(lsm, &excise->change);
    }
    if (status == STATUS_OK) {
        engine_pump_locked(lsm);
    }
    mutex_unlock(&lsm->mutex);
    if (status != STATUS_OK) {
        memory_free(excise);
    }
    return status;
}
