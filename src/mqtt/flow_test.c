/* Slow subscribers: who waits for them, what they lose, when they go. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include "net/stream.h"

#define PAYLOAD_BYTES 20000

static unsigned count_of(const char *line, const char *what)
{
    unsigned count = 0;

    for (const char *at = line; (at = strstr(at, what)); at++) {
        count++;
    }
    return count;
}

/* Publishes `count` large ones. */
static void pour(struct peer *publisher, uint8_t qos, uint16_t count)
{
    g_autofree char *payload = g_strnfill(PAYLOAD_BYTES, 'x');

    for (uint16_t id = 1; id <= count; id++) {
        publish(publisher, qos, qos > 0 ? id : 0, "a", payload);
    }
}

static void a_publisher_waits_for_a_slow_subscriber_and_goes_on(void **state)
{
    struct fixture *fixture = *state;
    struct peer *slow = enter(fixture, "slow"), *publisher = enter(fixture, "publisher");
    struct broker_counters counters;

    subscribe(slow, "a", 1);
    slow->is_deaf = true;
    pour(publisher, 1, 40);
    assert_true(connection_of(fixture, "publisher")->is_paused);
    broker_counters(broker_of(fixture), &counters);
    assert_true(counters.publishers_held > 0);
    assert_true(counters.publish_received < 40);
    slow->is_deaf = false;
    pass(fixture, 50);
    for (unsigned round = 0; round < 3; round++) {
        pass(fixture, 50);
    }
    assert_false(connection_of(fixture, "publisher")->is_paused);
    g_autofree char *all = heard(slow), *acks = heard(publisher);
    assert_int_equal(count_of(all, "(20000 bytes)"), 40);
    assert_int_equal(count_of(acks, "puback"), 40);
    broker_counters(broker_of(fixture), &counters);
    assert_int_equal(counters.publish_dropped, 0);
    assert_int_equal(counters.slow_disconnects, 0);
}

static void qos_0_is_dropped_after_a_while_and_nobody_waits_longer(void **state)
{
    struct fixture *fixture = *state;
    struct peer *slow = enter(fixture, "slow"), *quick = enter(fixture, "quick");
    struct peer *publisher = enter(fixture, "publisher");
    struct broker_counters counters;

    subscribe(slow, "a", 0);
    subscribe(quick, "a", 0);
    slow->is_deaf = true;
    pour(publisher, 0, 40);
    assert_true(connection_of(fixture, "publisher")->is_paused);
    pass(fixture, 200);
    assert_false(connection_of(fixture, "publisher")->is_paused);
    pass(fixture, 20000); /* longer than mqtt.slow_subscriber_ms: it stays */
    g_autofree char *to_quick = heard(quick);
    assert_int_equal(count_of(to_quick, "(20000 bytes)"), 40);
    broker_counters(broker_of(fixture), &counters);
    assert_true(counters.publish_dropped > 0);
    slow->is_deaf = false;
    run(fixture);
    g_autofree char *to_slow = heard(slow);
    assert_int_equal(count_of(to_slow, "(20000 bytes)") + counters.publish_dropped, 40);
    publish(publisher, 0, 0, "a", "again");
    assert_heard(slow, "publish q0 a=again");
}

static void who_stays_slow_with_deliveries_waiting_is_disconnected(void **state)
{
    struct fixture *fixture = *state;
    struct peer *slow = enter(fixture, "slow"), *publisher = enter(fixture, "publisher");
    struct broker_counters counters;

    subscribe(slow, "a", 1);
    slow->is_deaf = true;
    pour(publisher, 1, 40);
    pass(fixture, 4000);
    assert_non_null(connection_of(fixture, "slow"));
    pass(fixture, 2000);
    assert_null(connection_of(fixture, "slow"));
    broker_counters(broker_of(fixture), &counters);
    assert_int_equal(counters.slow_disconnects, 1);
    assert_false(connection_of(fixture, "publisher")->is_paused);
    slow->is_deaf = false;
    run(fixture);
    g_autofree char *last = heard(slow);
    assert_true(g_str_has_suffix(last, "disconnect 0x97; end"));
}

static void a_kept_session_goes_on_where_it_was_too_slow(void **state)
{
    struct fixture *fixture = *state;
    struct peer *slow = enter_kept(fixture, "slow"), *publisher = enter(fixture, "publisher");

    subscribe(slow, "a", 1);
    slow->is_deaf = true;
    pour(publisher, 1, 40);
    pass(fixture, 7000);
    assert_null(connection_of(fixture, "slow"));
    pass(fixture, 1000);
    g_autofree char *acks = heard(publisher);
    assert_int_equal(count_of(acks, "puback"), 40);
    slow->is_deaf = false;
    run(fixture);
    slow = peer_new(fixture);
    say_connect(slow, &(struct entering){.client_id = "slow", .keeps = true});
    run(fixture);
    g_autofree char *all = heard(slow);
    assert_int_equal(count_of(all, "(20000 bytes)"), 40);
}

static void a_subscriber_that_does_not_acknowledge_holds_its_publishers(void **state)
{
    struct fixture *fixture = *state;
    struct peer *slow =
        enter_as(fixture, &(struct entering){.client_id = "slow", .properties = "21 0001"});
    struct peer *publisher = enter(fixture, "publisher");

    set(fixture, "mqtt.live_queue_messages_max", "4");
    subscribe(slow, "a", 1);
    for (uint16_t id = 1; id <= 20; id++) {
        publish(publisher, 1, id, "a", "x");
    }
    assert_heard(slow, "publish q1 m1 a=x");
    assert_true(connection_of(fixture, "publisher")->is_paused);
    for (uint16_t id = 1; id <= 20; id++) {
        ack(slow, PACKET_PUBACK, id);
    }
    assert_false(connection_of(fixture, "publisher")->is_paused);
    g_autofree char *acks = heard(publisher), *all = heard(slow);
    assert_int_equal(count_of(acks, "puback"), 20);
    assert_int_equal(count_of(all, "publish"), 19);
}

static void who_publishes_to_itself_does_not_wait_for_itself(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    subscribe(peer, "a", 1);
    peer->is_deaf = true;
    pour(peer, 1, 40);
    assert_false(connection_of(fixture, "a")->is_paused);
    peer->is_deaf = false;
    run(fixture);
    g_autofree char *all = heard(peer);
    assert_int_equal(count_of(all, "(20000 bytes)"), 40);
    assert_int_equal(count_of(all, "puback"), 40);
}

static void publishers_go_on_when_the_slow_one_goes(void **state)
{
    struct fixture *fixture = *state;
    struct peer *slow = enter(fixture, "slow"), *publisher = enter(fixture, "publisher");

    subscribe(slow, "a", 1);
    slow->is_deaf = true;
    pour(publisher, 1, 40);
    assert_true(connection_of(fixture, "publisher")->is_paused);
    cut(slow);
    assert_false(connection_of(fixture, "publisher")->is_paused);
    g_autofree char *acks = heard(publisher);
    assert_int_equal(count_of(acks, "puback"), 40);
}

static void one_that_went_leaves_no_later_time_to_the_next(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter(fixture, "first"), *publisher = enter(fixture, "publisher");

    set(fixture, "mqtt.slow_subscriber_ms", "60000");
    subscribe(first, "a", 1);
    first->is_deaf = true;
    pour(publisher, 1, 40);
    pass(fixture, 1000);
    cut(first);
    set(fixture, "mqtt.slow_subscriber_ms", "500");
    struct peer *second = enter(fixture, "second"), *another = enter(fixture, "another");
    subscribe(second, "a", 1);
    second->is_deaf = true;
    pour(another, 1, 40);
    pass(fixture, 400);
    assert_non_null(connection_of(fixture, "second"));
    pass(fixture, 200);
    assert_null(connection_of(fixture, "second"));
}

static void a_shorter_time_counts_for_who_is_slow_already(void **state)
{
    struct fixture *fixture = *state;
    struct peer *slow = enter(fixture, "slow"), *publisher = enter(fixture, "publisher");

    set(fixture, "mqtt.slow_subscriber_ms", "60000");
    subscribe(slow, "a", 1);
    slow->is_deaf = true;
    pour(publisher, 1, 40);
    pass(fixture, 10000);
    assert_non_null(connection_of(fixture, "slow"));
    set(fixture, "mqtt.slow_subscriber_ms", "1000");
    pass(fixture, 10);
    assert_null(connection_of(fixture, "slow"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_publisher_waits_for_a_slow_subscriber_and_goes_on),
        FIXTURE_TEST(qos_0_is_dropped_after_a_while_and_nobody_waits_longer),
        FIXTURE_TEST(who_stays_slow_with_deliveries_waiting_is_disconnected),
        FIXTURE_TEST(a_kept_session_goes_on_where_it_was_too_slow),
        FIXTURE_TEST(a_subscriber_that_does_not_acknowledge_holds_its_publishers),
        FIXTURE_TEST(who_publishes_to_itself_does_not_wait_for_itself),
        FIXTURE_TEST(publishers_go_on_when_the_slow_one_goes),
        FIXTURE_TEST(one_that_went_leaves_no_later_time_to_the_next),
        FIXTURE_TEST(a_shorter_time_counts_for_who_is_slow_already),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
