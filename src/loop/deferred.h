/* Work at the end of this turn of the loop: after all input that was ready has been handled and
 * before the loop waits again. This is where output buffers are written, once a turn, and where
 * proposals are handed to the log: batching without added latency. */
#pragma once

#include "base/list.h"

struct loop;

struct deferred {
    struct list link; /* in loop's list, or unlinked */
    void (*fn)(void *owner);
    void *owner; /* borrowed */
};

void deferred_init(struct deferred *deferred, void (*fn)(void *owner), void *owner);
/* Unlinks it. */
void deferred_deinit(struct deferred *deferred);
/* Runs `fn` once at the end of this turn; asking again before that changes nothing. */
void deferred_schedule(struct loop *loop, struct deferred *deferred);
