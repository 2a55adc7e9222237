/* What the API sees and does. */
#include "mqtt/broker.h"
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include "net/stream.h"
#include "state/propose.h"
#include <errno.h>

static void note_client(void *owner, const struct broker_client *client)
{
    GString *line = owner;

    g_string_append_printf(line, "%s%s%s v%u subscriptions=%u queued=%u in_flight=%u %s;",
                           client->client_id, client->connection_number != 0 ? " connected" : "",
                           client->is_persistent ? " kept" : "", client->version,
                           client->subscriptions, client->queued, client->in_flight,
                           client->transport ? client->transport : "none");
}

static void note_subscription(void *owner, const char *filter, uint8_t qos, bool no_local,
                              bool retain_as_published, uint32_t subscription_id)
{
    g_string_append_printf(owner, "%s q%u n%d p%d id=%u;", filter, qos, no_local,
                           retain_as_published, subscription_id);
}

static void note_reason(void *owner, uint8_t reason)
{
    g_string_append_printf(owner, "%02x;", reason);
}

#define assert_notes(notes, expected)                                                              \
    do {                                                                                           \
        assert_string_equal((notes)->str, expected);                                               \
        g_string_set_size(notes, 0);                                                               \
    } while (0)

static struct bytes text(const char *string)
{
    return bytes_from_string(string);
}

static void clients_are_seen_connected_or_not(void **state)
{
    struct fixture *fixture = *state;
    g_autoptr(GString) notes = g_string_new(NULL);
    struct peer *kept = enter_kept(fixture, "kept"), *live = enter(fixture, "live");

    subscribe(kept, "a", 1);
    subscribe(live, "a", 1);
    say(live, 0x32, "0001'a' 0001 00 'x'");
    assert_true(broker_find_client(broker_of(fixture), text("kept"), note_client, notes));
    assert_notes(notes, "kept connected kept v5 subscriptions=1 queued=1 in_flight=1 tcp;");
    cut(kept);
    broker_for_each_client(broker_of(fixture), note_client, notes);
    assert_notes(notes, "live connected v5 subscriptions=1 queued=1 in_flight=1 tcp;"
                        "kept kept v5 subscriptions=1 queued=1 in_flight=0 none;");
    cut(live);
    assert_false(broker_find_client(broker_of(fixture), text("live"), note_client, notes));
    assert_notes(notes, "");
}

static void subscriptions_are_seen_with_their_options(void **state)
{
    struct fixture *fixture = *state;
    g_autoptr(GString) notes = g_string_new(NULL);
    struct peer *peer = enter(fixture, "a");

    say(peer, 0x82, "0001 02 0b07 0001'x' 0d 000a'$share/g/y' 01");
    broker_for_each_subscription(broker_of(fixture), text("a"), note_subscription, notes);
    assert_notes(notes, "x q1 n1 p1 id=7;$share/g/y q1 n0 p0 id=7;");
    broker_for_each_subscription(broker_of(fixture), text("b"), note_subscription, notes);
    assert_notes(notes, "");
}

static void on_purged(void *owner, uint64_t token, const struct state_result *result)
{
    assert_int_equal(result->error, 0);
    ++*(unsigned *)owner;
}

static void a_kicked_client_goes_and_comes_back_to_its_session(void **state)
{
    struct fixture *fixture = *state;
    unsigned count = 0;
    struct state_completion purged = {on_purged, &count, 0};
    struct peer *kept = enter_kept(fixture, "kept"), *live = enter(fixture, "live");

    assert_int_equal(broker_kick(broker_of(fixture), text("kept"), NULL), 0);
    assert_int_equal(broker_kick(broker_of(fixture), text("live"), &purged), 0);
    assert_int_equal(broker_kick(broker_of(fixture), text("nobody"), &purged), -ENOENT);
    run(fixture);
    assert_heard(kept, "disconnect 0x98; end");
    assert_heard(live, "disconnect 0x98; end");
    kept = peer_new(fixture);
    say_connect(kept, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(kept, "connack s1 0x00");
}

static void a_purged_client_has_no_session_any_more(void **state)
{
    struct fixture *fixture = *state;
    unsigned count = 0;
    struct state_completion purged = {on_purged, &count, 0};
    struct peer *peer = enter_kept(fixture, "kept");

    assert_int_equal(broker_kick(broker_of(fixture), text("kept"), &purged), 1);
    assert_int_equal(count, 0); /* not before the log has it */
    run(fixture);
    assert_int_equal(count, 1);
    assert_heard(peer, "disconnect 0x98; end");
    assert_int_equal(broker_kick(broker_of(fixture), text("kept"), &purged), -ENOENT);
    peer = peer_new(fixture);
    say_connect(peer, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(peer, "connack s0 0x00");
    cut(peer);
    assert_int_equal(broker_kick(broker_of(fixture), text("kept"), &purged), 1);
    run(fixture);
    assert_int_equal(broker_kick(broker_of(fixture), text("kept"), &purged), -ENOENT);
}

static void a_purge_that_the_log_refuses_is_told(void **state)
{
    struct fixture *fixture = *state;
    unsigned count = 0;
    struct state_completion purged = {on_purged, &count, 0};

    cut(enter_kept(fixture, "kept"));
    fixture->node.refusals = 1;
    assert_int_equal(broker_kick(broker_of(fixture), text("kept"), &purged), -EAGAIN);
    assert_int_equal(broker_kick(broker_of(fixture), text("kept"), &purged), 1);
    run(fixture);
    assert_int_equal(count, 1);
}

static void what_nobody_publishes_goes_where_it_belongs(void **state)
{
    struct fixture *fixture = *state;
    g_autoptr(GString) notes = g_string_new(NULL);
    struct broker *broker = broker_of(fixture);
    struct peer *live = enter(fixture, "live"), *kept = enter_kept(fixture, "kept");
    struct broker_publication message = {.topic = text("a"), .payload = text("x"), .qos = 1};

    assert_int_equal(broker_publish(broker, &message, note_reason, notes), 0);
    assert_notes(notes, ""); /* never from inside the call */
    run(fixture);
    assert_notes(notes, "10;");
    subscribe(live, "a", 1);
    assert_int_equal(broker_publish(broker, &message, note_reason, notes), 0);
    run(fixture);
    assert_notes(notes, "00;");
    assert_heard(live, "publish q1 m1 a=x");
    subscribe(kept, "a", 1);
    message.expiry_s = 7;
    assert_int_equal(broker_publish(broker, &message, note_reason, notes), 0);
    assert_notes(notes, "");
    run(fixture);
    assert_notes(notes, "00;");
    assert_heard(live, "publish q1 m2 a=x expiry=7");
    assert_heard(kept, "publish q1 m1 a=x expiry=7");
    message.topic = text("b");
    message.retain = true;
    assert_int_equal(broker_publish(broker, &message, note_reason, notes), 0);
    run(fixture);
    assert_notes(notes, "10;");
    struct peer *late = enter(fixture, "late");
    subscribe(late, "c", 0);
    say(late, 0x82, "0001 00 0001'b' 00");
    assert_heard(late, "suback m1 00; publish q0 b=x retain expiry=7");
}

static void what_nobody_publishes_reaches_one_of_a_share_group(void **state)
{
    struct fixture *fixture = *state;
    g_autoptr(GString) notes = g_string_new(NULL);
    struct peer *peer = enter_kept(fixture, "kept");
    struct broker_publication message = {.topic = text("a"), .payload = text("x"), .qos = 2};

    subscribe(peer, "$share/g/a", 2);
    cut(peer);
    assert_int_equal(broker_publish(broker_of(fixture), &message, note_reason, notes), 0);
    run(fixture);
    assert_notes(notes, "00;");
    enter_kept(fixture, "kept");
    assert_int_equal(session_store_queued(broker_of(fixture)->persistent), 1);
}

static void what_cannot_be_published_is_refused_at_once(void **state)
{
    struct fixture *fixture = *state;
    g_autoptr(GString) notes = g_string_new(NULL);
    struct broker *broker = broker_of(fixture);
    struct broker_publication message = {.payload = text("x"), .qos = 1};
    const char *const bad[] = {"", "a/#", "+", "$SYS/x"};

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        message.topic = text(bad[i]);
        assert_int_equal(broker_publish(broker, &message, note_reason, notes), -EINVAL);
    }
    message.topic = text("a");
    message.qos = 3;
    assert_int_equal(broker_publish(broker, &message, note_reason, notes), -EINVAL);
    message.qos = 1;
    message.retain = true;
    fixture->node.refusals = 1;
    assert_int_equal(broker_publish(broker, &message, note_reason, notes), -EAGAIN);
    run(fixture);
    assert_notes(notes, "");
}

static void what_the_disk_does_not_take_is_told(void **state)
{
    struct fixture *fixture = *state;
    g_autoptr(GString) notes = g_string_new(NULL);
    struct broker_publication message = {
        .topic = text("a"), .payload = text("x"), .qos = 1, .retain = true};

    assert_int_equal(broker_publish(broker_of(fixture), &message, note_reason, notes), 0);
    node_fail(&fixture->node, -ENOSPC);
    assert_notes(notes, "97;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(clients_are_seen_connected_or_not),
        FIXTURE_TEST(subscriptions_are_seen_with_their_options),
        FIXTURE_TEST(a_kicked_client_goes_and_comes_back_to_its_session),
        FIXTURE_TEST(a_purged_client_has_no_session_any_more),
        FIXTURE_TEST(a_purge_that_the_log_refuses_is_told),
        FIXTURE_TEST(what_nobody_publishes_goes_where_it_belongs),
        FIXTURE_TEST(what_nobody_publishes_reaches_one_of_a_share_group),
        FIXTURE_TEST(what_cannot_be_published_is_refused_at_once),
        FIXTURE_TEST(what_the_disk_does_not_take_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
