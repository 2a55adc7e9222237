/* SUBSCRIBE, UNSUBSCRIBE, SUBACK, UNSUBACK. */
#include "packet/sample.h"

static int decode(uint8_t first, uint8_t version, const char *body)
{
    SAMPLE(sample, first, body);
    struct packet_subscribe packet;

    return first >> 4 == PACKET_SUBSCRIBE
               ? packet_subscribe_decode(&sample.frame, version, &packet)
               : packet_unsubscribe_decode(&sample.frame, version, &packet);
}

static int decode_suback(uint8_t first, uint8_t version, const char *body)
{
    SAMPLE(sample, first, body);
    struct packet_suback suback;
    return packet_suback_decode(&sample.frame, version, &suback);
}

static void filters_are_read_one_after_another(void **state)
{
    SAMPLE(sample, 0x82, "0005 02 0b 07 0003'a/+' 01 0001'#' 2e");
    struct packet_subscribe subscribe;
    struct packet_subscription subscription;
    (void)state;

    assert_int_equal(packet_subscribe_decode(&sample.frame, PACKET_MQTT_5, &subscribe), 0);
    assert_int_equal(subscribe.packet_id, 5);
    assert_int_equal(subscribe.count, 2);
    assert_int_equal(subscribe.properties.subscription_id, 7);
    assert_true(packet_subscribe_next(&subscribe, PACKET_MQTT_5, &subscription));
    assert_bytes(subscription.filter, "a/+");
    assert_int_equal(subscription.qos, 1);
    assert_false(subscription.no_local || subscription.retain_as_published ||
                 subscription.retain_handling);
    assert_true(packet_subscribe_next(&subscribe, PACKET_MQTT_5, &subscription));
    assert_bytes(subscription.filter, "#");
    assert_int_equal(subscription.qos, 2);
    assert_true(subscription.no_local && subscription.retain_as_published);
    assert_int_equal(subscription.retain_handling, 2);
    assert_false(packet_subscribe_next(&subscribe, PACKET_MQTT_5, &subscription));
}

static void a_subscribe_of_3_1_1_has_a_qos_only(void **state)
{
    SAMPLE(sample, 0x82, "0005 0001'a' 02");
    struct packet_subscribe subscribe;
    struct packet_subscription subscription;
    (void)state;

    assert_int_equal(packet_subscribe_decode(&sample.frame, PACKET_MQTT_3_1_1, &subscribe), 0);
    assert_true(packet_subscribe_next(&subscribe, PACKET_MQTT_3_1_1, &subscription));
    assert_int_equal(subscription.qos, 2);
    assert_int_equal(decode(0x82, PACKET_MQTT_3_1_1, "0005 0001'a' 03"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x82, PACKET_MQTT_3_1_1, "0005 0001'a' 04"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.8.1-1] [MQTT-3.10.1-1] */
static void reserved_flags_are_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode(0x80, PACKET_MQTT_5, "0005 00 0001'a' 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x83, PACKET_MQTT_5, "0005 00 0001'a' 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0xa0, PACKET_MQTT_5, "0005 00 0001'a'"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_suback(0x91, PACKET_MQTT_5, "0005 00 00"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.8.3-2] [MQTT-3.10.3-2] */
static void a_packet_without_filters_is_a_protocol_error(void **state)
{
    (void)state;
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0x82, PACKET_MQTT_3_1_1, "0005"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0xa2, PACKET_MQTT_5, "0005 00"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0xa2, PACKET_MQTT_3_1_1, "0005"), REASON_PROTOCOL_ERROR);
}

/* [MQTT-3.8.3-5] */
static void reserved_option_bits_are_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 0001'a' 40"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 0001'a' 80"), REASON_MALFORMED_PACKET);
}

static void qos_3_and_retain_handling_3_are_protocol_errors(void **state)
{
    (void)state;
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 0001'a' 03"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 0001'a' 30"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 0001'a' 00 0001'b' 33"),
                     REASON_PROTOCOL_ERROR);
}

/* [MQTT-2.2.1-3] */
static void packet_id_0_is_a_protocol_error(void **state)
{
    (void)state;
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0000 00 0001'a' 00"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0xa2, PACKET_MQTT_5, "0000 00 0001'a'"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_suback(0x90, PACKET_MQTT_5, "0000 00 00"), REASON_PROTOCOL_ERROR);
}

/* [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.3-1] */
static void filters_are_utf8_and_not_empty(void **state)
{
    (void)state;
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 0001ff 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 000100 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 0000 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0xa2, PACKET_MQTT_5, "0005 00 0001ff"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0xa2, PACKET_MQTT_5, "0005 00 0000"), REASON_MALFORMED_PACKET);
}

static void a_filter_that_is_cut_short_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 0001'a'"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 0003'a' 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005 00 0001'a' 00 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0xa2, PACKET_MQTT_5, "0005 00 0001'a' 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x82, PACKET_MQTT_5, "0005"), REASON_MALFORMED_PACKET);
}

static void thousands_of_filters_are_written_and_read(void **state)
{
    enum { COUNT = 5000 };
    g_autofree struct packet_subscription *subscriptions =
        g_new0(struct packet_subscription, COUNT);
    g_autofree struct bytes *filters = g_new0(struct bytes, COUNT);
    GByteArray *packet = g_byte_array_new();
    struct packet_frame frame;
    struct packet_subscribe subscribe;
    struct packet_subscription out;
    struct bytes filter;
    (void)state;

    for (int i = 0; i < COUNT; i++) {
        filters[i] = bytes_from_string("some/filter");
        subscriptions[i] = (struct packet_subscription){filters[i], 1, true, false, 2};
    }
    packet_subscribe_encode(9, subscriptions, COUNT, PACKET_MQTT_5, NULL, packet);
    assert_int_equal(
        packet_frame_find((struct bytes){packet->data, packet->len}, UINT32_MAX, &frame), 1);
    assert_int_equal(packet_subscribe_decode(&frame, PACKET_MQTT_5, &subscribe), 0);
    assert_int_equal(subscribe.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_true(packet_subscribe_next(&subscribe, PACKET_MQTT_5, &out));
        assert_true(out.no_local && out.qos == 1 && out.retain_handling == 2 &&
                    !out.retain_as_published);
    }
    assert_false(packet_subscribe_next(&subscribe, PACKET_MQTT_5, &out));
    g_byte_array_set_size(packet, 0);
    packet_unsubscribe_encode(9, filters, COUNT, PACKET_MQTT_5, packet);
    assert_int_equal(
        packet_frame_find((struct bytes){packet->data, packet->len}, UINT32_MAX, &frame), 1);
    assert_int_equal(packet_unsubscribe_decode(&frame, PACKET_MQTT_5, &subscribe), 0);
    assert_int_equal(subscribe.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_true(packet_unsubscribe_next(&subscribe, &filter));
        assert_bytes(filter, "some/filter");
    }
    assert_false(packet_unsubscribe_next(&subscribe, &filter));
    g_byte_array_unref(packet);
}

static void packets_of_3_1_1_are_written_without_properties(void **state)
{
    struct packet_subscription subscription = {bytes_from_string("a"), 2, true, true, 1};
    struct bytes filter = bytes_from_string("a");
    GByteArray *packet = g_byte_array_new();
    static const uint8_t reasons[] = {0, 1, 0x87};
    struct packet_suback suback = {.packet_id = 1, .reasons = {reasons, sizeof reasons}};
    (void)state;

    packet_subscribe_encode(1, &subscription, 1, PACKET_MQTT_3_1_1, NULL, packet);
    packet_unsubscribe_encode(1, &filter, 1, PACKET_MQTT_3_1_1, packet);
    packet_suback_encode(PACKET_SUBACK, &suback, PACKET_MQTT_3_1_1, NULL, packet);
    packet_suback_encode(PACKET_UNSUBACK, &suback, PACKET_MQTT_3_1_1, NULL, packet);
    assert_encoded(packet->data, packet->len,
                   "82 06 0001 0001'a' 02 a2 05 0001 0001'a' 90 05 0001 00 01 80 b0 02 0001");
    g_byte_array_unref(packet);
}

/* [MQTT-3.9.3-2] [MQTT-3.11.3-2] */
static void answers_have_one_of_their_reason_codes(void **state)
{
    static const struct {
        uint8_t first, version;
        const char *codes;
    } rows[] = {{0x90, PACKET_MQTT_5, "00 01 02 80 83 87 8f 91 97 9e a1 a2"},
                {0xb0, PACKET_MQTT_5, "00 11 80 83 87 8f 91"},
                {0x90, PACKET_MQTT_3_1_1, "00 01 02 80"}};
    (void)state;

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) codes = sample_bytes(rows[i].codes);
        for (int code = 0; code < 256; code++) {
            bool is_5 = rows[i].version == PACKET_MQTT_5;
            g_autofree char *body = g_strdup_printf("0001 %s 00 %02x", is_5 ? "00" : "", code);
            bool is_allowed = memchr(codes->data, code, codes->len);
            assert_int_equal(decode_suback(rows[i].first, rows[i].version, body),
                             is_allowed ? 0 : REASON_PROTOCOL_ERROR);
        }
    }
}

static void answers_are_read(void **state)
{
    SAMPLE(sample, 0x90, "0007 05 1f 0002'ok' 00 87 02");
    struct packet_suback suback;
    (void)state;

    assert_int_equal(packet_suback_decode(&sample.frame, PACKET_MQTT_5, &suback), 0);
    assert_int_equal(suback.packet_id, 7);
    assert_bytes(suback.properties.reason_string, "ok");
    assert_int_equal(suback.reasons.length, 3);
    assert_int_equal(suback.reasons.at[1], 0x87);
    assert_int_equal(decode_suback(0x90, PACKET_MQTT_5, "0007 00"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_suback(0x90, PACKET_MQTT_5, "0007"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_suback(0xb0, PACKET_MQTT_3_1_1, "0007"), 0);
    assert_int_equal(decode_suback(0xb0, PACKET_MQTT_3_1_1, "0007 00"), REASON_MALFORMED_PACKET);
}

static void answers_are_written(void **state)
{
    static const uint8_t reasons[] = {0, 0x87};
    struct packet_suback suback = {.packet_id = 3, .reasons = {reasons, sizeof reasons}};
    struct properties_builder builder;
    GByteArray *packet = g_byte_array_new();
    (void)state;

    properties_builder_init(&builder);
    properties_add_bytes(&builder, PROPERTY_REASON_STRING, bytes_from_string("r"));
    packet_suback_encode(PACKET_SUBACK, &suback, PACKET_MQTT_5, &builder, packet);
    packet_suback_encode(PACKET_UNSUBACK, &suback, PACKET_MQTT_5, NULL, packet);
    assert_encoded(packet->data, packet->len, "90 09 0003 04 1f 0001'r' 00 87 b0 05 0003 00 00 87");
    properties_builder_deinit(&builder);
    g_byte_array_unref(packet);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_are_read_one_after_another),
        cmocka_unit_test(a_subscribe_of_3_1_1_has_a_qos_only),
        cmocka_unit_test(reserved_flags_are_malformed),
        cmocka_unit_test(a_packet_without_filters_is_a_protocol_error),
        cmocka_unit_test(reserved_option_bits_are_malformed),
        cmocka_unit_test(qos_3_and_retain_handling_3_are_protocol_errors),
        cmocka_unit_test(packet_id_0_is_a_protocol_error),
        cmocka_unit_test(filters_are_utf8_and_not_empty),
        cmocka_unit_test(a_filter_that_is_cut_short_is_malformed),
        cmocka_unit_test(thousands_of_filters_are_written_and_read),
        cmocka_unit_test(packets_of_3_1_1_are_written_without_properties),
        cmocka_unit_test(answers_have_one_of_their_reason_codes),
        cmocka_unit_test(answers_are_read),
        cmocka_unit_test(answers_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
