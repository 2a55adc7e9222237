/* See frame.h. Offsets are those of the RFCs; every frame is built and read by them, without
 * structs laid over bytes. */
#include "keeper/frame.h"
#include <string.h>

#define ETHER_BYTES      14
#define ETHER_ARP        0x0806
#define ETHER_IP6        0x86dd
#define ARP_BYTES        28
#define ARP_REQUEST      1
#define ARP_REPLY        2
#define IP4_BYTES        20
#define IP6_BYTES        40
#define TCP_BYTES        20
#define PROTOCOL_TCP     6
#define PROTOCOL_ICMP6   58
#define ND_SOLICIT       135
#define ND_ADVERTISE     136
#define ND_BYTES         24 /* without options */
#define ND_OVERRIDE      0x20
#define ND_OPTION_TARGET 2
#define TTL              64

static const uint8_t broadcast[FRAME_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t all_nodes_mac[FRAME_MAC_BYTES] = {0x33, 0x33, 0, 0, 0, 1};
static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint8_t *put(struct frame *frame, const void *bytes, size_t length)
{
    uint8_t *at = frame->bytes + frame->length;

    if (bytes) {
        memcpy(at, bytes, length);
    } else {
        memset(at, 0, length);
    }
    frame->length += length;
    return at;
}

static void begin(struct frame *frame, const uint8_t *to, const uint8_t *from, unsigned type)
{
    frame->length = 0;
    put(frame, to, FRAME_MAC_BYTES);
    put(frame, from, FRAME_MAC_BYTES);
    put16(put(frame, NULL, 2), type);
}

/* RFC 1071. */
static uint32_t sum(uint32_t start, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i + 1 < length; i += 2) {
        start += get16(bytes + i);
    }
    return length % 2 ? start + ((uint32_t)bytes[length - 1] << 8) : start;
}

static unsigned fold(uint32_t value)
{
    while (value >> 16) {
        value = (value & 0xffff) + (value >> 16);
    }
    return ~value & 0xffff;
}

/* Of TCP and ICMPv6: both addresses, length and protocol are part of it. */
static unsigned checksum(const uint8_t *addresses, size_t address_bytes, unsigned protocol,
                         const uint8_t *bytes, size_t length)
{
    return fold(sum(sum((uint32_t)length + protocol, addresses, address_bytes), bytes, length));
}

static void arp(struct frame *frame, const uint8_t *address, bool has_sender, const uint8_t *mac)
{
    begin(frame, broadcast, mac, ETHER_ARP);
    uint8_t *at = put(frame, NULL, ARP_BYTES);
    put16(at, 1); /* Ethernet */
    put16(at + 2, 0x0800);
    at[4] = FRAME_MAC_BYTES;
    at[5] = 4;
    put16(at + 6, ARP_REQUEST);
    memcpy(at + 8, mac, FRAME_MAC_BYTES);
    if (has_sender) {
        memcpy(at + 14, address, 4);
    }
    memcpy(at + 24, address, 4);
}

static uint8_t *ip6(struct frame *frame, const uint8_t *from, const uint8_t *to,
                    const uint8_t *payload, size_t length)
{
    uint8_t *at = put(frame, NULL, IP6_BYTES);
    at[0] = 0x60;
    put16(at + 4, (unsigned)length);
    at[6] = PROTOCOL_ICMP6;
    at[7] = 255; /* RFC 4861, 7.1 */
    if (from) {
        memcpy(at + 8, from, 16);
    }
    memcpy(at + 24, to, 16);
    uint8_t *body = put(frame, payload, length);
    put16(body + 2, checksum(at + 8, 32, PROTOCOL_ICMP6, body, length));
    return body;
}

static void solicit(struct frame *frame, const uint8_t *address, const uint8_t *mac)
{
    uint8_t to_mac[FRAME_MAC_BYTES] = {0x33, 0x33, 0xff, address[13], address[14], address[15]};
    uint8_t to[16] = {0xff, 0x02, [11] = 1, [12] = 0xff, address[13], address[14], address[15]};
    uint8_t body[ND_BYTES] = {ND_SOLICIT};

    memcpy(body + 8, address, 16);
    begin(frame, to_mac, mac, ETHER_IP6);
    ip6(frame, NULL, to, body, sizeof body);
}

static void advertise(struct frame *frame, const uint8_t *address, const uint8_t *mac)
{
    uint8_t body[ND_BYTES + 8] = {ND_ADVERTISE, [4] = ND_OVERRIDE};

    memcpy(body + 8, address, 16);
    body[ND_BYTES] = ND_OPTION_TARGET;
    body[ND_BYTES + 1] = 1;
    memcpy(body + ND_BYTES + 2, mac, FRAME_MAC_BYTES);
    begin(frame, all_nodes_mac, mac, ETHER_IP6);
    ip6(frame, address, all_nodes, body, sizeof body);
}

void frame_probe(struct frame *frame, const uint8_t *address, bool is_ipv6, const uint8_t *mac)
{
    if (is_ipv6) {
        solicit(frame, address, mac);
    } else {
        arp(frame, address, false, mac);
    }
}

void frame_announce(struct frame *frame, const uint8_t *address, bool is_ipv6, const uint8_t *mac)
{
    if (is_ipv6) {
        advertise(frame, address, mac);
    } else {
        arp(frame, address, true, mac);
    }
}

static bool is_arp_conflict(const uint8_t *at, const uint8_t *address)
{
    static const uint8_t nobody[4];
    unsigned operation = get16(at + 6);

    if (get16(at) != 1 || get16(at + 2) != 0x0800 || at[4] != FRAME_MAC_BYTES || at[5] != 4 ||
        (operation != ARP_REQUEST && operation != ARP_REPLY)) {
        return false;
    }
    bool has_it = memcmp(at + 14, address, 4) == 0;
    bool wants_it = operation == ARP_REQUEST && memcmp(at + 14, nobody, 4) == 0 &&
                    memcmp(at + 24, address, 4) == 0;
    return has_it || wants_it;
}

static bool is_nd_conflict(const uint8_t *at, const uint8_t *address)
{
    static const uint8_t nobody[16];
    const uint8_t *body = at + IP6_BYTES;

    if (at[6] != PROTOCOL_ICMP6 || at[7] != 255 || memcmp(body + 8, address, 16) != 0) {
        return false;
    }
    return body[0] == ND_ADVERTISE || (body[0] == ND_SOLICIT && memcmp(at + 8, nobody, 16) == 0);
}

bool frame_is_conflict(const uint8_t *bytes, size_t length, const uint8_t *address, bool is_ipv6,
                       const uint8_t *mac, uint8_t *other)
{
    size_t least = ETHER_BYTES + (is_ipv6 ? IP6_BYTES + ND_BYTES : ARP_BYTES);

    if (length < least || get16(bytes + 12) != (is_ipv6 ? ETHER_IP6 : ETHER_ARP)) {
        return false;
    }
    /* Behind a bridge or a wireless repeater the outer address may be somebody else's. */
    const uint8_t *sender = is_ipv6 ? bytes + 6 : bytes + ETHER_BYTES + 8;
    if (memcmp(sender, mac, FRAME_MAC_BYTES) == 0 ||
        !(is_ipv6 ? is_nd_conflict(bytes + ETHER_BYTES, address)
                  : is_arp_conflict(bytes + ETHER_BYTES, address))) {
        return false;
    }
    memcpy(other, sender, FRAME_MAC_BYTES);
    return true;
}

static uint8_t *tickle_ip(struct frame *frame, const struct frame_tickle *tickle)
{
    uint8_t *at = put(frame, NULL, tickle->is_ipv6 ? IP6_BYTES : IP4_BYTES);

    if (tickle->is_ipv6) {
        at[0] = 0x60;
        put16(at + 4, TCP_BYTES);
        at[6] = PROTOCOL_TCP;
        at[7] = TTL;
        memcpy(at + 8, tickle->from, 16);
        memcpy(at + 24, tickle->to, 16);
        return at + 8;
    }
    at[0] = 0x45;
    put16(at + 2, IP4_BYTES + TCP_BYTES);
    put16(at + 6, 0x4000); /* do not fragment */
    at[8] = TTL;
    at[9] = PROTOCOL_TCP;
    memcpy(at + 12, tickle->from, 4);
    memcpy(at + 16, tickle->to, 4);
    put16(at + 10, fold(sum(0, at, IP4_BYTES)));
    return at + 12;
}

void frame_tickle(struct frame *frame, const struct frame_tickle *tickle)
{
    frame->length = 0;
    const uint8_t *addresses = tickle_ip(frame, tickle);
    uint8_t *at = put(frame, NULL, TCP_BYTES);

    put16(at, tickle->from_port);
    put16(at + 2, tickle->to_port);
    at[12] = TCP_BYTES / 4 << 4;
    at[13] = 0x10; /* ACK */
    put16(at + 16, checksum(addresses, tickle->is_ipv6 ? 32 : 8, PROTOCOL_TCP, at, TCP_BYTES));
}
