/*
 * lsm/gap.c -- a few ranges of keys in a table, found by looking at all of them.
 *
 * Invariants:
 *  (1) Bounds are as in lsm/gap.h; a gap in use is never empty.
 *  (2) What finds no memory forgets instead: a gap less costs time, never an answer.
 */
#include "lsm/gap.h"

#include "base/contract.h"

/* Whether [lower, upper) has nothing in common with the gap; empty uppers are above all keys. */
static bool is_apart(const struct gap *gap, struct slice lower, struct slice upper)
{
    return (gap->upper.size > 0 && slice_compare(lower, buffer_slice(&gap->upper)) >= 0) ||
           (upper.size > 0 && slice_compare(upper, buffer_slice(&gap->lower)) <= 0);
}

/* Of two exclusive bounds. */
static int upper_compare(struct slice a, struct slice b)
{
    if (a.size == 0 || b.size == 0) {
        return (a.size == 0) - (b.size == 0);
    }
    return slice_compare(a, b);
}

static bool bound_set(struct buffer *bound, struct slice key)
{
    if (key.size > GAP_KEY_SIZE_MAX) {
        return false;
    }
    buffer_clear(bound);
    buffer_append_slice(bound, key);
    bool done = buffer_status(bound) == STATUS_OK;
    bound->failed = false;
    return done;
}

static void count_change(struct gaps *gaps, uint32_t by, bool gap)
{
    atomic_fetch_add_explicit(&gaps->count, by, memory_order_relaxed);
    if (gap) {
        atomic_fetch_add_explicit(&gaps->gap_count, by, memory_order_relaxed);
    }
}

static void gap_drop(struct gaps *gaps, struct gap *gap)
{
    ASSERT(gap->used);
    gap->used = false;
    count_change(gaps, UINT32_MAX, true);
}

void gaps_init(struct gaps *gaps)
{
    *gaps = (struct gaps){0};
    mutex_init(&gaps->mutex);
}

static void span_deinit(struct gap *span)
{
    buffer_deinit(&span->lower);
    buffer_deinit(&span->upper);
}

void gaps_deinit(struct gaps *gaps)
{
    for (uint32_t i = 0; i < GAP_COUNT_MAX; i++) {
        span_deinit(&gaps->gaps[i]);
    }
    for (uint32_t i = 0; i < GAP_WATCH_COUNT_MAX; i++) {
        span_deinit(&gaps->watches[i].span);
    }
    buffer_deinit(&gaps->lower);
    buffer_deinit(&gaps->upper);
    mutex_deinit(&gaps->mutex);
}

/* A place for one more; NULL if `evict` is false and there is none. */
static struct gap *place_find(struct gaps *gaps, bool evict)
{
    struct gap *oldest = &gaps->gaps[0];
    for (uint32_t i = 0; i < GAP_COUNT_MAX; i++) {
        struct gap *gap = &gaps->gaps[i];
        if (!gap->used) {
            return gap;
        }
        if (gap->used_at < oldest->used_at) {
            oldest = gap;
        }
    }
    if (!evict) {
        return NULL;
    }
    gap_drop(gaps, oldest);
    return oldest;
}

static void gap_place(struct gaps *gaps, struct gap *place, struct slice lower, struct slice upper,
                      uint64_t dead_ms)
{
    ASSERT(!place->used);
    ASSERT(upper.size == 0 || slice_compare(lower, upper) < 0);
    if (!bound_set(&place->lower, lower) || !bound_set(&place->upper, upper)) {
        return; /* See (2). */
    }
    place->dead_ms = dead_ms;
    place->used_at = ++gaps->clock;
    place->used = true;
    count_change(gaps, 1, true);
}

/* Takes [lower, upper) out: what is left above goes to a place of its own, if there is one. */
static void gap_cut(struct gaps *gaps, struct gap *gap, struct slice lower, struct slice upper)
{
    bool below = slice_compare(buffer_slice(&gap->lower), lower) < 0;
    bool above = upper_compare(upper, buffer_slice(&gap->upper)) < 0;
    bool kept = below || above;
    if (below && above) {
        struct gap *place = place_find(gaps, false);
        if (place != NULL) {
            gap_place(gaps, place, upper, buffer_slice(&gap->upper), gap->dead_ms);
        }
    }
    if (below) {
        kept = bound_set(&gap->upper, lower);
    } else if (above) {
        kept = bound_set(&gap->lower, upper);
    }
    if (!kept) {
        gap_drop(gaps, gap);
    }
}

/* A watch keeps what lies between its start and the cut. */
static void watch_cut(struct gap_watch *watch, struct slice lower, struct slice upper)
{
    struct gap *span = &watch->span;
    bool kept = false;
    if (watch->reverse) {
        kept =
            upper_compare(upper, buffer_slice(&span->upper)) < 0 && bound_set(&span->lower, upper);
    } else {
        kept =
            slice_compare(buffer_slice(&span->lower), lower) < 0 && bound_set(&span->upper, lower);
    }
    watch->spoilt = watch->spoilt || !kept;
}

static void cut(struct gaps *gaps, struct slice lower, struct slice upper)
{
    for (uint32_t i = 0; i < GAP_COUNT_MAX; i++) {
        if (gaps->gaps[i].used && !is_apart(&gaps->gaps[i], lower, upper)) {
            gap_cut(gaps, &gaps->gaps[i], lower, upper);
        }
    }
    for (uint32_t i = 0; i < GAP_WATCH_COUNT_MAX; i++) {
        struct gap_watch *watch = &gaps->watches[i];
        if (watch->used && !watch->spoilt && !is_apart(&watch->span, lower, upper)) {
            watch_cut(watch, lower, upper);
        }
    }
}

void gaps_cut_range(struct gaps *gaps, struct slice lower, struct slice upper)
{
    ASSERT(gaps != NULL);
    mutex_lock(&gaps->mutex);
    cut(gaps, lower, upper);
    mutex_unlock(&gaps->mutex);
}

void gaps_cut_span(struct gaps *gaps, struct slice first, struct slice last)
{
    static const uint8_t zero = 0; /* The least key above `last` is `last` and a zero byte. */
    mutex_lock(&gaps->mutex);
    buffer_clear(&gaps->upper);
    buffer_append_slice(&gaps->upper, last);
    buffer_append(&gaps->upper, &zero, 1);
    /* Without memory for the bound, all above goes. */
    bool bounded = buffer_status(&gaps->upper) == STATUS_OK;
    gaps->upper.failed = false;
    cut(gaps, first, bounded ? buffer_slice(&gaps->upper) : slice_make(NULL, 0));
    mutex_unlock(&gaps->mutex);
}

/* Whether a walk that stands at `from` stands in the gap. */
static bool gap_covers(const struct gap *gap, struct slice from, bool reverse)
{
    struct slice lower = buffer_slice(&gap->lower);
    struct slice upper = buffer_slice(&gap->upper);
    if (reverse) {
        return (from.size == 0 || slice_compare(lower, from) < 0) &&
               upper_compare(from, upper) <= 0;
    }
    return slice_compare(lower, from) <= 0 && (upper.size == 0 || slice_compare(from, upper) < 0);
}

bool gaps_find(struct gaps *gaps, struct slice from, bool reverse, uint64_t now_ms,
               struct buffer *to, bool *ended)
{
    if (atomic_load_explicit(&gaps->gap_count, memory_order_relaxed) == 0) {
        return false;
    }
    bool found = false;
    mutex_lock(&gaps->mutex);
    for (uint32_t i = 0; i < GAP_COUNT_MAX && !found; i++) {
        struct gap *gap = &gaps->gaps[i];
        if (gap->used && gap->dead_ms <= now_ms && gap_covers(gap, from, reverse)) {
            const struct buffer *end = reverse ? &gap->lower : &gap->upper;
            found = bound_set(to, buffer_slice(end));
            *ended = end->size == 0;
            gap->used_at = ++gaps->clock;
        }
    }
    mutex_unlock(&gaps->mutex);
    if (found) {
        atomic_fetch_add_explicit(&gaps->jump_count, 1, memory_order_relaxed);
    }
    return found;
}

uint32_t gaps_watch(struct gaps *gaps, struct slice from, bool reverse)
{
    uint32_t index = GAP_WATCH_NONE;
    mutex_lock(&gaps->mutex);
    for (uint32_t i = 0; i < GAP_WATCH_COUNT_MAX && index == GAP_WATCH_NONE; i++) {
        index = gaps->watches[i].used ? GAP_WATCH_NONE : i;
    }
    if (index != GAP_WATCH_NONE) {
        struct gap_watch *watch = &gaps->watches[index];
        struct slice open = slice_make(NULL, 0);
        if (bound_set(&watch->span.lower, reverse ? open : from) &&
            bound_set(&watch->span.upper, reverse ? from : open)) {
            watch->used = true;
            watch->reverse = reverse;
            watch->spoilt = false;
            count_change(gaps, 1, false);
        } else {
            index = GAP_WATCH_NONE;
        }
    }
    mutex_unlock(&gaps->mutex);
    return index;
}

/* Into gaps->lower and gaps->upper: what the watch has seen dead; false if that is nothing. */
static bool watch_settle(struct gaps *gaps, const struct gap_watch *watch, struct slice to,
                         bool ended)
{
    struct slice lower = buffer_slice(&watch->span.lower);
    struct slice upper = buffer_slice(&watch->span.upper);
    if (!ended && watch->reverse) {
        lower = slice_compare(lower, to) > 0 ? lower : to;
    } else if (!ended) {
        upper = upper_compare(upper, to) < 0 ? upper : to;
    }
    return !watch->spoilt && (upper.size == 0 || slice_compare(lower, upper) < 0) &&
           bound_set(&gaps->lower, lower) && bound_set(&gaps->upper, upper);
}

/* Takes in every gap that touches what is in gaps->lower and gaps->upper; whether any did. */
static bool gaps_unite(struct gaps *gaps, uint64_t *dead_ms)
{
    bool any = false;
    for (uint32_t i = 0; i < GAP_COUNT_MAX; i++) {
        struct gap *gap = &gaps->gaps[i];
        struct slice lower = buffer_slice(&gap->lower);
        struct slice upper = buffer_slice(&gap->upper);
        struct slice new_lower = buffer_slice(&gaps->lower);
        struct slice new_upper = buffer_slice(&gaps->upper);
        bool apart = (upper.size > 0 && slice_compare(upper, new_lower) < 0) ||
                     (new_upper.size > 0 && slice_compare(new_upper, lower) < 0);
        if (!gap->used || apart) {
            continue;
        }
        *dead_ms = gap->dead_ms > *dead_ms ? gap->dead_ms : *dead_ms;
        if ((slice_compare(lower, new_lower) < 0 && !bound_set(&gaps->lower, lower)) ||
            (upper_compare(upper, new_upper) > 0 && !bound_set(&gaps->upper, upper))) {
            continue; /* See (2). */
        }
        gap_drop(gaps, gap);
        any = true;
    }
    return any;
}

void gaps_learn(struct gaps *gaps, uint32_t watch, struct slice to, bool ended, uint64_t dead_count,
                uint64_t dead_ms)
{
    ASSERT(watch < GAP_WATCH_COUNT_MAX);
    mutex_lock(&gaps->mutex);
    ASSERT(gaps->watches[watch].used);
    if (dead_count > 0 && watch_settle(gaps, &gaps->watches[watch], to, ended) &&
        (gaps_unite(gaps, &dead_ms) || dead_count >= GAP_DEAD_COUNT_MIN)) {
        gap_place(gaps, place_find(gaps, true), buffer_slice(&gaps->lower),
                  buffer_slice(&gaps->upper), dead_ms);
        atomic_fetch_add_explicit(&gaps->learnt_count, 1, memory_order_relaxed);
    }
    gaps->watches[watch].used = false;
    count_change(gaps, UINT32_MAX, false);
    mutex_unlock(&gaps->mutex);
}
