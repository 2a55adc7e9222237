/* One line about a packet for people: for `trace` and `sub -d`. Never a payload, never a password;
 * text of others is shortened and its control characters are made visible. A packet that does not
 * decode is described by what is wrong with it. */
#include "packet/describe_private.h"
#include "packet/reason.h"

#define TEXT_BYTES_MAX 200
#define FILTERS_MAX    10

static const char *const type_names[16] = {
    "reserved", "CONNECT",  "CONNACK",    "PUBLISH", "PUBACK",      "PUBREC",
    "PUBREL",   "PUBCOMP",  "SUBSCRIBE",  "SUBACK",  "UNSUBSCRIBE", "UNSUBACK",
    "PINGREQ",  "PINGRESP", "DISCONNECT", "AUTH",
};

const char *packet_type_to_string(uint8_t type)
{
    return type_names[type & 15];
}

void describe_text(GString *line, const char *before, struct bytes text)
{
    size_t shown = MIN(text.length, TEXT_BYTES_MAX);

    g_string_append(line, before);
    g_string_append_c(line, '\'');
    for (size_t i = 0; i < shown; i++) {
        if (text.at[i] < 0x20 || text.at[i] == 0x7f) {
            g_string_append_printf(line, "\\x%02x", text.at[i]);
        } else {
            g_string_append_c(line, (char)text.at[i]);
        }
    }
    g_string_append(line, shown < text.length ? "...'" : "'");
}

static void add_reason(GString *line, uint8_t reason)
{
    g_string_append_printf(line, " 0x%02x (%s)", reason, reason_to_string(reason));
}

static int describe_connect(GString *line, const struct packet_frame *frame)
{
    struct packet_connect connect;
    int reason = packet_connect_decode(frame, &connect);

    if (reason != 0) {
        return reason;
    }
    g_string_append_printf(line, " v%u c%u k%u", connect.version, connect.clean_start,
                           connect.keep_alive_s);
    describe_text(line, " ", connect.client_id);
    if (connect.has_username) {
        describe_text(line, " user ", connect.username);
    }
    if (connect.has_will) {
        g_string_append_printf(line, " will q%u r%u", connect.will.qos, connect.will.retain);
        describe_text(line, " ", connect.will.topic);
        g_string_append_printf(line, " (%zu bytes)", connect.will.payload.length);
    }
    describe_properties(line, &connect.properties);
    return 0;
}

static int describe_connack(GString *line, const struct packet_frame *frame, uint8_t version)
{
    struct packet_connack connack;
    int reason = packet_connack_decode(frame, version, &connack);

    if (reason == 0) {
        g_string_append_printf(line, " s%u", connack.session_present);
        add_reason(line, connack.reason);
        describe_properties(line, &connack.properties);
    }
    return reason;
}

static int describe_publish(GString *line, const struct packet_frame *frame, uint8_t version)
{
    struct packet_publish publish;
    int reason = packet_publish_decode(frame, version, &publish);

    if (reason == 0) {
        g_string_append_printf(line, " q%u r%u d%u m%u", publish.qos, publish.retain, publish.dup,
                               publish.packet_id);
        describe_text(line, " ", publish.topic);
        describe_properties(line, &publish.properties);
        g_string_append_printf(line, " (%zu bytes)", publish.payload.length);
    }
    return reason;
}

static int describe_ack(GString *line, const struct packet_frame *frame, uint8_t version)
{
    struct packet_ack ack;
    int reason = packet_ack_decode(frame, version, &ack);

    if (reason == 0) {
        g_string_append_printf(line, " m%u", ack.packet_id);
        if (version == PACKET_MQTT_5) {
            add_reason(line, ack.reason);
        }
        describe_properties(line, &ack.properties);
    }
    return reason;
}

static int describe_subscribe(GString *line, const struct packet_frame *frame, uint8_t version)
{
    struct packet_subscribe subscribe;
    struct packet_subscription subscription;
    int reason = packet_subscribe_decode(frame, version, &subscribe);

    if (reason != 0) {
        return reason;
    }
    g_string_append_printf(line, " m%u", subscribe.packet_id);
    for (int i = 0; i < FILTERS_MAX && packet_subscribe_next(&subscribe, version, &subscription);
         i++) {
        describe_text(line, " ", subscription.filter);
        g_string_append_printf(line, " q%u", subscription.qos);
        if (version == PACKET_MQTT_5) {
            g_string_append_printf(line, " n%u p%u h%u", subscription.no_local,
                                   subscription.retain_as_published, subscription.retain_handling);
        }
    }
    describe_properties(line, &subscribe.properties);
    g_string_append_printf(line, " (%u filters)", subscribe.count);
    return 0;
}

static int describe_unsubscribe(GString *line, const struct packet_frame *frame, uint8_t version)
{
    struct packet_subscribe unsubscribe;
    struct bytes filter;
    int reason = packet_unsubscribe_decode(frame, version, &unsubscribe);

    if (reason != 0) {
        return reason;
    }
    g_string_append_printf(line, " m%u", unsubscribe.packet_id);
    for (int i = 0; i < FILTERS_MAX && packet_unsubscribe_next(&unsubscribe, &filter); i++) {
        describe_text(line, " ", filter);
    }
    g_string_append_printf(line, " (%u filters)", unsubscribe.count);
    return 0;
}

static int describe_suback(GString *line, const struct packet_frame *frame, uint8_t version)
{
    struct packet_suback suback;
    int reason = packet_suback_decode(frame, version, &suback);

    if (reason != 0) {
        return reason;
    }
    g_string_append_printf(line, " m%u", suback.packet_id);
    for (size_t i = 0; i < MIN(suback.reasons.length, FILTERS_MAX); i++) {
        g_string_append_printf(line, " 0x%02x", suback.reasons.at[i]);
    }
    g_string_append_printf(line, " (%zu reasons)", suback.reasons.length);
    return 0;
}

static int describe_disconnect(GString *line, const struct packet_frame *frame, uint8_t version)
{
    struct packet_disconnect disconnect;
    int reason = packet_disconnect_decode(frame, version, &disconnect);

    if (reason == 0 && version == PACKET_MQTT_5) {
        add_reason(line, disconnect.reason);
        describe_properties(line, &disconnect.properties);
    }
    return reason;
}

static int describe_auth(GString *line, const struct packet_frame *frame)
{
    struct packet_auth auth;
    int reason = packet_auth_decode(frame, &auth);

    if (reason == 0) {
        add_reason(line, auth.reason);
        describe_properties(line, &auth.properties);
    }
    return reason;
}

static int describe(GString *line, const struct packet_frame *frame, uint8_t version)
{
    switch (frame->type) {
    case PACKET_CONNECT:
        return describe_connect(line, frame);
    case PACKET_CONNACK:
        return describe_connack(line, frame, version);
    case PACKET_PUBLISH:
        return describe_publish(line, frame, version);
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        return describe_ack(line, frame, version);
    case PACKET_SUBSCRIBE:
        return describe_subscribe(line, frame, version);
    case PACKET_UNSUBSCRIBE:
        return describe_unsubscribe(line, frame, version);
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        return describe_suback(line, frame, version);
    case PACKET_DISCONNECT:
        return describe_disconnect(line, frame, version);
    case PACKET_AUTH:
        return describe_auth(line, frame);
    default:
        return 0;
    }
}

char *packet_frame_describe(const struct packet_frame *frame, uint8_t version)
{
    GString *line = g_string_new(packet_type_to_string(frame->type));
    gsize length = line->len;
    int reason = describe(line, frame, version);

    if (reason != 0) {
        g_string_truncate(line, length);
        add_reason(line, (uint8_t)reason);
        g_string_append_printf(line, " (%u bytes)", frame->total_bytes);
    }
    return g_string_free(line, FALSE);
}
