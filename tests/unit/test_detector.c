/* tests/unit/test_detector.c -- when a silence makes a peer suspect, and when down. */
#include <criterion/criterion.h>

#include "base/prng.h"
#include "node/detector.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)

static const struct detector_options options = {
    .heartbeat_ms = 200, .suspect_phi = 5, .down_phi = 12, .suspect_ms = 3000, .down_ms = 10000};

static struct detector detector;
static uint64_t now_ns;

static enum node_peer_state state(void)
{
    return detector_state(&detector, now_ns);
}

static uint32_t phi(void)
{
    return detector_phi_milli(&detector, now_ns);
}

/* Connected, and heard `count` times, each after `interval_ms`. */
static void steady(uint32_t count, uint64_t interval_ms)
{
    for (uint32_t index = 0; index < count; index++) {
        now_ns += interval_ms * MS;
        detector_beat(&detector, now_ns);
    }
}

static void begin(void)
{
    now_ns = SECOND;
    detector_init(&detector, &options);
    detector_linked(&detector);
    steady(DETECTOR_WINDOW, 200);
}

/* Silence from here on, while others are asked every heartbeat and know nothing. The time until
 * the state is `wanted`, in milliseconds. */
static uint64_t silence_until(enum node_peer_state wanted)
{
    uint64_t from_ns = now_ns;
    while (state() != wanted) {
        cr_assert_lt(now_ns - from_ns, 60 * SECOND);
        now_ns += MS;
        if (state() != NODE_PEER_UP) {
            detector_asked(&detector, now_ns);
        }
    }
    return (now_ns - from_ns) / MS;
}

static bool near_to(uint64_t value, uint64_t expected, uint64_t slack)
{
    return value + slack >= expected && value <= expected + slack;
}

Test(detector, a_peer_never_heard_is_down_once_others_could_have_answered)
{
    now_ns = SECOND;
    detector_init(&detector, &options);
    cr_expect_eq(state(), NODE_PEER_SUSPECT);
    now_ns += 60 * SECOND;
    cr_expect_eq(state(), NODE_PEER_SUSPECT, "nobody was asked");
    detector_asked(&detector, now_ns);
    now_ns += 399 * MS;
    cr_expect_eq(state(), NODE_PEER_SUSPECT);
    now_ns += MS;
    cr_expect_eq(state(), NODE_PEER_DOWN);
}

/* By hand: the mean is 200 ms and the deviation its bound, 200 ms. Phi 5 lies 4.2649 deviations
 * above, 1053 ms; phi 12 lies 7.0345 above, 1607 ms. */
Test(detector, silence_after_a_steady_rhythm)
{
    begin();
    now_ns += 200 * MS;
    cr_expect_eq(phi(), 0, "nothing is late");
    now_ns += 200 * MS;
    cr_expect_eq(phi(), 800, "one deviation late: one of 6.3 is");
    now_ns -= 400 * MS;
    cr_expect(near_to(silence_until(NODE_PEER_SUSPECT), 1053, 2));
    cr_expect(near_to(silence_until(NODE_PEER_DOWN), 1607 - 1053, 3));
    detector_heard(&detector, now_ns);
    cr_expect_eq(state(), NODE_PEER_UP, "one word is enough");
}

Test(detector, phi_never_falls_while_silence_lasts)
{
    begin();
    uint32_t before = 0;
    for (uint32_t step = 0; step < 5000; step++) {
        now_ns += MS;
        cr_assert_geq(phi(), before, "after %u ms", step);
        before = phi();
    }
    cr_expect_eq(before, DETECTOR_PHI_MAX * 1000);
}

Test(detector, an_irregular_peer_is_given_more_time)
{
    begin();
    uint64_t regular_ms = silence_until(NODE_PEER_SUSPECT);
    struct prng prng;
    prng_init(&prng, 4);
    begin();
    for (uint32_t index = 0; index < 1000; index++) {
        now_ns += (100 + prng_below(&prng, 1101)) * MS; /* Mean 650, deviation 318. */
        cr_assert(index < DETECTOR_WINDOW || state() == NODE_PEER_UP, "interval %u", index);
        detector_beat(&detector, now_ns);
    }
    uint64_t irregular_ms = silence_until(NODE_PEER_SUSPECT);
    cr_expect_gt(irregular_ms, regular_ms + 600);
    cr_expect_lt(irregular_ms, 2400);
}

Test(detector, the_ceilings_hold_in_any_rhythm)
{
    begin();
    steady(DETECTOR_WINDOW, 2900);
    cr_expect_eq(silence_until(NODE_PEER_SUSPECT), 3000);
    cr_expect_leq(silence_until(NODE_PEER_DOWN), 7000);
}

Test(detector, one_long_pause_does_not_excuse_the_next)
{
    begin();
    uint64_t before_ms = silence_until(NODE_PEER_SUSPECT);
    now_ns += 60 * SECOND;
    steady(DETECTOR_WINDOW / 2, 200);
    uint64_t after_ms = silence_until(NODE_PEER_SUSPECT);
    cr_expect_gt(after_ms, before_ms);
    cr_expect_lt(after_ms, 3000);
    now_ns += SECOND;
    steady(DETECTOR_WINDOW * 2, 200); /* Both pauses have left the window. */
    cr_expect(near_to(silence_until(NODE_PEER_SUSPECT), before_ms, 1));
}

/* One way is cut: we hear nothing, but a third node does. */
Test(detector, nobody_is_down_whom_another_hears)
{
    begin();
    silence_until(NODE_PEER_SUSPECT);
    detector_vouched(&detector, now_ns);
    for (uint32_t second = 0; second < 60; second++) {
        now_ns += 900 * MS;
        cr_expect_eq(state(), NODE_PEER_SUSPECT, "in second %u", second);
        detector_vouched(&detector, now_ns);
        cr_expect_eq(state(), NODE_PEER_SUSPECT, "in second %u", second);
    }
    now_ns += 999 * MS;
    cr_expect_eq(state(), NODE_PEER_SUSPECT);
    now_ns += MS; /* Five heartbeats without another word for it. */
    cr_expect_eq(state(), NODE_PEER_DOWN);
    detector_vouched(&detector, now_ns);
    cr_expect_eq(state(), NODE_PEER_SUSPECT, "the way round is open again");
}

Test(detector, nobody_is_down_before_others_could_answer)
{
    begin();
    now_ns += 60 * SECOND;
    cr_expect_eq(state(), NODE_PEER_SUSPECT);
    detector_asked(&detector, now_ns);
    now_ns += 399 * MS;
    detector_asked(&detector, now_ns); /* Asked again: the first time counts. */
    cr_expect_eq(state(), NODE_PEER_SUSPECT);
    now_ns += MS;
    cr_expect_eq(state(), NODE_PEER_DOWN);
}

Test(detector, a_clock_that_is_behind_makes_no_silence)
{
    begin();
    now_ns -= 10 * SECOND;
    cr_expect_eq(phi(), 0);
    cr_expect_eq(state(), NODE_PEER_UP);
    detector_beat(&detector, now_ns); /* No interval below zero comes of it. */
    cr_expect(near_to(silence_until(NODE_PEER_SUSPECT), 1053, 2));
}

Test(detector, what_the_caller_slept_through_is_nobodys_silence)
{
    begin();
    now_ns += 300 * MS;
    uint32_t before = phi();
    now_ns += 60 * SECOND;
    cr_assert_eq(state(), NODE_PEER_SUSPECT);
    detector_slept(&detector, 60 * SECOND, now_ns);
    cr_expect_eq(state(), NODE_PEER_UP);
    cr_expect_eq(phi(), before);
    detector_slept(&detector, 600 * SECOND, now_ns); /* More than there was: silence ends at 0. */
    cr_expect_eq(phi(), 0);
    detector_beat(&detector, now_ns);
    cr_expect(near_to(silence_until(NODE_PEER_SUSPECT), 1053, 40), "and was no interval");
}

Test(detector, a_restart_is_no_interval_and_no_up)
{
    begin();
    detector_lost(&detector);
    cr_expect_eq(state(), NODE_PEER_SUSPECT, "at once: nothing can be asked of it");
    now_ns += 2500 * MS;
    detector_heard(&detector, now_ns); /* Its hello. */
    cr_expect_eq(state(), NODE_PEER_SUSPECT);
    detector_linked(&detector);
    cr_expect_eq(state(), NODE_PEER_UP);
    steady(2, 200);
    cr_expect(near_to(silence_until(NODE_PEER_SUSPECT), 1053, 2));
}
