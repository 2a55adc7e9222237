/* See connect_request.h: the request, then its answer, CONNACK, with what the server grants and
 * where that differs from what was asked (MQTT 5, 3.2). */
#include "mqtt/connect_request.h"
#include "mqtt/broker_private.h"
#include "mqtt/connect.h"
#include <glib.h>

static struct bytes copy(struct bytes bytes)
{
    /* One byte more, so that an empty password is not taken for none. */
    uint8_t *at = g_malloc0(bytes.length + 1);
    if (bytes.length > 0) {
        memcpy(at, bytes.at, bytes.length);
    }
    return (struct bytes){at, bytes.length};
}

static void copy_will(struct connect_request *request, const struct packet_will *will)
{
    GByteArray *properties = g_byte_array_new();

    properties_append_forwarded(&will->properties, properties);
    request->has_will = true;
    request->will = (struct state_will){
        .topic = copy(will->topic),
        .payload = copy(will->payload),
        .properties = copy((struct bytes){properties->data, properties->len}),
        .qos = will->qos,
        .retain = will->retain,
        .delay_s = will->properties.will_delay_s,
        .expiry_s = properties_has(&will->properties, PROPERTY_MESSAGE_EXPIRY)
                        ? will->properties.message_expiry_s
                        : 0,
    };
    g_byte_array_unref(properties);
}

struct connect_request *connect_request_new(const struct packet_connect *connect)
{
    struct connect_request *request = g_new0(struct connect_request, 1);
    const struct properties *properties = &connect->properties;
    bool is_5 = connect->version == PACKET_MQTT_5;

    request->client_id = g_strndup((const char *)connect->client_id.at, connect->client_id.length);
    if (connect->has_username) {
        request->username = g_strndup((const char *)connect->username.at, connect->username.length);
    }
    if (connect->has_password) {
        request->password = copy(connect->password);
    }
    if (connect->has_will) {
        copy_will(request, &connect->will);
    }
    request->clean_start = connect->clean_start;
    request->keep_alive_s = connect->keep_alive_s;
    request->receive_maximum = UINT16_MAX;
    if (is_5) {
        request->expiry_s =
            properties_has(properties, PROPERTY_SESSION_EXPIRY) ? properties->session_expiry_s : 0;
        if (properties_has(properties, PROPERTY_RECEIVE_MAXIMUM)) {
            request->receive_maximum = properties->receive_maximum;
        }
        request->alias_maximum = properties_has(properties, PROPERTY_TOPIC_ALIAS_MAXIMUM)
                                     ? properties->topic_alias_maximum
                                     : 0;
        request->wants_response_information =
            properties_has(properties, PROPERTY_REQUEST_RESPONSE) && properties->request_response;
        if (properties_has(properties, PROPERTY_AUTH_METHOD)) {
            request->auth_method =
                g_strndup((const char *)properties->auth_method.at, properties->auth_method.length);
        }
    } else {
        request->expiry_s = connect->clean_start ? 0 : SESSION_NEVER_EXPIRES; /* 3.1.1, 3.1.2.4 */
    }
    return request;
}

void connect_request_assign_id(struct connect_request *request)
{
    char *uuid = g_uuid_string_random();

    g_free(request->client_id);
    request->client_id = g_strconcat("auto-", uuid, NULL);
    request->is_id_assigned = true;
    g_free(uuid);
}

void connect_request_free(struct connect_request *request)
{
    if (!request) {
        return;
    }
    if (request->password.at) {
        explicit_bzero((void *)request->password.at, request->password.length);
    }
    g_free((void *)request->password.at);
    g_free(request->client_id);
    g_free(request->username);
    g_free(request->auth_method);
    g_clear_pointer(&request->auth_first, g_bytes_unref);
    g_free((void *)request->will.topic.at);
    g_free((void *)request->will.properties.at);
    g_free((void *)request->will.payload.at);
    g_free(request);
}

struct bytes connect_request_client_id(const struct connect_request *request)
{
    return bytes_from_string(request->client_id);
}

/* ---- CONNACK ---- */

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
        properties_add_u16(properties, PROPERTY_RECEIVE_MAXIMUM,
                           (uint16_t)settings->receive_maximum);
    }
    properties_add_u32(properties, PROPERTY_MAXIMUM_PACKET, settings->max_packet_bytes);
    if (settings->topic_alias_max > 0) {
        properties_add_u16(properties, PROPERTY_TOPIC_ALIAS_MAXIMUM,
                           (uint16_t)settings->topic_alias_max);
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
        properties_add_bytes(properties, PROPERTY_ASSIGNED_CLIENT_ID,
                             bytes_from_string(request->client_id));
    }
    if (request->wants_response_information && settings->response_information &&
        settings->response_information[0]) {
        properties_add_bytes(properties, PROPERTY_RESPONSE_INFO,
                             bytes_from_string(settings->response_information));
    }
}

void connack_send(struct connection *connection, bool session_present, struct bytes auth_data)
{
    struct packet_connack connack = {.session_present =
                                         session_present && connection->version != PACKET_MQTT_3_1};
    struct properties_builder properties;

    properties_builder_init(&properties);
    if (connection->version == PACKET_MQTT_5) {
        add_limits(connection, &properties);
        add_answers(connection, &properties);
        if (connection->request->auth_method) {
            properties_add_bytes(&properties, PROPERTY_AUTH_METHOD,
                                 bytes_from_string(connection->request->auth_method));
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
    struct packet_connack connack = {.reason = reason};
    struct properties_builder properties;

    if (!is_5 && (reason == REASON_MALFORMED_PACKET || reason == REASON_PROTOCOL_ERROR)) {
        return; /* 3.1.1, 4.8: closed without an answer */
    }
    properties_builder_init(&properties);
    if (is_5 && text && connection->wants_problem_information &&
        64 + strlen(text) < connection->packet_bytes_max) {
        properties_add_bytes(&properties, PROPERTY_REASON_STRING, bytes_from_string(text));
    }
    send(connection, &connack, &properties);
    properties_builder_deinit(&properties);
}
