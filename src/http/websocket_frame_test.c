/* Frames of a WebSocket, and the key of its handshake. */
#include "http/websocket_frame.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void the_key_is_answered_as_in_the_standard(void **unused)
{
    g_autofree char *answer = websocket_accept_key(bytes_from_string("dGhlIHNhbXBsZSBub25jZQ=="));

    assert_string_equal(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_null(websocket_accept_key(bytes_from_string("")));
    assert_null(websocket_accept_key(bytes_from_string("dGhlIHNhbXBsZSBub25jZQ=")));
    assert_null(websocket_accept_key(bytes_from_string("????????????????????????")));
}

static void lengths_of_all_three_sizes_are_read_and_written(void **unused)
{
    static const uint64_t lengths[] = {0, 125, 126, 65535, 65536, 1ull << 40};

    for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
        uint8_t bytes[WEBSOCKET_HEAD_BYTES_MAX + 4] = {0};
        struct websocket_frame frame;
        unsigned length = websocket_frame_encode(WEBSOCKET_BINARY, lengths[i], bytes);
        bytes[1] |= 0x80; /* as a client: masked */
        for (unsigned part = 0; part < length + 4; part++) {
            assert_int_equal(websocket_frame_parse((struct bytes){bytes, part}, &frame), 0);
        }
        assert_int_equal(websocket_frame_parse((struct bytes){bytes, length + 4}, &frame), 1);
        assert_true(frame.payload_bytes == lengths[i] && frame.is_final &&
                    frame.opcode == WEBSOCKET_BINARY);
        assert_int_equal(frame.head_bytes, length + 4);
    }
}

static void what_the_standard_forbids_is_refused(void **unused)
{
    static const uint8_t bad[][8] = {
        {0x82, 0x01, 0},                  /* no mask */
        {0xc2, 0x80, 0},                  /* a reserved bit */
        {0x83, 0x80, 0},                  /* an opcode that is none */
        {0x8b, 0x80, 0}, {0x09, 0x80, 0}, /* a ping in pieces */
        {0x89, 0xfe, 0},                  /* a long ping */
    };
    static const uint8_t huge[] = {0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4};
    struct websocket_frame frame;

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_int_equal(websocket_frame_parse((struct bytes){bad[i], sizeof bad[i]}, &frame),
                         -1002);
    }
    assert_int_equal(websocket_frame_parse((struct bytes){huge, sizeof huge}, &frame), -1002);
}

static void a_mask_goes_on_where_it_stopped(void **unused)
{
    static const uint8_t mask[4] = {1, 2, 3, 4};
    uint8_t whole[] = "abcdefgh", pieces[] = "abcdefgh";

    websocket_unmask(whole, 8, mask, 0);
    websocket_unmask(pieces, 3, mask, 0);
    websocket_unmask(pieces + 3, 5, mask, 3);
    assert_memory_equal(whole, pieces, 8);
    websocket_unmask(whole, 8, mask, 0);
    assert_string_equal((const char *)whole, "abcdefgh");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_is_answered_as_in_the_standard),
        cmocka_unit_test(lengths_of_all_three_sizes_are_read_and_written),
        cmocka_unit_test(what_the_standard_forbids_is_refused),
        cmocka_unit_test(a_mask_goes_on_where_it_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
