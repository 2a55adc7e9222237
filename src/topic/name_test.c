/* Topic names and filters, UTF-8: the rules of MQTT 5, 1.5.4, 4.7 and 4.8.2. */
#include "topic/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>
#include <cmocka.h>

#define LEVELS 32

static struct bytes text(const char *string)
{
    return bytes_from_string(string);
}

#define assert_utf8(literal, expected)                                                             \
    assert_int_equal(                                                                              \
        utf8_is_valid((struct bytes){(const uint8_t *)(literal), sizeof(literal) - 1}), expected)

static bool is_name(const char *name)
{
    return topic_name_is_valid(text(name), LEVELS);
}

static bool is_filter(const char *filter)
{
    return topic_filter_is_valid(text(filter), LEVELS);
}

static bool matches(const char *filter, const char *name)
{
    return topic_filter_matches(text(filter), text(name));
}

static bool covers(const char *outer, const char *inner)
{
    return topic_filter_covers(text(outer), text(inner));
}

/* ---- UTF-8 ---- */

static void well_formed_text_is_accepted(void **state)
{
    (void)state;
    assert_utf8("", true);
    assert_utf8("a", true);
    assert_utf8("exactly8", true);
    assert_utf8("nine char", true);
    assert_utf8("K\xc3\xbc"
                "che/Temperatur",
                true);
    assert_utf8("\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
                true);
    assert_utf8("\x7f\x01", true); /* controls may be refused, they need not */
}

/* [MQTT-1.5.4-1] */
static void ill_formed_text_and_surrogates_are_refused(void **state)
{
    (void)state;
    assert_utf8("\x80", false);
    assert_utf8("sevenby\xbf", false);
    assert_utf8("\xc3", false);
    assert_utf8("\xc3(", false);
    assert_utf8("\xe2\x82", false);
    assert_utf8("\xe2(\xa1", false);
    assert_utf8("\xf0\x90\x80", false);
    assert_utf8("\xed\xa0\x80", false);
    assert_utf8("\xed\xbf\xbf", false);
    assert_utf8("\xf4\x90\x80\x80", false);
    assert_utf8("\xf5\x80\x80\x80", false);
    assert_utf8("\xff", false);
}

static void overlong_forms_are_refused(void **state)
{
    (void)state;
    assert_utf8("\xc0\x80", false);
    assert_utf8("\xc1\xbf", false);
    assert_utf8("\xe0\x80\x80", false);
    assert_utf8("\xe0\x9f\xbf", false);
    assert_utf8("\xf0\x80\x80\x80", false);
    assert_utf8("\xf0\x8f\xbf\xbf", false);
}

/* [MQTT-1.5.4-2] */
static void the_null_character_is_refused_at_every_place(void **state)
{
    char buffer[40];
    (void)state;

    for (size_t length = 1; length < sizeof buffer; length++) {
        for (size_t at = 0; at < length; at++) {
            memset(buffer, 'x', sizeof buffer);
            buffer[at] = '\0';
            assert_false(utf8_is_valid((struct bytes){(const uint8_t *)buffer, length}));
            buffer[at] = '\x01';
            assert_true(utf8_is_valid((struct bytes){(const uint8_t *)buffer, length}));
            buffer[at] = '\x80';
            assert_false(utf8_is_valid((struct bytes){(const uint8_t *)buffer, length}));
        }
    }
}

/* [MQTT-1.5.4-3] */
static void the_byte_order_mark_is_text_like_any_other(void **state)
{
    (void)state;
    assert_utf8("\xef\xbb\xbf", true);
    assert_false(matches("a", "\xef\xbb\xbf"
                              "a"));
    assert_true(matches("\xef\xbb\xbf"
                        "a",
                        "\xef\xbb\xbf"
                        "a"));
}

/* GLib's check differs only in that it takes no surrogates either; NUL ends its text. */
static void utf8_agrees_with_glib(void **state)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(6);
    (void)state;

    for (int i = 0; i < 200000; i++) {
        uint8_t buffer[12];
        gsize length = (gsize)g_rand_int_range(random, 1, sizeof buffer);
        static const uint8_t interesting[] = {0x41, 0x7f, 0x80, 0xbf, 0xc2, 0xe0, 0xa0,
                                              0xed, 0x9f, 0xf0, 0x90, 0xf4, 0x8f};
        for (gsize j = 0; j < length; j++) {
            buffer[j] = interesting[g_rand_int_range(random, 0, sizeof interesting)];
        }
        bool expected = g_utf8_validate_len((const char *)buffer, length, NULL);
        assert_int_equal(utf8_is_valid((struct bytes){buffer, length}), expected);
    }
}

/* ---- names ---- */

/* [MQTT-4.7.3-1] */
static void names_and_filters_have_at_least_one_character(void **state)
{
    (void)state;
    assert_false(is_name(""));
    assert_false(is_filter(""));
    assert_false(topic_name_is_valid((struct bytes){NULL, 0}, LEVELS));
    assert_true(is_name("/"));
    assert_true(is_filter("/"));
    assert_true(is_name(" "));
}

/* [MQTT-4.7.3-2] */
static void names_and_filters_hold_no_null_character(void **state)
{
    (void)state;
    assert_false(topic_name_is_valid((struct bytes){(const uint8_t *)"a\0b", 3}, LEVELS));
    assert_false(topic_filter_is_valid((struct bytes){(const uint8_t *)"a\0b", 3}, LEVELS));
}

/* [MQTT-4.7.3-3] */
static void names_and_filters_have_at_most_65535_bytes(void **state)
{
    g_autofree char *longest = g_strnfill(TOPIC_BYTES_MAX + 1, 'x');
    (void)state;

    assert_false(is_name(longest));
    assert_false(is_filter(longest));
    longest[TOPIC_BYTES_MAX] = '\0';
    assert_true(is_name(longest));
    assert_true(is_filter(longest));
}

/* [MQTT-4.7.0-1] [MQTT-3.3.2-2] */
static void names_hold_no_wildcards(void **state)
{
    (void)state;
    assert_false(is_name("#"));
    assert_false(is_name("a/+"));
    assert_false(is_name("a+b"));
    assert_false(is_name("a/#"));
}

static void levels_are_limited(void **state)
{
    (void)state;
    assert_true(topic_name_is_valid(text("a/b/c"), 3));
    assert_false(topic_name_is_valid(text("a/b/c/"), 3));
    assert_true(topic_filter_is_valid(text("a/b/#"), 3));
    assert_false(topic_filter_is_valid(text("a/b/c/#"), 3));
    assert_true(topic_filter_is_valid(text("$share/n/a/b/c"), 3));
    assert_false(topic_filter_is_valid(text("$share/n/a/b/c/d"), 3));
}

/* ---- filters ---- */

/* [MQTT-4.7.1-1] */
static void a_multi_level_wildcard_stands_alone_and_last(void **state)
{
    (void)state;
    assert_true(is_filter("#"));
    assert_true(is_filter("a/#"));
    assert_true(is_filter("/#"));
    assert_false(is_filter("a#"));
    assert_false(is_filter("a/b#"));
    assert_false(is_filter("#/a"));
    assert_false(is_filter("a/#/"));
    assert_false(is_filter("##"));
}

/* [MQTT-4.7.1-2] */
static void a_single_level_wildcard_fills_its_level(void **state)
{
    (void)state;
    assert_true(is_filter("+"));
    assert_true(is_filter("+/a/#"));
    assert_true(is_filter("a/+/b"));
    assert_true(is_filter("/+"));
    assert_false(is_filter("a+"));
    assert_false(is_filter("a/+b"));
    assert_false(is_filter("++"));
    assert_false(is_filter("+#"));
}

static void wildcards_are_seen(void **state)
{
    (void)state;
    assert_true(topic_filter_has_wildcard(text("a/+")));
    assert_true(topic_filter_has_wildcard(text("#")));
    assert_false(topic_filter_has_wildcard(text("a/b")));
    assert_false(topic_filter_has_wildcard(text("")));
}

/* [MQTT-4.8.2-1] */
static void a_share_name_has_at_least_one_character(void **state)
{
    (void)state;
    assert_true(is_filter("$share/n/a"));
    assert_false(is_filter("$share//a"));
    assert_false(is_filter("$share/"));
}

/* [MQTT-4.8.2-2] */
static void a_share_name_holds_no_wildcards_and_is_followed_by_a_filter(void **state)
{
    (void)state;
    assert_false(is_filter("$share/n+/a"));
    assert_false(is_filter("$share/#/a"));
    assert_false(is_filter("$share/+"));
    assert_false(is_filter("$share/n"));
    assert_false(is_filter("$share/n/"));
    assert_false(is_filter("$share/n/a#"));
    assert_true(is_filter("$share/n//"));
    assert_true(is_filter("$share/n/#"));
    assert_true(is_filter("$share"));
    assert_true(is_filter("$shared/n"));
}

static void shared_filters_are_split(void **state)
{
    struct bytes share, rest;
    (void)state;

    assert_true(topic_filter_split_shared(text("$share/group/a/+"), &share, &rest));
    assert_true(bytes_equal(share, text("group")));
    assert_true(bytes_equal(rest, text("a/+")));
    assert_true(topic_filter_split_shared(text("$share/g//a"), &share, &rest));
    assert_true(bytes_equal(rest, text("/a")));
    assert_false(topic_filter_split_shared(text("a/b"), &share, &rest));
    assert_false(topic_filter_split_shared(text("$share/n"), &share, &rest));
    assert_true(bytes_equal(rest, text("/a")));
}

/* ---- matching ---- */

static void filters_match_as_the_standard_shows(void **state)
{
    (void)state;
    assert_true(matches("sport/tennis/player1/#", "sport/tennis/player1"));
    assert_true(matches("sport/tennis/player1/#", "sport/tennis/player1/ranking"));
    assert_true(matches("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"));
    assert_true(matches("sport/#", "sport"));
    assert_true(matches("#", "sport"));
    assert_true(matches("sport/tennis/+", "sport/tennis/player1"));
    assert_false(matches("sport/tennis/+", "sport/tennis/player1/ranking"));
    assert_false(matches("sport/+", "sport"));
    assert_true(matches("sport/+", "sport/"));
    assert_true(matches("+/+", "/finance"));
    assert_true(matches("/+", "/finance"));
    assert_false(matches("+", "/finance"));
    assert_false(matches("", "a"));
    assert_false(matches("a", ""));
    assert_false(matches("a/b", "a"));
    assert_false(matches("a", "a/b"));
}

/* [MQTT-4.7.3-4] */
static void matching_changes_neither_case_nor_characters(void **state)
{
    (void)state;
    assert_false(matches("ACCOUNTS", "Accounts"));
    assert_true(matches("Accounts payable", "Accounts payable"));
    assert_false(matches("/finance", "finance"));
    assert_false(matches("caf\xc3\xa9", "cafe\xcc\x81"));
}

/* [MQTT-4.7.2-1] */
static void filters_that_begin_with_a_wildcard_match_no_system_topics(void **state)
{
    (void)state;
    assert_false(matches("#", "$SYS"));
    assert_false(matches("+/monitor/Clients", "$SYS/monitor/Clients"));
    assert_true(matches("$SYS/#", "$SYS/"));
    assert_true(matches("$SYS/monitor/+", "$SYS/monitor/Clients"));
}

static void covering_knows_the_odd_cases(void **state)
{
    (void)state;
    assert_true(covers("#", "a/+/#"));
    assert_true(covers("+/#", "#"));
    assert_false(covers("+", "#"));
    assert_true(covers("a/#", "a"));
    assert_true(covers("a/#", "a/#"));
    assert_false(covers("a/+/#", "a/#"));
    assert_false(covers("a/+", "a/#"));
    assert_false(covers("a/b", "a/+"));
    assert_false(covers("#", "$SYS/#"));
    assert_false(covers("+/b", "$SYS/b"));
    assert_true(covers("$SYS/#", "$SYS/broker/+"));
    assert_false(covers("", "a"));
    assert_false(covers("a", ""));
}

/* Every path of up to three levels over two letters, a letter that no filter holds, `$`, and the
 * wildcards. */
static GPtrArray *all_paths(bool is_filter_wanted)
{
    static const char *const levels[] = {"a", "b", "", "z", "$", "+", "#"};
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    int count = is_filter_wanted ? 7 : 5;

    for (int i = 0; i < count; i++) {
        g_ptr_array_add(paths, g_strdup(levels[i]));
        for (int j = 0; j < count; j++) {
            g_ptr_array_add(paths, g_strjoin("/", levels[i], levels[j], NULL));
            for (int k = 0; k < count; k++) {
                g_ptr_array_add(paths, g_strjoin("/", levels[i], levels[j], levels[k], NULL));
            }
        }
    }
    return paths;
}

static bool covers_by_trying(const char *outer, const char *inner, const GPtrArray *names)
{
    for (guint i = 0; i < names->len; i++) {
        if (matches(inner, names->pdata[i]) && !matches(outer, names->pdata[i])) {
            return false;
        }
    }
    return true;
}

static bool is_in_scope(const char *filter)
{
    return is_filter(filter) && !strchr(filter, 'z');
}

static void covering_is_what_trying_all_names_says(void **state)
{
    g_autoptr(GPtrArray) filters = all_paths(true), names = all_paths(false);
    (void)state;

    g_ptr_array_add(names, g_strdup("z/z/z/z"));
    g_ptr_array_add(names, g_strdup("a/z/z/z"));
    g_ptr_array_add(names, g_strdup("a/a/z/z"));
    for (guint i = 0; i < filters->len; i++) {
        for (guint j = 0; j < filters->len && is_in_scope(filters->pdata[i]); j++) {
            const char *outer = filters->pdata[i], *inner = filters->pdata[j];
            if (!is_in_scope(inner) || g_str_has_suffix(inner, "#")) {
                continue; /* names of any depth: the odd cases are above */
            }
            if (covers(outer, inner) != covers_by_trying(outer, inner, names)) {
                fail_msg("'%s' covers '%s'", outer, inner);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_text_is_accepted),
        cmocka_unit_test(ill_formed_text_and_surrogates_are_refused),
        cmocka_unit_test(overlong_forms_are_refused),
        cmocka_unit_test(the_null_character_is_refused_at_every_place),
        cmocka_unit_test(the_byte_order_mark_is_text_like_any_other),
        cmocka_unit_test(utf8_agrees_with_glib),
        cmocka_unit_test(names_and_filters_have_at_least_one_character),
        cmocka_unit_test(names_and_filters_hold_no_null_character),
        cmocka_unit_test(names_and_filters_have_at_most_65535_bytes),
        cmocka_unit_test(names_hold_no_wildcards),
        cmocka_unit_test(levels_are_limited),
        cmocka_unit_test(a_multi_level_wildcard_stands_alone_and_last),
        cmocka_unit_test(a_single_level_wildcard_fills_its_level),
        cmocka_unit_test(wildcards_are_seen),
        cmocka_unit_test(a_share_name_has_at_least_one_character),
        cmocka_unit_test(a_share_name_holds_no_wildcards_and_is_followed_by_a_filter),
        cmocka_unit_test(shared_filters_are_split),
        cmocka_unit_test(filters_match_as_the_standard_shows),
        cmocka_unit_test(matching_changes_neither_case_nor_characters),
        cmocka_unit_test(filters_that_begin_with_a_wildcard_match_no_system_topics),
        cmocka_unit_test(covering_knows_the_odd_cases),
        cmocka_unit_test(covering_is_what_trying_all_names_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
