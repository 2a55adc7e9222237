/* PUBLISH: decoding and encoding. */
#include "packet/sample.h"

static int decode(uint8_t first, uint8_t version, const char *body)
{
    SAMPLE(sample, first, body);
    struct packet_publish publish;
    return packet_publish_decode(&sample.frame, version, &publish);
}

/* [MQTT-3.3.2-1] */
static void a_plain_publish_is_read_in_every_version(void **state)
{
    struct packet_publish publish;
    SAMPLE(three, 0x30, "0003 'a/b' 'hello'");
    SAMPLE(five, 0x30, "0003 'a/b' 00 'hello'");
    (void)state;

    assert_int_equal(packet_publish_decode(&three.frame, PACKET_MQTT_3_1_1, &publish), 0);
    assert_bytes(publish.topic, "a/b");
    assert_bytes(publish.payload, "hello");
    assert_int_equal(publish.qos + publish.packet_id + publish.retain + publish.dup, 0);
    assert_true(publish.properties.has == 0 && publish.properties.raw.length == 0);
    assert_int_equal(packet_publish_decode(&five.frame, PACKET_MQTT_5, &publish), 0);
    assert_bytes(publish.topic, "a/b");
    assert_bytes(publish.payload, "hello");
    assert_true(publish.properties.has == 0 && publish.properties.raw.length == 0);
}

static void flags_and_packet_id_are_read(void **state)
{
    struct packet_publish publish;
    SAMPLE(sample, 0x3d, "0001 'a' 1234");
    (void)state;

    assert_int_equal(packet_publish_decode(&sample.frame, PACKET_MQTT_3_1_1, &publish), 0);
    assert_int_equal(publish.qos, 2);
    assert_true(publish.dup && publish.retain);
    assert_int_equal(publish.packet_id, 0x1234);
    assert_int_equal(publish.payload.length, 0);
}

static void properties_are_read_with_everything_else_zero(void **state)
{
    struct packet_publish publish;
    SAMPLE(
        sample, 0x30,
        "0001 'a' 28 0101 020000003c 0300 04'text' 0800 03'r/t' 0900 02 0001 0bac02 0b07 23 0005 "
        "26 0001'k' 0001'v' 'p'");
    struct bytes name, value;
    size_t at = 0;
    uint32_t id;
    (void)state;

    assert_int_equal(packet_publish_decode(&sample.frame, PACKET_MQTT_5, &publish), 0);
    assert_int_equal(publish.properties.payload_format, 1);
    assert_int_equal(publish.properties.message_expiry_s, 60);
    assert_bytes(publish.properties.content_type, "text");
    assert_bytes(publish.properties.response_topic, "r/t");
    assert_int_equal(publish.properties.correlation_data.length, 2);
    assert_int_equal(publish.properties.topic_alias, 5);
    assert_int_equal(publish.properties.session_expiry_s, 0);
    assert_bytes(publish.payload, "p");
    assert_true(properties_next_subscription_id(&publish.properties, &at, &id));
    assert_int_equal(id, 300);
    assert_true(properties_next_subscription_id(&publish.properties, &at, &id));
    assert_int_equal(id, 7);
    assert_false(properties_next_subscription_id(&publish.properties, &at, &id));
    at = 0;
    assert_true(properties_next_user(&publish.properties, &at, &name, &value));
    assert_bytes(name, "k");
    assert_bytes(value, "v");
    assert_false(properties_next_user(&publish.properties, &at, &name, &value));
}

/* [MQTT-3.3.1-4] */
static void qos_3_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode(0x36, PACKET_MQTT_5, "0001 'a' 0001 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x36, PACKET_MQTT_3_1_1, "0001 'a' 0001"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.3.1-2] */
static void dup_with_qos_0_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode(0x38, PACKET_MQTT_5, "0001 'a' 00"), REASON_MALFORMED_PACKET);
}

/* [MQTT-2.2.1-3] */
static void packet_id_0_is_a_protocol_error(void **state)
{
    (void)state;
    assert_int_equal(decode(0x32, PACKET_MQTT_5, "0001 'a' 0000 00"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0x34, PACKET_MQTT_3_1_1, "0001 'a' 0000"), REASON_PROTOCOL_ERROR);
}

static void a_publish_that_is_cut_short_is_malformed(void **state)
{
    static const char *const bodies[] = {
        "", "00", "0005 'a/b'", "0001 'a'", "0001 'a' 00", "0001 'a' 0001", "0001 'a' 0001 05 01"};
    (void)state;

    for (size_t i = 0; i < G_N_ELEMENTS(bodies); i++) {
        assert_int_equal(decode(0x32, PACKET_MQTT_5, bodies[i]), REASON_MALFORMED_PACKET);
    }
}

/* [MQTT-1.5.4-1] [MQTT-1.5.4-2] */
static void a_topic_that_is_not_utf8_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0003 6100 62 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0003 eda080 00"), REASON_MALFORMED_PACKET);
    assert_int_equal(decode(0x30, PACKET_MQTT_3_1_1, "0002 c080"), REASON_MALFORMED_PACKET);
}

static void an_empty_topic_needs_an_alias(void **state)
{
    (void)state;
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0000 00"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0000 03 230001"), 0);
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0000 02 0101"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0x30, PACKET_MQTT_3_1_1, "0000"), REASON_MALFORMED_PACKET);
}

/* [MQTT-3.3.2-8] */
static void topic_alias_0_is_invalid(void **state)
{
    (void)state;
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0001 'a' 03 230000"), REASON_TOPIC_ALIAS_INVALID);
}

/* [MQTT-3.3.2-14] [MQTT-3.3.2-13] */
static void a_response_topic_is_a_topic_name_without_wildcards(void **state)
{
    (void)state;
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0001 'a' 06 08 0003 'r/+'"),
                     REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0001 'a' 04 08 0001 '#'"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0001 'a' 03 08 0000"), REASON_PROTOCOL_ERROR);
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0001 'a' 04 08 0001 ff"),
                     REASON_MALFORMED_PACKET);
}

static void a_payload_format_other_than_0_and_1_is_a_protocol_error(void **state)
{
    (void)state;
    assert_int_equal(decode(0x30, PACKET_MQTT_5, "0001 'a' 02 0102"), REASON_PROTOCOL_ERROR);
}

/* ---- encoding ---- */

static void encode(const struct packet_publish_head *head, const char *payload,
                   const char *expected)
{
    uint32_t size = packet_publish_size(head);
    g_autofree uint8_t *bytes = g_malloc(size);

    assert_int_equal(head->payload_bytes, strlen(payload));
    uint32_t head_bytes = packet_publish_encode(head, bytes);
    assert_int_equal(head_bytes, size - head->payload_bytes);
    memcpy(bytes + head_bytes, payload, head->payload_bytes);
    assert_encoded(bytes, size, expected);
}

static void a_publish_is_written_in_each_version(void **state)
{
    struct packet_publish_head head = {
        .topic = bytes_from_string("a/b"), .payload_bytes = 2, .version = PACKET_MQTT_3_1_1};
    (void)state;

    encode(&head, "hi", "30 07 0003 'a/b' 'hi'");
    head.version = PACKET_MQTT_5;
    encode(&head, "hi", "30 08 0003 'a/b' 00 'hi'");
    head.qos = 1;
    head.packet_id = 0x0102;
    head.retain = head.dup = true;
    encode(&head, "hi", "3b 0a 0003 'a/b' 0102 00 'hi'");
    head.version = PACKET_MQTT_3_1_1;
    encode(&head, "hi", "3b 09 0003 'a/b' 0102 'hi'");
}

static void what_differs_between_subscribers_stands_before_what_is_forwarded(void **state)
{
    static const uint32_t ids[] = {5, 200, 268435455};
    g_autoptr(GByteArray) forwarded = sample_bytes("0101 26 0001'k' 0001'v'");
    struct packet_publish_head head = {.forwarded = {forwarded->data, forwarded->len},
                                       .subscription_ids = ids,
                                       .subscription_id_count = 3,
                                       .expiry_s = 0x01020304,
                                       .has_expiry = true,
                                       .topic_alias = 9,
                                       .version = PACKET_MQTT_5};
    (void)state;

    encode(&head, "",
           "30 1e 0000 1b 0201020304 230009 0b05 0bc801 0bffffff7f 0101 26 0001'k' 0001'v'");
}

static void lengths_of_one_to_four_bytes_are_written(void **state)
{
    static const struct {
        uint32_t payload_bytes, head_bytes;
    } rows[] = {{124, 5}, {125, 6}, {16380, 6}, {16381, 7}, {2097148, 7}, {2097149, 8}};
    uint8_t bytes[16];
    struct packet_frame frame;
    (void)state;

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct packet_publish_head head = {.topic = bytes_from_string("t"),
                                           .payload_bytes = rows[i].payload_bytes,
                                           .version = PACKET_MQTT_3_1_1};
        assert_int_equal(packet_publish_encode(&head, bytes), rows[i].head_bytes);
        packet_frame_find((struct bytes){bytes, rows[i].head_bytes}, UINT32_MAX, &frame);
        assert_int_equal(frame.total_bytes, packet_publish_size(&head));
    }
}

static void topics_are_found_ahead_as_far_as_packets_are_whole(void **state)
{
    static const struct {
        const char *input;
        size_t bytes;
        unsigned count;
    } cases[] = {{"", 0, 0},
                 {"c000", 0, 0},
                 {"30 06 0001'a' 00 'xy' 30 06 0001'b'", 8, 1},
                 {"30 06 0001'a' 00 'xy' 30 06 ffff'b' 00 'xy' c000", 16, 2},
                 {"30 02 0000", 0, 0},
                 {"00", 0, 0}};
    g_autoptr(GByteArray) ten = g_byte_array_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) input = sample_bytes(cases[i].input);
        struct bytes topics[8];
        unsigned count = 8;
        assert_int_equal(
            packet_publish_topics((struct bytes){input->data, input->len}, topics, &count),
            cases[i].bytes);
        assert_int_equal(count, cases[i].count);
        assert_true(count == 0 || bytes_equal(topics[0], bytes_from_string("a")));
    }
    for (unsigned i = 0; i < 10; i++) {
        g_byte_array_append(ten, (const guint8 *)"0\5\0\1a\0x", 7);
    }
    struct bytes topics[8];
    unsigned count = 8;
    assert_int_equal(packet_publish_topics((struct bytes){ten->data, ten->len}, topics, &count),
                     56);
    assert_int_equal(count, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_publish_is_read_in_every_version),
        cmocka_unit_test(flags_and_packet_id_are_read),
        cmocka_unit_test(properties_are_read_with_everything_else_zero),
        cmocka_unit_test(qos_3_is_malformed),
        cmocka_unit_test(dup_with_qos_0_is_malformed),
        cmocka_unit_test(packet_id_0_is_a_protocol_error),
        cmocka_unit_test(a_publish_that_is_cut_short_is_malformed),
        cmocka_unit_test(a_topic_that_is_not_utf8_is_malformed),
        cmocka_unit_test(an_empty_topic_needs_an_alias),
        cmocka_unit_test(topic_alias_0_is_invalid),
        cmocka_unit_test(a_response_topic_is_a_topic_name_without_wildcards),
        cmocka_unit_test(a_payload_format_other_than_0_and_1_is_a_protocol_error),
        cmocka_unit_test(a_publish_is_written_in_each_version),
        cmocka_unit_test(what_differs_between_subscribers_stands_before_what_is_forwarded),
        cmocka_unit_test(lengths_of_one_to_four_bytes_are_written),
        cmocka_unit_test(topics_are_found_ahead_as_far_as_packets_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
