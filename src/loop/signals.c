/* See signals.h. */
#include "loop/signals.h"
#include "loop/loop_private.h"
#include <glib.h>

struct signal_watch {
    uv_signal_t uv;
    void (*fn)(void *owner, int signal);
    void *owner;
};

static void on_signal(uv_signal_t *uv, int signal)
{
    struct signal_watch *watch = uv->data;

    watch->fn(watch->owner, signal);
}

struct signal_watch *signal_watch_new(struct loop *loop, int signal,
                                      void (*fn)(void *owner, int signal), void *owner)
{
    struct signal_watch *watch = g_new0(struct signal_watch, 1);

    watch->fn = fn;
    watch->owner = owner;
    uv_signal_init(&loop->uv, &watch->uv);
    watch->uv.data = watch;
    uv_signal_start(&watch->uv, on_signal, signal);
    return watch;
}

static void on_closed(uv_handle_t *handle)
{
    g_free(handle->data);
}

void signal_watch_free(struct signal_watch *watch)
{
    if (watch) {
        uv_close((uv_handle_t *)&watch->uv, on_closed);
    }
}
