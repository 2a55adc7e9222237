/* Packets written by hand, for tests: hex digits and 'text', blanks between. The frame's bytes are
 * on the heap with nothing behind them, so that AddressSanitizer sees a decoder that looks too far.
 */
#pragma once

#include "base/cleanup.h"
#include "packet/packet.h"
#include "packet/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static inline GByteArray *sample_bytes(const char *notation)
{
    GByteArray *bytes = g_byte_array_new();

    for (const char *at = notation; *at;) {
        if (*at == ' ') {
            at++;
        } else if (*at == '\'') {
            const char *end = strchr(at + 1, '\'');
            g_byte_array_append(bytes, (const guint8 *)at + 1, (guint)(end - at - 1));
            at = end + 1;
        } else {
            guint8 byte = (guint8)(g_ascii_xdigit_value(at[0]) << 4 | g_ascii_xdigit_value(at[1]));
            g_byte_array_append(bytes, &byte, 1);
            at += 2;
        }
    }
    return bytes;
}

struct sample {
    uint8_t *bytes;
    struct packet_frame frame;
};

static inline void sample_deinit(struct sample *sample)
{
    free(sample->bytes);
}

/* `first` is the packet's first byte, `body` what stands behind the remaining length. */
static inline struct sample sample_of(uint8_t first, const char *body)
{
    g_autoptr(GByteArray) notation = sample_bytes(body);
    struct sample sample = {.bytes = malloc(notation->len > 0 ? notation->len : 1)};

    if (notation->len > 0) {
        memcpy(sample.bytes, notation->data, notation->len);
    }
    unsigned length_bytes = notation->len < 128       ? 1
                            : notation->len < 16384   ? 2
                            : notation->len < 2097152 ? 3
                                                      : 4;
    sample.frame = (struct packet_frame){.type = first >> 4,
                                         .flags = first & 15,
                                         .body = {sample.bytes, notation->len},
                                         .total_bytes = 1 + length_bytes + notation->len};
    return sample;
}

#define SAMPLE(name, first, body)                                                                  \
    _cleanup_(sample_deinit) struct sample name = sample_of(first, body)

static inline void assert_bytes(struct bytes bytes, const char *expected)
{
    if (!bytes_equal(bytes, bytes_from_string(expected))) {
        fail_msg("'%.*s' is not '%s'", (int)bytes.length, (const char *)bytes.at, expected);
    }
}

/* The encoded packet is what the notation says, first byte and length included. */
static inline void assert_encoded(const void *bytes, size_t count, const char *notation)
{
    g_autoptr(GByteArray) expected = sample_bytes(notation);

    assert_int_equal(count, expected->len);
    assert_memory_equal(bytes, expected->data, count);
}
