/* See proxy_header.h. */
#include "net/proxy_header.h"
#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                      0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

#define HEAD_BYTES 16
#define IP4_BYTES  12
#define IP6_BYTES  36

static uint16_t read_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

size_t proxy_header_needed(struct bytes input)
{
    size_t total =
        input.length < HEAD_BYTES ? HEAD_BYTES : (size_t)HEAD_BYTES + read_u16(input.at + 14);

    return total - input.length;
}

int proxy_header_parse(struct bytes input, struct proxy_header *header)
{
    if (input.length == 0 ||
        memcmp(input.at, signature, MIN(input.length, sizeof signature)) != 0) {
        return input.length == 0 ? 0 : -EPROTO;
    }
    if (input.length < HEAD_BYTES) {
        return 0;
    }
    uint8_t command = input.at[12];
    uint8_t family = input.at[13] >> 4;
    uint16_t length = read_u16(input.at + 14);
    if (command >> 4 != 2 || (command & 0x0f) > 1 || HEAD_BYTES + length > PROXY_HEADER_BYTES_MAX) {
        return -EPROTO;
    }
    if (input.length < (size_t)HEAD_BYTES + length) {
        return 0;
    }
    const uint8_t *at = input.at + HEAD_BYTES;
    *header = (struct proxy_header){.has_address = false};
    if ((command & 0x0f) == 1 && family == 1 && length >= IP4_BYTES) {
        inet_ntop(AF_INET, at, header->address, sizeof header->address);
        header->port = read_u16(at + 8);
        header->has_address = true;
    } else if ((command & 0x0f) == 1 && family == 2 && length >= IP6_BYTES) {
        inet_ntop(AF_INET6, at, header->address, sizeof header->address);
        header->port = read_u16(at + 32);
        header->has_address = true;
    }
    return HEAD_BYTES + length;
}
