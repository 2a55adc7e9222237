/* See test_virtual_loop.h. Timers fire in order of their time, those of the same in the order of
 * being started. */
#include "mqtt/test_virtual_loop.h"
#include "base/clock.h"
#include "base/list.h"
#include "loop/deferred.h"
#include "loop/loop.h"
#include "loop/work.h"
#include <assert.h>

#define BEGIN_MS 1000

struct loop {
    uint64_t now_ms;              /* as its clock shows it */
    uint64_t true_ms;             /* the same moment for everybody */
    uint64_t unix_ms;             /* at 0 of true_ms */
    uint64_t set_unix_ms, set_ms; /* by loop_set_unix_ms: then, at this time of its clock */
    uint64_t ahead_ms;
    int rate_ppm;    /* its clock is so much faster */
    uint64_t starts; /* of timers */
    struct list timers;
    struct list deferred;
};

struct timer {
    struct list link; /* in loop.timers, or unlinked */
    struct loop *loop;
    uint64_t due_ms, order;
    void (*fn)(void *owner);
    void *owner;
};

static struct loop *entered; /* for the clocks, which know no owner */

uint64_t clock_now_ms(void)
{
    return entered->now_ms;
}

uint64_t clock_now_us(void)
{
    return entered->now_ms * 1000;
}

uint64_t clock_unix_ms(void)
{
    return entered->unix_ms + entered->true_ms;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

uint64_t loop_unix_ms(const struct loop *loop)
{
    return loop->set_unix_ms != 0 ? loop->set_unix_ms + loop->now_ms - loop->set_ms
                                  : loop->unix_ms + loop->true_ms;
}

void loop_set_unix_ms(struct loop *loop, uint64_t now_unix_ms)
{
    loop->set_unix_ms = now_unix_ms;
    loop->set_ms = loop->now_ms;
}

uint64_t virtual_loop_true_ms(const struct loop *loop)
{
    return loop->true_ms;
}

struct loop *virtual_loop_new(uint64_t unix_ms)
{
    struct loop *loop = g_new0(struct loop, 1);

    entered = entered ? entered : loop;
    loop->now_ms = loop->true_ms = BEGIN_MS;
    loop->unix_ms = unix_ms;
    list_init(&loop->timers);
    list_init(&loop->deferred);
    return loop;
}

void virtual_loop_free(struct loop *loop)
{
    assert(list_is_empty(&loop->timers) && list_is_empty(&loop->deferred));
    entered = entered == loop ? NULL : entered;
    g_free(loop);
}

void virtual_loop_enter(struct loop *loop)
{
    entered = loop;
}

bool virtual_loop_is_entered(const struct loop *loop)
{
    return entered == loop;
}

/* ---- clocks that differ ---- */

static uint64_t shown_ms(const struct loop *loop, uint64_t true_ms)
{
    return loop->ahead_ms + true_ms + (uint64_t)((int64_t)true_ms * loop->rate_ppm / 1000000);
}

void virtual_loop_set_clock(struct loop *loop, uint64_t true_ms, uint64_t ahead_ms, int rate_ppm)
{
    loop->ahead_ms = ahead_ms;
    loop->rate_ppm = rate_ppm;
    loop->true_ms = true_ms;
    loop->now_ms = shown_ms(loop, true_ms);
}

/* ---- timers ---- */

struct timer *timer_new(struct loop *loop, void (*fn)(void *owner), void *owner)
{
    struct timer *timer = g_new0(struct timer, 1);

    list_init(&timer->link);
    timer->loop = loop;
    timer->fn = fn;
    timer->owner = owner;
    return timer;
}

void timer_free(struct timer *timer)
{
    if (timer) {
        list_remove(&timer->link);
        g_free(timer);
    }
}

void timer_start(struct timer *timer, uint64_t delay_ms)
{
    list_remove(&timer->link);
    timer->due_ms = timer->loop->now_ms + delay_ms;
    timer->order = ++timer->loop->starts;
    list_append(&timer->loop->timers, &timer->link);
}

void timer_stop(struct timer *timer)
{
    list_remove(&timer->link);
}

bool timer_is_active(const struct timer *timer)
{
    return !list_is_empty(&timer->link);
}

static struct timer *first_due(struct loop *loop, uint64_t until_ms)
{
    struct timer *first = NULL;

    list_for_each(link, &loop->timers) {
        struct timer *timer = list_entry(link, struct timer, link);
        if (timer->due_ms <= until_ms &&
            (!first || timer->due_ms < first->due_ms ||
             (timer->due_ms == first->due_ms && timer->order < first->order))) {
            first = timer;
        }
    }
    return first;
}

void virtual_loop_advance(struct loop *loop, uint64_t ms)
{
    uint64_t until_ms = loop->now_ms + ms;
    struct timer *timer;

    assert(loop->ahead_ms == 0 && loop->rate_ppm == 0);
    while ((timer = first_due(loop, until_ms)) != NULL) {
        loop->now_ms = loop->true_ms = MAX(loop->now_ms, timer->due_ms);
        list_remove(&timer->link);
        timer->fn(timer->owner);
        virtual_loop_end_turn(loop);
    }
    loop->now_ms = loop->true_ms = until_ms;
}

/* As libuv does after a wait: the time first, then the timers that are due, once each. */
void virtual_loop_turn(struct loop *loop, uint64_t true_ms)
{
    uint64_t starts = loop->starts;
    struct timer *timer;

    virtual_loop_enter(loop);
    loop->true_ms = true_ms;
    loop->now_ms = shown_ms(loop, true_ms);
    while ((timer = first_due(loop, loop->now_ms)) != NULL && timer->order <= starts) {
        list_remove(&timer->link);
        timer->fn(timer->owner);
    }
    virtual_loop_end_turn(loop);
}

uint64_t virtual_loop_next_ms(const struct loop *loop)
{
    uint64_t first_ms = UINT64_MAX;

    list_for_each(link, &loop->timers) {
        first_ms = MIN(first_ms, list_entry(link, struct timer, link)->due_ms);
    }
    if (first_ms == UINT64_MAX) {
        return UINT64_MAX;
    }
    uint64_t left_ms = first_ms > loop->now_ms ? first_ms - loop->now_ms : 0;
    return loop->true_ms + left_ms - left_ms / 16; /* clocks differ by less than that */
}

/* ---- the end of a turn ---- */

void deferred_init(struct deferred *deferred, void (*fn)(void *owner), void *owner)
{
    list_init(&deferred->link);
    deferred->fn = fn;
    deferred->owner = owner;
}

void deferred_deinit(struct deferred *deferred)
{
    list_remove(&deferred->link);
}

void deferred_schedule(struct loop *loop, struct deferred *deferred)
{
    if (list_is_empty(&deferred->link)) {
        list_append(&loop->deferred, &deferred->link);
    }
}

void virtual_loop_end_turn(struct loop *loop)
{
    for (int rounds = 0; !list_is_empty(&loop->deferred); rounds++) {
        assert(rounds < 100000); /* something asks for another turn for ever */
        struct deferred *deferred = list_entry(loop->deferred.next, struct deferred, link);
        list_remove(&deferred->link);
        deferred->fn(deferred->owner);
    }
}

/* ---- the pool: there is none, it is done at the end of the turn ---- */

struct work {
    struct deferred deferred;
    void (*fn)(void *owner);
    void (*done)(void *owner);
    void *owner;
};

static void run_work(void *owner)
{
    struct work *work = owner;

    work->fn(work->owner);
    work->done(work->owner);
    g_free(work);
}

void work_submit(struct loop *loop, void (*fn)(void *owner), void (*done)(void *owner), void *owner)
{
    struct work *work = g_new0(struct work, 1);

    *work = (struct work){.fn = fn, .done = done, .owner = owner};
    deferred_init(&work->deferred, run_work, work);
    deferred_schedule(loop, &work->deferred);
}
