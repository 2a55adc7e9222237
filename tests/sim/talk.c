/* See talk.h and client.h. */
#include "talk.h"
#include "loop/loop.h"
#include "mqtt/test_virtual_loop.h"
#include "packet/packet.h"
#include <stdio.h>
#include <stdlib.h>

#define OUTGOING_MAX 8

static int below(struct client *client, int end)
{
    return g_rand_int_range(client->world->random, 0, end);
}

static guint place_of(const GArray *ids, uint16_t id)
{
    guint i = 0;
    while (i < ids->len && g_array_index(ids, uint16_t, i) != id) {
        i++;
    }
    return i;
}

static uint16_t next_packet_id(struct client *client)
{
    return client->last_packet_id = (uint16_t)(client->last_packet_id % 65535 + 1);
}

void talk_trace(const struct client *client, const char *text)
{
    if (client->world->traced == client->number) {
        printf("%6" G_GUINT64_FORMAT " %8" G_GUINT64_FORMAT " ms c%u %s\n",
               client->world->ledger.moment, loop_now_ms(client->world->loop), client->number,
               text);
    }
}

static void trace_frame(const struct client *client, const char *way,
                        const struct packet_frame *frame)
{
    if (client->world->traced == client->number) {
        struct packet_publish publish = {0};
        g_autofree char *what = packet_frame_describe(frame, PACKET_MQTT_5);
        bool is_publish = frame->type == PACKET_PUBLISH &&
                          packet_publish_decode(frame, PACKET_MQTT_5, &publish) == 0;
        g_autofree char *line =
            g_strdup_printf("%s %s %.*s", way, what, is_publish ? (int)publish.payload.length : 0,
                            (const char *)publish.payload.at);
        talk_trace(client, line);
    }
}

void talk_send(struct client *client, const void *packet, size_t length)
{
    struct packet_frame frame;

    if (packet_frame_find((struct bytes){packet, length}, UINT32_MAX, &frame) == 1) {
        trace_frame(client, "->", &frame);
    }
    virtual_stream_send(client->stream, packet, length);
}

static void send_ack(struct client *client, uint8_t type, uint16_t packet_id)
{
    uint8_t packet[PACKET_SMALL_BYTES_MAX];
    uint32_t length = packet_ack_encode(type, packet_id, REASON_SUCCESS, PACKET_MQTT_5, packet);

    talk_send(client, packet, length);
}

/* ---- publishing ---- */

static void send_publish(struct client *client, guint message, uint16_t packet_id, bool dup)
{
    struct sent *sent = ledger_sent(&client->world->ledger, message);
    g_autofree char *topic = ledger_topic(sent->topic);
    char payload[16] = "";

    if (sent->has_content) {
        snprintf(payload, sizeof payload, "%u", message);
    }
    struct packet_publish_head head = {.topic = bytes_from_string(topic),
                                       .payload_bytes = (uint32_t)strlen(payload),
                                       .packet_id = packet_id,
                                       .version = PACKET_MQTT_5,
                                       .qos = sent->qos,
                                       .retain = sent->retain,
                                       .dup = dup,
                                       .has_expiry = sent->expires_ms != 0,
                                       .expiry_s = LEDGER_EXPIRY_S};
    uint8_t packet[256];
    uint32_t length = packet_publish_encode(&head, packet);
    memcpy(packet + length, payload, head.payload_bytes);
    talk_send(client, packet, length + head.payload_bytes);
}

void client_publish(struct client *client)
{
    struct sent sent = {.publisher = client->number, .has_content = true};
    if (client->world->is_of_one_mind) {
        sent.connection = client->connections;
    }
    int what = below(client, 20);

    if (client->outgoing->len >= OUTGOING_MAX) {
        return;
    }
    sent.qos = (uint8_t)below(client, 3);
    if (what < 14) {
        sent.topic = (uint8_t)(TOPIC_PLAIN + below(client, 6));
        sent.expires_ms = below(client, 12) == 0
                              ? loop_now_ms(client->world->loop) + 1000ull * LEDGER_EXPIRY_S
                              : 0;
    } else if (what < 17) {
        sent.topic = (uint8_t)(TOPIC_SHARED + below(client, 2));
    } else {
        sent.topic = (uint8_t)(TOPIC_RETAINED + client->number * 2 + below(client, 2));
        sent.retain = true;
        sent.has_content = below(client, 4) != 0;
    }
    guint message = ledger_publish(&client->world->ledger, &sent);
    struct outgoing outgoing = {.message = message,
                                .packet_id = sent.qos > 0 ? next_packet_id(client) : 0};
    if (sent.qos > 0) {
        g_array_append_val(client->outgoing, outgoing);
    }
    send_publish(client, message, outgoing.packet_id, false);
}

void talk_repeat(struct client *client)
{
    for (guint i = 0; i < client->outgoing->len; i++) {
        const struct outgoing *outgoing = &g_array_index(client->outgoing, struct outgoing, i);
        if (outgoing->is_received) {
            send_ack(client, PACKET_PUBREL, outgoing->packet_id);
        } else {
            ledger_sent(&client->world->ledger, outgoing->message)->repeats++;
            send_publish(client, outgoing->message, outgoing->packet_id, true);
        }
    }
}

static guint find_outgoing(const struct client *client, uint16_t packet_id)
{
    guint i = 0;
    while (i < client->outgoing->len &&
           g_array_index(client->outgoing, struct outgoing, i).packet_id != packet_id) {
        i++;
    }
    return i;
}

static void on_publish_answer(struct client *client, uint8_t type, const struct packet_ack *ack)
{
    struct ledger *ledger = &client->world->ledger;
    guint at = find_outgoing(client, ack->packet_id);

    if (at == client->outgoing->len) {
        client_fail(client, "an acknowledgement of nothing");
    }
    struct outgoing *outgoing = &g_array_index(client->outgoing, struct outgoing, at);
    struct sent *sent = ledger_sent(ledger, outgoing->message);
    if (sent->qos != (type == PACKET_PUBACK ? 1 : 2)) {
        client_fail(client, "an acknowledgement of the wrong type");
    }
    if (type != PACKET_PUBCOMP && sent->told == NEVER) {
        sent->told = ++ledger->moment;
        sent->reason = ack->reason;
    }
    if (type == PACKET_PUBREC && ack->reason < REASON_UNSPECIFIED) {
        outgoing->is_received = true;
        send_ack(client, PACKET_PUBREL, ack->packet_id);
    } else {
        g_array_remove_index(client->outgoing, at);
    }
}

/* ---- what comes ---- */

static void note_retained(struct client *client, const char *topic, guint message)
{
    unsigned owner, which;

    if (sscanf(topic, "r/%u/%u", &owner, &which) == 2 && owner < CLIENTS_MAX && which < 2) {
        client->retained[owner * 2 + which] = message;
    }
}

static void take(struct client *client, const struct packet_publish *publish)
{
    g_autofree char *topic = g_strndup((const char *)publish->topic.at, publish->topic.length);
    g_autofree char *payload =
        g_strndup((const char *)publish->payload.at, publish->payload.length);
    struct arrival arrival = {.message = (guint)strtoul(payload, NULL, 10),
                              .qos = publish->qos,
                              .retain = publish->retain,
                              .dup = publish->dup,
                              .now_ms = loop_now_ms(client->world->loop)};
    size_t at = 0;
    uint32_t id;

    if (g_str_has_prefix(topic, "$SYS/") || payload[0] == 0) {
        return;
    }
    while (arrival.id_count < G_N_ELEMENTS(arrival.ids) &&
           properties_next_subscription_id(&publish->properties, &at, &id)) {
        arrival.ids[arrival.id_count++] = id;
    }
    arrival.has_expiry = properties_has(&publish->properties, PROPERTY_MESSAGE_EXPIRY);
    arrival.expiry_s = arrival.has_expiry ? publish->properties.message_expiry_s : 0;
    if (publish->retain) {
        note_retained(client, topic, arrival.message);
    }
    ledger_arrive(&client->world->ledger, client->life, topic, &arrival);
}

static void answer_later(struct client *client, uint8_t type, uint16_t packet_id)
{
    g_queue_push_tail(&client->answers, GUINT_TO_POINTER((guint)type << 16 | packet_id));
}

static void on_publish(struct client *client, const struct packet_frame *frame)
{
    struct packet_publish publish;

    if (packet_publish_decode(frame, PACKET_MQTT_5, &publish) != 0) {
        client_fail(client, "a malformed PUBLISH");
    }
    if (publish.qos > 0 &&
        place_of(client->unanswered, publish.packet_id) < client->unanswered->len) {
        client_fail(client, "a packet id that is in use [MQTT-2.2.1-4]");
    }
    if (publish.qos > 0) {
        g_array_append_val(client->unanswered, publish.packet_id);
    }
    if (client->unanswered->len > client->receive_maximum) {
        client_fail(client, "more than the receive maximum [MQTT-3.3.4-9]");
    }
    bool is_known =
        publish.qos == 2 && place_of(client->received, publish.packet_id) < client->received->len;
    if (!is_known) {
        take(client, &publish);
    }
    if (publish.qos == 2 && !is_known) {
        g_array_append_val(client->received, publish.packet_id);
    }
    if (publish.qos > 0) {
        answer_later(client, publish.qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, publish.packet_id);
    }
}

static void on_pubrel(struct client *client, const struct packet_ack *ack)
{
    guint at = place_of(client->received, ack->packet_id);

    if (at < client->received->len) {
        g_array_remove_index(client->received, at);
    }
    answer_later(client, PACKET_PUBCOMP, ack->packet_id);
}

static void on_ack(struct client *client, const struct packet_frame *frame)
{
    struct packet_ack ack;

    if (packet_ack_decode(frame, PACKET_MQTT_5, &ack) != 0) {
        client_fail(client, "a malformed acknowledgement");
    }
    if (frame->type == PACKET_PUBREL) {
        on_pubrel(client, &ack);
    } else {
        on_publish_answer(client, frame->type, &ack);
    }
}

static void on_suback(struct client *client, const struct packet_frame *frame)
{
    struct packet_suback suback;
    guint at = 0;

    if (packet_suback_decode(frame, PACKET_MQTT_5, &suback) != 0) {
        client_fail(client, "a malformed SUBACK");
    }
    while (at < client->asking->len &&
           g_array_index(client->asking, struct asking, at).packet_id != suback.packet_id) {
        at++;
    }
    if (at == client->asking->len) {
        client_fail(client, "a SUBACK of nothing");
    }
    struct asking asking = g_array_index(client->asking, struct asking, at);
    if (asking.is_unsubscribe != (frame->type == PACKET_UNSUBACK)) {
        client_fail(client, "a SUBACK for UNSUBSCRIBE, or the other way");
    }
    g_array_remove_index(client->asking, at);
    if (suback.reasons.at[0] >= REASON_UNSPECIFIED) {
        return; /* unknown: it stays possible */
    }
    const struct world *world = client->world;
    if (!asking.is_unsubscribe && world->is_of_one_mind && !world->is_of_one_mind(world)) {
        return; /* another node may not have heard of it */
    }
    if (asking.is_unsubscribe) {
        life_tell_unsubscribed(&client->world->ledger, client->life, asking.filter, asking.asked);
    } else {
        life_tell_subscribed(&client->world->ledger, client->life, asking.filter, asking.asked);
    }
}

static void on_connack(struct client *client, const struct packet_frame *frame)
{
    struct packet_connack connack;

    if (client->is_in || packet_connack_decode(frame, PACKET_MQTT_5, &connack) != 0) {
        client_fail(client, "a malformed CONNACK, or a second one");
    }
    if (connack.reason == REASON_SUCCESS) {
        client_enter(client, connack.session_present);
    }
}

static void on_frame(struct client *client, const struct packet_frame *frame)
{
    trace_frame(client, "<-", frame);
    if (!client->is_in && frame->type != PACKET_CONNACK) {
        client_fail(client, "the first packet is not CONNACK [MQTT-3.2.0-1]");
    }
    switch (frame->type) {
    case PACKET_CONNACK:
        on_connack(client, frame);
        break;
    case PACKET_PUBLISH:
        on_publish(client, frame);
        break;
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        on_suback(client, frame);
        break;
    case PACKET_DISCONNECT:
        break; /* the end of the stream follows */
    default:
        on_ack(client, frame);
    }
}

void client_read(struct client *client, size_t most)
{
    struct packet_frame frame;
    guint at = 0;

    virtual_stream_receive(client->stream, client->input, most);
    while (client->stream &&
           packet_frame_find((struct bytes){client->input->data + at, client->input->len - at},
                             UINT32_MAX, &frame) == 1) {
        at += frame.total_bytes;
        on_frame(client, &frame);
    }
    g_byte_array_remove_range(client->input, 0, client->stream ? at : client->input->len);
    if (client->stream && virtual_stream_is_ended(client->stream)) {
        client_lose(client);
    }
}

void client_answer(struct client *client, unsigned most)
{
    while (most-- > 0 && !g_queue_is_empty(&client->answers)) {
        guint answer = GPOINTER_TO_UINT(g_queue_pop_head(&client->answers));
        uint16_t packet_id = (uint16_t)answer;
        uint8_t type = (uint8_t)(answer >> 16);
        guint at = place_of(client->unanswered, packet_id);
        send_ack(client, type, packet_id);
        if (type != PACKET_PUBREC && at < client->unanswered->len) {
            g_array_remove_index(client->unanswered, at);
        }
    }
}

/* ---- subscribing ---- */

void client_subscribe(struct client *client, uint8_t filter, const struct wish *wish)
{
    struct packet_subscription subscription = {.filter = bytes_from_string(ledger_filters[filter]),
                                               .qos = wish->qos,
                                               .no_local = wish->no_local,
                                               .retain_handling = wish->retain_handling};
    struct asking asking = {.packet_id = next_packet_id(client), .filter = filter};
    struct properties_builder properties;
    g_autoptr(GByteArray) packet = g_byte_array_new();

    properties_builder_init(&properties);
    properties_add_varint(&properties, PROPERTY_SUBSCRIPTION_ID, filter + 1u);
    packet_subscribe_encode(asking.packet_id, &subscription, 1, PACKET_MQTT_5, &properties, packet);
    asking.asked =
        life_ask_subscribe(&client->world->ledger, client->life, filter, wish->qos, wish->no_local);
    g_array_append_val(client->asking, asking);
    talk_send(client, packet->data, packet->len);
    properties_builder_deinit(&properties);
}

void client_unsubscribe(struct client *client, uint8_t filter)
{
    struct bytes text = bytes_from_string(ledger_filters[filter]);
    struct asking asking = {
        .packet_id = next_packet_id(client), .filter = filter, .is_unsubscribe = true};
    g_autoptr(GByteArray) packet = g_byte_array_new();

    packet_unsubscribe_encode(asking.packet_id, &text, 1, PACKET_MQTT_5, packet);
    asking.asked = life_ask_unsubscribe(&client->world->ledger, client->life, filter);
    g_array_append_val(client->asking, asking);
    talk_send(client, packet->data, packet->len);
}
