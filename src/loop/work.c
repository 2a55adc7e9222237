/* See work.h: libuv's thread pool. */
#include "loop/work.h"
#include "loop/loop_private.h"
#include <assert.h>
#include <glib.h>

struct work {
    struct loop *loop;
    uv_work_t uv;
    void (*work)(void *owner);
    void (*done)(void *owner);
    void *owner;
};

static void on_work(uv_work_t *uv)
{
    struct work *work = uv->data;

    work->work(work->owner);
}

static void on_done(uv_work_t *uv, int status)
{
    struct work *work = uv->data;

    work->loop->work_count--;
    work->done(work->owner);
    g_free(work);
}

void work_submit(struct loop *loop, void (*fn)(void *owner), void (*done)(void *owner), void *owner)
{
    struct work *work = g_new0(struct work, 1);

    work->loop = loop;
    work->uv.data = work;
    work->work = fn;
    work->done = done;
    work->owner = owner;
    int r = uv_queue_work(&loop->uv, &work->uv, on_work, on_done);
    assert(r == 0);
    (void)r;
    loop->work_count++;
}

void work_finish(struct loop *loop)
{
    while (loop->work_count > 0) {
        uv_run(&loop->uv, UV_RUN_ONCE);
    }
}
