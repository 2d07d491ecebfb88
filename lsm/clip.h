/*
 * lsm/clip.h -- the part of a table file that counts.
 *
 * Why: a merge that took a stretch of a long table, and a stretch that was excised, would have to
 * rewrite the rest of the file, or to keep tombstones that every read must look at. A clip says
 * instead which keys of the file are still there, and costs a comparison where a search ends.
 * Contract:
 *  (1) A clip holds the keys at or above `lower` and below `upper`; an empty bound is none.
 *  (2) Functions that are given the least and greatest key of the file (inclusive) take both into
 *      account: a clip beside them holds nothing.
 */
#ifndef LSM_CLIP_H
#define LSM_CLIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct clip {
    struct slice lower; /* Both borrow; the owner says from what. */
    struct slice upper;
};

static inline bool clip_holds(const struct clip *clip, struct slice key)
{
    return slice_compare(key, clip->lower) >= 0 &&
           (clip->upper.size == 0 || slice_compare(key, clip->upper) < 0);
}

/* No key of the file that counts is before it. */
static inline struct slice clip_first(const struct clip *clip, struct slice key_min)
{
    return slice_compare(clip->lower, key_min) > 0 ? clip->lower : key_min;
}

/* Whether every key of the file that counts is below `bound`. */
static inline bool clip_ends_before(const struct clip *clip, struct slice key_max,
                                    struct slice bound)
{
    return slice_compare(key_max, bound) < 0 ||
           (clip->upper.size > 0 && slice_compare(clip->upper, bound) <= 0);
}

/* Whether it may be given from outside: bounds no longer than those of keys, lower below upper. */
bool clip_is_stretch(const struct clip *clip);
/* Whether no key between key_min and key_max is in it. */
bool clip_is_void(const struct clip *clip, struct slice key_min, struct slice key_max);
/* Whether a key between key_min and key_max may be in both. */
bool clip_meets(const struct clip *clip, struct slice key_min, struct slice key_max,
                const struct clip *stretch);
/* The same between any keys; no bounds are those of no file. */
uint32_t clip_subtract(const struct clip *clip, const struct clip *stretch, struct clip left[2]);
/* What is left of a clip without a stretch: no, one or two clips. They borrow what both borrow. */
uint32_t clip_cut(const struct clip *clip, struct slice key_min, struct slice key_max,
                  const struct clip *stretch, struct clip left[2]);

#endif
