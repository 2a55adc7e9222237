/* Settings, users and access rules by way of the log. */
#include "state/access_tables.h"
#include "state/fixture.h"
#include <errno.h>

static int setup(void **out)
{
    struct fixture *fixture = g_new(struct fixture, 1);
    fixture_init(fixture);
    *out = fixture;
    return 0;
}

static int teardown(void **in)
{
    fixture_deinit(*in);
    g_free(*in);
    return 0;
}

static const struct state_result *put(struct fixture *fixture, const char *name, const char *role,
                                      const char *password)
{
    return run(fixture,
               state_propose_user_put(fixture->state, name, role, password, &fixture->completion));
}

static const struct state_result *add_rule(struct fixture *fixture, const char *subject,
                                           const char *action, const char *filter)
{
    return run(fixture, state_propose_acl_add(fixture->state, subject, action, filter, true,
                                              &fixture->completion));
}

static void a_setting_takes_effect_and_is_told(void **in)
{
    struct fixture *fixture = *in;
    assert_null(set(fixture, "mqtt.queue_messages_max", "7")->message);
    assert_int_equal(state_settings(fixture->state)->queue_messages_max, 7);
    assert_int_equal(session_store_limits(state_sessions(fixture->state))->queue_messages_max, 7);
    assert_string_equal(fixture->events->str, "settings;");
}

static void the_times_of_the_cluster_are_settings(void **in)
{
    struct fixture *fixture = *in;
    const struct settings *settings = state_settings(fixture->state);
    assert_int_equal(settings->election_timeout_ms, 300);
    assert_int_equal(settings->node_down_after_ms, 2000);
    assert_int_equal(settings->write_wait_ms, 10000);
    assert_null(set(fixture, "cluster.election_timeout_ms", "100")->message);
    assert_null(set(fixture, "cluster.node_down_after_ms", "5000")->message);
    assert_null(set(fixture, "cluster.write_wait_ms", "500")->message);
    assert_int_equal(settings->election_timeout_ms, 100);
    assert_int_equal(settings->node_down_after_ms, 5000);
    assert_int_equal(settings->write_wait_ms, 500);
    assert_string_equal(set(fixture, "cluster.election_timeout_ms", "99")->message,
                        "setting 'cluster.election_timeout_ms': must be 100..30000, got 99");
}

static void a_setting_that_is_not_possible_is_refused_with_a_message(void **in)
{
    struct fixture *fixture = *in;
    const struct state_result *result = set(fixture, "mqtt.queue_messages_max", "70000");
    assert_int_equal(result->reason, 0x80);
    assert_string_equal(result->message,
                        "setting 'mqtt.queue_messages_max': must be 1..65000, got 70000");
    assert_non_null(strstr(set(fixture, "mqtt.what", "1")->message, "there is none of this name"));
    assert_string_equal(fixture->events->str, "");
}

static void collect_name(void *owner, const struct user *user)
{
    g_string_append_printf(owner, "%s=%s;", user->name, user->role);
}

static void users_are_kept_in_order_of_names_and_replaced(void **in)
{
    struct fixture *fixture = *in;
    uint64_t generation = state_access_generation(fixture->state);
    put(fixture, "carol", "viewer", "$7$c");
    put(fixture, "alice", "admin", "$7$a");
    put(fixture, "bob", "device", "$7$b");
    assert_null(put(fixture, "carol", "operator", "$7$d")->message);
    g_autoptr(GString) names = g_string_new(NULL);
    state_for_each_user(fixture->state, collect_name, names);
    assert_string_equal(names->str, "alice=admin;bob=device;carol=operator;");
    assert_string_equal(state_find_user(fixture->state, "carol")->password, "$7$d");
    assert_null(state_find_user(fixture->state, "dave"));
    assert_int_equal(state_access_generation(fixture->state), generation + 4);
    assert_string_equal(fixture->events->str, "access;access;access;access;");
    struct state *state = fixture->state;
    assert_null(
        run(fixture, state_propose_user_remove(state, "bob", &fixture->completion))->message);
    assert_null(state_find_user(state, "bob"));
    assert_string_equal(
        run(fixture, state_propose_user_remove(state, "bob", &fixture->completion))->message,
        "user 'bob': there is none of this name");
}

static void users_that_are_not_possible_are_refused_with_a_message(void **in)
{
    struct fixture *fixture = *in;
    assert_non_null(strstr(put(fixture, "", "admin", "x")->message, "1..1024 bytes"));
    assert_non_null(strstr(put(fixture, "a:b", "admin", "x")->message, "without ':'"));
    assert_non_null(strstr(put(fixture, "a\nb", "admin", "x")->message, "line ends"));
    assert_string_equal(put(fixture, "a", "root", "x")->message,
                        "user 'a': role must be admin, operator, viewer or device, got 'root'");
    g_autofree char *large = g_strnfill(PASSWORD_RECORD_BYTES_MAX + 1, 'x');
    assert_non_null(strstr(put(fixture, "a", "admin", large)->message, "at most 4096 bytes"));
    assert_string_equal(fixture->events->str, "");
    assert_int_equal(state_bytes(fixture->state), 0);
}

static void rules_get_ascending_ids_that_are_never_used_again(void **in)
{
    struct fixture *fixture = *in;
    struct state *state = fixture->state;
    add_rule(fixture, "user:alice", "readwrite", "a/#");
    add_rule(fixture, "role:device", "write", "devices/%c/#");
    add_rule(fixture, "anonymous", "subscribe", "+");
    add_rule(fixture, "*", "read", "$SYS/#");
    assert_int_equal(state_rule_count(state), 4);
    assert_int_equal(state_rule_at(state, 3)->id, 4);
    assert_string_equal(state_rule_at(state, 1)->filter, "devices/%c/#");
    assert_true(state_rule_at(state, 0)->allow);
    assert_null(run(fixture, state_propose_acl_remove(state, 4, &fixture->completion))->message);
    assert_string_equal(
        run(fixture, state_propose_acl_remove(state, 4, &fixture->completion))->message,
        "access rule 4: there is none of this id");
    add_rule(fixture, "*", "read", "b");
    assert_int_equal(state_rule_at(state, 3)->id, 5);
}

static void rules_that_are_not_possible_are_refused_with_a_message(void **in)
{
    struct fixture *fixture = *in;
    assert_non_null(
        strstr(add_rule(fixture, "user:", "read", "a")->message, "the subject must be"));
    assert_non_null(
        strstr(add_rule(fixture, "role:root", "read", "a")->message, "got 'role:root'"));
    assert_non_null(strstr(add_rule(fixture, "all", "read", "a")->message, "got 'all'"));
    assert_non_null(strstr(add_rule(fixture, "*", "delete", "a")->message, "got 'delete'"));
    assert_non_null(strstr(add_rule(fixture, "*", "read", "a/#/b")->message, "not a topic filter"));
    assert_int_equal(state_rule_count(fixture->state), 0);
}

static void users_and_rules_are_refused_when_the_state_is_full(void **in)
{
    struct fixture *fixture = *in;
    g_autofree char *payload = g_strnfill(1048000, 'p');
    publish(fixture, "large", payload, 1, true);
    set(fixture, "state.bytes_max", "1048576");
    g_autofree char *record = g_strnfill(1000, 'x');
    assert_string_equal(put(fixture, "a", "admin", record)->message,
                        "user: the state is full (state.bytes_max)");
    assert_int_equal(fixture->result.reason, 0x97);
    assert_string_equal(add_rule(fixture, "*", "read", record)->message,
                        "access rule: the state is full (state.bytes_max)");
}

static void there_may_be_only_so_many_users_and_rules(void **in)
{
    struct fixture *fixture = *in;
    for (uint32_t i = 0; i < USERS_MAX; i++) {
        g_autofree char *name = g_strdup_printf("user-%05u", i);
        access_put_user(&fixture->state->tables, name, "device", "");
        access_add_rule(&fixture->state->tables, i + 1, "*", "read", "a", true);
    }
    assert_non_null(strstr(put(fixture, "one-more", "admin", "")->message, "as many as allowed"));
    assert_null(put(fixture, "user-00007", "admin", "")->message);
    assert_non_null(strstr(add_rule(fixture, "*", "read", "a")->message, "as many as allowed"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_setting_takes_effect_and_is_told),
        TEST(the_times_of_the_cluster_are_settings),
        TEST(a_setting_that_is_not_possible_is_refused_with_a_message),
        TEST(users_are_kept_in_order_of_names_and_replaced),
        TEST(users_that_are_not_possible_are_refused_with_a_message),
        TEST(rules_get_ascending_ids_that_are_never_used_again),
        TEST(rules_that_are_not_possible_are_refused_with_a_message),
        TEST(users_and_rules_are_refused_when_the_state_is_full),
        TEST(there_may_be_only_so_many_users_and_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
