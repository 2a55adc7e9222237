/* -F, -v and plain output, byte for byte. */
#include "cli/mqtt/format.h"

#include "base/bytes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(const struct sub_format *how, const struct packet_publish *publish,
                  const char *expected, size_t length)
{
    const struct timespec now = {.tv_sec = 1588759920, .tv_nsec = 123456789};
    g_autoptr(GString) out = g_string_new(NULL);
    sub_format_message(how, publish, &now, out);
    assert_int_equal(out->len, length);
    assert_memory_equal(out->str, expected, length);
}

static struct packet_publish message(void)
{
    return (struct packet_publish){.topic = bytes_from_string("a/b"),
                                   .payload = bytes_from_string("hi\"\x01"),
                                   .packet_id = 7,
                                   .qos = 1};
}

static void check_format(const char *format, const char *expected)
{
    struct sub_format how = {.format = format, .no_newline = true};
    struct packet_publish publish = message();
    assert_int_equal(sub_format_check(format, NULL), 0);
    check(&how, &publish, expected, strlen(expected));
}

static void plain_and_verbose_are_as_mosquitto_sub_prints_them(void **state)
{
    struct packet_publish publish = message();
    struct packet_publish empty = {.topic = bytes_from_string("a")};
    check(&(struct sub_format){0}, &publish, "hi\"\x01\n", 5);
    check(&(struct sub_format){.no_newline = true}, &publish, "hi\"\x01", 4);
    check(&(struct sub_format){.is_verbose = true}, &publish, "a/b hi\"\x01\n", 9);
    check(&(struct sub_format){0}, &empty, "", 0);
    check(&(struct sub_format){.is_verbose = true}, &empty, "a (null)\n", 9);
}

static void parts_have_width_and_precision(void **state)
{
    check_format("%t|%5t|%-5t|%.2t|%5.1t|", "a/b|  a/b|a/b  |a/|    a|");
    check_format("%l|%03l|%-3l|%m|%q|%r|%%", "4|004|4  |7|1|0|%");
    check_format("%x|%X|%010x", "68692201|68692201|0068692201");
    check_format("[%C%A%E%F%R%S%P%D]", "[]");
}

static void times_and_escapes_are_replaced(void **state)
{
    check_format("@Y-@m-@d @H:@M:@S.@N @@", "2020-05-06 10:12:00.123456789 @");
    check_format("%I %U", "2020-05-06T10:12:00+0000 1588759920.123456789");
    check_format("\\t\\n\\\\\\e", "\t\n\\\033");
    struct sub_format how = {.format = "%q\\0%q", .no_newline = true};
    struct packet_publish publish = message();
    check(&how, &publish, "1\0001", 3);
}

static void json_is_escaped_or_taken_over(void **state)
{
    check_format("%j", "{\"tst\":\"2020-05-06T10:12:00.123456+0000\",\"topic\":\"a/"
                       "b\",\"qos\":1,\"retain\":0,\"payloadlen\":4,"
                       "\"mid\":7,\"payload\":\"hi\\\"\\u0001\"}");
    struct sub_format how = {.format = "%J", .no_newline = true};
    struct packet_publish publish = {.topic = bytes_from_string("t"),
                                     .payload = bytes_from_string("{\"x\": [1,2]}")};
    const char *expected = "{\"tst\":\"2020-05-06T10:12:00.123456+0000\",\"topic\":\"t\",\"qos\":0,"
                           "\"retain\":0,\"payloadlen\":12,"
                           "\"payload\":{\"x\":[1,2]}}";
    check(&how, &publish, expected, strlen(expected));
    publish.payload = bytes_from_string("no json");
    check(&how, &publish, "", 0);
}

static void unknown_sequences_are_refused_beforehand(void **state)
{
    static const char *const formats[] = {"%y", "%", "%5", "\\q", "\\", "@"};
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autoptr(GError) error = NULL;
        assert_int_equal(sub_format_check(formats[i], &error), -1);
        assert_true(g_str_has_prefix(error->message, "-F: "));
    }
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_and_verbose_are_as_mosquitto_sub_prints_them),
        cmocka_unit_test(parts_have_width_and_precision),
        cmocka_unit_test(times_and_escapes_are_replaced),
        cmocka_unit_test(json_is_escaped_or_taken_over),
        cmocka_unit_test(unknown_sequences_are_refused_beforehand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
