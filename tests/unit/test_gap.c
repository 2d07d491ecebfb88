/* tests/unit/test_gap.c -- lsm/gap.h against a plain array of what lives. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/prng.h"
#include "lsm/gap.h"

#define KEY_COUNT 300u
#define WALKER_COUNT 6u

static struct gaps gaps;
static char texts[KEY_COUNT + 1][8];

static void setup(void)
{
    gaps_init(&gaps);
    for (uint32_t i = 0; i <= KEY_COUNT; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%05u", (unsigned)i);
    }
}

static void teardown(void)
{
    gaps_deinit(&gaps);
}

TestSuite(gap, .init = setup, .fini = teardown, .timeout = 60);

static struct slice key_of(uint32_t i)
{
    return slice_text(texts[i]);
}

/* The least key index at or above a bound. */
static uint32_t index_of(struct slice bound)
{
    uint32_t i = 0;
    while (i < KEY_COUNT && slice_compare(key_of(i), bound) < 0) {
        i++;
    }
    return i;
}

static void learn(uint32_t lower, uint32_t upper, uint64_t dead_ms)
{
    uint32_t watch = gaps_watch(&gaps, key_of(lower), false);
    cr_assert_neq(watch, GAP_WATCH_NONE);
    gaps_learn(&gaps, watch, key_of(upper), false, GAP_DEAD_COUNT_MIN, dead_ms);
}

static bool jumps(uint32_t from, bool reverse, uint64_t now_ms, uint32_t *to)
{
    struct buffer end = {0};
    bool ended = false;
    bool found = gaps_find(&gaps, key_of(from), reverse, now_ms, &end, &ended);
    cr_assert(!found || !ended);
    *to = index_of(buffer_slice(&end));
    buffer_deinit(&end);
    return found;
}

Test(gap, is_jumped_over_both_ways)
{
    uint32_t to = 0;
    learn(10, 20, 0);
    cr_assert_not(jumps(9, false, 0, &to));
    cr_assert(jumps(10, false, 0, &to));
    cr_assert_eq(to, 20);
    cr_assert(jumps(19, false, 0, &to));
    cr_assert_not(jumps(20, false, 0, &to));
    cr_assert_not(jumps(21, true, 0, &to));
    cr_assert(jumps(20, true, 0, &to));
    cr_assert_eq(to, 10);
    cr_assert(jumps(11, true, 0, &to));
    cr_assert_not(jumps(10, true, 0, &to));
}

Test(gap, of_few_cells_is_not_worth_a_place_but_makes_another_larger)
{
    uint32_t to = 0;
    uint32_t watch = gaps_watch(&gaps, key_of(20), false);
    gaps_learn(&gaps, watch, key_of(30), false, GAP_DEAD_COUNT_MIN - 1, 0);
    cr_assert_not(jumps(20, false, 0, &to));
    learn(10, 20, 0);
    watch = gaps_watch(&gaps, key_of(20), false);
    gaps_learn(&gaps, watch, key_of(30), false, 1, 0);
    cr_assert(jumps(10, false, 0, &to));
    cr_assert_eq(to, 30);
    cr_assert_eq(gaps.gap_count, 1);
}

Test(gap, of_expired_cells_is_none_before_their_time)
{
    uint32_t to = 0;
    learn(10, 20, 1000);
    cr_assert_not(jumps(10, false, 999, &to));
    cr_assert(jumps(10, false, 1000, &to));
}

Test(gap, is_cut_in_two_by_a_write)
{
    uint32_t to = 0;
    learn(10, 20, 0);
    gaps_cut(&gaps, key_of(15));
    cr_assert(jumps(10, false, 0, &to));
    cr_assert_eq(to, 15);
    cr_assert_not(jumps(15, false, 0, &to));
    cr_assert(jumps(16, false, 0, &to));
    cr_assert_eq(to, 20);
    gaps_cut_range(&gaps, slice_make(NULL, 0), slice_make(NULL, 0));
    cr_assert_eq(gaps.gap_count, 0);
    cr_assert_eq(gaps.count, 0);
}

Test(gap, a_write_during_the_walk_is_never_in_what_is_learnt)
{
    uint32_t to = 0;
    uint32_t watch = gaps_watch(&gaps, key_of(10), false);
    gaps_cut(&gaps, key_of(15));
    gaps_learn(&gaps, watch, key_of(20), false, GAP_DEAD_COUNT_MIN, 0);
    cr_assert(jumps(10, false, 0, &to));
    cr_assert_eq(to, 15);
    watch = gaps_watch(&gaps, key_of(50), true);
    gaps_cut(&gaps, key_of(45));
    gaps_learn(&gaps, watch, key_of(40), false, GAP_DEAD_COUNT_MIN, 0);
    cr_assert(jumps(50, true, 0, &to));
    cr_assert_eq(to, 46);
    watch = gaps_watch(&gaps, key_of(60), false);
    gaps_cut(&gaps, key_of(60));
    gaps_learn(&gaps, watch, key_of(70), false, GAP_DEAD_COUNT_MIN, 0);
    cr_assert_not(jumps(65, false, 0, &to));
}

Test(gap, the_one_not_used_for_the_longest_makes_room)
{
    uint32_t to = 0;
    for (uint32_t i = 0; i < GAP_COUNT_MAX; i++) {
        learn(10 * i, 10 * i + 5, 0);
    }
    cr_assert(jumps(0, false, 0, &to));
    learn(290, 295, 0);
    cr_assert(jumps(0, false, 0, &to));
    cr_assert_not(jumps(10, false, 0, &to));
    cr_assert(jumps(290, false, 0, &to));
    cr_assert_eq(gaps.gap_count, GAP_COUNT_MAX);
}

Test(gap, a_long_bound_is_not_remembered)
{
    static uint8_t bytes[GAP_KEY_SIZE_MAX + 1];
    cr_assert_eq(gaps_watch(&gaps, slice_make(bytes, sizeof(bytes)), false), GAP_WATCH_NONE);
    uint32_t to = 0;
    learn(10, 20, 0);
    memset(bytes, '0', sizeof(bytes)); /* A key between 9 and 10, then one in the gap. */
    gaps_cut(&gaps, slice_make(bytes, sizeof(bytes)));
    cr_assert(jumps(10, false, 0, &to));
    memcpy(bytes, "00015", 5);
    gaps_cut(&gaps, slice_make(bytes, sizeof(bytes)));
    cr_assert_not(jumps(15, false, 0, &to) && to > 15);
}

/* A walker as an iterator is: looks at one key after another, and watches from the start. */
struct walker {
    bool active;
    bool reverse;
    uint32_t watch;
    uint32_t at; /* Forward: the next key. Reverse: the key above the next. */
    uint64_t dead_count;
    uint64_t dead_ms;
};

/* 0: lives; else dead from that time on. */
static uint64_t dead_from[KEY_COUNT];
static uint64_t now_ms;
static uint64_t jump_total;

static void jump_check(uint32_t from, bool reverse, uint64_t seed)
{
    bool open = reverse ? from == KEY_COUNT : from == 0;
    struct buffer end = {0};
    bool ended = false;
    struct slice bound = open ? slice_make(NULL, 0) : key_of(from);
    while (gaps_find(&gaps, bound, reverse, now_ms, &end, &ended)) {
        uint32_t to = ended ? (reverse ? 0 : KEY_COUNT) : index_of(buffer_slice(&end));
        uint32_t lower = reverse ? to : from;
        uint32_t upper = reverse ? from : to;
        cr_assert_leq(lower, upper, "seed %lu", seed);
        for (uint32_t i = lower; i < upper; i++) {
            cr_assert(dead_from[i] != 0 && dead_from[i] <= now_ms, "seed %lu: %u lives in a gap",
                      seed, i);
        }
        jump_total += upper - lower;
        from = to;
        bound = buffer_slice(&end);
        if (ended) {
            break;
        }
    }
    buffer_deinit(&end);
}

static void walker_step(struct walker *walker, struct prng *prng)
{
    if (!walker->active) {
        walker->reverse = prng_chance(prng, 1, 2);
        walker->at = (uint32_t)prng_below(prng, KEY_COUNT + 1);
        bool open = walker->reverse ? walker->at == KEY_COUNT : walker->at == 0;
        walker->watch =
            gaps_watch(&gaps, open ? slice_make(NULL, 0) : key_of(walker->at), walker->reverse);
        walker->active = walker->watch != GAP_WATCH_NONE;
        walker->dead_count = GAP_DEAD_COUNT_MIN - 3;
        walker->dead_ms = 1;
        return;
    }
    bool ended = walker->at == (walker->reverse ? 0 : KEY_COUNT);
    uint32_t key = walker->reverse ? walker->at - 1 : walker->at;
    if (ended || dead_from[key] == 0 || dead_from[key] > now_ms || prng_chance(prng, 1, 60)) {
        struct slice to = ended ? slice_make(NULL, 0) : key_of(walker->at);
        gaps_learn(&gaps, walker->watch, to, ended, walker->dead_count, walker->dead_ms);
        walker->active = false;
        return;
    }
    walker->dead_count++;
    walker->dead_ms = dead_from[key] > walker->dead_ms ? dead_from[key] : walker->dead_ms;
    walker->at = walker->reverse ? key : key + 1;
}

Test(gap, nothing_that_lives_is_ever_in_one)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct prng prng;
        struct walker walkers[WALKER_COUNT] = {0};
        prng_init(&prng, seed);
        now_ms = 100;
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            dead_from[i] = prng_chance(&prng, 1, 40) ? 0 : 1 + prng_below(&prng, 110);
        }
        for (uint32_t step = 0; step < 6000; step++) {
            uint64_t kind = prng_below(&prng, 1000);
            uint32_t key = (uint32_t)prng_below(&prng, KEY_COUNT);
            if (kind < 12) {
                gaps_cut(&gaps, key_of(key));
                dead_from[key] = prng_chance(&prng, 1, 3) ? now_ms + prng_below(&prng, 3) : 0;
            } else if (kind < 13) {
                uint32_t upper = key + (uint32_t)prng_below(&prng, KEY_COUNT - key);
                gaps_cut_range(&gaps, key_of(key), key_of(upper));
                for (uint32_t i = key; i < upper; i++) {
                    dead_from[i] = 0;
                }
            } else if (kind < 60) {
                dead_from[key] = 1;
            } else if (kind < 65) {
                now_ms++;
            } else if (kind < 100) {
                jump_check(key, prng_chance(&prng, 1, 2), seed);
            } else {
                walker_step(&walkers[prng_below(&prng, WALKER_COUNT)], &prng);
            }
        }
        gaps_deinit(&gaps);
        gaps_init(&gaps);
    }
    cr_assert_gt(jump_total, 10000, "only %lu keys were jumped over", jump_total);
}
