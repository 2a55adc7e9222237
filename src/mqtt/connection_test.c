/* From bytes to packets, and how connections end. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include "net/stream.h"

static void packets_may_come_in_any_pieces(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");
    g_autoptr(GByteArray) packets =
        sample_bytes("82 07 0001 00 0001'x' 00  30 0a 0001'x' 00 'abcdef'  c000  30 05 0001'x' 00 "
                     "'g'");

    for (guint i = 0; i < packets->len; i++) {
        say_bytes(peer, packets->data + i, 1);
    }
    assert_heard(peer, "suback m1 00; publish q0 x=abcdef; pingresp; publish q0 x=g");
    say_bytes(peer, packets->data, packets->len);
    assert_heard(peer, "suback m1 00; publish q0 x=abcdef; pingresp; publish q0 x=g");
}

static void the_first_packet_must_be_connect(void **state)
{
    struct fixture *fixture = *state;
    struct peer *ping = peer_new(fixture), *auth = peer_new(fixture), *publish_first;

    say(ping, 0xc0, "");
    assert_heard(ping, "end");
    say(auth, 0xf0, "");
    assert_heard(auth, "end");
    publish_first = peer_new(fixture);
    say(publish_first, 0x30, "0001'a' 00 'x'");
    assert_heard(publish_first, "end");
}

static void what_no_client_may_send_ends_the_connection(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t firsts[] = {0x10, 0x20, 0x90, 0xb0, 0xd0};
    struct peer *peer;

    for (unsigned i = 0; i < G_N_ELEMENTS(firsts); i++) {
        peer = enter(fixture, "a");
        say(peer, firsts[i], firsts[i] == 0xd0 ? "" : "0000");
        assert_heard(peer, "disconnect 0x82; end");
    }
    peer = enter(fixture, "a");
    say(peer, 0x00, ""); /* no type at all */
    assert_heard(peer, "disconnect 0x81; end");
}

static void malformed_packets_end_the_connection(void **state)
{
    static const struct {
        uint8_t first;
        const char *body;
    } bad[] = {
        {0x36, "0001'a' 0001 00"},    /* QoS 3 */
        {0x32, "0001'a' 0000 00"},    /* packet id 0 */
        {0x82, "0001 00"},            /* no filter */
        {0x80, "0001 00 0001'a' 00"}, /* flags */
        {0xa2, "0001 00"},            /* no filter */
        {0x40, "00"},                 /* cut */
        {0x50, "00"},
        {0x62, "00"},
        {0x70, "00"},
        {0xc1, ""},
        {0xc0, "00"},
        {0xe0, "00 05"},
    };
    struct fixture *fixture = *state;

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        struct peer *peer = enter(fixture, "a");
        say(peer, bad[i].first, bad[i].body);
        g_autofree char *answer = heard(peer);
        if (strcmp(answer, "disconnect 0x81; end") != 0 &&
            strcmp(answer, "disconnect 0x82; end") != 0) {
            fail_msg("%u: %s", i, answer);
        }
        peer =
            enter_as(fixture, &(struct entering){.client_id = "a", .version = PACKET_MQTT_3_1_1});
        say(peer, bad[i].first == 0x80 ? 0x81 : bad[i].first, i == 11 ? "00" : bad[i].body);
        assert_heard(peer, "end");
    }
}

static void a_packet_may_not_be_larger_than_the_limit(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a"), *before = peer_new(fixture);

    set(fixture, "mqtt.max_packet_bytes", "128");
    say_bytes(peer, "\x30\x80\x01", 3); /* 131 bytes with its header; nothing of it has come */
    assert_heard(peer, "disconnect 0x95; end");
    say_bytes(before, "\x10\x80\x01", 3);
    assert_heard(before, "end");
    peer = enter(fixture, "a");
    say_bytes(peer, "\x30\xff\xff\xff\xff", 5);
    assert_heard(peer, "disconnect 0x81; end");
}

static void nothing_is_done_after_the_end(void **state)
{
    struct fixture *fixture = *state;
    struct peer *watcher = enter(fixture, "watcher"), *peer = enter(fixture, "a");
    g_autoptr(GByteArray) packets =
        sample_bytes("30 05 0001'x' 00 '1'  e000  30 05 0001'x' 00 '2'");

    subscribe(watcher, "x", 0);
    say_bytes(peer, packets->data, packets->len);
    assert_heard(peer, "end");
    assert_heard(watcher, "publish q0 x=1");
}

static void disconnect_may_change_the_session_expiry(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "a");

    say(peer, 0xe0, "00 05 11 00000002");
    assert_heard(peer, "end");
    pass(fixture, 1000);
    assert_int_equal(session_store_count(broker_of(fixture)->persistent), 1);
    pass(fixture, 2000);
    assert_int_equal(session_store_count(broker_of(fixture)->persistent), 0);

    peer = enter_kept(fixture, "a");
    say(peer, 0xe0, "00 05 11 00000000"); /* at once */
    assert_int_equal(session_store_count(broker_of(fixture)->persistent), 0);

    peer = enter(fixture, "a");
    say(peer, 0xe0, "00 05 11 00000002"); /* not from nothing (3.14.2.2.2) */
    assert_heard(peer, "disconnect 0x82; end");
}

static void a_will_goes_out_unless_the_client_says_goodbye(void **state)
{
    static const struct {
        const char *goodbye, *expected;
    } ways[] = {
        {"", ""}, {"00", ""}, {"04", "publish q0 will=gone"}, {NULL, "publish q0 will=gone"}};
    struct fixture *fixture = *state;
    struct peer *watcher = enter(fixture, "watcher");

    subscribe(watcher, "will", 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        struct peer *peer = enter_as(
            fixture,
            &(struct entering){.client_id = "a", .will_topic = "will", .will_payload = "gone"});
        if (ways[i].goodbye) {
            say(peer, 0xe0, ways[i].goodbye);
        } else {
            cut(peer);
        }
        assert_heard(watcher, ways[i].expected);
    }
}

static void who_breaks_the_protocol_leaves_a_will(void **state)
{
    struct fixture *fixture = *state;
    struct peer *watcher = enter(fixture, "watcher");

    subscribe(watcher, "will", 0);
    struct peer *peer = enter_as(
        fixture,
        &(struct entering){.client_id = "a", .will_topic = "will", .will_payload = "gone"});
    say(peer, 0x00, "");
    assert_heard(peer, "disconnect 0x81; end");
    assert_heard(watcher, "publish q0 will=gone");
}

/* Behind publishes that wait for the log as many as the receive maximum, nothing is read. */
static void no_more_is_read_than_may_wait(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *peer = enter(fixture, "a");

    set(fixture, "mqtt.receive_maximum", "2");
    subscribe(kept, "x", 1);
    fixture->node.refusals = UINT64_MAX;
    for (uint16_t id = 1; id <= 4; id++) {
        publish(peer, 1, id, "x", "1");
    }
    assert_heard(peer, "");
    assert_true(connection_of(fixture, "a")->is_paused);
    assert_int_equal(connection_of(fixture, "a")->waiting_publishes, 2);
    fixture->node.refusals = 0;
    pass(fixture, 100);
    assert_heard(peer, "puback m1 0x00; puback m2 0x00; puback m3 0x00; puback m4 0x00");
    assert_false(connection_of(fixture, "a")->is_paused);
}

/* So many filters that looking ahead begins, and one that gets everything under a/. */
static struct peer *enter_with_many_filters(struct fixture *fixture)
{
    struct peer *peer = enter(fixture, "many");

    set(fixture, "mqtt.subscriptions_per_session_max", "100000");
    subscribe(peer, "a/+", 0);
    for (unsigned i = 0; i < 40000; i++) {
        g_autofree char *filter = g_strdup_printf("many/%u", i);
        session_subscribe(connection_of(fixture, "many")->session, bytes_from_string(filter),
                          &(struct subscription_options){0});
    }
    assert_true(route_cache_is_large(&broker_of(fixture)->routes));
    return peer;
}

static void publishes_in_one_piece_all_arrive_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct peer *many = enter_with_many_filters(fixture), *publisher = enter(fixture, "publisher");

    for (unsigned i = 0; i < 20; i++) {
        g_autofree char *topic = g_strdup_printf(i % 2 ? "a/%u" : "many/%u", i);
        say_publish(publisher, i % 3 == 0, i % 3 == 0 ? (uint16_t)(i + 1) : 0, topic, "x");
    }
    run(fixture);
    GString *expected = g_string_new(NULL);
    for (unsigned i = 0; i < 20; i++) {
        g_string_append_printf(expected, "%spublish q0 %s/%u=x", i ? "; " : "",
                               i % 2 ? "a" : "many", i);
    }
    assert_heard(many, expected->str);
    g_string_free(expected, TRUE);
}

static void what_is_no_publish_or_wrong_comes_to_its_turn(void **state)
{
    struct fixture *fixture = *state;
    struct peer *many = enter_with_many_filters(fixture), *publisher = enter(fixture, "publisher");
    g_autoptr(GByteArray) packets =
        sample_bytes("30 07 0003'a/1' 00 'x'  30 07 0003'a/2' 00 'x'  c000"
                     "30 07 0003'a/3' 00 'x'  30 07 ffff'a/4' 00 'x'  30 07 0003'a/5' 00 'x'");

    say_bytes(publisher, packets->data, packets->len);
    assert_heard(publisher, "pingresp; disconnect 0x81; end");
    assert_heard(many, "publish q0 a/1=x; publish q0 a/2=x; publish q0 a/3=x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(packets_may_come_in_any_pieces),
        FIXTURE_TEST(the_first_packet_must_be_connect),
        FIXTURE_TEST(what_no_client_may_send_ends_the_connection),
        FIXTURE_TEST(malformed_packets_end_the_connection),
        FIXTURE_TEST(a_packet_may_not_be_larger_than_the_limit),
        FIXTURE_TEST(nothing_is_done_after_the_end),
        FIXTURE_TEST(disconnect_may_change_the_session_expiry),
        FIXTURE_TEST(a_will_goes_out_unless_the_client_says_goodbye),
        FIXTURE_TEST(who_breaks_the_protocol_leaves_a_will),
        FIXTURE_TEST(no_more_is_read_than_may_wait),
        FIXTURE_TEST(publishes_in_one_piece_all_arrive_in_order),
        FIXTURE_TEST(what_is_no_publish_or_wrong_comes_to_its_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
