/* See websocket_frame.h. */
#include "http/websocket_frame.h"
#include "base/cleanup.h"
#include <glib.h>

#define MAGIC "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */

static uint64_t read_big_endian(const uint8_t *at, unsigned length)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < length; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

int websocket_frame_parse(struct bytes input, struct websocket_frame *frame)
{
    if (input.length < 2) {
        return 0;
    }
    uint8_t opcode = input.at[0] & 0x0f;
    uint8_t length = input.at[1] & 0x7f;
    bool is_final = input.at[0] >> 7;
    bool is_control = opcode >= WEBSOCKET_CLOSE;
    if ((input.at[0] & 0x70) || !(input.at[1] & 0x80) ||
        (is_control && (length > 125 || !is_final)) ||
        (opcode > WEBSOCKET_BINARY && opcode < WEBSOCKET_CLOSE) || opcode > WEBSOCKET_PONG) {
        return -1002;
    }
    unsigned extra = length == 126 ? 2 : length == 127 ? 8 : 0;
    if (input.length < 2u + extra + 4u) {
        return 0;
    }
    frame->opcode = opcode;
    frame->is_final = is_final;
    frame->payload_bytes = extra ? read_big_endian(input.at + 2, extra) : length;
    frame->head_bytes = (uint8_t)(2 + extra + 4);
    memcpy(frame->mask, input.at + 2 + extra, 4);
    return frame->payload_bytes >> 63 ? -1002 : 1;
}

void websocket_unmask(uint8_t *bytes, size_t length, const uint8_t mask[4], uint64_t offset)
{
    for (size_t i = 0; i < length; i++) {
        bytes[i] ^= mask[(offset + i) & 3];
    }
}

unsigned websocket_frame_encode(uint8_t opcode, uint64_t payload_bytes,
                                uint8_t to[WEBSOCKET_HEAD_BYTES_MAX])
{
    unsigned extra = payload_bytes < 126 ? 0 : payload_bytes <= UINT16_MAX ? 2 : 8;

    to[0] = (uint8_t)(0x80 | opcode);
    to[1] = (uint8_t)(extra == 0 ? payload_bytes : extra == 2 ? 126 : 127);
    for (unsigned i = 0; i < extra; i++) {
        to[2 + i] = (uint8_t)(payload_bytes >> 8 * (extra - 1 - i));
    }
    return 2 + extra;
}

char *websocket_accept_key(struct bytes key)
{
    if (key.length != 24) {
        return NULL;
    }
    g_autofree char *text = g_strndup((const char *)key.at, key.length);
    gsize length;
    uint8_t digest[20];
    gsize digest_bytes = sizeof digest;

    g_free(g_base64_decode(text, &length)); /* only its length matters: a nonce of 16 bytes */
    if (length != 16) {
        return NULL;
    }
    g_autofree char *both = g_strconcat(text, MAGIC, NULL);
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA1);
    g_checksum_update(checksum, (const uint8_t *)both, -1);
    g_checksum_get_digest(checksum, digest, &digest_bytes);
    return g_base64_encode(digest, digest_bytes);
}
