/* Where a publication goes: every subscriber, one of each share group, in whichever store it is. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include "net/stream.h"

static unsigned count_of(const char *line, const char *what)
{
    unsigned count = 0;

    for (const char *at = line; (at = strstr(at, what)); at++) {
        count++;
    }
    return count;
}

static void overlapping_subscriptions_are_one_delivery(void **state)
{
    struct fixture *fixture = *state;
    struct peer *live = enter(fixture, "live"), *kept = enter_kept(fixture, "kept");
    struct peer *both[] = {live, kept};

    for (unsigned i = 0; i < 2; i++) {
        say(both[i], 0x82, "0001 02 0b01 0003'a/+' 00");
        say(both[i], 0x82, "0002 02 0b02 0003'+/b' 02");
        say(both[i], 0x82, "0003 00 0001'#' 01");
        assert_heard(both[i], "suback m1 00; suback m2 02; suback m3 01");
    }
    publish(enter(fixture, "c"), 2, 1, "a/b", "x");
    assert_heard(live, "publish q2 m1 a/b=x id=1 id=2");
    assert_heard(kept, "publish q2 m1 a/b=x id=1 id=2");
}

static void no_local_keeps_from_oneself_only_what_it_says(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peers[] = {enter(fixture, "live"), enter_kept(fixture, "kept")};

    for (unsigned i = 0; i < 2; i++) {
        struct peer *peer = peers[i];
        say(peer, 0x82, "0001 00 0001'a' 04"); /* no local */
        say(peer, 0x82, "0002 00 0001'b' 05 0001'+' 00");
        assert_heard(peer, "suback m1 00; suback m2 01,00");
        publish(peer, 1, 1, "a", "own"); /* by way of + */
        assert_heard(peer, "publish q0 a=own; puback m1 0x00");
        say(peer, 0xa2, "0003 00 0001'+'");
        publish(peer, 1, 2, "b", "own");
        assert_heard(peer, "unsuback m3 00; puback m2 0x10");
        publish(peer, 1, 2, "a", "own");
        assert_heard(peer, "puback m2 0x10");
        publish(peers[!i], 0, 0, "a", "of another");
        assert_heard(peer, "publish q0 a=of another");
        say(peer, 0xa2, "0003 00 0001'a' 0001'b'");
        assert_heard(peer, "unsuback m3 00,00");
    }
}

static void one_of_a_group_gets_it_wherever_it_is_kept(void **state)
{
    struct fixture *fixture = *state;
    struct peer *live = enter(fixture, "live"), *kept = enter_kept(fixture, "kept");
    struct peer *publisher = enter(fixture, "publisher");

    subscribe(live, "$share/g/a", 1);
    subscribe(kept, "$share/g/a", 1);
    for (uint16_t id = 1; id <= 60; id++) {
        publish(publisher, 1, id, "a", "x");
    }
    g_autofree char *to_live = heard(live), *to_kept = heard(kept), *acks = heard(publisher);
    assert_int_equal(count_of(to_live, "publish") + count_of(to_kept, "publish"), 60);
    assert_true(count_of(to_live, "publish") >= 10);
    assert_true(count_of(to_kept, "publish") >= 10);
    assert_int_equal(count_of(acks, "0x00"), 60);
}

static void a_message_reaches_however_many_groups_there_are(void **state)
{
    struct fixture *fixture = *state;
    struct peer *live = enter(fixture, "live"), *kept = enter_kept(fixture, "kept");
    struct peer *publisher = enter(fixture, "publisher");

    for (unsigned i = 0; i < 100; i++) {
        g_autofree char *filter = g_strdup_printf("$share/g%u/a", i);
        subscribe(i % 2 ? live : kept, filter, 1);
    }
    publish(publisher, 1, 1, "a", "x");
    g_autofree char *to_live = heard(live), *to_kept = heard(kept);
    assert_int_equal(count_of(to_live, "publish"), 50);
    assert_int_equal(count_of(to_kept, "publish"), 50);
}

static void connected_members_of_a_group_come_first(void **state)
{
    struct fixture *fixture = *state;
    struct peer *away = enter_kept(fixture, "away"), *here = enter(fixture, "here");
    struct peer *publisher = enter(fixture, "publisher");

    subscribe(away, "$share/g/a", 1);
    subscribe(here, "$share/g/a", 1);
    cut(away);
    for (uint16_t id = 1; id <= 8; id++) {
        publish(publisher, 1, id, "a", "x");
    }
    g_autofree char *to_here = heard(here);
    assert_int_equal(count_of(to_here, "publish"), 8);
    cut(here);
    publish(publisher, 1, 9, "a", "for later");
    publish(publisher, 0, 0, "a", "lost");
    enter_kept(fixture, "away");
    assert_int_equal(session_store_queued(broker_of(fixture)->persistent), 1);
}

static void a_committed_publish_reaches_groups_of_connected_clients_too(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *live = enter(fixture, "live");
    struct peer *other = enter_kept(fixture, "other");

    subscribe(kept, "a", 1); /* it goes through the log because of this one */
    say(live, 0x82, "0001 02 0b07 000a'$share/g/a' 01");
    subscribe(other, "$share/h/a", 1);
    assert_heard(live, "suback m1 01");
    publish(enter(fixture, "publisher"), 1, 1, "a", "x");
    assert_heard(kept, "publish q1 m1 a=x");
    assert_heard(live, "publish q1 m1 a=x id=7");
    assert_heard(other, "publish q1 m1 a=x");
}

static void a_qos_0_member_that_is_kept_gets_it_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept");

    subscribe(kept, "$share/g/a", 0);
    fixture->node.refusals = UINT64_MAX;
    struct peer *publisher = enter(fixture, "publisher");
    publish(publisher, 1, 1, "a", "x");
    assert_heard(publisher, "puback m1 0x00");
    assert_heard(kept, "publish q0 a=x");
}

static void a_stuck_member_is_passed_over(void **state)
{
    struct fixture *fixture = *state;
    struct peer *stuck = enter(fixture, "stuck"), *quick = enter(fixture, "quick");
    struct peer *publisher = enter(fixture, "publisher");
    g_autofree char *large = g_strnfill(STREAM_HIGH_WATER_BYTES, 'x');

    subscribe(stuck, "large", 0);
    subscribe(stuck, "$share/g/a", 0);
    subscribe(quick, "$share/g/a", 0);
    stuck->is_deaf = true;
    publish(publisher, 0, 0, "large", large);
    publish(publisher, 0, 0, "large", "x"); /* now it is seen that it does not read */
    cut(publisher);
    publisher = enter(fixture, "another");
    for (unsigned i = 0; i < 20; i++) {
        publish(publisher, 0, 0, "a", "x");
    }
    g_autofree char *to_quick = heard(quick);
    assert_int_equal(count_of(to_quick, "publish"), 20);
}

static void what_a_rule_forbids_does_not_come(void **state)
{
    struct fixture *fixture = *state;
    struct peer *live = enter(fixture, "live"), *kept = enter_kept(fixture, "kept");
    struct peer *publisher = enter(fixture, "publisher");

    subscribe(live, "#", 1);
    subscribe(kept, "#", 1);
    add_rule(fixture, "*", "readwrite", "#", true);
    add_rule(fixture, "*", "read", "secret", false);
    publish(publisher, 0, 0, "secret", "0");
    publish(publisher, 1, 1, "secret", "1");
    publish(publisher, 2, 2, "secret", "2");
    publish(publisher, 1, 3, "open", "3");
    assert_heard(live, "publish q1 m1 open=3");
    g_autofree char *to_kept = heard(kept);
    assert_int_equal(count_of(to_kept, "secret"), 0);
    assert_int_equal(count_of(to_kept, "open=3"), 1);
    run(fixture);
    assert_int_equal(session_store_queued(broker_of(fixture)->persistent), 1); /* open */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(overlapping_subscriptions_are_one_delivery),
        FIXTURE_TEST(no_local_keeps_from_oneself_only_what_it_says),
        FIXTURE_TEST(one_of_a_group_gets_it_wherever_it_is_kept),
        FIXTURE_TEST(a_message_reaches_however_many_groups_there_are),
        FIXTURE_TEST(connected_members_of_a_group_come_first),
        FIXTURE_TEST(a_committed_publish_reaches_groups_of_connected_clients_too),
        FIXTURE_TEST(a_qos_0_member_that_is_kept_gets_it_at_once),
        FIXTURE_TEST(a_stuck_member_is_passed_over),
        FIXTURE_TEST(what_a_rule_forbids_does_not_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
