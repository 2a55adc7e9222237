/* SipHash-1-3 with a key of 128 bits: for hash tables whose keys strangers choose, so that nobody
 * can make them all fall into one bucket. Which bucket a key falls into differs from start to
 * start: nothing may depend on it. */
#pragma once

#include "base/bytes.h"
#include <stdint.h>
#include <string.h>

struct hash_key {
    uint64_t low, high;
};

static inline uint64_t hash_rotate_(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static inline void hash_round_(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = hash_rotate_(v[1], 13) ^ v[0];
    v[0] = hash_rotate_(v[0], 32);
    v[2] += v[3];
    v[3] = hash_rotate_(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = hash_rotate_(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = hash_rotate_(v[1], 17) ^ v[2];
    v[2] = hash_rotate_(v[2], 32);
}

/* Jean-Philippe Aumasson, Daniel J. Bernstein: SipHash, a fast short-input PRF; one round a word,
 * three at the end. */
static inline uint64_t hash_bytes(struct bytes bytes, const struct hash_key *key)
{
    uint64_t v[4] = {key->low ^ 0x736f6d6570736575u, key->high ^ 0x646f72616e646f6du,
                     key->low ^ 0x6c7967656e657261u, key->high ^ 0x7465646279746573u};
    const uint8_t *at = bytes.at;
    size_t left = bytes.length;
    uint64_t word;

    for (; left >= 8; at += 8, left -= 8) {
        memcpy(&word, at, 8);
        v[3] ^= word;
        hash_round_(v);
        v[0] ^= word;
    }
    word = (uint64_t)bytes.length << 56;
    for (size_t i = 0; i < left; i++) {
        word |= (uint64_t)at[i] << (8 * i);
    }
    v[3] ^= word;
    hash_round_(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) {
        hash_round_(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
