/* See loop.h and deferred.h. Deferred work runs after the poll (uv_check) and once more before the
 * next (uv_prepare), so nothing waits for a sleeping loop. Both handles are unreferenced: they keep
 * no loop alive and cost no wake-up. */
#include "loop/loop.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "loop/deferred.h"
#include "loop/loop_private.h"
#include <assert.h>
#include <glib.h>
#include <stdio.h>

#define READ_BUFFER_BYTES (128 * 1024)

/* ---- deferred ---- */

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

/* What asks again from inside runs in the same turn, but only so often: somebody who always asks
 * again must not stop the loop. */
static void run_deferred(struct loop *loop)
{
    for (unsigned round = 0; round < 16 && !list_is_empty(&loop->deferred); round++) {
        struct list batch;
        list_init(&batch);
        while (!list_is_empty(&loop->deferred)) {
            struct list *link = loop->deferred.next;
            list_remove(link);
            list_append(&batch, link);
        }
        while (!list_is_empty(&batch)) {
            struct deferred *deferred = list_entry(batch.next, struct deferred, link);
            list_remove(&deferred->link);
            deferred->fn(deferred->owner);
        }
    }
}

static void on_check(uv_check_t *check)
{
    run_deferred(check->data);
}

static void on_wake(uv_handle_t *handle)
{
    g_free(handle);
}

static void on_idle(uv_idle_t *idle)
{
    uv_close((uv_handle_t *)idle, on_wake);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;

    run_deferred(loop);
    if (!list_is_empty(&loop->deferred)) { /* more than the rounds above: come back at once */
        uv_idle_t *idle = g_new0(uv_idle_t, 1);
        uv_idle_init(&loop->uv, idle);
        uv_idle_start(idle, on_idle);
    }
}

/* ---- the loop ---- */

struct loop *loop_new(void)
{
    struct loop *loop = g_new0(struct loop, 1);

    if (uv_loop_init(&loop->uv) < 0) {
        g_free(loop);
        return NULL;
    }
    list_init(&loop->deferred);
    loop->uv.data = loop;
    uv_check_init(&loop->uv, &loop->check);
    uv_prepare_init(&loop->uv, &loop->prepare);
    loop->check.data = loop->prepare.data = loop;
    uv_check_start(&loop->check, on_check);
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_unref((uv_handle_t *)&loop->check);
    uv_unref((uv_handle_t *)&loop->prepare);
    return loop;
}

void loop_run(struct loop *loop)
{
    do { /* libuv does not turn for deferred work alone */
        run_deferred(loop);
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    } while (!loop->is_stopped && !list_is_empty(&loop->deferred));
    loop->is_stopped = false;
}

void loop_free(struct loop *loop)
{
    if (!loop) {
        return;
    }
    loop_run(loop); /* streams that linger: their end is deferred, too */
    watches_free(loop);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    int r = uv_loop_close(&loop->uv);
    if (r < 0) { /* a bug: say who was forgotten */
        uv_print_all_handles(&loop->uv, stderr);
    }
    assert(r == 0);
    while (loop->block_count > 0) {
        g_free(loop->blocks[--loop->block_count]);
    }
    g_free(loop->read_buffer);
    g_free(loop);
}

void loop_stop(struct loop *loop)
{
    loop->is_stopped = true;
    uv_stop(&loop->uv);
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return uv_now(&loop->uv);
}

uint64_t loop_unix_ms(const struct loop *loop)
{
    return loop->unix_begun_ms == 0 ? clock_unix_ms() : loop->unix_begun_ms + clock_now_ms();
}

void loop_set_unix_ms(struct loop *loop, uint64_t now_unix_ms)
{
    loop->unix_begun_ms = now_unix_ms == 0 ? 0 : now_unix_ms - clock_now_ms();
}

uint8_t *loop_read_buffer(struct loop *loop, size_t *length)
{
    if (!loop->read_buffer) {
        loop->read_buffer = g_malloc(READ_BUFFER_BYTES);
    }
    *length = READ_BUFFER_BYTES;
    return loop->read_buffer;
}

void *loop_block_take(struct loop *loop)
{
    return loop->block_count > 0 ? loop->blocks[--loop->block_count] : g_malloc(LOOP_BLOCK_BYTES);
}

void loop_block_give(struct loop *loop, void *block)
{
    if (loop->block_count < LOOP_BLOCKS_KEPT) {
        loop->blocks[loop->block_count++] = block;
    } else {
        g_free(block);
    }
}

void *loop_native(struct loop *loop)
{
    return &loop->uv;
}

/* ---- timers ---- */

struct timer {
    uv_timer_t uv;
    void (*fn)(void *owner);
    void *owner;
};

static void on_timer(uv_timer_t *uv)
{
    struct timer *timer = uv->data;

    timer->fn(timer->owner);
}

struct timer *timer_new(struct loop *loop, void (*fn)(void *owner), void *owner)
{
    struct timer *timer = g_new0(struct timer, 1);

    uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    timer->fn = fn;
    timer->owner = owner;
    return timer;
}

static void on_timer_closed(uv_handle_t *handle)
{
    g_free(handle->data);
}

void timer_free(struct timer *timer)
{
    if (timer) {
        uv_close((uv_handle_t *)&timer->uv, on_timer_closed);
    }
}

void timer_start(struct timer *timer, uint64_t delay_ms)
{
    uv_timer_start(&timer->uv, on_timer, delay_ms, 0);
}

void timer_stop(struct timer *timer)
{
    uv_timer_stop(&timer->uv);
}

bool timer_is_active(const struct timer *timer)
{
    return uv_is_active((const uv_handle_t *)&timer->uv);
}
