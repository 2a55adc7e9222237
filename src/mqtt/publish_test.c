/* What a client publishes: what is taken, what is refused and how. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include <errno.h>

static void bad_topics_end_the_connection(void **state)
{
    static const char *const bad[] = {"a/#", "+", "a/+/b"};
    struct fixture *fixture = *state;

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        struct peer *peer = enter(fixture, "a");
        publish(peer, 1, 1, bad[i], "x");
        assert_heard(peer, "disconnect 0x90; end");
        peer =
            enter_as(fixture, &(struct entering){.client_id = "a", .version = PACKET_MQTT_3_1_1});
        publish(peer, 0, 0, bad[i], "x");
        assert_heard(peer, "end");
    }
    set(fixture, "mqtt.topic_levels_max", "3");
    struct peer *deep = enter(fixture, "a");
    publish(deep, 1, 1, "1/2/3", "x");
    publish(deep, 1, 2, "1/2/3/4", "x");
    assert_heard(deep, "puback m1 0x10; puback m2 0x90"); /* right, but not taken */
}

static void a_subscription_id_from_a_client_ends_the_connection(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    say(peer, 0x30, "0001'a' 02 0b01 'x'");
    assert_heard(peer, "disconnect 0x82; end");
}

static void a_payload_that_is_not_what_it_says_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    subscribe(peer, "a", 0);
    say(peer, 0x32, "0001'a' 0001 02 0101 ff");
    say(peer, 0x32, "0001'a' 0002 02 0101 'ok'");
    say(peer, 0x32, "0001'a' 0003 02 0100 ff");
    g_autofree char *all = heard(peer);
    assert_true(g_str_has_prefix(all, "puback m1 0x99; publish q0 a=ok; puback m2 0x00; publish"));
}

static void too_many_user_properties_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    set(fixture, "mqtt.user_properties_max", "1");
    say(peer, 0x32, "0001'a' 0001 07 26 0001'k' 0001'v'");
    say(peer, 0x32, "0001'a' 0002 0e 26 0001'k' 0001'v' 26 0001'k' 0001'v'");
    assert_heard(peer, "puback m1 0x10; puback m2 0x97");
}

static void retained_payloads_are_limited(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    set(fixture, "mqtt.retained_payload_bytes_max", "3");
    publish_retained(peer, 1, 1, "a", "123");
    publish_retained(peer, 1, 2, "a", "1234");
    publish(peer, 1, 3, "a", "1234");
    assert_heard(peer, "puback m1 0x10; puback m2 0x97; puback m3 0x10");
    struct peer *reader = enter(fixture, "reader");
    say(reader, 0x82, "0001 00 0001'a' 00");
    assert_heard(reader, "suback m1 00; publish q0 a=123 retain");
}

static void system_topics_are_not_for_clients(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a"), *watcher = enter(fixture, "watcher");
    struct peer *old =
        enter_as(fixture, &(struct entering){.client_id = "old", .version = PACKET_MQTT_3_1_1});
    struct peer *trusted = peer_from(fixture, NULL, "bridge");

    subscribe(watcher, "$other/#", 0);
    publish(peer, 1, 1, "$other/x", "x");
    publish(peer, 2, 2, "$other/x", "x");
    publish(peer, 0, 0, "$other/x", "x");
    assert_heard(peer, "puback m1 0x87; pubrec m2 0x87");
    publish(old, 1, 1, "$other/x", "x"); /* taken and dropped: it knows no other answer */
    publish(old, 2, 2, "$other/x", "x");
    assert_heard(old, "puback m1; pubrec m2");
    assert_heard(watcher, "");
    say_connect(trusted, &(struct entering){.client_id = "bridge"});
    publish(trusted, 0, 0, "$other/x", "y");
    assert_heard(watcher, "publish q0 $other/x=y");
}

static void what_a_rule_forbids_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct broker_counters counters;

    add_rule(fixture, "*", "readwrite", "#", true);
    add_rule(fixture, "*", "write", "locked", false);
    struct peer *peer = enter(fixture, "a");
    subscribe(peer, "#", 0);
    publish(peer, 2, 1, "locked", "x");
    publish(peer, 0, 0, "locked", "x");
    publish(peer, 2, 1, "open", "x");
    assert_heard(peer, "pubrec m1 0x87; publish q0 open=x; pubrec m1 0x00");
    broker_counters(broker_of(fixture), &counters);
    assert_int_equal(counters.denied_publishes, 2);
}

static void qos_2_of_a_live_session_is_delivered_once(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    subscribe(peer, "a", 0);
    publish(peer, 2, 1, "a", "x");
    publish(peer, 2, 1, "a", "x");
    assert_heard(peer, "publish q0 a=x; pubrec m1 0x00; pubrec m1 0x00");
    ack(peer, PACKET_PUBREL, 1);
    ack(peer, PACKET_PUBREL, 1);
    assert_heard(peer, "pubcomp m1 0x00; pubcomp m1 0x92");
    publish(peer, 2, 1, "a", "x");
    assert_heard(peer, "publish q0 a=x; pubrec m1 0x00");
    struct peer *old =
        enter_as(fixture, &(struct entering){.client_id = "old", .version = PACKET_MQTT_3_1_1});
    ack(old, PACKET_PUBREL, 9);
    assert_heard(old, "pubcomp m9");
}

static void qos_2_up_to_the_receive_maximum_is_taken_and_no_more(void **state)
{
    struct fixture *fixture = *state;

    set(fixture, "mqtt.receive_maximum", "2");
    struct peer *peers[] = {enter(fixture, "live"), enter_kept(fixture, "kept")};
    for (unsigned i = 0; i < 2; i++) {
        publish(peers[i], 2, 1, "a", "x");
        publish(peers[i], 2, 2, "a", "x");
        assert_heard(peers[i], "pubrec m1 0x10; pubrec m2 0x10");
        publish(peers[i], 2, 2, "a", "x"); /* a repetition is none more */
        assert_heard(peers[i], "pubrec m2 0x00");
        ack(peers[i], PACKET_PUBREL, 1);
        assert_heard(peers[i], "pubcomp m1 0x00");
        publish(peers[i], 2, 3, "a", "x");
        assert_heard(peers[i], "pubrec m3 0x10");
        publish(peers[i], 2, 4, "a", "x");
        assert_heard(peers[i], "disconnect 0x93; end");
    }
}

static void a_release_goes_through_the_log_of_a_kept_session(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "a");

    publish(peer, 2, 1, "a", "x");
    ack(peer, PACKET_PUBREL, 1);
    ack(peer, PACKET_PUBREL, 5);
    assert_heard(peer, "pubrec m1 0x10; pubcomp m1 0x00; pubcomp m5 0x92");
    publish(peer, 2, 2, "a", "x");
    assert_heard(peer, "pubrec m2 0x10");
    fixture->node.refusals = 1;
    ack(peer, PACKET_PUBREL, 2); /* it says it again when it is back */
    assert_heard(peer, "disconnect 0x89; end");
    peer = peer_new(fixture);
    say_connect(peer, &(struct entering){.client_id = "a", .keeps = true});
    ack(peer, PACKET_PUBREL, 2);
    assert_heard(peer, "connack s1 0x00; pubcomp m2 0x00");
    publish(peer, 2, 3, "a", "x");
    g_autoptr(GByteArray) pubrel = sample_bytes("62 02 0003");
    virtual_stream_send(peer->stream, pubrel->data, pubrel->len);
    virtual_stream_deliver(peer->stream, SIZE_MAX);
    node_fail(&fixture->node, -ENOSPC); /* the disk is full */
    run(fixture);
    assert_heard(peer, "pubrec m3 0x10; disconnect 0x89; end");
}

static void properties_are_passed_on_and_expiry_is_counted_down(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *peer = enter(fixture, "a");

    subscribe(kept, "a", 1);
    say(peer, 0x32, "0001'a' 0001 0c 02 0000000a 03 0004'text' 'x'");
    assert_heard(kept, "publish q1 m1 a=x expiry=10 type=text");
    cut(kept);
    pass(fixture, 4000);
    kept = peer_new(fixture);
    say_connect(kept, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(kept, "connack s1 0x00; publish q1 m1 a=x dup expiry=6 type=text");
    say(peer, 0x30, "0001'a' 05 02 00000005 'y'");
    assert_heard(kept, "publish q0 a=y expiry=5");
}

/* [MQTT-3.3.2-6] */
static void what_is_left_of_an_expiry_is_rounded_but_not_to_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *peer = enter(fixture, "a");

    subscribe(kept, "a", 1);
    cut(kept);
    say(peer, 0x32, "0001'a' 0001 05 02 0000000a 'x'");
    say(peer, 0x32, "0001'a' 0002 05 02 00000005 'y'");
    pass(fixture, 4600);
    kept = peer_new(fixture);
    say_connect(kept, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(kept, "connack s1 0x00; publish q1 m1 a=x expiry=5; publish q1 m2 a=y expiry=1");
}

static void what_is_said_with_qos_0_goes_out_as_it_came(void **state)
{
    struct fixture *fixture = *state;
    struct peer *five = enter(fixture, "five");
    struct peer *four =
        enter_as(fixture, &(struct entering){.client_id = "four", .version = PACKET_MQTT_3_1_1});

    subscribe(five, "a", 2);
    subscribe(four, "a", 2);
    say(five, 0x30, "0001'a' 07 03 0004'text' 'x'");
    publish(four, 0, 0, "a", "y");
    assert_heard(five, "publish q0 a=x type=text; publish q0 a=y");
    assert_heard(four, "publish q0 a=x; publish q0 a=y");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(bad_topics_end_the_connection),
        FIXTURE_TEST(a_subscription_id_from_a_client_ends_the_connection),
        FIXTURE_TEST(a_payload_that_is_not_what_it_says_is_refused),
        FIXTURE_TEST(too_many_user_properties_are_refused),
        FIXTURE_TEST(retained_payloads_are_limited),
        FIXTURE_TEST(system_topics_are_not_for_clients),
        FIXTURE_TEST(what_a_rule_forbids_is_refused),
        FIXTURE_TEST(qos_2_of_a_live_session_is_delivered_once),
        FIXTURE_TEST(qos_2_up_to_the_receive_maximum_is_taken_and_no_more),
        FIXTURE_TEST(a_release_goes_through_the_log_of_a_kept_session),
        FIXTURE_TEST(properties_are_passed_on_and_expiry_is_counted_down),
        FIXTURE_TEST(what_is_left_of_an_expiry_is_rounded_but_not_to_nothing),
        FIXTURE_TEST(what_is_said_with_qos_0_goes_out_as_it_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
