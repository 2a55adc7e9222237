/* Messages and delivery rings: references, packet ids, the order of leaving, memory given back. */
#include "session/test_support.h"
#include <errno.h>

static void a_message_holds_what_it_was_made_of(void **state)
{
    struct message *message = message_new(text("a/b"), text("props"), text("hello"), 2, true, 1234);

    assert_true(bytes_equal(message_topic(message), text("a/b")));
    assert_true(bytes_equal(message_properties(message), text("props")));
    assert_true(bytes_equal(message_payload(message), text("hello")));
    assert_int_equal(message->qos, 2);
    assert_true(message->retain);
    assert_int_equal(message->expires_unix_ms, 1234);
    assert_false(message_is_expired(message, 1233));
    assert_true(message_is_expired(message, 1234));
    assert_int_equal(message_bytes(message), sizeof *message + 13);
    assert_ptr_equal(message_ref(message), message);
    message_unref(message);
    message_unref(message);
    message_unref(NULL);
}

static void a_message_that_never_expires_is_never_expired(void **state)
{
    _cleanup_(message_unrefp) struct message *message = message_of("t", "", 0, 0);
    assert_false(message_is_expired(message, UINT64_MAX));
    assert_int_equal(message_payload(message).length, 0);
}

static void an_end_of_time_beyond_the_field_stays_far_away(void **state)
{
    _cleanup_(message_unrefp) struct message *message = message_of("t", "x", 0, UINT64_MAX);
    assert_int_equal(message->expires_unix_ms, MESSAGE_EXPIRY_MAX);
}

static void push(struct delivery_ring *ring, uint8_t qos)
{
    _cleanup_(message_unrefp) struct message *message = message_of("t", "x", qos, 0);
    assert_int_equal(delivery_ring_push(ring, message, qos, false, NULL, 0), 0);
}

static void an_emptied_ring_gives_its_memory_back(void **state)
{
    struct delivery_totals totals = {0};
    struct delivery_ring ring;

    delivery_ring_init(&ring);
    ring.totals = &totals;
    for (int i = 0; i < 1000; i++) {
        push(&ring, 1);
    }
    assert_int_equal(totals.waiting, 1000);
    assert_int_equal(totals.memory, 1024 * sizeof(struct delivery));
    assert_int_equal(totals.bytes, ring.bytes);
    while (ring.count > 0) {
        delivery_ring_finish(&ring, ring.first);
    }
    assert_null(ring.items);
    assert_int_equal(totals.waiting + totals.memory + totals.bytes, 0);
    delivery_ring_deinit(&ring);
}

static void one_message_at_a_time_uses_the_same_slots_again(void **state)
{
    struct delivery_ring ring;
    const struct delivery *items = NULL;

    delivery_ring_init(&ring);
    for (int i = 0; i < 10; i++) {
        push(&ring, 1);
        assert_true(!items || items == ring.items);
        items = ring.items;
        assert_int_equal(ring.waiting, 1);
        delivery_ring_finish(&ring, ring.first);
    }
    delivery_ring_deinit(&ring);
}

/* [MQTT-2.2.1-4] */
static void packet_ids_in_use_are_never_given_again(void **state)
{
    g_autofree bool *used = g_new0(bool, 65536);
    struct delivery_ring ring;

    delivery_ring_init(&ring);
    ring.first = 65000; /* over the turn of the ids */
    for (int i = 0; i < DELIVERY_RING_MAX; i++) {
        push(&ring, 1);
        uint16_t id = delivery_packet_id(delivery_ring_end(&ring) - 1);
        assert_int_not_equal(id, 0);
        assert_false(used[id]);
        used[id] = true;
    }
    _cleanup_(message_unrefp) struct message *message = message_of("t", "x", 1, 0);
    assert_int_equal(delivery_ring_push(&ring, message, 1, false, NULL, 0), -ENOBUFS);
    delivery_ring_deinit(&ring);
}

static void a_delivery_is_found_by_its_packet_id_until_it_is_done(void **state)
{
    struct delivery_ring ring;
    uint64_t sequence = 0;

    delivery_ring_init(&ring);
    ring.first = 65533;
    for (int i = 0; i < 5; i++) {
        push(&ring, 1);
    }
    for (uint64_t i = 65533; i < 65538; i++) {
        assert_ptr_equal(delivery_ring_find(&ring, delivery_packet_id(i), &sequence),
                         delivery_ring_at(&ring, i));
        assert_int_equal(sequence, i);
    }
    delivery_ring_finish(&ring, 65534);
    assert_null(delivery_ring_find(&ring, delivery_packet_id(65534), &sequence));
    assert_null(delivery_ring_find(&ring, 0, &sequence));
    assert_null(delivery_ring_find(&ring, 100, &sequence));
    assert_null(delivery_ring_at(&ring, 65532));
    assert_null(delivery_ring_at(&ring, 65538));
    delivery_ring_deinit(&ring);
}

static void deliveries_done_out_of_order_leave_when_the_oldest_does(void **state)
{
    struct delivery_ring ring;

    delivery_ring_init(&ring);
    for (int i = 0; i < 4; i++) {
        push(&ring, 1);
    }
    delivery_ring_finish(&ring, 1);
    delivery_ring_finish(&ring, 1);
    delivery_ring_finish(&ring, 2);
    assert_int_equal(ring.count, 4);
    assert_int_equal(ring.waiting, 2);
    delivery_ring_finish(&ring, 0);
    assert_int_equal(ring.count, 1);
    assert_int_equal(ring.first, 3);
    delivery_ring_deinit(&ring);
}

/* [MQTT-4.3.3-5] [MQTT-4.3.3-6] */
static void a_received_delivery_keeps_its_packet_id_and_frees_its_message(void **state)
{
    uint32_t ids[] = {7, 9};
    struct message *message = message_of("t", "x", 2, 0);
    struct delivery_ring ring;
    uint64_t sequence = 99;

    delivery_ring_init(&ring);
    assert_int_equal(delivery_ring_push(&ring, message, 2, true, ids, 2), 0);
    assert_int_equal(message->references, 2);
    struct delivery *delivery = delivery_ring_at(&ring, 0);
    assert_true(delivery->retain);
    assert_int_equal(delivery->subscription_ids[0], 2);
    assert_int_equal(delivery->subscription_ids[2], 9);
    delivery_ring_receive(&ring, 0);
    assert_int_equal(message->references, 1);
    assert_null(delivery->subscription_ids);
    assert_int_equal(ring.bytes, 0);
    assert_int_equal(ring.waiting, 1);
    assert_ptr_equal(delivery_ring_find(&ring, 1, &sequence), delivery);
    assert_int_equal(sequence, 0);
    message_unref(message);
    delivery_ring_deinit(&ring);
}

static void a_place_without_message_keeps_its_packet_id(void **state)
{
    struct delivery_ring ring;

    delivery_ring_init(&ring);
    assert_int_equal(delivery_ring_push(&ring, NULL, 2, false, NULL, 0), 0);
    assert_int_equal(ring.bytes, 0);
    assert_int_equal(ring.waiting, 1);
    delivery_ring_receive(&ring, 0);
    assert_int_equal(delivery_ring_at(&ring, 0)->state, DELIVERY_RECEIVED);
    delivery_ring_deinit(&ring);
}

static void a_ring_is_restored_with_its_gaps(void **state)
{
    struct delivery_ring ring;

    delivery_ring_init(&ring);
    ring.first = 500;
    assert_int_equal(delivery_ring_push_bare(&ring, DELIVERY_RECEIVED, 2), 0);
    assert_int_equal(delivery_ring_push_bare(&ring, DELIVERY_DONE, 1), 0);
    push(&ring, 1);
    assert_int_equal(ring.count, 3);
    assert_int_equal(ring.waiting, 2);
    delivery_ring_finish(&ring, 500);
    assert_int_equal(ring.first, 502);
    delivery_ring_deinit(&ring);
}

static void closing_gaps_moves_nothing_up_to_the_last_received_one(void **state)
{
    struct delivery_ring ring;

    delivery_ring_init(&ring);
    push(&ring, 2);
    push(&ring, 1);
    push(&ring, 2);
    for (int i = 0; i < 40; i++) {
        push(&ring, 1);
    }
    delivery_ring_receive(&ring, 2);
    delivery_ring_finish(&ring, 1);
    for (uint64_t i = 3; i < 40; i++) {
        delivery_ring_finish(&ring, i);
    }
    struct message *last = delivery_ring_at(&ring, 42)->message;
    assert_int_equal(delivery_ring_compact(&ring), 3);
    assert_int_equal(ring.count, 6);
    assert_int_equal(ring.waiting, 5);
    assert_int_equal(delivery_ring_at(&ring, 1)->state, DELIVERY_DONE);
    assert_int_equal(delivery_ring_at(&ring, 2)->state, DELIVERY_RECEIVED);
    assert_ptr_equal(delivery_ring_at(&ring, 5)->message, last);
    delivery_ring_deinit(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_holds_what_it_was_made_of),
        cmocka_unit_test(a_message_that_never_expires_is_never_expired),
        cmocka_unit_test(an_end_of_time_beyond_the_field_stays_far_away),
        cmocka_unit_test(an_emptied_ring_gives_its_memory_back),
        cmocka_unit_test(one_message_at_a_time_uses_the_same_slots_again),
        cmocka_unit_test(packet_ids_in_use_are_never_given_again),
        cmocka_unit_test(a_delivery_is_found_by_its_packet_id_until_it_is_done),
        cmocka_unit_test(deliveries_done_out_of_order_leave_when_the_oldest_does),
        cmocka_unit_test(a_received_delivery_keeps_its_packet_id_and_frees_its_message),
        cmocka_unit_test(a_place_without_message_keeps_its_packet_id),
        cmocka_unit_test(a_ring_is_restored_with_its_gaps),
        cmocka_unit_test(closing_gaps_moves_nothing_up_to_the_last_received_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
