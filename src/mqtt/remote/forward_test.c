/* What is kept for a node that was not heard yet. */
#include "mqtt/fixture.h"
#include "mqtt/remote/remote_private.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct peer *enter_there(struct fixture *fixture)
{
    fixture->at = 1;
    return enter(fixture, "second");
}

/* As in a node that starts while it reaches one of the others only. */
static struct peer *begin_anew_without_a_link(struct fixture *fixture)
{
    cluster_cut(fixture->cluster, 0, 1);
    run(fixture);
    cluster_crash(fixture->cluster, 0);
    run(fixture);
    fixture->at = 0;
    return enter(fixture, "first");
}

static void who_was_subscribed_before_a_node_started_misses_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct peer *second = enter_there(fixture);

    subscribe(second, "#", 1);
    struct peer *first = begin_anew_without_a_link(fixture);
    publish(first, 1, 1, "a", "x");
    publish(first, 0, 0, "a", "dropped");
    publish_retained(first, 1, 2, "r", "by log");
    assert_heard(first, "puback m1 0x00; puback m2 0x00"); /* nobody knows that nobody wants it */
    assert_int_equal(fixture->cluster->nodes[0].broker->counters.publish_dropped, 0);
    g_free(heard(second));
    cluster_heal(fixture->cluster, 0, 1);
    run(fixture);
    assert_heard(second, "publish q1 m2 a=x");
    publish(first, 1, 3, "a", "y");
    assert_heard(second, "publish q1 m3 a=y");
}

static void a_node_that_stays_away_is_not_expected_for_ever(void **state)
{
    struct fixture *fixture = *state;
    struct peer *second = enter_there(fixture);

    subscribe(second, "a", 1);
    struct peer *first = begin_anew_without_a_link(fixture);
    publish(first, 1, 1, "a", "x");
    virtual_loop_advance(fixture->loop, REMOTE_EXPECTED_MS);
    run(fixture);
    const struct remote *remote = fixture->cluster->nodes[0].broker->remote;
    assert_int_equal(g_queue_get_length((GQueue *)&remote_find(remote, 2)->kept), 0);
    publish(first, 1, 2, "a", "y");
    assert_heard(first, "puback m1 0x00; puback m2 0x10");
    cluster_heal(fixture->cluster, 0, 1);
    run(fixture);
    publish(first, 1, 3, "a", "z");
    assert_heard(second, "publish q1 m1 a=z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLUSTER_TEST(who_was_subscribed_before_a_node_started_misses_nothing),
        CLUSTER_TEST(a_node_that_stays_away_is_not_expected_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
