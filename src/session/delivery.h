/* The deliveries of one session with QoS 1 and 2: one ring, oldest first, of what is queued, in flight and done
 * out of order. A delivery's packet id follows from its sequence number, so that every node and every repetition
 * gives it the same id. Pure.
 *
 *              enqueue                PUBREC (QoS 2)             PUBACK (QoS 1), PUBCOMP,
 *                 |                       |                      PUBREC with an error, dropped, expired
 *                 v                       v                                |
 *             WAITING -----------------> RECEIVED ----------------------> DONE (leaves when it is the oldest)
 *                 +--------------------------------------------------------^
 *
 * How far the connection has sent is not known here: that is the connection's business. */
#pragma once

#include "session/message.h"
#include <stdbool.h>
#include <stdint.h>

#define DELIVERY_RING_MAX 65000 /* below 65535, so that packet ids never collide */

enum delivery_state { DELIVERY_WAITING, DELIVERY_RECEIVED, DELIVERY_DONE };

struct delivery {
    struct message *message;    /* a reference; NULL once RECEIVED or DONE */
    uint32_t *subscription_ids; /* owned; [0] is the count; NULL for none */
    uint8_t state;              /* enum delivery_state */
    uint8_t qos;                /* 1 or 2 */
    bool retain;                /* flag to send */
};

struct delivery_ring {
    struct delivery *items; /* capacity is a power of two; NULL while empty and never used */
    uint32_t capacity;
    uint32_t count;    /* from oldest to newest, DONE ones in between included */
    uint64_t first;    /* sequence number of the oldest */
    uint32_t waiting;  /* WAITING or RECEIVED */
    uint64_t bytes;    /* of the messages held */
};

void delivery_ring_init(struct delivery_ring *ring);
void delivery_ring_deinit(struct delivery_ring *ring);
/* Takes its own reference of `message`, and copies the ids. Returns -ENOBUFS when the ring is at DELIVERY_RING_MAX. */
int delivery_ring_push(struct delivery_ring *ring, struct message *message, uint8_t qos, bool retain,
                       const uint32_t *ids, uint32_t id_count);
/* NULL when there is none of this sequence number (any more). Valid until the next push or finish. */
struct delivery *delivery_ring_at(const struct delivery_ring *ring, uint64_t sequence);
/* Finds by packet id the delivery that is not DONE; its sequence number goes to `sequence`. */
struct delivery *delivery_ring_find(const struct delivery_ring *ring, uint16_t packet_id, uint64_t *sequence);
/* WAITING -> RECEIVED: the message is released, the id stays taken. */
void delivery_ring_receive(struct delivery_ring *ring, uint64_t sequence);
/* -> DONE, and drops what is DONE at the oldest end. */
void delivery_ring_finish(struct delivery_ring *ring, uint64_t sequence);

static inline uint64_t delivery_ring_end(const struct delivery_ring *ring)
{
    return ring->first + ring->count;
}

static inline uint16_t delivery_packet_id(uint64_t sequence)
{
    return (uint16_t)(sequence % 65535 + 1);
}
