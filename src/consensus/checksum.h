/* The two checksums of the files under raft/: XXH64 over the content of our snapshots (fast in
 * plain C, tells any flipped byte), and the CRC-32 that libraft puts into its segments, so that
 * they can be looked at before libraft does. Pure. */
#pragma once

#include "base/bytes.h"
#include <stdint.h>

/* XXH64 (seed 0) over pieces as they come. */
struct checksum {
    uint64_t lanes[4];
    uint64_t total_bytes;
    uint8_t buffer[32];
    uint32_t buffered;
};

void checksum_init(struct checksum *checksum);
void checksum_add(struct checksum *checksum, const void *base, size_t length);
uint64_t checksum_value(const struct checksum *checksum);

/* CRC-32, polynomial 0x04c11db7, most significant bit first, not inverted: libraft's byteCrc32. */
struct crc32 {
    uint32_t table[256];
};

void crc32_init(struct crc32 *crc);
uint32_t crc32_compute(const struct crc32 *crc, struct bytes bytes);
/* Whether changing at most `bits_max` bits of one byte of `bytes` explains that its checksum is
 * `computed` while `expected` was stored. Chance says yes for one in 2^29 / length (one bit) or one
 * in 2^24 / length (eight). */
bool crc32_is_one_byte_off(const struct crc32 *crc, struct bytes bytes, uint32_t computed,
                           uint32_t expected, int bits_max);
