/* SipHash-1-3 with a key of 128 bits: for hash tables whose keys strangers choose, so that nobody
 * can make them all fall into one bucket. Which bucket a key falls into differs from start to
 * start: nothing may depend on it. And one without a key for direct-mapped caches, where a
 * collision costs a look-up and never a chain. */
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

static inline void hash_begin_(uint64_t v[4], const struct hash_key *key)
{
    v[0] = key->low ^ 0x736f6d6570736575u;
    v[1] = key->high ^ 0x646f72616e646f6du;
    v[2] = key->low ^ 0x6c7967656e657261u;
    v[3] = key->high ^ 0x7465646279746573u;
}

static inline void hash_word_(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    hash_round_(v);
    v[0] ^= word;
}

static inline uint64_t hash_end_(uint64_t v[4])
{
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) {
        hash_round_(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Jean-Philippe Aumasson, Daniel J. Bernstein: SipHash, a fast short-input PRF; one round a word,
 * three at the end. */
static inline uint64_t hash_bytes(struct bytes bytes, const struct hash_key *key)
{
    const uint8_t *at = bytes.at;
    size_t left = bytes.length;
    uint64_t v[4], word;

    hash_begin_(v, key);
    for (; left >= 8; at += 8, left -= 8) {
        memcpy(&word, at, 8);
        hash_word_(v, word);
    }
    word = (uint64_t)bytes.length << 56;
    for (size_t i = 0; i < left; i++) {
        word |= (uint64_t)at[i] << (8 * i);
    }
    hash_word_(v, word);
    return hash_end_(v);
}

/* Of what is in two words already; not the same as hash_bytes of them. */
static inline uint64_t hash_words(uint64_t a, uint64_t b, const struct hash_key *key)
{
    uint64_t v[4];

    hash_begin_(v, key);
    hash_word_(v, a);
    hash_word_(v, b);
    return hash_end_(v);
}

/* Multiplies eight bytes at a time; for caches only. */
static inline uint32_t hash_for_cache(struct bytes bytes)
{
    uint64_t hash = bytes.length * 0x9e3779b97f4a7c15u;
    const uint8_t *at = bytes.at;
    size_t left = bytes.length;

    for (; left >= 8; at += 8, left -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    hash = (hash ^ bytes_tail(at, left)) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(hash >> 32);
}
