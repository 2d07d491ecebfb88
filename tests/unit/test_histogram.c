/* tests/unit/test_histogram.c -- quantiles within 1.6 % of the truth. */
#include <signal.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "base/histogram.h"
#include "base/prng.h"

static struct histogram histogram; /* Too large for some stacks; each test is its own process. */
static struct histogram other;

Test(histogram, empty_answers_zero)
{
    cr_assert_eq(histogram_quantile(&histogram, 0.5), 0);
    cr_assert_eq(histogram_quantile(&histogram, 1.0), 0);
}

Test(histogram, small_values_are_exact)
{
    for (uint64_t value = 1; value <= 100; value++) {
        histogram_add(&histogram, value);
    }
    cr_assert_eq(histogram_quantile(&histogram, 0.0), 1);
    cr_assert_eq(histogram_quantile(&histogram, 0.5), 50);
    cr_assert_eq(histogram_quantile(&histogram, 0.99), 99);
    cr_assert_eq(histogram_quantile(&histogram, 1.0), 100);
    cr_assert_eq(histogram.count, 100);
    cr_assert_eq(histogram.sum, 5050);
    cr_assert_eq(histogram.max, 100);
}

/* One value alone, at every power of two and its neighbours. */
Test(histogram, one_value_is_told_within_its_bucket)
{
    for (unsigned bit = 0; bit <= 42; bit++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)(int64_t)delta;
            histogram_clear(&histogram);
            histogram_add(&histogram, 0);
            histogram_add(&histogram, value);
            histogram_add(&histogram, UINT64_MAX);
            uint64_t truth = value <= UINT64_C(1) << 42 ? value : UINT64_C(1) << 42;
            uint64_t told = histogram_quantile(&histogram, 0.5);
            cr_assert_geq(told, truth, "bit %u", bit);
            cr_assert_leq(told - truth, truth / 64, "bit %u delta %d", bit, delta);
            cr_assert_eq(histogram_quantile(&histogram, 1.0), UINT64_C(1) << 42);
        }
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Against a sorted array, over values of every magnitude; two halves merged are the whole. */
Test(histogram, quantiles_agree_with_a_sorted_array)
{
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    static struct histogram merged;
    struct prng prng;
    prng_init(&prng, 5);
    for (int index = 0; index < COUNT; index++) {
        values[index] = prng_next(&prng) >> (22 + prng_below(&prng, 42));
        histogram_add(&histogram, values[index]);
        histogram_add(index % 2 == 0 ? &other : &merged, values[index]);
    }
    histogram_merge(&merged, &other);
    qsort(values, COUNT, sizeof(values[0]), compare);
    for (int permille = 1; permille <= 1000; permille++) {
        uint64_t truth = values[(size_t)permille * COUNT / 1000 - 1];
        uint64_t told = histogram_quantile(&histogram, permille / 1000.0);
        cr_assert_geq(told, truth, "permille %d", permille);
        /* One rank more where permille / 1000.0 is above the fraction it stands for. */
        uint64_t next = values[(size_t)permille * COUNT / 1000 - (permille == 1000 ? 1 : 0)];
        cr_assert_leq(told, next + next / 64, "permille %d", permille);
        cr_assert_eq(histogram_quantile(&merged, permille / 1000.0), told);
    }
    cr_assert_eq(merged.sum, histogram.sum);
    cr_assert_eq(merged.max, histogram.max);
}

Test(histogram, a_quantile_above_one_is_a_bug, .signal = SIGABRT)
{
    histogram_quantile(&histogram, 1.5);
}
