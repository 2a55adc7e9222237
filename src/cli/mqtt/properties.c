/* Which property may be given for which packet is one table; names are those of the standard in
 * lower case with hyphens. */
#include "cli/mqtt/properties.h"

#include "cli/error.h"
#include <string.h>

enum {
    AT_CONNECT = 1,
    AT_PUBLISH = 2,
    AT_SUBSCRIBE = 4,
    AT_UNSUBSCRIBE = 8,
    AT_DISCONNECT = 16,
    AT_WILL = 32
};
enum kind { KIND_BYTE, KIND_U16, KIND_U32, KIND_VARINT, KIND_TEXT, KIND_PAIR };

static const struct {
    const char *name;
    enum property_id id;
    enum kind kind;
    unsigned where;
} table[] = {
    {"authentication-data", PROPERTY_AUTH_DATA, KIND_TEXT, AT_CONNECT},
    {"authentication-method", PROPERTY_AUTH_METHOD, KIND_TEXT, AT_CONNECT},
    {"content-type", PROPERTY_CONTENT_TYPE, KIND_TEXT, AT_PUBLISH | AT_WILL},
    {"correlation-data", PROPERTY_CORRELATION_DATA, KIND_TEXT, AT_PUBLISH | AT_WILL},
    {"maximum-packet-size", PROPERTY_MAXIMUM_PACKET, KIND_U32, AT_CONNECT},
    {"message-expiry-interval", PROPERTY_MESSAGE_EXPIRY, KIND_U32, AT_PUBLISH | AT_WILL},
    {"payload-format-indicator", PROPERTY_PAYLOAD_FORMAT, KIND_BYTE, AT_PUBLISH | AT_WILL},
    {"receive-maximum", PROPERTY_RECEIVE_MAXIMUM, KIND_U16, AT_CONNECT},
    {"request-problem-information", PROPERTY_REQUEST_PROBLEM, KIND_BYTE, AT_CONNECT},
    {"request-response-information", PROPERTY_REQUEST_RESPONSE, KIND_BYTE, AT_CONNECT},
    {"response-topic", PROPERTY_RESPONSE_TOPIC, KIND_TEXT, AT_PUBLISH | AT_WILL},
    {"session-expiry-interval", PROPERTY_SESSION_EXPIRY, KIND_U32, AT_CONNECT | AT_DISCONNECT},
    {"subscription-identifier", PROPERTY_SUBSCRIPTION_ID, KIND_VARINT, AT_SUBSCRIBE},
    {"topic-alias", PROPERTY_TOPIC_ALIAS, KIND_U16, AT_PUBLISH},
    {"topic-alias-maximum", PROPERTY_TOPIC_ALIAS_MAXIMUM, KIND_U16, AT_CONNECT},
    {"user-property", PROPERTY_USER, KIND_PAIR,
     AT_CONNECT | AT_PUBLISH | AT_SUBSCRIBE | AT_DISCONNECT | AT_WILL},
    {"will-delay-interval", PROPERTY_WILL_DELAY, KIND_U32, AT_WILL},
};

static const char *const commands[] = {"connect",     "publish",    "subscribe",
                                       "unsubscribe", "disconnect", "will"};

int mqtt_properties_count_words(char **words, int left)
{
    return left < 3 ? 0 : strcmp(words[1], "user-property") == 0 ? 4 : 3;
}

static struct properties_builder *properties_of(struct mqtt_target *target, unsigned command)
{
    struct properties_builder *const builders[] = {&target->connect,    &target->publish,
                                                   &target->subscribe,  &target->unsubscribe,
                                                   &target->disconnect, &target->will};
    return builders[command];
}

static int properties_number(const char *name, const char *text, enum kind kind, uint32_t *value,
                             GError **error)
{
    static const guint64 most[] = {
        [KIND_BYTE] = 1, [KIND_U16] = 65535, [KIND_U32] = UINT32_MAX, [KIND_VARINT] = 268435455};
    guint64 number;
    if (!g_ascii_string_to_unsigned(text, 10, 0, most[kind], &number, NULL)) {
        cli_fail_usage(error, "-D %s: must be 0..%" G_GUINT64_FORMAT ", got '%s'", name, most[kind],
                       text);
        return -1;
    }
    *value = (uint32_t)number;
    return 0;
}

/* Expiry and alias of a publish stand beside the builder: the client joins them itself. */
static bool properties_set_aside(struct mqtt_target *target, unsigned command, enum property_id id,
                                 uint32_t value)
{
    if (1u << command == AT_PUBLISH && id == PROPERTY_MESSAGE_EXPIRY) {
        target->message_expiry_s = value;
        target->has_message_expiry = true;
        return true;
    }
    if (1u << command == AT_PUBLISH && id == PROPERTY_TOPIC_ALIAS) {
        return true; /* every message carries its topic: an alias would save nothing */
    }
    if (1u << command == AT_SUBSCRIBE && id == PROPERTY_SUBSCRIPTION_ID) {
        target->subscription_id = value;
        return true;
    }
    if (1u << command == AT_CONNECT && id == PROPERTY_SESSION_EXPIRY) {
        target->expiry_s = value;
        return true;
    }
    return false;
}

static int properties_add_one(struct mqtt_target *target, unsigned command, unsigned row,
                              char **words, GError **error)
{
    struct properties_builder *builder = properties_of(target, command);
    enum property_id id = table[row].id;
    if (table[row].kind == KIND_PAIR) {
        properties_add_user(builder, bytes_from_string(words[2]), bytes_from_string(words[3]));
        return 0;
    }
    if (table[row].kind == KIND_TEXT) {
        properties_add_bytes(builder, id, bytes_from_string(words[2]));
        return 0;
    }
    uint32_t value;
    if (properties_number(words[1], words[2], table[row].kind, &value, error) < 0) {
        return -1;
    }
    if (properties_set_aside(target, command, id, value)) {
        return 0;
    }
    switch (table[row].kind) {
    case KIND_BYTE:
        properties_add_byte(builder, id, (uint8_t)value);
        break;
    case KIND_U16:
        properties_add_u16(builder, id, (uint16_t)value);
        break;
    case KIND_VARINT:
        properties_add_varint(builder, id, value);
        break;
    default:
        properties_add_u32(builder, id, value);
        break;
    }
    return 0;
}

int mqtt_properties_add(struct mqtt_target *target, const char *joined, GError **error)
{
    const char delimiter[2] = {CLI_WORDS_DELIMITER, 0};
    g_auto(GStrv) words = g_strsplit(joined, delimiter, -1);
    unsigned command = 0;
    while (command < G_N_ELEMENTS(commands) &&
           g_ascii_strcasecmp(commands[command], words[0]) != 0) {
        command++;
    }
    if (command == G_N_ELEMENTS(commands)) {
        cli_fail_usage(error,
                       "-D: must be for connect, publish, subscribe, unsubscribe, disconnect or "
                       "will, got '%s'",
                       words[0]);
        return -1;
    }
    for (unsigned row = 0; row < G_N_ELEMENTS(table); row++) {
        if (strcmp(table[row].name, words[1]) == 0 && table[row].where & 1u << command) {
            return properties_add_one(target, command, row, words, error);
        }
    }
    cli_fail_usage(error, "-D: '%s' is no property of %s", words[1], commands[command]);
    return -1;
}
