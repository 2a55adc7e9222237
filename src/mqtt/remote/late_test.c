/* Three nodes, the second of which is frozen: who waits for it, how long, and what is lost. */
#include "mqtt/fixture.h"
#include "mqtt/remote/remote_private.h"
#include "packet/packet.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define FROZEN_MS (4 * REMOTE_LATE_STEP_MS)

static struct peer *enter_at(struct fixture *fixture, unsigned node, const char *client_id)
{
    fixture->at = node;
    return enter(fixture, client_id);
}

static void freeze(struct fixture *fixture, bool is_frozen)
{
    fixture->cluster->nodes[1].is_frozen = is_frozen;
    run(fixture);
}

/* Millisecond by millisecond, so that those that are not frozen answer meanwhile. */
static void wait(struct fixture *fixture, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        pass(fixture, 1);
    }
}

static void set_round_trip(struct fixture *fixture, uint32_t round_trip_us)
{
    fixture->cluster->links[0][1].round_trip_us = round_trip_us;
}

static void a_publisher_waits_a_moment_for_a_frozen_node(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 2);
    freeze(fixture, true);
    publish(first, 1, 1, "a", "one");
    wait(fixture, FROZEN_MS - 1);
    assert_heard(first, "");
    wait(fixture, 1);
    assert_heard(first, "puback m1 0x00");
    publish(first, 2, 2, "a", "two");
    assert_heard(first, ""); /* nobody knows yet that its kernel has it */
    wait(fixture, FROZEN_MS / 2);
    assert_heard(first, "pubrec m2 0x00");
    ack(first, PACKET_PUBREL, 2);
    assert_heard(first, "pubcomp m2 0x00");
    assert_heard(second, "");
    freeze(fixture, false);
    assert_heard(second, "publish q1 m1 a=one; publish q2 m2 a=two");
    freeze(fixture, true); /* it had answered: it is waited for as before */
    publish(first, 1, 3, "a", "three");
    wait(fixture, FROZEN_MS - 1);
    assert_heard(first, "");
    wait(fixture, 1);
    assert_heard(first, "puback m3 0x00");
}

static void a_node_that_is_far_away_has_eight_round_trips(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 1);
    set_round_trip(fixture, 200000);
    freeze(fixture, true);
    publish(first, 1, 1, "a", "x");
    wait(fixture, 1599);
    assert_heard(first, "");
    wait(fixture, 1);
    assert_heard(first, "puback m1 0x00");
}

static void a_node_of_which_nothing_is_known_has_a_second(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 1);
    set_round_trip(fixture, 0);
    freeze(fixture, true);
    publish(first, 1, 1, "a", "x");
    wait(fixture, REMOTE_SYNC_MS - 1);
    assert_heard(first, "");
    wait(fixture, 1);
    assert_heard(first, "puback m1 0x00");
}

/* The frozen node's link is given up in the end; it comes back as it was. */
static void what_was_acknowledged_without_a_node_comes_after_a_cut(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 1);
    freeze(fixture, true);
    publish(first, 1, 1, "a", "x");
    wait(fixture, FROZEN_MS);
    assert_heard(first, "puback m1 0x00");
    cluster_cut(fixture->cluster, 0, 1);
    freeze(fixture, false);
    cluster_heal(fixture->cluster, 0, 1);
    run(fixture);
    assert_heard(second, "publish q1 m1 a=x");
}

static void the_log_does_not_overtake_what_a_frozen_node_has_not_read(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "#", 1);
    freeze(fixture, true);
    publish(first, 1, 1, "live", "one");
    publish_retained(first, 1, 2, "kept", "two");
    wait(fixture, FROZEN_MS);
    assert_heard(first, "puback m1 0x00");
    wait(fixture, REMOTE_SYNC_MS);
    assert_heard(first, "");
    freeze(fixture, false);
    assert_heard(first, "puback m2 0x00");
    assert_heard(second, "publish q1 m1 live=one; publish q1 m2 kept=two");
}

static void no_more_is_acknowledged_than_the_link_takes(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");
    const struct remote_peer *peer;
    g_autofree char *payload = g_strnfill(100000, 'x');
    uint16_t count = 0;

    subscribe(second, "a", 1);
    peer = remote_find(fixture->cluster->nodes[0].broker->remote, 2);
    freeze(fixture, true);
    publish(first, 1, ++count, "a", payload);
    wait(fixture, FROZEN_MS);
    while (!peer->is_blocked) {
        g_autofree char *expected = g_strdup_printf("puback m%u 0x00", count);
        assert_heard(first, expected);
        publish(first, 1, ++count, "a", payload);
        wait(fixture, FROZEN_MS / 2);
        assert_in_range(count, 1, 100);
    }
    assert_heard(first, "");
    freeze(fixture, false);
    g_autofree char *last = g_strdup_printf("puback m%u 0x00", count);
    assert_heard(first, last);
}

/* If this node died now, nobody would have it. */
static void what_has_not_come_to_a_box_is_not_acknowledged(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 1);
    fixture->cluster->nodes[1].is_off = true;
    freeze(fixture, true);
    publish(first, 1, 1, "a", "x");
    wait(fixture, REMOTE_SYNC_MS);
    assert_heard(first, "");
    fixture->cluster->nodes[1].is_off = false;
    wait(fixture, FROZEN_MS / 2);
    assert_heard(first, "puback m1 0x00");
    fixture->cluster->nodes[1].is_off = true;
    publish(first, 1, 2, "a", "y");
    wait(fixture, REMOTE_SYNC_MS);
    assert_heard(first, "");
}

/* It runs, and waits for the log before it delivers: it would forget with this node. */
static void what_a_node_has_that_is_only_behind_is_not_acknowledged(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 1);
    fixture->cluster->nodes[1].is_cut_off = true;
    publish_retained(first, 1, 1, "r", "it has not applied this");
    assert_heard(first, "puback m1 0x10");
    publish(first, 1, 2, "a", "x");
    wait(fixture, REMOTE_SYNC_MS);
    assert_heard(first, "");
    fixture->cluster->nodes[1].is_cut_off = false;
    run(fixture);
    assert_heard(second, "publish q1 m1 a=x");
    assert_heard(first, "puback m2 0x00");
}

/* It was acknowledged while its subscriber's node was frozen, and is read before that has applied
 * what is in the log before it. */
static void what_has_come_is_delivered_though_its_node_begins_anew(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 1);
    fixture->cluster->nodes[1].is_cut_off = true;
    publish_retained(first, 1, 1, "r", "the second node has not applied this");
    freeze(fixture, true);
    g_free(heard(first));
    publish(first, 1, 2, "a", "x");
    wait(fixture, FROZEN_MS);
    assert_heard(first, "puback m2 0x00");
    freeze(fixture, false);
    assert_heard(second, "");
    cluster_crash(fixture->cluster, 0);
    run(fixture);
    assert_heard(second, "");
    fixture->cluster->nodes[1].is_cut_off = false;
    run(fixture);
    assert_heard(second, "publish q1 m1 a=x");
    first = enter_at(fixture, 0, "first");
    publish(first, 1, 1, "a", "y");
    assert_heard(second, "publish q1 m2 a=y");
    assert_heard(first, "puback m1 0x00");
}

static void who_comes_or_subscribes_does_not_wait_long_for_a_frozen_node(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    freeze(fixture, true);
    fixture->at = 0;
    struct peer *third = peer_new(fixture);
    say(first, 0x82, "0001 00 0001'a' 01");
    say_connect(third, &(struct entering){.client_id = "third"});
    wait(fixture, FROZEN_MS - 1);
    assert_heard(first, "");
    assert_heard(third, "");
    wait(fixture, 1);
    assert_heard(first, "suback m1 01");
    assert_heard(third, "connack s0 0x00");
    say(first, 0x82, "0002 00 0001'b' 01"); /* it is known now */
    assert_heard(first, "suback m2 01");
    freeze(fixture, false);
    publish(second, 1, 1, "a", "x");
    assert_heard(first, "publish q1 m1 a=x");
    freeze(fixture, true);
    say(first, 0x82, "0003 00 0001'c' 01");
    assert_heard(first, "");
    wait(fixture, FROZEN_MS);
    assert_heard(first, "suback m3 01");
}

static void a_subscription_of_the_log_waits_for_a_frozen_node(void **state)
{
    struct fixture *fixture = *state;

    fixture->at = 0;
    struct peer *kept = enter_kept(fixture, "kept");
    freeze(fixture, true);
    say(kept, 0x82, "0001 00 0001'a' 01");
    wait(fixture, REMOTE_SYNC_MS - 1);
    assert_heard(kept, "");
    wait(fixture, 1);
    assert_heard(kept, "suback m1 01");
}

/* Its disk is slow, or the log's news are late. */
static void a_node_that_is_only_behind_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    struct cluster *cluster = fixture->cluster;
    struct peer *first = enter_at(fixture, 0, "first");

    cluster->nodes[1].is_cut_off = true;
    publish_retained(first, 1, 1, "r", "it has not applied this");
    assert_heard(first, "puback m1 0x10");
    say(first, 0x82, "0001 00 0001'a' 01");
    wait(fixture, REMOTE_SYNC_MS / 2);
    assert_heard(first, "");
    cluster->nodes[1].is_cut_off = false;
    run(fixture);
    assert_heard(first, "suback m1 01");
}

static void who_hears_of_nobody_waits(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first");

    fixture->cluster->nodes[2].is_frozen = true;
    freeze(fixture, true);
    say(first, 0x82, "0001 00 0001'a' 01");
    wait(fixture, REMOTE_SYNC_MS - 1);
    assert_heard(first, "");
    wait(fixture, 1);
    assert_heard(first, "suback m1 01");
}

/* The third asks the first, which waits for the second. */
static void nobody_waits_for_those_who_wait_for_a_frozen_node(void **state)
{
    struct fixture *fixture = *state;
    struct peer *first = enter_at(fixture, 0, "first"), *second = enter_at(fixture, 1, "second");

    subscribe(second, "a", 0);
    freeze(fixture, true);
    publish(first, 0, 0, "a", "x");
    fixture->at = 2;
    struct peer *third = peer_new(fixture);
    say_connect(third, &(struct entering){.client_id = "third"});
    wait(fixture, FROZEN_MS);
    assert_heard(third, "connack s0 0x00");
}

/* All states are compared in the end. */
static int thaw_and_tear_down(void **state)
{
    struct fixture *fixture = *state;

    fixture->cluster->nodes[2].is_frozen = fixture->cluster->nodes[1].is_cut_off = false;
    fixture->cluster->nodes[1].is_off = false;
    freeze(fixture, false);
    return fixture_teardown(state);
}

#define LATE_TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, thaw_and_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LATE_TEST(a_publisher_waits_a_moment_for_a_frozen_node),
        LATE_TEST(a_node_that_is_far_away_has_eight_round_trips),
        LATE_TEST(a_node_of_which_nothing_is_known_has_a_second),
        LATE_TEST(what_was_acknowledged_without_a_node_comes_after_a_cut),
        LATE_TEST(the_log_does_not_overtake_what_a_frozen_node_has_not_read),
        LATE_TEST(no_more_is_acknowledged_than_the_link_takes),
        LATE_TEST(what_has_not_come_to_a_box_is_not_acknowledged),
        LATE_TEST(what_a_node_has_that_is_only_behind_is_not_acknowledged),
        LATE_TEST(what_has_come_is_delivered_though_its_node_begins_anew),
        LATE_TEST(who_comes_or_subscribes_does_not_wait_long_for_a_frozen_node),
        LATE_TEST(a_subscription_of_the_log_waits_for_a_frozen_node),
        LATE_TEST(a_node_that_is_only_behind_is_waited_for),
        LATE_TEST(who_hears_of_nobody_waits),
        LATE_TEST(nobody_waits_for_those_who_wait_for_a_frozen_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
