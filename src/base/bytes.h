/* A borrowed view of bytes: valid as long as what it points into. Never owns. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *at;
    size_t length;
};

static inline struct bytes bytes_from_string(const char *text)
{
    return (struct bytes){(const uint8_t *)text, text ? strlen(text) : 0};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

/* Up to seven bytes as a word, the first one lowest, zeros behind the last: without a call, and
 * without storing bytes that are then loaded as a word, for which a processor waits. */
static inline uint64_t bytes_tail(const uint8_t *at, size_t length)
{
    if (length >= 4) {
        uint32_t first, last;
        memcpy(&first, at, sizeof first);
        memcpy(&last, at + length - 4, sizeof last);
        return first | (uint64_t)last << 8 * (length - 4);
    }
    if (length == 0) {
        return 0;
    }
    size_t middle = length / 2;
    return at[0] | (uint64_t)at[middle] << 8 * middle |
           (uint64_t)at[length - 1] << 8 * (length - 1);
}
