/* For the tests of net/: an owner of a stream that records what happens, and waiting with a
 * deadline. */
#pragma once

#include "base/clock.h"
#include "loop/loop.h"
#include "net/socket.h"
#include "net/stream.h"
#include <errno.h>
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>

#define WAIT_MS 5000

struct owner {
    struct stream *stream; /* NULL once it has ended */
    GByteArray *received;
    size_t most;  /* consumed in one call; 0 = all */
    size_t whole; /* consumes nothing before that much is there */
    unsigned calls, drained, ends;
    int error;
    bool pauses; /* after each call */
    bool closes; /* in the first call */
};

/* Again and again: it may fire before the loop goes to sleep. */
static inline void on_wake(void *owner)
{
    struct timer **wake = owner;

    timer_start(*wake, 10);
}

static inline void run_until_woken(struct loop *loop, struct timer *wake)
{
    timer_start(wake, 10);
    uv_run(loop_native(loop), UV_RUN_ONCE);
}

static inline void run_once(struct loop *loop)
{
    struct timer *wake = timer_new(loop, on_wake, &wake);

    run_until_woken(loop, wake);
    timer_free(wake);
}

/* One timer for the whole wait: a turn does not sleep while one is being freed. */
#define wait_for(loop, condition)                                                                  \
    do {                                                                                           \
        struct timer *wake_ = timer_new(loop, on_wake, &wake_);                                    \
        uint64_t until_ms_ = clock_now_ms() + WAIT_MS;                                             \
        while (!(condition)) {                                                                     \
            if (clock_now_ms() > until_ms_) {                                                      \
                fail_msg("waited in vain for: %s", #condition);                                    \
            }                                                                                      \
            run_until_woken(loop, wake_);                                                          \
        }                                                                                          \
        timer_free(wake_);                                                                         \
    } while (0)

static inline size_t owner_on_bytes(void *pointer, const uint8_t *bytes, size_t length)
{
    struct owner *owner = pointer;
    size_t consumed = owner->most ? MIN(owner->most, length) : length;

    owner->calls++;
    if (owner->whole > 0) {
        if (length < owner->whole) {
            stream_expect(owner->stream, owner->whole);
            return 0;
        }
        consumed = owner->whole;
    }
    if (owner->pauses) {
        stream_pause(owner->stream);
    }
    if (owner->closes) {
        struct stream *stream = owner->stream;
        owner->stream = NULL;
        stream_close(stream, 1000);
    }
    g_byte_array_append(owner->received, bytes, (guint)consumed); /* `bytes` live until we return */
    return consumed;
}

static inline void owner_on_drained(void *pointer)
{
    struct owner *owner = pointer;
    owner->drained++;
}

static inline void owner_on_end(void *pointer, int error)
{
    struct owner *owner = pointer;

    owner->ends++;
    owner->error = error;
    owner->stream = NULL;
}

static const struct stream_events owner_events = {owner_on_bytes, owner_on_drained, owner_on_end};

static inline void owner_start(struct owner *owner, struct stream *stream)
{
    owner->received = g_byte_array_new();
    owner->stream = stream;
    stream_start(stream, &owner_events, owner);
}

/* Lets go of the stream, when there still is one, and checks that it told its end once. */
static inline void owner_finish(struct owner *owner)
{
    if (owner->stream) {
        stream_reset(owner->stream);
    }
    assert_true(owner->ends <= 1);
    g_byte_array_unref(owner->received);
}

static inline bool owner_has(const struct owner *owner, const char *text)
{
    return owner->received->len == strlen(text) &&
           memcmp(owner->received->data, text, strlen(text)) == 0;
}

/* A pair of sockets: one for a stream, the other for the test to play the peer with. */
static inline struct stream *stream_with_peer(struct loop *loop, int *peer)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *peer = fds[1];
    return socket_stream_new(loop, fds[0], NULL, NULL, 0);
}

static inline void peer_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Receives what is there; true when the stream's side has closed. */
static inline bool peer_receive(int fd, GByteArray *to)
{
    uint8_t bytes[65536];
    ssize_t n;

    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0) {
        g_byte_array_append(to, bytes, (guint)n);
    }
    return n == 0 || (n < 0 && errno != EAGAIN);
}
