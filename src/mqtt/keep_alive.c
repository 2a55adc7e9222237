/* A wheel of one-second slots under one timer; see keep_alive.h. Deadlines beyond the wheel's round stand in a slot that comes earlier and are
 * put on again there: at most one look a round. */
#include "mqtt/keep_alive.h"
#include "loop/loop.h"
#include <assert.h>

void keep_alive_deinit(struct keep_alive *wheel)
{
    assert(wheel->count == 0);
    timer_free(wheel->timer);
}

static struct list *slot_of(struct keep_alive *wheel, uint64_t second)
{
    return &wheel->slots[second % KEEP_ALIVE_SLOTS];
}

/* The timer goes to the next slot that has members, at most one round away. */
static void arm(struct keep_alive *wheel)
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

static void put(struct keep_alive *wheel, struct list *member, uint64_t deadline_ms)
{
    uint64_t second = (deadline_ms + 999) / 1000;
    if (second <= wheel->swept_s) {
        second = wheel->swept_s + 1;
    } else if (second > wheel->swept_s + KEEP_ALIVE_SLOTS) {
        second = wheel->swept_s + KEEP_ALIVE_SLOTS;
    }
    list_append(slot_of(wheel, second), member);
    wheel->count++;
}

static void sweep(struct keep_alive *wheel, struct list *slot, uint64_t now_ms)
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
    struct keep_alive *wheel = owner;
    uint64_t now_ms = loop_now_ms(wheel->loop);
    uint64_t now_s = now_ms / 1000;

    for (unsigned i = 0; wheel->swept_s < now_s && i < KEEP_ALIVE_SLOTS; i++) {
        wheel->swept_s++;
        sweep(wheel, slot_of(wheel, wheel->swept_s), now_ms);
    }
    wheel->swept_s = now_s > wheel->swept_s ? now_s : wheel->swept_s;
    arm(wheel);
}

void keep_alive_init(struct keep_alive *wheel, struct loop *loop,
                     uint64_t (*on_due)(struct list *member, uint64_t now_ms))
{
    for (unsigned i = 0; i < KEEP_ALIVE_SLOTS; i++) {
        list_init(&wheel->slots[i]);
    }
    wheel->loop = loop;
    wheel->timer = timer_new(loop, on_timer, wheel);
    wheel->swept_s = loop_now_ms(loop) / 1000;
    wheel->count = 0;
    wheel->on_due = on_due;
}

void keep_alive_remove(struct keep_alive *wheel, struct list *member)
{
    if (!list_is_empty(member)) {
        list_remove(member);
        wheel->count--;
    }
}

void keep_alive_set(struct keep_alive *wheel, struct list *member, uint64_t deadline_ms)
{
    keep_alive_remove(wheel, member);
    if (wheel->count == 0) {
        wheel->swept_s = loop_now_ms(wheel->loop) / 1000;
    }
    put(wheel, member, deadline_ms);
    arm(wheel);
}
