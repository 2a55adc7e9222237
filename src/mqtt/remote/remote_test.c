/* Three brokers over one log: what crosses the links, and what the links must not do. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include "mqtt/remote/remote_private.h"
#include "packet/packet.h"
#include "session/store.h"
#include "state/propose_cluster.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct peer *enter_at(struct fixture *fixture, unsigned node, const char *client_id)
{
    fixture->at = node;
    return enter(fixture, client_id);
}

static struct peer *enter_kept_at(struct fixture *fixture, unsigned node, const char *client_id)
{
    fixture->at = node;
    return enter_kept(fixture, client_id);
}

static void a_message_reaches_the_live_subscribers_of_every_node(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");
    struct peer *third = enter_at(fixture, 2, "third");

    subscribe(second, "a/+", 1);
    subscribe(third, "a/b", 0);
    publish(first, 0, 0, "a/b", "zero");
    assert_heard(second, "publish q0 a/b=zero");
    assert_heard(third, "publish q0 a/b=zero");
    publish(first, 1, 1, "a/b", "one");
    assert_heard(first, "puback m1 0x00");
    assert_heard(second, "publish q1 m1 a/b=one");
    assert_heard(third, "publish q0 a/b=one");
    publish(first, 1, 2, "a/c", "else");
    assert_heard(first, "puback m2 0x00");
    assert_heard(second, "publish q1 m2 a/c=else");
    assert_heard(third, "");
}

static void nobody_anywhere_is_told_to_the_publisher(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 1);
    publish(first, 1, 1, "b", "x");
    assert_heard(first, "puback m1 0x10");
    say(second, 0xa2, "0009 00 0001'a'");
    assert_heard(second, "unsuback m9 00");
    publish(first, 1, 2, "a", "x");
    assert_heard(first, "puback m2 0x10");
}

static void what_is_durable_does_not_cross_a_link(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *kept = enter_kept_at(fixture, 1, "kept");
    struct peer *live = enter_at(fixture, 2, "live");

    subscribe(kept, "a", 2);
    subscribe(live, "a", 2);
    uint64_t number = fixture->cluster->nodes[0].broker->remote->number;
    publish(first, 2, 1, "a", "x");
    assert_heard(first, "pubrec m1 0x00");
    assert_heard(kept, "publish q2 m1 a=x");
    assert_heard(live, "publish q2 m1 a=x");
    assert_int_equal(fixture->cluster->nodes[0].broker->remote->number, number);
    /* QoS 0 to a persistent session is no matter of the log. */
    publish(first, 0, 0, "a", "y");
    assert_heard(kept, "publish q0 a=y");
    assert_heard(live, "publish q0 a=y");
}

static void a_cut_link_loses_nothing_with_qos_and_repeats_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 2);
    say_publish(first, 2, 1, "a", "under way");
    virtual_stream_deliver(first->stream, SIZE_MAX);
    cluster_end_turn(fixture->cluster);
    cluster_carry(fixture->cluster, 0, 1); /* it arrives, its acknowledgement does not */
    cluster_cut(fixture->cluster, 0, 1);
    run(fixture);
    assert_heard(second, "publish q2 m1 a=under way");
    assert_heard(first, "pubrec m1 0x00"); /* nobody waits for a link that is gone */
    publish(first, 2, 2, "a", "while it is cut");
    publish(first, 0, 0, "a", "dropped");
    assert_heard(first, "pubrec m2 0x00");
    assert_heard(second, "");
    cluster_heal(fixture->cluster, 0, 1);
    run(fixture);
    assert_heard(second, "publish q2 m2 a=while it is cut");
}

static void a_publisher_is_acknowledged_when_the_others_have_it(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 1);
    say_publish(first, 1, 1, "a", "x");
    virtual_stream_deliver(first->stream, SIZE_MAX);
    cluster_end_turn(fixture->cluster);
    assert_heard(first, "");
    cluster_carry(fixture->cluster, 0, 1);
    assert_heard(first, "");
    cluster_carry(fixture->cluster, 1, 0);
    assert_heard(first, "puback m1 0x00");
    run(fixture);
    assert_heard(second, "publish q1 m1 a=x");
}

/* The link is slow, the log is fast. */
static void the_log_does_not_overtake_a_link(void **state)
{
    struct fixture *fixture = *state;
    struct cluster *cluster = fixture->cluster;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "#", 1);
    say_publish(first, 0, 0, "a", "by link");
    say_publish(first, 1, 1, "r", "by log");
    publish_retained(first, 1, 2, "r", "by log"); /* runs all, but first by hand: */
    assert_heard(first, "puback m1 0x00; puback m2 0x00");
    assert_heard(second, "publish q0 a=by link; publish q1 m1 r=by log; publish q1 m2 r=by log");
    (void)cluster;
}

static void a_link_does_not_overtake_the_log(void **state)
{
    struct fixture *fixture = *state;
    struct cluster *cluster = fixture->cluster;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");
    struct peer *kept = enter_kept_at(fixture, 2, "kept");

    subscribe(second, "#", 1);
    subscribe(kept, "log", 1);
    say_publish(first, 1, 1, "log", "one");
    say_publish(first, 1, 2, "link", "two");
    virtual_stream_deliver(first->stream, SIZE_MAX);
    cluster_end_turn(cluster);
    while (cluster_commit(cluster, 0)) {
    }
    while (cluster_apply(cluster, 0)) { /* the second node lags */
    }
    while (cluster_carry(cluster, 0, 1)) {
    }
    assert_heard(second, "");
    run(fixture);
    assert_heard(second, "publish q1 m1 log=one; publish q1 m2 link=two");
    assert_heard(first, "puback m1 0x00; puback m2 0x00");
}

static void a_client_id_is_taken_over_by_another_node(void **state)
{
    struct fixture *fixture = *state;
    struct peer *live = enter_at(fixture, 0, "x"), *again = enter_at(fixture, 1, "x");

    assert_heard(live, "disconnect 0x8e; end");
    assert_heard(again, "");
    struct peer *kept = enter_kept_at(fixture, 2, "x");
    assert_heard(again, "disconnect 0x8e; end");
    struct peer *back = enter_at(fixture, 0, "x");
    assert_heard(kept, "disconnect 0x8e; end");
    assert_heard(back, "");
}

static void an_administrator_disconnects_clients_of_every_node(void **state)
{
    struct fixture *fixture = *state;
    struct broker *broker = fixture->cluster->nodes[0].broker;
    struct peer *live = enter_at(fixture, 1, "live"), *kept = enter_kept_at(fixture, 2, "kept"),
                *other = enter_at(fixture, 1, "other");

    assert_int_equal(broker_kick(broker, bytes_from_string("live"), NULL), -EINPROGRESS);
    assert_int_equal(broker_kick(broker, bytes_from_string("kept"), NULL), 0);
    run(fixture);
    assert_heard(live, "disconnect 0x98; end");
    assert_heard(kept, "disconnect 0x98; end");
    assert_heard(other, "");
}

static void a_persistent_session_goes_on_at_another_node(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept_at(fixture, 0, "kept");
    struct peer *first = enter_at(fixture, 1, "first");

    subscribe(kept, "a", 2);
    publish(first, 2, 1, "a", "one");
    assert_heard(kept, "publish q2 m1 a=one");
    cluster_cut(fixture->cluster, 0, 2); /* no claim comes through: the log says it too */
    fixture->at = 2;
    struct peer *again = peer_new(fixture);
    say_connect(again, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(again, "connack s1 0x00; publish q2 m1 a=one dup");
    assert_heard(kept, "disconnect 0x8e; end");
}

/* Both come in before either node has heard of the other. */
static void of_two_at_once_one_stays(void **state)
{
    struct fixture *fixture = *state;

    cluster_cut(fixture->cluster, 0, 1);
    struct peer *one = enter_at(fixture, 0, "x"), *two = enter_at(fixture, 1, "x");
    run(fixture);
    assert_heard(one, "");
    assert_heard(two, "");
    cluster_heal(fixture->cluster, 0, 1);
    run(fixture);
    g_autofree char *first = heard(one), *second = heard(two);
    assert_int_equal((first[0] == 0) + (second[0] == 0), 1);
}

static unsigned count_heard(struct peer *peer, const char *what)
{
    g_autofree char *line = heard(peer);
    unsigned count = 0;

    for (const char *at = line; (at = strstr(at, what)) != NULL; at++) {
        count++;
    }
    return count;
}

static void a_share_group_over_nodes_gets_each_message_once(void **state)
{
    struct fixture *fixture = *state;
    struct peer *publisher = enter_at(fixture, 0, "publisher");
    struct peer *members[4];
    unsigned total = 0;

    for (unsigned i = 0; i < 4; i++) {
        members[i] = enter_at(fixture, i % 3, (const char *[]){"m0", "m1", "m2", "m3"}[i]);
        subscribe(members[i], "$share/g/a", 1);
    }
    for (uint16_t i = 1; i <= 40; i++) {
        publish(publisher, 1, i, "a", "x");
        for (unsigned j = 0; j < 4; j++) {
            g_autofree char *line = heard(members[j]);
            if (line[0] != 0) {
                total++;
                unsigned id = (unsigned)strtoul(strchr(line, 'm') + 1, NULL, 10);
                ack(members[j], PACKET_PUBACK, (uint16_t)id);
            }
        }
        assert_int_equal(total, i);
    }
    assert_int_equal(count_heard(publisher, "puback"), 40);
}

static void a_durable_message_comes_to_a_share_group_once_too(void **state)
{
    struct fixture *fixture = *state;
    struct peer *publisher = enter_at(fixture, 0, "publisher");
    struct peer *members[3];

    for (unsigned i = 0; i < 3; i++) {
        members[i] = enter_at(fixture, i, (const char *[]){"m0", "m1", "m2"}[i]);
        subscribe(members[i], "$share/g/a", 0);
    }
    for (uint16_t i = 1; i <= 20; i++) {
        unsigned total = 0;
        publish_retained(publisher, 1, i, "a", "x");
        for (unsigned j = 0; j < 3; j++) {
            total += count_heard(members[j], "publish");
        }
        assert_int_equal(total, 1);
    }
    assert_int_equal(count_heard(publisher, "puback"), 20);
}

static void a_slow_subscriber_holds_publishers_of_other_nodes(void **state)
{
    struct fixture *fixture = *state;
    set(fixture, "mqtt.live_queue_messages_max", "4");
    struct peer *publisher = enter_at(fixture, 0, "publisher"),
                *slow = enter_at(fixture, 1, "slow");
    const struct connection *connection =
        broker_find(fixture->cluster->nodes[0].broker, "publisher");

    subscribe(slow, "a", 1);
    set(fixture, "mqtt.in_flight_max", "1");
    for (uint16_t i = 1; i <= 2500 && connection->held_elsewhere == 0; i++) {
        publish(publisher, 1, i, "a", "x");
    }
    assert_int_not_equal(connection->held_elsewhere, 0);
    assert_true(connection->is_paused);
    for (uint16_t i = 1; i <= 2500 && connection->held_elsewhere != 0; i++) {
        ack(slow, PACKET_PUBACK, i);
        g_free(heard(slow));
    }
    assert_int_equal(connection->held_elsewhere, 0);
    assert_false(connection->is_paused);
    cut(slow);
    g_free(heard(publisher));
}

/* Publishes at `first` until the link from its node to the second is full and holds it. */
static void fill_link(struct fixture *fixture, struct peer *first)
{
    const struct connection *connection = connection_of(fixture, "first");

    fixture->cluster->link_bytes_max = 1;
    for (unsigned i = 0; i < 4 && !connection->is_paused; i++) {
        say_publish(first, 0, 0, "a", "burst");
        virtual_stream_deliver(first->stream, SIZE_MAX);
        cluster_end_turn(fixture->cluster);
    }
    assert_true(connection->is_paused);
}

static void a_burst_waits_for_a_full_link(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    fixture->at = 0;
    subscribe(second, "a", 0);
    fill_link(fixture, first);
    say_publish(first, 0, 0, "a", "later");
    fixture->cluster->link_bytes_max = 1024 * 1024;
    run(fixture);
    assert_false(connection_of(fixture, "first")->is_paused);
    assert_int_equal(broker_of(fixture)->counters.publish_dropped, 0);
    assert_heard(second, "publish q0 a=burst; publish q0 a=burst; publish q0 a=burst; "
                         "publish q0 a=later");
}

static void a_link_that_stays_full_drops_qos_0_and_sends_the_rest_later(void **state)
{
    struct fixture *fixture = *state;
    struct cluster *cluster = fixture->cluster;
    struct peer *first = enter_at(fixture, 0, "first"), *other = enter_at(fixture, 0, "other");
    struct peer *second = enter_at(fixture, 1, "second");

    fixture->at = 0;
    subscribe(second, "a", 1);
    fill_link(fixture, first);
    virtual_loop_advance(fixture->loop, REMOTE_HOLD_MS);
    assert_false(connection_of(fixture, "first")->is_paused);
    say_publish(first, 0, 0, "a", "not");
    say_publish(other, 1, 1, "a", "kept");
    virtual_stream_deliver(first->stream, SIZE_MAX);
    virtual_stream_deliver(other->stream, SIZE_MAX);
    assert_int_equal(broker_of(fixture)->counters.publish_dropped, 1);
    cluster->link_bytes_max = 1024 * 1024;
    run(fixture);
    assert_heard(other, "puback m1 0x00");
    g_autofree char *line = heard(second);
    assert_null(strstr(line, "=not"));
    assert_true(g_str_has_suffix(line, "a=kept"));
    say_publish(first, 0, 0, "a", "again");
    run(fixture);
    assert_heard(second, "publish q0 a=again");
}

/* One run to each node, in which a publisher's messages keep their order, whatever stands between.
 */
static void what_came_with_qos_0_goes_as_it_came(void **state)
{
    struct fixture *fixture = *state;
    struct peer *old = enter_as(fixture, &(struct entering){.client_id = "old", .version = 4});
    struct peer *new = enter_at(fixture, 0, "new"), *second = enter_at(fixture, 1, "second");
    struct peer *third = enter_as(fixture, &(struct entering){.client_id = "third", .version = 4});

    subscribe(second, "+", 1);
    subscribe(third, "#", 0);
    say_publish(old, 0, 0, "a", "1");
    say_publish(old, 0, 0, "b", "2");
    say_publish(old, 1, 1, "a", "3");
    say_publish(old, 0, 0, "a", "4");
    run(fixture);
    assert_heard(second, "publish q0 a=1; publish q0 b=2; publish q1 m1 a=3; publish q0 a=4");
    assert_heard(third, "publish q0 a=1; publish q0 b=2; publish q0 a=3; publish q0 a=4");
    say_publish(new, 0, 0, "a", "5");
    say_publish(old, 0, 0, "a", "6");
    run(fixture);
    assert_int_equal(count_heard(second, "publish q0 a="), 2);
    assert_int_equal(count_heard(third, "publish q0 a="), 2);
    g_free(heard(old));
}

static void a_node_that_starts_anew_wants_nothing_of_before(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 1);
    cluster_cut(fixture->cluster, 0, 1);
    run(fixture);
    publish(first, 1, 1, "a", "nobody gets it");
    cut(second);
    cluster_crash(fixture->cluster, 1);
    cluster_heal(fixture->cluster, 0, 1);
    run(fixture);
    second = enter_at(fixture, 1, "second");
    subscribe(second, "a", 1);
    publish(first, 1, 2, "a", "new");
    assert_heard(second, "publish q1 m1 a=new");
    const struct remote *remote = fixture->cluster->nodes[0].broker->remote;
    assert_int_equal(g_queue_get_length((GQueue *)&remote_find(remote, 2)->kept), 0);
}

/* What the log has of a session that went elsewhere must not come behind what it says there. */
static void a_late_publish_of_the_node_before_is_not_applied(void **state)
{
    struct fixture *fixture = *state;
    struct cluster *cluster = fixture->cluster;
    struct peer *monitor = enter_kept_at(fixture, 1, "monitor");
    struct peer *before = enter_kept_at(fixture, 0, "moving");

    subscribe(monitor, "a", 2);
    cluster->nodes[0].is_cut_off = true;
    publish(before, 2, 7, "a", "once");
    assert_heard(before, "");
    fixture->at = 2;
    struct peer *after = peer_new(fixture);
    say_connect(after, &(struct entering){.client_id = "moving", .keeps = true});
    assert_heard(after, "");
    pass(fixture, REMOTE_SYNC_MS); /* nobody is waited for longer */
    assert_heard(after, "connack s1 0x00");
    publish(after, 2, 7, "a", "once");
    assert_heard(after, "pubrec m7 0x00");
    ack(after, PACKET_PUBREL, 7);
    assert_heard(after, "pubcomp m7 0x00");
    cluster->nodes[0].is_cut_off = false;
    run(fixture);
    assert_heard(monitor, "publish q2 m1 a=once");
    assert_heard(before, "disconnect 0x8e; end");
}

static void without_a_quorum_a_publisher_is_told_so(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *kept = enter_kept_at(fixture, 0, "kept");
    struct peer *old =
        enter_as(fixture, &(struct entering){.client_id = "old", .version = PACKET_MQTT_3_1_1});

    fixture->cluster->nodes[0].is_cut_off = true;
    publish_retained(first, 1, 1, "a", "x");
    publish_retained(old, 1, 1, "a", "z");
    publish(kept, 2, 1, "a", "y");
    assert_heard(first, "");
    cluster_fail(fixture->cluster, 0, -ETIMEDOUT);
    assert_heard(first, "puback m1 0x97");
    assert_heard(kept, "disconnect 0x97; end");
    assert_heard(old, ""); /* MQTT 3.1.1 cannot say no: it sends it again when it is back */
    fixture->cluster->nodes[0].is_cut_off = false;
}

static void clients_go_on_after_a_snapshot_was_installed(void **state)
{
    struct fixture *fixture = *state;
    struct cluster *cluster = fixture->cluster;
    struct peer *kept = enter_kept_at(fixture, 0, "kept"),
                *moving = enter_kept_at(fixture, 0, "moving");

    subscribe(kept, "a", 1);
    cluster->nodes[0].is_cut_off = true;
    cluster_cut(cluster, 0, 1);
    cluster_cut(cluster, 0, 2);
    run(fixture);
    struct peer *publisher = enter_at(fixture, 1, "publisher"),
                *moved = enter_kept_at(fixture, 1, "moving");
    publish(publisher, 1, 1, "a", "while away");
    cluster_install(cluster, 0, 1);
    cluster->nodes[0].is_cut_off = false;
    run(fixture);
    assert_heard(kept, "publish q1 m1 a=while away");
    ack(kept, PACKET_PUBACK, 1);
    publish(publisher, 1, 2, "a", "after");
    assert_heard(kept, "publish q1 m2 a=after");
    assert_heard(moving, "disconnect 0x98; end");
    assert_heard(moved, "");
}

/* The leader holds it for dead: its clients come anew when it is back, if they are there. */
static void a_node_held_for_dead_lets_its_persistent_clients_go(void **state)
{
    struct fixture *fixture = *state;
    struct cluster *cluster = fixture->cluster;
    struct peer *monitor = enter_at(fixture, 1, "monitor"),
                *kept = enter_kept_at(fixture, 0, "kept");
    struct peer *live = enter_at(fixture, 0, "live");
    fixture->at = 0;
    struct peer *willing = enter_as(
        fixture,
        &(struct entering){.client_id = "willing", .will_topic = "w", .will_payload = "gone"});

    subscribe(monitor, "w", 0);
    cluster->nodes[0].is_cut_off = true;
    cluster_cut(cluster, 0, 1);
    cluster_cut(cluster, 0, 2);
    run(fixture);
    assert_int_equal(state_propose_node_down(cluster->nodes[1].state, 1, NULL), 0);
    run(fixture);
    assert_heard(monitor, "publish q0 w=gone");
    assert_heard(kept, "");
    cluster->nodes[0].is_cut_off = false;
    cluster_heal(cluster, 0, 1);
    cluster_heal(cluster, 0, 2);
    run(fixture);
    assert_heard(kept, "disconnect 0x89; end");
    assert_heard(willing, "disconnect 0x89; end");
    assert_heard(live, "");
    struct peer *back = peer_new(fixture);
    say_connect(back, &(struct entering){.client_id = "kept", .keeps = true});
    assert_heard(back, "connack s1 0x00");
}

/* It may still be applied: then it is closed again, and no will goes out. */
static void a_session_that_was_not_opened_in_time_does_not_stay_open(void **state)
{
    struct fixture *fixture = *state;
    struct cluster *cluster = fixture->cluster;
    struct peer *monitor = enter_at(fixture, 1, "monitor");

    subscribe(monitor, "w", 0);
    cluster->nodes[0].is_cut_off = true;
    fixture->at = 0;
    struct peer *peer = peer_new(fixture);
    say_connect(peer,
                &(struct entering){
                    .client_id = "c", .keeps = true, .will_topic = "w", .will_payload = "no"});
    cluster_fail(cluster, 0, -ETIMEDOUT);
    assert_heard(peer, "connack s0 0x88; end");
    cluster->nodes[0].is_cut_off = false;
    run(fixture);
    const struct session *session =
        session_store_find(state_sessions(cluster->nodes[2].state), bytes_from_string("c"));
    assert_non_null(session);
    assert_int_equal(session->connection_number, 0);
    assert_int_not_equal(session->expires_unix_ms, 0);
    assert_heard(monitor, "");
}

/* What waits at a node that is cut off was said before what the client was told elsewhere. */
static void a_connect_that_waited_ends_no_session_that_was_opened_elsewhere_since(void **state)
{
    struct fixture *fixture = *state;
    struct cluster *cluster = fixture->cluster;

    cluster_cut(cluster, 0, 1);
    cluster_cut(cluster, 0, 2);
    cluster->nodes[0].is_cut_off = true;
    fixture->at = 0;
    struct peer *first = peer_new(fixture);
    say_connect(first, &(struct entering){.client_id = "c", .properties = "11 00000e10"});
    assert_heard(first, "");
    struct peer *second = enter_kept_at(fixture, 1, "c");
    subscribe(second, "a", 1);
    cluster->nodes[0].is_cut_off = false;
    run(fixture);
    assert_heard(first, "connack s0 0x88; end");
    assert_heard(second, "");
    struct peer *publisher = enter_at(fixture, 2, "p");
    publish(publisher, 1, 1, "a", "one");
    assert_heard(second, "publish q1 m1 a=one");
    cluster_heal(cluster, 0, 1);
    cluster_heal(cluster, 0, 2);
    run(fixture);
    assert_heard(second, "");
}

/* The log is late here, but the claim was heard: the client was there before it came here. */
static void a_client_comes_from_another_node_before_the_log_does(void **state)
{
    struct fixture *fixture = *state;
    struct cluster *cluster = fixture->cluster;

    cluster->nodes[0].is_cut_off = true;
    struct peer *there = enter_kept_at(fixture, 1, "c");
    fixture->at = 0;
    struct peer *here = peer_new(fixture);
    say_connect(here, &(struct entering){.client_id = "c", .keeps = true});
    assert_heard(there, "disconnect 0x8e; end");
    assert_heard(here, "");
    cluster->nodes[0].is_cut_off = false;
    run(fixture);
    assert_heard(here, "connack s1 0x00");
}

static void a_slow_persistent_subscriber_holds_publishers_of_other_nodes(void **state)
{
    struct fixture *fixture = *state;
    set(fixture, "mqtt.live_queue_messages_max", "4");
    struct peer *publisher = enter_at(fixture, 0, "publisher"),
                *slow = enter_kept_at(fixture, 1, "slow");
    const struct connection *connection =
        broker_find(fixture->cluster->nodes[0].broker, "publisher");

    subscribe(slow, "a", 1);
    for (uint16_t i = 1; i <= 2500 && connection->held_elsewhere == 0; i++) {
        publish(publisher, 1, i, "a", "x");
    }
    assert_int_not_equal(connection->held_elsewhere, 0);
    cut(slow);
    assert_int_equal(connection->held_elsewhere, 0);
    g_free(heard(publisher));
}

static void holding_ends_with_the_link(void **state)
{
    struct fixture *fixture = *state;
    set(fixture, "mqtt.live_queue_messages_max", "4");
    struct peer *publisher = enter_at(fixture, 0, "publisher"),
                *slow = enter_at(fixture, 1, "slow");
    const struct connection *connection =
        broker_find(fixture->cluster->nodes[0].broker, "publisher");

    subscribe(slow, "a", 1);
    for (uint16_t i = 1; i <= 2500 && connection->held_elsewhere == 0; i++) {
        publish(publisher, 1, i, "a", "x");
    }
    assert_true(connection->is_paused);
    cluster_cut(fixture->cluster, 0, 1);
    run(fixture);
    assert_int_equal(connection->held_elsewhere, 0);
    assert_false(connection->is_paused);
    g_free(heard(publisher));
}

static void no_more_is_kept_for_a_lost_node_than_fits(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");
    struct remote *remote = fixture->cluster->nodes[0].broker->remote;
    g_autofree char *payload = g_strnfill(1000000, 'x');

    subscribe(second, "a", 1);
    cluster_cut(fixture->cluster, 0, 1);
    run(fixture);
    struct remote_peer *peer = remote_find(remote, 2);
    for (uint16_t i = 1; i <= 68; i++) {
        publish(first, 1, i, "a", payload);
        assert_in_range(peer->kept_bytes, 0, REMOTE_KEPT_BYTES_MAX);
    }
    assert_int_equal(count_heard(first, "puback"), 68);
    assert_true(fixture->cluster->nodes[0].broker->counters.publish_dropped > 60);
    assert_false(remote_is_wanted(remote, bytes_from_string("a")));
    cluster_heal(fixture->cluster, 0, 1); /* it tells anew what it wants */
    run(fixture);
    publish(first, 1, 69, "a", "again");
    assert_heard(second, "publish q1 m1 a=again");
}

static void a_node_that_is_forgotten_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct broker *broker = fixture->cluster->nodes[0].broker;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 1);
    cluster_cut(fixture->cluster, 0, 1);
    run(fixture);
    publish(first, 1, 1, "a", "kept");
    broker_peer_forget(broker, 2);
    broker_peer_forget(broker, 2);
    assert_null(remote_find(broker->remote, 2));
    assert_false(remote_is_wanted(broker->remote, bytes_from_string("a")));
    g_free(heard(first));
    publish(first, 1, 2, "a", "x");
    assert_heard(first, "puback m2 0x10");
}

static void what_is_no_frame_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct broker *broker = fixture->cluster->nodes[0].broker;
    g_autoptr(GByteArray) frame = g_byte_array_new();

    assert_int_equal(broker_peer_frame(broker, 2, (struct bytes){(const uint8_t *)"\1\5", 2}),
                     -EBADMSG);
    assert_int_equal(broker_peer_frame(broker, 2, (struct bytes){(const uint8_t *)"\2", 1}),
                     -ENOTSUP);
    assert_int_equal(broker_peer_frame(broker, 77, (struct bytes){(const uint8_t *)"\2", 1}), 0);
    broker_peer_down(broker, 2); /* nothing comes before HELLO */
    broker_peer_up(broker, 2);
    remote_put_number(frame, REMOTE_ACK, 1);
    assert_int_equal(broker_peer_frame(broker, 2, (struct bytes){frame->data, frame->len}),
                     -EBADMSG);
    cluster_cut(fixture->cluster, 0, 1);
    cluster_heal(fixture->cluster, 0, 1);
}

static void a_will_comes_to_a_share_group_over_nodes_once(void **state)
{
    struct fixture *fixture = *state;
    struct peer *members[3];
    unsigned total = 0;

    for (unsigned i = 0; i < 3; i++) {
        members[i] = enter_at(fixture, i, (const char *[]){"m0", "m1", "m2"}[i]);
        subscribe(members[i], "$share/g/w", 0);
    }
    struct peer *willing = enter_as(
        fixture,
        &(struct entering){.client_id = "willing", .will_topic = "w", .will_payload = "gone"});
    cut(willing);
    for (unsigned i = 0; i < 3; i++) {
        total += count_heard(members[i], "publish");
    }
    assert_int_equal(total, 1);
}

/* Offline persistent members are the last choice; QoS 0 finds the one that is connected. */
static void a_share_group_of_persistent_members_is_served_where_they_are(void **state)
{
    struct fixture *fixture = *state;
    struct peer *publisher = enter_at(fixture, 0, "publisher");
    struct peer *there = enter_kept_at(fixture, 1, "there"),
                *away = enter_kept_at(fixture, 2, "away");

    subscribe(there, "$share/g/a", 1);
    subscribe(away, "$share/g/a", 1);
    cut(away);
    for (uint16_t i = 1; i <= 5; i++) {
        publish(publisher, 0, 0, "a", "zero");
        assert_heard(there, "publish q0 a=zero");
        publish(publisher, 1, i, "a", "one");
        assert_int_equal(count_heard(there, "publish q1"), 1);
        ack(there, PACKET_PUBACK, i);
    }
    assert_int_equal(count_heard(publisher, "puback"), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLUSTER_TEST(a_message_reaches_the_live_subscribers_of_every_node),
        CLUSTER_TEST(nobody_anywhere_is_told_to_the_publisher),
        CLUSTER_TEST(what_is_durable_does_not_cross_a_link),
        CLUSTER_TEST(a_cut_link_loses_nothing_with_qos_and_repeats_nothing),
        CLUSTER_TEST(a_publisher_is_acknowledged_when_the_others_have_it),
        CLUSTER_TEST(the_log_does_not_overtake_a_link),
        CLUSTER_TEST(a_link_does_not_overtake_the_log),
        CLUSTER_TEST(a_client_id_is_taken_over_by_another_node),
        CLUSTER_TEST(an_administrator_disconnects_clients_of_every_node),
        CLUSTER_TEST(a_persistent_session_goes_on_at_another_node),
        CLUSTER_TEST(of_two_at_once_one_stays),
        CLUSTER_TEST(a_share_group_over_nodes_gets_each_message_once),
        CLUSTER_TEST(a_durable_message_comes_to_a_share_group_once_too),
        CLUSTER_TEST(a_slow_subscriber_holds_publishers_of_other_nodes),
        CLUSTER_TEST(a_link_that_stays_full_drops_qos_0_and_sends_the_rest_later),
        CLUSTER_TEST(a_burst_waits_for_a_full_link),
        CLUSTER_TEST(what_came_with_qos_0_goes_as_it_came),
        CLUSTER_TEST(a_node_that_starts_anew_wants_nothing_of_before),
        CLUSTER_TEST(a_late_publish_of_the_node_before_is_not_applied),
        CLUSTER_TEST(without_a_quorum_a_publisher_is_told_so),
        CLUSTER_TEST(clients_go_on_after_a_snapshot_was_installed),
        CLUSTER_TEST(a_node_held_for_dead_lets_its_persistent_clients_go),
        CLUSTER_TEST(a_session_that_was_not_opened_in_time_does_not_stay_open),
        CLUSTER_TEST(a_connect_that_waited_ends_no_session_that_was_opened_elsewhere_since),
        CLUSTER_TEST(a_client_comes_from_another_node_before_the_log_does),
        CLUSTER_TEST(a_slow_persistent_subscriber_holds_publishers_of_other_nodes),
        CLUSTER_TEST(holding_ends_with_the_link),
        CLUSTER_TEST(no_more_is_kept_for_a_lost_node_than_fits),
        CLUSTER_TEST(a_node_that_is_forgotten_leaves_nothing),
        CLUSTER_TEST(what_is_no_frame_is_refused),
        CLUSTER_TEST(a_will_comes_to_a_share_group_over_nodes_once),
        CLUSTER_TEST(a_share_group_of_persistent_members_is_served_where_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
