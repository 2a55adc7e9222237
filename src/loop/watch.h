/* Waiting for a file descriptor, for the many: a watch is 16 bytes, where a handle of libuv is 160.
 * All watches of a loop stand in one epoll instance, which libuv polls as one descriptor. Level
 * triggered. */
#pragma once

#include <stdint.h>

struct loop;

enum { WATCH_READABLE = 1, WATCH_WRITABLE = 2, WATCH_ERROR = 4 };

struct watch {
    /* `events` has at least one of what was asked for, or WATCH_ERROR; a hang-up shows as what was
     * asked for. */
    void (*fn)(struct watch *watch, unsigned events);
    int fd;
    unsigned events;
};

void watch_init(struct watch *watch, int fd, void (*fn)(struct watch *watch, unsigned events));
/* What to wait for from now on: WATCH_READABLE | WATCH_WRITABLE; 0 ends it, and from then on `fn`
 * is not called and the memory may go. While it waits it keeps the loop alive. Returns 0 or a
 * negative errno. */
int watch_set(struct loop *loop, struct watch *watch, unsigned events);
