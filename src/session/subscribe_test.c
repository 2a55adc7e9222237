/* Subscriptions: one a filter and session, replaced, ended, found again as text; share groups. */
#include "session/store_private.h"
#include "session/test_support.h"

/* [MQTT-3.8.4-3] */
static void the_same_filter_again_replaces_the_options(void **state)
{
    struct session_store *store = session_store_new();
    struct session *session = session_store_add(store, text("c"));
    struct subscription_options options = {
        .subscription_id = 5, .qos = 2, .no_local = true, .retain_handling = 2};

    assert_int_equal(subscribe(session, "a/+", 0), SUBSCRIBE_NEW);
    assert_int_equal(session_subscribe(session, text("a/+"), &options), SUBSCRIBE_REPLACED);
    assert_int_equal(subscribe(session, "a/b", 0), SUBSCRIBE_NEW);
    assert_int_equal(session->subscription_count, 2);
    assert_int_equal(session_store_subscription_count(store), 2);
    const struct subscription *subscription = session_find_subscription(session, text("a/+"));
    assert_int_equal(subscription->options.qos, 2);
    assert_int_equal(subscription->options.subscription_id, 5);
    assert_int_equal(subscription->options.retain_handling, 2);
    session_store_free(store);
}

/* [MQTT-3.10.4-1] [MQTT-3.10.4-2] */
static void unsubscribing_ends_exactly_the_filter_that_is_named(void **state)
{
    struct session_store *store = session_store_new();
    struct session *session = session_store_add(store, text("c"));
    struct session *other = session_store_add(store, text("d"));

    subscribe(session, "a/b", 1);
    subscribe(session, "a/+", 1);
    subscribe(other, "a/b", 1);
    assert_false(session_unsubscribe(session, text("a/#")));
    assert_false(session_unsubscribe(other, text("a/+")));
    assert_false(session_unsubscribe(session, text("$share/g/a/b")));
    assert_true(session_unsubscribe(session, text("a/b")));
    assert_false(session_unsubscribe(session, text("a/b")));
    assert_non_null(session_find_subscription(session, text("a/+")));
    assert_non_null(session_find_subscription(other, text("a/b")));
    assert_null(session_find_subscription(session, text("a/b")));
    session_store_free(store);
}

static void subscriptions_beyond_the_quota_are_refused_but_old_ones_may_change(void **state)
{
    struct session_store *store = session_store_new();
    struct session_limits limits = *session_store_limits(store);
    limits.subscriptions_per_session_max = 1;
    session_store_set_limits(store, &limits);
    struct session *session = session_store_add(store, text("c"));

    assert_int_equal(subscribe(session, "a", 1), SUBSCRIBE_NEW);
    assert_int_equal(subscribe(session, "b", 1), SUBSCRIBE_QUOTA);
    assert_int_equal(subscribe(session, "$share/g/a", 1), SUBSCRIBE_QUOTA);
    assert_int_equal(subscribe(session, "a", 2), SUBSCRIBE_REPLACED);
    assert_int_equal(topic_tree_count(store->filters), 1);
    session_store_free(store);
}

/* [MQTT-4.8.2-1] */
static void a_filter_is_told_as_the_client_wrote_it(void **state)
{
    const char *filters[] = {"a/+/c", "#", "/", "$share/group/a/+/c", "$share/group//", "$SYS/#"};
    struct session_store *store = session_store_new();
    struct session *session = session_store_add(store, text("c"));
    size_t at = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(filters); i++) {
        assert_int_equal(subscribe(session, filters[i], 1), SUBSCRIBE_NEW);
    }
    list_for_each(link, &session->subscriptions) {
        g_autofree char *filter =
            subscription_filter(list_entry(link, struct subscription, session_link));
        assert_string_equal(filter, filters[at++]);
    }
    assert_int_equal(at, G_N_ELEMENTS(filters));
    session_store_free(store);
}

static void ten_thousand_sessions_of_one_filter_come_and_go(void **state)
{
    enum { SESSIONS = 10000 };
    struct session_store *store = session_store_new();
    g_autofree struct session **sessions = g_new(struct session *, SESSIONS);

    for (int i = 0; i < SESSIONS; i++) {
        g_autofree char *id = g_strdup_printf("c%d", i);
        sessions[i] = session_store_add(store, text(id));
        assert_int_equal(subscribe(sessions[i], "all", 1), SUBSCRIBE_NEW);
    }
    for (int i = 0; i < SESSIONS; i += 2) {
        assert_int_equal(subscribe(sessions[i], "all", 0), SUBSCRIBE_REPLACED);
        session_store_remove(store, sessions[i]);
    }
    for (int i = 1; i < SESSIONS; i += 2) {
        struct subscription *subscription = session_find_subscription(sessions[i], text("all"));
        assert_ptr_equal(subscription->session, sessions[i]);
        assert_true(session_unsubscribe(sessions[i], text("all")));
        assert_null(session_find_subscription(sessions[i], text("all")));
    }
    assert_int_equal(topic_tree_count(store->filters), 0);
    session_store_free(store);
}

/* [MQTT-4.8.2-4] */
static void members_of_a_share_group_take_turns(void **state)
{
    struct session_store *store = session_store_new();
    struct session *sessions[3];

    for (int i = 0; i < 3; i++) {
        sessions[i] = session_store_add(store, text((char[]){(char)('a' + i), 0}));
        subscribe(sessions[i], "$share/g/t/+", 1);
    }
    struct share *share = session_store_find_share(store, text("g"), text("t/+"));
    assert_true(bytes_equal(share_name(share), text("g")));
    assert_true(bytes_equal(share_filter(share), text("t/+")));
    assert_int_equal(share_member_count(share), 3);
    for (int i = 0; i < 7; i++) {
        assert_ptr_equal(share_pick(share, NULL, NULL)->session, sessions[i % 3]);
    }
    session_unsubscribe(sessions[2], text("$share/g/t/+"));
    assert_int_equal(share_member_count(share), 2);
    assert_ptr_not_equal(share_pick(share, NULL, NULL)->session,
                         share_pick(share, NULL, NULL)->session);
    assert_null(session_store_find_share(store, text("h"), text("t/+")));
    assert_null(session_store_find_share(store, text("g"), text("t")));
    session_store_free(store);
}

static bool is_session(void *owner, const struct subscription *subscription)
{
    return subscription->session == owner;
}

static void only_members_that_are_eligible_are_picked(void **state)
{
    struct session_store *store = session_store_new();
    struct session *a = session_store_add(store, text("a")),
                   *b = session_store_add(store, text("b"));

    subscribe(a, "$share/g/t", 1);
    subscribe(b, "$share/g/t", 1);
    struct share *share = session_store_find_share(store, text("g"), text("t"));
    assert_ptr_equal(share_pick(share, is_session, b)->session, b);
    assert_ptr_equal(share_pick(share, is_session, b)->session, b);
    assert_null(share_pick(share, is_session, NULL));
    session_store_free(store);
}

static void share_groups_of_one_filter_are_apart_and_end_with_their_last_member(void **state)
{
    struct session_store *store = session_store_new();
    struct session *session = session_store_add(store, text("c"));

    subscribe(session, "t", 1);
    subscribe(session, "$share/g/t", 1);
    subscribe(session, "$share/h/t", 2);
    assert_int_equal(subscribe(session, "$share/h/t", 0), SUBSCRIBE_REPLACED);
    assert_int_equal(session->subscription_count, 3);
    assert_int_equal(session_store_shared_count(store), 2);
    assert_ptr_not_equal(session_store_find_share(store, text("g"), text("t")),
                         session_store_find_share(store, text("h"), text("t")));
    assert_true(session_unsubscribe(session, text("$share/g/t")));
    assert_null(session_store_find_share(store, text("g"), text("t")));
    assert_true(session_unsubscribe(session, text("t")));
    assert_non_null(session_store_find_share(store, text("h"), text("t")));
    assert_int_equal(session_store_shared_count(store), 1);
    assert_true(session_unsubscribe(session, text("$share/h/t")));
    assert_int_equal(session_store_shared_count(store), 0);
    assert_int_equal(topic_tree_count(store->filters), 0);
    session_store_free(store);
}

static void note(void *owner, char *filter)
{
    g_string_append_printf(owner, "%s;", filter);
    g_free(filter);
}

static void count(void *owner, struct bytes filter, uint32_t subscriptions)
{
    g_string_append_printf(owner, "%.*s=%u;", (int)filter.length, (const char *)filter.at,
                           subscriptions);
}

#define assert_noted(expected)                                                                     \
    do {                                                                                           \
        assert_string_equal(noted->str, expected);                                                 \
        g_string_set_size(noted, 0);                                                               \
    } while (0)

static void who_watches_the_filters_is_told_of_first_and_last_ones(void **state)
{
    struct session_store *store = session_store_new();
    struct session *session = session_store_add(store, text("c"));
    struct session *other = session_store_add(store, text("d"));
    GString *noted = g_string_new(NULL);

    session_store_watch_filters(store, note, noted);
    subscribe(session, "a/+", 0);
    subscribe(other, "a/+", 0);
    assert_noted("a/+;");
    subscribe(session, "$share/g/a/+", 0);
    subscribe(other, "$share/g/a/+", 0);
    assert_noted("$share/g/a/+;$share/g/a/+;");
    session_store_for_each_filter(store, count, noted);
    assert_noted("a/+=2;$share/g/a/+=2;");
    assert_int_equal(session_store_filter_count(store, text("$share/g/a/+")), 2);
    assert_int_equal(session_store_filter_count(store, text("a/+")), 2);
    assert_int_equal(session_store_filter_count(store, text("a/b")), 0);
    assert_true(session_unsubscribe(session, text("a/+")));
    assert_noted("");
    session_store_remove(store, other);
    assert_noted("a/+;$share/g/a/+;");
    assert_int_equal(session_store_filter_count(store, text("a/+")), 0);
    session_store_watch_filters(store, NULL, NULL);
    session_store_free(store);
    g_string_free(noted, TRUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_filter_again_replaces_the_options),
        cmocka_unit_test(unsubscribing_ends_exactly_the_filter_that_is_named),
        cmocka_unit_test(subscriptions_beyond_the_quota_are_refused_but_old_ones_may_change),
        cmocka_unit_test(a_filter_is_told_as_the_client_wrote_it),
        cmocka_unit_test(ten_thousand_sessions_of_one_filter_come_and_go),
        cmocka_unit_test(members_of_a_share_group_take_turns),
        cmocka_unit_test(only_members_that_are_eligible_are_picked),
        cmocka_unit_test(share_groups_of_one_filter_are_apart_and_end_with_their_last_member),
        cmocka_unit_test(who_watches_the_filters_is_told_of_first_and_last_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
