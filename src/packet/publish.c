/* PUBLISH: the packet that there are millions of.
 *
 * Decoding makes views and checks; properties are looked at only when there are any, and only then
 * is the large struct of properties written as a whole. Encoding writes what differs between
 * subscribers (flags, packet id, alias, subscription ids, expiry) around what is the same for all;
 * the payload is the caller's to append. */
#include "packet/reader.h"
#include <assert.h>

#define PUBLISH_PROPERTIES                                                                         \
    (PROPERTY_BIT(PROPERTY_PAYLOAD_FORMAT) | PROPERTY_BIT(PROPERTY_MESSAGE_EXPIRY) |               \
     PROPERTY_BIT(PROPERTY_CONTENT_TYPE) | PROPERTY_BIT(PROPERTY_RESPONSE_TOPIC) |                 \
     PROPERTY_BIT(PROPERTY_CORRELATION_DATA) | PROPERTY_BIT(PROPERTY_SUBSCRIPTION_ID) |            \
     PROPERTY_BIT(PROPERTY_TOPIC_ALIAS) | PROPERTY_BIT(PROPERTY_USER))

static int decode_properties(struct reader *reader, struct properties *out)
{
    if (reader->at < reader->end && *reader->at == 0) { /* none: nearly always */
        out->has = 0;
        out->raw = (struct bytes){++reader->at, 0};
        return 0;
    }
    return properties_decode(reader, PUBLISH_PROPERTIES, PROPERTY_BIT(PROPERTY_SUBSCRIPTION_ID),
                             out);
}

/* An empty topic name needs an alias, which only MQTT 5 has (3.3.2.1). */
static int check_empty_topic(const struct packet_publish *publish, uint8_t version)
{
    if (version != PACKET_MQTT_5) {
        return REASON_MALFORMED_PACKET;
    }
    return properties_has(&publish->properties, PROPERTY_TOPIC_ALIAS) ? 0 : REASON_PROTOCOL_ERROR;
}

int packet_publish_decode(const struct packet_frame *frame, uint8_t version,
                          struct packet_publish *out)
{
    struct reader reader = reader_of(frame->body);
    uint8_t qos = frame->flags >> 1 & 3;
    bool dup = frame->flags >> 3;

    if (qos == 3 || (qos == 0 && dup)) { /* 3.3.1-4, 3.3.1-2 */
        return REASON_MALFORMED_PACKET;
    }
    TRY(reader_take_text(&reader, &out->topic));
    out->packet_id = 0;
    if (qos > 0) {
        TRY(reader_take_packet_id(&reader, &out->packet_id));
    }
    if (version == PACKET_MQTT_5) {
        TRY(frame_check_length(frame, version));
        TRY(decode_properties(&reader, &out->properties));
    } else {
        out->properties.has = 0;
        out->properties.raw = (struct bytes){NULL, 0};
    }
    if (out->topic.length == 0) {
        TRY(check_empty_topic(out, version));
    }
    out->payload = (struct bytes){reader.at, reader_left(&reader)};
    out->qos = qos;
    out->retain = frame->flags & 1;
    out->dup = dup;
    return 0;
}

/* ---- encoding ---- */

static uint32_t properties_bytes(const struct packet_publish_head *head)
{
    uint32_t bytes = (uint32_t)head->forwarded.length + (head->has_expiry ? 5 : 0) +
                     (head->topic_alias != 0 ? 3 : 0);

    for (uint32_t i = 0; i < head->subscription_id_count; i++) {
        bytes += 1 + varint_bytes(head->subscription_ids[i]);
    }
    return bytes;
}

/* After the fixed header, payload included. */
static uint32_t remaining_bytes(const struct packet_publish_head *head, uint32_t *properties)
{
    uint32_t bytes =
        2 + (uint32_t)head->topic.length + (head->qos > 0 ? 2 : 0) + head->payload_bytes;

    *properties = 0;
    if (head->version == PACKET_MQTT_5) {
        *properties = properties_bytes(head);
        bytes += varint_bytes(*properties) + *properties;
    }
    return bytes;
}

uint32_t packet_publish_size(const struct packet_publish_head *head)
{
    uint32_t properties, remaining = remaining_bytes(head, &properties);
    return 1 + varint_bytes(remaining) + remaining;
}

static uint8_t *put_varint(uint8_t *to, uint32_t value)
{
    while (value > 0x7f) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

static uint8_t *put_u16(uint8_t *to, uint32_t value)
{
    *to++ = (uint8_t)(value >> 8);
    *to++ = (uint8_t)value;
    return to;
}

static uint8_t *put_bytes(uint8_t *to, struct bytes bytes)
{
    if (bytes.length > 0) {
        memcpy(to, bytes.at, bytes.length);
    }
    return to + bytes.length;
}

static uint8_t *put_properties(const struct packet_publish_head *head, uint32_t bytes, uint8_t *to)
{
    to = put_varint(to, bytes);
    if (bytes == 0) {
        return to;
    }
    if (head->has_expiry) {
        *to++ = PROPERTY_MESSAGE_EXPIRY;
        to = put_u16(to, head->expiry_s >> 16);
        to = put_u16(to, head->expiry_s);
    }
    if (head->topic_alias != 0) {
        *to++ = PROPERTY_TOPIC_ALIAS;
        to = put_u16(to, head->topic_alias);
    }
    for (uint32_t i = 0; i < head->subscription_id_count; i++) {
        *to++ = PROPERTY_SUBSCRIPTION_ID;
        to = put_varint(to, head->subscription_ids[i]);
    }
    return put_bytes(to, head->forwarded);
}

uint32_t packet_publish_encode(const struct packet_publish_head *head, uint8_t *to)
{
    const uint8_t *from = to;
    uint32_t properties, remaining = remaining_bytes(head, &properties);

    assert(remaining <= VARINT_MAX && head->topic.length <= UINT16_MAX);
    *to++ = (uint8_t)(PACKET_PUBLISH << 4 | head->dup << 3 | head->qos << 1 | head->retain);
    to = put_varint(to, remaining);
    to = put_u16(to, (uint32_t)head->topic.length);
    to = put_bytes(to, head->topic);
    if (head->qos > 0) {
        to = put_u16(to, head->packet_id);
    }
    if (head->version == PACKET_MQTT_5) {
        to = put_properties(head, properties, to);
    }
    return (uint32_t)(to - from);
}

size_t packet_publish_topics(struct bytes input, struct bytes *topics, unsigned *count)
{
    struct packet_frame frame;
    unsigned count_max = *count;
    size_t at = 0;

    *count = 0;
    while (*count < count_max &&
           packet_frame_find((struct bytes){input.at + at, input.length - at}, UINT32_MAX,
                             &frame) == 1 &&
           frame.type == PACKET_PUBLISH && frame.body.length > 2) {
        size_t length = (size_t)frame.body.at[0] << 8 | frame.body.at[1];
        topics[(*count)++] = (struct bytes){frame.body.at + 2, MIN(length, frame.body.length - 2)};
        at += frame.total_bytes;
    }
    return at;
}
