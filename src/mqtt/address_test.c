/* How many may come from one address. */
#include "mqtt/address.h"
#include "mqtt/fixture.h"
#include "net/stream.h"

static void an_address_has_no_more_than_its_connections(void **state)
{
    struct fixture *fixture = *state;
    struct entering a = {.client_id = "a"}, b = {.client_id = "b"}, c = {.client_id = "c"};
    struct entering old = {.client_id = "old", .version = PACKET_MQTT_3_1_1};

    set(fixture, "mqtt.anonymous", "on");
    set(fixture, "mqtt.connections_per_address_max", "2");
    struct peer *first = peer_from(fixture, "192.0.2.1", NULL);
    say_connect(first, &a);
    assert_heard(first, "connack s0 0x00");
    struct peer *second = peer_from(fixture, "192.0.2.1", NULL);
    say_connect(second, &b);
    assert_heard(second, "connack s0 0x00");

    struct peer *third = peer_from(fixture, "192.0.2.1", NULL);
    say_connect(third, &c);
    assert_heard(third, "connack s0 0x97; end");
    struct peer *fourth = peer_from(fixture, "192.0.2.1", NULL);
    say_connect(fourth, &old);
    assert_heard(fourth, "connack s0 0x88; end"); /* 3.1.1 has no better word: 3 */
    struct peer *elsewhere = peer_from(fixture, "192.0.2.2", NULL);
    say_connect(elsewhere, &c);
    assert_heard(elsewhere, "connack s0 0x00");

    cut(first);
    struct peer *again = peer_from(fixture, "192.0.2.1", NULL);
    say_connect(again, &a);
    assert_heard(again, "connack s0 0x00");
}

static void this_machine_is_not_limited(void **state)
{
    struct fixture *fixture = *state;
    char id[] = "a";

    set(fixture, "mqtt.connections_per_address_max", "1");
    for (; *id < 'f'; ++*id) {
        enter(fixture, id);
    }
    assert_int_equal(broker_of(fixture)->connection_count, 5);
}

static void an_address_is_forgotten_with_its_last_connection(void **state)
{
    struct fixture *fixture = *state;
    struct broker *broker = broker_of(fixture);
    struct stream_peer somewhere = {.address = "2001:db8::1"}, nowhere = {.is_loopback = true};

    struct address *first = address_enter(broker, &somewhere);
    struct address *second = address_enter(broker, &somewhere);
    assert_ptr_equal(first, second);
    assert_string_equal(first->text, "2001:db8::1");
    assert_int_equal(first->connections, 2);
    address_leave(broker, first);
    assert_int_equal(g_hash_table_size(broker->per_address), 1);
    address_leave(broker, second);
    address_leave(broker, NULL);
    assert_int_equal(g_hash_table_size(broker->per_address), 0);

    struct address *local = address_enter(broker, &nowhere);
    assert_string_equal(local->text, "local");
    address_leave(broker, local);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(an_address_has_no_more_than_its_connections),
        FIXTURE_TEST(this_machine_is_not_limited),
        FIXTURE_TEST(an_address_is_forgotten_with_its_last_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
