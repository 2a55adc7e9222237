/* SUBSCRIBE, UNSUBSCRIBE and their answers. A decoder walks all filters once, checking and counting
 * them; the _next functions then walk the checked bytes again, so nothing is allocated for
 * thousands of filters. */
#include "packet/reader.h"
#include "packet/reason_set.h"
#include "packet/writer.h"

#define SUBSCRIBE_PROPERTIES   (PROPERTY_BIT(PROPERTY_SUBSCRIPTION_ID) | PROPERTY_BIT(PROPERTY_USER))
#define UNSUBSCRIBE_PROPERTIES PROPERTY_BIT(PROPERTY_USER)
#define SUBACK_PROPERTIES      (PROPERTY_BIT(PROPERTY_REASON_STRING) | PROPERTY_BIT(PROPERTY_USER))

enum subscribe_options {
    OPTION_QOS = 0x03,
    OPTION_NO_LOCAL = 0x04,
    OPTION_AS_PUBLISHED = 0x08,
    OPTION_HANDLING = 0x30
};

static int check_options(uint8_t options, uint8_t version)
{
    if (version != PACKET_MQTT_5) { /* 3.1.1, 3.8.3-4 */
        return options <= 2 ? 0 : REASON_MALFORMED_PACKET;
    }
    if (options & 0xc0) { /* 3.8.3-5 */
        return REASON_MALFORMED_PACKET;
    }
    bool is_qos_3 = (options & OPTION_QOS) == 3,
         is_handling_3 = (options & OPTION_HANDLING) == OPTION_HANDLING;
    return is_qos_3 || is_handling_3 ? REASON_PROTOCOL_ERROR : 0;
}

static int take_filter(struct reader *reader, uint8_t type, uint8_t version)
{
    struct bytes filter;
    uint8_t options;

    TRY(reader_take_topic(reader, &filter));
    if (type == PACKET_UNSUBSCRIBE) {
        return 0;
    }
    TRY(reader_take_u8(reader, &options));
    return check_options(options, version);
}

static int decode(const struct packet_frame *frame, uint8_t version, uint64_t allowed,
                  struct packet_subscribe *out)
{
    struct reader reader = reader_of(frame->body);

    *out = (struct packet_subscribe){.count = 0};
    if (frame->flags != 2) { /* 3.8.1-1, 3.10.1-1 */
        return REASON_MALFORMED_PACKET;
    }
    TRY(frame_check_length(frame, version));
    TRY(reader_take_packet_id(&reader, &out->packet_id));
    TRY(properties_decode_if_5(&reader, version, allowed, &out->properties));
    out->rest = (struct bytes){reader.at, reader_left(&reader)};
    for (; reader.at < reader.end; out->count++) {
        TRY(take_filter(&reader, frame->type, version));
    }
    return out->count > 0 ? 0 : REASON_PROTOCOL_ERROR; /* 3.8.3-2, 3.10.3-2 */
}

int packet_subscribe_decode(const struct packet_frame *frame, uint8_t version,
                            struct packet_subscribe *out)
{
    return decode(frame, version, SUBSCRIBE_PROPERTIES, out);
}

int packet_unsubscribe_decode(const struct packet_frame *frame, uint8_t version,
                              struct packet_subscribe *out)
{
    return decode(frame, version, UNSUBSCRIBE_PROPERTIES, out);
}

bool packet_unsubscribe_next(struct packet_subscribe *unsubscribe, struct bytes *filter)
{
    struct reader reader = reader_of(unsubscribe->rest);

    if (reader_take_binary(&reader, filter) != 0) {
        return false;
    }
    unsubscribe->rest = (struct bytes){reader.at, reader_left(&reader)};
    return true;
}

bool packet_subscribe_next(struct packet_subscribe *subscribe, uint8_t version,
                           struct packet_subscription *out)
{
    struct bytes filter;

    if (!packet_unsubscribe_next(subscribe, &filter) || subscribe->rest.length == 0) {
        return false;
    }
    uint8_t options = *subscribe->rest.at;
    subscribe->rest = (struct bytes){subscribe->rest.at + 1, subscribe->rest.length - 1};
    *out = (struct packet_subscription){.filter = filter, .qos = options & OPTION_QOS};
    if (version == PACKET_MQTT_5) {
        out->no_local = options & OPTION_NO_LOCAL;
        out->retain_as_published = options & OPTION_AS_PUBLISHED;
        out->retain_handling = (options & OPTION_HANDLING) >> 4;
    }
    return true;
}

static uint8_t options_of(const struct packet_subscription *subscription, uint8_t version)
{
    if (version != PACKET_MQTT_5) {
        return subscription->qos;
    }
    return (uint8_t)(subscription->qos | (subscription->no_local ? OPTION_NO_LOCAL : 0) |
                     (subscription->retain_as_published ? OPTION_AS_PUBLISHED : 0) |
                     subscription->retain_handling << 4);
}

void packet_subscribe_encode(uint16_t packet_id, const struct packet_subscription *subscriptions,
                             unsigned count, uint8_t version,
                             const struct properties_builder *properties, GByteArray *to)
{
    guint from = packet_begin(to);

    append_u16(to, packet_id);
    if (version == PACKET_MQTT_5) {
        append_properties(to, properties);
    }
    for (unsigned i = 0; i < count; i++) {
        append_sized(to, subscriptions[i].filter);
        append_u8(to, options_of(&subscriptions[i], version));
    }
    packet_finish(to, from, PACKET_SUBSCRIBE, 2);
}

void packet_unsubscribe_encode(uint16_t packet_id, const struct bytes *filters, unsigned count,
                               uint8_t version, GByteArray *to)
{
    guint from = packet_begin(to);

    append_u16(to, packet_id);
    if (version == PACKET_MQTT_5) {
        append_properties(to, NULL);
    }
    for (unsigned i = 0; i < count; i++) {
        append_sized(to, filters[i]);
    }
    packet_finish(to, from, PACKET_UNSUBSCRIBE, 2);
}

/* ---- SUBACK, UNSUBACK ---- */

static bool is_suback_reason(uint8_t type, uint8_t version, uint8_t reason)
{
    if (version != PACKET_MQTT_5) { /* 3.1.1, 3.9.3-2 */
        return reason <= 2 || reason == REASON_UNSPECIFIED;
    }
    return reason_is_allowed(type, reason);
}

int packet_suback_decode(const struct packet_frame *frame, uint8_t version,
                         struct packet_suback *out)
{
    struct reader reader = reader_of(frame->body);

    *out = (struct packet_suback){.packet_id = 0};
    if (frame->flags != 0) {
        return REASON_MALFORMED_PACKET;
    }
    TRY(frame_check_length(frame, version));
    TRY(reader_take_packet_id(&reader, &out->packet_id));
    if (frame->type == PACKET_UNSUBACK && version != PACKET_MQTT_5) {
        return reader_expect_end(&reader);
    }
    TRY(properties_decode_if_5(&reader, version, SUBACK_PROPERTIES, &out->properties));
    out->reasons = (struct bytes){reader.at, reader_left(&reader)};
    for (size_t i = 0; i < out->reasons.length; i++) {
        if (!is_suback_reason(frame->type, version, out->reasons.at[i])) {
            return REASON_PROTOCOL_ERROR;
        }
    }
    return out->reasons.length > 0 ? 0 : REASON_PROTOCOL_ERROR;
}

void packet_suback_encode(uint8_t type, const struct packet_suback *suback, uint8_t version,
                          const struct properties_builder *properties, GByteArray *to)
{
    guint from = packet_begin(to);

    append_u16(to, suback->packet_id);
    if (version == PACKET_MQTT_5) {
        append_properties(to, properties);
        append_raw(to, suback->reasons);
    } else if (type == PACKET_SUBACK) {
        for (size_t i = 0; i < suback->reasons.length; i++) { /* 3.1.1 knows one failure only */
            uint8_t reason = suback->reasons.at[i];
            append_u8(to, reason < REASON_UNSPECIFIED ? reason : REASON_UNSPECIFIED);
        }
    }
    packet_finish(to, from, type, 0);
}
