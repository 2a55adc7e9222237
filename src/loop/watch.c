/* See watch.h. Events are taken from the kernel in batches; a watch that ends while its batch is
 * worked on is struck out of the rest. */
#include "loop/watch.h"
#include "base/cleanup.h"
#include "loop/loop_private.h"
#include <errno.h>
#include <glib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BATCH_EVENTS   256
#define BATCHES_A_TURN 16

struct watches {
    uv_poll_t poll; /* of epoll_fd */
    int epoll_fd;
    unsigned active;
    int next, count; /* of `batch` */
    struct epoll_event batch[BATCH_EVENTS];
};

static void run(struct watches *watches, const struct epoll_event *event)
{
    struct watch *watch = event->data.ptr;

    if (!watch) {
        return;
    }
    unsigned events = (event->events & EPOLLIN ? WATCH_READABLE : 0) |
                      (event->events & EPOLLOUT ? WATCH_WRITABLE : 0);
    if (event->events & EPOLLERR) {
        events = WATCH_ERROR;
    } else if (events == 0) {
        events = watch->events;
    }
    watch->fn(watch, events);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watches *watches = poll->data;

    for (unsigned round = 0; round < BATCHES_A_TURN; round++) {
        watches->count = epoll_wait(watches->epoll_fd, watches->batch, BATCH_EVENTS, 0);
        for (watches->next = 0; watches->next < watches->count;) {
            run(watches, &watches->batch[watches->next++]);
        }
        if (watches->count < BATCH_EVENTS) {
            break; /* what is left is readable still, and comes with the next turn */
        }
    }
    watches->count = watches->next = 0;
}

static struct watches *watches_of(struct loop *loop)
{
    if (!loop->watches) {
        struct watches *watches = g_new0(struct watches, 1);
        watches->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (watches->epoll_fd < 0) {
            g_error("no epoll instance: %s", g_strerror(errno));
        }
        uv_poll_init(&loop->uv, &watches->poll, watches->epoll_fd);
        watches->poll.data = watches;
        loop->watches = watches;
    }
    return loop->watches;
}

static void on_closed(uv_handle_t *handle)
{
    struct watches *watches = handle->data;

    close(watches->epoll_fd);
    g_free(watches);
}

void watches_free(struct loop *loop)
{
    if (loop->watches) {
        uv_close((uv_handle_t *)&TAKE(loop->watches)->poll, on_closed);
    }
}

static void strike_out(struct watches *watches, const struct watch *watch)
{
    for (int i = watches->next; i < watches->count; i++) {
        if (watches->batch[i].data.ptr == watch) {
            watches->batch[i].data.ptr = NULL;
        }
    }
}

static void count_active(struct watches *watches, bool was_active, bool is_active)
{
    watches->active += (unsigned)is_active - (unsigned)was_active;
    if (watches->active == 1 && is_active && !was_active) {
        uv_poll_start(&watches->poll, UV_READABLE, on_poll);
    } else if (watches->active == 0) {
        uv_poll_stop(&watches->poll);
    }
}

void watch_init(struct watch *watch, int fd, void (*fn)(struct watch *watch, unsigned events))
{
    *watch = (struct watch){.fn = fn, .fd = fd};
}

int watch_set(struct loop *loop, struct watch *watch, unsigned events)
{
    struct watches *watches = watches_of(loop);
    struct epoll_event event = {.events = (events & WATCH_READABLE ? EPOLLIN : 0) |
                                          (events & WATCH_WRITABLE ? EPOLLOUT : 0),
                                .data.ptr = watch};
    int operation = events == 0          ? EPOLL_CTL_DEL
                    : watch->events == 0 ? EPOLL_CTL_ADD
                                         : EPOLL_CTL_MOD;

    if (watch->events == events) {
        return 0;
    }
    if (epoll_ctl(watches->epoll_fd, operation, watch->fd, &event) < 0 && events != 0) {
        return -errno;
    }
    if (events == 0) {
        strike_out(watches, watch);
    }
    count_active(watches, watch->events != 0, events != 0);
    watch->events = events;
    return 0;
}
