/* CONNECT and CONNACK. */
#include "packet/sample.h"

static int decode(const char *body)
{
    SAMPLE(sample, 0x10, body);
    struct packet_connect connect;
    return packet_connect_decode(&sample.frame, &connect);
}

/* The version that is known when CONNECT is refused. */
static void assert_refused(const char *body, int reason, uint8_t version)
{
    SAMPLE(sample, 0x10, body);
    struct packet_connect connect;
    assert_int_equal(packet_connect_decode(&sample.frame, &connect), reason);
    assert_int_equal(connect.version, version);
}

static void a_connect_of_version_5_is_read(void **state)
{
    SAMPLE(sample, 0x10,
           "0004'MQTT' 05 ee 003c 05 11 0000000a 0003'cid' 05 18 00000005 0001't' 0002'gone' "
           "0003'usr' 0002'pw'");
    SAMPLE(right, 0x10,
           "0004'MQTT' 05 ee 003c 05 11 0000000a 0003'cid' 05 18 00000005 0001't' 0004'gone' "
           "0003'usr' 0002'pw'");
    struct packet_connect connect;
    (void)state;

    assert_int_equal(packet_connect_decode(&sample.frame, &connect), REASON_MALFORMED_PACKET);
    assert_int_equal(packet_connect_decode(&right.frame, &connect), 0);
    assert_int_equal(connect.version, PACKET_MQTT_5);
    assert_true(connect.clean_start && connect.has_will && connect.has_username &&
                connect.has_password);
    assert_int_equal(connect.keep_alive_s, 60);
    assert_int_equal(connect.properties.session_expiry_s, 10);
    assert_bytes(connect.client_id, "cid");
    assert_int_equal(connect.will.qos, 1);
    assert_true(connect.will.retain);
    assert_int_equal(connect.will.properties.will_delay_s, 5);
    assert_bytes(connect.will.topic, "t");
    assert_bytes(connect.will.payload, "gone");
    assert_bytes(connect.username, "usr");
    assert_bytes(connect.password, "pw");
}

static void a_connect_of_version_3_1_1_is_read(void **state)
{
    SAMPLE(sample, 0x10, "0004'MQTT' 04 02 000a 0000");
    struct packet_connect connect;
    (void)state;

    assert_int_equal(packet_connect_decode(&sample.frame, &connect), 0);
    assert_int_equal(connect.version, PACKET_MQTT_3_1_1);
    assert_true(connect.clean_start);
    assert_int_equal(connect.client_id.length, 0);
    assert_false(connect.has_will || connect.has_username || connect.has_password);
}

static void a_connect_of_version_3_1_is_read_with_login_strings_that_may_miss(void **state)
{
    SAMPLE(sample, 0x10, "0006'MQIsdp' 03 c3 000a 0002'id'");
    SAMPLE(full, 0x10, "0006'MQIsdp' 03 c2 000a 0002'id' 0001'u' 0001'p'");
    struct packet_connect connect;
    (void)state;

    assert_int_equal(packet_connect_decode(&sample.frame, &connect), 0);
    assert_int_equal(connect.version, PACKET_MQTT_3_1);
    assert_false(connect.has_username || connect.has_password);
    assert_int_equal(packet_connect_decode(&full.frame, &connect), 0);
    assert_bytes(connect.username, "u");
    assert_bytes(connect.password, "p");
    assert_int_equal(decode("0004'MQTT' 04 c2 000a 0002'id'"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.1.2-1] */
static void another_protocol_name_is_told_apart_from_a_malformed_packet(void **state)
{
    (void)state;
    assert_refused("0004'HTTP' 05 02 000a 00 0000", REASON_UNSUPPORTED_VERSION, 0);
    assert_refused("0004'mqtt' 05 02 000a 00 0000", REASON_UNSUPPORTED_VERSION, 0);
    assert_refused("0000", REASON_UNSUPPORTED_VERSION, 0);
    assert_refused("0004'MQ'", REASON_MALFORMED_PACKET, 0);
    assert_refused("0004'MQTT'", REASON_MALFORMED_PACKET, 0);
    assert_refused("", REASON_MALFORMED_PACKET, 0);
}

/* [MQTT-3.1.2-2] */
static void another_protocol_version_is_told_apart_from_a_malformed_packet(void **state)
{
    (void)state;
    assert_refused("0004'MQTT' 06 02 000a 00 0000", REASON_UNSUPPORTED_VERSION, 6);
    assert_refused("0004'MQTT' 03 02 000a 0000", REASON_UNSUPPORTED_VERSION, 3);
    assert_refused("0004'MQTT' 84 02 000a 0000", REASON_UNSUPPORTED_VERSION, 0x84);
    assert_refused("0006'MQIsdp' 04 02 000a 0000", REASON_UNSUPPORTED_VERSION, 4);
}

/* [MQTT-3.1.2-3] */
static void the_reserved_flag_is_malformed(void **state)
{
    (void)state;
    assert_refused("0004'MQTT' 05 03 000a 00 0000", REASON_MALFORMED_PACKET, 5);
    assert_int_equal(decode("0004'MQTT' 04 03 000a 0000"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.1.2-11] [MQTT-3.1.2-13] */
static void will_flags_without_a_will_are_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode("0004'MQTT' 05 0a 000a 00 0000"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 05 12 000a 00 0000"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 04 22 000a 0000"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.1.2-12] */
static void a_will_of_qos_3_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode("0004'MQTT' 05 1e 000a 00 0000 00 0001't' 0000"),
                     REASON_MALFORMED_PACKET);
}

/* [MQTT-3.1.2-9] */
static void a_will_that_is_announced_and_not_there_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode("0004'MQTT' 05 06 000a 00 0000"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 05 06 000a 00 0000 00 0001't'"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 04 06 000a 0000 0001't' 0005'x'"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.1.3-11] */
static void a_will_topic_is_utf8_and_not_empty(void **state)
{
    (void)state;
    assert_int_equal(decode("0004'MQTT' 05 06 000a 00 0000 00 0001ff 0000"),
                     REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 05 06 000a 00 0000 00 0000 0000"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.1.2-16] [MQTT-3.1.2-17] */
static void the_user_name_is_there_exactly_when_its_flag_is_set(void **state)
{
    (void)state;
    assert_int_equal(decode("0004'MQTT' 05 02 000a 00 0000 0001'u'"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 05 82 000a 00 0000"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 05 82 000a 00 0000 0001'u'"), 0);
}

/* [MQTT-3.1.2-18] [MQTT-3.1.2-19] */
static void the_password_is_there_exactly_when_its_flag_is_set(void **state)
{
    (void)state;
    assert_int_equal(decode("0004'MQTT' 05 82 000a 00 0000 0001'u' 0001'p'"),
                     REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 05 42 000a 00 0000"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 05 42 000a 00 0000 0002 00ff"), 0);
}

static void a_password_without_user_name_is_malformed_before_version_5(void **state)
{
    (void)state;
    assert_int_equal(decode("0004'MQTT' 04 42 000a 0000 0001'p'"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0006'MQIsdp' 03 42 000a 0000 0001'p'"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.1.3-12] */
static void the_user_name_is_utf8(void **state)
{
    (void)state;
    assert_int_equal(decode("0004'MQTT' 05 82 000a 00 0000 0001ff"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.1.3-4] [MQTT-3.1.3-3] */
static void the_client_id_is_utf8_and_always_there(void **state)
{
    (void)state;
    assert_int_equal(decode("0004'MQTT' 05 02 000a 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 05 02 000a 00 0002 6100"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 05 02 000a 00 0001'a'"), 0);
}

/* [MQTT-3.1.3-1] */
static void what_stands_behind_the_last_field_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode("0004'MQTT' 05 02 000a 00 0000 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode("0004'MQTT' 04 02 000a 0000 0000"), REASON_MALFORMED_PACKET);
}

static void a_connect_that_is_cut_short_is_malformed(void **state)
{
    g_autoptr(GByteArray) whole =
        sample_bytes("0004'MQTT' 05 ce 003c 05 11 0000000a 0003'cid' 05 18 00000005 0001't' "
                     "0004'gone' 0003'usr' 0002'pw'");
    (void)state;

    for (guint length = 0; length <= whole->len; length++) {
        g_autofree uint8_t *bytes = g_memdup2(whole->data, length);
        struct packet_frame frame = {
            .type = PACKET_CONNECT, .body = {bytes, length}, .total_bytes = length + 2};
        struct packet_connect connect;
        int reason = packet_connect_decode(&frame, &connect);
        assert_int_equal(reason, length < whole->len ? REASON_MALFORMED_PACKET : 0);
    }
}

static void what_is_written_is_read_back(void **state)
{
    static const uint8_t versions[] = {PACKET_MQTT_3_1, PACKET_MQTT_3_1_1, PACKET_MQTT_5};
    static const uint8_t expiry[] = {0x11, 0, 0, 0, 9};
    (void)state;

    for (size_t i = 0; i < sizeof versions; i++) {
        struct packet_connect connect = {.version = versions[i],
                                         .clean_start = true,
                                         .has_will = true,
                                         .has_username = true,
                                         .has_password = true,
                                         .keep_alive_s = 300,
                                         .client_id = bytes_from_string("id"),
                                         .username = bytes_from_string("u"),
                                         .password = bytes_from_string("p"),
                                         .properties.raw = {expiry, 5},
                                         .will = {.topic = bytes_from_string("w"),
                                                  .payload = bytes_from_string("!"),
                                                  .qos = 2,
                                                  .retain = true}};
        struct packet_connect out;
        struct packet_frame frame;
        GByteArray *packet = g_byte_array_new();
        packet_connect_encode(&connect, packet);
        assert_int_equal(
            packet_frame_find((struct bytes){packet->data, packet->len}, UINT32_MAX, &frame), 1);
        assert_int_equal(frame.total_bytes, packet->len);
        assert_int_equal(packet_connect_decode(&frame, &out), 0);
        assert_int_equal(out.version, versions[i]);
        assert_int_equal(out.keep_alive_s, 300);
        assert_bytes(out.client_id, "id");
        assert_bytes(out.will.topic, "w");
        assert_int_equal(out.will.qos, 2);
        assert_true(out.will.retain && out.clean_start);
        assert_bytes(out.username, "u");
        assert_bytes(out.password, "p");
        assert_int_equal(out.properties.session_expiry_s, versions[i] == PACKET_MQTT_5 ? 9 : 0);
        g_byte_array_unref(packet);
    }
}

/* ---- CONNACK ---- */

static int decode_connack(uint8_t version, const char *body, struct packet_connack *out)
{
    SAMPLE(sample, 0x20, body);
    return packet_connack_decode(&sample.frame, version, out);
}

/* [MQTT-3.2.2-1] */
static void the_flags_of_connack_are_checked(void **state)
{
    struct packet_connack connack;
    (void)state;

    assert_int_equal(decode_connack(PACKET_MQTT_5, "01 00 00", &connack), 0);
    assert_true(connack.session_present);
    assert_int_equal(decode_connack(PACKET_MQTT_5, "02 00 00", &connack), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_connack(PACKET_MQTT_3_1_1, "80 00", &connack), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_connack(PACKET_MQTT_3_1, "80 00", &connack), 0);
    assert_int_equal(decode_connack(PACKET_MQTT_5, "", &connack), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_connack(PACKET_MQTT_5, "00", &connack), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_connack(PACKET_MQTT_5, "00 00 00 00", &connack),
                     REASON_MALFORMED_PACKET);
}

/* [MQTT-3.2.2-6] */
static void a_refusal_has_no_session(void **state)
{
    struct packet_connack connack = {.session_present = true, .reason = REASON_NOT_AUTHORIZED};
    GByteArray *packet = g_byte_array_new();
    (void)state;

    assert_int_equal(decode_connack(PACKET_MQTT_5, "01 87 00", &connack), REASON_PROTOCOL_ERROR);
    connack = (struct packet_connack){.session_present = true, .reason = REASON_NOT_AUTHORIZED};
    packet_connack_encode(&connack, PACKET_MQTT_5, NULL, packet);
    assert_encoded(packet->data, packet->len, "20 03 00 87 00");
    g_byte_array_unref(packet);
}

/* [MQTT-3.2.2-8] */
static void connack_has_one_of_its_reason_codes(void **state)
{
    struct packet_connack connack;
    (void)state;

    assert_int_equal(decode_connack(PACKET_MQTT_5, "00 9f 00", &connack), 0);
    assert_int_equal(connack.reason, REASON_CONNECTION_RATE_EXCEEDED);
    assert_int_equal(decode_connack(PACKET_MQTT_5, "00 8e 00", &connack), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_connack(PACKET_MQTT_5, "00 01 00", &connack), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_connack(PACKET_MQTT_3_1_1, "00 06", &connack), REASON_PROTOCOL_ERROR);
}

static void return_codes_of_3_1_1_go_both_ways(void **state)
{
    (void)state;
    for (uint8_t code = 0; code <= 5; code++) {
        GByteArray *packet = g_byte_array_new();
        struct packet_connack connack = {.reason = reason_from_connack_3(code)}, out;
        struct packet_frame frame;
        packet_connack_encode(&connack, PACKET_MQTT_3_1_1, NULL, packet);
        assert_int_equal(packet->len, 4);
        assert_int_equal(packet->data[3], code);
        packet_frame_find((struct bytes){packet->data, packet->len}, UINT32_MAX, &frame);
        assert_int_equal(packet_connack_decode(&frame, PACKET_MQTT_3_1_1, &out), 0);
        assert_int_equal(out.reason, connack.reason);
        g_byte_array_unref(packet);
    }
    assert_int_equal(reason_to_connack_3(REASON_BANNED), 5);
    assert_int_equal(reason_to_connack_3(REASON_BAD_AUTH_METHOD), 5);
    assert_int_equal(reason_to_connack_3(REASON_QUOTA_EXCEEDED), 3);
    assert_int_equal(reason_from_connack_3(6), REASON_UNSPECIFIED);
}

static void a_connack_of_version_3_1_has_no_session_flag(void **state)
{
    struct packet_connack connack = {.session_present = true};
    GByteArray *packet = g_byte_array_new();
    (void)state;

    packet_connack_encode(&connack, PACKET_MQTT_3_1, NULL, packet);
    packet_connack_encode(&connack, PACKET_MQTT_3_1_1, NULL, packet);
    assert_encoded(packet->data, packet->len, "20 02 00 00 20 02 01 00");
    g_byte_array_unref(packet);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connect_of_version_5_is_read),
        cmocka_unit_test(a_connect_of_version_3_1_1_is_read),
        cmocka_unit_test(a_connect_of_version_3_1_is_read_with_login_strings_that_may_miss),
        cmocka_unit_test(another_protocol_name_is_told_apart_from_a_malformed_packet),
        cmocka_unit_test(another_protocol_version_is_told_apart_from_a_malformed_packet),
        cmocka_unit_test(the_reserved_flag_is_malformed),
        cmocka_unit_test(will_flags_without_a_will_are_malformed),
        cmocka_unit_test(a_will_of_qos_3_is_malformed),
        cmocka_unit_test(a_will_that_is_announced_and_not_there_is_malformed),
        cmocka_unit_test(a_will_topic_is_utf8_and_not_empty),
        cmocka_unit_test(the_user_name_is_there_exactly_when_its_flag_is_set),
        cmocka_unit_test(the_password_is_there_exactly_when_its_flag_is_set),
        cmocka_unit_test(a_password_without_user_name_is_malformed_before_version_5),
        cmocka_unit_test(the_user_name_is_utf8),
        cmocka_unit_test(the_client_id_is_utf8_and_always_there),
        cmocka_unit_test(what_stands_behind_the_last_field_is_malformed),
        cmocka_unit_test(a_connect_that_is_cut_short_is_malformed),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(the_flags_of_connack_are_checked),
        cmocka_unit_test(a_refusal_has_no_session),
        cmocka_unit_test(connack_has_one_of_its_reason_codes),
        cmocka_unit_test(return_codes_of_3_1_1_go_both_ways),
        cmocka_unit_test(a_connack_of_version_3_1_has_no_session_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
