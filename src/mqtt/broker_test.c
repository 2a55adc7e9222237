/* The broker's life, its clocks, and what it is told by the state. */
#include "mqtt/broker.h"
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include "state/propose.h"

static void note(void *owner)
{
    ++*(int *)owner;
}

static void who_sends_no_connect_in_time_goes(void **state)
{
    struct fixture *fixture = *state;
    struct peer *silent = peer_new(fixture), *slow = peer_new(fixture);

    say(slow, 0x10, ""); /* not even a whole one: refused without a word */
    assert_heard(slow, "end");
    pass(fixture, 9000);
    assert_heard(silent, "");
    pass(fixture, 3000);
    assert_heard(silent, "end");
}

static void who_is_silent_for_one_and_a_half_keep_alive_goes(void **state)
{
    struct fixture *fixture = *state;
    struct peer *silent =
        enter_as(fixture, &(struct entering){.client_id = "a", .keep_alive_s = 4});
    struct peer *pinging =
        enter_as(fixture, &(struct entering){.client_id = "b", .keep_alive_s = 4});
    struct peer *free_one = enter(fixture, "c");

    for (unsigned i = 0; i < 4; i++) {
        pass(fixture, 2500);
        say(pinging, 0xc0, "");
        assert_heard(pinging, "pingresp");
        if (i == 1) {
            assert_heard(silent, ""); /* 5 s */
        }
    }
    assert_heard(silent, "disconnect 0x8d; end");
    pass(fixture, 3600 * 1000);
    assert_heard(free_one, "");
    assert_heard(pinging, "disconnect 0x8d; end");
}

static void the_will_of_a_silent_client_goes_out(void **state)
{
    struct fixture *fixture = *state;
    struct peer *watcher = enter(fixture, "watcher");

    subscribe(watcher, "will", 1);
    enter_as(fixture, &(struct entering){.client_id = "a",
                                         .keep_alive_s = 2,
                                         .will_topic = "will",
                                         .will_payload = "gone",
                                         .will_qos = 1});
    pass(fixture, 2500);
    assert_heard(watcher, "");
    pass(fixture, 3000);
    assert_heard(watcher, "publish q1 m1 will=gone");
}

static void who_is_not_read_is_not_blamed_for_silence(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept");
    struct peer *peer = enter_as(fixture, &(struct entering){.client_id = "a", .keep_alive_s = 2});

    set(fixture, "mqtt.receive_maximum", "1");
    subscribe(kept, "a", 1);
    fixture->node.refusals = UINT64_MAX;
    publish(peer, 1, 1, "a", "x");
    pass(fixture, 60000);
    assert_non_null(connection_of(fixture, "a"));
    fixture->node.refusals = 0;
    pass(fixture, 1000);
    assert_heard(peer, "puback m1 0x00");
    pass(fixture, 6000);
    assert_heard(peer, "disconnect 0x8d; end");
}

static void a_session_that_is_removed_takes_its_client_with_it(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "kept");

    assert_int_equal(
        state_propose_session_remove(fixture->node.state, bytes_from_string("kept"), NULL), 0);
    say_publish(peer, 1, 1, "a", "x"); /* not taken any more */
    run(fixture);
    g_autofree char *all = heard(peer);
    assert_true(g_str_has_suffix(all, "disconnect 0x98; end"));
    peer = peer_new(fixture);
    say_connect(peer, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(peer, "connack s0 0x00");
}

static void connections_above_the_limit_are_told_then_cut(void **state)
{
    struct fixture *fixture = *state;
    struct broker_counters counters;

    set(fixture, "mqtt.connections_max", "2");
    struct peer *first = enter(fixture, "a");
    enter(fixture, "b");
    struct peer *third = peer_new(fixture);
    say_connect(third, &(struct entering){.client_id = "c"});
    assert_heard(third, "connack s0 0x89; end");
    struct peer *old = peer_new(fixture);
    say_connect(old, &(struct entering){.client_id = "c", .version = PACKET_MQTT_3_1});
    assert_heard(old, "connack s0 0x88; end");
    for (unsigned i = 0; i < 64; i++) {
        assert_heard(peer_new(fixture), "");
    }
    assert_heard(peer_new(fixture), "end");
    broker_counters(broker_of(fixture), &counters);
    assert_int_equal(counters.connections_refused, 3);
    assert_int_equal(counters.clients_connected, 2);
    assert_heard(first, "");
}

static void a_stop_says_goodbye_and_waits_for_it(void **state)
{
    struct fixture *fixture = *state;
    struct peer *new_one = enter(fixture, "a"), *waiting = peer_new(fixture);
    struct peer *old =
        enter_as(fixture, &(struct entering){.client_id = "b", .version = PACKET_MQTT_3_1_1});
    int stopped = 0;

    broker_stop(broker_of(fixture), 1000, note, &stopped);
    assert_int_equal(stopped, 0);
    run(fixture);
    assert_int_equal(stopped, 1);
    assert_heard(new_one, "disconnect 0x8b; end");
    assert_heard(old, "end");
    assert_heard(waiting, "end");
    assert_heard(peer_new(fixture), "end");
    pass(fixture, 2000);
    assert_int_equal(stopped, 1);
}

static void a_stop_with_nobody_there_is_told_too(void **state)
{
    struct fixture *fixture = *state;
    int stopped = 0;

    broker_stop(broker_of(fixture), 1000, note, &stopped);
    broker_stop(broker_of(fixture), 1000, note, &stopped);
    pass(fixture, 1000);
    assert_int_equal(stopped, 1);
}

static void a_stop_leaves_wills_to_the_next_start(void **state)
{
    struct fixture *fixture = *state;
    int stopped = 0;

    enter_as(fixture, &(struct entering){.client_id = "a",
                                         .keeps = true,
                                         .will_topic = "will",
                                         .will_payload = "gone",
                                         .will_qos = 1});
    struct peer *watcher = enter_kept(fixture, "watcher");
    subscribe(watcher, "will", 1);
    broker_stop(broker_of(fixture), 1000, note, &stopped);
    run(fixture);
    assert_heard(watcher, "disconnect 0x8b; end");
    crash(fixture);
    enter_kept(fixture, "watcher");
    assert_int_equal(session_store_queued(broker_of(fixture)->persistent), 1);
}

static void changed_rules_hold_for_who_is_there_already(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    subscribe(peer, "#", 0);
    publish(peer, 1, 1, "a", "x");
    assert_heard(peer, "publish q0 a=x; puback m1 0x00");
    add_rule(fixture, "*", "write", "b", true);
    publish(peer, 1, 1, "a", "x");
    assert_heard(peer, "puback m1 0x87");
    publish(peer, 1, 1, "b", "x");
    assert_heard(peer, "puback m1 0x00");
}

static void changed_limits_hold_for_who_is_there_already(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    set(fixture, "mqtt.subscriptions_per_session_max", "1");
    subscribe(peer, "a", 0);
    say(peer, 0x82, "0001 00 0001'b' 00");
    assert_heard(peer, "suback m1 97");
}

static void everything_is_counted(void **state)
{
    struct fixture *fixture = *state;
    struct peer *a = enter(fixture, "a"), *b = enter_kept(fixture, "b");
    struct broker_counters counters;

    subscribe(a, "x", 0);
    subscribe(b, "$share/g/x", 0);
    publish_retained(b, 0, 0, "x", "abc");
    broker_counters(broker_of(fixture), &counters);
    assert_int_equal(counters.clients_connected, 2);
    assert_int_equal(counters.clients_maximum, 2);
    assert_int_equal(counters.clients_total, 2);
    assert_int_equal(counters.connections, 2);
    assert_int_equal(counters.subscriptions, 2);
    assert_int_equal(counters.retained_messages, 1);
    assert_int_equal(counters.publish_received, 1);
    assert_int_equal(counters.publish_sent, 2);
    assert_int_equal(counters.publish_bytes_sent, 6);
    assert_int_equal(counters.messages_received, 5);
    cut(a);
    broker_counters(broker_of(fixture), &counters);
    assert_int_equal(counters.clients_connected, 1);
    assert_int_equal(counters.clients_maximum, 2);
    assert_int_equal(counters.clients_total, 1);
    assert_int_equal(counters.subscriptions, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(who_sends_no_connect_in_time_goes),
        FIXTURE_TEST(who_is_silent_for_one_and_a_half_keep_alive_goes),
        FIXTURE_TEST(the_will_of_a_silent_client_goes_out),
        FIXTURE_TEST(who_is_not_read_is_not_blamed_for_silence),
        FIXTURE_TEST(a_session_that_is_removed_takes_its_client_with_it),
        FIXTURE_TEST(connections_above_the_limit_are_told_then_cut),
        FIXTURE_TEST(a_stop_says_goodbye_and_waits_for_it),
        FIXTURE_TEST(a_stop_with_nobody_there_is_told_too),
        FIXTURE_TEST(a_stop_leaves_wills_to_the_next_start),
        FIXTURE_TEST(changed_rules_hold_for_who_is_there_already),
        FIXTURE_TEST(changed_limits_hold_for_who_is_there_already),
        FIXTURE_TEST(everything_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
