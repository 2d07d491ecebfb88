/* node/hot_keys.c -- a sampled, decayed Space-Saving sketch. */
#include "node/hot_keys.h"

#include <string.h>

#include "base/contract.h"
#include "base/token.h"

void hot_keys_init(struct hot_keys *hot, uint32_t stride, uint32_t bytes_max, uint64_t seed)
{
    ASSERT(stride <= HOT_KEYS_STRIDE_MAX);
    ASSERT(bytes_max <= HOT_KEYS_BYTES_MAX);
    memset(hot, 0, sizeof(*hot));
    hot->stride = stride;
    hot->bytes_max = bytes_max;
    prng_init(&hot->prng, seed);
    hot->left = stride;
}

/* From 1 to 2 * stride - 1, stride on average: an even distance could march in step with a load
 * that repeats itself. */
static uint32_t distance_draw(struct hot_keys *hot)
{
    return 1 + (uint32_t)prng_below(&hot->prng, 2 * (uint64_t)hot->stride - 1);
}

static uint32_t place_find(const struct hot_keys *hot, uint64_t token)
{
    uint32_t index = 0;
    while (index < hot->used && hot->tokens[index] != token) {
        index++;
    }
    return index;
}

static uint32_t place_least(const struct hot_keys *hot)
{
    uint32_t least = 0;
    for (uint32_t index = 1; index < hot->used; index++) {
        least = hot->counts[index] < hot->counts[least] ? index : least;
    }
    return least;
}

void hot_keys_sample(struct hot_keys *hot, uint16_t keyspace, struct slice key, bool write)
{
    hot->left = distance_draw(hot);
    uint64_t token = token_of(keyspace, key);
    uint32_t index = place_find(hot, token);
    struct hot_key *place = &hot->keys[index];
    if (index == hot->used) {
        double inherited = 0.0;
        if (hot->used < HOT_KEYS_COUNT) {
            hot->used++;
        } else {
            index = place_least(hot);
            place = &hot->keys[index];
            inherited = hot->counts[index];
        }
        size_t kept = key.size < hot->bytes_max ? key.size : hot->bytes_max;
        hot->tokens[index] = token;
        hot->counts[index] = inherited;
        *place = (struct hot_key){.error = inherited,
                                  .keyspace = keyspace,
                                  .kept = (uint8_t)kept,
                                  .size = (uint32_t)key.size};
        memcpy(place->bytes, key.data, kept);
    }
    hot->counts[index] += 1.0;
    place->writes += write ? 1.0 : 0.0;
}

void hot_keys_decay(struct hot_keys *hot, const struct decay *decay)
{
    for (uint32_t index = 0; index < hot->used; index++) {
        hot->counts[index] *= decay->left;
        hot->keys[index].error *= decay->left;
        hot->keys[index].writes *= decay->left;
    }
}

/* By Newton's method; pure libraries have no sqrt(). */
static double square_root(double value)
{
    enum { STEP_COUNT = 40 };
    double root = value < 1.0 ? 1.0 : value;
    for (int step = 0; step < STEP_COUNT; step++) {
        root = (root + value / root) / 2;
    }
    return root;
}

/* How many operations a second a count of 1 stands for. Each sample stands for `stride` of them; a
 * steady rate of one sample a second has come to as many as there are seconds, each decayed, and
 * half of the one that runs. */
static double rate_of_one(const struct hot_keys *hot, const struct decay *decay)
{
    double seconds = decay->keep * decay->measured / (1.0 - decay->keep) + 0.5;
    return (double)hot->stride / seconds;
}

static void view_fill(const struct hot_keys *hot, uint32_t index, double one,
                      struct hot_key_view *view)
{
    const struct hot_key *key = &hot->keys[index];
    *view =
        (struct hot_key_view){.token = hot->tokens[index],
                              .keyspace = key->keyspace,
                              .size = key->size,
                              .key = slice_make(key->bytes, key->kept),
                              .rate = hot->counts[index] * one,
                              .error = (key->error + 2.0 * square_root(hot->counts[index])) * one,
                              .write_rate = key->writes * one};
}

/* Greater rates first; the order of equal ones must not depend on their places. */
static bool view_precedes(const struct hot_key_view *a, const struct hot_key_view *b)
{
    return a->rate != b->rate ? a->rate > b->rate : a->token < b->token;
}

uint32_t hot_keys_list(const struct hot_keys *hot, const struct decay *decay,
                       struct hot_key_view *views, uint32_t capacity)
{
    double one = rate_of_one(hot, decay);
    uint32_t count = 0;
    for (uint32_t index = 0; capacity > 0 && index < hot->used; index++) {
        struct hot_key_view view;
        view_fill(hot, index, one, &view);
        if (view.rate <= view.error) {
            continue;
        }
        uint32_t at = count;
        if (count == capacity) {
            if (!view_precedes(&view, &views[capacity - 1])) {
                continue;
            }
            at--;
        } else {
            count++;
        }
        for (; at > 0 && view_precedes(&view, &views[at - 1]); at--) {
            views[at] = views[at - 1];
        }
        views[at] = view;
    }
    return count;
}
