/* Watches on pipes and socket pairs. */
#include "loop/watch.h"
#include "base/cleanup.h"
#include "loop/loop.h"
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct side {
    struct watch watch;
    struct loop *loop;
    struct side *other; /* ended when this one has an event */
    unsigned calls, events;
    int fds[2];
};

static void on_events(struct watch *watch, unsigned events)
{
    struct side *side = container_of(watch, struct side, watch);

    side->calls++;
    side->events = events;
    watch_set(side->loop, watch, 0);
    if (side->other) {
        watch_set(side->loop, &side->other->watch, 0);
    }
}

static void side_init(struct side *side, struct loop *loop)
{
    *side = (struct side){.loop = loop};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, side->fds), 0);
    watch_init(&side->watch, side->fds[0], on_events);
}

static void side_deinit(struct side *side)
{
    close(side->fds[0]);
    close(side->fds[1]);
}

/* loop_run comes to its end because no watch is left. */
static void a_watch_tells_once_what_it_was_asked_for(void **state)
{
    struct loop *loop = loop_new();
    struct side side;

    side_init(&side, loop);
    assert_int_equal(write(side.fds[1], "x", 1), 1);
    assert_int_equal(watch_set(loop, &side.watch, WATCH_READABLE), 0);
    loop_run(loop);
    assert_int_equal(side.calls, 1);
    assert_int_equal(side.events, WATCH_READABLE);
    assert_int_equal(watch_set(loop, &side.watch, WATCH_READABLE | WATCH_WRITABLE), 0);
    loop_run(loop);
    assert_int_equal(side.events, WATCH_READABLE | WATCH_WRITABLE);
    assert_int_equal(watch_set(loop, &side.watch, WATCH_READABLE), 0);
    assert_int_equal(watch_set(loop, &side.watch, WATCH_WRITABLE), 0);
    loop_run(loop);
    assert_int_equal(side.events, WATCH_WRITABLE);
    assert_int_equal(side.calls, 3);
    side_deinit(&side);
    loop_free(loop);
}

static void a_hang_up_shows_as_what_was_asked_for(void **state)
{
    struct loop *loop = loop_new();
    struct side side;

    side_init(&side, loop);
    shutdown(side.fds[1], SHUT_RDWR);
    assert_int_equal(watch_set(loop, &side.watch, WATCH_READABLE), 0);
    loop_run(loop);
    assert_int_equal(side.events, WATCH_READABLE);
    side_deinit(&side);
    loop_free(loop);
}

/* Both are in one batch of the kernel; whichever comes first ends the other. */
static void a_watch_that_was_ended_by_another_is_not_called(void **state)
{
    struct loop *loop = loop_new();
    struct side sides[2];

    for (int i = 0; i < 2; i++) {
        side_init(&sides[i], loop);
        assert_int_equal(write(sides[i].fds[1], "x", 1), 1);
    }
    for (int i = 0; i < 2; i++) {
        sides[i].other = &sides[1 - i];
        assert_int_equal(watch_set(loop, &sides[i].watch, WATCH_READABLE), 0);
    }
    loop_run(loop);
    assert_int_equal(sides[0].calls + sides[1].calls, 1);
    side_deinit(&sides[0]);
    side_deinit(&sides[1]);
    loop_free(loop);
}

static void more_than_a_batch_are_all_told(void **state)
{
    struct loop *loop = loop_new();
    unsigned count = 400, calls = 0;
    g_autofree struct side *sides = g_new0(struct side, count);

    for (unsigned i = 0; i < count; i++) {
        side_init(&sides[i], loop);
        assert_int_equal(watch_set(loop, &sides[i].watch, WATCH_WRITABLE), 0);
    }
    loop_run(loop);
    for (unsigned i = 0; i < count; i++) {
        calls += sides[i].calls;
        side_deinit(&sides[i]);
    }
    assert_int_equal(calls, count);
    loop_free(loop);
}

static void a_descriptor_that_cannot_be_watched_is_refused(void **state)
{
    struct loop *loop = loop_new();
    struct watch watch;

    watch_init(&watch, -1, on_events);
    assert_true(watch_set(loop, &watch, WATCH_READABLE) < 0);
    loop_run(loop);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_tells_once_what_it_was_asked_for),
        cmocka_unit_test(a_hang_up_shows_as_what_was_asked_for),
        cmocka_unit_test(a_watch_that_was_ended_by_another_is_not_called),
        cmocka_unit_test(more_than_a_batch_are_all_told),
        cmocka_unit_test(a_descriptor_that_cannot_be_watched_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
