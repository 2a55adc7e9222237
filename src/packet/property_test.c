/* Properties: in which packets they may stand, how often, with which values; and how they are built
 * and passed on. */
#include "packet/sample.h"

static int decode_publish(const char *block)
{
    g_autofree char *body = g_strdup_printf("0001 'a' %s", block);
    SAMPLE(sample, 0x30, body);
    struct packet_publish publish;
    return packet_publish_decode(&sample.frame, PACKET_MQTT_5, &publish);
}

static int decode_connect(const char *block)
{
    g_autofree char *body = g_strdup_printf("0004'MQTT' 05 02 003c %s 0000", block);
    SAMPLE(sample, 0x10, body);
    struct packet_connect connect;
    return packet_connect_decode(&sample.frame, &connect);
}

static int decode_will(const char *block)
{
    g_autofree char *body = g_strdup_printf("0004'MQTT' 05 06 003c 00 0000 %s 0001't' 0000", block);
    SAMPLE(sample, 0x10, body);
    struct packet_connect connect;
    return packet_connect_decode(&sample.frame, &connect);
}

static int decode_connack(const char *block)
{
    g_autofree char *body = g_strdup_printf("00 00 %s", block);
    SAMPLE(sample, 0x20, body);
    struct packet_connack connack;
    return packet_connack_decode(&sample.frame, PACKET_MQTT_5, &connack);
}

static int decode_subscribe(const char *block)
{
    g_autofree char *body = g_strdup_printf("0001 %s 0001'f' 00", block);
    SAMPLE(sample, 0x82, body);
    struct packet_subscribe subscribe;
    return packet_subscribe_decode(&sample.frame, PACKET_MQTT_5, &subscribe);
}

static int decode_unsubscribe(const char *block)
{
    g_autofree char *body = g_strdup_printf("0001 %s 0001'f'", block);
    SAMPLE(sample, 0xa2, body);
    struct packet_subscribe unsubscribe;
    return packet_unsubscribe_decode(&sample.frame, PACKET_MQTT_5, &unsubscribe);
}

static int decode_suback(const char *block)
{
    g_autofree char *body = g_strdup_printf("0001 %s 00", block);
    SAMPLE(sample, 0x90, body);
    struct packet_suback suback;
    return packet_suback_decode(&sample.frame, PACKET_MQTT_5, &suback);
}

static int decode_ack(const char *block)
{
    g_autofree char *body = g_strdup_printf("0001 00 %s", block);
    SAMPLE(sample, 0x40, body);
    struct packet_ack ack;
    return packet_ack_decode(&sample.frame, PACKET_MQTT_5, &ack);
}

static int decode_disconnect(const char *block)
{
    g_autofree char *body = g_strdup_printf("00 %s", block);
    SAMPLE(sample, 0xe0, body);
    struct packet_disconnect disconnect;
    return packet_disconnect_decode(&sample.frame, PACKET_MQTT_5, &disconnect);
}

static int decode_auth(const char *block)
{
    g_autofree char *body = g_strdup_printf("18 %s", block);
    SAMPLE(sample, 0xf0, body);
    struct packet_auth auth;
    return packet_auth_decode(&sample.frame, &auth);
}

enum {
    CONNECT,
    WILL,
    CONNACK,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    SUBACK,
    ACK,
    DISCONNECT,
    AUTH,
    PLACES
};

static int (*const places[PLACES])(const char *block) = {
    decode_connect,     decode_will,   decode_connack, decode_publish,    decode_subscribe,
    decode_unsubscribe, decode_suback, decode_ack,     decode_disconnect, decode_auth};

/* Each property once, with a value that is allowed everywhere it may stand: MQTT 5, table 2-4. */
static const struct {
    const char *encoded;
    unsigned allowed;
} table[] = {
    {"01 01", 1 << PUBLISH | 1 << WILL},
    {"02 00000001", 1 << PUBLISH | 1 << WILL},
    {"03 0001't'", 1 << PUBLISH | 1 << WILL},
    {"08 0001't'", 1 << PUBLISH | 1 << WILL},
    {"09 0001't'", 1 << PUBLISH | 1 << WILL},
    {"0b 01", 1 << PUBLISH | 1 << SUBSCRIBE},
    {"11 00000001", 1 << CONNECT | 1 << CONNACK | 1 << DISCONNECT},
    {"12 0001'c'", 1 << CONNACK},
    {"13 0001", 1 << CONNACK},
    {"15 0001'm'", 1 << CONNECT | 1 << CONNACK | 1 << AUTH},
    {"17 01", 1 << CONNECT},
    {"18 00000001", 1 << WILL},
    {"19 01", 1 << CONNECT},
    {"1a 0001'i'", 1 << CONNACK},
    {"1c 0001's'", 1 << CONNACK | 1 << DISCONNECT},
    {"1f 0001'r'", 1 << CONNACK | 1 << ACK | 1 << SUBACK | 1 << DISCONNECT | 1 << AUTH},
    {"21 0001", 1 << CONNECT | 1 << CONNACK},
    {"22 0000", 1 << CONNECT | 1 << CONNACK},
    {"23 0001", 1 << PUBLISH},
    {"24 01", 1 << CONNACK},
    {"25 01", 1 << CONNACK},
    {"26 0001'k' 0001'v'", (1 << PLACES) - 1},
    {"27 00000001", 1 << CONNECT | 1 << CONNACK},
    {"28 01", 1 << CONNACK},
    {"29 01", 1 << CONNACK},
    {"2a 01", 1 << CONNACK},
};

static char *block_of(const char *properties)
{
    g_autoptr(GByteArray) bytes = sample_bytes(properties);
    return g_strdup_printf("%02x %s", bytes->len, properties);
}

/* AUTH must name its method, so that stands before everything there. */
static int decode_at(int place, const char *properties)
{
    bool needs_method = place == AUTH && !g_str_has_prefix(properties, "15");
    g_autofree char *all = g_strconcat(needs_method ? "15 0001'm' " : "", properties, NULL);
    g_autofree char *block = block_of(all);
    return places[place](block);
}

static void each_property_is_taken_where_it_may_stand_and_nowhere_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        for (int place = 0; place < PLACES; place++) {
            bool is_allowed = table[i].allowed >> place & 1;
            if (decode_at(place, table[i].encoded) != (is_allowed ? 0 : REASON_MALFORMED_PACKET)) {
                fail_msg("property %s in packet %d", table[i].encoded, place);
            }
        }
    }
}

static void a_property_that_stands_twice_is_a_protocol_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *twice = g_strconcat(table[i].encoded, table[i].encoded, NULL);
        for (int place = 0; place < PLACES; place++) {
            bool may_repeat = g_str_has_prefix(twice, "26") ||
                              (g_str_has_prefix(twice, "0b") && place == PUBLISH);
            if (table[i].allowed >> place & 1) {
                assert_int_equal(decode_at(place, twice), may_repeat ? 0 : REASON_PROTOCOL_ERROR);
            }
        }
    }
}

static void every_value_that_is_cut_short_is_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(GByteArray) bytes = sample_bytes(table[i].encoded);
        int place = __builtin_ctz(table[i].allowed);
        for (guint length = 1; length < bytes->len; length++) {
            g_autoptr(GString) cut = g_string_new(NULL);
            for (guint j = 0; j < length; j++) {
                g_string_append_printf(cut, "%02x", bytes->data[j]);
            }
            assert_int_equal(decode_at(place, cut->str), REASON_MALFORMED_PACKET);
        }
    }
}

static void values_out_of_range_are_protocol_errors(void **state)
{
    (void)state;
    assert_int_equal(decode_at(CONNECT, "21 0000"), REASON_PROTOCOL_ERROR); /* receive maximum */
    assert_int_equal(decode_at(CONNECT, "27 00000000"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_at(CONNECT, "17 02"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_at(CONNECT, "19 02"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_at(SUBSCRIBE, "0b 00"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_at(WILL, "01 02"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_at(CONNACK, "24 02"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_at(CONNACK, "25 02"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_at(CONNACK, "28 02"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_at(CONNACK, "29 02"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_at(CONNACK, "2a 02"), REASON_PROTOCOL_ERROR);
}

/* [MQTT-1.5.5-1] */
static void variable_byte_integers_have_at_most_four_bytes_and_no_more_than_needed(void **state)
{
    (void)state;
    assert_int_equal(decode_at(SUBSCRIBE, "0b ffffff7f"), 0);
    assert_int_equal(decode_at(SUBSCRIBE, "0b ffffffff01"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_at(SUBSCRIBE, "0b 8100"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_publish("8000"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_publish("80808080 00"), REASON_MALFORMED_PACKET);
}

/* [MQTT-1.5.7-1] */
static void both_strings_of_a_user_property_are_utf8(void **state)
{
    (void)state;
    assert_int_equal(decode_at(PUBLISH, "26 0001ff 0001'v'"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_at(PUBLISH, "26 0001'k' 000100"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_at(PUBLISH, "26 0000 0000"), 0);
}

/* [MQTT-3.3.2-19] */
static void a_content_type_is_utf8(void **state)
{
    (void)state;
    assert_int_equal(decode_at(PUBLISH, "03 0001ff"), REASON_MALFORMED_PACKET);
}

static void an_unknown_property_is_malformed(void **state)
{
    static const char *const unknown[] = {"00 00", "04 00", "0a 00", "2b 00",
                                          "7f 00", "80 01", "ff 00", "81 00"};
    (void)state;

    for (size_t i = 0; i < G_N_ELEMENTS(unknown); i++) {
        assert_int_equal(decode_at(PUBLISH, unknown[i]), REASON_MALFORMED_PACKET);
    }
}

/* [MQTT-2.2.2-1] */
static void a_block_longer_than_the_packet_or_missing_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode_publish("03 0101"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_publish("ff"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_publish(""), REASON_MALFORMED_PACKET);
    assert_int_equal(decode_publish("00"), 0);
}

static void authentication_data_needs_a_method(void **state)
{
    (void)state;
    assert_int_equal(decode_connect("04 16 0001'd'"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_connack("04 16 0001'd'"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_auth("04 16 0001'd'"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode_connect("08 15 0001'm' 16 0001'd'"), 0);
    assert_int_equal(decode_auth("08 15 0001'm' 16 0001'd'"), 0);
}

/* ---- passing on ---- */

static void forward(const char *properties, bool is_all, const char *expected)
{
    g_autofree char *block = block_of(properties);
    g_autofree char *body = g_strdup_printf("0001 'a' %s", block);
    SAMPLE(sample, 0x30, body);
    struct packet_publish publish;
    g_autoptr(GByteArray) forwarded = g_byte_array_new();

    assert_int_equal(packet_publish_decode(&sample.frame, PACKET_MQTT_5, &publish), 0);
    assert_int_equal(properties_are_forwarded_only(&publish.properties), is_all);
    properties_append_forwarded(&publish.properties, forwarded);
    assert_encoded(forwarded->data, forwarded->len, expected);
}

/* [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-20] */
static void what_the_receivers_shall_see_is_passed_on_unchanged(void **state)
{
    (void)state;
    forward("", true, "");
    forward("0101 03 0001'c' 08 0001'r' 09 000400ff00ff", true,
            "0101 03 0001'c' 08 0001'r' 09 000400ff00ff");
    forward("23 0001 02 00000001 0101", false, "0101");
}

/* [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.1.3-10] */
static void user_properties_are_passed_on_in_order(void **state)
{
    (void)state;
    forward("26 0001'b' 0001'1' 23 0007 26 0001'a' 0001'2' 26 0001'b' 0000 0b05", false,
            "26 0001'b' 0001'1' 26 0001'a' 0001'2' 26 0001'b' 0000");
}

static void going_through_a_block_that_was_never_checked_ends(void **state)
{
    static const uint8_t junk[] = {0x26, 0x00, 0x05, 'x'};
    struct properties properties = {.raw = {junk, sizeof junk}};
    struct bytes name, value;
    size_t at = 0;
    uint32_t id;
    (void)state;

    assert_false(properties_next_user(&properties, &at, &name, &value));
    at = 0;
    assert_false(properties_next_subscription_id(&properties, &at, &id));
}

/* ---- building ---- */

static void what_the_builder_writes_is_read_back(void **state)
{
    struct properties_builder builder;
    GByteArray *packet = g_byte_array_new();
    struct packet_frame frame;
    struct packet_connack connack = {.reason = 0}, out;
    struct bytes name, value;
    size_t at = 0;
    (void)state;

    properties_builder_init(&builder);
    properties_add_byte(&builder, PROPERTY_MAXIMUM_QOS, 1);
    properties_add_u16(&builder, PROPERTY_RECEIVE_MAXIMUM, 0x1234);
    properties_add_u32(&builder, PROPERTY_MAXIMUM_PACKET, 0x12345678);
    properties_add_bytes(&builder, PROPERTY_ASSIGNED_CLIENT_ID, bytes_from_string("id-1"));
    properties_add_bytes(&builder, PROPERTY_REASON_STRING, bytes_from_string(""));
    properties_add_user(&builder, bytes_from_string("name"), bytes_from_string("value"));
    packet_connack_encode(&connack, PACKET_MQTT_5, &builder, packet);
    assert_int_equal(
        packet_frame_find((struct bytes){packet->data, packet->len}, UINT32_MAX, &frame), 1);
    assert_int_equal(packet_connack_decode(&frame, PACKET_MQTT_5, &out), 0);
    assert_int_equal(out.properties.maximum_qos, 1);
    assert_int_equal(out.properties.receive_maximum, 0x1234);
    assert_int_equal(out.properties.maximum_packet_bytes, 0x12345678);
    assert_bytes(out.properties.assigned_client_id, "id-1");
    assert_true(properties_has(&out.properties, PROPERTY_REASON_STRING));
    assert_true(properties_next_user(&out.properties, &at, &name, &value));
    assert_bytes(name, "name");
    assert_bytes(value, "value");
    properties_builder_deinit(&builder);
    properties_builder_deinit(&builder);
    g_byte_array_unref(packet);
}

static void the_builder_writes_variable_byte_integers(void **state)
{
    struct properties_builder builder;
    (void)state;

    properties_builder_init(&builder);
    properties_add_varint(&builder, PROPERTY_SUBSCRIPTION_ID, 1);
    properties_add_varint(&builder, PROPERTY_SUBSCRIPTION_ID, 128);
    properties_add_varint(&builder, PROPERTY_SUBSCRIPTION_ID, 268435455);
    assert_encoded(builder.bytes->data, builder.bytes->len, "0b01 0b8001 0bffffff7f");
    properties_builder_deinit(&builder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_property_is_taken_where_it_may_stand_and_nowhere_else),
        cmocka_unit_test(a_property_that_stands_twice_is_a_protocol_error),
        cmocka_unit_test(every_value_that_is_cut_short_is_malformed),
        cmocka_unit_test(values_out_of_range_are_protocol_errors),
        cmocka_unit_test(variable_byte_integers_have_at_most_four_bytes_and_no_more_than_needed),
        cmocka_unit_test(both_strings_of_a_user_property_are_utf8),
        cmocka_unit_test(a_content_type_is_utf8),
        cmocka_unit_test(an_unknown_property_is_malformed),
        cmocka_unit_test(a_block_longer_than_the_packet_or_missing_is_malformed),
        cmocka_unit_test(authentication_data_needs_a_method),
        cmocka_unit_test(what_the_receivers_shall_see_is_passed_on_unchanged),
        cmocka_unit_test(user_properties_are_passed_on_in_order),
        cmocka_unit_test(going_through_a_block_that_was_never_checked_ends),
        cmocka_unit_test(what_the_builder_writes_is_read_back),
        cmocka_unit_test(the_builder_writes_variable_byte_integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
