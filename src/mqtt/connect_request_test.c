/* What CONNECT asked for and what CONNACK answers, by property. */
#include "mqtt/connect_request.h"
#include "mqtt/connect.h"
#include "mqtt/connection.h"
#include "mqtt/fixture.h"

/* Sends CONNECT, gives the properties of CONNACK: views into the peer's input. */
static struct properties answer(struct peer *peer, const struct entering *entering)
{
    struct packet_connack connack;
    struct packet_frame frame;

    say_connect(peer, entering);
    assert_int_equal(
        packet_frame_find((struct bytes){peer->input->data, peer->input->len}, UINT32_MAX, &frame),
        1);
    assert_int_equal(packet_connack_decode(&frame, peer->version, &connack), 0);
    return connack.properties;
}

static void the_server_says_its_limits(void **state)
{
    struct fixture *fixture = *state;

    struct properties properties = answer(peer_new(fixture), &(struct entering){.client_id = "a"});
    assert_int_equal(properties.receive_maximum, 1000);
    assert_int_equal(properties.maximum_packet_bytes, 1048576);
    assert_int_equal(properties.topic_alias_maximum, 64);
    assert_false(properties_has(&properties, PROPERTY_ASSIGNED_CLIENT_ID));
    assert_false(properties_has(&properties, PROPERTY_SERVER_KEEP_ALIVE));
    assert_false(properties_has(&properties, PROPERTY_SESSION_EXPIRY));

    set(fixture, "mqtt.receive_maximum", "65535");
    set(fixture, "mqtt.topic_alias_max", "0");
    properties = answer(peer_new(fixture), &(struct entering){.client_id = "a"});
    assert_false(properties_has(&properties, PROPERTY_RECEIVE_MAXIMUM));
    assert_false(properties_has(&properties, PROPERTY_TOPIC_ALIAS_MAXIMUM));
}

static void a_client_without_id_is_told_the_one_it_got(void **state)
{
    struct fixture *fixture = *state;

    struct properties properties = answer(peer_new(fixture), &(struct entering){0});
    g_autofree char *id = g_strndup((const char *)properties.assigned_client_id.at,
                                    properties.assigned_client_id.length);
    assert_true(g_str_has_prefix(id, "auto-"));
    assert_non_null(connection_of(fixture, id));
}

static void what_is_less_than_asked_for_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct entering entering = {.client_id = "a", .keeps = true, .keep_alive_s = 600};

    set(fixture, "mqtt.session_expiry_s_max", "60");
    set(fixture, "mqtt.keep_alive_s_max", "100");
    struct properties properties = answer(peer_new(fixture), &entering);
    assert_int_equal(properties.session_expiry_s, 60);
    assert_int_equal(properties.server_keep_alive_s, 100);
    entering.keep_alive_s = 0; /* never is longer than any */
    properties = answer(peer_new(fixture), &entering);
    assert_int_equal(properties.server_keep_alive_s, 100);
    entering.keep_alive_s = 50;
    properties = answer(peer_new(fixture), &entering);
    assert_false(properties_has(&properties, PROPERTY_SERVER_KEEP_ALIVE));
}

static void response_information_is_for_who_asks(void **state)
{
    struct fixture *fixture = *state;
    struct entering asking = {.client_id = "a", .properties = "19 01"};

    struct properties properties = answer(peer_new(fixture), &asking);
    assert_false(properties_has(&properties, PROPERTY_RESPONSE_INFO));
    set(fixture, "mqtt.response_information", "answers");
    properties = answer(peer_new(fixture), &asking);
    assert_bytes(properties.response_info, "answers");
    asking.properties = "19 00";
    properties = answer(peer_new(fixture), &asking);
    assert_false(properties_has(&properties, PROPERTY_RESPONSE_INFO));
}

static void reasons_in_words_are_for_who_wants_them(void **state)
{
    struct fixture *fixture = *state;
    struct entering refused = {.client_id = "a", .will_topic = "#", .will_payload = ""};

    struct properties properties = answer(peer_new(fixture), &refused);
    assert_bytes(properties.reason_string, "the will is not acceptable");
    refused.properties = "17 00";
    properties = answer(peer_new(fixture), &refused);
    assert_false(properties_has(&properties, PROPERTY_REASON_STRING));
    refused.properties = "27 00000020"; /* it would not fit */
    properties = answer(peer_new(fixture), &refused);
    assert_false(properties_has(&properties, PROPERTY_REASON_STRING));
}

static void the_receive_maximum_is_the_smaller_one(void **state)
{
    struct fixture *fixture = *state;

    enter(fixture, "default");
    enter_as(fixture, &(struct entering){.client_id = "few", .properties = "21 0003"});
    enter_as(fixture, &(struct entering){.client_id = "old", .version = PACKET_MQTT_3_1_1});
    assert_int_equal(connection_of(fixture, "default")->receive_maximum, 256);
    assert_int_equal(connection_of(fixture, "few")->receive_maximum, 3);
    assert_int_equal(connection_of(fixture, "old")->receive_maximum, 256);
}

static void a_request_keeps_copies_of_all_it_needs(void **state)
{
    char id[] = "id", name[] = "name", password[] = "", topic[] = "t", payload[] = "p";
    struct packet_connect connect = {
        .version = PACKET_MQTT_5,
        .has_will = true,
        .has_username = true,
        .has_password = true,
        .client_id = {(uint8_t *)id, 2},
        .username = {(uint8_t *)name, 4},
        .password = {(uint8_t *)password, 0},
        .will = {.topic = {(uint8_t *)topic, 1}, .payload = {(uint8_t *)payload, 1}, .qos = 2},
    };
    (void)state;

    connect.will.properties.has = 1u << PROPERTY_MESSAGE_EXPIRY | 1u << PROPERTY_WILL_DELAY;
    connect.will.properties.message_expiry_s = 7;
    connect.will.properties.will_delay_s = 8;
    struct connect_request *request = connect_request_new(&connect);
    memset(id, 'x', 2);
    memset(name, 'x', 4);
    topic[0] = payload[0] = 'x';
    assert_bytes(connect_request_client_id(request), "id");
    assert_string_equal(request->username, "name");
    assert_non_null(request->password.at); /* an empty one is not none */
    assert_int_equal(request->password.length, 0);
    assert_bytes(request->will.topic, "t");
    assert_bytes(request->will.payload, "p");
    assert_int_equal(request->will.qos, 2);
    assert_int_equal(request->will.expiry_s, 7);
    assert_int_equal(request->will.delay_s, 8);
    assert_int_equal(request->expiry_s, 0);
    connect_request_free(request);
    connect_request_free(NULL);
}

static void older_sessions_live_for_ever_or_as_long_as_the_connection(void **state)
{
    struct packet_connect connect = {.version = PACKET_MQTT_3_1_1};
    (void)state;

    struct connect_request *request = connect_request_new(&connect);
    assert_int_equal(request->expiry_s, SESSION_NEVER_EXPIRES);
    connect_request_free(request);
    connect.clean_start = true;
    request = connect_request_new(&connect);
    assert_int_equal(request->expiry_s, 0);
    connect_request_free(request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(the_server_says_its_limits),
        FIXTURE_TEST(a_client_without_id_is_told_the_one_it_got),
        FIXTURE_TEST(what_is_less_than_asked_for_is_told),
        FIXTURE_TEST(response_information_is_for_who_asks),
        FIXTURE_TEST(reasons_in_words_are_for_who_wants_them),
        FIXTURE_TEST(the_receive_maximum_is_the_smaller_one),
        cmocka_unit_test(a_request_keeps_copies_of_all_it_needs),
        cmocka_unit_test(older_sessions_live_for_ever_or_as_long_as_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
