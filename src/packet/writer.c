/* Helpers of the encoders of rare packets. */
#include "packet/writer.h"
#include <assert.h>

#define HEAD_BYTES_MAX 5

guint packet_begin(GByteArray *to)
{
    guint from = to->len;
    g_byte_array_set_size(to, from + HEAD_BYTES_MAX);
    return from;
}

void packet_finish(GByteArray *to, guint from, uint8_t type, uint8_t flags)
{
    uint32_t length = to->len - from - HEAD_BYTES_MAX;
    uint8_t head[HEAD_BYTES_MAX] = {(uint8_t)(type << 4 | flags)};
    guint count = 1;

    assert(length < 1u << 28);
    uint32_t left = length;
    do {
        head[count++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        left >>= 7;
    } while (left > 0);
    memcpy(to->data + from, head, count);
    if (count < HEAD_BYTES_MAX) {
        g_byte_array_remove_range(to, from + count, HEAD_BYTES_MAX - count);
    }
}

void append_u8(GByteArray *to, uint8_t value)
{
    g_byte_array_append(to, &value, 1);
}

void append_u16(GByteArray *to, uint16_t value)
{
    uint8_t bytes[] = {(uint8_t)(value >> 8), (uint8_t)value};
    g_byte_array_append(to, bytes, sizeof bytes);
}

void append_varint(GByteArray *to, uint32_t value)
{
    for (; value > 0x7f; value >>= 7) {
        append_u8(to, (uint8_t)(value | 0x80));
    }
    append_u8(to, (uint8_t)value);
}

void append_raw(GByteArray *to, struct bytes bytes)
{
    if (bytes.length > 0) {
        g_byte_array_append(to, bytes.at, (guint)bytes.length);
    }
}

void append_sized(GByteArray *to, struct bytes bytes)
{
    assert(bytes.length <= UINT16_MAX);
    append_u16(to, (uint16_t)bytes.length);
    append_raw(to, bytes);
}

void append_properties(GByteArray *to, const struct properties_builder *properties)
{
    struct bytes raw = {NULL, 0};

    if (properties) {
        raw = (struct bytes){properties->bytes->data, properties->bytes->len};
    }
    append_varint(to, (uint32_t)raw.length);
    append_raw(to, raw);
}
