/* Durations and sizes as people write them. */
#include "text/units.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void durations_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0", 0},       {"90s", 90000},    {"1m30s", 90000},      {"1.5h", 5400000},
                {"250ms", 250}, {"2d", 172800000}, {"1h0m0.5s", 3600500}, {"1500us", 2}};
    static const char *const bad[] = {"",    "5",    "s",    "-1s",  "1s1m", "1s1s",
                                      "1x",  "1 s",  "1e3s", "0x1s", "1..s", "99999999999999d",
                                      "1s ", "nans", "+1s"};

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        uint64_t ms = 0;
        assert_int_equal(text_parse_duration_ms(good[i].text, &ms, NULL), 0);
        assert_int_equal(ms, good[i].ms);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t ms = 4711;
        assert_true(text_parse_duration_ms(bad[i], &ms, &error) < 0);
        assert_non_null(strstr(error->message, "must be like 30s"));
        assert_int_equal(ms, 4711);
    }
}

static void sizes_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"512", 512},
                {"512B", 512},
                {"64k", 65536},
                {"50M", 52428800},
                {"1.5 GiB", 1610612736},
                {"1kb", 1024},
                {"2TiB", 2199023255552},
                {"1P", 1125899906842624}};
    static const char *const bad[] = {"",    "M",        "-1",   "1X",  "1 MM",
                                      "1Mi", "9999999P", "0x10", "1e3", "1  M"};

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        uint64_t bytes = 0;
        assert_int_equal(text_parse_size_bytes(good[i].text, &bytes, NULL), 0);
        assert_int_equal(bytes, good[i].bytes);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t bytes = 4711;
        assert_true(text_parse_size_bytes(bad[i], &bytes, &error) < 0);
        assert_non_null(strstr(error->message, "must be like 512"));
        assert_int_equal(bytes, 4711);
    }
}

static void what_is_printed_is_short_and_read_again(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } durations[] = {{0, "0s"},          {250, "250ms"},     {90000, "1m30s"},
                     {5400000, "1h30m"}, {90061001, "1d1h"}, {86400000, "1d"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(durations); i++) {
        g_autofree char *text = text_format_duration_ms(durations[i].ms);
        assert_string_equal(text, durations[i].text);
    }
    g_autofree char *bytes = text_format_size_bytes(1000);
    g_autofree char *more = text_format_size_bytes(1610612736);
    assert_string_equal(bytes, "1000 B");
    assert_string_equal(more, "1.5 GiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(what_is_printed_is_short_and_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
