/* The window of deliveries to one client: order, repetition, acknowledgements. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include "net/stream.h"

static struct peer *narrow(struct fixture *fixture, const char *client_id, bool keeps)
{
    return enter_as(fixture, &(struct entering){
                                 .client_id = client_id, .keeps = keeps, .properties = "21 0002"});
}

static void no_more_is_in_flight_than_the_client_takes(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peers[] = {narrow(fixture, "live", false), narrow(fixture, "kept", true)};
    struct peer *publisher = enter(fixture, "publisher");

    for (unsigned i = 0; i < 2; i++) {
        subscribe(peers[i], "a", 2);
    }
    for (uint16_t id = 1; id <= 4; id++) {
        char payload[2] = {(char)('0' + id), '\0'};
        publish(publisher, id == 3 ? 2 : 1, id, "a", payload);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct peer *peer = peers[i];
        assert_heard(peer, "publish q1 m1 a=1; publish q1 m2 a=2");
        ack(peer, PACKET_PUBACK, 2);
        assert_heard(peer, "publish q2 m3 a=3");
        ack(peer, PACKET_PUBACK, 2); /* twice: no more room for it */
        ack(peer, PACKET_PUBREC, 3); /* half way */
        assert_heard(peer, "pubrel m3 0x00");
        ack(peer, PACKET_PUBCOMP, 3);
        assert_heard(peer, "publish q1 m4 a=4");
        ack(peer, PACKET_PUBACK, 1);
        ack(peer, PACKET_PUBACK, 4);
    }
    run(fixture);
    assert_int_equal(session_store_queued(broker_of(fixture)->persistent), 0);
    assert_int_equal(session_store_queued(broker_of(fixture)->live), 0);
}

static void what_was_not_acknowledged_is_sent_again_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = narrow(fixture, "kept", true), *publisher = enter(fixture, "publisher");

    subscribe(kept, "a", 2);
    publish(publisher, 2, 1, "a", "1");
    publish(publisher, 1, 2, "a", "2");
    publish(publisher, 1, 3, "a", "3");
    assert_heard(kept, "publish q2 m1 a=1; publish q1 m2 a=2");
    ack(kept, PACKET_PUBREC, 1);
    assert_heard(kept, "pubrel m1 0x00");
    cut(kept);
    kept = peer_new(fixture);
    say_connect(kept, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(kept, "connack s1 0x00; pubrel m1 0x00; publish q1 m2 a=2 dup; publish q1 m3 a=3");
    crash(fixture);
    kept = peer_new(fixture);
    say_connect(kept, &(struct entering){.client_id = "kept", .keeps = true});
    g_autofree char *all = heard(kept);
    assert_true(g_str_has_prefix(all, "connack s1 0x00; pubrel m1 0x00; publish q1 m2 a=2"));
}

static void qos_0_comes_behind_what_waits(void **state)
{
    struct fixture *fixture = *state;
    struct peer *live =
        enter_as(fixture, &(struct entering){.client_id = "live", .properties = "21 0001"});
    struct peer *publisher = enter(fixture, "publisher");

    say(live, 0x82, "0001 02 0b05 0001'a' 01");
    assert_heard(live, "suback m1 01");
    publish(publisher, 1, 1, "a", "1");
    publish(publisher, 1, 2, "a", "2");
    publish(publisher, 0, 0, "a", "3");
    publish(publisher, 1, 3, "a", "4");
    publish(publisher, 0, 0, "a", "5");
    assert_heard(live, "publish q1 m1 a=1 id=5");
    ack(live, PACKET_PUBACK, 1);
    assert_heard(live, "publish q1 m2 a=2 id=5");
    ack(live, PACKET_PUBACK, 2);
    assert_heard(live, "publish q0 a=3 id=5; publish q1 m3 a=4 id=5; publish q0 a=5 id=5");
}

static void qos_0_behind_too_much_is_dropped(void **state)
{
    struct fixture *fixture = *state;
    struct peer *live =
        enter_as(fixture, &(struct entering){.client_id = "live", .properties = "21 0001"});
    struct broker_counters counters;

    set(fixture, "mqtt.live_queue_messages_max", "2");
    subscribe(live, "a", 1);
    struct peer *publisher = enter(fixture, "publisher");
    publish(publisher, 1, 1, "a", "1");
    publish(publisher, 1, 2, "a", "2");
    for (unsigned i = 0; i < 5; i++) {
        publish(publisher, 0, 0, "a", "0");
    }
    ack(live, PACKET_PUBACK, 1);
    ack(live, PACKET_PUBACK, 2);
    pass(fixture, 200);
    assert_heard(live, "publish q1 m1 a=1; publish q1 m2 a=2; publish q0 a=0; publish q0 a=0");
    broker_counters(broker_of(fixture), &counters);
    assert_int_equal(counters.publish_dropped, 3);
}

static void acknowledgements_of_nothing_change_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peers[] = {enter(fixture, "live"), enter_kept(fixture, "kept")};

    for (unsigned i = 0; i < 2; i++) {
        struct peer *peer = peers[i];
        subscribe(peer, "a", 2);
        publish(peer, 1, 1, "a", "x");
        assert_heard(peer, i == 0 ? "publish q1 m1 a=x; puback m1 0x00"
                                  : "puback m1 0x00; publish q1 m1 a=x");
        ack(peer, PACKET_PUBACK, 9);
        ack(peer, PACKET_PUBCOMP, 1); /* not QoS 2 */
        assert_heard(peer, "");
        ack(peer, PACKET_PUBREC, 1);
        ack(peer, PACKET_PUBREC, 9);
        assert_heard(peer, "pubrel m1 0x92; pubrel m9 0x92");
        say(peer, 0x50, "0009 80"); /* an error asks for no PUBREL */
        assert_heard(peer, "");
        ack(peer, PACKET_PUBACK, 1);
        cut(peer);
    }
    struct peer *old =
        enter_as(fixture, &(struct entering){.client_id = "old", .version = PACKET_MQTT_3_1_1});
    ack(old, PACKET_PUBREC, 9);
    assert_heard(old, "pubrel m9");
}

static void a_repeated_pubrec_gets_its_pubrel_again(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peers[] = {enter(fixture, "live"), enter_kept(fixture, "kept")};
    struct peer *publisher = enter(fixture, "publisher");

    for (unsigned i = 0; i < 2; i++) {
        struct peer *peer = peers[i];
        subscribe(peer, "a", 2);
        publish(publisher, 2, (uint16_t)(i + 1), "a", "x");
        assert_heard(peer, "publish q2 m1 a=x");
        ack(peer, PACKET_PUBREC, 1);
        ack(peer, PACKET_PUBREC, 1);
        assert_heard(peer, "pubrel m1 0x00; pubrel m1 0x00");
        ack(peer, PACKET_PUBCOMP, 1);
        ack(peer, PACKET_PUBREC, 1);
        assert_heard(peer, "pubrel m1 0x92");
        cut(peer);
    }
}

static void a_pubrec_with_an_error_is_the_end_of_it(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peers[] = {narrow(fixture, "live", false), narrow(fixture, "kept", true)};
    struct peer *publisher = enter(fixture, "publisher");

    for (unsigned i = 0; i < 2; i++) {
        subscribe(peers[i], "a", 2);
    }
    for (uint16_t id = 1; id <= 3; id++) {
        publish(publisher, 2, id, "a", "x");
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_heard(peers[i], "publish q2 m1 a=x; publish q2 m2 a=x");
        say(peers[i], 0x50, "0001 97");
        assert_heard(peers[i], "publish q2 m3 a=x");
        cut(peers[i]);
    }
    struct peer *kept = peer_new(fixture);
    say_connect(kept, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(kept, "connack s1 0x00; publish q2 m2 a=x dup; publish q2 m3 a=x dup");
}

static void what_is_too_large_for_the_client_is_passed_over(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peers[2];
    struct peer *publisher = enter(fixture, "publisher");

    for (unsigned i = 0; i < 2; i++) {
        peers[i] = enter_as(fixture, &(struct entering){.client_id = i ? "kept" : "live",
                                                        .keeps = i,
                                                        .properties = "27 0000001e 21 0001"});
        subscribe(peers[i], "a", 2);
    }
    publish(publisher, 0, 0, "a", "longer than thirty bytes in all");
    publish(publisher, 1, 1, "a", "longer than thirty bytes in all");
    publish(publisher, 2, 2, "a", "longer than thirty bytes in all");
    publish(publisher, 1, 3, "a", "x");
    for (unsigned i = 0; i < 2; i++) {
        assert_heard(peers[i], "publish q1 m3 a=x");
        ack(peers[i], PACKET_PUBACK, 3);
    }
    run(fixture);
    assert_int_equal(session_store_queued(broker_of(fixture)->persistent), 0);
}

static void what_has_expired_while_it_waited_is_not_sent(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peers[] = {
        enter_as(fixture, &(struct entering){.client_id = "live", .properties = "21 0001"}),
        enter_as(fixture,
                 &(struct entering){.client_id = "kept", .keeps = true, .properties = "21 0001"})};
    struct peer *publisher = enter(fixture, "publisher");

    for (unsigned i = 0; i < 2; i++) {
        subscribe(peers[i], "a", 1);
    }
    publish(publisher, 1, 1, "a", "1");
    say(publisher, 0x32, "0001'a' 0002 05 02 00000002 '2'");
    publish(publisher, 1, 3, "a", "3");
    pass(fixture, 3000);
    for (unsigned i = 0; i < 2; i++) {
        assert_heard(peers[i], "publish q1 m1 a=1");
        ack(peers[i], PACKET_PUBACK, 1);
        assert_heard(peers[i], "publish q1 m3 a=3");
    }
}

static void large_payloads_go_out_whole(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");
    struct peer *old =
        enter_as(fixture, &(struct entering){.client_id = "old", .version = PACKET_MQTT_3_1_1});
    static const unsigned sizes[] = {4000, 5000, 9000, 100000, 500000};

    subscribe(peer, "a", 1);
    subscribe(old, "a", 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *payload = g_strnfill(sizes[i], 'x');
        g_autofree char *expected = g_strdup_printf("publish q0 a=(%u bytes)", sizes[i]);
        publish(peer, 0, 0, "a", payload);
        assert_heard(peer, expected);
        assert_heard(old, expected);
        publish(old, 0, 0, "a", payload);
        assert_heard(peer, expected);
        assert_heard(old, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(no_more_is_in_flight_than_the_client_takes),
        FIXTURE_TEST(what_was_not_acknowledged_is_sent_again_in_order),
        FIXTURE_TEST(qos_0_comes_behind_what_waits),
        FIXTURE_TEST(qos_0_behind_too_much_is_dropped),
        FIXTURE_TEST(acknowledgements_of_nothing_change_nothing),
        FIXTURE_TEST(a_repeated_pubrec_gets_its_pubrel_again),
        FIXTURE_TEST(a_pubrec_with_an_error_is_the_end_of_it),
        FIXTURE_TEST(what_is_too_large_for_the_client_is_passed_over),
        FIXTURE_TEST(what_has_expired_while_it_waited_is_not_sent),
        FIXTURE_TEST(large_payloads_go_out_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
