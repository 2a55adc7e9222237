/* Watching the packets of one client. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"

static void note(void *owner, const char *line)
{
    g_string_append_printf(owner, "%s;", line);
}

#define assert_notes(notes, expected)                                                              \
    do {                                                                                           \
        assert_string_equal((notes)->str, expected);                                               \
        g_string_set_size(notes, 0);                                                               \
    } while (0)

static void every_packet_of_the_client_is_told(void **state)
{
    struct fixture *fixture = *state;
    g_autoptr(GString) notes = g_string_new(NULL);
    struct peer *peer = enter(fixture, "a"), *other = enter(fixture, "b");

    struct broker_trace *trace =
        broker_trace_new(broker_of(fixture), bytes_from_string("a"), note, notes);
    say(peer, 0x82, "0001 00 0001'x' 01");
    assert_notes(notes, "<- SUBSCRIBE m1 'x' q1 n0 p0 h0 (1 filters);-> SUBACK m1 0x01 (1 "
                        "reasons);");
    publish(other, 0, 0, "x", "secret");
    publish(other, 1, 1, "x", "secret");
    assert_notes(notes, "-> PUBLISH q0 r0 d0 m0 'x' (6 bytes);-> PUBLISH q1 r0 d0 m1 'x' (6 "
                        "bytes);");
    assert_heard(peer, "suback m1 01; publish q0 x=secret; publish q1 m1 x=secret");
    publish(other, 0, 0, "x", "");
    assert_notes(notes, "-> PUBLISH q0 r0 d0 m0 'x' (0 bytes);");
    say(peer, 0x00, "");
    assert_notes(notes,
                 "-> DISCONNECT 0x81 (malformed packet) {reason-string='malformed header'};");
    broker_trace_free(trace);
}

static void a_client_that_comes_later_is_seen(void **state)
{
    struct fixture *fixture = *state;
    g_autoptr(GString) notes = g_string_new(NULL);
    g_autoptr(GString) more = g_string_new(NULL);
    struct broker *broker = broker_of(fixture);

    struct broker_trace *trace = broker_trace_new(broker, bytes_from_string("a"), note, notes);
    struct broker_trace *second = broker_trace_new(broker, bytes_from_string("a"), note, more);
    struct peer *peer =
        enter_as(fixture, &(struct entering){.client_id = "a", .version = PACKET_MQTT_3_1_1});
    assert_notes(notes, "<- CONNECT v4 c1 k0 'a';-> CONNACK s0 0x00 (success);");
    broker_trace_free(second);
    say(peer, 0xc0, "");
    assert_notes(notes, "<- PINGREQ;-> PINGRESP;");
    assert_notes(more, "<- CONNECT v4 c1 k0 'a';-> CONNACK s0 0x00 (success);");
    broker_trace_free(trace);
    say(peer, 0xc0, "");
    assert_notes(notes, "");
    assert_heard(peer, "pingresp; pingresp");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(every_packet_of_the_client_is_told),
        FIXTURE_TEST(a_client_that_comes_later_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
