/* See connack.h. */
#include "mqtt/connack.h"
#include "mqtt/broker_private.h"
#include "mqtt/connect_request.h"

static void send(struct connection *connection, const struct packet_connack *connack,
                 const struct properties_builder *properties)
{
    GByteArray *packet = connection->broker->scratch;

    g_byte_array_set_size(packet, 0);
    packet_connack_encode(connack, connection->version, properties, packet);
    connection_send(connection, packet->data, packet->len);
}

static void add_limits(struct connection *connection, struct properties_builder *properties)
{
    const struct settings *settings = connection->broker->settings;

    if (settings->receive_maximum < UINT16_MAX) {
        properties_add_u16(properties, PROPERTY_RECEIVE_MAXIMUM, (uint16_t)settings->receive_maximum);
    }
    properties_add_u32(properties, PROPERTY_MAXIMUM_PACKET, settings->max_packet_bytes);
    if (settings->topic_alias_max > 0) {
        properties_add_u16(properties, PROPERTY_TOPIC_ALIAS_MAXIMUM, (uint16_t)settings->topic_alias_max);
    }
}

static void add_answers(struct connection *connection, struct properties_builder *properties)
{
    const struct connect_request *request = connection->request;
    const struct settings *settings = connection->broker->settings;

    if (connection->expiry_s != request->expiry_s) {
        properties_add_u32(properties, PROPERTY_SESSION_EXPIRY, connection->expiry_s);
    }
    if (connection->keep_alive_s != request->keep_alive_s) {
        properties_add_u16(properties, PROPERTY_SERVER_KEEP_ALIVE, connection->keep_alive_s);
    }
    if (request->is_id_assigned) {
        properties_add_bytes(properties, PROPERTY_ASSIGNED_CLIENT_ID, bytes_from_string(request->client_id));
    }
    if (request->wants_response_information && settings->response_information && settings->response_information[0]) {
        properties_add_bytes(properties, PROPERTY_RESPONSE_INFO, bytes_from_string(settings->response_information));
    }
}

void connack_send(struct connection *connection, bool session_present, struct bytes auth_data)
{
    struct packet_connack connack = {.session_present = session_present && connection->version != PACKET_MQTT_3_1};
    struct properties_builder properties;

    properties_builder_init(&properties);
    if (connection->version == PACKET_MQTT_5) {
        add_limits(connection, &properties);
        add_answers(connection, &properties);
        if (connection->request->auth_method) {
            properties_add_bytes(&properties, PROPERTY_AUTH_METHOD, bytes_from_string(connection->request->auth_method));
            if (auth_data.length > 0) {
                properties_add_bytes(&properties, PROPERTY_AUTH_DATA, auth_data);
            }
        }
    }
    send(connection, &connack, &properties);
    properties_builder_deinit(&properties);
}

void connack_send_refusal(struct connection *connection, uint8_t reason, const char *text)
{
    bool is_5 = connection->version == PACKET_MQTT_5;
    struct packet_connack connack = {.reason = is_5 ? reason : reason_to_connack_3(reason)};
    struct properties_builder properties;

    if (!is_5 && (reason == REASON_MALFORMED_PACKET || reason == REASON_PROTOCOL_ERROR)) {
        return; /* 3.1.1, 4.8: closed without an answer */
    }
    properties_builder_init(&properties);
    if (is_5 && text && connection->wants_problem_information && 64 + strlen(text) < connection->packet_bytes_max) {
        properties_add_bytes(&properties, PROPERTY_REASON_STRING, bytes_from_string(text));
    }
    send(connection, &connack, &properties);
    properties_builder_deinit(&properties);
}
