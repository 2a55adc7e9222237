/* One level of a path as the tree stores and looks it up: short text (at most 11 bytes, as nearly
 * all is) stands in twelve bytes, zero-padded, the length last, so that comparing is two loads;
 * longer text is out of line. Private to topic. */
#pragma once

#include "base/bytes.h"
#include "base/hash.h"
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>

#define LEVEL_SHORT_BYTES 11
#define LEVEL_LONG        0xff

struct level {
    const uint8_t *at;
    uint32_t length;
    uint8_t
        text[LEVEL_SHORT_BYTES + 1]; /* packed; of a long level only the last byte, LEVEL_LONG */
    uint64_t hash;
};

static inline uint64_t level_load_(const uint8_t *at, size_t bytes)
{
    uint64_t eight = 0;
    uint32_t first, last;

    if (bytes >= 8) {
        memcpy(&eight, at, 8);
        return le64toh(eight);
    }
    if (bytes >= 4) { /* two loads that overlap */
        memcpy(&first, at, 4);
        memcpy(&last, at + bytes - 4, 4);
        return le32toh(first) | (uint64_t)le32toh(last) << (bytes - 4) * 8;
    }
    if (bytes > 0) {
        eight = at[0] | (uint64_t)at[bytes / 2] << bytes / 2 * 8 |
                (uint64_t)at[bytes - 1] << (bytes - 1) * 8;
    }
    return eight;
}

/* Packed by way of registers: writing single bytes and reading them as words would stall. */
static inline void level_init(struct level *level, const uint8_t *at, size_t length,
                              const struct hash_key *key)
{
    level->at = at;
    level->length = (uint32_t)length;
    if (length <= LEVEL_SHORT_BYTES) {
        uint64_t low = level_load_(at, length);
        uint64_t high = (length > 8 ? level_load_(at + 8, length - 8) : 0) | (uint64_t)length << 24;
        uint64_t low_bytes = htole64(low);
        uint32_t high_bytes = htole32((uint32_t)high);
        memcpy(level->text, &low_bytes, 8);
        memcpy(level->text + 8, &high_bytes, 4);
        level->hash = hash_words(low, high, key);
    } else {
        memset(level->text, 0, sizeof level->text);
        level->text[LEVEL_SHORT_BYTES] = LEVEL_LONG;
        level->hash = hash_bytes((struct bytes){at, length}, key);
    }
}

/* Takes the next level off the path [*at, end]; *at is NULL after the last one. */
static inline void level_next(struct level *level, const uint8_t **at, const uint8_t *end,
                              const struct hash_key *key)
{
    const uint8_t *from = *at;
    const uint8_t *slash = from < end ? memchr(from, '/', (size_t)(end - from)) : NULL;

    level_init(level, from, (size_t)((slash ? slash : end) - from), key);
    *at = slash ? slash + 1 : NULL;
}

static inline bool level_is(const struct level *level, char character)
{
    return level->length == 1 && level->text[0] == character;
}
