/* Retained messages on their way to who has just subscribed. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include "net/stream.h"

static unsigned count_of(const char *line, const char *what)
{
    unsigned count = 0;

    for (const char *at = line; (at = strstr(at, what)); at++) {
        count++;
    }
    return count;
}

static void retain_many(struct fixture *fixture, uint8_t qos, unsigned count, const char *payload)
{
    struct peer *publisher = enter(fixture, "publisher");

    for (unsigned i = 0; i < count; i++) {
        g_autofree char *topic = g_strdup_printf("r/%u", i);
        publish_retained(publisher, qos, qos > 0 ? (uint16_t)(i + 1) : 0, topic, payload);
    }
    cut(publisher);
}

static void they_come_with_the_smaller_qos_and_the_subscription_id(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peers[] = {enter(fixture, "live"), enter_kept(fixture, "kept")};
    struct peer *publisher = enter(fixture, "publisher");

    publish_retained(publisher, 2, 1, "r/2", "two");
    publish_retained(publisher, 0, 0, "r/0", "zero");
    ack(publisher, PACKET_PUBREL, 1);
    for (unsigned i = 0; i < 2; i++) {
        say(peers[i], 0x82, "0001 02 0b07 0003'r/2' 01 0003'r/0' 02");
        assert_heard(peers[i], i == 0 ? "suback m1 01,02; publish q1 m1 r/2=two retain id=7; "
                                        "publish q0 r/0=zero retain id=7"
                                      : "suback m1 01,02; publish q0 r/0=zero retain id=7; "
                                        "publish q1 m1 r/2=two retain id=7");
    }
    cut(peers[1]); /* what is acknowledged by nobody is kept */
    struct peer *kept = peer_new(fixture);
    say_connect(kept, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(kept, "connack s1 0x00; publish q1 m1 r/2=two retain dup id=7");
}

static void they_wait_for_the_window(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer =
        enter_as(fixture, &(struct entering){.client_id = "live", .properties = "21 0002"});

    retain_many(fixture, 1, 5, "x");
    subscribe(peer, "none", 1);
    say(peer, 0x82, "0001 00 0003'r/+' 01");
    g_autofree char *first = heard(peer);
    assert_int_equal(count_of(first, "publish q1"), 2);
    for (uint16_t id = 1; id <= 3; id++) {
        ack(peer, PACKET_PUBACK, id);
        g_autofree char *next = heard(peer);
        assert_int_equal(count_of(next, "publish q1"), 1);
    }
    ack(peer, PACKET_PUBACK, 4);
    ack(peer, PACKET_PUBACK, 5);
    assert_heard(peer, "");
    publish(enter(fixture, "other"), 1, 1, "none", "y");
    assert_heard(peer, "publish q1 m6 none=y");
}

static void they_wait_until_the_client_reads(void **state)
{
    struct fixture *fixture = *state;
    g_autofree char *payload = g_strnfill(50000, 'x');
    struct peer *peer = enter(fixture, "live");
    g_autoptr(GByteArray) packet = sample_bytes("82 09 0001 00 0003'r/+' 00");

    retain_many(fixture, 0, 20, payload);
    peer->is_deaf = true;
    say_bytes(peer, packet->data, packet->len);
    assert_in_range(stream_pending_bytes(peer->stream), STREAM_HIGH_WATER_BYTES,
                    STREAM_HIGH_WATER_BYTES + 60000);
    peer->is_deaf = false;
    run(fixture);
    g_autofree char *all = heard(peer);
    assert_int_equal(count_of(all, "(50000 bytes) retain"), 20);
}

static void many_to_a_kept_session_all_go_through_the_log(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept");
    g_autoptr(GByteArray) packet = sample_bytes("82 09 0001 00 0003'r/+' 01");

    retain_many(fixture, 1, 600, "x");
    virtual_stream_send(kept->stream, packet->data, packet->len);
    virtual_stream_deliver(kept->stream, SIZE_MAX);
    virtual_loop_end_turn(fixture->loop);
    fixture->node.refusals = UINT64_MAX; /* the subscription was taken, what is retained is not */
    pass(fixture, 100);
    assert_heard(kept, "suback m1 01");
    fixture->node.refusals = 0;
    pass(fixture, 100);
    for (uint16_t id = 1; id <= 600; id++) {
        ack(kept, PACKET_PUBACK, id);
    }
    pass(fixture, 100);
    g_autofree char *all = heard(kept);
    assert_int_equal(count_of(all, "=x retain"), 600);
    assert_int_equal(session_store_queued(broker_of(fixture)->persistent), 0);
}

static void one_that_was_replaced_meanwhile_is_passed_over(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer =
        enter_as(fixture, &(struct entering){.client_id = "live", .properties = "21 0001"});
    struct peer *publisher = enter(fixture, "publisher");

    publish_retained(publisher, 1, 1, "r/a", "old a");
    publish_retained(publisher, 1, 2, "r/b", "old b");
    say(peer, 0x82, "0001 00 0003'r/+' 01");
    g_autofree char *first = heard(peer);
    bool is_a = strstr(first, "r/a") != NULL;
    assert_int_equal(count_of(first, "publish"), 1);
    publish_retained(publisher, 1, 3, is_a ? "r/b" : "r/a", "new");
    ack(peer, PACKET_PUBACK, 1);
    assert_heard(peer, is_a ? "publish q1 m2 r/b=new" : "publish q1 m2 r/a=new");
    ack(peer, PACKET_PUBACK, 2);
    assert_heard(peer, "");
}

static void what_a_rule_forbids_does_not_come(void **state)
{
    struct fixture *fixture = *state;
    struct peer *publisher = enter(fixture, "publisher"), *peer = enter(fixture, "live");

    publish_retained(publisher, 1, 1, "r/a", "a");
    publish_retained(publisher, 1, 2, "r/b", "b");
    add_rule(fixture, "*", "readwrite", "#", true);
    add_rule(fixture, "*", "read", "r/a", false);
    say(peer, 0x82, "0001 00 0003'r/+' 00");
    assert_heard(peer, "suback m1 00; publish q0 r/b=b retain");
}

static void what_is_too_large_for_the_client_does_not_stop_the_rest(void **state)
{
    struct fixture *fixture = *state;
    struct peer *publisher = enter(fixture, "publisher");
    struct peer *peer = enter_as(
        fixture, &(struct entering){.client_id = "live", .properties = "27 0000001e 21 0001"});

    publish_retained(publisher, 1, 1, "r/a", "longer than thirty bytes in all");
    publish_retained(publisher, 1, 2, "r/b", "b");
    say(peer, 0x82, "0001 00 0003'r/a' 01 0003'r/b' 01");
    g_autofree char *all = heard(peer);
    assert_true(g_str_has_prefix(all, "suback m1 01,01; publish q1 m"));
    assert_true(g_str_has_suffix(all, " r/b=b retain"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(they_come_with_the_smaller_qos_and_the_subscription_id),
        FIXTURE_TEST(they_wait_for_the_window),
        FIXTURE_TEST(they_wait_until_the_client_reads),
        FIXTURE_TEST(many_to_a_kept_session_all_go_through_the_log),
        FIXTURE_TEST(one_that_was_replaced_meanwhile_is_passed_over),
        FIXTURE_TEST(what_a_rule_forbids_does_not_come),
        FIXTURE_TEST(what_is_too_large_for_the_client_does_not_stop_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
