/* What a request's head may look like, and what is refused instead of guessed. */
#include "http/head.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static int parse(const char *text, struct http_head *head)
{
    return http_head_parse(bytes_from_string(text), head);
}

static void a_head_is_taken_apart(void **unused)
{
    static const char text[] = "POST /v1/publish?a=1&b=x%20y+z HTTP/1.1\r\nHost: "
                               "box:8080\r\ncontent-LENGTH: 12\r\nEmpty:\r\n\r\nbody";
    struct http_head head;

    assert_int_equal(parse(text, &head), (int)strlen(text) - 4);
    assert_true(bytes_equal(head.method, bytes_from_string("POST")));
    assert_true(bytes_equal(head.path, bytes_from_string("/v1/publish")));
    assert_int_equal(head.content_length, 12);
    assert_true(head.keeps_alive);
    assert_true(bytes_equal(http_header_find(&head, "HOST"), bytes_from_string("box:8080")));
    assert_int_equal(http_header_find(&head, "empty").length, 0);
    assert_null(http_header_find(&head, "other").at);
    g_autofree char *value = http_query_find(head.query, "b");
    assert_string_equal(value, "x y z");
    assert_null(http_query_find(head.query, "c"));
}

static void a_head_in_pieces_waits_for_its_end(void **unused)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct http_head head;

    for (size_t i = 1; i < strlen(text); i++) {
        assert_int_equal(http_head_parse((struct bytes){(const uint8_t *)text, i}, &head), 0);
    }
    assert_int_equal(parse(text, &head), (int)strlen(text));
}

static void broken_heads_are_refused(void **unused)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET /\r\n\r\n", -400},
        {"GET  / HTTP/1.1\r\n\r\n", -400},
        {"GET x HTTP/1.1\r\n\r\n", -400},
        {"GET / HTTP/2.0\r\n\r\n", -505},
        {"GET / HTTP/1.1 \r\n\r\n", -400},
        {"G(T / HTTP/1.1\r\n\r\n", -400},
        {"GET /\x01 HTTP/1.1\r\n\r\n", -400},
        {"GET /\xc3\xa4 HTTP/1.1\r\n\r\n", -400},
        {"GET / HTTP/1.1\nHost: x\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: x\r\n folded: x\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: x\r\n: x\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: x\r\nA: x\rb\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1,1\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         -400},
        {"GET / HTTP/1.1\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", -400},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", -400},
        {"GET / HTTP/1.1\n", -400}, /* not whole, and hopeless */
        {"\n", -400},
        {"\x16\x03\x01", -400},
    };
    struct http_head head;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        if (parse(cases[i].text, &head) != cases[i].status) {
            fail_msg("case %u: %d", i, parse(cases[i].text, &head));
        }
    }
}

static void sizes_are_limited(void **unused)
{
    struct http_head head;
    g_autofree char *path = g_strnfill(HTTP_PATH_BYTES_MAX + 1, '/');
    g_autofree char *long_path = g_strdup_printf("GET %s HTTP/1.1\r\n\r\n", path);
    g_autofree char *filler = g_strnfill(HTTP_HEAD_BYTES_MAX, 'a');
    g_autofree char *long_head = g_strdup_printf("GET / HTTP/1.1\r\nA: %s", filler);
    GString *many = g_string_new("GET / HTTP/1.1\r\n");

    for (unsigned i = 0; i <= HTTP_HEADERS_MAX; i++) {
        g_string_append(many, "A: b\r\n");
    }
    g_string_append(many, "\r\n");
    assert_int_equal(parse(long_path, &head), -414);
    assert_int_equal(parse(long_head, &head), -431);
    assert_int_equal(parse(many->str, &head), -431);
    g_string_free(many, true);
}

static void who_wants_a_websocket_says_so_in_two_places(void **unused)
{
    struct http_head head;

    parse("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: "
          "WebSocket\r\n\r\n",
          &head);
    assert_true(head.wants_websocket);
    parse("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", &head);
    assert_false(head.wants_websocket);
    parse("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &head);
    assert_false(head.keeps_alive);
    parse("GET / HTTP/1.0\r\n\r\n", &head);
    assert_false(head.keeps_alive);
}

static void bad_percents_and_nul_are_no_text(void **unused)
{
    static const char *const bad[] = {"%", "%4", "%zz", "a%0", "%00"};

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_null(http_decode(bytes_from_string(bad[i]), false));
    }
    g_autofree char *plus = http_decode(bytes_from_string("a+b%2F"), false);
    assert_string_equal(plus, "a+b/");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_taken_apart),
        cmocka_unit_test(a_head_in_pieces_waits_for_its_end),
        cmocka_unit_test(broken_heads_are_refused),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(who_wants_a_websocket_says_so_in_two_places),
        cmocka_unit_test(bad_percents_and_nul_are_no_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
