/* Packets in words. */
#include "packet/sample.h"

static void expect(uint8_t first, uint8_t version, const char *body, const char *expected)
{
    SAMPLE(sample, first, body);
    g_autofree char *line = packet_frame_describe(&sample.frame, version);
    assert_string_equal(line, expected);
}

static void every_packet_has_its_line(void **state)
{
    (void)state;
    expect(0x10, 5, "0004'MQTT' 05 c6 003c 00 0002'id' 00 0001'w' 0002'xy' 0001'u' 0006'secret'",
           "CONNECT v5 c1 k60 'id' user 'u' will q0 r0 'w' (2 bytes)");
    expect(0x20, 5, "01 00 03 21 0010", "CONNACK s1 0x00 (success) {receive-maximum=16}");
    expect(0x32, 4, "0009'sensors/a' 0011 'twelve bytes'",
           "PUBLISH q1 r0 d0 m17 'sensors/a' (12 bytes)");
    expect(0x31, 5, "0000 03 230004 'x'", "PUBLISH q0 r1 d0 m0 '' {topic-alias=4} (1 bytes)");
    expect(0x40, 5, "0007 10", "PUBACK m7 0x10 (no matching subscribers)");
    expect(0x50, 4, "0007", "PUBREC m7");
    expect(0x62, 4, "0007", "PUBREL m7");
    expect(0x70, 5, "0007 00 04 1f 0001'r'", "PUBCOMP m7 0x00 (success) {reason-string='r'}");
    expect(0x82, 5, "0007 00 0001'a' 2d", "SUBSCRIBE m7 'a' q1 n1 p1 h2 (1 filters)");
    expect(0x82, 4, "0007 0001'a' 00 0001'b' 01", "SUBSCRIBE m7 'a' q0 'b' q1 (2 filters)");
    expect(0x90, 5, "0007 00 01 87", "SUBACK m7 0x01 0x87 (2 reasons)");
    expect(0xa2, 5, "0007 00 0001'a' 0001'b'", "UNSUBSCRIBE m7 'a' 'b' (2 filters)");
    expect(0xb0, 5, "0007 00 11", "UNSUBACK m7 0x11 (1 reasons)");
    expect(0xc0, 5, "", "PINGREQ");
    expect(0xd0, 5, "", "PINGRESP");
    expect(0xe0, 5, "8e", "DISCONNECT 0x8e (session taken over)");
    expect(0xe0, 4, "", "DISCONNECT");
    expect(0xf0, 5, "18 04 15 0001'm'",
           "AUTH 0x18 (continue authentication) {authentication-method='m'}");
}

static void properties_are_shown_but_no_secrets(void **state)
{
    (void)state;
    expect(0x30, 5,
           "0001't' 26 01 01 02 0000003c 03 0001'c' 08 0001'r' 09 0002 0001 0b 05 0b 06 "
           "26 0001'a' 0001'b' 26 0001'a' 0001 0a",
           "PUBLISH q0 r0 d0 m0 't' {payload-format-indicator=1 message-expiry-interval=60 "
           "content-type='c' response-topic='r' correlation-data=2 bytes "
           "subscription-identifier=5 subscription-identifier=6 user-property 'a'='b' "
           "user-property 'a'='\\x0a'} (0 bytes)");
    expect(0x10, 5, "0004'MQTT' 05 02 0000 0d 11 ffffffff 15 0001'm' 16 0001's' 0001'i'",
           "CONNECT v5 c1 k0 'i' {session-expiry-interval=4294967295 authentication-method='m' "
           "authentication-data=1 bytes}");
}

static void what_does_not_decode_is_described_by_its_fault(void **state)
{
    (void)state;
    for (int type = 1; type < 16; type++) {
        bool has_two =
            type == PACKET_PUBREL || type == PACKET_SUBSCRIBE || type == PACKET_UNSUBSCRIBE;
        g_autofree char *expected = g_strdup_printf("%s 0x81 (malformed packet) (3 bytes)",
                                                    packet_type_to_string((uint8_t)type));
        if (type == PACKET_PINGREQ || type == PACKET_PINGRESP) {
            continue;
        }
        expect((uint8_t)(type << 4 | (has_two ? 2 : 1)), type == PACKET_DISCONNECT ? 4 : 5, "00",
               expected);
    }
}

static void text_of_others_is_shortened_and_made_visible(void **state)
{
    g_autofree char *longer = g_strnfill(300, 'x');
    g_autofree char *body = g_strdup_printf("012c '%s'", longer);
    (void)state;

    expect(0x30, 4, "0003 610a7f", "PUBLISH q0 r0 d0 m0 'a\\x0a\\x7f' (0 bytes)");
    longer[200] = '\0';
    g_autofree char *expected = g_strdup_printf("PUBLISH q0 r0 d0 m0 '%s...' (0 bytes)", longer);
    expect(0x30, 4, body, expected);
}

static void types_have_names(void **state)
{
    (void)state;
    assert_string_equal(packet_type_to_string(PACKET_AUTH), "AUTH");
    assert_string_equal(packet_type_to_string(0), "reserved");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_packet_has_its_line),
        cmocka_unit_test(properties_are_shown_but_no_secrets),
        cmocka_unit_test(what_does_not_decode_is_described_by_its_fault),
        cmocka_unit_test(text_of_others_is_shortened_and_made_visible),
        cmocka_unit_test(types_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
