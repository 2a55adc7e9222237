/* The few frames that the keeper sends and understands, as bytes: ARP (RFC 826, RFC 5227),
 * neighbour discovery (RFC 4861), and the bare TCP ACK of a tickle. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_BYTES_MAX 128
#define FRAME_MAC_BYTES 6

struct frame {
    uint8_t bytes[FRAME_BYTES_MAX];
    size_t length;
};

/* Ethernet frames; `address` has 4 or 16 bytes. */
/* Does anybody have it? ARP with no sender (RFC 5227, 2.1.1), or a neighbour solicitation from the
 * unspecified address (RFC 4862, 5.4.2). */
void frame_probe(struct frame *frame, const uint8_t *address, bool is_ipv6, const uint8_t *mac);
/* It is here now: gratuitous ARP, or an unsolicited neighbour advertisement that overrides. */
void frame_announce(struct frame *frame, const uint8_t *address, bool is_ipv6, const uint8_t *mac);
/* Whether somebody else says with this frame that he has, or wants, the address; `other` is filled
 * with who. What cannot be understood says nothing. */
bool frame_is_conflict(const uint8_t *bytes, size_t length, const uint8_t *address, bool is_ipv6,
                       const uint8_t *mac, uint8_t *other);

struct frame_tickle {
    uint8_t from[16], to[16];
    uint16_t from_port, to_port;
    bool is_ipv6;
};
/* An IP packet: a bare ACK, sequence and acknowledgement 0, that a living connection answers and a
 * dead one resets. */
void frame_tickle(struct frame *frame, const struct frame_tickle *tickle);
