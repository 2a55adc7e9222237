/* POSIX signals as loop events. */
#pragma once

struct loop;
struct signal_watch;

struct signal_watch *signal_watch_new(struct loop *loop, int signal,
                                      void (*fn)(void *owner, int signal), void *owner);
void signal_watch_free(struct signal_watch *watch);
