/* Topic aliases, both ways. */
#include "mqtt/fixture.h"

static void an_alias_stands_for_the_topic_it_was_set_with(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    subscribe(peer, "#", 0);
    say(peer, 0x30, "0003'a/b' 03 230002 'one'");
    say(peer, 0x30, "0000 03 230002 'two'");
    assert_heard(peer, "publish q0 a/b=one; publish q0 a/b=two");
    say(peer, 0x30, "0003'c/d' 03 230002 'three'");
    say(peer, 0x30, "0000 03 230002 'four'");
    say(peer, 0x30, "0003'e/f' 03 230001 'five'");
    assert_heard(peer, "publish q0 c/d=three; publish q0 c/d=four; publish q0 e/f=five");
}

static void an_alias_that_was_never_set_ends_the_connection(void **state)
{
    struct fixture *fixture = *state;
    struct peer *above = enter(fixture, "a"), *below = enter(fixture, "b");

    say(above, 0x30, "0000 03 230002 'x'");
    assert_heard(above, "disconnect 0x82; end");
    say(below, 0x30, "0003'a/b' 03 230002 'x'");
    say(below, 0x30, "0000 03 230001 'x'");
    assert_heard(below, "disconnect 0x82; end");
}

static void an_alias_out_of_range_ends_the_connection(void **state)
{
    struct fixture *fixture = *state;
    struct peer *zero = enter(fixture, "a"), *high = enter(fixture, "b");

    say(zero, 0x30, "0003'a/b' 03 230000 'x'");
    assert_heard(zero, "disconnect 0x94; end");
    set(fixture, "mqtt.topic_alias_max", "3");
    say(high, 0x30, "0003'a/b' 03 230004 'x'");
    assert_heard(high, "disconnect 0x94; end");
}

static void a_publish_without_topic_and_alias_ends_the_connection(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter(fixture, "a");

    say(peer, 0x30, "0000 00 'x'");
    assert_heard(peer, "disconnect 0x82; end");
}

static void aliases_end_with_their_connection(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer = enter_kept(fixture, "a");

    say(peer, 0x30, "0003'a/b' 03 230001 'x'");
    cut(peer);
    peer = enter_kept(fixture, "a");
    say(peer, 0x30, "0000 03 230001 'x'");
    assert_heard(peer, "disconnect 0x82; end");
}

static void the_client_gets_as_many_aliases_as_it_takes(void **state)
{
    struct fixture *fixture = *state;
    struct peer *peer =
        enter_as(fixture, &(struct entering){.client_id = "a", .properties = "22 0002"});

    subscribe(peer, "#", 1);
    publish(peer, 0, 0, "one", "1");
    publish(peer, 0, 0, "two", "2");
    publish(peer, 0, 0, "three", "3");
    assert_heard(peer, "publish q0 one=1 alias=1; publish q0 two=2 alias=2; publish q0 three=3");
    publish(peer, 0, 0, "two", "4");
    publish(peer, 1, 1, "one", "5");
    assert_heard(peer, "publish q0 =4 alias=2; publish q1 m1 =5 alias=1; puback m1 0x00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(an_alias_stands_for_the_topic_it_was_set_with),
        FIXTURE_TEST(an_alias_that_was_never_set_ends_the_connection),
        FIXTURE_TEST(an_alias_out_of_range_ends_the_connection),
        FIXTURE_TEST(a_publish_without_topic_and_alias_ends_the_connection),
        FIXTURE_TEST(aliases_end_with_their_connection),
        FIXTURE_TEST(the_client_gets_as_many_aliases_as_it_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
