/*
 * base/histogram.h -- latency distribution in constant memory.
 *
 * Log-linear: 64 linear steps per power of two, so a quantile is within 1.6 % of the truth. Values
 * are whatever unit the owner names (`latency_us`), up to 2^42; greater ones count as that.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_BUCKET_COUNT ((42 - HISTOGRAM_SUB_BITS + 2) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKET_COUNT];
    uint64_t count;
    uint64_t sum;
    uint64_t max;
};

void histogram_clear(struct histogram *histogram);
void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value at or below which `quantile` (0 to 1) of the counts lie; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

#endif
