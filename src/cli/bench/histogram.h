/* Counts of durations in buckets whose width is below 1 % of their value (like HdrHistogram):
 * constant size, no allocation, one increment a value. */
#pragma once

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7
#define HISTOGRAM_BUCKETS  ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t most; /* the largest value seen, exact */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_index(uint64_t value)
{
    if (value < (1u << HISTOGRAM_SUB_BITS)) {
        return (unsigned)value;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((shift + 1) << HISTOGRAM_SUB_BITS) +
           (unsigned)((value >> shift) & ((1u << HISTOGRAM_SUB_BITS) - 1));
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    if (value > histogram->most) {
        histogram->most = value;
    }
    histogram->buckets[histogram_index(value)]++;
}

void histogram_reset(struct histogram *histogram);
/* The value that `part` (0..1) of all values do not exceed: the middle of its bucket; 0 when empty.
 */
uint64_t histogram_quantile(const struct histogram *histogram, double part);
