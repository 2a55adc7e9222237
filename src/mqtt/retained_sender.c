/* See retained_sender.h. A batch holds references, so a hundred thousand messages cost eight bytes
 * each until they are sent. A message that was replaced meanwhile is skipped: its successor was
 * delivered live. To a persistent session QoS > 0 goes through the log (it must survive); a bounded
 * number is on its way at any time. */
#include "mqtt/retained_sender.h"
#include "base/clock.h"
#include "mqtt/broker_private.h"
#include "mqtt/durable.h"
#include "mqtt/outbox.h"
#include "mqtt/sender.h"
#include "mqtt/sys_topics.h"
#include "mqtt/writer.h"
#include "net/stream.h"
#include "session/retained.h"
#include "state/propose.h"

#define PROPOSED_MAX 256

static bool collect(void *owner, struct message *message)
{
    g_ptr_array_add(owner, message_ref(message));
    return true;
}

static void unref(void *message)
{
    message_unref(message);
}

void retained_sender_add(struct connection *connection, struct bytes filter, uint8_t qos,
                         uint32_t subscription_id)
{
    GPtrArray *messages = g_ptr_array_new_with_free_func(unref);

    retained_scan(state_retained(connection->broker->state), filter, collect, messages);
    sys_topics_collect(connection->broker, filter, messages);
    if (messages->len == 0) {
        g_ptr_array_unref(messages);
        return;
    }
    outbox_add_batch(connection, messages, qos, subscription_id);
    sender_schedule(connection);
}

/* ---- one message ---- */

static bool is_still_wanted(struct connection *connection, struct message *message)
{
    if (message->topic_bytes > 0 && message->body[0] != '$' &&
        retained_find(state_retained(connection->broker->state), message_topic(message)) !=
            message) {
        return false;
    }
    return !connection->needs_access_checks ||
           access_may_receive(connection->broker->access, &connection->identity,
                              session_client_id(connection->session), message_topic(message));
}

struct proposed {
    struct broker *broker;
    uint64_t connection_number;
    char client_id[];
};

static void on_proposed(void *owner, uint64_t token, const struct state_result *result)
{
    struct proposed *proposed = owner;
    struct connection *connection = broker_find(proposed->broker, proposed->client_id);

    if (connection && connection->number == proposed->connection_number && connection->outbox) {
        connection->outbox->proposed--;
        sender_schedule(connection);
    }
    g_free(proposed);
}

static bool propose(struct connection *connection, const struct retained_batch *batch,
                    struct message *message, uint8_t qos)
{
    struct bytes id = session_client_id(connection->session);
    struct proposed *proposed = g_malloc0(sizeof *proposed + id.length + 1);

    proposed->broker = connection->broker;
    proposed->connection_number = connection->number;
    memcpy(proposed->client_id, id.at, id.length);
    struct state_completion completion = {on_proposed, proposed, 0, connection->number};
    if (state_propose_send_retained(connection->broker->state, id, message_topic(message), qos,
                                    batch->subscription_id, &completion) < 0) {
        g_free(proposed);
        durable_pump_later(connection);
        return false;
    }
    connection->outbox->proposed++;
    return true;
}

static bool send_live(struct connection *connection, const struct retained_batch *batch,
                      struct message *message, uint8_t qos)
{
    uint32_t ids[2] = {1, batch->subscription_id};
    struct delivery_ring *ring = &connection->session->deliveries;
    struct publish_flags flags = {.qos = qos, .retain = true};
    struct publication publication;

    if (qos > 0) {
        if (connection->next_sequence < delivery_ring_end(ring) ||
            connection->in_flight >= connection->receive_maximum ||
            delivery_ring_push(ring, NULL, qos, true, NULL, 0) < 0) {
            return false;
        }
        flags.packet_id = delivery_packet_id(connection->next_sequence++);
    }
    publication_from_message(&publication, message, (struct bytes){NULL, 0});
    bool is_sent =
        writer_publish(connection, &publication, flags, batch->subscription_id != 0 ? ids : NULL);
    publication_deinit(&publication);
    if (qos > 0 && is_sent) {
        connection->in_flight++;
    } else if (qos > 0) {
        delivery_ring_finish(ring, connection->next_sequence - 1);
    }
    return true;
}

/* False when it has to wait. */
static bool send_one(struct connection *connection, const struct retained_batch *batch,
                     struct message *message)
{
    uint8_t qos = MIN(batch->qos, message->qos);

    if (!is_still_wanted(connection, message)) {
        return true;
    }
    if (connection->is_persistent && qos > 0) {
        return connection->outbox->proposed < PROPOSED_MAX &&
               propose(connection, batch, message, qos);
    }
    return send_live(connection, batch, message, qos);
}

static bool pump_batch(struct connection *connection, struct retained_batch *batch)
{
    while (batch->next < batch->messages->len) {
        if (stream_pending_bytes(connection->stream) >= STREAM_HIGH_WATER_BYTES ||
            !send_one(connection, batch, g_ptr_array_index(batch->messages, batch->next))) {
            return false;
        }
        batch->next++;
    }
    return true;
}

void retained_sender_pump(struct connection *connection)
{
    struct outbox *outbox = connection->outbox;

    while (outbox && !list_is_empty(&outbox->batches)) {
        struct retained_batch *batch =
            list_entry(outbox->batches.next, struct retained_batch, link);
        if (!pump_batch(connection, batch)) {
            return;
        }
        list_remove(&batch->link);
        g_ptr_array_unref(batch->messages);
        g_free(batch);
    }
}
