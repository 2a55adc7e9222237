/* Retained messages: one a topic, limits, expiry, finding them by filter. */
#include "session/retained.h"
#include "session/test_support.h"
#include <errno.h>

static int retain(struct retained *retained, const char *topic, const char *payload,
                  uint64_t expires_unix_ms)
{
    _cleanup_(message_unrefp) struct message *message =
        message_of(topic, payload, 1, expires_unix_ms);
    return retained_set(retained, message);
}

static void append(void *owner, struct message *message)
{
    struct bytes topic = message_topic(message);
    g_string_append_len(owner, (const char *)topic.at, (gssize)topic.length);
    g_string_append_c(owner, ' ');
}

static bool append_two(void *owner, struct message *message)
{
    append(owner, message);
    return strchr(((GString *)owner)->str, ' ') ==
           ((GString *)owner)->str + ((GString *)owner)->len - 1;
}

/* [MQTT-3.3.1-5] */
static void a_retained_message_replaces_the_one_of_its_topic(void **state)
{
    struct retained *retained = retained_new();

    assert_null(retained_find(retained, text("a")));
    assert_int_equal(retain(retained, "a", "old", 0), 0);
    uint64_t bytes = retained_bytes(retained);
    assert_int_equal(retain(retained, "a", "new", 0), 0);
    assert_int_equal(retain(retained, "b", "other", 0), 0);
    assert_true(message_says(retained_find(retained, text("a")), "new"));
    assert_int_equal(retained_count(retained), 2);
    assert_int_equal(retained_bytes(retained), 2 * bytes + 2);
    retained_free(retained);
}

/* [MQTT-3.3.1-6] [MQTT-3.3.1-7] */
static void an_empty_payload_removes_and_is_not_kept(void **state)
{
    struct retained *retained = retained_new();

    assert_int_equal(retain(retained, "a", "", 0), 0);
    assert_int_equal(retained_count(retained), 0);
    retain(retained, "a", "x", 0);
    retain(retained, "a/b", "y", 50);
    assert_int_equal(retain(retained, "a", "", 0), 0);
    assert_int_equal(retain(retained, "a/b", "", 0), 0);
    assert_null(retained_find(retained, text("a")));
    assert_int_equal(retained_count(retained), 0);
    assert_int_equal(retained_bytes(retained), 0);
    assert_int_equal(retained_next_expiry(retained), 0);
    retained_free(retained);
}

static void beyond_a_limit_nothing_changes(void **state)
{
    struct retained *retained = retained_new();

    retain(retained, "a", "xx", 0);
    retained_set_limits(retained, 1, UINT64_MAX);
    assert_int_equal(retain(retained, "b", "x", 0), -ENOBUFS);
    assert_int_equal(retain(retained, "a", "yy", 0), 0);
    retained_set_limits(retained, 10, retained_bytes(retained));
    assert_int_equal(retain(retained, "a", "long", 0), -ENOBUFS);
    assert_int_equal(retain(retained, "b", "x", 0), -ENOBUFS);
    assert_int_equal(retain(retained, "a", "z", 0), 0);
    assert_true(message_says(retained_find(retained, text("a")), "z"));
    assert_int_equal(retained_count(retained), 1);
    retained_free(retained);
}

static void they_are_walked_in_order_of_topics_and_found_by_filter(void **state)
{
    const char *topics[] = {"b/2", "b", "a/1", "b/1", "$SYS/1"};
    struct retained *retained = retained_new();
    g_autoptr(GString) seen = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(topics); i++) {
        retain(retained, topics[i], "x", 0);
    }
    retained_for_each(retained, append, seen);
    assert_string_equal(seen->str, "$SYS/1 a/1 b b/1 b/2 ");
    g_string_truncate(seen, 0);
    retained_scan(retained, text("+/1"), append_two, seen);
    assert_true(strlen(seen->str) == 8);
    g_string_truncate(seen, 0);
    retained_scan(retained, text("#"), append_two, seen);
    assert_int_equal(seen->len, strlen(seen->str));
    int blanks = 0;
    for (const char *at = seen->str; *at; at++) {
        blanks += *at == ' ';
    }
    assert_int_equal(blanks, 2);
    retained_free(retained);
}

/* [MQTT-3.3.2-5] */
static void they_expire_in_time_and_no_other_goes(void **state)
{
    struct retained *retained = retained_new();

    retain(retained, "never", "x", 0);
    retain(retained, "b", "x", 20);
    retain(retained, "a", "x", 20);
    retain(retained, "ab", "x", 20);
    retain(retained, "c", "x", 10);
    retain(retained, "c", "x", 30);
    retain(retained, "d", "x", 5);
    retain(retained, "d", "x", 0);
    assert_int_equal(retained_next_expiry(retained), 20);
    retained_expire(retained, 19);
    assert_int_equal(retained_count(retained), 6);
    retained_expire(retained, 20);
    assert_int_equal(retained_count(retained), 3);
    assert_int_equal(retained_next_expiry(retained), 30);
    retained_expire(retained, UINT64_MAX);
    assert_int_equal(retained_count(retained), 2);
    assert_int_equal(retained_next_expiry(retained), 0);
    assert_non_null(retained_find(retained, text("never")));
    assert_non_null(retained_find(retained, text("d")));
    retained_free(retained);
    retained_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_retained_message_replaces_the_one_of_its_topic),
        cmocka_unit_test(an_empty_payload_removes_and_is_not_kept),
        cmocka_unit_test(beyond_a_limit_nothing_changes),
        cmocka_unit_test(they_are_walked_in_order_of_topics_and_found_by_filter),
        cmocka_unit_test(they_expire_in_time_and_no_other_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
