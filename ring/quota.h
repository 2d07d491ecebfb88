/*
 * ring/quota.h -- how many ranges each member should hold, exactly.
 *
 * Every range has replica_count replicas on distinct members. Over the zones they lie as evenly as
 * the sizes of the zones allow: zone z holds at least `least` and at most `most` of each range,
 * where most - least is 0 or 1 and most is 1 as soon as there are enough zones.
 * Within those caps a share is proportional to weight: share = weight * level, at most one whole
 * range per range, with one level for all zones except those that their caps hold below or above.
 * This is weighted max-min fairness over a laminar family of caps; in fixed point, no floats.
 * Invariants:
 *  (1) The shares of a zone sum to between least and most, all shares to replica_count.
 *  (2) A quota is its share times range_count, rounded down or up; quotas sum to range_count *
 *      replica_count, and per zone to between range_count * least and range_count * most. So a
 *      placement that meets every quota exists.
 */
#ifndef RING_QUOTA_H
#define RING_QUOTA_H

#include <stdint.h>

#include "base/status.h"
#include "ring/ring.h"

/* A share of this holds every range. */
#define QUOTA_SHARE_ONE (UINT64_C(1) << 46)

struct quota_member {
    uint32_t id;
    uint32_t weight;
    uint32_t zone;  /* Index into zones. */
    uint32_t input; /* Index into input->nodes. */
    uint64_t share; /* Of QUOTA_SHARE_ONE. */
};

struct quota_zone {
    const char *name; /* Borrows from input->nodes. */
    uint32_t member_count;
    uint32_t least; /* Replicas of each range, at least. */
    uint32_t most;  /* At most. */
};

/* The eligible members of an input: those of weight above 0. */
struct quota {
    uint32_t member_count;
    uint32_t zone_count;
    uint32_t replica_count; /* At most member_count. */
    uint32_t extra_count;   /* Replicas of each range beyond the sum of `least`. */
    struct quota_member members[RING_MEMBER_COUNT_MAX]; /* Sorted by id. */
    struct quota_zone zones[RING_MEMBER_COUNT_MAX];     /* Sorted by name. */
};

/* STATUS_INVALID as ring_place says. */
MUST_USE enum status quota_init(struct quota *quota, const struct ring_input *input);

/*
 * Rounds the shares to ranges: quotas[member_count]. Up go first those whose `held` is above the
 * lower figure already (so that rounding moves nothing), then those of the greatest remainder, then
 * those of the least id.
 */
void quota_round(const struct quota *quota, uint32_t range_count, const uint32_t *held,
                 uint32_t *quotas);

#endif
