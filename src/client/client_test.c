/* Tests of the MQTT client, against a server made of bytes at the other end of a pair of streams.
 */
#include "client/client.h"
#include "base/clock.h"
#include "loop/loop.h"
#include "net/stream.h"
#include "net/stream_pair.h"
#include "packet/reason.h"
#include <errno.h>
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define WAIT_MS 5000

struct pair {
    struct loop *loop;
    struct stream *server; /* NULL once it has ended */
    struct client *client;
    struct timer *deadline;
    GString *heard;  /* what the server got: a packet a word */
    GString *events; /* what the client told */
    const char *awaited;
    GString *awaited_in;
    uint8_t version;
    bool frees_in_message;
};

/* ---- the server ---- */

static void check(struct pair *pair)
{
    if (pair->awaited && strstr(pair->awaited_in->str, pair->awaited)) {
        loop_stop(pair->loop);
    }
}

static size_t on_server_bytes(void *owner, const uint8_t *bytes, size_t length)
{
    struct pair *pair = owner;
    size_t at = 0;
    struct packet_frame frame;

    while (at < length &&
           packet_frame_find((struct bytes){bytes + at, length - at}, UINT32_MAX, &frame) == 1) {
        g_autofree char *text = packet_frame_describe(&frame, pair->version);
        g_string_append_printf(pair->heard, "%s;", text);
        at += frame.total_bytes;
    }
    check(pair);
    return at;
}

static void on_server_drained(void *owner)
{
}

static void on_server_end(void *owner, int error)
{
    struct pair *pair = owner;

    pair->server = NULL;
    g_string_append(pair->heard, "end;");
    check(pair);
}

static const struct stream_events server_events = {on_server_bytes, on_server_drained,
                                                   on_server_end};

/* ---- the client ---- */

static void on_connected(void *owner, const struct packet_connack *connack)
{
    struct pair *pair = owner;

    g_string_append_printf(pair->events, "connected %02x;", connack->reason);
    check(pair);
}

static void on_message(void *owner, const struct packet_publish *publish)
{
    struct pair *pair = owner;

    g_string_append_printf(pair->events, "message %.*s q%u;", (int)publish->topic.length,
                           (const char *)publish->topic.at, publish->qos);
    if (pair->frees_in_message) {
        client_free(pair->client, REASON_SUCCESS);
        pair->client = NULL;
    }
    check(pair);
}

static void on_published(void *owner, uint64_t token, uint8_t reason)
{
    struct pair *pair = owner;

    g_string_append_printf(pair->events, "published %u %02x;", (unsigned)token, reason);
    check(pair);
}

static void on_subscribed(void *owner, uint64_t token, struct bytes reasons)
{
    struct pair *pair = owner;

    g_string_append_printf(pair->events, "subscribed %u %02x;", (unsigned)token,
                           reasons.length ? reasons.at[0] : 0xff);
    check(pair);
}

static void on_end(void *owner, uint8_t reason, const char *text)
{
    struct pair *pair = owner;

    g_string_append_printf(pair->events, "ended %02x;", reason);
    check(pair);
}

static const struct client_events client_events = {on_connected,  on_message, on_published,
                                                   on_subscribed, on_end,     NULL};

static void on_deadline(void *owner)
{
    struct pair *pair = owner;

    fail_msg("waited in vain for '%s': heard '%s', events '%s'", pair->awaited, pair->heard->str,
             pair->events->str);
}

static void await(struct pair *pair, GString *in, const char *part)
{
    pair->awaited = part;
    pair->awaited_in = in;
    if (!strstr(in->str, part)) {
        timer_start(pair->deadline, WAIT_MS);
        loop_run(pair->loop);
        timer_stop(pair->deadline);
    }
    pair->awaited = NULL;
}

static void say(struct pair *pair, const void *bytes, size_t length)
{
    stream_write(pair->server, bytes, length);
}

#define SAY(pair, ...)                                                                             \
    do {                                                                                           \
        const uint8_t bytes_[] = {__VA_ARGS__};                                                    \
        say(pair, bytes_, sizeof bytes_);                                                          \
    } while (0)

static int setup(void **state)
{
    struct pair *pair = g_new0(struct pair, 1);

    pair->loop = loop_new();
    pair->deadline = timer_new(pair->loop, on_deadline, pair);
    pair->heard = g_string_new(NULL);
    pair->events = g_string_new(NULL);
    *state = pair;
    return 0;
}

static int teardown(void **state)
{
    struct pair *pair = *state;

    if (pair->client) {
        client_free(pair->client, REASON_SUCCESS);
    }
    if (pair->server) {
        stream_reset(pair->server);
    }
    timer_free(pair->deadline);
    loop_run(pair->loop);
    loop_free(pair->loop);
    g_string_free(pair->heard, TRUE);
    g_string_free(pair->events, TRUE);
    g_free(pair);
    return 0;
}

static void start_with(struct pair *pair, struct client_options *options)
{
    struct stream *ours;

    pair->version = options->connect.version;
    assert_int_equal(stream_pair_new(pair->loop, &ours, &pair->server), 0);
    stream_start(pair->server, &server_events, pair);
    pair->client = client_new(pair->loop, ours, options, &client_events, pair);
    await(pair, pair->heard, "CONNECT");
}

/* Connected with MQTT 5; the server takes `receive_maximum`. */
static void start(struct pair *pair, bool manual_ack, uint8_t receive_maximum)
{
    struct client_options options = {
        .connect = {.version = PACKET_MQTT_5, .client_id = bytes_from_string("c")},
        .manual_ack = manual_ack};

    start_with(pair, &options);
    SAY(pair, 0x20, 6, 0, 0, 3, 0x21, 0, receive_maximum);
    await(pair, pair->events, "connected 00;");
}

static int publish(struct pair *pair, uint8_t qos, uint64_t token)
{
    struct client_message message = {
        .topic = bytes_from_string("t"), .payload = bytes_from_string("p"), .qos = qos};

    return client_publish(pair->client, &message, token);
}

/* ---- tests ---- */

static void nothing_is_published_before_connack(void **state)
{
    struct pair *pair = *state;
    struct client_options options = {
        .connect = {.version = PACKET_MQTT_3_1_1, .client_id = bytes_from_string("c")}};

    start_with(pair, &options);
    assert_int_equal(publish(pair, 0, 1), -EAGAIN);
    assert_int_equal(publish(pair, 1, 1), -EAGAIN);
    SAY(pair, 0x20, 2, 0, 0);
    await(pair, pair->events, "connected 00;");
    assert_int_equal(publish(pair, 0, 1), 0);
    await(pair, pair->heard, "PUBLISH");
}

static void a_refusal_ends_it(void **state)
{
    struct pair *pair = *state;
    struct client_options options = {
        .connect = {.version = PACKET_MQTT_5, .client_id = bytes_from_string("c")}};

    start_with(pair, &options);
    SAY(pair, 0x20, 3, 0, 0x87, 0);
    await(pair, pair->events, "ended");
    assert_string_equal(pair->events->str, "connected 87;ended 87;");
}

static void an_acknowledged_publish_is_told_with_its_token(void **state)
{
    struct pair *pair = *state;

    start(pair, false, 10);
    assert_int_equal(publish(pair, 1, 77), 0);
    assert_int_equal(publish(pair, 2, 78), 0);
    assert_int_equal(client_in_flight(pair->client), 2);
    SAY(pair, 0x40, 2, 0, 1, 0x50, 2, 0, 2);
    await(pair, pair->heard, "PUBREL");
    assert_non_null(strstr(pair->events->str, "published 77 00;"));
    assert_null(strstr(pair->events->str, "published 78"));
    SAY(pair, 0x70, 2, 0, 2);
    await(pair, pair->events, "published 78 00;");
    assert_int_equal(client_in_flight(pair->client), 0);
}

static void a_refused_publish_is_through_too(void **state)
{
    struct pair *pair = *state;

    start(pair, false, 10);
    publish(pair, 1, 1);
    publish(pair, 2, 2);
    SAY(pair, 0x40, 3, 0, 1, 0x87, 0x50, 3, 0, 2, 0x97);
    await(pair, pair->events, "published 2 97;");
    assert_non_null(strstr(pair->events->str, "published 1 87;"));
    assert_int_equal(client_in_flight(pair->client), 0);
}

static void the_receive_maximum_of_the_server_is_kept(void **state)
{
    struct pair *pair = *state;

    start(pair, false, 2);
    assert_int_equal(publish(pair, 1, 1), 0);
    assert_int_equal(publish(pair, 2, 2), 0);
    assert_int_equal(publish(pair, 1, 3), -EAGAIN);
    assert_int_equal(publish(pair, 0, 3), 0);
    SAY(pair, 0x40, 2, 0, 1);
    await(pair, pair->events, "published 1");
    assert_int_equal(publish(pair, 1, 3), 0);
}

static void a_message_larger_than_the_server_takes_is_not_sent(void **state)
{
    struct pair *pair = *state;
    struct client_options options = {
        .connect = {.version = PACKET_MQTT_5, .client_id = bytes_from_string("c")}};
    struct client_message message = {.topic = bytes_from_string("a topic of some length"),
                                     .qos = 1};

    start_with(pair, &options);
    SAY(pair, 0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 20);
    await(pair, pair->events, "connected");
    assert_int_equal(client_publish(pair->client, &message, 1), -EMSGSIZE);
    assert_int_equal(client_in_flight(pair->client), 0);
    assert_int_equal(publish(pair, 1, 2), 0);
}

static void packet_ids_go_on_where_the_session_was(void **state)
{
    struct pair *pair = *state;
    struct client_options options = {
        .connect = {.version = PACKET_MQTT_3_1_1, .client_id = bytes_from_string("c")},
        .last_packet_id = UINT16_MAX - 1};

    start_with(pair, &options);
    SAY(pair, 0x20, 2, 1, 0);
    await(pair, pair->events, "connected");
    publish(pair, 1, 1);
    assert_int_equal(client_last_packet_id(pair->client), UINT16_MAX);
    publish(pair, 1, 2);
    assert_int_equal(client_last_packet_id(pair->client), 1);
    SAY(pair, 0x40, 2, 0, 1, 0x40, 2, 0xff, 0xff);
    await(pair, pair->events, "published 1");
    assert_non_null(strstr(pair->events->str, "published 2 00;published 1 00;"));
}

static void messages_are_acknowledged_by_themselves(void **state)
{
    struct pair *pair = *state;

    start(pair, false, 10);
    SAY(pair, 0x30, 4, 0, 1, 'a', 0, 0x32, 6, 0, 1, 'b', 0, 1, 0, 0x34, 6, 0, 1, 'c', 0, 2, 0);
    await(pair, pair->heard, "PUBREC");
    assert_non_null(strstr(pair->heard->str, "PUBACK"));
    SAY(pair, 0x62, 2, 0, 2);
    await(pair, pair->heard, "PUBCOMP");
    assert_non_null(strstr(pair->events->str, "message a q0;message b q1;message c q2;"));
}

static void a_qos_2_message_that_comes_again_is_told_once(void **state)
{
    struct pair *pair = *state;

    start(pair, false, 10);
    SAY(pair, 0x34, 6, 0, 1, 'c', 0, 2, 0, 0x3c, 6, 0, 1, 'c', 0, 2, 0, 0x62, 2, 0, 2);
    await(pair, pair->heard, "PUBCOMP");
    char *first = strstr(pair->events->str, "message c");
    assert_null(strstr(first + 1, "message c"));
    SAY(pair, 0x34, 6, 0, 1, 'd', 0, 2, 0);
    await(pair, pair->events, "message d");
}

static void with_manual_acknowledgement_the_owner_says_when(void **state)
{
    struct pair *pair = *state;

    start(pair, true, 10);
    SAY(pair, 0x32, 6, 0, 1, 'b', 0, 7, 0);
    await(pair, pair->events, "message b");
    assert_null(strstr(pair->heard->str, "PUBACK"));
    client_acknowledge(pair->client, 1, 7, REASON_SUCCESS);
    await(pair, pair->heard, "PUBACK");
}

static void subscriptions_are_answered_by_token(void **state)
{
    struct pair *pair = *state;
    struct packet_subscription subscription = {.filter = bytes_from_string("a/#"), .qos = 1};

    start(pair, false, 10);
    client_subscribe(pair->client, &subscription, 1, 0, 5);
    client_unsubscribe(pair->client, &subscription.filter, 1, 6);
    await(pair, pair->heard, "UNSUBSCRIBE");
    SAY(pair, 0x90, 4, 0, 1, 0, 0x01, 0xb0, 4, 0, 2, 0, 0x11);
    await(pair, pair->events, "subscribed 6 11;");
    assert_non_null(strstr(pair->events->str, "subscribed 5 01;"));
}

static void a_server_that_ends_is_told(void **state)
{
    struct pair *pair = *state;

    start(pair, false, 10);
    SAY(pair, 0xe0, 1, 0x8b);
    await(pair, pair->events, "ended 8b;");
    await(pair, pair->heard, "end;");
    assert_int_equal(publish(pair, 1, 1), -EAGAIN);
}

static void what_a_server_may_not_send_ends_it(void **state)
{
    static const uint8_t wrong[][4] = {
        {0x10, 0}, {0x82, 0}, {0x20, 2, 0, 0}, {0x36, 0}, {0x40, 1, 0}, {0x00, 0}, {0xc0, 0},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        void *fresh;
        setup(&fresh);
        struct pair *pair = fresh;
        start(pair, false, 10);
        say(pair, wrong[i], 2u + wrong[i][1]);
        await(pair, pair->events, "ended 8");
        teardown(&fresh);
    }
}

static void it_may_be_freed_from_inside_a_message(void **state)
{
    struct pair *pair = *state;

    start(pair, false, 10);
    pair->frees_in_message = true;
    SAY(pair, 0x32, 6, 0, 1, 'b', 0, 1, 0, 0x30, 4, 0, 1, 'a', 0);
    await(pair, pair->heard, "end;");
    assert_null(strstr(pair->events->str, "message a"));
    assert_null(strstr(pair->events->str, "ended"));
}

#define CLIENT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(nothing_is_published_before_connack),
        CLIENT_TEST(a_refusal_ends_it),
        CLIENT_TEST(an_acknowledged_publish_is_told_with_its_token),
        CLIENT_TEST(a_refused_publish_is_through_too),
        CLIENT_TEST(the_receive_maximum_of_the_server_is_kept),
        CLIENT_TEST(a_message_larger_than_the_server_takes_is_not_sent),
        CLIENT_TEST(packet_ids_go_on_where_the_session_was),
        CLIENT_TEST(messages_are_acknowledged_by_themselves),
        CLIENT_TEST(a_qos_2_message_that_comes_again_is_told_once),
        CLIENT_TEST(with_manual_acknowledgement_the_owner_says_when),
        CLIENT_TEST(subscriptions_are_answered_by_token),
        CLIENT_TEST(a_server_that_ends_is_told),
        CLIENT_TEST(what_a_server_may_not_send_ends_it),
        CLIENT_TEST(it_may_be_freed_from_inside_a_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
