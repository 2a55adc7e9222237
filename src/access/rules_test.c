/* Tests of roles and rules for topics. */
#include "access/access.h"
#include "loop/loop.h"
#include "state/fixture.h"
#include "state/propose.h"

struct rules {
    struct fixture state;
    struct loop *loop;
    struct access *access;
};

static int setup(void **state)
{
    struct rules *rules = g_new0(struct rules, 1);

    fixture_init(&rules->state);
    rules->loop = loop_new();
    rules->access = access_new(rules->loop, rules->state.state);
    *state = rules;
    return 0;
}

static int teardown(void **state)
{
    struct rules *rules = *state;

    access_free(rules->access);
    loop_free(rules->loop);
    fixture_deinit(&rules->state);
    g_free(rules);
    return 0;
}

static void add(struct rules *rules, const char *subject, const char *action, const char *filter,
                bool allow)
{
    const struct state_result *result =
        run(&rules->state, state_propose_acl_add(rules->state.state, subject, action, filter, allow,
                                                 &rules->state.completion));
    assert_int_equal(result->error, 0);
    assert_null(result->message);
}

static void allow(struct rules *rules, const char *subject, const char *action, const char *filter)
{
    add(rules, subject, action, filter, true);
}

static void deny(struct rules *rules, const char *subject, const char *action, const char *filter)
{
    add(rules, subject, action, filter, false);
}

static struct identity ann = {(char *)"ann", ROLE_DEVICE}, bob = {(char *)"bob", ROLE_OPERATOR},
                       eve = {(char *)"eve", ROLE_VIEWER}, root = {(char *)"root", ROLE_ADMIN},
                       nobody = {NULL, ROLE_DEVICE};

static bool writes(struct rules *rules, const struct identity *who, const char *topic)
{
    return access_may_publish(rules->access, who, text("client"), text(topic));
}

static bool reads(struct rules *rules, const struct identity *who, const char *topic)
{
    return access_may_receive(rules->access, who, text("client"), text(topic));
}

static bool subscribes(struct rules *rules, const struct identity *who, const char *filter)
{
    return access_may_subscribe(rules->access, who, text("client"), text(filter));
}

static void without_rules_the_role_decides(void **state)
{
    assert_true(writes(*state, &ann, "t") && reads(*state, &ann, "t"));
    assert_true(writes(*state, &bob, "t") && subscribes(*state, &bob, "#"));
    assert_true(!writes(*state, &eve, "t") && reads(*state, &eve, "t"));
    assert_true(writes(*state, &root, "t"));
    assert_true(writes(*state, &nobody, "t"));
}

static void only_who_could_be_refused_needs_checks(void **state)
{
    struct rules *rules = *state;

    assert_false(access_needs_checks(rules->access, &ann));
    assert_true(access_needs_checks(rules->access, &eve));
    allow(rules, "*", "read", "a");
    assert_true(access_needs_checks(rules->access, &ann));
    assert_false(access_needs_checks(rules->access, &root));
}

static void what_no_rule_allows_is_refused(void **state)
{
    allow(*state, "user:ann", "write", "a/+");
    assert_true(writes(*state, &ann, "a/b"));
    assert_false(writes(*state, &ann, "a/b/c"));
    assert_false(reads(*state, &ann, "a/b"));
    assert_false(writes(*state, &bob, "a/b"));
    assert_true(writes(*state, &root, "z"));
}

static void each_kind_of_subject(void **state)
{
    allow(*state, "user:ann", "read", "u");
    allow(*state, "role:operator", "read", "r");
    allow(*state, "anonymous", "read", "n");
    allow(*state, "*", "read", "all");
    static const struct {
        const struct identity *who;
        const char *topic;
    } allowed[] = {{&ann, "u"}, {&bob, "r"}, {&nobody, "n"}};
    for (unsigned i = 0; i < G_N_ELEMENTS(allowed); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(allowed); j++) {
            assert_int_equal(reads(*state, allowed[i].who, allowed[j].topic), i == j);
        }
        assert_true(reads(*state, allowed[i].who, "all"));
    }
}

static void a_denial_wins_wherever_it_stands(void **state)
{
    deny(*state, "user:ann", "readwrite", "safe/#");
    allow(*state, "*", "readwrite", "#");
    deny(*state, "*", "write", "late");
    assert_false(writes(*state, &ann, "safe/door") || reads(*state, &ann, "safe/door"));
    assert_true(writes(*state, &bob, "safe/door"));
    assert_true(!writes(*state, &bob, "late") && reads(*state, &bob, "late"));
}

static void a_viewer_never_writes(void **state)
{
    allow(*state, "role:viewer", "readwrite", "#");
    allow(*state, "user:eve", "write", "t");
    assert_false(writes(*state, &eve, "t"));
    assert_true(reads(*state, &eve, "t"));
}

static void a_subscription_is_enough_of_an_overlap(void **state)
{
    allow(*state, "user:ann", "read", "rooms/+/temperature");
    static const char *const granted[] = {
        "#",         "rooms/#",  "rooms/+/+", "+/1/temperature", "rooms/1/temperature",
        "rooms/1/#", "rooms/1/+"};
    static const char *const refused[] = {
        "rooms/+", "rooms", "rooms/1/door", "rooms/1/temperature/x", "other/#", "+/+/door"};
    for (unsigned i = 0; i < G_N_ELEMENTS(granted); i++) {
        assert_true(subscribes(*state, &ann, granted[i]));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        assert_false(subscribes(*state, &ann, refused[i]));
    }
}

static void a_denial_must_cover_a_subscription(void **state)
{
    allow(*state, "*", "read", "#");
    deny(*state, "*", "read", "safe/#");
    assert_false(subscribes(*state, &ann, "safe/#"));
    assert_false(subscribes(*state, &ann, "safe/+"));
    assert_true(subscribes(*state, &ann, "#"));
    assert_false(reads(*state, &ann, "safe/x"));
}

static void the_right_to_subscribe_is_not_the_right_to_read(void **state)
{
    allow(*state, "user:ann", "subscribe", "#");
    allow(*state, "user:ann", "read", "open");
    assert_true(subscribes(*state, &ann, "#"));
    assert_true(reads(*state, &ann, "open"));
    assert_false(reads(*state, &ann, "closed"));
}

static bool writes_as(struct rules *rules, const char *username, const char *client_id,
                      const char *topic)
{
    struct identity identity = {(char *)username, ROLE_DEVICE};

    return access_may_publish(rules->access, &identity, text(client_id), text(topic));
}

static void patterns_stand_for_user_and_client(void **state)
{
    allow(*state, "*", "write", "u/%u/x");
    allow(*state, "*", "write", "c/%c/#");
    allow(*state, "*", "write", "%u/%c");
    assert_true(writes_as(*state, "ann", "c1", "u/ann/x"));
    assert_false(writes_as(*state, "ann", "c1", "u/bob/x"));
    assert_true(writes_as(*state, "ann", "c1", "c/c1/a/b"));
    assert_false(writes_as(*state, "ann", "c1", "c/c2/a"));
    assert_true(writes_as(*state, "ann", "c1", "ann/c1"));
    assert_true(writes_as(*state, NULL, "c1", "c/c1/a"));
    assert_false(writes_as(*state, NULL, "c1", "u//x"));
}

static void names_that_would_widen_a_pattern_match_nothing(void **state)
{
    static const char *const names[] = {"+", "#", "a/b", "+x", ""};

    allow(*state, "*", "readwrite", "u/%u/x");
    allow(*state, "*", "readwrite", "c/%c/x");
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        struct identity identity = {(char *)names[i], ROLE_DEVICE};
        struct rules *rules = *state;
        assert_false(writes_as(rules, names[i], names[i], "u/victim/x"));
        assert_false(writes_as(rules, names[i], names[i], "c/victim/x"));
        assert_false(access_may_subscribe(rules->access, &identity, text(names[i]), text("c/+/x")));
        assert_false(access_may_subscribe(rules->access, &identity, text(names[i]), text("#")));
    }
    assert_false(writes_as(*state, "%c", "victim", "u/victim/x")); /* filled in once only */
}

static void roles_have_their_names(void **state)
{
    for (enum role role = ROLE_DEVICE; role <= ROLE_ADMIN; role++) {
        assert_int_equal(role_from_string(role_to_string(role)), role);
    }
    assert_int_equal(role_from_string("none"), ROLE_NONE);
    assert_int_equal(role_from_string("Admin"), ROLE_NONE);
    assert_int_equal(role_from_string(NULL), ROLE_NONE);
}

#define RULES_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULES_TEST(without_rules_the_role_decides),
        RULES_TEST(only_who_could_be_refused_needs_checks),
        RULES_TEST(what_no_rule_allows_is_refused),
        RULES_TEST(each_kind_of_subject),
        RULES_TEST(a_denial_wins_wherever_it_stands),
        RULES_TEST(a_viewer_never_writes),
        RULES_TEST(a_subscription_is_enough_of_an_overlap),
        RULES_TEST(a_denial_must_cover_a_subscription),
        RULES_TEST(the_right_to_subscribe_is_not_the_right_to_read),
        RULES_TEST(patterns_stand_for_user_and_client),
        RULES_TEST(names_that_would_widen_a_pattern_match_nothing),
        RULES_TEST(roles_have_their_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
