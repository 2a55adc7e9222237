/* See outbox.h. */
#include "mqtt/outbox.h"
#include "mqtt/broker_private.h"
#include "mqtt/durable.h"

struct outbox *outbox_of(struct connection *connection)
{
    if (!connection->outbox) {
        connection->outbox = g_new0(struct outbox, 1);
        g_queue_init(&connection->outbox->late);
        list_init(&connection->outbox->batches);
        list_init(&connection->outbox->acknowledge_link);
        list_init(&connection->outbox->refused_link);
        connection->outbox->connection = connection;
    }
    return connection->outbox;
}

static void late_free(void *pointer)
{
    struct late_message *late = pointer;

    message_unref(late->message);
    g_free(late->subscription_ids);
    g_free(late);
}

static void batch_free(struct retained_batch *batch)
{
    list_remove(&batch->link);
    g_ptr_array_unref(batch->messages);
    g_free(batch);
}

void outbox_free(struct outbox *outbox)
{
    if (!outbox) {
        return;
    }
    list_remove(&outbox->acknowledge_link);
    list_remove(&outbox->refused_link);
    g_queue_clear_full(&outbox->late, late_free);
    while (!list_is_empty(&outbox->batches)) {
        batch_free(list_entry(outbox->batches.next, struct retained_batch, link));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(outbox->acknowledgements); i++) {
        g_clear_pointer(&outbox->acknowledgements[i], g_array_unref);
    }
    g_free(outbox);
}

bool outbox_add_late(struct connection *connection, struct message *message, bool retain,
                     const uint32_t *ids)
{
    struct outbox *outbox = outbox_of(connection);

    if (g_queue_get_length(&outbox->late) >=
        connection->broker->settings->live_queue_messages_max) {
        return false;
    }
    struct late_message *late = g_new0(struct late_message, 1);
    late->message = message_ref(message);
    late->retain = retain;
    late->subscription_ids = ids ? g_memdup2(ids, (ids[0] + 1) * sizeof *ids) : NULL;
    late->after_sequence = delivery_ring_end(&connection->session->deliveries);
    g_queue_push_tail(&outbox->late, late);
    return true;
}

void outbox_add_batch(struct connection *connection, GPtrArray *messages, uint8_t qos,
                      uint32_t subscription_id)
{
    struct retained_batch *batch = g_new0(struct retained_batch, 1);

    batch->messages = messages;
    batch->qos = qos;
    batch->subscription_id = subscription_id;
    list_append(&outbox_of(connection)->batches, &batch->link);
}

void outbox_acknowledge_later(struct connection *connection, enum session_ack kind,
                              uint16_t packet_id)
{
    struct outbox *outbox = outbox_of(connection);

    if (!outbox->acknowledgements[kind]) {
        outbox->acknowledgements[kind] = g_array_new(false, false, sizeof packet_id);
    }
    g_array_append_val(outbox->acknowledgements[kind], packet_id);
    if (list_is_empty(&outbox->acknowledge_link)) {
        list_append(&connection->broker->acknowledging, &outbox->acknowledge_link);
    }
}

void outbox_acknowledge(struct connection *connection, enum session_ack kind, uint16_t packet_id)
{
    outbox_acknowledge_later(connection, kind, packet_id);
    broker_touch(connection->broker);
}

bool outbox_propose_acknowledgements(struct connection *connection)
{
    struct outbox *outbox = connection->session ? connection->outbox : NULL;

    for (unsigned kind = 0; outbox && kind < G_N_ELEMENTS(outbox->acknowledgements); kind++) {
        GArray *ids = outbox->acknowledgements[kind];
        if (!ids || ids->len == 0) {
            continue;
        }
        if (durable_acknowledge(connection, (enum session_ack)kind,
                                (const uint16_t *)(void *)ids->data, ids->len) < 0) {
            return false;
        }
        g_array_set_size(ids, 0);
    }
    if (outbox) {
        list_remove(&outbox->acknowledge_link);
    }
    return true;
}
