/* From bytes to packets and back, and the life of a connection; see connection.h for the states.
 *
 * on_bytes finds frame after frame in what the stream presents and hands each to its handler. It
 * stops in the middle of the input when reading is to be held back (login under way, a slow
 * subscriber, too many publishes waiting); the stream keeps the rest. */
#include "mqtt/connection.h"
#include "base/clock.h"
#include "base/log.h"
#include "loop/loop.h"
#include "mqtt/address.h"
#include "mqtt/aliases.h"
#include "mqtt/auth.h"
#include "mqtt/broker_private.h"
#include "mqtt/connect.h"
#include "mqtt/connect_request.h"
#include "mqtt/durable.h"
#include "mqtt/flow.h"
#include "mqtt/ingest.h"
#include "mqtt/outbox.h"
#include "mqtt/publish.h"
#include "mqtt/sender.h"
#include "mqtt/subscribe.h"
#include "mqtt/trace.h"
#include "net/stream.h"
#include "state/propose.h"
#include "topic/tree.h"

#define LINGER_MS 1000

bool connection_is_active(const struct connection *connection)
{
    return connection->state == CONNECTION_ACTIVE;
}

struct bytes connection_client_id(const struct connection *connection)
{
    if (connection->session) {
        return session_client_id(connection->session);
    }
    return connection->request ? connect_request_client_id(connection->request)
                               : (struct bytes){NULL, 0};
}

/* ---- output ---- */

void connection_send(struct connection *connection, const void *packet, size_t length)
{
    if (!connection->stream) {
        return;
    }
    stream_write(connection->stream, packet, length);
    connection->sent++;
    connection->broker->counters.messages_sent++;
    connection->broker->counters.bytes_sent += length;
    if (connection->is_traced) {
        trace_packet(connection, TRACE_TO_CLIENT, (struct bytes){packet, length});
    }
}

void connection_send_ack(struct connection *connection, uint8_t type, uint16_t packet_id,
                         uint8_t reason)
{
    uint8_t packet[PACKET_SMALL_BYTES_MAX];

    connection_send(connection, packet,
                    packet_ack_encode(type, packet_id, reason, connection->version, packet));
}

static void send_disconnect(struct connection *connection, uint8_t reason, const char *text)
{
    if (connection->version != PACKET_MQTT_5 || connection->state != CONNECTION_ACTIVE ||
        !connection->stream) {
        return;
    }
    struct properties_builder properties;
    properties_builder_init(&properties);
    if (text && connection->wants_problem_information &&
        64 + strlen(text) < connection->packet_bytes_max) {
        properties_add_bytes(&properties, PROPERTY_REASON_STRING, bytes_from_string(text));
    }
    GByteArray *packet = connection->broker->scratch;
    g_byte_array_set_size(packet, 0);
    packet_disconnect_encode(reason, connection->version, &properties, packet);
    connection_send(connection, packet->data, packet->len);
    properties_builder_deinit(&properties);
}

/* ---- reading ---- */

static bool is_reading_wanted(const struct connection *connection)
{
    if (connection->state == CONNECTION_AUTHENTICATING) {
        return connection->scram && connection->request && !connection->request->ticket;
    }
    if (connection->state == CONNECTION_OPENING) {
        return false;
    }
    /* A slow subscriber is always read: its acknowledgements are what others wait for, perhaps in a
     * circle. */
    bool is_held = (flow_is_held(connection) || connection->held_elsewhere != 0) &&
                   !flow_was_congested(connection);
    return !is_held &&
           connection->waiting_publishes < connection->broker->settings->receive_maximum;
}

void connection_update_reading(struct connection *connection)
{
    if (!connection->stream || connection->state == CONNECTION_ENDED) {
        return;
    }
    bool is_wanted = is_reading_wanted(connection);
    if (is_wanted == !connection->is_paused) {
        return;
    }
    connection->is_paused = !is_wanted;
    if (is_wanted) {
        connection->last_packet_ms = loop_now_ms(connection->broker->loop);
        stream_resume(connection->stream);
    } else {
        stream_pause(connection->stream);
    }
}

static void on_pingreq(struct connection *connection, const struct packet_frame *frame)
{
    uint8_t packet[PACKET_SMALL_BYTES_MAX];
    connection_send(connection, packet, packet_pingresp_encode(packet));
}

static void on_disconnect(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_disconnect disconnect;
    int reason = packet_disconnect_decode(frame, connection->version, &disconnect);

    if (reason != 0) {
        connection_fail(connection, (uint8_t)reason, "malformed DISCONNECT");
        return;
    }
    if (properties_has(&disconnect.properties, PROPERTY_SESSION_EXPIRY)) {
        uint32_t expiry_s = disconnect.properties.session_expiry_s;
        if (connection->expiry_s == 0 && expiry_s != 0) { /* MQTT 5, 3.14.2.2.2 */
            connection_fail(connection, REASON_PROTOCOL_ERROR,
                            "session expiry may not be raised from 0");
            return;
        }
        connection->has_end_expiry = true;
        connection->expiry_s = MIN(expiry_s, connection->broker->settings->session_expiry_s_max);
    }
    connection->is_clean_end = disconnect.reason == REASON_SUCCESS;
    connection_end(connection, 0, NULL);
}

typedef void packet_handler(struct connection *connection, const struct packet_frame *frame);

/* What a client may send once it is in. */
static packet_handler *const handlers[16] = {
    [PACKET_PUBLISH] = publish_receive,         [PACKET_PUBACK] = sender_on_puback,
    [PACKET_PUBREC] = sender_on_pubrec,         [PACKET_PUBREL] = publish_on_pubrel,
    [PACKET_PUBCOMP] = sender_on_pubcomp,       [PACKET_SUBSCRIBE] = subscribe_receive,
    [PACKET_UNSUBSCRIBE] = unsubscribe_receive, [PACKET_PINGREQ] = on_pingreq,
    [PACKET_DISCONNECT] = on_disconnect,        [PACKET_AUTH] = auth_receive,
};

static void dispatch(struct connection *connection, const struct packet_frame *frame)
{
    trace_received(connection, frame);
    if (connection->state == CONNECTION_ACTIVE) {
        packet_handler *handler = handlers[frame->type];
        if (handler) {
            handler(connection, frame);
        } else {
            connection_fail(connection, REASON_PROTOCOL_ERROR,
                            "packet type not allowed from a client");
        }
    } else if (connection->state == CONNECTION_WAITING && frame->type == PACKET_CONNECT) {
        connect_receive(connection, frame);
    } else if (connection->state == CONNECTION_AUTHENTICATING && frame->type == PACKET_AUTH) {
        auth_receive(connection, frame);
    } else {
        connection_fail(connection, REASON_PROTOCOL_ERROR,
                        "the first packet must be CONNECT"); /* 3.1.0-1 */
    }
}

/* Before CONNECT nobody needs more than that. */
static uint32_t packet_limit(const struct connection *connection)
{
    return connection->broker->settings->max_packet_bytes;
}

/* Prepares for the next publishes of `input` where the table of filters is larger than the
 * processor's caches. Returns how many of its bytes need no other look. */
static size_t look_ahead(const struct broker *broker, struct bytes input)
{
    struct bytes topics[TOPIC_PREFETCH_MAX];
    unsigned count = TOPIC_PREFETCH_MAX;
    size_t looked = packet_publish_topics(input, topics, &count);

    if (count > 1) {
        route_cache_prefetch(&broker->routes, topics, count);
    }
    return looked;
}

static size_t on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct connection *connection = owner;
    struct broker *broker = connection->broker;
    size_t consumed = 0, looked = route_cache_is_large(&broker->routes) ? 0 : SIZE_MAX;

    while (consumed < length && !connection->is_paused && connection->state != CONNECTION_ENDED) {
        struct packet_frame frame;
        if (consumed >= looked) {
            looked =
                consumed + look_ahead(broker, (struct bytes){bytes + consumed, length - consumed});
        }
        int r = packet_frame_find((struct bytes){bytes + consumed, length - consumed},
                                  packet_limit(connection), &frame);
        if (r == 0) {
            if (frame.total_bytes > length - consumed) {
                stream_expect(connection->stream, frame.total_bytes);
            }
            break;
        }
        if (r < 0) {
            connection_fail(connection, (uint8_t)-r,
                            r == -REASON_PACKET_TOO_LARGE ? "packet too large"
                                                          : "malformed header");
            break;
        }
        consumed += frame.total_bytes;
        connection->received++;
        broker->counters.messages_received++;
        connection->last_packet_ms = loop_now_ms(broker->loop);
        dispatch(connection, &frame);
    }
    broker->counters.bytes_received += consumed;
    return consumed;
}

static void on_drained(void *owner)
{
    struct connection *connection = owner;

    sender_pump(connection);
    flow_update(connection);
}

static void on_end(void *owner, int error)
{
    struct connection *connection = owner;

    connection->stream = NULL;
    connection_end(connection, 0, NULL);
}

static const struct stream_events stream_events = {on_bytes, on_drained, on_end};

/* ---- life ---- */

struct connection *connection_new(struct broker *broker, struct stream *stream,
                                  const char *trusted_name)
{
    struct connection *connection = g_new0(struct connection, 1);

    connection->broker = broker;
    connection->stream = stream;
    connection->identity.username = g_strdup(trusted_name);
    connection->is_trusted = trusted_name != NULL;
    connection->packet_bytes_max = UINT32_MAX;
    connection->number = state_connection_number(broker->options.node_id, broker->options.epoch,
                                                 ++broker->last_connection);
    connection->last_packet_ms = loop_now_ms(broker->loop);
    list_append(&broker->connections, &connection->link);
    list_init(&connection->deadline_link);
    list_init(&connection->pump_link);
    broker->connection_count++;
    broker->counters.connections_total++;
    wheel_set(&broker->deadlines, &connection->deadline_link,
              connection->last_packet_ms + broker->settings->connect_timeout_s * 1000ull);
    stream_start(stream, &stream_events, connection);
    return connection;
}

void connection_free(struct connection *connection)
{
    list_remove(&connection->link);
    aliases_free(connection->aliases);
    address_leave(connection->broker, connection->address);
    identity_clear(&connection->identity);
    g_free(connection);
}

/* What waited for this connection goes on without it. */
static void leave_others(struct connection *connection)
{
    struct broker *broker = connection->broker;

    wheel_remove(&broker->deadlines, &connection->deadline_link);
    flow_forget(connection);
    list_remove(&connection->pump_link);
    if (connection->request && connection->request->ticket) {
        access_cancel(TAKE(connection->request->ticket));
    }
    g_clear_pointer(&connection->scram, scram_free);
    if (connection->ingest) {
        ingest_detach(TAKE(connection->ingest));
    }
    if (connection->was_counted) {
        broker->counters.clients_connected--;
    }
    broker->connection_count--;
}

static void leave_session(struct connection *connection, bool was_open)
{
    struct broker *broker = connection->broker;

    outbox_propose_acknowledgements(
        connection); /* refused ones are lost: the client acknowledges the repetitions */
    outbox_free(TAKE(connection->outbox));
    if (was_open && (connection->is_persistent || connection->has_will) && !broker->is_stopping) {
        durable_close(connection);
    }
    struct session *session = TAKE(connection->session);
    if (session) {
        session->connection = NULL;
        if (!connection->is_persistent) {
            session_store_remove(broker->live, session);
        }
    }
}

void connection_end(struct connection *connection, uint8_t reason, const char *text)
{
    struct broker *broker = connection->broker;

    if (connection->state == CONNECTION_ENDED) {
        return;
    }
    if (reason != 0) {
        send_disconnect(connection, reason, text);
    }
    bool was_open =
        connection->state == CONNECTION_ACTIVE || connection->state == CONNECTION_OPENING;
    struct bytes client_id = connection_client_id(connection);
    if (client_id.length > 0 && was_open) {
        log_debug("client left", "client=%.*s reason=%s", (int)client_id.length, client_id.at,
                  reason_to_string(reason));
    }
    if (connection->state != CONNECTION_WAITING) {
        connect_forget(connection);
    }
    connection->state = CONNECTION_ENDED;
    leave_others(connection);
    leave_session(connection, was_open);
    connect_request_free(TAKE(connection->request));
    if (connection->stream) {
        stream_close(TAKE(connection->stream), LINGER_MS);
    }
    list_remove(&connection->link);
    list_append(&broker->ended, &connection->link);
    broker_touch(broker);
}

void connection_fail(struct connection *connection, uint8_t reason, const char *text)
{
    struct bytes client_id = connection_client_id(connection);

    log_info("client broke the protocol", "client=%.*s reason=0x%02x error=\"%s\"",
             (int)client_id.length, client_id.at ? (const char *)client_id.at : "", reason, text);
    if (connection->state == CONNECTION_AUTHENTICATING || connection->state == CONNECTION_WAITING) {
        connect_refuse(connection, reason, text);
        return;
    }
    connection_end(connection, reason, text);
}
