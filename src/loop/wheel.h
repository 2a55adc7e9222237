/* Deadlines of many connections on one timer: a wheel of one-second slots. A connection is looked
 * at only when its slot comes round; if it has been heard of meanwhile it moves on. With nothing
 * due there is no wake-up. */
#pragma once

#include "base/list.h"
#include <stdint.h>

struct loop;
struct timer;

#define WHEEL_SLOTS 256

struct wheel {
    struct list slots[WHEEL_SLOTS];
    struct loop *loop; /* borrowed */
    struct timer *timer;
    uint64_t swept_s; /* slots up to this second have been looked at */
    uint32_t count;
    /* Asks for the next deadline of a member (loop time, ms), 0 = none any more; called when its
     * slot comes round and the deadline given before has passed. */
    uint64_t (*on_due)(struct list *member, uint64_t now_ms);
};

void wheel_init(struct wheel *wheel, struct loop *loop,
                uint64_t (*on_due)(struct list *member, uint64_t now_ms));
void wheel_deinit(struct wheel *wheel);
/* `member` must be unlinked (list_init) or in the wheel; moves it. */
void wheel_set(struct wheel *wheel, struct list *member, uint64_t deadline_ms);
void wheel_remove(struct wheel *wheel, struct list *member);
