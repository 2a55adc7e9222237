/* Decoding property blocks (MQTT 5, 2.2.2): one table says of each property how it is encoded,
 * where it is kept, and which values it may have.
 *
 * What is wrong: an unknown or misplaced property, a value cut short or ill-formed text is a
 * malformed packet (2.2.2.2); a property that stands twice or has a forbidden value is a protocol
 * error; topic alias 0 has a reason code of its own. */
#include "packet/property.h"
#include "packet/reader.h"

enum kind {
    KIND_NONE,
    KIND_U8,
    KIND_U16,
    KIND_U32,
    KIND_VARINT,
    KIND_TEXT,
    KIND_BINARY,
    KIND_PAIR
};
enum rule { RULE_ANY, RULE_BOOLEAN, RULE_NOT_ZERO, RULE_ALIAS, RULE_TOPIC };

struct form {
    uint8_t kind, rule;
    uint16_t offset;
};

#define FORM(kind_, rule_, field)                                                                  \
    {                                                                                              \
        .kind = KIND_##kind_, .rule = RULE_##rule_, .offset = offsetof(struct properties, field)   \
    }

static const struct form forms[] = {
    [PROPERTY_PAYLOAD_FORMAT] = FORM(U8, BOOLEAN, payload_format),
    [PROPERTY_MESSAGE_EXPIRY] = FORM(U32, ANY, message_expiry_s),
    [PROPERTY_CONTENT_TYPE] = FORM(TEXT, ANY, content_type),
    [PROPERTY_RESPONSE_TOPIC] = FORM(TEXT, TOPIC, response_topic),
    [PROPERTY_CORRELATION_DATA] = FORM(BINARY, ANY, correlation_data),
    [PROPERTY_SUBSCRIPTION_ID] = FORM(VARINT, NOT_ZERO, subscription_id),
    [PROPERTY_SESSION_EXPIRY] = FORM(U32, ANY, session_expiry_s),
    [PROPERTY_ASSIGNED_CLIENT_ID] = FORM(TEXT, ANY, assigned_client_id),
    [PROPERTY_SERVER_KEEP_ALIVE] = FORM(U16, ANY, server_keep_alive_s),
    [PROPERTY_AUTH_METHOD] = FORM(TEXT, ANY, auth_method),
    [PROPERTY_AUTH_DATA] = FORM(BINARY, ANY, auth_data),
    [PROPERTY_REQUEST_PROBLEM] = FORM(U8, BOOLEAN, request_problem),
    [PROPERTY_WILL_DELAY] = FORM(U32, ANY, will_delay_s),
    [PROPERTY_REQUEST_RESPONSE] = FORM(U8, BOOLEAN, request_response),
    [PROPERTY_RESPONSE_INFO] = FORM(TEXT, ANY, response_info),
    [PROPERTY_SERVER_REFERENCE] = FORM(TEXT, ANY, server_reference),
    [PROPERTY_REASON_STRING] = FORM(TEXT, ANY, reason_string),
    [PROPERTY_RECEIVE_MAXIMUM] = FORM(U16, NOT_ZERO, receive_maximum),
    [PROPERTY_TOPIC_ALIAS_MAXIMUM] = FORM(U16, ANY, topic_alias_maximum),
    [PROPERTY_TOPIC_ALIAS] = FORM(U16, ALIAS, topic_alias),
    [PROPERTY_MAXIMUM_QOS] = FORM(U8, BOOLEAN, maximum_qos),
    [PROPERTY_RETAIN_AVAILABLE] = FORM(U8, BOOLEAN, retain_available),
    [PROPERTY_USER] = {.kind = KIND_PAIR},
    [PROPERTY_MAXIMUM_PACKET] = FORM(U32, NOT_ZERO, maximum_packet_bytes),
    [PROPERTY_WILDCARD_AVAILABLE] = FORM(U8, BOOLEAN, wildcard_available),
    [PROPERTY_SUBSCRIPTION_ID_AVAILABLE] = FORM(U8, BOOLEAN, subscription_id_available),
    [PROPERTY_SHARED_AVAILABLE] = FORM(U8, BOOLEAN, shared_available),
};

static int check_number(enum rule rule, uint32_t value)
{
    switch (rule) {
    case RULE_BOOLEAN:
        return value <= 1 ? 0 : REASON_PROTOCOL_ERROR;
    case RULE_NOT_ZERO:
        return value != 0 ? 0 : REASON_PROTOCOL_ERROR;
    case RULE_ALIAS:
        return value != 0 ? 0 : REASON_TOPIC_ALIAS_INVALID;
    default:
        return 0;
    }
}

/* A response topic is a topic name: not empty, no wildcards (3.3.2-14). */
static int check_text(enum rule rule, struct bytes text)
{
    if (rule != RULE_TOPIC) {
        return 0;
    }
    bool has_wildcard =
        text.length > 0 && (memchr(text.at, '+', text.length) || memchr(text.at, '#', text.length));
    return text.length == 0 || has_wildcard ? REASON_PROTOCOL_ERROR : 0;
}

static int take_number(struct reader *reader, const struct form *form, uint32_t *value)
{
    uint8_t u8;
    uint16_t u16;

    switch (form->kind) {
    case KIND_U8:
        TRY(reader_take_u8(reader, &u8));
        *value = u8;
        break;
    case KIND_U16:
        TRY(reader_take_u16(reader, &u16));
        *value = u16;
        break;
    case KIND_U32:
        TRY(reader_take_u32(reader, value));
        break;
    default:
        TRY(reader_take_varint(reader, value));
        break;
    }
    return check_number(form->rule, *value);
}

static void keep_number(const struct form *form, uint32_t value, struct properties *out)
{
    uint8_t *field = (uint8_t *)out + form->offset;

    if (form->kind == KIND_U8) {
        *field = (uint8_t)value;
    } else if (form->kind == KIND_U16) {
        uint16_t u16 = (uint16_t)value;
        memcpy(field, &u16, sizeof u16);
    } else {
        memcpy(field, &value, sizeof value);
    }
}

static int take_value(struct reader *reader, const struct form *form, struct properties *out)
{
    struct bytes bytes;
    uint32_t number;

    switch (form->kind) {
    case KIND_PAIR:
        TRY(reader_take_text(reader, &bytes));
        return reader_take_text(reader, &bytes);
    case KIND_TEXT:
        TRY(reader_take_text(reader, &bytes));
        TRY(check_text(form->rule, bytes));
        break;
    case KIND_BINARY:
        TRY(reader_take_binary(reader, &bytes));
        break;
    default:
        TRY(take_number(reader, form, &number));
        keep_number(form, number, out);
        return 0;
    }
    memcpy((uint8_t *)out + form->offset, &bytes, sizeof bytes);
    return 0;
}

int properties_decode(struct reader *reader, uint64_t allowed, uint64_t repeated,
                      struct properties *out)
{
    uint32_t length;

    *out = (struct properties){.has = 0};
    TRY(reader_take_varint(reader, &length));
    if (length > reader_left(reader)) {
        return REASON_MALFORMED_PACKET;
    }
    struct reader block = {reader->at, reader->at + length};
    out->raw = (struct bytes){reader->at, length};
    reader->at += length;
    repeated |= PROPERTY_BIT(PROPERTY_USER);
    while (block.at < block.end) {
        uint8_t id = *block.at++; /* all known ones are one byte */
        if (id >= G_N_ELEMENTS(forms) || !(allowed & PROPERTY_BIT(id))) {
            return REASON_MALFORMED_PACKET;
        }
        if (out->has & PROPERTY_BIT(id) & ~repeated) {
            return REASON_PROTOCOL_ERROR;
        }
        TRY(take_value(&block, &forms[id], out));
        out->has |= PROPERTY_BIT(id);
    }
    return 0;
}

int properties_decode_if_5(struct reader *reader, uint8_t version, uint64_t allowed,
                           struct properties *out)
{
    if (version != PACKET_MQTT_5) {
        *out = (struct properties){.has = 0};
        return 0;
    }
    return properties_decode(reader, allowed, 0, out);
}

int properties_check_auth(const struct properties *properties)
{
    return properties_has(properties, PROPERTY_AUTH_DATA) &&
                   !properties_has(properties, PROPERTY_AUTH_METHOD)
               ? REASON_PROTOCOL_ERROR
               : 0;
}

/* ---- going through a checked block ---- */

/* The next property of `raw` from `*at` on: its id, and its value as encoded. False at the end. */
static bool next_property(struct bytes raw, size_t *at, uint8_t *id, struct bytes *value)
{
    if (*at >= raw.length) {
        return false;
    }
    struct reader reader = {raw.at + *at, raw.at + raw.length};
    struct properties unused;
    *id = *reader.at++;
    const uint8_t *from = reader.at;
    if (*id >= G_N_ELEMENTS(forms) || forms[*id].kind == KIND_NONE ||
        take_value(&reader, &forms[*id], &unused) != 0) {
        *at = raw.length;
        return false;
    }
    *value = (struct bytes){from, (size_t)(reader.at - from)};
    *at = (size_t)(reader.at - raw.at);
    return true;
}

bool properties_next_user(const struct properties *properties, size_t *at, struct bytes *name,
                          struct bytes *value)
{
    struct bytes pair;
    uint8_t id;

    while (next_property(properties->raw, at, &id, &pair)) {
        if (id == PROPERTY_USER) {
            struct reader reader = reader_of(pair);
            return reader_take_binary(&reader, name) == 0 &&
                   reader_take_binary(&reader, value) == 0;
        }
    }
    return false;
}

bool properties_next_subscription_id(const struct properties *properties, size_t *at, uint32_t *id)
{
    struct bytes value;
    uint8_t property;

    while (next_property(properties->raw, at, &property, &value)) {
        if (property == PROPERTY_SUBSCRIPTION_ID) {
            struct reader reader = reader_of(value);
            return reader_take_varint(&reader, id) == 0;
        }
    }
    return false;
}

static bool is_forwarded(unsigned id)
{
    return id == PROPERTY_PAYLOAD_FORMAT || id == PROPERTY_CONTENT_TYPE ||
           id == PROPERTY_RESPONSE_TOPIC || id == PROPERTY_CORRELATION_DATA || id == PROPERTY_USER;
}

bool properties_are_forwarded_only(const struct properties *properties)
{
    const uint64_t forwarded =
        PROPERTY_BIT(PROPERTY_PAYLOAD_FORMAT) | PROPERTY_BIT(PROPERTY_CONTENT_TYPE) |
        PROPERTY_BIT(PROPERTY_RESPONSE_TOPIC) | PROPERTY_BIT(PROPERTY_CORRELATION_DATA) |
        PROPERTY_BIT(PROPERTY_USER);
    return (properties->has & ~forwarded) == 0;
}

void properties_append_forwarded(const struct properties *properties, GByteArray *to)
{
    size_t at = 0, from = 0;
    struct bytes value;
    uint8_t id;

    if (properties->raw.length > 0 && properties_are_forwarded_only(properties)) {
        g_byte_array_append(to, properties->raw.at, (guint)properties->raw.length);
        return;
    }
    for (; next_property(properties->raw, &at, &id, &value); from = at) {
        if (is_forwarded(id)) {
            g_byte_array_append(to, properties->raw.at + from, (guint)(at - from));
        }
    }
}
