/* The exchange: CONNECT (client-first) -> AUTH 0x18 (server-first) -> AUTH 0x18 (client-final) ->
 * CONNACK (server-final). Re-authentication is the same with AUTH 0x19 at its start and AUTH 0x00
 * at its end; it must prove the same user. */
#include "mqtt/auth.h"
#include "base/cleanup.h"
#include "mqtt/address.h"
#include "mqtt/broker_private.h"
#include "mqtt/connect.h"
#include "mqtt/connect_request.h"

#define METHOD "SCRAM-SHA-256"

static void send_auth(struct connection *connection, uint8_t reason, struct bytes data)
{
    GByteArray *packet = connection->broker->scratch;
    struct properties_builder properties;

    properties_builder_init(&properties);
    properties_add_bytes(&properties, PROPERTY_AUTH_METHOD, bytes_from_string(METHOD));
    if (data.length > 0) {
        properties_add_bytes(&properties, PROPERTY_AUTH_DATA, data);
    }
    g_byte_array_set_size(packet, 0);
    packet_auth_encode(reason, &properties, packet);
    connection_send(connection, packet->data, packet->len);
    properties_builder_deinit(&properties);
}

static void refuse(struct connection *connection, uint8_t reason, const char *text)
{
    if (connection_is_active(connection)) {
        connection_end(connection, reason, text);
    } else {
        connect_refuse(connection, reason, text);
    }
}

/* The user has proved itself: at CONNECT that opens the session, later it must be the same user. */
static void complete(struct connection *connection, struct bytes server_final)
{
    struct broker *broker = connection->broker;
    struct identity identity = {0};

    access_note_login(broker->access, connection->address->text, true);
    if (!access_identity_of(broker->access, scram_username(connection->scram), &identity)) {
        refuse(connection, REASON_NOT_AUTHORIZED, "unknown user");
        return;
    }
    if (!connection_is_active(connection)) {
        connection->identity = identity;
        connect_granted(connection, server_final);
    } else if (g_strcmp0(identity.username, connection->identity.username) != 0) {
        identity_clear(&identity);
        refuse(connection, REASON_NOT_AUTHORIZED, "re-authentication as another user");
        return;
    } else {
        identity_clear(&identity);
        send_auth(connection, REASON_SUCCESS, server_final);
    }
    g_clear_pointer(&connection->scram, scram_free);
}

static void step(struct connection *connection, struct bytes message)
{
    struct bytes reply = {NULL, 0};
    int r = scram_step(connection->scram, message, &reply);

    if (r == 1) {
        complete(connection, reply);
    } else if (r == 0) {
        send_auth(connection, REASON_CONTINUE_AUTHENTICATION, reply);
    } else {
        connection->broker->counters.logins_failed++;
        if (r != -EPROTO) {
            access_note_login(connection->broker->access, connection->address->text, false);
        }
        refuse(connection, r == -EPROTO ? REASON_PROTOCOL_ERROR : REASON_NOT_AUTHORIZED,
               "SCRAM exchange failed");
    }
}

static void start(struct connection *connection, struct bytes first)
{
    g_clear_pointer(&connection->scram, scram_free);
    connection->scram = scram_new(connection->broker->access);
    step(connection, first);
}

/* After failed logins from its address. */
static void on_turn(void *owner, enum access_outcome outcome, struct identity *identity)
{
    struct connection *connection = owner;
    g_autoptr(GBytes) first = TAKE(connection->request->auth_first);
    size_t length;
    const uint8_t *bytes = g_bytes_get_data(first, &length);

    connection->request->ticket = NULL;
    if (outcome != ACCESS_GRANTED) {
        connect_refuse(connection, REASON_NOT_AUTHORIZED, "the node stops");
        return;
    }
    start(connection, (struct bytes){bytes, length});
    connection_update_reading(connection);
}

void auth_begin(struct connection *connection, struct bytes method, struct bytes first)
{
    if (!bytes_equal(method, bytes_from_string(METHOD))) {
        connect_refuse(connection, REASON_BAD_AUTH_METHOD, "only " METHOD " is known");
        return;
    }
    connection->has_auth_method = true;
    struct connect_request *request = connection->request;
    if (request) { /* CONNECT; a client that is in already need not wait */
        request->ticket =
            access_wait(connection->broker->access, connection->address->text, on_turn, connection);
    }
    if (request && request->ticket) {
        request->auth_first = g_bytes_new(first.at, first.length);
        connection_update_reading(connection);
    } else {
        start(connection, first);
    }
}

void auth_receive(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_auth auth;
    int reason = connection->version == PACKET_MQTT_5 ? packet_auth_decode(frame, &auth)
                                                      : REASON_PROTOCOL_ERROR;

    if (reason != 0) {
        connection_fail(connection, (uint8_t)reason, "malformed AUTH");
        return;
    }
    if (!connection->has_auth_method) { /* 4.12.0-6, -7 */
        connection_fail(connection, REASON_PROTOCOL_ERROR, "AUTH though CONNECT named no method");
    } else if (!properties_has(&auth.properties, PROPERTY_AUTH_METHOD)) {
        connection_fail(connection, REASON_PROTOCOL_ERROR, "AUTH without method");
    } else if (!bytes_equal(auth.properties.auth_method, bytes_from_string(METHOD))) {
        /* 4.12.0-5, 4.12.1-1: the method of CONNECT; DISCONNECT has no code of its own for it. */
        connection_fail(connection, REASON_PROTOCOL_ERROR, "AUTH with another method than CONNECT");
    } else if (auth.reason == REASON_RE_AUTHENTICATE && connection_is_active(connection)) {
        auth_begin(connection, auth.properties.auth_method, auth.properties.auth_data);
    } else if (auth.reason == REASON_CONTINUE_AUTHENTICATION && connection->scram) {
        step(connection, auth.properties.auth_data);
    } else {
        connection_fail(connection, REASON_PROTOCOL_ERROR, "AUTH out of turn");
    }
}
