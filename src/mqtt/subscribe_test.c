/* SUBSCRIBE and UNSUBSCRIBE: each filter gets its own answer. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include <errno.h>

static void each_filter_is_judged_by_itself(void **state)
{
    struct fixture *fixture = *state;
    struct entering ways[] = {{.client_id = "live"},
                              {.client_id = "kept", .keeps = true},
                              {.client_id = "old", .version = PACKET_MQTT_3_1_1}};

    set(fixture, "mqtt.subscriptions_per_session_max", "2");
    add_rule(fixture, "*", "readwrite", "#", true);
    add_rule(fixture, "*", "readwrite", "secret/#", false);
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        struct peer *peer = enter_as(fixture, &ways[i]);
        bool is_5 = peer->version == PACKET_MQTT_5;
        g_autofree char *body = g_strdup_printf(
            "0001 %s 0001'a' 00 0003'a#b' 00 0008'secret/x' 01 0001'b' 02 0001'c' 01",
            is_5 ? "00" : "");
        say(peer, 0x82, body);
        assert_heard(peer, is_5 ? "suback m1 00,8f,87,02,97" : "suback m1 00,80,80,02,80");
    }
}

static void a_group_cannot_be_no_local(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    say(peer, 0x82, "0001 00 0001'a' 00 000a'$share/g/a' 04 0001'b' 00");
    assert_heard(peer, "disconnect 0x82; end");
}

static void what_is_retained_follows_the_suback_as_asked(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peers[] = {enter(fixture, "live"), enter_kept(fixture, "kept")};

    publish_retained(enter(fixture, "publisher"), 1, 1, "a", "x");
    for (unsigned i = 0; i < 2; i++) {
        struct peer *peer = peers[i];
        const char *expected[] = {"suback m1 00; publish q0 a=x retain", "suback m1 00",
                                  "suback m1 00"};
        static const char *const always[] = {"0001 00 0001'a' 00", "0001 00 0001'a' 10",
                                             "0001 00 0001'a' 20"};
        for (unsigned handling = 0; handling < 3; handling++) {
            say(peer, 0x82, always[handling]); /* 1: it is there already; 2: never */
            assert_heard(peer, expected[handling]);
        }
        say(peer, 0x82, "0001 00 0001'a' 00"); /* again, though it is there */
        assert_heard(peer, "suback m1 00; publish q0 a=x retain");
        say(peer, 0xa2, "0002 00 0001'a'");
        say(peer, 0x82, "0001 00 0001'a' 10"); /* 1: new */
        assert_heard(peer, "unsuback m2 00; suback m1 00; publish q0 a=x retain");
        say(peer, 0x82, "0001 00 000a'$share/g/a' 00");
        assert_heard(peer, "suback m1 00");
    }
}

static void unsubscribe_says_what_was_there(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peers[] = {
        enter(fixture, "live"), enter_kept(fixture, "kept"),
        enter_as(fixture, &(struct entering){.client_id = "old", .version = PACKET_MQTT_3_1_1})};

    for (unsigned i = 0; i < 3; i++) {
        subscribe(peers[i], "a", 1);
        say(peers[i], 0xa2, i < 2 ? "0001 00 0001'a' 0001'b'" : "0001 0001'a' 0001'b'");
        assert_heard(peers[i], i < 2 ? "unsuback m1 00,11" : "unsuback m1");
        publish(peers[0], 0, 0, "a", "x");
        assert_heard(peers[i], "");
    }
}

static void a_busy_log_refuses_filters_for_now(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "kept");

    subscribe(peer, "a", 1);
    fixture->node.refusals = 1;
    say(peer, 0x82, "0001 00 0001'b' 01 0001'c' 01");
    assert_heard(peer, "suback m1 97,01");
    fixture->node.refusals = 1;
    say(peer, 0xa2, "0001 00 0001'a' 0001'c'");
    assert_heard(peer, "unsuback m1 80,00");
}

static void say_and_fail(struct fixture *fixture, struct peer *peer, const char *packet)
{
    g_autoptr(GByteArray) bytes = sample_bytes(packet);

    virtual_stream_send(peer->stream, bytes->data, bytes->len);
    virtual_stream_deliver(peer->stream, SIZE_MAX);
    virtual_loop_end_turn(fixture->loop);
    node_fail(&fixture->node, -ENOSPC);
    run(fixture);
}

static void a_full_disk_refuses_filters(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "kept");

    subscribe(peer, "a", 1);
    say_and_fail(fixture, peer, "82 07 0001 00 0001'b' 01");
    assert_heard(peer, "suback m1 97");
    say_and_fail(fixture, peer, "a2 06 0001 00 0001'a'");
    assert_heard(peer, "unsuback m1 80");
    publish(peer, 1, 1, "a", "x");
    assert_heard(peer, "puback m1 0x00; publish q1 m1 a=x");
}

static void who_is_gone_gets_no_answer(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "kept");
    g_autoptr(GByteArray) bytes = sample_bytes("82 07 0001 00 0001'a' 01");

    virtual_stream_send(peer->stream, bytes->data, bytes->len);
    virtual_stream_deliver(peer->stream, SIZE_MAX);
    struct peer *next = peer_new(fixture);
    say_connect(next, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(peer, "disconnect 0x8e; end");
    assert_heard(next, "connack s1 0x00");
    publish(next, 1, 1, "a", "x"); /* but it has subscribed */
    assert_heard(next, "puback m1 0x00; publish q1 m1 a=x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(each_filter_is_judged_by_itself),
        FIXTURE_TEST(a_group_cannot_be_no_local),
        FIXTURE_TEST(what_is_retained_follows_the_suback_as_asked),
        FIXTURE_TEST(unsubscribe_says_what_was_there),
        FIXTURE_TEST(a_busy_log_refuses_filters_for_now),
        FIXTURE_TEST(a_full_disk_refuses_filters),
        FIXTURE_TEST(who_is_gone_gets_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
