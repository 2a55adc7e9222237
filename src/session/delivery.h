/* The deliveries of one session with QoS 1 and 2: one ring, oldest first, of what is queued, in
 * flight and done out of order. A delivery's packet id follows from its sequence number, so that
 * every node and every repetition gives it the same id. Pure.
 *
 *              enqueue                PUBREC (QoS 2)             PUBACK (QoS 1), PUBCOMP,
 *                 |                       |                      PUBREC with an error, dropped,
 * expired v                       v                                | WAITING ----------------->
 * RECEIVED ----------------------> DONE (leaves when it is the oldest)
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
    bool is_acknowledged; /* the shell's, not part of the state: the client has said so, the log is
                             on its way */
    bool is_given_up;     /* the shell's too: never sent, though later ones were */
};

/* Sums over the rings of one store. */
struct delivery_totals {
    uint64_t bytes; /* of the messages held, each delivery counted */
    uint64_t once;  /* of the messages held, each message counted once; only while `counts_once` */
    bool counts_once; /* of the replicated store, which alone may use message.held */
    uint64_t waiting; /* WAITING or RECEIVED */
    uint64_t memory;  /* of the rings themselves */
};

struct delivery_ring {
    struct delivery *items;         /* of `capacity`, a power of two; NULL before the first */
    struct delivery_totals *totals; /* borrowed; NULL for none */
    uint32_t capacity;
    uint32_t count;  /* from oldest to newest, DONE ones in between included */
    uint64_t first;  /* sequence number of the oldest; a restored ring may begin anywhere */
    uint64_t bytes;  /* of the messages held */
    uint64_t expiry; /* none that waits expires before; 0 = none ever expires (session_enqueue keeps
                        it) */
    uint32_t waiting;  /* WAITING or RECEIVED */
    uint32_t received; /* RECEIVED */
};

void delivery_ring_init(struct delivery_ring *ring);
void delivery_ring_deinit(struct delivery_ring *ring);
/* Takes its own reference of `message`, and copies the ids. `message` NULL: it was sent in this
 * turn and will never be sent again (live sessions); only its place and packet id are kept. Returns
 * -ENOBUFS when the ring is at DELIVERY_RING_MAX. */
int delivery_ring_push(struct delivery_ring *ring, struct message *message, uint8_t qos,
                       bool retain, const uint32_t *ids, uint32_t id_count);
/* For restoring a snapshot: puts a RECEIVED or a DONE one at the end, without its message. */
int delivery_ring_push_bare(struct delivery_ring *ring, enum delivery_state state, uint8_t qos);
/* NULL when there is none of this sequence number (any more). Valid until the next push or finish.
 */
struct delivery *delivery_ring_at(const struct delivery_ring *ring, uint64_t sequence);
/* Finds by packet id the delivery that is not DONE; its sequence number goes to `sequence`. */
struct delivery *delivery_ring_find(const struct delivery_ring *ring, uint16_t packet_id,
                                    uint64_t *sequence);
/* WAITING -> RECEIVED: the message is released, the id stays taken. */
void delivery_ring_receive(struct delivery_ring *ring, uint64_t sequence);
/* -> DONE, and drops what is DONE at the oldest end. */
void delivery_ring_finish(struct delivery_ring *ring, uint64_t sequence);
/* For a ring that is at its longest because DONE ones stand between: closes those gaps by giving
 * new numbers to what comes after the last RECEIVED one. Only while no connection has the session.
 * Returns the first number that may have changed. */
uint64_t delivery_ring_compact(struct delivery_ring *ring);

static inline uint64_t delivery_ring_end(const struct delivery_ring *ring)
{
    return ring->first + ring->count;
}

static inline uint16_t delivery_packet_id(uint64_t sequence)
{
    return (uint16_t)(sequence % 65535 + 1);
}
