/* See client.h. Connecting and leaving are here, what happens in between is in talk.c. */
#include "client.h"
#include "loop/loop.h"
#include "mqtt/broker.h"
#include "mqtt/test_virtual_loop.h"
#include "packet/packet.h"
#include "talk.h"
#include <stdio.h>
#include <stdlib.h>

void client_init(struct client *client, struct world *world, uint8_t number)
{
    *client = (struct client){.world = world, .number = number};
    client->input = g_byte_array_new();
    client->outgoing = g_array_new(FALSE, TRUE, sizeof(struct outgoing));
    client->asking = g_array_new(FALSE, TRUE, sizeof(struct asking));
    client->received = g_array_new(FALSE, TRUE, sizeof(uint16_t));
    client->unanswered = g_array_new(FALSE, TRUE, sizeof(uint16_t));
    g_queue_init(&client->answers);
}

void client_deinit(struct client *client)
{
    g_byte_array_unref(client->input);
    g_array_unref(client->outgoing);
    g_array_unref(client->asking);
    g_array_unref(client->received);
    g_array_unref(client->unanswered);
    g_queue_clear(&client->answers);
    life_free(client->life);
}

void client_fail(const struct client *client, const char *what)
{
    fprintf(stderr, "BROKEN: client %u, moment %" G_GUINT64_FORMAT ": %s\n", client->number,
            client->world->ledger.moment, what);
    abort();
}

static int below(struct client *client, int end)
{
    return g_rand_int_range(client->world->random, 0, end);
}

/* ---- leaving ---- */

static void account(struct client *client, guint message, enum will_fate fate)
{
    struct will_account made = {message, fate};
    g_array_append_val(client->world->ledger.will_fates, made);
}

/* Has its CONNECT with clean start ended the session before? An earlier CONNECT without answer may
 * have cancelled the will; and a node that is cut off lets in who asks for nothing durable, and
 * cannot end a session that it has not heard of: that goes on elsewhere, its will with it. */
static bool has_surely_begun_anew(const struct client *client)
{
    const struct world *world = client->world;
    bool is_durable = client->expiry_s > 0 || client->asked_will != 0;
    bool is_known = is_durable || !world->may_find_ended || !world->is_of_one_mind ||
                    world->is_of_one_mind(world);

    return !client->is_uncertain && is_known;
}

void client_judge_will(struct client *client, bool is_present)
{
    uint64_t now_ms = loop_now_ms(client->world->loop);
    enum will_fate fate = WILL_UNKNOWN;

    if (client->goodbye_will != 0) {
        account(client, client->goodbye_will,
                client->world->may_find_ended ? WILL_UNKNOWN : WILL_MUST_NOT);
        client->goodbye_will = 0;
    }
    if (client->left_will == 0) {
        return;
    }
    if (client->is_uncertain && client->world->may_find_ended) {
        fate = WILL_UNKNOWN; /* a CONNECT without answer may have found the session going on */
    } else if (client->world->may_notice_late && client->will_due_ms != client->left_first_ms &&
               is_present) {
        fate = WILL_UNKNOWN; /* its delay may have begun only a moment ago */
    } else if (client->will_due_ms == client->left_first_ms ||
               client->asked_ms >= client->will_due_ms + CLIENT_MARGIN_MS) {
        fate = WILL_MUST;
    } else if (client->is_clean) {
        fate = has_surely_begun_anew(client) ? WILL_MUST : WILL_UNKNOWN;
    } else if (is_present && now_ms + CLIENT_MARGIN_MS <= client->will_due_ms) {
        fate = WILL_MUST_NOT;
    }
    account(client, client->left_will, fate);
    client->left_will = 0;
}

void client_doubt_goodbye(struct client *client)
{
    client->goodbye_will = 0;
}

/* What is over with the connection. */
static void leave(struct client *client)
{
    uint64_t closed_ms = virtual_stream_closed_ms(client->stream);
    uint64_t now_ms = closed_ms != 0 ? closed_ms : loop_now_ms(client->world->loop);

    talk_trace(client, "left");
    client->stream = NULL;
    client->left_last_ms = now_ms;
    g_byte_array_set_size(client->input, 0);
    g_array_set_size(client->asking, 0);
    g_array_set_size(client->unanswered, 0);
    g_queue_clear(&client->answers);
    if (!client->is_in) {
        client->is_uncertain = true;
        client->asked_will = 0;
        return;
    }
    client->is_in = false;
    client->left_first_ms = now_ms;
    client->asked_ms = 0;
    client->expiry_least_s = client->expiry_most_s = client->expiry_s;
    if (client->will != 0) {
        client->left_will = client->will;
        client->will_due_ms = now_ms + 1000ull * MIN(client->will_delay_s, client->expiry_s);
        client->will = 0;
    }
    if (client->expiry_s == 0) {
        life_free(client->life);
        client->life = NULL;
    }
}

void client_lose(struct client *client)
{
    leave(client);
}

void client_cut(struct client *client)
{
    virtual_stream_cut(client->stream);
    leave(client);
}

void client_disconnect(struct client *client)
{
    struct stream *stream = client->stream;
    guint will = client->will;
    bool with_will = below(client, 8) == 0;
    g_autoptr(GByteArray) packet = g_byte_array_new();

    packet_disconnect_encode(with_will ? REASON_DISCONNECT_WITH_WILL : REASON_SUCCESS,
                             PACKET_MQTT_5, NULL, packet);
    talk_send(client, packet->data, packet->len);
    virtual_stream_finish(stream);
    while (virtual_stream_deliver(stream, SIZE_MAX)) {
    }
    bool is_certain =
        virtual_stream_was_read(stream); /* else it may be cut before, or was closed before */
    virtual_stream_end_turn(stream);
    leave(client);
    if (!with_will || !is_certain) {
        client->left_will = 0;
        client->goodbye_will = is_certain && !with_will ? will : 0;
    }
}

/* ---- connecting ---- */

static void choose_will(struct client *client, struct packet_connect *connect,
                        struct properties_builder *properties, char payload[16])
{
    struct sent sent = {
        .publisher = client->number, .topic = TOPIC_WILL, .is_will = true, .has_content = true};

    client->asked_will = 0;
    client->will_delay_s = below(client, 2) ? (uint32_t)below(client, 30) : 0;
    if (!client->has_wills || below(client, 2)) {
        return;
    }
    sent.qos = (uint8_t)(1 + below(client, 2));
    client->asked_will = ledger_publish(&client->world->ledger, &sent);
    snprintf(payload, 16, "%u", client->asked_will);
    if (client->will_delay_s > 0) {
        properties_add_u32(properties, PROPERTY_WILL_DELAY, client->will_delay_s);
    }
    connect->has_will = true;
    connect->will =
        (struct packet_will){.topic = bytes_from_string(ledger_topics[TOPIC_WILL]),
                             .payload = bytes_from_string(payload),
                             .qos = sent.qos,
                             .properties.raw = {properties->bytes->data, properties->bytes->len}};
}

static void send_connect(struct client *client)
{
    struct properties_builder properties, will_properties;
    g_autoptr(GByteArray) packet = g_byte_array_new();
    char name[16], payload[16];

    snprintf(name, sizeof name, "c%u", client->number);
    properties_builder_init(&properties);
    properties_builder_init(&will_properties);
    struct packet_connect connect = {.version = PACKET_MQTT_5,
                                     .clean_start = client->is_clean,
                                     .client_id = bytes_from_string(name)};
    choose_will(client, &connect, &will_properties, payload);
    client->receive_maximum = (uint16_t)(below(client, 2) ? 1 + below(client, 5) : 1000);
    if (client->expiry_s > 0) {
        properties_add_u32(&properties, PROPERTY_SESSION_EXPIRY, client->expiry_s);
    }
    properties_add_u16(&properties, PROPERTY_RECEIVE_MAXIMUM, client->receive_maximum);
    connect.properties.raw = (struct bytes){properties.bytes->data, properties.bytes->len};
    packet_connect_encode(&connect, packet);
    talk_send(client, packet->data, packet->len);
    properties_builder_deinit(&properties);
    properties_builder_deinit(&will_properties);
}

void client_connect(struct client *client, bool is_clean, uint32_t expiry_s)
{
    struct world *world = client->world;

    if (client->stream) {
        struct stream *old = client->stream;
        if (below(client, 2)) {
            virtual_stream_cut(old);
        } else {
            virtual_stream_finish(old);
        }
        leave(client);
    }
    if (!client->is_uncertain) {
        client->is_clean = is_clean;
        client->expiry_s = expiry_s;
        client->expiry_least_s = MIN(client->expiry_least_s, expiry_s);
        client->expiry_most_s = MAX(client->expiry_most_s, expiry_s);
    }
    if (client->asked_ms == 0) {
        client->asked_ms = loop_now_ms(world->loop);
    }
    client->stream =
        virtual_stream_new(world->broker_loop ? world->broker_loop : world->loop, &world->moved);
    g_ptr_array_add(world->streams, client->stream);
    virtual_stream_enter(client->stream);
    broker_accept(world->broker, client->stream, NULL);
    client->connections++;
    send_connect(client);
}

/* ---- the answer ---- */

/* Its session has not expired yet, whatever happened to what it asked. */
static bool has_time_left(const struct client *client)
{
    uint64_t now_ms = loop_now_ms(client->world->loop), left_ms = client->left_first_ms;

    left_ms = client->counted_gone_ms ? MIN(client->counted_gone_ms, left_ms) : left_ms;
    return now_ms + CLIENT_MARGIN_MS <= left_ms + client->expiry_least_s * 1000ull;
}

static void judge_present(struct client *client, bool is_present)
{
    bool must_be = client->life && !client->is_clean && has_time_left(client);
    bool must_not_be = client->is_clean || (!client->life && !client->is_uncertain) ||
                       (client->life && client->asked_ms >= client->left_last_ms +
                                                                client->expiry_most_s * 1000ull +
                                                                CLIENT_MARGIN_MS);

    if (must_be && !is_present) {
        client_fail(client, "its session is gone before its time [MQTT-3.1.2-5] [MQTT-3.1.2-23]");
    }
    if (must_not_be && is_present && (client->is_clean || !client->world->may_find_ended)) {
        client_fail(client, "a session is present that must not be [MQTT-3.1.2-4] [MQTT-3.2.2-2]");
    }
}

/* What was under way with a session that is gone: nobody will know. */
static void begin_anew(struct client *client)
{
    for (guint i = 0; i < client->outgoing->len; i++) {
        ledger_sent(&client->world->ledger,
                    g_array_index(client->outgoing, struct outgoing, i).message)
            ->is_given_up = true;
    }
    g_array_set_size(client->outgoing, 0);
    g_array_set_size(client->received, 0);
    life_free(client->life);
    client->life = life_new(client->number, client->expiry_s > 0);
}

void client_enter(struct client *client, bool is_present)
{
    judge_present(client, is_present);
    bool is_wrong = client->world->may_find_ended && !client->life;
    if (is_present && (is_wrong || (client->is_uncertain && !has_time_left(client)))) {
        /* Its old session, or one that a CONNECT without answer made after that had expired: better
         * none than the wrong one. */
        client_cut(client);
        client->is_clean = true;
        client->left_will = is_wrong ? 0 : client->left_will; /* its session went on */
        return;
    }
    client_judge_will(client, is_present);
    if (!is_present || !client->life) {
        begin_anew(client);
    }
    client->life->is_persistent = client->expiry_s > 0;
    client->is_in = true;
    client->counted_gone_ms = 0;
    client->is_uncertain = false;
    client->will = client->asked_will;
    client->asked_will = 0;
    if (is_present) {
        talk_repeat(client);
    }
}
