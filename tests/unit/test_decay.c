/* tests/unit/test_decay.c -- averages that forget: steady rates are read as they are from the first
 * second on, and after a half-life half of the past is left. */
#include <math.h>

#include <criterion/criterion.h>

#include "node/decay.h"

static const uint32_t half_lives_s[] = {1, 2, 60, 3600, DECAY_HALF_LIFE_S_MAX};

#define NEAR(got, wanted) (fabs((got) - (wanted)) <= 1e-6 * fabs(wanted) + 1e-9)

Test(decay, half_is_left_after_a_half_life)
{
    for (size_t index = 0; index < sizeof(half_lives_s) / sizeof(half_lives_s[0]); index++) {
        struct decay decay;
        uint32_t half_life_s = half_lives_s[index];
        decay_init(&decay, half_life_s);
        double average = 1000.0;
        decay_step(&decay, half_life_s);
        average = decay_average(&decay, average, 0.0);
        cr_expect(NEAR(average, 500.0), "%u s: %f", half_life_s, average);
        cr_expect(NEAR(decay.measured, 0.5), "%u s: %f", half_life_s, decay.measured);
    }
}

Test(decay, a_steady_rate_is_right_from_its_first_second_on)
{
    for (size_t index = 0; index < sizeof(half_lives_s) / sizeof(half_lives_s[0]); index++) {
        struct decay decay;
        decay_init(&decay, half_lives_s[index]);
        double average = 0.0;
        cr_expect_eq(decay_read(&decay, average), 0.0);
        for (uint32_t second = 0; second < 200; second++) {
            decay_step(&decay, 1);
            average = decay_average(&decay, average, 37.0);
            cr_assert(NEAR(decay_read(&decay, average), 37.0), "%u s, second %u: %f",
                      half_lives_s[index], second, decay_read(&decay, average));
        }
    }
}

Test(decay, seconds_at_once_are_as_many_single_ones)
{
    struct decay single;
    struct decay whole;
    decay_init(&single, 10);
    decay_init(&whole, 10);
    double averages[2] = {5.0, 5.0};
    for (uint32_t second = 0; second < 7; second++) {
        decay_step(&single, 1);
        averages[0] = decay_average(&single, averages[0], 9.0);
    }
    decay_step(&whole, 7);
    averages[1] = decay_average(&whole, averages[1], 9.0);
    cr_expect(NEAR(averages[0], averages[1]), "%f %f", averages[0], averages[1]);
    cr_expect(NEAR(single.measured, whole.measured));
}
