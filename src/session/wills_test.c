/* Wills: one a client, when they are due, in what order. */
#include "session/wills.h"
#include "session/test_support.h"

static void set(struct wills *wills, const char *client_id, const char *payload,
                uint64_t due_unix_ms)
{
    _cleanup_(message_unrefp) struct message *message = message_of("will", payload, 1, 0);
    wills_set(wills, text(client_id),
              &(struct will){.message = message, .due_unix_ms = due_unix_ms, .delay_s = 3});
}

static void append(void *owner, struct bytes client_id, const struct will *will)
{
    struct bytes payload = message_payload(will->message);
    g_string_append_printf(owner, "%.*s=%.*s ", (int)client_id.length, (const char *)client_id.at,
                           (int)payload.length, (const char *)payload.at);
}

/* [MQTT-3.1.2-7] */
static void a_will_is_kept_with_its_client_until_it_is_removed(void **state)
{
    struct wills *wills = wills_new();

    assert_null(wills_find(wills, text("c")));
    set(wills, "c", "old", 0);
    set(wills, "c", "new", 0);
    set(wills, "", "nameless", 0);
    const struct will *will = wills_find(wills, text("c"));
    assert_true(message_says(will->message, "new"));
    assert_int_equal(will->delay_s, 3);
    assert_int_equal(wills_count(wills), 2);
    wills_remove(wills, text("c"));
    wills_remove(wills, text("c"));
    assert_null(wills_find(wills, text("c")));
    assert_int_equal(wills_count(wills), 1);
    wills_free(wills);
    wills_free(NULL);
}

static void a_will_may_be_set_from_itself(void **state)
{
    struct wills *wills = wills_new();

    set(wills, "c", "x", 7);
    wills_set(wills, text("c"), wills_find(wills, text("c")));
    assert_int_equal(wills_next_due(wills), 7);
    assert_int_equal(wills_count(wills), 1);
    wills_free(wills);
}

/* [MQTT-3.1.2-8] [MQTT-3.1.2-10] */
static void wills_go_out_when_they_are_due_and_only_once(void **state)
{
    struct wills *wills = wills_new();
    g_autoptr(GString) seen = g_string_new(NULL);

    set(wills, "z", "1", 20);
    set(wills, "a", "2", 20);
    set(wills, "b", "3", 10);
    set(wills, "connected", "4", 0);
    assert_int_equal(wills_next_due(wills), 10);
    wills_expire(wills, 9, append, seen);
    assert_string_equal(seen->str, "");
    wills_expire(wills, 20, append, seen);
    assert_string_equal(seen->str, "b=3 a=2 z=1 ");
    wills_expire(wills, 20, append, seen);
    assert_string_equal(seen->str, "b=3 a=2 z=1 ");
    assert_int_equal(wills_next_due(wills), 0);
    assert_int_equal(wills_count(wills), 1);
    wills_free(wills);
}

/* [MQTT-3.1.3-9] */
static void a_client_that_is_back_in_time_stops_its_will(void **state)
{
    struct wills *wills = wills_new();
    g_autoptr(GString) seen = g_string_new(NULL);

    set(wills, "a", "1", 0);
    set(wills, "b", "2", 0);
    wills_set_due(wills, text("a"), 10);
    wills_set_due(wills, text("b"), 10);
    wills_set_due(wills, text("nobody"), 10);
    wills_set_due(wills, text("b"), 15);
    wills_set_due(wills, text("a"), 0);
    assert_int_equal(wills_next_due(wills), 15);
    wills_remove(wills, text("b"));
    wills_expire(wills, 100, append, seen);
    assert_string_equal(seen->str, "");
    wills_free(wills);
}

struct again {
    struct wills *wills;
    int count;
};

static void set_again(void *owner, struct bytes client_id, const struct will *will)
{
    struct again *again = owner;

    assert_null(wills_find(again->wills, client_id));
    if (again->count++ == 0) {
        wills_set(again->wills, client_id, will);
    }
}

static void what_is_called_with_a_will_may_change_the_wills(void **state)
{
    struct again again = {.wills = wills_new()};

    set(again.wills, "a", "1", 10);
    wills_expire(again.wills, 10, set_again, &again);
    assert_int_equal(again.count, 2);
    assert_int_equal(wills_count(again.wills), 0);
    wills_free(again.wills);
}

static void wills_are_walked_in_order_of_client_ids(void **state)
{
    struct wills *wills = wills_new();
    g_autoptr(GString) seen = g_string_new(NULL);

    set(wills, "b", "1", 5);
    set(wills, "ab", "2", 0);
    set(wills, "a", "3", 9);
    wills_for_each(wills, append, seen);
    assert_string_equal(seen->str, "a=3 ab=2 b=1 ");
    wills_free(wills);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_will_is_kept_with_its_client_until_it_is_removed),
        cmocka_unit_test(a_will_may_be_set_from_itself),
        cmocka_unit_test(wills_go_out_when_they_are_due_and_only_once),
        cmocka_unit_test(a_client_that_is_back_in_time_stops_its_will),
        cmocka_unit_test(what_is_called_with_a_will_may_change_the_wills),
        cmocka_unit_test(wills_are_walked_in_order_of_client_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
