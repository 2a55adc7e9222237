/* Getting in: who is refused and how, sessions that go on, takeover. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include "state/propose.h"
#include <errno.h>

static void refused(struct fixture *fixture, const struct entering *entering, const char *expected)
{
    struct peer *peer = peer_new(fixture);

    say_connect(peer, entering);
    assert_heard(peer, expected);
}

static void a_client_id_is_asked_for_where_it_is_needed(void **state)
{
    struct fixture *fixture = *state;

    refused(fixture, &(struct entering){.version = PACKET_MQTT_3_1}, "connack s0 0x85; end");
    refused(fixture, &(struct entering){.version = PACKET_MQTT_3_1_1, .keeps = true},
            "connack s0 0x85; end");
    enter_as(fixture, &(struct entering){.version = PACKET_MQTT_3_1_1});
    enter_as(fixture, &(struct entering){.version = PACKET_MQTT_5});
    enter_as(fixture, &(struct entering){.version = PACKET_MQTT_5, .keeps = true});
}

static void a_client_id_may_not_be_too_long(void **state)
{
    struct fixture *fixture = *state;

    set(fixture, "mqtt.client_id_bytes_max", "23");
    enter(fixture, "12345678901234567890123");
    refused(fixture, &(struct entering){.client_id = "123456789012345678901234"},
            "connack s0 0x85; end");
}

static void an_unknown_protocol_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct peer *six = peer_new(fixture), *two = peer_new(fixture), *none = peer_new(fixture);

    six->version = PACKET_MQTT_5;
    say(six, 0x10, "0004'MQTT' 06 02 0000 0000");
    assert_heard(six, "connack s0 0x84; end");
    two->version = PACKET_MQTT_3_1_1;
    say(two, 0x10, "0004'MQTT' 02 02 0000 0000");
    assert_heard(two, "connack s0 0x84; end");
    none->version = PACKET_MQTT_3_1_1;
    say(none, 0x10, "0004'HTTP' 04 02 0000 0000");
    assert_heard(none, "connack s0 0x84; end");
}

static void a_malformed_connect_is_told_in_mqtt_5_only(void **state)
{
    struct fixture *fixture = *state;
    struct peer *five = peer_new(fixture), *four = peer_new(fixture);

    say(five, 0x10, "0004'MQTT' 05 03 0000 00 0001'a'"); /* a reserved flag */
    assert_heard(five, "connack s0 0x81; end");
    four->version = PACKET_MQTT_3_1_1;
    say(four, 0x10, "0004'MQTT' 04 03 0000 0001'a'");
    assert_heard(four, "end");
}

static void a_bad_will_keeps_a_client_out(void **state)
{
    struct fixture *fixture = *state;
    struct entering entering = {.client_id = "a", .will_topic = "a/#", .will_payload = "x"};

    refused(fixture, &entering, "connack s0 0x90; end");
    set(fixture, "mqtt.will_bytes_max", "8");
    entering.will_topic = "will";
    entering.will_payload = "12345";
    refused(fixture, &entering, "connack s0 0x97; end");
    entering.will_payload = "\xff";
    entering.will_properties = "01 01"; /* it says that it is UTF-8 */
    refused(fixture, &entering, "connack s0 0x99; end");
    entering.will_payload = "1";
    enter_as(fixture, &entering);
}

static void a_will_that_is_not_allowed_is_refused_or_dropped(void **state)
{
    struct fixture *fixture = *state;
    struct entering entering = {.client_id = "a", .will_topic = "will", .will_payload = "x"};

    add_rule(fixture, "*", "write", "b", true);
    refused(fixture, &entering, "connack s0 0x87; end");
    entering.version = PACKET_MQTT_3_1_1;
    struct peer *peer = enter_as(fixture, &entering);
    assert_false(connection_of(fixture, "a")->has_will);
    cut(peer);
}

static void passwords_are_checked(void **state)
{
    struct fixture *fixture = *state;
    struct entering entering = {.client_id = "a", .username = "u", .password = "pencil"};

    add_user(fixture, "u", "device", "pencil");
    struct peer *peer = enter_as(fixture, &entering);
    assert_string_equal(connection_of(fixture, "a")->identity.username, "u");
    cut(peer);
    entering.password = "pen";
    refused(fixture, &entering, "connack s0 0x86; end");
    entering.version = PACKET_MQTT_3_1_1;
    peer = peer_new(fixture);
    say_connect(peer, &entering);
    pass(fixture, 1000); /* after a failure the answer comes late */
    assert_heard(peer, "connack s0 0x86; end");
    entering.username = "nobody";
    peer = peer_new(fixture);
    say_connect(peer, &entering);
    pass(fixture, 5000);
    assert_heard(peer, "connack s0 0x86; end");
}

static void who_goes_during_the_login_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct entering entering = {.client_id = "a", .username = "u", .password = "pen"};
    struct peer *peer;

    refused(fixture, &entering, "connack s0 0x86; end");
    peer = peer_new(fixture);
    say_connect(peer, &entering);
    assert_heard(peer, ""); /* late, because of the failure before */
    cut(peer);
    pass(fixture, 5000);
    assert_int_equal(broker_of(fixture)->connection_count, 0);
}

static void strangers_stay_outside(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = peer_from(fixture, "192.0.2.1", NULL);

    say_connect(peer, &(struct entering){.client_id = "a"});
    assert_heard(peer, "connack s0 0x87; end");
    peer = peer_from(fixture, "192.0.2.1", "bridge");
    say_connect(peer, &(struct entering){.client_id = "a"});
    assert_heard(peer, "connack s0 0x00");
    assert_int_equal(connection_of(fixture, "a")->identity.role, ROLE_ADMIN);
    set(fixture, "mqtt.anonymous", "off");
    refused(fixture, &(struct entering){.client_id = "b"}, "connack s0 0x87; end");
}

static void a_session_goes_on_unless_a_new_one_is_asked_for(void **state)
{
    struct fixture *fixture = *state;
    struct entering keeping = {.client_id = "a", .keeps = true};
    struct entering old = {.client_id = "b", .keeps = true, .version = PACKET_MQTT_3_1_1};

    cut(enter_kept(fixture, "a"));
    refused(fixture, &keeping, "connack s1 0x00");
    refused(fixture, &(struct entering){.client_id = "a"}, "connack s0 0x00");
    refused(fixture, &keeping, "connack s0 0x00");
    refused(fixture, &old, "connack s0 0x00");
    refused(fixture, &old, "connack s1 0x00");
    old.version = PACKET_MQTT_3_1;
    refused(fixture, &old, "connack s0 0x00"); /* 3.1 has no such flag, but it goes on */
    assert_true(connection_of(fixture, "b")->is_persistent);
}

static void a_second_connection_of_an_id_takes_over(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter(fixture, "a");
    struct peer *second = enter(fixture, "a");
    struct peer *third = enter_kept(fixture, "a");
    struct broker_counters counters;

    assert_heard(first, "disconnect 0x8e; end");
    assert_heard(second, "disconnect 0x8e; end");
    struct peer *fourth = peer_new(fixture);
    say_connect(fourth, &(struct entering){.client_id = "a", .keeps = true});
    assert_heard(third, "disconnect 0x8e; end");
    assert_heard(fourth, "connack s1 0x00");
    broker_counters(broker_of(fixture), &counters);
    assert_int_equal(counters.takeovers, 3);
    assert_int_equal(counters.clients_connected, 1);
}

/* Both CONNECTs arrive before anything has reached the disk. */
static void a_takeover_while_the_session_opens_is_one_session(void **state)
{
    struct fixture *fixture = *state;
    struct entering entering = {.client_id = "a", .keeps = true};
    struct peer *first = peer_new(fixture), *second = peer_new(fixture);

    fixture->node.refusals = 0;
    g_autoptr(GByteArray) packet = sample_bytes("10 13 0004'MQTT' 05 00 0000 05 11 00000e10 "
                                                "0001'a'");
    virtual_stream_send(first->stream, packet->data, packet->len);
    virtual_stream_send(second->stream, packet->data, packet->len);
    run(fixture);
    assert_heard(first, "end"); /* not in yet: nothing to be told */
    assert_heard(second, "connack s1 0x00");
    refused(fixture, &entering, "connack s1 0x00");
}

static void a_busy_log_keeps_clients_out_for_now(void **state)
{
    struct fixture *fixture = *state;

    fixture->node.refusals = 1;
    refused(fixture, &(struct entering){.client_id = "a", .keeps = true}, "connack s0 0x89; end");
    fixture->node.refusals = 1;
    refused(fixture,
            &(struct entering){.client_id = "a", .keeps = true, .version = PACKET_MQTT_3_1_1},
            "connack s0 0x88; end");
    fixture->node.refusals = 0;
    enter_kept(fixture, "a");
}

static void connect_and_fail(struct fixture *fixture, struct peer *peer, int error)
{
    g_autoptr(GByteArray) packet = sample_bytes("10 13 0004'MQTT' 05 00 0000 05 11 00000e10 "
                                                "0001'a'");

    virtual_stream_send(peer->stream, packet->data, packet->len);
    virtual_stream_deliver(peer->stream, SIZE_MAX);
    virtual_loop_end_turn(fixture->loop);
    node_fail(&fixture->node, error);
    run(fixture);
}

static void a_full_disk_keeps_clients_out(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = peer_new(fixture);

    connect_and_fail(fixture, peer, -ENOSPC);
    assert_heard(peer, "connack s0 0x88; end");
    peer = peer_new(fixture);
    connect_and_fail(fixture, peer, -EIO);
    assert_heard(peer, "connack s0 0x88; end");
    enter_kept(fixture, "a");
}

static void more_sessions_than_the_limit_are_refused(void **state)
{
    struct fixture *fixture = *state;

    set(fixture, "mqtt.sessions_max", "1");
    enter_kept(fixture, "a");
    refused(fixture, &(struct entering){.client_id = "b", .keeps = true}, "connack s0 0x97; end");
    enter(fixture, "b"); /* those that end with their connection are not the state's */
}

static void a_will_without_session_opens_in_the_state(void **state)
{
    struct fixture *fixture = *state;
    struct peer *watcher = enter_kept(fixture, "watcher");

    subscribe(watcher, "will", 1);
    enter_as(fixture,
             &(struct entering){
                 .client_id = "a", .will_topic = "will", .will_payload = "gone", .will_qos = 1});
    assert_false(connection_of(fixture, "a")->is_persistent);
    crash(fixture);
    watcher = peer_new(fixture);
    say_connect(watcher, &(struct entering){.client_id = "watcher", .keeps = true});
    assert_heard(watcher, "connack s1 0x00; publish q1 m1 will=gone dup");
    struct peer *peer = enter_as(
        fixture, &(struct entering){.client_id = "a", .will_topic = "will", .will_payload = "2"});
    cut(peer);
    assert_heard(watcher, "publish q0 will=2");
    peer = enter_as(
        fixture, &(struct entering){.client_id = "a", .will_topic = "will", .will_payload = "3"});
    say(peer, 0xe0, "");
    assert_heard(peer, "end");
    assert_heard(watcher, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_client_id_is_asked_for_where_it_is_needed),
        FIXTURE_TEST(a_client_id_may_not_be_too_long),
        FIXTURE_TEST(an_unknown_protocol_is_told),
        FIXTURE_TEST(a_malformed_connect_is_told_in_mqtt_5_only),
        FIXTURE_TEST(a_bad_will_keeps_a_client_out),
        FIXTURE_TEST(a_will_that_is_not_allowed_is_refused_or_dropped),
        FIXTURE_TEST(passwords_are_checked),
        FIXTURE_TEST(who_goes_during_the_login_is_forgotten),
        FIXTURE_TEST(strangers_stay_outside),
        FIXTURE_TEST(a_session_goes_on_unless_a_new_one_is_asked_for),
        FIXTURE_TEST(a_second_connection_of_an_id_takes_over),
        FIXTURE_TEST(a_takeover_while_the_session_opens_is_one_session),
        FIXTURE_TEST(a_busy_log_keeps_clients_out_for_now),
        FIXTURE_TEST(a_full_disk_keeps_clients_out),
        FIXTURE_TEST(more_sessions_than_the_limit_are_refused),
        FIXTURE_TEST(a_will_without_session_opens_in_the_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
