/* A wheel of one-second slots under one timer; see keep_alive.h. Deadlines beyond the wheel's round
 * stand in a slot that comes earlier and are put on again there: at most one look a round. */
#include "loop/wheel.h"
#include "loop/loop.h"
#include <assert.h>

void wheel_deinit(struct wheel *wheel)
{
    assert(wheel->count == 0);
    timer_free(wheel->timer);
}

static struct list *slot_of(struct wheel *wheel, uint64_t second)
{
    return &wheel->slots[second % WHEEL_SLOTS];
}

/* The timer goes to the next slot that has members, at most one round away. */
static void arm(struct wheel *wheel)
{
    if (wheel->count == 0) {
        timer_stop(wheel->timer);
        return;
    }
    uint64_t second = wheel->swept_s + 1;
    while (list_is_empty(slot_of(wheel, second))) {
        second++;
    }
    uint64_t now_ms = loop_now_ms(wheel->loop);
    uint64_t due_ms = second * 1000;
    timer_start(wheel->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

static void put(struct wheel *wheel, struct list *member, uint64_t deadline_ms)
{
    uint64_t second = (deadline_ms + 999) / 1000;
    if (second <= wheel->swept_s) {
        second = wheel->swept_s + 1;
    } else if (second > wheel->swept_s + WHEEL_SLOTS) {
        second = wheel->swept_s + WHEEL_SLOTS;
    }
    list_append(slot_of(wheel, second), member);
    wheel->count++;
}

static void sweep(struct wheel *wheel, struct list *slot, uint64_t now_ms)
{
    struct list round;
    list_init(&round);
    while (!list_is_empty(slot)) {
        struct list *member = slot->next;
        list_remove(member);
        list_append(&round, member);
    }
    while (!list_is_empty(&round)) {
        struct list *member = round.next;
        list_remove(member);
        wheel->count--;
        uint64_t deadline_ms = wheel->on_due(member, now_ms);
        if (deadline_ms != 0 && list_is_empty(member)) {
            put(wheel, member, deadline_ms);
        }
    }
}

static void on_timer(void *owner)
{
    struct wheel *wheel = owner;
    uint64_t now_ms = loop_now_ms(wheel->loop);
    uint64_t now_s = now_ms / 1000;

    for (unsigned i = 0; wheel->swept_s < now_s && i < WHEEL_SLOTS; i++) {
        wheel->swept_s++;
        sweep(wheel, slot_of(wheel, wheel->swept_s), now_ms);
    }
    wheel->swept_s = now_s > wheel->swept_s ? now_s : wheel->swept_s;
    arm(wheel);
}

void wheel_init(struct wheel *wheel, struct loop *loop,
                uint64_t (*on_due)(struct list *member, uint64_t now_ms))
{
    for (unsigned i = 0; i < WHEEL_SLOTS; i++) {
        list_init(&wheel->slots[i]);
    }
    wheel->loop = loop;
    wheel->timer = timer_new(loop, on_timer, wheel);
    wheel->swept_s = loop_now_ms(loop) / 1000;
    wheel->count = 0;
    wheel->on_due = on_due;
}

void wheel_remove(struct wheel *wheel, struct list *member)
{
    if (!list_is_empty(member)) {
        list_remove(member);
        wheel->count--;
    }
}

void wheel_set(struct wheel *wheel, struct list *member, uint64_t deadline_ms)
{
    wheel_remove(wheel, member);
    if (wheel->count == 0) {
        wheel->swept_s = loop_now_ms(wheel->loop) / 1000;
    }
    put(wheel, member, deadline_ms);
    arm(wheel);
}
