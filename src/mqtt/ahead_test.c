/* Looking ahead changes nothing but the time it takes. */
#include "mqtt/ahead.h"
#include "mqtt/connection.h"
#include "mqtt/fixture.h"

/* So many filters that looking ahead begins, and one that gets everything under a/. */
static struct peer *enter_with_many_filters(struct fixture *fixture)
{
    struct peer *peer = enter(fixture, "many");

    set(fixture, "mqtt.subscriptions_per_session_max", "100000");
    subscribe(peer, "a/+", 0);
    for (unsigned i = 0; i < 40000; i++) {
        g_autofree char *filter = g_strdup_printf("many/%u", i);
        session_subscribe(connection_of(fixture, "many")->session, bytes_from_string(filter),
                          &(struct subscription_options){0});
    }
    assert_true(route_cache_is_large(&broker_of(fixture)->routes));
    return peer;
}

static void publishes_in_one_piece_all_arrive_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct peer *many = enter_with_many_filters(fixture), *publisher = enter(fixture, "publisher");

    for (unsigned i = 0; i < 20; i++) {
        g_autofree char *topic = g_strdup_printf(i % 2 ? "a/%u" : "many/%u", i);
        say_publish(publisher, i % 3 == 0, i % 3 == 0 ? (uint16_t)(i + 1) : 0, topic, "x");
    }
    run(fixture);
    GString *expected = g_string_new(NULL);
    for (unsigned i = 0; i < 20; i++) {
        g_string_append_printf(expected, "%spublish q0 %s/%u=x", i ? "; " : "",
                               i % 2 ? "a" : "many", i);
    }
    assert_heard(many, expected->str);
    g_string_free(expected, TRUE);
}

static void what_is_no_publish_or_wrong_comes_to_its_turn(void **state)
{
    struct fixture *fixture = *state;
    struct peer *many = enter_with_many_filters(fixture), *publisher = enter(fixture, "publisher");
    g_autoptr(GByteArray) packets =
        sample_bytes("30 07 0003'a/1' 00 'x'  30 07 0003'a/2' 00 'x'  c000"
                     "30 07 0003'a/3' 00 'x'  30 07 ffff'a/4' 00 'x'  30 07 0003'a/5' 00 'x'");

    say_bytes(publisher, packets->data, packets->len);
    assert_heard(publisher, "pingresp; disconnect 0x81; end");
    assert_heard(many, "publish q0 a/1=x; publish q0 a/2=x; publish q0 a/3=x");
}

static void it_tells_how_far_it_has_looked(void **state)
{
    static const struct {
        const char *input;
        size_t expected;
    } cases[] = {{"", 0},
                 {"c000", 0},
                 {"30 06 0001'a' 00 'xy' 30 06 0001'b'", 8},
                 {"30 06 0001'a' 00 'xy' 30 06 ffff'b' 00 'xy' c000", 16},
                 {"30 02 0000", 0},
                 {"00", 0}};
    struct fixture *fixture = *state;
    g_autoptr(GByteArray) ten = g_byte_array_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) input = sample_bytes(cases[i].input);
        assert_int_equal(ahead_look(broker_of(fixture), (struct bytes){input->data, input->len}),
                         cases[i].expected);
    }
    for (unsigned i = 0; i < 10; i++) {
        g_byte_array_append(ten, (const guint8 *)"0\5\0\1a\0x", 7);
    }
    assert_int_equal(ahead_look(broker_of(fixture), (struct bytes){ten->data, ten->len}), 56);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(publishes_in_one_piece_all_arrive_in_order),
        FIXTURE_TEST(what_is_no_publish_or_wrong_comes_to_its_turn),
        FIXTURE_TEST(it_tells_how_far_it_has_looked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
