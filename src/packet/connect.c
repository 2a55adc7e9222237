/* CONNECT (MQTT 5, 3.1; 3.1.1, 3.1; 3.1): who comes, with which version, and what shall be said
 * when he is gone.
 *
 * A protocol name or version that is not served is told apart from a malformed packet, for it is
 * answered otherwise. `version` of the result is what the packet said, as soon as it could be read,
 * so that the refusal can be put in its words. */
#include "packet/reader.h"
#include "packet/writer.h"

enum connect_flags {
    CONNECT_RESERVED = 0x01,
    CONNECT_CLEAN_START = 0x02,
    CONNECT_WILL = 0x04,
    CONNECT_WILL_QOS = 0x18,
    CONNECT_WILL_RETAIN = 0x20,
    CONNECT_PASSWORD = 0x40,
    CONNECT_USERNAME = 0x80,
};

#define CONNECT_PROPERTIES                                                                         \
    (PROPERTY_BIT(PROPERTY_SESSION_EXPIRY) | PROPERTY_BIT(PROPERTY_RECEIVE_MAXIMUM) |              \
     PROPERTY_BIT(PROPERTY_MAXIMUM_PACKET) | PROPERTY_BIT(PROPERTY_TOPIC_ALIAS_MAXIMUM) |          \
     PROPERTY_BIT(PROPERTY_REQUEST_RESPONSE) | PROPERTY_BIT(PROPERTY_REQUEST_PROBLEM) |            \
     PROPERTY_BIT(PROPERTY_USER) | PROPERTY_BIT(PROPERTY_AUTH_METHOD) |                            \
     PROPERTY_BIT(PROPERTY_AUTH_DATA))

#define WILL_PROPERTIES                                                                            \
    (PROPERTY_BIT(PROPERTY_WILL_DELAY) | PROPERTY_BIT(PROPERTY_PAYLOAD_FORMAT) |                   \
     PROPERTY_BIT(PROPERTY_MESSAGE_EXPIRY) | PROPERTY_BIT(PROPERTY_CONTENT_TYPE) |                 \
     PROPERTY_BIT(PROPERTY_RESPONSE_TOPIC) | PROPERTY_BIT(PROPERTY_CORRELATION_DATA) |             \
     PROPERTY_BIT(PROPERTY_USER))

static int decode_version(struct reader *reader, uint8_t *version)
{
    struct bytes name;

    TRY(reader_take_binary(reader, &name));
    bool is_mqtt = bytes_equal(name, bytes_from_string("MQTT"));
    if (!is_mqtt && !bytes_equal(name, bytes_from_string("MQIsdp"))) {
        return REASON_UNSUPPORTED_VERSION;
    }
    TRY(reader_take_u8(reader, version));
    if (is_mqtt) {
        return *version == PACKET_MQTT_3_1_1 || *version == PACKET_MQTT_5
                   ? 0
                   : REASON_UNSUPPORTED_VERSION;
    }
    return *version == PACKET_MQTT_3_1 ? 0 : REASON_UNSUPPORTED_VERSION;
}

static int decode_flags(struct reader *reader, struct packet_connect *out)
{
    uint8_t flags;

    TRY(reader_take_u8(reader, &flags));
    out->clean_start = flags & CONNECT_CLEAN_START;
    out->has_will = flags & CONNECT_WILL;
    out->will.qos = (flags & CONNECT_WILL_QOS) >> 3;
    out->will.retain = flags & CONNECT_WILL_RETAIN;
    out->has_password = flags & CONNECT_PASSWORD;
    out->has_username = flags & CONNECT_USERNAME;
    if (flags & CONNECT_RESERVED &&
        out->version != PACKET_MQTT_3_1) { /* 3.1.2-3; 3.1 leaves it free */
        return REASON_MALFORMED_PACKET;
    }
    if (out->will.qos == 3 ||
        (!out->has_will && (out->will.qos > 0 || out->will.retain))) { /* 3.1.2-11 .. -13 */
        return REASON_MALFORMED_PACKET;
    }
    if (out->has_password && !out->has_username &&
        out->version != PACKET_MQTT_5) { /* 3.1.1, 3.1.2-22 */
        return REASON_MALFORMED_PACKET;
    }
    return 0;
}

static int decode_will(struct reader *reader, uint8_t version, struct packet_will *will)
{
    TRY(properties_decode_if_5(reader, version, WILL_PROPERTIES, &will->properties));
    TRY(reader_take_topic(reader, &will->topic));
    return reader_take_binary(reader, &will->payload);
}

static int decode_login(struct reader *reader, struct packet_connect *out)
{
    /* 3.1: "the Remaining Length field takes precedence over the User Name flag" and the password
     * flag. */
    bool may_miss = out->version == PACKET_MQTT_3_1;

    out->has_username = out->has_username && !(may_miss && reader_left(reader) == 0);
    if (out->has_username) {
        TRY(reader_take_text(reader, &out->username));
    }
    out->has_password = out->has_password && !(may_miss && reader_left(reader) == 0);
    if (out->has_password) {
        TRY(reader_take_binary(reader, &out->password));
    }
    return reader_expect_end(reader);
}

int packet_connect_decode(const struct packet_frame *frame, struct packet_connect *out)
{
    struct reader reader = reader_of(frame->body);

    *out = (struct packet_connect){.version = 0};
    TRY(decode_version(&reader, &out->version));
    TRY(frame_check_length(frame, out->version));
    TRY(decode_flags(&reader, out));
    TRY(reader_take_u16(&reader, &out->keep_alive_s));
    TRY(properties_decode_if_5(&reader, out->version, CONNECT_PROPERTIES, &out->properties));
    TRY(properties_check_auth(&out->properties));
    TRY(reader_take_text(&reader, &out->client_id));
    if (out->has_will) {
        TRY(decode_will(&reader, out->version, &out->will));
    }
    return decode_login(&reader, out);
}

static uint8_t flags_of(const struct packet_connect *connect)
{
    unsigned flags = 0;

    flags |= connect->clean_start ? CONNECT_CLEAN_START : 0;
    flags |= connect->has_password ? CONNECT_PASSWORD : 0;
    flags |= connect->has_username ? CONNECT_USERNAME : 0;
    if (connect->has_will) {
        flags |= CONNECT_WILL | (unsigned)connect->will.qos << 3 |
                 (connect->will.retain ? CONNECT_WILL_RETAIN : 0);
    }
    return (uint8_t)flags;
}

static void append_block(GByteArray *to, const struct packet_connect *connect,
                         const struct properties *properties)
{
    if (connect->version == PACKET_MQTT_5) {
        append_varint(to, (uint32_t)properties->raw.length);
        append_raw(to, properties->raw);
    }
}

void packet_connect_encode(const struct packet_connect *connect, GByteArray *to)
{
    guint from = packet_begin(to);

    append_sized(to, bytes_from_string(connect->version == PACKET_MQTT_3_1 ? "MQIsdp" : "MQTT"));
    append_u8(to, connect->version);
    append_u8(to, flags_of(connect));
    append_u16(to, connect->keep_alive_s);
    append_block(to, connect, &connect->properties);
    append_sized(to, connect->client_id);
    if (connect->has_will) {
        append_block(to, connect, &connect->will.properties);
        append_sized(to, connect->will.topic);
        append_sized(to, connect->will.payload);
    }
    if (connect->has_username) {
        append_sized(to, connect->username);
    }
    if (connect->has_password) {
        append_sized(to, connect->password);
    }
    packet_finish(to, from, PACKET_CONNECT, 0);
}
