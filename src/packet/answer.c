/* CONNACK, the four acknowledgements of PUBLISH, DISCONNECT, AUTH and the pings: packets of a
 * reason code and a few properties. In MQTT 5 the reason code may be left out when it is 0, and the
 * properties when there are none; 3.1.1 has neither. */
#include "packet/reader.h"
#include "packet/reason_set.h"
#include "packet/writer.h"

#define ANSWER_PROPERTIES (PROPERTY_BIT(PROPERTY_REASON_STRING) | PROPERTY_BIT(PROPERTY_USER))
#define AUTH_PROPERTIES                                                                            \
    (ANSWER_PROPERTIES | PROPERTY_BIT(PROPERTY_AUTH_METHOD) | PROPERTY_BIT(PROPERTY_AUTH_DATA))
#define DISCONNECT_PROPERTIES                                                                      \
    (ANSWER_PROPERTIES | PROPERTY_BIT(PROPERTY_SESSION_EXPIRY) |                                   \
     PROPERTY_BIT(PROPERTY_SERVER_REFERENCE))
#define CONNACK_PROPERTIES                                                                         \
    (AUTH_PROPERTIES | PROPERTY_BIT(PROPERTY_SESSION_EXPIRY) |                                     \
     PROPERTY_BIT(PROPERTY_RECEIVE_MAXIMUM) | PROPERTY_BIT(PROPERTY_MAXIMUM_QOS) |                 \
     PROPERTY_BIT(PROPERTY_RETAIN_AVAILABLE) | PROPERTY_BIT(PROPERTY_MAXIMUM_PACKET) |             \
     PROPERTY_BIT(PROPERTY_ASSIGNED_CLIENT_ID) | PROPERTY_BIT(PROPERTY_TOPIC_ALIAS_MAXIMUM) |      \
     PROPERTY_BIT(PROPERTY_WILDCARD_AVAILABLE) |                                                   \
     PROPERTY_BIT(PROPERTY_SUBSCRIPTION_ID_AVAILABLE) | PROPERTY_BIT(PROPERTY_SHARED_AVAILABLE) |  \
     PROPERTY_BIT(PROPERTY_SERVER_KEEP_ALIVE) | PROPERTY_BIT(PROPERTY_RESPONSE_INFO) |             \
     PROPERTY_BIT(PROPERTY_SERVER_REFERENCE))

/* ---- CONNACK ---- */

static int decode_connack_3(struct reader *reader, uint8_t *reason)
{
    uint8_t code;

    TRY(reader_take_u8(reader, &code));
    if (code > 5) {
        return REASON_PROTOCOL_ERROR;
    }
    *reason = reason_from_connack_3(code);
    return 0;
}

int packet_connack_decode(const struct packet_frame *frame, uint8_t version,
                          struct packet_connack *out)
{
    struct reader reader = reader_of(frame->body);
    uint8_t flags;

    *out = (struct packet_connack){.reason = 0};
    TRY(frame_check_length(frame, version));
    TRY(reader_take_u8(&reader, &flags));
    if (flags > 1 && version != PACKET_MQTT_3_1) { /* 3.2.2-1 */
        return REASON_MALFORMED_PACKET;
    }
    out->session_present = flags & 1;
    if (version != PACKET_MQTT_5) {
        TRY(decode_connack_3(&reader, &out->reason));
    } else {
        TRY(reader_take_u8(&reader, &out->reason));
        if (!reason_is_allowed(PACKET_CONNACK, out->reason)) {
            return REASON_PROTOCOL_ERROR;
        }
        TRY(properties_decode(&reader, CONNACK_PROPERTIES, 0, &out->properties));
        TRY(properties_check_auth(&out->properties));
    }
    if (out->session_present && out->reason != 0 && version != PACKET_MQTT_3_1) { /* 3.2.2-6 */
        return REASON_PROTOCOL_ERROR;
    }
    return reader_expect_end(&reader);
}

void packet_connack_encode(const struct packet_connack *connack, uint8_t version,
                           const struct properties_builder *properties, GByteArray *to)
{
    guint from = packet_begin(to);

    append_u8(to, connack->session_present && connack->reason == 0 && version != PACKET_MQTT_3_1);
    if (version == PACKET_MQTT_5) {
        append_u8(to, connack->reason);
        append_properties(to, properties);
    } else {
        append_u8(to, reason_to_connack_3(connack->reason));
    }
    packet_finish(to, from, PACKET_CONNACK, 0);
}

/* ---- a reason code and properties that may both be left out ---- */

static int decode_reason(struct reader *reader, uint8_t type, uint64_t allowed, uint8_t *reason,
                         struct properties *properties)
{
    if (reader_left(reader) == 0) {
        return 0;
    }
    TRY(reader_take_u8(reader, reason));
    if (!reason_is_allowed(type, *reason)) {
        return REASON_PROTOCOL_ERROR;
    }
    if (reader_left(reader) == 0) {
        return 0;
    }
    TRY(properties_decode(reader, allowed, 0, properties));
    return reader_expect_end(reader);
}

static void append_reason(GByteArray *to, uint8_t reason,
                          const struct properties_builder *properties)
{
    bool has_properties = properties && properties->bytes->len > 0;

    if (reason != 0 || has_properties) {
        append_u8(to, reason);
    }
    if (has_properties) {
        append_properties(to, properties);
    }
}

/* ---- PUBACK, PUBREC, PUBREL, PUBCOMP ---- */

static uint8_t ack_flags(uint8_t type)
{
    return type == PACKET_PUBREL ? 2 : 0;
}

int packet_ack_decode(const struct packet_frame *frame, uint8_t version, struct packet_ack *out)
{
    struct reader reader = reader_of(frame->body);

    if (frame->flags != ack_flags(frame->type)) { /* 2.1.3-1 */
        return REASON_MALFORMED_PACKET;
    }
    out->reason = 0;
    out->properties.has = 0;
    out->properties.raw = (struct bytes){NULL, 0};
    TRY(frame_check_length(frame, version));
    TRY(reader_take_packet_id(&reader, &out->packet_id));
    if (version != PACKET_MQTT_5) {
        return reader_expect_end(&reader);
    }
    return decode_reason(&reader, frame->type, ANSWER_PROPERTIES, &out->reason, &out->properties);
}

uint32_t packet_ack_encode(uint8_t type, uint16_t packet_id, uint8_t reason, uint8_t version,
                           uint8_t *to)
{
    bool has_reason = version == PACKET_MQTT_5 && reason != 0;

    to[0] = (uint8_t)(type << 4 | ack_flags(type));
    to[1] = has_reason ? 3 : 2;
    to[2] = (uint8_t)(packet_id >> 8);
    to[3] = (uint8_t)packet_id;
    if (has_reason) {
        to[4] = reason;
    }
    return has_reason ? 5 : 4;
}

void packet_ack_encode_full(uint8_t type, const struct packet_ack *ack,
                            const struct properties_builder *properties, GByteArray *to)
{
    guint from = packet_begin(to);

    append_u16(to, ack->packet_id);
    append_reason(to, ack->reason, properties);
    packet_finish(to, from, type, ack_flags(type));
}

/* ---- DISCONNECT ---- */

int packet_disconnect_decode(const struct packet_frame *frame, uint8_t version,
                             struct packet_disconnect *out)
{
    struct reader reader = reader_of(frame->body);

    *out = (struct packet_disconnect){.reason = 0};
    if (frame->flags != 0) { /* 3.14.1-1 */
        return REASON_MALFORMED_PACKET;
    }
    TRY(frame_check_length(frame, version));
    if (version != PACKET_MQTT_5) {
        return reader_expect_end(&reader);
    }
    return decode_reason(&reader, PACKET_DISCONNECT, DISCONNECT_PROPERTIES, &out->reason,
                         &out->properties);
}

void packet_disconnect_encode(uint8_t reason, uint8_t version,
                              const struct properties_builder *properties, GByteArray *to)
{
    guint from = packet_begin(to);

    if (version == PACKET_MQTT_5) {
        append_reason(to, reason, properties);
    }
    packet_finish(to, from, PACKET_DISCONNECT, 0);
}

/* ---- AUTH ---- */

int packet_auth_decode(const struct packet_frame *frame, struct packet_auth *out)
{
    struct reader reader = reader_of(frame->body);

    *out = (struct packet_auth){.reason = 0};
    if (frame->flags != 0) { /* 3.15.1-1 */
        return REASON_MALFORMED_PACKET;
    }
    TRY(frame_check_length(frame, PACKET_MQTT_5));
    TRY(decode_reason(&reader, PACKET_AUTH, AUTH_PROPERTIES, &out->reason, &out->properties));
    if (frame->body.length > 0 &&
        !properties_has(&out->properties, PROPERTY_AUTH_METHOD)) { /* 3.15.2.2.2 */
        return REASON_PROTOCOL_ERROR;
    }
    return 0;
}

void packet_auth_encode(uint8_t reason, const struct properties_builder *properties, GByteArray *to)
{
    guint from = packet_begin(to);

    append_reason(to, reason, properties);
    packet_finish(to, from, PACKET_AUTH, 0);
}

/* ---- pings ---- */

uint32_t packet_pingreq_encode(uint8_t *to)
{
    to[0] = PACKET_PINGREQ << 4;
    to[1] = 0;
    return 2;
}

uint32_t packet_pingresp_encode(uint8_t *to)
{
    to[0] = PACKET_PINGRESP << 4;
    to[1] = 0;
    return 2;
}
