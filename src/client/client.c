/* See client.h.
 *
 *   CONNECTING --CONNACK 0--> CONNECTED --DISCONNECT, end of stream, error--> ENDED
 *       +------ CONNACK >0, malformed, end ---------------------------------^
 *
 * Publishes in flight stand in a table by packet id; QoS 2 publishes received stand in a set until
 * PUBREL. */
#include "client/client.h"
#include "base/cleanup.h"
#include "loop/loop.h"
#include "net/stream.h"
#include "packet/reason.h"
#include <errno.h>

#define LINGER_MS          1000
#define CONNACK_TIMEOUT_MS 30000

struct client_publication {
    uint64_t token;
    uint8_t qos;
    bool is_received; /* PUBREC came, PUBREL is out */
};

struct client {
    struct loop *loop;     /* borrowed */
    struct stream *stream; /* NULL once it has ended */
    const struct client_events *events;
    void *owner;
    struct timer *timer;   /* CONNACK, then keep alive */
    GHashTable *published; /* packet id -> struct client_publication, owned */
    GHashTable *requests;  /* packet id -> uint64_t token of SUBSCRIBE and UNSUBSCRIBE, owned */
    GHashTable *received;  /* packet ids of QoS 2 between PUBREC and PUBREL */
    GByteArray *scratch;
    const struct properties_builder *subscribe_properties, *disconnect_properties; /* borrowed */
    uint64_t last_sent_ms, last_received_ms;
    uint32_t packet_bytes_max, server_packet_bytes_max;
    uint16_t keep_alive_s, receive_maximum, last_packet_id;
    uint8_t version;
    bool manual_ack, is_connected, is_ping_out, is_calling, is_freed;
};

/* ---- output ---- */

static void send(struct client *client, const void *packet, size_t length)
{
    struct packet_frame frame;

    if (!client->stream) {
        return;
    }
    stream_write(client->stream, packet, length);
    client->last_sent_ms = loop_now_ms(client->loop);
    if (client->events->on_packet &&
        packet_frame_find((struct bytes){packet, length}, UINT32_MAX, &frame) == 1) {
        client->events->on_packet(client->owner, true, &frame);
    }
}

static GByteArray *scratch(struct client *client)
{
    g_byte_array_set_size(client->scratch, 0);
    return client->scratch;
}

static void send_scratch(struct client *client)
{
    send(client, client->scratch->data, client->scratch->len);
}

static void send_ack(struct client *client, uint8_t type, uint16_t packet_id, uint8_t reason)
{
    uint8_t packet[PACKET_SMALL_BYTES_MAX];

    send(client, packet, packet_ack_encode(type, packet_id, reason, client->version, packet));
}

static void end(struct client *client, uint8_t reason, const char *text)
{
    if (!client->stream && !client->is_connected && client->is_freed) {
        return;
    }
    if (client->stream) {
        stream_close(TAKE(client->stream), LINGER_MS);
    }
    timer_stop(client->timer);
    client->is_connected = false;
    if (!client->is_freed) {
        client->events->on_end(client->owner, reason, text);
    }
}

/* ---- packets in ---- */

static void on_connack(struct client *client, const struct packet_frame *frame)
{
    struct packet_connack connack;
    int reason = packet_connack_decode(frame, client->version, &connack);

    if (reason != 0 || client->is_connected) {
        end(client, REASON_PROTOCOL_ERROR, "malformed or unexpected CONNACK");
        return;
    }
    const struct properties *properties = &connack.properties;
    if (client->version == PACKET_MQTT_5) {
        if (properties_has(properties, PROPERTY_RECEIVE_MAXIMUM)) {
            client->receive_maximum = properties->receive_maximum;
        }
        if (properties_has(properties, PROPERTY_SERVER_KEEP_ALIVE)) {
            client->keep_alive_s = properties->server_keep_alive_s;
        }
        if (properties_has(properties, PROPERTY_MAXIMUM_PACKET)) {
            client->server_packet_bytes_max = properties->maximum_packet_bytes;
        }
    }
    client->is_connected = connack.reason == 0;
    timer_stop(client->timer);
    if (client->keep_alive_s > 0) {
        timer_start(client->timer, client->keep_alive_s * 1000ull);
    }
    client->events->on_connected(client->owner, &connack);
    if (connack.reason != 0) {
        end(client, connack.reason, reason_to_string(connack.reason));
    }
}

static void on_publish(struct client *client, const struct packet_frame *frame)
{
    struct packet_publish publish;
    int reason = packet_publish_decode(frame, client->version, &publish);

    if (reason != 0) {
        end(client, (uint8_t)reason, "malformed PUBLISH");
        return;
    }
    if (publish.qos == 2 &&
        !g_hash_table_add(client->received, GUINT_TO_POINTER(publish.packet_id))) {
        send_ack(client, PACKET_PUBREC, publish.packet_id, REASON_SUCCESS);
        return;
    }
    client->events->on_message(client->owner, &publish);
    if (publish.qos > 0 && !client->manual_ack && client->stream) {
        client_acknowledge(client, publish.qos, publish.packet_id, REASON_SUCCESS);
    }
}

static void published(struct client *client, uint16_t packet_id, uint8_t reason)
{
    struct client_publication *publication =
        g_hash_table_lookup(client->published, GUINT_TO_POINTER(packet_id));

    if (publication) {
        uint64_t token = publication->token;
        g_hash_table_remove(client->published, GUINT_TO_POINTER(packet_id));
        client->events->on_published(client->owner, token, reason);
    }
}

static void on_pubrec(struct client *client, const struct packet_ack *ack)
{
    struct client_publication *publication =
        g_hash_table_lookup(client->published, GUINT_TO_POINTER(ack->packet_id));

    if (ack->reason >= REASON_UNSPECIFIED) {
        published(client, ack->packet_id, ack->reason);
        return;
    }
    if (publication) {
        publication->is_received = true;
    }
    send_ack(client, PACKET_PUBREL, ack->packet_id,
             publication ? REASON_SUCCESS : REASON_PACKET_ID_NOT_FOUND);
}

static void on_ack(struct client *client, const struct packet_frame *frame)
{
    struct packet_ack ack;
    int reason = packet_ack_decode(frame, client->version, &ack);

    if (reason != 0) {
        end(client, (uint8_t)reason, "malformed acknowledgement");
    } else if (frame->type == PACKET_PUBREC) {
        on_pubrec(client, &ack);
    } else if (frame->type == PACKET_PUBREL) {
        g_hash_table_remove(client->received, GUINT_TO_POINTER(ack.packet_id));
        send_ack(client, PACKET_PUBCOMP, ack.packet_id, REASON_SUCCESS);
    } else {
        published(client, ack.packet_id, ack.reason);
    }
}

static void on_suback(struct client *client, const struct packet_frame *frame)
{
    struct packet_suback suback;
    int reason = packet_suback_decode(frame, client->version, &suback);

    if (reason != 0) {
        end(client, (uint8_t)reason, "malformed SUBACK");
        return;
    }
    uint64_t *token = g_hash_table_lookup(client->requests, GUINT_TO_POINTER(suback.packet_id));
    if (token) {
        uint64_t value = *token;
        g_hash_table_remove(client->requests, GUINT_TO_POINTER(suback.packet_id));
        client->events->on_subscribed(client->owner, value, suback.reasons);
    }
}

static void on_disconnect(struct client *client, const struct packet_frame *frame)
{
    struct packet_disconnect disconnect;
    int reason = packet_disconnect_decode(frame, client->version, &disconnect);

    if (reason != 0 || client->version != PACKET_MQTT_5) {
        end(client, REASON_PROTOCOL_ERROR, "malformed or unexpected DISCONNECT");
        return;
    }
    end(client, disconnect.reason, reason_to_string(disconnect.reason));
}

static void dispatch(struct client *client, const struct packet_frame *frame)
{
    if (client->events->on_packet) {
        client->events->on_packet(client->owner, false, frame);
    }
    switch (frame->type) {
    case PACKET_CONNACK:
        on_connack(client, frame);
        break;
    case PACKET_PUBLISH:
        on_publish(client, frame);
        break;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        on_ack(client, frame);
        break;
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        on_suback(client, frame);
        break;
    case PACKET_PINGRESP:
        client->is_ping_out = false;
        break;
    case PACKET_DISCONNECT:
        on_disconnect(client, frame);
        break;
    default:
        end(client, REASON_PROTOCOL_ERROR, "packet type not allowed from a server");
    }
}

static void destroy(struct client *client)
{
    timer_free(client->timer);
    g_hash_table_unref(client->published);
    g_hash_table_unref(client->requests);
    g_hash_table_unref(client->received);
    g_byte_array_unref(client->scratch);
    g_free(client);
}

static size_t on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct client *client = owner;
    size_t consumed = 0;

    client->is_calling = true; /* the owner may free the client from inside a callback */
    while (consumed < length && client->stream) {
        struct packet_frame frame;
        int r = packet_frame_find((struct bytes){bytes + consumed, length - consumed},
                                  client->packet_bytes_max, &frame);
        if (r == 0) {
            if (frame.total_bytes > length - consumed) {
                stream_expect(client->stream, frame.total_bytes);
            }
            break;
        }
        if (r < 0) {
            end(client, (uint8_t)-r, "malformed packet");
            break;
        }
        consumed += frame.total_bytes;
        client->last_received_ms = loop_now_ms(client->loop);
        dispatch(client, &frame);
    }
    client->is_calling = false;
    if (client->is_freed) {
        destroy(client);
    }
    return consumed;
}

static void on_end(void *owner, int error)
{
    struct client *client = owner;

    client->stream = NULL;
    end(client, 0, error == 0 ? "the server closed the connection" : g_strerror(-error));
}

static void on_timer(void *owner)
{
    struct client *client = owner;
    uint64_t now_ms = loop_now_ms(client->loop);
    uint64_t period_ms = client->keep_alive_s * 1000ull;
    uint8_t packet[PACKET_SMALL_BYTES_MAX];

    if (!client->is_connected) {
        end(client, 0, "the server does not answer CONNECT");
        return;
    }
    if (client->is_ping_out && now_ms - client->last_received_ms >= period_ms) {
        end(client, REASON_KEEP_ALIVE_TIMEOUT, "the server does not answer PINGREQ");
        return;
    }
    if (!client->is_ping_out) {
        client->is_ping_out = true;
        send(client, packet, packet_pingreq_encode(packet));
    }
    timer_start(client->timer, period_ms);
}

/* ---- packets out ---- */

static uint16_t next_packet_id(struct client *client)
{
    do {
        client->last_packet_id =
            client->last_packet_id == UINT16_MAX ? 1 : client->last_packet_id + 1;
    } while (g_hash_table_contains(client->published, GUINT_TO_POINTER(client->last_packet_id)) ||
             g_hash_table_contains(client->requests, GUINT_TO_POINTER(client->last_packet_id)));
    return client->last_packet_id;
}

int client_publish(struct client *client, const struct client_message *message, uint64_t token)
{
    if (!client->is_connected ||
        (message->qos > 0 && g_hash_table_size(client->published) >= client->receive_maximum)) {
        return -EAGAIN;
    }
    struct packet_publish_head head = {
        .topic = message->topic,
        .forwarded = message->properties,
        .payload_bytes = (uint32_t)message->payload.length,
        .version = client->version,
        .qos = message->qos,
        .retain = message->retain,
        .has_expiry = message->has_expiry,
        .expiry_s = message->expiry_s,
    };
    if (message->qos > 0) {
        struct client_publication *publication = g_new0(struct client_publication, 1);
        publication->token = token;
        publication->qos = message->qos;
        head.packet_id = next_packet_id(client);
        g_hash_table_insert(client->published, GUINT_TO_POINTER(head.packet_id), publication);
    }
    uint32_t size = packet_publish_size(&head);
    if (size > client->server_packet_bytes_max) {
        g_hash_table_remove(client->published, GUINT_TO_POINTER(head.packet_id));
        return -EMSGSIZE;
    }
    g_byte_array_set_size(client->scratch, size);
    uint32_t head_bytes = packet_publish_encode(&head, client->scratch->data);
    if (message->payload.length > 0) {
        memcpy(client->scratch->data + head_bytes, message->payload.at, message->payload.length);
    }
    send_scratch(client);
    return 0;
}

static uint16_t request(struct client *client, uint64_t token)
{
    uint16_t packet_id = next_packet_id(client);

    g_hash_table_insert(client->requests, GUINT_TO_POINTER(packet_id),
                        g_memdup2(&token, sizeof token));
    return packet_id;
}

void client_subscribe(struct client *client, const struct packet_subscription *subscriptions,
                      unsigned count, uint32_t subscription_id, uint64_t token)
{
    struct properties_builder properties;

    properties_builder_init(&properties);
    if (client->subscribe_properties) {
        g_byte_array_append(properties.bytes, client->subscribe_properties->bytes->data,
                            client->subscribe_properties->bytes->len);
    }
    if (subscription_id != 0 && client->version == PACKET_MQTT_5) {
        properties_add_varint(&properties, PROPERTY_SUBSCRIPTION_ID, subscription_id);
    }
    packet_subscribe_encode(request(client, token), subscriptions, count, client->version,
                            &properties, scratch(client));
    send_scratch(client);
    properties_builder_deinit(&properties);
}

void client_unsubscribe(struct client *client, const struct bytes *filters, unsigned count,
                        uint64_t token)
{
    packet_unsubscribe_encode(request(client, token), filters, count, client->version,
                              scratch(client));
    send_scratch(client);
}

void client_acknowledge(struct client *client, uint8_t qos, uint16_t packet_id, uint8_t reason)
{
    if (qos == 2 && reason >= REASON_UNSPECIFIED) {
        g_hash_table_remove(client->received, GUINT_TO_POINTER(packet_id));
    }
    send_ack(client, qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, packet_id, reason);
}

size_t client_pending_bytes(const struct client *client)
{
    return client->stream ? stream_pending_bytes(client->stream) : 0;
}

uint32_t client_in_flight(const struct client *client)
{
    return g_hash_table_size(client->published);
}

uint16_t client_last_packet_id(const struct client *client)
{
    return client->last_packet_id;
}

/* ---- life ---- */

static void on_drained(void *owner)
{
}

static const struct stream_events stream_events = {on_bytes, on_drained, on_end};

struct client *client_new(struct loop *loop, struct stream *stream,
                          const struct client_options *options, const struct client_events *events,
                          void *owner)
{
    struct client *client = g_new0(struct client, 1);

    client->loop = loop;
    client->stream = stream;
    client->events = events;
    client->owner = owner;
    client->timer = timer_new(loop, on_timer, client);
    client->published = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    client->requests = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    client->received = g_hash_table_new(NULL, NULL);
    client->scratch = g_byte_array_new();
    client->version = options->connect.version;
    client->keep_alive_s = options->connect.keep_alive_s;
    client->receive_maximum = UINT16_MAX;
    client->server_packet_bytes_max = UINT32_MAX;
    client->packet_bytes_max = options->packet_bytes_max ? options->packet_bytes_max : UINT32_MAX;
    client->last_packet_id = options->last_packet_id;
    client->manual_ack = options->manual_ack;
    client->subscribe_properties = options->subscribe_properties;
    client->disconnect_properties = options->disconnect_properties;
    client->last_received_ms = loop_now_ms(loop);
    struct packet_connect connect = options->connect;
    if (options->connect_properties) {
        connect.properties.raw = (struct bytes){options->connect_properties->bytes->data,
                                                options->connect_properties->bytes->len};
    }
    if (options->will_properties) {
        connect.will.properties.raw = (struct bytes){options->will_properties->bytes->data,
                                                     options->will_properties->bytes->len};
    }
    stream_start(stream, &stream_events, client);
    packet_connect_encode(&connect, scratch(client));
    send_scratch(client);
    timer_start(client->timer, CONNACK_TIMEOUT_MS);
    return client;
}

void client_free(struct client *client, uint8_t disconnect_reason)
{
    if (client->is_connected && client->stream) {
        packet_disconnect_encode(disconnect_reason, client->version, client->disconnect_properties,
                                 scratch(client));
        send_scratch(client);
    }
    if (client->stream) {
        stream_close(TAKE(client->stream), LINGER_MS);
    }
    client->is_freed = true;
    if (!client->is_calling) {
        destroy(client);
    }
}
