/* Finding packets in the input. */
#include "packet/sample.h"

#define LIMIT 1000000000u

static int find(const char *notation, uint32_t packet_bytes_max, struct packet_frame *frame)
{
    g_autoptr(GByteArray) bytes = sample_bytes(notation);
    return packet_frame_find((struct bytes){bytes->data, bytes->len}, packet_bytes_max, frame);
}

static void a_whole_packet_is_found_with_what_follows_left_alone(void **state)
{
    struct packet_frame frame;
    (void)state;

    assert_int_equal(find("33 03 010203 C000", LIMIT, &frame), 1);
    assert_int_equal(frame.type, PACKET_PUBLISH);
    assert_int_equal(frame.flags, 3);
    assert_int_equal(frame.body.length, 3);
    assert_int_equal(frame.total_bytes, 5);
    assert_int_equal(find("C000", LIMIT, &frame), 1);
    assert_int_equal(frame.type, PACKET_PINGREQ);
    assert_int_equal(frame.body.length, 0);
}

static void a_part_of_a_packet_waits_for_more(void **state)
{
    struct packet_frame frame;
    (void)state;

    assert_int_equal(find("", LIMIT, &frame), 0);
    assert_int_equal(frame.total_bytes, 0);
    assert_int_equal(find("30", LIMIT, &frame), 0);
    assert_int_equal(frame.total_bytes, 0);
    assert_int_equal(find("30 80", LIMIT, &frame), 0);
    assert_int_equal(find("30 80 80 80", LIMIT, &frame), 0);
    assert_int_equal(frame.total_bytes, 0);
    assert_int_equal(find("30 04 010203", LIMIT, &frame), 0);
    assert_int_equal(frame.total_bytes, 6);
    assert_int_equal(find("30 ffffff7f", LIMIT, &frame), 0);
    assert_int_equal(frame.total_bytes, 5 + 268435455);
}

static void a_length_of_five_bytes_is_malformed(void **state)
{
    struct packet_frame frame;
    (void)state;

    assert_int_equal(find("30 80808080", LIMIT, &frame), -REASON_MALFORMED_PACKET);
    assert_int_equal(find("30 8080808001", LIMIT, &frame), -REASON_MALFORMED_PACKET);
}

/* [MQTT-2.1.3-1] */
static void reserved_types_and_flags_are_malformed_at_the_first_byte(void **state)
{
    static const uint8_t good[] = {0x10, 0x20, 0x40, 0x50, 0x62, 0x70, 0x82,
                                   0x90, 0xa2, 0xb0, 0xc0, 0xd0, 0xe0, 0xf0};
    struct packet_frame frame;
    (void)state;

    for (int first = 0; first < 256; first++) {
        uint8_t byte = (uint8_t)first;
        bool is_good = first >> 4 == PACKET_PUBLISH || memchr(good, first, sizeof good);
        int r = packet_frame_find((struct bytes){&byte, 1}, LIMIT, &frame);
        assert_int_equal(r, is_good ? 0 : -REASON_MALFORMED_PACKET);
    }
}

static void a_ping_has_no_body(void **state)
{
    struct packet_frame frame;
    (void)state;

    assert_int_equal(find("C0 01 00", LIMIT, &frame), -REASON_MALFORMED_PACKET);
    assert_int_equal(find("D0 01", LIMIT, &frame), -REASON_MALFORMED_PACKET);
}

static void a_packet_above_the_limit_is_refused_before_its_body_came(void **state)
{
    struct packet_frame frame;
    (void)state;

    assert_int_equal(find("30 0a", 11, &frame), -REASON_PACKET_TOO_LARGE);
    assert_int_equal(frame.total_bytes, 12);
    assert_int_equal(find("30 0a", 12, &frame), 0);
    assert_int_equal(find("30 ffffff7f", 268435455, &frame), -REASON_PACKET_TOO_LARGE);
}

/* [MQTT-1.5.5-1] */
static void a_length_in_more_bytes_than_needed_is_malformed_in_version_5(void **state)
{
    struct packet_frame frame;
    struct packet_ack ack;
    g_autoptr(GByteArray) bytes = sample_bytes("40 8200 0001");
    (void)state;

    assert_int_equal(packet_frame_find((struct bytes){bytes->data, bytes->len}, LIMIT, &frame), 1);
    assert_int_equal(packet_ack_decode(&frame, PACKET_MQTT_3_1_1, &ack), 0);
    assert_int_equal(packet_ack_decode(&frame, PACKET_MQTT_5, &ack), REASON_MALFORMED_PACKET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_packet_is_found_with_what_follows_left_alone),
        cmocka_unit_test(a_part_of_a_packet_waits_for_more),
        cmocka_unit_test(a_length_of_five_bytes_is_malformed),
        cmocka_unit_test(reserved_types_and_flags_are_malformed_at_the_first_byte),
        cmocka_unit_test(a_ping_has_no_body),
        cmocka_unit_test(a_packet_above_the_limit_is_refused_before_its_body_came),
        cmocka_unit_test(a_length_in_more_bytes_than_needed_is_malformed_in_version_5),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
