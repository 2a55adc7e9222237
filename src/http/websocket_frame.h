/* WebSocket frames (RFC 6455, 5) and the key of the handshake (4.2.2). Pure. */
#pragma once

#include "base/bytes.h"
#include <stdbool.h>
#include <stdint.h>

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10
};

struct websocket_frame {
    uint64_t payload_bytes;
    uint8_t head_bytes;
    uint8_t opcode;
    bool is_final;
    uint8_t mask[4];
};

#define WEBSOCKET_HEAD_BYTES_MAX 10 /* of a server's frame: no mask */

/* Reads a client's frame head. Returns 1, 0 when more bytes are needed, or -1002 (protocol error:
 * no mask, reserved bits, long or fragmented control frame). */
int websocket_frame_parse(struct bytes input, struct websocket_frame *frame);
/* In place; `offset` is how many bytes of this frame were unmasked before. */
void websocket_unmask(uint8_t *bytes, size_t length, const uint8_t mask[4], uint64_t offset);
/* Writes the head of a final frame without mask; returns its length. */
unsigned websocket_frame_encode(uint8_t opcode, uint64_t payload_bytes,
                                uint8_t to[WEBSOCKET_HEAD_BYTES_MAX]);
/* The answer to Sec-WebSocket-Key, or NULL when the key is none (16 bytes in base64). Caller frees.
 */
char *websocket_accept_key(struct bytes key);
