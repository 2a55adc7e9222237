/* Builds packets. Lengths are written when the body is complete: the body stands after five
 * reserved bytes and is moved up. */
#include "cli/bench/wire.h"

#include <string.h>

#define WIRE_HEAD 5 /* first byte and the longest remaining length */

static void wire_u16(GByteArray *to, unsigned value)
{
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    g_byte_array_append(to, bytes, 2);
}

static void wire_u8(GByteArray *to, unsigned value)
{
    uint8_t byte = (uint8_t)value;
    g_byte_array_append(to, &byte, 1);
}

static void wire_string(GByteArray *to, const char *text)
{
    size_t length = strlen(text);
    wire_u16(to, (unsigned)length);
    g_byte_array_append(to, (const uint8_t *)text, (guint)length);
}

static void wire_begin(GByteArray *to, uint8_t head)
{
    g_byte_array_set_size(to, 0);
    wire_u8(to, head);
    g_byte_array_set_size(to, WIRE_HEAD);
}

void wire_end(GByteArray *to)
{
    uint32_t left = to->len - WIRE_HEAD;
    uint8_t length[4];
    unsigned count = 0;
    do {
        length[count++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        left >>= 7;
    } while (left > 0);
    memcpy(to->data + 1, length, count);
    g_byte_array_remove_range(to, 1 + count, WIRE_HEAD - 1 - count);
}

void wire_connect(const struct wire_login *login, GByteArray *to)
{
    wire_begin(to, 0x10);
    wire_string(to, "MQTT");
    wire_u8(to, login->version);
    wire_u8(to, (login->clean ? 0x02u : 0u) | (login->username ? 0x80u : 0u) |
                    (login->password ? 0x40u : 0u));
    wire_u16(to, 0); /* no keep alive */
    if (login->version == 5) {
        wire_u8(to, login->clean ? 0 : 5);
        if (!login->clean) {
            wire_u8(to, 0x11);
            wire_u16(to, login->expiry_s >> 16);
            wire_u16(to, login->expiry_s & 0xffff);
        }
    }
    wire_string(to, login->client_id);
    if (login->username) {
        wire_string(to, login->username);
    }
    if (login->password) {
        wire_string(to, login->password);
    }
    wire_end(to);
}

void wire_subscribe_begin(uint8_t version, uint16_t packet_id, GByteArray *to)
{
    wire_begin(to, 0x82);
    wire_u16(to, packet_id);
    if (version == 5) {
        wire_u8(to, 0);
    }
}

void wire_subscribe_add(const char *filter, uint8_t qos, GByteArray *to)
{
    wire_string(to, filter);
    wire_u8(to, qos);
}

void wire_publish_init(struct wire_publish *publish, uint8_t version, const char *topic,
                       uint8_t qos, bool retain, uint32_t payload_bytes)
{
    g_autoptr(GByteArray) packet = g_byte_array_new();
    wire_begin(packet, (uint8_t)(0x30u | (unsigned)qos << 1 | (retain ? 1u : 0u)));
    wire_string(packet, topic);
    unsigned tail = payload_bytes;
    if (qos > 0) {
        wire_u16(packet, 0);
        tail += 2;
    }
    if (version == 5) {
        wire_u8(packet, 0);
        tail += 1;
    }
    guint before = packet->len;
    g_byte_array_set_size(packet, before + payload_bytes);
    memset(packet->data + before, 'x', payload_bytes);
    wire_end(packet);
    publish->length = packet->len;
    publish->id_at = qos > 0 ? packet->len - tail : 0;
    publish->payload_at = packet->len - payload_bytes;
    publish->bytes = g_byte_array_free(g_steal_pointer(&packet), FALSE);
}

void wire_publish_deinit(struct wire_publish *publish)
{
    g_free(publish->bytes);
    publish->bytes = NULL;
}
