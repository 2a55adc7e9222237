/* Reading numbers and strings off a packet's bytes; every function returns 0 or the reason code of
 * what is wrong, and takes nothing beyond the end. Private to packet. */
#pragma once

#include "base/utf8.h"
#include "packet/packet.h"
#include "packet/property.h"
#include "packet/reason.h"

#define VARINT_MAX 268435455u

#define TRY(expression)                                                                            \
    do {                                                                                           \
        int reason_ = (expression);                                                                \
        if (reason_ != 0) {                                                                        \
            return reason_;                                                                        \
        }                                                                                          \
    } while (0)

struct reader {
    const uint8_t *at, *end;
};

static inline struct reader reader_of(struct bytes bytes)
{
    return (struct reader){bytes.at, bytes.at + bytes.length};
}

static inline size_t reader_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

static inline int reader_take_u8(struct reader *reader, uint8_t *value)
{
    if (reader_left(reader) < 1) {
        return REASON_MALFORMED_PACKET;
    }
    *value = *reader->at++;
    return 0;
}

static inline uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline int reader_take_u16(struct reader *reader, uint16_t *value)
{
    if (reader_left(reader) < 2) {
        return REASON_MALFORMED_PACKET;
    }
    *value = get_u16(reader->at);
    reader->at += 2;
    return 0;
}

static inline int reader_take_u32(struct reader *reader, uint32_t *value)
{
    if (reader_left(reader) < 4) {
        return REASON_MALFORMED_PACKET;
    }
    *value = (uint32_t)get_u16(reader->at) << 16 | get_u16(reader->at + 2);
    reader->at += 4;
    return 0;
}

/* At most four bytes, and no more than needed (MQTT 5, 1.5.5). */
static inline int reader_take_varint(struct reader *reader, uint32_t *value)
{
    uint32_t sum = 0;

    for (unsigned shift = 0; shift < 28; shift += 7) {
        if (reader_left(reader) < 1) {
            return REASON_MALFORMED_PACKET;
        }
        uint8_t byte = *reader->at++;
        sum |= (uint32_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = sum;
            return byte == 0 && shift > 0 ? REASON_MALFORMED_PACKET : 0;
        }
    }
    return REASON_MALFORMED_PACKET;
}

static inline int reader_take_binary(struct reader *reader, struct bytes *value)
{
    if (reader_left(reader) < 2 || reader_left(reader) - 2 < get_u16(reader->at)) {
        return REASON_MALFORMED_PACKET;
    }
    *value = (struct bytes){reader->at + 2, get_u16(reader->at)};
    reader->at += 2 + value->length;
    return 0;
}

static inline int reader_take_text(struct reader *reader, struct bytes *value)
{
    TRY(reader_take_binary(reader, value));
    return utf8_is_valid(*value) ? 0 : REASON_MALFORMED_PACKET;
}

/* Topic names and filters have at least one character (4.7.3-1). */
static inline int reader_take_topic(struct reader *reader, struct bytes *value)
{
    TRY(reader_take_text(reader, value));
    return value->length > 0 ? 0 : REASON_MALFORMED_PACKET;
}

/* Packet ids are never 0 (2.2.1-3, -4). */
static inline int reader_take_packet_id(struct reader *reader, uint16_t *value)
{
    TRY(reader_take_u16(reader, value));
    return *value != 0 ? 0 : REASON_PROTOCOL_ERROR;
}

static inline int reader_expect_end(const struct reader *reader)
{
    return reader->at == reader->end ? 0 : REASON_MALFORMED_PACKET;
}

static inline unsigned varint_bytes(uint32_t value)
{
    return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}

/* MQTT 5 wants the shortest form of the remaining length too; 3.1.1 does not say so, and is let be.
 */
static inline int frame_check_length(const struct packet_frame *frame, uint8_t version)
{
    unsigned head_bytes = frame->total_bytes - (uint32_t)frame->body.length;

    return version == PACKET_MQTT_5 && head_bytes != 1 + varint_bytes((uint32_t)frame->body.length)
               ? REASON_MALFORMED_PACKET
               : 0;
}

/* ---- property.c ---- */

#define PROPERTY_BIT(id) (UINT64_C(1) << (id))

/* Reads the length and the block; `allowed` are the bits of what may stand in this packet,
 * `repeated` of what may stand more than once beside user properties. Every field of `out` is set.
 */
int properties_decode(struct reader *reader, uint64_t allowed, uint64_t repeated,
                      struct properties *out);
/* The same for versions without properties: nothing is read. */
int properties_decode_if_5(struct reader *reader, uint8_t version, uint64_t allowed,
                           struct properties *out);
/* Without authentication method there is no authentication data (3.1.2.11.10). */
int properties_check_auth(const struct properties *properties);
