/* The properties of a packet for people, behind the line of describe.c: ` {user-property 'a'='b'}`.
 * Never what authenticates; text of others is shortened and made visible like all of it. */
#include "packet/describe_private.h"

#define USERS_SHOWN_MAX 10

struct shown {
    const char *name;
    uint16_t offset;
    uint8_t id, bytes; /* of a number; 0 = text */
};

#define NUMBER(name_, id_, field)                                                                  \
    {                                                                                              \
        .name = name_, .id = PROPERTY_##id_, .offset = offsetof(struct properties, field),         \
        .bytes = sizeof(((struct properties *)0)->field)                                           \
    }
#define TEXT(name_, id_, field)                                                                    \
    {                                                                                              \
        .name = name_, .id = PROPERTY_##id_, .offset = offsetof(struct properties, field)          \
    }

/* Correlation data may be anything, so its length is shown below. */
static const struct shown shown[] = {
    NUMBER("payload-format-indicator", PAYLOAD_FORMAT, payload_format),
    NUMBER("message-expiry-interval", MESSAGE_EXPIRY, message_expiry_s),
    TEXT("content-type", CONTENT_TYPE, content_type),
    TEXT("response-topic", RESPONSE_TOPIC, response_topic),
    NUMBER("session-expiry-interval", SESSION_EXPIRY, session_expiry_s),
    TEXT("assigned-client-identifier", ASSIGNED_CLIENT_ID, assigned_client_id),
    NUMBER("server-keep-alive", SERVER_KEEP_ALIVE, server_keep_alive_s),
    TEXT("authentication-method", AUTH_METHOD, auth_method),
    NUMBER("request-problem-information", REQUEST_PROBLEM, request_problem),
    NUMBER("will-delay-interval", WILL_DELAY, will_delay_s),
    NUMBER("request-response-information", REQUEST_RESPONSE, request_response),
    TEXT("response-information", RESPONSE_INFO, response_info),
    TEXT("server-reference", SERVER_REFERENCE, server_reference),
    TEXT("reason-string", REASON_STRING, reason_string),
    NUMBER("receive-maximum", RECEIVE_MAXIMUM, receive_maximum),
    NUMBER("topic-alias-maximum", TOPIC_ALIAS_MAXIMUM, topic_alias_maximum),
    NUMBER("topic-alias", TOPIC_ALIAS, topic_alias),
    NUMBER("maximum-qos", MAXIMUM_QOS, maximum_qos),
    NUMBER("retain-available", RETAIN_AVAILABLE, retain_available),
    NUMBER("maximum-packet-size", MAXIMUM_PACKET, maximum_packet_bytes),
    NUMBER("wildcard-subscription-available", WILDCARD_AVAILABLE, wildcard_available),
    NUMBER("subscription-identifier-available", SUBSCRIPTION_ID_AVAILABLE,
           subscription_id_available),
    NUMBER("shared-subscription-available", SHARED_AVAILABLE, shared_available),
};

static uint32_t number_of(const struct properties *properties, const struct shown *one)
{
    const void *field = (const uint8_t *)properties + one->offset;

    return one->bytes == 1   ? *(const uint8_t *)field
           : one->bytes == 2 ? *(const uint16_t *)field
                             : *(const uint32_t *)field;
}

static void add_repeated(GString *line, const struct properties *properties)
{
    struct bytes name, value;
    uint32_t id;

    for (size_t at = 0; properties_next_subscription_id(properties, &at, &id);) {
        g_string_append_printf(line, " subscription-identifier=%u", id);
    }
    size_t at = 0;
    for (unsigned i = 0;
         i < USERS_SHOWN_MAX && properties_next_user(properties, &at, &name, &value); i++) {
        describe_text(line, " user-property ", name);
        describe_text(line, "=", value);
    }
}

void describe_properties(GString *line, const struct properties *properties)
{
    if (properties->raw.length == 0) {
        return;
    }
    gsize start = line->len;
    for (unsigned i = 0; i < G_N_ELEMENTS(shown); i++) {
        const struct shown *one = &shown[i];
        if (!properties_has(properties, one->id)) {
            continue;
        }
        g_string_append_printf(line, " %s=", one->name);
        if (one->bytes > 0) {
            g_string_append_printf(line, "%u", number_of(properties, one));
        } else {
            const void *field = (const uint8_t *)properties + one->offset;
            describe_text(line, "", *(const struct bytes *)field);
        }
    }
    if (properties_has(properties, PROPERTY_CORRELATION_DATA)) {
        g_string_append_printf(line, " correlation-data=%zu bytes",
                               properties->correlation_data.length);
    }
    if (properties_has(properties, PROPERTY_AUTH_DATA)) {
        g_string_append_printf(line, " authentication-data=%zu bytes",
                               properties->auth_data.length);
    }
    add_repeated(line, properties);
    if (line->len > start) {
        line->str[start] = '{';
        g_string_insert_c(line, (gssize)start, ' ');
        g_string_append_c(line, '}');
    }
}
