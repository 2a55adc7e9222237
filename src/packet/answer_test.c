/* The acknowledgements of PUBLISH, DISCONNECT, AUTH, the pings, and the names of reason codes. */
#include "packet/sample.h"

static int decode_ack(uint8_t first, uint8_t version, const char *body, struct packet_ack *out)
{
    SAMPLE(sample, first, body);
    return packet_ack_decode(&sample.frame, version, out);
}

static int decode_disconnect(uint8_t first, uint8_t version, const char *body,
                             struct packet_disconnect *out)
{
    SAMPLE(sample, first, body);
    return packet_disconnect_decode(&sample.frame, version, out);
}

static int decode_auth(uint8_t first, const char *body)
{
    SAMPLE(sample, first, body);
    struct packet_auth auth;
    return packet_auth_decode(&sample.frame, &auth);
}

static void an_acknowledgement_may_leave_out_reason_and_properties(void **state)
{
    struct packet_ack ack;
    (void)state;

    assert_int_equal(decode_ack(0x40, PACKET_MQTT_5, "0102", &ack), 0);
    assert_int_equal(ack.packet_id, 0x0102);
    assert_int_equal(ack.reason, 0);
    assert_int_equal(decode_ack(0x50, PACKET_MQTT_5, "0102 97", &ack), 0);
    assert_int_equal(ack.reason, REASON_QUOTA_EXCEEDED);
    assert_int_equal(decode_ack(0x62, PACKET_MQTT_5, "0102 92 00", &ack), 0);
    assert_int_equal(ack.properties.raw.length, 0);
    assert_int_equal(decode_ack(0x70, PACKET_MQTT_5, "0102 00 05 1f 0002'no'", &ack), 0);
    assert_int_equal(ack.properties.reason_string.length, 2);
    assert_int_equal(decode_ack(0x40, PACKET_MQTT_3_1_1, "0102", &ack), 0);
    assert_true(ack.properties.has == 0 && ack.properties.raw.length == 0);
}

static void an_acknowledgement_of_wrong_length_is_malformed(void **state)
{
    struct packet_ack ack;
    (void)state;

    assert_int_equal(decode_ack(0x40, PACKET_MQTT_5, "", &ack), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_ack(0x40, PACKET_MQTT_5, "01", &ack), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_ack(0x40, PACKET_MQTT_3_1_1, "0102 00", &ack), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_ack(0x40, PACKET_MQTT_5, "0102 00 00 00", &ack),
                     REASON_MALFORMED_PACKET);
    assert_int_equal(decode_ack(0x40, PACKET_MQTT_5, "0102 00 05 1f", &ack),
                     REASON_MALFORMED_PACKET);
}

/* [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] */
static void each_acknowledgement_has_one_of_its_reason_codes(void **state)
{
    static const struct {
        uint8_t first;
        const char *codes;
    } rows[] = {{0x40, "00 10 80 83 87 90 91 97 99"},
                {0x50, "00 10 80 83 87 90 91 97 99"},
                {0x62, "00 92"},
                {0x70, "00 92"}};
    struct packet_ack ack;
    (void)state;

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) codes = sample_bytes(rows[i].codes);
        for (int code = 0; code < 256; code++) {
            g_autofree char *body = g_strdup_printf("0001 %02x", code);
            bool is_allowed = memchr(codes->data, code, codes->len);
            assert_int_equal(decode_ack(rows[i].first, PACKET_MQTT_5, body, &ack),
                             is_allowed ? 0 : REASON_PROTOCOL_ERROR);
        }
    }
}

/* [MQTT-3.6.1-1] */
static void flags_of_acknowledgements_are_checked(void **state)
{
    struct packet_ack ack;
    (void)state;

    assert_int_equal(decode_ack(0x60, PACKET_MQTT_5, "0001", &ack), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_ack(0x63, PACKET_MQTT_5, "0001", &ack), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_ack(0x42, PACKET_MQTT_5, "0001", &ack), REASON_MALFORMED_PACKET);
}

static void packet_id_0_is_a_protocol_error(void **state)
{
    struct packet_ack ack;
    (void)state;

    assert_int_equal(decode_ack(0x40, PACKET_MQTT_5, "0000", &ack), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_ack(0x62, PACKET_MQTT_3_1_1, "0000", &ack), REASON_PROTOCOL_ERROR);
}

static void acknowledgements_are_written(void **state)
{
    uint8_t to[PACKET_SMALL_BYTES_MAX];
    (void)state;

    assert_encoded(to, packet_ack_encode(PACKET_PUBACK, 0x0102, 0, PACKET_MQTT_5, to),
                   "40 02 0102");
    assert_encoded(to, packet_ack_encode(PACKET_PUBREC, 0x0102, 0x10, PACKET_MQTT_5, to),
                   "50 03 0102 10");
    assert_encoded(to, packet_ack_encode(PACKET_PUBREL, 0x0102, 0, PACKET_MQTT_3_1_1, to),
                   "62 02 0102");
    assert_encoded(to, packet_ack_encode(PACKET_PUBCOMP, 0x0102, 0x92, PACKET_MQTT_3_1_1, to),
                   "70 02 0102");
    assert_encoded(to, packet_pingreq_encode(to), "c0 00");
    assert_encoded(to, packet_pingresp_encode(to), "d0 00");
}

static void acknowledgements_with_properties_are_written(void **state)
{
    struct packet_ack ack = {.packet_id = 7, .reason = 0x97};
    struct properties_builder builder;
    GByteArray *packet = g_byte_array_new();
    (void)state;

    properties_builder_init(&builder);
    packet_ack_encode_full(PACKET_PUBREL, &ack, &builder, packet);
    properties_add_bytes(&builder, PROPERTY_REASON_STRING, bytes_from_string("full"));
    packet_ack_encode_full(PACKET_PUBACK, &ack, &builder, packet);
    ack.reason = 0;
    packet_ack_encode_full(PACKET_PUBACK, &ack, &builder, packet);
    packet_ack_encode_full(PACKET_PUBACK, &ack, NULL, packet);
    assert_encoded(
        packet->data, packet->len,
        "62 03 0007 97 40 0b 0007 97 07 1f 0004'full' 40 0b 0007 00 07 1f 0004'full' 40 02 0007");
    properties_builder_deinit(&builder);
    g_byte_array_unref(packet);
}

static void a_disconnect_is_read(void **state)
{
    struct packet_disconnect disconnect;
    (void)state;

    assert_int_equal(decode_disconnect(0xe0, PACKET_MQTT_5, "", &disconnect), 0);
    assert_int_equal(disconnect.reason, 0);
    assert_int_equal(decode_disconnect(0xe0, PACKET_MQTT_5, "04", &disconnect), 0);
    assert_int_equal(disconnect.reason, REASON_DISCONNECT_WITH_WILL);
    assert_int_equal(decode_disconnect(0xe0, PACKET_MQTT_5, "00 05 11 0000000f", &disconnect), 0);
    assert_int_equal(disconnect.properties.session_expiry_s, 15);
    assert_int_equal(decode_disconnect(0xe0, PACKET_MQTT_3_1_1, "", &disconnect), 0);
    assert_int_equal(decode_disconnect(0xe0, PACKET_MQTT_3_1_1, "00", &disconnect),
                     REASON_MALFORMED_PACKET);
    assert_int_equal(decode_disconnect(0xe0, PACKET_MQTT_5, "00 00 00", &disconnect),
                     REASON_MALFORMED_PACKET);
}

/* [MQTT-3.14.1-1] */
static void the_flags_of_disconnect_are_checked(void **state)
{
    struct packet_disconnect disconnect;
    (void)state;
    assert_int_equal(decode_disconnect(0xe1, PACKET_MQTT_5, "", &disconnect),
                     REASON_MALFORMED_PACKET);
}

/* [MQTT-3.14.2-1] */
static void disconnect_has_one_of_its_reason_codes(void **state)
{
    struct packet_disconnect disconnect;
    g_autoptr(GByteArray) codes =
        sample_bytes("00 04 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d "
                     "9e 9f a0 a1 a2");
    (void)state;

    for (int code = 0; code < 256; code++) {
        g_autofree char *body = g_strdup_printf("%02x", code);
        bool is_allowed = memchr(codes->data, code, codes->len);
        assert_int_equal(decode_disconnect(0xe0, PACKET_MQTT_5, body, &disconnect),
                         is_allowed ? 0 : REASON_PROTOCOL_ERROR);
    }
}

static void a_disconnect_is_written(void **state)
{
    struct properties_builder builder;
    GByteArray *packet = g_byte_array_new();
    (void)state;

    properties_builder_init(&builder);
    properties_add_bytes(&builder, PROPERTY_REASON_STRING, bytes_from_string("x"));
    packet_disconnect_encode(0, PACKET_MQTT_5, NULL, packet);
    packet_disconnect_encode(0x8d, PACKET_MQTT_5, NULL, packet);
    packet_disconnect_encode(0x8d, PACKET_MQTT_5, &builder, packet);
    packet_disconnect_encode(0, PACKET_MQTT_3_1_1, &builder, packet);
    assert_encoded(packet->data, packet->len, "e0 00 e0 01 8d e0 06 8d 04 1f 0001'x' e0 00");
    properties_builder_deinit(&builder);
    g_byte_array_unref(packet);
}

/* [MQTT-3.15.1-1] */
static void the_flags_of_auth_are_checked(void **state)
{
    (void)state;
    assert_int_equal(decode_auth(0xf1, "18 04 15 0001'm'"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.15.2-1] */
static void auth_has_one_of_its_reason_codes(void **state)
{
    (void)state;
    assert_int_equal(decode_auth(0xf0, ""), 0);
    assert_int_equal(decode_auth(0xf0, "00 04 15 0001'm'"), 0);
    assert_int_equal(decode_auth(0xf0, "18 04 15 0001'm'"), 0);
    assert_int_equal(decode_auth(0xf0, "19 04 15 0001'm'"), 0);
    assert_int_equal(decode_auth(0xf0, "01 04 15 0001'm'"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_auth(0xf0, "80 04 15 0001'm'"), REASON_PROTOCOL_ERROR);
}

static void auth_names_its_method(void **state)
{
    (void)state;
    assert_int_equal(decode_auth(0xf0, "18"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_auth(0xf0, "18 00"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_auth(0xf0, "18 04 15 0001'm' 00"), REASON_MALFORMED_PACKET);
}

static void auth_is_written(void **state)
{
    struct properties_builder builder;
    GByteArray *packet = g_byte_array_new();
    (void)state;

    properties_builder_init(&builder);
    properties_add_bytes(&builder, PROPERTY_AUTH_METHOD, bytes_from_string("m"));
    packet_auth_encode(0x18, &builder, packet);
    assert_encoded(packet->data, packet->len, "f0 06 18 04 15 0001'm'");
    properties_builder_deinit(&builder);
    g_byte_array_unref(packet);
}

static void every_reason_code_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(reason_to_string(REASON_SUCCESS), "success");
    assert_string_equal(reason_to_string(REASON_PACKET_TOO_LARGE), "packet too large");
    assert_string_equal(reason_to_string(REASON_WILDCARD_NOT_SUPPORTED),
                        "wildcard subscriptions not supported");
    assert_string_equal(reason_to_string(0x7f), "unknown reason");
    assert_string_equal(reason_to_string(0xff), "unknown reason");
    for (int reason = REASON_UNSPECIFIED; reason <= REASON_WILDCARD_NOT_SUPPORTED; reason++) {
        assert_string_not_equal(reason_to_string((uint8_t)reason), "unknown reason");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_acknowledgement_may_leave_out_reason_and_properties),
        cmocka_unit_test(an_acknowledgement_of_wrong_length_is_malformed),
        cmocka_unit_test(each_acknowledgement_has_one_of_its_reason_codes),
        cmocka_unit_test(flags_of_acknowledgements_are_checked),
        cmocka_unit_test(packet_id_0_is_a_protocol_error),
        cmocka_unit_test(acknowledgements_are_written),
        cmocka_unit_test(acknowledgements_with_properties_are_written),
        cmocka_unit_test(a_disconnect_is_read),
        cmocka_unit_test(the_flags_of_disconnect_are_checked),
        cmocka_unit_test(disconnect_has_one_of_its_reason_codes),
        cmocka_unit_test(a_disconnect_is_written),
        cmocka_unit_test(the_flags_of_auth_are_checked),
        cmocka_unit_test(auth_has_one_of_its_reason_codes),
        cmocka_unit_test(auth_names_its_method),
        cmocka_unit_test(auth_is_written),
        cmocka_unit_test(every_reason_code_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
