/*
 * tests/unit/test_hot_keys.c -- the sketch finds what is asked for most, says how often within its
 * error, forgets, and keeps no more of a key than it may.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "node/hot_keys.h"

#define STRIDE 4u
#define HALF_LIFE_S 10u
#define KEYSPACE 1

static struct {
    struct hot_keys hot;
    struct decay decay;
    struct prng prng;
    struct hot_key_view views[HOT_KEYS_COUNT];
} lab;

static void begin(uint32_t stride, uint32_t bytes_max)
{
    hot_keys_init(&lab.hot, stride, bytes_max, 1);
    decay_init(&lab.decay, HALF_LIFE_S);
    prng_init(&lab.prng, 7);
}

static void ask(uint32_t key, bool write)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "key%u", key);
    hot_keys_note(&lab.hot, KEYSPACE, slice_text(text), write);
}

static void second_ends(void)
{
    decay_step(&lab.decay, 1);
    hot_keys_decay(&lab.hot, &lab.decay);
}

static uint32_t list(void)
{
    return hot_keys_list(&lab.hot, &lab.decay, lab.views, HOT_KEYS_COUNT);
}

static const struct hot_key_view *view_of(uint32_t key, uint32_t count)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "key%u", key);
    for (uint32_t index = 0; index < count; index++) {
        if (slice_equal(lab.views[index].key, slice_text(text))) {
            return &lab.views[index];
        }
    }
    return NULL;
}

/* Keys 0, 1, 2 take 30, 20 and 10 % of 1000 operations a second; the rest are spread over so many
 * that each is asked seldom. Of key 1 all are writes. */
static void skewed_second(void)
{
    for (uint32_t operation = 0; operation < 1000; operation++) {
        uint32_t draw = operation % 100;
        uint32_t key = draw < 30 ? 0 : draw < 50 ? 1 : draw < 60 ? 2 : 3;
        key = key < 3 ? key : 3 + (uint32_t)prng_below(&lab.prng, 100000);
        ask(key, key == 1);
    }
    second_ends();
}

Test(hot_keys, what_is_asked_most_comes_first_and_its_rate_is_within_the_error)
{
    static const double rates[] = {300.0, 200.0, 100.0};
    begin(STRIDE, HOT_KEYS_BYTES_MAX);
    for (uint32_t second = 0; second < 60; second++) {
        skewed_second();
        if (second < 5) {
            continue;
        }
        uint32_t count = list();
        cr_assert_geq(count, 3);
        for (uint32_t key = 0; key < 3; key++) {
            const struct hot_key_view *view = view_of(key, count);
            cr_assert_eq(view, &lab.views[key], "second %u, key %u", second, key);
            /* Off by more than 2 sigma is 1 of 20; by twice as much is none of these. */
            cr_assert_lt(fabs(view->rate - rates[key]), 2 * view->error,
                         "second %u, key %u: %f +- %f", second, key, view->rate, view->error);
            cr_assert_lt(view->error, rates[key], "second %u", second);
            cr_assert_eq(view->keyspace, KEYSPACE);
        }
        cr_assert_gt(lab.views[1].write_rate, 0.95 * lab.views[1].rate);
        cr_assert_eq(lab.views[0].write_rate, 0.0);
    }
}

Test(hot_keys, keys_that_are_asked_alike_are_none)
{
    begin(STRIDE, HOT_KEYS_BYTES_MAX);
    for (uint32_t second = 0; second < 30; second++) {
        for (uint32_t operation = 0; operation < 1000; operation++) {
            ask((uint32_t)prng_below(&lab.prng, 100000), false);
        }
        second_ends();
    }
    cr_expect_eq(lab.hot.used, HOT_KEYS_COUNT);
    cr_expect_eq(list(), 0);
}

/* Invariant (1), without sampling and decay, against counts of our own. */
Test(hot_keys, a_count_is_never_too_low_and_at_most_its_error_too_high)
{
    enum { KEY_COUNT = 1000 };
    static uint32_t counts[KEY_COUNT];
    begin(1, HOT_KEYS_BYTES_MAX);
    uint32_t total = 50000;
    for (uint32_t operation = 0; operation < total; operation++) {
        uint64_t draw = prng_below(&lab.prng, 1 + prng_below(&lab.prng, KEY_COUNT));
        counts[draw]++;
        ask((uint32_t)draw, false);
    }
    uint32_t held[KEY_COUNT] = {0};
    for (uint32_t index = 0; index < HOT_KEYS_COUNT; index++) {
        const struct hot_key *key = &lab.hot.keys[index];
        char text[32];
        memcpy(text, key->bytes, key->kept);
        text[key->kept] = '\0';
        uint32_t number = (uint32_t)atoi(text + 3);
        held[number]++;
        cr_assert(lab.hot.counts[index] >= counts[number], "key %u", number);
        cr_assert(lab.hot.counts[index] <= counts[number] + key->error, "key %u", number);
    }
    for (uint32_t number = 0; number < KEY_COUNT; number++) {
        bool must = counts[number] > total / HOT_KEYS_COUNT;
        cr_assert_geq(held[number], must ? 1 : 0, "invariant (2), key %u", number);
        cr_assert_leq(held[number], 1, "key %u", number);
    }
}

Test(hot_keys, what_was_hot_is_forgotten)
{
    begin(STRIDE, HOT_KEYS_BYTES_MAX);
    for (uint32_t second = 0; second < 20; second++) {
        skewed_second();
    }
    uint32_t count = list();
    double before = view_of(0, count)->rate;
    for (uint32_t second = 0; second < HALF_LIFE_S; second++) {
        second_ends();
    }
    count = list();
    double after = view_of(0, count)->rate;
    cr_expect_gt(after, 0.3 * before);
    cr_expect_lt(after, 0.5 * before, "the average is of more seconds, too");
    for (uint32_t second = 0; second < 20 * HALF_LIFE_S; second++) {
        second_ends();
    }
    cr_expect_eq(list(), 0);
}

Test(hot_keys, no_more_of_a_key_is_kept_than_may_be)
{
    uint8_t key[3 * HOT_KEYS_BYTES_MAX];
    for (uint32_t bytes_max = 0; bytes_max <= HOT_KEYS_BYTES_MAX; bytes_max += 16) {
        begin(1, bytes_max);
        memset(key, 'a', sizeof(key));
        for (uint32_t asked = 0; asked < 100; asked++) {
            hot_keys_note(&lab.hot, KEYSPACE, slice_make(key, sizeof(key)), false);
            hot_keys_note(&lab.hot, KEYSPACE + 1, slice_make(key, sizeof(key)), false);
        }
        second_ends();
        cr_expect_eq(list(), 2, "the same bytes in two keyspaces are two keys");
        cr_expect_eq(lab.views[0].size, sizeof(key));
        cr_expect_eq(lab.views[0].key.size, bytes_max);
        cr_expect_neq(lab.views[0].token, lab.views[1].token);
    }
}

Test(hot_keys, without_a_stride_nothing_is_sampled)
{
    begin(0, HOT_KEYS_BYTES_MAX);
    for (uint32_t second = 0; second < 3; second++) {
        skewed_second();
    }
    cr_expect_eq(lab.hot.used, 0);
    cr_expect_eq(list(), 0);
}
