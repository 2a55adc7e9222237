/* One level of a path as the tree stores and looks it up: short text (at most 11 bytes, as nearly
 * all is) stands in twelve bytes, zero-padded, the length last, so that comparing is two loads;
 * longer text is out of line. Private to topic. */
#pragma once

#include "base/bytes.h"
#include "base/hash.h"
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

static inline void level_init(struct level *level, const uint8_t *at, size_t length,
                              const struct hash_key *key)
{
    level->at = at;
    level->length = (uint32_t)length;
    memset(level->text, 0, sizeof level->text);
    if (length <= LEVEL_SHORT_BYTES) {
        if (length > 0) {
            memcpy(level->text, at, length);
        }
        level->text[LEVEL_SHORT_BYTES] = (uint8_t)length;
        level->hash = hash_bytes((struct bytes){level->text, sizeof level->text}, key);
    } else {
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
