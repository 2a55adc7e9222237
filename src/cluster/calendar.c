/* See calendar.h. */
#include "cluster/calendar.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return left < right ? -1 : left > right;
}

int64_t calendar_choose(const int64_t *clocks_ms, size_t count, const int64_t *counted_ms)
{
    int64_t sorted[CALENDAR_CLOCKS_MAX];

    assert(count > 0 && count <= CALENDAR_CLOCKS_MAX);
    memcpy(sorted, clocks_ms, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    int64_t lower = sorted[(count - 1) / 2], upper = sorted[count / 2];
    if (!counted_ms) {
        return lower;
    }
    return llabs(upper - *counted_ms) < llabs(lower - *counted_ms) ? upper : lower;
}
