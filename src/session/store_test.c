/* Sessions in their store: finding, order, expiry, what they weigh. */
#include "session/store_private.h"
#include "session/test_support.h"

static void append_id(void *owner, struct session *session)
{
    g_string_append_printf(owner, "%s ", session->client_id);
}

static void append_id_and_remove(void *owner, struct session *session)
{
    append_id(owner, session);
    session_store_remove(session->store, session);
}

static void a_session_is_found_by_its_client_id(void **state)
{
    struct session_store *store = session_store_new();
    struct session *session = session_store_add(store, text("one"));
    struct session *nameless = session_store_add(store, text(""));

    assert_ptr_equal(session_store_find(store, text("one")), session);
    assert_ptr_equal(session_store_find(store, text("")), nameless);
    assert_null(session_store_find(store, text("on")));
    assert_true(bytes_equal(session_client_id(session), text("one")));
    assert_string_equal(session->client_id, "one");
    assert_int_equal(session_store_count(store), 2);
    session_store_remove(store, session);
    assert_null(session_store_find(store, text("one")));
    assert_int_equal(session_store_count(store), 1);
    session_store_free(store);
}

static void sessions_are_walked_in_order_of_their_client_ids(void **state)
{
    const char *ids[] = {"b", "", "ab", "a", "\xc3\xa4", "B"};
    struct session_store *store = session_store_new();
    g_autoptr(GString) seen = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        session_store_add(store, text(ids[i]));
    }
    session_store_for_each(store, append_id, seen);
    assert_string_equal(seen->str, " B a ab b \xc3\xa4 ");
    session_store_for_each(store, append_id_and_remove, seen);
    assert_int_equal(session_store_count(store), 0);
    session_store_free(store);
}

/* [MQTT-4.1.0-2] */
static void sessions_end_in_the_order_of_their_expiry(void **state)
{
    struct session_store *store = session_store_new();
    g_autoptr(GString) seen = g_string_new(NULL);
    struct session *never = session_store_add(store, text("never"));
    struct session *moved = session_store_add(store, text("moved"));

    assert_int_equal(session_store_next_expiry(store), 0);
    session_set_expires(session_store_add(store, text("z")), 20);
    session_set_expires(session_store_add(store, text("y")), 10);
    session_set_expires(session_store_add(store, text("x")), 20);
    session_set_expires(moved, 5);
    session_set_expires(never, 1);
    session_set_expires(never, 0);
    assert_int_equal(session_store_next_expiry(store), 5);
    session_set_expires(moved, 30);
    assert_int_equal(session_store_next_expiry(store), 10);
    session_store_expire(store, 9, append_id_and_remove, seen);
    assert_string_equal(seen->str, "");
    session_store_expire(store, 20, append_id_and_remove, seen);
    assert_string_equal(seen->str, "y x z ");
    assert_int_equal(session_store_next_expiry(store), 30);
    session_store_remove(store, moved);
    assert_int_equal(session_store_next_expiry(store), 0);
    assert_ptr_equal(session_store_find(store, text("never")), never);
    session_store_free(store);
}

static void an_empty_store_weighs_what_it_did_at_first(void **state)
{
    struct session_store *store = session_store_new();
    uint64_t bytes = session_store_bytes(store) - topic_tree_bytes(store->filters);

    for (int i = 0; i < 100; i++) {
        g_autofree char *id = g_strdup_printf("c%d", i);
        struct session *session = session_store_add(store, text(id));
        subscribe(session, "a/b", 1);
        subscribe(session, id, 1);
        subscribe(session, "$share/g/a/b", 1);
        enqueue(session, "payload", 1, 0, 0);
        session_set_expires(session, 100);
    }
    assert_true(session_store_bytes(store) > bytes + 100 * sizeof(struct session));
    assert_int_equal(session_store_queued(store), 100);
    g_autoptr(GString) seen = g_string_new(NULL);
    session_store_expire(store, 100, append_id_and_remove, seen);
    assert_int_equal(session_store_count(store), 0);
    assert_int_equal(session_store_subscription_count(store), 0);
    assert_int_equal(session_store_queued(store), 0);
    assert_int_equal(session_store_bytes(store) - topic_tree_bytes(store->filters), bytes);
    assert_int_equal(topic_tree_count(store->filters), 0);
    session_store_free(store);
}

static void an_idle_session_and_a_subscription_stay_small(void **state)
{
    assert_true(sizeof(struct session) + 24 <=
                300 - 32); /* with a client id, and its place in the hash table */
    assert_true(sizeof(struct subscription) <= 56); /* malloc makes 64 of it */
}

static void nothing_is_limited_until_it_is_said(void **state)
{
    struct session_store *store = session_store_new();
    assert_int_equal(session_store_limits(store)->queue_messages_max, DELIVERY_RING_MAX);
    session_store_set_limits(store, &(struct session_limits){.queue_messages_max = 1000000});
    assert_int_equal(session_store_limits(store)->queue_messages_max, DELIVERY_RING_MAX);
    session_store_free(store);
    session_store_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_is_found_by_its_client_id),
        cmocka_unit_test(sessions_are_walked_in_order_of_their_client_ids),
        cmocka_unit_test(sessions_end_in_the_order_of_their_expiry),
        cmocka_unit_test(an_empty_store_weighs_what_it_did_at_first),
        cmocka_unit_test(an_idle_session_and_a_subscription_stay_small),
        cmocka_unit_test(nothing_is_limited_until_it_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
