/* MQTT 5 properties (2.2.2): a decoded view of one properties block, and a builder for one. Pure.
 */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum property_id {
    PROPERTY_PAYLOAD_FORMAT = 0x01,
    PROPERTY_MESSAGE_EXPIRY = 0x02,
    PROPERTY_CONTENT_TYPE = 0x03,
    PROPERTY_RESPONSE_TOPIC = 0x08,
    PROPERTY_CORRELATION_DATA = 0x09,
    PROPERTY_SUBSCRIPTION_ID = 0x0b,
    PROPERTY_SESSION_EXPIRY = 0x11,
    PROPERTY_ASSIGNED_CLIENT_ID = 0x12,
    PROPERTY_SERVER_KEEP_ALIVE = 0x13,
    PROPERTY_AUTH_METHOD = 0x15,
    PROPERTY_AUTH_DATA = 0x16,
    PROPERTY_REQUEST_PROBLEM = 0x17,
    PROPERTY_WILL_DELAY = 0x18,
    PROPERTY_REQUEST_RESPONSE = 0x19,
    PROPERTY_RESPONSE_INFO = 0x1a,
    PROPERTY_SERVER_REFERENCE = 0x1c,
    PROPERTY_REASON_STRING = 0x1f,
    PROPERTY_RECEIVE_MAXIMUM = 0x21,
    PROPERTY_TOPIC_ALIAS_MAXIMUM = 0x22,
    PROPERTY_TOPIC_ALIAS = 0x23,
    PROPERTY_MAXIMUM_QOS = 0x24,
    PROPERTY_RETAIN_AVAILABLE = 0x25,
    PROPERTY_USER = 0x26,
    PROPERTY_MAXIMUM_PACKET = 0x27,
    PROPERTY_WILDCARD_AVAILABLE = 0x28,
    PROPERTY_SUBSCRIPTION_ID_AVAILABLE = 0x29,
    PROPERTY_SHARED_AVAILABLE = 0x2a,
};

/* A checked block: `has` is a bit set by property id. Fields without their bit hold zero, but those
 * of an empty block in PUBLISH and acknowledgements are not set at all: look at `has` first. */
struct properties {
    uint64_t has; /* 1 << property_id */
    struct bytes raw;
    uint8_t payload_format, request_problem, request_response, maximum_qos, retain_available,
        wildcard_available, subscription_id_available, shared_available;
    uint16_t server_keep_alive_s, receive_maximum, topic_alias_maximum, topic_alias;
    uint32_t message_expiry_s, session_expiry_s, will_delay_s, maximum_packet_bytes,
        subscription_id;
    struct bytes content_type, response_topic, correlation_data, assigned_client_id, auth_method,
        auth_data, response_info, server_reference, reason_string;
};

static inline bool properties_has(const struct properties *properties, enum property_id id)
{
    return properties->has >> id & 1;
}

/* Iterates user properties in order; `*at` starts at 0. */
bool properties_next_user(const struct properties *properties, size_t *at, struct bytes *name,
                          struct bytes *value);
/* Iterates subscription ids (a PUBLISH to a client may hold several). */
bool properties_next_subscription_id(const struct properties *properties, size_t *at, uint32_t *id);
/* Appends to `to` those properties of a PUBLISH or will that a broker passes on unchanged and in
 * order (payload format, content type, response topic, correlation data, user properties), raw.
 * When the block holds nothing else it is one copy. */
void properties_append_forwarded(const struct properties *properties, GByteArray *to);
/* True when the raw block holds forwarded properties only (or nothing): it may be used as it is. */
bool properties_are_forwarded_only(const struct properties *properties);

/* Collects encoded properties for an outgoing packet. */
struct properties_builder {
    GByteArray *bytes;
};
void properties_builder_init(struct properties_builder *builder);
void properties_builder_deinit(struct properties_builder *builder);
void properties_add_byte(struct properties_builder *builder, enum property_id id, uint8_t value);
void properties_add_u16(struct properties_builder *builder, enum property_id id, uint16_t value);
void properties_add_u32(struct properties_builder *builder, enum property_id id, uint32_t value);
void properties_add_varint(struct properties_builder *builder, enum property_id id, uint32_t value);
void properties_add_bytes(struct properties_builder *builder, enum property_id id,
                          struct bytes value); /* strings and binary */
void properties_add_user(struct properties_builder *builder, struct bytes name, struct bytes value);
