/* See sender.h. The session's ring (session/delivery.h) holds what is queued and in flight; here is
 * how far this connection has sent:
 *
 *     ring.first ........ next_sequence ........ end
 *       in flight or done      |     waiting
 *
 * A live session's delivery that can go out at once leaves only its packet id in the ring: it is
 * never repeated. */
#include "mqtt/sender.h"
#include "base/clock.h"
#include "mqtt/broker_private.h"
#include "mqtt/flow.h"
#include "mqtt/outbox.h"
#include "mqtt/retained_sender.h"
#include "mqtt/writer.h"
#include "net/stream.h"

static uint64_t ring_end(const struct connection *connection)
{
    return delivery_ring_end(&connection->session->deliveries);
}

static bool has_waiting(const struct connection *connection)
{
    return connection->next_sequence < ring_end(connection);
}

static bool has_room(const struct connection *connection)
{
    return connection->in_flight < connection->receive_maximum &&
           stream_pending_bytes(connection->stream) < STREAM_HIGH_WATER_BYTES;
}

void sender_schedule(struct connection *connection)
{
    if (list_is_empty(&connection->pump_link)) {
        list_append(&connection->broker->pumping, &connection->pump_link);
        broker_touch(connection->broker);
    }
}

/* ---- new publications ---- */

static void drop(struct connection *to)
{
    to->broker->counters.publish_dropped++;
    if (!to->is_persistent) { /* those are the state's, the same on every node */
        session_count_dropped(to->session, 1);
    }
}

static void deliver_qos_0(struct connection *to, struct publication *publication, bool retain,
                          const uint32_t *ids)
{
    struct publish_flags flags = {.retain = retain};

    if (has_waiting(to)) {
        if (to->is_dropping ||
            !outbox_add_late(to, publication_message(publication), retain, ids)) {
            drop(to);
        }
    } else if (stream_pending_bytes(to->stream) >= STREAM_HIGH_WATER_BYTES) {
        if (to->is_dropping ||
            stream_pending_bytes(to->stream) >= to->broker->settings->live_queue_bytes_max) {
            drop(to);
        } else {
            writer_publish(to, publication, flags, ids);
        }
        if (flow_is_congested(to) && !to->is_dropping) {
            publication->congested = to;
        }
    } else {
        writer_publish(to, publication, flags, ids);
    }
}

static void deliver_live(struct connection *to, struct publication *publication, uint8_t qos,
                         bool retain, const uint32_t *ids)
{
    struct delivery_ring *ring = &to->session->deliveries;
    bool is_at_once = !has_waiting(to) && has_room(to);
    struct message *message = is_at_once ? NULL : publication_message(publication);

    bool keeps_ids = ids && !is_at_once;
    if (delivery_ring_push(ring, message, qos, retain, keeps_ids ? ids + 1 : NULL,
                           keeps_ids ? ids[0] : 0) < 0) {
        to->broker->counters.slow_disconnects++;
        connection_end(to, REASON_QUOTA_EXCEEDED, "too many deliveries wait");
        return;
    }
    if (!is_at_once) {
        sender_schedule(to);
    } else {
        uint64_t sequence = to->next_sequence++;
        struct publish_flags flags = {delivery_packet_id(sequence), qos, retain, false};
        if (writer_publish(to, publication, flags, ids)) {
            to->in_flight++;
        } else {
            delivery_ring_finish(ring, sequence);
        }
    }
    if (flow_is_congested(to)) {
        publication->congested = to;
    }
}

void sender_deliver(struct connection *to, struct publication *publication, uint8_t qos,
                    bool retain, const uint32_t *ids)
{
    if (!to->stream || !connection_is_active(to) ||
        (to->needs_access_checks &&
         !access_may_receive(to->broker->access, &to->identity, session_client_id(to->session),
                             publication->topic))) {
        return;
    }
    if (qos == 0) {
        deliver_qos_0(to, publication, retain, ids);
    } else {
        deliver_live(to, publication, qos, retain, ids);
    }
}

/* ---- pumping ---- */

static bool is_allowed(struct connection *connection, const struct message *message)
{
    return !connection->needs_access_checks ||
           access_may_receive(connection->broker->access, &connection->identity,
                              session_client_id(connection->session), message_topic(message));
}

/* Takes it out of the ring as if the client had acknowledged it; it was not in flight. */
static void give_up(struct connection *connection, struct delivery *delivery, uint64_t sequence)
{
    if (connection->is_persistent) {
        delivery->is_acknowledged = delivery->is_given_up = true;
        outbox_acknowledge(connection, delivery->qos == 1 ? SESSION_PUBACK : SESSION_PUBREC_ERROR,
                           delivery_packet_id(sequence));
    } else {
        delivery_ring_finish(&connection->session->deliveries, sequence);
    }
}

static void send_delivery(struct connection *connection, struct delivery *delivery,
                          uint64_t sequence)
{
    struct publication publication;
    struct publish_flags flags = {delivery_packet_id(sequence), delivery->qos, delivery->retain,
                                  sequence < connection->session->sent_end,
                                  sequence < connection->session->begun_end &&
                                      !delivery->is_given_up};

    if (!is_allowed(connection, delivery->message)) {
        give_up(connection, delivery, sequence);
        return;
    }
    publication_from_message(&publication, delivery->message, (struct bytes){NULL, 0});
    if (writer_publish(connection, &publication, flags, delivery->subscription_ids)) {
        connection->in_flight++;
    } else {
        give_up(connection, delivery, sequence);
    }
    publication_deinit(&publication);
}

static void send_late(struct connection *connection, uint64_t up_to)
{
    struct outbox *outbox = connection->outbox;
    struct late_message *late;

    while (outbox && (late = g_queue_peek_head(&outbox->late)) && late->after_sequence <= up_to) {
        struct publication publication;
        publication_from_message(&publication, late->message, (struct bytes){NULL, 0});
        writer_publish(connection, &publication, (struct publish_flags){.retain = late->retain},
                       late->subscription_ids);
        publication_deinit(&publication);
        g_queue_pop_head(&outbox->late);
        message_unref(late->message);
        g_free(late->subscription_ids);
        g_free(late);
    }
}

static void send_one(struct connection *connection)
{
    uint64_t sequence = connection->next_sequence++;
    struct delivery *delivery = delivery_ring_at(&connection->session->deliveries, sequence);

    if (!delivery || delivery->state == DELIVERY_DONE || delivery->is_acknowledged) {
        return;
    }
    if (delivery->state == DELIVERY_RECEIVED) {
        connection_send_ack(connection, PACKET_PUBREL, delivery_packet_id(sequence),
                            REASON_SUCCESS);
        connection->in_flight++;
        return;
    }
    send_delivery(connection, delivery, sequence);
}

void sender_pump(struct connection *connection)
{
    if (!connection_is_active(connection) || !connection->stream) {
        return;
    }
    struct delivery_ring *ring = &connection->session->deliveries;
    if (connection->next_sequence < ring->first) {
        connection->next_sequence = ring->first;
    }
    while (has_waiting(connection) && has_room(connection)) {
        send_late(connection, connection->next_sequence);
        send_one(connection);
    }
    connection->session->sent_end = MAX(connection->session->sent_end, connection->next_sequence);
    connection->session->begun_end = MAX(connection->session->begun_end, connection->next_sequence);
    if (!has_waiting(connection)) {
        send_late(connection, UINT64_MAX);
    }
    retained_sender_pump(connection);
}

void sender_attach(struct connection *connection)
{
    struct session *session = connection->session;
    struct delivery_ring *ring = &session->deliveries;

    for (uint64_t sequence = ring->first; sequence < delivery_ring_end(ring); sequence++) {
        delivery_ring_at(ring, sequence)->is_acknowledged = false;
    }
    connection->next_sequence = ring->first;
    connection->in_flight = 0;
    sender_pump(connection);
}

/* ---- acknowledgements ---- */

/* The delivery in flight that this packet speaks of, or NULL when there is none in a fitting state.
 */
static struct delivery *in_flight(struct connection *connection, const struct packet_ack *ack,
                                  uint8_t qos, uint8_t state, uint64_t *sequence)
{
    struct delivery *delivery =
        delivery_ring_find(&connection->session->deliveries, ack->packet_id, sequence);

    if (!delivery || *sequence >= connection->next_sequence || delivery->qos != qos ||
        delivery->state != state || delivery->is_acknowledged) {
        return NULL;
    }
    return delivery;
}

static bool decode(struct connection *connection, const struct packet_frame *frame,
                   struct packet_ack *ack)
{
    int reason = packet_ack_decode(frame, connection->version, ack);

    if (reason != 0) {
        connection_fail(connection, (uint8_t)reason, "malformed acknowledgement");
    }
    return reason == 0;
}

/* Of a persistent session the log learns it too; until then the delivery keeps its place and its
 * packet id, but the client's window is free. */
static void finish(struct connection *connection, struct delivery *delivery, uint64_t sequence,
                   enum session_ack kind)
{
    connection->in_flight--;
    if (connection->is_persistent) {
        delivery->is_acknowledged = true;
        outbox_acknowledge(connection, kind, delivery_packet_id(sequence));
    } else {
        delivery_ring_finish(&connection->session->deliveries, sequence);
    }
    if (has_waiting(connection) || connection->outbox) {
        sender_schedule(connection);
    }
    flow_update(connection);
}

void sender_on_puback(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_ack ack;
    uint64_t sequence;

    if (!decode(connection, frame, &ack)) {
        return;
    }
    struct delivery *delivery = in_flight(connection, &ack, 1, DELIVERY_WAITING, &sequence);
    if (delivery) {
        finish(connection, delivery, sequence, SESSION_PUBACK);
    }
}

void sender_on_pubrec(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_ack ack;
    uint64_t sequence;

    if (!decode(connection, frame, &ack)) {
        return;
    }
    struct delivery *delivery = in_flight(connection, &ack, 2, DELIVERY_WAITING, &sequence);
    if (!delivery) {
        /* Received already: PUBREL again; never heard of: said so (MQTT 5, 4.3.3). */
        bool is_known = in_flight(connection, &ack, 2, DELIVERY_RECEIVED, &sequence) != NULL;
        if (ack.reason < REASON_UNSPECIFIED) {
            connection_send_ack(connection, PACKET_PUBREL, ack.packet_id,
                                is_known || connection->version != PACKET_MQTT_5
                                    ? REASON_SUCCESS
                                    : REASON_PACKET_ID_NOT_FOUND);
        }
    } else if (ack.reason >= REASON_UNSPECIFIED) {
        finish(connection, delivery, sequence, SESSION_PUBREC_ERROR);
    } else if (connection->is_persistent) {
        outbox_acknowledge(connection, SESSION_PUBREC, ack.packet_id);
    } else {
        delivery_ring_receive(&connection->session->deliveries, sequence);
        connection_send_ack(connection, PACKET_PUBREL, ack.packet_id, REASON_SUCCESS);
    }
}

void sender_on_pubcomp(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_ack ack;
    uint64_t sequence;

    if (!decode(connection, frame, &ack)) {
        return;
    }
    struct delivery *delivery = in_flight(connection, &ack, 2, DELIVERY_RECEIVED, &sequence);
    if (delivery) {
        finish(connection, delivery, sequence, SESSION_PUBCOMP);
    }
}
