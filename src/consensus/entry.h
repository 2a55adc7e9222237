/* What stands before each of our entries in libraft's log: how long it really is (libraft wants
 * multiples of 8), its format, and its own index, so that a file that is missing or was taken for
 * another is noticed. Then the group header and the records. Pure. */
#pragma once

#include "base/bytes.h"
#include <endian.h>
#include <stdint.h>

#define ENTRY_PREFIX_BYTES 16
#define ENTRY_VERSION      1
#define ENTRY_ALIGNMENT    8

enum entry_check { ENTRY_FINE, ENTRY_NEWER, ENTRY_DAMAGED };

/* "MCE", the version; length; index. Little endian. */
static inline void entry_prefix_write(uint8_t *at, uint32_t length, uint64_t index)
{
    const uint8_t magic[4] = {'M', 'C', 'E', ENTRY_VERSION};
    length = htole32(length);
    index = htole64(index);
    memcpy(at, magic, 4);
    memcpy(at + 4, &length, 4);
    memcpy(at + 8, &index, 8);
}

/* `content` and `index` are set when it is fine; the content points into `entry`. */
static inline enum entry_check entry_prefix_read(struct bytes entry, struct bytes *content,
                                                 uint64_t *index)
{
    uint32_t length;
    uint64_t own;

    if (entry.length < ENTRY_PREFIX_BYTES || memcmp(entry.at, "MCE", 3) != 0) {
        return ENTRY_DAMAGED;
    }
    if (entry.at[3] != ENTRY_VERSION) {
        return entry.at[3] > ENTRY_VERSION ? ENTRY_NEWER : ENTRY_DAMAGED;
    }
    memcpy(&length, entry.at + 4, 4);
    memcpy(&own, entry.at + 8, 8);
    length = le32toh(length);
    if (length > entry.length - ENTRY_PREFIX_BYTES) {
        return ENTRY_DAMAGED;
    }
    *content = (struct bytes){entry.at + ENTRY_PREFIX_BYTES, length};
    *index = le64toh(own);
    return ENTRY_FINE;
}
