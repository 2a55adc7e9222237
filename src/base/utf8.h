/* Well-formed UTF-8 as MQTT 5, 1.5.4 wants it: no U+0000, no surrogates, no overlong forms, nothing
 * above U+10FFFF. Text is nearly always ASCII, so that is checked eight bytes at a time, inline. */
#pragma once

#include "base/bytes.h"

#define UTF8_HIGH_BITS_ 0x8080808080808080u
#define UTF8_PADDING_   0x6161616161616161u

/* True when the eight bytes are ASCII and none is NUL: adding 0x7f carries into the high bit of
 * every other byte. */
static inline bool utf8_is_plain_(uint64_t word)
{
    return ((word | ~(word + 0x7f7f7f7f7f7f7f7fu)) & UTF8_HIGH_BITS_) == 0;
}

static inline bool utf8_is_tail_(const uint8_t *at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return false;
        }
    }
    return true;
}

/* Bytes of a character by its first one; 0 when none begins so. */
static inline size_t utf8_lead_bytes_(uint8_t lead)
{
    if (lead < 0x80) {
        return lead != 0;
    }
    return lead < 0xc2 || lead > 0xf4 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Overlong forms, surrogates and what is beyond Unicode are seen by the second byte. */
static inline bool utf8_is_second_(uint8_t lead, uint8_t second)
{
    switch (lead) {
    case 0xe0:
        return second >= 0xa0;
    case 0xed:
        return second <= 0x9f;
    case 0xf0:
        return second >= 0x90;
    case 0xf4:
        return second <= 0x8f;
    default:
        return true;
    }
}

/* Bytes of the character that begins at `at`; 0 when it is not well formed (Unicode 15, table 3-7).
 */
static inline size_t utf8_character_bytes_(const uint8_t *at, size_t left)
{
    size_t count = utf8_lead_bytes_(at[0]);

    if (count == 0 || count > left || !utf8_is_tail_(at + 1, count - 1)) {
        return 0;
    }
    return count == 1 || utf8_is_second_(at[0], at[1]) ? count : 0;
}

/* The next up to eight bytes, padded with plain ones. */
static inline uint64_t utf8_word_(const uint8_t *at, size_t left)
{
    uint64_t word;

    if (left < 8) {
        return bytes_tail(at, left) | UTF8_PADDING_ << 8 * left;
    }
    memcpy(&word, at, 8);
    return word;
}

/* Well-formed UTF-8 without U+0000 (MQTT 5, 1.5.4). Empty text is. */
static inline bool utf8_is_valid(struct bytes text)
{
    const uint8_t *at = text.at;
    size_t left = text.length;

    while (left > 0) {
        if (utf8_is_plain_(utf8_word_(at, left))) {
            size_t step = left < 8 ? left : 8;
            at += step;
            left -= step;
            continue;
        }
        size_t count = utf8_character_bytes_(at, left);
        if (count == 0) {
            return false;
        }
        at += count;
        left -= count;
    }
    return true;
}
