/* The table of settings, and reading and writing them. */
#include "state/settings.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct typed {
    struct settings values;
};

static int setup(void **fixture)
{
    struct typed *typed = g_new0(struct typed, 1);
    settings_init(&typed->values);
    *fixture = typed;
    return 0;
}

static int teardown(void **fixture)
{
    struct typed *typed = *fixture;
    settings_deinit(&typed->values);
    g_free(typed);
    return 0;
}

static void defaults_are_those_of_the_table(void **fixture)
{
    struct typed *typed = *fixture;
    uint32_t count = 0;
    const struct setting *table = settings_table(&count);
    for (uint32_t i = 0; i < count; i++) {
        g_autofree char *value = settings_get(&typed->values, &table[i]);
        assert_string_equal(value, table[i].default_value);
    }
    assert_int_equal(typed->values.max_packet_bytes, 1048576);
    assert_int_equal(typed->values.state_bytes_max, 67108864);
    assert_int_equal(typed->values.anonymous, ANONYMOUS_LOOPBACK);
    assert_false(typed->values.proxy_protocol);
}

static void the_table_is_in_order_of_keys_and_says_what_each_means(void **fixture)
{
    uint32_t count = 0;
    const struct setting *table = settings_table(&count);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(i == 0 || strcmp(table[i - 1].key, table[i].key) < 0);
        assert_non_null(table[i].meaning);
        assert_non_null(table[i].unit);
        assert_true(settings_find(table[i].key) == &table[i]);
    }
    assert_null(settings_find("mqtt.nothing"));
}

static void values_at_both_ends_of_a_range_are_taken_and_those_outside_are_not(void **fixture)
{
    struct typed *typed = *fixture;
    uint32_t count = 0;
    const struct setting *table = settings_table(&count);
    for (uint32_t i = 0; i < count; i++) {
        if (table[i].kind != SETTING_INTEGER) {
            continue;
        }
        g_autofree char *least = g_strdup_printf("%" G_GUINT64_FORMAT, table[i].least);
        g_autofree char *most = g_strdup_printf("%" G_GUINT64_FORMAT, table[i].most);
        g_autofree char *above = g_strdup_printf("%" G_GUINT64_FORMAT, table[i].most + 1);
        assert_int_equal(settings_set(&typed->values, table[i].key, least, NULL), 0);
        assert_int_equal(settings_set(&typed->values, table[i].key, most, NULL), 0);
        g_autofree char *value = settings_get(&typed->values, &table[i]);
        assert_string_equal(value, most);
        assert_int_equal(settings_set(&typed->values, table[i].key, above, NULL), -EINVAL);
        assert_int_equal(settings_set(&typed->values, table[i].key, "12x", NULL), -EINVAL);
        assert_int_equal(settings_set(&typed->values, table[i].key, "", NULL), -EINVAL);
        assert_int_equal(settings_set(&typed->values, table[i].key, "-1", NULL), -EINVAL);
        g_autofree char *kept = settings_get(&typed->values, &table[i]);
        assert_string_equal(kept, most);
    }
}

static void an_error_names_the_setting_what_is_allowed_and_what_was_given(void **fixture)
{
    struct typed *typed = *fixture;
    const struct {
        const char *key, *value, *message;
    } cases[] = {
        {"mqtt.max_packet_bytes", "12",
         "setting 'mqtt.max_packet_bytes': must be 128..1572864, got 12"},
        {"mqtt.anonymous", "maybe",
         "setting 'mqtt.anonymous': must be one of off|loopback|on, got maybe"},
        {"mqtt.proxy_protocol", "2", "setting 'mqtt.proxy_protocol': must be true or false, got 2"},
        {"mqtt.max", "1",
         "setting 'mqtt.max': there is none of this name; `setting get` lists them"},
        {"mqtt.response_information", "\xff",
         "setting 'mqtt.response_information': must be UTF-8 of at most 1024 bytes, got 1 bytes"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        assert_true(settings_set(&typed->values, cases[i].key, cases[i].value, &error) < 0);
        assert_string_equal(error->message, cases[i].message);
    }
}

static void choices_booleans_and_texts_are_kept_as_given(void **fixture)
{
    struct typed *typed = *fixture;
    assert_int_equal(settings_set(&typed->values, "mqtt.queue_full", "refuse", NULL), 0);
    assert_int_equal(typed->values.queue_full, QUEUE_REFUSE);
    assert_int_equal(settings_set(&typed->values, "mqtt.proxy_protocol", "on", NULL), 0);
    assert_true(typed->values.proxy_protocol);
    assert_int_equal(settings_set(&typed->values, "mqtt.proxy_protocol", "off", NULL), 0);
    assert_false(typed->values.proxy_protocol);
    assert_int_equal(settings_set(&typed->values, "mqtt.response_information", "häuser/", NULL), 0);
    assert_string_equal(typed->values.response_information, "häuser/");
    g_autofree char *value =
        settings_get(&typed->values, settings_find("mqtt.response_information"));
    assert_string_equal(value, "häuser/");
}

static void the_markdown_table_has_a_row_for_each(void **fixture)
{
    g_autofree char *markdown = settings_to_markdown();
    uint32_t count = 0;
    const struct setting *table = settings_table(&count);
    g_auto(GStrv) lines = g_strsplit(markdown, "\n", -1);
    assert_int_equal(g_strv_length(lines), count + 3);
    for (uint32_t i = 0; i < count; i++) {
        assert_non_null(strstr(lines[i + 2], table[i].key));
        uint32_t bars = 0;
        for (const char *at = lines[i + 2]; *at; at++) {
            bars += *at == '|';
        }
        assert_int_equal(bars, 7);
    }
}

/* MICROCLOUD_WRITE_LIMITS in the environment writes it instead (scripts/limits). */
static void the_table_in_the_document_of_limits_is_this_one(void **fixture)
{
    static const char *const path = MICROCLOUD_SOURCES "/docs/limits.md";
    g_autofree char *markdown = settings_to_markdown();
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    char *begin = strstr(text, "<!-- settings -->\n");
    char *end = strstr(text, "<!-- end of settings -->\n");
    assert_true(begin && end && begin < end);
    begin = strchr(begin, '\n') + 1;
    if (g_getenv("MICROCLOUD_WRITE_LIMITS")) {
        g_autofree char *made =
            g_strdup_printf("%.*s%s%s", (int)(begin - text), text, markdown, end);
        assert_true(g_file_set_contents(path, made, -1, NULL));
        return;
    }
    g_autofree char *table = g_strndup(begin, (gsize)(end - begin));
    if (strcmp(table, markdown) != 0) {
        fail_msg("docs/limits.md is stale: run scripts/limits with this build directory");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_those_of_the_table),
        TEST(the_table_is_in_order_of_keys_and_says_what_each_means),
        TEST(values_at_both_ends_of_a_range_are_taken_and_those_outside_are_not),
        TEST(an_error_names_the_setting_what_is_allowed_and_what_was_given),
        TEST(choices_booleans_and_texts_are_kept_as_given),
        TEST(the_markdown_table_has_a_row_for_each),
        TEST(the_table_in_the_document_of_limits_is_this_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
