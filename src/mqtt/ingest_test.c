/* The line of publishes that wait for the log. */
#include "mqtt/connection.h"
#include "mqtt/fixture.h"
#include <errno.h>

/* A publisher keeps its order though only some of what it sends must go through the log. */
static void all_wait_behind_the_one_that_waits(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *live = enter(fixture, "live");
    struct peer *publisher = enter(fixture, "publisher");

    subscribe(kept, "kept", 1);
    subscribe(live, "#", 0);
    fixture->node.refusals = UINT64_MAX;
    publish(publisher, 1, 1, "other", "1");
    publish(publisher, 1, 2, "kept", "2");
    publish(publisher, 0, 0, "other", "3");
    publish(publisher, 1, 3, "other", "4");
    publish(publisher, 2, 4, "nowhere", "5");
    assert_heard(live, "publish q0 other=1");
    assert_heard(publisher, "puback m1 0x00");
    fixture->node.refusals = 0;
    pass(fixture, 20);
    assert_heard(live, "publish q0 kept=2; publish q0 other=3; publish q0 other=4; "
                       "publish q0 nowhere=5");
    assert_heard(publisher, "puback m2 0x00; puback m3 0x00; pubrec m4 0x00");
    assert_heard(kept, "publish q1 m1 kept=2");
}

static void the_log_is_asked_again_until_it_takes_it(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *publisher = enter(fixture, "publisher");

    subscribe(kept, "a", 1);
    fixture->node.refusals = 40;
    publish(publisher, 1, 1, "a", "1");
    publish(publisher, 1, 2, "a", "2");
    assert_heard(publisher, "");
    for (unsigned i = 0; i < 100 && fixture->node.refusals > 0; i++) {
        pass(fixture, 5);
    }
    pass(fixture, 20);
    assert_heard(publisher, "puback m1 0x00; puback m2 0x00");
    assert_heard(kept, "publish q1 m1 a=1; publish q1 m2 a=2");
}

static void a_full_disk_is_told_in_mqtt_5(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *publisher = enter(fixture, "publisher");
    struct peer *old =
        enter_as(fixture, &(struct entering){.client_id = "old", .version = PACKET_MQTT_3_1_1});

    subscribe(kept, "a", 1);
    fixture->node.append_error = -ENOSPC;
    fixture->node.refusals = UINT64_MAX;
    publish(publisher, 1, 1, "a", "1");
    publish(publisher, 2, 2, "a", "2");
    assert_heard(publisher, "puback m1 0x97; pubrec m2 0x97");
    publish(old, 1, 1, "a", "3");
    assert_heard(old, ""); /* it has no word for it: it will send it again */
    fixture->node.refusals = 0;
    publish(publisher, 2, 2, "a", "4");
    assert_heard(publisher, "pubrec m2 0x00"); /* its packet id was free again */
    assert_heard(kept, "publish q1 m1 a=4");
}

static void what_was_on_its_way_to_a_full_disk_is_told_too(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *publisher = enter(fixture, "publisher");

    subscribe(kept, "a", 1);
    say_publish(publisher, 1, 1, "a", "1");
    virtual_stream_deliver(publisher->stream, SIZE_MAX);
    virtual_loop_end_turn(fixture->loop);
    node_fail(&fixture->node, -ENOSPC);
    run(fixture);
    assert_heard(publisher, "puback m1 0x97");
    assert_heard(kept, "");
}

static void what_was_not_acknowledged_goes_with_its_client(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *publisher = enter(fixture, "publisher");

    subscribe(kept, "a", 1);
    subscribe(kept, "b", 0);
    fixture->node.refusals = UINT64_MAX;
    publish(publisher, 1, 1, "a", "1");
    publish(publisher, 0, 0, "b", "2"); /* QoS 0 will not be sent again */
    publish(publisher, 1, 2, "a", "3");
    cut(publisher);
    fixture->node.refusals = 0;
    pass(fixture, 100);
    assert_heard(kept, "publish q0 b=2");
}

static void what_is_on_its_way_arrives_without_its_client(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *publisher = enter(fixture, "publisher");

    subscribe(kept, "a", 1);
    say_publish(publisher, 1, 1, "a", "1");
    virtual_stream_deliver(publisher->stream, SIZE_MAX);
    virtual_loop_end_turn(fixture->loop);
    cut(publisher);
    assert_heard(kept, "publish q1 m1 a=1");
}

static void a_retained_message_is_kept_though_it_needs_no_subscriber(void **state)
{
    struct fixture *fixture = *state;
    struct peer *live = enter(fixture, "live"), *publisher = enter(fixture, "publisher");

    subscribe(live, "a", 0);
    fixture->node.refusals = UINT64_MAX;
    publish_retained(publisher, 0, 0, "a", "1");
    assert_heard(live, "publish q0 a=1"); /* at once */
    publish_retained(publisher, 0, 0, "a", "2");
    assert_heard(live, ""); /* behind the first, which waits for the log */
    fixture->node.refusals = 0;
    pass(fixture, 20);
    assert_heard(live, "publish q0 a=2");
    crash(fixture);
    live = enter(fixture, "live");
    say(live, 0x82, "0001 00 0001'a' 00");
    assert_heard(live, "suback m1 00; publish q0 a=2 retain");
}

static void a_qos_2_publisher_that_is_kept_is_not_heard_twice(void **state)
{
    struct fixture *fixture = *state;
    struct peer *watcher = enter(fixture, "watcher"), *publisher = enter_kept(fixture, "publisher");

    subscribe(watcher, "a", 0);
    publish(publisher, 2, 7, "a", "x");
    assert_heard(publisher, "pubrec m7 0x00");
    assert_heard(watcher, "publish q0 a=x");
    publish(publisher, 2, 7, "a", "x");
    assert_heard(publisher, "pubrec m7 0x00");
    crash(fixture);
    watcher = enter(fixture, "watcher");
    subscribe(watcher, "a", 0);
    publisher = enter_kept(fixture, "publisher");
    publish(publisher, 2, 7, "a", "x");
    assert_heard(publisher, "pubrec m7 0x00");
    assert_heard(watcher, "");
    ack(publisher, PACKET_PUBREL, 7);
    assert_heard(publisher, "pubcomp m7 0x00");
    publish(publisher, 2, 7, "a", "y");
    assert_heard(publisher, "pubrec m7 0x00");
    assert_heard(watcher, "publish q0 a=y");
}

static void a_repetition_waits_with_what_it_repeats(void **state)
{
    struct fixture *fixture = *state;
    struct peer *kept = enter_kept(fixture, "kept"), *live = enter(fixture, "live");

    subscribe(kept, "a", 2);
    fixture->node.refusals = UINT64_MAX;
    publish(live, 2, 1, "a", "x");
    publish(live, 2, 1, "a", "x");
    assert_heard(live, "");
    fixture->node.refusals = 0;
    pass(fixture, 20);
    assert_heard(live, "pubrec m1 0x00");
    assert_heard(kept, "publish q2 m1 a=x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(all_wait_behind_the_one_that_waits),
        FIXTURE_TEST(the_log_is_asked_again_until_it_takes_it),
        FIXTURE_TEST(a_full_disk_is_told_in_mqtt_5),
        FIXTURE_TEST(what_was_on_its_way_to_a_full_disk_is_told_too),
        FIXTURE_TEST(what_was_not_acknowledged_goes_with_its_client),
        FIXTURE_TEST(what_is_on_its_way_arrives_without_its_client),
        FIXTURE_TEST(a_retained_message_is_kept_though_it_needs_no_subscriber),
        FIXTURE_TEST(a_qos_2_publisher_that_is_kept_is_not_heard_twice),
        FIXTURE_TEST(a_repetition_waits_with_what_it_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
