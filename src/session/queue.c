/* The queue of a session with its limits, and what the client says to it. While a connection has
 * the session nothing is dropped: the shell holds the publishers back (mqtt/flow.h), and only the
 * ring's own end refuses. Without one, beyond a limit expired messages go first; then either the
 * newcomer is refused or, with drop_oldest, the oldest goes that the client has not received (MQTT
 * 5, 4.4).
 */
#include "session/store_private.h"
#include <assert.h>
#include <errno.h>

/* Past what is known to have been dropped. */
static uint64_t skip_dropped(const struct session *session, uint64_t sequence)
{
    uint64_t end = session->dropped_first + session->dropped_count;
    bool is_dropped = sequence >= session->dropped_first && sequence < end;
    return is_dropped ? end : sequence;
}

static void note_dropped(struct session *session, uint64_t sequence)
{
    if (session->dropped_first + session->dropped_count != sequence ||
        session->dropped_count == UINT32_MAX) {
        session->dropped_first = sequence;
        session->dropped_count = 0;
    }
    session->dropped_count++;
}

static bool is_queue_over(const struct session *session, const struct message *message)
{
    const struct session_limits *limits = &session->store->limits;
    const struct delivery_ring *ring = &session->deliveries;

    if (session->connection_number != 0) {
        return ring->count >= DELIVERY_RING_MAX;
    }
    return ring->waiting + 1 > limits->queue_messages_max ||
           ring->bytes + message_bytes(message) > limits->queue_bytes_max;
}

/* What the client has received stays: its ids are taken, though no message is held any more. */
static bool is_room_possible(const struct session *session, const struct message *message)
{
    const struct session_limits *limits = &session->store->limits;

    return session->connection_number == 0 && !limits->queue_refuse &&
           session->deliveries.received + 1 <= limits->queue_messages_max &&
           message_bytes(message) <= limits->queue_bytes_max;
}

bool session_is_full(const struct session *session, const struct message *message)
{
    return is_queue_over(session, message) && !is_room_possible(session, message);
}

/* `ring->expiry` spares most looks: none that waits expires before. */
static void drop_expired(struct session *session, uint64_t now_unix_ms)
{
    struct delivery_ring *ring = &session->deliveries;

    if (session->connection_number != 0 || ring->expiry == 0 || ring->expiry > now_unix_ms) {
        return;
    }
    uint64_t next = 0, end = delivery_ring_end(ring);
    for (uint64_t i = ring->first; i < end; i = skip_dropped(session, MAX(i + 1, ring->first))) {
        const struct delivery *delivery = delivery_ring_at(ring, i);
        if (delivery->state != DELIVERY_WAITING || delivery->message->expires_unix_ms == 0) {
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
}

/* True when something was dropped. */
static bool drop_oldest(struct session *session, const struct message *message)
{
    struct delivery_ring *ring = &session->deliveries;
    uint64_t end = delivery_ring_end(ring);
    uint32_t dropped = 0;

    for (uint64_t i = skip_dropped(session, ring->first);
         i < end && is_queue_over(session, message);
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
    session_count_dropped(session, dropped);
    return dropped > 0;
}

int session_enqueue(struct session *session, struct message *message, uint8_t qos, bool retain,
                    const uint32_t *ids, uint32_t id_count, uint64_t now_unix_ms)
{
    struct delivery_ring *ring = &session->deliveries;
    bool has_dropped = false;

    assert(qos == 1 || qos == 2);
    if (is_queue_over(session, message)) {
        drop_expired(session, now_unix_ms);
    }
    if (is_queue_over(session, message)) {
        if (!is_room_possible(session, message)) {
            session_count_dropped(session, !session->store->limits.queue_refuse);
            return -ENOBUFS;
        }
        has_dropped = drop_oldest(session, message);
    }
    if (ring->count >= DELIVERY_RING_MAX) { /* offline, or it would be over */
        uint64_t from = delivery_ring_compact(ring);
        session->sent_end = MIN(session->sent_end, from);
        session->begun_end = MIN(session->begun_end, from);
        session->dropped_count = 0;
    }
    int r = delivery_ring_push(ring, message, qos, retain, ids, id_count);
    return r < 0 ? r : has_dropped;
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
