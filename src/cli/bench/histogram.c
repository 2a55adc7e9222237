/* The reading side of the histogram. Adding is inline in the header, because it runs once a
 * delivery. */
#include "cli/bench/histogram.h"

#include <string.h>

void histogram_reset(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

/* The middle of a bucket. */
static uint64_t histogram_value(unsigned index)
{
    unsigned row = index >> HISTOGRAM_SUB_BITS;
    uint64_t column = index & ((1u << HISTOGRAM_SUB_BITS) - 1);
    if (row == 0) {
        return column;
    }
    unsigned shift = row - 1;
    return (((UINT64_C(1) << HISTOGRAM_SUB_BITS) + column) << shift) +
           ((UINT64_C(1) << shift) >> 1);
}

uint64_t histogram_quantile(const struct histogram *histogram, double part)
{
    if (histogram->count == 0) {
        return 0;
    }
    uint64_t wanted = (uint64_t)(part * (double)histogram->count);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > wanted) {
            uint64_t value = histogram_value(i);
            return value < histogram->most ? value : histogram->most;
        }
    }
    return histogram->most;
}
