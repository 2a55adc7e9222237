/* The loop: deferred work, timers, work off the loop, signals, output blocks, idleness. */
#include "loop/loop.h"
#include "base/clock.h"
#include "loop/deferred.h"
#include "loop/signals.h"
#include "loop/work.h"
#include <glib.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <uv.h>
#include <cmocka.h>

struct world {
    struct loop *loop;
    GString *order;
    struct deferred first, second;
    struct timer *timer;
    uv_check_t check;
    unsigned again; /* how often `first` asks again */
    unsigned turns;
};

static int set_up(void **state)
{
    struct world *world = g_new0(struct world, 1);

    world->loop = loop_new();
    world->order = g_string_new(NULL);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    timer_free(world->timer);
    loop_free(world->loop);
    g_string_free(world->order, true);
    g_free(world);
    return 0;
}

/* ---- deferred ---- */

static void on_first(void *owner)
{
    struct world *world = owner;

    g_string_append_c(world->order, '1');
    if (world->again > 0) {
        world->again--;
        deferred_schedule(world->loop, &world->first);
    }
}

static void on_second(void *owner)
{
    struct world *world = owner;

    g_string_append_c(world->order, '2');
}

static void calendar_time_is_counted_from_what_was_set(void **state)
{
    const struct world *world = *state;
    uint64_t now_ms = clock_unix_ms();

    assert_in_range(loop_unix_ms(world->loop), now_ms, now_ms + 1000);
    loop_set_unix_ms(world->loop, 5000000);
    assert_in_range(loop_unix_ms(world->loop), 5000000, 5001000);
    loop_set_unix_ms(world->loop, 0);
    assert_in_range(loop_unix_ms(world->loop), now_ms, now_ms + 2000);
}

static void deferred_work_runs_once_in_order_at_the_end_of_the_turn(void **state)
{
    struct world *world = *state;

    deferred_init(&world->first, on_first, world);
    deferred_init(&world->second, on_second, world);
    deferred_schedule(world->loop, &world->second);
    deferred_schedule(world->loop, &world->first);
    deferred_schedule(world->loop, &world->second);
    assert_string_equal(world->order->str, ""); /* never from inside the call */
    loop_run(world->loop);
    assert_string_equal(world->order->str, "21");
}

static void deferred_work_that_was_taken_back_does_not_run(void **state)
{
    struct world *world = *state;

    deferred_init(&world->first, on_first, world);
    deferred_init(&world->second, on_second, world);
    deferred_schedule(world->loop, &world->first);
    deferred_schedule(world->loop, &world->second);
    deferred_deinit(&world->first);
    loop_run(world->loop);
    assert_string_equal(world->order->str, "2");
}

static void deferred_work_that_asks_again_goes_on_and_others_too(void **state)
{
    struct world *world = *state;

    world->again = 100;
    deferred_init(&world->first, on_first, world);
    deferred_init(&world->second, on_second, world);
    deferred_schedule(world->loop, &world->first);
    deferred_schedule(world->loop, &world->second);
    loop_run(world->loop);
    assert_int_equal(world->order->len, 102);
    assert_int_equal(world->order->str[1], '2');
}

static void on_timer_stops(void *owner)
{
    struct world *world = owner;

    g_string_append_c(world->order, 't');
    world->again = 0;
    loop_stop(world->loop);
}

static void who_always_asks_again_does_not_stop_the_loop(void **state)
{
    struct world *world = *state;

    world->again = G_MAXUINT;
    deferred_init(&world->first, on_first, world);
    deferred_schedule(world->loop, &world->first);
    world->timer = timer_new(world->loop, on_timer_stops, world);
    timer_start(world->timer, 5);
    loop_run(world->loop);
    assert_non_null(strchr(world->order->str, 't'));
}

static void on_timer_defers(void *owner)
{
    struct world *world = owner;

    g_string_append_c(world->order, 't');
    deferred_schedule(world->loop, &world->first);
}

static void what_a_timer_defers_runs_before_the_loop_waits(void **state)
{
    struct world *world = *state;
    struct timer *late = timer_new(world->loop, on_timer_stops, world);

    deferred_init(&world->first, on_first, world);
    world->timer = timer_new(world->loop, on_timer_defers, world);
    timer_start(world->timer, 1);
    timer_start(late, 30);
    loop_run(world->loop);
    assert_string_equal(world->order->str, "t1t");
    timer_free(late);
}

/* ---- timers ---- */

static void on_count(void *owner)
{
    struct world *world = owner;
    world->turns++;
}

static void a_timer_fires_once_and_may_be_moved_or_stopped(void **state)
{
    struct world *world = *state;
    struct timer *stopped = timer_new(world->loop, on_timer_stops, world);
    uint64_t begin_ms = clock_now_ms();

    world->timer = timer_new(world->loop, on_count, world);
    timer_start(world->timer, 1);
    timer_start(world->timer, 30); /* moves it */
    timer_start(stopped, 5);
    timer_stop(stopped);
    assert_true(timer_is_active(world->timer));
    assert_false(timer_is_active(stopped));
    loop_run(world->loop);
    assert_int_equal(world->turns, 1);
    assert_string_equal(world->order->str, "");
    assert_true(clock_now_ms() - begin_ms >= 25);
    assert_false(timer_is_active(world->timer));
    timer_free(stopped);
    timer_free(NULL);
}

static void on_timer_frees_itself(void *owner)
{
    struct world *world = owner;

    timer_free(world->timer);
    world->timer = NULL;
}

static void a_timer_may_be_freed_in_its_callback(void **state)
{
    struct world *world = *state;

    world->timer = timer_new(world->loop, on_timer_frees_itself, world);
    timer_start(world->timer, 0);
    loop_run(world->loop);
    assert_null(world->timer);
}

static void on_turn(uv_check_t *check)
{
    struct world *world = check->data;
    world->turns++;
}

static void an_idle_loop_does_not_wake_up(void **state)
{
    struct world *world = *state;

    uv_check_init(loop_native(world->loop), &world->check);
    world->check.data = world;
    uv_check_start(&world->check, on_turn);
    uv_unref((uv_handle_t *)&world->check);
    world->timer = timer_new(world->loop, on_timer_stops, world);
    timer_start(world->timer, 100);
    loop_run(world->loop);
    assert_true(world->turns <= 2);
    uv_close((uv_handle_t *)&world->check, NULL);
}

/* ---- work and signals ---- */

static void on_work(void *owner)
{
    struct world *world = owner;
    g_string_append_c(world->order, 'w');
}

static void on_done(void *owner)
{
    struct world *world = owner;
    g_string_append_c(world->order, 'd');
}

static void work_is_done_off_the_loop_and_told_on_it(void **state)
{
    struct world *world = *state;

    work_submit(world->loop, on_work, on_done, world);
    loop_run(world->loop);
    assert_string_equal(world->order->str, "wd");
}

static void on_signal(void *owner, int signal)
{
    struct world *world = owner;

    world->turns = (unsigned)signal;
    loop_stop(world->loop);
}

static void a_signal_is_an_event(void **state)
{
    struct world *world = *state;
    struct signal_watch *watch = signal_watch_new(world->loop, SIGHUP, on_signal, world);

    raise(SIGHUP);
    loop_run(world->loop);
    assert_int_equal(world->turns, SIGHUP);
    signal_watch_free(watch);
    signal_watch_free(NULL);
}

/* ---- memory ---- */

static void blocks_are_kept_for_the_next_up_to_a_limit(void **state)
{
    struct world *world = *state;
    void *blocks[LOOP_BLOCKS_KEPT + 10];

    for (unsigned i = 0; i < G_N_ELEMENTS(blocks); i++) {
        blocks[i] = loop_block_take(world->loop);
        memset(blocks[i], 1, LOOP_BLOCK_BYTES);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(blocks); i++) {
        loop_block_give(world->loop, blocks[i]);
    }
    void *again = loop_block_take(world->loop);
    assert_ptr_equal(again, blocks[LOOP_BLOCKS_KEPT - 1]);
    loop_block_give(world->loop, again);
}

static void all_readers_share_one_buffer(void **state)
{
    struct world *world = *state;
    size_t length = 0, same = 0;
    uint8_t *buffer = loop_read_buffer(world->loop, &length);

    assert_ptr_equal(loop_read_buffer(world->loop, &same), buffer);
    assert_true(length >= 65536 && length == same);
}

static void on_lingered(void *owner)
{
    struct world *world = owner;

    timer_free(world->timer);
    world->timer = NULL;
}

static void on_linger(void *owner)
{
    struct world *world = owner;

    deferred_schedule(world->loop, &world->first);
}

static void what_lingers_comes_to_its_end_when_the_loop_is_freed(void **state)
{
    struct world *world = *state;

    world->timer = timer_new(world->loop, on_linger, world);
    deferred_init(&world->first, on_lingered, world);
    timer_start(world->timer, 5);
    loop_free(world->loop);
    assert_null(world->timer);
    world->loop = loop_new();
}

#define LOOP_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(calendar_time_is_counted_from_what_was_set),
        LOOP_TEST(deferred_work_runs_once_in_order_at_the_end_of_the_turn),
        LOOP_TEST(deferred_work_that_was_taken_back_does_not_run),
        LOOP_TEST(deferred_work_that_asks_again_goes_on_and_others_too),
        LOOP_TEST(who_always_asks_again_does_not_stop_the_loop),
        LOOP_TEST(what_a_timer_defers_runs_before_the_loop_waits),
        LOOP_TEST(a_timer_fires_once_and_may_be_moved_or_stopped),
        LOOP_TEST(a_timer_may_be_freed_in_its_callback),
        LOOP_TEST(an_idle_loop_does_not_wake_up),
        LOOP_TEST(work_is_done_off_the_loop_and_told_on_it),
        LOOP_TEST(a_signal_is_an_event),
        LOOP_TEST(blocks_are_kept_for_the_next_up_to_a_limit),
        LOOP_TEST(all_readers_share_one_buffer),
        LOOP_TEST(what_lingers_comes_to_its_end_when_the_loop_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
