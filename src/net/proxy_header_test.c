/* PROXY protocol v2 headers, good and bad. */
#include "net/proxy_header.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const uint8_t signature[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                    0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

/* Parses a header with `length` bytes of zeros behind the head but what the address holds. */
static int parse(uint8_t command, uint8_t family, uint16_t length, const char *address,
                 size_t bytes, struct proxy_header *header)
{
    uint8_t input[1024] = {0};

    memcpy(input, signature, sizeof signature);
    input[12] = command;
    input[13] = family;
    input[14] = (uint8_t)(length >> 8);
    input[15] = (uint8_t)length;
    if (address) {
        memcpy(input + 16, address, strlen(address));
    }
    return proxy_header_parse((struct bytes){input, bytes}, header);
}

static void an_ip6_client_is_read(void **state)
{
    struct proxy_header header;

    assert_int_equal(parse(0x21, 0x21, 36, "\x20\x01\x0d\xb8", 52, &header), 52);
    assert_true(header.has_address);
    assert_string_equal(header.address, "2001:db8::");
}

static void a_local_connection_keeps_its_own_address(void **state)
{
    struct proxy_header header;

    assert_int_equal(parse(0x20, 0x00, 0, NULL, 16, &header), 16);
    assert_false(header.has_address);
    assert_int_equal(parse(0x21, 0x31, 216, NULL, 232, &header),
                     232); /* Unix: no address of ours */
    assert_false(header.has_address);
}

static void more_is_asked_for_byte_by_byte(void **state)
{
    struct proxy_header header;
    uint8_t head[16] = {0};

    for (size_t bytes = 0; bytes < 28; bytes++) {
        assert_int_equal(parse(0x21, 0x11, 12, NULL, bytes, &header), 0);
    }
    assert_int_equal(parse(0x21, 0x11, 12, NULL, 28, &header), 28);
    assert_int_equal(proxy_header_needed((struct bytes){head, 0}), 16);
    assert_int_equal(proxy_header_needed((struct bytes){head, 15}), 1);
    head[15] = 12;
    assert_int_equal(proxy_header_needed((struct bytes){head, 16}), 12);
}

static void bad_headers_are_refused(void **state)
{
    struct proxy_header header;

    assert_int_equal(parse(0x11, 0x11, 12, NULL, 28, &header), -EPROTO);   /* version 1 */
    assert_int_equal(parse(0x22, 0x11, 12, NULL, 28, &header), -EPROTO);   /* no such command */
    assert_int_equal(parse(0x21, 0x11, 521, NULL, 537, &header), -EPROTO); /* too long */
    assert_int_equal(parse(0x21, 0x11, 520, NULL, 536, &header), 536);
    assert_int_equal(parse(0x21, 0x21, 12, NULL, 28, &header), 28); /* too short for IPv6 */
    assert_false(header.has_address);
    assert_int_equal(proxy_header_parse((struct bytes){(const uint8_t *)"PROXY ", 6}, &header),
                     -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ip6_client_is_read),
        cmocka_unit_test(a_local_connection_keeps_its_own_address),
        cmocka_unit_test(more_is_asked_for_byte_by_byte),
        cmocka_unit_test(bad_headers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
