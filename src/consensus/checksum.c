/* XXH64 as published by Yann Collet (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), and libraft's
 * CRC-32. Neither can fail. All multi-byte reads are little endian. */
#include "consensus/checksum.h"

#include <endian.h>

#define PRIME_1 0x9E3779B185EBCA87ull
#define PRIME_2 0xC2B2AE3D27D4EB4Full
#define PRIME_3 0x165667B19E3779F9ull
#define PRIME_4 0x85EBCA77C2B2AE63ull
#define PRIME_5 0x27D4EB2F165667C5ull

#define CRC32_POLYNOMIAL 0x04c11db7u

static inline uint64_t rotate(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static inline uint64_t read_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

static inline uint32_t read_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static inline uint64_t mix_round(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * PRIME_2, 31) * PRIME_1;
}

static inline uint64_t merge_round(uint64_t value, uint64_t lane)
{
    return (value ^ mix_round(0, lane)) * PRIME_1 + PRIME_4;
}

static const uint8_t *add_stripes(uint64_t lanes[4], const uint8_t *at, const uint8_t *end)
{
    uint64_t a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];
    for (; end - at >= 32; at += 32) {
        a = mix_round(a, read_u64(at));
        b = mix_round(b, read_u64(at + 8));
        c = mix_round(c, read_u64(at + 16));
        d = mix_round(d, read_u64(at + 24));
    }
    lanes[0] = a;
    lanes[1] = b;
    lanes[2] = c;
    lanes[3] = d;
    return at;
}

void checksum_init(struct checksum *checksum)
{
    *checksum = (struct checksum){
        .lanes = {PRIME_1 + PRIME_2, PRIME_2, 0, -PRIME_1},
    };
}

void checksum_add(struct checksum *checksum, const void *base, size_t length)
{
    const uint8_t *at = base;
    const uint8_t *end = at + length;

    if (length == 0) {
        return;
    }
    checksum->total_bytes += length;
    if (checksum->buffered > 0) {
        size_t room = sizeof checksum->buffer - checksum->buffered;
        size_t take = length < room ? length : room;
        memcpy(checksum->buffer + checksum->buffered, at, take);
        checksum->buffered += (uint32_t)take;
        at += take;
        if (checksum->buffered < sizeof checksum->buffer) {
            return;
        }
        add_stripes(checksum->lanes, checksum->buffer, checksum->buffer + sizeof checksum->buffer);
        checksum->buffered = 0;
    }
    at = add_stripes(checksum->lanes, at, end);
    memcpy(checksum->buffer, at, (size_t)(end - at));
    checksum->buffered = (uint32_t)(end - at);
}

uint64_t checksum_value(const struct checksum *checksum)
{
    const uint64_t *lanes = checksum->lanes;
    const uint8_t *at = checksum->buffer;
    const uint8_t *end = at + checksum->buffered;
    uint64_t value = PRIME_5;

    if (checksum->total_bytes >= 32) {
        value =
            rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
        for (unsigned i = 0; i < 4; i++) {
            value = merge_round(value, lanes[i]);
        }
    }
    value += checksum->total_bytes;
    for (; end - at >= 8; at += 8) {
        value = rotate(value ^ mix_round(0, read_u64(at)), 27) * PRIME_1 + PRIME_4;
    }
    for (; end - at >= 4; at += 4) {
        value = rotate(value ^ (read_u32(at) * PRIME_1), 23) * PRIME_2 + PRIME_3;
    }
    for (; at < end; at++) {
        value = rotate(value ^ (*at * PRIME_5), 11) * PRIME_1;
    }
    value = (value ^ (value >> 33)) * PRIME_2;
    value = (value ^ (value >> 29)) * PRIME_3;
    return value ^ (value >> 32);
}

void crc32_init(struct crc32 *crc)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i << 24;
        for (unsigned bit = 0; bit < 8; bit++) {
            value = (value << 1) ^ (value & 0x80000000u ? CRC32_POLYNOMIAL : 0);
        }
        crc->table[i] = value;
    }
}

uint32_t crc32_compute(const struct crc32 *crc, struct bytes bytes)
{
    uint32_t value = 0;
    for (size_t i = 0; i < bytes.length; i++) {
        value = (value << 8) ^ crc->table[(value >> 24) ^ bytes.at[i]];
    }
    return value;
}

bool crc32_is_one_byte_off(const struct crc32 *crc, struct bytes bytes, uint32_t computed,
                           uint32_t expected, int bits_max)
{
    /* The checksum is linear: a byte that differs by e, followed by k bytes, changes it by table[e]
     * moved on by k zero bytes. So the difference is moved back byte by byte (the low byte of a
     * table entry tells which one it is) until it is an entry itself. */
    uint8_t index_of_low_byte[256];
    uint32_t difference = computed ^ expected;

    for (unsigned i = 0; i < 256; i++) {
        index_of_low_byte[crc->table[i] & 0xff] = (uint8_t)i;
    }
    for (size_t i = 0; i < bytes.length; i++) {
        uint8_t top = index_of_low_byte[difference & 0xff];
        if (difference == crc->table[top] && __builtin_popcount(top) <= bits_max) {
            return top != 0;
        }
        difference = ((difference ^ crc->table[top]) >> 8) | ((uint32_t)top << 24);
    }
    return false;
}
