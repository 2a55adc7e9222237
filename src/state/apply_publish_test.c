/* Messages: who gets them, QoS 2, share groups, limits, acknowledgements, retained messages for new
 * subscriptions. */
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

static void reader(struct fixture *fixture, const char *client_id, const char *filter, uint8_t qos)
{
    static uint32_t counter = 1;
    open_session(fixture, client_id, counter++);
    subscribe(fixture, client_id, filter, qos);
    fixture_clear_events(fixture);
}

static const struct delivery *oldest(struct fixture *fixture, const char *client_id)
{
    const struct delivery_ring *ring = &session_of(fixture, client_id)->deliveries;
    return delivery_ring_at(ring, ring->first);
}

/* [MQTT-3.3.1-12] [MQTT-3.8.4-8]: the lesser of both QoS. */
static void a_message_goes_to_each_matching_session_with_the_lesser_qos(void **in)
{
    struct fixture *fixture = *in;
    reader(fixture, "q0", "a/#", 0);
    reader(fixture, "q1", "a/+", 1);
    reader(fixture, "q2", "a/b", 2);
    reader(fixture, "elsewhere", "b", 2);
    const struct state_result *result = publish(fixture, "a/b", "1", 2, false);
    assert_int_equal(result->reason, 0);
    assert_int_equal(result->matched, 2);
    assert_int_equal(waiting_of(fixture, "q0"), 0); /* the broker sends it live, from on_publish */
    assert_int_equal(oldest(fixture, "q1")->qos, 1);
    assert_int_equal(oldest(fixture, "q2")->qos, 2);
    assert_int_equal(waiting_of(fixture, "elsewhere"), 0);
    assert_true(g_str_has_suffix(fixture->events->str, "publish a/b by ;"));
}

static const struct state_result *publish_from(struct fixture *fixture, uint32_t counter)
{
    struct state_completion completion = fixture->completion;
    struct state_publish late = {.topic = text("a"),
                                 .payload = text("1"),
                                 .qos = 2,
                                 .publisher = text("x"),
                                 .packet_id = 7,
                                 .is_persistent_publisher = true};

    completion.connection_number = connection(counter);
    return run(fixture, state_propose_publish(fixture->state, &late, &completion));
}

/* Said again on another connection, which then ended the session: with it went the memory of 7. */
static void a_late_publish_of_a_session_that_has_ended_is_not_applied(void **in)
{
    struct fixture *fixture = *in;
    reader(fixture, "reader", "a", 2);
    open_session(fixture, "x", 101);
    open_with(fixture, "x", 102, false, 0, NULL);
    assert_false(publish_from(fixture, 102)->is_stale);
    close_session(fixture, "x", 102, false);
    assert_null(session_of(fixture, "x"));
    assert_true(publish_from(fixture, 101)->is_stale);
    assert_int_equal(waiting_of(fixture, "reader"), 1);
}

static void a_message_that_nobody_wants_matches_nobody(void **in)
{
    struct fixture *fixture = *in;
    const struct state_result *result = publish(fixture, "a/b", "1", 1, false);
    assert_int_equal(result->reason, 0);
    assert_int_equal(result->matched, 0);
    assert_string_equal(fixture->events->str, "publish a/b by ;");
}

/* [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] */
static void retained_messages_are_kept_replaced_and_removed(void **in)
{
    struct fixture *fixture = *in;
    publish(fixture, "a", "1", 1, true);
    publish(fixture, "a", "2", 1, true);
    struct message *message = retained_find(state_retained(fixture->state), text("a"));
    assert_true(bytes_equal(message_payload(message), text("2")));
    publish(fixture, "b", "3", 1, false); /* [MQTT-3.3.1-8] */
    assert_int_equal(retained_count(state_retained(fixture->state)), 1);
    publish(fixture, "a", "", 1, true);
    assert_int_equal(retained_count(state_retained(fixture->state)), 0);
    assert_int_equal(state_bytes(fixture->state), 0);
}

static void a_message_that_was_delivered_already_changes_the_retained_table_only(void **in)
{
    struct fixture *fixture = *in;
    reader(fixture, "q1", "a", 1);
    struct state_publish publish = {
        .topic = text("a"), .payload = text("1"), .qos = 0, .retain = true, .is_delivered = true};
    run(fixture, state_propose_publish(fixture->state, &publish, &fixture->completion));
    assert_int_equal(retained_count(state_retained(fixture->state)), 1);
    assert_string_equal(fixture->events->str, "");
}

static void retained_messages_expire(void **in)
{
    struct fixture *fixture = *in;
    struct state_publish publish = {.topic = text("a"),
                                    .payload = text("1"),
                                    .qos = 1,
                                    .retain = true,
                                    .expires_unix_ms = START_UNIX_MS + 1000};
    run(fixture, state_propose_publish(fixture->state, &publish, &fixture->completion));
    assert_int_equal(state_next_due_unix_ms(fixture->state), START_UNIX_MS + 1000);
    tick(fixture, 999);
    assert_int_equal(retained_count(state_retained(fixture->state)), 1);
    tick(fixture, 1);
    assert_int_equal(retained_count(state_retained(fixture->state)), 0);
}

/* [MQTT-3.3.1-12] [MQTT-3.3.1-13] */
static void the_retain_flag_is_kept_only_for_retain_as_published(void **in)
{
    struct fixture *fixture = *in;
    reader(fixture, "plain", "a", 1);
    open_session(fixture, "as-published", 90);
    struct subscription_options options = {
        .qos = 1, .retain_as_published = true, .subscription_id = 7};
    run(fixture, state_propose_subscribe(fixture->state, text("as-published"), text("a"), &options,
                                         &fixture->completion));
    publish(fixture, "a", "1", 1, true);
    assert_false(oldest(fixture, "plain")->retain);
    assert_null(oldest(fixture, "plain")->subscription_ids);
    assert_true(oldest(fixture, "as-published")->retain);
    assert_int_equal(oldest(fixture, "as-published")->subscription_ids[1], 7);
}

/* [MQTT-3.8.3-3] */
static void no_local_keeps_a_clients_own_messages_from_it(void **in)
{
    struct fixture *fixture = *in;
    reader(fixture, "x", "other/#", 1);
    struct subscription_options options = {.qos = 2, .no_local = true};
    run(fixture, state_propose_subscribe(fixture->state, text("x"), text("a/#"), &options,
                                         &fixture->completion));
    struct state_publish publish = {
        .topic = text("a/b"), .payload = text("1"), .qos = 1, .publisher = text("x")};
    assert_int_equal(
        run(fixture, state_propose_publish(fixture->state, &publish, &fixture->completion))
            ->matched,
        0);
    publish.publisher = text("y");
    assert_int_equal(
        run(fixture, state_propose_publish(fixture->state, &publish, &fixture->completion))
            ->matched,
        1);
    /* Another subscription without no-local still gets it, with its own QoS and identifier. */
    options = (struct subscription_options){.qos = 1, .subscription_id = 5};
    run(fixture, state_propose_subscribe(fixture->state, text("x"), text("a/b"), &options,
                                         &fixture->completion));
    publish.publisher = text("x");
    publish.qos = 2;
    assert_int_equal(
        run(fixture, state_propose_publish(fixture->state, &publish, &fixture->completion))
            ->matched,
        1);
    const struct delivery_ring *ring = &session_of(fixture, "x")->deliveries;
    const struct delivery *last = delivery_ring_at(ring, delivery_ring_end(ring) - 1);
    assert_int_equal(last->qos, 1);
    assert_int_equal(last->subscription_ids[0], 1);
    assert_int_equal(last->subscription_ids[1], 5);
}

/* ---- QoS 2 ---- */

static const struct state_result *publish_exactly_once(struct fixture *fixture, uint16_t packet_id)
{
    struct state_publish publish = {.topic = text("a"),
                                    .payload = text("1"),
                                    .qos = 2,
                                    .publisher = text("sender"),
                                    .is_persistent_publisher = true,
                                    .packet_id = packet_id};
    return run(fixture, state_propose_publish(fixture->state, &publish, &fixture->completion));
}

/* [MQTT-4.3.3-10] [MQTT-4.3.3-12] */
static void a_qos_2_packet_id_counts_once_until_it_is_released(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "sender", 1);
    reader(fixture, "q2", "a", 2);
    assert_false(publish_exactly_once(fixture, 5)->duplicate);
    assert_true(publish_exactly_once(fixture, 5)->duplicate);
    assert_int_equal(waiting_of(fixture, "q2"), 1);
    assert_int_equal(
        run(fixture, state_propose_release(fixture->state, text("sender"), 5, &fixture->completion))
            ->reason,
        0);
    assert_int_equal(
        run(fixture, state_propose_release(fixture->state, text("sender"), 5, &fixture->completion))
            ->reason,
        0x92);
    assert_int_equal(
        run(fixture, state_propose_release(fixture->state, text("nobody"), 5, &fixture->completion))
            ->reason,
        0x92);
    assert_false(publish_exactly_once(fixture, 5)->duplicate);
    assert_int_equal(waiting_of(fixture, "q2"), 2);
}

static void packet_ids_that_a_publisher_holds_are_limited(void **in)
{
    struct fixture *fixture = *in;
    set(fixture, "mqtt.receive_maximum", "2");
    open_session(fixture, "sender", 1);
    assert_int_equal(publish_exactly_once(fixture, 1)->reason, 0);
    assert_int_equal(publish_exactly_once(fixture, 2)->reason, 0);
    assert_int_equal(publish_exactly_once(fixture, 3)->reason, 0x97);
    assert_true(publish_exactly_once(fixture, 2)->duplicate);
}

/* ---- share groups ---- */

static const struct state_result *
publish_to(struct fixture *fixture, const struct state_share_target *targets, uint32_t count)
{
    struct state_publish publish = {.topic = text("a"),
                                    .payload = text("1"),
                                    .qos = 2,
                                    .targets = targets,
                                    .target_count = count};
    return run(fixture, state_propose_publish(fixture->state, &publish, &fixture->completion));
}

static void a_share_group_gets_it_by_the_chosen_member_or_the_next(void **in)
{
    struct fixture *fixture = *in;
    reader(fixture, "m3", "$share/g/a", 1);
    reader(fixture, "m1", "$share/g/a", 1);
    open_session(fixture, "m2", 50);
    struct subscription_options options = {.qos = 2, .subscription_id = 9};
    run(fixture, state_propose_subscribe(fixture->state, text("m2"), text("$share/g/a"), &options,
                                         &fixture->completion));
    fixture_clear_events(fixture);
    assert_int_equal(publish_to(fixture, NULL, 0)->matched, 0);

    struct state_share_target target = {.client_id = text("m2"), .filter = text("$share/g/a")};
    fixture_clear_events(fixture);
    assert_int_equal(publish_to(fixture, &target, 1)->matched, 1);
    assert_int_equal(waiting_of(fixture, "m2"), 1);
    assert_int_equal(oldest(fixture, "m2")->qos, 2);
    assert_int_equal(oldest(fixture, "m2")->subscription_ids[1], 9);
    assert_string_equal(fixture->events->str, "delivery m2;publish a by  to m2;");

    run(fixture, state_propose_unsubscribe(fixture->state, text("m2"), text("$share/g/a"),
                                           &fixture->completion));
    publish_to(fixture, &target, 1); /* the next in order of client ids */
    assert_int_equal(waiting_of(fixture, "m3"), 1);
    run(fixture, state_propose_session_remove(fixture->state, text("m3"), &fixture->completion));
    publish_to(fixture, &target, 1); /* round to the first */
    assert_int_equal(waiting_of(fixture, "m1"), 1);
    run(fixture, state_propose_session_remove(fixture->state, text("m1"), &fixture->completion));
    assert_int_equal(publish_to(fixture, &target, 1)->matched, 0);
}

static void a_target_without_a_share_group_is_nobody(void **in)
{
    struct fixture *fixture = *in;
    reader(fixture, "m1", "$share/g/a", 1);
    struct state_share_target target = {.client_id = text("m1"), .filter = text("not/shared")};
    assert_int_equal(publish_to(fixture, &target, 1)->matched, 0);
    target = (struct state_share_target){.client_id = text("m1"), .filter = text("$share/other/a")};
    assert_int_equal(publish_to(fixture, &target, 1)->matched, 0);
}

/* ---- limits ---- */

static void a_full_queue_drops_the_oldest_and_counts(void **in)
{
    struct fixture *fixture = *in;
    set(fixture, "mqtt.queue_messages_max", "2");
    reader(fixture, "x", "a", 1);
    close_session(fixture, "x", session_of(fixture, "x")->connection_number & UINT32_MAX, true);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(publish(fixture, "a", "1", 1, false)->reason, 0);
    }
    assert_int_equal(waiting_of(fixture, "x"), 2);
    assert_int_equal(session_of(fixture, "x")->dropped_messages, 3);
}

static void with_refuse_one_full_queue_refuses_the_publish_and_nothing_changes(void **in)
{
    struct fixture *fixture = *in;
    set(fixture, "mqtt.queue_messages_max", "1");
    set(fixture, "mqtt.queue_full", "refuse");
    reader(fixture, "roomy", "other", 1);
    reader(fixture, "full", "a", 1);
    close_session(fixture, "full", session_of(fixture, "full")->connection_number & UINT32_MAX,
                  true);
    publish(fixture, "a", "1", 1, false);
    subscribe(fixture, "roomy", "a", 1);
    fixture_clear_events(fixture);
    const struct state_result *result = publish(fixture, "a", "2", 1, true);
    assert_int_equal(result->reason, 0x97);
    assert_int_equal(result->matched, 0);
    assert_int_equal(waiting_of(fixture, "roomy"), 0);
    assert_int_equal(retained_count(state_retained(fixture->state)), 0);
    assert_string_equal(fixture->events->str, "");
    /* The packet id of a refused QoS 2 publish is free again. */
    open_session(fixture, "sender", 77);
    assert_int_equal(publish_exactly_once(fixture, 4)->reason, 0x97);
    assert_int_equal(session_of(fixture, "sender")->received.count, 0);
}

static void retained_messages_are_limited_in_number_bytes_and_size(void **in)
{
    struct fixture *fixture = *in;
    set(fixture, "mqtt.retained_messages_max", "1");
    assert_int_equal(publish(fixture, "a", "1", 1, true)->reason, 0);
    fixture_clear_events(fixture);
    assert_int_equal(publish(fixture, "b", "1", 1, true)->reason, 0x97);
    assert_string_equal(fixture->events->str, "");
    assert_int_equal(publish(fixture, "a", "2", 1, true)->reason, 0);
    set(fixture, "mqtt.retained_payload_bytes_max", "3");
    assert_int_equal(publish(fixture, "a", "1234", 1, true)->reason, 0x97);
    assert_int_equal(publish(fixture, "a", "123", 1, true)->reason, 0);
    set(fixture, "mqtt.retained_bytes_max", "1");
    assert_int_equal(publish(fixture, "a", "12", 1, true)->reason, 0x97);
    assert_int_equal(publish(fixture, "a", "", 1, true)->reason, 0);
}

static void a_message_in_many_queues_counts_once_against_the_whole(void **in)
{
    struct fixture *fixture = *in;
    g_autofree char *payload = g_strnfill(100000, 'p');
    for (uint32_t i = 0; i < 50; i++) {
        g_autofree char *client_id = g_strdup_printf("reader-%u", i);
        reader(fixture, client_id, "a", 1);
    }
    uint64_t before = state_bytes(fixture->state);
    assert_int_equal(publish(fixture, "a", payload, 1, false)->matched, 50);
    assert_in_range(state_bytes(fixture->state) - before, 100000, 110000);
    for (uint32_t i = 0; i < 50; i++) {
        g_autofree char *client_id = g_strdup_printf("reader-%u", i);
        uint16_t packet_id = delivery_packet_id(session_of(fixture, client_id)->deliveries.first);
        run(fixture, state_propose_acknowledge(fixture->state, text(client_id), SESSION_PUBACK,
                                               &packet_id, 1, &fixture->completion));
    }
    assert_int_equal(state_bytes(fixture->state), before);
}

/* ---- acknowledgements, retained messages for new subscriptions ---- */

static void acknowledgements_finish_deliveries_and_others_are_ignored(void **in)
{
    struct fixture *fixture = *in;
    reader(fixture, "x", "a", 2);
    for (int i = 0; i < 100; i++) {
        publish(fixture, "a", "1", i == 99 ? 2 : 1, false);
    }
    uint16_t ids[100];
    uint64_t first = session_of(fixture, "x")->deliveries.first;
    for (uint32_t i = 0; i < 100; i++) {
        ids[i] = delivery_packet_id(first + i);
    }
    struct state *state = fixture->state;
    assert_int_equal(run(fixture, state_propose_acknowledge(state, text("x"), SESSION_PUBACK, ids,
                                                            100, &fixture->completion))
                         ->matched,
                     99);
    assert_int_equal(waiting_of(fixture, "x"), 1);
    assert_int_equal(run(fixture, state_propose_acknowledge(state, text("x"), SESSION_PUBCOMP,
                                                            ids + 99, 1, &fixture->completion))
                         ->matched,
                     0);
    assert_int_equal(run(fixture, state_propose_acknowledge(state, text("x"), SESSION_PUBREC,
                                                            ids + 99, 1, &fixture->completion))
                         ->matched,
                     1);
    assert_int_equal(run(fixture, state_propose_acknowledge(state, text("x"), SESSION_PUBCOMP,
                                                            ids + 99, 1, &fixture->completion))
                         ->matched,
                     1);
    assert_int_equal(waiting_of(fixture, "x"), 0);
    uint16_t zero = 0;
    assert_int_equal(run(fixture, state_propose_acknowledge(state, text("x"), SESSION_PUBACK, &zero,
                                                            1, &fixture->completion))
                         ->matched,
                     0);
    assert_int_equal(run(fixture, state_propose_acknowledge(state, text("nobody"), SESSION_PUBACK,
                                                            ids, 1, &fixture->completion))
                         ->matched,
                     0);
}

static const struct state_result *send_retained(struct fixture *fixture, const char *client_id,
                                                uint8_t qos)
{
    return run(fixture, state_propose_send_retained(fixture->state, text(client_id), text("a"), qos,
                                                    3, &fixture->completion));
}

/* [MQTT-3.3.1-8] [MQTT-3.3.1-9]: with the retain flag. */
static void a_retained_message_is_put_into_the_queue_of_a_new_subscriber(void **in)
{
    struct fixture *fixture = *in;
    reader(fixture, "x", "a", 1);
    assert_int_equal(send_retained(fixture, "x", 1)->matched, 0);
    publish(fixture, "a", "1", 2, true);
    run(fixture, state_propose_session_remove(fixture->state, text("x"), &fixture->completion));
    assert_int_equal(send_retained(fixture, "x", 1)->matched, 0);
    reader(fixture, "x", "a", 1);
    assert_int_equal(send_retained(fixture, "x", 0)->matched, 0);
    assert_int_equal(send_retained(fixture, "x", 1)->matched, 1);
    assert_true(oldest(fixture, "x")->retain);
    assert_int_equal(oldest(fixture, "x")->qos, 1);
    assert_int_equal(oldest(fixture, "x")->subscription_ids[1], 3);
    assert_string_equal(fixture->events->str, "delivery x;");
    set(fixture, "mqtt.queue_messages_max", "1");
    set(fixture, "mqtt.queue_full", "refuse");
    assert_int_equal(send_retained(fixture, "x", 1)->reason, 0);
    close_session(fixture, "x", session_of(fixture, "x")->connection_number & UINT32_MAX, true);
    assert_int_equal(send_retained(fixture, "x", 1)->reason, 0x97);
}

/* ---- subscriptions ---- */

static void subscriptions_are_added_replaced_removed_and_limited(void **in)
{
    struct fixture *fixture = *in;
    struct state *state = fixture->state;
    reader(fixture, "x", "a", 1);
    assert_true(subscribe(fixture, "x", "a", 2)->subscription_existed); /* [MQTT-3.8.4-3] */
    assert_int_equal(session_find_subscription(session_of(fixture, "x"), text("a"))->options.qos,
                     2);
    assert_false(subscribe(fixture, "x", "b", 2)->subscription_existed);
    set(fixture, "mqtt.subscriptions_per_session_max", "2");
    assert_int_equal(subscribe(fixture, "x", "c", 1)->reason, 0x97);
    assert_int_equal(subscribe(fixture, "x", "b", 1)->reason, 0);
    assert_int_equal(subscribe(fixture, "nobody", "b", 1)->reason, 0x80);
    uint64_t with_b = state_bytes(state);
    assert_int_equal(
        run(fixture, state_propose_unsubscribe(state, text("x"), text("b"), &fixture->completion))
            ->reason,
        0);
    assert_int_equal(
        run(fixture, state_propose_unsubscribe(state, text("x"), text("b"), &fixture->completion))
            ->reason,
        0x11);
    assert_int_equal(run(fixture, state_propose_unsubscribe(state, text("nobody"), text("b"),
                                                            &fixture->completion))
                         ->reason,
                     0x11);
    assert_true(state_bytes(state) < with_b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_goes_to_each_matching_session_with_the_lesser_qos),
        TEST(a_late_publish_of_a_session_that_has_ended_is_not_applied),
        TEST(a_message_that_nobody_wants_matches_nobody),
        TEST(retained_messages_are_kept_replaced_and_removed),
        TEST(a_message_that_was_delivered_already_changes_the_retained_table_only),
        TEST(retained_messages_expire),
        TEST(the_retain_flag_is_kept_only_for_retain_as_published),
        TEST(no_local_keeps_a_clients_own_messages_from_it),
        TEST(a_qos_2_packet_id_counts_once_until_it_is_released),
        TEST(packet_ids_that_a_publisher_holds_are_limited),
        TEST(a_share_group_gets_it_by_the_chosen_member_or_the_next),
        TEST(a_target_without_a_share_group_is_nobody),
        TEST(a_full_queue_drops_the_oldest_and_counts),
        TEST(with_refuse_one_full_queue_refuses_the_publish_and_nothing_changes),
        TEST(retained_messages_are_limited_in_number_bytes_and_size),
        TEST(a_message_in_many_queues_counts_once_against_the_whole),
        TEST(acknowledgements_finish_deliveries_and_others_are_ignored),
        TEST(a_retained_message_is_put_into_the_queue_of_a_new_subscriber),
        TEST(subscriptions_are_added_replaced_removed_and_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
