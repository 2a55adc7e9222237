/* The PROXY protocol, version 2 (HAProxy's proxy-protocol.txt, 2.2): who is behind the proxy. Pure.
 */
#pragma once

#include "base/bytes.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define PROXY_HEADER_BYTES_MAX 536 /* head and up to 520 bytes: addresses and some TLVs */

struct proxy_header {
    bool
        has_address; /* false for LOCAL and unknown families: the connection's own address counts */
    char address[INET6_ADDRSTRLEN];
    uint16_t port;
};

/* Returns the header's length, 0 when more bytes are needed, -EPROTO when it is none or longer than
 * PROXY_HEADER_BYTES_MAX. */
int proxy_header_parse(struct bytes input, struct proxy_header *header);
/* Bytes still missing, as far as can be told from what is there; never 0 while proxy_header_parse
 * wants more. */
size_t proxy_header_needed(struct bytes input);
