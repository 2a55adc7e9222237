/* $SYS: values on subscribing, and again while somebody is subscribed. */
#include "mqtt/sys_topics.h"
#include "mqtt/connection.h"
#include "mqtt/fixture.h"

/* The value of a topic as a subscriber gets it; NULL = none came. */
static char *value_of(struct fixture *fixture, const char *topic)
{
    GPtrArray *messages = g_ptr_array_new();
    char *value = NULL;

    sys_topics_collect(broker_of(fixture), bytes_from_string(topic), messages);
    for (guint i = 0; i < messages->len; i++) {
        struct bytes payload = message_payload(messages->pdata[i]);
        value = g_strndup((const char *)payload.at, payload.length);
        message_unref(messages->pdata[i]);
    }
    assert_true(messages->len <= 1);
    g_ptr_array_unref(messages);
    return value;
}

#define assert_value(topic, expected)                                                              \
    do {                                                                                           \
        g_autofree char *value_ = value_of(fixture, "$SYS/broker/" topic);                         \
        assert_string_equal(value_, expected);                                                     \
    } while (0)

static void values_are_told_on_subscribing(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    say(peer, 0x82, "0001 00 0013'$SYS/broker/version' 00");
    assert_heard(peer,
                 "suback m1 00; publish q0 $SYS/broker/version=microcloud version sim retain");
    say(peer, 0x82, "0001 00 0001'#' 00 0012'$SYS/broker/nothin' 00");
    assert_heard(peer, "suback m1 00,00");
}

static void the_counters_stand_under_their_names(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a"), *kept = enter_kept(fixture, "kept");

    subscribe(peer, "x", 0);
    subscribe(kept, "$share/g/x", 1);
    publish_retained(peer, 0, 0, "x", "abc");
    cut(kept);
    publish(peer, 1, 1, "x", "abc");
    pass(fixture, 5000);
    assert_value("clients/connected", "1");
    assert_value("clients/maximum", "2");
    assert_value("clients/total", "2");
    assert_value("clients/disconnected", "1");
    assert_value("clients/inactive", "1");
    assert_value("subscriptions/count", "2");
    assert_value("shared_subscriptions/count", "1");
    assert_value("retained messages/count", "1");
    assert_value("store/messages/count", "1");
    assert_value("publish/messages/received", "2");
    assert_value("publish/bytes/received", "6");
    assert_value("uptime", "5 seconds");
    g_autofree char *heap = value_of(fixture, "$SYS/broker/heap/current");
    assert_string_not_equal(heap, "");
#if !defined __SANITIZE_ADDRESS__ /* which has an allocator of its own */
    assert_true(g_ascii_strtoull(heap, NULL, 10) > 1000);
#endif
    assert_null(value_of(fixture, "#"));
    assert_null(value_of(fixture, "$SYS/broker/unknown"));
}

static void loads_rise_with_traffic_and_fall_without(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    pass(fixture, 2000);
    assert_value("load/publish/received/1min", "0.00");
    for (unsigned second = 0; second < 600; second++) { /* ten minutes of one each second */
        publish(peer, 0, 0, "x", "abc");
        pass(fixture, 1000);
        if (second % 10 == 9) {
            g_free(value_of(fixture, "$SYS/broker/uptime"));
        }
    }
    assert_value("load/publish/received/1min", "60.00");
    g_autofree char *five = value_of(fixture, "$SYS/broker/load/publish/received/5min");
    g_autofree char *fifteen = value_of(fixture, "$SYS/broker/load/publish/received/15min");
    assert_true(g_ascii_strtod(five, NULL) > 50 && g_ascii_strtod(five, NULL) < 60);
    assert_true(g_ascii_strtod(fifteen, NULL) > 25 && g_ascii_strtod(fifteen, NULL) < 50);
    pass(fixture, 60000);
    g_autofree char *one = value_of(fixture, "$SYS/broker/load/publish/received/1min");
    assert_true(g_ascii_strtod(one, NULL) > 21 && g_ascii_strtod(one, NULL) < 23); /* 60 / e */
}

static void what_changes_is_told_each_interval_while_somebody_listens(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    say(peer, 0x82, "0001 00 001d'$SYS/broker/clients/connected' 00");
    assert_heard(peer, "suback m1 00; publish q0 $SYS/broker/clients/connected=1 retain");
    pass(fixture, 10000);
    assert_heard(peer, "publish q0 $SYS/broker/clients/connected=1");
    pass(fixture, 10000);
    assert_heard(peer, ""); /* nothing new */
    struct peer *other = enter(fixture, "b");
    pass(fixture, 10000);
    assert_heard(peer, "publish q0 $SYS/broker/clients/connected=2");
    say(peer, 0xa2, "0002 00 001d'$SYS/broker/clients/connected'");
    cut(other);
    pass(fixture, 20000);
    assert_heard(peer, "unsuback m2 00");
    say(peer, 0x82, "0001 00 0026'$share/g/$SYS/broker/clients/connected' 00");
    pass(fixture, 10000);
    assert_heard(peer, "suback m1 00; publish q0 $SYS/broker/clients/connected=1");
}

static void an_interval_of_nothing_tells_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    set(fixture, "mqtt.sys_interval_s", "0");
    say(peer, 0x82, "0001 00 001d'$SYS/broker/clients/connected' 00");
    assert_heard(peer, "suback m1 00; publish q0 $SYS/broker/clients/connected=1 retain");
    pass(fixture, 100000);
    assert_heard(peer, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(values_are_told_on_subscribing),
        FIXTURE_TEST(the_counters_stand_under_their_names),
        FIXTURE_TEST(loads_rise_with_traffic_and_fall_without),
        FIXTURE_TEST(what_changes_is_told_each_interval_while_somebody_listens),
        FIXTURE_TEST(an_interval_of_nothing_tells_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
