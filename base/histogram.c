/*
 * base/histogram.c -- counts in log-linear buckets.
 *
 * Values below 2^6 have a bucket each; above, every power of two is cut into 64 steps. A quantile
 * answers the upper edge of its bucket, but never more than the greatest value seen.
 */
#include "base/histogram.h"

#include <stddef.h>

#include "base/contract.h"

#define HISTOGRAM_VALUE_MAX (UINT64_C(1) << 42)
#define HISTOGRAM_SUB_COUNT (1u << HISTOGRAM_SUB_BITS)

STATIC_ASSERT(((42 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS) < HISTOGRAM_BUCKET_COUNT,
              "the greatest value has a bucket");

void histogram_clear(struct histogram *histogram)
{
    ASSERT(histogram != NULL);
    *histogram = (struct histogram){0};
}

static size_t bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_SUB_COUNT) {
        return (size_t)value;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((size_t)shift << HISTOGRAM_SUB_BITS) + (size_t)(value >> shift);
}

/* The greatest value that bucket_of() puts there. */
static uint64_t bucket_edge(size_t bucket)
{
    if (bucket < HISTOGRAM_SUB_COUNT) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t step = bucket % HISTOGRAM_SUB_COUNT + HISTOGRAM_SUB_COUNT;
    return ((step + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    ASSERT(histogram != NULL);
    if (value > HISTOGRAM_VALUE_MAX) {
        value = HISTOGRAM_VALUE_MAX;
    }
    histogram->counts[bucket_of(value)]++;
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max) {
        histogram->max = value;
    }
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    ASSERT(into != NULL);
    ASSERT(from != NULL);
    for (size_t bucket = 0; bucket < HISTOGRAM_BUCKET_COUNT; bucket++) {
        into->counts[bucket] += from->counts[bucket];
    }
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max) {
        into->max = from->max;
    }
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    ASSERT(histogram != NULL);
    ASSERT(quantile >= 0.0 && quantile <= 1.0);
    double wanted = quantile * (double)histogram->count;
    uint64_t rank = (uint64_t)wanted;
    if ((double)rank < wanted || rank == 0) {
        rank++;
    }
    uint64_t seen = 0;
    for (size_t bucket = 0; bucket < HISTOGRAM_BUCKET_COUNT; bucket++) {
        seen += histogram->counts[bucket];
        if (seen >= rank) {
            uint64_t edge = bucket_edge(bucket);
            return edge < histogram->max ? edge : histogram->max;
        }
    }
    return histogram->max; /* Empty, or `wanted` was rounded above the count. */
}
