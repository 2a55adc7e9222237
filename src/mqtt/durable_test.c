/* What must reach the log, when the log does not take it: it is tried again until it does. */
#include "mqtt/durable.h"
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include <errno.h>

/* What is written to the broker's streams goes as far as the log, not to disk. */
static void as_far_as_the_log(struct fixture *fixture)
{
    for (guint i = 0; i < fixture->peers->len; i++) {
        struct peer *peer = fixture->peers->pdata[i];
        virtual_stream_deliver(peer->stream, SIZE_MAX);
    }
    virtual_loop_end_turn(fixture->loop);
}

static bool is_connected_in_the_state(struct fixture *fixture, const char *client_id)
{
    struct session *session =
        session_store_find(broker_of(fixture)->persistent, bytes_from_string(client_id));

    return session->connection_number != 0;
}

static void ends_that_the_log_refuses_come_later(void **state)
{
    struct fixture *fixture = *state;
    struct peer *a = enter_kept(fixture, "a"), *b = enter_kept(fixture, "b");

    fixture->node.refusals = UINT64_MAX;
    cut(a);
    cut(b);
    pass(fixture, 1000);
    assert_true(is_connected_in_the_state(fixture, "a"));
    fixture->node.refusals = 0;
    pass(fixture, 5);
    assert_false(is_connected_in_the_state(fixture, "a"));
    assert_false(is_connected_in_the_state(fixture, "b"));
}

static void the_end_comes_before_the_next_beginning(void **state)
{
    struct fixture *fixture = *state;
    struct peer *watcher = enter(fixture, "watcher");

    subscribe(watcher, "will", 0);
    struct peer *peer = enter_as(fixture, &(struct entering){.client_id = "a",
                                                             .keeps = true,
                                                             .will_topic = "will",
                                                             .will_payload = "gone"});
    fixture->node.refusals = UINT64_MAX;
    cut(peer);
    peer = peer_new(fixture);
    say_connect(peer, &(struct entering){.client_id = "a", .keeps = true});
    assert_heard(peer, "connack s0 0x89; end");
    fixture->node.refusals = 0;
    peer = peer_new(fixture);
    say_connect(peer, &(struct entering){.client_id = "a", .keeps = true});
    assert_heard(peer, "connack s1 0x00");
    assert_heard(watcher, "publish q0 will=gone");
    pass(fixture, 1000);
    assert_true(is_connected_in_the_state(fixture, "a"));
}

static void an_end_that_the_disk_refuses_is_tried_each_second(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "a");

    virtual_stream_cut(peer->stream);
    as_far_as_the_log(fixture);
    node_fail(&fixture->node, -ENOSPC);
    fixture->node.append_error = -ENOSPC;
    fixture->node.refusals = 2;
    pass(fixture, 900);
    assert_int_equal(fixture->node.refusals, 2);
    pass(fixture, 1200);
    assert_int_equal(fixture->node.refusals, 0);
    assert_true(is_connected_in_the_state(fixture, "a"));
    pass(fixture, 1000);
    assert_false(is_connected_in_the_state(fixture, "a"));
}

static void publishes_to_kept(struct fixture *fixture, uint8_t qos)
{
    struct peer *publisher = enter(fixture, "publisher");

    publish(publisher, qos, 1, "a", "1");
    publish(publisher, qos, 2, "a", "2");
    cut(publisher);
}

static void acknowledgements_that_the_log_refuses_come_later(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "kept");

    subscribe(peer, "a", 1);
    publishes_to_kept(fixture, 1);
    assert_heard(peer, "publish q1 m1 a=1; publish q1 m2 a=2");
    fixture->node.refusals = UINT64_MAX;
    ack(peer, PACKET_PUBACK, 1);
    ack(peer, PACKET_PUBACK, 2);
    pass(fixture, 100);
    assert_int_equal(session_store_queued(broker_of(fixture)->persistent), 2);
    fixture->node.refusals = 0;
    pass(fixture, 100);
    assert_int_equal(session_store_queued(broker_of(fixture)->persistent), 0);
}

static void a_pubrel_follows_only_when_the_pubrec_is_on_disk(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "kept");

    subscribe(peer, "a", 2);
    publishes_to_kept(fixture, 2);
    assert_heard(peer, "publish q2 m1 a=1; publish q2 m2 a=2");
    fixture->node.append_error = -ENOSPC;
    fixture->node.refusals = UINT64_MAX;
    ack(peer, PACKET_PUBREC, 1);
    pass(fixture, 100);
    assert_heard(peer, "");
    fixture->node.refusals = 0;
    pass(fixture, 100);
    assert_heard(peer, "pubrel m1 0x00");
}

static void acknowledgements_lost_with_a_full_disk_are_told_again(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "kept");
    uint8_t packet[PACKET_SMALL_BYTES_MAX];

    subscribe(peer, "a", 2);
    publishes_to_kept(fixture, 2);
    assert_heard(peer, "publish q2 m1 a=1; publish q2 m2 a=2");
    for (uint16_t id = 1; id <= 2; id++) {
        uint32_t length =
            packet_ack_encode(PACKET_PUBREC, id, REASON_SUCCESS, PACKET_MQTT_5, packet);
        virtual_stream_send(peer->stream, packet, length);
    }
    as_far_as_the_log(fixture);
    node_fail(&fixture->node, -ENOSPC);
    run(fixture);
    assert_heard(peer, "");
    pass(fixture, 1000);
    assert_heard(peer, "pubrel m1 0x00; pubrel m2 0x00");
}

static void who_is_gone_needs_no_acknowledgement(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "kept");
    uint8_t packet[PACKET_SMALL_BYTES_MAX];

    subscribe(peer, "a", 1);
    publishes_to_kept(fixture, 1);
    uint32_t length = packet_ack_encode(PACKET_PUBACK, 1, 0, PACKET_MQTT_5, packet);
    virtual_stream_send(peer->stream, packet, length);
    as_far_as_the_log(fixture);
    virtual_stream_cut(peer->stream);
    as_far_as_the_log(fixture);
    node_fail(&fixture->node, -ENOSPC);
    pass(fixture, 1100);
    peer = peer_new(fixture);
    say_connect(peer, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(peer, "connack s1 0x00; publish q1 m1 a=1 dup; publish q1 m2 a=2 dup");
}

/* What had expired before it was sent stays unsent, though the log did not learn it in time. */
static void an_expired_message_that_the_log_still_has_is_not_sent(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "kept"), *publisher = enter(fixture, "publisher");

    subscribe(peer, "a", 1);
    cut(peer);
    say(publisher, 0x32, "0001'a' 0001 05 02 00000002 '1'");
    publish(publisher, 1, 2, "a", "2");
    pass(fixture, 3000);
    for (unsigned i = 0; i < 2; i++) {
        peer = peer_new(fixture);
        fixture->node.refusals = 0;
        g_autoptr(GByteArray) packet =
            sample_bytes("10 16 0004'MQTT' 05 00 0000 05 11 00000e10 0004'kept'");
        virtual_stream_send(peer->stream, packet->data, packet->len);
        virtual_stream_deliver(peer->stream, SIZE_MAX);
        virtual_loop_end_turn(fixture->loop);
        fixture->node.refusals = UINT64_MAX; /* it is let in, what it acknowledges is not taken */
        run(fixture);
        assert_heard(peer, i == 0 ? "connack s1 0x00; publish q1 m2 a=2"
                                  : "connack s1 0x00; publish q1 m2 a=2 dup");
        cut(peer);
    }
}

static void what_still_waits_when_the_broker_goes_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept");

    subscribe(kept, "a", 1);
    struct peer *publisher = enter(fixture, "publisher"), *gone = enter_kept(fixture, "gone");
    fixture->node.refusals = UINT64_MAX;
    publish(publisher, 1, 1, "a", "1");
    publish(publisher, 0, 0, "a", "2");
    publish_retained(publisher, 0, 0, "b", "3");
    cut(gone);
    crash(fixture);
    assert_false(is_connected_in_the_state(fixture, "gone"));
    kept = peer_new(fixture);
    say_connect(kept, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(kept, "connack s1 0x00"); /* it was never acknowledged either */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(ends_that_the_log_refuses_come_later),
        FIXTURE_TEST(the_end_comes_before_the_next_beginning),
        FIXTURE_TEST(an_end_that_the_disk_refuses_is_tried_each_second),
        FIXTURE_TEST(acknowledgements_that_the_log_refuses_come_later),
        FIXTURE_TEST(a_pubrel_follows_only_when_the_pubrec_is_on_disk),
        FIXTURE_TEST(acknowledgements_lost_with_a_full_disk_are_told_again),
        FIXTURE_TEST(who_is_gone_needs_no_acknowledgement),
        FIXTURE_TEST(an_expired_message_that_the_log_still_has_is_not_sent),
        FIXTURE_TEST(what_still_waits_when_the_broker_goes_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
