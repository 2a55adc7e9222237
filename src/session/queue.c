/* The queue of a session with its limits, and what the client says to it. Beyond a limit expired
 * messages go first; then either the newcomer is refused or, with drop_oldest, the oldest goes that
 * cannot be in flight: while a connection has the session the first `receive_maximum` that are not
 * DONE may be on their way, and must stay as they are (MQTT 5, 4.4, 4.9). */
#include "session/store_private.h"
#include <assert.h>
#include <errno.h>

/* What must stay. */
struct window {
    uint64_t end;   /* the first delivery that cannot be in flight */
    uint64_t bytes; /* of those before it */
    uint32_t kept;  /* those before it, and what is RECEIVED behind */
};

/* Past what is known to have been dropped. */
static uint64_t skip_dropped(const struct session *session, uint64_t sequence)
{
    bool is_dropped = sequence >= session->dropped_first && sequence < session->dropped_end;
    return is_dropped ? session->dropped_end : sequence;
}

static void note_dropped(struct session *session, uint64_t sequence)
{
    if (session->dropped_end != sequence || session->dropped_first == session->dropped_end) {
        session->dropped_first = sequence;
    }
    session->dropped_end = sequence + 1;
}

static struct window window_of(const struct session *session)
{
    const struct delivery_ring *ring = &session->deliveries;
    uint32_t size = session->connection_number != 0 ? session->receive_maximum : 0;
    struct window window = {.end = ring->first, .kept = ring->received};
    uint32_t count = 0;

    while (count < size && window.end < delivery_ring_end(ring)) {
        const struct delivery *delivery = delivery_ring_at(ring, window.end);
        if (delivery->state == DELIVERY_DONE) {
            window.end = MAX(skip_dropped(session, window.end), window.end + 1);
            continue;
        }
        window.bytes += delivery->message ? message_bytes(delivery->message) : 0;
        window.kept += delivery->state != DELIVERY_RECEIVED;
        window.end++;
        count++;
    }
    return window;
}

static bool is_over(const struct session_limits *limits, uint64_t messages, uint64_t bytes,
                    const struct message *message)
{
    return messages + 1 > limits->queue_messages_max ||
           bytes + message_bytes(message) > limits->queue_bytes_max;
}

static bool is_queue_over(const struct session *session, const struct message *message)
{
    return is_over(&session->store->limits, session->deliveries.waiting, session->deliveries.bytes,
                   message);
}

bool session_is_full(const struct session *session, const struct message *message)
{
    const struct session_limits *limits = &session->store->limits;
    const struct delivery_ring *ring = &session->deliveries;

    if (ring->count >= DELIVERY_RING_MAX && session->connection_number != 0) {
        return true;
    }
    if (!is_queue_over(session, message)) {
        return false;
    }
    if (limits->queue_refuse) {
        return true;
    }
    struct window window = window_of(session);
    return is_over(limits, window.kept, window.bytes, message);
}

/* Drops what has expired and cannot be in flight. `ring->expiry` spares most looks: none of those
 * beyond the window expires before. It was found with the window of one connection, so another
 * looks anew: what is dropped must not depend on when somebody looked. */
static void drop_expired(struct session *session, uint64_t now_unix_ms)
{
    struct delivery_ring *ring = &session->deliveries;
    bool is_unknown =
        session->expiry_connection != 0 && session->expiry_connection != session->connection_number;

    if (!is_unknown && (ring->expiry == 0 || ring->expiry > now_unix_ms)) {
        return;
    }
    uint64_t next = 0, end = delivery_ring_end(ring);
    for (uint64_t i = window_of(session).end; i < end; i = MAX(skip_dropped(session, i), i + 1)) {
        const struct delivery *delivery = delivery_ring_at(ring, i);
        if (!delivery || delivery->state != DELIVERY_WAITING || !delivery->message ||
            delivery->message->expires_unix_ms == 0) {
            continue;
        }
        uint64_t expires_unix_ms = delivery->message->expires_unix_ms;
        if (expires_unix_ms <= now_unix_ms) {
            delivery_ring_finish(ring, i);
        } else if (next == 0 || expires_unix_ms < next) {
            next = expires_unix_ms;
        }
    }
    ring->expiry = next;
    session->expiry_connection = session->connection_number;
}

/* True when something was dropped. */
static bool drop_oldest(struct session *session, uint64_t from, const struct message *message)
{
    struct delivery_ring *ring = &session->deliveries;
    uint64_t dropped = 0, end = delivery_ring_end(ring);

    for (uint64_t i = skip_dropped(session, from); i < end && is_queue_over(session, message);
         i = skip_dropped(session, MAX(i + 1, ring->first))) {
        uint8_t state = delivery_ring_at(ring, i)->state;
        if (state == DELIVERY_WAITING) {
            delivery_ring_finish(ring, i);
            dropped++;
        }
        if (state != DELIVERY_RECEIVED) {
            note_dropped(session, i);
        }
    }
    session->dropped_messages += dropped;
    return dropped > 0;
}

int session_enqueue(struct session *session, struct message *message, uint8_t qos, bool retain,
                    const uint32_t *ids, uint32_t id_count, uint64_t now_unix_ms)
{
    const struct session_limits *limits = &session->store->limits;
    struct delivery_ring *ring = &session->deliveries;
    bool has_dropped = false;

    assert(qos == 1 || qos == 2);
    if (is_queue_over(session, message)) {
        drop_expired(session, now_unix_ms);
    }
    if (is_queue_over(session, message)) {
        struct window window = window_of(session);
        if (limits->queue_refuse) {
            return -ENOBUFS;
        }
        if (!is_over(limits, window.kept, window.bytes, message)) {
            has_dropped = drop_oldest(session, window.end, message);
        }
    }
    if (is_queue_over(session, message)) { /* the rest may be in flight */
        session->dropped_messages++;
        return -ENOBUFS;
    }
    if (ring->count >= DELIVERY_RING_MAX && session->connection_number == 0) {
        uint64_t from = delivery_ring_compact(ring);
        session->sent_end = MIN(session->sent_end, from);
        session->begun_end = MIN(session->begun_end, from);
        session->dropped_first = session->dropped_end = 0;
    }
    int r = delivery_ring_push(ring, message, qos, retain, ids, id_count);
    if (r < 0) {
        session->dropped_messages += !limits->queue_refuse;
        return r;
    }
    return has_dropped;
}

bool session_acknowledge(struct session *session, enum session_ack kind, uint16_t packet_id)
{
    uint64_t sequence;
    const struct delivery *delivery =
        delivery_ring_find(&session->deliveries, packet_id, &sequence);

    if (!delivery || delivery->qos != (kind == SESSION_PUBACK ? 1 : 2)) {
        return false;
    }
    bool is_received = delivery->state == DELIVERY_RECEIVED;
    switch (kind) {
    case SESSION_PUBREC:
        if (!is_received) {
            delivery_ring_receive(&session->deliveries, sequence);
        }
        return true;
    case SESSION_PUBACK:
    case SESSION_PUBREC_ERROR:
        if (is_received) {
            return false;
        }
        break;
    case SESSION_PUBCOMP:
        if (!is_received) {
            return false;
        }
        break;
    }
    delivery_ring_finish(&session->deliveries, sequence);
    return true;
}

struct bytes session_client_id(const struct session *session)
{
    return (struct bytes){session->key.at, session->key.length};
}
