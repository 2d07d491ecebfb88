/*
 * lsm/clip.c -- stretches of keys taken from stretches of keys.
 */
#include "lsm/clip.h"

#include "lsm/lsm.h"

bool clip_is_stretch(const struct clip *clip)
{
    return clip->lower.size <= LSM_KEY_SIZE_MAX + 1 && clip->upper.size <= LSM_KEY_SIZE_MAX + 1 &&
           (clip->upper.size == 0 || slice_compare(clip->lower, clip->upper) < 0);
}

bool clip_is_void(const struct clip *clip, struct slice key_min, struct slice key_max)
{
    if (slice_compare(clip->lower, key_max) > 0) {
        return true;
    }
    return clip->upper.size > 0 && (slice_compare(clip->upper, key_min) <= 0 ||
                                    slice_compare(clip->upper, clip->lower) <= 0);
}

static struct slice lesser_upper(struct slice a, struct slice b)
{
    if (a.size == 0 || b.size == 0) {
        return a.size == 0 ? b : a;
    }
    return slice_compare(a, b) < 0 ? a : b;
}

static struct slice greater_lower(struct slice a, struct slice b)
{
    return slice_compare(a, b) > 0 ? a : b;
}

bool clip_meets(const struct clip *clip, struct slice key_min, struct slice key_max,
                const struct clip *stretch)
{
    struct clip both = {
        .lower = greater_lower(clip->lower, stretch->lower),
        .upper = lesser_upper(clip->upper, stretch->upper),
    };
    return !clip_is_void(&both, key_min, key_max);
}

uint32_t clip_cut(const struct clip *clip, struct slice key_min, struct slice key_max,
                  const struct clip *stretch, struct clip left[2])
{
    uint32_t count = 0;
    if (!clip_meets(clip, key_min, key_max, stretch)) {
        left[count++] = *clip;
        return count;
    }
    struct clip below = {.lower = clip->lower, .upper = lesser_upper(clip->upper, stretch->lower)};
    if (stretch->lower.size > 0 && !clip_is_void(&below, key_min, key_max)) {
        left[count++] = below;
    }
    struct clip above = {.lower = greater_lower(clip->lower, stretch->upper), .upper = clip->upper};
    if (stretch->upper.size > 0 && !clip_is_void(&above, key_min, key_max)) {
        left[count++] = above;
    }
    return count;
}

uint32_t clip_subtract(const struct clip *clip, const struct clip *stretch, struct clip left[2])
{
    uint32_t count = 0;
    bool below = clip->upper.size > 0 && slice_compare(clip->upper, stretch->lower) <= 0;
    bool above = stretch->upper.size > 0 && slice_compare(stretch->upper, clip->lower) <= 0;
    if (below || above) {
        left[count++] = *clip;
        return count;
    }
    if (slice_compare(clip->lower, stretch->lower) < 0) {
        left[count++] = (struct clip){.lower = clip->lower, .upper = stretch->lower};
    }
    if (stretch->upper.size > 0 &&
        (clip->upper.size == 0 || slice_compare(stretch->upper, clip->upper) < 0)) {
        left[count++] = (struct clip){.lower = stretch->upper, .upper = clip->upper};
    }
    return count;
}
