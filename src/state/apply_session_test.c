/* Connections, sessions, wills: what CONNECT, DISCONNECT, time and a new start of the node do. */
#include "state/fixture.h"
#include <errno.h>

static int setup(void **out)
{
    struct fixture *fixture = g_new(struct fixture, 1);
    fixture_init(fixture);
    *out = fixture;
    return 0;
}

static int teardown(void **in)
{
    fixture_deinit(*in);
    g_free(*in);
    return 0;
}

static struct state_will will_after(uint32_t delay_s)
{
    return (struct state_will){
        .topic = text("will/x"), .payload = text("gone"), .delay_s = delay_s};
}

/* [MQTT-3.1.2-6] */
static void a_session_that_was_not_there_begins_anew(void **in)
{
    struct fixture *fixture = *in;
    assert_false(open_session(fixture, "x", 1)->session_present);
    const struct session *session = session_of(fixture, "x");
    assert_int_equal(session->connection_number, connection(1));
    assert_int_equal(session->created_unix_ms, START_UNIX_MS);
    assert_string_equal(session->username, "somebody");
    assert_int_equal(session->receive_maximum, 20);
    assert_int_equal(session->version, 5);
    assert_int_equal(session->expiry_s, 3600);
}

/* [MQTT-3.1.2-5] [MQTT-4.1.0-1] */
static void a_session_goes_on_without_clean_start(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "x", 1);
    subscribe(fixture, "x", "a", 1);
    close_session(fixture, "x", 1, true);
    publish(fixture, "a", "kept", 1, false);
    assert_true(open_session(fixture, "x", 2)->session_present);
    assert_int_equal(waiting_of(fixture, "x"), 1);
    assert_int_equal(session_of(fixture, "x")->subscription_count, 1);
    assert_int_equal(session_of(fixture, "x")->expires_unix_ms, 0);
}

/* [MQTT-3.1.2-4] */
static void clean_start_ends_the_old_session(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "x", 1);
    subscribe(fixture, "x", "a", 1);
    close_session(fixture, "x", 1, true);
    fixture_clear_events(fixture);
    assert_false(open_with(fixture, "x", 2, true, 3600, NULL)->session_present);
    assert_string_equal(fixture->events->str, "end x;");
    assert_int_equal(session_of(fixture, "x")->subscription_count, 0);
    open_with(fixture, "x", 3, true, 0, NULL);
    assert_null(session_of(fixture, "x"));
}

/* [MQTT-3.1.2-5] with expiry 0: it goes on, and ends with the connection. */
static void a_session_goes_on_even_when_its_new_connection_gives_it_no_expiry(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "x", 1);
    subscribe(fixture, "x", "a", 1);
    close_session(fixture, "x", 1, true);
    assert_true(open_with(fixture, "x", 2, false, 0, NULL)->session_present);
    assert_int_equal(session_of(fixture, "x")->subscription_count, 1);
    close_session(fixture, "x", 2, true);
    assert_null(session_of(fixture, "x"));
}

/* [MQTT-3.1.2-23] */
static void a_session_ends_when_its_expiry_has_passed_and_not_before(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "x", 1);
    assert_int_equal(state_next_due_unix_ms(fixture->state), 0);
    close_session(fixture, "x", 1, true);
    assert_int_equal(state_next_due_unix_ms(fixture->state), START_UNIX_MS + 3600 * 1000);
    tick(fixture, 3600 * 1000 - 1);
    assert_non_null(session_of(fixture, "x"));
    tick(fixture, 1);
    assert_null(session_of(fixture, "x"));
    assert_int_equal(state_next_due_unix_ms(fixture->state), 0);
    assert_int_equal(state_bytes(fixture->state), 0);
}

static void a_session_that_has_expired_is_not_resumed_even_before_the_tick(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "x", 1);
    close_session(fixture, "x", 1, true);
    fixture->now_unix_ms += 3600 * 1000;
    assert_false(open_session(fixture, "x", 2)->session_present);
}

static void expiry_zero_ends_the_session_with_its_connection_and_never_means_never(void **in)
{
    struct fixture *fixture = *in;
    set(fixture, "mqtt.session_expiry_s_max", "4294967295");
    open_session(fixture, "x", 1);
    struct state_close close = {.client_id = text("x"),
                                .connection_number = connection(1),
                                .has_expiry = true,
                                .expiry_s = SESSION_NEVER_EXPIRES};
    run(fixture, state_propose_close(fixture->state, &close, &fixture->completion));
    assert_int_equal(session_of(fixture, "x")->expires_unix_ms, 0);
    assert_int_equal(state_next_due_unix_ms(fixture->state), 0);
    tick(fixture, UINT64_C(1000) * 3600 * 24 * 365 * 100);
    assert_non_null(session_of(fixture, "x"));

    open_session(fixture, "x", 2);
    close = (struct state_close){
        .client_id = text("x"), .connection_number = connection(2), .has_expiry = true};
    run(fixture, state_propose_close(fixture->state, &close, &fixture->completion));
    assert_null(session_of(fixture, "x"));
}

static void expiry_is_cut_to_the_setting(void **in)
{
    struct fixture *fixture = *in;
    set(fixture, "mqtt.session_expiry_s_max", "60");
    open_with(fixture, "x", 1, false, SESSION_NEVER_EXPIRES, NULL);
    assert_int_equal(session_of(fixture, "x")->expiry_s, 60);
    close_session(fixture, "x", 1, true);
    assert_int_equal(session_of(fixture, "x")->expires_unix_ms, START_UNIX_MS + 60000);
}

static void a_close_of_another_connection_is_ignored(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = will_after(0);
    open_session(fixture, "x", 1);
    open_with(fixture, "x", 2, false, 3600, &will);
    fixture_clear_events(fixture);
    close_session(fixture, "x", 1, true);
    assert_int_equal(session_of(fixture, "x")->connection_number, connection(2));
    assert_int_equal(wills_count(state_wills(fixture->state)), 1);
    assert_string_equal(fixture->events->str, "");
    close_session(fixture, "nobody", 1, true);
}

static void a_session_can_be_removed_whatever_it_does(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = will_after(10);
    open_with(fixture, "x", 1, false, 3600, &will);
    fixture_clear_events(fixture);
    assert_int_equal(
        run(fixture, state_propose_session_remove(fixture->state, text("x"), &fixture->completion))
            ->matched,
        1);
    assert_string_equal(fixture->events->str, "end x;publish will/x by x;");
    assert_int_equal(
        run(fixture, state_propose_session_remove(fixture->state, text("x"), &fixture->completion))
            ->matched,
        0);
}

/* ---- wills ---- */

/* [MQTT-3.1.2-8] */
static void a_will_goes_out_when_the_connection_breaks(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = will_after(0);
    open_with(fixture, "x", 1, false, 0, &will); /* no session at all */
    assert_null(session_of(fixture, "x"));
    close_session(fixture, "x", 1, true);
    assert_string_equal(fixture->events->str, "publish will/x by x;");
    assert_int_equal(wills_count(state_wills(fixture->state)), 0);
}

/* [MQTT-3.1.2-10] [MQTT-3.14.4-3] */
static void a_will_is_dropped_at_a_normal_disconnect(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = will_after(0);
    open_with(fixture, "x", 1, false, 3600, &will);
    close_session(fixture, "x", 1, false);
    assert_string_equal(fixture->events->str, "");
    assert_int_equal(wills_count(state_wills(fixture->state)), 0);
}

/* [MQTT-3.1.3-9] */
static void a_delayed_will_waits_and_is_cancelled_by_a_new_connection(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = will_after(10);
    open_with(fixture, "x", 1, false, 3600, &will);
    close_session(fixture, "x", 1, true);
    assert_int_equal(state_next_due_unix_ms(fixture->state), START_UNIX_MS + 10000);
    tick(fixture, 9999);
    assert_string_equal(fixture->events->str, "");
    open_session(fixture, "x", 2);
    tick(fixture, 100000);
    assert_string_equal(fixture->events->str, "");

    open_with(fixture, "x", 3, false, 3600, &will);
    close_session(fixture, "x", 3, true);
    tick(fixture, 10000);
    assert_string_equal(fixture->events->str, "publish will/x by x;");
    assert_int_equal(wills_count(state_wills(fixture->state)), 0);
}

static void
a_will_whose_delay_has_passed_goes_out_even_when_the_client_comes_before_the_tick(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = will_after(10);
    open_with(fixture, "x", 1, false, 3600, &will);
    close_session(fixture, "x", 1, true);
    fixture->now_unix_ms += 10000;
    assert_true(open_session(fixture, "x", 2)->session_present);
    assert_string_equal(fixture->events->str, "publish will/x by x;");
}

/* 3.1.3.2.2: "or the Session ends, whichever happens first" */
static void a_delayed_will_goes_out_when_the_session_ends_first(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = will_after(100);
    open_with(fixture, "x", 1, false, 10, &will);
    close_session(fixture, "x", 1, true);
    tick(fixture, 10000);
    assert_string_equal(fixture->events->str, "end x;publish will/x by x;");

    fixture_clear_events(fixture);
    open_with(fixture, "y", 2, false, 3600, &will);
    close_session(fixture, "y", 2, true);
    open_with(fixture, "y", 3, true, 3600, NULL); /* clean start ends the session */
    assert_string_equal(fixture->events->str, "end y;publish will/x by y;");

    fixture_clear_events(fixture);
    open_with(fixture, "z", 4, false, 0, &will); /* no session: delay or not */
    close_session(fixture, "z", 4, true);
    assert_string_equal(fixture->events->str, "publish will/x by z;");
}

/* [MQTT-3.1.4-3]: the will of the connection that is taken over. */
static void a_takeover_publishes_a_will_without_delay_and_cancels_one_with_delay(void **in)
{
    struct fixture *fixture = *in;
    struct state_will at_once = will_after(0), later = will_after(10);
    open_with(fixture, "x", 1, false, 3600, &at_once);
    open_with(fixture, "x", 2, false, 3600, &later);
    assert_string_equal(fixture->events->str, "publish will/x by x;");
    fixture_clear_events(fixture);
    open_with(fixture, "x", 3, false, 3600, &later);
    assert_string_equal(fixture->events->str, "");
    open_with(fixture, "x", 4, true, 3600, NULL); /* the session ends: its will goes out */
    assert_string_equal(fixture->events->str, "end x;publish will/x by x;");
    fixture_clear_events(fixture);
    open_with(fixture, "y", 5, true, 0, &later); /* without a session */
    open_with(fixture, "y", 6, false, 0, NULL);
    assert_string_equal(fixture->events->str, "publish will/x by y;");
}

/* [MQTT-3.1.2-14] [MQTT-3.1.2-15] and the message's expiry counts from its publication. */
static void a_will_takes_the_way_of_every_message(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = {.topic = text("will/x"),
                              .properties = text("p"),
                              .payload = text("gone"),
                              .qos = 1,
                              .retain = true,
                              .expiry_s = 60};
    open_session(fixture, "reader", 1);
    subscribe(fixture, "reader", "will/#", 1);
    open_with(fixture, "x", 2, false, 0, &will);
    tick(fixture, 5000);
    close_session(fixture, "x", 2, true);
    struct message *message = retained_find(state_retained(fixture->state), text("will/x"));
    assert_non_null(message);
    assert_int_equal(message->expires_unix_ms, START_UNIX_MS + 5000 + 60000);
    assert_true(bytes_equal(message_properties(message), text("p")));
    assert_int_equal(waiting_of(fixture, "reader"), 1);
    assert_string_equal(fixture->events->str, "delivery reader;publish will/x by x;");
}

static void a_will_reaches_one_member_of_a_share_group(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = {.topic = text("will/x"), .payload = text("gone"), .qos = 1};
    open_session(fixture, "m1", 1);
    subscribe(fixture, "m1", "$share/g/will/#", 1);
    open_session(fixture, "m2", 2);
    subscribe(fixture, "m2", "$share/g/will/#", 1);
    for (uint32_t i = 0; i < 4; i++) {
        open_with(fixture, "x", 10 + i, false, 0, &will);
        close_session(fixture, "x", 10 + i, true);
    }
    assert_int_equal(waiting_of(fixture, "m1") + waiting_of(fixture, "m2"), 4);
    assert_non_null(strstr(fixture->events->str, "publish will/x by x to m"));
}

static void a_will_for_which_there_is_no_room_still_goes_to_those_who_listen(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = {
        .topic = text("will/x"), .payload = text("gone"), .qos = 1, .retain = true};
    set(fixture, "mqtt.retained_messages_max", "0");
    fixture_clear_events(fixture);
    open_with(fixture, "x", 1, false, 0, &will);
    close_session(fixture, "x", 1, true);
    assert_string_equal(fixture->events->str, "publish will/x by x;");
    assert_int_equal(retained_count(state_retained(fixture->state)), 0);
}

/* ---- opens that waited ---- */

/* At `node`, with clean start, when `known` was the client's last opening. */
static const struct state_result *open_at(struct fixture *fixture, uint64_t node, uint32_t counter,
                                          uint64_t known, const struct state_will *will)
{
    struct state_open open = {.client_id = text("x"),
                              .clean_start = true,
                              .is_persistent = !will,
                              .expiry_s = will ? 0 : 3600,
                              .connection_number = state_connection_number(node, EPOCH, counter),
                              .known_opening = known,
                              .will = will};
    return run(fixture, state_propose_open(fixture->state, &open, &fixture->completion));
}

static void an_open_that_waited_undoes_nothing_that_another_node_has_opened_since(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "x", 1);
    assert_false(open_at(fixture, NODE_ID + 1, 1, connection(1), NULL)->is_stale);
    uint64_t last = state_connection_number(NODE_ID + 1, EPOCH, 1);
    assert_int_equal(state_last_opening(fixture->state, text("x")), last);
    subscribe(fixture, "x", "a", 1);
    fixture_clear_events(fixture);

    assert_true(open_at(fixture, NODE_ID, 2, connection(1), NULL)->is_stale);
    assert_true(open_at(fixture, NODE_ID, 3, 0, NULL)->is_stale);
    assert_int_equal(session_of(fixture, "x")->connection_number, last);
    /* Also when the client has gone away from there again: its session is kept. */
    struct state_close close = {.client_id = text("x"), .connection_number = last};
    run(fixture, state_propose_close(fixture->state, &close, &fixture->completion));
    assert_true(open_at(fixture, NODE_ID, 4, connection(1), NULL)->is_stale);
    assert_int_equal(session_of(fixture, "x")->subscription_count, 1);
    assert_string_equal(fixture->events->str, "");

    assert_false(open_at(fixture, NODE_ID, 5, last, NULL)->is_stale);
    assert_string_equal(fixture->events->str, "end x;");
}

static void nor_the_connection_whose_will_is_kept(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = will_after(0);
    open_at(fixture, NODE_ID + 1, 1, 0, &will);
    assert_true(open_at(fixture, NODE_ID, 1, 0, NULL)->is_stale);
    assert_string_equal(fixture->events->str, "");
    assert_null(session_of(fixture, "x"));
}

static void opens_of_one_node_come_in_order_whatever_it_knew(void **in)
{
    struct fixture *fixture = *in;
    open_at(fixture, NODE_ID, 1, 0, NULL);
    assert_false(open_at(fixture, NODE_ID, 2, 0, NULL)->is_stale);
    assert_int_equal(session_of(fixture, "x")->connection_number, connection(2));
}

/* ---- a new start ---- */

static void a_new_start_closes_the_connections_of_the_nodes_earlier_lives_and_no_others(void **in)
{
    struct fixture *fixture = *in;
    struct state_will will = will_after(0), later = will_after(10);
    struct state_open open = {.client_id = text("other-node"),
                              .is_persistent = true,
                              .expiry_s = 60,
                              .connection_number =
                                  state_connection_number(NODE_ID + 1, EPOCH - 1, 1)};
    run(fixture, state_propose_open(fixture->state, &open, &fixture->completion));
    open.client_id = text("old");
    open.connection_number = state_connection_number(NODE_ID, EPOCH - 1, 1);
    open.will = &later;
    run(fixture, state_propose_open(fixture->state, &open, &fixture->completion));
    open.client_id = text("old-without-session");
    open.is_persistent = false;
    open.connection_number = state_connection_number(NODE_ID, EPOCH - 2, 1);
    open.will = &will;
    run(fixture, state_propose_open(fixture->state, &open, &fixture->completion));
    open_with(fixture, "new", 1, false, 60, &will);

    assert_int_equal(
        run(fixture, state_propose_recover(fixture->state, &fixture->completion))->matched, 3);
    assert_int_not_equal(session_of(fixture, "other-node")->connection_number, 0);
    assert_int_not_equal(session_of(fixture, "new")->connection_number, 0);
    assert_int_equal(session_of(fixture, "old")->connection_number, 0);
    assert_int_equal(session_of(fixture, "old")->expires_unix_ms, START_UNIX_MS + 60000);
    assert_string_equal(fixture->events->str, "publish will/x by old-without-session;");
    tick(fixture, 10000);
    assert_non_null(strstr(fixture->events->str, "publish will/x by old;"));
}

/* ---- limits ---- */

static void a_session_too_many_is_refused_and_nothing_changes(void **in)
{
    struct fixture *fixture = *in;
    set(fixture, "mqtt.sessions_max", "1");
    struct state_will will = will_after(10);
    open_with(fixture, "x", 1, false, 3600, &will);
    assert_int_equal(open_session(fixture, "y", 2)->reason, 0x97);
    assert_null(session_of(fixture, "y"));
    assert_int_equal(open_with(fixture, "x", 3, true, 3600, NULL)->reason,
                     0); /* in place of its own */
    assert_int_equal(open_with(fixture, "y", 4, true, 0, &will)->reason, 0); /* needs none */
}

static void a_will_too_large_is_refused(void **in)
{
    struct fixture *fixture = *in;
    set(fixture, "mqtt.will_bytes_max", "9");
    struct state_will will = will_after(0); /* 6 + 4 bytes */
    assert_int_equal(open_with(fixture, "x", 1, false, 60, &will)->reason, 0x97);
    assert_null(session_of(fixture, "x"));
    assert_int_equal(wills_count(state_wills(fixture->state)), 0);
    set(fixture, "mqtt.will_bytes_max", "10");
    assert_int_equal(open_with(fixture, "x", 1, false, 60, &will)->reason, 0);
}

static void a_full_state_takes_no_new_sessions_subscriptions_and_wills(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "x", 1);
    g_autofree char *topic = g_strnfill(60000, 't');
    g_autofree char *payload = g_strnfill(1000000, 'p');
    assert_int_equal(publish(fixture, "large", payload, 1, true)->reason, 0);
    set(fixture, "state.bytes_max", "1048576");
    uint64_t before = state_bytes(fixture->state);
    assert_int_equal(subscribe(fixture, "x", topic, 1)->reason, 0x97);
    struct state_will will = {.topic = text("w"), .payload = {(const uint8_t *)topic, 60000}};
    assert_int_equal(open_with(fixture, "y", 2, false, 60, &will)->reason, 0x97);
    assert_int_equal(publish(fixture, topic, "1", 1, true)->reason, 0x97);
    assert_int_equal(state_bytes(fixture->state), before);
    assert_int_equal(subscribe(fixture, "x", "short", 1)->reason, 0);
    assert_int_equal(publish(fixture, "large", "", 1, true)->reason, 0); /* removing always goes */
    assert_int_equal(subscribe(fixture, "x", topic, 1)->reason, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_that_was_not_there_begins_anew),
        TEST(a_session_goes_on_without_clean_start),
        TEST(clean_start_ends_the_old_session),
        TEST(a_session_goes_on_even_when_its_new_connection_gives_it_no_expiry),
        TEST(a_session_ends_when_its_expiry_has_passed_and_not_before),
        TEST(a_session_that_has_expired_is_not_resumed_even_before_the_tick),
        TEST(expiry_zero_ends_the_session_with_its_connection_and_never_means_never),
        TEST(expiry_is_cut_to_the_setting),
        TEST(a_close_of_another_connection_is_ignored),
        TEST(a_session_can_be_removed_whatever_it_does),
        TEST(a_will_goes_out_when_the_connection_breaks),
        TEST(a_will_is_dropped_at_a_normal_disconnect),
        TEST(a_delayed_will_waits_and_is_cancelled_by_a_new_connection),
        TEST(a_will_whose_delay_has_passed_goes_out_even_when_the_client_comes_before_the_tick),
        TEST(a_delayed_will_goes_out_when_the_session_ends_first),
        TEST(a_takeover_publishes_a_will_without_delay_and_cancels_one_with_delay),
        TEST(a_will_takes_the_way_of_every_message),
        TEST(a_will_reaches_one_member_of_a_share_group),
        TEST(a_will_for_which_there_is_no_room_still_goes_to_those_who_listen),
        TEST(an_open_that_waited_undoes_nothing_that_another_node_has_opened_since),
        TEST(nor_the_connection_whose_will_is_kept),
        TEST(opens_of_one_node_come_in_order_whatever_it_knew),
        TEST(a_new_start_closes_the_connections_of_the_nodes_earlier_lives_and_no_others),
        TEST(a_session_too_many_is_refused_and_nothing_changes),
        TEST(a_will_too_large_is_refused),
        TEST(a_full_state_takes_no_new_sessions_subscriptions_and_wills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
