/* JSON into the tree and back, and what is refused. */
#include "text/value.h"
#include "base/cleanup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static struct text_value *parse(const char *text)
{
    GError *error = NULL;
    struct text_value *value = text_parse_json(text, strlen(text), &error);

    assert_null(error);
    assert_non_null(value);
    return value;
}

static void assert_refused(const char *text, size_t length, const char *where)
{
    g_autoptr(GError) error = NULL;

    assert_null(text_parse_json(text, length, &error));
    assert_non_null(error);
    if (!strstr(error->message, where)) {
        fail_msg("'%s' does not say '%s'", error->message, where);
    }
}

static void values_are_read_by_kind_with_a_fallback(void **state)
{
    _cleanup_(text_freep) struct text_value *value =
        parse("{\"s\":\"text\",\"i\":-7,\"n\":1.5,\"b\":true,\"z\":null,\"l\":[1,2],\"o\":{}}");

    assert_int_equal(text_kind(value), TEXT_OBJECT);
    assert_int_equal(text_count(value), 7);
    assert_string_equal(text_key_at(value, 6), "o");
    assert_null(text_key_at(value, 7));
    assert_string_equal(text_string(text_get(value, "s"), ""), "text");
    assert_int_equal(text_integer(text_get(value, "i"), 0), -7);
    assert_true(text_number(text_get(value, "n"), 0) == 1.5);
    assert_true(text_number(text_get(value, "i"), 0) == -7);
    assert_true(text_boolean(text_get(value, "b"), false));
    assert_int_equal(text_integer(text_at(text_get(value, "l"), 1), 0), 2);
    assert_null(text_at(text_get(value, "l"), 2));
    assert_int_equal(text_kind(text_get(value, "z")), TEXT_NULL);
    assert_string_equal(text_string(text_get(value, "i"), "otherwise"), "otherwise");
    assert_int_equal(text_integer(text_get(value, "none"), 9), 9);
    assert_int_equal(text_kind(NULL), TEXT_NULL);
    assert_null(text_get(text_get(value, "s"), "x"));
    assert_string_equal(text_kind_to_string(TEXT_LIST), "list");
}

static void what_is_built_is_printed_in_its_order(void **state)
{
    _cleanup_(text_freep) struct text_value *value = text_new_object();
    struct text_value *list = text_new_list();

    text_set_string(value, "z", "last \"first\"\n");
    text_set_integer(value, "a", G_MAXINT64);
    text_set_boolean(value, "m", false);
    text_set_null(value, "n");
    text_set_string(value, "none", NULL);
    text_append_string(list, "one");
    text_append_string(list, "\xff"); /* no UTF-8: replaced */
    text_set(value, "list", list);
    g_autofree char *json = text_to_json(value, false);
    assert_string_equal(json,
                        "{\"z\":\"last \\\"first\\\"\\n\",\"a\":9223372036854775807,\"m\":false,"
                        "\"n\":null,\"none\":null,\"list\":[\"one\",\"\xef\xbf\xbd\"]}");
    _cleanup_(text_freep) struct text_value *again = parse(json);
    g_autofree char *same = text_to_json(again, false);
    assert_string_equal(json, same);
}

static void depth_has_a_limit_that_names_line_and_column(void **state)
{
    g_autofree char *bomb = g_strnfill(10000, '[');
    GString *deep = g_string_new(NULL);

    assert_refused(bomb, 10000, "line 1, column 65: nested deeper than 64 levels");
    for (unsigned i = 0; i < TEXT_DEPTH_MAX; i++) {
        g_string_append(deep, "\n{\"a\":");
    }
    g_string_append(deep, "\"[[[{{{\\\"[[\"");
    for (unsigned i = 0; i < TEXT_DEPTH_MAX; i++) {
        g_string_append_c(deep, '}');
    }
    text_free(parse(deep->str));
    g_string_prepend(deep, "[");
    assert_refused(deep->str, deep->len, "line 65, column 1: nested deeper");
    g_string_free(deep, true);
}

static void values_and_bytes_have_limits(void **state)
{
    GString *many = g_string_new("[0");
    g_autofree char *spaces = g_strnfill(TEXT_BYTES_MAX + 1, ' ');

    for (unsigned i = 0; i < TEXT_NODES_MAX; i++) {
        g_string_append(many, ",0");
    }
    g_string_append_c(many, ']');
    assert_refused(many->str, many->len, "more than 200000 values");
    g_string_free(many, true);
    assert_refused(spaces, TEXT_BYTES_MAX + 1, "longer than");
}

static void bad_text_is_refused_with_its_place(void **state)
{
    assert_refused("", 0, "line 1");
    assert_refused("{\"a\":1,\n\"a\":2}", 14, "line 2");
    assert_refused("{\"a\":\"\xff\"}", 9, "line 1");
    assert_refused("\"\xc0\x80\"", 4, "line 1");
    assert_refused("\"a\\u0000b\"", 10, "line 1");
    assert_refused("\"\\ud800\"", 8, "line 1");
    assert_refused("[1,]", 4, "line 1");
    assert_refused("[1] x", 5, "line 1");
    assert_refused("[1\0]", 4, "line 1, column 3: a NUL byte");
    assert_refused("1e999", 5, "line 1");
    assert_refused("\"open", 5, "line 1");
    assert_refused("\"open\\", 6, "line 1");
    assert_refused("]]]]", 4, "line 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_by_kind_with_a_fallback),
        cmocka_unit_test(what_is_built_is_printed_in_its_order),
        cmocka_unit_test(depth_has_a_limit_that_names_line_and_column),
        cmocka_unit_test(values_and_bytes_have_limits),
        cmocka_unit_test(bad_text_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
