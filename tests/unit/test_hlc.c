/* tests/unit/test_hlc.c -- a clock that goes forward over jumps, peers and restarts. */
#include <criterion/criterion.h>

#include "base/hlc.h"
#include "base/prng.h"

/* An env whose wall clock is set by hand. */
struct hand_env {
    struct env env;
    int64_t now_ms;
};

static int64_t hand_realtime_ms(struct env *env)
{
    return container_of(env, struct hand_env, env)->now_ms;
}

static const struct env_ops hand_ops = {.realtime_ms = hand_realtime_ms};

static struct hand_env hand_at(int64_t now_ms)
{
    return (struct hand_env){.env = {.ops = &hand_ops}, .now_ms = now_ms};
}

Test(hlc, issues_the_wall_clock_then_counts)
{
    struct hand_env hand = hand_at(1000);
    struct hlc hlc;
    hlc_init(&hlc, &hand.env, 0);
    hlc_raise_limit(&hlc, hlc_make(5000));
    uint64_t time = 0;
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_OK);
    cr_assert_eq(time, hlc_make(1000));
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_OK);
    cr_assert_eq(time, hlc_make(1000) + 1);
    hand.now_ms = 900;
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_OK);
    cr_assert_eq(time, hlc_make(1000) + 2);
    hand.now_ms = 1001;
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_OK);
    cr_assert_eq(time, hlc_make(1001));
}

Test(hlc, counter_carries_into_the_milliseconds)
{
    struct hand_env hand = hand_at(10);
    struct hlc hlc;
    hlc_init(&hlc, &hand.env, hlc_make(10) + 0xffff);
    hlc_raise_limit(&hlc, hlc_make(20));
    uint64_t time = 0;
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_OK);
    cr_assert_eq(time, hlc_make(11));
}

Test(hlc, nothing_is_issued_above_the_limit)
{
    struct hand_env hand = hand_at(0);
    struct hlc hlc;
    hlc_init(&hlc, &hand.env, 100);
    uint64_t time = 7;
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_WOULD_BLOCK);
    cr_assert_eq(time, 7, "an out-parameter is set only on OK");
    hlc_raise_limit(&hlc, 102);
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_OK);
    cr_assert_eq(time, 101);
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_OK);
    cr_assert_eq(time, 102);
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_WOULD_BLOCK);
    hlc_raise_limit(&hlc, 50);
    cr_assert_eq(hlc.limit, 102, "a limit never goes back");
    hand.now_ms = 1;
    hlc_raise_limit(&hlc, hlc_make(1) - 1);
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_WOULD_BLOCK, "the wall is above the limit");
    hlc_raise_limit(&hlc, hlc_make(1));
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_OK);
    cr_assert_eq(time, hlc_make(1));
}

Test(hlc, hears_peers_but_not_those_far_ahead)
{
    struct hand_env hand = hand_at(1000);
    struct hlc hlc;
    hlc_init(&hlc, &hand.env, 0);
    hlc_raise_limit(&hlc, hlc_make(9000));
    cr_assert(hlc_hear(&hlc, hlc_make(1500) + 5, 500));
    uint64_t time = 0;
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_OK);
    cr_assert_eq(time, hlc_make(1500) + 6);
    cr_assert_not(hlc_hear(&hlc, hlc_make(1501), 500));
    cr_assert_eq(hlc_now(&hlc), time);
    cr_assert(hlc_hear(&hlc, hlc_make(1), 500));
    cr_assert_eq(hlc_now(&hlc), time);
    cr_assert_not(hlc_hear(&hlc, UINT64_MAX, 500));
    hand.now_ms = 2000;
    cr_assert_eq(hlc_now(&hlc), hlc_make(2000));
}

Test(hlc, a_wall_clock_that_is_nonsense_does_no_harm)
{
    struct hand_env hand = hand_at(INT64_MIN);
    struct hlc hlc;
    hlc_init(&hlc, &hand.env, 5);
    hlc_raise_limit(&hlc, 10);
    uint64_t time = 0;
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_OK);
    cr_assert_eq(time, 6);
    hand.now_ms = INT64_MAX;
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_WOULD_BLOCK);
    cr_assert_eq(hlc_unix_ms(hlc_now(&hlc)), (UINT64_C(1) << 48) - 1);
    /* At the very end of time there is no next time. */
    hlc_raise_limit(&hlc, UINT64_MAX);
    cr_assert(hlc_hear(&hlc, UINT64_MAX, 0));
    cr_assert_eq(hlc_issue(&hlc, &time), STATUS_WOULD_BLOCK);
}

/* Drawn runs of jumps, messages, raises and restarts: issued times only grow. */
Test(hlc, issued_times_grow_over_everything)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct hand_env hand = hand_at(100000);
        struct hlc hlc;
        hlc_init(&hlc, &hand.env, 0);
        uint64_t durable = 0;
        uint64_t last = 0;
        int issued = 0;
        for (int step = 0; step < 2000; step++) {
            hand.now_ms = 100000 + step + (int64_t)prng_below(&prng, 2000) - 1000;
            uint64_t time = 0;
            switch (prng_below(&prng, 20)) {
            case 0:
                hlc_init(&hlc, &hand.env, durable);
                break;
            case 1:
            case 2:
            case 3:
                if (hlc_now(&hlc) + hlc_make(500) > durable) {
                    durable = hlc_now(&hlc) + hlc_make(500);
                }
                hlc_raise_limit(&hlc, durable);
                break;
            case 4:
                hlc_hear(&hlc, hlc_make((uint64_t)hand.now_ms + prng_below(&prng, 600)), 500);
                break;
            default:
                if (hlc_issue(&hlc, &time) == STATUS_OK) {
                    cr_assert_gt(time, last, "seed %d step %d", (int)seed, step);
                    cr_assert_leq(time, durable, "seed %d step %d", (int)seed, step);
                    last = time;
                    issued++;
                }
                break;
            }
        }
        cr_assert_gt(issued, 100, "seed %d", (int)seed);
    }
}
