/* See fixture.h. */
#include "mqtt/fixture.h"
#include "access/access.h"
#include "base/log.h"
#include "mqtt/broker.h"
#include "mqtt/connection.h"
#include "net/stream.h"
#include "state/propose.h"

#define START_UNIX_MS 1700000000000u

/* ---- life ---- */

void fixture_init(struct fixture *fixture)
{
    log_set_level(LOG_LEVEL_ERROR);
    *fixture = (struct fixture){.loop = virtual_loop_new(START_UNIX_MS),
                                .random = g_rand_new_with_seed(1),
                                .peers = g_ptr_array_new()};
    node_init(&fixture->node, fixture->loop, fixture->random);
}

void fixture_init_cluster(struct fixture *fixture, unsigned count)
{
    log_set_level(LOG_LEVEL_ERROR);
    *fixture = (struct fixture){.loop = virtual_loop_new(START_UNIX_MS),
                                .random = g_rand_new_with_seed(1),
                                .cluster = g_new0(struct cluster, 1),
                                .peers = g_ptr_array_new()};
    cluster_init(fixture->cluster, fixture->loop, fixture->random, count);
}

/* In every test: another state that follows is the same. */
static void end_nodes(struct fixture *fixture)
{
    if (fixture->cluster) {
        run(fixture);
        cluster_compare(fixture->cluster);
        cluster_deinit(fixture->cluster);
        g_free(fixture->cluster);
        return;
    }
    fixture->node.refusals = 0;
    run(fixture);
    node_compare(&fixture->node);
    node_deinit(&fixture->node);
}

void fixture_deinit(struct fixture *fixture)
{
    end_nodes(fixture);
    for (guint i = 0; i < fixture->peers->len; i++) {
        struct peer *peer = fixture->peers->pdata[i];
        virtual_stream_release(peer->stream);
        g_byte_array_unref(peer->input);
        g_free(peer);
    }
    g_ptr_array_unref(fixture->peers);
    g_rand_free(fixture->random);
    virtual_loop_free(fixture->loop);
}

int fixture_setup(void **state)
{
    *state = g_new0(struct fixture, 1);
    fixture_init(*state);
    return 0;
}

int cluster_setup(void **state)
{
    *state = g_new0(struct fixture, 1);
    fixture_init_cluster(*state, 3);
    return 0;
}

int fixture_teardown(void **state)
{
    fixture_deinit(*state);
    g_free(*state);
    return 0;
}

struct broker *broker_of(const struct fixture *fixture)
{
    return fixture->cluster ? fixture->cluster->nodes[fixture->at].broker : fixture->node.broker;
}

static struct state *state_of(const struct fixture *fixture)
{
    return fixture->cluster ? fixture->cluster->nodes[fixture->at].state : fixture->node.state;
}

/* True when something happened. */
static bool turn(struct fixture *fixture)
{
    if (!fixture->cluster) {
        return node_turn(&fixture->node, 8);
    }
    uint64_t before = fixture->cluster->moved;
    cluster_settle(fixture->cluster);
    return before != fixture->cluster->moved;
}

struct connection *connection_of(const struct fixture *fixture, const char *client_id)
{
    return broker_find(broker_of(fixture), client_id);
}

static void take(void *pointer, void *unused)
{
    struct peer *peer = pointer;

    if (!peer->is_deaf) {
        virtual_stream_receive(peer->stream, peer->input, SIZE_MAX);
    }
}

void run(struct fixture *fixture)
{
    for (int quiet = 0; quiet < 2; quiet++) {
        uint64_t before = fixture->moved;
        bool has_done = false;
        for (guint i = 0; i < fixture->peers->len; i++) {
            struct peer *peer = fixture->peers->pdata[i];
            has_done |= virtual_stream_deliver(peer->stream, SIZE_MAX);
        }
        has_done |= turn(fixture);
        virtual_loop_advance(fixture->loop, 0);
        g_ptr_array_foreach(fixture->peers, take, NULL);
        quiet = has_done || before != fixture->moved ? -1 : quiet;
    }
}

void pass(struct fixture *fixture, uint64_t ms)
{
    run(fixture);
    virtual_loop_advance(fixture->loop, ms);
    run(fixture);
}

void set(struct fixture *fixture, const char *key, const char *value)
{
    assert_int_equal(state_propose_setting(state_of(fixture), key, value, NULL), 0);
    run(fixture);
    g_autofree char *now = settings_get(state_settings(state_of(fixture)), settings_find(key));
    assert_string_equal(now, value);
}

static void on_added(void *owner, uint64_t token, const struct state_result *result)
{
    *(bool *)owner = result->error == 0 && !result->message;
}

void add_rule(struct fixture *fixture, const char *subject, const char *action, const char *filter,
              bool allow)
{
    bool is_added = false;
    struct state_completion completion = {on_added, &is_added, 0};

    assert_int_equal(
        state_propose_acl_add(fixture->node.state, subject, action, filter, allow, &completion), 0);
    run(fixture);
    assert_true(is_added);
}

void add_user(struct fixture *fixture, const char *name, const char *role, const char *password)
{
    g_autofree char *record = password_record_new(password);
    bool is_added = false;
    struct state_completion completion = {on_added, &is_added, 0};

    assert_int_equal(state_propose_user_put(fixture->node.state, name, role, record, &completion),
                     0);
    run(fixture);
    assert_true(is_added);
}

void crash(struct fixture *fixture)
{
    for (guint i = 0; i < fixture->peers->len; i++) {
        cut(fixture->peers->pdata[i]);
    }
    node_crash(&fixture->node);
    run(fixture);
}

/* ---- speaking ---- */

struct peer *peer_from(struct fixture *fixture, const char *address, const char *trusted_name)
{
    struct peer *peer = g_new0(struct peer, 1);

    peer->fixture = fixture;
    peer->version = PACKET_MQTT_5;
    peer->stream = virtual_stream_new(fixture->loop, &fixture->moved);
    peer->input = g_byte_array_new();
    g_ptr_array_add(fixture->peers, peer);
    if (address) {
        virtual_stream_set_peer(
            peer->stream, &(struct stream_peer){.kind = STREAM_TCP, .address = address, .port = 9});
    }
    broker_accept(broker_of(fixture), peer->stream, trusted_name);
    return peer;
}

struct peer *peer_new(struct fixture *fixture)
{
    return peer_from(fixture, NULL, NULL);
}

void say_bytes(struct peer *peer, const void *bytes, size_t length)
{
    virtual_stream_send(peer->stream, bytes, length);
    run(peer->fixture);
}

void say(struct peer *peer, uint8_t first, const char *body)
{
    g_autoptr(GByteArray) bytes = sample_bytes(body);
    GByteArray *packet = g_byte_array_new();
    guint left = bytes->len;

    g_byte_array_append(packet, &first, 1);
    do {
        guint8 digit = (guint8)((left & 127) | (left > 127 ? 128 : 0));
        g_byte_array_append(packet, &digit, 1);
        left >>= 7;
    } while (left > 0);
    g_byte_array_append(packet, bytes->data, bytes->len);
    say_bytes(peer, packet->data, packet->len);
    g_byte_array_unref(packet);
}

static struct bytes view(GByteArray *bytes)
{
    return (struct bytes){bytes->data, bytes->len};
}

static struct bytes text_of(const char *text)
{
    return text ? bytes_from_string(text) : (struct bytes){NULL, 0};
}

void say_connect(struct peer *peer, const struct entering *entering)
{
    g_autoptr(GByteArray) properties =
        sample_bytes(entering->properties ? entering->properties : "");
    g_autoptr(GByteArray) will_properties =
        sample_bytes(entering->will_properties ? entering->will_properties : "");
    g_autoptr(GByteArray) packet = g_byte_array_new();
    static const uint8_t an_hour[] = {PROPERTY_SESSION_EXPIRY, 0, 0, 14, 16};

    peer->version = entering->version != 0 ? entering->version : PACKET_MQTT_5;
    if (entering->keeps && peer->version == PACKET_MQTT_5) {
        g_byte_array_append(properties, an_hour, sizeof an_hour);
    }
    struct packet_connect connect = {
        .version = peer->version,
        .clean_start = !entering->keeps,
        .has_will = entering->will_topic != NULL,
        .has_username = entering->username != NULL,
        .has_password = entering->password != NULL,
        .keep_alive_s = entering->keep_alive_s,
        .client_id = text_of(entering->client_id),
        .username = text_of(entering->username),
        .password = text_of(entering->password),
        .will = {.topic = text_of(entering->will_topic),
                 .payload = text_of(entering->will_payload),
                 .qos = entering->will_qos,
                 .retain = entering->will_retain,
                 .properties.raw = view(will_properties)},
        .properties.raw = view(properties),
    };
    packet_connect_encode(&connect, packet);
    say_bytes(peer, packet->data, packet->len);
}

struct peer *enter_as(struct fixture *fixture, const struct entering *entering)
{
    struct peer *peer = peer_new(fixture);

    say_connect(peer, entering);
    g_autofree char *answer = heard(peer);
    assert_true(g_str_has_prefix(answer, "connack s0 0x00") ||
                g_str_has_prefix(answer, "connack s1 0x00"));
    return peer;
}

struct peer *enter(struct fixture *fixture, const char *client_id)
{
    return enter_as(fixture, &(struct entering){.client_id = client_id});
}

struct peer *enter_kept(struct fixture *fixture, const char *client_id)
{
    return enter_as(fixture, &(struct entering){.client_id = client_id, .keeps = true});
}

void subscribe(struct peer *peer, const char *filter, uint8_t qos)
{
    struct packet_subscription subscription = {.filter = text_of(filter), .qos = qos};
    g_autoptr(GByteArray) packet = g_byte_array_new();
    g_autofree char *expected = g_strdup_printf("suback m9 %02x", qos);

    packet_subscribe_encode(9, &subscription, 1, peer->version, NULL, packet);
    say_bytes(peer, packet->data, packet->len);
    assert_heard(peer, expected);
}

static void send_publish(struct peer *peer, const struct packet_publish_head *like,
                         const char *payload)
{
    struct packet_publish_head head = *like;
    head.payload_bytes = (uint32_t)strlen(payload);
    head.version = peer->version;
    uint32_t size = packet_publish_size(&head);
    g_autofree uint8_t *packet = g_malloc(size);

    memcpy(packet + packet_publish_encode(&head, packet), payload, head.payload_bytes);
    virtual_stream_send(peer->stream, packet, size);
}

void say_publish(struct peer *peer, uint8_t qos, uint16_t packet_id, const char *topic,
                 const char *payload)
{
    send_publish(
        peer,
        &(struct packet_publish_head){.topic = text_of(topic), .qos = qos, .packet_id = packet_id},
        payload);
}

void publish(struct peer *peer, uint8_t qos, uint16_t packet_id, const char *topic,
             const char *payload)
{
    say_publish(peer, qos, packet_id, topic, payload);
    run(peer->fixture);
}

void publish_retained(struct peer *peer, uint8_t qos, uint16_t packet_id, const char *topic,
                      const char *payload)
{
    send_publish(peer,
                 &(struct packet_publish_head){
                     .topic = text_of(topic), .qos = qos, .packet_id = packet_id, .retain = true},
                 payload);
    run(peer->fixture);
}

void ack(struct peer *peer, uint8_t type, uint16_t packet_id)
{
    uint8_t packet[PACKET_SMALL_BYTES_MAX];
    uint32_t length = packet_ack_encode(type, packet_id, REASON_SUCCESS, peer->version, packet);

    say_bytes(peer, packet, length);
}

void cut(struct peer *peer)
{
    virtual_stream_cut(peer->stream);
    run(peer->fixture);
}

/* ---- hearing ---- */

static void describe_publish(GString *line, const struct packet_frame *frame, uint8_t version)
{
    struct packet_publish publish;
    size_t at = 0;
    uint32_t id;

    assert_int_equal(packet_publish_decode(frame, version, &publish), 0);
    g_string_append_printf(line, "publish q%u", publish.qos);
    if (publish.qos > 0) {
        g_string_append_printf(line, " m%u", publish.packet_id);
    }
    g_string_append_printf(line, " %.*s=", (int)publish.topic.length, publish.topic.at);
    if (publish.payload.length > 64) {
        g_string_append_printf(line, "(%zu bytes)", publish.payload.length);
    } else {
        g_string_append_len(line, (const char *)publish.payload.at, (gssize)publish.payload.length);
    }
    g_string_append_printf(line, "%s%s", publish.retain ? " retain" : "",
                           publish.dup ? " dup" : "");
    if (publish.properties.has == 0) {
        return;
    }
    while (properties_next_subscription_id(&publish.properties, &at, &id)) {
        g_string_append_printf(line, " id=%u", id);
    }
    if (properties_has(&publish.properties, PROPERTY_TOPIC_ALIAS)) {
        g_string_append_printf(line, " alias=%u", publish.properties.topic_alias);
    }
    if (properties_has(&publish.properties, PROPERTY_MESSAGE_EXPIRY)) {
        g_string_append_printf(line, " expiry=%u", publish.properties.message_expiry_s);
    }
    if (properties_has(&publish.properties, PROPERTY_CONTENT_TYPE)) {
        struct bytes type = publish.properties.content_type;
        g_string_append_printf(line, " type=%.*s", (int)type.length, type.at);
    }
}

static void describe_connack(GString *line, const struct packet_frame *frame, uint8_t version)
{
    struct packet_connack connack;

    assert_int_equal(packet_connack_decode(frame, version, &connack), 0);
    g_string_append_printf(line, "connack s%u 0x%02x", connack.session_present, connack.reason);
}

static void describe_suback(GString *line, const struct packet_frame *frame, uint8_t version)
{
    struct packet_suback suback;

    assert_int_equal(packet_suback_decode(frame, version, &suback), 0);
    g_string_append_printf(line, "%s m%u", frame->type == PACKET_SUBACK ? "suback" : "unsuback",
                           suback.packet_id);
    for (size_t i = 0; i < suback.reasons.length; i++) {
        g_string_append_printf(line, "%c%02x", i == 0 ? ' ' : ',', suback.reasons.at[i]);
    }
}

static void describe_other(GString *line, const struct packet_frame *frame, uint8_t version)
{
    g_autofree char *name = g_ascii_strdown(packet_type_to_string(frame->type), -1);
    struct packet_disconnect disconnect;
    struct packet_auth auth;
    struct packet_ack packet;

    g_string_append(line, name);
    if (frame->type == PACKET_DISCONNECT) {
        assert_int_equal(packet_disconnect_decode(frame, version, &disconnect), 0);
        g_string_append_printf(line, " 0x%02x", disconnect.reason);
    } else if (frame->type == PACKET_AUTH) {
        assert_int_equal(packet_auth_decode(frame, &auth), 0);
        g_string_append_printf(line, " 0x%02x %.*s", auth.reason,
                               (int)auth.properties.auth_data.length, auth.properties.auth_data.at);
    } else if (frame->type != PACKET_PINGRESP) {
        assert_int_equal(packet_ack_decode(frame, version, &packet), 0);
        g_string_append_printf(line, " m%u", packet.packet_id);
        if (version == PACKET_MQTT_5) {
            g_string_append_printf(line, " 0x%02x", packet.reason);
        }
    }
}

static void describe(GString *line, const struct packet_frame *frame, uint8_t version)
{
    switch (frame->type) {
    case PACKET_PUBLISH:
        describe_publish(line, frame, version);
        break;
    case PACKET_CONNACK:
        describe_connack(line, frame, version);
        break;
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        describe_suback(line, frame, version);
        break;
    default:
        describe_other(line, frame, version);
    }
}

char *heard(struct peer *peer)
{
    GString *line = g_string_new(NULL);
    struct packet_frame frame;
    guint at = 0;

    take(peer, NULL);
    while (packet_frame_find((struct bytes){peer->input->data + at, peer->input->len - at},
                             UINT32_MAX, &frame) == 1) {
        g_string_append(line, line->len > 0 ? "; " : "");
        describe(line, &frame, peer->version);
        at += frame.total_bytes;
    }
    g_byte_array_remove_range(peer->input, 0, at);
    assert_int_equal(peer->input->len, 0);
    if (virtual_stream_is_ended(peer->stream)) {
        g_string_append(line, line->len > 0 ? "; end" : "end");
    }
    return g_string_free(line, FALSE);
}
