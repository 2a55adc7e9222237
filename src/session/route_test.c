/* Routes: which sessions get a topic, once each, with what. */
#include "session/route.h"
#include "session/test_support.h"

struct fixture {
    struct session_store *store;
    struct route route;
};

static int setup(void **state)
{
    struct fixture *fixture = g_new0(struct fixture, 1);
    fixture->store = session_store_new();
    route_init(&fixture->route);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    route_deinit(&fixture->route);
    session_store_free(fixture->store);
    g_free(fixture);
    return 0;
}

static void with_id(struct session *session, const char *filter, uint8_t qos, uint32_t id)
{
    session_subscribe(session, text(filter),
                      &(struct subscription_options){.subscription_id = id, .qos = qos});
}

/* [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4] */
static void
overlapping_subscriptions_make_one_copy_with_the_highest_qos_and_all_identifiers(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = session_store_add(fixture->store, text("c"));
    uint32_t sum = 0;

    with_id(session, "a/b", 0, 10);
    with_id(session, "a/+", 2, 20);
    with_id(session, "#", 1, 300);
    with_id(session, "+/b", 1, 0);
    route_resolve(&fixture->route, fixture->store, text("a/b"));
    assert_int_equal(fixture->route.target_count, 1);
    const struct route_target *target = fixture->route.targets;
    assert_ptr_equal(target->session, session);
    assert_int_equal(target->qos, 2);
    assert_int_equal(target->subscription_ids[0], 3);
    for (uint32_t i = 1; i <= 3; i++) {
        sum += target->subscription_ids[i];
    }
    assert_int_equal(sum, 330);
    route_resolve(&fixture->route, fixture->store, text("x/b"));
    assert_int_equal(fixture->route.targets[0].subscription_ids[0], 1);
    assert_int_equal(fixture->route.targets[0].qos, 1);
}

static void each_session_is_a_target_once_whatever_it_remembers_of_other_routes(void **state)
{
    struct fixture *fixture = *state;
    struct session *sessions[50];

    for (int i = 0; i < 50; i++) {
        g_autofree char *id = g_strdup_printf("c%d", i);
        sessions[i] = session_store_add(fixture->store, text(id));
        subscribe(sessions[i], "a/b", 1);
        if (i % 2) {
            subscribe(sessions[i], "a/#", 0);
        }
    }
    for (int round = 0; round < 3; round++) {
        route_resolve(&fixture->route, fixture->store, text(round == 1 ? "a/c" : "a/b"));
        assert_int_equal(fixture->route.target_count, round == 1 ? 25 : 50);
    }
    for (uint32_t i = 0; i < 50; i++) {
        for (uint32_t j = 0; j < i; j++) {
            assert_ptr_not_equal(fixture->route.targets[i].session,
                                 fixture->route.targets[j].session);
        }
    }
}

static void a_topic_without_subscribers_leads_nowhere(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = session_store_add(fixture->store, text("c"));

    subscribe(session, "a", 1);
    route_resolve(&fixture->route, fixture->store, text("b"));
    assert_int_equal(fixture->route.target_count + fixture->route.share_count, 0);
}

static void a_route_is_current_until_a_filter_changes(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = session_store_add(fixture->store, text("c"));

    assert_false(route_is_current(&fixture->route, fixture->store));
    subscribe(session, "a", 1);
    route_resolve(&fixture->route, fixture->store, text("a"));
    assert_true(route_is_current(&fixture->route, fixture->store));
    subscribe(session, "a", 2);
    assert_false(route_is_current(&fixture->route, fixture->store));
    route_resolve(&fixture->route, fixture->store, text("a"));
    session_store_add(fixture->store, text("d"));
    assert_true(route_is_current(&fixture->route, fixture->store));
    session_store_remove(fixture->store, session);
    assert_false(route_is_current(&fixture->route, fixture->store));
}

static void retain_as_published_holds_if_any_subscription_says_so(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = session_store_add(fixture->store, text("c"));

    subscribe(session, "a", 1);
    route_resolve(&fixture->route, fixture->store, text("a"));
    assert_false(fixture->route.targets[0].retain_as_published);
    session_subscribe(session, text("+"),
                      &(struct subscription_options){.retain_as_published = true});
    route_resolve(&fixture->route, fixture->store, text("a"));
    assert_true(fixture->route.targets[0].retain_as_published);
}

/* [MQTT-3.8.3-3] */
static void no_local_subscriptions_give_nothing_to_their_own_publisher(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = session_store_add(fixture->store, text("c"));
    struct route_target target;

    session_subscribe(
        session, text("a"),
        &(struct subscription_options){.qos = 2, .no_local = true, .subscription_id = 1});
    route_resolve(&fixture->route, fixture->store, text("a"));
    assert_true(fixture->route.targets[0].has_no_local);
    assert_false(route_target_for_self(fixture->store, text("a"), session, &target));
    with_id(session, "+", 1, 2);
    for (int i = 0; i < 30; i++) {
        g_autofree char *id = g_strdup_printf("d%d", i);
        subscribe(session_store_add(fixture->store, text(id)), "+", 2);
    }
    assert_true(route_target_for_self(fixture->store, text("a"), session, &target));
    assert_ptr_equal(target.session, session);
    assert_int_equal(target.qos, 1);
    assert_int_equal(target.subscription_ids[0], 1);
    assert_int_equal(target.subscription_ids[1], 2);
    g_free(target.subscription_ids);
}

static void share_groups_are_in_the_route_once_each_and_not_their_members(void **state)
{
    struct fixture *fixture = *state;

    for (const char *id = "ab"; *id; id++) {
        struct session *session = session_store_add(fixture->store, text((char[]){*id, 0}));
        subscribe(session, "$share/g/t/#", 1);
        subscribe(session, "$share/h/t/#", 1);
        subscribe(session, "$share/g/t/1", 1);
    }
    route_resolve(&fixture->route, fixture->store, text("t/1"));
    assert_int_equal(fixture->route.target_count, 0);
    assert_int_equal(fixture->route.share_count, 3);
    route_resolve(&fixture->route, fixture->store, text("t/2"));
    assert_int_equal(fixture->route.share_count, 2);
    assert_true(bytes_equal(share_name(fixture->route.shares[0]), text("g")));
    assert_true(bytes_equal(share_name(fixture->route.shares[1]), text("h")));
}

/* [MQTT-4.7.2-1] */
static void wildcards_at_the_front_never_reach_system_topics(void **state)
{
    struct fixture *fixture = *state;
    struct session *session = session_store_add(fixture->store, text("c"));

    subscribe(session, "#", 1);
    subscribe(session, "+/x", 1);
    route_resolve(&fixture->route, fixture->store, text("$SYS/x"));
    assert_int_equal(fixture->route.target_count, 0);
    subscribe(session, "$SYS/#", 1);
    route_resolve(&fixture->route, fixture->store, text("$SYS/x"));
    assert_int_equal(fixture->route.target_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            overlapping_subscriptions_make_one_copy_with_the_highest_qos_and_all_identifiers, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            each_session_is_a_target_once_whatever_it_remembers_of_other_routes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topic_without_subscribers_leads_nowhere, setup, teardown),
        cmocka_unit_test_setup_teardown(a_route_is_current_until_a_filter_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(retain_as_published_holds_if_any_subscription_says_so,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(no_local_subscriptions_give_nothing_to_their_own_publisher,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            share_groups_are_in_the_route_once_each_and_not_their_members, setup, teardown),
        cmocka_unit_test_setup_teardown(wildcards_at_the_front_never_reach_system_topics, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
