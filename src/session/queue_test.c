/* The queue of a session: its limits, what is dropped and what never is, and acknowledgements. */
#include "session/test_support.h"
#include <errno.h>

static struct session *session_of(struct session_store *store)
{
    return session_store_add(store, text("client"));
}

/* [MQTT-4.5.0-1] [MQTT-4.6.0-6] */
static void messages_wait_in_the_order_in_which_they_came(void **state)
{
    struct session_store *store = session_store_new();
    struct session *session = session_of(store);

    assert_int_equal(enqueue(session, "a", 1, 0, 0), 0);
    assert_int_equal(enqueue(session, "b", 2, 0, 0), 0);
    assert_int_equal(enqueue(session, "c", 1, 0, 0), 0);
    assert_queue(session, "abc");
    assert_int_equal(session_store_queued(store), 3);
    session_store_free(store);
}

static void a_full_queue_of_an_absent_client_drops_the_oldest(void **state)
{
    struct session_store *store = store_with_limits(3, UINT64_MAX, false);
    struct session *session = session_of(store);

    for (const char *name = "abc"; *name; name++) {
        assert_int_equal(enqueue(session, (char[]){*name, 0}, 1, 0, 0), 0);
    }
    assert_int_equal(enqueue(session, "d", 1, 0, 0), 1);
    assert_queue(session, "bcd");
    assert_int_equal(session->dropped_messages, 1);
    session_store_free(store);
}

static void a_queue_full_in_bytes_drops_as_many_as_it_takes(void **state)
{
    struct session_store *store = session_store_new();
    struct session *session = session_of(store);

    for (const char *name = "abc"; *name; name++) {
        enqueue(session, (char[]){*name, 0}, 1, 0, 0);
    }
    struct session_limits limits = *session_store_limits(store);
    limits.queue_bytes_max = session->deliveries.bytes;
    session_store_set_limits(store, &limits);
    assert_int_equal(enqueue(session, "long", 1, 0, 0), 1);
    assert_queue(session, "clong");
    assert_int_equal(session->dropped_messages, 2);
    session_store_free(store);
}

static void a_message_larger_than_the_queue_drops_nothing_else(void **state)
{
    struct session_store *store = store_with_limits(10, sizeof(struct message) + 5, false);
    struct session *session = session_of(store);

    assert_int_equal(enqueue(session, "a", 1, 0, 0), 0);
    assert_int_equal(enqueue(session, "too long", 1, 0, 0), -ENOBUFS);
    assert_queue(session, "a");
    assert_int_equal(session->dropped_messages, 1);
    session_store_free(store);
}

static void a_queue_that_refuses_keeps_what_it_has(void **state)
{
    struct session_store *store = store_with_limits(2, UINT64_MAX, true);
    struct session *session = session_of(store);
    _cleanup_(message_unrefp) struct message *message = message_of("t", "x", 1, 0);

    assert_false(session_is_full(session, message));
    enqueue(session, "a", 1, 0, 0);
    enqueue(session, "b", 1, 0, 0);
    assert_true(session_is_full(session, message));
    assert_int_equal(enqueue(session, "c", 1, 0, 0), -ENOBUFS);
    assert_queue(session, "ab");
    assert_int_equal(session->dropped_messages, 0);
    session_store_free(store);
}

static void nothing_is_dropped_while_a_client_is_connected(void **state)
{
    struct session_store *store = store_with_limits(4, 40, false);
    struct session *session = session_of(store);
    _cleanup_(message_unrefp) struct message *message = message_of("t", "x", 1, 0);

    session->connection_number = 7;
    for (const char *name = "abcdefg"; *name; name++) {
        assert_int_equal(enqueue(session, (char[]){*name, 0}, 1, 1, 2), 0);
    }
    assert_queue(session, "abcdefg");
    assert_false(session_is_full(session, message));
    assert_int_equal(session->dropped_messages, 0);
    session_store_free(store);
}

static void a_queue_too_long_is_cut_when_one_comes_after_the_client_is_gone(void **state)
{
    struct session_store *store = store_with_limits(3, UINT64_MAX, false);
    struct session *session = session_of(store);

    session->connection_number = 7;
    for (const char *name = "abcdefg"; *name; name++) {
        enqueue(session, (char[]){*name, 0}, 1, 0, 0);
    }
    session->connection_number = 0;
    assert_queue(session, "abcdefg");
    assert_int_equal(enqueue(session, "h", 1, 0, 0), 1);
    assert_queue(session, "fgh");
    assert_int_equal(session->dropped_messages, 5);
    session_store_free(store);
}

static void what_the_client_has_received_is_never_dropped(void **state)
{
    struct session_store *store = store_with_limits(3, UINT64_MAX, false);
    struct session *session = session_of(store);

    for (const char *name = "abc"; *name; name++) {
        enqueue(session, (char[]){*name, 0}, 2, 0, 0);
    }
    assert_true(session_acknowledge(session, SESSION_PUBREC, 2));
    assert_int_equal(enqueue(session, "d", 2, 0, 0), 1);
    assert_int_equal(enqueue(session, "e", 2, 0, 0), 1);
    assert_int_equal(enqueue(session, "f", 2, 0, 0), 1);
    assert_queue(session, "Ref");
    assert_int_equal(session->dropped_messages, 3);
    session_store_free(store);
}

static void a_queue_of_received_ones_only_takes_nothing_more(void **state)
{
    struct session_store *store = store_with_limits(1, UINT64_MAX, false);
    struct session *session = session_of(store);

    enqueue(session, "a", 2, 0, 0);
    assert_true(session_acknowledge(session, SESSION_PUBREC, 1));
    assert_int_equal(enqueue(session, "b", 2, 0, 0), -ENOBUFS);
    assert_queue(session, "R");
    session_store_free(store);
}

/* [MQTT-3.3.2-5] */
static void expired_messages_go_first_and_are_not_counted_as_dropped(void **state)
{
    struct session_store *store = store_with_limits(4, UINT64_MAX, false);
    struct session *session = session_of(store);

    enqueue(session, "a", 1, 0, 0);
    enqueue(session, "b", 1, 100, 0);
    enqueue(session, "c", 1, 200, 0);
    enqueue(session, "d", 1, 100, 0);
    assert_int_equal(enqueue(session, "e", 1, 0, 99), 1);
    assert_queue(session, "bcde");
    assert_int_equal(enqueue(session, "f", 1, 0, 150), 0);
    assert_queue(session, "cef");
    assert_int_equal(enqueue(session, "g", 1, 0, 150), 0);
    assert_int_equal(enqueue(session, "h", 1, 0, 200), 0);
    assert_queue(session, "efgh");
    assert_int_equal(session->dropped_messages, 1);
    session_store_free(store);
}

static void a_queue_that_refuses_lets_expired_ones_go(void **state)
{
    struct session_store *store = store_with_limits(2, UINT64_MAX, true);
    struct session *session = session_of(store);

    enqueue(session, "a", 1, 100, 0);
    enqueue(session, "b", 1, 0, 0);
    assert_int_equal(enqueue(session, "c", 1, 0, 100), 0);
    assert_queue(session, "bc");
    session_store_free(store);
}

static void a_queue_frozen_behind_a_received_one_goes_on_for_ever(void **state)
{
    struct session_store *store = store_with_limits(3, UINT64_MAX, false);
    struct session *session = session_of(store);

    enqueue(session, "a", 2, 0, 0);
    assert_true(session_acknowledge(session, SESSION_PUBREC, 1));
    for (int i = 0; i < 3 * 65536; i++) {
        assert_in_range(enqueue(session, (char[]){(char)('a' + i % 26), 0}, 1, 0, 0), 0, 1);
    }
    assert_int_equal(session->deliveries.waiting, 3);
    assert_true(session_acknowledge(session, SESSION_PUBCOMP, 1));
    assert_int_equal(session->deliveries.waiting, 2);
    session_store_free(store);
}

static void a_connected_client_that_acknowledges_nothing_ends_at_the_longest_ring(void **state)
{
    struct session_store *store = store_with_limits(3, UINT64_MAX, false);
    struct session *session = session_of(store);
    _cleanup_(message_unrefp) struct message *message = message_of("t", "x", 1, 0);

    session->connection_number = 1;
    while (session->deliveries.count < DELIVERY_RING_MAX) {
        assert_int_equal(session_enqueue(session, message, 1, false, NULL, 0, 0), 0);
    }
    assert_true(session_is_full(session, message));
    assert_int_equal(session_enqueue(session, message, 1, false, NULL, 0, 0), -ENOBUFS);
    assert_int_equal(session->dropped_messages, 1);
    assert_true(session_acknowledge(session, SESSION_PUBACK, 1));
    assert_int_equal(session_enqueue(session, message, 1, false, NULL, 0, 0), 0);
    session_store_free(store);
}

/* [MQTT-4.3.2-3] */
static void puback_ends_a_delivery_of_qos_1_only(void **state)
{
    struct session_store *store = session_store_new();
    struct session *session = session_of(store);

    enqueue(session, "a", 1, 0, 0);
    enqueue(session, "b", 2, 0, 0);
    assert_false(session_acknowledge(session, SESSION_PUBACK, 2));
    assert_false(session_acknowledge(session, SESSION_PUBREC, 1));
    assert_false(session_acknowledge(session, SESSION_PUBACK, 3));
    assert_true(session_acknowledge(session, SESSION_PUBACK, 1));
    assert_false(session_acknowledge(session, SESSION_PUBACK, 1));
    assert_queue(session, "b");
    session_store_free(store);
}

/* [MQTT-4.3.3-4] [MQTT-4.3.3-5] */
static void qos_2_goes_by_pubrec_and_pubcomp(void **state)
{
    struct session_store *store = session_store_new();
    struct session *session = session_of(store);

    enqueue(session, "a", 2, 0, 0);
    assert_false(session_acknowledge(session, SESSION_PUBCOMP, 1));
    assert_true(session_acknowledge(session, SESSION_PUBREC, 1));
    assert_true(session_acknowledge(session, SESSION_PUBREC, 1));
    assert_false(session_acknowledge(session, SESSION_PUBREC_ERROR, 1));
    assert_queue(session, "R");
    assert_true(session_acknowledge(session, SESSION_PUBCOMP, 1));
    assert_queue(session, "");
    assert_false(session_acknowledge(session, SESSION_PUBCOMP, 1));
    session_store_free(store);
}

static void pubrec_with_an_error_ends_the_delivery(void **state)
{
    struct session_store *store = session_store_new();
    struct session *session = session_of(store);

    enqueue(session, "a", 2, 0, 0);
    assert_true(session_acknowledge(session, SESSION_PUBREC_ERROR, 1));
    assert_queue(session, "");
    assert_int_equal(session_store_queued(store), 0);
    session_store_free(store);
}

/* [MQTT-4.3.3-8] [MQTT-4.3.3-10] */
static void received_packet_ids_are_known_until_they_are_released(void **state)
{
    struct packet_id_set set = {0};

    for (uint16_t id = 1000; id > 0; id--) {
        assert_true(packet_id_set_add(&set, id));
        assert_false(packet_id_set_add(&set, id));
    }
    assert_true(packet_id_set_add(&set, 65535));
    assert_true(packet_id_set_has(&set, 65535));
    assert_false(packet_id_set_has(&set, 1001));
    assert_false(packet_id_set_remove(&set, 1001));
    for (uint16_t id = 1; id <= 1000; id++) {
        assert_true(packet_id_set_has(&set, id));
        assert_true(packet_id_set_remove(&set, id));
        assert_false(packet_id_set_remove(&set, id));
    }
    assert_true(packet_id_set_remove(&set, 65535));
    assert_null(set.ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_wait_in_the_order_in_which_they_came),
        cmocka_unit_test(a_full_queue_of_an_absent_client_drops_the_oldest),
        cmocka_unit_test(a_queue_full_in_bytes_drops_as_many_as_it_takes),
        cmocka_unit_test(a_message_larger_than_the_queue_drops_nothing_else),
        cmocka_unit_test(a_queue_that_refuses_keeps_what_it_has),
        cmocka_unit_test(nothing_is_dropped_while_a_client_is_connected),
        cmocka_unit_test(a_queue_too_long_is_cut_when_one_comes_after_the_client_is_gone),
        cmocka_unit_test(what_the_client_has_received_is_never_dropped),
        cmocka_unit_test(a_queue_of_received_ones_only_takes_nothing_more),
        cmocka_unit_test(expired_messages_go_first_and_are_not_counted_as_dropped),
        cmocka_unit_test(a_queue_that_refuses_lets_expired_ones_go),
        cmocka_unit_test(a_queue_frozen_behind_a_received_one_goes_on_for_ever),
        cmocka_unit_test(a_connected_client_that_acknowledges_nothing_ends_at_the_longest_ring),
        cmocka_unit_test(puback_ends_a_delivery_of_qos_1_only),
        cmocka_unit_test(qos_2_goes_by_pubrec_and_pubcomp),
        cmocka_unit_test(pubrec_with_an_error_ends_the_delivery),
        cmocka_unit_test(received_packet_ids_are_known_until_they_are_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
